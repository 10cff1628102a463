"""Arithmetic on elements: what is more than one op of docs/ops.md, or has parameters that may themselves be computed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...ir.ops import TO_END
from ...options import as_typed
from . import folding
from .builder import Dialect, Operand
from .value import Value, broadcast, known

# Numbers that frameworks share for activations with parameters.
SELU = (1.67326319217681884765625, 1.05070102214813232421875)
HIGHEST = float(np.finfo(np.float32).max)


def scaled(d: Dialect, x: Value, factor: float) -> Value:
    """x * factor; a factor of 1 leaves no op."""
    return x if factor == 1 else d.binary("mul", x, factor)


def variadic(d: Dialect, kind: str, values: Sequence[Value]) -> Value:
    """`kind` (max, min, add ...) of any number of values, from the left."""
    total = values[0]
    for value in values[1:]:
        total = d.binary(kind, total, value)
    return total


def mean_of(d: Dialect, values: Sequence[Value]) -> Value:
    """The mean of values, element by element."""
    return d.binary("mul", variadic(d, "add", values), 1.0 / len(values))


def where(d: Dialect, condition: Value, a: Operand, b: Operand) -> Value:
    """a where the condition is true, else b; a choice made at conversion leaves at most an Expand."""
    a, b = d.operand(a, b), d.operand(b, a)
    if condition.is_known and a.array is not None and b.array is not None:
        folded = folding.choose(condition, a, b, d.place)
        if folded is not None:
            return folded
    if condition.is_known and d.uniform(condition) is not None:
        chosen = a if d.uniform(condition) else b
        target = broadcast(broadcast(d.shape(condition), d.shape(a), d.place), d.shape(b), d.place)
        return d.expand(chosen, target)
    a, b = d.alike(a, b)
    return d.emit("Where", [d.cast(condition, "bool"), a, b], {}, a.dtype)


def cast(d: Dialect, x: Value, dtype: str) -> Value:
    """x as an element type of the source; at run time there are float32, int32 and bool."""
    if x.array is not None and (x.is_known or dtype != "bool"):
        with np.errstate(all="ignore"):
            return known(x.array.astype(dtype)) if x.is_known else Value(dtype, x.array)
    wanted = d.run_dtype(Value(dtype))
    if d.run_dtype(x) == wanted:
        return Value(dtype, tensor=d.tensor(x))
    return d.emit("Cast", [x], {"to": wanted}, dtype)


# ---- one value -------------------------------------------------------------------------------------------------------


def square(d: Dialect, x: Value) -> Value:
    return d.binary("mul", x, x)


def rsqrt(d: Dialect, x: Value) -> Value:
    return d.unary("reciprocal", d.unary("sqrt", x))


def squared_difference(d: Dialect, a: Operand, b: Operand) -> Value:
    return square(d, d.binary("sub", a, b))


def clip(d: Dialect, x: Value, low: Value | float | None = None, high: Value | float | None = None) -> Value:
    """x between bounds; None is no bound. Bounds known at conversion make one op, others a max and a min."""
    bounds = [b if b is None or isinstance(b, Value) else d.constant(b) for b in (low, high)]
    if all(b is None or b.is_known and b.data.size == 1 for b in bounds):
        numbers = [
            default if b is None else float(b.data.reshape(-1)[0]) for b, default in zip(bounds, (-np.inf, np.inf))
        ]
        return d.unary("clip", x, *numbers)
    for kind, bound in zip(("max", "min"), bounds):
        x = x if bound is None else d.binary(kind, x, bound)
    return x


def trunc(d: Dialect, x: Value) -> Value:
    """x rounded towards zero."""
    return d.binary("mul", d.unary("sign", x), d.unary("floor", d.unary("abs", x)))


def logarithm(d: Dialect, x: Value, base: float) -> Value:
    return d.binary("mul", d.unary("log", x), 1 / math.log(base))


def log1p(d: Dialect, x: Value) -> Value:
    return d.unary("log", d.binary("add", x, 1.0))


def expm1(d: Dialect, x: Value) -> Value:
    return d.binary("sub", d.unary("exp", x), 1.0)


def exp2(d: Dialect, x: Value) -> Value:
    return d.unary("exp", d.binary("mul", x, math.log(2)))


def asinh(d: Dialect, x: Value) -> Value:
    """By a logarithm of |x|, which avoids a difference of near numbers."""
    size = d.unary("abs", x)
    root = d.unary("sqrt", d.binary("add", square(d, size), 1.0))
    return d.binary("mul", d.unary("log", d.binary("add", size, root)), d.unary("sign", x))


def acosh(d: Dialect, x: Value) -> Value:
    root = d.unary("sqrt", d.binary("sub", square(d, x), 1.0))
    return d.unary("log", d.binary("add", x, root))


def atanh(d: Dialect, x: Value) -> Value:
    one = d.constant(1.0)
    ratio = d.binary("div", d.binary("add", one, x), d.binary("sub", one, x))
    return d.binary("mul", d.unary("log", ratio), 0.5)


def is_inf(d: Dialect, x: Value, positive: bool = True, negative: bool = True) -> Value:
    if not positive and not negative:
        raise d.refuse("detects neither infinity")
    x = d.unary("abs", x) if positive and negative else x
    return d.binary("equal", x, np.inf if positive else -np.inf)


def is_finite(d: Dialect, x: Value) -> Value:
    return d.unary("not", d.binary("or", is_inf(d, x), d.unary("is_nan", x)))


def nan_to_num(
    d: Dialect, x: Value, nan: float | None = None, positive: float | None = None, negative: float | None = None
) -> Value:
    """x with NaN and the infinities replaced: by 0 and the largest float32 numbers where none is given."""
    x = where(d, d.unary("is_nan", x), nan or 0.0, x)
    high, low = (HIGHEST if positive is None else positive), (-HIGHEST if negative is None else negative)
    x = where(d, is_inf(d, x, negative=False), high, x)
    return where(d, is_inf(d, x, positive=False), low, x)


# ---- activations with parameters -------------------------------------------------------------------------------------


def scaled_silu(d: Dialect, x: Value, alpha: float) -> Value:
    """x * sigmoid(alpha x)."""
    if alpha == 1.0:
        return d.unary("silu", x)
    return d.binary("mul", x, d.unary("sigmoid", d.binary("mul", x, alpha)))


def elu(d: Dialect, x: Value, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Value:
    """scale * (x where positive, else alpha * (exp(input_scale x) - 1)), x scaled on both sides."""
    x = scaled(d, x, input_scale)
    return d.unary("elu", x, alpha) if scale == 1 else d.unary("selu", x, alpha, scale)


def softplus(d: Dialect, x: Value, beta: float = 1.0, threshold: float = math.inf) -> Value:
    """log(1 + exp(beta x)) / beta, and x itself where beta x is above the threshold. The threshold is left out where
    what it changes, exp(-threshold) / beta, is below float32."""
    y = scaled(d, d.unary("softplus", scaled(d, x, beta)), 1.0 / beta)
    if math.exp(-threshold) / beta < 1e-7:
        return y
    return where(d, d.binary("greater", d.binary("mul", x, beta), threshold), x, y)


def log_sigmoid(d: Dialect, x: Value) -> Value:
    return d.unary("neg", d.unary("softplus", d.unary("neg", x)))


def threshold(d: Dialect, x: Value, limit: float, otherwise: float) -> Value:
    """x where it is above a limit, else a number."""
    return where(d, d.binary("greater", x, limit), x, otherwise)


def shrink(d: Dialect, x: Value, limit: float, bias: float) -> Value:
    """x moved towards 0 by `bias` where its size is above the limit, else 0."""
    high = where(d, d.binary("greater", x, limit), d.binary("sub", x, bias), 0.0)
    return where(d, d.binary("less", x, -limit), d.binary("add", x, bias), high)


def glu(d: Dialect, x: Value, axis: int) -> Value:
    """The first half of an axis times the sigmoid of its second half."""
    axis %= len(d.shape(x))
    half = d.shape(x)[axis] // 2
    if not isinstance(half, int):
        raise d.refuse(f"halves an axis of size {d.shape(x)[axis]}; fix that size ({as_typed('shapes')})")
    gate = d.unary("sigmoid", d.slice_axis(x, axis, half, TO_END))
    return d.binary("mul", d.slice_axis(x, axis, 0, half), gate)


def prelu(d: Dialect, x: Value, slope: Value) -> Value:
    """x where positive, else slope x, the slope broadcast to x; one slope for all is a leaky ReLU."""
    alpha = d.uniform(slope) if slope.is_known and slope.data.size == 1 else None
    return d.binary("prelu", x, slope) if alpha is None else d.unary("leaky_relu", x, alpha)


# ---- two values ------------------------------------------------------------------------------------------------------


def power(d: Dialect, x: Value, exponent: Operand) -> Value:
    """x ** exponent: a known 2 is a product, 1/2 a root, 1 is x; an integer to a negative or broken power is a float."""
    exponent = d.operand(exponent, x)
    known_power = d.uniform(exponent) if exponent.is_known and exponent.data.size == 1 else None
    if known_power is None or exponent.data.ndim > len(d.shape(x)):
        return d.binary("pow", *d.alike(x, exponent))
    if known_power == 2:
        return square(d, x)
    if known_power == 1:
        return x
    if known_power == 0.5:
        return d.unary("sqrt", x)
    whole = known_power > 0 and float(known_power).is_integer()
    return d.binary("pow", x if whole else d.computed_in(x, "float32"), exponent)


def divide(d: Dialect, a: Operand, b: Operand) -> Value:
    """The quotient as a fraction, also of integers."""
    a, b = d.operand(a, b), d.operand(b, a)
    return d.binary("div", d.computed_in(a, "float32"), d.computed_in(b, "float32"))


def floor_div(d: Dialect, a: Operand, b: Operand) -> Value:
    """The quotient rounded down."""
    a, b = d.alike(d.operand(a, b), d.operand(b, a))
    if d.run_dtype(a) != "float32":  # a - mod(a, b) is a multiple of b, so that truncation does nothing
        return d.binary("div", d.binary("sub", a, d.binary("mod", a, b)), b)
    return d.unary("floor", d.binary("div", a, b))


def trunc_div(d: Dialect, a: Operand, b: Operand) -> Value:
    """The quotient rounded towards zero."""
    quotient = d.binary("div", a, b)
    return quotient if d.run_dtype(quotient) != "float32" else trunc(d, quotient)


def lerp(d: Dialect, a: Value, b: Value, weight: Operand) -> Value:
    """a + weight (b - a)."""
    return d.binary("add", a, d.binary("mul", d.binary("sub", b, a), weight))
