"""TFLite convolutions and pooling (channels last), spelled with the dialect."""

from __future__ import annotations

import numpy as np

from ...ir.dims import Dim
from ..dialect import Value, known, windows
from .lowering import Call, lowers

PADDING = {0: "same", 1: "valid"}


def _padding(call: Call) -> str:
    padding = call.option("padding")
    if padding not in PADDING:
        raise call.refuse(f"padding {padding}: expected SAME (0) or VALID (1)")
    return PADDING[padding]


def _weight(call: Call, *order: int) -> Value:
    """Input 1 in float32, its four axes in the dialect's order (O, C / groups, H, W)."""
    weight = call.known(1)
    if weight.ndim != 4:
        raise call.refuse(f"a weight of shape {list(weight.shape)}: expected 4 axes")
    return known(np.ascontiguousarray(weight.astype(np.float32).transpose(order)))


def _strides(call: Call) -> list[int]:
    return [call.option("stride_h"), call.option("stride_w")]


@lowers("CONV_2D", "DEPTHWISE_CONV_2D")
def _conv(call: Call) -> Value:
    """w is (O,H,W,C/groups), or (1,H,W,C*multiplier) for the depthwise one."""
    depthwise, channels = call.kind == "DEPTHWISE_CONV_2D", call.shape(0)[3]
    weight = _weight(call, 3, 0, 1, 2) if depthwise else _weight(call, 0, 3, 1, 2)
    inputs = weight.data.shape[1]
    if isinstance(channels, Dim) or channels % inputs:
        raise call.refuse(f"{channels} channels and weights for {inputs}")
    y = windows.conv(
        call.ctx,
        call.input(0),
        weight,
        call.optional(2),
        strides=_strides(call),
        dilations=[call.option("dilation_h", 1), call.option("dilation_w", 1)],
        padding=_padding(call),
        groups=channels // inputs,
        channels_last=True,
    )
    return call.activated(y)


@lowers("TRANSPOSE_CONV")
def _transpose_conv(call: Call) -> Value:
    """inputs: output shape, w (O,H,W,C), x, bias?. The output shape decides what the padding takes away."""
    weight, strides, none = _weight(call, 3, 0, 1, 2), _strides(call), [0, 0]
    sizes, wanted, kernel = call.shape(2)[1:3], call.sizes(0)[1:3], weight.data.shape[2:]
    totals = windows.taken_away(call.ctx, sizes, wanted, kernel, strides, [1, 1], none)
    pads, extra = windows.transposed_pads(totals, none, "end" if _padding(call) == "same" else "all_end")
    y = windows.conv_transpose(
        call.ctx,
        call.input(2),
        weight,
        call.optional(3),
        strides=strides,
        pads=pads,
        output_padding=extra,
        channels_last=True,
    )
    return call.activated(y)


@lowers("AVERAGE_POOL_2D", "MAX_POOL_2D")
def _pool(call: Call) -> Value:
    y = windows.pool(
        call.ctx,
        call.input(0),
        "average" if call.kind == "AVERAGE_POOL_2D" else "max",
        [call.option("filter_h"), call.option("filter_w")],
        strides=_strides(call),
        padding=_padding(call),
        channels_last=True,
    )
    return call.activated(y)
