"""Shape and dtype inference of a node, with symbolic sizes, by its row of the table."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ShapeError
from .dims import same
from .node import Node, place
from .ops import MAX_RANK, RUN_DTYPES, op_spec, read_attrs
from .ops.movement import slice_size
from .sizes import broadcast
from .spec import WEIGHT_DTYPES, Call, Result, Shape, Typed

__all__ = ["Result", "Shape", "Typed", "broadcast", "infer", "same", "slice_size"]


def infer(node: Node, tensors: Sequence[Typed | None]) -> Result:
    """Dtype and shape of every output of `node`, optional ones included.

    `tensors`: one per input, None where it is absent. ShapeError when the inputs do not fit together,
    UnsupportedModelError for an op, attribute or attribute value that docs/ops.md does not have.
    """
    spec = op_spec(node)
    attrs = read_attrs(node)
    if not spec.min_inputs <= len(tensors) <= spec.max_inputs:
        raise ShapeError(f"{place(node)}: expected {spec.min_inputs} to {spec.max_inputs} inputs, found {len(tensors)}")
    for i in range(spec.min_inputs):
        if tensors[i] is None:
            raise ShapeError(f"{place(node)}: input {spec.input_name(i)} is missing")
    for i, t in enumerate(tensors):
        if (
            t is not None
            and t.dtype not in RUN_DTYPES
            and not (spec.input_name(i) in spec.weights and t.dtype in WEIGHT_DTYPES)
        ):
            raise ShapeError(
                f"{place(node)}: input {spec.input_name(i)}: expected dtype float32, int32 or bool, found {t.dtype}"
            )
    result = spec.infer(Call(node, spec, tensors, attrs))
    for _, shape in result:
        if len(shape) > MAX_RANK:
            raise ShapeError(f"{place(node)}: expected rank at most {MAX_RANK}, found {len(shape)} in {shape}")
    return result
