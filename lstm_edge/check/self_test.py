"""Promise 7: a converted model carries a sample input with its own framework's answer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import reference
from ..around.scalers import scales
from ..errors import LstmEdgeError
from ..ir.graph import Graph, SelfTest
from ..ir.notes import TRAINED_IN_INT8
from ..options import named
from ..passes.edit import note
from ..quantize import own_self_test
from ..reference.samples import Arrays, is_framed, sample_inputs
from . import child
from .agreement import aligned, allowance, demand, run_core
from .frameworks.question import Answer, Question, outline
from .jobs import why_none
from .originals import run_dtype


def make_self_test(
    graph: Graph,
    source: Any = None,
    *,
    constants: Mapping[str, Any] | None = None,
    sample: Mapping[str, np.ndarray] | None = None,
    frames: int | None = None,
    seed: int = 0,
) -> SelfTest:
    """A sample input (drawn from N(0,1), or `sample`) and the answer of the framework that `source` belongs to.

    Where no framework answers, the reference does, and the test says why. A step model with states gets a leading frames
    axis. Raises LstmEdgeError when the answer contradicts the converted graph by more than agreement.py allows: the
    conversion would be wrong. A model that was trained in int8 keeps its own answers, as one that was quantised does.
    """
    inputs = _given(graph, sample) if sample else sample_inputs(graph, frames, seed)
    exact = _reference_answers(graph, inputs)
    answer = ask(graph, source, dict(constants or {}), inputs)
    for text in answer.notes:
        note(graph, f"self-test: {text}")
    if answer.fault:
        note(graph, f"self-test: {answer.why}; the answer is this project's own reference")
    rounded = run_core(graph, inputs)
    name, answers, stated = answer.name, answer.outputs, graph.metadata.get("arithmetic", {})
    if answers is None:
        name, stated = "lstm_edge.reference", {}
        answers = {k: v.astype(run_dtype(v)) for k, v in exact.items()}
    answers = aligned(exact, answers, name, lambda text: note(graph, f"self-test: {text}"))
    allowed = allowance(exact, rounded, answers, stated, scales(graph.metadata, exact))
    demand(exact, answers, allowed, name)
    if graph.metadata.get(TRAINED_IN_INT8):  # the framework's answers are those of its weights, not of int8 arithmetic
        graph.self_test = SelfTest(inputs, answers, name)
        return own_self_test(graph)
    demand(rounded, answers, allowed, name)
    return SelfTest(inputs, answers, name, allowed.tolerance, answer.why)


def ask(graph: Graph, source: Any, constants: dict[str, Any], inputs: Arrays, values: bool = False) -> Answer:
    """What the framework of a source answers, or why none does. `values`: see Question."""
    kind = graph.metadata.get("source", {}).get("format", "")
    why = "no source was given" if source is None else why_none(kind, graph)
    if why:
        return Answer(why=why)
    arrays = {k: np.asarray(v) for k, v in constants.items()}
    return child.ask(Question(kind, _portable(source), arrays, outline(graph), inputs, values))


def _portable(source: Any) -> Any:
    """A source as another process can have it: a path, bytes, such parts of one; a live object stays what it is."""
    if isinstance(source, tuple):
        return tuple(map(_portable, source))
    if isinstance(source, (str, os.PathLike)):
        return os.path.abspath(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if type(source).__name__ == "ModelProto":
        return source.SerializeToString()
    return source


def _given(graph: Graph, sample: Mapping[str, np.ndarray]) -> Arrays:
    names = [p.name for p in graph.inputs]
    missing, unknown = [n for n in names if n not in sample], [n for n in sample if n not in names]
    if missing or unknown:
        wrong = f"{unknown[0]!r} is no input" if unknown else f"input {missing[0]!r} is missing"
        raise LstmEdgeError(f"{named('sample')}: {wrong}; expected {', '.join(names)}")
    return {p.name: np.ascontiguousarray(sample[p.name], dtype=graph.tensors[p.tensor].dtype) for p in graph.inputs}


def _reference_answers(graph: Graph, inputs: Arrays) -> Arrays:
    run = reference.run_frames if is_framed(graph) else reference.run
    outputs, _ = run(graph, inputs)
    return {k: v for k, v in outputs.items() if v is not None}
