"""ONNX's quantised operators. What the runtime does in 8 bits is spelt in float32 operations on whole numbers, which
are exact below 2^24, so answers agree with the runtime's up to the rounding of its scales."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir.dims import Dim, mentions
from ..dialect import Value, known, movement, reductions
from ..dialect.products import matmul
from .layers import conv
from .lowering import Call, Lowering, lowers

RANGES = {
    "uint8": (0, 255),
    "int8": (-128, 127),
    "uint16": (0, 65535),
    "int16": (-32768, 32767),
    "int32": (-(2**31), 2**31 - 1),
}


def spread(call: Call, value: Value, rank: int, axis: int) -> Value:
    """A scale or zero point of one element, or of one per position of `axis`, ready to broadcast."""
    ctx, shape = call.ctx, call.ctx.shape(value)
    if len(shape) == 0 or shape == (1,):
        return ctx.reshape(value, [])
    if len(shape) != 1:
        raise call.refuse(f"a scale of shape {list(shape)}: expected one element, or one per position of an axis")
    axis = call.axis(axis, rank)
    return ctx.reshape(value, [shape[0] if d == axis else 1 for d in range(rank)])


def _beside(call: Call, n: int) -> Value:
    """Input n, a scale or zero point of input 0: one element, one per position of `axis`, or one per block of an axis."""
    ctx, block = call.ctx, int(call.attr("block_size", 0))
    axis = call.axis(call.attr("axis", 1), max(call.rank(0), 2))
    if not block:
        return spread(call, call.input(n), call.rank(0), axis)
    size = call.shape(0)[axis]
    repeated = movement.repeat_each(ctx, call.input(n), block, axis)
    return repeated if isinstance(size, Dim) else ctx.slice_axis(repeated, axis, 0, size)


def as_float(ctx: Lowering, value: Value) -> Value:
    if value.is_known:
        return known(value.data.astype(np.float32))
    return ctx.cast(value, "float32")


def to_grid(ctx: Lowering, steps: Value, zero_point: Value | None, dtype: str) -> Value:
    """The integers of `dtype` nearest to a number of steps from the zero point."""
    if not steps.is_known:
        ctx.rounds(2e-2, "8-bit integers: a value between two of them becomes either one", steps=1)
    q = ctx.unary("round", steps)
    if zero_point is not None:
        q = ctx.binary("add", q, as_float(ctx, zero_point))
    return ctx.emit("Cast", [ctx.unary("clip", q, *RANGES[dtype])], {"to": "int32"}, dtype)


@lowers("DequantizeLinear", folds=True)
def _dequantize(call: Call) -> Value:
    ctx = call.ctx
    call.ignore("output_dtype")
    x = as_float(ctx, call.input(0))
    if call.optional(2) is not None:
        x = ctx.binary("sub", x, as_float(ctx, _beside(call, 2)))
    return ctx.binary("mul", x, as_float(ctx, _beside(call, 1)))


@lowers("QuantizeLinear", folds=True)
def _quantize(call: Call) -> Value:
    call.ignore("saturate", "precision")
    dtype = call.input(2).dtype if call.optional(2) is not None else "uint8"
    if call.attr("output_dtype", 0):
        import onnx

        dtype = onnx.TensorProto.DataType.Name(call.attr("output_dtype")).lower()
    if dtype not in RANGES:
        raise call.refuse(f"quantisation to {dtype} is not supported: expected one of {', '.join(RANGES)}")
    steps = call.ctx.binary("div", call.input(0), _beside(call, 1))
    return to_grid(call.ctx, steps, None if call.optional(2) is None else _beside(call, 2), dtype)


lowers("DequantizeLinear", domain="com.microsoft", folds=True)(_dequantize)
lowers("QuantizeLinear", domain="com.microsoft", folds=True)(_quantize)


@lowers("DynamicQuantizeLinear")
def _dynamic_quantize_linear(call: Call) -> list[Value | None]:
    return [*_dynamic_quantize(call)]


def _dynamic_quantize(call: Call) -> tuple[Value, Value, Value]:
    """uint8 over the range of the whole tensor, widened to hold 0; its scale; its zero point.

    Where the number of frames is open each frame of each sequence has a range of its own, so that the model streams. The
    frames then come with their scales in them, as float32 beside a scale of 1 and a zero point of 0, so that a product
    over several frames is right.
    """
    ctx, x = call.ctx, call.input(0)
    shape = call.shape(0)
    if not any(mentions(size, "frames") for size in shape):
        return _quantized_over(ctx, x, range(len(shape)), keepdims=False)
    ctx.note(f"{call.place}: each frame is quantised by itself, where the runtime takes one scale for all of them")
    within = [axis for axis, size in enumerate(shape) if not isinstance(size, Dim)]
    q, scale, point = _quantized_over(ctx, x, within, keepdims=True)
    frames = ctx.binary("mul", ctx.binary("sub", as_float(ctx, q), as_float(ctx, point)), scale)
    return frames, ctx.constant(1.0), ctx.constant(0, "uint8")


def _quantized_over(ctx: Lowering, x: Value, axes: Sequence[int], keepdims: bool) -> tuple[Value, Value, Value]:
    """The uint8 grid, scale and zero point of each part of x that lies along these axes."""
    zero, one = ctx.constant(0.0), ctx.constant(1.0)
    high, low = (
        ctx.binary(kind, reductions.reduce(ctx, kind, x, list(axes), keepdims), zero) for kind in ("max", "min")
    )
    scale = ctx.binary("div", ctx.binary("sub", high, low), ctx.constant(255.0))
    scale = ctx.emit("Where", [ctx.binary("equal", scale, zero), one, scale], {}, "float32")
    point = ctx.unary("round", ctx.unary("clip", ctx.binary("div", ctx.unary("neg", low), scale), 0, 255))
    q = to_grid(ctx, ctx.binary("div", x, scale), point, "uint8")
    return q, scale, ctx.emit("Cast", [point], {"to": "int32"}, "uint8")


def centred(call: Call, value: Value, zero_point: Value | None, rank: int, axis: int) -> Value:
    """The integers minus their zero point, in float32."""
    x = as_float(call.ctx, value)
    if zero_point is None or call.ctx.uniform(zero_point) == 0:
        return x
    return call.ctx.binary("sub", x, as_float(call.ctx, spread(call, zero_point, rank, axis)))


def centred_weight(call: Call, weight: int, zero_point: int) -> np.ndarray:
    """A convolution's integer weight minus its zero point (one, or one per output channel)."""
    array = call.known(weight).astype(np.float32)
    if call.optional(zero_point) is None:
        return array
    point = call.known(zero_point).astype(np.float32)
    return array - point.reshape([-1] + [1] * (array.ndim - 1))


def integer_matmul(call: Call, a: Value, b: Value, a_zero: Value | None, b_zero: Value | None) -> Value:
    """(a - a_zero) (b - b_zero) as whole numbers in float32."""
    rank_a, rank_b = len(call.ctx.shape(a)), len(call.ctx.shape(b))
    return matmul(
        call.ctx,
        centred(call, a, a_zero, rank_a, rank_a - 2 if rank_a > 1 else 0),
        centred(call, b, b_zero, rank_b, rank_b - 1),
    )


@lowers("MatMulInteger")
def _matmul_integer(call: Call) -> Value:
    return _whole(call, integer_matmul(call, call.input(0), call.input(1), call.optional(2), call.optional(3)))


def _whole(call: Call, product: Value) -> Value:
    """A product of integers as int32; one of frames that have their scales in them (_dynamic_quantize) as it is."""
    if call.input(0).dtype == "float32":
        return product
    return call.ctx.emit("Cast", [product], {"to": "int32"}, "int32")


@lowers("ConvInteger")
def _conv_integer(call: Call) -> Value:
    x = centred(call, call.input(0), call.optional(2), call.rank(0), 1)
    return _whole(call, conv(call, x, centred_weight(call, 1, 3), None))


@lowers("MatMulIntegerToFloat", domain="com.microsoft")
def _matmul_integer_to_float(call: Call) -> Value:
    """inputs a, b, a_scale, b_scale, a_zero?, b_zero?, bias?"""
    ctx = call.ctx
    out = integer_matmul(call, call.input(0), call.input(1), call.optional(4), call.optional(5))
    return _scaled(call, out, ctx.binary("mul", spread(call, call.input(2), 1, 0), call.input(3)), call.optional(6))


@lowers("DynamicQuantizeMatMul", domain="com.microsoft")
def _dynamic_quantize_matmul(call: Call) -> Value:
    """inputs a (float), b, b_scale, b_zero?, bias?"""
    ctx = call.ctx
    q, scale, point = _dynamic_quantize(call)
    out = integer_matmul(call, q, call.input(1), point, call.optional(3))
    return _scaled(call, out, ctx.binary("mul", scale, call.input(2)), call.optional(4))


def _scaled(call: Call, out: Value, scale: Value, bias: Value | None) -> Value:
    out = call.ctx.binary("mul", out, scale)
    return out if bias is None else call.ctx.binary("add", out, bias)
