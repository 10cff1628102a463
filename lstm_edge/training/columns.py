"""Cells of a CSV file or a DataFrame, and what they say: numbers, times, words. What is wrong is named by line and column."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..errors import FormatError
from ..files import tables
from ..files.numerals import MISSING
from ..files.parquet import read_frame, with_times_of_index
from ..files.rows import Dialect, check_names, kind_of
from ..files.tables import Times
from ..ir.notes import ASSUMED
from ..options import spelled

LARGEST = float(np.finfo(np.float32).max)  # of the numbers that files compute in
SHOWN = 3  # of several faults
NUMBERS = "; a number has no unit, and one mark in all rows, a point or a comma, before its decimals"


@dataclass(frozen=True)
class Cells:
    """A table as it was written. frame: text, or a DataFrame's own dtypes; lines: of each row, as its reader counts them; notes:
    what was assumed."""

    place: str
    frame: pd.DataFrame
    lines: np.ndarray
    word: str  # line or row
    notes: list[str] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        return list(self.frame.columns)

    def at(self, row: int, column: str = "") -> str:
        """A place as an error names it."""
        where = f"{self.place}: {self.word} {self.lines[row]}"
        return f"{where}, column {column!r}" if column else where

    def require(self, column: str, option: str) -> None:
        """FormatError unless there is such a column. option: what named it, as it is typed."""
        if column not in self.columns:
            raise FormatError(
                f"{self.place}: {option} names the column {column!r}, found {', '.join(map(repr, self.columns))}"
            )

    def refuse(self, column: str, rows: np.ndarray, expected: str, advice: str = "") -> None:
        """FormatError that names the first of `rows` with what stands there, and then `advice`."""
        cells = [self.frame[column].iloc[r] for r in rows[:SHOWN]]
        said = [repr(cell) if isinstance(cell, str) else str(cell) for cell in cells]
        found = [f"{self.word} {self.lines[r]} {cell}" for r, cell in zip(rows, said)]
        more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
        raise FormatError(
            f"{self.place}: column {column!r}: expected {expected}, found in {', '.join(found)}{more}{advice}"
        )


def read(source: Any, delimiter: str | None = None) -> Cells:
    """The cells of a CSV or .parquet file (its path), a DataFrame (its index too, where that holds times) or an array of rows. FormatError names
    what is none, and OSError the file that is missing."""
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if not path.lower().endswith(".parquet"):
            return _of_file(path, delimiter)
        return _of_frame(path, read_frame(path), 1)
    if isinstance(source, pd.Series):
        source = source.to_frame("column1" if source.name is None else source.name)
    if isinstance(source, pd.DataFrame):
        frame = source
    elif isinstance(source, np.ndarray) and source.ndim in (1, 2) and source.dtype.kind in "fiub":
        rows = source.reshape(len(source), -1)
        frame = pd.DataFrame(rows, columns=[f"column{n + 1}" for n in range(rows.shape[1])])
    else:
        found = f"an array of shape {source.shape}" if isinstance(source, np.ndarray) else type(source).__name__
        raise FormatError(f"source: expected the path of a CSV, a DataFrame or an array (rows, columns), found {found}")
    return _of_frame("source", with_times_of_index(frame), 0)


def _of_frame(place: str, frame: pd.DataFrame, counted_from: int) -> Cells:
    if frame.empty:
        raise FormatError(f"{place}: expected rows, found a table of shape {frame.shape}")
    check_names(place, list(frame.columns))
    return Cells(place, frame, np.arange(len(frame)) + counted_from, "row")


def _of_file(path: str, delimiter: str | None) -> Cells:
    table = tables.read_table(path, Dialect(delimiter))
    notes = [] if table.delimiter == "," or delimiter else [f"columns are separated by {table.delimiter!r}"]
    if not table.header:
        notes.append(f"there is no header: the columns are called {', '.join(table.names)}")
    frame = pd.DataFrame(table.rows, columns=list(table.names), dtype=str)
    return Cells(path, frame, np.array(table.lines), "line", notes)


def is_missing(column: pd.Series) -> np.ndarray:
    """Which cells say that there is no value."""
    gone = np.array(column.isna(), bool)
    if column.dtype == object or pd.api.types.is_string_dtype(column):
        gone |= np.array(column.astype(str).str.lower().isin(MISSING), bool)
    return gone


def numbers(cells: Cells, column: str) -> np.ndarray:
    """A column as float64, NaN where a value is missing. FormatError names the cells that are no number."""
    held = cells.frame[column]
    gone = is_missing(held)
    if pd.api.types.is_numeric_dtype(held) or pd.api.types.is_bool_dtype(held):
        values: np.ndarray = held.to_numpy(np.float64, na_value=np.nan)
    else:
        text = list(held.astype(str).where(~gone, "nan"))
        values = tables.numbers_of(text)
        if tables.has_decimal_comma(text):
            cells.notes.append(f"{ASSUMED}column {column!r} has a comma for the decimal point")
    bad = np.flatnonzero(~gone & ~np.isfinite(values))
    if len(bad):
        cells.refuse(column, bad, "numbers", NUMBERS)
    beyond = np.flatnonzero(np.abs(values) > LARGEST)
    if len(beyond):
        cells.refuse(column, beyond, f"numbers of float32's range, up to {LARGEST:.6g}")
    return values


def is_numeric(cells: Cells, column: str) -> bool:
    """Whether a column holds numbers, and one at least."""
    held = cells.frame[column]
    gone = is_missing(held)
    if pd.api.types.is_datetime64_any_dtype(held) or gone.all():
        return False
    kept = held[~gone]
    if pd.api.types.is_numeric_dtype(held) or pd.api.types.is_bool_dtype(held):
        return True
    text = kept.astype(str)
    others = text[pd.to_numeric(text, errors="coerce").isna()]  # such as those with a decimal comma
    return all(kind_of(cell) == "number" for cell in others)


def words(cells: Cells, column: str) -> np.ndarray:
    """A column as text. FormatError names the cells without any."""
    held = cells.frame[column]
    gone = np.flatnonzero(is_missing(held))
    if len(gone):
        cells.refuse(column, gone, "a word in every row")
    return np.array(held.astype(str), object)


def time_column(cells: Cells) -> str | None:
    """The first column that holds times and no numbers."""
    for column in cells.columns:
        held = cells.frame[column]
        if pd.api.types.is_datetime64_any_dtype(held):
            return column
        if pd.api.types.is_numeric_dtype(held) or is_numeric(cells, column):
            continue
        kept = held[~is_missing(held)].iloc[:20].astype(str)
        if len(kept) and all(kind_of(cell) == "time" for cell in kept) and _is_read(kept):
            return column
    return None


def times(cells: Cells, column: str, form: str | None = None) -> np.ndarray:
    """A column of times as datetime64[us], local as they were written; with offsets from UTC, in UTC. FormatError names the cells that
    are no time, and times that could be two."""
    held = cells.frame[column]
    gone = np.flatnonzero(is_missing(held))
    if len(gone):
        cells.refuse(column, gone, "a time in every row")
    if pd.api.types.is_datetime64_any_dtype(held):
        read = _of_moments(held)
    elif form is None and is_numeric(cells, column):
        read = _of_numbers(cells, column, numbers(cells, column))
    else:
        read = tables.times_of(list(held.astype(str)), form)
        if form is None and np.isnat(read.values).any():
            read = _as_pandas_reads(held.astype(str))
    bad = np.flatnonzero(np.isnat(read.values))
    if len(bad):
        how = (
            f"times written as {form}"
            if form
            else f"times ({spelled('--time-format', 'time_format')} says how they are written)"
        )
        cells.refuse(column, bad, how)
    if read.day_first is not None:
        _refuse_doubt(cells, column, read.values, read.day_first)
    if read.numbers is not None:
        cells.notes.append(f"{ASSUMED}column {column!r} holds {read.numbers}")
    if read.offsets:
        cells.notes.append(f"column {column!r} holds times with their offset from UTC: they are taken in UTC")
    return read.values


def _of_moments(held: pd.Series) -> Times:
    offsets = held.dt.tz is not None
    moments = held.dt.tz_convert("UTC").dt.tz_localize(None) if offsets else held
    return Times(np.array(moments, "datetime64[us]"), offsets=offsets)


def _of_numbers(cells: Cells, column: str, values: np.ndarray) -> Times:
    read = tables.times_of_numbers(values)
    if read is None:
        raise FormatError(
            f"{cells.place}: column {column!r}: expected times, found numbers from {values.min():g} to {values.max():g}; "
            f"{spelled('--time-format', 'time_format')} says how they are written"
        )
    return read


def _refuse_doubt(cells: Cells, column: str, month_first: np.ndarray, day_first: np.ndarray) -> None:
    row = int(np.flatnonzero(month_first != day_first)[0])
    one, other = (f"{pd.Timestamp(times[row]):%d %B %Y}" for times in (month_first, day_first))
    cell = cells.frame[column].iloc[row]
    form = repr(tables.day_first_form(str(cell)))
    raise FormatError(
        f"{cells.at(row, column)}: {cell!r} may be {one} or {other}; "
        f"say how times are written: {spelled(f'--time-format {form}', f'time_format={form}')}"
    )


def _is_read(text: pd.Series) -> bool:
    readings = (tables.times_of(list(text)), _as_pandas_reads(text))
    return not all(np.isnat(read.values).any() for read in readings)


def _as_pandas_reads(text: pd.Series) -> Times:
    """Forms that the device does not read, with the month first or with the day first."""
    offsets = bool(text.str.contains(r"(?:[+-]\d\d:?\d\d|Z)$", regex=True).any()) and bool(text.str.contains(":").any())
    both = []
    for first in (False, True):
        with warnings.catch_warnings():  # pandas warns of formats that it finds; what they give is compared here
            warnings.simplefilter("ignore")
            found = pd.to_datetime(text, errors="coerce", dayfirst=first, utc=offsets)
        both.append(np.array(found.dt.tz_localize(None) if offsets else found, "datetime64[us]"))
    month_first, day_first = both
    if np.isnat(day_first).any():
        return Times(month_first, offsets=offsets)
    if np.isnat(month_first).any() or (month_first == day_first).all():
        return Times(day_first, offsets=offsets)
    return Times(month_first, day_first, offsets=offsets)
