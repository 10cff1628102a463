"""From what people have (a file of some framework, a live model) to one .lstm file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__, format, load, memory, passes
from ._core import Model
from .around import after as meanings
from .around import features, scalers
from .around.look_ahead import look_ahead, tell
from .check.self_test import make_self_test
from .errors import LstmEdgeError
from .files.guard import reading
from .files.replacing import replacing
from .importers import registry
from .importers.importer import Source
from .importers.rates import keep_rate
from .ir.graph import Graph


def convert(
    source: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    shapes: Mapping[str, Any] | None = None,
    constants: Mapping[str, Any] | None = None,
    states: Mapping[str, str] | None = None,
    overlap: Mapping[str, int] | None = None,
    network: Any = None,
    assume: bool = False,
    architecture: Any = None,
    example: Any = None,
    options: Mapping[str, Any] | None = None,
    rate: float | None = None,
    scale: Any = None,
    unscale: Any = None,
    before: Any = None,
    after: Any = None,
    labels: Any = None,
    sample: Mapping[str, np.ndarray] | None = None,
    self_test: bool = True,
    max_memory: int | None = None,
) -> Model:
    """Converts `source` (a path, the bytes of a file, a live torch or Keras model) and returns the Model.

    path: where the .lstm file is written; None writes none. shapes: input name -> sizes (numbers, 'batch', 'frames').
    constants: input name -> value that replaces the input. states: input name -> output name of what carries state;
    None finds the pairs by name, {} pairs nothing. overlap: input name -> values each frame repeats from the one
    before. network: a TOML file (or such a dict) that describes the network whose weights `source` holds,
    docs/network.md. assume: take the network that weights suggest as it stands (see suggest_network); what is
    assumed stays in the model's notes. architecture: the file (or the object in it) that model.to_json() wrote, where
    `source` holds a Keras model's weights alone. example: an input that a torch module accepts. options: what one format
    alone understands, docs/command-line.md. rate: samples a second of the sound that the model takes, kept in the file; None
    takes what the source says. scale: input name -> the scaler that its columns were scaled by when the network was trained, unscale:
    output name -> that of its targets (or the scaler alone, where there is one port): a fitted object of scikit-learn, a file of one
    (.joblib, .pkl, .json, .npz), (scaler, column); the model then takes and gives raw values (docs/scaling.md). before: a TOML file (or such a dict, a live layer of
    Keras or transform of torchaudio) that describes the audio features in front of inputs, which then take samples, docs/features.md. after: a TOML file (or such a dict)
    that says what outputs mean, labels or events, docs/answers.md. labels: output name -> the names of its values, a list or a file with
    one on each line (or that alone, where there is one output). sample: arrays for the self-test, shaped as Model.run takes them.
    max_memory: bytes that the conversion may hold, and then the model as load takes it; None: 56 MiB and 20 times the files that
    are read, or a live object's parameters.
    Raises UnsupportedModelError, FormatError, MemoryLimitError (they name the file), OSError.
    """
    given = {"shapes": shapes, "constants": constants, "network": network, "assume": assume or None}
    given |= {"architecture": architecture, "example": example, "options": options}
    around = {"scale": scale, "unscale": unscale, "before": before, "after": after, "labels": labels}
    with _named(source), _limited(source, max_memory):
        graph = to_graph(source, states=states, overlap=overlap, rate=rate, **around, **given)
        if self_test:
            whole = source if architecture is None else (source, architecture)
            graph.self_test = make_self_test(
                graph, whole, constants=constants, sample=sample, frames=features.frames_to_try(graph.metadata)
            )
        if path is None:
            return load(format.to_bytes(graph), max_memory=max_memory)
        format.write(graph, path)
        return load(path, max_memory=max_memory)


def to_graph(
    source: Any,
    *,
    states: Mapping[str, str] | None = None,
    overlap: Mapping[str, int] | None = None,
    rate: float | None = None,
    scale: Any = None,
    unscale: Any = None,
    before: Any = None,
    after: Any = None,
    labels: Any = None,
    max_memory: int | None = None,
    **options: Any,
) -> Graph:
    """The Graph that `convert` writes, without its self-test. `options`: what convert hands to importers."""
    with _named(source), _limited(source, max_memory):
        kind, graph = registry.read(source, options)
        paired = dict(states) if states is not None else None
        ahead: dict[str, tuple[int, int]] = {}
        passes.pipeline(graph, paired, dict(overlap or {}), lambda g: ahead.update(_put_before(g, scale, before, rate)))
        keep_rate(graph, rate, options.get("constants") or {})
        tell(graph, ahead)
        scalers.apply(graph, scale if before is None else None, unscale)
        meanings.apply(graph, after, labels, source)
        scalers.tell_half(graph)
    graph.metadata["converter"] = f"lstm_edge {__version__}"
    graph.metadata["source"] = {**_about(source, kind), **graph.metadata.get("source", {})}
    return graph


def _put_before(graph: Graph, scale: Any, before: Any, rate: float | None) -> dict[str, tuple[int, int]]:
    """Audio features, and behind them the scaler of what a network takes of them. What the network alone waits for is returned."""
    ahead = look_ahead(graph)
    if before is not None:
        scalers.apply(graph, scale, None)
        features.apply(graph, before, rate)
    return ahead


def suggest_network(
    source: Any, path: str | os.PathLike[str] | None = None, *, options: Mapping[str, Any] | None = None
) -> str:
    """The network that the names and sizes of weights suggest, as the TOML of docs/network.md, every assumption in a line
    of its own with what else it may be. Read it, correct it, and give it to `convert` as its network.

    source: a file of weights (a path, its bytes) or a state dict. path: where the text is written; None writes none.
    options: `key`, the entry of a checkpoint, and what is known of the network, docs/command-line.md.
    Raises UnsupportedModelError where the source holds its network, or weights that suggest none.
    """
    with _named(source), _limited(source, None):
        text = registry.suggest_network(source, dict(options or {}))
    if path is not None:
        with replacing(path) as file:
            file.write(text.encode())
    return text


@contextmanager
def _limited(source: Any, max_memory: int | None) -> Iterator[None]:
    """Within a budget of memory, which the file of a source raises when it is read."""
    found = Source(source)
    with memory.limited(found.size if found.path is None else 0, max_memory):
        if found.path is not None and found.path.is_file():
            memory.read(found.path)
        yield


def _about(source: Any, kind: str) -> dict[str, Any]:
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        about = {"format": kind, "name": path.name}
        if path.is_file():
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while piece := file.read(1 << 20):
                    digest.update(piece)
            about["sha256"] = digest.hexdigest()
        return about
    if isinstance(source, (bytes, bytearray, memoryview)):
        return {"format": kind, "name": "", "sha256": hashlib.sha256(source).hexdigest()}
    return {"format": kind, "name": type(source).__name__}


@contextmanager
def _named(source: Any) -> Iterator[None]:
    """Puts the source's name in front of the library's errors, and makes one of whatever else a file's content raises. What a
    live object raises is its owner's."""
    name = Path(source).name if isinstance(source, (str, os.PathLike)) else ""
    is_file = bool(name) or isinstance(source, (bytes, bytearray, memoryview))
    try:
        with reading(name or "bytes") if is_file else nullcontext():
            yield
    except LstmEdgeError as error:
        if not name or name in str(error):
            raise
        raise error.at(name) from error
