"""The aten calls of recurrences, over padded and packed sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from ....ir.dims import Dim, Size, same
from ....ir.notes import ASSUMED, TRAINED_IN_INT8
from ....ir.sizes import SizeMismatch
from ...dialect import Int8Weight, Value, arithmetic, int8_weight, known, stacked
from ...dialect import movement as move
from ...dialect.recurrences import Activation, Run, Weights, recurrence
from ..lowering import Lowering
from ..registry import OPS, op
from .movement import listed, slice_axis

ACTIVATIONS: dict[str, tuple[str, list[Activation] | None]] = {  # aten name -> op and its activations
    "lstm": ("LSTM", None),
    "gru": ("GRU", None),
    "rnn_tanh": ("RNN", None),
    "rnn_relu": ("RNN", [("relu", 0.0, 0.0)]),
}


@dataclass(eq=False)
class Packing(Value):
    """A PackedSequence's batch_sizes: of which only the first, the batch at the first frame, is known; with the lengths.

    The rows of its data are those of the padded tensor, (batch * frames, ...): padding is computed, too, and never read.
    """

    lengths: Value = field(default_factory=lambda: known(0))
    frames: Size = 0

    @property
    def batch(self) -> Size:
        return cast(Size, self.data[0])


def weights_of(w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None, w_hr: Any = None) -> Weights:
    """One direction's arrays in the order in which torch lists them. Its orders of gates are the core's."""
    return Weights(w_ih, w_hh, b_ih, b_hh, projection=w_hr)


@dataclass(frozen=True)
class _Stack:
    """What a call over a sequence says of its layers."""

    params: Sequence[Value]
    has_biases: bool
    layers: int
    dropout: float
    train: bool
    bidirectional: bool

    def by_layer(self, c: Lowering) -> list[list[list[Value]]]:
        """The parameters of each layer's directions."""
        directions = 2 if self.bidirectional else 1
        count = self.layers * directions
        each = len(self.params) // count
        if each * count != len(self.params) or each not in ((4, 5) if self.has_biases else (2, 3)):
            raise c.refuse(f"{len(self.params)} weights for {self.layers} layers and {directions} directions")
        parts = [list(self.params[at : at + each]) for at in range(0, len(self.params), each)]
        return [parts[i : i + directions] for i in range(0, count, directions)]

    def weights(self, c: Lowering, layer: Sequence[Sequence[Value]]) -> list[Weights]:
        """One layer's, by direction."""
        made = []
        for params in layer:
            w = [c.array(p, "weight of a recurrence") for p in params]
            hr = w[2] if len(w) == 3 else None
            made.append(weights_of(*w) if self.has_biases else weights_of(w[0], w[1], w_hr=hr))
        return made

    def stored(self, layer: Sequence[Sequence[Value]]) -> dict[str, Value]:
        """Those of one layer's weights that are in int8 already."""
        names = ("w_ih", "w_hh", "", "", "w_proj") if self.has_biases else ("w_ih", "w_hh", "w_proj")
        by_name = {name: values for name, values in zip(names, zip(*layer)) if name}
        return {name: stacked(values) for name, values in by_name.items() if isinstance(values[0], Int8Weight)}


def _run_stack(
    c: Lowering, name: str, x: Value, initial: list[Value], stack: _Stack, lengths: Value | None, batch_first: bool
) -> list[Any]:
    """y, h_n and of an LSTM c_n."""
    if stack.train and stack.dropout:
        raise c.refuse("a recurrence in training mode with dropout; call eval() before exporting")
    kind, activations = ACTIVATIONS[name]
    finals: list[list[Value]] = [[] for _ in initial]
    states = stack.layers * (2 if stack.bidirectional else 1)
    for state in initial:
        if not same(c.shape(state)[0], states):
            raise c.refuse(
                f"initial states for {c.shape(state)[0]} layers and directions; expected {states}"
            ) from SizeMismatch.between(c.shape(state)[0], states, "layers")
    for n, params in enumerate(stack.by_layer(c)):
        layer = stack.weights(c, params)
        at = (n * len(layer), (n + 1) * len(layer))
        own = [s if stack.layers == 1 else slice_axis(c, s, 0, *at) for s in initial]
        run = recurrence(
            c,
            kind,
            x,
            layer,
            stored=stack.stored(params),
            time_major=not batch_first,
            activations=activations,
            initial=own,
            lengths=lengths,
        )
        x = run.frames(c, not batch_first)
        for kept, value in zip(finals, _states(run)):
            kept.append(value)
    joined = [move.concat(c, kept, 0) if c.used(i + 1) else kept[0] for i, kept in enumerate(finals)]
    for role, value, state in zip("hc", joined, initial):
        _mark(c, value, role, state)
    return [x, *joined]


def _states(run: Run) -> list[Value]:
    return [run.h_n] if run.c_n is None else [run.h_n, run.c_n]


def _mark(c: Lowering, value: Value, role: str, state: Value) -> None:
    """Remembers which graph input `value` continues, so that the output can be named after it."""
    source = next((p for p in c.graph.inputs if state.is_run and p.tensor == state.tensor), None)
    if source is not None and _says_nothing(source.name) and all(p.name != f"{role}0" for p in c.graph.inputs):
        source.name = f"{role}0"
    c.roles[value.tensor] = (role, source.name if source else "")


def _says_nothing(name: str) -> bool:
    """Whether a state input's name is torch's own: hx, hx_0, hx_1, hidden_0."""
    return name.rstrip("0123456789").rstrip("_") in ("hx", "hidden", "hc", "args", "states")


def _sequence(name: str) -> Any:
    def lowered(c: Lowering, input: Any, *args: Any) -> list[Any]:
        if isinstance(
            args[0], Packing
        ):  # (data, batch_sizes, hx, params, has_biases, num_layers, dropout, train, both)
            packing, hx, *stack = args[:8]
            states = listed(hx)[: 2 if name == "lstm" else 1]
            x = _padded(c, input, packing)
            y, *last = _run_stack(c, name, x, states, _Stack(*stack), packing.lengths, True)
            return [_rows(c, y, is_zero_beyond=True), *last]
        hx, *stack = args[:7]
        if c.rank(input) != 3:
            raise c.refuse(f"a recurrence over a tensor of rank {c.rank(input)}; expected 3")
        return _run_stack(c, name, input, listed(hx), _Stack(*stack), None, args[7])

    return lowered


def _cell(name: str) -> Any:
    def lowered(
        c: Lowering, input: Value, hx: Any, w_ih: Value, w_hh: Value, b_ih: Any = None, b_hh: Any = None
    ) -> Any:
        kind, activations = ACTIVATIONS[name]
        arrays = [None if w is None else c.array(w, "weight of a cell") for w in (w_ih, w_hh, b_ih, b_hh)]
        given = listed(hx)
        batch, features = c.shape(input)
        frame = c.reshape(input, [batch, 1, features])
        states = [c.reshape(s, [1, *c.shape(s)]) for s in given]
        run = recurrence(c, kind, frame, [weights_of(*arrays)], activations=activations, initial=states)
        out = [c.reshape(s, c.shape(s)[1:]) for s in _states(run)]
        for role, value, state in zip("hc", out, given):
            _mark(c, value, role, state)
        return out if kind == "LSTM" else out[0]

    return lowered


for _name in ACTIVATIONS:
    OPS[_name] = OPS[f"{_name}_packed"] = _sequence(_name)
    OPS[f"{_name}_cell"] = _cell(_name)


# ---- cells of lstm_edge.training ---------------------------------------------------------------------------------------


@op("variant_lstm")
def _variant_lstm(
    c: Lowering, x: Value, lengths: Any, w_ih: Value, w_hh: Value, bias: Value, peephole: Any, output_gate: str
) -> Value:
    """An LSTM whose weights have the core's layout, (D, rows, columns)."""
    stored = {name: w for name, w in (("w_ih", w_ih), ("w_hh", w_hh)) if isinstance(w, Int8Weight)}
    of_x, of_h, biases = (c.array(w, "weight of a recurrence") for w in (w_ih, w_hh, bias))
    peepholes = [None] * len(of_x) if peephole is None else list(c.array(peephole, "peephole"))
    layer = [Weights(w, r, b, peephole=p) for w, r, b, p in zip(of_x, of_h, biases, peepholes)]
    kinds = ("sigmoid", "sigmoid", "tanh", output_gate, "tanh")
    activations = None if output_gate == "sigmoid" else [(kind, 0.0, 0.0) for kind in kinds]
    run = recurrence(c, "LSTM", x, layer, stored=stored, activations=activations, lengths=lengths)
    return run.frames(c, time_major=False)


@op("int8_rows")
def _int8_rows(c: Lowering, weight: Value) -> Value:
    """A weight that lstm_edge.training has rounded: the file holds it in int8."""
    c.graph.metadata[TRAINED_IN_INT8] = True
    return int8_weight(c.array(weight, "weight in int8"))


@op("forward_fill")
def _forward_fill(c: Lowering, x: Value) -> list[Value]:
    """Each column as a sequence of its own through h' = x, whose state is carried where a value is missing."""
    batch, frames, columns = c.shape(x)
    given = c.unary("not", c.unary("is_nan", x))
    mask = c.reshape(c.transpose(given, [0, 2, 1]), [batch * columns, frames])
    rows = c.reshape(c.transpose(x, [0, 2, 1]), [batch * columns, frames, 1])
    weights = Weights(np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32))
    run = recurrence(c, "RNN", rows, [weights], activations=[("linear", 0.0, 0.0)], mask=mask)
    filled = c.transpose(c.reshape(run.frames(c, time_major=False), [batch, columns, frames]), [0, 2, 1])
    return [filled, c.cast(given, "float32")]


# ---- packed sequences ------------------------------------------------------------------------------------------------


def _rows(c: Lowering, padded: Value, is_zero_beyond: bool = False) -> Value:
    """The frames of all sequences as rows; `is_zero_beyond`: whether those beyond a sequence's length are zero."""
    batch, frames, *rest = c.shape(padded)
    rows = c.reshape(padded, [batch * frames, *rest])
    c.padded[rows.tensor] = (padded, is_zero_beyond)
    return rows


def _padded(c: Lowering, rows: Value, packing: Packing) -> Value:
    """The padded tensor, batch first, whose frames `rows` are."""
    if rows.tensor in c.padded:
        return c.padded[rows.tensor][0]
    count, *rest = c.shape(rows)
    if not same(count, packing.batch * packing.frames):
        raise c.refuse(f"packed data of {count} rows; expected {packing.batch} sequences of {packing.frames} frames")
    return c.reshape(rows, [packing.batch, packing.frames, *rest])


@op("_pack_padded_sequence", "pack", lazy=True)
def _pack(c: Lowering, input: Value, lengths: Any, batch_first: bool) -> Any:
    """Every frame as a row, in whatever order the sequences come: each is computed on its own."""
    if not input.is_run:
        raise c.refuse("packing of a constant")
    x = input if batch_first else move.swap_axes(c, input, 0, 1)
    c.note(
        f"{ASSUMED}the longest of the lengths is all frames of the input: torch gives no frame beyond the longest, and here "
        "zeros stand after each length"
    )
    batch, frames, *_ = c.shape(x)
    first = move.sizes([batch])
    return [_rows(c, x), Packing(first.dtype, first.array, lengths=c.value(lengths, "int32"), frames=frames)]


@op("_pad_packed_sequence", "unpack", lazy=True)
def _unpack(
    c: Lowering, data: Value, batch_sizes: Any, batch_first: bool, padding_value: float, total_length: Any
) -> Any:
    if not isinstance(batch_sizes, Packing):
        raise c.refuse("unpacking what was not packed")
    if (isinstance(total_length, Dim) or total_length > 0) and not same(total_length, batch_sizes.frames):
        raise c.refuse(f"total_length {total_length}; expected the {batch_sizes.frames} frames that were packed")
    x = _padded(c, data, batch_sizes)
    _, is_zero_beyond = c.padded.get(data.tensor, (x, False))
    if padding_value or not is_zero_beyond:
        x = _filled(c, x, batch_sizes.lengths, padding_value)
    return [x if batch_first else move.swap_axes(c, x, 0, 1), batch_sizes.lengths]


def _filled(c: Lowering, x: Value, lengths: Value, value: float) -> Value:
    """x with `value` in all frames beyond each sequence's length."""
    batch, frames, *rest = c.shape(x)
    ones = [1] * len(rest)
    inside = c.binary("less", c.positions([1, frames, *ones], 1), c.reshape(lengths, [batch, 1, *ones]))
    return arithmetic.where(c, inside, x, known(np.float32(value)))
