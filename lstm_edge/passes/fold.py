"""What is known at conversion is computed there: constants folded, movements that move nothing removed, chains of
movements joined."""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from .. import reference
from ..ir.dims import Dim, product, value
from ..ir.graph import Graph, Node, Tensor, run_array
from ..ir.ops import OPS, each, is_whole_slice, op_spec, read_attrs, sizes_from
from ..ir.shapes import same
from .edit import constant_of, note, retrace

# An Expand or Tile of a constant is left to run time where folding it would grow the file by more elements than this.
LARGEST_GROWTH = 1 << 18
DIMS_OPS = tuple(op for op, spec in OPS.items() if "sizes" in spec.input_names)


def fold(graph: Graph, growing: Container[str] = ()) -> None:
    """Simplifies until nothing changes. Folded constants are the float64 result of reference.py rounded to float32. growing: tensors
    whose sizes are not those of every run, so that none is written down."""
    folded = 0
    while True:
        changed = 0
        alias: dict[str, str] = {}
        producers: dict[str, Node] = {}
        for node in retrace(graph):
            node.inputs = [alias.get(i, i) for i in node.inputs]
            if node.op in DIMS_OPS:
                _settle_sizes(graph, node, growing)
            if _fold_constant(graph, node):
                folded += 1
                changed += 1
                continue
            if _is_identity(graph, node):
                alias[node.outputs[0]] = node.inputs[0]
                changed += 1
                continue
            changed += _join(graph, node, producers, growing)
            graph.nodes.append(node)
            producers.update((o, node) for o in node.outputs if o)
        for end in graph.outputs:
            end.tensor = alias.get(end.tensor, end.tensor)
        for state in graph.states:
            state.write = alias.get(state.write, state.write)
        graph.drop_unused()
        if not changed:
            break
    if folded:
        note(graph, f"folded {folded} constant nodes")


def _settle_sizes(graph: Graph, node: Node, growing: Container[str]) -> None:
    """Writes sizes that are numbers into `shape`, and drops the inputs that are then read for nothing."""
    attrs = read_attrs(node)
    shape = attrs["shape"]
    sources, axes = each(attrs["from_input"], len(shape)), each(attrs["from_axis"], len(shape))
    for d, source in enumerate(sources):
        size = graph.shape(node.inputs[source])[axes[d]] if source >= 0 else None
        if isinstance(size, int) and node.inputs[source] not in growing:
            shape[d], sources[d], axes[d] = shape[d] * size, -1, 0
    read = list(range(sizes_from(node)))
    kept = read + sorted({s for s in sources if s >= 0} - set(read))
    node.attrs["shape"] = shape
    node.attrs["from_input"] = [kept.index(s) if s >= 0 else -1 for s in sources]
    node.attrs["from_axis"] = axes
    node.inputs = [node.inputs[i] for i in kept]


def _fold_constant(graph: Graph, node: Node) -> bool:
    """Makes the outputs of `node` constants where every input is one."""
    if any(i and constant_of(graph, i) is None for i in node.inputs):
        return False
    if node.op == "Fill" and any(s >= 0 for s in node.attrs["from_input"]):
        return False
    given = [o for o in node.outputs if o]
    if any(isinstance(s, Dim) for o in given for s in graph.shape(o)):
        return False
    made = sum(value(product(graph.shape(o)), 1, 1) for o in given)
    if made - sum(graph.tensors[i].values.size for i in node.inputs if i) > LARGEST_GROWTH:
        return False
    arrays = [reference.constant(graph.tensors[i]) if i else None for i in node.inputs]
    with np.errstate(all="ignore"):
        results = reference.run_node(node, arrays)
    for name, result in zip(node.outputs, results):
        if name:
            dtype = graph.tensors[name].dtype
            data = run_array(np.asarray(result).astype(dtype), f"node {node.name}")
            graph.tensors[name] = Tensor(name, dtype, data.shape, data)
    return True


def _is_identity(graph: Graph, node: Node) -> bool:
    """Whether the output always equals the first input, element by element and in shape."""
    if node.op == "Concat":
        return len(node.inputs) == 1
    if not node.inputs or node.op not in (
        "Reshape",
        "Expand",
        "Transpose",
        "Slice",
        "Pad",
        "Tile",
        "Resize",
        "Cast",
        "Unary",
    ):
        return False
    x, y = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
    if x.dtype != y.dtype or len(x.shape) != len(y.shape) or not all(same(a, b) for a, b in zip(x.shape, y.shape)):
        return False
    attrs = read_attrs(node)
    if node.op == "Unary":
        return bool(attrs["kind"] == "linear")
    if node.op == "Transpose":
        return bool(attrs["perm"] == sorted(attrs["perm"]))
    if node.op == "Slice":
        return all(
            is_whole_slice(x.shape[axis], start, end, step)
            for axis, start, end, step in zip(
                attrs["axes"], attrs["starts"], attrs["ends"], each(attrs["steps"], len(attrs["axes"]))
            )
        )
    if node.op == "Pad":
        return not any(attrs["pads"])
    return True


def _join(graph: Graph, node: Node, producers: dict[str, Node], growing: Container[str]) -> bool:
    """Lets a Transpose of a Transpose, or a Reshape of a Reshape, read what the first one reads."""
    before = producers.get(node.inputs[0]) if node.inputs else None
    if before is None or before.op != node.op:
        return False
    if node.op == "Transpose":
        node.attrs["perm"] = [before.attrs["perm"][p] for p in node.attrs["perm"]]
        node.inputs = [before.inputs[0]]
        return True
    return node.op == "Reshape" and _join_reshapes(graph, node, before, growing)


def _join_reshapes(graph: Graph, node: Node, before: Node, growing: Container[str]) -> bool:
    """Only where each size that `node` takes from its input is said by `before` in terms of its own inputs."""
    shape, sources, axes = (list(node.attrs[k]) for k in ("shape", "from_input", "from_axis"))
    inputs = [before.inputs[0], *before.inputs[1:], *node.inputs[1:]]
    rank = len(before.attrs["shape"])
    for d, source in enumerate(sources):
        if source > 0:
            sources[d] = source + len(before.inputs) - 1
        elif source == 0:
            a = axes[d] % rank
            if before.attrs["shape"][a] < 0:
                return False
            shape[d] *= before.attrs["shape"][a]
            sources[d], axes[d] = before.attrs["from_input"][a], before.attrs["from_axis"][a]
    if len(inputs) > op_spec(node).max_inputs:
        return False
    node.inputs, node.attrs["shape"], node.attrs["from_input"], node.attrs["from_axis"] = inputs, shape, sources, axes
    _settle_sizes(graph, node, growing)
    return True
