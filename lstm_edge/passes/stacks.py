"""Tensors cut into all their places along an axis, and put together of them again."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.graph import Graph, Node
from ..ir.ops import each, read_attrs
from .edit import replace_by, retrace


def unstacked(graph: Graph, tensors: Sequence[str], producers: dict[str, Node] | None = None) -> tuple[str, int] | None:
    """The tensor of which these are all places along an axis, in order, and the axis; None where they are no such. Each
    has the sizes of all other axes, and may have axes of size 1 anywhere."""
    producers = graph.producers() if producers is None else producers
    found = [_place(graph, producers, t) for t in tensors]
    first = found[0]
    if first is None:
        return None
    source, axis, _ = first
    if found != [(source, axis, n) for n in range(len(tensors))] or graph.shape(source)[axis] != len(tensors):
        return None
    return source, axis


def _place(graph: Graph, producers: dict[str, Node], tensor: str) -> tuple[str, int, int] | None:
    """The tensor, axis and place that a tensor is cut out of; its sizes are those of all other axes."""
    shape, node = graph.shape(tensor), producers.get(tensor)
    while node is not None and node.op == "Reshape":
        node = producers.get(node.inputs[0])
    if node is None or node.op != "Slice":
        return None
    attrs, whole = read_attrs(node), graph.shape(node.inputs[0])
    if len(attrs["axes"]) != 1 or each(attrs["steps"], 1) != [1]:
        return None
    axis, size, start = attrs["axes"][0] % len(whole), graph.shape(node.outputs[0]), attrs["starts"][0]
    rest = [s for s in (*whole[:axis], *whole[axis + 1 :]) if s != 1]
    if size[axis] != 1 or start < 0 or [s for s in shape if s != 1] != rest:
        return None
    return node.inputs[0], axis, start


def restack(graph: Graph) -> None:
    """A Concat of all places of a tensor along an axis is that tensor, with the axis where the Concat has it."""
    producers = graph.producers()
    for node in retrace(graph):
        found = unstacked(graph, node.inputs, producers) if node.op == "Concat" else None
        perm = _moved(graph, node, *found) if found is not None else None
        if found is None or perm is None:
            graph.nodes.append(node)
        else:
            replace_by(graph, node, "Transpose", [found[0]], {"perm": perm})


def _moved(graph: Graph, node: Node, source: str, axis: int) -> list[int] | None:
    """How the axes of the source come to stand as in the Concat; None where they do not."""
    rank = len(graph.shape(source))
    perm = [d for d in range(rank) if d != axis]
    perm.insert(read_attrs(node)["axis"] % len(graph.shape(node.outputs[0])), axis)
    shape = graph.shape(source)
    return perm if tuple(shape[p] for p in perm) == tuple(graph.shape(node.outputs[0])) else None
