"""Which blocks of one weight go, and what the others become for it.

A block's loss by the second moments of what the weight multiplies: Hassibi and Stork, "Second order derivatives for network pruning: optimal
brain surgeon", 1993; for whole blocks Kurtic et al., 2022. The weights that stay are the least-squares answer to the whole weight's products,
solved anew for each strip of 16 rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..ir.sparse import BLOCK, as_blocks
from ..quantize.rounding import DAMPING, shrinkage

STAGES = 8  # what is left is weighed anew after each: a block's loss depends on which others have gone


@dataclass(frozen=True)
class Seen:
    """What equal parts of a weight's rows multiply, x, and what they multiplied before pruning, x0: X^T X and X0^T X, (parts, K, K)."""

    own: np.ndarray
    cross: np.ndarray
    rows: int

    def damped(self) -> Seen:
        """Moments that tell of other data too, and that have an inverse: as int8 rounding takes them."""
        pairs = [_damped(own, cross, self.rows) for own, cross in zip(self.own, self.cross)]
        return Seen(np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs]), self.rows)


def _damped(own: np.ndarray, cross: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    k = len(own)
    if not np.isfinite(own).all() or not np.isfinite(cross).all() or np.trace(own) <= 0:
        return np.eye(k), np.eye(k)
    share, mean = shrinkage(own, rows), np.trace(own) / k
    added = (share + DAMPING) * mean * np.eye(k)
    return ((1 - share) * own + added) / mean, ((1 - share) * cross + added) / mean


def choose(weight: np.ndarray, found: np.ndarray, wanted: int, seen: Seen | None) -> np.ndarray:
    """`wanted` of the blocks `found` (strips, K) of a weight (N, K): those that cost most to lose, or the largest by mean square."""
    strips = as_blocks(weight).astype(np.float64)
    counts = np.minimum(BLOCK[0], len(weight) - BLOCK[0] * np.arange(len(strips)))[:, None]  # of rows in each strip
    if wanted >= found.sum():
        return found
    if seen is None:
        return _largest(np.square(strips).sum(1) / counts, found, wanted)
    part = _part_of_strips(len(strips), len(weight), len(seen.own))
    left, begun = strips, int(found.sum())
    for stage in range(1, STAGES + 1):
        loss = np.zeros(found.shape)
        inverses: dict[bytes, np.ndarray] = {}  # at first all strips of a part have the same columns
        for strip, columns in enumerate(found):
            key = columns.tobytes() + bytes([part[strip]])
            if key not in inverses:
                inverses = {key: np.diag(np.linalg.inv(seen.own[part[strip]][np.ix_(columns, columns)]))}
            loss[strip, columns] = np.square(left[strip][:, columns]).sum(0) / inverses[key]
        count = round(begun * (wanted / begun) ** (stage / STAGES))
        found = _largest(loss / counts, found, count if stage < STAGES else wanted)
        left = _solved(strips, found, seen, part)
    return found


def solve(weight: np.ndarray, found: np.ndarray, seen: Seen | None) -> np.ndarray:
    """The weight (N, K) with the blocks `found` alone, so that its products come as close to the whole one's as they can."""
    strips = as_blocks(weight).astype(np.float64)
    if seen is None:
        left = np.where(found[:, None], strips, 0.0)
    else:
        left = _solved(strips, found, seen, _part_of_strips(len(strips), len(weight), len(seen.own)))
    return np.ascontiguousarray(left.reshape(-1, weight.shape[1])[: len(weight)].astype(weight.dtype))


def _part_of_strips(strips: int, rows: int, parts: int) -> list[int]:
    """The part of each strip's first row."""
    return [BLOCK[0] * strip * parts // rows for strip in range(strips)]


def _solved(strips: np.ndarray, found: np.ndarray, seen: Seen, part: list[int]) -> np.ndarray:
    left = np.zeros_like(strips)
    for strip, columns in enumerate(found):
        own = seen.own[part[strip]][np.ix_(columns, columns)]
        wanted = strips[strip] @ seen.cross[part[strip]][:, columns]
        left[strip][:, columns] = np.linalg.solve(own, wanted.T).T
    return left


def _largest(worth: np.ndarray, found: np.ndarray, count: int) -> np.ndarray:
    """The `count` blocks of those found that are worth most."""
    order = np.argsort(-np.where(found, worth, -1.0), axis=None, kind="stable")
    kept = np.zeros(found.size, bool)
    kept[order[:count]] = True
    return np.asarray(kept.reshape(found.shape) & found)
