"""Weights with fewer blocks, without training.

    model, report = lstm_edge.prune("vad.lstm", "small.lstm", density=0.3, calibration=frames)

docs/sparse.md says how blocks are chosen, what is stored, and what it costs.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable
from fnmatch import fnmatchcase

import numpy as np

from .. import format
from .._core import Model
from ..errors import LstmEdgeError
from ..ir.graph import Graph, Node, Tensor
from ..ir.ops import op_spec
from ..ir.sparse import BLOCK, WEIGHTS, cut, density, pays
from ..quantize import own_self_test
from ..quantize.quantizer import Calibration, calibration_runs, check_wide, open_graph
from ..quantize.report import error, run_all
from ..quantize.rounding import Moments, MomentsOf, second_moments
from ..quantize.timing import timed_here
from .blocks import prune_weight
from .report import PruneReport, WeightReport

WHY = "the weights are pruned: a framework has the whole model, docs/sparse.md says how far that is"


def prune(
    model: str | os.PathLike[str] | bytes | Graph,
    path: str | os.PathLike[str] | None = None,
    *,
    density: float,
    calibration: Calibration = None,
    layers: Iterable[str] = ("*",),
) -> tuple[Model, PruneReport]:
    """Leaves the share `density` of the blocks (16 outputs of one input) of each weight of LSTM, GRU, RNN and Dense; the others become zeros.

    model: a .lstm file (a path, or its bytes) or a Graph, with float32 weights, which stays as it is; quantise afterwards, which
    keeps the zeros. path: where to write the result. density: above 0, at most 1, which cuts nothing and says what is sparse
    already. calibration: inputs as `quantize` takes them; by what a layer sees of them the blocks are chosen that cost least, and
    what is left of the weight makes up for them. Without it the smallest go, and errors are measured on the file's self-test and
    random input. layers: names of ops, or patterns such as `lstm*`.

    Returns the loaded model and the report, which the file's metadata carry as `pruning`. Raises UnsupportedModelError for a
    quantised model, LstmEdgeError for arguments that name nothing or mean nothing.
    """
    if isinstance(density, bool) or not isinstance(density, int | float) or not 0 < density <= 1:
        raise LstmEdgeError(f"density: expected a share above 0, at most 1, found {density!r}")
    graph = open_graph(model, "prune")
    check_wide(graph, "prune")
    numbers = _named(graph, layers)
    runs = calibration_runs(graph, calibration)
    moments = {} if calibration is None else second_moments(graph, runs, numbers)
    pruned = copy.copy(graph)
    pruned.tensors, pruned.metadata = dict(graph.tensors), copy.deepcopy(graph.metadata)
    report = PruneReport(float(density), "the smallest blocks", "self-test and random input", {}, [])
    if calibration is not None:
        report.by, report.source = "second moments of the calibration", "calibration data"
    for number in numbers:
        _prune_node(pruned, number, density, moments, report)
    want, got = run_all(graph, runs), run_all(pruned, runs)
    report.outputs = {name: error([w[name] for w in want], [g[name] for g in got]) for name in want[0]}
    _time(graph, pruned, report)
    pruned.metadata["pruning"] = report.as_metadata()
    if any(w.after < w.before for w in report.weights):
        pruned.self_test = own_self_test(pruned, WHY)
    content = format.to_bytes(pruned)
    if path is not None:
        format.write(pruned, path)
    return Model(content), report


def _named(graph: Graph, layers: Iterable[str]) -> list[int]:
    """Numbers of the ops with weights that `layers` names."""
    patterns = [layers] if isinstance(layers, str) else list(layers)
    able = {n: node.name for n, node in enumerate(graph.nodes) if node.op in WEIGHTS}
    for pattern in patterns:
        if not any(name == pattern or fnmatchcase(name, pattern) for name in able.values()):
            raise LstmEdgeError(
                f"layers: no op with weights to prune is named {pattern!r}; there are {', '.join(able.values()) or 'none'}"
            )
    return [n for n, name in able.items() if any(name == p or fnmatchcase(name, p) for p in patterns)]


def _prune_node(graph: Graph, number: int, share: float, moments: MomentsOf, report: PruneReport) -> None:
    """Puts the node's pruned weights into the graph under their old names, once for all ops that read them."""
    node = graph.nodes[number]
    for role, tensor in _weights(graph, node):
        place = f"{node.name} {role}"
        data = tensor.values
        why = _why_not(graph, node, tensor)
        if why:
            report.stayed[place] = why
            continue
        after = prune_weight(data, share, _usable(moments.get((number, role))))
        graph.tensors[tensor.name] = Tensor(tensor.name, tensor.dtype, tensor.shape, after)
        sizes = stored_bytes(data), stored_bytes(after)
        report.weights.append(WeightReport(node.op, node.name, role, density(data), density(after), *sizes))


def _weights(graph: Graph, node: Node) -> list[tuple[str, Tensor]]:
    """The node's constants that may be pruned, by the names of its inputs."""
    named = [(op_spec(node).input_name(i), graph.tensors[name]) for i, name in enumerate(node.inputs) if name]
    return [(role, t) for role, t in named if role in WEIGHTS[node.op] and t.is_constant]


def _why_not(graph: Graph, node: Node, tensor: Tensor) -> str:
    if tensor.values.size // max(tensor.values.shape[-1], 1) < BLOCK[0]:
        return f"fewer outputs than the {BLOCK[0]} of a block"
    if not np.isfinite(tensor.values).all():
        return "it holds NaN or infinity"
    others = [n for n in graph.consumers(tensor.name) if n is not node]
    return f"{others[0].name} reads it too" if others else ""


def _usable(moments: Moments | None) -> Moments | None:
    return moments if moments is not None and moments.rows > 0 else None


def stored_bytes(weight: np.ndarray) -> int:
    """What a file takes for it."""
    return sum(part.nbytes for part in cut(weight)) if pays(weight) else weight.nbytes


def _time(before: Graph, after: Graph, report: PruneReport) -> None:
    measured = timed_here({"before": before, "after": after})
    report.where = measured.where
    report.calls = {
        kind: (times.call, measured.times["after"][kind].call) for kind, times in measured.times["before"].items()
    }
