"""Recurrences between two reversals of time become reverse ones."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir.graph import Graph, Node, Tensor
from ..ir.ops import OPS, TO_END, each, read_attrs
from .edit import note, redirect, retrace

RECURRENT = ("LSTM", "GRU", "RNN")


def turn(graph: Graph) -> None:
    """A recurrence over a reversed sequence is a reverse one over the sequence, its answer reversed; two reversals of a
    sequence are none."""
    count = 0
    for node, producers in _retraced(graph):
        if node.op in RECURRENT and _unmasked(node) and node.attrs.get("direction", "forward") != "bidirectional":
            count += _turned(graph, node, producers)
        else:
            graph.nodes.append(node)
    if count:
        note(graph, f"read {count} recurrence{'s' if count > 1 else ''} over a reversed sequence as reverse")
        _cancel(graph)
        graph.drop_unused()


def _retraced(graph: Graph) -> Iterator[tuple[Node, dict[str, Node]]]:
    """`retrace`, each node with the producers of what is appended before it."""
    producers: dict[str, Node] = {}
    for node in retrace(graph):
        at = len(graph.nodes)
        yield node, producers
        producers.update((o, n) for n in graph.nodes[at:] for o in n.outputs if o)


def _unmasked(node: Node) -> bool:
    named = dict(zip((i.rstrip("?") for i in OPS[node.op].inputs), node.inputs))
    return not named.get("lengths") and not named.get("mask")


def _turned(graph: Graph, node: Node, producers: dict[str, Node]) -> bool:
    """Appends the node, turned round if its x is a reversal."""
    time = 0 if node.attrs.get("time_major") else 1
    behind = _before_reversal(graph, producers, node.inputs[0], time)
    graph.nodes.append(node)
    if behind is None:
        return False
    node.inputs[0] = behind
    node.attrs["direction"] = "reverse" if node.attrs.get("direction", "forward") == "forward" else "forward"
    y = node.outputs[0]
    if y:
        node.outputs[0] = graph.fresh(f"{y}.turned")
        graph.tensors[node.outputs[0]] = Tensor(node.outputs[0], "float32", graph.shape(y))
        graph.nodes.append(Node("Slice", [node.outputs[0]], [y], dict(_reversal(time)), f"{y}.turned_back"))
    return True


def _reversal(axis: int) -> dict[str, list[int]]:
    return {"axes": [axis], "starts": [-1], "ends": [-TO_END], "steps": [-1]}


def _before_reversal(graph: Graph, producers: dict[str, Node], tensor: str, axis: int) -> str | None:
    """The tensor whose reversal along `axis` this is (through a Transpose, which is then made anew), else None."""
    node = producers.get(tensor)
    if node is None:
        return None
    if node.op == "Slice":
        return node.inputs[0] if _reversed_axis(graph, node) == axis else None
    if node.op == "Transpose":
        inner = producers.get(node.inputs[0])
        perm = node.attrs["perm"]
        if inner is not None and inner.op == "Slice" and _reversed_axis(graph, inner) == perm[axis]:
            return graph.add1("Transpose", [inner.inputs[0]], {"perm": perm}, f"{node.name}.unreversed")
    return None


def _reversed_axis(graph: Graph, node: Node) -> int:
    """The axis that a Slice reverses as a whole, -1 if it does anything else."""
    attrs, shape = read_attrs(node), graph.shape(node.inputs[0])
    if len(attrs["axes"]) != 1 or each(attrs["steps"], 1) != [-1]:
        return -1
    axis, start, end = attrs["axes"][0] % len(shape), attrs["starts"][0], attrs["ends"][0]
    size = shape[axis]
    whole = start == -1 or start >= TO_END or isinstance(size, int) and start >= size - 1
    return axis if whole and (end <= -TO_END or isinstance(size, int) and end < -size) else -1


def _cancel(graph: Graph) -> None:
    """Lets readers of a reversal of a reversal read what is behind both."""
    alias: dict[str, str] = {}
    for node, producers in _retraced(graph):
        node.inputs = [alias.get(i, i) for i in node.inputs]
        axis = _reversed_axis(graph, node) if node.op == "Slice" else -1
        behind = _before_reversal(graph, producers, node.inputs[0], axis) if axis >= 0 else None
        if behind is not None:
            alias[node.outputs[0]] = behind
        graph.nodes.append(node)
    for old, new in alias.items():
        redirect(graph, old, new)
