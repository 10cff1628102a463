"""ONNX loops as exporters write them: lists that grow, conditions that count, a step of a recurrence in the body."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from onnx_helpers import (
    BOOL,
    INT64,
    TOLERANCE,
    against_onnxruntime,
    importer,
    make_model,
    node,
    normal,
    onnx,
    recurrent_model,
    run,
    value_info,
)

from lstm_edge import UnsupportedModelError
from lstm_edge.ir.dims import BATCH, FRAMES

RECURRENT = {"LSTM", "GRU", "RNN"}
H = 4


def recurrences(graph):
    return [n.op for n in graph.nodes if n.op in RECURRENT]


# ---- a step of a recurrence in the body ------------------------------------------------------------------------------


def stepping(op, limit, condition, joined="collected", **attrs):
    """A Loop over x (T,B,3) whose body is one frame of `op`, as exporters write its cell.

    limit: the number of trips, or '' for none. condition: how the next condition is made. joined: how the frames come
    out: as a scan output, or in a list that grows at its end or its beginning.
    """
    step = recurrent_model(op, H, extra_inputs=("B",), **attrs)
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in step.graph.initializer}
    states = ["h", "c"] if op == "LSTM" else ["h"]
    body = [
        node("Gather", ["x", "i"], ["frame"], axis=0),
        node("Unsqueeze", ["frame", "zero_axis"], ["frames"]),
        *(node("Unsqueeze", [s, "zero_axis"], [f"{s}0"]) for s in states),
        node(
            op,
            ["frames", "W", "R", "B", "", *(f"{s}0" for s in states)],
            ["", *(f"{s}_n" for s in states)],
            hidden_size=H,
            name="the_step",
            **attrs,
        ),
        *(node("Squeeze", [f"{s}_n", "zero_axis"], [f"{s}_next"]) for s in states),
        node("Add", ["i", "one"], ["i_next"]),
    ]
    less = [node("Less", ["i_next", "count"], ["goes_on"])]
    body += {
        "always": [node("Identity", ["keep"], ["kept"])],
        "less": [*less, node("Identity", ["goes_on"], ["kept"])],
        "and": [*less, node("And", ["goes_on", "keep"], ["kept"])],
        "not_greater": [
            node("Less", ["count", "i_next"], ["past"]),
            node("Equal", ["count", "i_next"], ["there"]),
            node("Or", ["past", "there"], ["over"]),
            node("Not", ["over"], ["kept"]),
        ],
    }[condition]
    inputs = [value_info("trip", [], INT64), value_info("keep", [], BOOL), value_info("i", [], INT64)]
    inputs += [value_info(s, [None, H]) for s in states]
    outputs = [value_info("kept", [], BOOL), value_info("i_next", [], INT64)]
    outputs += [value_info(f"{s}_next", [None, H]) for s in states]
    names = ["i_last", *(f"{s}_last" for s in states)]
    after = []
    if joined == "collected":
        body.append(node("Identity", ["h_next"], ["row"]))
        outputs.append(value_info("row", [None, H]))
        names.append("y")
    else:
        sequence = onnx.helper.make_sequence_type_proto(onnx.helper.make_tensor_type_proto(1, None))
        inputs.append(onnx.helper.make_value_info("list", sequence))
        outputs.append(onnx.helper.make_value_info("list_next", sequence))
        places = ["first"] if joined == "in_front" else []
        body.append(node("SequenceInsert", ["list", "h_next", *places], ["list_next"]))
        names.append("list_last")
        after = [node("ConcatFromSequence", ["list_last"], ["y"], axis=0, new_axis=1)]
    before = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["count"]),
        node("Slice", ["shape", "one_axis", "two_axis"], ["batch"]),
        node("Concat", ["batch", "width"], ["state_shape"], axis=0),
        node("ConstantOfShape", ["state_shape"], ["start"]),
        node("Less", ["zero", "count"], ["any"]),
        node("SequenceEmpty", [], ["empty"], dtype=1),
    ]
    trips = "count" if limit == "count" else limit
    firsts = ["zero", *("start" for _ in states), *(["empty"] if joined != "collected" else [])]
    graph = onnx.helper.make_graph(body, "body", inputs, outputs)
    loop = node("Loop", [trips, "any", *firsts], names, body=graph, name="the_Loop")
    constants = {
        **weights,
        "zero": np.array(0),
        "first": np.array(0),
        "one": np.array(1),
        "zero_axis": np.array([0]),
        "one_axis": np.array([1]),
        "two_axis": np.array([2]),
        "width": np.array([H]),
        "endless": np.array(np.iinfo(np.int64).max),
    }
    return make_model(
        [*before, loop, *after],
        [value_info("x", ["time", "batch", 3])],
        [value_info("y", [None, None, H]), value_info("h_last", [None, H])],
        constants,
    )


@pytest.mark.parametrize(
    "op, limit, condition, joined, attrs",
    [
        ("LSTM", "count", "always", "collected", {}),
        ("GRU", "count", "always", "at_end", {"linear_before_reset": 1}),
        ("GRU", "count", "always", "at_end", {"linear_before_reset": 0}),
        ("RNN", "count", "always", "in_front", {}),
        ("RNN", "count", "less", "collected", {"activations": ["Relu"]}),
        ("LSTM", "endless", "less", "collected", {}),
        ("LSTM", "endless", "less", "at_end", {"activations": ["HardSigmoid", "Softsign", "Relu"]}),
        ("GRU", "endless", "and", "collected", {"linear_before_reset": 1}),
        ("GRU", "", "less", "collected", {"linear_before_reset": 1}),
        ("GRU", "", "not_greater", "at_end", {"linear_before_reset": 1}),
    ],
)
def test_a_step_in_a_loop_is_a_recurrence_over_free_frames(op, limit, condition, joined, attrs):
    graph = against_onnxruntime(stepping(op, limit, condition, joined, **attrs), {"x": normal(9, 2, 3)})
    assert recurrences(graph) == [op]
    assert graph.shape(graph.inputs[0].tensor) == (FRAMES, BATCH, 3)


# ---- what torch scripts ----------------------------------------------------------------------------------------------


def scripted_networks():
    torch = pytest.importorskip("torch")
    from onnx_scripted import Appends, Cells, Counts

    return torch, {"Appends": Appends, "Cells": Cells, "Counts": Counts}


@pytest.mark.parametrize("name", ["Appends", "Cells", "Counts"])
def test_scripted_loops_of_torch(name):
    torch, networks = scripted_networks()
    torch.manual_seed(0)
    module = networks[name]().eval()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            torch.jit.script(module),
            (torch.ones(9, 1, 5),),
            file,
            dynamo=False,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "t", 1: "n"}},
        )
    graph = importer.read(file.getvalue())
    assert recurrences(graph) == ["LSTM"]
    x = torch.randn(13, 3, 5)
    assert np.allclose(run(graph, {"x": x.numpy()})["y"], module(x).detach().numpy(), atol=TOLERANCE)


# ---- sequences -------------------------------------------------------------------------------------------------------


def test_sequences_of_known_length():
    nodes = [
        node("SequenceConstruct", ["a", "b"], ["two"]),
        node("SequenceInsert", ["two", "c", "one"], ["three"]),
        node("SequenceErase", ["three", "zero"], ["left"]),
        node("SequenceInsert", ["left", "a"], ["again"]),
        node("SequenceAt", ["again", "minus"], ["last"]),
        node("SequenceAt", ["again", "at"], ["chosen"]),
        node("SequenceLength", ["again"], ["length"]),
        node("ConcatFromSequence", ["again"], ["joined"], axis=1),
        node("SplitToSequence", ["joined", "parts"], ["pieces"], axis=1),
        node("SequenceAt", ["pieces", "one"], ["piece"]),
        node("SplitToSequence", ["joined", "three_each"], ["threes"], axis=1),
        node("ConcatFromSequence", ["threes"], ["same"], axis=1),
        node("SplitToSequence", ["a"], ["rows"], axis=0, keepdims=0),
        node("ConcatFromSequence", ["rows"], ["stacked"], axis=1, new_axis=1),
    ]
    constants = {"zero": np.array(0), "one": np.array(1), "minus": np.array(-1)}
    constants |= {"parts": np.array([2, 6, 4]), "three_each": np.array(3)}
    outputs = ("last", "chosen", "length", "joined", "piece", "same", "stacked")
    model = make_model(
        nodes,
        [*(value_info(n, [3, 4]) for n in "abc"), value_info("at", [], INT64)],
        [value_info(o, None, INT64 if o == "length" else 1) for o in outputs],
        constants,
    )
    feeds = {n: normal(3, 4) for n in "abc"}
    for at in (0, 2):
        against_onnxruntime(model, {**feeds, "at": np.array(at)})


@pytest.mark.parametrize("place", range(-4, 5))
def test_places_of_a_sequence_count_from_either_end(place):
    nodes = [
        node("SequenceConstruct", ["a", "b", "c"], ["three"]),
        node("SequenceInsert", ["three", "d", "place"], ["four"]),
        node("ConcatFromSequence", ["four"], ["joined"], axis=0),
    ]
    inputs, output = [value_info(n, [2]) for n in "abcd"], value_info("joined", None)
    model = make_model(nodes, inputs, [output], {"place": np.array(place)})
    if -3 <= place <= 3:
        against_onnxruntime(model, {n: normal(2) for n in "abcd"})
    else:
        with pytest.raises(UnsupportedModelError, match=f"place {place} of a sequence of 3 tensors"):
            importer.read(model.SerializeToString())


@pytest.mark.parametrize("op", ["SequenceAt", "SequenceErase"])
def test_an_empty_sequence_has_no_place(op):
    nodes = [node("SequenceEmpty", [], ["none"], dtype=1), node(op, ["none", "place"], ["y"])]
    model = make_model(nodes, [value_info("x", [2])], [value_info("y", None)], {"place": np.array(0)})
    with pytest.raises(UnsupportedModelError, match="place 0 of a sequence of 0 tensors"):
        importer.read(model.SerializeToString())


@pytest.mark.parametrize("keepdims", [0, 1])
def test_a_sequence_of_as_many_tensors_as_there_are_frames(keepdims):
    nodes = [
        node("SplitToSequence", ["x"], ["frames"], axis=1, keepdims=keepdims),
        node("SequenceLength", ["frames"], ["count"]),
        node("SequenceAt", ["frames", "minus"], ["last"]),
        node("ConcatFromSequence", ["frames"], ["y"], axis=0, new_axis=1),
        node("ConcatFromSequence", ["frames"], ["z"], axis=1),
    ]
    model = make_model(
        nodes,
        [value_info("x", ["batch", "time", 3])],
        [value_info("count", None, INT64), *(value_info(o, None) for o in ("last", "y", "z"))],
        {"minus": np.array(-1)},
    )
    against_onnxruntime(model, {"x": normal(2, 5, 3)})


def test_what_a_sequence_cannot_be_is_refused():
    nodes = [node("SplitToSequence", ["x"], ["frames"], axis=1), node("SequenceErase", ["frames"], ["fewer"])]
    nodes.append(node("ConcatFromSequence", ["fewer"], ["y"], axis=1))
    model = make_model(nodes, [value_info("x", ["batch", "time", 3])], [value_info("y", None)])
    with pytest.raises(UnsupportedModelError, match="the_SequenceErase.*as many tensors as there are frames"):
        importer.read(model)
    nodes = [node("SequenceConstruct", ["x"], ["one"]), node("SequenceAt", ["one", "four"], ["y"])]
    model = make_model(nodes, [value_info("x", [3])], [value_info("y", None)], {"four": np.array(4)})
    with pytest.raises(UnsupportedModelError, match="the_SequenceAt.*place 4 of a sequence of 1"):
        importer.read(model)


def test_a_loop_that_counts_down_from_an_open_length_is_refused_by_name():
    """In its body the number of frames is a number beside no tensor that has it as a size."""
    body = onnx.helper.make_graph(
        [
            node("Sub", ["frames", "i"], ["left"]),
            node("Sub", ["left", "one"], ["at"]),
            node("Gather", ["x", "at"], ["frame"], axis=0),
            node("Add", ["h", "frame"], ["sum"]),
            node("Tanh", ["sum"], ["h_next"]),
            node("Identity", ["going"], ["goes_on"]),
        ],
        "body",
        [value_info("i", [], INT64), value_info("going", [], BOOL), value_info("h", [2, 3])],
        [value_info("goes_on", [], BOOL), value_info("h_next", [2, 3])],
    )
    nodes = [
        node("Shape", ["x"], ["sizes"]),
        node("Gather", ["sizes", "zero"], ["frames"], axis=0),
        node("Loop", ["frames", "", "start"], ["y"], body=body),
    ]
    constants = {"zero": np.array(0), "one": np.array(1), "start": np.zeros((2, 3), np.float32)}
    model = make_model(nodes, [value_info("x", ["time", 2, 3])], [value_info("y", None)], constants)
    with pytest.raises(UnsupportedModelError, match="the_Loop.*no tensor here has an axis of frames"):
        importer.read(model)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 5
    against_onnxruntime(model, {"x": normal(5, 2, 3)})
