"""Numbers as tables write them: a point or a comma before the decimals, thousands apart or not. What may be two numbers is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

MISSING = frozenset(("", "na", "nan", "n/a", "null", "none", "nat", "-", "?", "."))
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
# Thousands in groups of three: the mark between the groups, then what stands before the decimals.
GROUPED = re.compile("[+-]?\\d{1,3}(?P<mark>[., '\u00a0\u202f\u2019])\\d{3}(?:(?P=mark)\\d{3})*(?P<rest>[.,]\\d+)?")
OTHER = {".": ",", ",": "."}


class Doubtful(ValueError):
    """A number such as 1,234, which may be 1234 or 1.234 by what stands around it."""


def is_number(cell: str) -> bool:
    """Whether a cell is written as a number, with thousands apart or without."""
    grouped = GROUPED.fullmatch(cell)
    return bool(NUMBER.fullmatch(cell)) or (grouped is not None and grouped["rest"] != grouped["mark"])


def decimal_shown(cell: str) -> str:
    """The decimal mark that a number shows, "." or ","; "?." or "?," where that may be the mark of thousands; "" where it shows none."""
    grouped = GROUPED.fullmatch(cell)
    if grouped is None:
        plain = NUMBER.fullmatch(cell)
        return "" if plain is None else next((mark for mark in ".," if mark in cell), "")
    mark, rest = grouped["mark"], (grouped["rest"] or "")[:1]
    if mark not in OTHER or rest:
        return rest
    if cell.count(mark) > 1:  # 1,234,567: no number has two decimal marks
        return OTHER[mark]
    return mark if cell.lstrip("+-").startswith("0") else f"?{mark}"


def number(cell: str, decimal: str = ".") -> float:
    """The value of a cell; ValueError where it is no number by this decimal mark."""
    grouped = GROUPED.fullmatch(cell)
    if grouped is not None and grouped["mark"] != decimal and (grouped["rest"] or decimal)[0] == decimal:
        cell = cell.replace(grouped["mark"], "")
    elif "_" in cell or OTHER[decimal] in cell:  # float takes 1_000, which no table means
        raise ValueError(cell)
    return float(cell.replace(",", ".") if decimal == "," else cell)


class Numerals:
    """The decimal marks of a table's columns: those that its first rows show, then what comes. decimal: the mark, where it is said."""

    def __init__(self, first: Iterable[Sequence[str]], width: int, decimal: str | None = None):
        self.said = decimal
        self.marks: list[str | None] = [decimal] * width
        self.shown: set[str] = set()  # of all columns
        for row in first if decimal is None else ():
            for column, cell in enumerate(row):
                self._see(column, decimal_shown(cell))

    def _see(self, column: int, shown: str) -> None:
        if shown in OTHER:
            self.marks[column] = self.marks[column] or shown
            self.shown.add(shown)

    def value(self, column: int, cell: str) -> float:
        """NaN where a cell says that there is none. Doubtful, or ValueError for what is no number as those before are written."""
        if cell.lower() in MISSING:
            return math.nan
        if self.marks[column] is None:
            shown = decimal_shown(cell)
            if shown == "?." and "," not in self.shown or shown == "?," and self.shown == {","}:
                shown = shown[1]
            if shown.startswith("?"):
                raise Doubtful(cell)
            self._see(column, shown)
        return number(cell, self.marks[column] or ".")
