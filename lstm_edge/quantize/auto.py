"""precision="auto": float32, float16 and int8 timed on this machine; the fastest within the tolerance is kept."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np

from .. import format
from .._core import Model
from ..bench import bench
from ..ir.graph import Graph
from .report import Arrays, Error, QuantizeReport, bytes_of, run_all
from .search import Quantized, quantized

TOLERANCE = 0.01  # of the largest answer, where no max_error is given
ROUNDS, SECONDS = 5, 0.05  # rounds take turns, so that a slow moment meets all precisions
NOISE = 0.97  # a less exact precision must be faster by more than the clock's noise


def fastest(
    graph: Graph, runs: list[Arrays], kept: Mapping[int, str], max_error: float | None, by_calibration: bool
) -> Quantized:
    """The fastest of the three whose largest error at an output is within max_error; its report holds all timings."""
    tolerance = max_error if max_error is not None else TOLERANCE * _largest_answer(graph, runs)
    candidates = {"float32": _unchanged(graph)}
    for weights in ("float16", "int8"):
        candidates[weights] = quantized(graph, runs, weights, kept, max_error, by_calibration)
    models = {name: Model(_bytes(c.graph)) for name, c in candidates.items()}
    mode = "step" if graph.metadata.get("streaming", {}).get("supported") else "sequence"
    timings = {name: np.inf for name in models}
    for _ in range(ROUNDS):
        for name, model in models.items():
            timings[name] = min(timings[name], bench(model, mode=mode, seconds=SECONDS, patience=1).median)
    best = "float32"
    for name, candidate in candidates.items():
        if candidate.report.max_error <= tolerance and timings[name] < NOISE * timings[best]:
            best = name
    report = candidates[best].report
    report.timings = {k: float(v) for k, v in timings.items()}
    report.notes = [*report.notes, *_why(candidates, timings, best, tolerance, mode)]
    return candidates[best]


def _why(
    candidates: dict[str, Quantized], timings: dict[str, float], best: str, tolerance: float, mode: str
) -> list[str]:
    lines = [
        f"{best} kept: {timings[best]:.2f} us per {mode} on this machine, error {candidates[best].report.max_error:.2g}"
    ]
    for name, candidate in candidates.items():
        if name != best:
            error = candidate.report.max_error
            why = f"its error is beyond the tolerance {tolerance:.2g}" if error > tolerance else "not faster"
            lines.append(f"{name} left: {timings[name]:.2f} us, error {error:.2g}; {why}")
    return lines


def _unchanged(graph: Graph) -> Quantized:
    same = copy.copy(graph)
    same.metadata = copy.deepcopy(graph.metadata)
    size = bytes_of(graph)
    outputs = {p.name: Error(0.0, 0.0, np.inf) for p in graph.outputs}
    return Quantized(same, QuantizeReport("float32", "none needed", outputs, [], size, size))


def _largest_answer(graph: Graph, runs: list[Arrays]) -> float:
    answers = [a[np.isfinite(a)] for run in run_all(graph, runs) for a in run.values()]
    return max((float(np.abs(a).max(initial=0.0)) for a in answers), default=0.0)


def _bytes(graph: Graph) -> bytes:
    bare = copy.copy(graph)
    bare.self_test = None
    return format.to_bytes(bare)
