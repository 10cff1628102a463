"""What TorchScript calls on numbers, lists and dicts, which are sizes of the inputs for the most part."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from ....ir.dims import Dim
from ...dialect import Value
from ..aten.sizes import COMPARISONS, quotient

NUMBERS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": quotient,
    "floordiv": operator.floordiv,
    "remainder": operator.mod,
    "neg": operator.neg,
    "pow": operator.pow,
    "__not__": lambda a: not a,
    "__is__": lambda a, b: a is b,
    "__isnot__": lambda a, b: a is not b,
    "len": len,
    "__contains__": lambda c, v: v in c,
    "__getitem__": lambda c, i: c[i],
    "list": list,
    "abs": abs,
    "min": min,
    "max": max,
    "__range_length": lambda start, end, step: _range_length(start, end, step),
    "__derive_index": lambda n, start, step: start + n * step,
    "keys": list,
    "values": lambda d: list(d.values()),
    "items": lambda d: list(d.items()),
    "str": str,
    "ceil": lambda a: -int(-a // 1),
    "floor": lambda a: int(a // 1),
    "Int": int,
    "Float": float,
    "ScalarImplicit": lambda a: a,
    "FloatImplicit": lambda a: a,
    "IntImplicit": lambda a: a,
    "Bool": bool,
    "sqrt": lambda a: a**0.5,
    "format": lambda text, *_: text,
}


def _range_length(start: Any, end: Any, step: int) -> Any:
    """How many numbers range(start, end, step) has; TypeError where that is no size."""
    if step in (1, -1):
        count = (end - start) * step
        return count if isinstance(count, Dim) else max(count, 0)
    if isinstance(start, Dim) or isinstance(end, Dim):
        raise TypeError("not a size")
    return len(range(start, end, step))


class Open:
    """A truth value that depends on the open sizes. `equal`: two sizes that are not spelt alike, on which it hangs, if it is
    known to hang on those alone."""

    def __init__(self, equal: tuple[Any, Any] | None = None):
        self.equal = equal


def compared(name: str, a: Any, b: Any) -> Any:
    """A comparison of numbers, or for equality of lists of such; `Open` where it depends on sizes that are open, which are
    at least 1."""
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b) and name in ("eq", "ne"):
        found = [compared("eq", x, y) for x, y in zip(a, b)]
        undecided = [f for f in found if isinstance(f, Open)]
        return (name == "ne") if False in found else undecided[0] if undecided else name == "eq"
    if not isinstance(a, Dim) and not isinstance(b, Dim):
        return COMPARISONS[name](a, b)
    difference = a - b
    if not isinstance(difference, Dim):
        return COMPARISONS[name](difference, 0)
    if b == 0 and name in ("eq", "ne", "gt", "ge"):
        return name != "eq"
    if a == 0 and name in ("eq", "ne", "lt", "le"):
        return name != "eq"
    return Open((a, b) if name in ("eq", "ne") else None)


SIZE_ROUNDING = ("trunc", "floor")  # alike, as sizes are not negative
ARITHMETIC = ("add", "sub", "mul", "div", "floordiv", "remainder", "neg", "pow", "abs", "sqrt", "ceil", "floor")
CONVERSIONS: dict[str, Callable[[Any], Any]] = {"int": int, "float": float, "bool": bool, "str": str}


def as_numbers(name: str, args: list[Any], kwargs: dict[str, Any]) -> tuple[str, list[Any], dict[str, Any]]:
    """A call on a size, which tracing wraps into tensor arithmetic (NumToTensor), as one on numbers where that is possible."""
    if name == "floor_divide" or name == "div" and kwargs.get("rounding_mode") in SIZE_ROUNDING:
        name, kwargs = "floordiv", {}
    if name in ("add", "sub") and kwargs.get("alpha", 1) == 1:
        kwargs = {}
    return (
        name,
        # A packing, which says more than the numbers that it holds, stays what it is.
        [plain(a) if type(a) is Value and a.dtype.startswith(("int", "uint")) else a for a in args],
        kwargs,
    )


def plain(value: Any) -> Any:
    """The number that a tensor of one known element holds."""
    return value.data.item() if isinstance(value, Value) and value.array is not None and value.data.size == 1 else value
