"""ONNX convolutions, pooling and normalisations, lowered to the rows of docs/ops.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir.dims import Dim, Size, product
from ..dialect import TO_END, Value, known
from ..dialect.arithmetic import scaled_silu
from ..dialect.products import gemm, matmul
from .lowering import Call, Lowering, lowers

# ---- convolution ----------------------------------------------------------------------------------------------------


def _spatial(call: Call) -> list[Size]:
    sizes = list(call.shape(0)[2:])
    if not 1 <= len(sizes) <= 2:
        raise call.refuse(f"{len(sizes)} spatial axes (x of shape {list(call.shape(0))}): expected 1 or 2")
    return sizes


def _window_pads(
    call: Call, sizes: list[Size], kernel: list[int], strides: list[int], dilations: list[int]
) -> list[int]:
    """All begins, then all ends."""
    auto = call.attr("auto_pad", "NOTSET")
    n = len(sizes)
    pads = [int(p) for p in call.attr("pads", [0] * (2 * n))]
    if auto in ("NOTSET", ""):
        return pads
    if auto == "VALID":
        return [0] * (2 * n)
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise call.refuse(f"auto_pad = {auto!r}: expected NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    begins, ends = [], []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations):
        rest = size % stride
        if isinstance(rest, Dim):
            raise call.refuse(
                f"auto_pad = {auto} with stride {stride} on an axis of {size} depends on that size; fix it (--shape)"
            )
        total = max((k - 1) * dilation + 1 - (stride if rest == 0 else int(rest)), 0)
        small, large = total // 2, total - total // 2
        begins.append(small if auto == "SAME_UPPER" else large)
        ends.append(large if auto == "SAME_UPPER" else small)
    return begins + ends


def cut_negative_pads(ctx: Lowering, x: Value, pads: list[int]) -> tuple[Value, list[int]]:
    """Negative pads as slices of x (axes from 2 on); the pads left are not negative."""
    n = len(pads) // 2
    for d in range(n):
        start, end = min(pads[d], 0), min(pads[n + d], 0)
        if start or end:
            x = ctx.slice_axis(x, 2 + d, -start, end or TO_END)
    return x, [max(p, 0) for p in pads]


def _weight(call: Call, n: int = 1) -> np.ndarray:
    return call.known(n).astype(np.float32)


@lowers("Conv")
def _conv(call: Call) -> Value:
    return conv(call, _weight(call), call.optional(2))


def conv(call: Call, weight: np.ndarray, bias: Value | None, activation: dict[str, Any] | None = None) -> Value:
    sizes = _spatial(call)
    n = len(sizes)
    kernel = [int(k) for k in call.attr("kernel_shape", weight.shape[2:])]
    if kernel != list(weight.shape[2:]):
        raise call.refuse(f"kernel_shape {kernel} and a weight of shape {list(weight.shape)}")
    strides, dilations = list(call.attr("strides", [1] * n)), list(call.attr("dilations", [1] * n))
    pads = _window_pads(call, sizes, kernel, strides, dilations)
    x, pads = cut_negative_pads(call.ctx, call.input(0), pads)
    attrs = {
        "strides": strides,
        "dilations": dilations,
        "pads": pads,
        "groups": int(call.attr("group", 1)),
        **(activation or {}),
    }
    return call.ctx.emit("Conv", [x, known(weight), bias], attrs)


@lowers("ConvTranspose")
def _conv_transpose(call: Call) -> Value:
    ctx, sizes, weight = call.ctx, _spatial(call), _weight(call)
    n = len(sizes)
    kernel = [int(k) for k in call.attr("kernel_shape", weight.shape[2:])]
    strides, dilations = list(call.attr("strides", [1] * n)), list(call.attr("dilations", [1] * n))
    extra = list(call.attr("output_padding", [0] * n))
    pads = [int(p) for p in call.attr("pads", [0] * (2 * n))]
    auto, wanted = call.attr("auto_pad", "NOTSET"), call.attr("output_shape")
    if wanted is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [s * stride for s, stride in zip(sizes, strides)]
    if wanted is not None:
        wanted = list(wanted)[-n:]
        for d in range(n):
            full = (sizes[d] - 1) * strides[d] + (kernel[d] - 1) * dilations[d] + 1 + extra[d]
            total = full - wanted[d]
            if isinstance(total, Dim):
                raise call.refuse(
                    f"output_shape {wanted} on sizes {sizes} depends on a size left open; fix it (--shape)"
                )
            if total < 0:
                extra[d], total = extra[d] - int(total), 0
            small, large = total // 2, total - total // 2
            first_small = auto != "SAME_UPPER" if call.opset < 11 else auto == "SAME_UPPER"
            pads[d], pads[n + d] = (small, large) if first_small else (large, small)
    if any(p < 0 for p in pads):
        raise call.refuse(f"pads {pads}: expected none negative")
    attrs = {
        "strides": strides,
        "dilations": dilations,
        "pads": pads,
        "groups": int(call.attr("group", 1)),
        "output_padding": extra,
    }
    return ctx.emit("ConvTranspose", [call.input(0), known(weight), call.optional(2)], attrs)


# ---- pooling --------------------------------------------------------------------------------------------------------


@lowers("MaxPool", "AveragePool")
def _pool(call: Call) -> Value:
    sizes = _spatial(call)
    n = len(sizes)
    kernel = [int(k) for k in call.require_attr("kernel_shape")]
    strides, dilations = list(call.attr("strides", [1] * n)), list(call.attr("dilations", [1] * n))
    if call.attr("storage_order", 0) or call.wants(1):
        raise call.refuse("the indices of MaxPool are not supported")
    attrs = {
        "kind": "max" if call.op == "MaxPool" else "average",
        "kernel": kernel,
        "strides": strides,
        "dilations": dilations,
        "pads": _window_pads(call, sizes, kernel, strides, dilations),
        "ceil_mode": int(call.attr("ceil_mode", 0)),
        "count_include_pad": int(call.attr("count_include_pad", 0)),
    }
    x = call.input(0)
    pooled = call.ctx.emit("Pool", [call.ctx.cast(x, "float32")], attrs)
    return Value(x.dtype, tensor=call.ctx.tensor(call.ctx.cast(pooled, call.ctx.run_dtype(x))))


@lowers("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def _global_pool(call: Call) -> Value:
    kind = {"GlobalAveragePool": "mean", "GlobalMaxPool": "max"}.get(call.op, f"l{call.attr('p', 2)}")
    if kind not in ("mean", "max", "l1", "l2"):
        raise call.refuse(f"p = {call.attr('p', 2)}: expected 1 or 2")
    return call.ctx.emit("Reduce", [call.input(0)], {"kind": kind, "axes": list(range(2, call.rank(0))), "keepdims": 1})


# ---- normalisation --------------------------------------------------------------------------------------------------


def channelwise(array: np.ndarray, rank: int, axis: int = 1) -> Value:
    """A vector along `axis` of tensors with `rank` axes."""
    return known(array.reshape([-1 if d == axis else 1 for d in range(rank)]).astype(np.float32))


@lowers("BatchNormalization")
def _batch_norm(call: Call) -> Value:
    """x * s + b, with s and b in float64 before they are rounded once."""
    ctx, rank = call.ctx, call.rank(0)
    call.ignore("momentum")
    if call.attr("training_mode", 0) or not call.attr("spatial", 1) or not call.attr("is_test", 1) and call.opset < 7:
        raise call.refuse("training_mode = 1 or spatial = 0 is not supported; export the model in inference mode")
    scale, bias, mean, var = (call.known(n).astype(np.float64) for n in range(1, 5))
    factor = scale / np.sqrt(var + call.attr("epsilon", 1e-5))
    shift = bias - mean * factor
    axis = 1 if rank > 1 else 0
    scaled = ctx.binary("mul", call.input(0), channelwise(factor, rank, axis))
    return ctx.binary("add", scaled, channelwise(shift, rank, axis))


def normalize(
    ctx: Lowering,
    x: Value,
    axes: Sequence[int],
    epsilon: float,
    scale: Value | None = None,
    bias: Value | None = None,
    kind: str = "layer",
) -> Value:
    return ctx.emit("Normalize", [x, scale, bias], {"axes": list(axes), "epsilon": float(epsilon), "kind": kind})


@lowers("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def _layer_norm(call: Call) -> list[Value | None]:
    call.ignore("stash_type")
    ctx, x, rank = call.ctx, call.input(0), call.rank(0)
    axes = range(call.axis(call.attr("axis", -1), rank), rank)
    kind, epsilon = "layer" if call.op == "LayerNormalization" else "rms", call.attr("epsilon", 1e-5)
    y = normalize(ctx, x, axes, epsilon, call.input(1), call.optional(2), kind)
    if not call.wants(1) and not call.wants(2):
        return [y]
    if kind == "rms":
        raise call.refuse("its second output is used, which is not supported")
    over = {"kind": "mean", "axes": list(axes), "keepdims": 1}
    mean = ctx.emit("Reduce", [x], over)
    centred = ctx.binary("sub", x, mean)
    variance = ctx.emit("Reduce", [ctx.binary("mul", centred, centred)], over)
    deviation = ctx.unary("sqrt", ctx.binary("add", variance, ctx.constant(epsilon)))
    return [y, mean, ctx.unary("reciprocal", deviation)]


lowers("SimplifiedLayerNormalization", domain="com.microsoft")(_layer_norm)


@lowers("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain="com.microsoft")
def _skip_layer_norm(call: Call) -> list[Value | None]:
    ctx = call.ctx
    total = ctx.binary("add", call.input(0), call.input(1))
    simplified = call.op == "SkipSimplifiedLayerNormalization"
    beta, bias = (None, call.optional(3)) if simplified else (call.optional(3), call.optional(4))
    total = total if bias is None else ctx.binary("add", total, bias)
    out = normalize(
        ctx,
        total,
        [call.rank(0) - 1],
        call.attr("epsilon", 1e-12),
        call.input(2),
        beta,
        "rms" if simplified else "layer",
    )
    if call.wants(1) or call.wants(2):
        raise call.refuse("its outputs mean and inv_std_var are used, which is not supported")
    return [out, None, None, total]


@lowers("InstanceNormalization")
def _instance_norm(call: Call) -> Value:
    rank = call.rank(0)
    scale, bias = channelwise(call.known(1), rank), channelwise(call.known(2), rank)
    return normalize(call.ctx, call.input(0), range(2, rank), call.attr("epsilon", 1e-5), scale, bias)


@lowers("GroupNormalization")
def _group_norm(call: Call) -> Value:
    ctx, shape = call.ctx, call.shape(0)
    call.ignore("stash_type")
    groups, channels = int(call.require_attr("num_groups")), shape[1]
    grouped = ctx.reshape(call.input(0), [shape[0], groups, channels // groups, *shape[2:]])
    normal = ctx.reshape(normalize(ctx, grouped, range(2, len(shape) + 1), call.attr("epsilon", 1e-5)), shape)
    scale, bias = call.known(1), call.known(2)
    if scale.size != channels:  # until opset 20 scale and bias are per group
        scale, bias = (np.repeat(a, int(channels) // groups) for a in (scale, bias))
    scaled = ctx.binary("mul", normal, channelwise(scale, len(shape)))
    return ctx.binary("add", scaled, channelwise(bias, len(shape)))


@lowers("LpNormalization")
def _lp_norm(call: Call) -> Value:
    """x / norm, and 0 where the norm is 0 (as onnxruntime has it)."""
    ctx, p = call.ctx, call.attr("p", 2)
    if p not in (1, 2):
        raise call.refuse(f"p = {p}: expected 1 or 2")
    axis = call.axis(call.attr("axis", -1), call.rank(0))
    norm = ctx.emit("Reduce", [call.input(0)], {"kind": f"l{p}", "axes": [axis], "keepdims": 1})
    one = ctx.constant(1.0)
    safe = ctx.emit("Where", [ctx.binary("equal", norm, ctx.constant(0.0)), one, norm], {}, norm.dtype)
    return ctx.binary("div", call.input(0), safe)


@lowers("MeanVarianceNormalization")
def _mean_variance_norm(call: Call) -> Value:
    """(x - mean) / (sqrt(var) + 1e-9)."""
    ctx, x = call.ctx, call.input(0)
    axes = {"kind": "mean", "axes": list(call.attr("axes", [0, 2, 3])), "keepdims": 1}
    centred = ctx.binary("sub", x, ctx.emit("Reduce", [x], axes))
    variance = ctx.emit("Reduce", [ctx.binary("mul", centred, centred)], axes)
    return ctx.binary("div", centred, ctx.binary("add", ctx.unary("sqrt", variance), ctx.constant(1e-9)))


# ---- onnxruntime's fused operators ----------------------------------------------------------------------------------

FUSED_ACTIVATIONS = {
    "": "linear",
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "LeakyRelu": "leaky_relu",
    "HardSigmoid": "hard_sigmoid",
    "Clip": "clip",
    "Elu": "elu",
    "Gelu": "gelu",
}


def _fused(call: Call, params: Sequence[float], x: Value) -> Value:
    name = call.attr("activation", "")
    kind = FUSED_ACTIVATIONS.get(name)
    if kind is None:
        raise call.refuse(f"activation = {name!r} is not supported")
    if kind == "linear":
        return x
    return call.ctx.unary(kind, x, *[float(p) for p in params])


@lowers("FusedConv", domain="com.microsoft")
def _fused_conv(call: Call) -> Value:
    if call.optional(3) is not None:
        raise call.refuse("its input Z is not supported; export the model without graph optimisation")
    return _fused(call, call.attr("activation_params", []), conv(call, _weight(call), call.optional(2)))


@lowers("FusedGemm", domain="com.microsoft")
def _fused_gemm(call: Call) -> Value:
    ctx, a, b = call.ctx, call.input(0), call.input(1)
    a = ctx.transpose(a, [1, 0]) if call.attr("transA", 0) else a
    b = ctx.transpose(b, [1, 0]) if call.attr("transB", 0) else b
    out = gemm(ctx, a, b, call.optional(2), call.attr("alpha", 1.0), call.attr("beta", 1.0))
    params = [call.attr(f"activation_{p}") for p in ("alpha", "beta") if f"activation_{p}" in call.attrs]
    return _fused(call, params, out)


@lowers("FusedMatMul", domain="com.microsoft")
def _fused_matmul(call: Call) -> Value:
    operands = []
    for n, letter in ((0, "A"), (1, "B")):
        value, rank = call.input(n), call.rank(n)
        if call.attr(f"transBatch{letter}", 0) and rank > 2:  # the rows are axis 0, before the batch axes
            value = call.ctx.transpose(value, [*range(1, rank - 1), 0, rank - 1])
        if call.attr(f"trans{letter}", 0) and rank > 1:
            value = call.ctx.transpose(value, [*range(rank - 2), rank - 1, rank - 2])
        operands.append(value)
    return matmul(call.ctx, operands[0], operands[1], call.attr("alpha", 1.0))


@lowers("Gelu", "FastGelu", "BiasGelu", "QuickGelu", domain="com.microsoft")
def _microsoft_gelu(call: Call) -> Value:
    ctx, x = call.ctx, call.input(0)
    if call.optional(1) is not None:
        x = ctx.binary("add", x, call.input(1))
    if call.op == "QuickGelu":
        return scaled_silu(ctx, x, call.attr("alpha", 1.702))
    return ctx.unary("gelu_tanh" if call.op == "FastGelu" else "gelu", x)


# ---- signal ---------------------------------------------------------------------------------------------------------


@lowers("STFT")
def _stft(call: Call) -> Value:
    """A convolution with the windowed cosines and sines of a Fourier transform: (B, frames, bins, 2)."""
    ctx, x, shape = call.ctx, call.input(0), call.shape(0)
    step = call.known_ints(1)[0]
    window = call.optional(2)
    if window is None and call.optional(3) is None:
        raise call.refuse("neither window nor frame_length is given")
    length = call.known_ints(3)[0] if call.optional(3) is not None else int(call.known(2).size)
    taper = call.known(2).astype(np.float64) if window is not None else np.ones(length)
    if len(shape) == 3 and shape[2] != 1:
        raise call.refuse(f"a complex signal of shape {list(shape)} is not supported")
    bins = length // 2 + 1 if call.attr("onesided", 1) else length
    phase = 2 * np.pi * np.outer(np.arange(bins), np.arange(length)) / length
    kernel = np.stack([np.cos(phase) * taper, -np.sin(phase) * taper], 1).reshape(2 * bins, 1, length)
    signal = ctx.reshape(x, [shape[0], 1, product(shape[1:])])
    frames = ctx.emit("Conv", [signal, known(kernel.astype(np.float32))], {"strides": [step]})
    count = ctx.shape(frames)[2]
    return ctx.reshape(ctx.transpose(frames, [0, 2, 1]), [shape[0], count, bins, 2])


@lowers("DFT")
def _dft(call: Call) -> Value:
    """A product with the matrix of the transform. x is (..., n, ..., 1 or 2): real, or real and imaginary parts."""
    ctx, rank = call.ctx, call.rank(0)
    axis = call.axis(
        call.attr("axis", 1) if call.opset < 20 else call.known_ints(2)[0] if call.optional(2) else -2, rank
    )
    inverse, onesided = call.attr("inverse", 0), call.attr("onesided", 0)
    size, parts = call.shape(0)[axis], call.shape(0)[-1]
    if isinstance(size, Dim) or parts not in (1, 2) or inverse and onesided:
        raise call.refuse(
            f"an axis of {size} with last axis {parts}, inverse = {inverse}, onesided = {onesided} is not "
            "supported; where the size is open, fix it (--shape)"
        )
    length = call.known_ints(1)[0] if call.optional(1) is not None else int(size)
    bins = length // 2 + 1 if onesided else length
    phase = 2 * np.pi * np.outer(np.arange(bins), np.arange(length)) / length * (1 if inverse else -1)
    real, imaginary = np.cos(phase), np.sin(phase)
    matrix = np.stack([np.stack([real, imaginary], 1), np.stack([-imaginary, real], 1)], 3)[
        ..., :parts
    ]  # (bins,2,n,parts)
    if inverse:
        matrix = matrix / length
    matrix = np.pad(matrix[:, :, : int(size)], ((0, 0), (0, 0), (0, max(int(size) - length, 0)), (0, 0)))
    order = [d for d in range(rank) if d not in (axis, rank - 1)] + [axis, rank - 1]
    x = ctx.transpose(call.input(0), order)
    lead = list(ctx.shape(x)[:-2])
    flat = ctx.reshape(x, [*lead, int(size) * int(parts)])
    weight = known(matrix.reshape(2 * bins, -1).astype(np.float32))
    y = ctx.reshape(ctx.emit("Dense", [flat, weight]), [*lead, bins, 2])
    return ctx.transpose(y, [order.index(d) for d in range(rank)])
