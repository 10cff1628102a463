"""Standardisation that is learnt on the training part and kept in the file as operations: raw values in, raw units out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import FormatError

STEPS_OF_FLOAT32 = 2.0**-23  # float32 keeps numbers to this share of their size


class Scaling(nn.Module):
    """x (..., columns) -> (x - mean) / deviation, by column; `unscale` the other way. mean, deviation: float64 (columns,).

    Both ways stay operations of their own in the file. Folded into the layer before it, the mean would become that layer's bias,
    which sums are added to from the start: at 1e5 +- 1 that costs up to 20 times the error (tests/test_training_forecast.py).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: np.ndarray, deviation: np.ndarray):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("deviation", torch.tensor(deviation, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        scaled: Tensor = (x - self.mean) / self.deviation
        return scaled

    def unscale(self, x: Tensor) -> Tensor:
        raw: Tensor = x * self.deviation + self.mean
        return raw


def learnt(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column of rows (n, columns), NaN left out; a column that is constant, or has no value,
    has a deviation of 1, so that it is moved to 0 alone."""
    given = ~np.isnan(rows)
    count = np.maximum(given.sum(0), 1)
    mean = np.where(given, rows, 0.0).sum(0) / count
    off = np.where(given, rows - mean, 0.0)
    deviation = np.sqrt((off**2).sum(0) / count)
    constant = deviation <= 1e-9 * np.maximum(np.abs(mean), 1e-30)
    return mean, np.where(constant, 1.0, deviation)


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
