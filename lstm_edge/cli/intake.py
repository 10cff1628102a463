"""Arrays as a model's inputs take them: another dtype where every value survives, and a count of what is no finite number."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError

WHOLE = 1 << 24  # up to here float32 has every whole number


def check_kind(array: np.ndarray, port: Any, place: str) -> None:
    """ShapeError where no values of this dtype could be taken."""
    wanted = np.dtype(port.dtype)
    if array.dtype != wanted and (array.dtype.kind not in "fiu" or wanted.kind == "b"):
        found = f"found {array.dtype}; save array.astype({port.dtype!r}) instead"
        raise ShapeError(f"{place}: input {port.name!r}: expected {port.dtype}, {found}")


class Intake:
    """Takes the arrays of one run. Files hold float64 and int64 where the core computes in float32 and int32: decimals are rounded to
    the nearest float32, whole numbers are taken exactly; what is beyond either is refused with its value."""

    def __init__(self) -> None:
        self.values = self.missing = self.infinite = 0

    def take(self, array: np.ndarray, port: Any, place: str) -> np.ndarray:
        """The array in the input's dtype. ShapeError names a value that does not survive."""
        check_kind(array, port, place)
        if array.dtype.kind == "f":
            finite = np.isfinite(array)
            missing = int(np.isnan(array).sum())
            self.missing += missing
            self.infinite += array.size - int(finite.sum()) - missing
        self.values += array.size
        if array.dtype == np.dtype(port.dtype):
            return array
        with np.errstate(over="ignore", invalid="ignore"):
            taken = array.astype(port.dtype)
        lost = np.flatnonzero(_lost(array, taken))
        if len(lost):
            value = array.reshape(-1)[lost[0]]
            raise ShapeError(
                f"{place}: input {port.name!r}: expected values that {port.dtype} can hold, found {value} in {array.dtype}"
            )
        return taken

    def told(self) -> str:
        """What there was beside finite numbers; "" where all are."""
        counts = [f"{n:,} {word}" for n, word in ((self.missing, "NaN"), (self.infinite, "infinite")) if n]
        return f"{' and '.join(counts)} of {self.values:,} values of the input" if counts else ""


def _lost(array: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Which values are others now."""
    if taken.dtype.kind == "f":
        if array.dtype.kind == "f":
            gone: np.ndarray = np.isinf(taken) & np.isfinite(array)
            return gone
        beyond: np.ndarray = (array > WHOLE) | ((array < -WHOLE) if array.dtype.kind == "i" else False)
        return beyond
    info = np.iinfo(taken.dtype)
    with np.errstate(invalid="ignore"):
        others: np.ndarray = ~((array >= info.min) & (array <= info.max) & (array == np.trunc(array)))
    return others
