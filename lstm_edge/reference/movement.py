"""Movement in NumPy."""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError
from ..ir.graph import Node
from ..ir.ops import each, place
from .arrays import Array, Attrs, Rule, dtype_of, shape_of, to_dtype


def _reshape(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return arrays[0].reshape(shape_of(node, arrays))


def _expand(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return np.broadcast_to(arrays[0], shape_of(node, arrays)).copy()


def _fill(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return np.full(shape_of(node, arrays), to_dtype(np.asarray(a["value"], np.float64), a["dtype"]))


def _transpose(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return arrays[0].transpose(a["perm"])


def _concat(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return np.concatenate([x for x in arrays if x is not None], axis=a["axis"])


def _slice(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x = arrays[0]
    steps = each(a["steps"], len(a["axes"]))
    for axis, start, end, step in zip(a["axes"], a["starts"], a["ends"], steps):
        size = x.shape[axis]
        through_first = step < 0 and end < -size
        at = [slice(None)] * x.ndim
        at[axis] = slice(start, None if through_first else end, step)
        x = x[tuple(at)]
    return x


def _pad(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x = arrays[0]
    width = list(zip(a["pads"][: x.ndim], a["pads"][x.ndim :]))
    if a["mode"] != "constant":
        return np.pad(x, width, mode=a["mode"])
    return np.pad(x, width, constant_values=to_dtype(np.asarray(a["value"], np.float64), dtype_of(x)))


def _tile(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return np.tile(arrays[0], a["repeats"])


def _checked(node: Node, indices: Array, size: int) -> Array:
    """Indices counted from the start; ShapeError for one out of range."""
    if indices.size and (indices.min() < -size or indices.max() >= size):
        raise ShapeError(
            f"{place(node)}: input indices: expected values of {-size} to {size - 1}, "
            f"found {indices.min()} to {indices.max()}"
        )
    return np.where(indices < 0, indices + size, indices)


def _gather(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return np.take(arrays[0], _checked(node, arrays[1], arrays[0].shape[a["axis"]]), axis=a["axis"])


def _along(node: Node, a: Attrs, x: Array, indices: Array) -> tuple[Array, ...]:
    """The places that indices name: its own coordinates, but on `axis` its values."""
    at = list(np.indices(indices.shape, sparse=True))
    at[a["axis"]] = _checked(node, indices, x.shape[a["axis"]])
    return tuple(at)


def _gather_elements(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return arrays[0][_along(node, a, arrays[0], arrays[1])]


def _scatter_elements(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    """In row-major order of the indices: of equal places the last one stays (none), or all are added."""
    y, updates = arrays[0].copy(), arrays[2]
    at = tuple(np.broadcast_to(i, updates.shape).reshape(-1) for i in _along(node, a, y, arrays[1]))
    if a["reduction"] == "add":
        np.add.at(y, at, updates.reshape(-1))
    else:
        for *where, update in zip(*at, updates.reshape(-1)):
            y[tuple(where)] = update
    return y


def _reverse_sequence(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x, lengths = arrays
    y = np.moveaxis(x.copy(), (a["batch_axis"] % x.ndim, a["time_axis"] % x.ndim), (0, 1))
    if lengths.size and (lengths.min() < 0 or lengths.max() > y.shape[1]):
        raise ShapeError(
            f"{place(node)}: input lengths: expected values of 0 to {y.shape[1]}, found {lengths.tolist()}"
        )
    for row, length in zip(y, lengths):
        row[:length] = row[:length][::-1].copy()
    return np.moveaxis(y, (0, 1), (a["batch_axis"] % x.ndim, a["time_axis"] % x.ndim))


def _resize(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x = arrays[0]
    for axis, scale in enumerate(a["scales"]):
        x = np.repeat(x, scale, axis=axis)
    return x


RULES: dict[str, Rule] = {
    "Reshape": _reshape,
    "Expand": _expand,
    "Fill": _fill,
    "Transpose": _transpose,
    "Concat": _concat,
    "Slice": _slice,
    "Pad": _pad,
    "Tile": _tile,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "ScatterElements": _scatter_elements,
    "ReverseSequence": _reverse_sequence,
    "Resize": _resize,
}
