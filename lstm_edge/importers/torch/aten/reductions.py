"""The aten calls over axes: sums, norms, softmax, sorting."""

from __future__ import annotations

import math
from typing import Any

from ...dialect import Value
from ...dialect import reductions as over
from ..lowering import Lowering
from ..program import DType, run_dtype
from ..registry import op, spell


def _reduce(c: Lowering, kind: str, x: Value, dim: Any, keepdim: bool) -> Value:
    return over.reduce(c, kind, x, c.axes_of(x, dim), keepdim)


def _countable(c: Lowering, x: Value, dtype: DType | None = None) -> Value:
    """x as torch sums it: truths as numbers."""
    x = c.value(x, "int32") if c.dtype(x) == "bool" else x
    return x if dtype is None else c.value(x, run_dtype(dtype))


spell(
    {
        "mean": lambda c, self, dim=None, keepdim=False, *, dtype=None: _reduce(
            c, "mean", c.floating(self), dim, keepdim
        ),
        "amax": lambda c, self, dim=None, keepdim=False: _reduce(c, "max", self, dim, keepdim),
        "amin": lambda c, self, dim=None, keepdim=False: _reduce(c, "min", self, dim, keepdim),
        "logsumexp": lambda c, self, dim, keepdim=False: _reduce(c, "log_sum_exp", self, dim, keepdim),
        "any any.dim": lambda c, self, dim=None, keepdim=False: over.any_of(c, self, c.axes_of(self, dim), keepdim),
        "all all.dim": lambda c, self, dim=None, keepdim=False: over.all_of(c, self, c.axes_of(self, dim), keepdim),
        "argmax": lambda c, self, dim=None, keepdim=False: over.arg_reduce(c, "max", self, dim, keepdim),
        "argmin": lambda c, self, dim=None, keepdim=False: over.arg_reduce(c, "min", self, dim, keepdim),
        "softmax _softmax special_softmax": lambda c, self, dim, *_, **__: over.softmax(c, c.floating(self), dim),
        "log_softmax _log_softmax special_log_softmax": lambda c, self, dim, *_, **__: over.softmax(
            c, c.floating(self), dim, log=True
        ),
        "cumsum": lambda c, self, dim, *, dtype=None: over.cumulative_sum(c, _countable(c, self), dim),
        "topk": lambda c, self, k, dim=-1, largest=True, sorted=True: list(over.top_k(c, self, k, dim, largest)),
        "sort": lambda c, self, dim=-1, descending=False, *, stable=None: list(over.sort(c, self, dim, descending)),
        "argsort": lambda c, self, dim=-1, descending=False, *, stable=None: over.sort(c, self, dim, descending)[1],
    }
)


@op("sum", "prod", "sum.dim_IntList", "prod.dim_int")
def _sum(c: Lowering, self: Value, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Value:
    return _reduce(c, c.step.base, _countable(c, self, dtype), dim, keepdim)


@op("max", "min")
def _max(c: Lowering, self: Value, dim: Any = None, keepdim: bool = False) -> Any:
    kind = c.step.base
    if isinstance(dim, Value):  # max.other
        return c.arithmetic(kind, self, dim)
    if dim is None:
        return _reduce(c, kind, self, None, False)
    where = over.arg_reduce(c, kind, self, dim, keepdim) if c.used(1) else None
    return [_reduce(c, kind, self, dim, keepdim), where]


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


@op("cosine_similarity")
def _cosine_similarity(c: Lowering, x1: Value, x2: Value, dim: int = 1, eps: float = 1e-8) -> Value:
    lengths = [c.arithmetic("max", _reduce(c, "l2", x, dim, False), eps) for x in (x1, x2)]
    return c.binary("div", _reduce(c, "sum", c.binary("mul", x1, x2), dim, False), c.binary("mul", *lengths))
