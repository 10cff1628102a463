"""Bits of integers, which the run holds in 32: spelled in arithmetic, 16 bits side by side along a new axis."""

from __future__ import annotations

import numpy as np

from . import movement, reductions, selection
from .arithmetic import cast, where
from .builder import Dialect
from .value import Value, known

_HALF = 16
_POWERS = known(2 ** np.arange(_HALF, dtype=np.int64))
_EXACT = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}
_MOST_SHIFT = 64


def bitwise(d: Dialect, kind: str, a: Value, b: Value) -> Value:
    """`kind` (and, or, xor) bit by bit, on two integers or two bools that broadcast."""
    if a.dtype == "bool":
        return d.binary(kind, a, b)
    if a.is_known and b.is_known:
        return known(_EXACT[kind](a.data, b.data))
    halves = [_joined(d, kind, x, y) for x, y in zip(_halves(d, a), _halves(d, b))]
    low, high = halves
    signed = where(d, d.binary("greater_equal", high, 1 << (_HALF - 1)), d.binary("sub", high, 1 << _HALF), high)
    whole = d.binary("add", low, d.binary("mul", signed, 1 << _HALF))
    return Value(a.dtype, whole.array, whole.tensor)


def _halves(d: Dialect, x: Value) -> list[Value]:
    """The lower and the upper 16 bits, each as a number that is not negative."""
    x = Value("int64", x.array if x.array is None else x.data.astype(np.int64), x.tensor)
    low = d.binary("mod", x, 1 << _HALF)
    high = d.binary("div", d.binary("sub", x, low), 1 << _HALF)
    return [low, d.binary("mod", high, 1 << _HALF)]


def _joined(d: Dialect, kind: str, a: Value, b: Value) -> Value:
    bits = [_bits(d, a), _bits(d, b)]
    if kind == "xor":
        chosen = cast(d, d.binary("not_equal", *bits), "int64")
    else:
        chosen = d.binary("mul" if kind == "and" else "max", *bits)
    return reductions.reduce(d, "sum", d.binary("mul", chosen, _POWERS), [-1], keepdims=False)


def _bits(d: Dialect, half: Value) -> Value:
    """(..., 16): the lowest bit first."""
    column = movement.unsqueeze(d, half, [len(d.shape(half))])
    return d.binary("mod", d.binary("div", column, _POWERS), 2)


def bitwise_not(d: Dialect, x: Value) -> Value:
    if x.dtype == "bool":
        return d.unary("not", x)
    if x.is_known:
        return known(np.bitwise_not(x.data))
    highest = {"uint8": 0xFF, "uint16": 0xFFFF}.get(
        x.dtype, -1
    )  # of a wider type without a sign the bits are those of -1
    flipped = d.binary("sub", d.operand(highest, x), Value("int64", tensor=x.tensor))
    return Value(x.dtype, flipped.array, flipped.tensor)


def shift(d: Dialect, x: Value, by: Value, left: bool) -> Value:
    """x, an integer without a sign, by so many bits to the left or right; bits that leave its type are lost."""
    if not x.dtype.startswith("uint"):
        raise d.refuse(f"shifts bits of {x.dtype}: expected an integer without a sign")
    if x.is_known and by.is_known:
        return known((np.left_shift if left else np.right_shift)(x.data, by.data))
    place = by if by.is_known else Value("int64", tensor=by.tensor)
    integer = x if x.is_known else Value("int64", tensor=x.tensor)
    if left:
        shifted = d.binary("mul", integer, _power(d, place))
        width = {"uint8": 8, "uint16": 16}.get(x.dtype)
        shifted = shifted if width is None else d.binary("mod", shifted, 1 << width)
    else:
        moved = d.binary("div", _halved(d, integer), _power(d, d.binary("sub", place, 1)))
        shifted = where(d, d.binary("equal", place, 0), integer, moved)
    return Value(x.dtype, shifted.array, shifted.tensor)


def _power(d: Dialect, n: Value) -> Value:
    """2^n as the 32 bits of a run have it: 0 from n = 32 on (and at n = -1, which nothing is made of)."""
    table = np.array([2**n if n < 32 else 0 for n in range(_MOST_SHIFT)], np.int64).astype(np.int32)
    return selection.gather(d, known(table), d.binary("min", n, _MOST_SHIFT - 1))


def _halved(d: Dialect, x: Value) -> Value:
    """x / 2, where a negative number stands for the 32 bits of a number without a sign."""
    rounded = d.binary("div", d.binary("sub", x, d.binary("mod", x, 2)), 2)
    raised = d.binary("add", d.binary("add", rounded, 1 << 30), 1 << 30)
    return where(d, d.binary("less", x, 0), raised, rounded)
