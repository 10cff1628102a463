"""What the rules of all ops share: arrays, their dtypes, the shapes of answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir.dims import Dim
from ..ir.graph import Node
from ..ir.shapes import infer

Array = Any  # an op's operand: np.ndarray, or None where the node leaves it out
Attrs = dict[str, Any]
Rule = Callable[[Node, Attrs, list[Array]], Any]  # the output, or a list of all outputs
RUN_AS = {"float32": np.float64, "int32": np.int32, "bool": np.bool_}


class Shaped:
    """What shapes.infer looks at."""

    def __init__(self, dtype: str, shape: tuple[int, ...]):
        self.dtype, self.shape = dtype, shape


def dtype_of(array: Array) -> str:
    return {"f": "float32", "i": "int32", "b": "bool"}[array.dtype.kind]


def to_dtype(x: Array, dtype: str) -> Array:
    """Cast: float to int truncates and saturates, NaN gives 0; to bool: x != 0."""
    if dtype == "int32" and x.dtype.kind == "f":
        return np.clip(np.trunc(np.nan_to_num(x, nan=0.0)), -(2.0**31), 2.0**31 - 1).astype(np.int32)
    return x != 0 if dtype == "bool" else x.astype(RUN_AS[dtype])


def shape_of(node: Node, arrays: list[Array]) -> tuple[int, ...]:
    """The shape of the first output."""
    _, shape = infer(node, [None if x is None else Shaped(dtype_of(x), x.shape) for x in arrays])[0]
    return tuple(size for size in shape if not isinstance(size, Dim))
