"""Rows of numbers out of a table as text: columns chosen, empty cells filled or refused, row by row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import FormatError
from ..options import spelled
from .numerals import Doubtful, Numerals
from .rows import Dialect, Row, Rows, kind_of

LARGEST = 3.4028234663852886e38  # of float32, in which files compute
SHOWN = 40  # characters of a cell in a message
FILLINGS = ("error", "forward", "zero")


@dataclass(frozen=True)
class Choice:
    """What of a table is taken. columns: names or 1-based numbers, () for all that hold numbers; missing: what becomes of an empty
    cell, "error", "forward" (the value above it), "zero", or "gap" for NaN."""

    columns: tuple[str, ...] = ()
    missing: str = "error"


class NumberRows:
    """The chosen columns of a table, a list of float64 a row. names: of the columns; left_out: of those that hold times or words and
    were not asked for. FormatError names line and column of what is no number."""

    def __init__(self, rows: Rows, choice: Choice, dialect: Dialect):
        self.rows, self.missing = rows, choice.missing
        first = [row for _, row in rows.first]
        self.at = _places_of(rows, choice.columns) or _of_numbers(rows.width, first)
        if not self.at:
            raise FormatError(f"{rows.place}: expected columns of numbers, found none in {_listed(rows.names)}")
        self.names = tuple(rows.names[n] for n in self.at)
        self.left_out = () if choice.columns else tuple(n for k, n in enumerate(rows.names) if k not in self.at)
        chosen = [[row[n] for n in self.at] for row in first]
        self.numerals = Numerals(chosen, len(self.at), dialect.decimal)

    def __iter__(self) -> Iterator[list[float]]:
        above: list[float] = []
        for line, cells in self._whole_rows():
            row = [self._number(line, k, cells[n], above) for k, n in enumerate(self.at)]
            yield row
            above = row
        if not above:
            raise FormatError(f"{self.rows.place}: expected rows of numbers below the header, found none")

    def close(self) -> None:
        self.rows.close()

    def _whole_rows(self) -> Iterator[Row]:
        """The rows without those at the end in which nothing stands, as spreadsheets write them."""
        empty: list[Row] = []
        for line, cells in self.rows:
            if any(cells):
                yield from empty
                empty.clear()
                yield line, cells
            else:
                empty.append((line, cells))

    def _number(self, line: int, column: int, cell: str, above: list[float]) -> float:
        try:
            value = self.numerals.value(column, cell)
        except Doubtful:
            point, comma = cell.replace(",", "").replace(".", ""), cell.replace(",", ".")
            raise self._refusal(
                line, column, f"a number that can be read in one way, found {_shown(cell)}, {point} or {comma}; "
                "say what stands before the decimals: --decimal , or --decimal ."
            ) from None  # fmt: skip
        except ValueError:
            mark = self.numerals.marks[column]
            written = " with a decimal comma, as others of the column" if mark == "," else ""
            raise self._refusal(line, column, f"a number{written}, found {_shown(cell)}") from None
        if math.isnan(value):
            return self._filled(line, column, cell, above)
        if abs(value) > LARGEST and not math.isinf(value):
            raise self._refusal(line, column, f"a number of float32's range, up to {LARGEST:.6g}, found {_shown(cell)}")
        if math.isinf(value) and "inf" not in cell.lower():
            raise self._refusal(line, column, f"a number of float32's range, up to {LARGEST:.6g}, found {_shown(cell)}")
        return value

    def _filled(self, line: int, column: int, cell: str, above: list[float]) -> float:
        if self.missing == "gap":
            return math.nan
        if self.missing == "zero":
            return 0.0
        if self.missing == "error":
            found = f"a number, found {_shown(cell) if cell else 'an empty cell'}"
            raise self._refusal(line, column, f"{found}; --missing forward takes the value above it, --missing zero 0")
        if not above:
            found = f"a value to take for the rows below, found {_shown(cell) if cell else 'an empty cell'} in the first row"
            raise self._refusal(line, column, f"{found}; --missing zero takes 0")
        return above[column]

    def _refusal(self, line: int, column: int, expected: str) -> FormatError:
        return FormatError(
            f"{self.rows.place}: {self.rows.unit} {line}, column {self.names[column]!r}: expected {expected}"
        )


def _places_of(rows: Rows, columns: Sequence[str]) -> list[int]:
    """Where the columns stand that are asked for. FormatError names all that there are not, and one asked for twice."""
    found = [_place_of(rows, column) for column in columns]
    absent = ", ".join(repr(column) for column, place in zip(columns, found) if place is None)
    if absent:
        several = "columns" if found.count(None) > 1 else "a column"
        takes = f"{spelled('--columns', 'columns')} takes names, or numbers from 1 to {rows.width}"
        raise FormatError(f"{rows.place}: expected {several} {absent} ({takes}), found {_listed(rows.names)}")
    places = [place for place in found if place is not None]
    twice = [rows.names[n] for n in sorted({n for n in places if places.count(n) > 1})]
    if twice:
        flag = spelled("--columns", "columns")
        raise FormatError(f"{rows.place}: {flag}: expected each column once, found {_listed(twice)} more than once")
    return places


def _place_of(rows: Rows, column: str) -> int | None:
    if column in rows.names:
        return rows.names.index(column)
    if column.isascii() and column.isdigit() and 1 <= int(column) <= rows.width:
        return int(column) - 1
    return None


def _of_numbers(width: int, first: Sequence[Sequence[str]]) -> list[int]:
    """The columns without those in which the first rows have times or words alone."""
    kinds = [{kind_of(row[n]) for row in first} - {"missing"} for n in range(width)]
    return [n for n, found in enumerate(kinds) if not found or "number" in found]


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= SHOWN else cell[: SHOWN - 3] + "...")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
