"""ONNX LSTM, GRU and RNN against onnxruntime."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from onnx_helpers import (
    TOLERANCE,
    against_onnxruntime,
    importer,
    node,
    normal,
    onnx,
    recurrent_model,
    run,
)

from lstm_edge import UnsupportedModelError
from lstm_edge.ir.dims import BATCH, FRAMES


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("extras", [(), ("B", "h0"), ("B", "lengths", "h0")])
def test_recurrence(op, direction, extras):
    extras = (*extras, "c0") if op == "LSTM" and "h0" in extras else extras
    model = recurrent_model(op, 5, direction, extras)
    d = 2 if direction == "bidirectional" else 1
    feeds = {
        "x": normal(6, 4, 3),
        "lengths": np.array([6, 3, 1, 5], np.int32),
        "h0": normal(d, 4, 5),
        "c0": normal(d, 4, 5),
    }
    graph = against_onnxruntime(model, {k: v for k, v in feeds.items() if k == "x" or k in extras})
    assert graph.shape(graph.inputs[0].tensor) == (FRAMES, BATCH, 3)


@pytest.mark.parametrize(
    "op, attrs, extras",
    [
        ("LSTM", {"clip": 0.3}, ("B",)),
        ("LSTM", {"input_forget": 1}, ("B",)),
        ("LSTM", {}, ("B", "P")),
        (
            "LSTM",
            {"activations": ["HardSigmoid", "Relu", "Softsign"], "activation_alpha": [0.25], "activation_beta": [0.4]},
            ("B",),
        ),
        (
            "LSTM",
            {
                "activations": ["Sigmoid", "Affine", "ScaledTanh"],
                "activation_alpha": [0.5, 1.2],
                "activation_beta": [0.1, 0.7],
            },
            ("B",),
        ),
        ("LSTM", {"activations": ["Sigmoid", "LeakyRelu", "Elu"]}, ("B",)),
        ("GRU", {"linear_before_reset": 1}, ("B",)),
        ("GRU", {"clip": 0.4, "activations": ["HardSigmoid", "Tanh"]}, ("B",)),
        ("RNN", {"activations": ["ThresholdedRelu"], "activation_alpha": [0.2]}, ("B",)),
        ("RNN", {"activations": ["Softplus"], "clip": 1.0}, ("B",)),
    ],
)
def test_recurrence_variants(op, attrs, extras):
    against_onnxruntime(recurrent_model(op, 4, "forward", extras, **attrs), {"x": normal(7, 2, 3)})


def test_recurrence_refuses_what_it_does_not_know():
    model = recurrent_model("LSTM", 4, activations=["Sigmoid", "Swish", "Tanh"])
    with pytest.raises(UnsupportedModelError, match="the_LSTM.*swish|the_LSTM.*Swish"):
        importer.read(model)


def test_zero_initial_states_of_unknown_batch_are_left_out():
    """What torch writes for a missing h0: ConstantOfShape over a batch that Shape gives."""
    model = recurrent_model("GRU", 4)
    recurrence = model.graph.node[0]
    recurrence.input.extend(["", "", "zeros"])
    for n in [
        node("ConstantOfShape", ["h_shape"], ["zeros"]),
        node("Concat", ["one", "batch", "four"], ["h_shape"], axis=0),
        node("Gather", ["shape", "at"], ["batch"], axis=0),
        node("Shape", ["x"], ["shape"]),
    ]:
        model.graph.node.insert(0, n)
    for name, value in (("one", [1]), ("four", [4]), ("at", [1])):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value, np.int64), name))
    graph = against_onnxruntime(model, {"x": normal(5, 3, 3)})
    gru = next(n for n in graph.nodes if n.op == "GRU")
    assert len(gru.inputs) <= 5 and len(graph.nodes) == 2  # and the Reshape of Y
    assert any("initial_h" in n for n in graph.metadata["notes"])


def test_bidirectional_layers_leave_no_movement_between_them():
    """Transpose and Reshape that only undo each other go: batch-first torch layers become LSTM after LSTM."""
    torch = pytest.importorskip("torch")
    import io

    module = torch.nn.LSTM(5, 7, 2, batch_first=True, bidirectional=True).eval()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(2, 9, 5),),
            file,
            dynamo=False,
            input_names=["x"],
            opset_version=17,
            dynamic_axes={"x": {0: "batch", 1: "time"}},
        )
    graph = importer.read(file.getvalue())
    assert [n.op for n in graph.nodes if n.op not in ("Concat",)] == ["LSTM", "LSTM"]
    x = normal(3, 11, 5)
    expected = module(torch.from_numpy(x))[0].detach().numpy()
    first = graph.outputs[0].name
    assert np.abs(run(graph, {"x": x})[first] - expected).max() < TOLERANCE
