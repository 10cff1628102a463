"""ONNX If, Loop and Scan."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_helpers import (
    BOOL,
    INT64,
    against_onnxruntime,
    importer,
    make_model,
    node,
    normal,
    onnx,
    value_info,
)

from lstm_edge import UnsupportedModelError


def branch(op, name):
    return onnx.helper.make_graph([node(op, ["x"], [name])], name, [], [value_info(name, None)])


def test_if_follows_a_constant_and_is_refused_without():
    model = make_model(
        [node("If", ["c"], ["y"], then_branch=branch("Relu", "a"), else_branch=branch("Neg", "b"))],
        [value_info("x", [2, 3]), value_info("c", [], BOOL)],
        [value_info("y", None)],
    )
    for c in (True, False):
        graph = against_onnxruntime(model, {"x": normal(2, 3), "c": np.array(c)}, constants={"c": c})
        assert [n.attrs["kind"] for n in graph.nodes] == ["relu" if c else "neg"]
    with pytest.raises(UnsupportedModelError, match="the_If.*'c'.*constants="):
        importer.read(model)


def test_loop_of_known_trips_is_unrolled():
    body = onnx.helper.make_graph(
        [
            node("Gather", ["x", "i"], ["row"], axis=0),
            node("Add", ["acc", "row"], ["total"]),
            node("Tanh", ["total"], ["next"]),
            node("Identity", ["keep"], ["keep_out"]),
            node("Identity", ["next"], ["collected"]),
        ],
        "body",
        [value_info("i", [], INT64), value_info("keep", [], BOOL), value_info("acc", [3])],
        [value_info("keep_out", [], BOOL), value_info("next", [3]), value_info("collected", [3])],
    )
    model = make_model(
        [node("Loop", ["trips", "", "start"], ["last", "all"], body=body)],
        [value_info("x", [4, 3])],
        [value_info("last", None), value_info("all", None)],
        {"trips": np.array(4), "start": np.zeros(3, np.float32)},
    )
    against_onnxruntime(model, {"x": normal(4, 3)})


def nested_loops(outer, inner):
    """y = x after outer * inner trips of tanh(y + 1); the outer loop's state is in the inner one's scope."""

    def body(name, nodes):
        return onnx.helper.make_graph(
            [*nodes, node("Identity", [f"{name}_keep"], [f"{name}_kept"])],
            name,
            [value_info(f"{name}_i", [], INT64), value_info(f"{name}_keep", [], BOOL), value_info(f"{name}_in", [3])],
            [value_info(f"{name}_kept", [], BOOL), value_info(f"{name}_out", [3])],
        )

    within = body("inner", [node("Add", ["inner_in", "one"], ["more"]), node("Tanh", ["more"], ["inner_out"])])
    around = body("outer", [node("Loop", ["inner_trips", "", "outer_in"], ["outer_out"], body=within)])
    return make_model(
        [node("Loop", ["outer_trips", "", "x"], ["y"], body=around)],
        [value_info("x", [3])],
        [value_info("y", [3])],
        {"outer_trips": np.array(outer), "inner_trips": np.array(inner), "one": np.ones(3, np.float32)},
    )


def test_a_loop_in_a_loop_is_unrolled():
    graph = against_onnxruntime(nested_loops(3, 4), {"x": normal(3)})
    assert sum(n.attrs.get("kind") == "tanh" for n in graph.nodes) == 12


def test_loops_in_loops_are_refused_by_the_product_of_their_trips():
    importer.read(nested_loops(2, 200))
    with pytest.raises(UnsupportedModelError, match="200 trips of 3 nodes, 200 times over, .*16000"):
        importer.read(nested_loops(200, 200))


@pytest.mark.parametrize("backward", [0, 1])
def test_scan_of_known_size_is_unrolled(backward):
    body = onnx.helper.make_graph(
        [
            node("Add", ["acc", "row"], ["total"]),
            node("Tanh", ["total"], ["next"]),
            node("Identity", ["next"], ["collected"]),
        ],
        "body",
        [value_info("acc", [3]), value_info("row", [3])],
        [value_info("next", [3]), value_info("collected", [3])],
    )
    model = make_model(
        [
            node(
                "Scan",
                ["start", "x"],
                ["last", "all"],
                body=body,
                num_scan_inputs=1,
                scan_input_directions=[backward],
                scan_output_directions=[backward],
            )
        ],
        [value_info("start", [3]), value_info("x", [5, 3])],
        [value_info("last", None), value_info("all", None)],
    )
    against_onnxruntime(model, {"start": normal(3), "x": normal(5, 3)})
