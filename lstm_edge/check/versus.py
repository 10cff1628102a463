"""A model beside the frameworks that run its source: each engine in a process of its own, their answers compared first, then
timed in turn, a block of calls each in an order drawn anew every round, so that what slows the machine slows all."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from .. import format
from .._core import load
from ..around.after import activated
from ..around.scalers import SCALE, UNSCALE, around, scales
from ..bench.measure import frames_of, sample_inputs
from ..bench.sampling import MOST
from ..bench.statistics import median_interval, summarise
from ..errors import LstmEdgeError
from ..files.python import NotStarted
from ..ir.graph import Graph
from ..metadata import BEFORE, section
from ..reference.samples import Arrays, difference, scale_of
from .against import TOLERANCE
from .child import Child
from .engines import CHECKED, Opened, Setup
from .frameworks import LITERT
from .frameworks.question import outline
from .jobs import named

BLOCK = 10e-3  # seconds of one engine's calls before the next one's turn
ROUNDS = 15  # at least, so that the ratios of the rounds give an interval
QUANTISED = 0.1  # of the largest answer: what int8 may cost against a source of float32; another model differs by more
FEATURES = "the file computes audio features of samples, the source takes features; compare the network alone, converted without --before"
IDLE = 600.0  # seconds that an engine waits for its turn


@dataclass(frozen=True)
class Engine:
    """framework: a module of frameworks/. packages: any of them will do. install: what to give to pip. files: what it runs."""

    framework: str
    packages: tuple[str, ...]
    install: str
    files: str


ENGINES = {
    "onnxruntime": Engine("onnx", ("onnxruntime",), "onnxruntime", ".onnx"),
    "litert": Engine("tflite", ("ai_edge_litert",), "ai-edge-litert", ".tflite"),
    "tflite": Engine("tflite", tuple(p for p in LITERT if p != "ai_edge_litert"), "tflite-runtime", ".tflite"),
    "torch": Engine("torch", ("torch",), "torch", "TorchScript or .pt2"),
    "ncnn": Engine("ncnn", ("ncnn",), "ncnn", ".param (with its .bin)"),
}


@dataclass(frozen=True)
class Source:
    """A file that frameworks run: `graph` is what it converts to, `constants` the inputs that were fixed for that."""

    path: str
    kind: str
    graph: Graph
    constants: Mapping[str, Any]


@dataclass(frozen=True)
class Rival:
    """An engine's row, in microseconds. why: it cannot do this, and there are no figures. error, allowed: of its first calls'
    answers against ours. ratio: of our median in a round to its, in the middle of the rounds, with a 95 % interval, which what slows
    both does not move; ratio_min: of the least times."""

    mode: str
    engine: str
    name: str = ""
    source: str = ""
    why: str = ""
    error: float | None = None
    allowed: float | None = None
    agrees: bool | None = None
    runs: int = 0
    min: float | None = None
    median: float | None = None
    low: float | None = None
    high: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    ratio_min: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def neighbour(path: str) -> str | None:
    """The source of a .lstm file where it lies beside that under its name, unchanged since it was converted."""
    about = format.read(path).metadata.get("source", {})
    found = os.path.join(os.path.dirname(path), str(about.get("name") or ""))
    if not about.get("sha256") or not os.path.isfile(found):
        return None
    return found if digest(found) == about["sha256"] else None


def digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versus(
    path: str,
    engines: Sequence[str],
    sources: Sequence[Source],
    *,
    mode: str = "step",
    frames: int = 100,
    batch: int = 1,
    isa: str | None = None,
    runs: int | None = None,
    seconds: float = 3.0,
    cpu: int | None = None,
    tolerance: float | None = None,
) -> list[Rival]:
    """Our row, and one for each of `engines` (keys of ENGINES) on the first of `sources` that it runs.

    mode, frames, batch: as `bench` takes them; states go from call to call in a step and a chunk. seconds: for all engines
    together; runs: calls of each instead. tolerance: times the largest answer of an output (at least 1); without it 1e-4, or what
    the source states of its arithmetic, or a tenth where our file is quantised.
    """
    model = load(path, isa)
    frames = frames_of(model, mode, frames)
    inputs = sample_inputs(model, frames=frames, batch=batch, step=mode == "step")
    by_name = {port.name: array for port, array in zip(model.inputs, inputs)}
    fed = list(around(model.metadata, by_name, SCALE).values())  # the source does not scale
    coarse = QUANTISED if model.metadata.get("quantization") else TOLERANCE
    with ExitStack() as stack:
        ours, opened = stack.enter_context(_started(Setup("", path, mode, inputs, Graph(), batch, isa=isa, cpu=cpu)))
        if ours is None:
            raise LstmEdgeError(f"bench: lstm_edge itself does not run beside others: {opened.why}")
        rows, children = [Rival(mode, "lstm_edge", opened.name, os.path.basename(path))], [ours]
        cannot = []
        for name in engines:
            source, why = _source_for(name, sources)
            if section(model.metadata, BEFORE):
                source, why = None, FEATURES
            if source is None:
                cannot.append(Rival(mode, name, why=why))
                continue
            setup = _setup(name, source, mode, fed, batch, cpu)
            child, theirs = stack.enter_context(_started(setup))
            row = Rival(
                mode,
                name,
                theirs.name and named(theirs.name, model.metadata),
                os.path.basename(source.path),
                theirs.why,
            )
            if child is None:
                cannot.append(row)
                continue
            raw = [activated(model.metadata, around(model.metadata, each, UNSCALE)) for each in theirs.answers]
            limit = tolerance or max(coarse, source.graph.metadata.get("arithmetic", {}).get("relative", 0.0))
            rows.append(Rival(**{**vars(row), **_compared(opened.answers, raw, limit, model.metadata)}))
            children.append(child)
        times = _in_turn(children, runs, seconds)
    return [*_with_figures(rows, times), *cannot]


def _source_for(name: str, sources: Sequence[Source]) -> tuple[Source | None, str]:
    engine = ENGINES[name]
    found = next((s for s in sources if s.kind == engine.framework), None)
    if not any(map(find_spec, engine.packages)):
        return None, f"{name} is not installed; pip install {engine.install}"
    return found, f"{name} runs {engine.files} files, and none was given; --source names one"


def _setup(name: str, source: Source, mode: str, inputs: list[np.ndarray], batch: int, cpu: int | None) -> Setup:
    engine = ENGINES[name]
    constants = {k: np.asarray(v) for k, v in source.constants.items()}
    return Setup(engine.framework, os.path.abspath(source.path), mode, inputs, outline(source.graph), batch, constants,
                 packages=engine.packages, cpu=cpu)  # fmt: skip


@contextmanager
def _started(setup: Setup) -> Iterator[tuple[Child | None, Opened]]:
    """A process of its own with that engine; None, with the reason, where the engine cannot do it."""
    try:
        child = Child("lstm_edge.check.engines", IDLE)
    except NotStarted as why:
        yield None, Opened(why=f"no process for it: {why}")
        return
    try:
        opened = _asked(child, setup)
        yield (None if opened.why else child), opened
    finally:
        child.kill()


def _asked(child: Child, setup: Setup) -> Opened:
    if setup.framework and len(setup.inputs) != len(setup.graph.inputs):
        return Opened(why=f"the source has {len(setup.graph.inputs)} inputs, the model {len(setup.inputs)}")
    try:
        opened: Opened = child.ask(setup)
        return opened
    except (EOFError, OSError):
        return Opened(why=f"the framework {child.end() or 'ended'} on this model")


def _compared(ours: list[Arrays], theirs: list[Arrays], limit: float, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """error, allowed and agrees: of the output that is farthest beyond what is allowed, in any of the first calls. metadata: whose
    scalers say how large real units are, without what is merely added to all of them."""
    worst = (0.0, limit)
    for own, other in zip(ours, theirs):
        sizes = scales(metadata, own)
        if own and len(own) == len(other) and set(own) != set(other):
            other = dict(zip(own, other.values()))  # a source of another format may name them otherwise
        for name, got in own.items():
            want = other.get(name)
            if want is not None and want.size == got.size:
                want = want.reshape(got.shape)
            allowed = limit * scale_of(got)
            if name in sizes:
                largest = np.float32(np.abs(got).max(initial=0))
                allowed = limit * sizes[name] + 2 * float(np.spacing(largest))  # what float32 has of such values
            error = difference(want, got)
            worst = max(worst, (error, allowed), key=lambda each: each[0] / each[1])
    return {"error": worst[0], "allowed": worst[1], "agrees": worst[0] <= worst[1]}


def _in_turn(children: list[Child], runs: int | None, seconds: float) -> list[list[np.ndarray]]:
    """Nanoseconds of every call, by engine and round."""
    sizes = []
    for child in children:
        _block(child, CHECKED)
        typical = float(np.median(_block(child, CHECKED))) / 1e9
        sizes.append(max(1, min(int(BLOCK / max(typical, 1e-9)), MOST // 1000)))
    if runs is not None:
        sizes = [min(size, -(-runs // ROUNDS)) for size in sizes]
    found: list[list[np.ndarray]] = [[] for _ in children]
    order, draw, start = list(range(len(children))), random.Random(0), time.perf_counter()
    while True:
        draw.shuffle(order)
        for n in order:
            found[n].append(_block(children[n], sizes[n]))
        done = len(found[0])
        enough = time.perf_counter() - start >= seconds if runs is None else all(done * s >= runs for s in sizes)
        if done >= ROUNDS and (enough or done * max(sizes) >= MOST):
            return found


def _block(child: Child, calls: int) -> np.ndarray:
    try:
        times: np.ndarray = child.ask(calls)
        return times
    except (EOFError, OSError):
        raise LstmEdgeError(f"bench: an engine {child.end() or 'ended'} while it was timed") from None


def _with_figures(rows: list[Rival], times: list[list[np.ndarray]]) -> Iterator[Rival]:
    wholes = [summarise(np.concatenate(each)) for each in times]
    medians = [np.array([np.median(block) for block in each]) for each in times]
    for row, whole, rounds in zip(rows, wholes, medians):
        figures = {name: getattr(whole, name) for name in ("runs", "min", "median", "low", "high")}
        if row is not rows[0]:
            ratios = np.sort(medians[0] / rounds)
            low, high = median_interval(ratios)
            figures |= {"ratio": float(np.median(ratios)), "ratio_low": low, "ratio_high": high}
            figures["ratio_min"] = wholes[0].min / whole.min
        yield Rival(**{**vars(row), **figures})
