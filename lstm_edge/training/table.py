"""A table of one series or several, on a regular grid of frames: from a CSV file, a DataFrame or an array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..errors import FormatError
from ..options import spelled
from . import columns
from .columns import Cells
from .forecast_options import ForecastOptions, TableOptions
from .grid import Placed, Step, found_step, on_grid, read_step


@dataclass(frozen=True)
class Series:
    """One series: values (frames, columns) float64, NaN where missing; minutes (frames,) since 1970, None without times."""

    name: str
    values: np.ndarray
    minutes: np.ndarray | None


@dataclass(frozen=True)
class Table:
    """Series with the same columns. time: the column of times; step: between frames; notes: what was assumed."""

    columns: tuple[str, ...]
    series: tuple[Series, ...]
    time: str | None
    step: Step | None
    place: str
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Roles:
    """What the columns of a table are for, in the order in which a table holds them."""

    target: tuple[str, ...]
    inputs: tuple[str, ...]
    static: tuple[str, ...]
    known: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.target, *self.inputs, *self.static, *self.known)


def read_roles(cells: Cells, time: str | None, options: ForecastOptions) -> Roles:
    """The columns that options name; without a target the table's only column of numbers. FormatError where one is not there."""
    for option in ("target", "inputs", "static", "known"):
        for name in getattr(options, option):
            cells.require(name, options.named(option))
    named = {*options.target, *options.inputs, *options.static, *options.known, time, options.group}
    others = [c for c in cells.columns if c not in named and columns.is_numeric(cells, c)]
    target = options.target
    if not target:
        if len(others) != 1:
            found = ", ".join(map(repr, others)) or "none"
            raise FormatError(
                f"{cells.place}: expected {options.named('target')}, the column to forecast, one of {found}"
            )
        target, others = (others[0],), []
        cells.notes.append(f"the target is {target[0]!r}, the only column of numbers")
    if others:
        cells.notes.append(
            f"not used: {', '.join(map(repr, others))}; {options.named('inputs')} or {options.named('known')} takes them"
        )
    return Roles(target, options.inputs, options.static, options.known)


def read_time(cells: Cells, options: TableOptions) -> str | None:
    """The column of times: the named one, else the first that holds times."""
    if options.time is not None:
        cells.require(options.time, options.named("time"))
        return options.time
    found = columns.time_column(cells)
    if found is None:
        cells.notes.append(
            f"no column of times was found: rows are frames, one after another; {options.named('time')} names one"
        )
    else:
        cells.notes.append(f"the column of times is {found!r}")
    return found


def read_table(source: Any, options: ForecastOptions) -> tuple[Table, Roles]:
    """The table of `source` with the columns that options name, on a regular grid; and what they are for.

    FormatError names by line and column what cannot be read.
    """
    cells = columns.read(source, options.delimiter)
    time = read_time(cells, options)
    roles = read_roles(cells, time, options)
    values = np.stack([columns.numbers(cells, name) for name in roles.all], 1)
    if options.missing == "error":
        _refuse_missing(cells, roles.all, values, options)
    rows = _rows_of_groups(cells, options)
    found = None if time is None else columns.times(cells, time, options.time_format)
    if found is None:
        series, step = [Series(name, values[at], None) for name, at in rows], None
    else:
        series, step = _placed(cells, _in_seconds(cells, str(time), found), values, rows, options)
        if options.missing == "error":
            _refuse_gaps(cells, series, step, options)
    series = [_constant(cells, s, roles) for s in series]
    series = [_whole_known(cells, s, roles) for s in series]
    return Table(roles.all, tuple(series), time, step, cells.place, cells.notes), roles


def _in_seconds(cells: Cells, time: str, times: np.ndarray) -> np.ndarray:
    """Times as datetime64[s]. FormatError for finer ones, of which there is no grid."""
    whole = times.astype("datetime64[s]")
    finer = np.flatnonzero(times != whole)
    if len(finer):
        cells.refuse(time, finer, "whole seconds (without this column rows are frames, one after another)")
    return whole


def _refuse_missing(cells: Cells, names: Sequence[str], values: np.ndarray, options: TableOptions) -> None:
    for n, name in enumerate(names):
        gone = np.flatnonzero(np.isnan(values[:, n]))
        if len(gone):
            cells.refuse(name, gone, f"a value in every row ({options.typed('missing')})")


def _refuse_gaps(cells: Cells, series: Sequence[Series], step: Step, options: TableOptions) -> None:
    for one in series:
        gone = np.flatnonzero(np.isnan(one.values).all(1))
        if len(gone) and one.minutes is not None:
            when = np.datetime64(int(one.minutes[gone[0]]), "m")
            raise FormatError(
                f"{cells.place}: expected a row every {step} ({options.typed('missing')}), found none at {when}"
                f"{_of(one.name)}, and {len(gone)} gaps in all"
            )


def _of(group: str) -> str:
    return f" of {group!r}" if group else ""


def _rows_of_groups(cells: Cells, options: TableOptions) -> list[tuple[str, np.ndarray]]:
    """The rows of each series, in the order in which they first stand."""
    if options.group is None:
        return [("", np.arange(len(cells.frame)))]
    cells.require(options.group, options.named("group"))
    names = columns.words(cells, options.group)
    numbers, found = pd.factorize(names)
    order = np.argsort(numbers, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(numbers))[:-1])
    return [(str(name), at) for name, at in zip(found, rows)]


def _placed(
    cells: Cells, times: np.ndarray, values: np.ndarray, rows: list[tuple[str, np.ndarray]], options: TableOptions
) -> tuple[list[Series], Step]:
    """Every group on one grid of frames, with notes of what that changed."""
    order = [(name, at[np.argsort(times[at], kind="stable")]) for name, at in rows]
    if any((a != b).any() for (_, a), (_, b) in zip(rows, order)):
        cells.notes.append("rows did not stand in the order of their times: they were sorted")
    if options.duplicates == "error":
        _refuse_duplicates(cells, times, order, options)
    given = options.step is not None
    step = (
        read_step(options.step) if options.step is not None else found_step([times[at] for _, at in order], cells.place)
    )
    placed = [on_grid(times[at], values[at], step, given, options.duplicates, cells.place) for _, at in order]
    cells.notes.append(f"a frame every {step}" + ("" if given else ", the most common step"))
    cells.notes.extend(_changes(placed))
    return [Series(name, p.values, p.minutes) for (name, _), p in zip(order, placed)], step


def _changes(placed: list[Placed]) -> list[str]:
    gaps, moved, merged = (sum(getattr(p, name) for p in placed) for name in ("gaps", "moved", "merged"))
    notes = []
    if gaps:
        notes.append(f"{gaps:,} of {sum(len(p.values) for p in placed):,} frames have no row: they are gaps")
    if moved:
        notes.append(
            f"{moved:,} rows lay between frames, by up to {max(p.furthest for p in placed):,} s: each is at its nearest one"
        )
    if merged:
        notes.append(f"{merged:,} rows share a frame with another")
    return notes


def _refuse_duplicates(
    cells: Cells, times: np.ndarray, order: list[tuple[str, np.ndarray]], options: TableOptions
) -> None:
    for name, at in order:
        twice = np.flatnonzero(np.diff(times[at]) == np.timedelta64(0, "s"))
        if len(twice):
            first, second = at[twice[0]], at[twice[0] + 1]
            advice = f"{options.named('duplicates')} first, last or mean takes them"
            if options.group is None:
                advice += f"; where the file holds several series, {options.named('group')} names the column that tells them apart"
            raise FormatError(
                f"{cells.at(int(second))}: expected times that differ{_of(name)}, found {times[second]} again "
                f"(first in {cells.word} {cells.lines[first]}), {len(twice)} such rows; {advice}"
            )


def _constant(cells: Cells, series: Series, roles: Roles) -> Series:
    """Static columns whole: their one value in every frame. FormatError where there is none, or several."""
    for name in roles.static:
        column = series.values[:, roles.all.index(name)]
        held = np.unique(column[~np.isnan(column)])
        if len(held) != 1:
            found = f"{len(held)} values, {held[0]:g} and {held[1]:g} among them" if len(held) else "none"
            raise FormatError(
                f"{cells.place}: static column {name!r}: expected one value{_of(series.name)}, found {found}; "
                f"a column that changes goes into {spelled('--inputs', 'inputs')} or {spelled('--known', 'known')}"
            )
        column[:] = held[0]
    return series


def _whole_known(cells: Cells, series: Series, roles: Roles) -> Series:
    """Known columns whole: a gap takes the value before it, one at the start the first value."""
    for name in roles.known:
        column = series.values[:, roles.all.index(name)]
        given = np.flatnonzero(~np.isnan(column))
        if not len(given):
            raise FormatError(f"{cells.place}: known column {name!r}: expected values{_of(series.name)}, found none")
        if len(given) < len(column):
            cells.notes.append(
                f"known column {name!r}{_of(series.name)}: {len(column) - len(given)} gaps take the value before them"
            )
            last = np.maximum.accumulate(np.where(np.isnan(column), -1, np.arange(len(column))))
            column[:] = column[np.where(last < 0, given[0], last)]
    return series
