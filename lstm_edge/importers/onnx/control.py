"""ONNX control flow, resolved at conversion: If by its condition, Loop and Scan by what recurrences/ makes of them."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np

from ...ir.dims import Dim, Size
from ...recurrences.body import Body, Carried, Frame
from ...recurrences.lifting import flipped
from ...recurrences.loops import Collected, Loop, Trip, settle
from ...recurrences.polynomials import NotACell
from ..dialect import Value, known
from .interpreter import lower_block, used_names
from .lowering import Call, Lowering, lowers
from .sequences import Frames, Growing, frames


@lowers("If")
def _if(call: Call) -> list[Value | None]:
    condition = call.input(0)
    if not condition.is_known:
        raise call.refuse(f"its condition {call.input_name(0)!r} is known only at run time{call.remedy(0)}")
    taken = bool(np.asarray(condition.array).reshape(-1)[0])
    branch = call.require_attr("then_branch" if taken else "else_branch")
    call.ignore("then_branch", "else_branch")
    call.ctx.note(f"{call.place}: took its {'then' if taken else 'else'} branch")
    return [*run_subgraph(call, branch, {})]


def run_subgraph(call: Call, graph: Any, bindings: dict[str, Value]) -> list[Value]:
    """Lowers the nodes of a subgraph in the scope around it; its outputs."""
    scope = call.scope.new_child(dict(bindings))
    lower_block(call.ctx, graph, scope)
    return _given(call, graph, scope)


def _given(call: Call, graph: Any, scope: Mapping[str, Value]) -> list[Value]:
    """A subgraph's outputs in the scope that its nodes were lowered in."""
    missing = [o.name for o in graph.output if o.name not in scope]
    if missing:
        raise call.refuse(f"output {missing[0]!r} of its subgraph is never computed")
    return [scope[o.name] for o in graph.output]


# ---- Loop and Scan ---------------------------------------------------------------------------------------------------


@lowers("Loop")
def _loop(call: Call) -> list[Value | None]:
    return [*settle(_Loop(call))]


@lowers("Scan")
def _scan(call: Call) -> list[Value | None]:
    if call.opset < 9:
        raise call.refuse("Scan of opset 8 is not supported; export with opset 9 or later")
    return [*settle(_Scan(call))]


class _WithBody(Loop):
    """What Loop and Scan share. The body takes `before` values, the carried ones and frames, and gives `going` values,
    the carried ones and what is collected."""

    before: int = 0
    going: int = 0

    def __init__(self, call: Call, first: int, count: int):
        self.call, self.ctx, self.budget = call, call.ctx, call.ctx.budget
        self.graph = call.require_attr("body")
        self.size = len(self.graph.node)
        self.carried = [call.input(n) for n in range(first, first + count)]
        self.inputs = [i.name for i in self.graph.input]
        self.outputs = [o.name for o in self.graph.output]
        pairs = zip(self.outputs[self.going :], self.inputs[self.before :], range(count))
        self.same = [_same(self.graph, o, i) for o, i, _ in pairs]
        self.grown: dict[int, Growing] = {}  # by the place of a carried sequence: what a trip adds to it

    def trip(self, number: int, carried: list[Value], frames: list[Value]) -> Trip:
        leading = [known(np.asarray(number, np.int64)), known(np.asarray(True))][: self.before]
        values = run_subgraph(self.call, self.graph, dict(zip(self.inputs, [*leading, *carried, *frames])))
        return self._trip(values)

    def _trip(self, values: list[Value]) -> Trip:
        at = self.going + len(self.carried)
        return Trip(values[0] if self.going else None, values[self.going : at], values[at:])

    def describe(self) -> Body:
        ctx = self.call.ctx
        inner = Lowering(ctx.opsets, ctx.used | used_names(self.graph))
        inner.budget = ctx.budget
        outside = _Outside(self.call.scope, inner, ctx)
        body = Body(inner.graph, outside.brought, sizes=inner.held_sizes)
        bindings = self._leading(inner, body)
        names = self.inputs[self.before :]
        for value, name, same in zip(self.carried, names, self.same):
            bindings[name] = outside.brought_in(name, value) if same else _declared(inner, ctx, name, value)
        sequences = [n for n, same in enumerate(self.same) if not same and self.carried[n].items is not None]
        for frame, name in zip(self.frames, names[len(self.carried) :]):
            shape, at = ctx.shape(frame.source), frame.axis
            tensor = inner.graph.input(name, (*shape[:at], *shape[at + 1 :]), ctx.run_dtype(frame.source))
            bindings[name] = Value(frame.source.dtype, tensor=tensor)
            body.frames[tensor] = frame
        scope = ChainMap({}, bindings, outside)
        lower_block(inner, self.graph, scope)
        trip = self._trip(_given(self.call, self.graph, scope))
        self.reads = [bindings[name].tensor for name in names[: len(self.carried)]]
        body.carried = [
            Carried(self.reads[n], inner.tensor(trip.carried[n]), self.carried[n])
            for n, same in enumerate(self.same)
            if not same and n not in sequences
        ]
        self.grown = {n: _grown(names[n], trip.carried[n]) for n in sequences}
        body.outputs = [inner.tensor(v) for v in (*trip.collected, *(g.added[0] for g in self.grown.values()))]
        body.count()
        self._count(body, inner, trip.goes_on)
        return body

    def _leading(self, inner: Lowering, body: Body) -> dict[str, Value]:
        """What the body's first inputs are."""
        return {}

    def _count(self, body: Body, inner: Lowering, goes_on: Value | None) -> None:
        """Sets how many trips there are."""

    def finish(self, body: Body, last: Mapping[str, Value], outputs: list[Value]) -> list[Value]:
        assert body.total is not None
        ends = {**last, **{c.read: body.final(c, body.total) for c in body.integers()}}
        count = len(self.collected)
        grown = {n: (y, added.in_front) for (n, added), y in zip(self.grown.items(), outputs[count:])}
        carried = [
            v if same else self._sequence(*grown[n]) if n in grown else ends[read]
            for n, (v, read, same) in enumerate(zip(self.carried, self.reads, self.same))
        ]
        return [*carried, *(self._laid_out(y, c) for y, c in zip(outputs[:count], self.collected))]

    def _sequence(self, y: Value, in_front: bool) -> Value:
        return frames(flipped(self.ctx, y, 0) if in_front else y)

    def _laid_out(self, y: Value, collected: Collected) -> Value:
        y = flipped(self.ctx, y, 0) if collected.backward else y
        order = list(range(1, len(self.ctx.shape(y))))
        order.insert(collected.axis, 0)
        return self.ctx.transpose(y, order)


class _Loop(_WithBody):
    """Loop: the number of the trip and its condition go in, the next condition comes out."""

    before, going = 2, 1

    def __init__(self, call: Call):
        super().__init__(call, 2, len(call.inputs) - 2)
        self.limit, self.first_condition = call.optional(0), call.optional(1)
        self.collected = [Collected() for _ in self.outputs[1 + len(self.carried) :]]

    @property
    def certain(self) -> bool:
        return _same(self.graph, self.outputs[0], self.inputs[1])

    def bound(self) -> Size | str | None:
        if self.limit is None:
            return None
        if self.limit.array is None:
            return "computed at run time"
        size = self.limit.data.reshape(-1)[0]
        return size if isinstance(size, Dim) else int(size)

    def condition(self, carried: list[Value], last: Trip | None) -> Value | None:
        return self.first_condition if last is None else last.goes_on

    def _leading(self, inner: Lowering, body: Body) -> dict[str, Value]:
        condition = self.first_condition
        if condition is not None and not condition.is_known:
            raise NotACell("its condition is known only at run time")
        if condition is not None and not condition.data.all():
            raise NotACell("it makes no trip")
        body.trip = inner.graph.input(self.inputs[0], (), "int32")
        return {self.inputs[0]: Value("int64", tensor=body.trip), self.inputs[1]: known(np.asarray(True))}

    def _count(self, body: Body, inner: Lowering, goes_on: Value | None) -> None:
        at_most = self.bound()
        if isinstance(at_most, str):
            raise NotACell(f"its number of trips is {at_most}")
        if goes_on is not None and goes_on.is_known and not goes_on.data.all():
            raise NotACell("its condition is false after the first trip")
        condition = "" if goes_on is None or goes_on.is_known else inner.tensor(goes_on)
        body.total = body.trips(condition, at_most)
        body.find_frames(body.total)


class _Scan(_WithBody):
    """Scan: a frame of each sequence goes in with every trip."""

    def __init__(self, call: Call):
        scanned = call.require_attr("num_scan_inputs")
        states = len(call.inputs) - scanned
        super().__init__(call, 0, states)
        axes, directions = (call.attr(f"scan_input_{a}", [0] * scanned) for a in ("axes", "directions"))
        places = range(states, len(call.inputs))
        self.frames = [
            Frame(call.input(n), call.axis(axis, call.rank(n)), bool(backward))
            for n, axis, backward in zip(places, axes, directions)
        ]
        count = len(self.outputs) - states
        axes, directions = (call.attr(f"scan_output_{a}", [0] * count) for a in ("axes", "directions"))
        self.collected = [Collected(axis, bool(backward)) for axis, backward in zip(axes, directions)]

    @property
    def certain(self) -> bool:
        return True

    def bound(self) -> Size | str | None:
        return self.ctx.shape(self.frames[0].source)[self.frames[0].axis]

    def condition(self, carried: list[Value], last: Trip | None) -> Value | None:
        return None

    def _count(self, body: Body, inner: Lowering, goes_on: Value | None) -> None:
        body.total = self.ctx.shape(self.frames[0].source)[self.frames[0].axis]

    def _laid_out(self, y: Value, collected: Collected) -> Value:
        axis = self.call.axis(collected.axis, len(self.ctx.shape(y)))
        return super()._laid_out(y, Collected(axis, collected.backward))


class _Outside(MutableMapping[str, Value]):
    """The scope around a body: run-time values become inputs of the body's graph when it reads them."""

    def __init__(self, scope: MutableMapping[str, Value], inner: Lowering, outer: Lowering):
        self.scope, self.inner, self.outer = scope, inner, outer
        self.brought: dict[str, Value] = {}  # body tensor -> value outside
        self._known: dict[int, Value] = {}

    def brought_in(self, name: str, value: Value) -> Value:
        if isinstance(value, Frames):
            return frames(self.brought_in(name, value.whole))
        if value.items is not None:
            return Value(value.dtype, items=[self.brought_in(f"{name}.{n}", v) for n, v in enumerate(value.items)])
        if not value.is_run:
            return value
        if id(value) not in self._known:
            tensor = self.inner.graph.input(name, self.outer.shape(value), self.outer.run_dtype(value))
            self.brought[tensor] = value
            self._known[id(value)] = Value(value.dtype, tensor=tensor)
            uniform = self.outer.uniform(value)
            if isinstance(uniform, Dim):
                self.inner.held_sizes[tensor] = uniform
        return self._known[id(value)]

    def __getitem__(self, name: str) -> Value:
        return self.brought_in(name, self.scope[name])

    def __setitem__(self, name: str, value: Value) -> None:
        raise KeyError(f"{name!r} belongs to the scope around")

    def __delitem__(self, name: str) -> None:
        raise KeyError(f"{name!r} belongs to the scope around")

    def __contains__(self, name: object) -> bool:
        return name in self.scope

    def __iter__(self) -> Iterator[str]:
        return iter(self.scope)

    def __len__(self) -> int:
        return len(self.scope)


def _declared(inner: Lowering, outer: Lowering, name: str, value: Value) -> Value:
    """A carried value as an input of the body's graph; a sequence that is empty before the loop as one that grows."""
    if value.items is not None:
        if value.items or isinstance(value, (Frames, Growing)):
            raise NotACell(f"it carries {name!r}, a sequence that is not empty before it")
        return Growing(value.dtype, items=[])
    dtype = "int32" if value.dtype.startswith(("int", "uint")) else outer.run_dtype(value)
    return Value(value.dtype, tensor=inner.graph.input(name, outer.shape(value), dtype))


def _grown(name: str, value: Value) -> Growing:
    """What a trip adds to a carried sequence; NotACell unless it is one tensor."""
    if not isinstance(value, Growing) or len(value.added) != 1:
        raise NotACell(f"it changes {name!r}, a sequence, by other than one tensor a trip")
    return value


def _same(body: Any, output: str, name: str) -> bool:
    """Whether a body hands an input on as it is."""
    sources = {o: n.input[0] for n in body.node if n.op_type == "Identity" for o in n.output}
    while output != name and output in sources:
        output = sources[output]
    return output == name
