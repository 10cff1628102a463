"""What becomes of an array of another dtype than a model's input has: one rule for Python's arrays and for files (docs/python.md).

Imported when the first such array comes: a device whose arrays are in the model's dtypes never reads this.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import ShapeError

WHOLE = 1 << 24  # up to here float32 has every whole number
NARROW = 2  # bytes of a whole number that sound and pictures are made of


def check_dtype(dtype: np.dtype[Any], port: Any) -> None:
    """ShapeError where no values of this dtype are taken for an input: what is no number, and whole numbers of 8 and 16 bits for
    float32, as sound and pictures hold them: they are usually scaled, and nothing says how."""
    wanted = np.dtype(port.dtype)
    if dtype == wanted:
        return
    narrow = wanted.kind == "f" and dtype.kind in "iu" and dtype.itemsize <= NARROW
    if narrow or dtype.kind not in "fiu" or wanted.kind == "b":
        why = ", of which nothing says how it is scaled" if narrow else ""
        taken = f"array.astype({wanted.name!r}) is taken as it stands"
        raise ShapeError(f"input {port.name!r}: expected dtype {port.dtype}, found {dtype}{why}; {taken}")


def cast(array: np.ndarray, port: Any) -> np.ndarray:
    """The array in an input's dtype: decimals rounded to the nearest float32, whole numbers exactly. ShapeError names a dtype that is
    not taken, and a value that does not survive."""
    check_dtype(array.dtype, port)
    if array.dtype == np.dtype(port.dtype):
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        taken = array.astype(port.dtype)
        lost = np.flatnonzero(_lost(array, taken))
    if len(lost):
        value = array.reshape(-1)[lost[0]]
        raise ShapeError(
            f"input {port.name!r}: expected values that {port.dtype} can hold, found {value} in {array.dtype}"
        )
    return taken


def _lost(array: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Which values are others now."""
    lost: np.ndarray
    if taken.dtype.kind == "f" and array.dtype.kind == "f":
        lost = np.isinf(taken) & np.isfinite(array)
    elif taken.dtype.kind == "f":
        lost = (array > WHOLE) | ((array < -WHOLE) if array.dtype.kind == "i" else False)
    else:
        info = np.iinfo(taken.dtype)
        lost = ~((array >= info.min) & (array <= info.max) & (array == np.trunc(array)))
    return lost
