"""The aten calls that make tensors."""

from __future__ import annotations

from typing import Any

from ...dialect import Value
from ...dialect import movement as move
from ..lowering import Lowering
from ..program import DType, run_dtype
from ..registry import op


def _full(c: Lowering, size: Any, filled: Any, dtype: DType | None, own: str) -> Value:
    """A tensor of one value in the dtype asked for, else in its `own` (a run-time dtype)."""
    wanted = run_dtype(dtype, own)
    if isinstance(filled, (bool, int, float)):
        return c.fill(filled, list(size), "int64" if wanted == "int32" else wanted)
    return move.expand(c, c.value(filled, wanted), list(size))


@op("zeros", "empty", lazy=True)
def _zeros(c: Lowering, size: Any, *, dtype: DType | None = None, **_: Any) -> Value:
    return _full(c, size, 0.0, dtype, "float32")


@op("ones", lazy=True)
def _ones(c: Lowering, size: Any, *, dtype: DType | None = None, **_: Any) -> Value:
    return _full(c, size, 1.0, dtype, "float32")


@op("full", lazy=True)
def _aten_full(c: Lowering, size: Any, fill_value: Any, *, dtype: DType | None = None, **_: Any) -> Value:
    return _full(c, size, fill_value, dtype, c.dtype(fill_value))


@op("new_zeros", "new_empty", lazy=True)
def _new_zeros(c: Lowering, self: Value, size: Any, *, dtype: DType | None = None, **_: Any) -> Value:
    return _full(c, size, 0.0, dtype, c.dtype(self))


@op("new_ones", lazy=True)
def _new_ones(c: Lowering, self: Value, size: Any, *, dtype: DType | None = None, **_: Any) -> Value:
    return _full(c, size, 1.0, dtype, c.dtype(self))


@op("new_full", lazy=True)
def _new_full(c: Lowering, self: Value, size: Any, fill_value: Any, *, dtype: DType | None = None, **_: Any) -> Value:
    return _full(c, size, fill_value, dtype, c.dtype(self))


@op("zeros_like", "empty_like", lazy=True)
def _zeros_like(c: Lowering, self: Value, *, dtype: DType | None = None, **_: Any) -> Value:
    return _full(c, c.shape(self), 0.0, dtype, c.dtype(self))


@op("ones_like", lazy=True)
def _ones_like(c: Lowering, self: Value, *, dtype: DType | None = None, **_: Any) -> Value:
    return _full(c, c.shape(self), 1.0, dtype, c.dtype(self))


@op("full_like", lazy=True)
def _full_like(c: Lowering, self: Value, fill_value: Any, *, dtype: DType | None = None, **_: Any) -> Value:
    return _full(c, c.shape(self), fill_value, dtype, c.dtype(self))


@op("scalar_tensor", "tensor", lazy=True)
def _scalar_tensor(c: Lowering, s: Any, *, dtype: DType | None = None, **_: Any) -> Value:
    return c.value(s, run_dtype(dtype, c.dtype(s)))


@op("arange")
def _arange(c: Lowering, *bounds: Any, dtype: DType | None = None, **_: Any) -> Value:
    start, end, step = (0, bounds[0], 1) if len(bounds) == 1 else (*bounds, 1)[:3]
    wanted = run_dtype(dtype, "float32" if any(isinstance(b, float) for b in bounds) else "int32")
    return move.arange(c, start, end, step, "int64" if wanted == "int32" else wanted)
