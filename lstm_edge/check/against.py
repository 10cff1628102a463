"""A .lstm file against the model it came from, op by op: where they part first is where to look."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import format, reference
from .._core import Model
from ..errors import LstmEdgeError, UnsupportedModelError
from ..importers import registry
from ..importers.onnx.files import load_model
from ..ir.graph import Graph, Port
from ..reference.samples import Arrays, difference, sample_inputs
from .originals import Runner, onnxruntime_session, original_answers

TOLERANCE = 1e-4  # times the largest value of a tensor when that is above 1; float32 against float32 stays below 1e-5


@dataclass(frozen=True)
class Compared:
    """One op of the file: the largest difference of an output from the original's value of the same name."""

    op: str
    name: str
    tensor: str
    error: float
    allowed: float

    @property
    def agrees(self) -> bool:
        return self.error <= self.allowed


@dataclass(frozen=True)
class Comparison:
    """`ops`: outputs that could be compared, in the order of the file. `source`: what gave the original's values. `total`: how
    many outputs the ops of the file have; those without a row have no counterpart of the same name and shape."""

    source: str
    isa: str
    ops: list[Compared]
    total: int

    @property
    def first(self) -> Compared | None:
        """The first op that differs."""
        return next((o for o in self.ops if not o.agrees), None)

    @property
    def passed(self) -> bool:
        return self.first is None


def compare(
    path: str | os.PathLike[str] | bytes,
    original: Any,
    *,
    isa: str | None = None,
    inputs: Mapping[str, np.ndarray] | None = None,
    tolerance: float = TOLERANCE,
    **options: Any,
) -> Comparison:
    """Runs a .lstm file and `original` (what it was converted from) on the same inputs, with every value between exposed.

    inputs: shaped as Model.run takes them; without them the self-test's, else random ones. options: as
    they were given to convert. An ONNX model runs in onnxruntime where that is installed; any other, and ONNX without it,
    runs as imported, before any pass, in reference.py. Raises UnsupportedModelError when nothing can be compared.
    """
    graph = format.read(path)
    given = dict(inputs or (graph.self_test.inputs if graph.self_test is not None else sample_inputs(graph)))
    exposed = _exposed(graph)
    model = Model(format.to_bytes(exposed), isa)
    answers = model.run(*[given[p.name] for p in model.inputs])
    own = answers if isinstance(answers, dict) else {model.outputs[0].name: answers}
    runner, names, source = _original(original, options)
    ours = {*graph.tensors, *(p.name for p in graph.outputs)}
    shared = [n for n in dict.fromkeys(names) if n in ours]
    theirs = _answers(_with_outputs(graph, shared), runner, given) if shared else {}
    rows = _rows(graph, own, theirs, tolerance)
    if not rows:
        raise UnsupportedModelError(
            "no value of the file has the name and shape of one of the original: is it the model "
            "that the file was converted from?"
        )
    return Comparison(source, model.isa, rows, sum(bool(o) for n in graph.nodes for o in n.outputs))


def _answers(graph: Graph, runner: Runner, inputs: Arrays) -> Arrays:
    try:
        return original_answers(graph, runner, inputs)
    except LstmEdgeError:
        raise
    except Exception as why:  # whatever a runtime raises
        raise UnsupportedModelError(
            f"the original did not run on the inputs of the file ({type(why).__name__}: {why})"[:500]
        ) from why


def _rows(graph: Graph, own: Arrays, theirs: Arrays, tolerance: float) -> list[Compared]:
    rows = []
    ports = {p.tensor: p.name for p in graph.outputs}
    for node in graph.nodes:
        for tensor in node.outputs:
            port = ports.get(tensor, tensor)
            want, got = theirs.get(tensor, theirs.get(port)), own.get(port)
            if not tensor or want is None or got is None or np.shape(want) != np.shape(got):
                continue
            finite = np.abs(np.asarray(want, np.float64)[np.isfinite(want)])
            rows.append(
                Compared(node.op, node.name, tensor, difference(got, want), tolerance * float(finite.max(initial=1.0)))
            )
    return rows


def _exposed(graph: Graph) -> Graph:
    """The graph with every value an output, by its tensor's name."""
    out = copy.copy(graph)
    shown = {p.tensor for p in graph.outputs}
    every = [o for n in graph.nodes for o in n.outputs if o and o not in shown]
    taken = {p.name for p in graph.outputs}
    out.outputs = [*graph.outputs, *(Port(t, t) for t in every if t not in taken)]
    out.self_test = None
    return out


def _with_outputs(graph: Graph, names: list[str]) -> Graph:
    """The graph as original_answers reads it: the values wanted, by name."""
    out = copy.copy(graph)
    out.outputs = [Port(n, n) for n in names]
    return out


def _original(source: Any, options: dict[str, Any]) -> tuple[Runner, list[str], str]:
    """What runs the original with every value exposed, the names of those, and what it is."""
    if registry.kind_of(source) == "onnx":
        try:
            return _onnxruntime(source, dict(options.get("constants") or {}))
        except ImportError:
            pass
    return _imported(source, options)


def _onnxruntime(source: Any, constants: dict[str, Any]) -> tuple[Runner, list[str], str]:
    import onnx
    import onnxruntime

    model = onnx.ModelProto()
    model.CopyFrom(load_model(source)[0])
    shown = {o.name for o in model.graph.output}
    every = [o for n in model.graph.node for o in n.output if o and o not in shown]
    model.graph.output.extend(onnx.ValueInfoProto(name=o) for o in every)
    run = onnxruntime_session(model.SerializeToString(), constants)
    return run, [*shown, *every], f"onnxruntime {onnxruntime.__version__}"


def _imported(source: Any, options: dict[str, Any]) -> tuple[Runner, list[str], str]:
    fresh = registry.read(source, options)[1]
    exposed = _exposed(fresh)
    shown = {p.name for p in fresh.outputs}
    exposed.outputs += [Port(p.tensor, p.tensor) for p in fresh.outputs if p.tensor not in shown]
    ports = {p.name for p in fresh.inputs}

    def run(feed: Arrays) -> Arrays:
        answers, _ = reference.run(exposed, {k: v for k, v in feed.items() if k in ports})
        return {k: v for k, v in answers.items() if v is not None}

    return run, [p.name for p in exposed.outputs], "lstm_edge.reference on the model as imported"
