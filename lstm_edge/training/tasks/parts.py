"""What is trained on, what chooses the weights, and what is held out: by whole sequences or by time, never mixed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import LstmEdgeError
from .options import AnomalyOptions, LabelOptions
from .spans import Stretches

ENOUGH = 10  # sequences from which on whole ones are held out


@dataclass(frozen=True)
class Parts:
    """To train, to choose and to score: stretches of frames (n, 2) of each part, and the number of each stretch's sequence."""

    stretches: tuple[Stretches, Stretches, Stretches]
    sequences: tuple[np.ndarray, np.ndarray, np.ndarray]
    note: str


def divided(bounds: Stretches, options: LabelOptions | AnomalyOptions) -> Parts:
    """Sequences (n, 2) of which whole ones are held out, or the end of each."""
    whole = options.split == "sequences" or (options.split == "auto" and len(bounds) >= ENOUGH)
    if not whole:
        return by_time(bounds, options.validation, options.test)
    alike = np.zeros(len(bounds), np.int64)
    return by_sequences(bounds, alike, options.validation, options.test, options.seed)


def by_sequences(bounds: Stretches, strata: np.ndarray, validation: float, test: float, seed: int) -> Parts:
    """Whole sequences (n, 2), drawn so that each class has its share in each part. strata: (n,) the class of each.

    LstmEdgeError where there are too few for three parts. A class with fewer than three may lack in parts.
    """
    rng = np.random.default_rng(seed)
    parts: list[list[int]] = [[], [], []]
    for kind in np.unique(strata):
        members = rng.permutation(np.flatnonzero(strata == kind))
        held, chosen = (max(round(share * len(members)), len(members) > 2) for share in (test, validation))
        if held + chosen >= len(members):  # large shares of few
            held, chosen = 0, min(1, len(members) - 1)
        for part, some in zip(parts, np.split(members, [len(members) - held - chosen, len(members) - held])):
            part.extend(some)
    if not all(parts):
        raise LstmEdgeError(
            f"expected sequences to train on, to choose by and to hold out, three of a class at least; found {len(bounds)} in all"
        )
    training, chooses, scores = (np.sort(np.array(part, np.int64)) for part in parts)
    numbers = (training, chooses, scores)
    counts = " + ".join(str(len(n)) for n in numbers)
    note = f"whole sequences are held out, drawn with seed {seed}: {counts} to train, to choose, to score"
    return Parts((bounds[training], bounds[chooses], bounds[scores]), numbers, note)


def by_time(bounds: Stretches, validation: float, test: float) -> Parts:
    """The end of each sequence is held out, what stands before it chooses, the rest trains."""
    lengths = bounds[:, 1] - bounds[:, 0]
    cut = bounds[:, :1] + np.round(lengths[:, None] * [1 - validation - test, 1 - test]).astype(np.int64)
    edges = np.concatenate([bounds[:, :1], cut, bounds[:, 1:]], 1)
    found = (edges[:, 0:2], edges[:, 1:3], edges[:, 2:4])
    kept = [np.flatnonzero(part[:, 1] > part[:, 0]) for part in found]
    if not all(map(len, kept)):
        raise LstmEdgeError(
            f"expected frames to train on, to choose by and to hold out, found {lengths.sum()} in all; give more, or hold out larger shares"
        )
    shares = " + ".join(f"{(p[:, 1] - p[:, 0]).sum():,}" for p in found)
    note = f"the end of each sequence is held out: {shares} frames to train, to choose, to score"
    a, b, c = kept
    return Parts((found[0][a], found[1][b], found[2][c]), (a, b, c), note)
