"""Where `lstm-edge run` takes frames from, piece by piece: the whole of a long file is never in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Union

import numpy as np

from ..errors import ShapeError
from .io import (
    check_dtype,
    columns_of,
    csv_rows,
    frame_width,
    frames_of_rows,
    named_rows,
    open_archive,
    open_array,
    suffix_of,
)
from .wav import WavReader


class ArraySource:
    """A .npy (mapped, not read) or an array of a .npz. `axis` is its frames axis, `batch` None where it has no such axis."""

    def __init__(self, array: np.ndarray, axis: int, batch: int | None = None):
        self.array, self.axis, self.batch, self.at = array, axis, batch, 0
        self.frames: int | None = array.shape[axis]

    def read(self, count: int) -> np.ndarray | None:
        """The next `count` frames, fewer at the end, None after it."""
        piece = self.array[(slice(None),) * self.axis + (slice(self.at, self.at + count),)]
        self.at += count
        return piece if piece.shape[self.axis] else None

    def close(self) -> None:
        pass


class RowSource:
    """A .csv: a row is a frame."""

    batch: int | None = None

    def __init__(self, path: str, port: Any, step_model: bool, columns: tuple[str, ...] = ()):
        self.path, self.port, self.step_model = path, port, step_model
        self.frames: int | None = None
        named = named_rows(path, columns) if columns else None
        self.rows: Iterator[Any] = csv_rows(path) if named is None else iter(named)

    def read(self, count: int) -> np.ndarray | None:
        rows = [row for _, row in zip(range(count), self.rows)]
        return frames_of_rows(np.array(rows), self.port, self.step_model, self.path) if rows else None

    def close(self) -> None:
        if hasattr(self.rows, "close"):
            self.rows.close()


class SampleSource:
    """A .wav of one channel, cut into frames; the last chunk is filled up with zeros to a multiple of the hop."""

    batch: int | None = None

    def __init__(self, path: str, port: Any, step_model: bool, multiple: int):
        self.port, self.step_model, self.path = port, step_model, path
        self.width = frame_width(port, step_model, path)
        self.reader = WavReader(path)
        if self.reader.channels != 1:
            found = self.reader.channels
            self.reader.close()
            raise ShapeError(
                f"{path}: expected one channel, found {found}; mix it down first (sox {path} -c 1 mono.wav)"
            )
        if not self.reader.count:
            self.reader.close()
            raise ShapeError(f"{path}: expected samples, found none")
        self.unit = self.width * multiple
        self.frames: int | None = -(-self.reader.count // self.unit) * multiple

    def read(self, count: int) -> np.ndarray | None:
        samples = self.reader.read(count * self.width)[:, 0]
        if not len(samples):
            return None
        rows = np.pad(samples, (0, -len(samples) % self.unit)).reshape(-1, self.width)
        return frames_of_rows(rows, self.port, self.step_model, self.path)

    def close(self) -> None:
        self.reader.close()


Source = Union[ArraySource, RowSource, SampleSource]


def open_sources(model: Any, paths: tuple[str, ...], axes: list[int]) -> list[Source]:
    """One source per input of a model that can stream; `axes` are the frames axes of its inputs' full shapes.

    Raises ShapeError where an array has another rank than the input takes.
    """
    multiple = int(model.metadata["streaming"].get("multiple", 1))
    if len(paths) == 1 and suffix_of(paths[0]) == ".npz":
        arrays = open_archive(paths[0], [p.name for p in model.inputs])
        return [_array_source(arrays[p.name], p, axis, model, paths[0]) for p, axis in zip(model.inputs, axes)]
    sources: list[Source] = []
    for port, path, axis in zip(model.inputs, paths, axes):
        if suffix_of(path) == ".csv":
            sources.append(RowSource(path, port, model.is_step_model, columns_of(model, port)))
        elif suffix_of(path) == ".wav":
            sources.append(SampleSource(path, port, model.is_step_model, multiple))
        else:
            array = open_array(path)
            sources.append(_array_source(array, port, axis, model, path))
    return sources


def _array_source(array: np.ndarray, port: Any, axis: int, model: Any, place: str) -> ArraySource:
    batch_axis = next((d for d, size in enumerate(port.shape) if size == "batch"), -1)
    shape = ["frames", *port.shape] if model.is_step_model else list(port.shape)
    check_dtype(array, port, place)
    missing = len(shape) - array.ndim
    optional = batch_axis >= 0 or (model.is_step_model and port.shape[:1] == (1,))
    if missing and not (missing == 1 and optional):
        found = f"found {array.shape}"
        raise ShapeError(f"{place}: input {port.name!r}: expected shape ({', '.join(map(str, shape))}), {found}")
    if model.is_step_model:
        return ArraySource(array, 0, None if missing or batch_axis < 0 else array.shape[batch_axis + 1])
    at = axis - 1 if missing and batch_axis < axis else axis
    return ArraySource(array, at, None if missing or batch_axis < 0 else array.shape[batch_axis])
