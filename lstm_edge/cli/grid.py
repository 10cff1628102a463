"""Tables of a terminal: a number is never cut. Where a table is wider than the terminal, words fold, names are shortened in the
middle, and columns that can be done without are left out, which a line below says."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console

GAP = 2
LEAST_NAME, LEAST_WORDS = 12, 20  # cells that a name and a text keep before columns are left out for them


@dataclass(frozen=True)
class Column:
    """kind: number (right, whole), text (left, whole), name (shortened), words (folded). drop: the highest goes first, 0 stays."""

    heading: str
    kind: str = "number"
    drop: int = 0


def text(heading: str, drop: int = 0) -> Column:
    """A column of short words, which are never cut."""
    return Column(heading, "text", drop)


def name(heading: str, drop: int = 0) -> Column:
    """A column of names, shortened in the middle where room is scarce."""
    return Column(heading, "name", drop)


def words(heading: str, drop: int = 0) -> Column:
    """A column of sentences, which go on below where room is scarce."""
    return Column(heading, "words", drop)


def print_grid(console: Console, columns: Sequence[Column], rows: Iterable[Sequence[str]], header: bool = True) -> None:
    """Prints rows under their headings, as wide as they are or as the console; a row may be shorter than the columns."""
    cells = [[*row, *[""] * (len(columns) - len(row))] for row in rows]
    lines = [[c.heading for c in columns]] * header + cells
    widths = fitted(columns, [max(map(cell_len, column), default=0) for column in zip(*lines)], console.width)
    for number, row in enumerate(lines):
        for line in _lines(columns, row, widths):
            console.print(line, style="bold" if header and not number else "", markup=False, soft_wrap=True)
    if gone := [column.heading for n, column in enumerate(columns) if n not in widths]:
        console.print(f"left out for want of room: {', '.join(gone)}", markup=False, soft_wrap=True)


def fitted(columns: Sequence[Column], natural: Sequence[int], width: int) -> dict[int, int]:
    """The columns shown, by position, and the cells of each."""
    least = {n: _least(column, cells) for n, (column, cells) in enumerate(zip(columns, natural))}
    while sum(least.values()) + GAP * (len(least) - 1) > width and any(columns[n].drop for n in least):
        del least[max(least, key=lambda n: (columns[n].drop, n))]
    spare = width - sum(least.values()) - GAP * (len(least) - 1)
    for n in sorted(least, key=lambda n: columns[n].kind != "name"):
        more = max(0, min(spare, natural[n] - least[n]))
        least[n] += more
        spare -= more
    return least


def _least(column: Column, natural: int) -> int:
    limit = {"name": LEAST_NAME, "words": LEAST_WORDS}.get(column.kind, natural)
    return min(natural, max(limit, cell_len(column.heading)))


def _lines(columns: Sequence[Column], row: Sequence[str], widths: dict[int, int]) -> Iterable[str]:
    folded = {n: _folded(columns[n].kind, row[n], cells) for n, cells in widths.items()}
    for line in range(max(map(len, folded.values()), default=0)):
        parts = [
            _aligned(folded[n][line] if line < len(folded[n]) else "", cells, columns[n].kind)
            for n, cells in widths.items()
        ]
        yield (" " * GAP).join(parts).rstrip()


def _folded(kind: str, value: str, cells: int) -> list[str]:
    if kind == "words":
        return textwrap.wrap(value, cells, break_on_hyphens=False) or [""]
    return [shortened(value, cells) if kind == "name" else value]


def shortened(value: str, cells: int) -> str:
    """A name of at most so many cells: its beginning and its end, which tell names of one model apart."""
    if cell_len(value) <= cells:
        return value
    return f"{value[: (cells - 1) // 2]}…{value[len(value) - cells // 2 :]}"


def _aligned(value: str, cells: int, kind: str) -> str:
    fill = " " * (cells - cell_len(value))
    return fill + value if kind == "number" else value + fill
