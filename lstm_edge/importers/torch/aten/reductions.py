"""The aten calls over axes: sums, norms, softmax, sorting."""

from __future__ import annotations

import math
from typing import Any

from ...dialect import Value
from ...dialect import reductions as over
from ..lowering import Lowering
from ..program import DType, run_dtype
from ..registry import op


def _reduce(c: Lowering, kind: str, x: Value, dim: Any, keepdim: bool) -> Value:
    return over.reduce(c, kind, x, c.axes_of(x, dim), keepdim)


def _countable(c: Lowering, x: Value, dtype: DType | None = None) -> Value:
    """x as torch sums it: truths as numbers."""
    x = c.value(x, "int32") if c.dtype(x) == "bool" else x
    return x if dtype is None else c.value(x, run_dtype(dtype))


@op("mean")
def _mean(c: Lowering, self: Value, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:
    return _reduce(c, "mean", c.floating(self), dim, keepdim)


@op("sum", "prod", "sum.dim_IntList", "prod.dim_int")
def _sum(c: Lowering, self: Value, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Value:
    return _reduce(c, c.step.base, _countable(c, self, dtype), dim, keepdim)


@op("amax", "amin")
def _amax(c: Lowering, self: Value, dim: Any = None, keepdim: bool = False) -> Value:
    return _reduce(c, c.step.base[1:], self, dim, keepdim)


@op("any", "all", "any.dim", "all.dim")
def _any(c: Lowering, self: Value, dim: Any = None, keepdim: bool = False) -> Value:
    return (over.any_of if c.step.base == "any" else over.all_of)(c, self, c.axes_of(self, dim), keepdim)


@op("max", "min")
def _max(c: Lowering, self: Value, dim: Any = None, keepdim: bool = False) -> Any:
    kind = c.step.base
    if isinstance(dim, Value):  # max.other
        return c.arithmetic(kind, self, dim)
    if dim is None:
        return _reduce(c, kind, self, None, False)
    where = over.arg_reduce(c, kind, self, dim, keepdim) if c.used(1) else None
    return [_reduce(c, kind, self, dim, keepdim), where]


@op("argmax", "argmin")
def _argmax(c: Lowering, self: Value, dim: int | None = None, keepdim: bool = False) -> Value:
    return over.arg_reduce(c, c.step.base[3:], self, dim, keepdim)


@op("logsumexp")
def _logsumexp(c: Lowering, self: Value, dim: Any, keepdim: bool = False) -> Value:
    return _reduce(c, "log_sum_exp", self, dim, keepdim)


@op("var", "std", "var_mean", "std_mean", "var.correction", "std.correction")
def _var(
    c: Lowering, self: Value, dim: Any = None, unbiased: Any = True, keepdim: bool = False, *, correction: Any = None
) -> Any:
    if isinstance(dim, bool):  # var(x, unbiased)
        dim, unbiased = None, dim
    less = int(bool(unbiased)) if correction is None else int(correction)
    spread, mean = over.variance(c, self, c.axes_of(self, dim), keepdim, less)
    spread = c.unary("sqrt", spread) if c.step.base.startswith("std") else spread
    return [spread, mean] if c.step.base.endswith("_mean") else spread


@op("norm", "linalg_vector_norm", "frobenius_norm")
def _norm(
    c: Lowering, self: Value, p: Any = 2, dim: Any = None, keepdim: bool = False, *, ord: Any = None, dtype: Any = None
) -> Value:
    order = float(2 if p is None else p) if ord is None else float(ord)
    if order in (1.0, 2.0):
        return _reduce(c, f"l{int(order)}", self, dim, keepdim)
    if order == math.inf:
        return _reduce(c, "max", c.unary("abs", self), dim, keepdim)
    raise c.refuse(f"the norm of order {order}; expected 1, 2 or inf")


@op("softmax", "_softmax", "special_softmax")
def _softmax(c: Lowering, self: Value, dim: int, *_: Any, **__: Any) -> Value:
    return over.softmax(c, c.floating(self), dim)


@op("log_softmax", "_log_softmax", "special_log_softmax")
def _log_softmax(c: Lowering, self: Value, dim: int, *_: Any, **__: Any) -> Value:
    return over.softmax(c, c.floating(self), dim, log=True)


@op("cumsum")
def _cumsum(c: Lowering, self: Value, dim: int, *, dtype: Any = None) -> Value:
    return over.cumulative_sum(c, _countable(c, self), dim)


@op("topk")
def _topk(c: Lowering, self: Value, k: Any, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    return list(over.top_k(c, self, k, dim, largest))


@op("sort")
def _sort(c: Lowering, self: Value, dim: int = -1, descending: bool = False, *, stable: Any = None) -> Any:
    return list(over.sort(c, self, dim, descending))


@op("argsort")
def _argsort(c: Lowering, self: Value, dim: int = -1, descending: bool = False, *, stable: Any = None) -> Value:
    return over.sort(c, self, dim, descending)[1]


@op("cosine_similarity")
def _cosine_similarity(c: Lowering, x1: Value, x2: Value, dim: int = 1, eps: float = 1e-8) -> Value:
    lengths = [c.arithmetic("max", _reduce(c, "l2", x, dim, False), eps) for x in (x1, x2)]
    return c.binary("div", _reduce(c, "sum", c.binary("mul", x1, x2), dim, False), c.binary("mul", *lengths))
