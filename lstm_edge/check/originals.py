"""How the model that a graph was converted from is fed: through the file's scalers, states back in, overlaps in front, frame by
frame where that is how it runs."""

from __future__ import annotations

import numpy as np

from ..around.after import activated
from ..around.features import computed
from ..around.scalers import around
from ..ir.dims import value
from ..ir.graph import Graph
from ..ir.spec import INT32
from ..reference.samples import Arrays, is_framed
from .frameworks.question import Runner


def original_answers(graph: Graph, runner: Runner, inputs: Arrays) -> Arrays:
    """The original's answers: paired states fed back, overlaps put in front, frame by frame where that is how it
    runs. Front ends and scalers of the file are applied around it in float64: inputs and answers are raw, as the file's own."""
    fed = around(graph.metadata, computed(graph.metadata, inputs), "scale")
    return activated(graph.metadata, around(graph.metadata, _fed(graph, runner, fed), "unscale"))


def _fed(graph: Graph, runner: Runner, inputs: Arrays) -> Arrays:
    """The same of inputs that are scaled already, with answers that still are."""
    pairs, overlap = graph.metadata.get("pairs", {}), graph.metadata.get("overlap", {})
    names = [p.name for p in graph.outputs]
    states = {s.name: np.zeros([value(d, 1, 1) for d in s.shape], s.dtype) for s in graph.states if s.name in pairs}
    if not is_framed(graph):
        wide = {k: _with_overlap(graph, k, v, overlap[k]) if k in overlap else v for k, v in inputs.items()}
        answers = runner({**wide, **states})
        return {n: _as_run(answers[n]) for n in names}
    tails = {k: np.zeros((*inputs[k].shape[1:-1], n), np.float32) for k, n in overlap.items()}
    steps: dict[str, list[np.ndarray]] = {n: [] for n in names}
    for t in range(len(next(iter(inputs.values())))):
        feed = {k: np.concatenate([tails[k], v[t]], -1) if k in tails else v[t] for k, v in inputs.items()}
        tails = {k: feed[k][..., -overlap[k] :] for k in tails}
        answers = runner({**feed, **states})
        states = {source: answers[target].reshape(states[source].shape) for source, target in pairs.items()}
        for n in names:
            steps[n].append(_as_run(answers[n]))
    return {n: np.stack(a) for n, a in steps.items()}


def _with_overlap(graph: Graph, name: str, rows: np.ndarray, n: int) -> np.ndarray:
    """Each frame with the end of the one before in front."""
    time = graph.time_axis(next(p.tensor for p in graph.inputs if p.name == name))
    before = np.roll(rows[..., -n:], 1, axis=time)
    before[(slice(None),) * time + (0,)] = 0
    return np.concatenate([before, rows], -1)


def _as_run(array: np.ndarray) -> np.ndarray:
    """In the dtype and with the values that Model.run gives."""
    array = np.asarray(array)
    if array.dtype.kind in "iu":
        whole: np.ndarray = np.clip(array, *INT32).astype(np.int32)
        return whole
    return array.astype(run_dtype(array))


def run_dtype(array: np.ndarray) -> np.dtype:
    return np.dtype(np.float32) if array.dtype.kind == "f" else array.dtype
