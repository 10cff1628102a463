"""ONNX operators that move elements: shapes, slices, gathers, scatters. Lowered to the rows of docs/ops.md."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ...ir.dims import Dim, Size, product
from ..dialect import TO_END, Value, broadcast, known
from ..dialect.selection import fixed_sizes, gather
from .files import element_dtype
from .folding import fill_value, reshape_target, shape_of, slice_args, split_sizes, squeezed, unsqueezed
from .lowering import Call, Lowering, lowers


@lowers("Shape")
def _shape(call: Call) -> Value:
    return shape_of(call)


@lowers("Size")
def _size(call: Call) -> Value:
    out = np.empty((), object)
    out[()] = product(call.shape(0))
    return known(out, "int64")


@lowers("Reshape")
def _reshape(call: Call) -> Value:
    return call.ctx.reshape(call.input(0), reshape_target(call, call.shape(0)))


@lowers("Flatten")
def _flatten(call: Call) -> Value:
    shape = call.shape(0)
    axis = call.attr("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return call.ctx.reshape(call.input(0), [product(shape[:axis]), product(shape[axis:])])


@lowers("Squeeze")
def _squeeze(call: Call) -> Value:
    return call.ctx.reshape(call.input(0), squeezed(call, call.shape(0)))


@lowers("Unsqueeze")
def _unsqueeze(call: Call) -> Value:
    return call.ctx.reshape(call.input(0), unsqueezed(call, call.shape(0)))


@lowers("Transpose")
def _transpose(call: Call) -> Value:
    return call.ctx.transpose(call.input(0), call.attr("perm", list(range(call.rank(0)))[::-1]))


@lowers("Expand")
def _expand(call: Call) -> Value:
    return call.ctx.expand(call.input(0), broadcast(call.shape(0), call.sizes(1), call.place))


@lowers("EyeLike")
def _eye_like(call: Call) -> Value:
    rows, columns = fixed_sizes(call.ctx, call.shape(0))
    dtype = element_dtype(call.attr("dtype"), call.place) if "dtype" in call.attrs else call.input(0).dtype
    return known(np.eye(rows, columns, call.attr("k", 0), dtype))


@lowers("ConstantOfShape")
def _constant_of_shape(call: Call) -> Value:
    value = fill_value(call)
    return call.ctx.fill(value.item(), call.sizes(0), str(value.dtype))


@lowers("Tile")
def _tile(call: Call) -> Value:
    ctx, x = call.ctx, call.input(0)
    repeats, shape = call.sizes(1), call.shape(0)
    if all(s == 1 for s, r in zip(shape, repeats) if isinstance(r, Dim)):
        x = ctx.expand(x, [r if isinstance(r, Dim) else s for s, r in zip(shape, repeats)])
        repeats = [1 if isinstance(r, Dim) else r for r in repeats]
        return x if all(r == 1 for r in repeats) else ctx.emit("Tile", [x], {"repeats": repeats})
    raise call.refuse(
        f"repeats {repeats} of shape {list(shape)}: a number of repeats that depends on batch or frames is "
        "only supported on an axis of size 1"
    )


@lowers("Concat")
def _concat(call: Call) -> Value:
    values = [v for v in call.inputs if v is not None and not (v.is_known and v.array.size == 0)]
    axis = call.axis(call.attr("axis", 1), len(call.ctx.shape(values[0])))
    return values[0] if len(values) == 1 else call.ctx.emit("Concat", values, {"axis": axis})


# ---- slices ---------------------------------------------------------------------------------------------------------


@lowers("Slice")
def _slice(call: Call) -> Value:
    shape = call.shape(0)
    args = slice_args(call, len(shape))
    axes, starts, ends, steps = [], [], [], []
    for axis, start, end, step in zip(*args):
        start = slice_bound(call, start, shape[axis])
        end = slice_bound(call, end, shape[axis])
        whole = end >= TO_END or not isinstance(shape[axis], Dim) and end >= shape[axis]
        if step == 1 and start == 0 and whole:
            continue
        axes.append(axis)
        starts.append(start)
        ends.append(end)
        steps.append(step)
    if not axes:
        return call.input(0)
    return call.ctx.emit("Slice", [call.input(0)], {"axes": axes, "starts": starts, "ends": ends, "steps": steps})


def slice_bound(call: Call, bound: Size, size: Size) -> int:
    """A bound as a number: one that depends on the axis's own size counts from its end."""
    if isinstance(bound, Dim):
        left = bound - size
        if isinstance(left, Dim):
            raise call.refuse(
                f"a slice bound of {bound} on an axis of {size} depends on batch or frames in a way that a "
                "fixed slice cannot follow; fix those sizes (--shape)"
            )
        return TO_END if left >= 0 else int(left)
    return int(max(-TO_END, min(TO_END, bound)))


@lowers("Split")
def _split(call: Call) -> list[Value | None]:
    x, shape = call.input(0), call.shape(0)
    axis = call.axis(call.attr("axis", 0), len(shape))
    bounds = [0, *itertools.accumulate(split_sizes(call, shape[axis]))]
    return [
        call.ctx.slice_axis(x, axis, a, b) if call.wants(n) else None
        for n, (a, b) in enumerate(itertools.pairwise(bounds))
    ]


# ---- padding and resizing -------------------------------------------------------------------------------------------


@lowers("Pad")
def _pad(call: Call) -> Value:
    ctx, x, rank = call.ctx, call.input(0), call.rank(0)
    mode = call.attr("mode", "constant")
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise call.refuse(f"mode = {mode!r} is not supported: expected constant, reflect, edge or wrap")
    value = 0.0
    if call.opset < 11:
        pads, value = list(call.require_attr("pads")), call.attr("value", 0.0)
    else:
        pads = fixed_sizes(call.ctx, call.sizes(1))
        if call.optional(2) is not None:
            value = call.known(2).reshape(-1)[0].item()
    axes = [call.axis(a, rank) for a in call.known_ints(3)] if call.optional(3) is not None else list(range(rank))
    if len(pads) != 2 * len(axes):
        raise call.refuse(f"{len(pads)} pads for {len(axes)} axes: expected two each")
    full = [0] * (2 * rank)
    for n, axis in enumerate(axes):
        full[axis], full[rank + axis] = pads[n], pads[len(axes) + n]
    for axis in range(rank):  # a negative pad cuts
        start, end = min(full[axis], 0), min(full[rank + axis], 0)
        if start or end:
            x = ctx.slice_axis(x, axis, -start, end or TO_END)
    full = [max(p, 0) for p in full]
    if not any(full):
        return x
    if mode == "wrap":
        for axis in range(rank):
            before, after = full[axis], full[rank + axis]
            pieces = [ctx.slice_axis(x, axis, -before, TO_END)] if before else []
            pieces += [x] + ([ctx.slice_axis(x, axis, 0, after)] if after else [])
            x = ctx.emit("Concat", pieces, {"axis": axis}) if len(pieces) > 1 else x
        return x
    return ctx.emit("Pad", [x], {"pads": full, "mode": mode, "value": float(value)})


@lowers("Resize", "Upsample")
def _resize(call: Call) -> Value:
    shape = call.shape(0)
    scales = _scales(call, shape)
    mode = call.attr("mode", "nearest")
    coordinates = call.attr("coordinate_transformation_mode", "half_pixel") if call.opset >= 11 else "asymmetric"
    rounding = call.attr("nearest_mode", "round_prefer_floor") if call.opset >= 11 else "floor"
    call.ignore("cubic_coeff_a", "extrapolation_value", "exclude_outside")
    if call.attr("antialias", 0):
        raise call.refuse("antialias = 1 is not supported")
    if mode == "nearest" and all(s == int(s) for s in scales) and _repeats(coordinates, rounding, max(scales)):
        if all(s == 1 for s in scales):
            return call.input(0)
        return call.ctx.emit("Resize", [call.input(0)], {"scales": [int(s) for s in scales], "mode": "nearest"})
    x = call.input(0)
    for axis, scale in enumerate(scales):
        if scale != 1:
            x = _resize_axis(call, x, axis, scale, mode, coordinates, rounding)
    return x


def _scales(call: Call, shape: tuple[Size, ...]) -> list[float]:
    if call.op == "Upsample" and call.opset < 9:
        return [float(s) for s in call.require_attr("scales")]
    at = 1 if call.op == "Upsample" or call.opset < 11 else 2
    policy = call.attr("keep_aspect_ratio_policy", "stretch")
    axes = [call.axis(a, len(shape)) for a in call.attr("axes", range(len(shape)))]
    if policy != "stretch":
        raise call.refuse(f"keep_aspect_ratio_policy = {policy!r} is not supported")
    full = [1.0] * len(shape)
    given = call.optional(at)
    if given is not None and call.ctx.shape(given) != (0,):
        for a, s in zip(axes, call.known(at).reshape(-1)):
            full[a] = float(s)
        return full
    for a, s in zip(axes, call.sizes(3)):
        size = shape[a]
        if s == size:
            continue
        if isinstance(s, Dim) or isinstance(size, Dim):
            ratio = s // size if isinstance(s, Dim) else None
            if isinstance(ratio, Dim) or ratio is None or ratio * size != s:
                raise call.refuse(f"resizes an axis of {size} to {s}; fix those sizes (--shape)")
            full[a] = float(ratio)
        else:
            full[a] = s / size
    return full


def _repeats(coordinates: str, rounding: str, scale: float) -> bool:
    """Whether nearest sampling at a whole scale repeats each element `scale` times."""
    if coordinates == "asymmetric":
        return rounding == "floor" or rounding == "round_prefer_floor" and scale <= 2
    return coordinates in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric") and rounding.startswith("round")


def _resize_axis(call: Call, x: Value, axis: int, scale: float, mode: str, coordinates: str, rounding: str) -> Value:
    """One axis of known size: nearest is a Gather, linear a product with a matrix of weights."""
    ctx = call.ctx
    (size,) = fixed_sizes(call.ctx, [ctx.shape(x)[axis]])
    out = int(np.floor(size * scale + 1e-6))
    places = _source_places(call, np.arange(out, dtype=np.float64), size, out, scale, coordinates)
    if mode == "nearest":
        nearest = {
            "floor": np.floor(places),
            "ceil": np.ceil(places),
            "round_prefer_floor": np.ceil(places - 0.5),
            "round_prefer_ceil": np.floor(places + 0.5),
        }[rounding]
        return gather(call.ctx, x, known(np.clip(nearest, 0, size - 1).astype(np.int64)), axis)
    if mode != "linear":
        raise call.refuse(f"mode = {mode!r} is not supported: expected nearest or linear")
    places = np.clip(places, 0, size - 1)
    low = np.minimum(np.floor(places).astype(int), max(size - 2, 0))
    weights = np.zeros((out, size), np.float32)
    weights[np.arange(out), low] = 1 - (places - low)
    if size > 1:
        weights[np.arange(out), low + 1] += (places - low).astype(np.float32)
    rank = len(ctx.shape(x))
    last = [d for d in range(rank) if d != axis] + [axis]
    moved = ctx.emit("Dense", [ctx.transpose(x, last), known(weights)])
    return ctx.transpose(moved, [last.index(d) for d in range(rank)])


def _source_places(call: Call, y: np.ndarray, size: int, out: int, scale: float, coordinates: str) -> np.ndarray:
    if coordinates == "asymmetric":
        return y / scale
    if coordinates == "align_corners":
        return y * (size - 1) / max(out - 1, 1)
    if coordinates == "pytorch_half_pixel" and out == 1:
        return np.zeros_like(y)
    if coordinates in ("half_pixel", "pytorch_half_pixel"):
        return (y + 0.5) / scale - 0.5
    raise call.refuse(f"coordinate_transformation_mode = {coordinates!r} is not supported")


@lowers("DepthToSpace", "SpaceToDepth")
def _depth_space(call: Call) -> Value:
    ctx, x, block = call.ctx, call.input(0), int(call.require_attr("blocksize"))
    n, c, h, w = call.shape(0)
    if call.op == "SpaceToDepth":
        order = [0, 3, 5, 1, 2, 4] if call.attr("mode", "DCR") == "DCR" else [0, 1, 3, 5, 2, 4]
        split = ctx.reshape(x, [n, c, h // block, block, w // block, block])
        return ctx.reshape(ctx.transpose(split, order), [n, c * block * block, h // block, w // block])
    deep = c // (block * block)
    if call.attr("mode", "DCR") == "DCR":
        parts = ctx.transpose(ctx.reshape(x, [n, block, block, deep, h, w]), [0, 3, 4, 1, 5, 2])
    else:
        parts = ctx.transpose(ctx.reshape(x, [n, deep, block, block, h, w]), [0, 1, 4, 2, 5, 3])
    return ctx.reshape(parts, [n, deep, h * block, w * block])


@lowers("ReverseSequence")
def _reverse_sequence(call: Call) -> Value:
    ctx, x, lengths = call.ctx, call.input(0), call.input(1)
    time, batch = call.attr("time_axis", 0), call.attr("batch_axis", 1)
    if ctx.uniform(lengths) == call.shape(0)[time]:
        return reversed_axis(ctx, x, time)
    return ctx.emit("ReverseSequence", [x, ctx.cast(lengths, "int32")], {"batch_axis": batch, "time_axis": time})


def reversed_axis(ctx: Lowering, x: Value, axis: int) -> Value:
    return ctx.emit("Slice", [x], {"axes": [axis], "starts": [-1], "ends": [-TO_END], "steps": [-1]})


@lowers("NonZero", "Unique")
def _data_dependent(call: Call) -> Any:
    raise call.refuse(
        "the shape of its output depends on data, which is not supported; where the data follows from "
        "sizes, fix those (--shape)"
    )
