"""JSON of networks: the object in a file, within limits, and the checked arrays and numbers in it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from .. import memory
from ..errors import FormatError, MemoryLimitError, ShapeError

MAX_BYTES = 40 << 20  # a million weights, as an indented dump spells them
MAX_NUMBERS, MAX_LISTS = 4 << 20, 1 << 19  # parsed, a number takes 32 bytes and a list some 90, however short its text
LARGEST = 1 << 20  # of a width or a count in a file


def load(source: str | os.PathLike[str] | bytes) -> dict[str, Any]:
    """The object in a JSON file; FormatError when it is none, nests too deeply or is beyond MAX_BYTES."""
    size = len(source) if isinstance(source, bytes) else os.path.getsize(source)
    if size > MAX_BYTES:
        raise FormatError(f"a JSON file of {size} bytes; expected at most {MAX_BYTES}")
    text = source if isinstance(source, bytes) else Path(source).read_bytes()
    lists = text.count(b"[") + text.count(b"{")
    if lists > MAX_LISTS or text.count(b",") > MAX_NUMBERS:
        raise FormatError(
            f"a JSON file of {text.count(b',')} numbers in {lists} lists; expected at most {MAX_NUMBERS} in {MAX_LISTS}"
        )
    try:
        value = parsed(text)
    except MemoryLimitError:
        raise
    except (ValueError, RecursionError) as why:
        raise FormatError(f"not readable JSON ({type(why).__name__}: {str(why)[:120]})") from None
    if not isinstance(value, dict):
        raise FormatError(f"expected a JSON object, found {type(value).__name__}")
    return value


def parsed(text: bytes | str) -> Any:
    """What a JSON text spells, counted in a conversion's memory before it is there: a list takes thirty times its two
    brackets. ValueError and RecursionError as json.loads raises them."""
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    names = data.count(b",") + data.count(b":")
    letters = len(data) * (2 if data.isascii() else 6)
    memory.take(90 * data.count(b"[") + 200 * data.count(b"{") + 60 * names + letters, "JSON")
    return json.loads(text)


def array(value: Any, place: str, shape: tuple[int | None, ...] | None = None) -> np.ndarray:
    """Nested lists of numbers as float32, of `shape` (None: any size). FormatError where they are ragged, hold
    something else or are not finite, ShapeError where the shape is another."""
    try:
        made = np.array(value, np.float64) if isinstance(value, list) else None
    except (ValueError, TypeError, OverflowError):
        made = None
    if made is None or made.ndim > 8 or not np.isfinite(made).all():
        raise FormatError(f"{place}: expected nested lists of finite numbers, all rows of one length")
    if shape is not None and (
        made.ndim != len(shape) or any(w is not None and w != s for w, s in zip(shape, made.shape))
    ):
        wanted = ", ".join("any" if w is None else str(w) for w in shape)
        raise ShapeError(f"{place}: expected shape ({wanted}), found {made.shape}")
    return made.astype(np.float32)


def whole(value: Any, place: str, lowest: int = 1) -> int:
    """A whole number from `lowest` to LARGEST; JSON writers may spell it 8.0 or [8]."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise FormatError(f"{place}: expected a whole number, found {str(value)[:40]}")
    if not lowest <= value <= LARGEST:
        raise FormatError(f"{place}: expected {lowest} to {LARGEST}, found {value}")
    return int(value)
