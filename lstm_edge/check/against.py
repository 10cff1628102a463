"""A .lstm file against the model it came from, op by op: where they part first is where to look."""

from __future__ import annotations

import copy
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import format, reference
from .._core import Model
from ..errors import LstmEdgeError, UnsupportedModelError
from ..importers import registry
from ..ir.graph import Graph, Port
from ..reference.samples import Arrays, difference, sample_inputs
from .frameworks.question import Answer
from .originals import original_answers
from .self_test import ask

TOLERANCE = 1e-4  # times the largest value of a tensor when that is above 1; float32 against float32 stays below 1e-5
AS_IMPORTED = "this project's own reference on the model as imported"


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
    many outputs the ops of the file have; those without a row have no counterpart of the same name and shape. `why`: why
    it was no framework; '' where one gave the values, or at least the model's outputs."""

    source: str
    isa: str
    ops: list[Compared]
    total: int
    why: str = ""

    @property
    def first(self) -> Compared | None:
        """The first op that differs."""
        return next((o for o in self.ops if not o.agrees), None)

    @property
    def passed(self) -> bool:
        return self.first is None

    @property
    def by(self) -> str:
        """'framework', or 'reference' where the original's values are this project's own reading of it."""
        return "reference" if self.why else "framework"

    @property
    def words(self) -> str:
        """One line: what was compared with what."""
        verdict = "passed" if self.passed else "FAILED"
        said = f"{verdict}: {self.isa} kernels against {self.source}, {len(self.ops)} of {self.total} values compared"
        return f"{said} (no framework ran the original: {self.why})" if self.why else said


def compare(
    path: str | os.PathLike[str] | bytes,
    original: Any,
    *,
    isa: str | None = None,
    inputs: Mapping[str, np.ndarray] | None = None,
    tolerance: float | None = None,
    **options: Any,
) -> Comparison:
    """Runs a .lstm file and `original` (what it was converted from) on the same inputs, with every value between exposed.

    inputs: shaped as Model.run takes them; without them the self-test's, else random ones. tolerance: times the largest
    value of a tensor; without it 1e-4, or what the file states of its original's arithmetic. options: as they were given
    to convert. The values of an ONNX model are onnxruntime's where that is installed; those of any other are the
    reference's on the model as imported, before any pass, but for its outputs, which are its own framework's where that
    runs it. Raises UnsupportedModelError when nothing can be compared.
    """
    graph = format.read(path)
    given = dict(inputs or (graph.self_test.inputs if graph.self_test is not None else sample_inputs(graph)))
    exposed = _exposed(graph)
    model = Model(format.to_bytes(exposed), isa)
    answers = model.run(*[given[p.name] for p in model.inputs])
    own = answers if isinstance(answers, dict) else {model.outputs[0].name: answers}
    theirs = _original(graph, original, options, given)
    if tolerance is None:
        stated = {} if theirs.why else graph.metadata.get("arithmetic", {})
        tolerance = max(TOLERANCE, stated.get("relative", 0.0))
    rows = _rows(graph, own, theirs.outputs or {}, tolerance)
    if not rows:
        raise UnsupportedModelError(
            "no value of the file has the name and shape of one of the original: is it the model "
            "that the file was converted from?"
        )
    return Comparison(theirs.name, model.isa, rows, sum(bool(o) for n in graph.nodes for o in n.outputs), theirs.why)


def _rows(graph: Graph, own: Arrays, theirs: Arrays, tolerance: float) -> list[Compared]:
    rows = []
    ports = {p.tensor: p.name for p in graph.outputs}
    for node in graph.nodes:
        for tensor in node.outputs:
            port = ports.get(tensor, tensor)
            want, got = theirs.get(port, theirs.get(tensor)), own.get(port)
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


def _original(graph: Graph, source: Any, options: dict[str, Any], inputs: Arrays) -> Answer:
    """The original's values that have names of the file's. Raises UnsupportedModelError where it fails on these inputs."""
    kind = registry.kind_of(source)
    constants = dict(options.get("constants") or {})
    about = copy.copy(graph)
    about.metadata = {**graph.metadata, "source": {**graph.metadata.get("source", {}), "format": kind}}
    if kind == "onnx":
        answer = ask(
            _with_outputs(about, {*graph.tensors, *(p.name for p in graph.outputs)}), source, constants, inputs, True
        )
        if answer.outputs is not None:
            return answer
    else:
        answer = ask(about, source, constants, inputs)
    between = _as_imported(graph, source, options, inputs)
    if answer.outputs is None:
        return Answer(between, AS_IMPORTED, answer.why)
    return Answer({**between, **answer.outputs}, f"{answer.name} at the outputs, {AS_IMPORTED} before them")


def _as_imported(graph: Graph, source: Any, options: dict[str, Any], inputs: Arrays) -> Arrays:
    """The values of the source as its importer reads it, before any pass, from the reference."""
    fresh = registry.read(source, options)[1]
    exposed = _exposed(fresh)
    shown = {p.name for p in fresh.outputs}
    exposed.outputs += [Port(p.tensor, p.tensor) for p in fresh.outputs if p.tensor not in shown]
    ports = {p.name for p in fresh.inputs}
    ours = {*graph.tensors, *(p.name for p in graph.outputs)}

    def run(feed: Arrays) -> Arrays:
        answers, _ = reference.run(exposed, {k: v for k, v in feed.items() if k in ports})
        return {k: v for k, v in answers.items() if v is not None}

    try:
        return original_answers(_with_outputs(graph, {p.name for p in exposed.outputs} & ours), run, inputs)
    except LstmEdgeError:
        raise
    except Exception as why:  # inputs that do not fit the original
        reason = f"{type(why).__name__}: {why}"
        raise UnsupportedModelError(f"the original did not run on the inputs of the file ({reason})"[:500]) from why


def _with_outputs(graph: Graph, names: Collection[str]) -> Graph:
    """The graph as original_answers reads it: the values wanted, by name."""
    out = copy.copy(graph)
    out.outputs = [Port(n, n) for n in sorted(names)]
    return out
