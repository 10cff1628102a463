"""A table as a model's history: its columns by the names in the file, on the grid of frames that the model knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import FormatError
from ..files.numerals import MISSING
from ..files.tables import TextTable
from ..options import spelled
from .description import Description
from .steps import MOST_FRAMES_PER_ROW, Step


@dataclass(frozen=True)
class History:
    """Frames in the order of time. series: (frames, columns) float32, NaN in gaps; known: (frames + rows to come, K) without gaps, or None; times:
    datetime64[s] (frames,) or None; gaps: frames without a row; unused: names of the table's other columns."""

    series: np.ndarray
    known: np.ndarray | None
    times: np.ndarray | None
    gaps: int
    unused: tuple[str, ...]


@dataclass(frozen=True)
class _Rows:
    """A series' rows in the order of time. place: as an error names it; lines: of the table; times: (rows,) or None."""

    place: str
    lines: np.ndarray
    values: np.ndarray
    times: np.ndarray | None


def read_histories(
    about: Description,
    table: TextTable,
    time_format: str | None = None,
    averaged: bool = False,
    series: str | None = None,
) -> dict[str, History]:
    """The table's series by their names, in the order in which they first stand; of a model without a group the one, called "".

    Rows behind the last one that has a value of a column that changes are of the times to come: of them known values are taken.
    averaged: several rows may fall into a frame, which is then their mean, as in training with a step of its own. series: the one
    to give, the others are left out. FormatError names what of the table does not fit.
    """
    names = (*about.columns, *about.known)
    others = [n for n in (about.time_column, about.group) if n is not None]
    missing = [n for n in dict.fromkeys([*names, *others]) if n not in table.names]
    if missing:
        found = ", ".join(map(repr, table.names))
        why = f" ({about.group!r} says which series a row belongs to)" if about.group in missing else ""
        raise FormatError(
            f"{table.place}: expected columns {', '.join(map(repr, missing))}, as the model has them{why}, found {found}"
        )
    values = np.stack([table.numbers(name) for name in names], 1)
    times = None if about.time_column is None else table.times(about.time_column, time_format)
    unused = tuple(n for n in table.names if n not in names and n not in others)
    lines, found_series = np.array(table.lines), {}
    for name, at in _series(table, about.group, series).items():
        if times is not None:
            at = at[np.argsort(times[at], kind="stable")]
        place = table.place if about.group is None else f"{table.place}: {about.group} {name!r}"
        rows = _Rows(place, lines[at], values[at], None if times is None else times[at])
        found_series[name] = _history(about, rows, averaged, unused)
    return found_series


def _series(table: TextTable, group: str | None, only: str | None) -> dict[str, np.ndarray]:
    """The rows of each series, or of the one."""
    if group is None:
        return {"": np.arange(len(table.rows))}
    found: dict[str, list[int]] = {}
    for row, name in enumerate(table.cells(group)):
        if name.lower() in MISSING:
            raise FormatError(f"{table.at(row, group)}: expected the name of a series, found {name!r}")
        found.setdefault(name, []).append(row)
    if only is not None and only not in found:
        expected = f"expected a series {only!r} in column {group!r} ({spelled('--series', 'series')})"
        raise FormatError(f"{table.place}: {expected}, found {', '.join(map(repr, found))}")
    return {name: np.array(at) for name, at in found.items() if only in (None, name)}


def _history(about: Description, rows: _Rows, averaged: bool, unused: tuple[str, ...]) -> History:
    values, times, gaps = rows.values, rows.times, 0
    if times is not None and about.between is not None:
        times, values, gaps = _on_grid(about, rows, times, averaged)
    width = len(about.columns)
    changing = [i for i in range(width) if i not in about.static]
    observed = np.flatnonzero(~np.isnan(values[:, changing]).all(1))
    if not len(observed):
        changing_names = ", ".join(about.columns[i] for i in changing)
        raise FormatError(f"{rows.place}: expected values in {changing_names}, found none")
    frames = int(observed[-1]) + 1
    if about.static:
        static = list(about.static)
        values[:, static] = _filled(rows.place, "static", [about.columns[i] for i in static], values[:, static])[0]
    known = None
    if about.known:
        known = _whole(rows.place, about.known, values[:, width:], frames).astype(np.float32)
    return History(
        values[:frames, :width].astype(np.float32), known, None if times is None else times[:frames], gaps, unused
    )


def _whole(place: str, names: tuple[str, ...], known: np.ndarray, frames: int) -> np.ndarray:
    """Known columns up to where all have values, at least `frames`; a gap takes the value before it, one at the start the first, as
    in training. FormatError for a column without any."""
    whole, ends = _filled(place, "known", names, known)
    return whole[: max(int(ends.min()), frames)]


def _filled(place: str, kind: str, names: Sequence[str], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns without gaps, and of each the number of rows up to the last one that was given."""
    given = ~np.isnan(values)
    empty = np.flatnonzero(~given.any(0))
    if len(empty):
        raise FormatError(f"{place}: {kind} column {names[empty[0]]!r}: expected values, found none")
    at = np.arange(len(values))[:, None]
    first, ends = given.argmax(0), np.where(given, at, -1).max(0) + 1
    last = np.maximum.accumulate(np.where(given, at, first))
    whole: np.ndarray = np.take_along_axis(values, last, 0)
    return whole, ends


def _on_grid(about: Description, rows: _Rows, times: np.ndarray, averaged: bool) -> tuple[np.ndarray, np.ndarray, int]:
    """(times, values) of every frame from the first row to the last, and how many are without a row: those are NaN."""
    values, step, column = rows.values, about.between, about.time_column
    assert step is not None and column is not None
    places = step.places(times, averaged)
    frames = int(places[-1]) + 1
    if frames > MOST_FRAMES_PER_ROW * len(times) + 100:
        raise FormatError(
            f"{rows.place}: column {column!r}: expected a row every {_said(about, step)}, found {len(times):,} rows for {frames:,} frames"
        )
    twice = np.flatnonzero(np.diff(places) == 0)
    if len(twice) and not averaged:
        lines = [rows.lines[twice[0] + n] for n in (0, 1)]
        raise FormatError(
            f"{rows.place}: column {column!r}: expected one row every {_said(about, step)}, found lines {lines[0]} and {lines[1]} in one"
        )
    placed = np.full((frames, values.shape[1]), np.nan)
    if len(twice):
        given = ~np.isnan(values)
        sums, counts = np.zeros_like(placed), np.zeros_like(placed)
        np.add.at(sums, places, np.where(given, values, 0))
        np.add.at(counts, places, given)
        placed = np.divide(sums, counts, out=placed, where=counts > 0)
    else:
        placed[places] = values
    return step.frames(step.begin(times[0], averaged), frames), placed, frames - len(np.unique(places))


def _said(about: Description, step: Step) -> str:
    return about.step or f"{step.seconds // 60} minutes"
