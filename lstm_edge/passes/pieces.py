"""A Slice of what a Concat put together, or of another Slice, is taken from where the values come from: what nobody
reads any more is then not put together."""

from __future__ import annotations

from collections.abc import Container

from ..ir.graph import Graph, Node
from ..ir.ops import each, read_attrs


def take_from_sources(graph: Graph, growing: Container[str] = ()) -> None:
    """growing: tensors whose sizes are not those of every run (passes.edit.growing), of which no Slice knows what it takes."""
    producers = {o: n for o, n in graph.producers().items() if o not in growing}
    for node in graph.nodes:
        while _source(graph, node, producers.get(node.inputs[0]) if node.inputs else None):
            pass
    graph.drop_unused()


def _source(graph: Graph, node: Node, feed: Node | None) -> bool:
    """Lets the Slice `node` read an input of `feed`, which makes what it reads now; False when it cannot."""
    cut = _range(graph, node)
    if cut is None or feed is None:
        return False
    axis, start, end = cut
    if feed.op == "Slice":
        outer = _range(graph, feed)
        if outer is None or outer[0] != axis:
            return False
        return _read(node, feed.inputs[0], axis, outer[1] + start, outer[1] + end)
    if feed.op != "Concat" or read_attrs(feed)["axis"] % len(graph.shape(feed.outputs[0])) != axis:
        return False
    for part in feed.inputs:
        size = graph.shape(part)[axis] if part else 0
        if not isinstance(size, int):
            return False
        if 0 <= start and end <= size:
            return _read(node, part, axis, start, end)
        start, end = start - size, end - size
    return False


def _range(graph: Graph, node: Node) -> tuple[int, int, int] | None:
    """Axis, first and end of a Slice that takes neighbours along one axis of a fixed size."""
    if node.op != "Slice":
        return None
    attrs, shape = read_attrs(node), graph.shape(node.inputs[0])
    if len(attrs["axes"]) != 1 or each(attrs["steps"], 1)[0] != 1:
        return None
    axis = attrs["axes"][0] % len(shape)
    size = shape[axis]
    if not isinstance(size, int):
        return None
    start, end, _ = slice(attrs["starts"][0], attrs["ends"][0]).indices(size)
    return (axis, start, end) if start < end else None


def _read(node: Node, source: str, axis: int, start: int, end: int) -> bool:
    node.inputs[0] = source
    node.attrs = {"axes": [axis], "starts": [start], "ends": [end]}
    return True
