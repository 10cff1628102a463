"""What the readers of JSON networks share: checked arrays and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import FormatError, ShapeError

LARGEST = 1 << 20  # of a width or a count in a file


def array(value: Any, place: str, shape: tuple[int | None, ...] | None = None) -> np.ndarray:
    """Nested lists of numbers as float32, of `shape` (None: any size). FormatError where they are ragged, hold
    something else or are not finite, ShapeError where the shape is another."""
    try:
        made = np.array(value, np.float64) if isinstance(value, list) else None
    except (ValueError, TypeError, OverflowError):
        made = None
    if made is None or made.ndim > 8 or not np.isfinite(made).all():
        raise FormatError(f"{place}: expected nested lists of finite numbers, all rows of one length")
    if shape is not None and (
        made.ndim != len(shape) or any(w is not None and w != s for w, s in zip(shape, made.shape))
    ):
        wanted = ", ".join("any" if w is None else str(w) for w in shape)
        raise ShapeError(f"{place}: expected shape ({wanted}), found {made.shape}")
    return made.astype(np.float32)


def whole(value: Any, place: str, lowest: int = 1) -> int:
    """A whole number from `lowest` to LARGEST; JSON writers may spell it 8.0 or [8]."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise FormatError(f"{place}: expected a whole number, found {str(value)[:40]}")
    if not lowest <= value <= LARGEST:
        raise FormatError(f"{place}: expected {lowest} to {LARGEST}, found {value}")
    return int(value)
