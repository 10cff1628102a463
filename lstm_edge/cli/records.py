"""What standard input holds beside sound: rows of text as they come, frames of a .npy; and which of all it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any

import numpy as np

from ..errors import FormatError, LstmEdgeError, ShapeError
from ..files.numerals import is_number
from ..files.rows import DELIMITERS, Dialect, Rows, TextRows
from .pipes import Pipe

KINDS = ("wav", "csv", "jsonl", "npy")
MAGICS = {b"RIFF": "wav", b"RF64": "wav", b"\x93NUMPY": "npy", b"PK\x03\x04": "zip"}


def kind_of(pipe: Pipe) -> str:
    """wav, npy, jsonl, csv, by the first bytes, which stay. FormatError for what is none, as samples without a header are."""
    while any(magic != (start := bytes(pipe.held[: len(magic)])) and magic.startswith(start) for magic in MAGICS):
        if not pipe.more():
            break
    kind = next((kind for magic, kind in MAGICS.items() if pipe.held.startswith(magic)), "")
    if not kind and not pipe.held.count(0):
        kind = "jsonl" if pipe.held.lstrip().startswith((b"[", b"{")) else "csv"
    if kind not in KINDS:
        raise FormatError(
            f"{pipe.place}: expected .wav, .csv, .jsonl or .npy, found other content; --raw s16le takes samples without a header"
        )
    return kind


def pieces_of(take: Callable[[int], np.ndarray | None], count: int) -> Iterator[np.ndarray]:
    """What `take` gives, until it gives None."""
    while (piece := take(count)) is not None:
        yield piece


class LineRows:
    """Rows of numbers out of lines of text, at least `multiple` at a time. ready: whether a row can be had without waiting."""

    frames: int | None = None
    seconds: float | None = None

    def __init__(self, pipe: Pipe, rows: Iterable[list[float]], multiple: int, ready: Callable[[], bool] | None = None):
        self.pipe, self.rows, self.multiple, self.ready = pipe, iter(rows), multiple, ready or pipe.has_line
        self.failed: LstmEdgeError | None = None

    def take(self, count: int) -> np.ndarray | None:
        """At most `count` rows. What is wrong with a line is raised once the rows before it have been taken, however many came together."""
        if self.failed is not None:
            raise self.failed
        rows = list(islice(self.rows, self.multiple))
        try:
            while len(rows) % self.multiple == 0 and 0 < len(rows) < count and self.ready():
                rows += list(islice(self.rows, self.multiple))
        except LstmEdgeError as exc:
            self.failed = exc
        return np.array(rows) if rows else None

    def close(self) -> None:
        self.pipe.close()


def table_of(pipe: Pipe, dialect: Dialect) -> Rows:
    """Rows of a table by the rules of files, that look no further than to the first row of numbers."""
    lines = _texts(pipe)
    above = list(islice(lines, dialect.skip))
    first = next((line for line in lines if line.strip()), "")
    header = not any(is_number(cell.strip('" \r\n')) for cell in re.split(f"[{''.join(DELIMITERS)}]", first))
    return TextRows(pipe.place, chain(above, [first] if first else [], lines), dialect, looked_at=1 + header)


def _texts(pipe: Pipe) -> Iterator[str]:
    """Lines with their ends, bytes that are no text as surrogates."""
    code = "utf-8-sig"
    while (line := pipe.line()) is not None:
        yield line.decode(code, "surrogateescape").replace("\r\n", "\n")
        code = "utf-8"


class ArrayStream:
    """A .npy whose frames come one after the other along `axis`, of a header that `read_header` read."""

    seconds: float | None = None

    def __init__(
        self, pipe: Pipe, shape: tuple[int, ...], dtype: np.dtype[Any], axis: int, batch: int | None, multiple: int
    ):
        self.pipe, self.shape, self.dtype, self.axis, self.batch, self.multiple = (
            pipe,
            shape,
            dtype,
            axis,
            batch,
            multiple,
        )
        self.frames: int | None = shape[axis]
        self.unit = dtype.itemsize * int(np.prod(shape[axis + 1 :], dtype=np.int64))
        self.given = self.at = 0

    def read(self, count: int) -> np.ndarray | None:
        """The next frames that are there, at most `count`, None at the end. ShapeError where it comes before the last one."""
        left = self.shape[self.axis] - self.at
        if not left:
            return None
        unit = self.unit * min(self.multiple, left)
        data = self.pipe.some(unit, self.unit * min(count, left)) if unit else b""
        self.given = len(data) // self.unit if unit else min(count, left)
        if not self.given:
            if self.pipe.stopped:
                return None
            raise ShapeError(f"{self.pipe.place}: truncated: expected {self.shape[self.axis]} frames, found {self.at}")
        self.at += self.given
        shape = (*self.shape[: self.axis], self.given, *self.shape[self.axis + 1 :])
        return np.frombuffer(data, self.dtype).reshape(shape)

    def whole(self) -> np.ndarray:
        pieces = list(pieces_of(self.read, self.shape[self.axis]))
        return np.concatenate(pieces, self.axis) if pieces else np.empty(self.shape, self.dtype)

    def close(self) -> None:
        self.pipe.close()


def read_header(pipe: Pipe) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the first axis is the nearest in memory, and dtype of a .npy. FormatError."""
    try:
        version = np.lib.format.read_magic(_Reader(pipe))
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(_Reader(pipe))
    except (ValueError, EOFError) as exc:
        raise FormatError(f"{pipe.place}: expected a .npy array of numbers, found: {exc}") from exc
    if dtype.hasobject or any(size < 0 for size in shape):
        raise FormatError(f"{pipe.place}: expected a .npy array of numbers, found {dtype} of shape {shape}")
    return shape, fortran and len(shape) > 1, dtype


class _Reader:
    """A pipe as NumPy reads files."""

    def __init__(self, pipe: Pipe):
        self.pipe = pipe

    def read(self, count: int = 0, /) -> bytes:
        return self.pipe.exactly(count)
