"""The aten calls that make tensors."""

from __future__ import annotations

from typing import Any

from ...dialect import Value
from ...dialect import movement as move
from ..lowering import Lowering
from ..program import DType, run_dtype
from ..registry import op, spell


def _full(c: Lowering, size: Any, filled: Any, dtype: DType | None, own: str) -> Value:
    """A tensor of one value in the dtype asked for, else in its `own` (a run-time dtype)."""
    wanted = run_dtype(dtype, own)
    if isinstance(filled, (bool, int, float)):
        return c.fill(filled, list(size), "int64" if wanted == "int32" else wanted)
    return move.expand(c, c.value(filled, wanted), list(size))


def _like(c: Lowering, self: Value, size: Any, filled: Any, *, dtype: DType | None = None, **_: Any) -> Value:
    """A tensor of one value, of self's dtype where none is asked for."""
    return _full(c, size, filled, dtype, c.dtype(self))


# `_` takes the layout, the device and the like, which mean nothing here.
spell(
    {
        "zeros empty": lambda c, size, *, dtype=None, **_: _full(c, size, 0.0, dtype, "float32"),
        "ones": lambda c, size, *, dtype=None, **_: _full(c, size, 1.0, dtype, "float32"),
        "full": lambda c, size, fill_value, *, dtype=None, **_: _full(c, size, fill_value, dtype, c.dtype(fill_value)),
        "new_zeros new_empty": lambda c, self, size, **given: _like(c, self, size, 0.0, **given),
        "new_ones": lambda c, self, size, **given: _like(c, self, size, 1.0, **given),
        "new_full": lambda c, self, size, fill_value, **given: _like(c, self, size, fill_value, **given),
        "zeros_like empty_like": lambda c, self, **given: _like(c, self, c.shape(self), 0.0, **given),
        "ones_like": lambda c, self, **given: _like(c, self, c.shape(self), 1.0, **given),
        "full_like": lambda c, self, fill_value, **given: _like(c, self, c.shape(self), fill_value, **given),
        "scalar_tensor tensor": lambda c, s, *, dtype=None, **_: c.value(s, run_dtype(dtype, c.dtype(s))),
    },
    lazy=True,
)


@op("arange")
def _arange(c: Lowering, *bounds: Any, dtype: DType | None = None, **_: Any) -> Value:
    start, end, step = (0, bounds[0], 1) if len(bounds) == 1 else (*bounds, 1)[:3]
    wanted = run_dtype(dtype, "float32" if any(isinstance(b, float) for b in bounds) else "int32")
    return move.arange(c, start, end, step, "int64" if wanted == "int32" else wanted)
