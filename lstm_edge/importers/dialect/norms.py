"""Normalisations. What is known of them (running statistics, scales) is folded in float64 and rounded once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir.dims import Dim
from .builder import Dialect
from .movement import fixed_sizes
from .reductions import reduce
from .value import Value, check_bytes, known


def along(array: np.ndarray, rank: int, axis: int = 1) -> Value:
    """A vector along `axis` of tensors with `rank` axes, in float32."""
    return known(array.reshape([-1 if n == axis % rank else 1 for n in range(rank)]).astype(np.float32))


def scaled(d: Dialect, x: Value, scale: np.ndarray | None, offset: np.ndarray | None, axis: int = 1) -> Value:
    """x * scale + offset, each a vector along `axis` or None. Scales of 1 and offsets of 0 leave no op."""
    rank = len(d.shape(x))
    if scale is not None:
        x = d.binary("mul", x, along(scale, rank, axis))
    return x if offset is None else d.binary("add", x, along(offset, rank, axis))


def batch_norm(
    d: Dialect,
    x: Value,
    mean: np.ndarray,
    variance: np.ndarray,
    scale: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    epsilon: float = 1e-5,
    axis: int = 1,
) -> Value:
    """(x - mean) / sqrt(variance + epsilon) * scale + offset with running statistics, each a vector along `axis`."""
    rank = len(d.shape(x))
    axis = d.axis(axis, rank) if rank > 1 else 0
    size = d.shape(x)[axis]
    if not isinstance(size, Dim) and size != mean.size:
        raise d.refuse(f"statistics of {mean.size} channels for {size} along axis {axis} of shape {list(d.shape(x))}")
    factor = (1.0 if scale is None else scale.astype(np.float64)) / np.sqrt(variance.astype(np.float64) + epsilon)
    shift = (0.0 if offset is None else offset.astype(np.float64)) - mean.astype(np.float64) * factor
    return scaled(d, x, factor, shift, axis)


def normalize(
    d: Dialect,
    x: Value,
    axes: Sequence[int],
    epsilon: float,
    scale: Value | None = None,
    offset: Value | None = None,
    kind: str = "layer",
) -> Value:
    """x over its own mean and deviation (kind layer) or root mean square (rms) along the axes, then scaled and moved by
    tensors that broadcast with x."""
    rank = len(d.shape(x))
    attrs = {"axes": [d.axis(a, rank) for a in axes], "epsilon": float(epsilon), "kind": kind}
    return d.emit("Normalize", [x, scale, offset], attrs)


def instance_norm(
    d: Dialect,
    x: Value,
    scale: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    epsilon: float = 1e-5,
    axis: int = 1,
) -> Value:
    """Each channel (along `axis`) of each sequence over its own mean and deviation."""
    rank = len(d.shape(x))
    axis = d.axis(axis, rank)
    factor, shift = (None if v is None else along(v, rank, axis) for v in (scale, offset))
    return normalize(d, x, [n for n in range(1, rank) if n != axis], epsilon, factor, shift)


def group_norm(
    d: Dialect,
    x: Value,
    groups: int,
    scale: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    epsilon: float = 1e-5,
    axis: int = 1,
) -> Value:
    """Each group of channels of each sequence over its own mean and deviation. scale and offset are per channel, or per
    group."""
    shape = list(d.shape(x))
    axis = d.axis(axis, len(shape))
    channels = shape[axis]
    if isinstance(channels, Dim) or groups < 1 or channels % groups:
        raise d.refuse(f"{groups} groups of {channels} channels (x of shape {shape}): expected a multiple")
    if any(v is not None and v.size not in (groups, channels) for v in (scale, offset)):
        raise d.refuse(
            f"{groups} groups of {channels} channels: expected a scale and an offset for each channel or group"
        )
    grouped = d.reshape(x, [*shape[:axis], groups, channels // groups, *shape[axis + 1 :]])
    axes = [n for n in range(1, len(shape) + 1) if n != axis]
    y = d.reshape(normalize(d, grouped, axes, epsilon), shape)
    factor, shift = (None if v is None else np.repeat(v, channels // v.size) for v in (scale, offset))
    return scaled(d, y, factor, shift, axis)


def lp_norm(d: Dialect, x: Value, p: int, axes: Sequence[int]) -> Value:
    """x / norm along the axes, and 0 where the norm is 0. p: 1 or 2."""
    if p not in (1, 2):
        raise d.refuse(f"p = {p}: expected 1 or 2")
    norm = reduce(d, f"l{p}", x, axes)
    safe = d.emit("Where", [d.binary("equal", norm, d.constant(0.0)), d.constant(1.0), norm], {}, norm.dtype)
    return d.binary("div", x, safe)


def bounded_l2_norm(d: Dialect, x: Value, axes: Sequence[int], least: float) -> Value:
    """x / sqrt(max(sum of squares, least)) along the axes."""
    squares = reduce(d, "sum_square", x, axes)
    return d.binary("div", x, d.unary("sqrt", d.binary("max", squares, d.constant(least))))


def moments(d: Dialect, x: Value, axes: Sequence[int]) -> tuple[Value, Value, Value]:
    """(mean, x - mean, variance) along the axes, which stay with size 1."""
    mean = reduce(d, "mean", x, axes)
    centred = d.binary("sub", x, mean)
    return mean, centred, reduce(d, "mean", d.binary("mul", centred, centred), axes)


def mean_variance(d: Dialect, x: Value, axes: Sequence[int], epsilon: float = 1e-9) -> Value:
    """(x - mean) / (deviation + epsilon) along the axes."""
    _, centred, variance = moments(d, x, axes)
    return d.binary("div", centred, d.binary("add", d.unary("sqrt", variance), d.constant(epsilon)))


def local_response(d: Dialect, x: Value, size: int, alpha: float, beta: float, bias: float) -> Value:
    """x (B,C,*S), C known, divided by (bias + alpha * the mean of x^2 over `size` channels around each)^beta."""
    (channels,) = fixed_sizes(d, [d.shape(x)[1]], "compares channels of sizes")
    check_bytes([channels, channels], d.place)
    distance = np.arange(channels) - np.arange(channels)[:, None]
    near = (distance >= -((size - 1) // 2)) & (distance <= size // 2)
    last = [n for n in range(len(d.shape(x))) if n != 1] + [1]
    squares = d.transpose(d.binary("mul", x, x), last)
    sums = d.emit("Dense", [squares, known(near.astype(np.float32))])
    sums = d.transpose(sums, [last.index(n) for n in range(len(last))])
    scale = d.binary("add", d.binary("mul", sums, alpha / size), bias)
    return d.binary("div", x, d.binary("pow", scale, beta))
