"""Convolutions and pooling of Keras: kernels brought to the dialect's order of axes, padding words handed on."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...options import as_typed
from ..dialect import Value, arithmetic, movement, reductions, windows
from .activations import Finish
from .config import Layer
from .emit import Call, Emit, Rule, channel_axis, spatial_axes, spatial_rank


def _channels_last(e: Emit, layer: Layer, x: Value) -> bool:
    """Where the channels are, of an input that has the rank the layer works on."""
    rank = spatial_rank(layer) + 2
    if e.rank(x) != rank:
        raise e.unsupported(
            f"expected an input of rank {rank}, found shape {e.shape(x)}",
            f"check the input's shape ({as_typed('shapes')})",
        )
    return channel_axis(e, x, layer) == rank - 1


def window_of(layer: Layer) -> dict[str, Any]:
    """Strides, dilations and padding, as windows.conv takes them."""
    config, rank = layer.config, spatial_rank(layer)
    return {
        "strides": config.sizes("strides", rank),
        "dilations": config.sizes("dilation_rate", rank),
        "padding": config.word("padding", ("valid", "same", "causal"), "valid"),
    }


def _refuse_groups(e: Emit, layer: Layer) -> None:
    if layer.config.take("groups", 1) not in (1, None):
        raise e.unsupported(f"groups {layer.config.take('groups')}", "expected 1")


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


def conv(e: Emit, layer: Layer, call: Call) -> Value:
    rank, config, x = spatial_rank(layer), layer.config, e.real(call.x)
    last = _channels_last(e, layer, x)
    shape = (*config.sizes("kernel_size", rank), None, config.size("filters"))
    kernel = layer.weight("kernel", shape, _spatial_kernel(layer, "kernel", rank))
    weight, groups = e.weight(windows.kernel_first(kernel), "w"), config.size("groups", 1)
    end = Finish(e, layer)
    y = windows.conv(
        e, x, weight, end.bias, **window_of(layer), groups=groups, channels_last=last, activation=end.activation
    )
    return end(e, y, "conv")


def conv_transpose(e: Emit, layer: Layer, call: Call) -> Value:
    """Kernel (*S, out, in). Output sizes: valid (n-1) s + max(k, s), same n s; with output_padding (n-1) s + k + op -
    2 p."""
    rank, config, x = spatial_rank(layer), layer.config, e.real(call.x)
    last = _channels_last(e, layer, x)
    size, strides = config.sizes("kernel_size", rank), config.sizes("strides", rank)
    kernel = layer.weight("kernel", (*size, config.size("filters"), None))
    _refuse_groups(e, layer)
    if any(d > 1 for d in config.sizes("dilation_rate", rank)):
        raise e.unsupported("dilation_rate above 1 of a transposed convolution", "expected 1")
    word = config.word("padding", ("valid", "same"), "valid")
    given = config.take("output_padding")
    given = [given] * rank if given is None or isinstance(given, int) else list(given)
    totals = [k - _wanted(k, s, word, more) for k, s, more in zip(size, strides, given)]
    pads, extra = windows.transposed_pads(totals, [0] * rank, "end" if word == "same" else "all_end")
    end = Finish(e, layer)
    y = windows.conv_transpose(
        e,
        x,
        e.weight(windows.kernel_first(kernel), "w"),
        end.bias,
        strides=strides,
        pads=pads,
        output_padding=extra,
        channels_last=last,
        activation=end.activation,
    )
    return end(e, y, "conv")


def _wanted(kernel: int, stride: int, word: str, given: int | None) -> int:
    """How many elements more than (n-1) stride n frames give in Keras: the gradient of a forward convolution."""
    if given is None:
        return stride if word == "same" else max(kernel, stride)
    return kernel + given - (2 * (kernel // 2) if word == "same" else 0)


def _depthwise(e: Emit, layer: Layer, x: Value, end: Finish | None) -> Value:
    """One group per channel: kernel (*S, in, multiplier) -> (in * multiplier, 1, *S)."""
    rank, config = spatial_rank(layer), layer.config
    _refuse_groups(e, layer)
    size, multiplier = config.sizes("kernel_size", rank), config.size("depth_multiplier", 1)
    kernel = layer.weight("depthwise_kernel", (*size, None, multiplier))
    channels = kernel.shape[rank]
    weight = kernel.transpose(rank, rank + 1, *range(rank)).reshape(channels * multiplier, 1, *size)
    return windows.conv(
        e,
        x,
        e.weight(weight, "depthwise"),
        end.bias if end else None,
        **window_of(layer),
        groups=channels,
        channels_last=_channels_last(e, layer, x),
        activation=end.activation if end else None,
    )


def depthwise_conv(e: Emit, layer: Layer, call: Call) -> Value:
    end = Finish(e, layer)
    return end(e, _depthwise(e, layer, e.real(call.x), end), "conv")


def separable_conv(e: Emit, layer: Layer, call: Call) -> Value:
    x = e.named(_depthwise(e, layer, e.real(call.x), None), "depths")
    point = layer.weight("pointwise_kernel", (*[1] * spatial_rank(layer), None, layer.config.size("filters")))
    weight, end = e.weight(windows.kernel_first(point), "pointwise"), Finish(e, layer)
    last = _channels_last(e, layer, x)
    return end(e, windows.conv(e, x, weight, end.bias, channels_last=last, activation=end.activation), "conv")


def pool(e: Emit, layer: Layer, call: Call) -> Value:
    rank, config = spatial_rank(layer), layer.config
    last = _channels_last(e, layer, call.x)
    size = config.sizes("pool_size", rank, 2)
    strides = size if config.take("strides") is None else config.sizes("strides", rank)
    padding = config.word("padding", ("valid", "same"), "valid")
    kind = "max" if "Max" in layer.cls else "average"
    return windows.pool(e, call.x, kind, size, strides=strides, padding=padding, channels_last=last)


def global_pool(e: Emit, layer: Layer, call: Call) -> Value:
    """Max or mean over the spatial axes; GlobalAveragePooling1D averages over the unmasked frames alone."""
    last = _channels_last(e, layer, call.x)
    keep, mask = layer.config.flag("keepdims"), call.mask()
    if "Average" in layer.cls and spatial_rank(layer) == 1 and mask:
        return _masked_mean(e, call.x, mask, spatial_axes(e, call.x, layer)[0], keep)
    kind = "max" if "Max" in layer.cls else "mean"
    return windows.global_pool(e, call.x, kind, spatial_rank(layer), channels_last=last, keepdims=keep)


def adaptive_pool(e: Emit, layer: Layer, call: Call) -> Value:
    wanted = layer.config.sizes("output_size", spatial_rank(layer))
    kind = "max" if "Max" in layer.cls else "average"
    return windows.adaptive_pool(e, call.x, kind, wanted, _channels_last(e, layer, call.x))


def _masked_mean(e: Emit, x: Value, mask: Value, axis: int, keepdims: bool) -> Value:
    """Sum over the frames where the mask is set, over their number. `mask` (B,T) runs along `axis` of x (rank 3)."""
    wide = movement.unsqueeze(e, mask, [3 - axis])
    kept = arithmetic.where(e, wide, x, e.constant(0.0))
    total = reductions.reduce(e, "sum", kept, [axis], keepdims)
    return e.binary("div", total, reductions.reduce(e, "sum", e.real(wide), [axis], keepdims))


RULES: dict[str, Rule] = {
    **{f"Conv{r}D": conv for r in (1, 2)},
    **{f"Conv{r}DTranspose": conv_transpose for r in (1, 2)},
    **{f"DepthwiseConv{r}D": depthwise_conv for r in (1, 2)},
    **{f"SeparableConv{r}D": separable_conv for r in (1, 2)},
    **{f"{k}Pooling{r}D": pool for k in ("Max", "Average") for r in (1, 2)},
    **{f"Adaptive{k}Pooling{r}D": adaptive_pool for k in ("Max", "Average") for r in (1, 2)},
    **{f"Global{k}Pooling{r}D": global_pool for k in ("Max", "Average") for r in (1, 2)},
}
