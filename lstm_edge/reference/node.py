"""One op in float64 NumPy, as docs/ops.md says."""

from __future__ import annotations

from math import prod

import numpy as np

from .. import memory
from ..ir.dims import Dim
from ..ir.graph import Node
from ..ir.ops import op_spec, place, read_attrs, spatial_axes
from ..ir.shapes import Result, infer
from . import elementwise, integer, layers, movement, over_axes, recurrent, signal
from .arrays import RUN_AS, Array, Attrs, Rule, Shaped, dtype_of

RULES: dict[str, Rule] = {
    **recurrent.RULES,
    **integer.RULES,
    **layers.RULES,
    **elementwise.RULES,
    **over_axes.RULES,
    **movement.RULES,
    **signal.RULES,
}


def run_node(node: Node, arrays: list[np.ndarray | None]) -> list[np.ndarray | None]:
    """One op on `arrays` (float64, int32 or bool; None for an input the node leaves out, or an absent value).

    Returns all outputs, optional ones included; None for absent ones. Checks shapes as shapes.infer does.
    """
    if any(name and array is None for name, array in zip(node.inputs, arrays)):
        return [None] * len(op_spec(node).outputs)
    shapes = infer(node, [None if a is None else Shaped(dtype_of(a), a.shape) for a in arrays])
    memory.foresee(16 * sum(prod(s for s in shape if not isinstance(s, Dim)) for _, shape in shapes), place(node))
    attrs = read_attrs(node)
    if _has_nothing_to_answer(node, attrs, arrays, shapes):
        return [None] * len(shapes)
    arrays = arrays + [None] * (len(op_spec(node).inputs) - len(arrays))
    with np.errstate(all="ignore"):
        results = RULES[node.op](node, attrs, arrays)
    results = [memory.hold(np.asarray(r)) for r in (results if isinstance(results, list) else [results])]
    for result, (dtype, shape) in zip(results, shapes):
        assert (result.dtype, result.shape) == (RUN_AS[dtype], shape), (place(node), result.dtype, result.shape, shape)
    return results


def _has_nothing_to_answer(node: Node, attrs: Attrs, arrays: list[Array], shapes: Result) -> bool:
    """The rule of docs/ops.md for absent values: ops that would have to make something of an empty axis."""
    if node.op == "Reshape":
        return arrays[0].size == 0 and 0 not in shapes[0][1]
    sizes = arrays[0].shape if arrays else ()
    if node.op == "Reduce":
        axes = attrs["axes"] or range(len(sizes))
    elif node.op in ("ArgReduce", "Softmax"):
        axes = [attrs["axis"]]
    elif node.op == "Gather":
        axes = [attrs["axis"]] if arrays[1].size else []
    elif node.op == "Pool":
        axes = spatial_axes(attrs, arrays[0].ndim)
    else:
        return False
    return any(sizes[a] == 0 for a in axes)
