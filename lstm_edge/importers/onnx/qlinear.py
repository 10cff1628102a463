"""ONNX's operators on tensors that are quantised already, QLinear*: what each means on numbers, between its scales.

An input is three values: the integers, their scale, their zero point (which may be missing). The runtime's tables and fixed
points come to the same up to a step of the result's grid where a value lies between two.
"""

from __future__ import annotations

from ..dialect import Value, arithmetic, known, movement, reductions, windows
from .layers import conv, padding
from .lowering import Call, lowers
from .quantized import as_float, centred, centred_weight, integer_matmul, spread, to_grid


def number(call: Call, at: int) -> Value:
    """The numbers of the quantised tensor whose integers are input `at`."""
    ctx = call.ctx
    x = centred(call, call.input(at), call.optional(at + 2), call.rank(at), 0)
    return ctx.binary("mul", x, spread(call, call.input(at + 1), call.rank(at), 0))


def quantised(call: Call, y: Value, at: int) -> Value:
    """Numbers on the grid whose scale is input `at`, and whose zero point is the one after it."""
    ctx, zero = call.ctx, call.optional(at + 1)
    steps = ctx.binary("div", y, spread(call, call.input(at), 1, 0))
    return to_grid(
        ctx, steps, None if zero is None else spread(call, zero, 1, 0), "uint8" if zero is None else zero.dtype
    )


@lowers("QLinearMatMul")
def _matmul(call: Call) -> Value:
    """inputs a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero."""
    ctx = call.ctx
    out = integer_matmul(call, call.input(0), call.input(3), call.input(2), call.input(5))
    rank_a, rank_b = call.rank(0), call.rank(3)
    scale = ctx.binary(
        "mul", spread(call, call.input(1), rank_a, rank_a - 2), spread(call, call.input(4), rank_b, rank_b - 1)
    )
    return _requantised(call, out, scale, call.input(6), call.input(7))


@lowers("QLinearConv")
def _conv(call: Call) -> Value:
    """inputs x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias?"""
    ctx, rank = call.ctx, call.rank(0)
    weight = centred_weight(call, 3, 5)
    bias = None if call.optional(8) is None else known(call.known(8).astype("float32"))
    scale = ctx.binary("mul", call.input(1), spread(call, call.input(4), rank, 1))
    x = centred(call, call.input(0), call.input(2), rank, 1)
    return _requantised(call, conv(call, x, weight, bias), scale, call.input(6), call.input(7))


def _requantised(call: Call, total: Value, scale: Value, y_scale: Value, y_zero: Value) -> Value:
    ctx = call.ctx
    return to_grid(ctx, ctx.binary("mul", total, ctx.binary("div", scale, y_scale)), y_zero, y_zero.dtype)


# ---- onnxruntime's --------------------------------------------------------------------------------------------------


@lowers("QGemm", domain="com.microsoft")
def _gemm(call: Call) -> Value:
    """inputs a, a_scale, a_zero, b, b_scale, b_zero, c?, y_scale?, y_zero?: c in steps of alpha * a_scale * b_scale, and
    float32 out where there is no y_scale."""
    ctx = call.ctx
    a, b = call.input(0), call.input(3)
    a = ctx.transpose(a, [1, 0]) if call.attr("transA", 0) else a
    b = ctx.transpose(b, [1, 0]) if call.attr("transB", 0) else b
    total = integer_matmul(call, a, b, call.optional(2), call.optional(5))
    if call.optional(6) is not None:
        total = ctx.binary("add", total, as_float(ctx, call.input(6)))
    scale = ctx.binary("mul", spread(call, call.input(1), 2, 0), spread(call, call.input(4), 2, 1))
    y = ctx.binary("mul", total, arithmetic.scaled(ctx, scale, call.attr("alpha", 1.0)))
    return y if call.optional(7) is None else quantised(call, y, 7)


@lowers("QLinearAdd", "QLinearMul", domain="com.microsoft")
def _binary(call: Call) -> Value:
    kind = "add" if call.op == "QLinearAdd" else "mul"
    return quantised(call, call.ctx.binary(kind, number(call, 0), number(call, 3)), 6)


@lowers("QLinearSigmoid", "QLinearLeakyRelu", domain="com.microsoft")
def _unary(call: Call) -> Value:
    x = number(call, 0)
    if call.op == "QLinearSigmoid":
        return quantised(call, call.ctx.unary("sigmoid", x), 3)
    return quantised(call, call.ctx.unary("leaky_relu", x, call.attr("alpha", 0.01)), 3)


@lowers("QLinearSoftmax", domain="com.microsoft")
def _softmax(call: Call) -> Value:
    """`opset` is that of the Softmax it was made of: before 13 it goes over all axes from `axis` on."""
    one_axis = call.attr("opset", 13) >= 13
    function = reductions.softmax if one_axis else reductions.softmax_from
    return quantised(call, function(call.ctx, number(call, 0), call.attr("axis", -1 if one_axis else 1)), 3)


@lowers("QLinearConcat", domain="com.microsoft")
def _concat(call: Call) -> Value:
    """inputs y_scale, y_zero, then three for every part."""
    parts = [number(call, at) for at in range(2, len(call.inputs), 3)]
    return quantised(call, movement.concat(call.ctx, parts, call.require_attr("axis")), 0)


@lowers("QLinearWhere", domain="com.microsoft")
def _where(call: Call) -> Value:
    """inputs condition, then three for each of the two sides, then the scale and zero point of the result."""
    return quantised(call, arithmetic.where(call.ctx, call.input(0), number(call, 1), number(call, 4)), 7)


@lowers("QLinearAveragePool", domain="com.microsoft")
def _average_pool(call: Call) -> Value:
    pooled = windows.pool(
        call.ctx,
        number(call, 0),
        "average",
        [int(k) for k in call.require_attr("kernel_shape")],
        strides=call.attr("strides"),
        padding=padding(call),
        ceil_mode=bool(call.attr("ceil_mode", 0)),
        count_include_pad=bool(call.attr("count_include_pad", 0)),
        channels_last=bool(call.attr("channels_last", 0)),
    )
    return quantised(call, pooled, 3)


@lowers("QLinearGlobalAveragePool", domain="com.microsoft")
def _global_average_pool(call: Call) -> Value:
    last = bool(call.attr("channels_last", 0))
    return quantised(
        call, windows.global_pool(call.ctx, number(call, 0), "mean", call.rank(0) - 2, channels_last=last), 3
    )
