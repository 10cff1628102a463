"""int8 and float16 weights: smaller, faster, and honest about what they cost.

    model, report = lstm_edge.quantize("vad.lstm", "vad.int8.lstm", calibration=frames)

docs/quantization.md says what is quantised, how, and how the errors are measured.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from .. import format
from .._core import Model
from ..errors import LstmEdgeError, UnsupportedModelError
from ..ir.graph import Graph, Node, SelfTest, Tensor
from ..ir.ops import op_spec, read_attrs
from ..reference.samples import is_framed, sample_inputs, tolerance_for
from .report import OpReport, QuantizeReport, Trace, bytes_of, measure_ops, run_all
from .rounding import DAMPING, DAMPING_RANDOM, Moments, MomentsOf, plain, round_columns, second_moments

WEIGHTS = ("int8", "float16")
PRECISIONS = ("auto",)
DRAWN_FRAMES = 100
LEAST_FRAMES = 4  # of a self-test
SELF_TEST_SHARE = 0.01
MOST_COLUMNS = 65536  # LE_MAX_I8_K: longer rows the core widens
LARGEST_HALF = 65504.0

# Inputs whose constants may be stored narrow, and how many leading axes make a row with a scale of its own.
WEIGHT_INPUTS: dict[str, dict[str, int]] = {
    "LSTM": {"w_ih": 2, "w_hh": 2, "w_proj": 2},
    "GRU": {"w_ih": 2, "w_hh": 2},
    "RNN": {"w_ih": 2, "w_hh": 2},
    "Dense": {"w": 1},
    "Conv": {"w": 1},
    "ConvTranspose": {"w": 0},
    "Gather": {"data": 1},
}
NEVER = {
    "bias": "biases are added in float32", "bias_ih": "biases are added in float32", "bias_hh": "biases are added in float32",
    "peephole": "peepholes act on the cell state, which is float32",
}  # fmt: skip

# What the core takes from libm: their bits depend on the machine's C library.
LIBM: dict[str, tuple[str, ...]] = {
    "Unary": ("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh"),
}

Arrays = dict[str, np.ndarray]
Calibration = Any  # np.ndarray, {input: array}, or a list of these


def quantize(
    model: str | os.PathLike[str] | bytes | Graph,
    path: str | os.PathLike[str] | None = None,
    *,
    calibration: Calibration = None,
    weights: str = "int8",
    max_error: float | None = None,
    keep: Iterable[str] = (),
    precision: str | None = None,
) -> tuple[Model, QuantizeReport]:
    """Stores the weights of a model in int8 (a float32 scale per row) or float16, and measures what that changes.

    model: a .lstm file (a path, or its bytes) or a Graph, which stays as it is. path: where to write the result.
    calibration: inputs to measure with, shaped as Model.run takes them: an array, a dict of arrays by input name, or a
    list of these, each one run; None takes the file's self-test and 100 frames of N(0,1) (tokens drawn from their table).
    max_error: the largest absolute error allowed at any output; ops return to float32, from the most harmful, until it
    holds. keep: names of ops, or patterns such as `decoder*`, that stay float32. precision: `auto` also times float32 and
    float16 on this machine and keeps the fastest whose error is within max_error (1 % of the largest answer without it).

    Returns the loaded model and the report, which the file's metadata carry as `quantization`. Raises
    UnsupportedModelError for a model quantised already, LstmEdgeError for a name in `keep` that no op has.
    """
    graph = _open(model)
    _check(graph, weights, max_error, precision)
    kept = _kept(graph, keep)
    runs = _calibration_runs(graph, calibration)
    given = calibration is not None
    if precision == "auto":
        from .auto import fastest

        chosen = fastest(graph, runs, kept, max_error, given)
    else:
        chosen = quantized(graph, runs, weights, kept, max_error, given)
    content = seal(chosen)
    if path is not None:
        format.write(chosen.graph, path)
    return Model(content), chosen.report


@dataclass
class Quantized:
    """A graph with narrow weights, and what is known of it."""

    graph: Graph
    report: QuantizeReport


def quantized(
    graph: Graph,
    runs: list[Arrays],
    weights: str,
    kept: Mapping[int, str],
    max_error: float | None,
    by_calibration: bool,
) -> Quantized:
    """`graph` with its weights in `weights`, less the ops in `kept` (number to reason) and those max_error returns."""
    kept = dict(kept)
    everything = Narrower(graph, weights).apply(kept).narrow
    moments = second_moments(graph, runs, everything) if weights == "int8" else {}
    narrower = Narrower(graph, weights, moments, DAMPING if by_calibration else DAMPING_RANDOM)
    trace = Trace(graph, runs)
    alone = {n: trace.worst(narrower.alone(n)) for n in everything}
    while True:
        result = narrower.apply(kept)
        outputs, ops = measure_ops(trace, result.graph)
        worst = max((e.max for e in outputs.values()), default=0.0)
        if max_error is None or worst <= max_error or not result.narrow:
            break
        harmful = max(result.narrow, key=lambda n: alone[n])
        kept[harmful] = f"max_error {max_error:g}: alone it costs {alone[harmful]:.2g} at the outputs"
    for n, op in enumerate(result.ops):
        op.error, op.alone = ops.get(n), alone.get(n)
    listed = [op for op in result.ops if op.bytes_before]
    before, after = bytes_of(graph), bytes_of(result.graph)
    source = "calibration data" if by_calibration else "self-test and random input"
    report = QuantizeReport(weights, source, outputs, listed, before, after, _notes(result.graph, weights))
    return Quantized(result.graph, report)


def seal(chosen: Quantized) -> bytes:
    """Puts the report and a self-test of its own answers into the graph; returns the file's content."""
    graph, report = chosen.graph, chosen.report
    graph.metadata["quantization"] = report.as_metadata()
    if any(op.stored != "float32" for op in report.ops):
        graph.self_test = _own_self_test(graph)
    return format.to_bytes(graph)


# ---- opening ---------------------------------------------------------------------------------------------------------


def _open(model: Any) -> Graph:
    if isinstance(model, Graph):
        return model
    if isinstance(model, Model):
        raise LstmEdgeError(
            "quantize: expected a .lstm file or a Graph, found a loaded Model, whose weights are packed "
            "for this CPU; give the file it was loaded from"
        )
    return format.read(model)


def _check(graph: Graph, weights: str, max_error: float | None, precision: str | None) -> None:
    if weights not in WEIGHTS:
        raise LstmEdgeError(f"weights: expected {' or '.join(WEIGHTS)}, found {weights!r}")
    if precision is not None and precision not in PRECISIONS:
        raise LstmEdgeError(f"precision: expected auto or None, found {precision!r}")
    if max_error is not None and not max_error > 0:
        raise LstmEdgeError(f"max_error: expected a number above 0, found {max_error!r}")
    narrow = next((t for t in graph.tensors.values() if t.is_constant and t.dtype in WEIGHTS), None)
    if narrow is not None:
        raise UnsupportedModelError(
            f"tensor {narrow.name!r} is {narrow.dtype} already: quantise the float32 model it came from"
        )


def _kept(graph: Graph, keep: Iterable[str]) -> dict[int, str]:
    """The ops that `keep` names, by number."""
    patterns = [keep] if isinstance(keep, str) else list(keep)
    kept: dict[int, str] = {}
    for pattern in patterns:
        found = [n for n, node in enumerate(graph.nodes) if node.name == pattern or fnmatchcase(node.name, pattern)]
        if not found:
            names = [node.name for node in graph.nodes if node.op in WEIGHT_INPUTS]
            raise LstmEdgeError(f"keep: no op is named {pattern!r}; those with weights: {', '.join(names) or 'none'}")
        kept.update({n: "kept by name" for n in found})
    return kept


def _calibration_runs(graph: Graph, calibration: Calibration) -> list[Arrays]:
    if calibration is None:
        drawn = sample_inputs(graph, DRAWN_FRAMES)
        return [dict(graph.self_test.inputs), drawn] if graph.self_test is not None else [drawn]
    runs = calibration if isinstance(calibration, (list, tuple)) else [calibration]
    if not runs:
        raise LstmEdgeError("calibration: expected at least one run, found none")
    return [_one_run(graph, run) for run in runs]


def _one_run(graph: Graph, run: Any) -> Arrays:
    names = [p.name for p in graph.inputs]
    if not isinstance(run, Mapping):
        if len(names) != 1:
            raise LstmEdgeError(f"calibration: expected a dict of arrays by input name {names}, found one array")
        run = {names[0]: run}
    if set(run) != set(names):
        raise LstmEdgeError(f"calibration: expected arrays for the inputs {names}, found {list(run)}")
    return {k: np.asarray(v) for k, v in run.items()}


# ---- weights ---------------------------------------------------------------------------------------------------------


@dataclass
class Narrowed:
    """A rewritten graph: `ops` has a row per node, `narrow` the numbers of those that hold a narrow weight."""

    graph: Graph
    ops: list[OpReport]
    narrow: list[int] = field(default_factory=list)


class Narrower:
    """Rewrites a graph's weights as int8 or float16; each weight is rounded once, however many graphs are made."""

    def __init__(self, graph: Graph, weights: str, moments: MomentsOf | None = None, damping: float = DAMPING):
        self.graph, self.weights, self.moments, self.damping = graph, weights, moments or {}, damping
        self.made: dict[tuple[str, int], Tensor] = {}

    def apply(self, kept: Mapping[int, str]) -> Narrowed:
        """A copy of the graph with narrow weights but in the ops `kept` (number to reason); other constants are shared."""
        out = copy.copy(self.graph)
        out.nodes = [Node(n.op, list(n.inputs), list(n.outputs), dict(n.attrs), n.name) for n in self.graph.nodes]
        out.tensors = dict(self.graph.tensors)
        out.metadata = copy.deepcopy(self.graph.metadata)
        result = Narrowed(out, [])
        for number, node in enumerate(out.nodes):
            result.ops.append(self.narrow_node(out, number, node, kept.get(number)))
            if result.ops[-1].stored != "float32":
                result.narrow.append(number)
        out.drop_unused()
        return result

    def alone(self, number: int) -> Graph:
        """The graph with narrow weights in one op only."""
        return self.apply({n: "" for n in range(len(self.graph.nodes)) if n != number}).graph

    def narrow_node(self, graph: Graph, number: int, node: Node, kept: str | None) -> OpReport:
        """Replaces the node's weights where it pays; says of every float32 constant it reads why it stays."""
        report = OpReport(node.op, node.name)
        spec = op_spec(node)
        for i, name in enumerate(node.inputs):
            tensor = graph.tensors[name] if name else None
            if tensor is None or tensor.data is None or tensor.dtype != "float32" or not tensor.data.size:
                continue
            role = spec.input_name(i)
            why = _why_not(node, role, tensor.data, self.weights) or (kept if kept is not None else "")
            report.bytes_before += tensor.data.nbytes
            if why or kept is not None:
                report.stayed[role] = why
                report.bytes_after += tensor.data.nbytes
                continue
            narrow = self.narrow(tensor, WEIGHT_INPUTS[node.op][role], self.moments.get((number, role)))
            graph.tensors[narrow.name] = narrow
            node.inputs[i] = narrow.name
            report.stored = self.weights
            report.bytes_after += narrow_bytes(narrow)
        return report

    def narrow(self, tensor: Tensor, leading: int, moments: Moments | None) -> Tensor:
        """The tensor in its narrow form. Ops that share it share that too, when their rows are the same."""
        key = tensor.name, leading if self.weights == "int8" else 0
        if key not in self.made:
            assert tensor.data is not None
            taken = {t.name for t in self.made.values()}
            base = f"{tensor.name}.{self.weights}"
            name = (
                base if base not in taken and base not in self.graph.tensors else self.graph.fresh(f"{base}.{leading}")
            )
            if self.weights == "int8":
                data, scale = to_int8(tensor.data, leading, moments, self.damping)
            else:
                data, scale = tensor.data.astype(np.float16), None
            self.made[key] = Tensor(name, self.weights, tensor.shape, data, scale)
        return self.made[key]


def _is_weight(node: Node, role: str) -> bool:
    return role in WEIGHT_INPUTS.get(node.op, {})


def narrow_bytes(tensor: Tensor) -> int:
    assert tensor.data is not None
    return tensor.data.nbytes + (0 if tensor.scale is None else tensor.scale.nbytes)


def _why_not(node: Node, role: str, data: np.ndarray, weights: str) -> str:
    """Why a float32 constant stays; empty when it need not."""
    if not _is_weight(node, role):
        if node.op == "MatMul":
            return "MatMul takes its constants as activations; a Dense op would take them as weights"
        return NEVER.get(role, f"{node.op} computes in float32")
    if node.op == "Gather" and read_attrs(node)["axis"] % data.ndim != 0:
        return "only tables looked up along axis 0 have a scale per row"
    if not np.isfinite(data).all():
        return "it holds NaN or infinity"
    if weights == "float16":
        return f"it holds values beyond float16's {LARGEST_HALF:g}" if np.abs(data).max() > LARGEST_HALF else ""
    if node.op == "ConvTranspose":
        return "its rows are input channels: a scale per output channel does not fit them"
    rows = int(np.prod(data.shape[: WEIGHT_INPUTS[node.op][role]]))
    columns = data.size // rows
    if columns > MOST_COLUMNS:
        return f"{columns} columns are more than int32 sums hold ({MOST_COLUMNS})"
    if columns < 2:
        return "rows of one weight: int8 and a scale would take more room than float32"
    return ""


def to_int8(
    data: np.ndarray, leading: int, moments: Moments | None = None, damping: float = DAMPING
) -> tuple[np.ndarray, np.ndarray | None]:
    """Weights as int8 in -127..127, and a scale per row of the `leading` axes, float32 (rows,). `moments` of what they
    multiply: quantize_rounding."""
    rows = data.reshape(int(np.prod(data.shape[:leading])), -1)
    scale = row_scales(rows)
    q = plain(rows, scale) if moments is None else round_columns(rows, scale, moments, damping)
    return q.reshape(data.shape), scale


def row_scales(rows: np.ndarray) -> np.ndarray:
    """float32 (n,): max |w| / 127 of every row; weights too small for a normal scale become zeros. Cutting the largest weights off for a finer
    scale lowered the squared error of no layer of nine real models: eight bits are enough for a crest factor of 6."""
    scale = np.abs(rows).max(axis=1).astype(np.float32) / np.float32(127)
    return np.where(scale < np.finfo(np.float32).tiny, np.float32(0), scale)


# ---- self-test -------------------------------------------------------------------------------------------------------


def libm_ops(graph: Graph) -> list[str]:
    """Ops of `graph` whose bits depend on the C library, as `name (op kind)`."""
    found = []
    for node in graph.nodes:
        kind = node.attrs.get("kind", "")
        integer = all(graph.tensors[i].dtype == "int32" for i in node.inputs if i)
        if kind in LIBM.get(node.op, ()) and not integer:
            found.append(f"{node.name} ({node.op} {kind})")
    return found


def _own_self_test(graph: Graph) -> SelfTest:
    """The file's sample with the quantised model's own answers. int8 promises their very bits on every ISA: tolerance 0."""
    inputs = _shortened(graph, graph.self_test.inputs if graph.self_test is not None else sample_inputs(graph))
    answers = {k: v for k, v in run_all(graph, [inputs])[0].items() if v.size}
    int8 = any(t.dtype == "int8" for t in graph.tensors.values() if t.is_constant)
    exact = int8 and not libm_ops(graph)
    return SelfTest(inputs, answers, "lstm_edge, this file's own weights", 0.0 if exact else tolerance_for(answers))


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


def _notes(graph: Graph, weights: str) -> list[str]:
    if weights != "int8":
        return ["float16 weights are widened as they are read: bits differ between ISAs as they do in float32"]
    libm = libm_ops(graph)
    if libm:
        return [f"the bits depend on the machine's C library, through {', '.join(libm)}"]
    return []
