"""The states of a loop's body as its algebra reads them: a tensor that carries the states of several layers is parted into
those of each, and what reads a new state reads it where the loop carries it."""

from __future__ import annotations

from ..importers.dialect import Dialect, Value, movement, size_tensors
from ..ir.graph import Graph, Node, Tensor
from ..ir.ops import GATES, axes_of_frames, each, read_attrs
from .body import Body, Carried

Parted = dict[
    str, tuple[int, list[str]]
]  # a carried tensor -> the axis along which its parts lie, and what they are read as


def part(ctx: Dialect, body: Body) -> Parted:
    """Carries the parts of a tensor that a trip puts together of parts and reads part by part."""
    parted: Parted = {}
    for carried in list(body.carried):
        found = _parts_of(body, carried)
        if found is None:
            continue
        axis, slices, writes = found
        at, reads = 0, []
        for read, write in zip(slices, writes):
            size = body.graph.shape(read)[axis]
            assert isinstance(size, int)
            initial = ctx.slice_axis(carried.initial, axis, at, at + size)
            at += size
            body.carried.append(Carried(read, write, initial))
            reads.append(read)
        body.carried.remove(carried)
        parted[carried.read] = axis, reads
    return parted


def joined(ctx: Dialect, parted: Parted, last: dict[str, Value]) -> dict[str, Value]:
    """The last values, those of parts put together again too."""
    whole = {read: movement.concat(ctx, [last[p] for p in parts], axis) for read, (axis, parts) in parted.items()}
    return {**last, **whole}


def _parts_of(body: Body, carried: Carried) -> tuple[int, list[str], list[str]] | None:
    """The axis, what reads each part, and what becomes each; None where the tensor is not read and written so."""
    graph = body.graph
    joins = body.producers.get(carried.write)
    if joins is None or joins.op != "Concat" or carried.read in body.outputs:
        return None
    axis = read_attrs(joins)["axis"] % len(graph.shape(carried.read))
    places, at = {}, 0
    for n, tensor in enumerate(joins.inputs):
        size = graph.shape(tensor)[axis]
        if not isinstance(size, int):
            return None
        places[at, at + size], at = n, at + size
    readers = [n for n in graph.nodes if carried.read in n.inputs]
    found: dict[int, list[Node]] = {}
    for node in readers:
        attrs = read_attrs(node)
        if node.op != "Slice" or attrs["axes"] != [axis] or each(attrs["steps"], 1) != [1]:
            return None
        start, end = attrs["starts"][0], min(attrs["ends"][0], at)
        if (start, end) not in places:
            return None
        found.setdefault(places[start, end], []).append(node)
    return axis, [_as_input(graph, found.get(n, []), t) for n, t in enumerate(joins.inputs)], list(joins.inputs)


def _as_input(graph: Graph, slices: list[Node], like: str) -> str:
    """The tensor that the slices give, from now on one that no node makes."""
    if not slices:
        name = graph.fresh(f"{like}.before")
        graph.tensors[name] = Tensor(name, graph.tensors[like].dtype, graph.shape(like))
        return name
    first = slices[0].outputs[0]
    for node in slices:
        graph.nodes = [n for n in graph.nodes if n is not node]
        for other in graph.nodes:
            other.inputs = [first if i == node.outputs[0] else i for i in other.inputs]
    return first


# ---- one state under several names -----------------------------------------------------------------------------------


def meet(body: Body) -> None:
    """Lets what reads a new state in another shape read it where the loop carries it, so that the two are seen as one."""
    graph = body.graph
    for carried in body.carried:
        root, own = _unshaped(body, carried.write), body.producers.get(carried.write)
        maker = body.producers.get(root)
        if own is None or maker is None:
            continue
        others = [n for n in graph.nodes if n is not own or own is maker]
        made: dict[str, Node] = {}
        for node in others:
            for n, tensor in enumerate(node.inputs):
                if tensor and tensor != carried.write and _unshaped(body, tensor) == root:
                    if tensor not in made:
                        made[tensor] = _in_shape_of(graph, carried.write, tensor)
                    node.inputs[n] = made[tensor].outputs[0]
        if own is not maker:
            own.inputs = [root, *own.inputs[1:]]
        after = next(n for n, node in enumerate(others) if node is maker) + 1
        graph.nodes = [*others[:after], *([own] if own is not maker else []), *made.values(), *others[after:]]
        body.read_again()


def _unshaped(body: Body, tensor: str) -> str:
    """What a tensor is a Reshape of; of a recurrence's answer at its only frame, that is its last state."""
    node = body.producers.get(tensor)
    if node is not None and node.op == "Reshape":
        return _unshaped(body, node.inputs[0])
    if (
        node is not None
        and node.op in GATES
        and tensor == node.outputs[0]
        and len(node.outputs) > 1
        and node.outputs[1]
    ):
        one_frame = body.graph.shape(node.inputs[0])[axes_of_frames(node.attrs)[1]] == 1
        return node.outputs[1] if one_frame and read_attrs(node)["direction"] != "bidirectional" else tensor
    return tensor


def _in_shape_of(graph: Graph, tensor: str, like: str) -> Node:
    """The tensor in the shape of another."""
    d = Dialect()
    d.graph = graph
    inputs, attrs = size_tensors.dims_spec(d, list(graph.shape(like)), [tensor], rest=True)
    graph.add1("Reshape", inputs, attrs, f"{tensor}.rows")
    return graph.nodes.pop()
