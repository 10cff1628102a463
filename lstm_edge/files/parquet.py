"""Tables of .parquet files, by pandas and what reads them for it (extra `pandas`): cells as text, so that they meet the rules of every
other table."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..errors import FormatError
from ..options import spelled
from .numerals import GROUPED
from .rows import LOOKED_AT, Dialect, Rows, check_names

if TYPE_CHECKING:
    import pandas as pd

PIECE = 4096  # rows that are text at a time
NEEDED = "expected pandas with pyarrow, which reads .parquet, found no {}; pip install 'lstm-edge[pandas]'"


def read_frame(path: str) -> pd.DataFrame:
    """The DataFrame of a .parquet, its columns called by text. FormatError; OSError; ModuleNotFoundError that names the extra."""
    with open(path, "rb") as file:
        if file.read(4) != b"PAR1":
            raise FormatError(f"{path}: expected a .parquet table, found other content")
    try:
        import pandas as pd
    except ModuleNotFoundError as exc:
        raise ModuleNotFoundError(NEEDED.format(exc.name), name="pandas") from None
    try:
        frame = pd.read_parquet(path)
    except ImportError:
        raise ModuleNotFoundError(NEEDED.format("pyarrow"), name="pyarrow") from None
    except MemoryError:
        raise
    except Exception as exc:  # of whatever kind the library at hand has
        raise FormatError(f"{path}: expected a .parquet table, found: {exc}") from None
    return with_times_of_index(frame)


def with_times_of_index(frame: pd.DataFrame) -> pd.DataFrame:
    """A DataFrame with its index as a column where that holds times, and columns called by text."""
    import pandas as pd

    if isinstance(frame.index, (pd.DatetimeIndex, pd.PeriodIndex)):
        index = frame.index.to_timestamp() if isinstance(frame.index, pd.PeriodIndex) else frame.index
        frame = frame.set_axis(index.rename(frame.index.name or "time")).reset_index()
    return frame.set_axis([str(column) for column in frame.columns], axis=1)


class ParquetRows(Rows):
    """The rows of a .parquet as a table of text has them, counted from 1: times in ISO 8601, truth as 1 and 0, "" where nothing is."""

    unit = "row"

    def __init__(self, path: str, dialect: Dialect):
        if dialect != Dialect():
            said = ", ".join(
                spelled(f"--{name}", name) for name in ("delimiter", "skip", "decimal") if getattr(dialect, name)
            )
            raise FormatError(f"{said}: expected a table written as text, found {path}")
        frame = read_frame(path)
        if not frame.size:
            raise FormatError(f"{path}: expected rows of a table, found a table of shape {frame.shape}")
        names = tuple(frame.columns)
        check_names(path, names)
        rows = enumerate(_cells(frame), 1)
        super().__init__(path, names, True, list(islice(rows, LOOKED_AT)), rows)


def _cells(frame: pd.DataFrame) -> Iterator[list[str]]:
    for start in range(0, len(frame), PIECE):
        piece = frame.iloc[start : start + PIECE]
        columns = [piece.iloc[:, n] for n in range(piece.shape[1])]
        texts = [[_text(v, gone) for v, gone in zip(c.tolist(), c.isna().tolist())] for c in columns]
        yield from map(list, zip(*texts))


def _text(value: Any, gone: bool) -> str:
    if gone:
        return ""
    if isinstance(value, (bool, float)):
        text = repr(value + 0)
        return text + "0" if GROUPED.fullmatch(text) else text  # 1.2340: no mark of thousands
    return value.isoformat() if hasattr(value, "isoformat") else str(value).strip()
