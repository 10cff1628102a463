"""TFLite's quantised tensors as real numbers on their grid: what the runtime rounds to, these ops round to."""

from __future__ import annotations

import numpy as np

from ...errors import UnsupportedModelError
from ...options import as_typed
from ..dialect import Value, known, movement
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


def fake_quantize(ctx: TfLowering, x: Value, info: TensorInfo) -> Value:
    """x rounded to the grid of a quantised tensor, where exactness is asked for."""
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


# ---- the integer LSTM ------------------------------------------------------------------------------------------------

GATE_STEP = 2.0**-12  # gate arguments: int16 with 3 integer bits
UNIT_STEP = 2.0**-15  # gates: int16 for [-1, 1)


def _int16(ctx: TfLowering, x: Value, step: float) -> Value:
    return round_to(ctx, x, step, -32768, 32767)


def lstm_step(ctx: TfLowering, zx: Value, h: Value, c: Value, cell: IntegerCell) -> tuple[Value, Value]:
    """One step of the 8x8->16 cell, (h', c'). zx (B,4H): rounded input side of i, f, g, o; h (B,P); c (B,H)."""
    zh = _int16(ctx, ctx.emit("Dense", [h, cell.w_hh]), GATE_STEP)
    z = ctx.unary("clip", ctx.binary("add", zx, zh), -32768 * GATE_STEP, 32767 * GATE_STEP)
    i, f, g, o = movement.split(ctx, z, 1, [cell.hidden] * 4)
    f, o = (_int16(ctx, ctx.unary("sigmoid", v), UNIT_STEP) for v in (f, o))
    g = _int16(ctx, ctx.unary("tanh", g), UNIT_STEP)
    i = ctx.binary("sub", ctx.constant(1.0), f) if cell.coupled else _int16(ctx, ctx.unary("sigmoid", i), UNIT_STEP)
    kept = _int16(ctx, ctx.binary("mul", f, c), cell.cell_step)
    new = _int16(ctx, ctx.binary("mul", i, g), cell.cell_step)
    bound = cell.cell_clip or 32768 * cell.cell_step
    c = ctx.unary("clip", ctx.binary("add", kept, new), -bound, min(bound, 32767 * cell.cell_step))
    act = _int16(ctx, ctx.unary("tanh", c), UNIT_STEP)
    low, high = RANGES["int8"]
    h = round_to(ctx, ctx.binary("mul", o, act), cell.hidden_step, low - cell.hidden_zero, high - cell.hidden_zero)
    if cell.w_proj is not None:
        h = round_to(
            ctx,
            ctx.emit("Dense", [h, cell.w_proj, cell.b_proj]),
            cell.state_step,
            low - cell.state_zero,
            high - cell.state_zero,
        )
        if cell.proj_clip:
            h = ctx.unary("clip", h, -cell.proj_clip, cell.proj_clip)
    return h, c


class IntegerCell:
    """Weights (real numbers) and grids of a full-integer LSTM."""

    def __init__(self, w_ih: np.ndarray, w_hh: np.ndarray, bias: np.ndarray, coupled: bool):
        self.hidden = w_ih.shape[0] // 4
        self.w_ih, self.w_hh, self.bias = known(w_ih), known(w_hh), known(bias)
        self.coupled = coupled
        self.w_proj: Value | None = None
        self.b_proj: Value | None = None
        self.cell_step = self.hidden_step = self.state_step = 1.0
        self.hidden_zero = self.state_zero = 0
        self.cell_clip = self.proj_clip = 0.0

    def input_side(self, ctx: TfLowering, x: Value) -> Value:
        """(B,T,I) -> (B,T,4H), rounded as the runtime rounds the input's share of a gate."""
        return _int16(ctx, ctx.emit("Dense", [x, self.w_ih, self.bias]), GATE_STEP)
