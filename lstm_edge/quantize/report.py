"""What quantisation changed: measured in the C core, model against model on the same inputs."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .. import format
from .._core import Model
from ..ir.graph import Graph, Port
from .timing import Measured

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Error:
    """Differences between float32 and narrow weights. snr: signal to noise in dB, infinite when nothing differs."""

    max: float
    mean: float
    snr: float

    def as_metadata(self) -> dict[str, float | None]:
        """JSON knows no infinity: None stands for it."""
        return {k: float(f"{v:.3g}") if np.isfinite(v) else None for k, v in asdict(self).items()}


@dataclass
class OpReport:
    """One op with weights. `error`: at its output, everything quantised; `alone`: the largest error at the model's outputs
    when this op alone is. `stayed`: why each of its constants that is still float32 is so, by input name. `times`: precision
    auto: microseconds by form. `number`: of its node in the graph. `input_bits`: of int8 weights, in how many bits what comes into the op
    is taken; `coarse`: how many times the outputs' mean error becomes what it is with 15 everywhere, when this op alone takes 8."""

    op: str
    name: str
    number: int
    stored: str = "float32"
    bytes_before: int = 0
    bytes_after: int = 0
    error: Error | None = None
    alone: float | None = None
    stayed: dict[str, str] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)
    input_bits: int | None = None
    coarse: float | None = None

    def as_metadata(self) -> dict[str, Any]:
        about: dict[str, Any] = {
            "op": self.op,
            "name": self.name,
            "stored": self.stored,
            "bytes": [self.bytes_before, self.bytes_after],
        }
        if self.error is not None:
            about |= self.error.as_metadata()
        if self.alone is not None:
            about["alone"] = float(f"{self.alone:.3g}")
        if self.input_bits is not None:
            about["input_bits"] = self.input_bits
        if self.coarse is not None:
            about["error_with_8"] = float(f"{self.coarse:.3g}") if np.isfinite(self.coarse) else None
        if self.times:
            about["us"] = rounded(self.times)
        return about | ({"stayed": self.stayed} if self.stayed else {})


@dataclass
class QuantizeReport:
    """What was quantised and what it costs. Bytes are those of the constants; errors are measured on `source`."""

    weights: str
    source: str
    outputs: dict[str, Error]
    ops: list[OpReport]
    bytes_before: int
    bytes_after: int
    notes: list[str] = field(default_factory=list)
    calls: dict[str, dict[str, float]] = field(
        default_factory=dict
    )  # microseconds by kind of call and form, where timed
    inputs: str = ""  # which ops take their inputs in 8 bits, and what that costs, where that was tried
    where: str = ""  # the machine of these times, and whether they were timed or modelled

    @property
    def max_error(self) -> float:
        """The largest absolute error at any output."""
        return max((e.max for e in self.outputs.values()), default=0.0)

    @property
    def timings(self) -> dict[str, float]:
        """Microseconds by form of the call that the model is made for: a step if it streams, else a sequence."""
        return next(iter(self.calls.values()), {})

    def take_times(self, found: Measured) -> None:
        """Keeps the times of whole calls."""
        kinds = next(iter(found.times.values()))
        self.where = found.where
        self.calls = {kind: {form: times[kind].call for form, times in found.times.items()} for kind in kinds}

    def as_metadata(self) -> dict[str, Any]:
        """As JSON values, numbers with three digits."""
        return {
            "weights": self.weights, "source": self.source, "bytes": [self.bytes_before, self.bytes_after],
            "outputs": {k: e.as_metadata() for k, e in self.outputs.items()}, "ops": [o.as_metadata() for o in self.ops],
            **({"inputs": self.inputs} if self.inputs else {}), **self._times(),
            **({"notes": self.notes} if self.notes else {}),
        }  # fmt: skip

    def _times(self) -> dict[str, Any]:
        if not self.calls:
            return {}
        by_call = {kind: rounded(times) for kind, times in self.calls.items()}
        return {"timings_us": rounded(self.timings), "calls_us": by_call, "timed_on": self.where}


def rounded(times: dict[str, float]) -> dict[str, float]:
    """Microseconds to four digits, as JSON values."""
    return {name: float(f"{t:.4g}") for name, t in times.items()}


def bytes_of(graph: Graph) -> int:
    """Bytes of all constants, scales included."""
    constants = [t for t in graph.tensors.values() if t.is_constant]
    return sum(t.values.nbytes + (0 if t.scale is None else t.scale.nbytes) for t in constants)


# ---- measuring -------------------------------------------------------------------------------------------------------


class Trace:
    """The float32 answers of a graph, at its outputs and after every op, on some runs."""

    def __init__(self, graph: Graph, runs: list[Arrays]):
        self.runs = runs
        self.outputs = [p.name for p in graph.outputs]
        self.tapped = _tapped(graph)
        self.want = run_all(self.tapped, runs)

    def worst(self, graph: Graph) -> float:
        """The largest error at the graph's outputs."""
        return max((e.max for e in self.at_outputs(graph).values()), default=0.0)

    def at_outputs(self, graph: Graph) -> dict[str, Error]:
        got = run_all(graph, self.runs)
        return {name: error([w[name] for w in self.want], [g[name] for g in got]) for name in self.outputs}


def measure_ops(trace: Trace, narrow: Graph) -> tuple[dict[str, Error], dict[int, Error]]:
    """Errors of `narrow` at its outputs by name, and after each of its ops by number."""
    got = run_all(_tapped(narrow), trace.runs)
    names = set(got[0]) & set(trace.want[0])
    errors = {n: error([w[n] for w in trace.want], [g[n] for g in got]) for n in names}
    taps = {int(n.rpartition("#")[2]): e for n, e in errors.items() if n.startswith(TAP)}
    return {n: errors[n] for n in trace.outputs}, taps


TAP = "\u2192#"  # no model's output is named so


def _tapped(graph: Graph) -> Graph:
    """The graph with the first output of every op that has constants among its outputs."""
    out = copy.copy(graph)
    out.self_test = None
    out.outputs = list(graph.outputs)
    for number, node in enumerate(graph.nodes):
        reads = any(graph.tensors[i].is_constant for i in node.inputs if i)
        tensor = node.outputs[0] if node.outputs else ""
        if reads and tensor and graph.tensors[tensor].dtype == "float32":
            out.outputs.append(Port(f"{TAP}{number}", tensor))
    return out


def run_all(graph: Graph, runs: list[Arrays]) -> list[Arrays]:
    """Outputs by name of each run in the C core; an absent output is an empty array."""
    bare = copy.copy(graph)
    bare.self_test = None
    model = Model(format.to_bytes(bare))
    results = []
    for run in runs:
        answer = model.run(**run)
        named = answer if isinstance(answer, dict) else {model.outputs[0].name: answer}
        results.append({k: np.zeros(0, np.float32) if v is None else v for k, v in named.items()})
    return results


def error(want: list[np.ndarray], got: list[np.ndarray]) -> Error:
    """Over all runs. NaN against NaN and an infinity against the same one are equal; any other pair that is not finite is
    infinitely far apart."""
    a = np.concatenate([np.ravel(w) for w in want]).astype(np.float64)
    b = np.concatenate([np.ravel(g) for g in got]).astype(np.float64)
    if not a.size:
        return Error(0.0, 0.0, np.inf)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    gap = np.where(same, 0.0, np.abs(np.where(same, 0.0, a) - np.where(same, 0.0, b)))
    gap = np.where(np.isnan(gap), np.inf, gap)
    signal, noise = float(np.square(a[np.isfinite(a)]).sum()), float(np.square(gap).sum())
    snr = np.inf if noise == 0 else -np.inf if signal == 0 or not np.isfinite(noise) else 10 * np.log10(signal / noise)
    return Error(float(gap.max()), float(gap.mean()), float(snr))
