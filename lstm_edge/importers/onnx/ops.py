"""ONNX operators on numbers: elementwise, over axes, matrix products. Spelled in the dialect."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..dialect import Value, arithmetic, bits, known, movement, products, reductions
from .files import element_dtype, tensor_array
from .lowering import Call, lowers

# ---- elementwise ----------------------------------------------------------------------------------------------------

# Operators that the dialect has under the same name, in small letters.
EXACT_UNARY = ("Neg", "Abs", "Floor", "Ceil", "Round", "Not")
SAME_UNARY = ("Sqrt", "Log", "Exp", "Reciprocal", "Sign", "Erf", "Relu", "Sigmoid", "Softplus", "Softsign", "Mish")
ANGLES = ("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Tanh")
UNARY = {**{name: name.lower() for name in SAME_UNARY + ANGLES}, "IsNaN": "is_nan", "HardSwish": "hard_silu"}
# Activations with parameters: kind, default alpha, default beta (None: the function has none).
PARAMETRIC: dict[str, tuple[str, float, float | None]] = {
    "HardSigmoid": ("hard_sigmoid", 0.2, 0.5),
    "LeakyRelu": ("leaky_relu", 0.01, None),
    "Elu": ("elu", 1.0, None),
    "Selu": ("selu", *arithmetic.SELU),
    "Celu": ("celu", 1.0, None),
    "ThresholdedRelu": ("thresholded_relu", 1.0, None),
}
SAME_BINARY = ("Add", "Sub", "Mul", "Div", "Equal", "Less", "Greater", "And", "Or", "Xor")
BINARY = {
    **{name: name.lower() for name in SAME_BINARY},
    "LessOrEqual": "less_equal",
    "GreaterOrEqual": "greater_equal",
}
# Functions of all inputs, in their order.
OF_INPUTS: dict[str, Callable[..., Value]] = {
    "Asinh": arithmetic.asinh,
    "Acosh": arithmetic.acosh,
    "Atanh": arithmetic.atanh,
    "MatMul": products.matmul,
}


@lowers(*OF_INPUTS)
def _of_inputs(call: Call) -> Value:
    return OF_INPUTS[call.op](call.ctx, *call.all_inputs())


@lowers(*EXACT_UNARY, folds=True)
def _exact_unary(call: Call) -> Value:
    return call.ctx.unary(call.op.lower(), call.input(0))


@lowers(*UNARY)
def _unary(call: Call) -> Value:
    return call.ctx.unary(UNARY[call.op], call.input(0))


@lowers(*PARAMETRIC)
def _parametric(call: Call) -> Value:
    kind, alpha, beta = PARAMETRIC[call.op]
    alpha = call.attr("alpha", alpha)
    if kind == "selu":
        beta = call.attr("gamma", beta)
    elif beta is not None:
        beta = call.attr("beta", beta)
    return call.ctx.unary(kind, call.input(0), alpha, beta)


@lowers("Gelu")
def _gelu(call: Call) -> Value:
    approximate = call.attr("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise call.refuse(f"approximate = {approximate!r}: expected 'none' or 'tanh'")
    return call.ctx.unary("gelu" if approximate == "none" else "gelu_tanh", call.input(0))


@lowers("Swish")
def _swish(call: Call) -> Value:
    return arithmetic.scaled_silu(call.ctx, call.input(0), call.attr("alpha", 1.0))


@lowers("IsInf")
def _is_inf(call: Call) -> Value:
    positive, negative = call.attr("detect_positive", 1), call.attr("detect_negative", 1)
    return arithmetic.is_inf(call.ctx, call.input(0), bool(positive), bool(negative))


@lowers("Clip")
def _clip(call: Call) -> Value:
    if call.opset < 11:
        return arithmetic.clip(call.ctx, call.input(0), call.attr("min"), call.attr("max"))
    return arithmetic.clip(call.ctx, call.input(0), call.optional(1), call.optional(2))


@lowers("Shrink")
def _shrink(call: Call) -> Value:
    return arithmetic.shrink(call.ctx, call.input(0), call.attr("lambd", 0.5), call.attr("bias", 0.0))


@lowers(*BINARY, folds=True)
def _binary(call: Call) -> Value:
    call.ignore("axis", "broadcast")  # opset 6 and older; read() refuses those
    return call.ctx.binary(BINARY[call.op], call.input(0), call.input(1))


@lowers("PRelu")
def _prelu(call: Call) -> Value:
    return arithmetic.prelu(call.ctx, call.input(0), call.input(1))


@lowers("Pow")
def _pow(call: Call) -> Value:
    return arithmetic.power(call.ctx, call.input(0), call.ctx.cast(call.input(1), call.ctx.run_dtype(call.input(0))))


@lowers("Mod", folds=True)
def _mod(call: Call) -> Value:
    return call.ctx.binary("fmod" if call.attr("fmod", 0) else "mod", call.input(0), call.input(1))


@lowers("BitwiseAnd", "BitwiseOr", "BitwiseXor", folds=True)
def _bitwise(call: Call) -> Value:
    return bits.bitwise(call.ctx, call.op.removeprefix("Bitwise").lower(), call.input(0), call.input(1))


@lowers("BitwiseNot", folds=True)
def _bitwise_not(call: Call) -> Value:
    return bits.bitwise_not(call.ctx, call.input(0))


@lowers("BitShift", folds=True)
def _bit_shift(call: Call) -> Value:
    return bits.shift(call.ctx, call.input(0), call.input(1), call.require_attr("direction") == "LEFT")


@lowers("Max", "Min", "Sum", folds=True)
def _variadic(call: Call) -> Value:
    kind = {"Max": "max", "Min": "min", "Sum": "add"}[call.op]
    return arithmetic.variadic(call.ctx, kind, call.all_inputs())


@lowers("Mean")
def _mean(call: Call) -> Value:
    return arithmetic.mean_of(call.ctx, call.all_inputs())


@lowers("Where", folds=True)
def _where(call: Call) -> Value:
    return arithmetic.where(call.ctx, call.input(0), call.input(1), call.input(2))


@lowers("Cast", "CastLike", folds=True)
def _cast(call: Call) -> Value:
    call.ignore("saturate", "round_mode")
    dtype = call.input(1).dtype if call.op == "CastLike" else element_dtype(call.require_attr("to"), call.place)
    if call.op == "Cast" and call.attr("to") in (10, 16) and not call.input(0).is_known:
        call.ctx.note("float16 arithmetic is done in float32")
        call.ctx.rounds_to_16_bits("float16" if call.attr("to") == 10 else "bfloat16")
    return arithmetic.cast(call.ctx, call.input(0), dtype)


@lowers("Identity", folds=True)
def _identity(call: Call) -> Value:
    return call.input(0)


@lowers("Dropout")
def _dropout(call: Call) -> list[Value | None]:
    """What it is at inference: x itself, and a mask that keeps everything."""
    call.ignore("ratio", "seed", "is_test")
    mode = call.optional(2)
    if call.opset >= 12 and mode is not None and (not mode.is_known or mode.data.any()):
        raise call.refuse("training_mode is on; export the model in inference mode")
    dtype = "bool" if call.opset >= 10 else call.input(0).dtype
    return [call.input(0), call.ctx.fill(1.0, call.shape(0), dtype) if call.wants(1) else None]


# ---- over axes ------------------------------------------------------------------------------------------------------

REDUCE = {
    "ReduceSum": "sum",
    "ReduceMean": "mean",
    "ReduceMax": "max",
    "ReduceMin": "min",
    "ReduceProd": "prod",
    "ReduceL1": "l1",
    "ReduceL2": "l2",
    "ReduceSumSquare": "sum_square",
    "ReduceLogSum": "log_sum",
    "ReduceLogSumExp": "log_sum_exp",
}


@lowers(*REDUCE)
def _reduce(call: Call) -> Value:
    axes = call.axes(13 if call.op == "ReduceSum" else 18)
    keepdims, noop = call.attr("keepdims", 1), call.attr("noop_with_empty_axes", 0)
    if not axes and noop:
        if REDUCE[call.op] not in ("sum", "mean", "max", "min", "prod"):
            raise call.refuse("noop_with_empty_axes = 1 with no axes is not supported; give axes")
        return call.input(0)
    return reductions.reduce(call.ctx, REDUCE[call.op], call.input(0), axes or None, bool(keepdims))


@lowers("ArgMax", "ArgMin")
def _arg_reduce(call: Call) -> Value:
    keepdims, last = bool(call.attr("keepdims", 1)), bool(call.attr("select_last_index", 0))
    return reductions.arg_reduce(call.ctx, call.op[3:].lower(), call.input(0), call.attr("axis", 0), keepdims, last)


@lowers("Softmax", "LogSoftmax")
def _softmax(call: Call) -> Value:
    function, axis = (reductions.softmax, -1) if call.opset >= 13 else (reductions.softmax_from, 1)
    return function(call.ctx, call.input(0), call.attr("axis", axis), call.op == "LogSoftmax")


@lowers("Hardmax")
def _hardmax(call: Call) -> Value:
    axis = call.axis(call.attr("axis", 1 if call.opset < 13 else -1), call.rank(0))
    if call.opset < 13 and axis != call.rank(0) - 1:
        raise call.refuse(f"axis = {axis} before opset 13 is not supported; use ArgMax and OneHot")
    return reductions.hardmax(call.ctx, call.input(0), axis)


@lowers("CumSum")
def _cum_sum(call: Call) -> Value:
    exclusive, reverse = bool(call.attr("exclusive", 0)), bool(call.attr("reverse", 0))
    return reductions.cumulative_sum(call.ctx, call.input(0), call.known_ints(1)[0], exclusive, reverse)


@lowers("CumProd")
def _cum_prod(call: Call) -> Value:
    exclusive, reverse = bool(call.attr("exclusive", 0)), bool(call.attr("reverse", 0))
    return reductions.cumulative_product(call.ctx, call.input(0), call.known_ints(1)[0], exclusive, reverse)


@lowers("TopK")
def _top_k(call: Call) -> list[Value | None]:
    k = call.sizes(1)[0] if call.opset >= 10 else call.require_attr("k")
    call.ignore("sorted")  # sorted is one of the orders that unsorted allows
    axis, largest = call.attr("axis", -1), bool(call.attr("largest", 1))
    return list(reductions.top_k(call.ctx, call.input(0), k, axis, largest))


# ---- matrix products ------------------------------------------------------------------------------------------------


def gemm(call: Call) -> Value:
    ctx, a, b = call.ctx, call.input(0), call.input(1)
    a = ctx.transpose(a, [1, 0]) if call.attr("transA", 0) else a
    b = ctx.transpose(b, [1, 0]) if call.attr("transB", 0) else b
    return products.gemm(ctx, a, b, call.optional(2), call.attr("alpha", 1.0), call.attr("beta", 1.0))


lowers("Gemm")(gemm)


@lowers("Einsum")
def _einsum(call: Call) -> Value:
    return products.einsum(call.ctx, call.require_attr("equation"), call.all_inputs())


# ---- constants -------------------------------------------------------------------------------------------------------


@lowers("Constant", folds=True)
def _constant(call: Call) -> Value:
    for name in ("value", "value_int", "value_ints", "value_float", "value_floats"):
        value = call.attr(name)
        if value is None:
            continue
        if name == "value":
            return known(tensor_array(value, call.place))
        return known(np.asarray(value, np.int64 if "int" in name else np.float32))
    raise call.refuse(f"a constant given as {sorted(call.attrs)} is not supported")


@lowers("Range", folds=True)
def _range(call: Call) -> Value:
    bounds = [call.input(n) for n in range(3)]
    for n, bound in enumerate(bounds):
        if bound.array is None or bound.array.size != 1:
            raise call.refuse(
                f"input {call.input_name(n)!r} must follow from the shapes of the inputs; it is computed at run time"
                f"{call.remedy(n)}"
            )
    first, last, step = (v.data.reshape(-1)[0] for v in bounds)
    return movement.arange(call.ctx, first, last, step, bounds[0].dtype)
