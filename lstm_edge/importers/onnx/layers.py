"""ONNX convolutions, pooling and normalisations, spelled with the dialect."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir.dims import Dim, product
from ...ir.ops.signal import MOST_POINTS
from ...options import as_typed
from ..dialect import Value, check_bytes, known, norms, spectra, windows
from ..dialect.arithmetic import scaled_silu
from ..dialect.products import matmul
from .lowering import Call, lowers
from .ops import gemm

# ---- convolution and pooling ----------------------------------------------------------------------------------------

PADDING = {"VALID": "valid", "SAME_UPPER": "same", "SAME_LOWER": "same_lower"}


def padding(call: Call) -> windows.Padding:
    auto = call.attr("auto_pad", "NOTSET")
    pads = call.attr("pads")
    if auto in ("NOTSET", ""):
        return "valid" if pads is None else [int(p) for p in pads]
    if auto not in PADDING:
        raise call.refuse(f"auto_pad = {auto!r}: expected NOTSET, VALID, SAME_UPPER or SAME_LOWER")
    return PADDING[auto]


def _weight(call: Call) -> np.ndarray:
    return call.known(1).astype(np.float32)


def _check_kernel(call: Call, weight: np.ndarray) -> None:
    kernel = [int(k) for k in call.attr("kernel_shape", weight.shape[2:])]
    if kernel != list(weight.shape[2:]):
        raise call.refuse(f"kernel_shape {kernel} and a weight of shape {list(weight.shape)}")


@lowers("Conv")
def _conv(call: Call) -> Value:
    return conv(call, call.input(0), _weight(call), call.optional(2))


def conv(call: Call, x: Value, weight: np.ndarray, bias: Value | None) -> Value:
    _check_kernel(call, weight)
    return windows.conv(
        call.ctx,
        x,
        known(weight),
        bias,
        strides=call.attr("strides"),
        dilations=call.attr("dilations"),
        padding=padding(call),
        groups=int(call.attr("group", 1)),
    )


@lowers("ConvTranspose")
def _conv_transpose(call: Call) -> Value:
    """Where output_shape or auto_pad says the sizes of the result, the pads follow from them."""
    weight, sizes = _weight(call), call.shape(0)[2:]
    n = len(sizes)
    _check_kernel(call, weight)
    strides, dilations = list(call.attr("strides", [1] * n)), list(call.attr("dilations", [1] * n))
    pads, extra = [int(p) for p in call.attr("pads", [0] * (2 * n))], list(call.attr("output_padding", [0] * n))
    auto, wanted = call.attr("auto_pad", "NOTSET"), call.attr("output_shape")
    if wanted is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [s * stride for s, stride in zip(sizes, strides)]
    if wanted is not None:
        totals = windows.taken_away(call.ctx, sizes, list(wanted)[-n:], weight.shape[2:], strides, dilations, extra)
        odd_at_end = auto != "SAME_UPPER" if call.opset < 11 else auto == "SAME_UPPER"
        pads, extra = windows.transposed_pads(totals, extra, "end" if odd_at_end else "begin")
    return windows.conv_transpose(
        call.ctx,
        call.input(0),
        known(weight),
        call.optional(2),
        strides=strides,
        dilations=dilations,
        pads=pads,
        output_padding=extra,
        groups=int(call.attr("group", 1)),
    )


@lowers("MaxPool", "AveragePool")
def _pool(call: Call) -> Value:
    if call.attr("storage_order", 0) or call.wants(1):
        raise call.refuse("the indices of MaxPool are not supported")
    return windows.pool(
        call.ctx,
        call.input(0),
        "max" if call.op == "MaxPool" else "average",
        [int(k) for k in call.require_attr("kernel_shape")],
        strides=call.attr("strides"),
        dilations=call.attr("dilations"),
        padding=padding(call),
        ceil_mode=bool(call.attr("ceil_mode", 0)),
        count_include_pad=bool(call.attr("count_include_pad", 0)),
    )


@lowers("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def _global_pool(call: Call) -> Value:
    kind = {"GlobalAveragePool": "mean", "GlobalMaxPool": "max"}.get(call.op, f"l{call.attr('p', 2)}")
    if kind not in ("mean", "max", "l1", "l2"):
        raise call.refuse(f"p = {call.attr('p', 2)}: expected 1 or 2")
    return windows.global_pool(call.ctx, call.input(0), kind, call.rank(0) - 2)


@lowers("LpPool")
def _lp_pool(call: Call) -> Value:
    if call.attr("ceil_mode", 0):
        raise call.refuse("ceil_mode = 1 is not supported")
    kernel = [int(k) for k in call.require_attr("kernel_shape")]
    windowed = {"strides": call.attr("strides"), "dilations": call.attr("dilations"), "padding": padding(call)}
    return windows.lp_pool(call.ctx, call.input(0), int(call.attr("p", 2)), kernel, **windowed)


@lowers("Col2Im")
def _col2im(call: Call) -> Value:
    sizes, kernel = call.known_ints(1), call.known_ints(2)
    n = len(sizes)
    strides, dilations = call.attr("strides", [1] * n), call.attr("dilations", [1] * n)
    pads = call.attr("pads", [0] * (2 * n))
    return windows.col2im(call.ctx, call.input(0), sizes, kernel, strides=strides, dilations=dilations, pads=pads)


@lowers("LRN")
def _local_response_norm(call: Call) -> Value:
    """x / (bias + alpha * the mean over `size` channels of x^2)^beta."""
    alpha, beta, bias = call.attr("alpha", 1e-4), call.attr("beta", 0.75), call.attr("bias", 1.0)
    return norms.local_response(call.ctx, call.input(0), int(call.require_attr("size")), alpha, beta, bias)


# ---- normalisation --------------------------------------------------------------------------------------------------


@lowers("BatchNormalization")
def _batch_norm(call: Call) -> Value:
    call.ignore("momentum")
    if call.attr("training_mode", 0) or not call.attr("spatial", 1) or not call.attr("is_test", 1) and call.opset < 7:
        raise call.refuse("training_mode = 1 or spatial = 0 is not supported; export the model in inference mode")
    scale, offset, mean, variance = (call.known(n) for n in range(1, 5))
    return norms.batch_norm(call.ctx, call.input(0), mean, variance, scale, offset, call.attr("epsilon", 1e-5))


@lowers("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def _layer_norm(call: Call) -> list[Value | None]:
    call.ignore("stash_type")
    ctx, x, rank = call.ctx, call.input(0), call.rank(0)
    axes = range(call.axis(call.attr("axis", -1), rank), rank)
    kind, epsilon = "layer" if call.op == "LayerNormalization" else "rms", call.attr("epsilon", 1e-5)
    y = norms.normalize(ctx, x, axes, epsilon, call.input(1), call.optional(2), kind)
    if not call.wants(1) and not call.wants(2):
        return [y]
    if kind == "rms":
        raise call.refuse("its second output is used, which is not supported")
    mean, _, variance = norms.moments(ctx, x, axes)
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
    kind, epsilon = "rms" if simplified else "layer", call.attr("epsilon", 1e-12)
    out = norms.normalize(ctx, total, [-1], epsilon, call.input(2), beta, kind)
    if call.wants(1) or call.wants(2):
        raise call.refuse("its outputs mean and inv_std_var are used, which is not supported")
    return [out, None, None, total]


@lowers("InstanceNormalization")
def _instance_norm(call: Call) -> Value:
    return norms.instance_norm(call.ctx, call.input(0), call.known(1), call.known(2), call.attr("epsilon", 1e-5))


@lowers("GroupNormalization")
def _group_norm(call: Call) -> Value:
    call.ignore("stash_type")
    groups, epsilon = int(call.require_attr("num_groups")), call.attr("epsilon", 1e-5)
    return norms.group_norm(call.ctx, call.input(0), groups, call.known(1), call.known(2), epsilon)


@lowers("LpNormalization")
def _lp_norm(call: Call) -> Value:
    return norms.lp_norm(call.ctx, call.input(0), call.attr("p", 2), [call.attr("axis", -1)])


@lowers("MeanVarianceNormalization")
def _mean_variance_norm(call: Call) -> Value:
    return norms.mean_variance(call.ctx, call.input(0), call.attr("axes", [0, 2, 3]))


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
    return _fused(call, call.attr("activation_params", []), conv(call, call.input(0), _weight(call), call.optional(2)))


@lowers("FusedGemm", domain="com.microsoft")
def _fused_gemm(call: Call) -> Value:
    params = [call.attr(f"activation_{p}") for p in ("alpha", "beta") if f"activation_{p}" in call.attrs]
    return _fused(call, params, gemm(call))


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
    """(B, frames, bins, 2): Fourier transforms of frames; of both sides, or too many points for the core's, a convolution."""
    ctx, x, shape = call.ctx, call.input(0), call.shape(0)
    step = call.known_ints(1)[0]
    window = call.optional(2)
    if window is None and call.optional(3) is None:
        raise call.refuse("neither window nor frame_length is given")
    length = call.known_ints(3)[0] if call.optional(3) is not None else int(call.known(2).size)
    if length < 1 or step < 1:
        raise call.refuse(f"frames of {length} samples every {step}: expected 1 or more")
    check_bytes([length], call.place)
    taper = call.known(2).astype(np.float64) if window is not None else np.ones(length)
    if len(shape) == 3 and shape[2] != 1:
        raise call.refuse(f"a complex signal of shape {list(shape)} is not supported")
    signal = ctx.reshape(x, [shape[0], product(shape[1:])])
    if call.attr("onesided", 1) and len(taper) == length <= MOST_POINTS:
        return ctx.transpose(spectra.stft(ctx, signal, taper, step, length), [0, 1, 3, 2])
    bins = length // 2 + 1 if call.attr("onesided", 1) else length
    check_bytes([bins, length], call.place)
    phase = 2 * np.pi * np.outer(np.arange(bins), np.arange(length)) / length
    kernel = np.stack([np.cos(phase) * taper, -np.sin(phase) * taper], 1).reshape(2 * bins, 1, length)
    frames = ctx.emit(
        "Conv",
        [ctx.reshape(signal, [shape[0], 1, *ctx.shape(signal)[1:]]), known(kernel.astype(np.float32))],
        {"strides": [step]},
    )
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
    if isinstance(size, Dim) or isinstance(parts, Dim) or parts not in (1, 2) or inverse and onesided:
        raise call.refuse(
            f"an axis of {size} with last axis {parts}, inverse = {inverse}, onesided = {onesided} is not "
            f"supported; where the size is open, fix it ({as_typed('shapes')})"
        )
    length = call.known_ints(1)[0] if call.optional(1) is not None else size
    bins = length // 2 + 1 if onesided else length
    phase = 2 * np.pi * np.outer(np.arange(bins), np.arange(length)) / length * (1 if inverse else -1)
    real, imaginary = np.cos(phase), np.sin(phase)
    matrix = np.stack([np.stack([real, imaginary], 1), np.stack([-imaginary, real], 1)], 3)[
        ..., :parts
    ]  # (bins,2,n,parts)
    if inverse:
        matrix = matrix / length
    matrix = np.pad(matrix[:, :, :size], ((0, 0), (0, 0), (0, max(size - length, 0)), (0, 0)))
    order = [d for d in range(rank) if d not in (axis, rank - 1)] + [axis, rank - 1]
    x = ctx.transpose(call.input(0), order)
    lead = list(ctx.shape(x)[:-2])
    flat = ctx.reshape(x, [*lead, size * parts])
    weight = known(matrix.reshape(2 * bins, -1).astype(np.float32))
    y = ctx.reshape(ctx.emit("Dense", [flat, weight]), [*lead, bins, 2])
    return ctx.transpose(y, [order.index(d) for d in range(rank)])
