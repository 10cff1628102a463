"""The sizes of an ONNX model's inputs: numbers, what --shape says, and what stays open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import UnsupportedModelError
from ...ir.dims import BATCH, FRAMES, Dim, Size
from ...ir.sizes import Sizes
from ..dialect.open_sizes import OpenSize, with_symbols

Key = str | tuple[str, int]  # a dimension's name, or (input, axis) of one without
SYMBOLS: dict[str, Dim] = {"batch": BATCH, "frames": FRAMES}


@dataclass
class InputDims:
    """A model input: its name and per axis a number or the key of a dynamic dimension. `dims` is None when unknown."""

    name: str
    dims: list[int | Key] | None


class InputSizes:
    """The sizes of every input, some of them open."""

    def __init__(self, inputs: list[InputDims], shapes: Mapping[str, list[int | str]] | None):
        """UnsupportedModelError where `shapes` (input -> numbers, 'batch' or 'frames') do not go with the inputs."""
        given = dict(shapes or {})
        unknown = sorted(set(given) - {i.name for i in inputs})
        if unknown:
            raise UnsupportedModelError(
                f"--shape {unknown[0]}: the model has no such input; its inputs are {', '.join(i.name for i in inputs)}"
            )
        self._bound = _given(inputs, given)
        for info in inputs:
            if info.dims is None:
                raise UnsupportedModelError(
                    f"input {info.name!r}: the file gives no shape; give one (--shape {info.name}=...)"
                )
        self._inputs = {i.name: i.dims or [] for i in inputs}
        taken = [name for name, symbol in SYMBOLS.items() if symbol in self._bound.values()]
        self.open = with_symbols(
            [
                OpenSize(name, axis, key if isinstance(key, str) else "")
                for name, dims in self._inputs.items()
                for axis, key in enumerate(dims)
                if not isinstance(key, int) and key not in self._bound
            ],
            taken,
        )
        self._symbols = {(o.input, o.axis): Dim.symbol(o.symbol) for o in self.open}

    def shape(self, name: str, sizes: Sizes) -> tuple[Size, ...]:
        """The shape of an input with what is known of the open sizes."""
        return sizes.shape([self._size(name, axis, key) for axis, key in enumerate(self._inputs[name])])

    def _size(self, name: str, axis: int, key: int | Key) -> Size:
        if isinstance(key, int):
            return key
        return self._bound[key] if key in self._bound else self._symbols[name, axis]


def declared(info: Any) -> InputDims:
    tensor = info.type.tensor_type
    if not tensor.HasField("shape"):
        return InputDims(info.name, None)
    dims: list[int | Key] = []
    for axis, dim in enumerate(tensor.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value > 0:
            dims.append(int(dim.dim_value))
        elif dim.dim_param:
            dims.append(dim.dim_param)
        else:
            dims.append((info.name, axis))  # no name, or a size of 0 or -1 as old exporters write it
    return InputDims(info.name, dims)


def _given(inputs: list[InputDims], shapes: dict[str, list[int | str]]) -> dict[Key, Size]:
    """Applies --shape: numbers and symbols replace an input's dimensions, and all others of the same name."""
    bound: dict[Key, Size] = {}
    for info in inputs:
        given = shapes.get(info.name)
        if given is None:
            continue
        if info.dims is None:
            info.dims = [(info.name, d) for d in range(len(given))]
        if len(given) != len(info.dims):
            raise UnsupportedModelError(
                f"--shape {info.name}: expected {len(info.dims)} sizes (the file has {info.dims}), found {len(given)}"
            )
        for axis, size in enumerate(given):
            if isinstance(size, str) and size not in SYMBOLS or isinstance(size, int) and size < 1:
                raise UnsupportedModelError(
                    f"--shape {info.name}: expected sizes of at least 1, 'batch' or 'frames', found {size!r}"
                )
            value: Size = SYMBOLS[size] if isinstance(size, str) else size
            key = info.dims[axis]
            if isinstance(key, int):
                key = info.dims[axis] = (info.name, axis)
            if bound.setdefault(key, value) != value:
                raise UnsupportedModelError(
                    f"--shape {info.name}: dimension {key!r} is {value} here and {bound[key]} in another place"
                )
    return bound
