"""Weights with fewer blocks, without training.

    model, report = lstm_edge.prune("vad.lstm", "small.lstm", density=0.3, calibration=frames)

docs/sparse.md says how blocks are chosen, what is stored, and what it costs.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from .. import format
from .._core import Model
from ..errors import Findings, LstmEdgeError
from ..ir.graph import Graph, Node, Tensor
from ..ir.ops import op_spec
from ..ir.sparse import BLOCK, WEIGHTS, cut, density, held, pays
from ..metadata import in_front_end
from ..options import argument
from ..quantize import own_self_test
from ..quantize.quantizer import Calibration, calibration_runs, check_wide, open_graph
from ..quantize.report import error, run_all
from ..quantize.timing import timed_here
from .blocks import choose, solve
from .observed import TOGETHER, Values, observe, seen_by
from .report import PruneReport, WeightReport

PASSES = 4  # in which the weights that stay are solved for again, by what the pruned model itself multiplies
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
    wrong = Findings()
    if isinstance(density, bool) or not isinstance(density, (int, float)) or not 0 < density <= 1:
        found = f"expected a share above 0, at most 1, found {density!r}"
        wrong.add(LstmEdgeError(f"{argument('density')}: {found}"))
    graph = open_graph(model, "prune")
    with wrong.looking():
        check_wide(graph, "prune")
    with wrong.looking():
        numbers = _named(graph, layers)
    with wrong.looking():
        runs = calibration_runs(graph, calibration)
    wrong.raise_all()
    pruned = copy.copy(graph)
    pruned.tensors, pruned.metadata = dict(graph.tensors), copy.deepcopy(graph.metadata)
    report = PruneReport(float(density), "the smallest blocks", "self-test and random input", {}, [])
    if calibration is not None:
        report.by, report.source = "second moments of the calibration", "calibration data"
    before = None if calibration is None else observe(graph, runs, numbers)
    cuts = [c for n in numbers for c in _cuts(graph, graph.nodes[n], density, before, report)]
    _put(pruned, cuts, before, before)
    for _ in range(PASSES if before is not None and any(c.pruned for c in cuts) else 0):
        _put(pruned, cuts, before, observe(pruned, runs, numbers))
    _tell(graph, pruned, cuts, report)
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
    able = {
        n: node.name
        for n, node in enumerate(graph.nodes)
        if node.op in WEIGHTS and not in_front_end(graph.metadata, node.name)
    }
    unknown = [repr(p) for p in patterns if not any(name == p or fnmatchcase(name, p) for name in able.values())]
    if unknown:
        told = f"no op with weights to prune is named {' or '.join(unknown)}; there are {', '.join(able.values()) or 'none'}"
        raise LstmEdgeError(f"{argument('layers')}: {told}")
    return [n for n, name in able.items() if any(name == p or fnmatchcase(name, p) for p in patterns)]


@dataclass(frozen=True)
class Cut:
    """Weights of a node that act on one sum, beside each other (N, K), and which of their blocks (strips, K) stay."""

    node: Node
    roles: tuple[str, ...]
    tensors: list[Tensor]
    whole: np.ndarray
    found: np.ndarray
    pruned: bool

    def split(self, weight: np.ndarray) -> list[np.ndarray]:
        """(N, K) as the tensors are."""
        ends = np.cumsum([t.values.shape[-1] for t in self.tensors])[:-1]
        parts = np.split(weight, ends, axis=1)
        return [np.ascontiguousarray(p.reshape(t.values.shape)) for p, t in zip(parts, self.tensors)]


def _cuts(graph: Graph, node: Node, share: float, values: Values | None, report: PruneReport) -> list[Cut]:
    """What to cut of a node, chosen; the report says what is not to be cut, and why."""
    cuts = []
    able = dict(_weights(graph, node))
    for role, tensor in list(able.items()):
        why = _why_not(graph, node, tensor)
        if why:
            report.stayed[f"{node.name} {role}"] = why
            del able[role]
    for group in TOGETHER[node.op]:
        roles = tuple(role for role in group if role in able)
        if not roles:
            continue
        tensors = [able[role] for role in roles]
        whole = np.concatenate([t.values.reshape(-1, t.values.shape[-1]) for t in tensors], axis=1)
        found = held(whole)
        wanted = max(1, round(share * found.size))
        seen = None if values is None else seen_by(node, roles, values, values)
        kept = choose(whole, found, wanted, seen)
        cuts.append(Cut(node, roles, tensors, whole, kept, wanted < found.sum()))
    return cuts


def _put(graph: Graph, cuts: list[Cut], before: Values | None, after: Values | None) -> None:
    """The pruned weights under their old names, for what the model multiplied `before` and `after`."""
    for cut_ in cuts:
        if not cut_.pruned:
            continue
        seen = None if before is None or after is None else seen_by(cut_.node, cut_.roles, before, after)
        for tensor, data in zip(cut_.tensors, cut_.split(solve(cut_.whole, cut_.found, seen))):
            graph.tensors[tensor.name] = Tensor(tensor.name, tensor.dtype, tensor.shape, data)


def _tell(before: Graph, after: Graph, cuts: list[Cut], report: PruneReport) -> None:
    for c in cuts:
        for role, tensor in zip(c.roles, c.tensors):
            old, new = before.tensors[tensor.name].values, after.tensors[tensor.name].values
            sizes = stored_bytes(old), stored_bytes(new)
            report.weights.append(WeightReport(c.node.op, c.node.name, role, density(old), density(new), *sizes))


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


def stored_bytes(weight: np.ndarray) -> int:
    """What a file takes for it."""
    return sum(part.nbytes for part in cut(weight)) if pays(weight) else weight.nbytes


def _time(before: Graph, after: Graph, report: PruneReport) -> None:
    measured = timed_here({"before": before, "after": after})
    report.where = measured.where
    report.calls = {
        kind: (times.call, measured.times["after"][kind].call) for kind, times in measured.times["before"].items()
    }
