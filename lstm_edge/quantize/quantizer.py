"""int8 and float16 weights: smaller, faster, and honest about what they cost.

    model, report = lstm_edge.quantize("vad.lstm", "vad.int8.lstm", calibration=frames)

docs/quantization.md says what is quantised, how, and how the errors are measured.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from .. import format
from .._core import Model
from ..errors import Findings, LstmEdgeError, UnsupportedModelError
from ..ir.graph import Graph, SelfTest
from ..ir.ops import op_spec
from ..options import argument
from ..reference.samples import is_framed, sample_inputs, tolerance_for
from .auto import NARROW, fastest
from .inputs import AUTO, check_choice
from .report import Arrays, QuantizeReport, bytes_of, run_all
from .search import Quantized, libm_ops, quantized
from .targets import HERE, measure_for

WEIGHTS = ("int8", "float16")
PRECISIONS = ("auto", *WEIGHTS)
DRAWN_FRAMES = 100
LEAST_FRAMES = 4  # of a self-test
SELF_TEST_SHARE = 0.01
WHY = "the weights are quantised: a framework has the float32 model, docs/quantization.md says how far that is"

Calibration = Any  # np.ndarray, {input: array}, or a list of these


def quantize(
    model: str | os.PathLike[str] | bytes | Graph,
    path: str | os.PathLike[str] | None = None,
    *,
    calibration: Calibration = None,
    weights: str | None = None,
    max_error: float | None = None,
    keep: Iterable[str] = (),
    precision: str | None = None,
    target: str = HERE,
    input_bits: int | str = AUTO,
) -> tuple[Model, QuantizeReport]:
    """Stores the weights of a model in int8 (a float32 scale per row) or float16, and measures what that changes.

    precision: `auto`, what None stands for, times every op in every form on this machine and stores an op narrow only where that
    is no slower, in a step and over many frames, and the model only where the whole of it is no slower than in float32; the report
    says what each op took, and what stayed float32 and why. `int8` and `float16` store all that they can, faster or not.
    weights: with `auto`, the only narrow form to try; alone, the same as `precision`.

    model: a .lstm file (a path, or its bytes) or a Graph, which stays as it is. path: where to write the result.
    calibration: inputs to measure with, shaped as Model.run takes them: an array, a dict of arrays by input name, or a
    list of these, each one run; None takes the file's self-test and 100 frames of N(0,1) (tokens drawn from their table).
    max_error: the largest absolute error allowed at any output; ops return to float32, from the most harmful, until it
    holds. keep: names of ops, or patterns such as `decoder*`, that stay float32.

    input_bits: in how many bits int8 weights take what comes into their op. `auto`: 15, and 8 where calibration shows that all of these
    together add no more than a twentieth to the error at any output; 15: everywhere; 8: everywhere, which is faster and less exact, or
    with max_error wherever that holds.

    Returns the loaded model and the report, which the file's metadata carry as `quantization`. Raises
    UnsupportedModelError for a model quantised already, LstmEdgeError for a name in `keep` that no op has.
    """
    graph = open_graph(model, "quantize")
    wrong = Findings()
    with wrong.looking():
        form = _form(weights, precision)
    with wrong.looking():
        measure = measure_for(target)
    with wrong.looking():
        bits = check_choice(input_bits, "float16" in (weights, precision))
    with wrong.looking():
        _check(max_error)
    with wrong.looking():
        check_wide(graph, "quantise")
    with wrong.looking():
        kept = _kept(graph, keep)
    with wrong.looking():
        runs = calibration_runs(graph, calibration)
    wrong.raise_all()
    given = calibration is not None
    if form == "auto":
        chosen = fastest(graph, runs, kept, max_error, given, NARROW if weights is None else (weights,), measure, bits)
    else:
        chosen = quantized(graph, runs, form, kept, max_error, given, bits)
    content = seal(chosen)
    if path is not None:
        format.write(chosen.graph, path)
    return Model(content), chosen.report


def seal(chosen: Quantized) -> bytes:
    """Puts the report and a self-test of its own answers into the graph; returns the file's content."""
    graph, report = chosen.graph, chosen.report
    graph.metadata["quantization"] = report.as_metadata()
    if any(op.stored != "float32" for op in report.ops):
        graph.self_test = own_self_test(graph)
    return format.to_bytes(graph)


# ---- opening ---------------------------------------------------------------------------------------------------------


def open_graph(model: Any, caller: str) -> Graph:
    """The graph in a file, or the one given."""
    if isinstance(model, Graph):
        return model
    if isinstance(model, Model):
        raise LstmEdgeError(
            f"{caller}: expected a .lstm file or a Graph, found a loaded Model, whose weights are packed "
            "for this CPU; give the file it was loaded from"
        )
    return format.read(model)


def check_wide(graph: Graph, verb: str) -> None:
    """UnsupportedModelError where a weight is int8 or float16."""
    narrow = next((t for t in graph.tensors.values() if t.is_constant and t.dtype in WEIGHTS), None)
    if narrow is not None:
        raise UnsupportedModelError(
            f"tensor {narrow.name!r} is {narrow.dtype} already: {verb} the float32 model it came from"
        )


def _form(weights: str | None, precision: str | None) -> str:
    """`auto`, `int8` or `float16`, from the two arguments that say so."""
    if weights is not None and weights not in WEIGHTS:
        raise LstmEdgeError(f"{argument('weights')}: expected {' or '.join(WEIGHTS)}, found {weights!r}")
    if precision is not None and precision not in PRECISIONS:
        raise LstmEdgeError(
            f"{argument('precision')}: expected {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}, found {precision!r}"
        )
    form = precision or weights or "auto"
    if form != "auto" and weights not in (None, form):
        raise LstmEdgeError(
            f"{argument('weights')}: expected {form}, which {argument('precision')} says, or none, found {weights!r}"
        )
    return form


def _check(max_error: float | None) -> None:
    if max_error is not None and not max_error > 0:
        raise LstmEdgeError(f"{argument('max_error')}: expected a number above 0, found {max_error!r}")


def _kept(graph: Graph, keep: Iterable[str]) -> dict[int, str]:
    """The ops that `keep` names, by number."""
    patterns = [keep] if isinstance(keep, str) else list(keep)
    kept: dict[int, str] = {}
    unknown: list[str] = []
    for pattern in patterns:
        found = [n for n, node in enumerate(graph.nodes) if node.name == pattern or fnmatchcase(node.name, pattern)]
        unknown += [] if found else [repr(pattern)]
        kept.update({n: "kept by name" for n in found})
    if unknown:
        names = [node.name for node in graph.nodes if op_spec(node).weights]
        told = f"no op is named {' or '.join(unknown)}; those with weights: {', '.join(names) or 'none'}"
        raise LstmEdgeError(f"{argument('keep')}: {told}")
    return kept


def calibration_runs(graph: Graph, calibration: Calibration) -> list[Arrays]:
    if calibration is None:
        drawn = sample_inputs(graph, DRAWN_FRAMES)
        return [dict(graph.self_test.inputs), drawn] if graph.self_test is not None else [drawn]
    runs = calibration if isinstance(calibration, (list, tuple)) else [calibration]
    if not runs:
        raise LstmEdgeError(f"{argument('calibration')}: expected at least one run, found none")
    return [_one_run(graph, run) for run in runs]


def _one_run(graph: Graph, run: Any) -> Arrays:
    names = [p.name for p in graph.inputs]
    if not isinstance(run, Mapping):
        if len(names) != 1:
            raise LstmEdgeError(
                f"{argument('calibration')}: expected a dict of arrays by input name {names}, found one array"
            )
        run = {names[0]: run}
    if set(run) != set(names):
        raise LstmEdgeError(f"{argument('calibration')}: expected arrays for the inputs {names}, found {list(run)}")
    return {k: np.asarray(v) for k, v in run.items()}


# ---- self-test -------------------------------------------------------------------------------------------------------


def own_self_test(graph: Graph, why: str = WHY) -> SelfTest:
    """The file's sample with the quantised or pruned model's own answers. int8 promises their very bits on every ISA: tolerance 0."""
    inputs = _shortened(graph, graph.self_test.inputs if graph.self_test is not None else sample_inputs(graph))
    answers = {k: v for k, v in run_all(graph, [inputs])[0].items() if v.size}
    int8 = any(t.dtype == "int8" for t in graph.tensors.values() if t.is_constant)
    exact = int8 and not libm_ops(graph)
    tolerance = 0.0 if exact else tolerance_for(answers)
    return SelfTest(inputs, answers, "lstm_edge, this file's own weights", tolerance, why)


def _shortened(graph: Graph, inputs: Arrays) -> Arrays:
    """The sample's first frames, so many that it takes no more room than SELF_TEST_SHARE of the weights.

    A sample in which frames are counted otherwise (int32 lengths, an input without frames) stays whole.
    """
    axes = {p.name: 0 if is_framed(graph) else graph.time_axis(p.tensor) for p in graph.inputs}
    if any(axis < 0 or inputs[name].dtype != np.float32 for name, axis in axes.items()):
        return dict(inputs)
    least = sample_inputs(graph, LEAST_FRAMES)
    share = SELF_TEST_SHARE * bytes_of(graph) / max(sum(a.nbytes for a in inputs.values()), 1)
    short = {}
    for name, axis in axes.items():
        most, step = inputs[name].shape[axis], least[name].shape[axis]
        keep = min(most, step * max(1, int(share * most / step)))
        short[name] = np.ascontiguousarray(inputs[name][(slice(None),) * axis + (slice(keep),)])
    return short
