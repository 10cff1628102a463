"""Where `lstm-edge run` takes frames from, piece by piece: the whole of a long file is never in memory."""

from __future__ import annotations

from itertools import islice, zip_longest
from typing import Any, Protocol, Union

import numpy as np

from ..casting import check_dtype
from ..errors import FormatError, ShapeError
from .io import (
    Form,
    chosen_rows,
    frame_width,
    frames_of_rows,
    json_lines,
    named_form,
    number_rows,
    of_all_inputs,
    open_archive,
    open_array,
    suffix_of,
)
from .pipes import STDIN, Pipe
from .records import ArrayStream, LineRows, kind_of, pieces_of, read_header, table_of
from .sound import Sound, SoundOptions

MOST_ROWS = 1 << 14  # of a piece of what is taken whole


class ArraySource:
    """A .npy (mapped, not read) or an array of a .npz. `axis` is its frames axis, -1 without one, `batch` None where it has no such axis."""

    seconds: float | None = None

    def __init__(self, array: np.ndarray, axis: int, batch: int | None = None):
        self.array, self.axis, self.batch, self.at, self.given = array, axis, batch, 0, 0
        self.frames: int | None = array.shape[axis] if axis >= 0 else None

    def read(self, count: int) -> np.ndarray | None:
        """The next `count` frames, fewer at the end, None after it."""
        piece = self.array[(slice(None),) * self.axis + (slice(self.at, self.at + count),)]
        self.at += count
        self.given = piece.shape[self.axis]
        return piece if self.given else None

    def whole(self) -> np.ndarray:
        return self.array

    def close(self) -> None:
        pass


class Rows(Protocol):
    """Frames as rows."""

    @property
    def frames(self) -> int | None:
        """How many there are, None where nobody knows."""

    @property
    def seconds(self) -> float | None:
        """How long one lasts, None of what is no sound."""

    def take(self, count: int) -> np.ndarray | None:
        """The next rows that are there, at least one and at most `count`; None at the end: (n, columns)."""

    def close(self) -> None: ...


class RowSource:
    """Rows, shaped as an input of the model takes them."""

    batch: int | None = None

    def __init__(self, rows: Rows, port: Any, step_model: bool, place: str):
        self.rows, self.port, self.step_model, self.place, self.given = rows, port, step_model, place, 0

    @property
    def frames(self) -> int | None:
        return self.rows.frames

    @property
    def seconds(self) -> float | None:
        return self.rows.seconds

    def read(self, count: int) -> np.ndarray | None:
        """The next frames that are there, at most `count`, None at the end."""
        rows = self.rows.take(count)
        self.given = 0 if rows is None else len(rows)
        return None if rows is None else frames_of_rows(rows, self.port, self.step_model, self.place)

    def whole(self) -> np.ndarray:
        """All that is left, as one array."""
        pieces = list(pieces_of(self.rows.take, MOST_ROWS))
        rows = np.concatenate(pieces) if pieces else np.empty((0, 1))
        return frames_of_rows(rows, self.port, self.step_model, self.place)

    def close(self) -> None:
        self.rows.close()


class TableRows:
    """A table of a file: a row is a frame. columns: the names of those to take, where the table has them."""

    frames: int | None = None
    seconds: float | None = None

    def __init__(self, path: str, columns: tuple[str, ...], form: Form):
        self.table = number_rows(path, form, columns)
        self.rows = iter(self.table)

    def take(self, count: int) -> np.ndarray | None:
        rows = list(islice(self.rows, count))
        return np.array(rows) if rows else None

    def close(self) -> None:
        self.table.close()


class SoundRows:
    """Sound cut into frames of `width` samples; the last ones are filled up with zeros to a multiple of `multiple` frames."""

    def __init__(self, sound: Sound, width: int, multiple: int):
        self.sound, self.width, self.multiple = sound, width, multiple
        self.held = np.empty(0, np.float32)
        self.begun = False

    @property
    def frames(self) -> int | None:
        """Known once the rate is settled."""
        count = self.sound.count
        return None if count is None else -(-count // (self.width * self.multiple)) * self.multiple

    @property
    def seconds(self) -> float | None:
        return self.width / self.sound.rate if self.sound.rate else None

    def take(self, count: int) -> np.ndarray | None:
        unit, ended = self.width * self.multiple, False
        wanted = max(unit, count * self.width)
        while len(self.held) < unit and not ended:
            samples = self.sound.read(wanted - len(self.held))
            ended = not len(samples)
            self.held = np.concatenate([self.held, samples]) if len(self.held) else samples
        if not self.begun and not len(self.held) and not self.sound.reader.pipe.stopped:
            raise ShapeError(f"{self.sound.place}: expected samples, found none")
        self.begun = True
        if ended:
            self.held = np.pad(self.held, (0, -len(self.held) % unit))
        taken = min(len(self.held), wanted) // unit * unit
        rows, self.held = self.held[:taken].reshape(-1, self.width), self.held[taken:]
        return rows if taken else None

    def close(self) -> None:
        self.sound.close()


Source = Union[ArraySource, ArrayStream, RowSource]


def open_sources(
    model: Any, paths: tuple[str, ...], axes: list[int], stdin: Pipe | None, options: SoundOptions, form: Form
) -> list[Source]:
    """One source per input of the model; `axes` are the frames axes of its inputs' full shapes, none where it takes arrays whole.

    stdin: standard input, of the path -. Raises ShapeError where an array has another rank than the input takes.
    """
    if len(paths) == 1 and suffix_of(paths[0]) == ".npz":
        arrays = open_archive(paths[0], [p.name for p in model.inputs])
        return [_array_source(arrays[p.name], p, axis, model, paths[0]) for p, axis in zip_longest(model.inputs, axes)]
    multiple = int(model.metadata.get("streaming", {}).get("multiple", 1))
    if len(paths) == 1 and len(model.inputs) > 1:
        pipe = stdin or Pipe(paths[0])
        kind = suffix_of(paths[0])[1:] if stdin is None else options.kind or kind_of(stdin)
        if kind != "jsonl" or options.takes_raw(paths[0]):
            raise of_all_inputs(model, f"one .{kind}")
        found = json_lines(model, pipe, form, model.inputs, multiple).sources()
        return [RowSource(lines, port, model.is_step_model, pipe.place) for lines, port in zip(found, model.inputs)]
    opened: list[Source] = []
    try:
        for port, path, axis in zip_longest(model.inputs, paths, axes):
            opened.append(_open_source(model, path, port, axis, stdin if path == STDIN else None, options, form))
    except BaseException:
        for source in opened:
            source.close()
        raise
    return opened


def sounds_of(sources: list[Source]) -> list[Sound]:
    return [s.rows.sound for s in sources if isinstance(s, RowSource) and isinstance(s.rows, SoundRows)]


def _open_source(
    model: Any, path: str, port: Any, axis: int | None, stdin: Pipe | None, options: SoundOptions, form: Form
) -> Source:
    step_model, multiple = model.is_step_model, int(model.metadata.get("streaming", {}).get("multiple", 1))
    kind = suffix_of(path)[1:]
    if options.takes_raw(path):
        kind = "wav"
    elif stdin is not None:
        kind = options.kind or kind_of(stdin)
    if kind == "wav":
        sound = SoundRows(Sound(path, options, stdin), frame_width(port, step_model, path), multiple)
        return RowSource(sound, port, step_model, path)
    form, columns = named_form(model, port, form)
    if kind == "jsonl":
        (lines,) = json_lines(model, stdin or Pipe(path), form, [port], multiple).sources()
        return RowSource(lines, port, step_model, lines.pipe.place)
    if stdin is None:
        if kind != "npy":
            return RowSource(TableRows(path, columns, form), port, step_model, path)
        return _array_source(open_array(path), port, axis, model, path)
    if kind == "npy":
        return _array_stream(stdin, port, axis, model, multiple)
    rows = chosen_rows(table_of(stdin, form.dialect), form, columns)
    return RowSource(LineRows(stdin, rows, multiple), port, step_model, stdin.place)


def _array_stream(pipe: Pipe, port: Any, axis: int | None, model: Any, multiple: int) -> Source:
    """An array that comes: frame by frame where its frames lie one behind the other, else as a whole."""
    shape, fortran, dtype = read_header(pipe)
    try:
        stand_in = np.broadcast_to(np.zeros((), dtype), shape)
    except ValueError as exc:
        raise FormatError(f"{pipe.place}: expected a .npy array of numbers, found shape {shape}: {exc}") from exc
    like = _array_source(stand_in, port, axis, model, pipe.place)
    if axis is not None and not fortran and all(size == 1 for size in shape[: like.axis]):
        return ArrayStream(pipe, shape, dtype, like.axis, like.batch, multiple)
    data = pipe.exactly(dtype.itemsize * int(np.prod(shape, dtype=np.int64)))
    if len(data) < dtype.itemsize * np.prod(shape, dtype=np.int64):
        raise ShapeError(f"{pipe.place}: truncated: expected an array of shape {shape}, found {len(data)} bytes")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    return ArraySource(array, like.axis, like.batch)


def _array_source(array: np.ndarray, port: Any, axis: int | None, model: Any, place: str) -> ArraySource:
    batch_axis = next((d for d, size in enumerate(port.shape) if size == "batch"), -1)
    shape = ["frames", *port.shape] if model.is_step_model else list(port.shape)
    try:
        check_dtype(array.dtype, port)
    except ShapeError as exc:
        raise exc.at(place) from None
    if axis is None:
        return ArraySource(array, -1)
    missing = len(shape) - array.ndim
    optional = batch_axis >= 0 or (model.is_step_model and port.shape[:1] == (1,))
    if missing and not (missing == 1 and optional):
        found = f"found {array.shape}"
        raise ShapeError(f"{place}: input {port.name!r}: expected shape ({', '.join(map(str, shape))}), {found}")
    if model.is_step_model:
        return ArraySource(array, 0, None if missing or batch_axis < 0 else array.shape[batch_axis + 1])
    at = axis - 1 if missing and batch_axis < axis else axis
    return ArraySource(array, at, None if missing or batch_axis < 0 else array.shape[batch_axis])
