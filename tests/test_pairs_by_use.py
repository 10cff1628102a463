"""Inputs and outputs that carry state, told from their use where their names say nothing."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_edge import reference
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.passes import states

RNG = np.random.default_rng(5)
HIDDEN, FEATURES = 3, 4


def weights(graph: Graph, features: int = FEATURES) -> list[str]:
    shapes = [(1, 4 * HIDDEN, features), (1, 4 * HIDDEN, HIDDEN), (1, 4 * HIDDEN)]
    return [graph.constant(RNG.normal(0, 0.5, s).astype(np.float32)) for s in shapes]


def one_cell(batch=BATCH) -> tuple[Graph, str, str, str]:
    """An LSTM whose two states are inputs called by numbers; y and what the states become, not yet outputs."""
    graph = Graph()
    x = graph.input("x", (batch, FRAMES, FEATURES))
    a, b = graph.input("input_2", (1, batch, HIDDEN)), graph.input("input_3", (1, batch, HIDDEN))
    y, h, c = graph.add("LSTM", [x, *weights(graph), a, b], {}, "lstm", ["y", "h", "c"])
    return graph, y, h, c


@pytest.mark.parametrize("swapped", [False, True])
def test_states_of_one_shape_are_told_apart(swapped):
    graph, y, h, c = one_cell()
    graph.output("Identity", y)
    for name, tensor in zip(("Identity_1", "Identity_2"), (c, h) if swapped else (h, c)):
        graph.output(name, tensor)
    wanted = ["Identity_2", "Identity_1"] if swapped else ["Identity_1", "Identity_2"]
    assert states.pair(graph) == dict(zip(["input_2", "input_3"], wanted))
    assert not [n for n in graph.metadata["notes"] if "assumed" in n]  # it is known, not guessed


def test_states_of_several_layers_in_one_input_are_followed_through_slices_and_joins():
    graph = Graph()
    x = graph.input("x", (1, FRAMES, FEATURES))
    both = graph.input("input_2", (2, 2, 1, HIDDEN))  # h and c, of two layers each
    ends: list[list[str]] = [[], []]
    for layer in range(2):
        starts = []
        for state in range(2):
            cut = {"axes": [0, 1], "starts": [state, layer], "ends": [state + 1, layer + 1]}
            part = graph.add1("Slice", [both], cut, f"cut{layer}{state}")
            starts.append(graph.add1("Reshape", [part], {"shape": [1, 1, HIDDEN]}, f"part{layer}{state}"))
        inputs = [x, *weights(graph, FEATURES if layer == 0 else HIDDEN), *starts]
        x, h, c = graph.add("LSTM", inputs, {}, f"l{layer}", [f"y{layer}", f"h{layer}", f"c{layer}"])
        ends[0].append(h)
        ends[1].append(c)
    graph.output("Identity", x)
    joined = [graph.add1("Concat", layers, {"axis": 0}, f"join{n}") for n, layers in enumerate(ends)]
    apart = [graph.add1("Reshape", [j], {"shape": [1, 2, 1, HIDDEN]}, f"apart{n}") for n, j in enumerate(joined)]
    graph.output("Identity_1", graph.add1("Concat", apart, {"axis": 0}, "all"))
    assert states.pair(graph) == {"input_2": "Identity_1"}


def test_the_last_frame_of_the_answer_is_the_last_state():
    graph, y, _, _ = one_cell(1)
    last = graph.add1("Slice", [y], {"axes": [1], "starts": [-1], "ends": [2**31 - 1]}, "last")
    graph.output("z", y)
    graph.output("Identity_1", graph.add1("Transpose", [last], {"perm": [1, 0, 2]}, "turned"))
    assert states.pair(graph, None) == {"input_2": "Identity_1"}


def test_what_is_changed_on_its_way_or_is_the_first_frame_is_no_state():
    graph, y, h, c = one_cell(1)
    graph.output("z", y)
    graph.output("Identity_1", graph.add1("Unary", [h], {"kind": "neg"}, "changed"))
    first = graph.add1("Slice", [y], {"axes": [1], "starts": [0], "ends": [1]}, "first")
    graph.output("Identity_2", graph.add1("Transpose", [first], {"perm": [1, 0, 2]}, "turned"))
    assert "input_2" not in states.pair(graph)


def test_a_state_that_two_outputs_show_is_left_to_the_caller():
    graph, y, h, c = one_cell(1)
    graph.output("z", y)
    graph.output("one", h)
    graph.output("two", graph.add1("Reshape", [h], {"shape": [1, 1, HIDDEN]}, "again"))
    assert states.pair(graph) == {}


def test_the_answers_are_those_of_passing_the_states_on():
    graph, y, h, c = one_cell(1)
    for name, tensor in zip(("Identity", "Identity_1", "Identity_2"), (y, h, c)):
        graph.output(name, tensor)
    x = RNG.normal(0, 1, (1, 6, FEATURES)).astype(np.float32)
    zero = np.zeros((1, 1, HIDDEN), np.float32)
    wanted = reference.run(graph, {"x": x, "input_2": zero, "input_3": zero})[0]["Identity"]
    states.pair(graph)
    first, kept = reference.run(graph, {"x": x[:, :2]})
    rest, _ = reference.run(graph, {"x": x[:, 2:]}, kept)
    np.testing.assert_allclose(np.concatenate([first["Identity"], rest["Identity"]], 1), wanted, atol=1e-12)
