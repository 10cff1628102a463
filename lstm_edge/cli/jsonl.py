"""Lines of JSON: each is a frame of every input of a model, by name where there are several."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any

from ..errors import FormatError
from .pipes import Pipe
from .records import LineRows


@dataclass(frozen=True)
class JsonForm:
    """What a line of .jsonl holds. inputs: names, of which an object has each; columns: names that it may have in place of the only
    input, those of `--columns` (`asked`) or of training; missing: what null becomes, as of a table's empty cell, None for NaN."""

    inputs: tuple[str, ...]
    columns: tuple[str, ...] = ()
    asked: bool = False
    missing: str | None = None

    def values(self, found: Any) -> list[list[float]]:
        """Of each input; a frame of the only one need be no object. KeyError where an object has not what is wanted."""
        if not isinstance(found, dict) and (len(self.inputs) > 1 or self.asked):
            raise TypeError
        if not isinstance(found, dict):
            return [list(_numbers(found))]
        if self.columns and (self.asked or self.inputs[0] not in found):
            return [list(_numbers([found[column] for column in self.columns]))]
        return [list(_numbers(found[name])) for name in self.inputs]

    @property
    def wanted(self) -> str:
        names, columns = (", ".join(map(repr, some)) for some in (self.inputs, self.columns))
        if self.asked:
            return f"an object with {columns} (--columns)"
        if len(self.inputs) > 1:
            return f"an object with {names}"
        return f"a number, a list of numbers, or an object with {names}{' or ' * bool(columns)}{columns}"


def _numbers(found: Any) -> Iterator[float]:
    """Numbers of lists of any depth, null as NaN. TypeError for all else, OverflowError for what float64 cannot hold."""
    if isinstance(found, list):
        for one in found:
            yield from _numbers(one)
    elif isinstance(found, (int, float)) and not isinstance(found, bool):
        yield float(found)
    elif found is None:
        yield math.nan
    else:
        raise TypeError


def _decimal(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise OverflowError
    return value


class JsonLines:
    """Lines of .jsonl, each a frame of every input, which `rows` has one after the other."""

    def __init__(self, pipe: Pipe, form: JsonForm, multiple: int = 1):
        self.pipe, self.form, self.multiple = pipe, form, multiple
        self.held: list[deque[list[float]]] = [deque() for _ in form.inputs]
        self.lines = self.frames()

    def sources(self) -> list[LineRows]:
        """Of each input. What one has taken waits for the others."""
        return [LineRows(self.pipe, self._rows(held), self.multiple, partial(self._ready, held)) for held in self.held]

    def _ready(self, held: deque[list[float]]) -> bool:
        return bool(held) or self.pipe.has_line()

    def _rows(self, held: deque[list[float]]) -> Iterator[list[float]]:
        while held or self._more():
            yield held.popleft()

    def _more(self) -> bool:
        frames = next(self.lines, None)
        for held, frame in zip(self.held, frames or ()):
            held.append(frame)
        return frames is not None

    def frames(self) -> Iterator[list[list[float]]]:
        """Of each line the frames of the inputs, in order."""
        above: list[list[float]] = []
        for number, line in _lines(self.pipe):
            place = f"{self.pipe.place}: line {number}"
            try:
                frames = self.form.values(json.loads(line, parse_float=_decimal))
            except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
                raise FormatError(
                    f"{place}: expected a frame in JSON: {self.form.wanted}, found {line[:60]!r}"
                ) from None
            for name, frame, before in zip(self.form.inputs, frames, above):
                if len(frame) != len(before):
                    of = f" of {name!r}" if len(frames) > 1 else ""
                    raise FormatError(f"{place}: expected {len(before)} values{of}, found {len(frame)}")
            above = [self._filled(place, *pair) for pair in zip_longest(frames, above)]
            yield above

    def _filled(self, place: str, frame: list[float], above: list[float] | None) -> list[float]:
        """A frame whose nulls are what --missing says."""
        missing = self.form.missing
        if missing is None or not any(map(math.isnan, frame)):
            return frame
        if missing == "error" or (missing == "forward" and above is None):
            raise FormatError(f"{place}: expected a number (--missing {missing}), found null")
        instead = [0.0] * len(frame) if above is None or missing == "zero" else above
        return [given if math.isnan(value) else value for value, given in zip(frame, instead)]


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
