"""ONNX control flow, resolved at conversion: If by its condition, Loop by its number of trips."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import LstmEdgeError
from ...ir.dims import Dim
from ...recurrences.lifting import flipped
from ...recurrences.loops import Body, Carried, Frame
from ...recurrences.polynomials import NotACell
from ...recurrences.spelled import emit, recognised
from ..dialect import Value, known
from .interpreter import lower_block, used_names
from .lowering import Call, Lowering, lowers

MAX_UNROLLED_NODES = 16000


@lowers("If")
def _if(call: Call) -> list[Value | None]:
    condition = call.input(0)
    if not condition.is_known:
        raise call.refuse(
            f"its condition {call.input_name(0)!r} is known only at run time. If it follows from the shapes of "
            "the inputs, fix them (--shape); if from an input, give that as a constant (--set)"
        )
    taken = bool(np.asarray(condition.array).reshape(-1)[0])
    branch = call.require_attr("then_branch" if taken else "else_branch")
    call.ignore("then_branch", "else_branch")
    call.ctx.note(f"{call.place}: took its {'then' if taken else 'else'} branch")
    return run_subgraph(call, branch, {})


def run_subgraph(call: Call, graph: Any, bindings: dict[str, Value]) -> list[Value | None]:
    """Lowers the nodes of a subgraph in the scope around it; its outputs."""
    scope = call.scope.new_child(dict(bindings))
    lower_block(call.ctx, graph, scope)
    missing = [o.name for o in graph.output if o.name not in scope]
    if missing:
        raise call.refuse(f"output {missing[0]!r} of its subgraph is never computed")
    return [scope[o.name] for o in graph.output]


@lowers("Loop")
def _loop(call: Call) -> list[Value | None]:
    """The recurrence that its body spells; else unrolled, where the number of trips is known."""
    body = call.require_attr("body")
    trips, condition = call.optional(0), call.optional(1)
    why = "its condition is known only at run time"
    if condition is None or condition.is_known:
        if condition is None or bool(condition.array.reshape(-1)[0]):
            try:
                return _loop_recurrence(call, body, trips)
            except (NotACell, LstmEdgeError) as e:
                why = str(e)
    if trips is None or not trips.is_known:
        count = trips.array.reshape(-1)[0] if trips is not None and trips.array is not None else "computed at run time"
        raise call.refuse(
            f"it is no recurrence that can be told ({why}), and cannot be unrolled since its number of trips is {count}; "
            "fix the sizes that it depends on (--shape)"
        )
    return _unrolled(call, body, int(trips.array.reshape(-1)[0]), condition)


def _loop_recurrence(call: Call, body: Any, trips: Value | None) -> list[Value | None]:
    ctx, names, outs = call.ctx, [i.name for i in body.input], [o.name for o in body.output]
    carried = [call.input(n) for n in range(2, len(call.inputs))]
    inner = Lowering(ctx.opsets, ctx.used | used_names(body))
    inner.left, inner.repeats = ctx.left, ctx.repeats
    outside = _Outside(call.scope, inner, ctx)
    kept = [_same(body, outs[n + 1], names[n + 2]) for n in range(len(carried))]
    trip = inner.graph.input(names[0], (), "int32")
    bindings = {names[0]: Value("int64", tensor=trip), names[1]: known(np.asarray(True))}
    for value, name, same in zip(carried, names[2:], kept):
        bindings[name] = outside.brought_in(name, value) if same else _declared(inner, ctx, name, value)
    results = _lowered(call, inner, body, ChainMap({}, bindings, outside))
    tensors = [inner.tensor(v) for v in results[1:]]
    spelt = Body(
        inner.graph,
        outside.brought,
        trip=trip,
        sizes=inner._sizes,
        outputs=tensors[len(carried) :],
        carried=[
            Carried(bindings[n].tensor, t, v) for n, t, v, same in zip(names[2:], tensors, carried, kept) if not same
        ],
    )
    spelt.count()
    at_most = trips.array.reshape(-1)[0] if trips is not None and trips.array is not None else None
    if trips is not None and at_most is None:
        raise NotACell("its number of trips is computed at run time")
    if results[0].is_known and not results[0].array.all():
        raise NotACell("its condition is false after the first trip")
    total = spelt.trips("" if results[0].is_known else inner.tensor(results[0]), at_most)
    spelt.total = total
    spelt.find_frames(total)
    spelling = recognised(spelt)
    collected, last = emit(ctx, spelt, spelling)
    counts = {c.read: spelt.final(c, total) for c in spelt.integers()}
    final = [v if same else {**last, **counts}[bindings[n].tensor] for v, n, same in zip(carried, names[2:], kept)]
    ctx.note(f"{call.place}: its body spells {spelling.text}")
    return [*final, *collected]


def _lowered(call: Call, inner: Lowering, body: Any, scope: ChainMap) -> list[Value]:
    """The outputs of a body lowered into a graph of its own."""
    lower_block(inner, body, scope)
    missing = [o.name for o in body.output if o.name not in scope]
    if missing:
        raise call.refuse(f"output {missing[0]!r} of its body is never computed")
    return [scope[o.name] for o in body.output]


class _Outside(Mapping):
    """The scope around a body: run-time values become inputs of the body's graph when it reads them."""

    def __init__(self, scope: ChainMap, inner: Lowering, outer: Lowering):
        self.scope, self.inner, self.outer = scope, inner, outer
        self.brought: dict[str, Value] = {}  # body tensor -> value outside
        self._known: dict[int, Value] = {}

    def brought_in(self, name: str, value: Value) -> Value:
        if not value.is_run:
            return value
        if id(value) not in self._known:
            tensor = self.inner.graph.input(name, self.outer.shape(value), self.outer.run_dtype(value))
            self.brought[tensor] = value
            self._known[id(value)] = Value(value.dtype, tensor=tensor)
            uniform = self.outer.uniform(value)
            if isinstance(uniform, Dim):
                self.inner._sizes[tensor] = uniform
        return self._known[id(value)]

    def __getitem__(self, name: str) -> Value:
        return self.brought_in(name, self.scope[name])

    def __contains__(self, name: object) -> bool:
        return name in self.scope

    def __iter__(self) -> Iterator[str]:
        return iter(self.scope)

    def __len__(self) -> int:
        return len(self.scope)


def _declared(inner: Lowering, outer: Lowering, name: str, value: Value) -> Value:
    """A carried value as an input of the body's graph."""
    dtype = "int32" if value.dtype.startswith(("int", "uint")) else outer.run_dtype(value)
    return Value(value.dtype, tensor=inner.graph.input(name, outer.shape(value), dtype))


def _same(body: Any, output: str, name: str) -> bool:
    """Whether a body hands an input on as it is."""
    sources = {o: n.input[0] for n in body.node if n.op_type == "Identity" for o in n.output}
    while output != name and output in sources:
        output = sources[output]
    return output == name


def _check_trips(call: Call, trips: int, nodes: int) -> None:
    repeats = call.ctx.repeats
    if repeats * trips * nodes > MAX_UNROLLED_NODES:
        times = f", {repeats} times over," if repeats > 1 else ""
        raise call.refuse(f"{trips} trips of {nodes} nodes{times} are more than can be unrolled ({MAX_UNROLLED_NODES})")


def _trip(call: Call, body: Any, bindings: dict[str, Value], certain: int) -> list[Value | None]:
    """One of `certain` trips that will all run: loops in the body are refused by what they take in all of them."""
    outer = call.ctx.repeats
    call.ctx.repeats = outer * certain
    try:
        return run_subgraph(call, body, bindings)
    finally:
        call.ctx.repeats = outer


def _unrolled(call: Call, body: Any, count: int, condition: Value | None) -> list[Value | None]:
    _check_trips(call, count, len(body.node))
    carried = [call.input(n) for n in range(2, len(call.inputs))]
    running = condition is None or bool(call.known(1).reshape(-1)[0])
    names = [i.name for i in body.input]
    scans: list[list[Value]] = [[] for _ in range(len(body.output) - 1 - len(carried))]
    certain = count if _same(body, body.output[0].name, names[1]) else 1
    for trip in range(count):
        if not running:
            break
        values = [known(np.asarray(trip, np.int64)), known(np.asarray(True)), *carried]
        left = call.ctx.left[0]
        outputs = _trip(call, body, dict(zip(names, values)), certain)
        if trip == 0:  # the first tells what functions and branches take
            _check_trips(call, certain, left - call.ctx.left[0])
        if not outputs[0].is_known:
            raise call.refuse("its condition depends on data; such a loop cannot be unrolled")
        running = bool(outputs[0].array.reshape(-1)[0])
        carried = outputs[1 : 1 + len(carried)]
        for kept, value in zip(scans, outputs[1 + len(carried) :]):
            kept.append(value)
    call.ctx.note(f"{call.place}: unrolled {count} trips")
    return [*carried, *(stack(call, kept, 0) for kept in scans)]


def stack(call: Call, values: list[Value], axis: int) -> Value:
    if not values:
        raise call.refuse("a loop without trips that collects outputs is not supported")
    ctx = call.ctx
    parts = []
    for v in values:
        shape = ctx.shape(v)
        parts.append(ctx.reshape(v, [*shape[:axis], 1, *shape[axis:]]))
    return ctx.emit("Concat", parts, {"axis": axis}) if len(parts) > 1 else parts[0]


@lowers("Scan")
def _scan(call: Call) -> list[Value | None]:
    """The recurrence that its body spells; else unrolled, where the scanned axis has a known size."""
    body = call.require_attr("body")
    if call.opset < 9:
        raise call.refuse("Scan of opset 8 is not supported; export with opset 9 or later")
    scanned = call.require_attr("num_scan_inputs")
    states = len(call.inputs) - scanned
    scan_outputs = len(body.output) - states
    axes = [call.axis(a, call.rank(states + n)) for n, a in enumerate(call.attr("scan_input_axes", [0] * scanned))]
    backward = call.attr("scan_input_directions", [0] * scanned)
    out_axes = call.attr("scan_output_axes", [0] * scan_outputs)
    out_backward = call.attr("scan_output_directions", [0] * scan_outputs)
    scan = _ScanPlan(body, states, axes, [bool(b) for b in backward], out_axes, [bool(b) for b in out_backward])
    try:
        return _scan_recurrence(call, scan)
    except (NotACell, LstmEdgeError) as e:
        why = str(e)
    size = call.shape(states)[axes[0]]
    if isinstance(size, Dim):
        raise call.refuse(
            f"it is no recurrence that can be told ({why}), and cannot be unrolled since it scans an axis of "
            f"{size}; fix that size (--shape)"
        )
    return _unrolled_scan(call, scan, size)


@dataclass
class _ScanPlan:
    """What Scan's attributes say."""

    body: Any
    states: int
    axes: list[int]
    backward: list[bool]
    out_axes: list[int]
    out_backward: list[bool]


def _scan_recurrence(call: Call, scan: _ScanPlan) -> list[Value | None]:
    ctx, names = call.ctx, [i.name for i in scan.body.input]
    carried = [call.input(n) for n in range(scan.states)]
    inner = Lowering(ctx.opsets, ctx.used | used_names(scan.body))
    inner.left, inner.repeats = ctx.left, ctx.repeats
    outside = _Outside(call.scope, inner, ctx)
    bindings = {n: _declared(inner, ctx, n, v) for n, v in zip(names, carried)}
    frames = {}
    for n, axis in enumerate(scan.axes):
        x, name = call.input(scan.states + n), names[scan.states + n]
        shape = ctx.shape(x)
        tensor = inner.graph.input(name, (*shape[:axis], *shape[axis + 1 :]), ctx.run_dtype(x))
        bindings[name] = Value(x.dtype, tensor=tensor)
        frames[tensor] = Frame(x, axis, scan.backward[n])
    total = call.shape(scan.states)[scan.axes[0]]
    results = _lowered(call, inner, scan.body, ChainMap({}, bindings, outside))
    tensors = [inner.tensor(v) for v in results]
    spelt = Body(
        inner.graph,
        outside.brought,
        frames,
        sizes=inner._sizes,
        outputs=tensors[scan.states :],
        carried=[Carried(bindings[n].tensor, t, v) for n, t, v in zip(names, tensors, carried)],
    )
    spelt.count()
    spelling = recognised(spelt)
    outputs, last = emit(ctx, spelt, spelling)
    counts = {c.read: spelt.final(c, total) for c in spelt.integers()}
    collected: list[Value | None] = []
    for stacked, axis, flip in zip(outputs, scan.out_axes, scan.out_backward):
        stacked = flipped(ctx, stacked, 0) if flip else stacked
        rank = len(ctx.shape(stacked))
        order = list(range(1, rank))
        order.insert(call.axis(axis, rank), 0)
        collected.append(ctx.transpose(stacked, order))
    ctx.note(f"{call.place}: its body spells {spelling.text}")
    return [*({**last, **counts}[bindings[n].tensor] for n in names[: scan.states]), *collected]


def _unrolled_scan(call: Call, scan: _ScanPlan, size: int) -> list[Value | None]:
    ctx, body = call.ctx, scan.body
    _check_trips(call, size, len(body.node))
    carried = [call.input(n) for n in range(scan.states)]
    names = [i.name for i in body.input]
    scans: list[list[Value]] = [[] for _ in scan.out_axes]
    for trip in range(size):
        frames = []
        for n, axis in enumerate(scan.axes):
            x, at = call.input(scan.states + n), size - 1 - trip if scan.backward[n] else trip
            shape = ctx.shape(x)
            frames.append(ctx.reshape(ctx.slice_axis(x, axis, at, at + 1), [*shape[:axis], *shape[axis + 1 :]]))
        left = ctx.left[0]
        outputs = _trip(call, body, dict(zip(names, [*carried, *frames])), size)
        if trip == 0:
            _check_trips(call, size, left - ctx.left[0])
        carried = outputs[: scan.states]
        for kept, value in zip(scans, outputs[scan.states :]):
            kept.append(value)
    ctx.note(f"{call.place}: unrolled {size} trips")
    stacked = [
        stack(call, kept[::-1] if flip else kept, axis)
        for kept, flip, axis in zip(scans, scan.out_backward, scan.out_axes)
    ]
    return [*carried, *stacked]
