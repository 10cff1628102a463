"""The core's part of a step: many in a row with nothing of Python in between."""

from __future__ import annotations

import numpy as np

from .._core import Model
from .measure import frames_of, sample_inputs

REPEATS = 20


def core_step(model: Model, batch: int = 1) -> float:
    """Microseconds of a step in C, the median of some runs of many steps each. What a step from Python takes more is Python's:
    its call, the array of the answer, the reading of the input's buffer."""
    frames = frames_of(model, "step", 1)
    arrays = sample_inputs(model, frames=frames, batch=batch, step=True)
    stream = model.stream(batch)
    count = max(10, int(2e-3 / max(stream._repeat(arrays, frames, 20) / 20, 1e-7)))
    return 1e6 * float(np.median([stream._repeat(arrays, frames, count) / count for _ in range(REPEATS)]))
