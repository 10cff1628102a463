"""Cells of a CSV file or a DataFrame, and what they say: numbers, times, words. What is wrong is named by line and column."""

from __future__ import annotations

import csv
import io
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..errors import FormatError
from ..ir.notes import ASSUMED
from ..options import spelled

DELIMITERS = (";", "\t", ",", "|", " ")  # in this order: the numbers of a table with semicolons may have commas
MISSING = frozenset(("", "na", "nan", "n/a", "null", "none", "nat", "-", "?", "."))
SHOWN = 3  # of several faults


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

    def refuse(self, column: str, rows: np.ndarray, expected: str) -> None:
        """FormatError that names the first of `rows` with what stands there."""
        cells = [self.frame[column].iloc[r] for r in rows[:SHOWN]]
        said = [repr(cell) if isinstance(cell, str) else str(cell) for cell in cells]
        found = [f"{self.word} {self.lines[r]} {cell}" for r, cell in zip(rows, said)]
        more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
        raise FormatError(f"{self.place}: column {column!r}: expected {expected}, found in {', '.join(found)}{more}")


def read(source: Any, delimiter: str | None = None) -> Cells:
    """The cells of a CSV file (its path), a DataFrame (its index too, where that holds times) or an array of rows. FormatError names
    what is none, and OSError the file that is missing."""
    if isinstance(source, str | os.PathLike):
        return _of_file(os.fspath(source), delimiter)
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
    if isinstance(frame.index, pd.DatetimeIndex | pd.PeriodIndex):
        index = frame.index.to_timestamp() if isinstance(frame.index, pd.PeriodIndex) else frame.index
        frame = frame.set_axis(index.rename(frame.index.name or "time")).reset_index()
    frame = frame.set_axis([str(c) for c in frame.columns], axis=1)
    if frame.empty:
        raise FormatError(f"source: expected rows, found a table of shape {frame.shape}")
    _check_names("source", list(frame.columns))
    return Cells("source", frame, np.arange(len(frame)), "row")


def _of_file(path: str, delimiter: str | None) -> Cells:
    try:
        with open(path, encoding="utf-8-sig", newline=None) as file:
            text = file.read()
    except UnicodeDecodeError as exc:
        raise FormatError(f"{path}: expected text in UTF-8, found other bytes at {exc.start}") from None
    if not text.strip() or "\0" in text:
        raise FormatError(
            f"{path}: expected rows of a table as text, found {'other content' if text.strip() else 'none'}"
        )
    found = delimiter or _delimiter(text)
    rows, lines = _rows(path, text, found)
    frame = pd.DataFrame(rows, dtype=str)
    width = frame.shape[1]
    notes = [] if found == "," or delimiter else [f"columns are separated by {found!r}"]
    if _has_header(frame):
        names = [name or f"column{n + 1}" for n, name in enumerate(frame.iloc[0])]
        frame, lines = frame.iloc[1:].reset_index(drop=True), lines[1:]
    else:
        names = [f"column{n + 1}" for n in range(width)]
        notes.append(f"there is no header: the columns are called {', '.join(names)}")
    if frame.empty:
        raise FormatError(f"{path}: expected rows below the header, found none")
    _check_names(path, names)
    return Cells(path, frame.set_axis(names, axis=1), lines, "line", notes)


def _rows(path: str, text: str, delimiter: str) -> tuple[list[list[str]], np.ndarray]:
    """The rows that are not blank, each with the line that it ends on. FormatError for one of another length than the first."""
    rows, lines = [], []
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        for row in reader:
            if not any(map(str.strip, row)):
                continue
            rows.append([cell.strip() for cell in row])
            lines.append(reader.line_num)
            if len(row) != len(rows[0]):
                expected = f"expected {len(rows[0])} columns, separated by {delimiter!r}, as the first row has"
                raise FormatError(f"{path}: line {reader.line_num}: {expected}, found {len(row)}")
    except (csv.Error, TypeError) as exc:  # TypeError: a delimiter of several characters
        raise FormatError(f"{path}: expected a table, found: {exc}") from None
    return rows, np.array(lines)


def _check_names(place: str, names: list[str]) -> None:
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise FormatError(
            f"{place}: expected a name for each column, found {', '.join(map(repr, twice))} more than once"
        )


def _delimiter(text: str) -> str:
    """The first delimiter that cuts every one of the first lines into the same number of columns, at least two."""
    lines = [line for line in text[:65536].split("\n")[:50] if line.strip()]
    lines = lines[:-1] if len(text) > 65536 and len(lines) < 50 else lines
    for delimiter in DELIMITERS:
        counts = {line.strip().count(delimiter) for line in lines}
        if len(counts) == 1 and counts != {0}:
            return delimiter
    return "," if any("," in line for line in lines) else ";" if any(";" in line for line in lines) else ","


def _has_header(frame: pd.DataFrame) -> bool:
    """Whether the first row holds no number, or words where the second has none."""
    first = [_kind(cell) for cell in frame.iloc[0]]
    second = [_kind(cell) for cell in frame.iloc[1]] if len(frame) > 1 else []
    if any(a == "word" and b in ("number", "time") for a, b in zip(first, second)):
        return True
    return "number" not in first and "word" in first


def _kind(cell: str) -> str:
    if cell.lower() in MISSING:
        return "missing"
    if re.fullmatch(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", cell):
        return "number"
    return "time" if re.match(r"\d", cell) and len(re.findall(r"\d+", cell)) > 1 else "word"


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
        text = held.astype(str).where(~gone, "nan")
        if (text.str.fullmatch(r"[+-]?\d*,\d+").fillna(False)).any() and not text.str.contains(".", regex=False).any():
            text = text.str.replace(",", ".", regex=False)
            cells.notes.append(f"{ASSUMED}column {column!r} has a comma for the decimal point")
        values = pd.to_numeric(text, errors="coerce").to_numpy(np.float64)
    bad = np.flatnonzero(~gone & ~np.isfinite(values))
    if len(bad):
        cells.refuse(column, bad, "numbers")
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
    return all(_kind(cell) == "number" for cell in others)


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
        if len(kept) and all(_kind(cell) == "time" for cell in kept) and any(r.notna().all() for r in _readings(kept)):
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
        read = held
    elif form is not None:
        read = _parsed(lambda: pd.to_datetime(held.astype(str), format=form, errors="coerce"))
    else:
        read = _read_times(cells, column, held)
    bad = np.flatnonzero(read.isna().to_numpy())
    if len(bad):
        how = (
            f"times written as {form}"
            if form
            else f"times ({spelled('--time-format', 'time_format')} says how they are written)"
        )
        cells.refuse(column, bad, how)
    if read.dt.tz is not None:
        cells.notes.append(f"column {column!r} holds times with their offset from UTC: they are taken in UTC")
        read = read.dt.tz_convert("UTC").dt.tz_localize(None)
    return np.array(read, "datetime64[us]")


def _read_times(cells: Cells, column: str, held: pd.Series) -> pd.Series:
    if is_numeric(cells, column):
        return _read_numeric_times(cells, column, numbers(cells, column))
    first, *others = [r for r in _readings(held.astype(str))]
    for other in others:
        if first.isna().any() and not other.isna().any():
            return other
        both = first.notna() & other.notna()
        if not first.isna().any() and not other.isna().any() and (first[both] != other[both]).any():
            row = int(np.flatnonzero((first != other).to_numpy())[0])
            raise FormatError(
                f"{cells.at(row, column)}: {held.iloc[row]!r} may be {first.iloc[row]:%d %B %Y} or {other.iloc[row]:%d %B %Y}; "
                f"say how times are written: {spelled('--time-format %d/%m/%Y', 'time_format=' + repr('%d/%m/%Y'))}"
            )
    return first


def _readings(text: pd.Series) -> list[pd.Series]:
    """The times of a column as ISO 8601 has them where that reads them all, else with the month first and with the day first."""
    offsets = bool(text.str.contains(r"(?:[+-]\d\d:?\d\d|Z)$", regex=True).any()) and bool(text.str.contains(":").any())
    iso = _parsed(lambda: pd.to_datetime(text, format="ISO8601", errors="coerce", utc=offsets))
    if iso.notna().all():
        return [iso]
    return [
        _parsed(lambda first=first: pd.to_datetime(text, errors="coerce", dayfirst=first, utc=offsets))  # type: ignore[misc]
        for first in (False, True)
    ]


def _parsed(parse: Callable[[], pd.Series]) -> pd.Series:
    """pandas warns of formats that it finds by itself; what it found is compared here instead."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return parse()


def _read_numeric_times(cells: Cells, column: str, values: np.ndarray) -> pd.Series:
    """Years, days as 20240131, or seconds or milliseconds since 1970, by their size."""
    whole = pd.Series(values)
    least, most = values.min(), values.max()
    if 1000 <= least and most < 3000 and (values == np.trunc(values)).all():
        kind, read = "years", pd.to_datetime(whole.astype(int).astype(str), format="%Y", errors="coerce")
    elif 1e7 <= least and most < 3e7:
        kind, read = (
            "days written as 20240131",
            pd.to_datetime(whole.astype(int).astype(str), format="%Y%m%d", errors="coerce"),
        )
    elif 1e8 <= least and most < 1e10:
        kind, read = "seconds since 1970", pd.to_datetime(whole, unit="s")
    elif 1e11 <= least and most < 1e13:
        kind, read = "milliseconds since 1970", pd.to_datetime(whole, unit="ms")
    else:
        raise FormatError(
            f"{cells.place}: column {column!r}: expected times, found numbers from {least:g} to {most:g}; "
            f"{spelled('--time-format', 'time_format')} says how they are written"
        )
    cells.notes.append(f"{ASSUMED}column {column!r} holds {kind}")
    return read
