"""What a front end computes with: values that are known, partly known (sizes among their elements), or run-time tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ... import memory
from ...errors import UnsupportedModelError
from ...ir.dims import Dim, Size, product
from ...ir.int8 import LEAST_COLUMNS, MOST_COLUMNS, plain, row_scales
from ...ir.node import dtype_name
from ...ir.sizes import broadcast as broadcast_shapes


@dataclass(eq=False)
class Value:
    """A value of the source: `array` when known (dtype object when elements may be Dims), else the Graph's `tensor`.

    `dtype` is the source's element type as a NumPy name; float16, bfloat16 and float64 are computed in float32 at run time,
    integers in int32.
    """

    dtype: str
    array: np.ndarray | None = None
    tensor: str = ""
    items: list[Value] | None = None  # a sequence of tensors

    def __post_init__(self) -> None:
        if self.array is not None:
            memory.hold(self.array)

    @property
    def is_known(self) -> bool:
        return self.array is not None and self.array.dtype != object

    @property
    def is_run(self) -> bool:
        return self.array is None and self.items is None

    @property
    def data(self) -> np.ndarray:
        """The array of a value that is known or partly known, which the caller has made sure of."""
        if self.array is None:
            raise TypeError("expected a value known at conversion, found one computed at run time")
        return self.array


def known(array: Any, dtype: str = "") -> Value:
    """A known Value; an object array without any Dim becomes an ordinary one."""
    array = np.asarray(array)
    if array.dtype == object:
        if any(isinstance(e, Dim) for e in array.flat):
            return Value(dtype or "int64", array)
        array = array.astype(dtype or "int64")
    return Value(dtype_name(array.dtype), array)


@dataclass(eq=False)
class Int8Weight(Value):
    """A known weight that the file holds in int8: `array` is what it stands for, `rows` (of its shape) and `scale`, one for
    each row of its last axis, are what stands there."""

    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int8))
    scale: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))


def int8_weight(weight: np.ndarray) -> Value:
    """The float32 weight (..., K) as the file holds it in int8; as it is where int8 does not pay."""
    if not LEAST_COLUMNS <= weight.shape[-1] <= MOST_COLUMNS:
        return known(weight)
    flat = weight.reshape(-1, weight.shape[-1])
    scale = row_scales(flat)
    rows = plain(flat, scale)
    stands_for = (rows * scale[:, None]).reshape(weight.shape)
    return Int8Weight("float32", stands_for, rows=rows.reshape(weight.shape), scale=scale)


def stacked(weights: Sequence[Int8Weight]) -> Int8Weight:
    """Weights of one shape along a new first axis."""
    array, rows = np.stack([w.data for w in weights]), np.stack([w.rows for w in weights])
    return Int8Weight("float32", array, rows=rows, scale=np.concatenate([w.scale for w in weights]))


def run_dtype(dtype: str, place: str) -> str:
    """The dtype a run-time tensor has for an element type of the source."""
    if dtype == "bool":
        return "bool"
    if dtype.startswith(("float", "bfloat")):
        return "float32"
    if dtype.startswith(("int", "uint")):
        return "int32"
    raise UnsupportedModelError(f"{place}: tensors of {dtype} are not supported: expected float, integer or bool")


class Undecided(Exception):
    """A fold over partly known sizes has no answer that holds for every batch and frames."""


# What reading an operator's attributes and inputs raises where the source says something that they cannot mean.
MEANINGLESS = (Undecided, ValueError, IndexError, KeyError, TypeError, AttributeError, ArithmeticError)


def check_bytes(shape: Sequence[Size], place: str, itemsize: int = 8) -> None:
    """Before a constant of this shape is made: a few bytes of file can ask for terabytes. MemoryLimitError."""
    count = product(shape)
    if not isinstance(count, Dim):
        memory.ask(count * itemsize, f"{place}: a constant of shape {list(shape)}")


def broadcast(a: Sequence[Size], b: Sequence[Size], place: str) -> list[Size]:
    """NumPy's broadcast of two shapes with Dims."""
    return list(broadcast_shapes([a, b], place))
