"""What passes share: redirecting readers, counting them, emitting nodes in the middle of a graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..ir.graph import Graph, Node
from ..ir.ops import RUN_DTYPES


def redirect(graph: Graph, old: str, new: str) -> None:
    """Lets everything that reads tensor `old` (nodes, outputs, states) read `new`."""
    for node in graph.nodes:
        node.inputs = [new if i == old else i for i in node.inputs]
    for port in graph.outputs:
        port.tensor = new if port.tensor == old else port.tensor
    for state in graph.states:
        state.write = new if state.write == old else state.write


def rename(graph: Graph, old: str, new: str) -> None:
    """Gives a tensor another name; its node and its readers follow."""
    tensor = graph.tensors.pop(old)
    tensor.name = new
    graph.tensors[new] = tensor
    redirect(graph, old, new)
    for node in graph.nodes:
        node.outputs = [new if o == old else o for o in node.outputs]


def reader_counts(graph: Graph) -> Counter[str]:
    """How many places read each tensor: nodes, graph outputs and states."""
    counts = Counter(i for n in graph.nodes for i in n.inputs if i)
    counts.update(p.tensor for p in graph.outputs)
    counts.update(s.write for s in graph.states)
    return counts


def retrace(graph: Graph) -> Iterator[Node]:
    """Empties graph.nodes and yields the old ones in order: the caller appends each, or what takes its place
    (Graph.add)."""
    old, graph.nodes = graph.nodes, []
    yield from old


def growing(graph: Graph) -> set[str]:
    """What a state that fills up reaches: in the first runs it has fewer values than its shape says, or more."""
    reached = {s.read for s in graph.states if s.fill_axis >= 0}
    for node in graph.nodes:
        if reached.intersection(node.inputs):
            reached.update(node.outputs)
    return reached


def constant_of(graph: Graph, tensor: str) -> np.ndarray | None:
    """The data of a float32, int32 or bool constant; None for anything else, quantised weights included."""
    if not tensor:
        return None
    t = graph.tensors[tensor]
    return t.data if t.is_constant and t.dtype in RUN_DTYPES else None


def scalar_of(graph: Graph, tensor: str) -> float | None:
    """The value of a one-element constant, else None."""
    data = constant_of(graph, tensor)
    return float(data.reshape(-1)[0]) if data is not None and data.size == 1 else None


def replace_by(graph: Graph, node: Node, op: str, inputs: list[str], attrs: dict[str, Any]) -> None:
    """Appends `op` in the place of `node`: the same output tensor, whose shape is inferred anew."""
    output = node.outputs[0]
    del graph.tensors[output]
    graph.add(op, inputs, attrs, node.name, [output])


def note(graph: Graph, text: str) -> None:
    """Adds a line to what `convert --explain` and `info` show; a line is said once."""
    notes = graph.metadata.setdefault("notes", [])
    if text not in notes:
        notes.append(text)
