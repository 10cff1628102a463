"""Random graphs of many ops on every ISA of this CPU, node by node against the float64 oracle.

Each node is asked on what the core itself gave it, so that a jump (floor, a comparison, an index) that rounding crosses is no difference, and its bounds are those
of the op alone (op_bounds.py). Then everything that decides where tensors lie is tried: the same graph with fewer outputs, whole and frame by frame
or in any chunks, its rows alone, gives the same bits. `make graphs SECONDS=n` tries others than these for as long as one likes.
"""

from __future__ import annotations

import copy
import os
from typing import Any

import numpy as np
import pytest
from graph_strategies import GraphCase, alone, graphs
from hypothesis import HealthCheck, assume, given, settings
from op_bounds import assert_matches, assert_same_bits, holds_int8
from sequence_strategies import LAYERS, sequences
from shared import ISAS

import lstm_edge
from lstm_edge import format, reference
from lstm_edge.ir.dims import BATCH
from lstm_edge.ir.graph import Graph
from lstm_edge.ir.ops import OPS
from lstm_edge.passes import streaming

# The same graphs at every run, unless a profile is asked for (tests/conftest.py); a failure prints how to have it again.
FIXED = {} if "HYPOTHESIS_PROFILE" in os.environ else {"derandomize": True, "database": None}
EACH = max(1, settings().max_examples // 15)


def telling(case: GraphCase, outputs: list[str]) -> bytes:
    """The file of a graph that tells these tensors."""
    graph: Graph = copy.deepcopy(case.graph)
    for name in outputs:
        graph.output(name, name)
    streaming.apply(graph)
    return format.to_bytes(graph)


def plain_file(case: GraphCase, outputs: list[str]) -> bytes:
    """The same as it is, for whole sequences."""
    graph: Graph = copy.deepcopy(case.graph)
    for name in outputs:
        graph.output(name, name)
    return format.to_bytes(graph)


def answers(model: Any, outputs: list[str], arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    """What a model or a stream answers, by output."""
    result = model.run(*arrays)
    return result if isinstance(result, dict) else {outputs[0]: result}


def of_frame(case: GraphCase, t: int, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every tensor in frame t, as the core has it."""
    arrays = {n: found[n][t] for n in case.made} | case.of_frame(t)
    for state in case.graph.states:
        first = np.zeros(state.shape, np.float32) if state.initial is None else state.initial
        arrays[state.read] = found[state.write][t - 1] if t else first
    return arrays


def check_nodes(case: GraphCase, arrays: dict[str, np.ndarray], isa: str) -> None:
    """Every node beside the oracle on the same values."""
    for node in case.graph.nodes:
        if all(not i or i in arrays or case.graph.tensors[i].is_constant for i in node.inputs):
            single = alone(case, node, arrays)
            expected, _ = reference.run(single.graph, single.inputs)
            assert_matches(single, {n: arrays[n] for n in expected}, expected, isa)


def check_graph(case: GraphCase) -> None:
    frames = [case.of_frame(t) for t in range(case.frames)]
    arrays = [np.stack([frame[name] for frame in frames]) for name in case.inputs]
    everything, told = telling(case, case.made), telling(case, case.outputs)
    first: dict[str, np.ndarray] = {}
    for isa in ISAS:
        found = answers(lstm_edge.load(everything, isa=isa), case.made, arrays)
        for t in range(case.frames):
            check_nodes(case, of_frame(case, t, found), isa)
        model = lstm_edge.load(told, isa=isa)
        whole, stream = answers(model, case.outputs, arrays), model.stream()
        steps = [answers(stream, case.outputs, [a[t : t + 1] for a in arrays]) for t in range(case.frames)]
        for name in case.outputs:
            assert_same_bits(whole[name], found[name])
            assert_same_bits(np.concatenate([step[name] for step in steps]), found[name])
        first = first or whole
        for name in case.outputs if holds_int8(case) else []:
            assert_same_bits(whole[name], first[name])


def check_chunks(case: GraphCase, cuts: list[int], isa: str, found: dict[str, np.ndarray]) -> None:
    """A graph that streams gives the bits of one run however it is cut, and of a row alone."""
    graph = copy.deepcopy(case.graph)
    for name in case.outputs:
        graph.output(name, name)
    streaming.apply(graph)
    if not graph.metadata["streaming"]["supported"]:
        return
    multiple, arrays = graph.metadata["streaming"]["multiple"], list(case.inputs.values())
    model = lstm_edge.load(format.to_bytes(graph), isa=isa)
    stream, ends = (
        model.stream(batch=len(arrays[0])),
        sorted({c // multiple * multiple for c in cuts} | {arrays[0].shape[1]}),
    )
    if any(end % multiple for end in ends):
        return
    parts = [answers(stream, case.outputs, [a[:, i:j] for a in arrays]) for i, j in zip([0, *ends], ends)]
    rows = [answers(model, case.outputs, [a[r : r + 1] for a in arrays]) for r in range(len(arrays[0]))]
    for port in graph.outputs:
        name, axis = port.name, graph.time_axis(port.tensor)
        given = [part[name] for part in parts if part[name] is not None]
        assert_same_bits(np.concatenate(given, axis) if axis >= 0 else given[-1], found[name])
        assert_same_bits(np.concatenate([row[name] for row in rows], case.graph.shape(name).index(BATCH)), found[name])


@pytest.mark.parametrize("op", OPS)
def test_graphs_with(op):
    @settings(max_examples=EACH, print_blob=True, suppress_health_check=list(HealthCheck), **FIXED)
    @given(graphs(op))
    def check(case):
        assert op in [node.op for node in case.graph.nodes]
        assume(case.outputs)
        check_graph(case)

    check()


def check_sequence(case: GraphCase, cuts: list[int]) -> None:
    arrays = list(case.inputs.values())
    everything, told = (plain_file(case, outputs) for outputs in (case.made, case.outputs))
    first: dict[str, np.ndarray] = {}
    for isa in ISAS:
        found = answers(lstm_edge.load(everything, isa=isa), case.made, arrays)
        check_nodes(case, {**found, **case.inputs}, isa)
        whole = answers(lstm_edge.load(told, isa=isa), case.outputs, arrays)
        first = first or whole
        for name in case.outputs:
            assert_same_bits(whole[name], found[name])
            if holds_int8(case):
                assert_same_bits(whole[name], first[name])
        check_chunks(case, cuts, isa, whole)


@pytest.mark.parametrize("layer", LAYERS)
def test_chunks_of_graphs_with(layer):
    @settings(max_examples=EACH, print_blob=True, suppress_health_check=list(HealthCheck), **FIXED)
    @given(sequences(layer))
    def check(drawn):
        assume(drawn[0].outputs)
        check_sequence(*drawn)

    check()
