"""Movement: rows of the table, and the shapes of their outputs."""

from __future__ import annotations

from ..dims import Dim, Size, product, quotient
from ..spec import (
    MAX_RANK,
    NUMBERS,
    RUN_DTYPES,
    Attr,
    Call,
    OpSpec,
    Result,
    Shape,
    Time,
    at_large,
    each,
    integer,
    integers,
    number,
    row,
    word,
)

TO_END = 2**31 - 1  # a Slice's bound at or beyond it means to the end, whatever the size; at or below -TO_END, before x


def _spec_dims(c: Call) -> list[Size]:
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
        if source >= len(c.tensors) or not c.has(source):
            raise c.fail("attribute from_input", f"a number below the {len(c.tensors)} inputs", source)
        if size < 0:
            raise c.fail("attribute shape", "0 or more where from_input is given", size)
        shape = c.shape(source)
        dims.append(size * shape[c.axis(axis, len(shape), "from_axis")])
    return dims


def _reshape(c: Call) -> Result:
    dims = _spec_dims(c)
    x, dtype = c.shape(0), c.dtype(0)
    left = [d for d, s in enumerate(dims) if s == -1]
    if len(left) > 1 or any(at_large(s) < -1 for s in dims):
        raise c.fail("attribute shape", "sizes, and -1 once at most", dims)
    if left:
        dims[left[0]] = 1
        dims[left[0]] = _quotient(c, product(x), product(dims))
    if product(x) != 0:
        found = f"{product(dims)} in {tuple(dims)}"
        c.equal(product(x), product(dims), "elements of the output", f"{product(x)} as in x of shape {x}", found)
    return [(dtype, tuple(dims))]


def _quotient(c: Call, whole: Size, part: Size) -> Size:
    """whole / part without remainder; 0 / 0 is 0."""
    if part == 0 or whole == 0:
        return 0
    found = quotient(whole, part)
    if found is None:
        raise c.fail("elements of x", f"a multiple of {part}", whole)
    return found


def _expand(c: Call) -> Result:
    dims = tuple(_spec_dims(c))
    if any(at_large(s) < 0 for s in dims):
        raise c.fail("attribute shape", "sizes of 0 or more", dims)
    return [(c.dtype(0), c.broadcast([c.shape(0), dims]))]


def _fill(c: Call) -> Result:
    dims = tuple(_spec_dims(c))
    if any(at_large(s) < 0 for s in dims):
        raise c.fail("attribute shape", "sizes of 0 or more", dims)
    return [(c.attrs["dtype"], dims)]


def _transpose(c: Call) -> Result:
    x = c.shape(0)
    if sorted(c.attrs["perm"]) != list(range(len(x))):
        raise c.fail("attribute perm", f"a permutation of {len(x)} axes", c.attrs["perm"])
    return [(c.dtype(0), tuple(x[p] for p in c.attrs["perm"]))]


def _concat(c: Call) -> Result:
    first, dtype = c.shape(0), c.dtype(0)
    axis = c.axis(c.attrs["axis"], len(first))
    total: Size = 0
    for i in range(len(c.tensors)):
        if not c.has(i):
            continue
        c.dtype(i, dtype)
        shape = c.shape(i)
        what, expected = f"shape of input {i}", f"{first} but for axis {axis}"
        if len(shape) != len(first):
            raise c.fail(what, expected, shape)
        for d, (a, b) in enumerate(zip(first, shape)):
            if d != axis:
                c.equal(a, b, what, expected, shape)
        total = total + shape[axis]
    return [(dtype, (*first[:axis], total, *first[axis + 1 :]))]


def slice_size(size: Size, start: int, end: int, step: int) -> Size:
    """How many elements x[start:end:step] has, on an axis of `size`."""
    low, high = (0, size) if step > 0 else (-1, size - 1)
    first, last = _bound(start, size, low, high), _bound(end, size, low, high)
    span = last - first if step > 0 else first - last
    if at_large(span) <= 0:
        return 0
    return (span + abs(step) - 1) // abs(step)


def is_whole_slice(size: Size, start: int, end: int, step: int) -> bool:
    """Whether x[start:end:step] is x, on an axis of `size`."""
    return step == 1 and start == 0 and (end >= TO_END or not isinstance(size, Dim) and end >= size)


def _bound(bound: int, size: Size, low: Size, high: Size) -> Size:
    """A slice bound counted from the start and clamped, as NumPy does."""
    if abs(bound) >= TO_END:
        return high if bound > 0 else low
    place_: Size = bound if bound >= 0 else size + bound
    if at_large(place_) < at_large(low):
        return low
    return high if at_large(place_) > at_large(high) else place_


def _slice(c: Call) -> Result:
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


def _pad(c: Call) -> Result:
    x = c.shape(0)
    pads = c.each("pads", 2 * len(x))
    for d, size in enumerate(x):
        before, after = pads[d], pads[len(x) + d]
        most = {"constant": None, "reflect": at_large(size) - 1, "edge": None if size != 0 else 0}[c.attrs["mode"]]
        if most is not None and max(before, after) > max(most, 0):
            raise c.fail(
                f"attribute pads with mode {c.attrs['mode']}", f"at most {most} on axis {d} of {x}", (before, after)
            )
    return [(c.dtype(0), tuple(s + pads[d] + pads[len(x) + d] for d, s in enumerate(x)))]


def _tile(c: Call) -> Result:
    x = c.shape(0)
    return [(c.dtype(0), tuple(s * r for s, r in zip(x, c.each("repeats", len(x)))))]


def _gather(c: Call) -> Result:
    data, indices = c.rank(0, 1, MAX_RANK), c.shape(1)
    c.dtype(1, "int32")
    axis = c.axis(c.attrs["axis"], len(data))
    if c.tensors[0].dtype not in RUN_DTYPES and axis:
        raise c.fail("attribute axis", f"0 where data is a {c.tensors[0].dtype} weight", axis)
    return [(c.dtype(0), (*data[:axis], *indices, *data[axis + 1 :]))]


def _along(c: Call, i: int) -> Shape:
    """Checks that input i (indices) has the rank of data and, but for the axis, no larger sizes."""
    data, indices = c.shape(0), c.rank(i, len(c.shape(0)))
    c.dtype(i, "int32")
    axis = c.axis(c.attrs["axis"], len(data))
    if any(at_large(s) > at_large(m) for d, (s, m) in enumerate(zip(indices, data)) if d != axis):
        raise c.fail("shape of input indices", f"sizes within {data} but for axis {axis}", indices)
    return indices


def _gather_elements(c: Call) -> Result:
    return [(c.dtype(0), _along(c, 1))]


def _scatter_elements(c: Call) -> Result:
    indices = _along(c, 1)
    dtype = c.dtype(0, *(NUMBERS if c.attrs["reduction"] == "add" else ()))
    c.expect(2, *indices, dtype=dtype)
    return [(dtype, c.shape(0))]


def _reverse_sequence(c: Call) -> Result:
    x = c.shape(0)
    batch, time = c.axis(c.attrs["batch_axis"], len(x), "batch_axis"), c.axis(c.attrs["time_axis"], len(x), "time_axis")
    if batch == time:
        raise c.fail("attributes batch_axis and time_axis", "two axes", f"{batch} twice")
    c.expect(1, x[batch], dtype="int32")
    return [(c.dtype(0), x)]


def _resize(c: Call) -> Result:
    x = c.shape(0)
    return [(c.dtype(0), tuple(s * r for s, r in zip(x, c.each("scales", len(x), 1))))]


_DIMS = {"shape": Attr("ints"), "from_input": integers(-1), "from_axis": integers(0)}

OPS: dict[str, OpSpec] = {
    "Reshape": row("x sizes...?", "y", _reshape, Time("reshapes"), _DIMS),
    "Expand": row("x sizes...?", "y", _expand, Time("fills"), _DIMS),
    "Fill": row("sizes...?", "y", _fill, Time("fills"), _DIMS, value=number(), dtype=word(RUN_DTYPES, "float32")),
    "Transpose": row("x", "y", _transpose, Time("permutes"), perm=integers()),
    "Concat": row("x...", "y", _concat, Time("joins"), axis=integer()),
    "Slice": row(
        "x", "y", _slice, Time("cuts"), axes=integers(), starts=integers(), ends=integers(), steps=integers(1)
    ),
    "Pad": row(
        "x",
        "y",
        _pad,
        Time("pads"),
        pads=integers(),
        mode=word(("constant", "reflect", "edge"), "constant"),
        value=number(0.0),
    ),
    "Tile": row("x", "y", _tile, Time("repeats"), repeats=integers()),
    "Gather": row("data indices", "y", _gather, Time("picks"), weights={"data": 1}, axis=integer(0)),
    "GatherElements": row("data indices", "y", _gather_elements, Time("places"), axis=integer()),
    "ScatterElements": row(
        "data indices updates",
        "y",
        _scatter_elements,
        Time("places"),
        axis=integer(),
        reduction=word(("none", "add"), "none"),
    ),
    "ReverseSequence": row(
        "x lengths", "y", _reverse_sequence, Time("reverses"), batch_axis=integer(), time_axis=integer()
    ),
    "Resize": row("x", "y", _resize, Time("stretches"), scales=integers(), mode=word(("nearest",), "nearest")),
}
