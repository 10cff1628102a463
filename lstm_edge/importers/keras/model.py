"""Keras 1.x to 3.x models, files (.keras, .h5) and live, as a Graph. Files need neither Keras nor TensorFlow."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import FormatError, LstmEdgeError, UnsupportedModelError
from ...ir.dims import Dim, Size, symbols
from ...ir.graph import Graph
from ...ir.sizes import Sizes
from ..dialect import Value
from ..dialect.input_sizes import InputSizes
from ..dialect.open_sizes import freest
from .architecture import read_beside, read_pair
from .build import build_model, endpoints
from .config import Layer, Version, parse_model
from .emit import Emit, Masked
from .files import Source, is_live, opens_like_architecture, read_file, read_live
from .inputs import Port, input_sizes, ports_of
from .supported import check_supported
from .weights import assign


def read(
    source: str | Path | bytes | Any,
    *,
    shapes: dict[str, Sequence[int | str | None]] | None = None,
    architecture: Any = None,
) -> Graph:
    """The Graph of a Keras model: a path, the bytes of a file, or a live model; or of weights with the JSON file (or
    the object in it) that has their `architecture`.

    The batch is free, and so is the number of frames wherever the network allows it, even when the file names one.
    `shapes` sets inputs by name: {'input': ['batch', 50, 25]}, entries being numbers, 'batch' or 'frames'.
    FormatError for a damaged file, UnsupportedModelError naming the layer for what lstm_edge does not do, ShapeError
    where weights and shapes disagree.
    """
    read_source = _source(source, architecture)
    version = Version.parse(read_source.version)
    try:
        model = parse_model(read_source.config, version)
        check_supported(model)
        assign(model, read_source)
        ports = ports_of(model)
        plan = _Plan(model, ports, read_source, version, input_sizes(model, ports, shapes))
        return freest(lambda sizes: _lowered(plan, sizes), plan.inputs.open)[0]
    except LstmEdgeError:
        raise
    except RecursionError as e:
        raise FormatError("model config: nested too deeply") from e
    except (KeyError, IndexError, TypeError, AttributeError, OverflowError, MemoryError) as e:
        raise FormatError(f"model config: not as Keras writes it: {type(e).__name__}: {e}") from e


def _source(source: Any, architecture: Any) -> Source:
    if is_live(source):
        return read_live(source)
    if architecture is not None:
        return read_pair(source, architecture)
    if isinstance(source, bytes):
        return read_file(source)
    path = Path(source)
    return read_beside(path) if path.is_file() and opens_like_architecture(path) else read_file(path)


@dataclass(frozen=True)
class _Plan:
    """What is read of a model before its layers are called."""

    model: Layer
    ports: list[Port]
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
        shape, dtype = plan.inputs.shape(port.name, sizes), port.run_dtype
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
    _describe(
        graph,
        plan,
        [*plan.source.notes, *_frames_notes(plan, sizes), *_activation_notes(graph, plan.version), *e.notes],
    )
    return graph


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


def _retype_tokens(graph: Graph, ports: list[Port]) -> None:
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


def _frames_notes(plan: _Plan, sizes: Sizes) -> list[str]:
    """What became of the numbers of frames that the file names, and of sizes that it leaves open."""
    vectors = [port.name for port in plan.ports if len(port.sizes) == 1]
    notes = []
    for size in plan.inputs.open:
        frames = sizes.resolve(Dim.symbol(size.symbol))
        if not isinstance(frames, Dim):
            if size.input in vectors and not size.declared:
                continue  # a vector of features, which has no frames
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
