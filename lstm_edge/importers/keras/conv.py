"""Convolutions and pooling of Keras as Conv, ConvTranspose, Pool and Reduce."""

from __future__ import annotations

import numpy as np

from ...ir.dims import Dim, Size
from .activations import apply_activation, simple_activation
from .config import Layer
from .emit import Call, Emit, Value, channel_axis, unsupported


def same_pads(size: Size, kernel: int, stride: int, dilation: int) -> tuple[int, int] | None:
    """(begin, end) padding of TensorFlow's 'same' for an axis of `size`; None when it depends on a number of frames
    that is free.

    Free sizes are tried modulo the stride: the beginning must be the same for all, and the most padding at the end must
    not add a window.
    """
    extent = (kernel - 1) * dilation + 1
    if not isinstance(size, Dim):
        total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        return total // 2, total - total // 2
    sizes = range(4 * extent * stride, 4 * extent * stride + stride)
    totals = [max((-(-n // stride) - 1) * stride + extent - n, 0) for n in sizes]
    begin, end = totals[0] // 2, max(t - t // 2 for t in totals)
    fits = all(t // 2 == begin for t in totals) and all(
        (n + begin + end - extent) // stride + 1 == -(-n // stride) for n in sizes
    )
    return (begin, end) if fits else None


def _pads(
    e: Emit, layer: Layer, x: str, axes: list[int], kernel: list[int], strides: list[int], dilations: list[int]
) -> list[int]:
    """pads attribute (begins, then ends) for the layer's padding word."""
    word = layer.config.word("padding", ("valid", "same", "causal"), "valid")
    if word == "valid":
        return [0] * (2 * len(axes))
    if word == "causal":
        return [(k - 1) * d for k, d in zip(kernel, dilations)] + [0] * len(axes)
    pairs = [same_pads(e.shape(x)[a], k, s, d) for a, k, s, d in zip(axes, kernel, strides, dilations)]
    if None in pairs:
        raise unsupported(
            layer,
            f"padding 'same' with strides {strides} depends on the number of frames",
            "give the number of frames (shapes=), or pad 'valid' or 'causal'",
        )
    return [p[0] for p in pairs] + [p[1] for p in pairs]


def _geometry(e: Emit, layer: Layer, x: str, rank: int) -> tuple[list[int], str]:
    """Spatial axes and layout word."""
    if e.rank(x) != rank + 2:
        raise unsupported(
            layer,
            f"expected an input of rank {rank + 2}, found shape {e.shape(x)}",
            "check the input's shape (shapes=)",
        )
    channels = channel_axis(e, x, layer)
    return [a for a in range(1, rank + 2) if a != channels], "channels_first" if channels == 1 else "channels_last"


def _finish(e: Emit, layer: Layer, op: str, inputs: list[str], attrs: dict) -> str:
    """The op with its bias and activation."""
    if layer.config.take("groups", 1) not in (1, None) and layer.cls not in ("Conv1D", "Conv2D"):
        raise unsupported(layer, f"groups {layer.config.take('groups')}", "expected 1")
    layer.config.take("use_bias")
    if "bias" in layer.weights:
        inputs.append(e.const(layer.weights["bias"], f"{layer.name}/bias"))
    spec = layer.config.take("activation")
    act = simple_activation(spec, layer.version, layer.place)
    if act is not None:
        return e.op(op, inputs, layer.name, **attrs, activation=act.kind, alpha=act.alpha, beta=act.beta)
    return apply_activation(e, spec, e.op(op, inputs, f"{layer.name}/conv", **attrs), layer, layer.name)


def _spatial_kernel(layer: Layer, key: str, rank: int) -> np.ndarray:
    """The kernel (*S, in, out) with weights of Keras 1 and of Theano brought to that form."""
    kernel, size = layer.weights[key], layer.config.sizes("kernel_size", rank)
    if layer.version.major == 1 and kernel.ndim == 4 and rank == 1:
        if kernel.shape[0] == size[0] and kernel.shape[1] == 1:
            return kernel[:, 0]
        return kernel.transpose(2, 3, 1, 0)[:, 0]  # (filters, in, length, 1) before Keras 1.2
    if layer.version.major == 1 and rank == 2 and layer.config.values.get("data_format") == "channels_first":
        return kernel.transpose(2, 3, 1, 0)
    return kernel


def conv(e: Emit, layer: Layer, call: Call) -> str:
    rank = 2 if "2D" in layer.cls else 1
    config, x = layer.config, e.real(call.inputs[0].t, layer.name)
    axes, layout = _geometry(e, layer, x, rank)
    size, filters = config.sizes("kernel_size", rank), config.size("filters")
    kernel = e.weight(layer, "kernel", (*size, None, filters), _spatial_kernel(layer, "kernel", rank))
    strides, dilations, groups = (
        config.sizes("strides", rank),
        config.sizes("dilation_rate", rank),
        config.size("groups", 1),
    )
    attrs = {
        "layout": layout,
        "strides": strides,
        "dilations": dilations,
        "groups": groups,
        "pads": _pads(e, layer, x, axes, size, strides, dilations),
    }
    weight = kernel.transpose(rank + 1, rank, *range(rank))
    return _finish(e, layer, "Conv", [x, e.const(weight, f"{layer.name}/w")], attrs)


def conv_transpose(e: Emit, layer: Layer, call: Call) -> str:
    """Kernel (*S, out, in). Output sizes: valid (n-1) s + max(k, s), same n s; with output_padding (n-1) s + k + op -
    2 p."""
    rank = 2 if "2D" in layer.cls else 1
    config, x = layer.config, e.real(call.inputs[0].t, layer.name)
    _, layout = _geometry(e, layer, x, rank)
    size, filters = config.sizes("kernel_size", rank), config.size("filters")
    kernel = e.weight(layer, "kernel", (*size, filters, None))
    strides, dilations = config.sizes("strides", rank), config.sizes("dilation_rate", rank)
    if any(d > 1 for d in dilations):
        raise unsupported(layer, f"dilation_rate {dilations} of a transposed convolution", "expected 1")
    word = config.word("padding", ("valid", "same"), "valid")
    given = config.take("output_padding")
    given = [None] * rank if given is None else [given] * rank if isinstance(given, int) else list(given)
    pads, extra = [], []
    for k, s, out in zip(size, strides, given):
        begin, end, more = _transpose_pads(k, s, word, out)
        pads.append((begin, end))
        extra.append(more)
    attrs = {
        "layout": layout,
        "strides": strides,
        "pads": [p[0] for p in pads] + [p[1] for p in pads],
        "output_padding": extra,
    }
    weight = kernel.transpose(rank + 1, rank, *range(rank))
    return _finish(e, layer, "ConvTranspose", [x, e.const(weight, f"{layer.name}/w")], attrs)


def _transpose_pads(kernel: int, stride: int, word: str, given: int | None) -> tuple[int, int, int]:
    """(begin, end, output_padding) so that n frames give Keras's number, (n-1) stride + wanted.

    'same' is the gradient of a forward convolution that pads kernel - wanted in all, the smaller half first.
    """
    if given is None:
        wanted = stride if word == "same" else max(kernel, stride)
    else:
        wanted = kernel + given - (2 * (kernel // 2) if word == "same" else 0)
    begin = max(kernel - wanted, 0) // 2 if word == "same" else 0
    end = kernel - wanted - begin
    return begin, max(end, 0), max(-end, 0)


def depthwise_conv(e: Emit, layer: Layer, call: Call) -> str:
    rank = 2 if "2D" in layer.cls else 1
    x = e.real(call.inputs[0].t, layer.name)
    inputs, attrs = _depthwise(e, layer, x, rank, "depthwise_kernel")
    return _finish(e, layer, "Conv", inputs, attrs)


def _depthwise(e: Emit, layer: Layer, x: str, rank: int, key: str) -> tuple[list[str], dict]:
    """Conv with one group per channel: kernel (*S, in, multiplier) -> (in * multiplier, 1, *S)."""
    config = layer.config
    axes, layout = _geometry(e, layer, x, rank)
    size, strides, dilations = (
        config.sizes("kernel_size", rank),
        config.sizes("strides", rank),
        config.sizes("dilation_rate", rank),
    )
    multiplier = config.size("depth_multiplier", 1)
    kernel = e.weight(layer, key, (*size, None, multiplier))
    channels = kernel.shape[rank]
    weight = kernel.transpose(rank, rank + 1, *range(rank)).reshape(channels * multiplier, 1, *size)
    attrs = {
        "layout": layout,
        "strides": strides,
        "dilations": dilations,
        "groups": channels,
        "pads": _pads(e, layer, x, axes, size, strides, dilations),
    }
    return [x, e.const(weight, f"{layer.name}/depthwise")], attrs


def separable_conv(e: Emit, layer: Layer, call: Call) -> str:
    rank = 2 if "2D" in layer.cls else 1
    x = e.real(call.inputs[0].t, layer.name)
    inputs, attrs = _depthwise(e, layer, x, rank, "depthwise_kernel")
    x = e.op("Conv", inputs, f"{layer.name}/depths", **attrs)
    point = e.weight(layer, "pointwise_kernel", (*[1] * rank, None, layer.config.size("filters")))
    weight = point.transpose(rank + 1, rank, *range(rank))
    return _finish(e, layer, "Conv", [x, e.const(weight, f"{layer.name}/pointwise")], {"layout": attrs["layout"]})


def pool(e: Emit, layer: Layer, call: Call) -> str:
    rank = 2 if "2D" in layer.cls else 1
    config, x = layer.config, call.inputs[0].t
    axes, layout = _geometry(e, layer, x, rank)
    size = config.sizes("pool_size", rank, 2)
    strides = size if config.take("strides") is None else config.sizes("strides", rank)
    pads = _pads(e, layer, x, axes, size, strides, [1] * rank)
    return e.op(
        "Pool",
        [x],
        layer.name,
        kind="max" if "Max" in layer.cls else "average",
        kernel=size,
        strides=strides,
        pads=pads,
        layout=layout,
    )


def global_pool(e: Emit, layer: Layer, call: Call) -> str:
    """Max or mean over the spatial axes; GlobalAveragePooling1D averages over the unmasked frames alone."""
    rank = 2 if "2D" in layer.cls else 1
    x = call.inputs[0]
    axes, _ = _geometry(e, layer, x.t, rank)
    keep = layer.config.flag("keepdims")
    mask = call.kwargs.pop("mask", None)
    mask = mask.t if isinstance(mask, Value) else x.mask
    if "Average" in layer.cls and rank == 1 and mask:
        return masked_mean(e, x.t, mask, axes[0], keep, layer.name)
    return e.reduce("max" if "Max" in layer.cls else "mean", x.t, axes, layer.name, keep)


def masked_mean(e: Emit, x: str, mask: str, axis: int, keepdims: bool, name: str) -> str:
    """Sum over the frames where the mask is set, over their number. `mask` (B,T) runs along `axis` of x (rank 3)."""
    wide = e.expand_dims(mask, 3 - axis, f"{name}/mask")
    zero = e.const(np.float32(0), f"{name}/zero")
    total = e.reduce("sum", e.op("Where", [wide, x, zero], f"{name}/kept"), [axis], f"{name}/sum", keepdims)
    count = e.reduce("sum", e.cast(wide, "float32", f"{name}/ones"), [axis], f"{name}/count", keepdims)
    return e.binary("div", total, count, name)


RULES = {
    **{f"Conv{r}D": conv for r in (1, 2)},
    **{f"Conv{r}DTranspose": conv_transpose for r in (1, 2)},
    **{f"DepthwiseConv{r}D": depthwise_conv for r in (1, 2)},
    **{f"SeparableConv{r}D": separable_conv for r in (1, 2)},
    **{f"{k}Pooling{r}D": pool for k in ("Max", "Average") for r in (1, 2)},
    **{f"Global{k}Pooling{r}D": global_pool for k in ("Max", "Average") for r in (1, 2)},
}
