"""Dense layers, matrix products, convolution, pooling, normalisation in float64 NumPy."""

from __future__ import annotations

import numpy as np

from .. import memory
from ..ir.activations import activate
from ..ir.graph import Node
from ..ir.ops import channel_axis, each, spatial_axes
from .arrays import Array, Attrs, Rule, shape_of


def _dense(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x, w, bias = arrays
    return activate(a["activation"], x @ w.T + (0 if bias is None else bias), a["alpha"], a["beta"])


def _matmul(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x, y, *_ = arrays
    x = np.swapaxes(x, -1, -2) if a["trans_a"] else x
    y = np.swapaxes(y, -1, -2) if a["trans_b"] else y
    return x @ y * a["scale"]


def _channels_first(a: Attrs, x: Array) -> Array:
    return np.moveaxis(x, channel_axis(a, x.ndim), 1)


def _as_laid_out(a: Attrs, y: Array) -> Array:
    return np.moveaxis(y, 1, channel_axis(a, y.ndim))


def _windows(x: Array, kernel: list[int], strides: list[int], dilations: list[int], sizes: tuple[int, ...]) -> Array:
    """Views of x (B,C,*S): (B,C,*sizes,*kernel), window o on axis d begins at o*strides[d]."""
    n = len(kernel)
    steps = [x.strides[2 + d] * strides[d] for d in range(n)] + [x.strides[2 + d] * dilations[d] for d in range(n)]
    shape = (*x.shape[:2], *sizes, *kernel)
    return np.lib.stride_tricks.as_strided(x, shape, (*x.strides[:2], *steps), writeable=False)


def _padded(x: Array, before: list[int], after: list[int], fill: float) -> Array:
    return np.pad(x, [(0, 0), (0, 0), *zip(before, after)], constant_values=fill)


def _conv(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x, w, bias = arrays
    x = _channels_first(a, x)
    n, groups = x.ndim - 2, a["groups"]
    strides, dilations, pads = each(a["strides"], n), each(a["dilations"], n), each(a["pads"], 2 * n)
    x = _padded(x, pads[:n], pads[n:], 0.0)
    kernel = list(w.shape[2:])
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    sizes = tuple(max(0, (s - span) // step + 1) for s, span, step in zip(x.shape[2:], spans, strides))
    parts = []
    for x_g, w_g in zip(np.split(x, groups, axis=1), np.split(w, groups)):
        windows = _windows(x_g, kernel, strides, dilations, sizes)
        memory.foresee(8 * windows.size, "a convolution's windows")
        y = np.tensordot(windows, w_g, ([1, *range(2 + n, 2 + 2 * n)], list(range(1, 2 + n))))  # (B,*sizes,O)
        parts.append(np.moveaxis(y, -1, 1))
    return _as_laid_out(a, _finish(a, np.concatenate(parts, axis=1), bias))


def _finish(a: Attrs, y: Array, bias: Array) -> Array:
    if bias is not None:
        y = y + bias.reshape(-1, *[1] * (y.ndim - 2))
    return activate(a["activation"], y, a["alpha"], a["beta"])


def _conv_transpose(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    """Every x[s] adds w x[s] to the outputs s*stride + k*dilation; then begins and ends are cut off."""
    x, w, bias = arrays
    x = _channels_first(a, x)
    n, groups = x.ndim - 2, a["groups"]
    strides, dilations, pads = each(a["strides"], n), each(a["dilations"], n), each(a["pads"], 2 * n)
    extra = each(a["output_padding"], n)
    sizes, kernel = x.shape[2:], w.shape[2:]
    spans = [(k - 1) * d + 1 + e for k, d, e in zip(kernel, dilations, extra)]
    full = [(s - 1) * step + span if s else 0 for s, step, span in zip(sizes, strides, spans)]
    y: Array = np.zeros((x.shape[0], groups, w.shape[1], *full))
    x_g = x.reshape(x.shape[0], groups, w.shape[0] // groups, *sizes)
    w_g = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    for k in np.ndindex(*kernel) if 0 not in sizes else ():
        first = [k[d] * dilations[d] for d in range(n)]
        at = tuple(slice(first[d], first[d] + (sizes[d] - 1) * strides[d] + 1, strides[d]) for d in range(n))
        y[(..., *at)] += np.einsum("bgc...,gco->bgo...", x_g, w_g[(..., *k)])
    y = y.reshape(x.shape[0], groups * w.shape[1], *full)
    y = y[(..., *(slice(pads[d], max(pads[d], full[d] - pads[n + d])) for d in range(n)))]
    return _as_laid_out(a, _finish(a, y, bias))


def _pool(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    """Windows over the padded x. An average divides by the elements inside x, or inside x and its padding
    (count_include_pad); what ceil_mode lets hang over the end of the padding never counts."""
    x = _channels_first(a, arrays[0])
    n, kernel = x.ndim - 2, a["kernel"]
    strides, dilations, pads = each(a["strides"], n), each(a["dilations"], n), each(a["pads"], 2 * n)
    laid_out = shape_of(node, arrays)
    sizes = tuple(laid_out[d] for d in spatial_axes(a, len(laid_out)))
    reach = [(o - 1) * s + (k - 1) * d + 1 for o, s, k, d in zip(sizes, strides, kernel, dilations)]
    over = [max(0, r - s - pads[d] - pads[n + d]) for d, (r, s) in enumerate(zip(reach, x.shape[2:]))]
    window_axes = tuple(range(2 + n, 2 + 2 * n))

    def windows(values: Array, fill: float) -> Array:
        after = [pads[n + d] + over[d] for d in range(n)]
        return _windows(_padded(values, pads[:n], after, fill), kernel, strides, dilations, sizes)

    if a["kind"] == "max":
        return _as_laid_out(a, windows(x, -np.inf).max(axis=window_axes))
    inside = np.ones((1, 1, *x.shape[2:]))
    if a["count_include_pad"]:
        inside = _padded(inside, pads[:n], pads[n:], 1.0)
        counts = _windows(_padded(inside, [0] * n, over, 0.0), kernel, strides, dilations, sizes)
    else:
        counts = windows(inside, 0.0)
    return _as_laid_out(a, windows(x, 0.0).sum(axis=window_axes) / counts.sum(axis=window_axes))


def _normalize(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x, scale, bias = arrays
    axes = tuple(a["axes"])
    centred = x - x.mean(axes, keepdims=True) if a["kind"] == "layer" else x
    y = centred / np.sqrt((centred**2).mean(axes, keepdims=True) + a["epsilon"])
    return y * (1 if scale is None else scale) + (0 if bias is None else bias)


RULES: dict[str, Rule] = {
    "Dense": _dense,
    "MatMul": _matmul,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Pool": _pool,
    "Normalize": _normalize,
}
