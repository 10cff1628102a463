"""Shape and dtype inference of every row of docs/ops.md, with symbolic sizes.

Where a size is a Dim, comparisons take batch and frames as large: frames - 3 is positive, a slice's end at 40 inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ShapeError
from .dims import Dim, Size, product, value
from .ops import (
    BINARY_ARITHMETIC,
    BINARY_LOGIC,
    GATES,
    MAX_RANK,
    RUN_DTYPES,
    TO_END,
    UNARY_INT,
    each,
    op_spec,
    place,
    read_attrs,
)

if TYPE_CHECKING:
    from .graph import Node

Shape = tuple[Size, ...]
Result = list[tuple[str, Shape]]
NUMBERS = ("float32", "int32")
_LARGE = 2**20


class Typed(Protocol):
    """What inference looks at in a graph.Tensor."""

    @property
    def dtype(self) -> str: ...

    @property
    def shape(self) -> Shape: ...


def infer(node: Node, tensors: Sequence[Typed | None]) -> Result:
    """Dtype and shape of every output of `node`, optional ones included.

    `tensors`: one per input, None where it is absent. ShapeError when the inputs do not fit together,
    UnsupportedModelError for an op, attribute or attribute value that docs/ops.md does not have.
    """
    spec = op_spec(node)
    attrs = read_attrs(node)
    if not spec.min_inputs <= len(tensors) <= spec.max_inputs:
        raise ShapeError(f"{place(node)}: expected {spec.min_inputs} to {spec.max_inputs} inputs, found {len(tensors)}")
    for i in range(spec.min_inputs):
        if tensors[i] is None:
            raise ShapeError(f"{place(node)}: input {spec.input_name(i)} is missing")
    for i, t in enumerate(tensors):
        if t is not None and t.dtype not in RUN_DTYPES and not (i in spec.weights and t.dtype in ("float16", "int8")):
            raise ShapeError(
                f"{place(node)}: input {spec.input_name(i)}: expected dtype float32, int32 or bool, found {t.dtype}"
            )
    result = _RULES[node.op](_Call(node, tensors, attrs))
    for _, shape in result:
        if len(shape) > MAX_RANK:
            raise ShapeError(f"{place(node)}: expected rank at most {MAX_RANK}, found {len(shape)} in {shape}")
    return result


def same(a: Size, b: Size) -> bool:
    """Whether two sizes are equal for every batch and frames. Floors spelt differently are compared by value."""
    if a == b:
        return True
    if not (isinstance(a, Dim) and isinstance(b, Dim)):
        return False
    return all(a.value(n, f) == b.value(n, f) for n in (3, 7) for f in range(997, 1061))


def broadcast(node: Node, shapes: list[Shape]) -> Shape:
    """NumPy's broadcast of `shapes`; ShapeError naming `node` when they do not fit."""
    rank = max(len(s) for s in shapes)
    out: list[Size] = []
    for d in range(-rank, 0):
        size: Size = 1
        for shape in shapes:
            s = shape[d] if -d <= len(shape) else 1
            if s == 1 or same(s, size):
                continue
            if size != 1:
                raise ShapeError(
                    f"{place(node)}: expected shapes that broadcast, found {' and '.join(map(str, shapes))}"
                )
            size = s
        out.append(size)
    return tuple(out)


class _Call:
    """One node with its inputs and attributes; the checks that the rules share."""

    def __init__(self, node: Node, tensors: Sequence[Typed | None], attrs: dict[str, Any]):
        self.node, self.attrs, self.spec = node, attrs, op_spec(node)
        self.tensors: list[Any] = [*tensors, *[None] * (len(self.spec.inputs) - len(tensors))]

    def fail(self, what: str, expected: Any, found: Any) -> ShapeError:
        return ShapeError(f"{place(self.node)}: {what}: expected {expected}, found {found}")

    def shape(self, i: int) -> Shape:
        return self.tensors[i].shape

    def dtype(self, i: int, *allowed: str) -> str:
        """The dtype input i has when computed with (weights count as float32); ShapeError unless in `allowed`."""
        dtype = self.tensors[i].dtype
        dtype = dtype if dtype in RUN_DTYPES else "float32"
        if allowed and dtype not in allowed:
            raise self.fail(f"dtype of input {self.spec.input_name(i)}", " or ".join(allowed), dtype)
        return dtype

    def rank(self, i: int, low: int, high: int | None = None) -> Shape:
        shape, high = self.shape(i), low if high is None else high
        if not low <= len(shape) <= high:
            expected = f"rank {low}" if low == high else f"rank {low} to {high}"
            raise self.fail(f"input {self.spec.input_name(i)}", expected, f"shape {shape}")
        return shape

    def expect(self, i: int, *want: Size | None, dtype: str = "float32") -> Shape:
        """Checks the shape of input i; None in `want` is any size. An absent input passes."""
        if self.tensors[i] is None:
            return ()
        shape = self.shape(i)
        self.dtype(i, dtype)
        if len(shape) != len(want) or not all(w is None or same(w, s) for w, s in zip(want, shape)):
            text = "(" + ", ".join("any" if w is None else str(w) for w in want) + ")"
            raise self.fail(f"shape of input {self.spec.input_name(i)}", text, shape)
        return shape

    def axis(self, axis: int, rank: int, what: str = "axis") -> int:
        if not -rank <= axis < rank:
            raise self.fail(f"attribute {what}", f"an axis of {rank}", axis)
        return axis % rank

    def axes(self, key: str, rank: int) -> list[int]:
        axes = [self.axis(a, rank, key) for a in self.attrs[key]]
        if len(set(axes)) != len(axes):
            raise self.fail(f"attribute {key}", "each axis once", self.attrs[key])
        return axes

    def each(self, key: str, count: int, low: int = 0) -> list[int]:
        """A per-axis attribute: `count` values, none below `low`."""
        values = each(self.attrs[key], count)
        if len(values) != count or any(v < low for v in values):
            raise self.fail(f"attribute {key}", f"{count} values of at least {low}", values)
        return values

    def flag(self, key: str) -> bool:
        if self.attrs[key] not in (0, 1):
            raise self.fail(f"attribute {key}", "0 or 1", self.attrs[key])
        return bool(self.attrs[key])


# ---- recurrences -----------------------------------------------------------------------------------------------------


def _recurrent(c: _Call, projected: Size | None = None) -> tuple[Size, Size, int, int, Size]:
    """Checks what LSTM, GRU and RNN share. Returns B, T, D, H, P."""
    gates = len(GATES[c.node.op])
    x = c.rank(0, 3)
    c.dtype(0, "float32")
    batch, frames = (x[1], x[0]) if c.flag("time_major") else (x[0], x[1])
    directions = 2 if c.attrs["direction"] == "bidirectional" else 1
    rows = c.rank(1, 3)[1]
    if isinstance(rows, Dim) or rows % gates or rows == 0:
        raise c.fail("rows of w_ih", f"a multiple of {gates}", rows)
    hidden = rows // gates
    fed_back = hidden if projected is None else projected
    c.expect(1, directions, rows, x[2])
    c.expect(2, directions, rows, fed_back)
    per_direction = len(c.spec.attrs["activations"].default.values)
    activations = each(c.attrs["activations"], directions)
    if len(activations) != per_direction * directions:
        raise c.fail("attribute activations", f"{per_direction * directions} names", activations)
    for key in ("activation_alpha", "activation_beta"):
        if len(each(c.attrs[key], len(activations))) != len(activations):
            raise c.fail(f"attribute {key}", f"{len(activations)} values", c.attrs[key])
    for key in ("clip", "cell_clip", "proj_clip"):
        if c.attrs.get(key, 0) < 0:
            raise c.fail(f"attribute {key}", "0 or more", c.attrs[key])
    lengths = c.spec.index("lengths")
    c.expect(lengths, batch, dtype="int32")
    c.expect(lengths + 1, *((frames, batch) if c.attrs["time_major"] else (batch, frames)), dtype="bool")
    return batch, frames, directions, hidden, fed_back


def _y(c: _Call, batch: Size, frames: Size, width: Size) -> tuple[str, Shape]:
    return "float32", (frames, batch, width) if c.attrs["time_major"] else (batch, frames, width)


def _lstm(c: _Call) -> Result:
    projected = c.rank(9, 3)[1] if c.tensors[9] is not None else None
    b, t, d, h, p = _recurrent(c, projected)
    c.expect(3, d, 4 * h)
    c.expect(4, d, b, p)
    c.expect(5, d, b, h)
    c.expect(9, d, p, h)
    if c.tensors[8] is not None:
        rows = c.expect(8, d, None, h)[1]
        if rows not in (3, 4, 3 * h, 4 * h):
            raise c.fail("rows of input peephole", f"3, 4, {3 * h} or {4 * h}", rows)
    return [_y(c, b, t, d * p), ("float32", (d, b, p)), ("float32", (d, b, h))]


def _gru(c: _Call) -> Result:
    b, t, d, h, _ = _recurrent(c)
    c.flag("reset_after")
    c.expect(3, d, 3 * h)
    c.expect(4, d, 3 * h)
    c.expect(5, d, b, h)
    return [_y(c, b, t, d * h), ("float32", (d, b, h))]


def _rnn(c: _Call) -> Result:
    b, t, d, h, _ = _recurrent(c)
    c.expect(3, d, h)
    c.expect(4, d, b, h)
    return [_y(c, b, t, d * h), ("float32", (d, b, h))]


# ---- dense and convolution -------------------------------------------------------------------------------------------


def _dense(c: _Call) -> Result:
    x = c.rank(0, 1, MAX_RANK)
    c.dtype(0, "float32")
    rows = c.expect(1, None, x[-1])[0]
    c.expect(2, rows)
    return [("float32", (*x[:-1], rows))]


def _matmul(c: _Call) -> Result:
    a, b = c.rank(0, 2, MAX_RANK), c.rank(1, 2, MAX_RANK)
    c.dtype(0, "float32"), c.dtype(1, "float32")
    m, k = (a[-1], a[-2]) if c.flag("trans_a") else a[-2:]
    k_b, n = (b[-1], b[-2]) if c.flag("trans_b") else b[-2:]
    if not same(k, k_b):
        raise c.fail("inner size of a and b", k, f"{k_b} (shapes {a} and {b})")
    return [("float32", (*broadcast(c.node, [a[:-2], b[:-2]]), m, n))]


def _spatial(c: _Call) -> tuple[Size, Size, list[Size]]:
    """Batch, channels and spatial sizes of a convolution's or pool's x."""
    x = c.rank(0, 3, 4)
    c.dtype(0, "float32")
    if c.attrs["layout"] == "channels_last":
        return x[0], x[-1], list(x[1:-1])
    return x[0], x[1], list(x[2:])


def _laid_out(c: _Call, batch: Size, channels: Size, sizes: list[Size]) -> Result:
    if c.attrs["layout"] == "channels_last":
        return [("float32", (batch, *sizes, channels))]
    return [("float32", (batch, channels, *sizes))]


def _conv_kernel(c: _Call, n: int) -> tuple[Size, Size, list[int], int]:
    """First two sizes of w, its kernel and the groups."""
    w = c.rank(1, n + 2)
    c.dtype(1, "float32")
    kernel = [k for k in w[2:] if not isinstance(k, Dim) and k > 0]
    if len(kernel) != n:
        raise c.fail("kernel of input w", "sizes of at least 1", w[2:])
    if c.attrs["groups"] < 1:
        raise c.fail("attribute groups", "at least 1", c.attrs["groups"])
    return w[0], w[1], kernel, c.attrs["groups"]


def _conv(c: _Call) -> Result:
    batch, channels, sizes = _spatial(c)
    n = len(sizes)
    rows, per_group, kernel, groups = _conv_kernel(c, n)
    if not same(per_group * groups, channels):
        raise c.fail("channels of x", f"{per_group} x {groups} groups", channels)
    if rows % groups:
        raise c.fail("rows of w", f"a multiple of {groups} groups", rows)
    c.expect(2, rows)
    strides, dilations, pads = c.each("strides", n, 1), c.each("dilations", n, 1), c.each("pads", 2 * n)
    out = []
    for d, size in enumerate(sizes):
        span = (kernel[d] - 1) * dilations[d] + 1
        out.append(_not_negative((size + pads[d] + pads[n + d] - span) // strides[d] + 1))
    return _laid_out(c, batch, rows, out)


def _conv_transpose(c: _Call) -> Result:
    batch, channels, sizes = _spatial(c)
    n = len(sizes)
    rows, per_group, kernel, groups = _conv_kernel(c, n)
    if not same(rows, channels):
        raise c.fail("rows of w", f"the {channels} channels of x", rows)
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


def _pool(c: _Call) -> Result:
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


def _normalize(c: _Call) -> Result:
    x = c.shape(0)
    c.dtype(0, "float32")
    if not c.axes("axes", len(x)):
        raise c.fail("attribute axes", "at least one axis", "none")
    for i in (1, 2):
        if c.tensors[i] is not None:
            c.dtype(i, "float32")
            if len(broadcast(c.node, [x, c.shape(i)])) != len(x) or not _fits(c.shape(i), x):
                raise c.fail(f"shape of input {c.spec.input_name(i)}", f"one that broadcasts to {x}", c.shape(i))
    return [("float32", x)]


def _fits(small: Shape, big: Shape) -> bool:
    """Whether `small` broadcasts to exactly `big`."""
    return len(small) <= len(big) and all(s == 1 or same(s, b) for s, b in zip(small[::-1], big[::-1]))


# ---- elementwise -----------------------------------------------------------------------------------------------------


def _unary(c: _Call) -> Result:
    kind = c.attrs["kind"]
    dtype = c.dtype(0, *(("bool",) if kind == "not" else NUMBERS if kind in UNARY_INT else ("float32",)))
    return [("bool" if kind == "is_nan" else dtype, c.shape(0))]


def _binary(c: _Call) -> Result:
    kind = c.attrs["kind"]
    if kind in BINARY_LOGIC:
        allowed: tuple[str, ...] = ("bool",)
    elif kind in ("equal", "not_equal"):
        allowed = RUN_DTYPES
    else:
        allowed = ("float32",) if kind == "prelu" else NUMBERS
    dtype = c.dtype(0, *allowed)
    c.dtype(1, dtype)
    return [(dtype if kind in BINARY_ARITHMETIC else "bool", broadcast(c.node, [c.shape(0), c.shape(1)]))]


def _where(c: _Call) -> Result:
    c.dtype(0, "bool")
    c.dtype(2, c.dtype(1))
    return [(c.dtype(1), broadcast(c.node, [c.shape(0), c.shape(1), c.shape(2)]))]


def _cast(c: _Call) -> Result:
    return [(c.attrs["to"], c.shape(0))]


# ---- over axes -------------------------------------------------------------------------------------------------------


def _without(shape: Shape, axes: list[int], keepdims: bool) -> Shape:
    return tuple(1 if d in axes else s for d, s in enumerate(shape) if keepdims or d not in axes)


def _reduce(c: _Call) -> Result:
    kind, x = c.attrs["kind"], c.shape(0)
    on_integers = ("sum", "prod", "mean", "l1", "sum_square")
    allowed = RUN_DTYPES if kind in ("max", "min") else NUMBERS if kind in on_integers else ("float32",)
    axes = c.axes("axes", len(x)) or list(range(len(x)))
    return [(c.dtype(0, *allowed), _without(x, axes, c.flag("keepdims")))]


def _arg_reduce(c: _Call) -> Result:
    c.dtype(0, *NUMBERS)
    c.flag("select_last")
    x = c.shape(0)
    return [("int32", _without(x, [c.axis(c.attrs["axis"], len(x))], c.flag("keepdims")))]


def _softmax(c: _Call) -> Result:
    c.dtype(0, "float32"), c.flag("log"), c.axis(c.attrs["axis"], len(c.shape(0)))
    return [("float32", c.shape(0))]


def _cum_sum(c: _Call) -> Result:
    c.flag("exclusive"), c.flag("reverse"), c.axis(c.attrs["axis"], len(c.shape(0)))
    return [(c.dtype(0, *NUMBERS), c.shape(0))]


def _top_k(c: _Call) -> Result:
    dtype, x, k = c.dtype(0, *NUMBERS), list(c.shape(0)), c.attrs["k"]
    axis = c.axis(c.attrs["axis"], len(x))
    c.flag("largest")
    if k < 0 or _at_large(x[axis]) < k:
        raise c.fail("attribute k", f"0 to the axis's {x[axis]}", k)
    x[axis] = k
    return [(dtype, tuple(x)), ("int32", tuple(x))]


# ---- movement --------------------------------------------------------------------------------------------------------


def _spec_dims(c: _Call) -> list[Size]:
    """The sizes that a dims spec asks for; -1 stays."""
    rank = len(c.attrs["shape"])
    sources, axes = each(c.attrs["from_input"], rank), each(c.attrs["from_axis"], rank)
    if len(sources) != rank or len(axes) != rank:
        raise c.fail("attributes from_input, from_axis", f"{rank} values, as shape has", f"{len(sources)}, {len(axes)}")
    dims: list[Size] = []
    for size, source, axis in zip(c.attrs["shape"], sources, axes):
        if source < 0:
            dims.append(size)
            continue
        if source >= len(c.tensors) or c.tensors[source] is None:
            raise c.fail("attribute from_input", f"a number below the {len(c.tensors)} inputs", source)
        if size < 0:
            raise c.fail("attribute shape", "0 or more where from_input is given", size)
        shape = c.shape(source)
        dims.append(size * shape[c.axis(axis, len(shape), "from_axis")])
    return dims


def _reshape(c: _Call) -> Result:
    dims = _spec_dims(c)
    x, dtype = c.shape(0), c.dtype(0)
    left = [d for d, s in enumerate(dims) if s == -1]
    if len(left) > 1 or any(_at_large(s) < -1 for s in dims):
        raise c.fail("attribute shape", "sizes, and -1 once at most", dims)
    if left:
        dims[left[0]] = 1
        dims[left[0]] = _quotient(c, product(x), product(dims))
    if not same(product(x), product(dims)) and product(x) != 0:
        raise c.fail(
            "elements of the output", f"{product(x)} as in x of shape {x}", f"{product(dims)} in {tuple(dims)}"
        )
    return [(dtype, tuple(dims))]


def _quotient(c: _Call, whole: Size, part: Size) -> Size:
    """whole / part without remainder; 0 / 0 is 0."""
    if part == 0 or whole == 0:
        return 0
    quotient: Size | None = None
    if isinstance(whole, Dim):
        try:
            quotient = whole // part
        except ValueError:
            pass
    elif not isinstance(part, Dim):
        quotient = whole // part
    if quotient is None or not same(quotient * part, whole):
        raise c.fail("elements of x", f"a multiple of {part}", whole)
    return quotient


def _expand(c: _Call) -> Result:
    dims = tuple(_spec_dims(c))
    if any(_at_large(s) < 0 for s in dims):
        raise c.fail("attribute shape", "sizes of 0 or more", dims)
    return [(c.dtype(0), broadcast(c.node, [c.shape(0), dims]))]


def _fill(c: _Call) -> Result:
    dims = tuple(_spec_dims(c))
    if any(_at_large(s) < 0 for s in dims):
        raise c.fail("attribute shape", "sizes of 0 or more", dims)
    return [(c.attrs["dtype"], dims)]


def _transpose(c: _Call) -> Result:
    x = c.shape(0)
    if sorted(c.attrs["perm"]) != list(range(len(x))):
        raise c.fail("attribute perm", f"a permutation of {len(x)} axes", c.attrs["perm"])
    return [(c.dtype(0), tuple(x[p] for p in c.attrs["perm"]))]


def _concat(c: _Call) -> Result:
    given = [i for i, t in enumerate(c.tensors) if t is not None]
    if not given:
        raise c.fail("inputs", "at least one", "none")
    first, dtype = c.shape(given[0]), c.dtype(given[0])
    axis = c.axis(c.attrs["axis"], len(first))
    total: Size = 0
    for i in given:
        c.dtype(i, dtype)
        shape = c.shape(i)
        if len(shape) != len(first) or not all(same(a, b) for d, (a, b) in enumerate(zip(first, shape)) if d != axis):
            raise c.fail(f"shape of input {i}", f"{first} but for axis {axis}", shape)
        total = total + shape[axis]
    return [(dtype, (*first[:axis], total, *first[axis + 1 :]))]


def slice_size(size: Size, start: int, end: int, step: int) -> Size:
    """How many elements x[start:end:step] has, on an axis of `size`."""
    low, high = (0, size) if step > 0 else (-1, size - 1)
    first, last = _bound(start, size, low, high), _bound(end, size, low, high)
    span = last - first if step > 0 else first - last
    if _at_large(span) <= 0:
        return 0
    return (span + abs(step) - 1) // abs(step)


def _bound(bound: int, size: Size, low: Size, high: Size) -> Size:
    """A slice bound counted from the start and clamped, as NumPy does."""
    if abs(bound) >= TO_END:
        return high if bound > 0 else low
    place_: Size = bound if bound >= 0 else size + bound
    if _at_large(place_) < _at_large(low):
        return low
    return high if _at_large(place_) > _at_large(high) else place_


def _slice(c: _Call) -> Result:
    x = list(c.shape(0))
    axes = c.axes("axes", len(x))
    starts, ends, steps = c.attrs["starts"], c.attrs["ends"], each(c.attrs["steps"], len(axes))
    if not len(starts) == len(ends) == len(steps) == len(axes):
        raise c.fail(
            "attributes starts, ends, steps", f"{len(axes)} values each", f"{len(starts)}, {len(ends)}, {len(steps)}"
        )
    if 0 in steps:
        raise c.fail("attribute steps", "no zero", steps)
    for axis, start, end, step in zip(axes, starts, ends, steps):
        x[axis] = slice_size(x[axis], start, end, step)
    return [(c.dtype(0), tuple(x))]


def _pad(c: _Call) -> Result:
    x = c.shape(0)
    pads = c.each("pads", 2 * len(x))
    for d, size in enumerate(x):
        before, after = pads[d], pads[len(x) + d]
        most = {"constant": None, "reflect": _at_large(size) - 1, "edge": None if size != 0 else 0}[c.attrs["mode"]]
        if most is not None and max(before, after) > max(most, 0):
            raise c.fail(
                f"attribute pads with mode {c.attrs['mode']}", f"at most {most} on axis {d} of {x}", (before, after)
            )
    return [(c.dtype(0), tuple(s + pads[d] + pads[len(x) + d] for d, s in enumerate(x)))]


def _tile(c: _Call) -> Result:
    x = c.shape(0)
    return [(c.dtype(0), tuple(s * r for s, r in zip(x, c.each("repeats", len(x)))))]


def _gather(c: _Call) -> Result:
    data, indices = c.rank(0, 1, MAX_RANK), c.shape(1)
    c.dtype(1, "int32")
    axis = c.axis(c.attrs["axis"], len(data))
    if c.tensors[0].dtype not in RUN_DTYPES and axis:
        raise c.fail("attribute axis", f"0 where data is a {c.tensors[0].dtype} weight", axis)
    return [(c.dtype(0), (*data[:axis], *indices, *data[axis + 1 :]))]


def _along(c: _Call, i: int) -> Shape:
    """Checks that input i (indices) has the rank of data and, but for the axis, no larger sizes."""
    data, indices = c.shape(0), c.rank(i, len(c.shape(0)))
    c.dtype(i, "int32")
    axis = c.axis(c.attrs["axis"], len(data))
    if any(_at_large(s) > _at_large(m) for d, (s, m) in enumerate(zip(indices, data)) if d != axis):
        raise c.fail("shape of input indices", f"sizes within {data} but for axis {axis}", indices)
    return indices


def _gather_elements(c: _Call) -> Result:
    return [(c.dtype(0), _along(c, 1))]


def _scatter_elements(c: _Call) -> Result:
    indices = _along(c, 1)
    dtype = c.dtype(0, *(NUMBERS if c.attrs["reduction"] == "add" else ()))
    c.expect(2, *indices, dtype=dtype)
    return [(dtype, c.shape(0))]


def _reverse_sequence(c: _Call) -> Result:
    x = c.shape(0)
    batch, time = c.axis(c.attrs["batch_axis"], len(x), "batch_axis"), c.axis(c.attrs["time_axis"], len(x), "time_axis")
    if batch == time:
        raise c.fail("attributes batch_axis and time_axis", "two axes", f"{batch} twice")
    c.expect(1, x[batch], dtype="int32")
    return [(c.dtype(0), x)]


def _resize(c: _Call) -> Result:
    x = c.shape(0)
    return [(c.dtype(0), tuple(s * r for s, r in zip(x, c.each("scales", len(x), 1))))]


# ---- sizes -----------------------------------------------------------------------------------------------------------


def _at_large(size: Size) -> int:
    return value(size, _LARGE, _LARGE)


def _not_negative(size: Size) -> Size:
    return size if isinstance(size, Dim) or size > 0 else 0


_RULES: dict[str, Callable[[_Call], Result]] = {
    "LSTM": _lstm,
    "GRU": _gru,
    "RNN": _rnn,
    "Dense": _dense,
    "MatMul": _matmul,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Pool": _pool,
    "Normalize": _normalize,
    "Unary": _unary,
    "Binary": _binary,
    "Where": _where,
    "Cast": _cast,
    "Reduce": _reduce,
    "ArgReduce": _arg_reduce,
    "Softmax": _softmax,
    "CumSum": _cum_sum,
    "TopK": _top_k,
    "Reshape": _reshape,
    "Expand": _expand,
    "Fill": _fill,
    "Transpose": _transpose,
    "Concat": _concat,
    "Slice": _slice,
    "Pad": _pad,
    "Tile": _tile,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "ScatterElements": _scatter_elements,
    "ReverseSequence": _reverse_sequence,
    "Resize": _resize,
}
