"""Arithmetic at conversion: on known arrays, and on partly known ones whose elements may be open sizes.

Known numbers are computed exactly in their own type, so that sizes of 64 bits stay what they are. Sizes are computed as
polynomials; a comparison is decided where it holds for every size of at least 1. None stands for what only a run can tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import memory
from ...ir.dims import Dim, Size
from ...ir.ops import BINARY_COMPARISON, BINARY_LOGIC
from ...reference.elementwise import BINARY, UNARY
from .value import Undecided, Value, known

_Pair = Callable[[Any, Any], Any]
# Kinds that NumPy computes exactly in every type; the rest is left to the reference, in float64.
_EXACT = BINARY.keys() - {"div", "pow", "prelu"}
_EXACT_UNARY = ("neg", "abs", "floor", "ceil", "round", "not")


def sizes_of(value: Value) -> np.ndarray:
    """A known or partly known value as an object array of ints and Dims; Undecided where it has fractions."""
    array = value.data
    if array.dtype == object:
        return array
    if array.dtype.kind == "f":
        if not np.all(np.isfinite(array)) or np.any(array != np.floor(array)):
            raise Undecided
        array = array.astype(np.int64)
    return array.astype(object)


def unary(kind: str, x: Value) -> Value | None:
    """`kind` of docs/ops.md where it is exact on what is known of x."""
    if kind not in _EXACT_UNARY:
        return None
    if kind in ("floor", "ceil", "round") and (not x.is_known or x.data.dtype.kind in "iu"):
        return x
    if x.is_known:
        return known(np.asarray(UNARY[kind](x.data)).astype("bool" if kind == "not" else x.dtype))
    if kind == "neg":
        return Value(x.dtype, -x.data)
    return x if kind == "abs" and all(bounds(e)[0] >= 0 for e in x.data.flat) else None


def binary(kind: str, a: Value, b: Value, place: str) -> Value | None:
    """`kind` of docs/ops.md where it is exact on what is known of a and b, which broadcast."""
    _ask([a, b], place)
    if not a.is_known or not b.is_known:
        return _on_sizes(kind, a, b)
    if kind == "div":
        return _quotient(a, b)
    if kind not in _EXACT:
        return None
    dtype = "bool" if kind in BINARY_COMPARISON + BINARY_LOGIC else a.dtype
    with np.errstate(all="ignore"):
        return known(np.asarray(BINARY[kind](a.data, b.data)).astype(dtype))


def _ask(values: Sequence[Value], place: str) -> None:
    """Before a broadcast is made, and what is computed of it."""
    try:
        shape = np.broadcast_shapes(*(v.data.shape for v in values))
    except ValueError:
        return  # the operator says so itself
    each = memory.PER_OBJECT if any(v.data.dtype == object for v in values) else 16
    memory.ask(math.prod(shape) * each, place)


def _quotient(a: Value, b: Value) -> Value | None:
    """Integers divide towards zero."""
    x, y = a.data, b.data
    with np.errstate(all="ignore"):
        if x.dtype.kind == "f":
            return known((x / y).astype(a.dtype))
        if np.any(y == 0):
            return None
        return known((np.sign(x) * np.sign(y) * (np.abs(x) // np.abs(y))).astype(a.dtype))


# ---- sizes -----------------------------------------------------------------------------------------------------------


def _on_sizes(kind: str, a: Value, b: Value) -> Value | None:
    whole = not a.dtype.startswith("float")
    functions: dict[str, _Pair] = {
        "add": lambda x, y: x + y,
        "sub": lambda x, y: x - y,
        "mul": lambda x, y: x * y,
        "div": lambda x, y: _divided(x, y, whole),
        "mod": lambda x, y: x - _floored(x, y) * y,
        "fmod": lambda x, y: x - _truncated(x, y) * y,
        "max": lambda x, y: x if decided("greater_equal", x, y) else y,
        "min": lambda x, y: x if decided("less_equal", x, y) else y,
    }
    if kind in BINARY_COMPARISON:
        functions[kind] = lambda x, y: decided(kind, x, y)
    if kind not in functions:
        return None
    try:
        return known(
            elementwise(functions[kind], sizes_of(a), sizes_of(b)), "bool" if kind in BINARY_COMPARISON else a.dtype
        )
    except (Undecided, ValueError, ZeroDivisionError):  # ValueError: a size that does not divide
        return None


def elementwise(function: _Pair, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The object array of a function of two numbers or sizes over two arrays that broadcast."""
    x, y = np.broadcast_arrays(a, b)
    out = np.empty(x.shape, object)
    for place in np.ndindex(x.shape):
        out[place] = function(x[place], y[place])
    return out


def _divided(a: Size, b: Size, whole: bool) -> Size:
    if whole:
        return _truncated(a, b)
    quotient = _floored(a, b)
    if quotient * b != a:
        raise Undecided
    return quotient


def _truncated(a: Size, b: Size) -> Size:
    """a / b rounded towards zero, as whole numbers divide. What is negative for small open sizes alone is taken for a size,
    which is not (see rounded_as_sizes)."""
    if not isinstance(a, Dim) and not isinstance(b, Dim):
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return -_floored(-a, b) if bounds(a)[1] <= 0 else _floored(a, b)


def rounded_as_sizes(kind: str, a: Value, b: Value) -> list[Size]:
    """The dividends that `binary` rounds as what is no less than 0, though it is so for small open sizes."""
    if kind not in ("div", "fmod") or a.is_known or a.dtype.startswith("float"):
        return []
    low = [size for size in sizes_of(a).flat if bounds(size)[0] < 0 < bounds(size)[1]]
    return [
        size for size in low for by in sizes_of(b).flat if not isinstance(by, Dim) and _floored(size, by) * by != size
    ]


def _floored(a: Size, b: Size) -> Size:
    if isinstance(a, Dim):
        return a // b
    if isinstance(b, Dim):
        raise Undecided
    return a // b


def decided(kind: str, a: Size, b: Size) -> bool:
    """A comparison of two sizes; Undecided where it depends on what is left open."""
    low, high = bounds(a - b)
    yes, no = {
        "equal": (low == high == 0, low > 0 or high < 0),
        "not_equal": (low > 0 or high < 0, low == high == 0),
        "greater": (low > 0, high <= 0),
        "greater_equal": (low >= 0, high < 0),
        "less": (high < 0, low >= 0),
        "less_equal": (high <= 0, low > 0),
    }[kind]
    if not yes and not no:
        raise Undecided
    return yes


def bounds(size: Size) -> tuple[float, float]:
    """The least and greatest value where every open size is at least 1; floor divisions are at least 0."""
    if not isinstance(size, Dim):
        return float(size), float(size)
    low = high = float(size.terms.get((), 0))
    for monomial, c in size.terms.items():
        if not monomial:
            continue
        least = float(all(isinstance(a, str) for a in monomial))
        low = low + c * least if c > 0 else -math.inf
        high = high + c * least if c < 0 else math.inf
    return low, high


def choose(condition: Value, a: Value, b: Value, place: str) -> Value | None:
    """a where the known condition is true, else b, both known or partly known."""
    _ask([condition, a, b], place)
    true = condition.data.astype(bool)
    if a.is_known and b.is_known:
        return known(np.where(true, a.data, b.data))
    try:
        return known(np.where(true, sizes_of(a), sizes_of(b)), a.dtype)
    except Undecided:
        return None


def reduced(kind: str, x: Value, axes: Sequence[int], keepdims: bool) -> Value | None:
    """A sum or product over axes of sizes or integers, and the extremes of integers."""
    functions: dict[str, Any] = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}
    if (
        kind not in functions
        or x.is_known
        and x.data.dtype.kind not in "iu"
        or not x.is_known
        and kind in ("max", "min")
    ):
        return None
    out = x.data
    for axis in sorted(axes, reverse=True):
        out = np.asarray(functions[kind].reduce(out, axis=axis, keepdims=keepdims), out.dtype)
    return known(out, x.dtype)
