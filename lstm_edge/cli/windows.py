"""Rows of a table as windows of frames, for `lstm-edge run --window N`: sliding by a row, or each row a whole window."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..metadata import source_frames
from .io import frames_axis, open_sizes, without_batch

TOGETHER = 64  # windows of a run, where the model takes a batch


@dataclass(frozen=True)
class Windows:
    """Arrays for Model.run of windows of `size` frames. time: the axis of frames without the batch; batch: the input's axis of windows, None where it takes one at a time."""

    port: Any
    size: int
    time: int
    batch: int | None

    @property
    def width(self) -> int:
        """Values of a frame."""
        return math.prod(int(s) for d, s in enumerate(without_batch(self.port)) if d != self.time)

    def of_rows(self, rows: Iterable[list[float]], place: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Windows as the input takes them, and the newest frame of each (windows, width). ShapeError where the rows are neither frames nor windows, or fewer than a window has."""
        windows, given = self._windows(rows, place), False
        together = 1 if self.batch is None else TOGETHER
        while True:
            held = [window for _, window in zip(range(together), windows)]
            if not held:
                break
            given = True
            arrived = np.array(held, np.float64)
            yield self._array(arrived), arrived[:, -1]
        if not given:
            raise ShapeError(
                f"{place}: expected at least {self.size} rows, a window (--window {self.size}), found fewer"
            )

    def _windows(self, rows: Iterable[list[float]], place: str) -> Iterator[list[list[float]]]:
        newest: deque[list[float]] = deque(maxlen=self.size)
        for row in rows:
            if len(row) == self.width:
                newest.append(row)
                if len(newest) == self.size:
                    yield list(newest)
            elif len(row) == self.width * self.size:
                yield [row[n : n + self.width] for n in range(0, len(row), self.width)]
            else:
                raise ShapeError(
                    f"{place}: expected {self.width} columns, the values of one frame, or {self.width * self.size}, those of "
                    f"a window of {self.size}, found {len(row)}; --columns takes some of a table's"
                )

    def _array(self, windows: np.ndarray) -> np.ndarray:
        """(windows, size, width) as the input has its axes."""
        frame = [int(s) for d, s in enumerate(without_batch(self.port)) if d != self.time]
        array = np.moveaxis(windows.reshape(*windows.shape[:2], *frame), 1, self.time + 1)
        return array[0] if self.batch is None else np.moveaxis(array, 0, self.batch)


def whole_table_note(model: Any, frames: int) -> str:
    """What to say of a table whose rows were one input of `frames` frames, answered once, though the source's network was made for windows; "" where nothing."""
    size = source_frames(model.metadata)
    if (
        len(model.inputs) != 1
        or size in (0, frames)
        or any(p.shape is None or frames_axis(p.shape) >= 0 for p in model.outputs)
    ):
        return ""
    return f"all rows are one input, answered once; the network was made for {size} frames: --window {size} answers for each {size} rows"


def windows_for(model: Any, size: int) -> Windows:
    """How a model's input takes windows of so many frames. ShapeError where it takes none."""
    if len(model.inputs) != 1 or model.is_step_model:
        raise ShapeError(
            "--window: expected a model of one input that takes windows, found one of several, or of single frames"
        )
    (port,) = model.inputs
    shape = without_batch(port)
    time = frames_axis(tuple(shape))
    if time < 0:
        time = next((d for d, s in enumerate(shape) if s == size), -1)
    if time < 0 or shape[time] not in ("frames", size) or any(open_sizes(s) for d, s in enumerate(shape) if d != time):
        raise ShapeError(
            f"--window {size}: expected an input with an axis of {size} frames, found {port.name!r} of shape {port.shape}"
        )
    return Windows(port, size, time, next((d for d, s in enumerate(port.shape) if s == "batch"), None))
