"""Tables as text: a CSV's cells, its columns as numbers or times. Reads what training reads, without pandas."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from ..errors import FormatError
from ..options import spelled

DELIMITERS = (";", "\t", ",", "|", " ")  # in this order: the numbers of a table with semicolons may have commas
MISSING = frozenset(("", "na", "nan", "n/a", "null", "none", "nat", "-", "?", "."))
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
# Three numbers of a date, and a time behind them.
DATE = re.compile(r"(\d{1,4})[./-](\d{1,2})[./-](\d{1,4})(?:[ T](\d{1,2}):(\d{2})(?::(\d{2}))?)?")


@dataclass(frozen=True)
class TextTable:
    """Rows of cells under names; `lines` counts them as an editor does."""

    place: str
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def cells(self, name: str) -> list[str]:
        """A column; FormatError where there is none of that name."""
        if name not in self.names:
            raise FormatError(f"{self.place}: expected a column {name!r}, found {', '.join(map(repr, self.names))}")
        return [row[self.names.index(name)] for row in self.rows]

    def numbers(self, name: str) -> np.ndarray:
        """A column as float64, NaN where a cell says that there is no value."""
        cells = self.cells(name)
        commas = any("," in c for c in cells) and not any("." in c for c in cells if c not in MISSING)
        values = np.full(len(cells), np.nan)
        for row, cell in enumerate(cells):
            if cell.lower() in MISSING:
                continue
            text = cell.replace(",", ".") if commas else cell
            try:
                values[row] = float(text)
            except ValueError:
                values[row] = np.inf
            if not np.isfinite(values[row]):
                raise FormatError(f"{self.at(row, name)}: expected a number, found {cell!r}")
        return values

    def times(self, name: str, form: str | None = None) -> np.ndarray:
        """A column as datetime64[s]: local as it is written, with an offset from UTC in UTC. form: as strptime has it; else ISO 8601,
        dates of three numbers, years, or seconds or milliseconds since 1970."""
        cells = self.cells(name)
        first_is_day = None if form is not None else self._day_comes_first(name, cells)
        return np.array([self._time(row, name, cell, form, first_is_day) for row, cell in enumerate(cells)], "M8[s]")

    def _time(self, row: int, name: str, cell: str, form: str | None, first_is_day: bool | None) -> np.datetime64:
        try:
            read = datetime.strptime(cell, form) if form is not None else _time_of(cell, bool(first_is_day))
        except (ValueError, OverflowError):
            how = f"a time written as {form}" if form else f"a time ({_form()} says how times are written)"
            raise FormatError(f"{self.at(row, name)}: expected {how}, found {cell!r}") from None
        return np.datetime64(read.astimezone(UTC).replace(tzinfo=None) if read.tzinfo else read, "s")

    def _day_comes_first(self, name: str, cells: list[str]) -> bool:
        """How 01/02/2024 is meant: the rows say so, or nobody knows."""
        parts = [match.groups() for match in map(DATE.fullmatch, cells) if match and len(match[1]) < 3]
        day, month = any(int(p[0]) > 12 for p in parts), any(int(p[1]) > 12 for p in parts)
        row = next((n for n, cell in enumerate(cells) if DATE.fullmatch(cell)), 0)
        if parts and not day and not month and any(p[0] != p[1] for p in parts):
            raise FormatError(
                f"{self.at(row, name)}: {cells[row]!r} may have its day or its month first; say it with {_form()} %d/%m/%Y"
            )
        return day

    def at(self, row: int, name: str) -> str:
        """A place as an error names it."""
        return f"{self.place}: line {self.lines[row]}, column {name!r}"


def _form() -> str:
    return spelled("--time-format", "form")


def _time_of(cell: str, first_is_day: bool) -> datetime:
    """ValueError for what is no time."""
    match = DATE.fullmatch(cell)
    if match:
        a, b, c = (int(part) for part in match.groups()[:3])
        hour, minute, second = (int(part or 0) for part in match.groups()[3:])
        date = (a, b, c) if len(match[1]) > 2 else (c, b, a) if first_is_day else (c, a, b)
        return datetime(*date, hour, minute, second)
    if re.fullmatch(r"\d{4}", cell):
        return datetime(int(cell), 1, 1)
    if re.fullmatch(r"\d{4}-\d{2}", cell):
        return datetime.strptime(cell, "%Y-%m")
    if re.fullmatch(r"\d{9,10}|\d{12,13}", cell):  # seconds, or milliseconds
        return datetime.fromtimestamp(int(cell) // (1 if len(cell) < 12 else 1000), UTC)
    return datetime.fromisoformat(cell)


def read_table(path: str, delimiter: str | None = None) -> TextTable:
    """The table of a CSV file. Without a header, columns are called column1, column2 and so on. FormatError, OSError."""
    try:
        with open(path, encoding="utf-8-sig", newline=None) as file:
            text = file.read()
    except UnicodeDecodeError as exc:
        raise FormatError(f"{path}: expected text in UTF-8, found other bytes at {exc.start}") from None
    if not text.strip() or "\0" in text:
        raise FormatError(f"{path}: expected rows of a table, found {'other content' if text.strip() else 'none'}")
    numbered = list(_rows(path, text, delimiter or _delimiter(text)))
    rows, lines = [row for _, row in numbered], [line for line, _ in numbered]
    names = tuple(f"column{n + 1}" for n in range(len(rows[0])))
    if _has_header(rows):
        names = tuple(cell or name for cell, name in zip(rows[0], names))
        rows, lines = rows[1:], lines[1:]
    if not rows:
        raise FormatError(f"{path}: expected rows below the header, found none")
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise FormatError(
            f"{path}: expected a name for each column, found {', '.join(map(repr, twice))} more than once"
        )
    return TextTable(path, names, tuple(map(tuple, rows)), tuple(lines))


def _rows(path: str, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, with the line that each ends on."""
    width = 0
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        for row in reader:
            if any(map(str.strip, row)):
                width = width or len(row)
                if len(row) != width:
                    expected = f"expected {width} columns, separated by {delimiter!r}, as the first row has"
                    raise FormatError(f"{path}: line {reader.line_num}: {expected}, found {len(row)}")
                yield reader.line_num, [cell.strip() for cell in row]
    except (csv.Error, TypeError) as exc:  # TypeError: a delimiter of several characters
        raise FormatError(f"{path}: expected a table, found: {exc}") from None


def _delimiter(text: str) -> str:
    """The first delimiter that cuts every one of the first lines into the same number of columns, at least two."""
    lines = [line for line in text[:65536].split("\n")[:50] if line.strip()]
    lines = lines[:-1] if len(text) > 65536 and len(lines) < 50 else lines
    for delimiter in DELIMITERS:
        counts = {line.strip().count(delimiter) for line in lines}
        if len(counts) == 1 and counts != {0}:
            return delimiter
    return "," if any("," in line for line in lines) else ";" if any(";" in line for line in lines) else ","


def _has_header(rows: list[list[str]]) -> bool:
    """Whether the first row holds no number, or words where the second has none."""
    first, second = [_kind(c) for c in rows[0]], [_kind(c) for c in rows[1]] if len(rows) > 1 else []
    if any(a == "word" and b in ("number", "time") for a, b in zip(first, second)):
        return True
    return "number" not in first and "word" in first


def _kind(cell: str) -> str:
    if cell.lower() in MISSING:
        return "missing"
    if NUMBER.fullmatch(cell):
        return "number"
    return "time" if re.match(r"\d", cell) and len(re.findall(r"\d+", cell)) > 1 else "word"
