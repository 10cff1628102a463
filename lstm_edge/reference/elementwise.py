"""Elementwise ops in float64 NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..ir.activations import ACTIVATIONS, activate, erf
from ..ir.graph import Node
from .arrays import Array, Attrs, Rule, dtype_of, to_dtype


def _divide(x: Array, y: Array) -> Array:
    if x.dtype.kind == "f":
        return x / y
    wide, by = x.astype(np.int64), y.astype(np.int64)
    quotient = np.abs(wide) // np.where(by == 0, 1, np.abs(by)) * np.sign(wide) * np.sign(by)
    return quotient.astype(np.int32)


def _power(x: Array, y: Array) -> Array:
    if x.dtype.kind == "f":
        return np.power(x, y)
    return to_dtype(np.power(x.astype(np.float64), y.astype(np.float64)), "int32")


UNARY: dict[str, Callable[[Array], Array]] = {
    "neg": lambda x: -x,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "log": np.log,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.round,
    "reciprocal": lambda x: 1 / x,
    "sign": np.sign,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "erf": erf,
    "is_nan": np.isnan,
    "not": np.logical_not,
}
BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": _divide,
    "pow": _power,
    "min": np.minimum,
    "max": np.maximum,
    "mod": np.mod,
    "fmod": np.fmod,
    "prelu": lambda a, b: np.where(a < 0, b * a, a),
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
}


def _unary(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x, kind = arrays[0], a["kind"]
    if kind == "clip":
        return to_dtype(np.minimum(np.maximum(x.astype(np.float64), a["alpha"]), a["beta"]), dtype_of(x))
    if kind in ACTIVATIONS:
        return activate(kind, x, a["alpha"], a["beta"])
    return UNARY[kind](x)


def _binary(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return np.asarray(BINARY[a["kind"]](arrays[0], arrays[1]))


def _where(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return np.where(*arrays)


def _cast(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return to_dtype(arrays[0], a["to"])


RULES: dict[str, Rule] = {"Unary": _unary, "Binary": _binary, "Where": _where, "Cast": _cast}
