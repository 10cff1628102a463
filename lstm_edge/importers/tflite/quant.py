"""TFLite's quantised tensors as real numbers on their grid: what the runtime rounds to, these ops round to."""

from __future__ import annotations

from ...errors import UnsupportedModelError
from ...options import as_typed
from ..dialect import Value
from .lowering import Call, Operation, TfLowering
from .schema import TensorInfo

RANGES = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-32768, 32767), "int4": (-8, 7)}


def is_quantized(info: TensorInfo) -> bool:
    return info.quantization is not None and info.dtype in RANGES


def grid(info: TensorInfo) -> tuple[float, int]:
    """Scale and zero point of a quantised activation."""
    q = info.quantization
    if q is None or q.scale.size != 1 or not q.scale[0] > 0:
        raise UnsupportedModelError(
            f"{info.place}: expected one scale above 0, found {None if q is None else q.scale[:4]}"
        )
    return float(q.scale[0]), int(q.zero_point[0])


def round_to(ctx: TfLowering, x: Value, scale: float, low: float, high: float) -> Value:
    """scale * clip(round(x / scale), low, high): half to even, as the vector kernels of the runtime round."""
    q = ctx.unary("round", ctx.binary("mul", x, ctx.constant(1.0 / scale)))
    return ctx.binary("mul", ctx.unary("clip", q, low, high), ctx.constant(scale))


def state_integers(ctx: TfLowering) -> None:
    """Says how far a full-integer model's answers may be from its runtime's."""
    if ctx.exact:
        ctx.rounds(2e-2, "8-bit integers: a value between two of them becomes either one", steps=2)
    else:
        ctx.rounds(6e-2, "a full-integer model computed without the roundings of its runtime", steps=6)


def fake_quantize(ctx: TfLowering, x: Value, info: TensorInfo) -> Value:
    """x rounded to the grid of a quantised tensor, where exactness is asked for."""
    if is_quantized(info):
        state_integers(ctx)
    if not ctx.exact or not is_quantized(info):
        return x
    assert info.quantization is not None
    if info.quantization.scale.size != 1:
        return x  # activations have one scale; per-channel ones belong to weights
    scale, zero = grid(info)
    low, high = RANGES[info.dtype]
    ctx.note(
        "full-integer model: every activation is rounded to its 8- or 16-bit grid as in the runtime "
        f"({as_typed('options', 'integer', 'float')} leaves that out)"
    )
    return round_to(ctx, x, scale, low - zero, high - zero)


def on_same_grid(call: Call, out: TensorInfo) -> bool:
    """Whether every quantised input has the scale and zero point of an output."""
    assert out.quantization is not None
    inputs = [i for i in call.infos if i is not None and is_quantized(i)]
    return bool(inputs) and all(out.quantization.same(i.quantization) for i in inputs)


def average_in_steps(call: Call, average: Operation) -> Value | None:
    """An average of quantised values, computed on their whole numbers: a mean of few of them often lies halfway between
    two, and there the runtime rounds away from zero. None where input and output have different grids.
    """
    info, out = call.infos[0], call.out_infos[0]
    if not call.ctx.exact or info is None or not is_quantized(info) or call.option("activation") > 1:
        return None
    if info.quantization is None or not info.quantization.same(out.quantization):
        return None
    ctx, (scale, zero) = call.ctx, grid(info)
    offset = ctx.constant(float(zero if call.kind == "AVERAGE_POOL_2D" else 0))  # pools average the stored integers
    steps = ctx.unary("round", ctx.binary("mul", call.input(0), ctx.constant(1.0 / scale)))
    call.inputs[0] = steps
    mean = ctx.binary("add", average(call), offset)  # type: ignore[arg-type]
    away = ctx.unary("floor", ctx.binary("add", ctx.unary("abs", mean), ctx.constant(0.5)))
    whole = ctx.binary("sub", ctx.binary("mul", away, ctx.unary("sign", mean)), offset)
    return ctx.binary("mul", whole, ctx.constant(scale))


def from_integers(ctx: TfLowering, q: Value, info: TensorInfo) -> Value:
    """The real numbers behind the integers that a caller passes."""
    scale, zero = grid(info)
    real = ctx.cast(q, "float32")
    if zero:
        real = ctx.binary("sub", real, ctx.constant(float(zero)))
    return ctx.binary("mul", Value("float32", tensor=real.tensor), ctx.constant(scale))


def to_integers(ctx: TfLowering, x: Value, info: TensorInfo) -> Value:
    """The integers that the runtime answers with, as int32."""
    scale, zero = grid(info)
    low, high = RANGES[info.dtype]
    q = ctx.unary("round", ctx.binary("mul", x, ctx.constant(1.0 / scale)))
    if zero:
        q = ctx.binary("add", q, ctx.constant(float(zero)))
    return ctx.emit("Cast", [ctx.unary("clip", q, low, high)], {"to": "int32"}, "int32")


def to_steps(ctx: TfLowering, x: Value, info: TensorInfo) -> Value:
    """x, real numbers on the grid of `info`, as whole numbers less the zero point, int32."""
    return ctx.cast(ctx.unary("round", ctx.binary("mul", x, ctx.constant(1.0 / grid(info)[0]))), "int32")
