"""Choosing elements: gathers, scatters, one-hot, masks, triangles."""

from __future__ import annotations

import itertools

import numpy as np

from ...ir.dims import Dim, product
from ...ir.ops import TO_END
from .arithmetic import where
from .builder import Dialect, Operand
from .movement import fixed_sizes, squeeze
from .value import Value, check_bytes, known

REDUCTIONS = ("mul", "max", "min")  # of a scatter, beside none and add
MOST_PIECES = 16  # of a scatter that becomes a Concat; more become a Gather


# ---- gather ----------------------------------------------------------------------------------------------------------


def gather(d: Dialect, data: Value, indices: Value, axis: int = 0) -> Value:
    """data at places along an axis (negative ones count from its end); a Slice where known places follow each other
    evenly."""
    shape = d.shape(data)
    axis = d.axis(axis, len(shape))
    if d.counted(indices) == shape[axis]:
        return data
    if not indices.is_known:
        return d.emit("Gather", [data, d.cast(indices, "int32")], {"axis": axis}, data.dtype)
    places, size = indices.data, shape[axis]
    if not isinstance(size, Dim) and places.size and (places.min() < -size or places.max() >= size):
        raise d.refuse(f"index {places.min()} or {places.max()} into an axis of size {size}")
    if data.array is not None:
        check_bytes([*shape[:axis], *places.shape, *shape[axis + 1 :]], d.place, data.array.itemsize)
        return known(np.take(data.array, places, axis), data.dtype)
    steps = np.unique(np.diff(places.reshape(-1)))
    if (
        places.ndim <= 1
        and places.size
        and (places.size == 1 or len(steps) == 1 and steps[0] > 0)
        and (places.min() >= 0 or places.max() < 0)
    ):
        first, last = int(places.reshape(-1)[0]), int(places.reshape(-1)[-1])
        end = TO_END if last == -1 else last + 1
        part = d.slice_axis(data, axis, first, end, int(steps[0]) if places.size > 1 else 1)
        return part if places.ndim else squeeze(d, part, [axis])
    return d.emit("Gather", [data, indices], {"axis": axis})


def embedding(d: Dialect, table: Value, indices: Value) -> Value:
    """Rows of a table (N, D) at integer places."""
    return gather(d, table, indices, 0)


def gather_elements(d: Dialect, data: Value, indices: Value, axis: int = 0) -> Value:
    attrs = {"axis": d.axis(axis, len(d.shape(data)))}
    return d.emit("GatherElements", [data, d.cast(indices, "int32")], attrs)


def gather_nd(d: Dialect, data: Value, indices: np.ndarray, batch_axes: int = 0) -> Value:
    """data at index tuples (..., K) known at conversion, over its first K axes after those of the batch, which it shares
    with the tuples."""
    if batch_axes:
        lead = indices.shape[:batch_axes]
        grid = np.stack(np.meshgrid(*(np.arange(n) for n in lead), indexing="ij"), -1)
        middle = [1] * (indices.ndim - 1 - batch_axes)
        grid = np.broadcast_to(grid.reshape(*lead, *middle, batch_axes), (*indices.shape[:-1], batch_axes))
        return gather_nd(d, data, np.concatenate([grid, indices], -1))
    shape, count = d.shape(data), indices.shape[-1]
    outer = fixed_sizes(d, shape[:count])
    flat = _flat_places(d, indices, outer)
    rows = d.reshape(data, [int(np.prod(outer)), *shape[count:]])
    picked = d.emit("Gather", [rows, known(flat.reshape(-1))], {"axis": 0})
    return d.reshape(picked, [*indices.shape[:-1], *shape[count:]])


def _flat_places(d: Dialect, indices: np.ndarray, outer: list[int]) -> np.ndarray:
    """Row numbers in data flattened over its first axes (sizes `outer`) of index tuples (..., len(outer))."""
    if any((indices[..., n] < -s).any() or (indices[..., n] >= s).any() for n, s in enumerate(outer)):
        raise d.refuse(f"an index lies outside the sizes {outer}")
    if not outer:
        return np.zeros(indices.shape[:-1], int)
    wrapped = np.where(indices < 0, indices + outer, indices)
    return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(wrapped, -1, 0)), outer))


def compress(d: Dialect, x: Value, condition: np.ndarray, axis: int | None) -> Value:
    """The places of an axis (of all elements in order where None) at which a condition is true."""
    places = known(np.flatnonzero(condition))
    if axis is None:
        return gather(d, d.reshape(x, [product(d.shape(x))]), places, 0)
    return gather(d, x, places, axis)


# ---- scatter ---------------------------------------------------------------------------------------------------------


def scatter_elements(
    d: Dialect, data: Value, indices: Value, updates: Value, axis: int = 0, reduction: str = "none"
) -> Value:
    """data with updates at places along an axis; `reduction` (none, add, mul, max, min) says how an update meets what is
    there. All but none and add ask for places known at conversion."""
    axis = d.axis(axis, len(d.shape(data)))
    if reduction in REDUCTIONS:
        if not indices.is_known:
            raise d.refuse(f"reduction = {reduction!r} at places that only a run knows: expected 'none' or 'add'")
        coordinates = np.indices(indices.data.shape)
        coordinates[axis] = indices.data
        return scatter_nd(d, data, np.moveaxis(coordinates, 0, -1), updates, reduction)
    if reduction not in ("none", "add"):
        raise d.refuse(f"reduction = {reduction!r}: expected 'none', 'add', 'mul', 'max' or 'min'")
    attrs = {"axis": axis, "reduction": reduction}
    return d.emit("ScatterElements", [data, d.cast(indices, "int32"), updates], attrs)


def scatter_nd(d: Dialect, data: Value, indices: np.ndarray, updates: Value, reduction: str = "none") -> Value:
    """data with updates at index tuples (..., K) known at conversion. Of places named twice the last wins, as in NumPy,
    or with a `reduction` (add, mul, max, min) each update meets what is there, one after the other."""
    if reduction == "none":
        return _replace_nd(d, data, indices, updates)
    if reduction not in ("add", *REDUCTIONS):
        raise d.refuse(f"reduction = {reduction!r}: expected 'none', 'add', 'mul', 'max' or 'min'")
    count = indices.shape[-1]
    places = _flat_places(d, indices, fixed_sizes(d, d.shape(data)[:count])).reshape(-1)
    rows = d.reshape(updates, [len(places), *d.shape(data)[count:]])
    tuples = indices.reshape(len(places), count)
    nth = np.array([np.count_nonzero(places[:n] == place) for n, place in enumerate(places)], int)
    for turn in range(int(nth.max(initial=-1)) + 1):  # no place twice in one turn
        mine = np.flatnonzero(nth == turn)
        now = gather_nd(d, data, tuples[mine])
        data = _replace_nd(d, data, tuples[mine], d.binary(reduction, now, gather(d, rows, known(mine), 0)))
    return data


def _replace_nd(d: Dialect, data: Value, indices: np.ndarray, updates: Value) -> Value:
    """data with updates at index tuples (..., K) known at conversion: pieces of both joined along one axis where the
    places are a grid, else a Gather from both; of places named twice the last wins, as in NumPy."""
    shape, count = list(d.shape(data)), indices.shape[-1]
    outer = fixed_sizes(d, shape[:count])
    places = _flat_places(d, indices, outer).reshape(-1)
    grid = _grid_axis(places, outer)
    if grid is not None:
        axis, along = grid
        part = d.reshape(updates, [*shape[:axis], len(along), *shape[axis + 1 :]])
        return replace_along(d, data, part, axis, along)
    total = int(np.prod(outer))
    rows = d.reshape(data, [total, *shape[count:]])
    news = d.reshape(updates, [len(places), *shape[count:]])
    table = np.arange(total)
    table[places] = total + np.arange(len(places))
    both = d.emit("Concat", [rows, news], {"axis": 0}, data.dtype)
    return d.reshape(d.emit("Gather", [both, known(table)], {"axis": 0}), shape)


def _grid_axis(places: np.ndarray, outer: list[int]) -> tuple[int, np.ndarray] | None:
    """(axis, increasing positions) when the places are all of data at these positions of one axis, in order."""
    if not places.size or len(np.unique(places)) != len(places):
        return None
    coordinates = np.unravel_index(places, outer)
    uniques = [np.unique(c) for c in coordinates]
    partial = [n for n, u in enumerate(uniques) if len(u) != outer[n]]
    if len(partial) > 1 or np.prod([len(u) for u in uniques]) != len(places) or np.any(np.diff(places) < 0):
        return None
    axis = partial[0] if partial else 0
    return axis, uniques[axis]


def replace_along(d: Dialect, data: Value, part: Value, axis: int, along: np.ndarray) -> Value:
    """data with the increasing positions `along` of an axis of fixed size replaced by `part`."""
    (size,) = fixed_sizes(d, [d.shape(data)[axis]])
    if len(along) == size:
        return part
    owner = np.zeros(size, bool)
    owner[along] = True
    pieces, taken, start = [], 0, 0
    for new, run in itertools.groupby(owner):
        length = len(list(run))
        if new:
            pieces.append(d.slice_axis(part, axis, taken, taken + length))
            taken += length
        else:
            pieces.append(d.slice_axis(data, axis, start, start + length))
        start += length
    if len(pieces) <= MOST_PIECES:
        return d.emit("Concat", pieces, {"axis": axis}, data.dtype)
    table = np.arange(size)
    table[along] = size + np.arange(len(along))
    both = d.emit("Concat", [data, part], {"axis": axis}, data.dtype)
    return d.emit("Gather", [both, known(table)], {"axis": axis})


# ---- masks -----------------------------------------------------------------------------------------------------------


def one_hot(
    d: Dialect, indices: Value, depth: int, on: Operand = 1.0, off: Operand = 0.0, axis: int = -1, wrap: bool = True
) -> Value:
    """A new axis of size `depth` that holds `on` at the index and `off` elsewhere. Indices from -depth on count from
    the end, or with wrap=False are nowhere."""
    check_bytes([depth], d.place)
    on, off = d.operand(on, off), d.operand(off, on)
    shape = list(d.shape(indices))
    axis = d.axis(axis, len(shape) + 1)
    places = d.cast(indices, "int32")
    if wrap:
        wrapped = d.binary("add", places, d.constant(depth, "int64"))
        places = d.emit("Where", [d.binary("less", places, d.constant(0, "int64")), wrapped, places], {}, "int64")
    column = d.reshape(places, [*shape[:axis], 1, *shape[axis:]])
    classes = known(np.arange(depth).reshape([depth if n == axis else 1 for n in range(len(shape) + 1)]))
    return d.emit("Where", [d.binary("equal", column, classes), on, off], {}, on.dtype)


def trilu(d: Dialect, x: Value, upper: bool, k: int = 0) -> Value:
    """The upper or lower triangle of the last two axes, from the k-th diagonal on; 0 elsewhere."""
    shape = d.shape(x)
    row, column = d.positions(shape[-2:], 0), d.positions(shape[-2:], 1)
    shifted = d.binary("add", row, d.constant(k, "int64"))
    mask = d.binary("greater_equal" if upper else "less_equal", column, shifted)
    return d.emit("Where", [mask, x, known(np.zeros((), d.run_dtype(x)))], {}, x.dtype)


def masked_fill(d: Dialect, x: Value, mask: Value, value: Operand) -> Value:
    """x with a value, in x's type, where the mask is true."""
    return where(d, mask, d.cast(d.operand(value, x), d.run_dtype(x)), x)
