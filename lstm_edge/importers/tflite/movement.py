"""TFLite operators that move elements or ask for shapes. Known and partly known values fold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir.dims import FRAMES, Dim, Size
from ..dialect import TO_END, Value, broadcast, check_bytes, known
from .lowering import Call, lowers


@lowers("SHAPE")
def _shape(call: Call) -> Value:
    return known(np.array(call.shape(0), object), call.out_infos[0].dtype)


@lowers("RANK")
def _rank(call: Call) -> Value:
    return known(np.int32(call.rank(0)))


@lowers("RESHAPE")
def _reshape(call: Call) -> Value:
    wanted = call.sizes(1) if call.optional(1) is not None else call.option("new_shape", None)
    if wanted is None:
        raise call.refuse("the new shape is missing")
    return _shaped(call, call.target(call.shape(0), wanted))


def _shaped(call: Call, shape: Sequence[Size]) -> Value:
    x = call.input(0)
    if x.array is not None:
        return Value(x.dtype, x.array.reshape([int(s) for s in shape]))
    return call.ctx.reshape(x, shape)


@lowers("SQUEEZE")
def _squeeze(call: Call) -> Value:
    shape = call.shape(0)
    axes = {call.axis(a, len(shape)) for a in call.option("squeeze_dims", None) or []}
    axes = axes or {d for d, s in enumerate(shape) if s == 1}
    if any(shape[a] != 1 for a in axes):
        raise call.refuse(f"axes {sorted(axes)} of {list(shape)}: expected sizes of 1")
    return _shaped(call, [s for d, s in enumerate(shape) if d not in axes])


@lowers("EXPAND_DIMS")
def _expand_dims(call: Call) -> Value:
    shape = list(call.shape(0))
    shape.insert(call.axis(call.known_ints(1)[0], len(shape) + 1), 1)
    return _shaped(call, shape)


@lowers("TRANSPOSE")
def _transpose(call: Call) -> Value:
    return call.ctx.transpose(call.input(0), [call.axis(p, call.rank(0)) for p in call.known_ints(1)])


@lowers("CONCATENATION")
def _concatenation(call: Call) -> Value:
    parts = [call.input(n) for n in range(len(call.inputs))]
    return call.activated(call.ctx.concat(parts, call.axis(call.option("axis"), call.rank(0))))


@lowers("PACK")
def _pack(call: Call) -> Value:
    ctx, rank = call.ctx, call.rank(0)
    axis = call.axis(call.option("axis"), rank + 1)
    parts = []
    for n in range(len(call.inputs)):
        value, shape = call.input(n), call.shape(n)
        wide = [*shape[:axis], 1, *shape[axis:]]
        parts.append(
            Value(value.dtype, value.array.reshape(wide)) if value.array is not None else ctx.reshape(value, wide)
        )
    return ctx.concat(parts, axis)


@lowers("UNPACK")
def _unpack(call: Call) -> list[Value]:
    axis, size = call.axis(call.option("axis"), call.rank(0)), len(call.out_infos)
    if call.shape(0)[axis] != size:
        raise call.refuse(f"axis {axis} of {list(call.shape(0))}: expected {size} elements")
    return [call.ctx.index(call.input(0), axis, n) for n in range(size)]


@lowers("SPLIT")
def _split(call: Call) -> list[Value]:
    """inputs: axis, x."""
    axis, count = call.axis(call.known_ints(0)[0], call.rank(1)), len(call.out_infos)
    size = call.shape(1)[axis]
    if isinstance(size, Dim) or size % count:
        raise call.refuse(f"axis {axis} of {list(call.shape(1))}: expected a multiple of {count}")
    return call.ctx.split(call.input(1), axis, [int(size) // count] * count)


@lowers("SPLIT_V")
def _split_v(call: Call) -> list[Value]:
    """inputs: x, sizes (one may be -1), axis."""
    axis, sizes = call.axis(call.known_ints(2)[0], call.rank(0)), call.known_ints(1)
    size = call.shape(0)[axis]
    if isinstance(size, Dim):
        raise call.refuse(f"axis {axis} of {list(call.shape(0))} is left open; fix it (--shape)")
    if -1 in sizes:
        sizes[sizes.index(-1)] = size - sum(s for s in sizes if s != -1)
    if sum(sizes) != size or min(sizes) < 0:
        raise call.refuse(f"parts of {sizes} from {size}")
    return call.ctx.split(call.input(0), axis, sizes)


# ---- slices ----------------------------------------------------------------------------------------------------------


def bounds(call: Call, size: Size, start: Any, end: Any) -> tuple[int, int]:
    """Slice bounds on an axis of `size` as numbers: where frames are open and the file was exported with T of them, T
    means the end and T - 1 the last.
    """
    ctx = call.ctx
    if isinstance(size, Dim):
        if isinstance(end, Dim) and end == size or size == FRAMES and ctx.equals_trained(end):
            end = TO_END
        if isinstance(start, Dim) and isinstance(start - size, int):
            start = start - size
        if isinstance(end, Dim) and isinstance(end - size, int):
            end = end - size
        if size == FRAMES and ctx.trained is not None and not isinstance(start, Dim) and start > 0:
            if not ctx.equals_trained(start + 1):
                raise call.refuse(
                    f"frame {start} of {ctx.trained}: where the number of frames is open, this is no place"
                )
            start, end = -1, TO_END
    if isinstance(start, Dim) or isinstance(end, Dim):
        raise call.refuse(f"a slice from {start} to {end} of {size} depends on sizes left open; fix them (--shape)")
    return int(start), int(end)


@lowers("SLICE")
def _slice(call: Call) -> Value:
    """inputs: x, begin, size (-1: to the end)."""
    x, shape = call.input(0), call.shape(0)
    for axis, (start, count) in enumerate(zip(call.sizes(1), call.sizes(2))):
        whole = not isinstance(count, Dim) and count == -1
        low, high = bounds(call, shape[axis], start, TO_END if whole else start + count)
        x = call.ctx.slice_axis(x, axis, low, high)
    return x


@lowers("STRIDED_SLICE")
def _strided_slice(call: Call) -> Value:
    """inputs: x, begin, end, strides, with one bit per entry in each mask."""
    ctx, x = call.ctx, call.input(0)
    begins, ends, strides = call.sizes(1), call.sizes(2), call.known_ints(3)
    masks = {m: call.option(f"{m}_mask") for m in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    if call.option("offset", False):
        ends = [b + e for b, e in zip(begins, ends)]
    skipped = call.rank(0) - sum(not (masks["new_axis"] | masks["ellipsis"]) >> n & 1 for n in range(len(begins)))
    axis, kept, shape = 0, [], []  # axis: of x; kept: for each axis of the result its axis of x, None for a new one
    for n, (start, end, step) in enumerate(zip(begins, ends, strides)):
        bit = 1 << n
        if masks["ellipsis"] & bit:
            kept += list(range(axis, axis + skipped))
            axis += skipped
        elif masks["new_axis"] & bit:
            kept.append(None)
        else:
            x = _strided(
                call,
                x,
                axis,
                (None if masks["begin"] & bit else start, None if masks["end"] & bit else end, step),
                bool(masks["shrink_axis"] & bit),
            )
            if not masks["shrink_axis"] & bit:
                kept.append(axis)
            axis += 1
    kept += list(range(axis, call.rank(0)))
    sizes = ctx.shape(x)
    shape = [1 if d is None else sizes[d] for d in kept]
    if list(shape) == list(sizes):
        return x
    return Value(x.dtype, x.array.reshape([int(s) for s in shape])) if x.array is not None else ctx.reshape(x, shape)


def _strided(call: Call, x: Value, axis: int, place: tuple[Any, Any, int], single: bool) -> Value:
    ctx = call.ctx
    size = ctx.shape(x)[axis]
    start, end, step = place
    if step == 0:
        raise call.refuse("a stride of 0")
    if single:
        start = 0 if start is None else start
        low, _ = bounds(call, size, start, TO_END)
        if not isinstance(size, Dim) and not -size <= low < size:
            raise call.refuse(f"element {low} of an axis of {size}")
        return ctx.slice_axis(x, axis, low, low + 1 if low != -1 else TO_END)
    if step > 0:
        low, high = bounds(call, size, 0 if start is None else start, TO_END if end is None else end)
        return ctx.slice_axis(x, axis, low, high, step)
    low, high = bounds(call, size, -1 if start is None else start, -TO_END if end is None else end)
    return ctx.slice_axis(x, axis, low, high, step)


@lowers("REVERSE_V2")
def _reverse(call: Call) -> Value:
    x = call.input(0)
    for a in call.known_ints(1):
        x = call.ctx.flip(x, call.axis(a, call.rank(0)))
    return x


@lowers("REVERSE_SEQUENCE")
def _reverse_sequence(call: Call) -> Value:
    attrs = {"batch_axis": call.option("batch_dim"), "time_axis": call.option("seq_dim")}
    return call.ctx.emit("ReverseSequence", [call.input(0), call.ctx.cast(call.input(1), "int32")], attrs)


# ---- gathering and filling -------------------------------------------------------------------------------------------


@lowers("GATHER")
def _gather(call: Call) -> Value:
    ctx, data, indices = call.ctx, call.input(0), call.input(1)
    axis = call.axis(call.option("axis"), call.rank(0))
    if call.option("batch_dims"):
        raise call.refuse(f"batch_dims = {call.option('batch_dims')} is not supported")
    if data.array is not None and indices.is_known:
        return known(np.asarray(np.take(data.array, indices.array, axis)), data.dtype)
    if indices.is_known and call.rank(1) == 0:
        start, _ = bounds(call, call.shape(0)[axis], int(call.known(1)), TO_END)
        return ctx.index(data, axis, start)
    return ctx.emit("Gather", [data, ctx.cast(indices, "int32")], {"axis": axis}, data.dtype)


@lowers("PAD", "PADV2", "MIRROR_PAD")
def _pad(call: Call) -> Value:
    x, rank = call.input(0), call.rank(0)
    pads = call.known(1).reshape(-1, 2)
    if len(pads) != rank or pads.min(initial=0) < 0:
        raise call.refuse(f"paddings {pads.tolist()} of {rank} axes")
    attrs: dict[str, Any] = {"pads": [int(p) for p in pads[:, 0]] + [int(p) for p in pads[:, 1]]}
    if call.kind == "PADV2":
        attrs["value"] = float(call.known(2).reshape(-1)[0])
    if call.kind == "MIRROR_PAD":
        if call.option("mode"):
            return _symmetric(call, pads)
        attrs["mode"] = "reflect"
    return call.ctx.emit("Pad", [x], attrs)


def _symmetric(call: Call, pads: np.ndarray) -> Value:
    """Mirrored with the edge repeated."""
    ctx, x = call.ctx, call.input(0)
    for axis, (before, after) in enumerate(pads.tolist()):
        parts = [x]
        if before:
            parts.insert(0, ctx.flip(ctx.slice_axis(x, axis, 0, before), axis))
        if after:
            parts.append(ctx.flip(ctx.slice_axis(x, axis, -after, TO_END), axis))
        x = ctx.concat(parts, axis)
    return x


@lowers("TILE")
def _tile(call: Call) -> Value:
    repeats = call.known_ints(1)
    check_bytes([s * r for s, r in zip(call.shape(0), repeats)], call.place)
    if call.input(0).array is not None:
        return Value(call.input(0).dtype, np.tile(call.input(0).array, repeats))
    return call.ctx.emit("Tile", [call.input(0)], {"repeats": repeats})


@lowers("FILL")
def _fill(call: Call) -> Value:
    value = call.known(1).reshape(-1)[0]
    return call.ctx.fill(float(value), call.sizes(0), call.ctx.run_dtype(call.input(1)))


@lowers("BROADCAST_TO")
def _broadcast_to(call: Call) -> Value:
    return call.ctx.expand(call.input(0), broadcast(call.shape(0), call.sizes(1), call.place))


@lowers("RANGE")
def _range(call: Call) -> Value:
    start, limit, delta = (v[0] for v in (call.sizes(0), call.sizes(1), call.sizes(2)))
    if any(isinstance(v, Dim) for v in (start, delta)) or call.out_infos[0].dtype.startswith("float"):
        raise call.refuse("expected an integer start and step that are known")
    if isinstance(limit, Dim):
        if start != 0 or delta != 1:
            raise call.refuse(f"a range to {limit}: expected it from 0 in steps of 1")
        return call.ctx.positions([limit], 0)
    check_bytes([max((int(limit) - int(start)) // int(delta), 0)], call.place)
    return known(np.arange(start, limit, delta, dtype=np.int32))


@lowers("ONE_HOT")
def _one_hot(call: Call) -> Value:
    """inputs: indices, depth, on, off; a new axis of size depth."""
    ctx, rank = call.ctx, call.rank(0)
    depth, on, off = call.known_ints(1)[0], call.input(2), call.input(3)
    check_bytes([depth], call.place)
    axis = call.axis(call.option("axis", -1), rank + 1)
    shape = [*call.shape(0)[:axis], 1, *call.shape(0)[axis:]]
    rows = ctx.reshape(ctx.cast(call.input(0), "int32"), shape)
    places = known(np.arange(depth, dtype=np.int32).reshape([depth if d == axis else 1 for d in range(rank + 1)]))
    return ctx.emit("Where", [ctx.binary("equal", rows, places), on, off], {}, on.dtype)


@lowers("RESIZE_NEAREST_NEIGHBOR")
def _resize(call: Call) -> Value:
    wanted, (_, h, w, _) = call.known_ints(1), call.shape(0)
    if call.option("align_corners", False) or any(isinstance(s, Dim) or o % s for s, o in zip((h, w), wanted)):
        raise call.refuse(f"from {h} x {w} to {wanted}: expected whole multiples without align_corners")
    return call.ctx.emit("Resize", [call.input(0)], {"scales": [1, wanted[0] // int(h), wanted[1] // int(w), 1]})


@lowers("SPACE_TO_DEPTH", "DEPTH_TO_SPACE")
def _depth_space(call: Call) -> Value:
    ctx, x, block = call.ctx, call.input(0), call.option("block_size")
    b, h, w, c = call.shape(0)
    if call.kind == "SPACE_TO_DEPTH":
        tiles = ctx.reshape(x, [b, h // block, block, w // block, block, c])
        return ctx.reshape(ctx.transpose(tiles, [0, 1, 3, 2, 4, 5]), [b, h // block, w // block, c * block * block])
    tiles = ctx.reshape(x, [b, h, w, block, block, c // (block * block)])
    return ctx.reshape(ctx.transpose(tiles, [0, 1, 3, 2, 4, 5]), [b, h * block, w * block, c // (block * block)])
