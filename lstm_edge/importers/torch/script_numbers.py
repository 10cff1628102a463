"""What TorchScript calls on numbers, lists and dicts, which are sizes of the inputs for the most part."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from ..dialect import Value
from .aten.sizes import quotient

NUMBERS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": quotient,
    "floordiv": operator.floordiv,
    "remainder": operator.mod,
    "neg": operator.neg,
    "pow": operator.pow,
    "__and__": lambda a, b: a and b,
    "__or__": lambda a, b: a or b,
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
        [plain(a) if isinstance(a, Value) and a.dtype.startswith(("int", "uint")) else a for a in args],
        kwargs,
    )


def plain(value: Any) -> Any:
    """The number that a tensor of one known element holds."""
    return value.data.item() if isinstance(value, Value) and value.array is not None and value.data.size == 1 else value
