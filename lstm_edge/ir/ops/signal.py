"""Frames of samples and their Fourier transforms: rows of the table, and the shapes of their outputs."""

from __future__ import annotations

from ..dims import Dim
from ..spec import MAX_RANK, Call, OpSpec, Result, Time, at_large, integer, row

MOST_POINTS = 1 << 16  # of a transform


def _frames(c: Call) -> Result:
    x = c.rank(0, 1, MAX_RANK - 1)
    size, hop = c.attrs["size"], c.attrs["hop"]
    for key, value in (("size", size), ("hop", hop)):
        if not 1 <= value <= 2**24:
            raise c.fail(f"attribute {key}", "1 to 2^24", value)
    count = (x[-1] - size) // hop + 1
    if not isinstance(count, Dim):
        count = max(count, 0)
    return [(c.dtype(0, "float32"), (*x[:-1], count, size))]


def _points(c: Call) -> int:
    n: int = c.attrs["n"]
    if not 1 <= n <= MOST_POINTS:
        raise c.fail("attribute n", f"1 to {MOST_POINTS}", n)
    return n


def _rfft(c: Call) -> Result:
    n, x = _points(c), c.rank(0, 1, MAX_RANK - 1)
    if at_large(x[-1]) > n:
        raise c.fail("last axis of input x", f"at most {n} values", x[-1])
    return [(c.dtype(0, "float32"), (*x[:-1], 2, n // 2 + 1))]


def _irfft(c: Call) -> Result:
    n, x = _points(c), c.rank(0, 2, MAX_RANK)
    c.expect(0, *x[:-2], 2, n // 2 + 1)
    return [("float32", (*x[:-2], n))]


OPS: dict[str, OpSpec] = {
    "Frames": row("x", "y", _frames, Time("frames"), size=integer(), hop=integer()),
    "Rfft": row("x", "y", _rfft, Time("transforms"), n=integer()),
    "Irfft": row("x", "y", _irfft, Time("transforms"), n=integer()),
}
