"""Loops of TorchScript over an open number of frames: described to recurrences/ as ONNX's and TFLite's are.

The body is interpreted once, on a Graph of its own. What it changes of the variables from before it is carried from trip
to trip; a list that is empty before it and has one more tensor after each trip is collected, as `Frames`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...ir.dims import Dim
from ...recurrences.body import Body, Carried
from ...recurrences.loops import as_recurrence
from ...recurrences.polynomials import NotACell
from ..dialect import Value, movement, selection
from .lowering import Lowering
from .program import Program, leaves

Variables = dict[str, Any]


@dataclass
class Frames:
    """A list of as many tensors as there are frames: `whole` holds them along its first axis."""

    whole: Value

    def call(self, low: Lowering, name: str, args: list[Any]) -> Any:
        """What a function of TorchScript gives for this list; `args` are those after it."""
        shape = low.shape(self.whole)
        if name == "len":
            return shape[0]
        if name == "__getitem__" and args == [-1]:
            return movement.index(low, self.whole, 0, -1)
        if name == "__getitem__" and isinstance(args[0], Value):
            return selection.gather(low, self.whole, args[0])
        if name == "stack":
            return movement.move_axes(low, self.whole, [0], [low.axis(args[0] if args else 0, len(shape))])
        if name == "cat":
            axis = low.axis(args[0] if args else 0, len(shape) - 1)
            if shape[axis + 1] == 1:
                moved = movement.move_axes(low, self.whole, [0], [axis])
                return low.reshape(moved, [*shape[1 : axis + 1], shape[0], *shape[axis + 2 :]])
        raise low.refuse(f"{name} of a list of as many tensors as there are frames; fix the number of frames")


def run(
    low: Lowering, scopes: list[Variables], counter: str, trips: Dim, interpret: Callable[[Lowering, Variables], None]
) -> None:
    """A loop of `trips` trips, which `counter` counts: afterwards the last of the scopes has what the loop leaves, and a
    list that it grows is the same one in all of them.

    `interpret` runs the body once on a Lowering and variables. NotACell or an LstmEdgeError says what does not fit.
    """
    variables, trial, known_before = scopes[-1], None, set[str]()
    while trial is None or trial.known_changed():
        known_before |= trial.known_changed() if trial is not None else set()
        trial = _Trial(low, variables, counter, trips, known_before)
        interpret(trial.inner, trial.after)
    body, grown = trial.body, trial.grown()
    trial.carry(grown)
    body.count()
    body.find_frames(trips)
    outputs, last = as_recurrence(low, body)
    last.update({c.read: body.final(c, trips) for c in body.integers()})
    for name, y in zip(grown, outputs):
        whole, old = Frames(y), variables[name]
        for scope in scopes:
            scope.update({n: whole for n, v in scope.items() if v is old})
    for name in trial.changed():
        if name not in grown:
            variables[name] = _replaced(trial.given[name], {**body.outer, **last})


class _Trial:
    """The body interpreted once: `given` are the variables before it, `after` those that it works on."""

    def __init__(self, low: Lowering, variables: Variables, counter: str, trips: Dim, inputs: set[str]):
        self.low, self.variables, self.inputs = low, variables, inputs
        self.inner = Lowering(Program([], {}, [], []))
        self.body = Body(self.inner.graph, sizes=self.inner.held_sizes, total=trips)
        self.body.trip = self.inner.graph.input(counter, (), "int32")
        self.given = {name: self._brought(name, value) for name, value in variables.items() if name != counter}
        self.after = {name: [*v] if isinstance(v, list) else v for name, v in self.given.items()}
        self.after[counter] = Value("int64", tensor=self.body.trip)

    def _brought(self, name: str, value: Any) -> Any:
        """A value from before the loop, as an input of the body. What is known stays so, unless the body changes it."""
        if isinstance(value, (list, tuple)):
            return type(value)(self._brought(name, v) for v in value)
        if isinstance(value, dict):
            return {k: self._brought(name, v) for k, v in value.items()}
        if isinstance(value, Frames):
            return Frames(self._brought(name, value.whole))
        if not isinstance(value, Value) or not value.is_run and name not in self.inputs:
            return value
        tensor = self.inner.graph.input(name, self.low.shape(value), self.low.run_dtype(value))
        self.body.outer[tensor] = value
        return Value(value.dtype, tensor=tensor)

    def changed(self) -> list[str]:
        return [name for name, value in self.given.items() if not _equal(self.after[name], value)]

    def known_changed(self) -> set[str]:
        """Variables that the body changes and that hold what is known before."""
        held = {n: leaves(self.given[n]) for n in self.changed() if n not in self.inputs}
        return {n for n, values in held.items() if any(isinstance(v, Value) and not v.is_run for v in values)}

    def grown(self) -> list[str]:
        """Lists that are empty before the loop and have one more tensor after each trip."""
        names = [n for n in self.changed() if isinstance(self.given[n], list) and not self.given[n]]
        return [n for n in names if isinstance(self.after[n], list) and len(self.after[n]) == 1]

    def carry(self, grown: list[str]) -> None:
        """Tells the body what it collects and what it carries."""
        self.body.outputs = [self.inner.tensor(self.inner.value(self.after[n][0])) for n in grown]
        for name in self.changed():
            before, after = [*leaves(self.given[name])], [*leaves(self.after[name])]
            if name in grown:
                continue
            if len(before) != len(after):
                raise NotACell(f"variable {name!r} holds {len(before)} values before a trip and {len(after)} after it")
            for b, a in zip(before, after):
                if not _equal(a, b):
                    self._carry_one(name, b, a)

    def _carry_one(self, name: str, before: Any, after: Any) -> None:
        if not isinstance(before, Value) or not isinstance(after, Value):
            raise NotACell(f"it changes {name!r}, which is no tensor")
        first = self.body.outer.pop(before.tensor)
        self.body.carried.append(Carried(before.tensor, self.inner.tensor(after), first))


def _equal(a: Any, b: Any) -> bool:
    """Whether the body leaves a value as it was given."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    if isinstance(a, Value) and isinstance(b, Value):
        return a is b or a.is_run and b.is_run and a.tensor == b.tensor
    return a is b or isinstance(a, (bool, int, float, str, Dim)) and type(a) is type(b) and a == b


def _replaced(value: Any, tensors: Mapping[str, Value]) -> Any:
    """A variable after the loop: each input of the body as the value that it has then."""
    if isinstance(value, (list, tuple)):
        return type(value)(_replaced(v, tensors) for v in value)
    if isinstance(value, dict):
        return {k: _replaced(v, tensors) for k, v in value.items()}
    return tensors.get(value.tensor, value) if isinstance(value, Value) and value.is_run else value
