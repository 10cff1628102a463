"""The aten calls on elements."""

from __future__ import annotations

from typing import Any

from ....ir.ops import BINARY_LOGIC
from ...dialect import Value
from ...dialect import arithmetic as on
from ...dialect.selection import masked_fill
from ..lowering import Lowering
from ..program import DType, run_dtype
from ..registry import OPS, op

# ---- one input ------------------------------------------------------------------------------------------------------

UNARY = {  # aten name -> kind of a Unary
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
DIALECT = {  # aten name -> what the dialect calls it, of one float tensor
    "rsqrt": on.rsqrt,
    "log1p": on.log1p,
    "expm1": on.expm1,
    "exp2": on.exp2,
    "asinh": on.asinh,
    "acosh": on.acosh,
    "atanh": on.atanh,
    "arcsinh": on.asinh,
    "arccosh": on.acosh,
    "arctanh": on.atanh,
    "trunc": on.trunc,
    "fix": on.trunc,
    "isinf": on.is_inf,
    "isfinite": on.is_finite,
    "log_sigmoid": on.log_sigmoid,
    "logsigmoid": on.log_sigmoid,
    "elu": on.elu,
}


def _unary(kind: str) -> Any:
    def lowered(c: Lowering, self: Any) -> Value:
        return c.unary(kind, c.value(self) if kind in INT_KINDS and c.dtype(self) == "int32" else c.floating(self))

    return lowered


def _of_dialect(function: Any) -> Any:
    return lambda c, self, *args, **kwargs: function(c, c.floating(self), *args, **kwargs)


OPS.update({name: _unary(kind) for name, kind in UNARY.items()})
OPS.update({name: _of_dialect(function) for name, function in DIALECT.items()})


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
        raise c.refuse("dropout in training mode; call eval() before exporting")
    return input


@op("native_dropout", lazy=True)
def _native_dropout(c: Lowering, input: Any, p: float, train: bool | None = False) -> Any:
    return [_same(c, input, p, bool(train)), None]


CASTS = {"float": "float32", "double": "float64", "int": "int32", "long": "int64", "bool": "bool"}


@op("to", "_to_copy", "type_as", *CASTS, "to.dtype_layout", lazy=True)
def _to(c: Lowering, self: Any, *args: Any, **kwargs: Any) -> Any:
    dtype = kwargs.get("dtype") or next((a for a in args if isinstance(a, DType)), None)
    other = next((a for a in args if isinstance(a, Value)), None)
    if dtype is None and c.step.base in CASTS:
        dtype = DType(CASTS[c.step.base])
    if dtype is not None:
        return c.value(self, run_dtype(dtype))
    return self if other is None else c.value(self, c.dtype(other))


@op("leaky_relu")
def _leaky_relu(c: Lowering, self: Value, negative_slope: float = 0.01) -> Value:
    return c.unary("leaky_relu", self, negative_slope)


@op("rrelu")
def _rrelu(c: Lowering, self: Value, lower: float = 1 / 8, upper: float = 1 / 3, *_: Any, **__: Any) -> Value:
    return c.unary("leaky_relu", self, (lower + upper) / 2)


@op("rrelu_with_noise")
def _rrelu_noise(c: Lowering, self: Value, noise: Any, *args: Any, **kwargs: Any) -> Value:
    return _rrelu(c, self, *args, **kwargs)


@op("selu")
def _selu(c: Lowering, self: Value) -> Value:
    return c.unary("selu", self, *on.SELU)


@op("celu")
def _celu(c: Lowering, self: Value, alpha: float = 1.0) -> Value:
    return c.unary("celu", self, alpha)


@op("gelu")
def _gelu(c: Lowering, self: Value, approximate: str = "none") -> Value:
    return c.unary("gelu_tanh" if approximate == "tanh" else "gelu", self)


@op("hardsigmoid")
def _hardsigmoid(c: Lowering, self: Value) -> Value:
    return c.unary("hard_sigmoid", self, 1 / 6, 0.5)


@op("softplus")
def _softplus(c: Lowering, self: Value, beta: float = 1, threshold: float = 20) -> Value:
    return on.softplus(c, self, beta, threshold)


@op("threshold")
def _threshold(c: Lowering, self: Value, threshold: float, value: float) -> Value:
    return on.threshold(c, self, threshold, value)


@op("nan_to_num")
def _nan_to_num(
    c: Lowering, self: Value, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Value:
    return on.nan_to_num(c, self, nan, posinf, neginf)


@op("log_sigmoid_forward")
def _log_sigmoid_forward(c: Lowering, self: Value) -> Any:
    return [on.log_sigmoid(c, self), None]


@op("hardshrink")
def _hardshrink(c: Lowering, self: Value, lambd: float = 0.5) -> Value:
    return on.shrink(c, self, lambd, 0.0)


@op("softshrink")
def _softshrink(c: Lowering, self: Value, lambd: float = 0.5) -> Value:
    return on.shrink(c, self, lambd, lambd)


@op("square")
def _square(c: Lowering, self: Value) -> Value:
    return on.square(c, self)


@op("log2", "log10")
def _logarithm(c: Lowering, self: Value) -> Value:
    return on.logarithm(c, c.floating(self), int(c.step.base.rstrip("_")[3:]))


@op("frac")
def _frac(c: Lowering, self: Value) -> Value:
    return c.binary("sub", self, on.trunc(c, self))


@op("round")
def _round(c: Lowering, self: Value, decimals: int = 0) -> Value:
    if decimals:
        raise c.refuse(f"round to {decimals} decimals")
    return c.unary("round", self)


@op("logical_not", "bitwise_not")
def _not(c: Lowering, self: Any) -> Value:
    if c.step.base.startswith("bitwise") and c.dtype(self) != "bool":
        raise c.refuse("bitwise not of integers")
    return c.unary("not", c.value(self, "bool"))


@op("clamp", "clip", "clamp.Tensor")
def _clamp(c: Lowering, self: Value, min: Any = None, max: Any = None) -> Value:
    if c.promoted(*(v for v in (self, min, max) if v is not None)) == "float32":
        low, high = (v if v is None else c.floating(v) for v in (min, max))
        return on.clip(c, c.floating(self), low, high)
    x = self if min is None else c.arithmetic("max", self, min)
    return x if max is None else c.arithmetic("min", x, max)


@op("clamp_min")
def _clamp_min(c: Lowering, self: Value, min: Any) -> Value:
    return _clamp(c, self, min)


@op("clamp_max")
def _clamp_max(c: Lowering, self: Value, max: Any) -> Value:
    return _clamp(c, self, None, max)


@op("hardtanh")
def _hardtanh(c: Lowering, self: Value, min_val: float = -1.0, max_val: float = 1.0) -> Value:
    return _clamp(c, self, min_val, max_val)


@op("prelu", "_prelu_kernel")
def _prelu(c: Lowering, self: Value, weight: Value) -> Value:
    """One slope for all, or one per channel, which is axis 1."""
    if c.step.base == "prelu" and c.rank(weight) == 1 and c.rank(self) > 1:
        weight = c.reshape(weight, [*c.shape(weight), *[1] * (c.rank(self) - 2)])
    return on.prelu(c, self, weight)


@op("glu")
def _glu(c: Lowering, self: Value, dim: int = -1) -> Value:
    return on.glu(c, self, dim)


# ---- two inputs and more --------------------------------------------------------------------------------------------

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
    def lowered(c: Lowering, self: Any, other: Any) -> Value:
        dtype = c.promoted(self, other)
        if kind in BINARY_LOGIC and not name.startswith("logical") and dtype != "bool":
            raise c.refuse(f"{name} of integers")
        return c.arithmetic("and" if kind == "mul" and dtype == "bool" else kind, self, other)

    return lowered


OPS.update({name: _binary(kind, name) for name, kind in BINARY.items()})


def _times(c: Lowering, x: Any, alpha: float) -> Any:
    return x if alpha == 1 else c.arithmetic("mul", x, alpha)


@op("add", "__add__")
def _add(c: Lowering, self: Any, other: Any, *, alpha: float = 1) -> Value:
    return c.arithmetic("add", self, _times(c, other, alpha))


@op("sub", "subtract")
def _sub(c: Lowering, self: Any, other: Any, *, alpha: float = 1) -> Value:
    return c.arithmetic("sub", self, _times(c, other, alpha))


@op("rsub")
def _rsub(c: Lowering, self: Any, other: Any, alpha: float = 1) -> Value:
    return c.arithmetic("sub", other, _times(c, self, alpha))


@op("div", "divide", "true_divide", "floor_divide")
def _div(c: Lowering, self: Any, other: Any, *, rounding_mode: str | None = None) -> Value:
    mode = "floor" if c.step.base.startswith("floor") else rounding_mode
    if mode is None:
        return c.binary("div", c.floating(self), c.floating(other))
    return (on.floor_div if mode == "floor" else on.trunc_div)(c, *c.promote(self, other))


@op("pow")
def _pow(c: Lowering, self: Any, exponent: Any) -> Value:
    if isinstance(exponent, (int, float)):
        if exponent == 0.5:
            return c.unary("sqrt", c.floating(self))
        if exponent == 1:
            return c.value(self)
        if exponent == 2:
            return on.square(c, c.value(self))
        if exponent < 0:
            return on.power(c, c.floating(self), c.floating(exponent))
    return on.power(c, *c.promote(self, exponent))


@op("where", "where.self")
def _where(c: Lowering, condition: Value, self: Any = None, other: Any = None) -> Value:
    if self is None:
        raise c.refuse("where with one argument: how many places it gives depends on the values")
    return on.where(c, c.value(condition, "bool"), *c.promote(self, other))


@op("masked_fill")
def _masked_fill(c: Lowering, self: Value, mask: Value, value: Any) -> Value:
    return masked_fill(c, self, mask, c.value(value))


@op("addcmul", "addcdiv")
def _addc(c: Lowering, self: Value, tensor1: Value, tensor2: Value, *, value: float = 1) -> Value:
    part = c.arithmetic("mul" if c.step.base.startswith("addcmul") else "div", tensor1, tensor2)
    return c.arithmetic("add", self, _times(c, part, value))


@op("lerp")
def _lerp(c: Lowering, self: Value, end: Value, weight: Any) -> Value:
    return on.lerp(c, self, end, c.floating(weight))
