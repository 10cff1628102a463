"""Files that hold tables, by their suffix."""

from __future__ import annotations

from .parquet import ParquetRows
from .rows import Dialect, Rows, TextRows

SUFFIXES = (".csv", ".tsv", ".parquet")


def open_rows(path: str, dialect: Dialect | None = None) -> Rows:
    """The rows of a file, to be closed. FormatError, OSError; ModuleNotFoundError where a .parquet cannot be read here."""
    if path.lower().endswith(".parquet"):
        return ParquetRows(path, dialect or Dialect())
    file = open(path, encoding="utf-8-sig", errors="surrogateescape", newline=None)
    try:
        return TextRows(path, file, dialect)
    except BaseException:
        file.close()
        raise
