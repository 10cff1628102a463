"""Every case through every front end: what each gives, by the reference in float64 and by the core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import lstm_edge
from conformance import spell_network, spell_onnx, spell_tflite, spell_torch
from conformance.case import EXPORTED, RUN_WITH, Array, Case, Later
from lstm_edge import format, reference
from lstm_edge.convert import to_graph
from lstm_edge.ir.dims import Dim
from lstm_edge.ir.graph import Graph

keras = Later("keras")


@dataclass(frozen=True)
class Answers:
    """The outputs of a case by engine ('reference', 'core'), and which axes of its inputs stayed open."""

    by_engine: dict[str, list[Array]]
    open_axes: list[list[int]]


def answers(front_end: str, case: Case, is_open: bool, cases: Sequence[Case]) -> Answers:
    """What a front end makes of a case. `cases`: all of its subject, which torch converts together.

    Raises what the front end raises.
    """
    if front_end != "torch":
        return _run(_CONVERT[front_end](case, is_open), [case], is_open)[0]
    together = tuple(c for c in cases if c.spelling("torch") and not c.why_refused(is_open))
    if case in together:
        found = _together(together, is_open)
        if found is not None:
            return found[together.index(case)]
    return _run(to_graph(spell_torch.model([case], is_open)), [case], is_open)[0]


@cache
def _together(cases: tuple[Case, ...], is_open: bool) -> list[Answers] | None:
    """The answers of cases converted as one module; None when one of them is in the way, so that each stands alone."""
    try:
        return _run(to_graph(spell_torch.model(cases, is_open)), cases, is_open)
    except Exception:  # what torch.export raises has many types; whoever is at fault fails again alone
        return None


def _onnx(case: Case, is_open: bool) -> Graph:
    return to_graph(spell_onnx.model(case, is_open), states={})


def _tflite(case: Case, is_open: bool) -> Graph:
    return to_graph(spell_tflite.model(case, is_open), states={})


def _network(case: Case, is_open: bool) -> Graph:
    weights, network = spell_network.model(case, is_open)
    return to_graph(weights, network=network, states={})


def _keras(case: Case, is_open: bool) -> Graph:
    inputs = []
    for n, i in enumerate(case.inputs):
        sizes = [None if is_open and isinstance(s, str) else size for s, size in zip(i.sizes, i.shape(EXPORTED))]
        dtype = "int32" if i.dtype == "int64" else i.dtype
        inputs.append(keras.Input(batch_shape=sizes, dtype=dtype, name=f"x{n}"))
    return to_graph(keras.Model(inputs, case.keras(*inputs)), states={})  # type: ignore[operator]


_CONVERT: dict[str, Any] = {"onnx": _onnx, "tflite": _tflite, "network": _network, "keras": _keras}


def _run(graph: Graph, cases: Sequence[Case], is_open: bool) -> list[Answers]:
    """The answers of every case of a graph that holds them side by side."""
    sizes = RUN_WITH if is_open else EXPORTED
    arrays = [a for c in cases for a in c.arrays(sizes)]
    assert len(graph.inputs) == len(arrays), f"{len(graph.inputs)} inputs: expected {len(arrays)}"
    feeds = {p.name: np.ascontiguousarray(a, graph.tensors[p.tensor].dtype) for p, a in zip(graph.inputs, arrays)}
    model = lstm_edge.load(format.to_bytes(graph))
    core = model.run(**feeds)
    engines = {
        "reference": reference.run(graph, feeds)[0],
        "core": core if isinstance(core, dict) else {model.outputs[0].name: core},
    }
    opened = [[a for a, s in enumerate(graph.shape(p.tensor)) if isinstance(s, Dim)] for p in graph.inputs]
    split: list[Answers] = []
    first_in = first_out = 0
    for case in cases:
        count = len(case.wanted(case.arrays(sizes)))
        names = [p.name for p in graph.outputs[first_out : first_out + count]]
        mine = {engine: [np.asarray(found[n]) for n in names] for engine, found in engines.items()}
        split.append(Answers(mine, opened[first_in : first_in + len(case.inputs)]))
        first_in, first_out = first_in + len(case.inputs), first_out + count
    return split
