"""TFLite operators that move elements or ask for shapes, spelled with the dialect."""

from __future__ import annotations

import numpy as np

from ...ir.dims import Dim, Size
from ..dialect import TO_END, Value, known, movement, selection
from ..dialect.resize import resize, scales_to
from .lowering import Call, lowers


@lowers("SHAPE")
def _shape(call: Call) -> Value:
    return movement.shape_of(call.ctx, call.input(0), dtype=call.out_infos[0].dtype)


@lowers("RANK")
def _rank(call: Call) -> Value:
    return known(np.int32(call.rank(0)))


@lowers("RESHAPE")
def _reshape(call: Call) -> Value:
    wanted = call.sizes(1) if call.optional(1) is not None else call.option("new_shape", None)
    if wanted is None:
        raise call.refuse("the new shape is missing")
    return movement.reshape(call.ctx, call.input(0), wanted)


@lowers("SQUEEZE")
def _squeeze(call: Call) -> Value:
    return movement.squeeze(call.ctx, call.input(0), call.option("squeeze_dims", None) or None)


@lowers("EXPAND_DIMS")
def _expand_dims(call: Call) -> Value:
    return movement.unsqueeze(call.ctx, call.input(0), call.known_ints(1)[:1])


@lowers("TRANSPOSE")
def _transpose(call: Call) -> Value:
    return movement.transpose(call.ctx, call.input(0), call.known_ints(1))


@lowers("CONCATENATION")
def _concatenation(call: Call) -> Value:
    return call.activated(movement.concat(call.ctx, call.all_inputs(), call.option("axis")))


@lowers("PACK")
def _pack(call: Call) -> Value:
    return movement.stack(call.ctx, call.all_inputs(), call.option("axis"))


@lowers("UNPACK")
def _unpack(call: Call) -> list[Value]:
    axis, size = call.axis(call.option("axis"), call.rank(0)), len(call.out_infos)
    if call.shape(0)[axis] != size:
        raise call.refuse(f"axis {axis} of {list(call.shape(0))}: expected {size} elements")
    return [movement.index(call.ctx, call.input(0), axis, n) for n in range(size)]


@lowers("SPLIT")
def _split(call: Call) -> list[Value]:
    """inputs: axis, x."""
    axis = call.axis(call.known_ints(0)[0], call.rank(1))
    parts = movement.equal_parts(call.ctx, call.shape(1)[axis], len(call.out_infos))
    return movement.split(call.ctx, call.input(1), axis, parts)


@lowers("SPLIT_V")
def _split_v(call: Call) -> list[Value]:
    """inputs: x, sizes (one may be -1), axis."""
    return movement.split(call.ctx, call.input(0), call.known_ints(2)[0], call.known_ints(1))


# ---- slices ----------------------------------------------------------------------------------------------------------


@lowers("SLICE")
def _slice(call: Call) -> Value:
    """inputs: x, begin, size (-1: to the end)."""
    starts, counts = call.sizes(1), call.sizes(2)
    ends = [TO_END if n == -1 else start + n for start, n in zip(starts, counts)]
    return movement.take(call.ctx, call.input(0), range(call.rank(0)), starts, ends)


@lowers("STRIDED_SLICE")
def _strided_slice(call: Call) -> Value:
    """inputs: x, begin, end, strides, with one bit per entry in each mask."""
    ctx, x, rank = call.ctx, call.input(0), call.rank(0)
    begins, ends, strides = call.sizes(1), call.sizes(2), call.known_ints(3)
    masks = {m: call.option(f"{m}_mask") for m in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    if call.option("offset", False):
        ends = [b + e for b, e in zip(begins, ends)]
    skipped = rank - sum(not (masks["new_axis"] | masks["ellipsis"]) >> n & 1 for n in range(len(begins)))
    axis = 0  # of x
    cuts: list[tuple[int, Size, Size, int]] = []  # axis, start, end, step
    kept: list[int | None] = []  # for each axis of the result its axis of x, None for a new one
    for n, (start, end, step) in enumerate(zip(begins, ends, strides)):
        bit = 1 << n
        if masks["ellipsis"] & bit:
            kept += range(axis, axis + skipped)
            axis += skipped
        elif masks["new_axis"] & bit:
            kept.append(None)
        elif masks["shrink_axis"] & bit:
            at = movement.place(ctx, call.shape(0)[axis], 0 if masks["begin"] & bit else start)
            cuts.append((axis, at, at + 1 if at != -1 else TO_END, 1))
            axis += 1
        else:
            low = (-1 if step < 0 else 0) if masks["begin"] & bit else start
            high = (-TO_END if step < 0 else TO_END) if masks["end"] & bit else end
            cuts.append((axis, low, high, step))
            kept.append(axis)
            axis += 1
    kept += range(axis, rank)
    if cuts:
        x = movement.take(ctx, x, *zip(*cuts))
    return ctx.reshape(x, [1 if d is None else ctx.shape(x)[d] for d in kept])


@lowers("REVERSE_V2")
def _reverse(call: Call) -> Value:
    return movement.flip(call.ctx, call.input(0), call.known_ints(1))


@lowers("REVERSE_SEQUENCE")
def _reverse_sequence(call: Call) -> Value:
    time, batch = call.option("seq_dim"), call.option("batch_dim")
    return movement.reverse_sequence(call.ctx, call.input(0), call.input(1), time, batch)


# ---- gathering and filling -------------------------------------------------------------------------------------------


@lowers("GATHER")
def _gather(call: Call) -> Value:
    data, indices, axis = call.input(0), call.input(1), call.option("axis")
    if call.option("batch_dims"):
        raise call.refuse(f"batch_dims = {call.option('batch_dims')} is not supported")
    if indices.is_known and call.rank(1) == 0:
        return movement.index(call.ctx, data, axis, int(call.known(1)))
    return selection.gather(call.ctx, data, indices, axis)


@lowers("PAD", "PADV2", "MIRROR_PAD")
def _pad(call: Call) -> Value:
    pads = call.known(1).reshape(-1, 2)
    if len(pads) != call.rank(0):
        raise call.refuse(f"paddings {pads.tolist()} of {call.rank(0)} axes")
    mirror = "symmetric" if call.option("mode", 0) else "reflect"
    mode = mirror if call.kind == "MIRROR_PAD" else "constant"
    value = float(call.known(2).reshape(-1)[0]) if call.kind == "PADV2" else 0.0
    return movement.pad(call.ctx, call.input(0), pads[:, 0].tolist(), pads[:, 1].tolist(), mode, value)


@lowers("TILE")
def _tile(call: Call) -> Value:
    return movement.tile(call.ctx, call.input(0), call.sizes(1))


@lowers("FILL")
def _fill(call: Call) -> Value:
    value = call.known(1).reshape(-1)[0]
    return call.ctx.fill(float(value), call.sizes(0), call.ctx.run_dtype(call.input(1)))


@lowers("BROADCAST_TO")
def _broadcast_to(call: Call) -> Value:
    return movement.expand(call.ctx, call.input(0), call.sizes(1))


@lowers("RANGE")
def _range(call: Call) -> Value:
    start, limit, delta = (_number(call, n) for n in range(3))
    return movement.arange(call.ctx, start, limit, delta, call.out_infos[0].dtype)


def _number(call: Call, n: int) -> Size | float:
    """Input n as one number or size."""
    if call.input(n).array is None:
        raise call.refuse(
            f"its input {n} must follow from the shapes of the model's inputs; it is computed at run time"
        )
    element = call.input(n).data.reshape(-1)[0]
    return element if isinstance(element, Dim) else element.item()


@lowers("ONE_HOT")
def _one_hot(call: Call) -> Value:
    """inputs: indices, depth, on, off; a new axis of size depth. A negative index is nowhere."""
    depth, axis = call.known_ints(1)[0], call.option("axis", -1)
    return selection.one_hot(call.ctx, call.input(0), depth, call.input(2), call.input(3), axis, wrap=False)


@lowers("RESIZE_NEAREST_NEIGHBOR")
def _resize(call: Call) -> Value:
    """inputs: x (B,H,W,C), the new height and width."""
    scales = scales_to(call.ctx, call.shape(0)[1:3], call.sizes(1))
    if call.option("align_corners", False) or any(s != int(s) for s in scales):
        raise call.refuse(
            f"from {list(call.shape(0)[1:3])} to {call.sizes(1)}: expected whole multiples without align_corners"
        )
    return resize(call.ctx, call.input(0), [1, *scales, 1])


@lowers("SPACE_TO_DEPTH")
def _space_to_depth(call: Call) -> Value:
    return movement.space_to_depth(call.ctx, call.input(0), call.option("block_size"), channels_last=True)


@lowers("DEPTH_TO_SPACE")
def _depth_to_space(call: Call) -> Value:
    return movement.depth_to_space(call.ctx, call.input(0), call.option("block_size"), channels_last=True)
