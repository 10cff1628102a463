"""Promise 7: a converted model carries a sample input with its own framework's answer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import reference
from ..errors import LstmEdgeError
from ..ir.graph import Graph, SelfTest
from ..passes.edit import note
from ..reference.samples import Arrays, difference, is_framed, sample_inputs, scale_of, tolerance_for
from .originals import FRAMEWORKS, original_answers, run_dtype

# Beyond this (relative alike) the conversion is taken to be wrong: float32 against float64 differs by far less.
WRONG = 1e-2


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

    Without that framework the answer is reference.py's. A step model with states gets a leading frames axis. Raises
    LstmEdgeError when the framework's answer contradicts the converted graph: the conversion would be wrong.
    """
    inputs = _given(graph, sample) if sample else sample_inputs(graph, frames, seed)
    own = _reference_answers(graph, inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a framework says of its own model is not for this library's user
        answers, name = _framework_answers(graph, source, dict(constants or {}), inputs)
    if answers is None:
        own = {k: v.astype(run_dtype(v)) for k, v in own.items()}
        return SelfTest(inputs, own, "lstm_edge.reference", tolerance_for(own))
    return SelfTest(inputs, answers, name, tolerance_for(answers, _agreement(own, answers, name)))


def _given(graph: Graph, sample: Mapping[str, np.ndarray]) -> Arrays:
    missing = [p.name for p in graph.inputs if p.name not in sample]
    if missing:
        raise LstmEdgeError(f"sample: input {missing[0]!r} is missing; expected {[p.name for p in graph.inputs]}")
    return {p.name: np.ascontiguousarray(sample[p.name], dtype=graph.tensors[p.tensor].dtype) for p in graph.inputs}


def _reference_answers(graph: Graph, inputs: Arrays) -> Arrays:
    run = reference.run_frames if is_framed(graph) else reference.run
    outputs, _ = run(graph, inputs)
    return {k: v for k, v in outputs.items() if v is not None}


def _framework_answers(
    graph: Graph, source: Any, constants: dict[str, Any], inputs: Arrays
) -> tuple[Arrays | None, str]:
    """The framework's answers and name; None where it is not installed or does not load or run the model (then
    noted)."""
    kind = graph.metadata.get("source", {}).get("format", "")
    maker = FRAMEWORKS.get(kind)
    if source is None or maker is None:
        return None, ""
    try:
        runner, name = maker(source, constants, graph)
        return (original_answers(graph, runner, inputs) if runner is not None else None), name
    except ImportError:
        return None, ""
    except Exception as why:  # whatever a framework raises on a model that this library reads: the reference answers
        note(graph, f"self-test: {kind} did not run the model ({type(why).__name__}: {why})"[:300])
        return None, ""


def _agreement(own: Arrays, answers: Arrays, name: str) -> float:
    """The largest difference between the reference and the framework; LstmEdgeError when it is no rounding."""
    worst = 0.0
    for output, want in answers.items():
        error, scale = difference(own.get(output), want), scale_of(want)
        worst = max(worst, error)
        if error > WRONG * scale:
            raise LstmEdgeError(
                f"output {output!r}: the converted model differs from {name} by {error:.3g} on the "
                f"self-test's sample (largest answer {scale:.3g}): please report this model; "
                "self_test=False converts it all the same"
            )
    return worst
