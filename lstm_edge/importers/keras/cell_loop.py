"""RNN over a cell that the user described: a loop whose body is the cell's rule, settled like every loop of a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import LstmEdgeError, UnsupportedModelError
from ...ir.dims import Size
from ...recurrences.body import Body, Carried, Frame
from ...recurrences.loops import Budget, Collected, Loop, Trip, settle
from .. import plugins
from ..dialect import Dialect, Value, movement
from .config import Layer
from .emit import Emit

MOST_OPS = 4096  # of a loop that is no recurrence and is unrolled


class CellLoop(Loop):
    """The rule of a cell over x (B,T,I), from states (B,H): rule(dialect, [x, *states], config, weights) gives
    [output, *next states]."""

    certain = True

    def __init__(self, e: Emit, cell: Layer, x: Value, states: Sequence[Value]) -> None:
        self.ctx, self.cell = e, cell
        self.carried, self.frames, self.collected = list(states), [Frame(x, 1)], [Collected(1)]
        self.reads: list[str] = []
        inner, body = self._body()
        self.size, self.budget = len(body.graph.nodes), Budget(MOST_OPS, MOST_OPS, "operators")
        for text in inner.notes:
            e.note(text)

    def describe(self) -> Body:
        return self._body()[1]

    def _body(self) -> tuple[Dialect, Body]:
        inner = Dialect()
        inner.place = self.ctx.place
        (frame,) = self.frames
        batch, total, *features = self.ctx.shape(frame.source)
        x = Value("float32", tensor=inner.graph.input("x", (batch, *features)))
        states = [
            Value("float32", tensor=inner.graph.input(f"state{n}", self.ctx.shape(s)))
            for n, s in enumerate(self.carried)
        ]
        output, *after = self._applied(inner, [x, *states])
        self.reads = [s.tensor for s in states]
        carried = [Carried(s.tensor, inner.tensor(new), first) for s, new, first in zip(states, after, self.carried)]
        body = Body(inner.graph, frames={x.tensor: frame}, carried=carried, outputs=[inner.tensor(output)], total=total)
        return inner, body

    def _applied(self, d: Dialect, inputs: list[Value]) -> list[Value]:
        assert self.cell.rule is not None
        given = plugins.apply(self.cell.rule, d, inputs, self.cell.config.values, self.cell.weights, len(inputs))
        if len(given) != len(inputs):
            raise d.refuse(f"its rule gave {len(given)} values: expected the output and {len(inputs) - 1} next states")
        for before, after in zip(inputs[1:], given[1:]):
            if tuple(d.shape(after)) != tuple(d.shape(before)):
                raise d.refuse(f"its rule gave a state {d.shape(after)}: expected {d.shape(before)}, as it was")
        return given

    def finish(self, body: Body, last: Mapping[str, Value], outputs: list[Value]) -> list[Value]:
        turned = [1, 0, *range(2, len(self.ctx.shape(outputs[0])))]
        return [*(last[read] for read in self.reads), self.ctx.transpose(outputs[0], turned)]

    def trip(self, number: int, carried: list[Value], frames: list[Value]) -> Trip:
        output, *after = self._applied(self.ctx, [*frames, *carried])
        return Trip(None, after, [output])

    def bound(self) -> Size | str | None:
        return self.ctx.shape(self.frames[0].source)[1]

    def condition(self, carried: list[Value], last: Trip | None) -> Value | None:
        return None


def run_cell(e: Emit, cell: Layer, x: Value, initial: list[Value], go_backwards: bool) -> tuple[Value, list[Value]]:
    """y (B,T,H) in the order in which frames are taken, and the last states (B,H).

    UnsupportedModelError where the cell does not tell how wide its states are, or its loop can be no recurrence and
    its number of frames is open.
    """
    for key in cell.config.values:
        cell.config.take(key)
    if go_backwards:
        x = movement.flip(e, x, [1])
    *states, y = settle(_fitting(e, cell, x, initial))
    return y, states


def _fitting(e: Emit, cell: Layer, x: Value, initial: list[Value]) -> CellLoop:
    """The loop with as many states as its rule takes: as the config says, else one or two of the cell's units."""
    if initial:
        return CellLoop(e, cell, x, initial)
    said = cell.config.values.get("state_size")
    units = cell.config.values.get("units")
    choices: list[list[Any]] = [list(said) if isinstance(said, list) else [said]] if said else [[units], [units, units]]
    if any(not isinstance(width, int) for choice in choices for width in choice):
        raise e.unsupported(
            f"the config of cell {cell.written} has neither units nor state_size", "give one of them in its get_config"
        )
    first: LstmEdgeError | None = None
    for widths in choices:
        try:
            return CellLoop(e, cell, x, [e.fill(0.0, [e.shape(x)[0], width]) for width in widths])
        except UnsupportedModelError as why:
            first = first or why
    assert first is not None
    raise first
