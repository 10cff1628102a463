"""Loops of TorchScript, described to recurrences/ as ONNX's and TFLite's are.

The body is interpreted on a Graph of its own. What it changes of the variables and attributes from before it is carried
from trip to trip; a list that each trip adds one tensor to is collected, and so is a tensor that each trip writes one place of.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ....errors import LstmEdgeError
from ....ir.dims import Dim, Size
from ....recurrences.body import Body, Carried
from ....recurrences.loops import as_recurrence
from ....recurrences.polynomials import NotACell
from ...dialect import Value, known, movement
from ...dialect.value import MEANINGLESS
from ..lowering import Lowering
from ..program import Program, Step
from .frames import Frames
from .library import Growing, Raised
from .memory import Memory, Placed
from .numbers import plain

if TYPE_CHECKING:
    from .machine import Machine

FEWEST = 2  # trips of a loop that is worth a recurrence


def run(
    m: Machine, code: list[ast.stmt], trips: Size | None, *, counter: str = "", condition: ast.expr | None = None
) -> Exception | None:
    """Runs a loop as the recurrence that it spells; the reason, and nothing changed, where it spells none.

    `trips` and `counter` are those of a for loop; of a while loop, `condition` says whether there is a next trip.
    """
    if isinstance(trips, int) and trips < FEWEST:
        return NotACell(f"it has {trips} trips")
    m.low.stand_at(Step("loop", [], {}, f"loop.{m.steps}", m.place))
    place = m.low.step
    try:
        trial = _settled(m, code, trips, counter, condition)
        m.low.stand_at(place)
        outputs, last = as_recurrence(m.low, trial.body)
        last.update({c.read: trial.body.final(c, trial.trips) for c in trial.body.integers()})
        trial.leave(outputs, last)
        trial.pass_on_notes()
    except (NotACell, LstmEdgeError, Raised, *MEANINGLESS) as why:
        return why
    return None


def _settled(m: Machine, code: list[ast.stmt], trips: Size | None, counter: str, condition: ast.expr | None) -> _Trial:
    """The body as a Graph, with all that it changes among what it carries."""
    how = _How()
    while True:
        trial = _Trial(m, counter, how, condition)
        goes_on = trial.interpret(code, condition)
        if not trial.teaches(how):
            break
    trial.describe(trips, goes_on)
    return trial


@dataclass
class _How:
    """What earlier trials have told of the variables: those whose values, known before the loop, are carried; those that
    are set anew, so that they are not what shares their first value; lists that grow."""

    inputs: set[str] = field(default_factory=set)
    apart: set[str] = field(default_factory=set)
    growing: set[str] = field(default_factory=set)


class _Trial:
    """The body interpreted once. `given`: variables and attributes before it; `after`: after it; `live`: the lists and dicts
    among them that it works on."""

    def __init__(self, m: Machine, counter: str, how: _How, condition: ast.expr | None):
        self.m, self.how, self.counter = m, how, counter
        self.inner = Lowering(Program([], {}, [], []))
        self.memory = Memory(self.inner)
        self.body = Body(self.inner.graph, sizes=self.inner.held_sizes)
        self.body.trip = self.inner.graph.input(counter or "trip", (), "int32")
        self.asked = condition.id if isinstance(condition, ast.Name) else ""  # the variable that a while loop asks
        self.trips: Size = 0
        self._brought: dict[int, tuple[Any, Any]] = {}  # what came from outside, by its id there
        self._outside: dict[int, tuple[Any, Any]] = {}  # and the other way round
        self.outer = self._slots()
        self.live = {name: self._bring(name, value) for name, value in self.outer.items()}
        self.given = {name: _copied(value) for name, value in self.live.items()}
        self.after: dict[str, Any] = {}
        self.carried: list[tuple[str, Value]] = []

    def _slots(self) -> dict[str, Any]:
        """What the body may change: variables, attributes that were set, and the modules' tensors."""
        m = self.m
        found = {n: v for n, v in m.frames[-1].items() if n not in (self.counter, self.asked)}
        found.update({_slot(key): value for key, value in m.assigned.items()})
        for at, handle in m.held.items():
            if handle.is_run or m.memory.changed(handle) or f"held.{at}" in self.how.inputs:
                found[f"held.{at}"] = handle
        return found

    # ---- bringing values in ------------------------------------------------------------------------------------------

    def _bring(self, name: str, value: Any) -> Any:
        """A value from before the loop as the body has it: an input, or what is known where the body leaves it so."""
        if isinstance(value, (bool, int, float)) and name in self.how.inputs:
            return self._input(name, known(np.array(value, "float32" if isinstance(value, float) else None)))
        if not isinstance(value, (Value, list, dict, Frames)):
            return tuple(self._bring(name, v) for v in value) if isinstance(value, tuple) else value
        if id(value) in self._brought and name not in self.how.apart:
            return self._brought[id(value)][1]
        made = self._made(name, value)
        self._brought[id(value)], self._outside[id(made)] = (value, made), (made, value)
        return made

    def _made(self, name: str, value: Any) -> Any:
        if isinstance(value, list):
            if not value or name in self.how.growing:
                return Growing()
            return [self._bring(name, v) for v in value]
        if isinstance(value, dict):
            return {k: self._bring(name, v) for k, v in value.items()}
        if isinstance(value, Frames):
            return Frames(self._bring(name, value.whole), value.axis)
        now = self.m.memory.now(value)
        if now.is_run or name in self.how.inputs:
            return self._input(name, now)
        return Value(now.dtype, now.array)

    def _input(self, name: str, value: Value) -> Value:
        low = self.m.low
        # An axis of size 0 is one that the trips join something to, so that the body does not know its size.
        shape = tuple(Dim.symbol("joined") if size == 0 else size for size in low.shape(value))
        tensor = self.inner.graph.input(name, shape, low.run_dtype(value))
        self.body.outer[tensor] = value
        return Value(value.dtype, tensor=tensor)

    # ---- interpreting ------------------------------------------------------------------------------------------------

    def interpret(self, code: list[ast.stmt], condition: ast.expr | None) -> Any:
        """Runs the body; what the condition then is."""
        m = self.m
        kept = m.low, m.memory, m.frames, m.assigned, m.held
        variables = {n: v for n, v in self.live.items() if n in m.frames[-1]}
        if self.counter:
            variables[self.counter] = Value("int64", tensor=self.body.trip)
        keys = {_slot(key): key for key in m.assigned}
        m.assigned = {key: self.live[slot] for slot, key in keys.items()}
        m.held = {at: self.given.get(f"held.{at}", v) for at, v in m.held.items()}
        m.low, m.memory, m.frames = self.inner, self.memory, [variables]
        try:
            m.run(code)
            goes_on = m.value(condition) if condition is not None else None
            self.after = {n: v for n, v in variables.items() if n in self.given}
            self.after.update({_slot(key): value for key, value in m.assigned.items()})
            self.after.update({n: v for n, v in self.given.items() if n.startswith("held.")})
            self._new = self._met(kept[3], kept[4])
        finally:
            m.low, m.memory, m.frames, m.assigned, m.held = kept
        return goes_on

    def _met(self, assigned: dict[tuple[int, str], Any], held: dict[int, Value]) -> set[str]:
        """Attributes and tensors of modules that the body is the first to change, which are from now on known outside it."""
        m = self.m
        written = {f"held.{at}" for at, handle in m.held.items() if self.memory.changed(handle)}
        held.update({at: handle for at, handle in m.held.items() if at not in held})
        added = {key: m.first[key] for key in m.assigned if key not in assigned}
        assigned.update(added)
        return (written | set(map(_slot, added))) - set(self.given)

    def teaches(self, how: _How) -> bool:
        """Adds what is to be brought in another way; whether there was such."""
        before = len(how.inputs) + len(how.apart) + len(how.growing)
        how.inputs |= self._new
        for name in self._changed():
            given, after = self.given[name], self.after[name]
            if isinstance(given, list) and isinstance(after, list) and len(after) > len(given):
                how.growing.add(name)
            elif not isinstance(given, Growing):
                if any(not v.is_run if isinstance(v, Value) else True for v in _leaves(given)):
                    how.inputs.add(name)
                if after is not self.live[name] and self._is_shared(name):
                    how.apart.add(name)
        return len(how.inputs) + len(how.apart) + len(how.growing) > before

    def _is_shared(self, name: str) -> bool:
        mine = {id(v) for v in _leaves(self.given[name])}
        return any(id(v) in mine for n, other in self.given.items() if n != name for v in _leaves(other))

    def _changed(self) -> list[str]:
        return [n for n, value in self.given.items() if not self._same(self.after[n], value)]

    def _same(self, after: Any, given: Any) -> bool:
        """Whether the body leaves a value as it was given."""
        if isinstance(given, Growing):
            return after is given and not given.added
        if isinstance(after, (list, tuple)) and isinstance(given, (list, tuple)):
            return len(after) == len(given) and all(map(self._same, after, given))
        if isinstance(after, dict) and isinstance(given, dict):
            return after.keys() == given.keys() and all(self._same(after[k], given[k]) for k in given)
        if isinstance(after, Value) and isinstance(given, Value):
            if any(p.handle is given for p in self.memory.placed):
                return after is given
            now = self.memory.now(after)
            return now is given or now.is_run and given.is_run and now.tensor == given.tensor
        plain_types = (bool, int, float, str, Dim)
        return after is given or isinstance(after, plain_types) and type(after) is type(given) and after == given

    # ---- what the body is --------------------------------------------------------------------------------------------

    def describe(self, trips: Size | None, goes_on: Any) -> None:
        """Tells the body what it carries and collects, and how many trips there are."""
        body = self.body
        self.grown = [n for n in self._changed() if isinstance(self.given[n], Growing)]
        self.joined = {n: at for n in self._changed() if (at := self._joins(n)) is not None}
        handles = [id(p.handle) for p in self.memory.placed]
        if len(set(handles)) < len(handles):
            raise NotACell("it writes twice into one tensor")
        body.outputs = [self._tensor(self._added(n)) for n in self.grown]
        body.outputs += [added for added, _, _ in self.joined.values()]
        body.outputs += [self._tensor(p.content) for p in self.memory.placed]
        for name in self._changed():
            if name not in self.grown and name not in self.joined:
                self._carry(name, self.after[name], self.given[name])
        body.count()
        if trips is None:
            if not isinstance(goes_on, Value) or not goes_on.is_run:
                raise NotACell("its condition does not depend on the number of the trip")
            trips = body.trips(self.inner.tensor(goes_on), None)
        self.trips = body.total = trips
        body.find_frames(trips)
        for p in self.memory.placed:
            self._is_backward(p)

    def _joins(self, name: str) -> tuple[str, int, bool] | None:
        """What a trip joins to a tensor, the axis, and whether it goes in front; None where it does something else."""
        given, after = self.given[name], self.after[name]
        made = self.inner.producer(self.memory.now(after)) if isinstance(after, Value) else None
        if not isinstance(given, Value) or made is None or made.op != "Concat" or len(made.inputs) != 2:
            return None
        axis = self.inner.axis(made.attrs["axis"], self.inner.rank(given))
        if given.tensor not in made.inputs or sum(given.tensor in n.inputs for n in self.inner.graph.nodes) > 1:
            return None
        at = made.inputs.index(given.tensor)
        return made.inputs[1 - at], axis, at == 1

    def _added(self, name: str) -> Any:
        after = self.after[name]
        if not isinstance(after, Growing) or after.of is not self.given[name] or len(after.added) != 1:
            raise NotACell(f"the list {name!r} does not grow by one tensor a trip")
        return after.added[0]

    def _tensor(self, value: Any) -> str:
        if not isinstance(value, (Value, bool, int, float)):
            raise NotACell("it collects what is no tensor")
        return self.inner.tensor(self.inner.value(self.memory.now(value)))

    def _carry(self, name: str, after: Any, given: Any) -> None:
        befores, afters = list(_leaves(given)), list(_leaves(after))
        if len(befores) != len(afters):
            raise NotACell(f"variable {name!r} holds {len(befores)} values before a trip and {len(afters)} after it")
        for before, now in zip(befores, afters):
            if self._same(now, before) or any(c.read == getattr(before, "tensor", None) for c in self.body.carried):
                continue
            if not isinstance(before, Value) or not isinstance(now, (Value, bool, int, float)):
                raise NotACell(f"it changes {name!r}, which is no tensor")
            content = self.inner.value(self.memory.now(now), self.inner.dtype(before))
            first = self.body.outer.pop(before.tensor)
            self.body.carried.append(Carried(before.tensor, self.inner.tensor(content), first))

    def _is_backward(self, p: Placed) -> bool:
        """Whether the trips write the places from the last to the first. NotACell where they do not write each once."""
        size = self.inner.shape(p.handle)[p.axis]
        slope, start = self.body.affine(self.inner.tensor(p.index))
        if size != self.trips or (slope, start) not in ((1, 0), (-1, size - 1)):
            raise NotACell(
                f"writes places {start} + {slope} * trip of {size} in {self.trips} trips, expected each once"
            )
        return slope < 0

    # ---- after the loop ----------------------------------------------------------------------------------------------

    def leave(self, outputs: list[Value], last: dict[str, Value]) -> None:
        """Gives the variables, lists and tensors around what the loop makes of them."""
        m, rest = self.m, iter(outputs)
        made = {n: self._frames(n, next(rest)) for n in self.grown}
        replaced = {n: self._with_joined(n, next(rest)) for n in self.joined}
        placed = [(p, self._put(p, next(rest))) for p in self.memory.placed]
        tensors = {**self.body.outer, **last}
        others = [n for n in self._changed() if n not in made and n not in replaced]
        replaced.update({n: self._replaced(self.given[n], tensors) for n in others})
        for name, frames in made.items():
            self._set(name, frames)
            for scope in m.frames:
                scope.update({n: frames for n, v in scope.items() if v is self.outer[name]})
        for p, value in placed:
            m.memory.write(self._outside[id(p.handle)][1], value)
        for name, value in replaced.items():
            self._leave_one(name, self.outer[name], self.after[name], value)
        if self.asked:
            m.frames[-1][self.asked] = False

    def pass_on_notes(self) -> None:
        """Tells the Lowering around what was said inside the body."""
        low, said = self.m.low, self.inner.graph.metadata.get("arithmetic")
        for note in self.inner.notes:
            low.note(note)
        if said is not None:
            low.rounds(said["relative"], said["why"], said["steps"])

    def _frames(self, name: str, whole: Value) -> Frames:
        """The list that `name` has become: what was in it before, and what the trips gave."""
        low, growing = self.m.low, self.after[name]
        if growing.in_front:
            whole = movement.flip(low, whole, [0])
        before = [low.value(self.m.memory.now(v)) for v in self.outer[name]]
        if before:
            parts = [movement.stack(low, before, 0), whole]
            whole = movement.concat(low, low.promote(*(parts[::-1] if growing.in_front else parts)), 0)
        return Frames(whole)

    def _with_joined(self, name: str, whole: Value) -> Value:
        """The tensor that all trips have joined their parts to."""
        low, (_, axis, in_front) = self.m.low, self.joined[name]
        whole = movement.flip(low, whole, [0]) if in_front else whole
        whole = movement.move_axes(low, whole, [0], [axis])
        shape = low.shape(whole)
        whole = low.reshape(whole, [*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :]])
        before = self.m.memory.now(self.outer[name])
        parts = [before] if low.shape(before)[axis] != 0 else []
        return movement.concat(low, low.promote(*([whole, *parts] if in_front else [*parts, whole])), axis)

    def _put(self, p: Placed, whole: Value) -> Value:
        """The tensor whose places the trips have written."""
        low = self.m.low
        whole = movement.flip(low, whole, [0]) if self._is_backward(p) else whole
        return low.value(movement.move_axes(low, whole, [0], [p.axis]), self.inner.dtype(p.handle))

    def _replaced(self, given: Any, tensors: dict[str, Value]) -> Any:
        """A variable after the loop: each input of the body as the value that it has then."""
        if isinstance(given, (list, tuple)):
            return type(given)(self._replaced(v, tensors) for v in given)
        if isinstance(given, dict):
            return {k: self._replaced(v, tensors) for k, v in given.items()}
        return tensors.get(given.tensor, given) if isinstance(given, Value) and given.is_run else given

    def _leave_one(self, name: str, outer: Any, after: Any, value: Any) -> None:
        if isinstance(outer, Value) and after is self.live[name]:  # written to in place
            self.m.memory.write(outer, value)
        elif isinstance(outer, list) and after is self.live[name]:
            outer[:] = value
        elif isinstance(outer, dict) and after is self.live[name]:
            outer.update(value)
        else:
            self._set(name, plain(value) if isinstance(outer, (bool, int, float)) else value)

    def _set(self, name: str, value: Any) -> None:
        key = next((key for key in self.m.assigned if _slot(key) == name), None)
        if key is not None:
            self.m.assigned[key] = value
        else:
            self.m.frames[-1][name] = value


def _slot(key: tuple[int, str]) -> str:
    """The name of a module's attribute among the variables."""
    return f"self.{key[0]}.{key[1]}"


def _copied(value: Any) -> Any:
    """A variable whose lists and dicts no longer change."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(_copied, value))
    return {k: _copied(v) for k, v in value.items()} if isinstance(value, dict) else value


def _leaves(value: Any) -> Iterator[Any]:
    """Tensors and numbers in a variable."""
    if isinstance(value, (list, tuple)):
        for v in value:
            yield from _leaves(v)
    elif isinstance(value, dict):
        for v in value.values():
            yield from _leaves(v)
    elif isinstance(value, Frames):
        yield value.whole
    else:
        yield value
