"""What a loop computes without what it carries, computed for all trips at once: before the loop, or after it."""

from __future__ import annotations

from collections.abc import Callable

from ..importers.dialect import Dialect, Value, known
from ..ir.dims import Size
from ..ir.graph import Node
from ..ir.ops import OPS, TO_END, read_attrs
from .body import Body, Frame
from .polynomials import NotACell


class Lift:
    """Tensors of a loop's body as values of all trips, with the trips along a new first axis in the order of time.

    `backward`: whether the first trip takes the last frame. What the loop makes of what it carries is given by `give`.
    """

    def __init__(self, ctx: Dialect, body: Body, trips: Size, backward: bool):
        self.ctx, self.body, self.trips, self.backward = ctx, body, trips, backward
        self._values: dict[str, tuple[Value, bool]] = {}  # whether it varies from trip to trip

    def give(self, tensor: str, value: Value) -> None:
        self._values[tensor] = value, True

    def whole(self, tensor: str) -> Value:
        """(T, ...) of a body tensor (...)."""
        value, varies = self.value(tensor)
        if varies:
            return value
        shape = self.ctx.shape(value)
        return self.ctx.expand(self.ctx.reshape(value, [1, *shape]), [self.trips, *shape])

    def value(self, tensor: str) -> tuple[Value, bool]:
        """A body tensor, and whether it has the axis of trips in front."""
        if tensor not in self._values:
            self._values[tensor] = self._value(tensor)
        return self._values[tensor]

    def shape(self, tensor: str) -> tuple[Size, ...]:
        return self.body.graph.shape(tensor)

    def _value(self, tensor: str) -> tuple[Value, bool]:
        body, ctx = self.body, self.ctx
        if tensor in body.frames:
            return ctx.reshape(self.sequence(body.frames[tensor]), [self.trips, *self.shape(tensor)]), True
        if tensor in body.outer:
            return body.outer[tensor], False
        if body.graph.tensors[tensor].is_constant:
            return known(body.graph.tensors[tensor].values), False
        if body.is_count(tensor):
            return self._counted(tensor)
        node = body.producers.get(tensor)
        if node is None or node.op not in LIFTED:
            raise NotACell(f"{tensor!r} is not known before the loop ends")
        if node.op == "Fill":
            return ctx.fill(node.attrs["value"], self.shape(tensor), body.graph.tensors[tensor].dtype), False
        operands = [self.value(i) if i else (None, False) for i in node.inputs[: SIZED.get(node.op, len(node.inputs))]]
        if not any(varies for _, varies in operands) and node.op not in SIZED:
            dtype = body.graph.tensors[tensor].dtype
            return ctx.emit(node.op, [v for v, _ in operands], dict(node.attrs), dtype), False
        if not operands[0][1] and node.op in SIZED:
            return self._sized(node, operands[0][0], self.shape(tensor)), False
        return LIFTED[node.op](self, node), True

    def sequence(self, frame: Frame) -> Value:
        """The frames of a sequence, (T, ...), in the order of time that the loop runs along."""
        ctx = self.ctx
        rank = len(ctx.shape(frame.source))
        moved = ctx.transpose(frame.source, [frame.axis, *(d for d in range(rank) if d != frame.axis)])
        if frame.backward != self.backward:
            moved = flipped(ctx, moved, 0)
        return moved

    def _counted(self, tensor: str) -> tuple[Value, bool]:
        """A number that follows from the number of the trip."""
        ctx, (slope, start) = self.ctx, self.body.affine(tensor)
        if isinstance(start, int) is False or slope not in (0, 1):
            raise NotACell(f"{tensor!r} counts from {start} by {slope}, expected a known number and 1")
        if slope == 0:
            return ctx.reshape(ctx.constant(start, "int64"), self.shape(tensor)), False
        counted = ctx.cast(ctx.arange(self.trips), "int32")
        counted = flipped(ctx, counted, 0) if self.backward else counted
        counted = ctx.binary("add", counted, ctx.constant(start, "int32"))
        return ctx.reshape(counted, [self.trips, *self.shape(tensor)]), True

    def aligned(self, tensor: str, rank: int) -> Value:
        """An operand that broadcasts to `rank` axes in the body, so that it does with the trips in front."""
        value, varies = self.value(tensor)
        shape = self.shape(tensor)
        return self.ctx.reshape(value, [self.trips, *[1] * (rank - len(shape)), *shape]) if varies else value

    def _sized(self, node: Node, x: Value | None, target: tuple[Size, ...]) -> Value:
        assert x is not None
        return self.ctx.reshape(x, target) if node.op == "Reshape" else self.ctx.expand(x, target)

    def emit(self, node: Node, inputs: list[Value | None], **changed: object) -> Value:
        dtype = self.body.graph.tensors[node.outputs[0]].dtype
        return self.ctx.emit(node.op, inputs, {**node.attrs, **changed}, dtype)


def flipped(ctx: Dialect, x: Value, axis: int) -> Value:
    return ctx.emit("Slice", [x], {"axes": [axis], "starts": [-1], "ends": [-TO_END], "steps": [-1]})


def check(body: Body, tensor: str, available: set[str], seen: set[str] | None = None) -> None:
    """NotACell where a tensor needs what is carried, or an op that cannot be lifted. `available`: what is given."""
    seen = set() if seen is None else seen
    known_here = available | body.frames.keys() | body.outer.keys()
    if tensor in seen or tensor in known_here or body.graph.tensors[tensor].is_constant or body.is_count(tensor):
        return
    seen.add(tensor)
    node = body.producers.get(tensor)
    if node is None:
        raise NotACell(f"{tensor!r} is carried from trip to trip")
    if node.op not in LIFTED or node.outputs[0] != tensor:
        raise NotACell(f"node {node.name} ({node.op}) cannot be taken out of the loop")
    for i in node.inputs[: SIZED.get(node.op, len(node.inputs))]:
        if i:
            check(body, i, available, seen)


# ---- ops with one axis more in front ---------------------------------------------------------------------------------


def _elementwise(lift: Lift, node: Node) -> Value:
    rank = len(lift.shape(node.outputs[0]))
    return lift.emit(node, [lift.aligned(i, rank) for i in node.inputs])


def _same_rows(lift: Lift, node: Node) -> Value:
    """Dense: all axes but the last are rows."""
    return lift.emit(node, [lift.whole(node.inputs[0]), *(lift.value(i)[0] if i else None for i in node.inputs[1:])])


def _matmul(lift: Lift, node: Node) -> Value:
    if min(len(lift.shape(i)) for i in node.inputs) < 2:
        raise NotACell(f"node {node.name} (MatMul) multiplies vectors")
    return _elementwise(lift, node)


def _along(lift: Lift, node: Node) -> Value:
    """An op along `axis`, of all its inputs."""
    rank = len(lift.shape(node.outputs[0] if node.op == "Concat" else node.inputs[0]))
    return lift.emit(node, [lift.whole(i) for i in node.inputs], axis=read_attrs(node)["axis"] % rank + 1)


def _over(lift: Lift, node: Node) -> Value:
    """An op over `axes` of its first input."""
    rank = len(lift.shape(node.inputs[0]))
    axes = list(read_attrs(node)["axes"]) or list(range(rank))
    rest = [lift.value(i)[0] if i else None for i in node.inputs[1:]]
    return lift.emit(node, [lift.whole(node.inputs[0]), *rest], axes=[a % rank + 1 for a in axes])


def _transpose(lift: Lift, node: Node) -> Value:
    return lift.ctx.transpose(lift.whole(node.inputs[0]), [0, *(p + 1 for p in node.attrs["perm"])])


def _reshape(lift: Lift, node: Node) -> Value:
    return lift.ctx.reshape(lift.whole(node.inputs[0]), [lift.trips, *lift.shape(node.outputs[0])])


def _expand(lift: Lift, node: Node) -> Value:
    target = lift.shape(node.outputs[0])
    return lift.ctx.expand(lift.aligned(node.inputs[0], len(target)), [lift.trips, *target])


def _gather(lift: Lift, node: Node) -> Value:
    """Rows of a table that stays, or the same places of what varies."""
    (data, varies), (places, moves) = (lift.value(i) for i in node.inputs)
    axis = read_attrs(node)["axis"] % len(lift.shape(node.inputs[0]))
    if varies and moves or moves and axis != 0:
        raise NotACell(f"node {node.name} (Gather) takes other places in every trip")
    return lift.emit(node, [data, places], axis=axis + (1 if varies else 0))


SIZED = {"Reshape": 1, "Expand": 1, "Fill": 0}  # how many inputs are read for more than their sizes
LIFTED: dict[str, Callable[[Lift, Node], Value]] = {
    **{op: _elementwise for op, spec in OPS.items() if spec.time.how == "maps"},
    "Dense": _same_rows,
    "MatMul": _matmul,
    "Concat": _along,
    "Softmax": _along,
    "Slice": _over,
    "Reduce": _over,
    "Normalize": _over,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Expand": _expand,
    "Fill": _expand,
    "Gather": _gather,
}
