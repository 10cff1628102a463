"""How a float32 weight is stored in int8: rows of whole numbers in -127..127, each with a float32 scale."""

from __future__ import annotations

import numpy as np

MOST_COLUMNS = 65536  # LE_MAX_I8_K: longer rows the core widens
INPUT_BITS = COARSE, FINE = 8, 15  # attribute input_bits: in how many bits int8 weights take what comes into their op
LEAST_COLUMNS = 2  # int8 and a scale for a row of one would take more room than float32


def row_scales(rows: np.ndarray) -> np.ndarray:
    """float32 (n,): max |w| / 127 of every row; weights too small for a normal scale become zeros. Cutting the largest weights off for a finer
    scale lowered the squared error of no layer of nine real models: eight bits are enough for a crest factor of 6."""
    scale = np.abs(rows).max(axis=1).astype(np.float32) / np.float32(127)
    return np.where(scale < np.finfo(np.float32).tiny, np.float32(0), scale)


def plain(rows: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """To nearest even: int8 (n, k)."""
    return np.clip(np.rint(rows / np.where(scale > 0, scale, 1)[:, None]), -127, 127).astype(np.int8)
