"""Columns whose values lie so far from 0, for what they differ by, that float32 tells them apart badly or not at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import FormatError

STEPS_OF_FLOAT32 = 2.0**-23  # float32 keeps numbers to this share of their size


def coarse(name: str, mean: float, deviation: float) -> str | None:
    """A note where float32, which files compute in, is too coarse for a column; else None."""
    step = abs(mean) * STEPS_OF_FLOAT32
    if step <= 1e-3 * deviation:
        return None
    return (
        f"column {name!r}: values near {mean:.6g} differ by {deviation:.3g}, and float32 keeps steps of {step:.2g} there; "
        "subtract a constant from the column"
    )


def refuse_coarse(place: str, names: Sequence[str], mean: np.ndarray, deviation: np.ndarray) -> None:
    """FormatError for a column whose values float32 cannot tell apart: whatever would be learnt from it, a file could not compute."""
    for name, m, d in zip(names, mean, deviation):
        if d != 1 and d < abs(m) * STEPS_OF_FLOAT32 / 2:  # 1: of a constant, which stays one
            raise FormatError(f"{place}: {coarse(name, m, d)}")
