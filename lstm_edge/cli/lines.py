"""Answers as lines of text, one for each frame: csv, or jsonl with the outputs by name; and the time that each belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import isfinite
from typing import IO, Any

import numpy as np

from ..errors import ShapeError
from .io import frames_axis

FORMS = ("csv", "jsonl")


class Clock:
    """Where the answers of a run stand in its input. seconds: how long a frame lasts, None where rows are counted, from 1 on.

    The time of an answer is that at which its frame begins. Answers stand at the end of the frames that made them: one that needs a
    full window belongs to the newest frame of it. shown: whether lines begin with it.
    """

    def __init__(self, model: Any, seconds: float | None, shown: bool = False):
        self.model, self.seconds, self.shown, self.frames = model, seconds, shown, 0
        self.paces: dict[str, Fraction] | None = None

    def pace(self, name: str) -> Fraction:
        """Frames of input to an answer of output `name`."""
        if self.paces is None:
            self.paces = _paces(self.model)
        return self.paces.get(name, Fraction(1))

    def times(self, name: str, answers: int) -> list[str]:
        """Of the newest answers of an output."""
        pace = self.pace(name)
        return [self._text(self.frames - (answers - n) * pace) for n in range(answers)]

    def _text(self, frame: Fraction) -> str:
        value = float(frame) + 1 if self.seconds is None else float(frame) * self.seconds
        return f"{value:.6f}".rstrip("0").rstrip(".")


def _paces(model: Any) -> dict[str, Fraction]:
    """By outputs that have frames. A step model answers once for each, and so is one taken to that cannot stream."""
    if model.is_step_model or not model.metadata.get("streaming", {}).get("supported"):
        return {}
    multiple = int(model.metadata.get("streaming", {}).get("multiple", 1))
    less, more = (model.stream()._output_shapes(multiple * n) for n in (64, 128))
    paces = {}
    for port, before, after in zip(model.outputs, less, more):
        axis = -1 if port.shape is None else frames_axis(port.shape)
        if axis >= 0 and before is not None and after is not None and after[axis] > before[axis]:
            paces[port.name] = Fraction(64 * multiple, after[axis] - before[axis])
    return paces


class Lines:
    """Writes to `file`, whole lines at a time. wanted: the outputs that are written; several are columns of a .csv, below a line of
    their names: y, or y[0], y[1] and so on."""

    def __init__(self, file: IO[bytes], form: str, clock: Clock, wanted: Sequence[str] = ()):
        self.file, self.form, self.clock = file, form, clock
        self.columns = list(wanted) if form == "csv" and len(wanted) > 1 else []
        self.empty: dict[str, list[str]] = {}  # of an output without an answer for a frame

    def write(self, answers: Mapping[str, np.ndarray]) -> None:
        """answers: arrays by output name, frames first. Outputs share a line where they answer for the same frame; ShapeError where they
        differ in pace. Before a window is full there may be none, which is no line."""
        answers = {name: value for name, value in answers.items() if len(value)}
        if not answers:
            return
        self._check_pace(list(answers))
        cells = {name: _cells(value.reshape(len(value), -1), self.form) for name, value in answers.items()}
        count = max(map(len, cells.values()))
        longest = next(name for name, rows in cells.items() if len(rows) == count)
        if self.columns and not self.empty:
            self._head(cells)
        times = self.clock.times(longest, count) if self.clock.shown else [""] * count
        line = _csv_line if self.form == "csv" else _json_line
        for n, time in enumerate(times):
            row = {name: rows[n - count] for name, rows in cells.items() if len(rows) >= count - n}
            row = {name: row.get(name, self.empty[name]) for name in self.columns} or row
            self.file.write(line(time, row).encode() + b"\n")

    def _head(self, cells: Mapping[str, list[list[str]]]) -> None:
        """The line of names."""
        missing = [name for name in self.columns if name not in cells]
        if missing:
            raise ShapeError(
                f"--format csv: expected outputs that answer from the same frame on, found none yet of {', '.join(missing)}; "
                "give one of them by --select NAME, or -o with a .npz file"
            )
        widths = {name: len(cells[name][0]) for name in self.columns}
        self.empty = {name: [""] * width for name, width in widths.items()}
        titles = {n: [n] if width == 1 else [f"{n}[{k}]" for k in range(width)] for n, width in widths.items()}
        cells_of_names = {name: [quoted(title) for title in row] for name, row in titles.items()}
        self.file.write(_csv_line("time" if self.clock.shown else "", cells_of_names).encode() + b"\n")

    def _check_pace(self, names: list[str]) -> None:
        if len(names) > 1 and len({self.clock.pace(name) for name in names}) > 1:
            raise ShapeError(
                f"--format {self.form}: expected outputs that answer for the same frames, found {', '.join(names)}; "
                "give one of them by --select NAME, or -o with a .npz file"
            )


def quoted(title: str) -> str:
    return '"' + title.replace('"', '""') + '"' if any(c in title for c in ',"\n') else title


def _cells(rows: np.ndarray, form: str) -> list[list[str]]:
    """Numbers as text that reads back bit for bit; JSON has no word for what is not finite."""
    pattern = "%.9g" if rows.dtype.kind == "f" else "%d"
    if form == "jsonl" and not np.isfinite(rows).all():
        return [[pattern % v if isfinite(v) else "null" for v in row] for row in rows.tolist()]
    return [[pattern % v for v in row] for row in rows.tolist()]


def _csv_line(time: str, row: Mapping[str, list[str]]) -> str:
    return ",".join(([time] if time else []) + [cell for cells in row.values() for cell in cells])


def _json_line(time: str, row: Mapping[str, list[str]]) -> str:
    """An output of one value is a number, of several a list."""
    fields = [f'"time": {time}'] if time else []
    for name, cells in row.items():
        fields.append(f"{json.dumps(name)}: {cells[0] if len(cells) == 1 else '[' + ', '.join(cells) + ']'}")
    return "{" + ", ".join(fields) + "}"
