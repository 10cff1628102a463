"""What the Keras layers share while they write ops: values with masks, and one-line helpers over Graph.add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...errors import FormatError, ShapeError, UnsupportedModelError
from ...ir.dims import Dim, Size, product, value
from ...ir.graph import Graph
from .config import Layer, Version

MAX_ELEMENTS = 1 << 28  # of a tensor of one sequence and one frame; a config that asks for more is not a real one


@dataclass(frozen=True)
class Value:
    """A tensor of the graph with the Keras mask that travels with it (a bool tensor (B,T), or None)."""

    t: str
    mask: str | None = None


@dataclass
class Call:
    """One call of a layer: tensors in order, keyword arguments (Values, lists of such or plain), positional arguments
    as written."""

    inputs: list[Value]
    kwargs: dict[str, Any] = field(default_factory=dict)
    args: list[Any] = field(default_factory=list)


class From(NamedTuple):
    """In a reshape: the size of `axis` of `tensor`."""

    tensor: str
    axis: int


class Emit:
    """Adds ops to a graph. Tensors are named by strings, as in Graph."""

    def __init__(self, graph: Graph, version: Version, frames: int | None):
        self.g, self.version = graph, version
        self.frames = frames  # the number of frames the file was trained with, where it says one
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def shape(self, x: str) -> tuple[Size, ...]:
        return self.g.shape(x)

    def rank(self, x: str) -> int:
        return len(self.g.shape(x))

    def dtype(self, x: str) -> str:
        return self.g.tensors[x].dtype

    def at_trained(self, size: Size) -> Size:
        """A size as a number where it depends on frames alone and the file says how many there were."""
        if isinstance(size, Dim) and not size.mentions("batch") and self.frames:
            return value(size, 1, self.frames)
        return size

    def op(self, op: str, inputs: Sequence[str], name: str, **attrs: Any) -> str:
        tensor = self.g.add1(op, list(inputs), attrs, name)
        if product(s for s in self.shape(tensor) if isinstance(s, int)) > MAX_ELEMENTS:
            raise FormatError(
                f"node {name} ({op}): expected at most {MAX_ELEMENTS} elements, found {self.shape(tensor)}"
            )
        return tensor

    def const(self, data: Any, name: str) -> str:
        return self.g.constant(np.asarray(data), name)

    def weight(self, layer: Layer, key: str, shape: Sequence[int | None], data: np.ndarray | None = None) -> np.ndarray:
        """The array `key` of `layer`, its shape checked (None: any size)."""
        array = layer.weights[key] if data is None else data
        if array.ndim != len(shape) or any(w is not None and w != s for w, s in zip(shape, array.shape)):
            wanted = "(" + ", ".join("any" if w is None else str(w) for w in shape) + ")"
            raise ShapeError(f"{layer.place}: weight {key}: expected shape {wanted}, found {array.shape}")
        return array

    def reshape(self, x: str, dims: Sequence[Any], name: str) -> str:
        """`dims`: ints (one may be -1), From, or sizes of x that are kept (pass From(x, axis))."""
        sizes: list[str] = [x]
        shape, from_input, from_axis = [], [], []
        for d in dims:
            if isinstance(d, From):
                if d.tensor not in sizes:
                    sizes.append(d.tensor)
                fixed = self.shape(d.tensor)[d.axis]
                symbolic = isinstance(fixed, Dim)
                shape.append(1 if symbolic else fixed)
                from_input.append(sizes.index(d.tensor) if symbolic else -1)
                from_axis.append(d.axis if symbolic else 0)
            else:
                shape.append(self._rest(x, dims) if d == -1 else int(d))
                from_input.append(-1)
                from_axis.append(0)
        used = [i for i in range(len(sizes)) if i == 0 or i in from_input]
        renumber = {old: new for new, old in enumerate(used)}
        return self.op(
            "Reshape",
            [sizes[i] for i in used],
            name,
            shape=shape,
            from_input=[renumber.get(i, -1) for i in from_input],
            from_axis=from_axis,
        )

    def _rest(self, x: str, dims: Sequence[Any]) -> int:
        """What -1 stands for: a number where all axes of x that `dims` does not keep are numbers, else -1."""
        kept = [d.axis for d in dims if isinstance(d, From) and d.tensor == x]
        others = [d for d in dims if isinstance(d, int) and d != -1]
        left = [s for a, s in enumerate(self.shape(x)) if a not in kept]
        if len(kept) + len(others) + 1 != len(dims) or not all(isinstance(s, int) for s in left):
            return -1
        whole, part = product(left), product(others)
        if not part or whole % part:
            raise ShapeError(f"reshape of {self.shape(x)}: expected a multiple of {part} elements, found {whole}")
        return whole // part

    def keep(self, x: str, *axes: int) -> list[From]:
        return [From(x, a) for a in axes]

    def expand_dims(self, x: str, axis: int, name: str) -> str:
        dims: list[Any] = self.keep(x, *range(self.rank(x)))
        dims.insert(axis % (self.rank(x) + 1), 1)
        return self.reshape(x, dims, name)

    def squeeze(self, x: str, axis: int, name: str) -> str:
        axis %= self.rank(x)
        return self.reshape(x, self.keep(x, *(a for a in range(self.rank(x)) if a != axis)), name)

    def slice(self, x: str, axis: int, start: int, end: int, name: str, step: int = 1) -> str:
        return self.op("Slice", [x], name, axes=[axis], starts=[start], ends=[end], steps=[step])

    def flip(self, x: str, axis: int, name: str) -> str:
        return self.slice(x, axis, -1, -(2**31), name, -1)

    def transpose(self, x: str, perm: Sequence[int], name: str) -> str:
        return x if list(perm) == list(range(self.rank(x))) else self.op("Transpose", [x], name, perm=list(perm))

    def cast(self, x: str, to: str, name: str) -> str:
        return x if self.dtype(x) == to else self.op("Cast", [x], name, to=to)

    def real(self, x: str, name: str) -> str:
        """x in float32."""
        return self.cast(x, "float32", f"{name}/float")

    def unary(self, kind: str, x: str, name: str, **attrs: float) -> str:
        return self.op("Unary", [x], name, kind=kind, **attrs)

    def binary(self, kind: str, a: str, b: str, name: str) -> str:
        return self.op("Binary", [a, b], name, kind=kind)

    def scaled(self, x: str, scale: Any, offset: Any, name: str) -> str:
        """x * scale + offset with constant arrays; parts that do nothing are left out."""
        scale, offset = np.asarray(scale, np.float32), np.asarray(offset, np.float32)
        if np.any(scale != 1):
            last = not np.any(offset)
            x = self.binary("mul", x, self.const(scale, f"{name}/scale"), name if last else f"{name}/mul")
        if np.any(offset):
            x = self.binary("add", x, self.const(offset, f"{name}/offset"), name)
        return x

    def reduce(self, kind: str, x: str, axes: Sequence[int], name: str, keepdims: bool = False) -> str:
        return self.op("Reduce", [x], name, kind=kind, axes=list(axes), keepdims=int(keepdims))

    def concat(self, xs: Sequence[str], axis: int, name: str) -> str:
        return xs[0] if len(xs) == 1 else self.op("Concat", xs, name, axis=axis)


def channel_axis(e: Emit, x: str, layer: Layer) -> int:
    """Where the channels are: the last axis, or axis 1 with data_format channels_first."""
    layout = layer.config.word("data_format", ("channels_last", "channels_first"), "channels_last")
    return e.rank(x) - 1 if layout == "channels_last" else 1


def unsupported(layer: Layer, what: str, advice: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"{layer.place}: {what}; {advice}")
