"""Open and fixed sizes of ONNX models."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_helpers import (
    FLOAT,
    INT64,
    against_onnxruntime,
    identity_model,
    importer,
    make_model,
    node,
    normal,
    one_node,
    onnx,
    recurrent_model,
    value_info,
)

from lstm_edge import UnsupportedModelError, reference
from lstm_edge.ir.dims import BATCH, FRAMES, Dim


@pytest.mark.parametrize(
    "dims, expected",
    [
        (["batch_size", "seq_len", 4], (BATCH, FRAMES, 4)),
        (["sequence", "batch", 4], (FRAMES, BATCH, 4)),
        (["N", "T", 4], (BATCH, FRAMES, 4)),
        ([None, None, 4], (BATCH, FRAMES, 4)),
        (["unk__7", 10, 4], (BATCH, 10, 4)),
        ([1, "samples"], (1, FRAMES)),
        ([1, 50, 25], (1, 50, 25)),
    ],
)
def test_dynamic_sizes_by_name_and_place(dims, expected):
    graph = importer.read(identity_model({"x": dims}))
    assert graph.shape(graph.inputs[0].tensor) == expected


def test_the_recurrence_says_more_than_names():
    """A torch module without batch_first, exported under the names of one with it."""
    model = recurrent_model("LSTM", 4)
    shape = model.graph.input[0].type.tensor_type.shape
    shape.dim[0].dim_param, shape.dim[1].dim_param = "batch", "sequence"
    graph = importer.read(model)
    assert graph.shape(graph.inputs[0].tensor) == (FRAMES, BATCH, 3)


def test_states_share_the_batch():
    graph = importer.read(identity_model({"x": ["unk__1", "unk__2", 4], "h0": [2, "unk__3", 8]}))
    assert [graph.shape(p.tensor) for p in graph.inputs] == [(BATCH, FRAMES, 4), (2, BATCH, 8)]


def test_given_shapes_hold_for_all_dimensions_of_a_name():
    graph = importer.read(
        identity_model({"x": ["batch", "time", 4], "state": [2, "batch", 8]}), shapes={"x": [1, "frames", 4]}
    )
    assert [graph.shape(p.tensor) for p in graph.inputs] == [(1, FRAMES, 4), (2, 1, 8)]


@pytest.mark.parametrize(
    "shapes, expected",
    [
        (
            {"x": ["batch", "src_len", 4], "y": ["batch", "tgt_len", 4]},
            [(BATCH, FRAMES, 4), (BATCH, Dim.symbol("tgt_len"), 4)],
        ),
        ({"x": ["batch", "frames", "features"]}, [(BATCH, FRAMES, Dim.symbol("features"))]),
        ({"x": [4, "width", "height"]}, [(4, Dim.symbol("width"), Dim.symbol("height"))]),
        (
            {"x": ["b", "t", 4], "memory": ["slots", 4]},
            [(BATCH, FRAMES, 4), (Dim.symbol("slots"), 4)],
        ),
        ({"a.b": [2, 3, None], "a_b": [2, 3, None]}, [(2, 3, FRAMES), (2, 3, Dim.symbol("a_b_frames"))]),
        ({"x": [None, None, None]}, [(BATCH, FRAMES, Dim.symbol("x_frames"))]),
    ],
)
def test_sizes_beyond_batch_and_frames_keep_names_of_their_own(shapes, expected):
    graph = importer.read(identity_model(shapes))
    assert [graph.shape(p.tensor) for p in graph.inputs] == expected


def test_a_reshape_by_what_is_left_says_nothing_of_sizes():
    model = one_node("Reshape", {"x": ["N", "T", 6]}, {"shape": np.array([-1, 42])})
    with pytest.raises(UnsupportedModelError, match="number of elements"):
        importer.read(model)


def test_the_axes_of_an_ellipsis_broadcast():
    ort = pytest.importorskip("onnxruntime")
    model = one_node("Einsum", {"x": ["N", "T", 6]}, {"w": normal(1, 6, 3)}, equation="...ij,...jk->...ik")
    graph = importer.read(model)
    assert graph.shape(graph.inputs[0].tensor) == (BATCH, FRAMES, 6)
    x = normal(3, 5, 6)
    wanted = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(reference.run(graph, {"x": x})[0]["y"], wanted, rtol=1e-4, atol=1e-5)


def test_parts_of_an_axis_say_its_size():
    graph = importer.read(one_node("Split", {"x": ["N", 4]}, {"parts": np.array([2, 3])}, ("a", "b"), axis=0))
    assert graph.shape(graph.inputs[0].tensor) == (5, 4)


def test_a_squeezed_axis_is_one():
    graph = importer.read(one_node("Squeeze", {"x": ["N", "T", 4]}, {"axes": np.array([0])}))
    assert graph.shape(graph.inputs[0].tensor) == (1, FRAMES, 4)


@pytest.mark.parametrize("perm", [[0, 1], [0, 0, 1], [0, 2, 2], [0, 1, 3]])
def test_a_transpose_that_is_no_permutation_is_refused(perm):
    with pytest.raises(UnsupportedModelError, match="expected each of them once|axis 3 of a tensor"):
        importer.read(one_node("Transpose", {"x": ["N", "T", 4]}, perm=perm))


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_a_batch_of_one_fixes_the_unnamed_batch_of_states(op):
    """As Silero and others are exported: frames of one sequence beside states whose batch has no name."""
    states = ("h0", "c0") if op == "LSTM" else ("h0",)
    model = recurrent_model(op, 5, "forward", states)
    for info in model.graph.input:
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param == "N":
                dim.ClearField("dim_param")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    graph = importer.read(model)
    assert graph.shape(graph.inputs[0].tensor) == (FRAMES, 1, 3)
    assert all(graph.shape(p.tensor) == (1, 1, 5) for p in graph.inputs[1:])


def test_sizes_that_the_model_equates_are_one():
    model = make_model(
        [node("Add", ["x", "y"], ["sum"]), node("Concat", ["sum", "one"], ["z"], axis=1)],
        [value_info("x", ["batch", "src", 4]), value_info("y", ["n", "tgt", 4])],
        [value_info("z", None)],
        {"one": np.ones((1, 1, 4), np.float32)},
    )
    graph = importer.read(model)
    assert [graph.shape(p.tensor) for p in graph.inputs] == [(1, FRAMES, 4), (1, FRAMES, 4)]
    assert any("dimension 0 ('batch') is fixed at 1: node 'the_Concat_z'" in n for n in graph.metadata["notes"])
    assert "input 'y': dimension 1 ('tgt') is frames" in graph.metadata["notes"]


@pytest.mark.parametrize(
    "shapes, options, message",
    [
        ({"x": ["batch", 4]}, {"shapes": {"z": [1, 4]}}, "z"),
        ({"x": ["batch", 4]}, {"shapes": {"x": [1, 2, 4]}}, "expected 2 sizes"),
        ({"x": ["batch", 4]}, {"shapes": {"x": ["rows", 4]}}, "rows"),
        ({"x": ["batch", 4]}, {"constants": {"sr": 1}}, "sr"),
    ],
)
def test_sizes_that_cannot_be_placed_are_refused(shapes, options, message):
    with pytest.raises(UnsupportedModelError, match=message):
        importer.read(identity_model(shapes), **options)


def test_a_baked_size_is_refused_with_what_to_do():
    model = make_model(
        [node("Reshape", ["x", "shape"], ["y"])],
        [value_info("x", ["batch", "time", 4])],
        [value_info("y", None)],
        {"shape": np.array([2, 10, 2, 2])},
    )
    with pytest.raises(UnsupportedModelError, match=r"the_Reshape.*shapes="):
        importer.read(model)
    graph = importer.read(model, shapes={"x": [2, 10, 4]})
    assert graph.shape(graph.outputs[0].tensor) == (2, 10, 2, 2)


def test_shape_arithmetic_on_free_sizes():
    """(batch, frames, 4) -> (batch * frames, 4) -> (batch, 2 * frames, 2) -> mean of a mask made from Range."""
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Split", ["s", "ones"], ["b", "t", "f"], axis=0),
        node("Mul", ["b", "t"], ["bt"]),
        node("Concat", ["bt", "f"], ["flat_shape"], axis=0),
        node("Reshape", ["x", "flat_shape"], ["flat"]),
        node("Mul", ["t", "two"], ["tt"]),
        node("Concat", ["b", "tt", "minus"], ["wide_shape"], axis=0),
        node("Reshape", ["flat", "wide_shape"], ["wide"]),
        node("Squeeze", ["tt"], ["count"]),
        node("Range", ["zero", "count", "one"], ["places"]),
        node("Cast", ["places"], ["places_f"], to=FLOAT),
        node("Unsqueeze", ["places_f", "column"], ["weights"]),
        node("Mul", ["wide", "weights"], ["weighted"]),
        node("ReduceSum", ["weighted", "column"], ["y"]),
    ]
    constants = {
        "ones": np.array([1, 1, 1]),
        "two": np.array([2]),
        "minus": np.array([-1]),
        "zero": np.array(0),
        "one": np.array(1),
        "column": np.array([1]),
    }
    model = make_model(nodes, [value_info("x", ["batch", "time", 4])], [value_info("y", None)], constants)
    against_onnxruntime(model, {"x": normal(3, 5, 4)})


def pooled_and_convolved(kernel):
    nodes = [
        node("MaxPool", ["x"], ["p"], kernel_shape=[kernel], strides=[2], auto_pad="SAME_UPPER"),
        node("Conv", ["p", "w"], ["y"], auto_pad="SAME_LOWER"),
    ]
    ports = [value_info("x", ["batch", 3, "frames"])], [value_info("y", None)]
    return make_model(nodes, *ports, {"w": normal(4, 3, 4)})


@pytest.mark.parametrize("frames", [8, 9])
def test_strided_same_padding_over_free_frames(frames):
    """Where one padding serves every number of frames; where none does, the size is asked for."""
    against_onnxruntime(pooled_and_convolved(2), {"x": normal(2, 3, frames)})
    with pytest.raises(UnsupportedModelError, match=r"the_MaxPool_p.*SAME padding with stride 2"):
        importer.read(pooled_and_convolved(3))


def test_sort_of_a_free_batch():
    """torch's pack_padded_sequence sorts lengths with TopK over the whole batch."""
    nodes = [
        node("Shape", ["lengths"], ["n"]),
        node("TopK", ["lengths", "n"], ["sorted", "order"]),
        node("Gather", ["x", "order"], ["y"], axis=0),
    ]
    model = make_model(
        nodes,
        [value_info("lengths", ["batch"], INT64), value_info("x", ["batch", 4])],
        [value_info(o, None, t) for o, t in (("sorted", INT64), ("order", INT64), ("y", FLOAT))],
    )
    against_onnxruntime(model, {"lengths": np.array([3, 9, 3, 1, 9, 5]), "x": normal(6, 4)})


def test_four_states_of_unnamed_batches_beside_a_batch_of_one():
    """As ten-vad is exported: two LSTMs of one frame, whose states have a batch each that nobody named."""
    names = ["h1", "c1", "h2", "c2"]
    first, second = (recurrent_model("LSTM", 4) for _ in range(2))
    weights = {}
    for n, model in enumerate((first, second)):
        weights |= {f"{t.name}{n}": onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    weights["W1"] = normal(1, 16, 4)
    nodes = [
        *(node("Unsqueeze", [s, "zero"], [f"{s}_in"]) for s in names),
        node("LSTM", ["x", "W0", "R0", "", "", "h1_in", "c1_in"], ["y1", "h1_n", "c1_n"], hidden_size=4),
        node("Squeeze", ["y1", "one"], ["z1"]),
        node("LSTM", ["z1", "W1", "R1", "", "", "h2_in", "c2_in"], ["y2", "h2_n", "c2_n"], hidden_size=4),
        *(node("Squeeze", [f"{s}_n", "zero"], [f"{s}_out"]) for s in names),
    ]
    model = make_model(
        nodes,
        [value_info("x", [1, 1, 3]), *(value_info(s, [None, 4]) for s in names)],
        [value_info("y2", None), *(value_info(f"{s}_out", None) for s in names)],
        {**weights, "zero": np.array([0]), "one": np.array([1])},
    )
    graph = importer.read(model)
    assert [graph.shape(p.tensor) for p in graph.inputs] == [(1, 1, 3), *[(1, 4)] * 4]


def test_a_fixed_initial_state_fixes_the_batch_of_open_inputs():
    """As AECMOS is exported: h0 for a batch of 1 beside spectra of any batch and any number of frames."""
    model = recurrent_model("GRU", 4, extra_inputs=("h0",))
    model.graph.input[1].type.tensor_type.shape.dim[1].ClearField("dim_param")
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_value = 1
    graph = importer.read(model)
    assert [graph.shape(p.tensor) for p in graph.inputs] == [(FRAMES, 1, 3), (1, 1, 4)]
