"""Layers of Keras that move elements: reshape, crop, pad, repeat. Targets leave the batch out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.dims import Dim, Size, product
from ..dialect import TO_END, Value, movement
from .config import Layer
from .emit import Call, Emit, Rule, spatial_axes


def reshape(e: Emit, layer: Layer, call: Call) -> Value:
    return reshape_to(e, call.x, list(layer.config.take("target_shape")))


def reshape_to(e: Emit, x: Value, target: list[int | None]) -> Value:
    """(B, *target). Where the target repeats the leading sizes of the input as trained (its number of frames), they
    stay free."""
    sizes = e.shape(x)
    free = 1
    while free < len(sizes) and free <= len(target) and _stays_free(e, sizes, target, free):
        free += 1
    if free > 1:
        e.note(f"{e.place}: its target {tuple(target)} was taken with the number of frames left free")
    return movement.reshape(e, x, [*sizes[:free], *(-1 if t is None else t for t in target[free - 1 :])])


def _stays_free(e: Emit, sizes: Sequence[Size], target: list[int | None], axis: int) -> bool:
    """Whether the target asks for the open size that the input has on `axis`: as trained, or as what is left over."""
    wanted = target[axis - 1]
    return isinstance(sizes[axis], Dim) and (
        wanted == e.at_trained(sizes[axis]) or wanted in (None, -1) and _rest_fits(sizes, target, axis)
    )


def _rest_fits(sizes: Sequence[Size], target: list[int | None], axis: int) -> bool:
    """Whether -1 at `axis` of the target stands for exactly that axis of the input."""
    left, right = sizes[axis + 1 :], [t for t in target[axis:] if t is not None and t != -1]
    return not movement.open_sizes(left) and len(right) == len(target[axis:]) and product(left) == product(right)


def flatten(e: Emit, layer: Layer, call: Call) -> Value:
    x = call.x
    if layer.config.take("data_format") == "channels_first" and e.rank(x) > 2:
        x = movement.move_axes(e, x, [1], [-1])
    return x if e.rank(x) == 2 else movement.reshape(e, x, [e.shape(x)[0], -1])


def permute(e: Emit, layer: Layer, call: Call) -> Value:
    return movement.transpose(e, call.x, [0, *layer.config.take("dims")])


def repeat_vector(e: Emit, layer: Layer, call: Call) -> Value:
    return movement.tile(e, movement.unsqueeze(e, call.x, [1]), [1, layer.config.size("n"), 1])


def cropping(e: Emit, layer: Layer, call: Call) -> Value:
    amounts = _amounts(layer, "cropping", e.rank(call.x) - 2)
    ends = [-after if after else TO_END for _, after in amounts]
    return movement.take(e, call.x, spatial_axes(e, call.x, layer), [before for before, _ in amounts], ends)


def zero_padding(e: Emit, layer: Layer, call: Call) -> Value:
    amounts = dict(zip(spatial_axes(e, call.x, layer), _amounts(layer, "padding", e.rank(call.x) - 2)))
    pads = [amounts.get(a, (0, 0)) for a in range(e.rank(call.x))]
    return movement.pad(e, call.x, [before for before, _ in pads], [after for _, after in pads])


def up_sampling(e: Emit, layer: Layer, call: Call) -> Value:
    if layer.config.take("interpolation", "nearest") != "nearest":
        raise e.unsupported(f"interpolation {layer.config.take('interpolation')!r}", "expected nearest")
    factors = dict(zip(spatial_axes(e, call.x, layer), layer.config.sizes("size", e.rank(call.x) - 2, 2)))
    return e.emit("Resize", [call.x], {"scales": [factors.get(a, 1) for a in range(e.rank(call.x))]})


def _amounts(layer: Layer, key: str, rank: int) -> list[tuple[int, int]]:
    """(before, after) for every spatial axis, from an int, (a, b) or ((a, b), (c, d)); one axis reads (a, b) as
    before, after."""
    value: Any = layer.config.take(key, 1)
    if isinstance(value, int):
        return [(value, value)] * rank
    if rank == 1:
        value = [value] if len(value) == 2 and isinstance(value[0], int) else value
    return [(v, v) if isinstance(v, int) else (int(v[0]), int(v[1])) for v in value]


RULES: dict[str, Rule] = {
    "Reshape": reshape,
    "Flatten": flatten,
    "Permute": permute,
    "RepeatVector": repeat_vector,
    "Cropping1D": cropping,
    "Cropping2D": cropping,
    "ZeroPadding1D": zero_padding,
    "ZeroPadding2D": zero_padding,
    "UpSampling1D": up_sampling,
    "UpSampling2D": up_sampling,
}
