"""ONNX operators: docs/onnx.md, old spellings, and one small model each."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from onnx_helpers import (
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

from lstm_edge.errors import LstmEdgeError


def test_opset_9_spellings():
    """Attributes that became inputs (Slice, Squeeze, Split, Clip, Pad...), and Softmax over all axes that follow."""
    nodes = [
        node("Slice", ["x"], ["a"], starts=[1], ends=[9], axes=[1]),
        node("Unsqueeze", ["a"], ["b"], axes=[0]),
        node("Squeeze", ["b"], ["c"], axes=[0]),
        node("Split", ["c"], ["d", "e"], axis=1, split=[1, 2]),
        node("Clip", ["e"], ["f"], min=-0.5, max=0.5),
        node("Pad", ["f"], ["g"], pads=[0, 1, 0, 0, 0, 1], value=2.0),
        node("ReduceSum", ["g"], ["h"], axes=[2], keepdims=1),
        node("Mul", ["g", "h"], ["k"]),
        node("Softmax", ["k"], ["y"], axis=1),
        node("Unsqueeze", ["d"], ["four"], axes=[1]),
        node("Upsample", ["four", "scales"], ["z"], mode="nearest"),
    ]
    model = make_model(
        nodes,
        [value_info("x", [2, 4, 3])],
        [value_info("y", None), value_info("z", None)],
        {"scales": np.array([1, 1, 2, 3], np.float32)},
        opset=9,
    )
    against_onnxruntime(model, {"x": normal(2, 4, 3)})


def test_operators_without_a_case_of_their_own():
    nodes = [
        node("GlobalLpPool", ["x"], ["a"], p=1),
        node("Scatter", ["x", "places", "news"], ["b"], axis=2),
        node("Gemm", ["rows", "w", "c"], ["d"], alpha=0.5, beta=2.0, transB=1),
    ]
    model = make_model(
        nodes,
        [value_info("x", [2, 3, 4]), value_info("rows", ["batch", 5])],
        [value_info(o, None) for o in "abd"],
        {
            "places": np.array([[[1], [0], [3]], [[2], [2], [0]]]),
            "news": normal(2, 3, 1),
            "w": normal(6, 5),
            "c": normal(6),
        },
        opset=10,
    )
    against_onnxruntime(model, {"x": normal(2, 3, 4), "rows": normal(3, 5)})


@pytest.mark.parametrize(
    "op, inputs, attrs",
    [
        ("FusedMatMul", {"a": (3, 5, 4), "b": (3, 6, 4)}, {"transB": 1, "alpha": 0.5}),
        ("BiasGelu", {"a": (3, 4), "b": (4,)}, {}),
        ("FastGelu", {"a": (3, 4), "b": (4,)}, {}),
        ("QuickGelu", {"a": (3, 4)}, {}),
        ("Gelu", {"a": (3, 4)}, {}),
        (
            "SkipLayerNormalization",
            {"a": (2, 3, 4), "b": (2, 3, 4), "c": (4,), "d": (4,), "e": (4,)},
            {"epsilon": 1e-5},
        ),
        ("FusedGemm", {"a": (3, 4), "b": (4, 2), "c": (2,)}, {"activation": "Relu"}),
    ],
)
def test_onnxruntimes_fused_operators(op, inputs, attrs):
    infos = [value_info(n, s) for n, s in inputs.items()]
    model = make_model(
        [node(op, list(inputs), ["y"], domain="com.microsoft", **attrs)],
        infos,
        [value_info("y", None)],
        extra=("com.microsoft",),
    )
    against_onnxruntime(model, {n: normal(*s) for n, s in inputs.items()})


@pytest.mark.parametrize(
    "equation, shapes",
    [
        ("bthd,bshd->bhts", [(2, 3, 4, 5), (2, 6, 4, 5)]),
        ("...ij,jk->...ik", [(2, 3, 4), (4, 5)]),
        ("ij,ij->", [(3, 4), (3, 4)]),
        ("abc->ca", [(2, 3, 4)]),
        ("bi,bj->bij", [(2, 3), (2, 4)]),
        ("ab,bc,cd->ad", [(2, 3), (3, 4), (4, 5)]),
        ("ij,jk", [(2, 3), (3, 4)]),
    ],
)
def test_einsum(equation, shapes):
    names = [f"x{n}" for n in range(len(shapes))]
    model = make_model(
        [node("Einsum", names, ["y"], equation=equation)],
        [value_info(n, s) for n, s in zip(names, shapes)],
        [value_info("y", None)],
    )
    against_onnxruntime(model, {n: normal(*s) for n, s in zip(names, shapes)}, tolerance=1e-4)


@pytest.mark.parametrize("places", [np.s_[:, 1:3], np.s_[0, :, ::2], np.s_[:, :, 1], np.s_[1:, 0], np.s_[:, :, ::2]])
def test_scatter_at_constant_places(places):
    """What torch writes for y[places] = update."""
    shape = (2, 4, 6)
    index = np.stack(np.unravel_index(np.arange(48).reshape(shape)[places], shape), -1).astype(np.int64)
    update = normal(*index.shape[:-1])
    model = make_model(
        [node("ScatterND", ["x", "index", "u"], ["y"])],
        [value_info("x", shape), value_info("u", update.shape)],
        [value_info("y", shape)],
        {"index": index},
    )
    against_onnxruntime(model, {"x": normal(*shape), "u": update})


def test_a_recurrence_in_float16():
    """Computed in float32 from weights that are rounded to float16."""
    model = recurrent_model("GRU", 4, extra_inputs=("B",), linear_before_reset=1)
    rounded = copy.deepcopy(model)
    for one, other in zip(model.graph.initializer, rounded.graph.initializer):
        array = onnx.numpy_helper.to_array(one).astype(np.float16)
        one.CopyFrom(onnx.numpy_helper.from_array(array, one.name))
        other.CopyFrom(onnx.numpy_helper.from_array(array.astype(np.float32), one.name))
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    x = normal(6, 2, 3).astype(np.float16)
    found, wanted = (run(importer.read(m), {"x": x}) for m in (model, rounded))
    assert all(np.array_equal(found[o], wanted[o]) for o in ("Y", "Y_h"))


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_float_widths_become_float32(dtype):
    elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    weight = normal(4, 3).astype(dtype)
    model = make_model(
        [node("MatMul", ["x", "w"], ["y"])],
        [value_info("x", ["batch", 4], elem_type)],
        [value_info("y", None, elem_type)],
        {"w": weight},
    )
    graph = importer.read(model)
    assert graph.metadata["input_dtypes"] == {"x": dtype} and graph.tensors["x"].dtype == "float32"
    x = normal(2, 4)
    assert np.allclose(run(graph, {"x": x})["y"], x @ weight.astype(np.float32), atol=1e-5)


@pytest.mark.parametrize(
    ("sides", "op", "given"),
    [(1, "Rfft", {"window": np.hanning(20)}), (1, "Rfft", {}), (0, "Conv", {"window": np.hamming(20)})],
)
def test_short_time_spectra_are_fourier_transforms(sides, op, given):
    constants = {"step": np.array(7), **{k: v.astype(np.float32) for k, v in given.items()}, "length": np.array(20)}
    names = ["x", "step", "window" if given else "", "length"]
    nodes = [node("STFT", names, ["z"], onesided=sides), node("ReduceL2", ["z"], ["y"], axes=[-1], keepdims=0)]
    model = make_model(nodes, [value_info("x", ["batch", "samples", 1])], [value_info("y", None)], constants)
    graph = against_onnxruntime(model, {"x": normal(2, 90, 1)})
    assert op in [n.op for n in graph.nodes]


@pytest.mark.parametrize(
    ("step", "length", "message"),
    [
        (0, 20, "20 samples every 0"),
        (1, 0, "0 samples"),
        (1, 1 << 40, "a constant of shape"),
        (1, 1 << 15, "a constant of shape"),
    ],
)
def test_spectra_that_nobody_can_compute_are_refused(step, length, message):
    constants = {"step": np.array(step), "length": np.array(length)}
    nodes = [node("STFT", ["x", "step", "", "length"], ["y"], onesided=0)]
    model = make_model(nodes, [value_info("x", [1, 90, 1])], [value_info("y", None)], constants)
    with pytest.raises(LstmEdgeError, match=message):
        importer.read(model.SerializeToString())
