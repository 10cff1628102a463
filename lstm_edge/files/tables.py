"""Tables as text: their cells, columns as numbers or times. Training and the device read by these rules, without pandas."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

import numpy as np

from ..errors import FormatError
from ..options import spelled
from .numerals import MISSING, NUMBER, Doubtful, Numerals, decimal_shown, number
from .rows import Dialect
from .table_files import open_rows

# Three numbers of a date, and a time behind them.
DATE = re.compile(r"(\d{1,4})[./-](\d{1,2})[./-](\d{1,4})(?:[ T](\d{1,2}):(\d{2})(?::(\d{2}))?(?: ?([AaPp])[Mm])?)?")
# Dates with their month in English words, and what may stand behind them.
WORDED = ("%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%b %d %Y", "%b %d, %Y", "%B %d, %Y", "%b %Y", "%B %Y", "%b-%Y")
ISO = re.compile(
    r"(\d{4})-?(\d{2})-?(\d{2})(?:[T ](\d{2})(?::?(\d{2})(?::?(\d{2})(?:[.,](\d+))?)?)?(Z|[+-](\d{2}):?(\d{2})?)?)?"
)
OF_DAY = ("", " %H:%M", " %H:%M:%S", " %I:%M %p")


@dataclass(frozen=True)
class TextTable:
    """Rows of cells under names; `lines` counts them as an editor does, or rows (`unit`). header: whether the names stood in the table;
    decimal: the mark before the decimals where it is said."""

    place: str
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    delimiter: str
    header: bool
    decimal: str | None = None
    unit: str = "line"

    def cells(self, name: str) -> list[str]:
        """A column; FormatError where there is none of that name."""
        if name not in self.names:
            raise FormatError(f"{self.place}: expected a column {name!r}, found {', '.join(map(repr, self.names))}")
        column = self.names.index(name)
        return [row[column] for row in self.rows]

    def numbers(self, name: str) -> np.ndarray:
        """A column as float64, NaN where a cell says that there is no value."""
        cells = self.cells(name)
        values = numbers_of(cells, self.decimal)
        bad = np.flatnonzero(np.abs(values) > np.finfo(np.float32).max)  # files compute in float32
        if len(bad):
            raise FormatError(f"{self.at(bad[0], name)}: expected a number, found {cells[bad[0]]!r}")
        return values

    def times(self, name: str, form: str | None = None) -> np.ndarray:
        """A column as datetime64[s]: local as it is written, with an offset from UTC in UTC. form: as strptime has it; else what
        `times_of` reads."""
        cells = self.cells(name)
        read = times_of(cells, form)
        bad = np.flatnonzero(np.isnat(read.values))
        if len(bad):
            how = f"a time written as {form}" if form else f"a time ({_form()} says how times are written)"
            raise FormatError(f"{self.at(bad[0], name)}: expected {how}, found {cells[bad[0]]!r}")
        if read.day_first is not None:
            row = int(np.flatnonzero(read.values != read.day_first)[0])
            raise FormatError(
                f"{self.at(row, name)}: {cells[row]!r} may have its day or its month first; say it with "
                f"{_form()} {day_first_form(cells[row])!r}"
            )
        return read.values.astype("M8[s]")

    def at(self, row: int, name: str) -> str:
        """A place as an error names it."""
        return f"{self.place}: {self.unit} {self.lines[row]}, column {name!r}"


def _form() -> str:
    return spelled("--time-format", "form")


def numbers_of(cells: Sequence[str], decimal: str | None = None) -> np.ndarray:
    """Cells as float64: NaN where one says that there is no value, inf where one is no finite number."""
    numerals = Numerals(([cell] for cell in cells), 1, decimal)
    return np.array([_number(numerals, cell) for cell in cells], np.float64)


def _number(numerals: Numerals, cell: str) -> float:
    try:
        value = numerals.value(0, cell)
    except Doubtful:
        value = number(cell, ",")
    except ValueError:
        return np.inf
    return value if np.isfinite(value) or np.isnan(value) else np.inf


def has_decimal_comma(cells: Sequence[str]) -> bool:
    """Whether numbers have a comma where others have a point."""
    shown = {decimal_shown(cell) for cell in cells if cell not in MISSING}
    return "," in shown or ("?," in shown and "." not in shown)


@dataclass(frozen=True)
class Times:
    """Cells as times. values: datetime64[us], NaT where a cell is none. day_first: the same with the day before the month, where
    nothing says which is meant (`values` has the month first). numbers: what numbers count. offsets: some had one from UTC."""

    values: np.ndarray
    day_first: np.ndarray | None = None
    numbers: str | None = None
    offsets: bool = False


def times_of(cells: Sequence[str], form: str | None = None) -> Times:
    """Times written as `form` (as strptime has it); else ISO 8601, dates of three numbers or with the month in words, quarters, and what `times_of_numbers` reads. Local
    as they are written; with an offset from UTC, in UTC."""
    written = form or _worded_form(cells[0])
    if written is not None:
        return _each(cells, lambda cell: datetime.strptime(cell, written))
    if all(map(NUMBER.fullmatch, cells)):
        read = times_of_numbers(numbers_of(cells))
        return read if read is not None else _as_times([None] * len(cells))
    iso = _all_iso(cells)
    if iso is not None:
        return iso
    parts = [match.groups() for match in map(DATE.fullmatch, cells) if match and len(match[1]) < 3]
    day, month = any(int(p[0]) > 12 for p in parts), any(int(p[1]) > 12 for p in parts)
    read = _each(cells, lambda cell: _time_of(cell, day))
    if day or month or all(p[0] == p[1] for p in parts):
        return read
    return replace(read, day_first=_each(cells, lambda cell: _time_of(cell, True)).values)


def times_of_numbers(values: np.ndarray) -> Times | None:
    """Years, days as 20240131, or seconds or milliseconds since 1970, by their size; None where they are neither."""
    least, most = values.min(), values.max()
    if 1000 <= least and most < 3000 and (values == np.trunc(values)).all():
        return Times((values.astype(np.int64) - 1970).astype("M8[Y]").astype("M8[us]"), numbers="years")
    if 1e7 <= least and most < 3e7:
        days = _each([f"{value:.0f}" for value in values], lambda cell: datetime.strptime(cell, "%Y%m%d"))
        return replace(days, numbers="days written as 20240131")
    for unit, size, scale in (("seconds", 1e8, 1e6), ("milliseconds", 1e11, 1e3)):
        if size <= least and most < 100 * size:
            return Times(np.rint(values * scale).astype(np.int64).astype("M8[us]"), numbers=f"{unit} since 1970")
    return None


def _all_iso(cells: Sequence[str]) -> Times | None:
    """What most tables hold, read quickly; None where a cell is none of it."""
    try:
        return _as_times([from_iso(cell) for cell in cells])
    except ValueError:
        return None


def _each(cells: Sequence[str], read: Callable[[str], datetime]) -> Times:
    times: list[datetime | None] = []
    for cell in cells:
        try:
            times.append(read(cell))
        except (ValueError, re.error):  # re.error: of a form that names one part twice
            times.append(None)
    return _as_times(times)


def _as_times(times: Sequence[datetime | None]) -> Times:
    offsets = any(time is not None and time.tzinfo is not None for time in times)
    return Times(np.array([_in_utc(time) for time in times] if offsets else times, "datetime64[us]"), offsets=offsets)


def _in_utc(time: datetime | None) -> datetime | None:
    """None too where an offset leads out of the years that datetime has."""
    if time is None or time.tzinfo is None:
        return time
    try:
        return time.astimezone(timezone.utc).replace(tzinfo=None)
    except OverflowError:
        return None


def _worded_form(cell: str) -> str | None:
    """The form of a time that has its month in words, None of any other."""
    if not re.search(r"[A-Za-z]{3}", cell):
        return None
    for form in (date + of_day for date in WORDED for of_day in OF_DAY):
        with suppress(ValueError):
            datetime.strptime(cell, form)
            return form
    return None


def day_first_form(cell: str) -> str:
    """The form, as strptime has it, of a date of three numbers whose day comes first."""
    mark = next((c for c in cell if c in "./-"), "/")
    year = "%y" if re.match(r"\d+[./-]\d+[./-]\d\d\b", cell) else "%Y"
    halves = re.search("[AaPp][Mm]$", cell)
    of_day = (" %I" if halves else " %H") + (":%M:%S" if cell.count(":") > 1 else ":%M") + (" %p" if halves else "")
    return f"%d{mark}%m{mark}{year}" + (of_day if ":" in cell else "")


def _time_of(cell: str, first_is_day: bool) -> datetime:
    """ValueError for what is no time."""
    match = DATE.fullmatch(cell)
    if match:
        a, b, c = (int(part) for part in match.groups()[:3])
        hour, minute, second = (int(part or 0) for part in match.groups()[3:6])
        if match[7] and 1 <= hour <= 12:
            hour = hour % 12 + 12 * (match[7] in "Pp")
        if len(match[1]) > 2:
            return datetime(a, b, c, hour, minute, second)
        year = c if len(match[3]) > 2 else c + (2000 if c < 69 else 1900)  # of two digits, as strptime's %y
        return datetime(*((year, b, a) if first_is_day else (year, a, b)), hour, minute, second)
    if re.fullmatch(r"\d{4}", cell):
        return datetime(int(cell), 1, 1)
    quarter = re.fullmatch(r"(\d{4})-?[Qq]([1-4])", cell)
    if quarter:
        return datetime(int(quarter[1]), 3 * int(quarter[2]) - 2, 1)
    if re.fullmatch(r"\d{4}-\d{2}", cell):
        return datetime.strptime(cell, "%Y-%m")
    return from_iso(cell)


def from_iso(cell: str) -> datetime:
    """A time of ISO 8601. ValueError for what is none. Python before 3.11 reads a part of the forms only."""
    match = ISO.fullmatch(cell) if sys.version_info < (3, 11) else None
    if match is None:
        return datetime.fromisoformat(cell)
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    parts = (year, month, day, hour, minute, second, int((match[7] or "0")[:6].ljust(6, "0")))
    if match[8] is None:
        return datetime(*parts)
    offset = timedelta(hours=int(match[9] or 0), minutes=int(match[10] or 0))
    return datetime(*parts, timezone(-offset if match[8][0] == "-" else offset))


def read_table(path: str, dialect: Dialect | None = None) -> TextTable:
    """The table of a file; rows without any value are left out. Without a header, columns are called column1, column2 and so on.
    FormatError, OSError."""
    said = dialect or Dialect()
    with closing(open_rows(path, said)) as table:
        kept = [(line, tuple(row)) for line, row in table if any(row)]
    if not kept:
        raise FormatError(f"{path}: expected rows below the header, found none")
    lines, rows = zip(*kept)
    return TextTable(path, table.names, rows, lines, table.delimiter, table.header, said.decimal, table.unit)
