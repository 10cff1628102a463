"""Operations inside functional models: keras.ops of Keras 3 (class GetItem, Multiply...) and TFOpLambda of tf.keras."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..dialect import Value, arithmetic, products, reductions
from . import moving
from .activations import COMPOSED
from .config import Layer, snake_case
from .emit import Call, Emit, Masked
from .operation import Op, Rule


def emit(e: Emit, layer: Layer, call: Call) -> list[Masked]:
    op = Op(e, layer, call)
    result = RULES[op.kind](op)
    return [Masked(v) for v in result] if isinstance(result, list) else [Masked(result)]


# ---- arithmetic ------------------------------------------------------------------------------------------------------


def _each(meaning: str | Callable[[Emit, Value], Value]) -> Rule:
    """One value: a kind of the core's Unary, or a function of the dialect in float32."""
    if isinstance(meaning, str):
        return lambda op: op.e.unary(meaning, op.x)
    return lambda op: meaning(op.e, op.e.real(op.x))


def _both(meaning: str | Callable[[Emit, Value, Value], Value]) -> Rule:
    """Two values of one dtype: a kind of the core's Binary, or a function of the dialect."""

    def rule(op: Op) -> Value:
        a, b = op.e.alike(*op.operands(), "float32" if meaning in ("div", "pow") else "bool")
        return op.e.binary(meaning, a, b) if isinstance(meaning, str) else meaning(op.e, a, b)

    return rule


def _over(kind: str | Callable[..., Value]) -> Rule:
    """A value reduced over axes, of which the batch is none."""

    def rule(op: Op) -> Value:
        axes, keepdims = op.axes(op.arg(1, "axis")), bool(op.arg(2, "keepdims", default=False))
        if 0 in axes:
            raise op.fail("reduces over the batch")
        if isinstance(kind, str):
            return reductions.reduce(op.e, kind, op.x, axes, keepdims)
        return kind(op.e, op.x, axes, keepdims)

    return rule


def _variance(e: Emit, x: Value, axes: list[int], keepdims: bool) -> Value:
    return reductions.variance(e, x, axes, keepdims)[0]


def _deviation(e: Emit, x: Value, axes: list[int], keepdims: bool) -> Value:
    return e.unary("sqrt", _variance(e, x, axes, keepdims))


def _arg_reduce(op: Op) -> Value:
    axis = op.arg(1, "axis", default=0 if op.layer.cls == "TFOpLambda" else None)
    if not isinstance(axis, int):
        raise op.fail("no axis")
    keepdims = bool(op.arg(2, "keepdims", default=False))
    return reductions.arg_reduce(op.e, op.kind[3:].lower(), op.x, axis, keepdims, dtype="int32")


def _softmax(op: Op) -> Value:
    axis = op.arg(1, "axis")
    return reductions.softmax_over(op.e, op.x, [-1] if axis is None else op.axes(axis), op.kind == "LogSoftmax")


def _sorted(op: Op) -> Value:
    values, places = reductions.sort(op.e, op.x, op.axis(1, -1), dtype="int32")
    return values if op.kind == "Sort" else places


def _top_k(op: Op) -> list[Value]:
    return list(reductions.top_k(op.e, op.x, int(op.arg(1, "k", default=1)), dtype="int32"))


def _activation(kind: str, names: tuple[str, ...], alpha: float, beta: float = 0.0) -> Rule:
    def rule(op: Op) -> Value:
        given = op.arg(1, *names) if names else None
        return op.e.unary(kind, op.x, alpha if given is None else float(given), beta)

    return rule


def _gelu(op: Op) -> Value:
    return op.e.unary("gelu_tanh" if op.arg(1, "approximate", default=False) else "gelu", op.x)


def _shrink(op: Op) -> Value:
    limit = op.number(1, "threshold", 0.5)
    return arithmetic.shrink(op.e, op.x, limit, limit if op.kind == "SoftShrink" else 0.0)


def _threshold(op: Op) -> Value:
    return arithmetic.threshold(op.e, op.x, op.number(1, "threshold", 0.0), op.number(2, "default_value", 0.0))


def _nan_to_num(op: Op) -> Value:
    bounds = (op.arg(n, word) for n, word in ((1, "nan"), (2, "posinf"), (3, "neginf")))
    return arithmetic.nan_to_num(op.e, op.x, *bounds)


def _clip(op: Op) -> Value:
    low, high = op.arg(1, "x_min", "clip_value_min"), op.arg(2, "x_max", "clip_value_max")
    if not all(isinstance(v, (int, float)) for v in (low, high)):
        raise op.fail("bounds that are not numbers")
    return arithmetic.clip(op.e, op.x, float(low), float(high))


def _cast(op: Op) -> Value:
    """Cast, and ConvertToTensor, which may leave the dtype as it is."""
    dtype = op.arg(1, "dtype")
    return op.x if dtype is None else op.e.cast(op.x, op.run_dtype(dtype))


def _where(op: Op) -> Value:
    a, b = op.arg(1, "x1", "x"), op.arg(2, "x2", "y")
    like = next((v.value for v in (a, b) if isinstance(v, Masked)), None)
    condition = op.e.cast(op.tensor(0, "condition"), "bool")
    return arithmetic.where(op.e, condition, op.tensor(1, "x1", "x", like=like), op.tensor(2, "x2", "y", like=like))


def _matmul(op: Op) -> Value:
    a, b = op.tensor(0, "x1", "a"), op.tensor(1, "x2", "b")
    turned = {k: bool(op.arg(9, k)) for k in ("transpose_a", "transpose_b")}
    return products.matmul(op.e, a, b, **turned)


def _einsum(op: Op) -> Value:
    """Operands as written, some of which may be constants; beside the equation, where that is written there."""
    written = [n for n, given in enumerate(op.call.args) if not isinstance(given, str)]
    listed = any(isinstance(v, Masked) for n in written if isinstance(op.call.args[n], list) for v in op.call.args[n])
    operands = [v.value for v in op.call.inputs] if listed or not written else [op.tensor(n) for n in written]
    return products.einsum(op.e, str(op.arg(0, "subscripts", "equation")), [op.e.real(v) for v in operands])


# ---- the table -------------------------------------------------------------------------------------------------------


def _spelt(meaning: Callable[[str], Rule], names: str, others: Mapping[str, str]) -> dict[str, Rule]:
    """Rules of names that the core's kinds are called alike, and of others."""
    return {**{n: meaning(snake_case(n)) for n in names.split()}, **{n: meaning(k) for n, k in others.items()}}


RULES: dict[str, Rule] = {
    **_spelt(
        _each,
        "Abs Sqrt Log Exp Floor Ceil Round Reciprocal Sign Sin Cos Tan Sinh Cosh Erf Tanh Sigmoid Relu Relu6 Softplus "
        "Softsign Silu HardSilu",
        {
            "Absolute": "abs",
            "Fabs": "abs",
            "Negative": "neg",
            "Arcsin": "asin",
            "Arccos": "acos",
            "Arctan": "atan",
            "LogicalNot": "not",
            "Isnan": "is_nan",
        },
    ),
    **_spelt(
        _both,
        "Equal NotEqual Less LessEqual Greater GreaterEqual Mod Fmod",
        {
            "Add": "add",
            "Subtract": "sub",
            "Multiply": "mul",
            "Divide": "div",
            "TrueDivide": "div",
            "Power": "pow",
            "Maximum": "max",
            "Minimum": "min",
            "LogicalAnd": "and",
            "LogicalOr": "or",
            "LogicalXor": "xor",
        },
    ),
    **_spelt(_over, "Mean Sum Max Min Prod", {"Amax": "max", "Amin": "min", "Logsumexp": "log_sum_exp"}),
    "Any": _over(reductions.any_of),
    "All": _over(reductions.all_of),
    "Var": _over(_variance),
    "Std": _over(_deviation),
    "FloorDivide": _both(arithmetic.floor_div),
    "Square": _each(arithmetic.square),
    "Rsqrt": _each(arithmetic.rsqrt),
    "Log1p": _each(arithmetic.log1p),
    "Expm1": _each(arithmetic.expm1),
    "Exp2": _each(arithmetic.exp2),
    "Log2": _each(lambda e, x: arithmetic.logarithm(e, x, 2)),
    "Log10": _each(lambda e, x: arithmetic.logarithm(e, x, 10)),
    "Trunc": _each(arithmetic.trunc),
    "Arcsinh": _each(arithmetic.asinh),
    "Arccosh": _each(arithmetic.acosh),
    "Arctanh": _each(arithmetic.atanh),
    "Isinf": _each(arithmetic.is_inf),
    "Isfinite": _each(arithmetic.is_finite),
    "LogSigmoid": _each(COMPOSED["log_sigmoid"]),
    "HardTanh": _each(COMPOSED["hard_tanh"]),
    "TanhShrink": _each(COMPOSED["tanh_shrink"]),
    "NanToNum": _nan_to_num,
    "SoftShrink": _shrink,
    "HardShrink": _shrink,
    "Threshold": _threshold,
    "Glu": lambda op: arithmetic.glu(op.e, op.x, op.axis(1, -1)),
    "Sort": _sorted,
    "Argsort": _sorted,
    "TopK": _top_k,
    "Einsum": _einsum,
    "Argmax": _arg_reduce,
    "Argmin": _arg_reduce,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Celu": _activation("celu", ("alpha",), 1.0),
    "Elu": _activation("elu", ("alpha",), 1.0),
    "LeakyRelu": _activation("leaky_relu", ("negative_slope", "alpha"), 0.2),
    "Selu": _activation("selu", (), *arithmetic.SELU),
    "HardSigmoid": _activation("hard_sigmoid", (), 1 / 6, 0.5),
    "Gelu": _gelu,
    "Clip": _clip,
    "Cast": _cast,
    "ConvertToTensor": _cast,
    "Where": _where,
    "Matmul": _matmul,
    "Identity": lambda op: op.x,
    "StopGradient": lambda op: op.tensor(0, "x", "variable"),
    **moving.RULES,
}
