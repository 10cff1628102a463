"""Convolutions and pooling over one or two axes, channels first or last. Padding words are worked out here.

`padding` is a list of numbers, all begins and then all ends (negative ones cut), or a word: "valid", "same" (what is odd
goes to the end), "same_lower" (to the beginning) or "causal". x may lack the batch axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union

import numpy as np

from ...ir.dims import Dim, Size
from ...options import as_typed
from . import movement
from .builder import Dialect
from .reshaping import exact_quotient
from .value import Value, known

Padding = Union[str, Sequence[int]]
WORDS = ("valid", "same", "same_lower", "causal")


# ---- padding --------------------------------------------------------------------------------------------------------


def pads_of(
    d: Dialect,
    padding: Padding,
    sizes: Sequence[Size],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[int]:
    """The pads of a window over axes of these sizes: all begins, then all ends."""
    n = len(sizes)
    if any(stride < 1 for stride in strides):
        raise d.refuse(f"strides {list(strides)}: expected 1 or more")
    if not isinstance(padding, str):
        if len(padding) != 2 * n:
            raise d.refuse(f"pads {list(padding)} of {n} axes: expected two each")
        return [int(p) for p in padding]
    if padding not in WORDS:
        raise d.refuse(f"padding {padding!r}: expected numbers or one of {', '.join(WORDS)}")
    if padding == "valid":
        return [0] * (2 * n)
    if padding == "causal":
        return [(k - 1) * dilation for k, dilation in zip(kernel, dilations)] + [0] * n
    pairs = [
        same_pads(d, size, (k - 1) * dilation + 1, stride, padding == "same_lower")
        for size, k, stride, dilation in zip(sizes, kernel, strides, dilations)
    ]
    return [begin for begin, _ in pairs] + [end for _, end in pairs]


def same_pads(d: Dialect, size: Size, extent: int, stride: int, lower: bool = False) -> tuple[int, int]:
    """(begin, end) of an axis under a window of `extent` elements so that there are size / stride windows, rounded up.

    Where the size is open, its remainders by the stride are tried: the beginning must be the same for all, and the most
    padding at the end must not add a window.
    """
    rest = size % stride
    if not isinstance(rest, Dim):
        return _halves(max(extent - (rest or stride), 0), lower)
    # Of the remainders from 4 on only the last can differ: where the beginning is the same for 1 and 3, windows are of at most 2.
    lengths = [4 * extent * stride + rest for rest in sorted({*range(min(stride, 4)), stride - 1})]
    pairs = [_halves(max(extent - (n % stride or stride), 0), lower) for n in lengths]
    begin, end = pairs[0][0], max(end for _, end in pairs)
    if any(
        b != begin or (n + begin + end - extent) // stride + 1 != -(-n // stride) for n, (b, _) in zip(lengths, pairs)
    ):
        raise d.refuse(
            f"SAME padding with stride {stride} on an axis of {size} depends on that size; fix it ({as_typed('shapes')})"
        )
    return begin, end


def _halves(total: int, lower: bool) -> tuple[int, int]:
    small, large = total // 2, total - total // 2
    return (large, small) if lower else (small, large)


def transposed_pads(totals: Sequence[int], extra: Sequence[int], share: str) -> tuple[list[int], list[int]]:
    """(pads, output_padding) of a transposed convolution that takes `totals` elements away from each axis, where a
    negative number adds them. share: the odd one goes to the "end" or the "begin", or "all_end" has all of them."""
    begins, ends, added = [], [], []
    for total, more in zip(totals, extra):
        taken = max(total, 0)
        begin = {"end": taken // 2, "begin": taken - taken // 2, "all_end": 0}[share]
        begins.append(begin)
        ends.append(taken - begin)
        added.append(more + max(-total, 0))
    return begins + ends, added


def taken_away(
    d: Dialect,
    sizes: Sequence[Size],
    wanted: Sequence[Size],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    extra: Sequence[int],
) -> list[int]:
    """How many elements a transposed convolution with this output_padding makes beyond the wanted ones, axis by axis."""
    totals = []
    for size, want, k, stride, dilation, more in zip(sizes, wanted, kernel, strides, dilations, extra):
        total = (size - 1) * stride + (k - 1) * dilation + 1 + more - want
        if isinstance(total, Dim):
            raise d.refuse(
                f"an output of {list(wanted)} from {list(sizes)} depends on a size left open; fix it ({as_typed('shapes')})"
            )
        totals.append(int(total))
    return totals


# ---- convolution ----------------------------------------------------------------------------------------------------


def conv(
    d: Dialect,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    *,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    padding: Padding = "valid",
    groups: int = 1,
    channels_last: bool = False,
    activation: Mapping[str, Any] | None = None,
) -> Value:
    """weight (O, C / groups, *K), bias (O,). activation: the attributes activation, alpha and beta of Conv."""
    kernel = _kernel(d, weight)
    n = len(kernel)
    strides, dilations = list(strides or [1] * n), list(dilations or [1] * n)

    def emit(x: Value) -> Value:
        x, pads = _padded(d, x, padding, (kernel, strides, dilations), channels_last)
        attrs = {"strides": strides, "dilations": dilations, "pads": pads, "groups": groups, **(activation or {})}
        return _windowed(d, "Conv", [x, weight, bias], attrs, kernel, channels_last)

    return _batched(d, x, n, emit)


def conv_transpose(
    d: Dialect,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    *,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    output_padding: Sequence[int] | None = None,
    groups: int = 1,
    channels_last: bool = False,
    activation: Mapping[str, Any] | None = None,
) -> Value:
    """weight (C, O / groups, *K), bias (O,). `pads` take elements of the result away, `output_padding` adds at its end."""
    kernel = _kernel(d, weight)
    n = len(kernel)
    pads = list(pads or [0] * (2 * n))
    if any(p < 0 for p in pads):
        raise d.refuse(f"pads {pads}: expected none negative")
    attrs = {
        "strides": list(strides or [1] * n),
        "dilations": list(dilations or [1] * n),
        "pads": pads,
        "groups": groups,
        "output_padding": list(output_padding or [0] * n),
        **(activation or {}),
    }
    return _batched(d, x, n, lambda x: _windowed(d, "ConvTranspose", [x, weight, bias], attrs, kernel, channels_last))


def kernel_first(kernel: np.ndarray) -> np.ndarray:
    """A kernel (*K, in, out), as TensorFlow and Keras keep it, as (out, in, *K)."""
    return kernel.transpose(kernel.ndim - 1, kernel.ndim - 2, *range(kernel.ndim - 2))


def _kernel(d: Dialect, weight: Value) -> list[int]:
    """The window's sizes, of which there are one or two."""
    shape = d.shape(weight)
    if not 3 <= len(shape) <= 4:
        raise d.refuse(f"a convolution over {len(shape) - 2} axes (weight of shape {list(shape)}): expected 1 or 2")
    return movement.fixed_sizes(d, shape[2:], "a window of sizes")


def _windowed(
    d: Dialect, op: str, inputs: Sequence[Value | None], attrs: dict[str, Any], kernel: list[int], channels_last: bool
) -> Value:
    """The op over x, the first of its inputs."""
    if not channels_last:
        return d.emit(op, inputs, attrs)
    attrs["layout"] = "channels_last"
    x, weight = inputs[0], inputs[1] if len(inputs) > 1 else None
    assert x is not None
    added = [*attrs["pads"][::2], *attrs.get("output_padding", [])[:1]]
    one_row = len(kernel) == 2 and kernel[0] == d.shape(x)[1] == 1 and not any(added)
    if not one_row or weight is not None and not weight.is_known:
        return d.emit(op, inputs, attrs)
    return _in_one_row(d, op, x, weight, inputs[2:], attrs)


def _in_one_row(
    d: Dialect, op: str, x: Value, weight: Value | None, rest: Sequence[Value | None], attrs: dict[str, Any]
) -> Value:
    """A window of one row over one row of pixels, as frames lifted to a picture have it: one-dimensional."""
    batch, _, *line = d.shape(x)
    flat = {k: v[1::2] if k == "pads" else v[1:] if isinstance(v, list) else v for k, v in attrs.items()}
    kernel = [] if weight is None else [known(weight.data[:, :, 0])]
    y = d.emit(op, [d.reshape(x, [batch, *line]), *kernel, *rest], flat)
    return d.reshape(y, [batch, 1, *d.shape(y)[1:]])


def _batched(d: Dialect, x: Value, n: int, emit: Callable[[Value], Value]) -> Value:
    """emit(x) over n spatial axes, with a batch axis added and taken away again where x has none."""
    shape = d.shape(x)
    if len(shape) == n + 2:
        return emit(x)
    if len(shape) != n + 1:
        raise d.refuse(f"a window over {n} axes of a tensor of shape {list(shape)}: expected {n + 2} axes")
    y = emit(movement.unsqueeze(d, x, [0]))
    return d.reshape(y, d.shape(y)[1:])


def _padded(
    d: Dialect, x: Value, padding: Padding, window: tuple[list[int], list[int], list[int]], channels_last: bool
) -> tuple[Value, list[int]]:
    """x and the pads of a window (kernel, strides, dilations) over it; negative pads are cut off x."""
    n, first = len(window[0]), 1 if channels_last else 2
    pads = pads_of(d, padding, d.shape(x)[first : first + n], *window)
    cuts = [min(p, 0) for p in pads]
    if any(cuts):
        rank = n + 2
        begins, ends = ([0] * first + cuts[at : at + n] + [0] * (rank - first - n) for at in (0, n))
        x = movement.pad(d, x, begins, ends)
    return x, [max(p, 0) for p in pads]


# ---- pooling --------------------------------------------------------------------------------------------------------


def pool(
    d: Dialect,
    x: Value,
    kind: str,
    kernel: Sequence[int],
    *,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    padding: Padding = "valid",
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    channels_last: bool = False,
) -> Value:
    """kind: max or average. Integers are pooled as numbers and come back as integers."""
    n = len(kernel)
    if not 1 <= n <= 2:
        raise d.refuse(f"pooling over {n} axes: expected 1 or 2")
    kernel, strides, dilations = list(kernel), list(strides or [1] * n), list(dilations or [1] * n)

    def emit(x: Value) -> Value:
        x, pads = _padded(d, x, padding, (kernel, strides, dilations), channels_last)
        attrs = {
            "kind": kind,
            "kernel": kernel,
            "strides": strides,
            "dilations": dilations,
            "pads": pads,
            "ceil_mode": int(ceil_mode),
            "count_include_pad": int(count_include_pad),
        }
        pooled = d.cast(_windowed(d, "Pool", [d.cast(x, "float32")], attrs, kernel, channels_last), d.run_dtype(x))
        return Value(x.dtype, pooled.array, pooled.tensor)

    return _batched(d, x, n, emit)


def lp_pool(
    d: Dialect,
    x: Value,
    p: int,
    kernel: Sequence[int],
    *,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    padding: Padding = "valid",
) -> Value:
    """(sum of |x|^p over each window)^(1/p): x (B,C,*S) with C known, padded with zeros."""
    (channels,) = movement.fixed_sizes(d, [d.shape(x)[1]], "pools channels of sizes")
    size = d.unary("abs", x)
    powers = size if p == 1 else d.binary("pow", size, float(p))
    ones = known(np.ones((channels, 1, *kernel), np.float32))
    sums = conv(d, powers, ones, strides=strides, dilations=dilations, padding=padding, groups=channels)
    return sums if p == 1 else d.binary("pow", sums, 1.0 / p)


def col2im(
    d: Dialect,
    x: Value,
    sizes: Sequence[int],
    kernel: Sequence[int],
    *,
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int],
) -> Value:
    """Windows (B, C * prod(kernel), windows) added up where they lie in a picture (B, C, *sizes)."""
    n, block = len(kernel), math.prod(kernel)
    counts = [
        (size + pads[at] + pads[n + at] - dilations[at] * (kernel[at] - 1) - 1) // strides[at] + 1
        for at, size in enumerate(sizes)
    ]
    batch, rows, _ = d.shape(x)
    (rows,) = movement.fixed_sizes(d, [rows], "windows of sizes")
    places = np.eye(block, dtype=np.float32).reshape(block, 1, *kernel)
    weight = known(np.tile(places, (rows // block, *[1] * (n + 1))))
    extra = [
        size + pads[at] + pads[n + at] - (counts[at] - 1) * strides[at] - dilations[at] * (kernel[at] - 1) - 1
        for at, size in enumerate(sizes)
    ]
    windows = d.reshape(x, [batch, rows, *counts])
    parts = [
        conv_transpose(
            d,
            d.slice_axis(windows, 1, at, at + block),
            known(weight.data[at : at + block]),
            strides=strides,
            dilations=dilations,
            pads=pads,
            output_padding=extra,
        )
        for at in range(0, rows, block)
    ]
    return movement.concat(d, parts, 1)


def global_pool(
    d: Dialect, x: Value, kind: str, n: int, *, channels_last: bool = False, keepdims: bool = True
) -> Value:
    """One element of all along n spatial axes. kind: of Reduce (mean, max, l1, l2)."""
    first = len(d.shape(x)) - n - channels_last
    return d.emit("Reduce", [x], {"kind": kind, "axes": list(range(first, first + n)), "keepdims": int(keepdims)})


def adaptive_pool(d: Dialect, x: Value, kind: str, wanted: Sequence[Size | None], channels_last: bool = False) -> Value:
    """Pooling to the wanted sizes (None: as it is), from sizes that are multiples of them, or to 1. kind: max, average."""
    n = len(wanted)
    first = len(d.shape(x)) - n - channels_last
    sizes = d.shape(x)[first : first + n]
    goal = [s if w is None else w for s, w in zip(sizes, wanted)]
    if all(w == 1 for w in goal):
        return global_pool(d, x, "mean" if kind == "average" else kind, n, channels_last=channels_last)
    kernel = [exact_quotient(s, w) for s, w in zip(sizes, goal)]
    whole = [k for k in kernel if isinstance(k, int)]
    if len(whole) < n:
        raise d.refuse(f"adaptive pooling from {list(sizes)} to {goal}: the windows are not of one size")
    return pool(d, x, kind, whole, strides=whole, channels_last=channels_last)
