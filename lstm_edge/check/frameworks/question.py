"""What a framework is asked and what it answers. Both are pickled between this process and its child, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...ir.graph import Graph, Tensor
from ...reference.samples import Arrays

Runner = Callable[[Arrays], Arrays]  # the original model: inputs by name to outputs by name

NO_NETWORK = "the source holds weights without their network, which no framework can run"
NEEDED = (
    "source",
    "ports",
    "pairs",
    "overlap",
    "before",
    "scale",
    "unscale",
    "after",
)  # the metadata that say how the original is fed


@dataclass(frozen=True)
class Question:
    """What does the framework of `kind` make of these inputs?

    source: an absolute path, the bytes of a file, a tuple of these for a model in several files, or a live object. constants: input name -> array. graph: the converted
    graph's ports, states and metadata, without its ops and weights. values: False asks for the graph's outputs, True (of an
    ONNX model alone) for whatever values of the original have the names of the graph's outputs.
    """

    kind: str
    source: Any
    constants: dict[str, np.ndarray]
    graph: Graph
    inputs: Arrays
    values: bool = False
    careful: bool = False  # without what the framework does to a model before it runs it, where that can be left out


@dataclass(frozen=True)
class Answer:
    """outputs: arrays as Model.run gives them, None where no framework answered. name: of the framework, with its version.
    why: why none answered. fault: whether that is worth a note, being more than a framework that is not there."""

    outputs: Arrays | None = None
    name: str = ""
    why: str = ""
    fault: bool = False
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Bound:
    """A source made ready to be called again and again, on one thread. given: the framework's own arrays by the names of the
    source's inputs, read at every call, so that an answer put there is the next call's input; native makes such an array.
    call: the answers in the order of `outputs`, as the framework gives them; array makes one NumPy's. name: with its version."""

    name: str
    call: Callable[[], Sequence[Any]]
    given: dict[str, Any]
    outputs: list[str]
    native: Callable[[str, np.ndarray], Any]
    array: Callable[[Any], np.ndarray] = np.asarray


class NoFramework(Exception):
    """No framework can run this source; the text says why, and what would change that."""


def outline(graph: Graph) -> Graph:
    """The graph as a framework needs it: ports and states, no ops, no weights."""
    named = {p.tensor for p in (*graph.inputs, *graph.outputs)} | {t for s in graph.states for t in (s.read, s.write)}
    tensors = {n: Tensor(n, t.dtype, t.shape) for n, t in graph.tensors.items() if n in named}
    states = [replace(s, initial=None) for s in graph.states]
    metadata = {k: graph.metadata[k] for k in NEEDED if k in graph.metadata}
    return Graph([], tensors, list(graph.inputs), list(graph.outputs), states, metadata)


def ports(graph: Graph, side: str) -> list[str]:
    """The source's own inputs or outputs in order, paired states included."""
    names: list[str] = graph.metadata["ports"][side]
    return names


def by_order(graph: Graph, arrays: list[np.ndarray]) -> Arrays:
    """Outputs by position."""
    names = ports(graph, "outputs")
    if len(arrays) != len(names):
        raise ValueError(f"expected {len(names)} outputs, found {len(arrays)}")
    return dict(zip(names, arrays))
