"""The aten calls on elements and over axes, in the ops of docs/ops.md."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir.dims import Dim, product
from .movement import axes_of, slice_axis
from .program import END, OPS, DType, Full, Lowering, Var, op, run_dtype

# ---- elementwise: one input -----------------------------------------------------------------------------------------

UNARY = {  # aten name -> kind
    "relu": "relu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "abs": "abs",
    "neg": "neg",
    "sqrt": "sqrt",
    "exp": "exp",
    "log": "log",
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "asin": "asin",
    "acos": "acos",
    "atan": "atan",
    "sinh": "sinh",
    "cosh": "cosh",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "erf": "erf",
    "floor": "floor",
    "ceil": "ceil",
    "sign": "sign",
    "sgn": "sign",
    "reciprocal": "reciprocal",
    "silu": "silu",
    "mish": "mish",
    "relu6": "relu6",
    "isnan": "is_nan",
    "hardswish": "hard_silu",
    "softsign": "softsign",
    "special_erf": "erf",
}
INT_KINDS = ("neg", "abs", "sign", "relu")


def _unary(kind: str) -> Any:
    def lowered(c: Lowering, self: Any) -> Var:
        return c.unary(kind, self if kind in INT_KINDS and c.dtype(self) == "int32" else c.floating(self))

    return lowered


for _name, _kind in UNARY.items():
    OPS[_name] = _unary(_kind)


@op(
    "contiguous",
    "clone",
    "detach",
    "alias",
    "lift_fresh_copy",
    "lift_fresh",
    "detach_copy",
    "view_copy",
    "positive",
    "lift",
    "conj",
    "resolve_conj",
    "resolve_neg",
    "real",
    "dropout",
    "feature_dropout",
    "alpha_dropout",
    "feature_alpha_dropout",
    "identity",
    "_to_cpu",
    "cpu",
    lazy=True,
)
def _same(c: Lowering, input: Any, p: float = 0.0, train: bool = False, **_: Any) -> Any:
    if train is True:
        raise c.unsupported("dropout in training mode; call eval() before exporting")
    return input


@op("native_dropout", lazy=True)
def _native_dropout(c: Lowering, input: Any, p: float, train: bool | None = False) -> Any:
    return [_same(c, input, p, bool(train)), None]


@op("to", "_to_copy", "type_as", "float", "int", "bool", "long", "double", "to.dtype_layout", lazy=True)
def _to(c: Lowering, self: Any, *args: Any, **kwargs: Any) -> Any:
    dtype = kwargs.get("dtype") or next((a for a in args if isinstance(a, DType)), None)
    other = next((a for a in args if isinstance(a, (Var, np.ndarray, Full))), None)
    if dtype is None and c.step.base in ("float", "int", "bool", "long", "double"):
        dtype = DType(
            {"float": "float32", "double": "float64", "int": "int32", "long": "int64", "bool": "bool"}[c.step.base]
        )
    if dtype is not None:
        return c.cast(self, run_dtype(dtype))
    return self if other is None else c.cast(self, c.dtype(other))


@op("leaky_relu")
def _leaky_relu(c: Lowering, self: Any, negative_slope: float = 0.01) -> Var:
    return c.unary("leaky_relu", self, negative_slope)


@op("rrelu")
def _rrelu(c: Lowering, self: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, **_: Any) -> Var:
    return c.unary("leaky_relu", self, (lower + upper) / 2)


@op("rrelu_with_noise")
def _rrelu_noise(
    c: Lowering, self: Any, noise: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, **_: Any
) -> Var:
    return c.unary("leaky_relu", self, (lower + upper) / 2)


@op("elu")
def _elu(c: Lowering, self: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    x = self if input_scale == 1 else c.binary("mul", self, float(input_scale))
    if scale == 1:
        return c.unary("elu", x, alpha)
    return c.unary("selu", x, alpha, scale)


@op("selu")
def _selu(c: Lowering, self: Any) -> Var:
    return c.unary("selu", self, 1.6732632423543772, 1.0507009873554805)


@op("celu")
def _celu(c: Lowering, self: Any, alpha: float = 1.0) -> Var:
    return c.unary("celu", self, alpha)


@op("gelu")
def _gelu(c: Lowering, self: Any, approximate: str = "none") -> Var:
    return c.unary("gelu_tanh" if approximate == "tanh" else "gelu", self)


@op("hardsigmoid")
def _hardsigmoid(c: Lowering, self: Any) -> Var:
    return c.unary("hard_sigmoid", self, 1 / 6, 0.5)


@op("softplus")
def _softplus(c: Lowering, self: Any, beta: float = 1, threshold: float = 20) -> Any:
    """torch returns x itself above the threshold; the difference there is exp(-threshold) / beta."""
    y = c.unary("softplus", self if beta == 1 else c.binary("mul", self, float(beta)))
    y = y if beta == 1 else c.binary("mul", y, 1.0 / beta)
    if math.exp(-threshold) / beta < 1e-7:
        return y
    above = c.binary("greater", c.binary("mul", self, float(beta)), float(threshold))
    return c.node("Where", [above, self, y])


@op("log_sigmoid", "logsigmoid", "log_sigmoid_forward")
def _log_sigmoid(c: Lowering, self: Any) -> Any:
    y = c.unary("neg", c.unary("softplus", c.unary("neg", self)))
    return [y, None] if c.step.base == "log_sigmoid_forward" else y


@op("threshold")
def _threshold(c: Lowering, self: Any, threshold: float, value: float) -> Var:
    return c.node("Where", [c.binary("greater", self, float(threshold)), self, float(value)])


@op("hardshrink")
def _hardshrink(c: Lowering, self: Any, lambd: float = 0.5) -> Var:
    return c.node("Where", [c.binary("greater", c.unary("abs", self), float(lambd)), self, 0.0])


@op("softshrink")
def _softshrink(c: Lowering, self: Any, lambd: float = 0.5) -> Var:
    shrunk = c.binary("sub", self, c.unary("clip", self, -lambd, lambd))
    return c.node("Where", [c.binary("greater", c.unary("abs", self), float(lambd)), shrunk, 0.0])


@op("rsqrt")
def _rsqrt(c: Lowering, self: Any) -> Var:
    return c.unary("reciprocal", c.unary("sqrt", self))


@op("square")
def _square(c: Lowering, self: Any) -> Var:
    return c.binary("mul", self, self)


@op("log2", "log10", "log1p", "exp2", "expm1")
def _scaled_log(c: Lowering, self: Any) -> Var:
    kind, x = c.step.base.rstrip("_"), c.floating(self)
    if kind == "log1p":
        return c.unary("log", c.binary("add", x, 1.0))
    if kind == "expm1":
        return c.binary("sub", c.unary("exp", x), 1.0)
    if kind == "exp2":
        return c.unary("exp", c.binary("mul", x, math.log(2)))
    return c.binary("mul", c.unary("log", x), 1 / math.log(int(kind[3:])))


@op("trunc", "fix")
def _trunc(c: Lowering, self: Any) -> Var:
    return c.binary("mul", c.unary("sign", self), c.unary("floor", c.unary("abs", self)))


@op("frac")
def _frac(c: Lowering, self: Any) -> Var:
    return c.binary("sub", self, _trunc(c, self))


@op("round")
def _round(c: Lowering, self: Any, decimals: int = 0) -> Var:
    if decimals:
        raise c.unsupported(f"round to {decimals} decimals")
    return c.unary("round", self)


@op("isinf", "isfinite")
def _is_special(c: Lowering, self: Any) -> Var:
    infinite = c.binary("equal", c.unary("abs", self), math.inf)
    if c.step.base == "isinf":
        return infinite
    return c.unary("not", c.binary("or", infinite, c.unary("is_nan", self)))


@op("nan_to_num")
def _nan_to_num(
    c: Lowering, self: Any, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Var:
    big = float(np.finfo(np.float32).max)
    x = c.node("Where", [c.unary("is_nan", self), float(nan or 0.0), self])
    x = c.node("Where", [c.binary("equal", x, math.inf), big if posinf is None else float(posinf), x])
    return c.node("Where", [c.binary("equal", x, -math.inf), -big if neginf is None else float(neginf), x])


@op("logical_not", "bitwise_not")
def _not(c: Lowering, self: Any) -> Var:
    if c.step.base.startswith("bitwise") and c.dtype(self) != "bool":
        raise c.unsupported("bitwise not of integers")
    return c.unary("not", c.cast(self, "bool"))


@op("clamp", "clip", "clamp_min", "clamp_max", "hardtanh", "clamp.Tensor")
def _clamp(c: Lowering, self: Any, min: Any = None, max: Any = None, min_val: Any = None, max_val: Any = None) -> Any:
    base = c.step.base.rstrip("_")
    low, high = (None, min) if base == "clamp_max" else (min, max)
    if base == "hardtanh":
        low, high = (
            -1.0 if min_val is None and min is None else min if min_val is None else min_val,
            1.0 if max_val is None and max is None else max if max_val is None else max_val,
        )
    numbers = all(v is None or isinstance(v, (int, float)) for v in (low, high))
    if numbers and c.dtype(self) == "float32":
        return c.unary("clip", self, -math.inf if low is None else low, math.inf if high is None else high)
    x = self if low is None else c.binary("max", self, low)
    return x if high is None else c.binary("min", x, high)


@op("prelu", "_prelu_kernel")
def _prelu(c: Lowering, self: Any, weight: Any) -> Var:
    slope = c.array(weight, "slope of prelu")
    rank = c.rank(self)
    if slope.size == 1:
        return c.unary("leaky_relu", self, float(slope.reshape(())))
    if slope.ndim == 1 and c.step.base == "prelu" and rank > 1:
        slope = slope.reshape(-1, *[1] * (rank - 2))
    return c.binary("prelu", self, slope)


@op("glu")
def _glu(c: Lowering, self: Any, dim: int = -1) -> Var:
    axis = c.axis(self, dim)
    half = c.shape(self)[axis] // 2
    return c.binary("mul", slice_axis(c, self, axis, 0, half), c.unary("sigmoid", slice_axis(c, self, axis, half, END)))


# ---- elementwise: two inputs and more -------------------------------------------------------------------------------

BINARY = {
    "mul": "mul",
    "multiply": "mul",
    "maximum": "max",
    "minimum": "min",
    "fmod": "fmod",
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "less": "less",
    "greater": "greater",
    "remainder": "mod",
    "logical_and": "and",
    "logical_or": "or",
    "logical_xor": "xor",
    "__and__": "and",
    "__or__": "or",
    "bitwise_and": "and",
    "bitwise_or": "or",
    "bitwise_xor": "xor",
    "not_equal": "not_equal",
}


def _binary(kind: str, name: str) -> Any:
    def lowered(c: Lowering, self: Any, other: Any) -> Any:
        if kind in ("and", "or", "xor") and not name.startswith("logical") and c.promoted(self, other) != "bool":
            raise c.unsupported(f"{name} of integers")
        if kind == "mul" and c.promoted(self, other) == "bool":
            return c.binary("and", self, other)
        return c.binary(kind, self, other)

    return lowered


for _name, _kind in BINARY.items():
    OPS[_name] = _binary(_kind, _name)


def _scaled(c: Lowering, x: Any, alpha: float) -> Any:
    return x if alpha == 1 else c.binary("mul", x, alpha)


@op("add", "__add__")
def _add(c: Lowering, self: Any, other: Any, *, alpha: float = 1) -> Any:
    return c.binary("add", self, _scaled(c, other, alpha))


@op("sub", "subtract")
def _sub(c: Lowering, self: Any, other: Any, *, alpha: float = 1) -> Any:
    return c.binary("sub", self, _scaled(c, other, alpha))


@op("rsub")
def _rsub(c: Lowering, self: Any, other: Any, alpha: float = 1) -> Any:
    return c.binary("sub", other, _scaled(c, self, alpha))


@op("div", "divide", "true_divide", "floor_divide")
def _div(c: Lowering, self: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    mode = "floor" if c.step.base.startswith("floor") else rounding_mode
    if mode is None:
        return c.binary("div", c.floating(self), c.floating(other))
    if c.promoted(self, other) == "float32":
        quotient = c.binary("div", self, other)
        return c.unary("floor", quotient) if mode == "floor" else _trunc(c, quotient)
    if mode == "trunc":
        return c.binary("div", self, other)
    return c.binary("div", c.binary("sub", self, c.binary("mod", self, other)), other)


@op("pow")
def _pow(c: Lowering, self: Any, exponent: Any) -> Any:
    if isinstance(exponent, (int, float)):
        if exponent == 2:
            return c.binary("mul", self, self)
        if exponent == 0.5:
            return c.unary("sqrt", c.floating(self))
        if exponent == 1:
            return self
        if exponent < 0 or isinstance(exponent, float):
            return c.binary("pow", c.floating(self), float(exponent))
    return c.binary("pow", self, exponent)


@op("where", "where.self")
def _where(c: Lowering, condition: Any, self: Any = None, other: Any = None) -> Var:
    if self is None:
        raise c.unsupported("where with one argument: how many places it gives depends on the values")
    dtype = c.promoted(self, other)
    return c.node("Where", [c.cast(condition, "bool"), Var(c.t(self, dtype)), Var(c.t(other, dtype))])


@op("masked_fill")
def _masked_fill(c: Lowering, self: Any, mask: Any, value: Any) -> Var:
    return c.node("Where", [c.cast(mask, "bool"), Var(c.t(value, c.dtype(self))), self])


@op("addcmul", "addcdiv")
def _addc(c: Lowering, self: Any, tensor1: Any, tensor2: Any, *, value: float = 1) -> Any:
    part = c.binary("mul" if c.step.base.startswith("addcmul") else "div", tensor1, tensor2)
    return c.binary("add", self, _scaled(c, part, value))


@op("lerp")
def _lerp(c: Lowering, self: Any, end: Any, weight: Any) -> Any:
    return c.binary("add", self, c.binary("mul", c.binary("sub", end, self), weight))


# ---- over axes ------------------------------------------------------------------------------------------------------


def _reduce(c: Lowering, kind: str, x: Any, dim: Any, keepdim: bool) -> Any:
    if c.rank(x) == 0:
        return x
    return c.node("Reduce", [x], {"kind": kind, "axes": axes_of(c, x, dim), "keepdims": int(keepdim)})


@op("mean")
def _mean(c: Lowering, self: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    return _reduce(c, "mean", c.floating(self), dim, keepdim)


@op("sum", "prod", "sum.dim_IntList", "prod.dim_int")
def _sum(c: Lowering, self: Any, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Any:
    x = c.cast(self, "int32") if c.dtype(self) == "bool" else self
    x = x if dtype is None else c.cast(x, run_dtype(dtype))
    return _reduce(c, c.step.base, x, dim, keepdim)


@op("amax", "amin")
def _amax(c: Lowering, self: Any, dim: Any = None, keepdim: bool = False) -> Any:
    return _reduce(c, c.step.base[1:], self, dim, keepdim)


@op("any", "all", "any.dim", "all.dim")
def _any(c: Lowering, self: Any, dim: Any = None, keepdim: bool = False) -> Any:
    return _reduce(c, "max" if c.step.base == "any" else "min", c.cast(self, "bool"), dim, keepdim)


@op("max", "min")
def _max(c: Lowering, self: Any, dim: Any = None, keepdim: bool = False) -> Any:
    kind = c.step.base
    if isinstance(dim, (Var, np.ndarray, Full)):  # max.other
        return c.binary(kind, self, dim)
    if dim is None:
        return _reduce(c, kind, self, None, False)
    where = (
        c.node("ArgReduce", [self], {"kind": kind, "axis": c.axis(self, dim), "keepdims": int(keepdim)})
        if c.used(1)
        else None
    )
    return [_reduce(c, kind, self, dim, keepdim), where]


@op("argmax", "argmin")
def _argmax(c: Lowering, self: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    x, axis = (c.reshape(self, [-1]), 0) if dim is None else (self, c.axis(self, dim))
    return c.node("ArgReduce", [x], {"kind": c.step.base[3:], "axis": axis, "keepdims": int(keepdim)})


@op("logsumexp")
def _logsumexp(c: Lowering, self: Any, dim: Any, keepdim: bool = False) -> Any:
    return _reduce(c, "log_sum_exp", self, dim, keepdim)


@op("var", "std", "var_mean", "std_mean", "var.correction", "std.correction")
def _var(
    c: Lowering, self: Any, dim: Any = None, unbiased: Any = True, keepdim: bool = False, *, correction: Any = None
) -> Any:
    if isinstance(dim, bool):  # var(x, unbiased)
        dim, unbiased = None, dim
    axes = axes_of(c, self, dim)
    mean = c.node("Reduce", [self], {"kind": "mean", "axes": axes, "keepdims": 1})
    centred = c.binary("sub", self, mean)
    total = _reduce(c, "sum", c.binary("mul", centred, centred), axes, keepdim)
    divisor = product(c.shape(self)[a] for a in axes) - (int(bool(unbiased)) if correction is None else int(correction))
    spread = c.binary("div", total, c.floating(divisor) if isinstance(divisor, Dim) else float(divisor))
    spread = c.unary("sqrt", spread) if c.step.base.startswith("std") else spread
    if not c.step.base.endswith("_mean"):
        return spread
    return [spread, mean if keepdim else _reduce(c, "mean", self, axes, False)]


@op("norm", "linalg_vector_norm", "frobenius_norm")
def _norm(
    c: Lowering, self: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, *, ord: Any = None, dtype: Any = None
) -> Any:
    order = float(2 if p is None else p) if ord is None else float(ord)
    if order in (1.0, 2.0):
        return _reduce(c, f"l{int(order)}", self, dim, keepdim)
    if order == math.inf:
        return _reduce(c, "max", c.unary("abs", self), dim, keepdim)
    raise c.unsupported(f"the norm of order {order}; expected 1, 2 or inf")


@op("softmax", "_softmax", "special_softmax")
def _softmax(c: Lowering, self: Any, dim: int, *_: Any, **__: Any) -> Any:
    return c.node("Softmax", [c.floating(self)], {"axis": c.axis(self, dim)})


@op("log_softmax", "_log_softmax", "special_log_softmax")
def _log_softmax(c: Lowering, self: Any, dim: int, *_: Any, **__: Any) -> Any:
    return c.node("Softmax", [c.floating(self)], {"axis": c.axis(self, dim), "log": 1})


@op("cumsum")
def _cumsum(c: Lowering, self: Any, dim: int, *, dtype: Any = None) -> Any:
    x = c.cast(self, "int32") if c.dtype(self) == "bool" else self
    return c.node("CumSum", [x], {"axis": c.axis(self, dim)})


@op("topk")
def _topk(c: Lowering, self: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    names = c.g.add("TopK", [c.t(self)], {"k": k, "axis": c.axis(self, dim), "largest": int(largest)}, c.label())
    return [Var(n) for n in names]


@op("sort")
def _sort(c: Lowering, self: Any, dim: int = -1, descending: bool = False, *, stable: Any = None) -> Any:
    size = c.shape(self)[c.axis(self, dim)]
    if isinstance(size, Dim):
        raise c.unsupported(f"sort along an axis of size {size}, which is not a fixed number")
    return _topk(c, self, size, dim, descending)
