"""Keras 1.x to 3.x models, files (.keras, .h5) and live, as a Graph. Neither Keras nor TensorFlow is needed for
files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import FormatError, LstmEdgeError, UnsupportedModelError
from ...ir.dims import BATCH, Dim, Size, symbols
from ...ir.graph import Graph
from ...ir.sizes import Sizes
from ...options import as_typed
from ..dialect import Value
from ..dialect.input_sizes import InputSizes
from ..dialect.open_sizes import OpenSize, freest
from .build import build_model, check_supported, endpoints
from .config import MODELS, Layer, Version, parse_model
from .emit import Emit, Masked
from .files import Source, is_live, read_file, read_live
from .recurrent import RECURRENT
from .weights import assign, walk

_OVER_TIME = (
    *RECURRENT,
    "Bidirectional",
    "TimeDistributed",
    "Conv1D",
    "SeparableConv1D",
    "DepthwiseConv1D",
    "Conv1DTranspose",
    "Attention",
    "AdditiveAttention",
    "MultiHeadAttention",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "MaxPooling1D",
    "AveragePooling1D",
    "Masking",
)
_KEEPS_TOKENS = ("InputLayer", "Dropout", "SpatialDropout1D", "Identity")


def read(source: str | Path | bytes | Any, *, shapes: dict[str, Sequence[int | str | None]] | None = None) -> Graph:
    """The Graph of a Keras model: a path, the bytes of a file, or a live model.

    The batch is free, and so is the number of frames wherever the network allows it, even when the file names one.
    `shapes` sets
    inputs by name: {'input': ['batch', 50, 25]}, entries being numbers, 'batch' or 'frames'. FormatError for a
    damaged file,
    UnsupportedModelError naming the layer for what lstm_edge does not do, ShapeError where weights and shapes disagree.
    """
    read_source = read_live(source) if is_live(source) else read_file(source)
    version = Version.parse(read_source.version)
    try:
        model = parse_model(read_source.config, version)
        check_supported(model)
        assign(model, read_source)
        ports = _ports(model)
        plan = _Plan(model, ports, read_source, version, _input_sizes(model, ports, shapes))
        return freest(lambda sizes: _lowered(plan, sizes), plan.inputs.open)[0]
    except LstmEdgeError:
        raise
    except RecursionError as e:
        raise FormatError("model config: nested too deeply") from e
    except (KeyError, IndexError, TypeError, AttributeError, OverflowError, MemoryError) as e:
        raise FormatError(f"model config: not as Keras writes it: {type(e).__name__}: {e}") from e


class _Port:
    """An input of the model: its name, the sizes the file gives behind the batch, its dtype, its layer."""

    def __init__(self, name: str, sizes: list[int | None], dtype: str):
        self.name, self.sizes, self.dtype = name, sizes, dtype


# ---- inputs ----------------------------------------------------------------------------------------------------------


def _ports(model: Layer) -> list[_Port]:
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
    while inner.cls in MODELS or inner.cls == "TimeDistributed" or inner.cls == "Bidirectional":
        if _declared(inner) is not None:
            break
        if inner.cls == "Functional":
            ports = _ports(inner)
            if len(ports) == 1:
                return ports
        inner = inner.children[0]
    port = _port(inner, f"{first.name}_input")
    return [port]


def _declared(layer: Layer) -> list[Any] | None:
    """batch_shape as the layer declares it, whatever its version calls it."""
    values = layer.config.values
    for key in ("batch_shape", "batch_input_shape"):
        if isinstance(values.get(key), (list, tuple)):
            return list(values[key])
    if isinstance(values.get("input_shape"), (list, tuple)):
        return [None, *values["input_shape"]]
    if isinstance(values.get("build_input_shape"), (list, tuple)):
        return list(values["build_input_shape"])
    if layer.cls == "Embedding":
        return [None, values.get("input_length")]
    if isinstance(values.get("input_dim"), int):
        return (
            [None, values.get("input_length"), values["input_dim"]]
            if layer.cls in _OVER_TIME
            else [None, values["input_dim"]]
        )
    return None


def _port(layer: Layer, name: str) -> _Port:
    shape = _declared(layer)
    if shape is None:
        shape = _shape_from_weights(layer)
    if any(
        s is not None and (isinstance(s, bool) or not isinstance(s, int) or not 1 <= s <= 1 << 24) for s in shape[1:]
    ):
        raise FormatError(f"{layer.place}: input shape: expected sizes, found {shape}")
    if layer.config.values.get("sparse") or layer.config.values.get("ragged"):
        raise UnsupportedModelError(
            f"{layer.place}: sparse or ragged inputs are not supported; feed a dense, padded array"
        )
    dtype = layer.config.values.get("dtype", "float32")
    dtype = dtype.get("config", {}).get("name", "float32") if isinstance(dtype, dict) else str(dtype)
    if layer.cls != "InputLayer":
        dtype = layer.config.values.get("input_dtype") or "float32"
    return _Port(name, shape[1:], dtype)


def _shape_from_weights(layer: Layer) -> list[int | None]:
    """A Sequential without a declared input: its first layer's kernel says how many features it takes."""
    if "kernel" in layer.weights and layer.cls in (*RECURRENT, "Dense", "Conv1D"):
        features = layer.weights["kernel"].shape[-2 if layer.cls == "Conv1D" else 0]
        return [None, features] if layer.cls == "Dense" else [None, None, features]
    raise UnsupportedModelError(
        f"{layer.place}: the model does not say its input's shape; start it with an Input layer and save again"
    )


def _timed(model: Layer, ports: list[_Port]) -> list[str]:
    """Inputs whose axis 1 may be time: sequences of features where the network works over time, and tokens."""
    over_time = any(layer.cls in _OVER_TIME for layer in walk(model))
    return [
        p.name
        for p in ports
        if p.sizes and (p.sizes[0] is None or (over_time and (len(p.sizes) >= 2 or _feeds_embedding(model, p.name))))
    ]


def _feeds_embedding(model: Layer, name: str) -> bool:
    """Whether an input goes into an Embedding, straight or through layers that leave tokens alone."""
    if model.cls == "Sequential":
        rest = [layer for layer in model.children if layer.cls not in _KEEPS_TOKENS]
        if not rest:
            return False
        first = rest[0]
        return first.cls == "Embedding" or (first.cls in MODELS and _feeds_embedding(first, _first_input(first)))
    for layer in model.children:
        if f'"{name}"' not in str(layer.nodes).replace("'", '"'):
            continue
        if layer.cls == "Embedding" or (layer.cls in MODELS and _feeds_embedding(layer, _first_input(layer))):
            return True
        if layer.cls in _KEEPS_TOKENS and layer.name != name and _feeds_embedding(model, layer.name):
            return True
    return False


def _first_input(model: Layer) -> str:
    return endpoints(model, "input_layers")[0][0] if model.cls == "Functional" else ""


# ---- building --------------------------------------------------------------------------------------------------------


def _input_sizes(
    model: Layer, ports: list[_Port], shapes: Mapping[str, Sequence[int | str | None]] | None
) -> InputSizes:
    """The sizes of every input. The numbers of frames may stay open: those the file leaves open, and those it merely
    names. A number beside sequences that the file leaves open is meant, and stays; so does one frame
    beside sequences of more, an axis that broadcasts."""
    given = {name: ["batch" if s is None else s for s in shape] for name, shape in (shapes or {}).items()}
    timed = [p for p in ports if p.name in _timed(model, ports) and p.name not in given]
    longest = max((p.sizes[0] or 0 for p in timed), default=0)
    named = all(p.sizes[0] for p in timed)
    free = [p.name for p in timed if p.sizes[0] is None or named and (p.sizes[0] > 1 or longest == 1)]
    declared: dict[str, list[Size | OpenSize]] = {}
    for port in ports:
        first: list[Size | OpenSize] = [BATCH]
        if port.name in free:
            axis = 0 if _time_major(model) else 1
            first.insert(axis, OpenSize(port.name, axis, "", port.sizes[0], port.sizes[0] is None))
        rest = port.sizes[len(first) - 1 :]
        if None in rest and port.name not in given:
            raise UnsupportedModelError(
                f"input {port.name!r}: the file leaves sizes open, [batch, {port.sizes}]; give them: "
                f"{as_typed('shapes', port.name, ('batch', ...))}"
            )
        declared[port.name] = [*first, *(1 if s is None else s for s in rest)]
    return InputSizes(declared, given)


def _time_major(model: Layer) -> bool:
    return any(layer.config.values.get("time_major") for layer in walk(model))


@dataclass(frozen=True)
class _Plan:
    """What is read of a model before its layers are called."""

    model: Layer
    ports: list[_Port]
    source: Source
    version: Version
    inputs: InputSizes


def _lowered(plan: _Plan, sizes: Sizes) -> Graph:
    """The graph with what is known of the open sizes."""
    frames = {o.symbol: sizes.resolve(Dim.symbol(o.symbol)) for o in plan.inputs.open}
    made_with = {
        name: o.made_with
        for o in plan.inputs.open
        for name in symbols(frames[o.symbol])
        if o.made_with is not None and frames[o.symbol] == Dim.symbol(name)
    }
    e = Emit(made_with)
    graph = e.graph
    values = []
    for port in plan.ports:
        shape, dtype = plan.inputs.shape(port.name, sizes), _run_dtype(port)
        values.append(Masked(Value(dtype, tensor=graph.input(port.name, shape, dtype))))
    try:
        outputs = build_model(e, plan.model, values)
    except LstmEdgeError:
        raise
    except ValueError as error:
        raise UnsupportedModelError(f"model {plan.model.name!r}: {error}") from error
    for name, output in zip(_output_names(plan.model, len(outputs)), outputs):
        graph.output(name, e.tensor(output.value))
    _retype_tokens(graph, plan.ports)
    _drop_unread_states(graph)
    _share_constants(graph)
    graph.drop_unused()
    _describe(graph, plan, [*_frames_notes(plan.inputs.open, sizes), *_activation_notes(graph, plan.version), *e.notes])
    return graph


def _run_dtype(port: _Port) -> str:
    if port.dtype in ("bool",):
        return "bool"
    if "int" in port.dtype:
        return "int32"
    if "float" in port.dtype:
        return "float32"
    raise UnsupportedModelError(
        f"input {port.name!r}: dtype {port.dtype} is not supported; expected floats, integers or bool"
    )


def _output_names(model: Layer, count: int) -> list[str]:
    """Names of the layers that give the outputs; a second output of the same name gets _1."""
    if model.cls == "Functional":
        names = [name for name, _, _ in endpoints(model, "output_layers")]
    else:
        names = [model.children[-1].name] * count
    unique: list[str] = []
    for name in names:
        n = sum(u == name or u.startswith(f"{name}_") and u[len(name) + 1 :].isdigit() for u in unique)
        unique.append(name if not n else f"{name}_{n}")
    return unique


def _retype_tokens(graph: Graph, ports: list[_Port]) -> None:
    """An input that is only ever turned into integers (tokens of an Embedding) becomes an int32 input."""
    for port in graph.inputs:
        tensor = graph.tensors[port.tensor]
        readers = graph.consumers(port.tensor)
        if tensor.dtype != "float32" or not readers or any(n.op != "Cast" or n.attrs["to"] != "int32" for n in readers):
            continue
        tensor.dtype = "int32"
        if any(p.tensor == n.outputs[0] for n in readers for p in graph.outputs):
            continue
        replaced = {n.outputs[0] for n in readers}
        graph.nodes = [n for n in graph.nodes if n not in readers]
        for node in graph.nodes:
            node.inputs = [port.tensor if i in replaced else i for i in node.inputs]
        graph.metadata.setdefault("input_dtypes", {})[port.name] = next(p.dtype for p in ports if p.name == port.name)


def _drop_unread_states(graph: Graph) -> None:
    """Final states nobody reads are not asked for."""
    read_tensors = {i for n in graph.nodes for i in n.inputs} | {p.tensor for p in graph.outputs}
    for node in graph.nodes:
        if node.op in ("LSTM", "GRU", "RNN"):
            node.outputs = [o if n == 0 or o in read_tensors else "" for n, o in enumerate(node.outputs)]
            while node.outputs and not node.outputs[-1]:
                node.outputs.pop()


def _share_constants(graph: Graph) -> None:
    """Equal constants become one: a shared layer's weights, called many times, are kept once."""
    first: dict[tuple[str, tuple[Size, ...], bytes], str] = {}
    same = {}
    for name, tensor in graph.tensors.items():
        if tensor.data is not None:
            key = (tensor.dtype, tensor.shape, hashlib.sha256(tensor.data.tobytes()).digest())
            same[name] = first.setdefault(key, name)
    for node in graph.nodes:
        node.inputs = [same.get(i, i) for i in node.inputs]


def _frames_notes(opens: list[OpenSize], sizes: Sizes) -> list[str]:
    """What became of the numbers of frames that the file names."""
    notes = []
    for size in opens:
        frames = sizes.resolve(Dim.symbol(size.symbol))
        if not isinstance(frames, Dim):
            notes.append(f"input {size.input!r}: frames fixed at {frames}, because {sizes.reasons[size.symbol]}")
        elif size.made_with is not None:
            notes.append(f"input {size.input!r}: {size.made_with} frames in the file, left free")
    return notes


def _activation_notes(graph: Graph, version: Version) -> list[str]:
    """Which hard sigmoid was meant, where there is one."""
    slope, offset = version.hard_sigmoid
    kinds = [
        a
        for n in graph.nodes
        for a in (*n.attrs.get("activations", ()), n.attrs.get("kind"), n.attrs.get("activation"))
    ]
    if "hard_sigmoid" not in kinds:
        return []
    return [f"hard_sigmoid is {slope:.6g} x + {offset:g}, as in the Keras {version.text} that wrote the model"]


def _describe(graph: Graph, plan: _Plan, notes: list[str]) -> None:
    """metadata: where the model came from and what was assumed."""
    graph.metadata["source"] = {
        "format": "keras",
        "container": plan.source.container,
        "producer": "keras " + plan.version.text + (" (theano)" if plan.source.backend == "theano" else ""),
        "model": plan.model.name,
    }
    trained = next((o.made_with for o in plan.inputs.open if o.made_with is not None), None)
    if trained is not None:
        graph.metadata["source"]["frames"] = trained
    graph.metadata["notes"] = notes
