"""The aten calls on elements."""

from __future__ import annotations

from typing import Any

from ....ir.ops import BINARY_LOGIC
from ...dialect import Value
from ...dialect import arithmetic as on
from ...dialect.selection import masked_fill
from ..lowering import Lowering
from ..program import DType, run_dtype
from ..registry import OPS, op, spell

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


@op("rrelu")
def _rrelu(c: Lowering, self: Value, lower: float = 1 / 8, upper: float = 1 / 3, *_: Any, **__: Any) -> Value:
    return c.unary("leaky_relu", self, (lower + upper) / 2)


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


spell(
    {
        "leaky_relu": lambda c, self, negative_slope=0.01: c.unary("leaky_relu", self, negative_slope),
        "rrelu_with_noise": lambda c, self, noise, *args, **kwargs: _rrelu(c, self, *args, **kwargs),
        "selu": lambda c, self: c.unary("selu", self, *on.SELU),
        "celu": lambda c, self, alpha=1.0: c.unary("celu", self, alpha),
        "gelu": lambda c, self, approximate="none": c.unary("gelu_tanh" if approximate == "tanh" else "gelu", self),
        "hardsigmoid": lambda c, self: c.unary("hard_sigmoid", self, 1 / 6, 0.5),
        "softplus": lambda c, self, beta=1, threshold=20: on.softplus(c, self, beta, threshold),
        "threshold": lambda c, self, threshold, value: on.threshold(c, self, threshold, value),
        "nan_to_num": lambda c, self, nan=None, posinf=None, neginf=None: on.nan_to_num(c, self, nan, posinf, neginf),
        "log_sigmoid_forward": lambda c, self: [on.log_sigmoid(c, self), None],
        "hardshrink": lambda c, self, lambd=0.5: on.shrink(c, self, lambd, 0.0),
        "softshrink": lambda c, self, lambd=0.5: on.shrink(c, self, lambd, lambd),
        "square": lambda c, self: on.square(c, self),
        "log2": lambda c, self: on.logarithm(c, c.floating(self), 2),
        "log10": lambda c, self: on.logarithm(c, c.floating(self), 10),
        "frac": lambda c, self: c.binary("sub", self, on.trunc(c, self)),
        "clamp_min": lambda c, self, min: _clamp(c, self, min),
        "clamp_max": lambda c, self, max: _clamp(c, self, None, max),
        "hardtanh": lambda c, self, min_val=-1.0, max_val=1.0: _clamp(c, self, min_val, max_val),
        "glu": lambda c, self, dim=-1: on.glu(c, self, dim),
    }
)
spell({"native_dropout": lambda c, input, p, train=False: [_same(c, input, p, bool(train)), None]}, lazy=True)


@op("prelu", "_prelu_kernel")
def _prelu(c: Lowering, self: Value, weight: Value) -> Value:
    """One slope for all, or one per channel, which is axis 1."""
    if c.step.base == "prelu" and c.rank(weight) == 1 and c.rank(self) > 1:
        weight = c.reshape(weight, [*c.shape(weight), *[1] * (c.rank(self) - 2)])
    return on.prelu(c, self, weight)


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


spell(
    {
        "add __add__": lambda c, self, other, *, alpha=1: c.arithmetic("add", self, _times(c, other, alpha)),
        "sub subtract": lambda c, self, other, *, alpha=1: c.arithmetic("sub", self, _times(c, other, alpha)),
        "rsub": lambda c, self, other, alpha=1: c.arithmetic("sub", other, _times(c, self, alpha)),
        "pow": lambda c, self, exponent: on.power(c, *c.promote(self, exponent)),
        "masked_fill": lambda c, self, mask, value: masked_fill(c, self, mask, c.value(value)),
        "lerp": lambda c, self, end, weight: on.lerp(c, self, end, c.floating(weight)),
    }
)


@op("div", "divide", "true_divide", "floor_divide")
def _div(c: Lowering, self: Any, other: Any, *, rounding_mode: str | None = None) -> Value:
    mode = "floor" if c.step.base.startswith("floor") else rounding_mode
    if mode is None:
        return c.binary("div", c.floating(self), c.floating(other))
    return (on.floor_div if mode == "floor" else on.trunc_div)(c, *c.promote(self, other))


@op("where", "where.self")
def _where(c: Lowering, condition: Value, self: Any = None, other: Any = None) -> Value:
    if self is None:
        raise c.refuse("where with one argument: how many places it gives depends on the values")
    return on.where(c, c.value(condition, "bool"), *c.promote(self, other))


@op("addcmul", "addcdiv")
def _addc(c: Lowering, self: Value, tensor1: Value, tensor2: Value, *, value: float = 1) -> Value:
    part = c.arithmetic("mul" if c.step.base.startswith("addcmul") else "div", tensor1, tensor2)
    return c.arithmetic("add", self, _times(c, part, value))
