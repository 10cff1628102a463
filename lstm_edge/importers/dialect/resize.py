"""Resampling of axes: whole factors repeat elements, others take the nearest one or go straight between two."""

from __future__ import annotations

from collections.abc import Sequence

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


def resize(
    d: Dialect,
    x: Value,
    scales: Sequence[float],
    mode: str = "nearest",
    coordinates: str = "asymmetric",
    rounding: str = "floor",
) -> Value:
    """x with each axis made `scale` times as long.

    mode: nearest or linear. coordinates: where a place of the result lies in x (asymmetric, half_pixel,
    pytorch_half_pixel, align_corners). rounding: of such a place to the nearest element, one of ROUNDINGS.
    """
    if not all(0 < s < MOST_TIMES for s in scales):
        raise d.refuse(f"resizes by {list(scales)}: expected factors above 0 and below {MOST_TIMES}")
    whole = all(s == int(s) for s in scales)
    if mode == "nearest" and whole and _repeats(coordinates, rounding, max(scales, default=1)):
        if all(s == 1 for s in scales):
            return x
        return d.emit("Resize", [x], {"scales": [int(s) for s in scales], "mode": "nearest"})
    for axis, scale in enumerate(scales):
        if scale != 1:
            x = _resize_axis(d, x, axis, scale, mode, coordinates, rounding)
    return x


def _repeats(coordinates: str, rounding: str, scale: float) -> bool:
    """Whether nearest sampling at a whole scale repeats each element `scale` times."""
    if coordinates == "asymmetric":
        return rounding == "floor" or rounding == "round_prefer_floor" and scale <= 2
    return coordinates in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric") and rounding.startswith("round")


def _resize_axis(d: Dialect, x: Value, axis: int, scale: float, mode: str, coordinates: str, rounding: str) -> Value:
    """One axis of known size: nearest is a Gather, linear a product with a matrix of weights."""
    (size,) = movement.fixed_sizes(d, [d.shape(x)[axis]], "resizes an axis of sizes")
    out = int(np.floor(size * scale + 1e-6))
    places = _source_places(d, np.arange(out, dtype=np.float64), size, out, scale, coordinates)
    if mode == "nearest":
        return gather(d, x, known(np.clip(_rounded(d, places, rounding), 0, size - 1).astype(np.int64)), axis)
    if mode != "linear":
        raise d.refuse(f"mode = {mode!r} is not supported: expected nearest or linear")
    check_bytes([out, size], d.place)
    places = np.clip(places, 0, size - 1)
    low = np.minimum(np.floor(places).astype(int), max(size - 2, 0))
    weights = np.zeros((out, size), np.float32)
    weights[np.arange(out), low] = 1 - (places - low)
    if size > 1:
        weights[np.arange(out), low + 1] += (places - low).astype(np.float32)
    rank = len(d.shape(x))
    last = [n for n in range(rank) if n != axis] + [axis]
    moved = d.emit("Dense", [d.transpose(x, last), known(weights)])
    return d.transpose(moved, [last.index(n) for n in range(rank)])


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


def _source_places(d: Dialect, y: np.ndarray, size: int, out: int, scale: float, coordinates: str) -> np.ndarray:
    if coordinates == "asymmetric":
        places = y / scale
    elif coordinates == "align_corners":
        places = y * (size - 1) / max(out - 1, 1)
    elif coordinates == "pytorch_half_pixel" and out == 1:
        places = np.zeros_like(y)
    elif coordinates in ("half_pixel", "pytorch_half_pixel"):
        places = (y + 0.5) / scale - 0.5
    else:
        raise d.refuse(f"coordinate_transformation_mode = {coordinates!r} is not supported")
    return np.asarray(places)
