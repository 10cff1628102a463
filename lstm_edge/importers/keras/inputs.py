"""The inputs of a Keras model: their names and types, and which of their sizes may stay open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import FormatError, UnsupportedModelError
from ...ir.dims import BATCH, Size
from ..dialect.input_sizes import InputSizes
from ..dialect.open_sizes import OpenSize
from .build import endpoints
from .config import MODELS, Layer
from .recurrent import RECURRENT
from .weights import walk

MAX_SIZE = 1 << 24
_RUN_DTYPES = {"bool": "bool", "int": "int32", "float": "float32"}  # by a part of Keras's name


@dataclass(frozen=True)
class Port:
    """An input: `sizes` are those that the file gives behind the batch, `dtype` as Keras calls it."""

    name: str
    sizes: list[int | None]
    dtype: str

    @property
    def run_dtype(self) -> str:
        """What the run holds. UnsupportedModelError for other kinds than floats, integers and bool."""
        for word, run in _RUN_DTYPES.items():
            if word in self.dtype:
                return run
        raise UnsupportedModelError(
            f"input {self.name!r}: dtype {self.dtype} is not supported; expected floats, integers or bool"
        )


# ---- what the file says ----------------------------------------------------------------------------------------------


def ports_of(model: Layer) -> list[Port]:
    """The inputs of a Sequential or functional model in order, whatever version declares them."""
    if model.cls == "Functional":
        layers = {layer.name: layer for layer in model.children}
        names = [name for name, _, _ in endpoints(model, "input_layers")]
        missing = [n for n in names if n not in layers]
        if missing:
            raise FormatError(f"{model.place}: input_layers names {missing[0]!r}, which the model does not have")
        return [_port(layers[n], n) for n in names]
    if not model.children:
        raise FormatError(f"{model.place}: expected layers, found none")
    first = model.children[0]
    if first.cls == "InputLayer":
        return [_port(first, first.name)]
    inner = first
    while _declared(inner) is None and inner.cls in (*MODELS, "TimeDistributed", "Bidirectional"):
        ports = ports_of(inner) if inner.cls == "Functional" else []
        if len(ports) == 1:
            return ports
        inner = inner.children[0]
    return [_port(inner, f"{first.name}_input")]


def _declared(layer: Layer) -> list[Any] | None:
    """batch_shape as the layer declares it, whatever its version calls it."""
    values = layer.config.values
    for key, lead in (
        ("batch_shape", []),
        ("batch_input_shape", []),
        ("input_shape", [None]),
        ("build_input_shape", []),
    ):
        if isinstance(values.get(key), (list, tuple)):
            return [*lead, *values[key]]
    length, width = values.get("input_length"), values.get("input_dim")
    if layer.cls == "Embedding":
        return [None, length]
    if not isinstance(width, int):
        return None
    return [None, length, width] if _works_over_time(layer) else [None, width]


def _works_over_time(layer: Layer) -> bool:
    """Whether axis 1 of a layer's input is a sequence."""
    named = layer.cls in (*RECURRENT, "Bidirectional", "TimeDistributed", "Masking")
    return named or any(word in layer.cls for word in ("1D", "Attention", "ConvLSTM"))


def _port(layer: Layer, name: str) -> Port:
    values, shape = layer.config.values, _declared(layer) or _shape_from_weights(layer)
    sizes = [s for s in shape[1:] if s is not None]
    if any(isinstance(s, bool) or not isinstance(s, int) or not 1 <= s <= MAX_SIZE for s in sizes):
        raise FormatError(f"{layer.place}: input shape: expected sizes, found {shape}")
    if values.get("sparse") or values.get("ragged"):
        raise UnsupportedModelError(
            f"{layer.place}: sparse or ragged inputs are not supported; feed a dense, padded array"
        )
    dtype = values.get("dtype" if layer.cls == "InputLayer" else "input_dtype") or "float32"
    dtype = dtype.get("config", {}).get("name", "float32") if isinstance(dtype, dict) else str(dtype)
    return Port(name, shape[1:], dtype)


def _shape_from_weights(layer: Layer) -> list[int | None]:
    """A Sequential without a declared input: its first layer's kernel says how many features it takes."""
    if "kernel" in layer.weights and layer.cls in (*RECURRENT, "Dense", "Conv1D"):
        features = layer.weights["kernel"].shape[-2 if layer.cls == "Conv1D" else 0]
        return [None, features] if layer.cls == "Dense" else [None, None, features]
    raise UnsupportedModelError(
        f"{layer.place}: the model does not say its input's shape; start it with an Input layer and save again"
    )


# ---- what may stay open ----------------------------------------------------------------------------------------------


def input_sizes(
    model: Layer, ports: Sequence[Port], shapes: Mapping[str, Sequence[int | str | None]] | None
) -> InputSizes:
    """The sizes of every input. What the file leaves open stays so where the model allows it, and so does a number of
    frames that it merely names (_merely_named)."""
    given = {name: ["batch" if s is None else s for s in shape] for name, shape in (shapes or {}).items()}
    layers = list(walk(model))
    named = _merely_named([p for p in ports if p.name not in given]) if any(map(_works_over_time, layers)) else []
    time_major = any(layer.config.values.get("time_major") for layer in layers)
    declared: dict[str, list[Size | OpenSize]] = {}
    for port in ports:
        sizes: list[Size | OpenSize] = [BATCH]
        for axis, size in enumerate(port.sizes, 1):
            frames = axis == 1 and port in named
            place = 0 if axis == 1 and time_major else axis
            open_size = OpenSize(port.name, place, "", size, size is None)
            sizes.insert(place, open_size if size is None or frames else size)
        declared[port.name] = sizes
    return InputSizes(declared, given)


def _merely_named(ports: Sequence[Port]) -> list[Port]:
    """The inputs whose axis behind the batch has a number that the model was merely made with.

    A number beside sizes that the file leaves open is meant. So is a 1 beside inputs of more frames, an axis that
    broadcasts, and a single feature.
    """
    if any(None in p.sizes for p in ports):
        return []
    longest = max((p.sizes[0] or 0 for p in ports if len(p.sizes) > 1), default=0)
    return [p for p in ports if p.sizes and p.sizes[0] and (p.sizes[0] > 1 or len(p.sizes) > 1 and longest == 1)]
