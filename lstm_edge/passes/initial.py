"""What a recurrence starts from, when it is no constant tensor: constants stretched to the batch, or values computed from
inputs that do not move in time."""

from __future__ import annotations

import numpy as np

from .. import reference
from ..ir.dims import value
from ..ir.graph import Graph, Node
from ..ir.ops import sizes_from
from .edit import constant_of

MOVEMENTS = ("Reshape", "Expand", "Transpose", "Slice", "Tile")
BATCHES = (1, 3)
ANY_FRAMES = 1 << 16


def initial_value(graph: Graph, made_by: dict[str, Node], tensor: str) -> np.ndarray | None:
    """The value of `tensor` with batch 1 where it comes from constants and sizes alone and is the same for every
    sequence; None where it depends on data or on the sequence's place in the batch."""
    known = constant_of(graph, tensor)
    if known is not None:
        return known
    nodes, sizers = _ancestors(graph, made_by, tensor)
    if nodes is None:
        return None
    values = [_evaluate(graph, nodes, sizers, tensor, batch) for batch in BATCHES]
    return values[0] if np.array_equal(np.broadcast_to(values[0], values[1].shape), values[1]) else None


def is_given(graph: Graph, made_by: dict[str, Node], tensor: str) -> bool:
    """Whether `tensor` is an input of the graph, moved about at most: the caller then expects it to be read at every
    run."""
    while tensor in made_by and made_by[tensor].op in MOVEMENTS:
        tensor = made_by[tensor].inputs[0]
    return any(p.tensor == tensor for p in graph.inputs)


def _ancestors(graph: Graph, made_by: dict[str, Node], tensor: str) -> tuple[list[Node] | None, set[str]]:
    """The nodes `tensor` is computed by, and the tensors they read for their sizes; None when they read data."""
    nodes: dict[int, Node] = {}
    sizers: set[str] = set()
    open_ = [tensor]
    while open_:
        name = open_.pop()
        if not name or graph.tensors[name].is_constant:
            continue
        node = made_by.get(name)
        if node is None:
            return None, sizers
        if id(node) in nodes:
            continue
        nodes[id(node)] = node
        split = sizes_from(node)
        sizers.update(node.inputs[split:])
        open_ += node.inputs[:split]
    return [n for n in graph.nodes if id(n) in nodes], sizers


def _evaluate(graph: Graph, nodes: list[Node], sizers: set[str], tensor: str, batch: int) -> np.ndarray:
    made = {o for n in nodes for o in n.outputs}
    values: dict[str, np.ndarray | None] = {s: _of_size(graph, s, batch) for s in sizers - made if s}
    for node in nodes:
        for i in node.inputs:
            if i and i not in values:
                values[i] = reference.constant(graph.tensors[i])
        results = reference.run_node(node, [values[i] if i else None for i in node.inputs])
        values.update({o: r for o, r in zip(node.outputs, results) if o})
    return np.asarray(values[tensor], np.float32)


def _of_size(graph: Graph, tensor: str, batch: int) -> np.ndarray:
    """Zeros in the tensor's shape, for as many frames as fill any window."""
    return np.broadcast_to(np.float64(0), [max(value(d, batch, ANY_FRAMES), 0) for d in graph.shape(tensor)])
