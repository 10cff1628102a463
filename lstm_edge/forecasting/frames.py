"""How the arrays of a model's inputs and outputs are cut into frames.

Here an array is (batch, frames, ...) whatever the model's order of axes; `Cut` brings it to the model's and says where frames lie in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._core import Layout
from ..errors import UnsupportedModelError

if TYPE_CHECKING:
    from .._core import Array


@dataclass(frozen=True)
class Cut:
    """One input or output: where batch and frames lie (-1: nowhere), the sizes of one frame, and its dtype."""

    name: str
    dtype: str
    batch_axis: int
    frames_axis: int
    frame: tuple[int, ...]

    @property
    def size(self) -> int:
        """Values of one frame."""
        return math.prod(self.frame)

    def shape(self, batch: int, frames: int) -> tuple[int, ...]:
        """The model's shape of so many."""
        leading = {self.batch_axis: batch, self.frames_axis: frames}
        return tuple(leading[axis] for axis in sorted(leading) if axis >= 0) + self.frame

    def arranged(self, array: Array) -> Array:
        """(batch, frames, ...) in the model's order of axes, contiguous."""
        only: Array = self.in_runs(array, 1)[0]
        return only

    def in_runs(self, array: Array, runs: int) -> Array:
        """(batch, runs * frames, ...) as arrays of the model's order, one for each run, one after the other."""
        apart = array.reshape(array.shape[0], runs, -1, *self.frame).swapaxes(0, 1)  # (runs, batch, frames, ...)
        if self.frames_axis < 0:
            apart = apart[:, :, 0]
        elif 0 <= self.frames_axis < self.batch_axis:
            apart = apart.swapaxes(1, 2)
        return np.ascontiguousarray(apart if self.batch_axis >= 0 else apart[:, 0])

    def restored(self, array: Array) -> Array:
        """The model's array as (batch, frames, ...)."""
        if self.batch_axis < 0:
            array = array[None]
        if self.frames_axis < 0:
            return array[:, None]
        return array.swapaxes(0, 1) if 0 <= self.frames_axis < self.batch_axis else array

    def steps(self, batch: int, frames: int) -> tuple[int, int]:
        """Values from a sequence to the next, and from a frame to the next, in the model's array."""
        if self.frames_axis < 0:
            return self.size, 0
        if 0 <= self.frames_axis < self.batch_axis:
            return self.size, self.size * batch
        return self.size * frames, self.size


def cut_of(layout: Layout, role: str) -> Cut:
    """Raises UnsupportedModelError where batch and frames are not the first axes, or a frame has open sizes."""
    port = layout.port
    axes = sorted(axis for axis in (layout.batch_axis, layout.frames_axis) if axis >= 0)
    sizes = port.shape or ()
    frame = tuple(size for axis, size in enumerate(sizes) if axis not in axes)
    whole = axes == list(range(len(axes))) and all(isinstance(size, int) for size in frame)
    plain = all(sizes[axis] in ("batch", "frames", 1) for axis in axes)
    if port.shape is None or not whole or not plain:
        raise UnsupportedModelError(
            f"forecast: {role} {port.name!r}: expected batch and frames as the first axes and numbers behind them, "
            f"found {'an unknown shape' if port.shape is None else port.shape}"
        )
    return Cut(port.name, port.dtype, layout.batch_axis, layout.frames_axis, tuple(int(size) for size in frame))
