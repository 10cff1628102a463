"""Standardisation that is learnt on the training part and kept in the file as operations: raw values in, raw units out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


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
