"""Keras 1.x to 3.x models, files (.keras, .h5) and live, as a Graph. Neither Keras nor TensorFlow is needed for
files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import FormatError, LstmEdgeError, UnsupportedModelError
from ...ir.dims import BATCH, FRAMES, Size
from ...ir.graph import Graph
from ..dialect import Value
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
        return _build(model, ports, read_source, version, _given(ports, shapes))
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


def _given(ports: list[_Port], shapes: dict[str, Sequence[int | str | None]] | None) -> dict[str, tuple[Size, ...]]:
    """The shapes a caller asks for, checked against the ranks the file gives."""
    given: dict[str, tuple[Size, ...]] = {}
    words: dict[Any, Size] = {"batch": BATCH, "frames": FRAMES, None: BATCH}
    for name, shape in (shapes or {}).items():
        port = next((p for p in ports if p.name == name), None)
        if port is None:
            raise UnsupportedModelError(
                f"shapes: no input {name!r}, expected one of {', '.join(p.name for p in ports)}"
            )
        if len(shape) != len(port.sizes) + 1:
            raise UnsupportedModelError(
                f"shapes: input {name!r}: expected {len(port.sizes) + 1} sizes, found {list(shape)}"
            )
        sizes = [words.get(s, s) for s in shape]
        given[name] = tuple(s for s in sizes if s is not None and not isinstance(s, str))
        if len(given[name]) != len(shape):
            raise UnsupportedModelError(
                f"shapes: input {name!r}: expected numbers, 'batch' or 'frames', found {list(shape)}"
            )
    return given


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


def _build(
    model: Layer, ports: list[_Port], source: Source, version: Version, given: dict[str, tuple[Size, ...]]
) -> Graph:
    """Tries with the frames of all sequences free, then of one input alone, then as the file says."""
    timed = [n for n in _timed(model, ports) if n not in given]
    fixed = {p.name: p.sizes[0] for p in ports if p.name in timed and p.sizes[0] is not None}
    attempts = [timed] if len(set(fixed.values())) <= 1 and not (fixed and len(fixed) != len(timed)) else []
    attempts += [[n for n in timed if n not in fixed]] if fixed else []
    attempts += [] if len(timed) < 2 else [[n] for n in timed if n in fixed]
    first_error: LstmEdgeError | None = None
    for free in attempts or [[]]:
        if any(p.name not in free and p.name not in given and None in p.sizes for p in ports):
            continue
        try:
            return _attempt(model, ports, source, version, given, free, first_error)
        except (LstmEdgeError, ValueError) as e:
            first_error = first_error or (
                e if isinstance(e, LstmEdgeError) else UnsupportedModelError(f"model {model.name!r}: {e}")
            )
    if first_error is not None:
        raise first_error
    unknown = next(p for p in ports if None in p.sizes)
    raise UnsupportedModelError(
        f"input {unknown.name!r}: the model leaves sizes open, found [batch, {unknown.sizes}]; give them: "
        f"shapes={{{unknown.name!r}: ['batch', ...]}}"
    )


def _attempt(
    model: Layer,
    ports: list[_Port],
    source: Source,
    version: Version,
    given: dict[str, tuple[Size, ...]],
    free: list[str],
    why: LstmEdgeError | None,
) -> Graph:
    trained = next((p.sizes[0] for p in ports if p.name in free and p.sizes[0] is not None), None)
    e = Emit(version, trained)
    graph = e.graph
    time_major = any(layer.config.values.get("time_major") for layer in walk(model))
    values = []
    for port in ports:
        shape = given.get(port.name) or _shape(port, port.name in free, time_major)
        dtype = _run_dtype(port)
        values.append(Masked(Value(dtype, tensor=graph.input(port.name, shape, dtype))))
    outputs = build_model(e, model, values)
    for name, output in zip(_output_names(model, len(outputs)), outputs):
        graph.output(name, e.tensor(output.value))
    _retype_tokens(graph, ports)
    _drop_unread_states(graph)
    _share_constants(graph)
    graph.drop_unused()
    _describe(graph, e, model, ports, source, version, free, why)
    return graph


def _shape(port: _Port, frames_free: bool, time_major: bool) -> tuple[Size, ...]:
    sizes = [FRAMES if frames_free and d == 0 else s for d, s in enumerate(port.sizes)]
    rest: list[Size] = [s for s in sizes if s is not None]
    if len(rest) < len(sizes):
        raise UnsupportedModelError(
            f"input {port.name!r}: the file leaves sizes open, [batch, {port.sizes}]; give them: "
            f"shapes={{{port.name!r}: ['batch', ...]}}"
        )
    if time_major and frames_free:
        return (FRAMES, BATCH, *rest[1:])
    return (BATCH, *rest)


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


def _describe(
    graph: Graph,
    e: Emit,
    model: Layer,
    ports: list[_Port],
    source: Source,
    version: Version,
    free: list[str],
    why: LstmEdgeError | None,
) -> None:
    """metadata: where the model came from and what was assumed."""
    producer = "keras " + version.text + (" (theano)" if source.backend == "theano" else "")
    graph.metadata["source"] = {
        "format": "keras",
        "container": source.container,
        "producer": producer,
        "model": model.name,
    }
    if e.frames is not None:
        graph.metadata["source"]["frames"] = e.frames
    notes = []
    for port in ports:
        if port.name in free and port.sizes[0] is not None:
            notes.append(f"input {port.name!r}: {port.sizes[0]} frames in the file, left free")
        elif why is not None and port.sizes and port.name in _timed(model, ports):
            notes.append(f"input {port.name!r}: frames fixed at {port.sizes[0]}, because with free frames: {why}")
    slope, offset = version.hard_sigmoid
    if any(
        a == "hard_sigmoid"
        for n in graph.nodes
        for a in (*n.attrs.get("activations", ()), n.attrs.get("kind"), n.attrs.get("activation"))
    ):
        notes.append(f"hard_sigmoid is {slope:.6g} x + {offset:g}, as in the Keras {version.text} that wrote the model")
    graph.metadata["notes"] = notes + e.notes
