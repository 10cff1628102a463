"""The calls on numbers, which are sizes of the inputs for the most part, and what only asserts."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from ....ir.dims import Dim, value
from ...dialect import Value
from ..lowering import Lowering
from ..registry import OPS, op


def _at_large(a: Any) -> Any:
    return value(a, 1 << 20, 1 << 20) if isinstance(a, Dim) else a


def quotient(a: Any, b: Any) -> Any:
    """a / b of numbers; TypeError where one is a size left open."""
    if isinstance(a, Dim) or isinstance(b, Dim):
        raise TypeError("not a size")
    return a / b


SIZE_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "truediv": quotient,
    "pow": operator.pow,
}
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
TENSOR_KIND = {"truediv": "div", "add": "add", "sub": "sub", "mul": "mul", "pow": "pow"}


def _number(name: str, exact: Any) -> Any:
    """Python's operator `name` on sizes; where no size results (a quotient), a scalar of the graph."""

    def lowered(c: Lowering, a: Any, b: Any) -> Any:
        if not isinstance(a, Value) and not isinstance(b, Value):
            try:
                return exact(a, b)
            except (TypeError, ValueError):
                pass
        if name not in TENSOR_KIND:
            raise c.refuse(f"{name} of {a} and {b}")
        return c.binary(TENSOR_KIND[name], c.floating(a), c.floating(b))

    return lowered


def _comparison(exact: Any) -> Any:
    """On sizes, batch and frames taken as large. Of numbers read out of tensors only assertions ask; they get None."""
    return lambda c, a, b: None if isinstance(a, Value) or isinstance(b, Value) else exact(_at_large(a), _at_large(b))


OPS.update({f"operator.{name}": _number(name, exact) for name, exact in SIZE_ARITHMETIC.items()})
OPS.update({f"operator.{name}": _comparison(exact) for name, exact in COMPARISONS.items()})
OPS["operator.neg"] = lambda c, a: -a
OPS["operator.getitem"] = lambda c, a, i: a[i]
OPS["math.sym_min"] = lambda c, a, b: a if _at_large(a) <= _at_large(b) else b
OPS["math.sym_max"] = lambda c, a, b: a if _at_large(a) >= _at_large(b) else b
OPS["math.sym_float"] = OPS["math.sym_int"] = lambda c, a: a
OPS["math.sym_not"] = lambda c, a: not a


@op("item", "_local_scalar_dense", lazy=True)
def _item(c: Lowering, self: Any) -> Any:
    """A number read out of a tensor: it stays what it is, and only an op that can take it will."""
    return self.data.item() if isinstance(self, Value) and self.array is not None else self


@op(
    "_assert_scalar",
    "_assert_async",
    "sym_constrain_range_for_size",
    "sym_constrain_range",
    "_assert_tensor_metadata",
    "_check_is_size",
    lazy=True,
)
def _assertion(c: Lowering, *_: Any, **__: Any) -> None:
    return None
