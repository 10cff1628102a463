"""One engine in a process of its own, ours or a source's framework, that is timed in turn with others (versus.py).

It answers two messages: a Setup with Opened, and then numbers of calls with the nanoseconds of each.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from .._core import load
from ..bench.sampling import time_calls
from ..errors import LstmEdgeError
from ..ir.dims import value
from ..ir.graph import Graph
from ..passes.overlap import context_name
from ..reference.samples import Arrays, is_framed
from .frameworks.question import Bound

CHECKED = 3  # calls whose answers are compared, so that a state which is not carried shows
LEAD = 20  # calls in front of those that are timed: another process has had the caches


@dataclass(frozen=True)
class Setup:
    """What is to be timed: our file `source` where `framework` is '', else a source by a module of frameworks/.

    graph: the source's outline, from which ports and states are known. inputs: of one call as Model.run or Stream.step takes them.
    packages: those that will do, where the framework has several. cpu: to be pinned to.
    """

    framework: str
    source: Any
    mode: str
    inputs: list[np.ndarray]
    graph: Graph
    batch: int = 1
    constants: Arrays = field(default_factory=dict)
    isa: str | None = None
    packages: tuple[str, ...] = ()
    cpu: int | None = None


@dataclass(frozen=True)
class Opened:
    """name: of the engine, with its version. answers: of each of the first CHECKED calls, by output. why: it cannot do this."""

    name: str = ""
    answers: list[Arrays] = field(default_factory=list)
    why: str = ""


_call: Callable[[], object] | None = None


def answered(message: Setup | int) -> Opened | np.ndarray:
    """What the parent is told."""
    global _call
    if isinstance(message, Setup):
        try:
            if message.cpu is not None:
                os.sched_setaffinity(0, {message.cpu})
            opened, _call = _ours(message) if not message.framework else _theirs(message)
            return opened
        except Exception as why:  # a framework raises anything
            told = str(why) if isinstance(why, LstmEdgeError) else f"{type(why).__name__}: {why}"
            return Opened(why=" ".join(told.split())[:300])
    assert _call is not None
    for _ in range(min(LEAD, message)):
        _call()
    times: list[int] = []
    time_calls(_call, None, message, times, [])
    return np.array(times, np.int64)


def _ours(setup: Setup) -> tuple[Opened, Callable[[], object]]:
    model = load(setup.source, setup.isa)
    run: Callable[..., Any] = model.run
    if setup.mode != "sequence":
        stream = model.stream(setup.batch)
        run = stream.step if setup.mode == "step" else stream.run
    inputs, names = setup.inputs, [p.name for p in model.outputs]

    def call() -> Any:
        return run(*inputs)

    def named(found: Any) -> Arrays:
        found = found if isinstance(found, dict) else {names[0]: found}
        return {name: np.array(each) for name, each in found.items() if each is not None}

    return Opened(f"lstm_edge, {model.isa}", [named(call()) for _ in range(CHECKED)]), call


def _theirs(setup: Setup) -> tuple[Opened, Callable[[], object]]:
    """The framework's call, fed as its user would: states that the source has as inputs and outputs go from call to call, a
    source of one frame is called once a frame."""
    graph = setup.graph
    pairs, overlap = graph.metadata.get("pairs", {}), graph.metadata.get("overlap", {})
    mode = setup.mode
    loop = is_framed(graph) and mode != "step"
    fed_back = {*pairs, *(context_name(name) for name in overlap)}
    within = [s.name for s in graph.states if s.name not in fed_back]
    if mode != "sequence" and within and setup.framework != "tflite":  # whose files may hold variables, which stay
        raise LstmEdgeError(
            f"the source keeps no state from call to call (it has no input for {within[0]!r}): "
            "export it with its states as inputs and outputs"
        )
    names, states = [p.name for p in graph.inputs], [s for s in graph.states if s.name in pairs]
    long = any(overlap.get(name, 0) > given.shape[-1] for name, given in zip(names, setup.inputs) if given.ndim)
    if overlap and (long or not is_framed(graph)):
        raise LstmEdgeError("the source's frames overlap by more than one frame, or within a sequence")
    frames = [dict(zip(names, each)) for each in (zip(*setup.inputs) if loop else [setup.inputs])]
    zeros = {s.name: np.zeros([value(d, setup.batch, 1) for d in s.shape], s.dtype) for s in states}
    silence = {k: np.zeros_like(v) for k, v in frames[0].items()}
    first = {**frames[0], **_overlapping(overlap, silence, frames[0]), **zeros}
    module = import_module(f".frameworks.{setup.framework}", __package__)
    chosen = {"packages": setup.packages} if "packages" in inspect.signature(module.bound).parameters else {}
    bound: Bound = module.bound(setup.source, setup.constants, graph, first, **chosen)
    given, run, begin = bound.given, bound.call, dict(bound.given)
    fed = [{**now, **_overlapping(overlap, before, now)} for before, now in zip([frames[-1], *frames], frames)]
    feeds = [{k: bound.native(k, v) for k, v in feed.items() if k in given} for feed in fed]
    links = [(source, bound.outputs.index(target)) for source, target in pairs.items()]

    def go_on() -> Any:
        found = run()
        for name, at in links:
            given[name] = found[at]
        return found

    def whole() -> list[Any]:
        """All frames, from the start or (a chunk) from where the last call ended."""
        if mode == "sequence":
            given.update(begin)
        answers = [go_on()]
        for feed in feeds[1:]:
            given.update(feed)
            answers.append(go_on())
        given.update(feeds[0])
        return answers

    call = whole if loop else run if mode == "sequence" or not links else go_on

    def looked_at() -> Arrays:
        found = call()
        given.update(feeds[0])
        by_output = zip(*found) if loop else found
        read = [np.stack(list(map(bound.array, each))) if loop else np.array(bound.array(each)) for each in by_output]
        return {k: v for k, v in zip(bound.outputs, read) if k in {p.name for p in graph.outputs}}

    return Opened(bound.name, [looked_at() for _ in range(CHECKED)]), call


def _overlapping(overlap: dict[str, int], before: Arrays, now: Arrays) -> Arrays:
    """The inputs whose frames repeat the end of the one before, with that in front."""
    return {k: np.concatenate([before[k][..., -n:], now[k]], -1) for k, n in overlap.items()}
