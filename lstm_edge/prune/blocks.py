"""Which blocks of one weight go, and what the others become for it.

A block's loss by the second moments of what the weight multiplies: Hassibi and Stork, "Second order derivatives for network pruning: optimal
brain surgeon", 1993; for whole blocks Kurtic et al., 2022. The weights that stay are the least-squares answer to the whole weight's products,
solved anew for each strip of 16 rows.
"""

from __future__ import annotations

import numpy as np

from ..ir.sparse import BLOCK, as_blocks, held
from ..quantize.rounding import DAMPING, Moments, shrinkage

STAGES = 4  # what is left is weighed anew after each: a block's loss depends on which others have gone


def prune_weight(weight: np.ndarray, density: float, moments: Moments | None = None) -> np.ndarray:
    """A weight (..., N, K) of which the share `density` of the blocks is left, at least one; blocks that are zero already stay so.

    moments: of what it multiplies, or of equal parts of its rows; without them the blocks with the smallest mean square go and
    the others stay as they are.
    """
    found = held(weight)
    wanted = max(1, round(density * found.size))
    if wanted >= found.sum():
        return weight
    strips = as_blocks(weight).astype(np.float64)
    rows = weight.size // weight.shape[-1]
    counts = np.minimum(BLOCK[0], rows - BLOCK[0] * np.arange(len(strips)))[:, None]  # the last strip may have fewer
    if moments is None:
        found = _largest(np.square(strips).sum(1) / counts, found, wanted)
        left = np.where(found[:, None], strips, 0.0)
    else:
        left = _by_moments(strips, found, wanted, _by_strip(moments, len(strips), rows), counts)
    return np.ascontiguousarray(left.reshape(-1, weight.shape[-1])[:rows].reshape(weight.shape).astype(weight.dtype))


def _by_strip(moments: Moments, strips: int, rows: int) -> list[np.ndarray]:
    """Of each strip the damped moments (K, K); a strip that two parts share takes those of its first row."""
    parts = moments.sums.reshape(-1, *moments.sums.shape[-2:])
    damped = [_damped(part, moments.rows) for part in parts]
    return [damped[BLOCK[0] * strip * len(parts) // rows] for strip in range(strips)]


def _damped(sums: np.ndarray, count: int) -> np.ndarray:
    """Moments that tell of other data too, and that have an inverse: as int8 rounding takes them."""
    k = len(sums)
    if not np.isfinite(sums).all() or np.trace(sums) <= 0:
        return np.eye(k)
    share, mean = shrinkage(sums, count), np.trace(sums) / k
    return np.asarray(((1 - share) * sums + (share + DAMPING) * mean * np.eye(k)) / mean)


def _by_moments(
    strips: np.ndarray, found: np.ndarray, wanted: int, moments: list[np.ndarray], counts: np.ndarray
) -> np.ndarray:
    """Strips (S, 16, K) with `wanted` of the blocks `found` (S, K), the others' weights solved for."""
    left, begun = strips, int(found.sum())
    for stage in range(1, STAGES + 1):
        loss = np.zeros(found.shape)
        inverses: dict[bytes, np.ndarray] = {}  # at first all strips have the same columns
        for strip, columns in enumerate(found):
            key = columns.tobytes() + id(moments[strip]).to_bytes(8, "little")
            if key not in inverses:
                inverses = {key: np.diag(np.linalg.inv(moments[strip][np.ix_(columns, columns)]))}
            loss[strip, columns] = np.square(left[strip][:, columns]).sum(0) / inverses[key]
        count = round(begun * (wanted / begun) ** (stage / STAGES))
        found = _largest(loss / counts, found, count if stage < STAGES else wanted)
        left = np.zeros_like(strips)
        for strip, columns in enumerate(found):
            sums = moments[strip][columns]
            left[strip][:, columns] = np.linalg.solve(sums[:, columns], sums @ strips[strip].T).T
    return left


def _largest(worth: np.ndarray, found: np.ndarray, count: int) -> np.ndarray:
    """The `count` blocks of those found that are worth most."""
    order = np.argsort(-np.where(found, worth, -1.0), axis=None, kind="stable")
    kept = np.zeros(found.size, bool)
    kept[order[:count]] = True
    return np.asarray(kept.reshape(found.shape) & found)
