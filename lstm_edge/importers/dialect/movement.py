"""Operators that move elements: shapes, slices, joining, padding, repeating. Sizes may be left open throughout.

Every function takes and gives Values; what is known, or known in part, is computed at once. Axes may count from the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ... import memory
from ...ir.dims import Dim, Size, product
from ...ir.ops import TO_END
from ...ir.sizes import SizeMismatch
from ...options import as_typed
from .builder import Dialect
from .reshaping import reshape_target
from .value import Value, broadcast, check_bytes, known


def each_axis(d: Dialect, axes: Iterable[int], rank: int) -> list[int]:
    """The axes counted from the front, in the order given."""
    return [d.axis(a, rank) for a in axes]


def open_sizes(sizes: Iterable[Size]) -> bool:
    return any(isinstance(s, Dim) for s in sizes)


def fixed_sizes(d: Dialect, sizes: Sequence[Size], what: str = "indexes axes of sizes") -> list[int]:
    """The sizes as numbers; refused, as `what` needs them, where one is left open."""
    numbers = [int(s) for s in sizes if not isinstance(s, Dim)]
    if len(numbers) < len(sizes):
        raise d.refuse(f"{what} {list(sizes)}; fix those sizes ({as_typed('shapes')})")
    return numbers


# ---- shapes ---------------------------------------------------------------------------------------------------------


def shape_of(d: Dialect, x: Value, start: int = 0, end: int | None = None, dtype: str = "int64") -> Value:
    """The sizes of x's axes from `start` to `end`, as a vector."""
    return sizes(d.shape(x)[start:end], dtype)


def sizes(values: Sequence[Size], dtype: str = "int64") -> Value:
    """A vector of sizes, known or partly known."""
    array = np.empty(len(values), object)
    array[:] = list(values)
    return known(array, dtype)


def size_of(d: Dialect, x: Value, dtype: str = "int64") -> Value:
    """The number of x's elements."""
    out = np.empty((), object)
    out[()] = product(d.shape(x))
    return known(out, dtype)


def reshape(d: Dialect, x: Value, asked: Sequence[Size], copy_zeros: bool = False) -> Value:
    """x in the shape asked for, where one size may be -1 and, with copy_zeros, 0 stands for x's own size there."""
    return d.reshape(x, reshape_target(d, d.shape(x), asked, copy_zeros))


def flatten(d: Dialect, x: Value, axis: int) -> Value:
    """x as a matrix: the axes before `axis` by those from it on (`axis` may be x's rank)."""
    shape = d.shape(x)
    axis = axis + len(shape) if axis < 0 else axis
    return d.reshape(x, [product(shape[:axis]), product(shape[axis:])])


def merge_axes(d: Dialect, x: Value, first: int, last: int) -> Value:
    """x with its axes from `first` to `last` (included) made one; a scalar becomes a vector."""
    shape = d.shape(x)
    if not shape:
        return d.reshape(x, [1])
    first, last = each_axis(d, (first, last), len(shape))
    return d.reshape(x, [*shape[:first], product(shape[first : last + 1]), *shape[last + 1 :]])


def unflatten(d: Dialect, x: Value, axis: int, asked: Sequence[Size]) -> Value:
    """x with one axis split into the sizes asked for, one of which may be -1."""
    shape = d.shape(x)
    axis = d.axis(axis, len(shape))
    return reshape(d, x, [*shape[:axis], *reshape_target(d, [shape[axis]], asked), *shape[axis + 1 :]])


def squeeze(d: Dialect, x: Value, axes: Iterable[int] | None = None, lenient: bool = False) -> Value:
    """x without these axes, or without all that are of size 1; `lenient`: axes of other sizes stay."""
    shape = d.shape(x)
    if axes is None:
        if open_sizes(shape):
            d.note(f"{d.place}: squeezes no axis of batch or frames, also where that is 1")
        return d.reshape(x, [s for s in shape if s != 1])
    places = set(each_axis(d, axes, len(shape)))
    wrong = [a for a in sorted(places) if shape[a] != 1]
    if wrong and not lenient:
        raise d.refuse(
            f"squeezes an axis of size {shape[wrong[0]]}: expected 1 (axes {sorted(places)} of shape {list(shape)}); "
            f"fix that size to 1 ({as_typed('shapes')})"
        ) from SizeMismatch.between(shape[wrong[0]], 1, "a squeezed axis")
    return d.reshape(x, [s for n, s in enumerate(shape) if n not in places or n in wrong])


def unsqueeze(d: Dialect, x: Value, axes: Iterable[int]) -> Value:
    """x with new axes of size 1, so that they are at these places of the result."""
    shape, given = d.shape(x), list(axes)
    rank = len(shape) + len(given)
    places = set(each_axis(d, given, rank))
    rest = iter(shape)
    return d.reshape(x, [1 if n in places else next(rest) for n in range(rank)])


def transpose(d: Dialect, x: Value, perm: Sequence[int] | None = None) -> Value:
    """x with its axes permuted, reversed without `perm`."""
    rank = len(d.shape(x))
    return d.transpose(x, list(range(rank))[::-1] if perm is None else each_axis(d, perm, rank))


def swap_axes(d: Dialect, x: Value, a: int, b: int) -> Value:
    perm = list(range(len(d.shape(x))))
    a, b = each_axis(d, (a, b), len(perm))
    perm[a], perm[b] = b, a
    return d.transpose(x, perm)


def move_axes(d: Dialect, x: Value, sources: Sequence[int], targets: Sequence[int]) -> Value:
    """x with each source axis at its target place, the others in their order."""
    rank = len(d.shape(x))
    at = dict(zip(each_axis(d, targets, rank), each_axis(d, sources, rank)))
    rest = iter([n for n in range(rank) if n not in at.values()])
    return d.transpose(x, [at[n] if n in at else next(rest) for n in range(rank)])


def expand(d: Dialect, x: Value, asked: Sequence[Size]) -> Value:
    """x broadcast with a shape, as NumPy's rules have it."""
    return d.expand(x, broadcast(d.shape(x), asked, d.place))


def eye(d: Dialect, rows: Size, columns: Size, diagonal: int = 0, dtype: str = "float32") -> Value:
    r, c = fixed_sizes(d, [rows, columns], "makes a matrix of sizes")
    check_bytes([r, c], d.place)
    return known(np.eye(r, c, diagonal, dtype))


# ---- slices ---------------------------------------------------------------------------------------------------------


def take(
    d: Dialect,
    x: Value,
    axes: Sequence[int],
    starts: Sequence[Size],
    ends: Sequence[Size],
    steps: Sequence[int] | None = None,
) -> Value:
    """x[start:end:step] along some axes, as one op. Bounds are NumPy's, TO_END and beyond meaning to the end."""
    shape = d.shape(x)
    steps = [1] * len(axes) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise d.refuse(
            f"starts {list(starts)}, ends {list(ends)}, axes {list(axes)}, steps {list(steps)} do not go together"
        )
    bounds = zip(each_axis(d, axes, len(shape)), starts, ends, steps)
    return d.slice_axes(x, [(a, *slice_bounds(d, shape[a], start, end, step), step) for a, start, end, step in bounds])


def slice_bounds(d: Dialect, size: Size, start: Size, end: Size, step: int = 1) -> tuple[int, int]:
    """Bounds on an axis of `size` as the numbers of a Slice op. Where that is open and the source has T of them, T means
    the end and T - 1 the last one."""
    made_with = d.as_made(size)
    if made_with != size:
        if end == made_with:
            end = TO_END
        if not isinstance(start, Dim) and start > 0:
            if start + 1 != made_with:
                raise d.refuse(f"element {start} of {made_with}: where the number of {size} is open, this is no place")
            start, end = -1, TO_END
    return _bound(d, start, size, step), _bound(d, end, size, step)


def _bound(d: Dialect, bound: Size, size: Size, step: int) -> int:
    """A bound as a number: one that depends on the axis's own size counts from its end, or from its beginning."""
    if not isinstance(bound, Dim):
        return int(max(-TO_END, min(TO_END, bound)))
    from_front, from_end = bound + size, bound - size
    if not isinstance(from_front, Dim):  # it was written as a distance from the end
        return int(from_front) if from_front >= 0 else 0 if step > 0 else -TO_END
    if isinstance(from_end, Dim):
        raise d.refuse(
            f"a slice bound of {bound} on an axis of {size} depends on batch or frames in a way that a "
            f"fixed slice cannot follow; fix those sizes ({as_typed('shapes')})"
        )
    return TO_END if from_end >= 0 else int(from_end)


def place(d: Dialect, size: Size, at: Size) -> int:
    """The number of one element of an axis, which may count from the end, or be a distance from an open size."""
    start, _ = slice_bounds(d, size, at, TO_END)
    if not isinstance(size, Dim) and not -size <= start < size:
        raise d.refuse(f"element {start} of an axis of {size}")
    return start


def index(d: Dialect, x: Value, axis: int, at: Size) -> Value:
    """x[at] along an axis, which goes. `at` may count from the end, or be a distance from an open size."""
    shape = d.shape(x)
    axis = d.axis(axis, len(shape))
    start = place(d, shape[axis], at)
    row = d.slice_axis(x, axis, start, start + 1 if start != -1 else TO_END)
    return d.reshape(row, [*shape[:axis], *shape[axis + 1 :]])


def split(d: Dialect, x: Value, axis: int, parts: Sequence[int]) -> list[Value]:
    """x cut along an axis into parts of these sizes, one of which may be -1."""
    shape = d.shape(x)
    axis = d.axis(axis, len(shape))
    return [d.slice_axis(x, axis, low, high) for low, high in split_bounds(d, shape[axis], parts)]


def split_bounds(d: Dialect, size: Size, parts: Sequence[int]) -> list[tuple[int, int]]:
    """Where each part begins and ends; what follows a part of -1 counts from the end where the size is open."""
    parts = [int(p) for p in parts]
    rest = [n for n, p in enumerate(parts) if p == -1]
    if rest and not isinstance(size, Dim):
        parts[rest[0]] = int(size) - sum(parts) - 1
    if len(rest) > 1 or min(parts, default=0) < -1 or not isinstance(size, Dim) and (sum(parts) != size or -1 in parts):
        raise d.refuse(f"splits an axis of size {size} into {parts}")
    if isinstance(size, Dim) and not rest:
        why = SizeMismatch.between(size, sum(parts), "parts")
        raise d.refuse(f"splits an axis of size {size} into {parts}; fix that size ({as_typed('shapes')})") from why
    before = parts if -1 not in parts else parts[: rest[0]]
    ends = list(itertools.accumulate(before, initial=0))
    bounds = list(zip(ends, ends[1:]))
    if -1 in parts:
        tails = list(itertools.accumulate(parts[: rest[0] : -1], lambda left, part: left - part, initial=0))[::-1]
        places = [low if low else TO_END for low in tails]
        bounds += [(ends[-1], places[0]), *zip(places, places[1:])]
    return bounds


def equal_parts(d: Dialect, size: Size, count: int) -> list[int]:
    """The sizes of `count` parts of an axis, alike but for the last, which may be smaller."""
    if count < 1:
        raise d.refuse(f"splits an axis of size {size} into {count} parts")
    if isinstance(size, Dim):
        raise d.refuse(f"splits an axis of size {size} into equal parts; fix that size ({as_typed('shapes')})")
    part = -(-size // count)
    return [part] * (count - 1) + [size - part * (count - 1)]


def unstack(d: Dialect, x: Value, axis: int) -> list[Value]:
    """x[0], x[1] ... along an axis."""
    size = d.shape(x)[d.axis(axis, len(d.shape(x)))]
    if isinstance(size, Dim):
        raise d.refuse(f"takes an axis of size {size} apart; fix that size ({as_typed('shapes')})")
    return [index(d, x, axis, n) for n in range(size)]


def flip(d: Dialect, x: Value, axes: Sequence[int]) -> Value:
    """x with the order along these axes turned."""
    shape = d.shape(x)
    turned = [a for a in each_axis(d, axes, len(shape)) if shape[a] != 1]
    n = len(turned)
    return take(d, x, turned, [-1] * n, [-TO_END] * n, [-1] * n)


def roll(d: Dialect, x: Value, shifts: Sequence[int], axes: Sequence[int] | None = None) -> Value:
    """x with its elements moved on along axes, what leaves one end coming in at the other; without axes, over all
    elements in order."""
    shape = d.shape(x)
    if axes is None:
        return d.reshape(roll(d, d.reshape(x, [product(shape)]), shifts, [0]), shape)
    for shift, axis in zip(shifts, each_axis(d, axes, len(shape))):
        size = shape[axis]
        shift = shift if isinstance(size, Dim) else shift % size if size else 0
        if shift:
            x = concat(d, [d.slice_axis(x, axis, -shift, TO_END), d.slice_axis(x, axis, 0, -shift)], axis)
    return x


def reverse_sequence(d: Dialect, x: Value, lengths: Value, time_axis: int, batch_axis: int) -> Value:
    """x with the first lengths[b] frames of each sequence turned."""
    rank = len(d.shape(x))
    time, batch = each_axis(d, (time_axis, batch_axis), rank)
    if d.uniform(lengths) == d.shape(x)[time]:
        return flip(d, x, [time])
    return d.emit("ReverseSequence", [x, d.cast(lengths, "int32")], {"batch_axis": batch, "time_axis": time})


# ---- joining and repeating ------------------------------------------------------------------------------------------


def concat(d: Dialect, parts: Sequence[Value], axis: int) -> Value:
    """The parts one after the other along an axis; what is empty along it, or an empty vector, adds nothing."""
    axis = d.axis(axis, max(len(d.shape(p)) for p in parts))
    filled = [p for p in parts if not (d.shape(p) == (0,) or axis < len(d.shape(p)) and d.shape(p)[axis] == 0)]
    parts = filled or list(parts[:1])
    if len(parts) == 1:
        return parts[0]
    if all(p.array is not None for p in parts):
        memory.ask(sum(p.data.nbytes for p in parts), d.place)
        return known(np.concatenate([p.data for p in parts], axis), parts[0].dtype)
    return d.emit("Concat", parts, {"axis": axis})


def stack(d: Dialect, parts: Sequence[Value], axis: int) -> Value:
    """Tensors of one shape along a new axis."""
    axis = d.axis(axis, len(d.shape(parts[0])) + 1)
    return concat(d, [unsqueeze(d, p, [axis]) for p in parts], axis)


def tile(d: Dialect, x: Value, repeats: Sequence[Size]) -> Value:
    """x repeated along each axis; more repeats than axes add axes in front. An open number needs an axis of size 1."""
    shape = [*[1] * (len(repeats) - len(d.shape(x))), *d.shape(x)]
    repeats = [*[1] * (len(shape) - len(repeats)), *repeats]
    x = d.reshape(x, shape)
    if any(s != 1 for s, r in zip(shape, repeats) if isinstance(r, Dim)):
        raise d.refuse(
            f"repeats {repeats} of shape {shape}: a number of repeats that depends on batch or frames is "
            "only supported on an axis of size 1"
        )
    x = d.expand(x, [r if isinstance(r, Dim) else s for s, r in zip(shape, repeats)])
    counts = [1 if isinstance(r, Dim) else int(r) for r in repeats]
    if all(r == 1 for r in counts):
        return x
    if x.array is not None:
        check_bytes([s * r for s, r in zip(shape, counts)], d.place, x.array.itemsize)
        return known(np.tile(x.array, counts), x.dtype)
    return d.emit("Tile", [x], {"repeats": counts})


def repeat_each(d: Dialect, x: Value, count: int, axis: int) -> Value:
    """Each element along an axis `count` times in a row."""
    rank = len(d.shape(x))
    axis = d.axis(axis, rank)
    if count == 1:
        return x
    if x.array is not None:
        check_bytes([count, *x.array.shape], d.place, x.array.itemsize)
        return known(np.repeat(x.array, count, axis), x.dtype)
    return d.emit("Resize", [x], {"scales": [count if n == axis else 1 for n in range(rank)], "mode": "nearest"})


def pad(
    d: Dialect, x: Value, begins: Sequence[int], ends: Sequence[int], mode: str = "constant", value: float = 0.0
) -> Value:
    """x with elements added before and after each axis; a negative number takes elements away.

    mode: constant (`value`), reflect, symmetric (reflect with the edge repeated), edge or wrap.
    """
    for axis, (begin, end) in enumerate(zip(begins, ends)):
        if begin < 0 or end < 0:
            x = d.slice_axis(x, axis, max(-begin, 0), end if end < 0 else TO_END)
    before, after = [max(int(b), 0) for b in begins], [max(int(e), 0) for e in ends]
    if not any(before) and not any(after):
        return x
    if mode in ("wrap", "symmetric"):
        for axis, (begin, end) in enumerate(zip(before, after)):
            x = concat(d, _surrounded(d, x, axis, begin, end, mode), axis)
        return x
    if mode not in ("constant", "reflect", "edge"):
        raise d.refuse(f"mode = {mode!r} is not supported: expected constant, reflect, symmetric, edge or wrap")
    return d.emit("Pad", [x], {"pads": before + after, "mode": mode, "value": float(value)})


def _surrounded(d: Dialect, x: Value, axis: int, begin: int, end: int, mode: str) -> list[Value]:
    """x between what comes before and after it along an axis, as pieces of x itself."""
    parts = [x]
    if begin:
        piece = d.slice_axis(x, axis, -begin, TO_END) if mode == "wrap" else d.slice_axis(x, axis, 0, begin)
        parts.insert(0, piece if mode == "wrap" else flip(d, piece, [axis]))
    if end:
        piece = d.slice_axis(x, axis, 0, end) if mode == "wrap" else d.slice_axis(x, axis, -end, TO_END)
        parts.append(piece if mode == "wrap" else flip(d, piece, [axis]))
    return parts


def arange(d: Dialect, first: Any, last: Any, step: Any, dtype: str) -> Value:
    """first, first + step ... up to but not including `last`, which may be a size left open (then exact to 2^24)."""
    if not open_sizes((first, last, step)):
        count = max(0, -int(-(last - first) // step)) if step else 0
        check_bytes([count], d.place, 24)
        return known((first + np.arange(count) * step).astype(dtype))
    if open_sizes((first, step)) or step < 1 or step != int(step):
        raise d.refuse(f"a range from {first} to {last} in steps of {step} is not supported")
    places = d.arange((last - first + int(step) - 1) // int(step))
    if step != 1:
        places = d.binary("mul", places, d.constant(step))
    if first != 0:
        places = d.binary("add", places, d.constant(first))
    return places if dtype.startswith("float") else d.emit("Cast", [places], {"to": "int32"}, dtype)


# ---- blocks and windows ---------------------------------------------------------------------------------------------


def space_to_depth(d: Dialect, x: Value, block: int, channels_last: bool = False, depth_last: bool = False) -> Value:
    """Squares of block x block pixels become channels: pixel by pixel, or with depth_last channel by channel."""
    lead, (c, h, w) = _image(d, x, block, channels_last)
    h, w = h // block, w // block
    n, deep = len(lead), c * block * block
    if channels_last:
        parts = d.reshape(x, [*lead, h, block, w, block, c])
        order = [n, n + 2, *((n + 4, n + 1, n + 3) if depth_last else (n + 1, n + 3, n + 4))]
        return d.reshape(d.transpose(parts, [*range(n), *order]), [*lead, h, w, deep])
    parts = d.reshape(x, [*lead, c, h, block, w, block])
    order = [*((n, n + 2, n + 4) if depth_last else (n + 2, n + 4, n)), n + 1, n + 3]
    return d.reshape(d.transpose(parts, [*range(n), *order]), [*lead, deep, h, w])


def depth_to_space(d: Dialect, x: Value, block: int, channels_last: bool = False, depth_last: bool = False) -> Value:
    """Channels become squares of block x block pixels; `depth_last` says what the channels are, as in space_to_depth."""
    lead, (c, h, w) = _image(d, x, block, channels_last)
    n, deep = len(lead), c // (block * block)
    inner: list[Size] = [deep, block, block] if depth_last else [block, block, deep]
    at = dict(zip("crs" if depth_last else "rsc", range(n + 2 * channels_last, n + 2 * channels_last + 3)))
    if channels_last:
        parts = d.transpose(d.reshape(x, [*lead, h, w, *inner]), [*range(n), n, at["r"], n + 1, at["s"], at["c"]])
        return d.reshape(parts, [*lead, h * block, w * block, deep])
    parts = d.transpose(d.reshape(x, [*lead, *inner, h, w]), [*range(n), at["c"], n + 3, at["r"], n + 4, at["s"]])
    return d.reshape(parts, [*lead, deep, h * block, w * block])


def _image(d: Dialect, x: Value, block: int, channels_last: bool) -> tuple[list[Size], tuple[Size, Size, Size]]:
    """The leading sizes of x, and its channels, height and width."""
    if block < 1 or len(d.shape(x)) < 3:
        raise d.refuse(f"blocks of {block} pixels of a tensor of shape {list(d.shape(x))}: expected pictures")
    *lead, a, b, c = d.shape(x)
    return lead, (c, a, b) if channels_last else (a, b, c)


def unfold(d: Dialect, x: Value, axis: int, size: int, step: int) -> Value:
    """Windows along an axis, as a convolution with an identity kernel: (..., n, ...) to (..., windows, ..., size)."""
    check_bytes([size, size], d.place)
    rank = len(d.shape(x))
    axis = d.axis(axis, rank)
    order = [*(n for n in range(rank) if n != axis), axis]
    rows = d.transpose(x, order)
    *lead, along = d.shape(rows)
    signal = d.reshape(rows, [product(lead), 1, along])
    windows = d.emit("Conv", [signal, known(np.eye(size, dtype=np.float32)[:, None])], {"strides": [step]})
    count = d.shape(windows)[2]
    out = d.reshape(d.transpose(windows, [0, 2, 1]), [*lead, count, size])
    return d.transpose(out, [*(order.index(n) for n in range(rank)), rank])
