"""TFLite's fused recurrences as LSTM and RNN of docs/ops.md; their variable tensors become states of the stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir.dims import Size, mentions
from ...ir.graph import State
from ...options import as_typed
from ..dialect import Value, movement, recurrences
from ..dialect.recurrences import Run, Weights
from .integer_lstm import integer_lstm, why_not
from .lowering import ACTIVATIONS, Call, lowers
from .quant import is_quantized

GATES = ("input", "forget", "cell", "output")
BASIC_KERNEL = 1


def _run(
    call: Call, op: str, x: Value, weights: Sequence[Weights], states: Sequence[State | None] = (), **options: Any
) -> Run:
    """The recurrence over x; what it ends in is what its states hold next."""
    batch = call.ctx.shape(x)[1 if options.get("time_major") else 0]
    if mentions(batch, "frames"):
        raise call.refuse(f"its batch would be {batch}: frames lie along another axis")
    run = recurrences.recurrence(call.ctx, op, x, weights, **options)
    for state, final in zip(states, (run.h_n, run.c_n)):
        if state is not None and final is not None:
            state.write = final.tensor
    return run


def state_input(call: Call, n: int, shape: Sequence[Size], suffix: str) -> tuple[Value | None, State | None]:
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
        self.hidden = next(len(gate) for gate in w_ih if gate is not None)
        biases = _gate_arrays(call, bias, required=False)
        self.bias = np.concatenate([np.zeros(self.hidden, np.float32) if b is None else b for b in biases])
        places = [call.optional(peephole + n) for n in range(3)]
        self.peephole = None
        if any(p is not None for p in places):
            zero = np.zeros(self.hidden, np.float32)
            self.peephole = np.stack([zero if p is None else call.known(peephole + n) for n, p in enumerate(places)])
        self.w_proj = call.known(projection).astype(np.float32) if call.optional(projection) is not None else None
        self.b_proj = call.known(projection + 1) if call.optional(projection + 1) is not None else None

    def weights(self) -> Weights:
        return Weights(self.w_ih, self.w_hh, self.bias, peephole=self.peephole, projection=self.w_proj)


def _activation(call: Call) -> str:
    act = ACTIVATIONS.get(call.option("activation"))
    if act not in ("linear", "relu", "relu6", "tanh"):
        raise call.refuse(f"activation function {act or call.option('activation')} is not supported in a recurrence")
    return act


def _lstm_options(call: Call, coupled: bool) -> dict[str, Any]:
    act = _activation(call)
    return {
        "activations": [(kind, 0.0, 0.0) for kind in ("sigmoid", "sigmoid", act, "sigmoid", act)],
        "coupled": "i=1-f" if coupled else "none",
        "cell_clip": float(call.option("cell_clip", 0.0)),
        "proj_clip": float(call.option("proj_clip", 0.0)),
    }


def _refuse_what_no_row_has(call: Call, directions: Sequence[_Direction], norms: int) -> None:
    what = ""
    if any(call.optional(norms + n) is not None for n in range(len(GATES))):
        what = "layer normalisation inside the cell"
    elif any(d.b_proj is not None and np.any(d.b_proj) for d in directions):
        what = "a bias of the projection"
    if not what:
        return
    info = call.infos[0]
    asked = info is not None and is_quantized(info) and not call.ctx.exact and not why_not(call)
    remedy = f"leave {as_typed('options', 'integer', 'float')} out" if asked else "train without it"
    raise call.refuse(f"{what} is not supported in float32; {remedy}")


# ---- LSTM ------------------------------------------------------------------------------------------------------------


@lowers("UNIDIRECTIONAL_SEQUENCE_LSTM")
def _sequence_lstm(call: Call) -> Value:
    return _fused(call, call.input(0), bool(call.option("time_major", False)))


@lowers("LSTM")
def _lstm(call: Call) -> list[Value]:
    """One step: x (B,I)."""
    if call.option("kernel_type") == BASIC_KERNEL:
        return _basic_lstm(call)
    if len(call.out_infos) > 1:
        raise call.refuse(f"{len(call.out_infos)} outputs: expected 1; convert the model with a newer TensorFlow")
    y = _fused(call, movement.unsqueeze(call.ctx, call.input(0), [1]), False)
    return [movement.squeeze(call.ctx, y, [1])]


def _fused(call: Call, x: Value, time_major: bool) -> Value:
    """x and y (B,T,.), or (T,B,.) where time_major."""
    ctx, info = call.ctx, call.infos[0]
    if info is not None and is_quantized(info) and ctx.exact:
        why = why_not(call)
        if not why:
            y = integer_lstm(call, movement.swap_axes(ctx, x, 0, 1) if time_major else x)
            return movement.swap_axes(ctx, y, 0, 1) if time_major else y
        ctx.note(f"{call.place}: runs in float32 on dequantised weights, not on the runtime's integers: {why}")
    cell = _Direction(call, 1, 5, 9, 12, 16)
    _refuse_what_no_row_has(call, [cell], 20)
    batch = ctx.shape(x)[1 if time_major else 0]
    h0, h_state = state_input(call, 18, [batch, cell.w_hh.shape[1]], "h")
    c0, c_state = state_input(call, 19, [batch, cell.hidden], "c")
    options = {**_lstm_options(call, cell.coupled), "time_major": time_major, "initial": [h0, c0]}
    run = _run(call, "LSTM", x, [cell.weights()], [h_state, c_state], **options)
    return run.frames(ctx, time_major)


def _basic_lstm(call: Call) -> list[Value]:
    """inputs: x (B,I), h (B,H), w (4H, I+H), bias, c; outputs: h, c and scratch. Gates in the order i, g, f, o."""
    ctx, (batch, features) = call.ctx, call.shape(0)
    weight, bias = call.known(2), call.known(3)
    hidden = weight.shape[1] - features
    x = movement.unsqueeze(ctx, call.input(0), [1])
    initial, states = zip(*(state_input(call, n, [batch, hidden], name) for name, n in (("h", 1), ("c", 4))))
    weights = Weights(weight[:, :features], weight[:, features:], bias)
    run = _run(call, "LSTM", x, [weights], states, gates="igfo", initial=initial)
    return [movement.squeeze(ctx, v, [0]) for v in (run.h_n, run.c_n) if v is not None]


@lowers("BIDIRECTIONAL_SEQUENCE_LSTM")
def _bidirectional_lstm(call: Call) -> list[Value]:
    time_major = bool(call.option("time_major", True))
    if any(call.optional(n) is not None for n in range(39, 48)):
        raise call.refuse("auxiliary inputs are not supported; stack the layers by their outputs instead")
    cells = [_Direction(call, 1, 5, 9, 12, 16), _Direction(call, 18, 22, 26, 29, 33)]
    _refuse_what_no_row_has(call, cells, 48)
    if cells[0].coupled != cells[1].coupled:
        raise call.refuse("one of its directions has coupled gates, the other has not")
    options = {**_lstm_options(call, cells[0].coupled), "time_major": time_major}
    run = _run(call, "LSTM", call.input(0), [c.weights() for c in cells], **options)
    _start_anew(call, range(35, 39))
    return _directions(call, run, time_major)


def _start_anew(call: Call, places: Sequence[int]) -> None:
    """The states of a bidirectional layer: each run is a whole sequence."""
    for n in places:
        value, info = call.optional(n), call.infos[n] if n < len(call.infos) else None
        if value is not None and (info is None or not info.is_variable) and call.ctx.uniform(value) != 0:
            raise call.refuse("initial states of a bidirectional layer other than 0 are not supported")
    call.ctx.note(f"{call.place}: starts at 0 for every sequence")


def _directions(call: Call, run: Run, time_major: bool) -> list[Value]:
    """One merged output, or forward and backward apart."""
    y = run.frames(call.ctx, time_major)
    if call.option("merge_outputs", False):
        return [y]
    return movement.split(call.ctx, y, 2, movement.equal_parts(call.ctx, call.ctx.shape(y)[2], 2))


# ---- RNN -------------------------------------------------------------------------------------------------------------


@lowers("UNIDIRECTIONAL_SEQUENCE_RNN", "RNN")
def _sequence_rnn(call: Call) -> Value:
    """inputs: x, w_ih, w_hh, bias, state."""
    ctx, single = call.ctx, call.kind == "RNN"
    time_major = bool(call.option("time_major", False)) and not single
    x = movement.unsqueeze(ctx, call.input(0), [1]) if single else call.input(0)
    weights = _rnn_weights(call, 1)
    value, state = state_input(call, 4, [ctx.shape(x)[1 if time_major else 0], len(weights.w_hh)], "h")
    options: dict[str, Any] = {
        "activations": [(_activation(call), 0.0, 0.0)],
        "time_major": time_major,
        "initial": [value],
    }
    y = _run(call, "RNN", x, [weights], [state], **options).frames(ctx, time_major)
    return movement.squeeze(ctx, y, [1]) if single else y


@lowers("BIDIRECTIONAL_SEQUENCE_RNN")
def _bidirectional_rnn(call: Call) -> list[Value]:
    """inputs: x, then w_ih, w_hh, bias and state of each direction, then auxiliary ones."""
    time_major = bool(call.option("time_major", False))
    if any(call.optional(n) is not None for n in range(9, 12)):
        raise call.refuse("auxiliary inputs are not supported; stack the layers by their outputs instead")
    weights = [_rnn_weights(call, n) for n in (1, 5)]
    options: dict[str, Any] = {"activations": [(_activation(call), 0.0, 0.0)], "time_major": time_major}
    run = _run(call, "RNN", call.input(0), weights, **options)
    _start_anew(call, (4, 8))
    return _directions(call, run, time_major)


def _rnn_weights(call: Call, first: int) -> Weights:
    """w_ih, w_hh and the bias, from input `first` on."""
    return Weights(
        call.known(first), call.known(first + 1), call.known(first + 2) if call.optional(first + 2) else None
    )
