"""Frames that a source has as a number only because its loop over them was written out for it."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

from ..errors import LstmEdgeError
from ..ir.dims import FRAMES, symbols
from ..ir.graph import Graph, Node
from ..ir.ops import GATES, TO_END, axes_of_frames, each, read_attrs
from .edit import note


def free(graph: Graph) -> None:
    """Opens the frames of a recurrence that was made of a written-out loop, where the source itself, asked at other numbers
    of frames, answers as the graph then does."""
    ask, graph.ask = graph.ask, None
    is_open = any("frames" in symbols(s) for p in graph.inputs for s in graph.shape(p.tensor))
    if ask is None or is_open or "frames" in graph.metadata.get("ranges", {}):
        return
    for count in _counts(graph):
        opened = _opened(graph, count)
        if opened is not None and ask(opened, count):
            graph.nodes, graph.tensors = opened.nodes, opened.tensors
            note(
                graph,
                f"the loop over {count} frames became a recurrence over any number of them: the source was asked at others",
            )
            return


def _counts(graph: Graph) -> Iterator[int]:
    """The numbers of frames that recurrences run over."""
    seen = set()
    for node in graph.nodes:
        if node.op in GATES:
            count = graph.shape(node.inputs[0])[axes_of_frames(node.attrs)[1]]
            if isinstance(count, int) and count > 1 and count not in seen:
                seen.add(count)
                yield count


def _picks_a_place(graph: Graph, node: Node, count: int) -> bool:
    """Whether a cut takes places from the middle of an axis of that size: what a loop does with every frame, written out."""
    if node.op != "Slice":
        return False
    read, shape = read_attrs(node), graph.shape(node.inputs[0])
    cuts = zip(read["axes"], read["starts"], read["ends"])
    return any(shape[a] == count and (0 < start < count - 1 or 1 < end < count) for a, start, end in cuts)


def _opened(graph: Graph, count: int) -> Graph | None:
    """The graph with that size of its inputs open, all axes but the last of each; None where an op asks for the number, or
    picks places that other numbers of frames would not have."""
    if any(_picks_a_place(graph, node, count) for node in graph.nodes):
        return None
    opened = Graph(inputs=graph.inputs, outputs=graph.outputs, states=graph.states, metadata=graph.metadata)
    for port in graph.inputs:
        tensor = graph.tensors[port.tensor]
        shape = tuple(FRAMES if s == count and d < len(tensor.shape) - 1 else s for d, s in enumerate(tensor.shape))
        opened.tensors[port.tensor] = replace(tensor, shape=shape)
    opened.tensors.update({n: t for n, t in graph.tensors.items() if t.is_constant})
    opened.tensors.update({s.read: graph.tensors[s.read] for s in graph.states})
    try:
        for node in graph.nodes:
            attrs = _from_the_end(graph, node, count)
            opened.add(node.op, node.inputs, attrs, node.name, list(node.outputs))
    except LstmEdgeError:
        return None
    return opened


def _from_the_end(graph: Graph, node: Node, count: int) -> dict[str, Any]:
    """The node's attributes, a cut of the last of so many places counted from the end."""
    attrs = deepcopy(node.attrs)
    if node.op == "Slice":
        read, shape = read_attrs(node), graph.shape(node.inputs[0])
        for n, (axis, start) in enumerate(zip(read["axes"], read["starts"])):
            if shape[axis] == count and start == count - 1 and each(read["steps"], len(read["axes"]))[n] == 1:
                attrs["starts"][n], attrs["ends"][n] = -1, TO_END
    return attrs
