"""What standard input holds beside sound: rows of .csv and .jsonl as they come, frames of a .npy; and which of all it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

import numpy as np

from ..errors import FormatError, ShapeError
from ..files.numerals import is_number
from ..files.rows import DELIMITERS, Dialect, Rows
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


class TextRows:
    """Rows of numbers out of lines of text, at least `multiple` at a time."""

    frames: int | None = None
    seconds: float | None = None

    def __init__(self, pipe: Pipe, rows: Iterable[list[float]], multiple: int):
        self.pipe, self.rows, self.multiple = pipe, iter(rows), multiple

    def take(self, count: int) -> np.ndarray | None:
        rows = list(islice(self.rows, self.multiple))
        while len(rows) % self.multiple == 0 and 0 < len(rows) < count and self.pipe.has_line():
            rows += islice(self.rows, self.multiple)
        return np.array(rows) if rows else None

    def close(self) -> None:
        self.pipe.close()


def _lines(pipe: Pipe) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, numbered as an editor does."""
    number = 0
    while (line := pipe.line()) is not None:
        number += 1
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            raise FormatError(f"{pipe.place}: line {number}: expected text in UTF-8, found other bytes") from None
        if text:
            yield number, text


def table_of(pipe: Pipe, dialect: Dialect) -> Rows:
    """Rows of a table by the rules of files, that look no further than to the first row of numbers."""
    lines = _texts(pipe)
    above = list(islice(lines, dialect.skip))
    first = next((line for line in lines if line.strip()), "")
    header = not any(is_number(cell.strip('" \r\n')) for cell in re.split(f"[{''.join(DELIMITERS)}]", first))
    return Rows(pipe.place, chain(above, [first] if first else [], lines), dialect, looked_at=1 + header)


def _texts(pipe: Pipe) -> Iterator[str]:
    """Lines with their ends, bytes that are no text as surrogates."""
    code = "utf-8-sig"
    while (line := pipe.line()) is not None:
        yield line.decode(code, "surrogateescape").replace("\r\n", "\n")
        code = "utf-8"


def json_rows(pipe: Pipe, name: str, columns: tuple[str, ...]) -> Iterator[list[float]]:
    """A line is a frame: a number, a list of any depth, or an object with the input `name`, or with all of `columns`."""
    width = 0
    for number, line in _lines(pipe):
        try:
            row = np.array(_values(json.loads(line), name, columns), np.float64).reshape(-1).tolist()
        except (ValueError, TypeError, KeyError, RecursionError):
            wanted = " or ".join([f"an object with {name!r}", *([", ".join(map(repr, columns))] if columns else [])])
            expected = f"expected a frame in JSON: a number, a list of numbers, or {wanted}"
            raise FormatError(f"{pipe.place}: line {number}: {expected}, found {line[:60]!r}") from None
        width = width or len(row)
        if len(row) != width:
            raise FormatError(f"{pipe.place}: line {number}: expected {width} values, found {len(row)}")
        yield row


def _values(found: Any, name: str, columns: tuple[str, ...]) -> Any:
    """KeyError where an object has not what is wanted. null, a gap, is NaN, as NumPy reads None."""
    if not isinstance(found, dict):
        if isinstance(found, (str, bool)):
            raise TypeError
        return found
    return found[name] if name in found else [found[column] for column in columns or (name,)]


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
        pieces = list(iter(lambda: self.read(self.shape[self.axis]), None))
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
