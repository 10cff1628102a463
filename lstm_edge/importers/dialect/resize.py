"""Resampling of axes: whole factors repeat elements, others take the nearest one or go straight between two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir.dims import Dim, Size
from ...options import as_typed
from . import movement
from .builder import Dialect
from .reshaping import exact_quotient
from .selection import gather
from .value import Value, check_bytes, known

MOST_TIMES = 1 << 16  # as long as an axis may become
ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")


def scales_to(d: Dialect, sizes: Sequence[Size], wanted: Sequence[Size]) -> list[float]:
    """The factors between two shapes, of which open sizes must be whole multiples."""
    scales = []
    for size, want in zip(sizes, wanted):
        ratio = exact_quotient(want, size)
        if isinstance(ratio, Dim) or ratio is None and (isinstance(want, Dim) or isinstance(size, Dim)):
            raise d.refuse(f"resizes an axis of {size} to {want}; fix those sizes ({as_typed('shapes')})")
        scales.append(float(ratio) if ratio is not None else _float(want) / _float(size))
    return scales


def _float(size: Size) -> float:
    if isinstance(size, Dim):
        raise TypeError(f"expected a number, found {size}")
    return float(size)


@dataclass(frozen=True)
class Sampling:
    """How elements of a resized axis are made.

    mode: nearest, linear or cubic. coordinates: where a place of the result lies in the source (asymmetric, half_pixel,
    pytorch_half_pixel, half_pixel_symmetric, align_corners, tf_crop_and_resize). rounding: of such a place to the nearest
    element, one of ROUNDINGS. cubic: the coefficient a of the cubic kernel. inside: neighbours beyond the ends count for
    nothing, instead of as the ends do. antialias: a shrinking axis is filtered over all that an element stands for.
    beyond: the value of places outside the source, of tf_crop_and_resize.
    """

    mode: str = "nearest"
    coordinates: str = "asymmetric"
    rounding: str = "floor"
    cubic: float = -0.75
    inside: bool = False
    antialias: bool = False
    beyond: float = 0.0


@dataclass(frozen=True)
class Axis:
    """A resized axis: its size, that of the result, the factor between them, and the part of it that is resized."""

    size: int
    out: int
    scale: float
    crop: tuple[float, float] = (0.0, 1.0)


def resize(
    d: Dialect,
    x: Value,
    scales: Sequence[float],
    mode: str = "nearest",
    coordinates: str = "asymmetric",
    rounding: str = "floor",
    crops: Mapping[int, tuple[float, float]] | None = None,
    **filtered: Any,
) -> Value:
    """x with each axis made `scale` times as long. mode, coordinates, rounding and what is in `filtered` (cubic, inside,
    antialias, beyond) as Sampling has them. crops: by axis, the part from and to which (0 to 1) it is resized."""
    sampling = Sampling(mode, coordinates, rounding, **filtered)
    if not all(0 < s < MOST_TIMES for s in scales):
        raise d.refuse(f"resizes by {list(scales)}: expected factors above 0 and below {MOST_TIMES}")
    whole = all(s == int(s) for s in scales) and not crops
    if sampling.mode == "nearest" and whole and _repeats(sampling, max(scales, default=1)):
        if all(s == 1 for s in scales):
            return x
        return d.emit("Resize", [x], {"scales": [int(s) for s in scales], "mode": "nearest"})
    for axis, scale in enumerate(scales):
        crop = (crops or {}).get(axis, (0.0, 1.0))
        if scale != 1 or crop != (0.0, 1.0):
            x = _resize_axis(d, x, axis, scale, crop, sampling)
    return x


def _repeats(sampling: Sampling, scale: float) -> bool:
    """Whether nearest sampling at a whole scale repeats each element `scale` times."""
    coordinates, rounding = sampling.coordinates, sampling.rounding
    if coordinates == "asymmetric":
        return rounding == "floor" or rounding == "round_prefer_floor" and scale <= 2
    return coordinates in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric") and rounding.startswith("round")


def _resize_axis(d: Dialect, x: Value, axis: int, scale: float, crop: tuple[float, float], sampling: Sampling) -> Value:
    """One axis of known size: nearest is a Gather, the others a product with a matrix of weights."""
    (size,) = movement.fixed_sizes(d, [d.shape(x)[axis]], "resizes an axis of sizes")
    along = Axis(size, int(np.floor(size * scale + 1e-6)), scale, crop)
    places = _source_places(d, along, sampling.coordinates)
    outside = (
        (places < 0) | (places > size - 1)
        if sampling.coordinates == "tf_crop_and_resize"
        else np.zeros(len(places), bool)
    )
    if sampling.mode == "nearest" and not outside.any():
        return gather(d, x, known(np.clip(_rounded(d, places, sampling.rounding), 0, size - 1).astype(np.int64)), axis)
    check_bytes([along.out, size], d.place)
    weights = _weights(d, places, along, sampling)
    weights[outside] = 0
    rank = len(d.shape(x))
    last = [n for n in range(rank) if n != axis] + [axis]
    bias = [known((outside * sampling.beyond).astype(np.float32))] if outside.any() and sampling.beyond else []
    moved = d.emit("Dense", [d.transpose(x, last), known(weights.astype(np.float32)), *bias])
    return d.transpose(moved, [last.index(n) for n in range(rank)])


def _weights(d: Dialect, places: np.ndarray, along: Axis, sampling: Sampling) -> np.ndarray:
    """(out, size): how much of each element is in each element of the result."""
    weights = np.zeros((along.out, along.size))
    for row, place in enumerate(places):
        neighbours, shares = _kernel(d, float(place), along, sampling)
        if sampling.inside:
            shares = np.where((neighbours < 0) | (neighbours >= along.size), 0, shares)
            shares = shares / shares.sum()
        np.add.at(weights[row], np.clip(neighbours, 0, along.size - 1), shares)
    return weights


def _kernel(d: Dialect, place: float, along: Axis, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """The elements around a place, some perhaps beyond the ends, and their shares."""
    if sampling.mode == "nearest":
        return _rounded(d, np.array([place]), sampling.rounding).astype(int), np.ones(1)
    if sampling.mode not in _KERNELS:
        raise d.refuse(f"mode = {sampling.mode!r} is not supported: expected nearest, linear or cubic")
    reach, shape = _KERNELS[sampling.mode]
    narrowed = min(along.scale, 1.0) if sampling.antialias else 1.0
    span = int(np.ceil(reach / narrowed))
    neighbours = np.arange(int(np.floor(place)) - span + 1, int(np.floor(place)) + span + 1)
    shares = shape(np.abs(neighbours - place) * narrowed, sampling.cubic)
    return neighbours, np.asarray(shares / shares.sum())


def _linear(distance: np.ndarray, _: float) -> np.ndarray:
    return np.asarray(np.clip(1 - distance, 0, 1))


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys, "Cubic convolution interpolation", 1981."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


_KERNELS: dict[str, tuple[int, Callable[[np.ndarray, float], np.ndarray]]] = {
    "linear": (1, _linear),
    "cubic": (2, _cubic),
}


def _rounded(d: Dialect, places: np.ndarray, rounding: str) -> np.ndarray:
    if rounding not in ROUNDINGS:
        raise d.refuse(f"rounding {rounding!r}: expected one of {', '.join(ROUNDINGS)}")
    whole = {
        "floor": np.floor(places),
        "ceil": np.ceil(places),
        "round_prefer_floor": np.ceil(places - 0.5),
        "round_prefer_ceil": np.floor(places + 0.5),
    }
    return np.asarray(whole[rounding])


def _source_places(d: Dialect, along: Axis, coordinates: str) -> np.ndarray:
    """Where the elements of the result lie in the source."""
    y, size, out, scale = np.arange(along.out, dtype=np.float64), along.size, along.out, along.scale
    first, last = along.crop
    if coordinates == "asymmetric":
        places = y / scale
    elif coordinates == "align_corners":
        places = y * (size - 1) / max(out - 1, 1)
    elif coordinates == "tf_crop_and_resize":
        spread = y * (last - first) * (size - 1) / (out - 1) if out > 1 else y + (last - first) * (size - 1) / 2
        places = spread + first * (size - 1)
    elif coordinates == "pytorch_half_pixel" and out == 1:
        places = np.zeros_like(y)
    elif coordinates in ("half_pixel", "pytorch_half_pixel"):
        places = (y + 0.5) / scale - 0.5
    elif coordinates == "half_pixel_symmetric":
        places = size / 2 * (1 - out / (scale * size)) + (y + 0.5) / scale - 0.5
    else:
        raise d.refuse(f"coordinate_transformation_mode = {coordinates!r} is not supported")
    return np.asarray(places)
