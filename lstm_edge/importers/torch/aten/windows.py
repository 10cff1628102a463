"""The aten calls of convolutions, pooling and upsampling."""

from __future__ import annotations

from typing import Any

from ....ir.dims import Dim
from ...dialect import Value, windows
from ..lowering import Lowering
from ..registry import op
from .movement import listed


def _each(value: Any, n: int) -> list[int]:
    values = listed(value)
    return values * n if len(values) == 1 else values


def _axes_of_window(name: str) -> int:
    return 1 if "1d" in name else 2


# ---- convolutions ---------------------------------------------------------------------------------------------------


@op("conv1d", "conv2d", "conv3d", "_convolution_mode")
def _conv(
    c: Lowering,
    input: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    """`padding` "same" pads by the window alone, as torch has it for strides of 1 only."""
    n = c.rank(weight) - 2
    return windows.conv(
        c,
        input,
        weight,
        bias,
        strides=_each(stride, n),
        dilations=_each(dilation, n),
        padding=padding if isinstance(padding, str) else _each(padding, n) * 2,
        groups=groups,
    )


@op("conv_transpose1d", "conv_transpose2d", "conv_transpose2d.input")
def _conv_transpose(
    c: Lowering,
    input: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Value:
    n = c.rank(weight) - 2
    return windows.conv_transpose(
        c,
        input,
        weight,
        bias,
        strides=_each(stride, n),
        dilations=_each(dilation, n),
        pads=_each(padding, n) * 2,
        output_padding=_each(output_padding, n),
        groups=groups,
    )


@op("convolution", "_convolution")
def _convolution(
    c: Lowering,
    input: Value,
    weight: Value,
    bias: Value | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    *_: Any,
) -> Value:
    if transposed:
        return _conv_transpose(c, input, weight, bias, stride, padding, output_padding, groups, dilation)
    return _conv(c, input, weight, bias, stride, padding, dilation, groups)


# ---- pooling --------------------------------------------------------------------------------------------------------


def _pool(
    c: Lowering, x: Value, kind: str, n: int, kernel: Any, stride: Any, padding: Any, dilation: Any = 1, **rest: bool
) -> Value:
    sizes = _each(kernel, n)
    strides = _each(stride, n) if stride not in (None, [], ()) else sizes
    pads = _each(padding, n) * 2
    return windows.pool(c, x, kind, sizes, strides=strides, dilations=_each(dilation, n), padding=pads, **rest)


@op("max_pool1d", "max_pool2d", "max_pool1d_with_indices", "max_pool2d_with_indices")
def _max_pool(
    c: Lowering,
    self: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Any:
    places = c.step.base.endswith("indices")
    if places and c.used(1):
        raise c.refuse("the indices of a max pooling")
    n = _axes_of_window(c.step.base)
    y = _pool(c, self, "max", n, kernel_size, stride, padding, dilation, ceil_mode=ceil_mode)
    return [y, None] if places else y


@op("avg_pool1d", "avg_pool2d")
def _avg_pool(
    c: Lowering,
    self: Value,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> Value:
    if divisor_override is not None:
        raise c.refuse("divisor_override of an average pooling")
    counted = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    return _pool(c, self, "average", _axes_of_window(c.step.base), kernel_size, stride, padding, **counted)


@op("adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d")
def _adaptive_avg_pool(c: Lowering, self: Value, output_size: Any) -> Value:
    return windows.adaptive_pool(c, self, "average", _each(output_size, _axes_of_window(c.step.base)))


@op("adaptive_max_pool1d", "adaptive_max_pool2d")
def _adaptive_max_pool(c: Lowering, self: Value, output_size: Any) -> Any:
    return [windows.adaptive_pool(c, self, "max", _each(output_size, _axes_of_window(c.step.base))), None]


@op("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest1d.vec", "upsample_nearest2d.vec")
def _upsample(c: Lowering, input: Value, output_size: Any = None, *factors: Any) -> Value:
    n = _axes_of_window(c.step.base)
    flat = [f for f in (factors[0] if factors and isinstance(factors[0], (list, tuple)) else factors) if f is not None]
    sizes = c.shape(input)[-n:]
    scales: list[Any] = flat if flat else [o // s if o % s == 0 else 0 for o, s in zip(output_size, sizes)]
    if len(scales) != n or any(isinstance(s, Dim) or s != int(s) or s < 1 for s in scales):
        raise c.refuse(f"upsampling by {scales or output_size}; expected whole factors")
    return c.emit("Resize", [input], {"scales": [1] * (c.rank(input) - n) + [int(s) for s in scales]})
