"""TFLite convolutions and pooling (channels last), lowered to the rows of docs/ops.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir.dims import Dim, Size
from ..dialect import Value, known
from .lowering import Call, lowers

SAME, VALID = 0, 1


def _pads(
    call: Call, sizes: Sequence[Size], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int]:
    """All begins, then all ends; what is odd goes to the end."""
    padding = call.option("padding")
    if padding == VALID:
        return [0] * (2 * len(sizes))
    if padding != SAME:
        raise call.refuse(f"padding {padding}: expected SAME (0) or VALID (1)")
    begins, ends = [], []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations):
        rest = size % stride
        if isinstance(rest, Dim):
            raise call.refuse(
                f"SAME padding with stride {stride} on an axis of {size} depends on that size; fix it (--shape)"
            )
        total = max((k - 1) * dilation + 1 - (stride if rest == 0 else int(rest)), 0)
        begins.append(total // 2)
        ends.append(total - total // 2)
    return begins + ends


def _weight(call: Call, n: int) -> np.ndarray:
    weight = call.known(n)
    if weight.ndim != 4:
        raise call.refuse(f"a weight of shape {list(weight.shape)}: expected 4 axes")
    return weight.astype(np.float32)


def _windowed(
    call: Call, op: str, x: Value, weight: np.ndarray | None, bias: Value | None, attrs: dict[str, Any]
) -> Value:
    """Emits a 2-D convolution or pool. One row of pixels under a kernel of one row is one-dimensional."""
    ctx, shape = call.ctx, call.ctx.shape(x)
    kernel = list(weight.shape[2:]) if weight is not None else attrs["kernel"]
    flat = shape[1] == 1 and kernel[0] == 1 and not attrs["pads"][0] and not attrs["pads"][2]
    if flat:
        x = ctx.reshape(x, [shape[0], shape[2], shape[3]])
        attrs = {k: v[1::2] if k == "pads" else v[1:] if isinstance(v, list) else v for k, v in attrs.items()}
        weight = weight[:, :, 0] if weight is not None else None
    inputs = [x] if weight is None else [x, known(np.ascontiguousarray(weight)), bias]
    y = ctx.emit(op, inputs, {**attrs, "layout": "channels_last"})
    if flat:
        b, w, c = ctx.shape(y)
        y = ctx.reshape(y, [b, 1, w, c])
    return call.activated(y)


@lowers("CONV_2D", "DEPTHWISE_CONV_2D")
def _conv(call: Call) -> Value:
    """w is (O,H,W,C/groups), or (1,H,W,C*multiplier) for the depthwise one."""
    weight, channels = _weight(call, 1), call.shape(0)[3]
    if call.kind == "CONV_2D":
        weight = weight.transpose(0, 3, 1, 2)
        if isinstance(channels, Dim) or channels % weight.shape[1]:
            raise call.refuse(f"{channels} channels and weights for {weight.shape[1]}")
        groups = int(channels) // weight.shape[1]
    else:
        weight, groups = weight.transpose(3, 0, 1, 2), int(channels)
    strides = [call.option("stride_h"), call.option("stride_w")]
    dilations = [call.option("dilation_h", 1), call.option("dilation_w", 1)]
    pads = _pads(call, call.shape(0)[1:3], list(weight.shape[2:]), strides, dilations)
    attrs = {"strides": strides, "dilations": dilations, "pads": pads, "groups": groups}
    return _windowed(call, "Conv", call.input(0), weight, call.optional(2), attrs)


@lowers("TRANSPOSE_CONV")
def _transpose_conv(call: Call) -> Value:
    """inputs: output shape, w (O,H,W,C), x, bias?. The output shape decides what the padding takes away."""
    wanted, weight, shape = call.sizes(0), _weight(call, 1).transpose(3, 0, 1, 2), call.shape(2)
    strides = [call.option("stride_h"), call.option("stride_w")]
    begins, ends, extra = [], [], []
    for d in range(2):
        full = (shape[1 + d] - 1) * strides[d] + weight.shape[2 + d]
        total = full - wanted[1 + d]
        if isinstance(total, Dim):
            raise call.refuse(f"an output of {wanted} from {list(shape)} depends on a size left open; fix it (--shape)")
        extra.append(max(-total, 0))
        begins.append(max(total, 0) // 2 if call.option("padding") == SAME else 0)
        ends.append(max(total, 0) - begins[-1])
    attrs = {"strides": strides, "pads": begins + ends, "output_padding": extra}
    return _windowed(call, "ConvTranspose", call.input(2), weight, call.optional(3), attrs)


@lowers("AVERAGE_POOL_2D", "MAX_POOL_2D")
def _pool(call: Call) -> Value:
    kernel, strides = (
        [call.option("filter_h"), call.option("filter_w")],
        [call.option("stride_h"), call.option("stride_w")],
    )
    pads = _pads(call, call.shape(0)[1:3], kernel, strides, [1, 1])
    attrs = {
        "kind": "average" if call.kind == "AVERAGE_POOL_2D" else "max",
        "kernel": kernel,
        "strides": strides,
        "pads": pads,
    }
    return _windowed(call, "Pool", call.input(0), None, None, attrs)
