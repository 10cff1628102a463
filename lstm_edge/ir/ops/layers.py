"""Dense layers, matrix products, convolution, pooling, normalisation: rows of the table, and the shapes of their outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..activations import ACTIVATIONS
from ..dims import Dim, Size, same
from ..int8 import FINE, INPUT_BITS
from ..spec import MAX_RANK, Call, OpSpec, Result, Shape, Time, integer, integers, number, row, word


def _dense(c: Call) -> Result:
    x = c.rank(0, 1, MAX_RANK)
    c.dtype(0, "float32")
    c.one_of("input_bits", *INPUT_BITS)
    rows = c.expect(1, None, x[-1])[0]
    c.expect(2, rows)
    return [("float32", (*x[:-1], rows))]


def _matmul(c: Call) -> Result:
    a, b = c.rank(0, 2, MAX_RANK), c.rank(1, 2, MAX_RANK)
    c.dtype(0, "float32"), c.dtype(1, "float32")
    m, k = (a[-1], a[-2]) if c.flag("trans_a") else a[-2:]
    k_b, n = (b[-1], b[-2]) if c.flag("trans_b") else b[-2:]
    c.equal(k, k_b, "inner size of a and b", k, f"{k_b} (shapes {a} and {b})")
    return [("float32", (*c.broadcast([a[:-2], b[:-2]]), m, n))]


def spatial_axes(attrs: Mapping[str, Any], rank: int) -> range:
    """The axes of a convolution's or pool's x and y that windows slide along."""
    return range(1, rank - 1) if attrs.get("layout") == "channels_last" else range(2, rank)


def channel_axis(attrs: Mapping[str, Any], rank: int) -> int:
    """The axis of a convolution's or pool's x and y that holds channels."""
    return rank - 1 if attrs.get("layout") == "channels_last" else 1


def _spatial(c: Call) -> tuple[Size, Size, list[Size]]:
    """Batch, channels and spatial sizes of a convolution's or pool's x."""
    x = c.rank(0, 3, 4)
    c.dtype(0, "float32")
    return x[0], x[channel_axis(c.attrs, len(x))], [x[d] for d in spatial_axes(c.attrs, len(x))]


def _laid_out(c: Call, batch: Size, channels: Size, sizes: list[Size]) -> Result:
    shape = [batch, *sizes]
    shape.insert(channel_axis(c.attrs, len(sizes) + 2), channels)
    return [("float32", tuple(shape))]


def _conv_kernel(c: Call, n: int) -> tuple[Size, Size, list[int], int]:
    """First two sizes of w, its kernel and the groups."""
    w = c.rank(1, n + 2)
    c.dtype(1, "float32")
    kernel = [k for k in w[2:] if not isinstance(k, Dim) and k > 0]
    if len(kernel) != n:
        raise c.fail("kernel of input w", "sizes of at least 1", w[2:])
    if c.attrs["groups"] < 1:
        raise c.fail("attribute groups", "at least 1", c.attrs["groups"])
    return w[0], w[1], kernel, c.attrs["groups"]


def _conv(c: Call) -> Result:
    batch, channels, sizes = _spatial(c)
    c.one_of("input_bits", *INPUT_BITS)
    n = len(sizes)
    rows, per_group, kernel, groups = _conv_kernel(c, n)
    c.equal(per_group * groups, channels, "channels of x", f"{per_group} x {groups} groups", channels)
    if rows % groups:
        raise c.fail("rows of w", f"a multiple of {groups} groups", rows)
    c.expect(2, rows)
    strides, dilations, pads = c.each("strides", n, 1), c.each("dilations", n, 1), c.each("pads", 2 * n)
    out = []
    for d, size in enumerate(sizes):
        span = (kernel[d] - 1) * dilations[d] + 1
        out.append(_not_negative((size + pads[d] + pads[n + d] - span) // strides[d] + 1))
    return _laid_out(c, batch, rows, out)


def _conv_transpose(c: Call) -> Result:
    batch, channels, sizes = _spatial(c)
    n = len(sizes)
    rows, per_group, kernel, groups = _conv_kernel(c, n)
    c.equal(rows, channels, "rows of w", f"the {channels} channels of x", rows)
    if rows % groups:
        raise c.fail("channels of x", f"a multiple of {groups} groups", rows)
    c.expect(2, per_group * groups)
    strides, dilations, pads = c.each("strides", n, 1), c.each("dilations", n, 1), c.each("pads", 2 * n)
    extra = c.each("output_padding", n)
    out = []
    for d, size in enumerate(sizes):
        if extra[d] >= max(strides[d], dilations[d]):
            raise c.fail("attribute output_padding", "less than stride or dilation", extra)
        full = (size - 1) * strides[d] + (kernel[d] - 1) * dilations[d] + 1 + extra[d] - pads[d] - pads[n + d]
        out.append(0 if size == 0 else _not_negative(full))
    return _laid_out(c, batch, per_group * groups, out)


def _pool(c: Call) -> Result:
    batch, channels, sizes = _spatial(c)
    n = len(sizes)
    kernel, strides, dilations = c.each("kernel", n, 1), c.each("strides", n, 1), c.each("dilations", n, 1)
    pads = c.each("pads", 2 * n)
    c.flag("count_include_pad")
    out = []
    for d, size in enumerate(sizes):
        span = (kernel[d] - 1) * dilations[d] + 1
        if max(pads[d], pads[n + d]) >= span:
            raise c.fail("attribute pads", f"less than the kernel's span of {span}", pads)
        slack = pads[d] + pads[n + d] - span + strides[d]
        if c.flag("ceil_mode"):  # a window may pass the end of the padding, but must begin before the end of x
            slack = min(slack, pads[d]) + strides[d] - 1
        out.append(_not_negative((size + slack) // strides[d]))
    return _laid_out(c, batch, channels, out)


def _not_negative(size: Size) -> Size:
    return size if isinstance(size, Dim) or size > 0 else 0


def _normalize(c: Call) -> Result:
    x = c.shape(0)
    c.dtype(0, "float32")
    if not c.axes("axes", len(x)):
        raise c.fail("attribute axes", "at least one axis", "none")
    for i in (1, 2):
        if c.has(i):
            c.dtype(i, "float32")
            if len(c.broadcast([x, c.shape(i)])) != len(x) or not _fits(c.shape(i), x):
                raise c.fail(f"shape of input {c.spec.input_name(i)}", f"one that broadcasts to {x}", c.shape(i))
    return [("float32", x)]


def _fits(small: Shape, big: Shape) -> bool:
    """Whether `small` broadcasts to exactly `big`."""
    return len(small) <= len(big) and all(s == 1 or same(s, b) for s, b in zip(small[::-1], big[::-1]))


_ACTIVATION = {"activation": word(ACTIVATIONS, "linear"), "alpha": number(0.0), "beta": number(0.0)}
_BITS = {"input_bits": integer(FINE)}
_LAYOUT = {"layout": word(("channels_first", "channels_last"), "channels_first")}
_WINDOW = {**_LAYOUT, "strides": integers(1), "dilations": integers(1), "pads": integers(0)}
_CONV = {**_WINDOW, "groups": integer(1), **_ACTIVATION}

OPS: dict[str, OpSpec] = {
    "Dense": row("x w bias?", "y", _dense, Time("sums"), _ACTIVATION, _BITS, weights={"w": 1}),
    "MatMul": row("a b", "y", _matmul, Time("multiplies"), trans_a=integer(0), trans_b=integer(0), scale=number(1.0)),
    "Conv": row("x w bias?", "y", _conv, Time("windows"), _CONV, _BITS, weights={"w": 1}),
    # Rows of a ConvTranspose's w are its input channels.
    "ConvTranspose": row(
        "x w bias?",
        "y",
        _conv_transpose,
        Time("overlaps"),
        _CONV,
        weights={"w": 0},
        output_padding=integers(0),
    ),
    "Pool": row(
        "x",
        "y",
        _pool,
        Time("windows"),
        _WINDOW,
        kind=word(("max", "average")),
        kernel=integers(),
        ceil_mode=integer(0),
        count_include_pad=integer(0),
    ),
    "Normalize": row(
        "x scale? bias?",
        "y",
        _normalize,
        Time("along", "normalises over time, which needs the whole sequence"),
        axes=integers(),
        epsilon=number(),
        kind=word(("layer", "rms"), "layer"),
    ),
}
