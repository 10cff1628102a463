"""TFLite's fused recurrences as LSTM and RNN of docs/ops.md; their variable tensors become states of the stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ...ir.dims import Dim, Size, mentions
from ..dialect import Value, known
from .lowering import ACTIVATIONS, Call, TfLowering, lowers
from .quant import IntegerCell, grid, is_quantized, lstm_step

GATES = ("input", "forget", "cell", "output")
MAX_UNROLLED_NODES = 20000
NODES_PER_STEP = 40
BASIC_KERNEL = 1


class Recurrence:
    """One recurrence of docs/ops.md about to be emitted. `x` is (B,T,I); weights are of one or two directions."""

    def __init__(self, op: str, x: Value, w_ih: np.ndarray, w_hh: np.ndarray, attrs: dict[str, Any]):
        self.op, self.x, self.attrs = op, x, attrs
        self.inputs: list[Value | None] = [x, known(w_ih), known(w_hh), *[None] * 7]
        self.hidden = w_hh.shape[1] // {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
        self.places = {
            "LSTM": {"bias": 3, "h0": 4, "c0": 5, "mask": 7, "peephole": 8, "w_proj": 9},
            "GRU": {"bias_ih": 3, "bias_hh": 4, "h0": 5, "mask": 7},
            "RNN": {"bias": 3, "h0": 4, "mask": 6},
        }[op]

    def give(self, name: str, value: Any) -> None:
        """Sets an optional input by name; arrays become constants. None and zero initial states are left out."""
        if value is not None:
            self.inputs[self.places[name]] = value if isinstance(value, Value) else known(np.asarray(value, np.float32))

    def initial(self, ctx: TfLowering, name: str, value: Value | None) -> None:
        """h0 or c0 from a (B,H) value."""
        if value is not None and ctx.uniform(value) != 0:
            self.give(name, ctx.reshape(value, [1, *ctx.shape(value)]))

    def emit(self, ctx: TfLowering) -> list[Value]:
        """y (B,T,D*P), h_n and (LSTM) c_n of shape (D,B,.)."""
        batch = ctx.shape(self.x)[0]
        if mentions(batch, "frames"):
            raise UnsupportedModelError(f"{ctx.place}: its batch would be {batch}: frames lie along another axis")
        count = max(n for n, v in enumerate(self.inputs) if v is not None) + 1
        names = [ctx.tensor(v) for v in self.inputs[:count]]
        base = ctx._name(self.op.lower())
        wanted = [
            ctx.graph.fresh(f"{base}{suffix}") for suffix in ("", ".h_n", ".c_n")[: 3 if self.op == "LSTM" else 2]
        ]
        return [Value("float32", tensor=t) for t in ctx.graph.add(self.op, names, self.attrs, base, wanted)]


def batch_major(ctx: TfLowering, x: Value, time_major: bool) -> Value:
    return ctx.transpose(x, [1, 0, 2]) if time_major else x


def state_input(call: Call, n: int, shape: Sequence[Size], suffix: str) -> tuple[Value | None, Any]:
    """(initial value, state) of a recurrence's state input: a variable tensor is a state of the stream, which starts at
    the tensor's constant where it has one; another tensor is an initial value without a state.
    """
    ctx, info, value = call.ctx, call.infos[n] if n < len(call.infos) else None, call.optional(n)
    if info is None:
        return None, None
    if not info.is_variable:
        return value, None
    initial = None
    if value is not None:
        if not value.is_known:
            raise call.refuse(f"its state {info.name!r} is a variable that another operator computes")
        initial = value.array
    state = ctx.state(f"{call.name}.{suffix}", [1, *shape], initial[None] if initial is not None else None)
    return Value("float32", tensor=state.read), state


# ---- weights ---------------------------------------------------------------------------------------------------------


def _gate_arrays(call: Call, first: int, required: bool = True) -> list[np.ndarray | None]:
    """Four tensors in the order i, f, g, o; the input gate's may be absent (coupled gates)."""
    out: list[np.ndarray | None] = []
    for n, gate in enumerate(GATES):
        if call.optional(first + n) is None:
            if required and gate != "input":
                raise call.refuse(f"the weights of its {gate} gate are missing")
            out.append(None)
        else:
            out.append(call.known(first + n).astype(np.float32))
    return out


def _stacked(parts: list[np.ndarray | None]) -> np.ndarray:
    like = next(p for p in parts if p is not None)
    return np.concatenate([np.zeros_like(like) if p is None else p for p in parts])


def _square(parts: list[np.ndarray | None]) -> list[np.ndarray | None]:
    """Recurrent weights given by their diagonals, as matrices."""
    return [np.diag(p) if p is not None and p.ndim == 1 else p for p in parts]


class _Direction:
    """Weights of one direction of a fused LSTM. `at`: where its groups of tensors begin among the inputs."""

    def __init__(self, call: Call, inputs: int, recurrent: int, peephole: int, bias: int, projection: int):
        w_ih, w_hh = _gate_arrays(call, inputs), _square(_gate_arrays(call, recurrent))
        self.coupled = w_ih[0] is None
        if (w_hh[0] is None) != self.coupled:
            raise call.refuse("its input gate has only one of input and recurrent weights")
        self.w_ih, self.w_hh = _stacked(w_ih), _stacked(w_hh)
        self.hidden = self.w_ih.shape[0] // 4
        biases = _gate_arrays(call, bias, required=False)
        self.bias = np.concatenate([np.zeros(self.hidden, np.float32) if b is None else b for b in biases])
        places = [call.optional(peephole + n) for n in range(3)]
        self.peephole = None
        if any(p is not None for p in places):
            zero = np.zeros(self.hidden, np.float32)
            self.peephole = np.stack([zero if p is None else call.known(peephole + n) for n, p in enumerate(places)])
        self.w_proj = call.known(projection).astype(np.float32) if call.optional(projection) is not None else None
        self.b_proj = call.known(projection + 1) if call.optional(projection + 1) is not None else None
        expected = self.w_proj.shape[0] if self.w_proj is not None else self.hidden
        if self.w_hh.shape != (4 * self.hidden, expected):
            raise call.refuse(
                f"recurrent weights of shape {list(self.w_hh.shape)}: expected [{4 * self.hidden}, {expected}]"
            )


def _lstm_attrs(call: Call, directions: int, coupled: bool) -> dict[str, Any]:
    act = ACTIVATIONS.get(call.option("activation"))
    if act not in ("linear", "relu", "relu6", "tanh"):
        raise call.refuse(f"activation function {act or call.option('activation')} is not supported in a recurrence")
    return {
        "activations": ["sigmoid", "sigmoid", act, "sigmoid", act] * directions,
        "coupled": "i=1-f" if coupled else "none",
        "cell_clip": float(call.option("cell_clip", 0.0)),
        "proj_clip": float(call.option("proj_clip", 0.0)),
    }


def _refuse_what_no_row_has(call: Call, directions: Sequence[_Direction], norms: int) -> None:
    if any(call.optional(norms + n) is not None for n in range(4)):
        raise call.refuse("layer normalisation inside the cell is not supported; train without it")
    for d in directions:
        if d.b_proj is not None and np.any(d.b_proj):
            raise call.refuse("a bias of the projection is not supported; train the projection without a bias")


# ---- LSTM ------------------------------------------------------------------------------------------------------------


@lowers("UNIDIRECTIONAL_SEQUENCE_LSTM")
def _sequence_lstm(call: Call) -> Value:
    ctx, time_major = call.ctx, bool(call.option("time_major", False))
    return batch_major(ctx, _fused(call, batch_major(ctx, call.input(0), time_major)), time_major)


@lowers("LSTM")
def _lstm(call: Call) -> list[Value]:
    """One step: x (B,I)."""
    if call.option("kernel_type") == BASIC_KERNEL:
        return _basic_lstm(call)
    ctx, (batch, features) = call.ctx, call.shape(0)
    y = _fused(call, ctx.reshape(call.input(0), [batch, 1, features]))
    out = ctx.reshape(y, [batch, ctx.shape(y)[2]])
    if len(call.out_infos) > 1:
        raise call.refuse(f"{len(call.out_infos)} outputs: expected 1; convert the model with a newer TensorFlow")
    return [out]


def _fused(call: Call, x: Value) -> Value:
    """x and y (B,T,.)."""
    ctx = call.ctx
    cell = _Direction(call, 1, 5, 9, 12, 16)
    _refuse_what_no_row_has(call, [cell], 20)
    batch, frames, _ = ctx.shape(x)
    width = cell.w_hh.shape[1]
    h0, h_state = state_input(call, 18, [batch, width], "h")
    c0, c_state = state_input(call, 19, [batch, cell.hidden], "c")
    info = call.infos[0]
    if info is not None and is_quantized(info) and ctx.exact:
        why = _not_exact(call, cell, frames)
        if not why:
            return _integer_lstm(call, cell, x, [h0, c0], [h_state, c_state])
        ctx.note(f"{call.place}: runs in float32 on dequantised weights, not on the runtime's integers: {why}")
    layer = Recurrence("LSTM", x, cell.w_ih[None], cell.w_hh[None], _lstm_attrs(call, 1, cell.coupled))
    layer.give("bias", cell.bias[None])
    layer.give("peephole", cell.peephole[None] if cell.peephole is not None else None)
    layer.give("w_proj", cell.w_proj[None] if cell.w_proj is not None else None)
    for name, value, state in (("h0", h0, h_state), ("c0", c0, c_state)):
        if state is not None:
            layer.give(name, value)
        else:
            layer.initial(ctx, name, value)
    y, h_n, c_n = layer.emit(ctx)
    for state, final in ((h_state, h_n), (c_state, c_n)):
        if state is not None:
            state.write = final.tensor
    return y


def _not_exact(call: Call, cell: _Direction, frames: Size) -> str:
    """Why a full-integer LSTM cannot be spelled out step by step; '' when it can."""
    states = [i for i in call.infos[18:20] if i is not None and is_quantized(i)]
    if [s.dtype for s in states] != ["int8", "int16"] or len(call.intermediates) != 5:
        return "its states are not 8 and 16 bits wide"
    if isinstance(frames, Dim):
        return "the number of frames is open (give it with --shape to have the runtime's integers)"
    if frames * NODES_PER_STEP > MAX_UNROLLED_NODES:
        return f"{frames} frames are more than can be spelled out"
    return "it has peepholes" if cell.peephole is not None else ""


def _integer_lstm(call: Call, cell: _Direction, x: Value, initial: list[Value | None], states: list[Any]) -> Value:
    """Step by step, rounding where the runtime rounds."""
    ctx = call.ctx
    batch, frames, _ = ctx.shape(x)
    integer = IntegerCell(cell.w_ih, cell.w_hh, cell.bias, cell.coupled)
    h_info, c_info = call.infos[18], call.infos[19]
    assert h_info is not None and c_info is not None
    integer.cell_step, _ = grid(c_info)
    integer.state_step, integer.state_zero = grid(h_info)
    integer.hidden_step, integer.hidden_zero = grid(call.intermediates[4])
    integer.cell_clip, integer.proj_clip = (float(call.option(n, 0.0)) for n in ("cell_clip", "proj_clip"))
    if cell.w_proj is not None:
        integer.w_proj = known(cell.w_proj)
    zx = integer.input_side(ctx, x)
    widths = (cell.w_hh.shape[1], cell.hidden)
    h, c = (ctx.fill(0.0, [batch, w]) if v is None else ctx.reshape(v, [batch, w]) for v, w in zip(initial, widths))
    rows = []
    for t in range(int(frames)):
        h, c = lstm_step(ctx, ctx.index(zx, 1, t), h, c, integer)
        rows.append(ctx.reshape(h, [batch, 1, widths[0]]))
    for state, value, width in zip(states, (h, c), widths):
        if state is not None:
            state.write = ctx.tensor(ctx.reshape(value, [1, batch, width]))
    return ctx.concat(rows, 1)


def _basic_lstm(call: Call) -> list[Value]:
    """inputs: x (B,I), h (B,H), w (4H, I+H), bias, c; outputs: h, c and scratch. Gates in the order i, g, f, o."""
    ctx, (batch, features) = call.ctx, call.shape(0)
    weight, bias = call.known(2).astype(np.float32), call.known(3).astype(np.float32)
    hidden = weight.shape[0] // 4
    order = [0, 2, 1, 3]
    weight, bias = (np.concatenate([np.split(a, 4)[n] for n in order]) for a in (weight, bias))
    x = ctx.reshape(call.input(0), [batch, 1, features])
    attrs = {"activations": ["sigmoid", "sigmoid", "tanh", "sigmoid", "tanh"]}
    layer = Recurrence("LSTM", x, weight[None, :, :features], weight[None, :, features:], attrs)
    layer.give("bias", bias[None])
    states = []
    for name, n in (("h0", 1), ("c0", 4)):
        value, state = state_input(call, n, [batch, hidden], name[0])
        states.append(state)
        layer.give(name, value if state is not None or value is None else ctx.reshape(value, [1, batch, hidden]))
    _, h_n, c_n = layer.emit(ctx)
    for state, final in zip(states, (h_n, c_n)):
        if state is not None:
            state.write = final.tensor
    h, c = (ctx.reshape(v, [batch, hidden]) for v in (h_n, c_n))
    return [h, c]


@lowers("BIDIRECTIONAL_SEQUENCE_LSTM")
def _bidirectional_lstm(call: Call) -> list[Value]:
    ctx, time_major = call.ctx, bool(call.option("time_major", True))
    if any(call.optional(n) is not None for n in range(39, 48)):
        raise call.refuse("auxiliary inputs are not supported; stack the layers by their outputs instead")
    cells = [_Direction(call, 1, 5, 9, 12, 16), _Direction(call, 18, 22, 26, 29, 33)]
    _refuse_what_no_row_has(call, cells, 48)
    for part in ("coupled", "hidden"):
        if getattr(cells[0], part) != getattr(cells[1], part):
            raise call.refuse(f"its directions differ: {part} is {[getattr(c, part) for c in cells]}")
    x = batch_major(ctx, call.input(0), time_major)
    layer = Recurrence(
        "LSTM",
        x,
        *(np.stack([getattr(c, w) for c in cells]) for w in ("w_ih", "w_hh")),
        {**_lstm_attrs(call, 2, cells[0].coupled), "direction": "bidirectional"},
    )
    layer.give("bias", np.stack([c.bias for c in cells]))
    for name in ("peephole", "w_proj"):
        parts = [getattr(c, name) for c in cells]
        if any(p is not None for p in parts):
            like = next(p for p in parts if p is not None)
            if name == "w_proj" and any(p is None for p in parts):
                raise call.refuse("only one of its directions has a projection")
            layer.give(name, np.stack([np.zeros_like(like) if p is None else p for p in parts]))
    _start_anew(call, range(35, 39))
    return _directions(call, layer.emit(ctx)[0], time_major)


def _start_anew(call: Call, places: Sequence[int]) -> None:
    """The states of a bidirectional layer: each run is a whole sequence."""
    for n in places:
        value, info = call.optional(n), call.infos[n] if n < len(call.infos) else None
        if value is not None and (info is None or not info.is_variable) and call.ctx.uniform(value) != 0:
            raise call.refuse("initial states of a bidirectional layer other than 0 are not supported")
    call.ctx.note(f"{call.place}: starts at 0 for every sequence")


def _directions(call: Call, y: Value, time_major: bool) -> list[Value]:
    """One merged output, or forward and backward apart."""
    ctx = call.ctx
    if call.option("merge_outputs", False):
        return [batch_major(ctx, y, time_major)]
    half = int(ctx.shape(y)[2]) // 2
    return [batch_major(ctx, part, time_major) for part in ctx.split(y, 2, [half, half])]


# ---- RNN -------------------------------------------------------------------------------------------------------------


def _rnn_attrs(call: Call, directions: int) -> dict[str, Any]:
    act = ACTIVATIONS.get(call.option("activation"))
    if act not in ("linear", "relu", "relu6", "tanh"):
        raise call.refuse(f"activation function {act or call.option('activation')} is not supported in a recurrence")
    return {"activations": [act] * directions}


@lowers("UNIDIRECTIONAL_SEQUENCE_RNN", "RNN")
def _sequence_rnn(call: Call) -> Value:
    """inputs: x, w_ih, w_hh, bias, state."""
    ctx, time_major = call.ctx, bool(call.option("time_major", False))
    single = call.kind == "RNN"
    x = ctx.reshape(call.input(0), [call.shape(0)[0], 1, call.shape(0)[1]]) if single else call.input(0)
    x = batch_major(ctx, x, time_major)
    batch = ctx.shape(x)[0]
    w_ih, w_hh = (call.known(n).astype(np.float32) for n in (1, 2))
    layer = Recurrence("RNN", x, w_ih[None], w_hh[None], _rnn_attrs(call, 1))
    layer.give("bias", call.known(3)[None] if call.optional(3) is not None else None)
    value, state = state_input(call, 4, [batch, w_hh.shape[0]], "h")
    if state is not None:
        layer.give("h0", value)
    else:
        layer.initial(ctx, "h0", value)
    y, h_n = layer.emit(ctx)
    if state is not None:
        state.write = h_n.tensor
    return ctx.reshape(y, [batch, w_hh.shape[0]]) if single else batch_major(ctx, y, time_major)


@lowers("BIDIRECTIONAL_SEQUENCE_RNN")
def _bidirectional_rnn(call: Call) -> list[Value]:
    """inputs: x, then w_ih, w_hh, bias and state of each direction, then auxiliary ones."""
    ctx, time_major = call.ctx, bool(call.option("time_major", False))
    if any(call.optional(n) is not None for n in range(9, 12)):
        raise call.refuse("auxiliary inputs are not supported; stack the layers by their outputs instead")
    x = batch_major(ctx, call.input(0), time_major)
    arrays = [np.stack([call.known(n + d).astype(np.float32) for d in (0, 4)]) for n in (1, 2, 3)]
    layer = Recurrence("RNN", x, arrays[0], arrays[1], {**_rnn_attrs(call, 2), "direction": "bidirectional"})
    layer.give("bias", arrays[2])
    _start_anew(call, (4, 8))
    return _directions(call, layer.emit(ctx)[0], time_major)
