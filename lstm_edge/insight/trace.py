"""The gates and states of every recurrence of a model, step by step, as the core (or the float64 reference) computes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import format, reference
from ..errors import ShapeError
from ..ir.graph import Graph
from ..ir.ops import RECURRENT
from ..reference.recurrent import LETTERS
from ..reference.samples import is_framed

if TYPE_CHECKING:
    from .._core import Model

Array = NDArray[Any]
# Of one call of the network: (op index, whether backwards, [gates (D,T,B,gates,H), h (D,T,B,P), c (D,T,B,H), of 0 units where the op has none])
Raw = tuple[int, bool, list[Array]]
LEFT_OUT = {"IntegerLSTM": "it computes in whole numbers of a grid of its own"}


@dataclass(frozen=True)
class Recurrence:
    """One direction of an LSTM, GRU or RNN, or a ConvLSTM, whose units are positions of its image times channels.

    Arrays are (batch, frames, units), frames in the order of the op's input, also where it runs backwards. `gates` holds i, f, g, o
    (LSTM) or r, z, n (GRU) after their activations, NaN at frames that lengths or a mask leave out; `c` (LSTM) and `h` are the states
    after the frame, `h` as wide as the projection where there is one.
    """

    name: str
    op: str
    direction: str  # "forward" or "reverse"
    gates: dict[str, Array]
    c: Array | None
    h: Array

    @property
    def arrays(self) -> dict[str, Array]:
        """Everything by its letter: the gates, c where there is one, h."""
        return {**self.gates, **({} if self.c is None else {"c": self.c}), "h": self.h}

    def __getitem__(self, letter: str) -> Array:
        if letter not in self.arrays:
            raise KeyError(f"{self.op} {self.name!r}: expected one of {', '.join(self.arrays)}, found {letter!r}")
        return self.arrays[letter]


@dataclass(frozen=True)
class Trace(Mapping[str, Recurrence]):
    """The recurrences of a model by name, in execution order; an op of two directions is NAME.forward and NAME.reverse.

    left_out: what has a recurrence and no trace, with the reason.
    """

    recurrences: dict[str, Recurrence]
    left_out: dict[str, str]

    def __getitem__(self, name: str) -> Recurrence:
        if name not in self.recurrences:
            raise KeyError(f"expected one of {', '.join(self.recurrences) or 'none'}, found {name!r}")
        return self.recurrences[name]

    def __iter__(self) -> Any:
        return iter(self.recurrences)

    def __len__(self) -> int:
        return len(self.recurrences)

    @property
    def arrays(self) -> dict[str, Array]:
        """All arrays as NAME.LETTER, as `lstm-edge trace -o gates.npz` writes them."""
        return {f"{name}.{letter}": array for name, r in self.items() for letter, array in r.arrays.items()}


def trace(model: Model, values: list[Array], lengths: Any = None) -> Trace:
    """Model.trace: `values` are arrays as its `_arrange` gives them. With `lengths`, everything beyond a sequence's end is NaN.

    ShapeError where the arrays do not fit, or where `lengths` are given and a recurrence does not run over the model's own batch.
    """
    if lengths is None:
        return _named(model.ops, _calls(model, values))
    batch, frames, parts = model._ragged_parts(values, lengths)
    whole: dict[int, Raw] = {}
    for rows, part in parts:
        for index, backwards, arrays in _joined(_calls(model, part)):
            if arrays[0].shape[2] != len(rows) or arrays[0].shape[1] > frames:
                name, found = model.ops[index][1], arrays[0].shape[2]
                raise ShapeError(
                    f"lengths: recurrence {name!r}: expected the {len(rows)} sequences of one length, found {found}; "
                    "trace the sequences one by one"
                )
            blank = [np.full((len(a), frames, batch, *a.shape[3:]), np.nan, a.dtype) for a in arrays]
            for to, array in zip(whole.setdefault(index, (index, backwards, blank))[2], arrays):
                to[:, : array.shape[1], rows] = array
    return _named(model.ops, [[whole[index] for index in sorted(whole)]])


def reference_trace(source: Graph | format.Source, inputs: Mapping[str, Array]) -> Trace:
    """The same from the float64 reference, for a Graph or a .lstm file: float64 arrays.

    inputs: arrays by name with all axes of the model's inputs; of a step model with the frames first. Slow.
    """
    graph = source if isinstance(source, Graph) else format.read(source)
    given = {name: np.asarray(a) for name, a in inputs.items()}
    steps = is_framed(graph)
    states, calls = None, []
    for t in range(len(next(iter(given.values()))) if steps else 1):
        traced, states = reference.run_traced(graph, {n: a[t] for n, a in given.items()} if steps else given, states)
        backwards = [node.attrs.get("direction") == "reverse" for node in graph.nodes]
        none = np.zeros((1, 1, 1, 0))
        calls.append([(i, backwards[i], [r.gates, *r.states, none][:3]) for i, r in traced.items()])
    return _named([(node.op, node.name) for node in graph.nodes], calls)


def _calls(model: Model, values: list[Array]) -> list[list[Raw]]:
    """The calls of the network that a run of whole arrays is: one, or one for each frame of a step model."""
    stream, frames, count, _ = model._begin(values)
    try:
        if count < 0:
            return [_call(stream, values, frames)]
        return [_call(stream, [v[t, ...] for v in values], frames) for t in range(count)]
    finally:
        model._end(stream)


def _call(stream: Any, values: list[Array], frames: int) -> list[Raw]:
    found: list[Raw] = []
    try:
        for index, backwards, *shapes in stream._traced(frames):
            arrays = [np.full(shape, np.nan, np.float32) for shape in shapes]
            stream._trace(index, *arrays)
            found.append((index, backwards, arrays))
        stream._call(values, frames, -1, False, False)
    finally:
        for index, *_ in found:
            stream._trace(index, None, None, None)
    return found


def _joined(calls: list[list[Raw]]) -> list[Raw]:
    """The calls of each op one after the other: their frames follow."""
    by_op: dict[int, list[Raw]] = {}
    for call in calls:
        for raw in call:
            by_op.setdefault(raw[0], []).append(raw)
    return [
        (index, raws[0][1], [np.concatenate(parts, axis=1) for parts in zip(*(arrays for _, _, arrays in raws))])
        for index, raws in sorted(by_op.items())
    ]


def _named(ops: list[tuple[str, str]], calls: list[list[Raw]]) -> Trace:
    found: dict[str, Recurrence] = {}
    joined = _joined(calls)
    for index, backwards, arrays in joined:
        op, name = ops[index]
        name = name or f"{op}.{index}"
        name = name if name not in found and f"{name}.forward" not in found else f"{name}#{index}"
        both = len(arrays[1]) == 2
        for d in range(len(arrays[1])):
            direction = "reverse" if backwards or d else "forward"
            key = f"{name}.{direction}" if both else name
            gates, h = (np.swapaxes(a[d], 0, 1) for a in arrays[:2])
            c = np.swapaxes(arrays[2][d], 0, 1) if arrays[2].shape[-1] else None
            by_letter = {letter: gates[:, :, n] for n, letter in enumerate(LETTERS[op])}
            found[key] = Recurrence(key, op, direction, by_letter, c, h)
    ran = {index for index, *_ in joined}
    left_out = {
        name or f"{op}.{index}": f"{op}: {LEFT_OUT.get(op, 'it has not run: its input had no answer yet')}"
        for index, (op, name) in enumerate(ops)
        if op in RECURRENT and index not in ran
    }
    return Trace(found, left_out)
