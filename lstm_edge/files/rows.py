"""Rows of a table, as they come; of text, what separates the columns, whether there is a header. Decided from the first lines, so that a
long table is never in memory."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from ..errors import FormatError
from ..options import spelled
from .numerals import MISSING, is_number

DELIMITERS = (";", "\t", ",", "|", " ")  # in this order: the numbers of a table with semicolons may have commas
LOOKED_AT = 50  # lines that decide
SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # a line of spreadsheets above all others

Row = tuple[int, list[str]]


@dataclass(frozen=True)
class Dialect:
    """What is said of a table; what is not (None) is found. skip: lines above the header; decimal: the mark before the decimals."""

    delimiter: str | None = None
    skip: int = 0
    decimal: str | None = None


class Rows:
    """The rows of a table, each once, as (line, cells); what `line` counts, `unit` names.

    names: of the columns; header: whether they stood in the table; first: rows that were looked at, which come again.
    """

    unit = "line"
    delimiter = ""

    def __init__(self, place: str, names: tuple[str, ...], header: bool, first: list[Row], rest: Iterator[Row]):
        check_names(place, names)
        self.place, self.names, self.header, self.first, self._rest = place, names, header, first, rest

    @property
    def width(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Row]:
        return chain(self.first, self._rest)

    def close(self) -> None:
        """Closes the file that the rows come from."""


class TextRows(Rows):
    """The rows of a table written as text; blank lines are left out. `line` counts as an editor does, a row of several lines by its
    last. Columns are called column1, column2 and so on without a header. FormatError names what is no table."""

    def __init__(self, place: str, lines: Iterable[str], dialect: Dialect | None = None, looked_at: int = LOOKED_AT):
        said = dialect or Dialect()
        self.place, self.skipped = place, said.skip
        self._file = lines if isinstance(lines, io.TextIOBase) else None
        left = _text(place, iter(lines))
        for _ in islice(left, said.skip):
            pass
        head = list(islice(left, looked_at))
        separator = SEPARATOR.fullmatch(head[0].strip()) if head else None
        if separator is not None and said.delimiter is None:
            self.skipped += 1
            del head[0]
        self.delimiter = said.delimiter or (separator[1] if separator is not None else find_delimiter(head))
        rows = self._read(chain(head, left))
        first = list(islice(rows, max(len(head), 1)))
        if not first:
            raise FormatError(f"{place}: expected rows of a table as text, found none")
        cells = [row for _, row in first]
        header = has_header(cells)
        width = len(cells[0]) - _ends_on_a_delimiter(cells, header)
        names = tuple(f"column{n + 1}" for n in range(width))
        if header:
            titles = [cells[0][0].lstrip("# "), *cells[0][1:]]  # numpy.savetxt writes a header as a comment
            names = tuple(cell or name for cell, name in zip(titles, names))
            del first[0]
        super().__init__(place, names, header, first, rows)

    def __iter__(self) -> Iterator[Row]:
        for line, row in super().__iter__():
            if len(row) > self.width and row[-1]:
                raise FormatError(f"{self.place}: line {line}: expected nothing behind the last {self.delimiter!r}, as in the first rows, found {row[-1]!r}")  # fmt: skip
            yield line, row[: self.width]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _read(self, lines: Iterator[str]) -> Iterator[Row]:
        width = last = 0
        ended = (line.rstrip() + "\n" for line in lines) if self.delimiter == " " else lines
        try:
            reader = csv.reader(ended, delimiter=self.delimiter, skipinitialspace=True, strict=True)
        except (TypeError, ValueError) as exc:  # several characters, or one that ends lines
            raise FormatError(f"{spelled('--delimiter', 'delimiter')}: expected one character, found {self.delimiter!r} ({exc})") from None  # fmt: skip
        try:
            for row in reader:
                last = self.skipped + reader.line_num
                if not row or (len(row) == 1 and not row[0].strip()):
                    continue
                width = width or len(row)
                if len(row) != width:
                    raise FormatError(self._ragged(last, width, len(row)))
                yield last, [cell.strip() for cell in row]
        except csv.Error as exc:
            raise FormatError(f"{self.place}: line {last + 1}: expected a row of a table, found: {exc}") from None

    def _ragged(self, line: int, width: int, found: int) -> str:
        expected = f"expected {width} columns, separated by {self.delimiter!r}, as the first row has"
        skip = spelled(" (`lstm-edge run --skip N` leaves out lines there)", "")
        return (
            f"{self.place}: line {line}: {expected}, found {found}; nothing may stand above the header{skip}, "
            f"and {spelled('--delimiter', 'delimiter')} names another separator"
        )


def _ends_on_a_delimiter(rows: Sequence[Sequence[str]], header: bool) -> bool:
    """Whether each row ends with a delimiter, behind which nothing stands."""
    return len(rows[0]) > 1 and not any(row[-1] for row in rows) and (header or len(rows) > 1)


def _text(place: str, lines: Iterator[str]) -> Iterator[str]:
    """Lines that are text in UTF-8; bytes that are none come as surrogates."""
    for number, line in enumerate(lines, 1):
        if not line.isascii() and re.search("[\udc80-\udcff]", line):
            raise FormatError(f"{place}: line {number}: expected text in UTF-8, found other bytes; {_converted(line)}")
        if "\0" in line:
            raise FormatError(f"{place}: line {number}: expected rows of a table as text, found other content")
        yield line


def _converted(line: str) -> str:
    """How a file becomes UTF-8: what a spreadsheet writes is UTF-16, with a mark, or the code page of Windows."""
    code = "UTF-16" if line[:2] in ("\udcff\udcfe", "\udcfe\udcff") else "WINDOWS-1252"
    return f"save it as CSV in UTF-8, or convert it: iconv -f {code} -t UTF-8 (it is probably {code})"


def find_delimiter(lines: Sequence[str]) -> str:
    """The delimiter that cuts the most lines into the same number of columns, at least two, the first of DELIMITERS among equals; blanks
    only where they cut all lines so. What stands in quotes cuts nothing. A comma where none cuts any."""
    unquoted = re.sub(r'"[^"]*"', "quoted", "".join(lines)).split("\n")
    agreeing = {}
    for delimiter in DELIMITERS:
        cuts = [
            len(line.split()) - 1 if delimiter == " " else line.strip(" ").count(delimiter)
            for line in unquoted
            if line.strip()
        ]
        most = Counter(n for n in cuts if n).most_common(1)
        agreeing[delimiter] = most[0][1] if most and (delimiter != " " or most[0][1] == len(cuts)) else 0
    best = max(DELIMITERS, key=lambda delimiter: agreeing[delimiter])
    return best if agreeing[best] else ","


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row holds no number, or words where the second has none."""
    first, second = [kind_of(c) for c in rows[0]], [kind_of(c) for c in rows[1]] if len(rows) > 1 else []
    if any(a == "word" and b in ("number", "time") for a, b in zip(first, second)):
        return True
    return "number" not in first and "word" in first


def kind_of(cell: str) -> str:
    """missing, number, time (such as one may be) or word."""
    if cell.lower() in MISSING:
        return "missing"
    if is_number(cell):
        return "number"
    return "time" if re.match(r"\d", cell) and len(re.findall(r"\d+", cell)) > 1 else "word"


def check_names(place: str, names: Sequence[str]) -> None:
    """FormatError where two columns have one name."""
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise FormatError(
            f"{place}: expected a name for each column, found {', '.join(map(repr, twice))} more than once"
        )
