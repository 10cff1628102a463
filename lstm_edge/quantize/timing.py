"""What a call and each of its ops take in several forms of one model, timed against each other on this machine."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .. import format
from .._core import Model
from ..bench.machine import cpu_name
from ..bench.measure import frames_of
from ..bench.measure import sample_inputs as step_inputs
from ..ir.graph import Graph
from ..reference.samples import sample_inputs

CHUNK = 100  # frames of a call that is no step
ROUNDS = 15  # the forms take turns, so that a slow moment meets all of them, and each keeps its best round
ROUND = 1.5e-3  # seconds of one form's turn: shorter than what a busy system gives to one process at a time
LEAST_CALLS, MOST_CALLS = 3, 1000  # of a turn


@dataclass(frozen=True)
class CallTimes:
    """Microseconds of one call, and of each of the graph's nodes in it, in their order."""

    call: float
    ops: list[float]


@dataclass(frozen=True)
class Measured:
    """Times by form and then by the kind of call: `step` of one frame, `chunk` of CHUNK frames with state, `sequence` of as many
    without. The forms hold the same kinds in the same order. where: the machine that they are true of, and how they were found."""

    where: str
    times: dict[str, dict[str, CallTimes]]


Measure = Callable[[Mapping[str, Graph]], Measured]


def timed_here(forms: Mapping[str, Graph]) -> Measured:
    """Times every form (graphs of the same nodes) on this machine, in some 0.05 s a form and kind of call. Raises what Model raises."""
    models = {name: Model(_bytes(graph)) for name, graph in forms.items()}
    times: dict[str, dict[str, CallTimes]] = {name: {} for name in models}
    for mode in modes(next(iter(forms.values()))):
        calls = {name: _Call(graph, models[name], mode) for name, graph in forms.items()}
        for _ in range(ROUNDS):
            for call in calls.values():
                call.take_turn()
        for name, call in calls.items():
            times[name][mode] = CallTimes(1e6 * call.seconds, [1e6 * float(s) for s in call.op_seconds])
    isa = next(iter(models.values())).isa
    return Measured(f"{cpu_name()}, {isa}, timed", times)


def modes(graph: Graph) -> tuple[str, ...]:
    """The kinds of calls that a model is made for."""
    if not graph.metadata.get("streaming", {}).get("supported"):
        return ("sequence",)
    return ("step",) if graph.is_step_model() else ("step", "chunk")


class _Call:
    """One kind of call of one model, with the best times so far."""

    def __init__(self, graph: Graph, model: Model, mode: str):
        if mode == "step":
            self.frames = frames_of(model, mode, 1)
            self.arrays = step_inputs(model, frames=self.frames, step=True)
            self.stream, self.profiled = model.stream(), model.stream()
        else:
            self.arrays = model._arrange([], dict(sample_inputs(graph, CHUNK)))
            self.stream, self.frames, *_ = model._begin(self.arrays)
            self.profiled, *_ = model._begin(self.arrays)
        self.profiled.profile(True)
        self.seconds = math.inf
        self.op_seconds = np.full(len(model.ops), math.inf)

    def take_turn(self) -> None:
        """The call's part in the core, whole and then op by op: the mean and the medians of this turn, if they are the best so far."""
        once = self.stream._repeat(self.arrays, self.frames, LEAST_CALLS) / LEAST_CALLS
        count = min(MOST_CALLS, max(LEAST_CALLS, int(ROUND / max(once, 1e-7))))
        self.seconds = min(self.seconds, self.stream._repeat(self.arrays, self.frames, count) / count)
        looks = []
        for _ in range(count):
            self.profiled._repeat(self.arrays, self.frames, 1)
            looks.append(self.profiled.op_seconds)
        self.op_seconds = np.minimum(self.op_seconds, np.median(np.array(looks, np.float64), axis=0))


def _bytes(graph: Graph) -> bytes:
    bare = copy.copy(graph)
    bare.self_test = None
    return format.to_bytes(bare)
