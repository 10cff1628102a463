"""Elementwise ops: rows of the table, and the shapes of their outputs."""

from __future__ import annotations

from ..activations import ACTIVATIONS
from ..spec import MAPS, NUMBERS, RUN_DTYPES, Call, OpSpec, Result, number, row, word

UNARY_FLOAT = (
    "neg",
    "abs",
    "sqrt",
    "log",
    "exp",
    "floor",
    "ceil",
    "round",
    "reciprocal",
    "sign",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "erf",
    "clip",
    "is_nan",
)
UNARY = (*ACTIVATIONS, *(k for k in UNARY_FLOAT if k not in ACTIVATIONS), "not")
UNARY_INT = ("neg", "abs", "sign", "clip", "relu")
BINARY_ARITHMETIC = ("add", "sub", "mul", "div", "pow", "min", "max", "mod", "fmod", "prelu")
BINARY_COMPARISON = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
BINARY_LOGIC = ("and", "or", "xor")


def _unary(c: Call) -> Result:
    kind = c.attrs["kind"]
    dtype = c.dtype(0, *(("bool",) if kind == "not" else NUMBERS if kind in UNARY_INT else ("float32",)))
    return [("bool" if kind == "is_nan" else dtype, c.shape(0))]


def _binary(c: Call) -> Result:
    kind = c.attrs["kind"]
    if kind in BINARY_LOGIC:
        allowed: tuple[str, ...] = ("bool",)
    elif kind in ("equal", "not_equal"):
        allowed = RUN_DTYPES
    else:
        allowed = ("float32",) if kind == "prelu" else NUMBERS
    dtype = c.dtype(0, *allowed)
    c.dtype(1, dtype)
    return [(dtype if kind in BINARY_ARITHMETIC else "bool", c.broadcast([c.shape(0), c.shape(1)]))]


def _where(c: Call) -> Result:
    c.dtype(0, "bool")
    c.dtype(2, c.dtype(1))
    return [(c.dtype(1), c.broadcast([c.shape(0), c.shape(1), c.shape(2)]))]


def _cast(c: Call) -> Result:
    return [(c.attrs["to"], c.shape(0))]


OPS: dict[str, OpSpec] = {
    "Unary": row("x", "y", _unary, MAPS, kind=word(UNARY), alpha=number(0.0), beta=number(0.0)),
    "Binary": row("a b", "y", _binary, MAPS, kind=word(BINARY_ARITHMETIC + BINARY_COMPARISON + BINARY_LOGIC)),
    "Where": row("condition a b", "y", _where, MAPS),
    "Cast": row("x", "y", _cast, MAPS, to=word(RUN_DTYPES)),
}
