"""ONNX operators that move elements: shapes, slices, gathers, scatters. Lowered to the rows of docs/ops.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...options import as_typed
from ..dialect import Value, movement
from ..dialect.resize import resize, scales_to
from .files import element_dtype, tensor_array
from .lowering import Call, lowers


@lowers("Shape", folds=True)
def _shape(call: Call) -> Value:
    return movement.shape_of(call.ctx, call.input(0), call.attr("start", 0), call.attr("end"))


@lowers("Size", folds=True)
def _size(call: Call) -> Value:
    return movement.size_of(call.ctx, call.input(0))


@lowers("Reshape", folds=True)
def _reshape(call: Call) -> Value:
    asked = list(call.require_attr("shape")) if call.opset < 5 else call.sizes(1)
    return movement.reshape(call.ctx, call.input(0), asked, copy_zeros=not call.attr("allowzero", 0))


@lowers("Flatten", folds=True)
def _flatten(call: Call) -> Value:
    return movement.flatten(call.ctx, call.input(0), call.attr("axis", 1))


@lowers("Squeeze", folds=True)
def _squeeze(call: Call) -> Value:
    return movement.squeeze(call.ctx, call.input(0), call.axes(13))


@lowers("Unsqueeze", folds=True)
def _unsqueeze(call: Call) -> Value:
    axes = call.axes(13)
    if axes is None:
        raise call.refuse("axes are missing")
    return movement.unsqueeze(call.ctx, call.input(0), axes)


@lowers("Transpose", folds=True)
def _transpose(call: Call) -> Value:
    return movement.transpose(call.ctx, call.input(0), call.attr("perm"))


@lowers("Expand", folds=True)
def _expand(call: Call) -> Value:
    return movement.expand(call.ctx, call.input(0), call.sizes(1))


@lowers("EyeLike")
def _eye_like(call: Call) -> Value:
    rows, columns = call.shape(0)
    dtype = element_dtype(call.attr("dtype"), call.place) if "dtype" in call.attrs else call.input(0).dtype
    return movement.eye(call.ctx, rows, columns, call.attr("k", 0), dtype)


@lowers("ConstantOfShape", folds=True)
def _constant_of_shape(call: Call) -> Value:
    value = call.attr("value")
    array = np.zeros(1, np.float32) if value is None else tensor_array(value, call.place)
    if array.size != 1:
        raise call.refuse(f"value has {array.size} elements, expected 1")
    return call.ctx.fill(array.item(), call.sizes(0), str(array.dtype))


@lowers("Tile", folds=True)
def _tile(call: Call) -> Value:
    return movement.tile(call.ctx, call.input(0), call.sizes(1))


@lowers("Concat", folds=True)
def _concat(call: Call) -> Value:
    return movement.concat(call.ctx, [v for v in call.inputs if v is not None], call.attr("axis", 1))


@lowers("Slice", folds=True)
def _slice(call: Call) -> Value:
    """Bounds are attributes, or inputs since opset 10."""
    if call.opset < 10:
        starts, ends = list(call.require_attr("starts")), list(call.require_attr("ends"))
        return movement.take(call.ctx, call.input(0), call.attr("axes", range(len(starts))), starts, ends)
    starts, ends = call.sizes(1), call.sizes(2)
    axes = call.known_ints(3) if call.optional(3) is not None else list(range(len(starts)))
    steps = call.known_ints(4) if call.optional(4) is not None else None
    return movement.take(call.ctx, call.input(0), axes, starts, ends, steps)


@lowers("Split", folds=True)
def _split(call: Call) -> list[Value | None]:
    """Sizes from the attribute, the input, or as many equal parts as there are outputs."""
    ctx, axis = call.ctx, call.axis(call.attr("axis", 0), call.rank(0))
    parts = call.attr("split") if call.opset < 13 else None
    if call.opset >= 13 and call.optional(1) is not None:
        parts = call.known_ints(1)
    if parts is None:
        parts = movement.equal_parts(ctx, call.shape(0)[axis], call.attr("num_outputs", len(call.proto.output)))
    bounds = movement.split_bounds(ctx, call.shape(0)[axis], parts)
    return [ctx.slice_axis(call.input(0), axis, *b) if call.wants(n) else None for n, b in enumerate(bounds)]


# ---- padding and resizing -------------------------------------------------------------------------------------------


@lowers("Pad")
def _pad(call: Call) -> Value:
    """Pads, all begins and then all ends, are attributes, or inputs since opset 11, which may name the axes they are of."""
    rank, value = call.rank(0), 0.0
    if call.opset < 11:
        pads, value = list(call.require_attr("pads")), call.attr("value", 0.0)
    else:
        pads = movement.fixed_sizes(call.ctx, call.sizes(1), "pads")
        if call.optional(2) is not None:
            value = call.known(2).reshape(-1)[0].item()
    axes = [call.axis(a, rank) for a in call.known_ints(3)] if call.optional(3) is not None else list(range(rank))
    n = len(axes)
    if len(pads) != 2 * n:
        raise call.refuse(f"{len(pads)} pads for {n} axes: expected two each")
    halves = (dict(zip(axes, half)) for half in (pads[:n], pads[n:]))
    begins, ends = ([half.get(axis, 0) for axis in range(rank)] for half in halves)
    return movement.pad(call.ctx, call.input(0), begins, ends, call.attr("mode", "constant"), value)


@lowers("Resize", "Upsample")
def _resize(call: Call) -> Value:
    coordinates = call.attr("coordinate_transformation_mode", "half_pixel") if call.opset >= 11 else "asymmetric"
    rounding = call.attr("nearest_mode", "round_prefer_floor") if call.opset >= 11 else "floor"
    return resize(
        call.ctx,
        call.input(0),
        _scales(call),
        call.attr("mode", "nearest"),
        coordinates,
        rounding,
        _crops(call) if coordinates == "tf_crop_and_resize" else None,
        cubic=call.attr("cubic_coeff_a", -0.75),
        inside=bool(call.attr("exclude_outside", 0)),
        antialias=bool(call.attr("antialias", 0)),
        beyond=call.attr("extrapolation_value", 0.0),
    )


def _crops(call: Call) -> dict[int, tuple[float, float]]:
    """By axis, the part of it that the region of interest names: all beginnings and then all ends."""
    rank = call.rank(0)
    axes = [call.axis(a, rank) for a in call.attr("axes", range(rank))]
    roi = [float(v) for v in call.known(1).reshape(-1)]
    return dict(zip(axes, zip(roi[: len(axes)], roi[len(axes) :])))


def _scales(call: Call) -> list[float]:
    """One factor per axis: an attribute, or an input of factors or of sizes for all axes or those of `axes`."""
    if call.op == "Upsample" and call.opset < 9:
        return [float(s) for s in call.require_attr("scales")]
    shape, at = call.shape(0), 1 if call.op == "Upsample" or call.opset < 11 else 2
    policy = call.attr("keep_aspect_ratio_policy", "stretch")
    axes = [call.axis(a, len(shape)) for a in call.attr("axes", range(len(shape)))]
    given = call.optional(at)
    if given is not None and call.ctx.shape(given) != (0,):
        scales = [float(s) for s in call.known(at).reshape(-1)]
    else:
        scales = scales_to(call.ctx, [shape[a] for a in axes], call.sizes(3))
        if policy not in ("stretch", "not_larger", "not_smaller"):
            raise call.refuse(f"keep_aspect_ratio_policy = {policy!r}: expected stretch, not_larger or not_smaller")
        if policy != "stretch":
            one = min(scales) if policy == "not_larger" else max(scales)
            sizes = movement.fixed_sizes(call.ctx, [shape[a] for a in axes], "resizes axes of sizes")
            scales = [round(size * one) / size for size in sizes]
    by_axis = dict(zip(axes, scales))
    return [by_axis.get(n, 1.0) for n in range(len(shape))]


@lowers("DepthToSpace", "SpaceToDepth")
def _depth_space(call: Call) -> Value:
    move = movement.depth_to_space if call.op == "DepthToSpace" else movement.space_to_depth
    depth_last = call.attr("mode", "DCR") == "CRD"
    return move(call.ctx, call.input(0), int(call.require_attr("blocksize")), depth_last=depth_last)


@lowers("ReverseSequence")
def _reverse_sequence(call: Call) -> Value:
    time, batch = call.attr("time_axis", 0), call.attr("batch_axis", 1)
    return movement.reverse_sequence(call.ctx, call.input(0), call.input(1), time, batch)


@lowers("NonZero", "Unique")
def _data_dependent(call: Call) -> Any:
    raise call.refuse(
        "the shape of its output depends on data, which is not supported; where the data follows from "
        f"sizes, fix those ({as_typed('shapes')})"
    )
