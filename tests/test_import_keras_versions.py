"""Files as older versions of Keras wrote them, made by hand, against NumPy."""

from __future__ import annotations

import io

import numpy as np
import pytest
from keras_helpers import (
    GRU_WEIGHTS,
    LSTM_WEIGHTS,
    X,
    close,
    h5_file,
    hard_sigmoid_2,
    keras_zip,
    normal,
    numpy_gru,
    numpy_lstm,
    run,
    sigmoid,
    two_lstms,
)

from lstm_edge.importers.keras.model import read

h5py = pytest.importorskip("h5py")


@pytest.mark.parametrize(
    "version, said, gate",
    [
        ("2.0.5", {}, hard_sigmoid_2),
        ("2.2.4", {"recurrent_activation": "hard_sigmoid"}, hard_sigmoid_2),
        ("2.1.6-tf", {}, hard_sigmoid_2),
        ("2.5.0", {}, sigmoid),
        ("2.4.0", {"recurrent_activation": "hard_sigmoid"}, hard_sigmoid_2),
        (None, {}, hard_sigmoid_2),
        ("3.2.0", {"recurrent_activation": "hard_sigmoid"}, lambda x: np.clip(x / 6 + 0.5, 0, 1)),
        ("3.2.0", {}, sigmoid),
    ],
)
@pytest.mark.parametrize("style", ["{layer}/{weight}:0", "{layer}/lstm_cell_7/{weight}:0"])
def test_gate_activation_follows_the_version(version, said, gate, style):
    if version is None:
        pytest.skip("Keras 1 has names of its own") if "cell" in style else None
    options = {
        "name": "lstm_1",
        "units": 5,
        "output_dim": 5,
        "consume_less": "gpu",
        "batch_input_shape": [None, 6, 4],
        "trainable": True,
        "return_sequences": False,
        **said,
    }
    if version:
        del options["output_dim"]
    graph = read(h5_file([("LSTM", options, LSTM_WEIGHTS)], version, style=style))
    close(run(graph, X), [numpy_lstm(X, *LSTM_WEIGHTS.values(), gate)])
    slope = [n for n in graph.metadata["notes"] if "hard_sigmoid" in n]
    assert bool(slope) == (gate is not sigmoid)


def test_gru_without_reset_after_resets_before():
    options = {"name": "gru", "units": 5, "batch_input_shape": [None, 6, 4], "return_sequences": False}
    graph = read(h5_file([("GRU", options, GRU_WEIGHTS)], "2.1.3"))
    close(run(graph, X), [numpy_gru(X, *GRU_WEIGHTS.values(), hard_sigmoid_2)])


@pytest.mark.parametrize(
    "cls, gates, numpy_run, weights",
    [("LSTM", "icfo", numpy_lstm, LSTM_WEIGHTS), ("GRU", "zrh", numpy_gru, GRU_WEIGHTS)],
)
def test_keras_1_keeps_gates_apart(cls, gates, numpy_run, weights):
    order = {"LSTM": "ifco", "GRU": "zrh"}[cls]
    blocks = {k: dict(zip(order, np.split(w, len(order), axis=-1))) for k, w in zip("WUb", weights.values())}
    apart = {f"{k}_{g}": blocks[k][g] for g in gates for k in "WUb"}
    options = {
        "name": "r_1",
        "output_dim": 5,
        "inner_activation": "hard_sigmoid",
        "activation": "tanh",
        "init": "glorot_uniform",
        "inner_init": "orthogonal",
        "forget_bias_init": "one",
        "dropout_W": 0.2,
        "dropout_U": 0.0,
        "W_regularizer": None,
        "b_regularizer": None,
        "go_backwards": False,
        "stateful": False,
        "unroll": False,
        "consume_less": "cpu",
        "input_dim": 4,
        "input_length": 6,
        "return_sequences": False,
        "trainable": True,
    }
    graph = read(h5_file([(cls, options, apart)], "1.2.2", style="{layer}_{weight}"))
    close(run(graph, X), [numpy_run(X, *weights.values(), hard_sigmoid_2)])


def test_keras_1_names():
    kernel, dense = normal(3, 1, 4, 6), normal(6, 2)
    layers = [
        (
            "Convolution1D",
            {
                "name": "c",
                "nb_filter": 6,
                "filter_length": 3,
                "border_mode": "valid",
                "subsample_length": 1,
                "activation": "relu",
                "bias": True,
                "batch_input_shape": [None, 6, 4],
            },
            {"W": kernel, "b": normal(6)},
        ),
        ("MaxPooling1D", {"name": "p", "pool_length": 2, "stride": 2, "border_mode": "valid"}, {}),
        ("GlobalMaxPooling1D", {"name": "g"}, {}),
        (
            "Dense",
            {"name": "d", "output_dim": 2, "activation": "linear", "bias": True, "init": "uniform"},
            {"W": dense, "b": normal(2)},
        ),
    ]
    graph = read(h5_file(layers, "1.1.0", style="{layer}_{weight}"))
    bias, out_bias = layers[0][2]["b"], layers[3][2]["b"]
    conv = np.maximum(sum(X[:, k : k + 4] @ kernel[k, 0] for k in range(3)) + bias, 0)
    close(run(graph, X), [conv.max(axis=1) @ dense + out_bias])
    layers[0][2]["W"] = kernel[:, 0].transpose(2, 1, 0)[..., None].copy()  # as Keras 1.0 laid it out
    close(run(read(h5_file(layers, "1.0.4", style="{layer}_{weight}")), X), [conv.max(axis=1) @ dense + out_bias])


def test_theano_kernels_are_flipped():
    kernel = normal(3, 4, 5)
    layers = [
        (
            "Conv1D",
            {"name": "c", "filters": 5, "kernel_size": [3], "padding": "valid", "batch_input_shape": [None, 6, 4]},
            {"kernel": kernel, "bias": np.zeros(5, np.float32)},
        )
    ]
    wanted = sum(X[:, k : k + 4] @ kernel[2 - k] for k in range(3))
    close(run(read(h5_file(layers, "2.1.0", backend="theano")), X), [wanted])


def cudnn(weights, gates):
    """Weights as CuDNNLSTM and CuDNNGRU store them: (units, inputs) matrices in the memory of (inputs, units)
    blocks."""
    kernel, recurrent, bias = weights.values()
    blocks = [np.ascontiguousarray(k.T).reshape(k.shape) for k in np.split(kernel, gates, axis=1)]
    return {
        "kernel": np.concatenate(blocks, 1),
        "recurrent_kernel": np.concatenate([k.T for k in np.split(recurrent, gates, axis=1)], 1),
        "bias": np.ravel(bias),
    }


def test_cudnn_lstm():
    bias = normal(2, 20)
    weights = {**LSTM_WEIGHTS, "bias": bias}
    options = {"name": "l", "units": 5, "batch_input_shape": [None, 6, 4], "return_sequences": False}
    graph = read(h5_file([("CuDNNLSTM", options, cudnn(weights, 4))], "2.2.4"))
    close(run(graph, X), [numpy_lstm(X, weights["kernel"], weights["recurrent_kernel"], bias.sum(axis=0), sigmoid)])


def test_thresholded_relu_of_keras_2():
    options = {"name": "t", "theta": 0.5, "batch_input_shape": [None, 6, 4]}
    close(run(read(h5_file([("ThresholdedReLU", options, {})], "2.9.0")), X), [np.where(X > 0.5, X, 0)])


def test_peepholes_of_tensorflow_1():
    peepholes = {f"{gate}_gate_peephole_weights": normal(5) for gate in ("input", "forget", "output")}
    cell = {"class_name": "PeepholeLSTMCell", "config": {"units": 5, "recurrent_activation": "sigmoid"}}
    options = {"name": "r", "cell": cell, "batch_input_shape": [None, 6, 4]}
    graph = read(h5_file([("RNN", options, {**LSTM_WEIGHTS, **peepholes})], "2.4.0"))
    kernel, recurrent, bias = LSTM_WEIGHTS.values()
    to_i, to_f, to_o = peepholes.values()
    h = c = np.zeros((len(X), 5))
    for t in range(X.shape[1]):
        i, f, g, o = np.split(X[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        c = sigmoid(f + c * to_f) * c + sigmoid(i + c * to_i) * np.tanh(g)
        h = sigmoid(o + c * to_o) * np.tanh(c)
    close(run(graph, X), [h])


def test_cudnn_gru():
    bias = normal(2, 15)
    weights = {**GRU_WEIGHTS, "bias": bias}
    options = {"name": "l", "units": 5, "batch_input_shape": [None, 6, 4], "return_sequences": False}
    as_gru = h5_file([("GRU", {**options, "reset_after": True, "recurrent_activation": "sigmoid"}, weights)], "2.2.4")
    as_cudnn = h5_file(
        [
            (
                "Bidirectional",
                {
                    "name": "b",
                    "merge_mode": "sum",
                    "layer": {"class_name": "CuDNNGRU", "config": options},
                    "batch_input_shape": [None, 6, 4],
                },
                {f"{d}_{k}": v for d in ("forward", "backward") for k, v in cudnn(weights, 3).items()},
            )
        ],
        "2.2.4",
    )
    both = run(read(as_gru), X)[0] + run(read(as_gru), X[:, ::-1])[0]
    close(run(read(as_cudnn), X), [both])


def test_attributes_in_pieces():
    options = {"name": "lstm_1", "units": 5, "batch_input_shape": [None, 6, 4], "recurrent_activation": "sigmoid"}
    whole = h5_file([("LSTM", options, LSTM_WEIGHTS)], "2.3.0")
    stream = io.BytesIO(whole)
    with h5py.File(stream, "r+") as f:
        group = f["model_weights/lstm_1"]
        names = list(group.attrs["weight_names"])
        del group.attrs["weight_names"]
        group.attrs["weight_names0"], group.attrs["weight_names1"] = names[:1], names[1:]
    close(run(read(stream.getvalue()), X), [numpy_lstm(X, *LSTM_WEIGHTS.values(), sigmoid)])


@pytest.mark.parametrize("first", [0, 1])
def test_nested_models_counted_from_0_or_1(first):
    inner = {
        "name": "inner",
        "layers": [
            {"class_name": "InputLayer", "config": {"name": "i", "batch_input_shape": [None, 6, 4]}},
            {"class_name": "LSTM", "config": {"name": "l", "units": 5, "recurrent_activation": "sigmoid"}},
        ],
    }
    model = {
        "class_name": "Model",
        "config": {
            "name": "m",
            "layers": [
                {
                    "class_name": "InputLayer",
                    "name": "x",
                    "config": {"name": "x", "batch_input_shape": [None, 6, 4]},
                    "inbound_nodes": [],
                },
                {"class_name": "Sequential", "name": "inner", "config": inner, "inbound_nodes": [[["x", 0, 0, {}]]]},
                {
                    "class_name": "Activation",
                    "name": "a",
                    "config": {"name": "a", "activation": "relu"},
                    "inbound_nodes": [[["inner", first, 0, {}]]],
                },
            ],
            "input_layers": [["x", 0, 0]],
            "output_layers": [["a", 0, 0]],
        },
    }
    data = h5_file([("Sequential", {"name": "inner"}, LSTM_WEIGHTS)], "2.3.1", model=model)
    close(run(read(data), X), [np.maximum(numpy_lstm(X, *LSTM_WEIGHTS.values(), sigmoid), 0)])


@pytest.mark.parametrize(
    "first, second, version, extra",
    [
        ("layers/lstm/cell/vars/{}", "layers/lstm_1/cell/vars/{}", "3.5.0", ()),
        (
            "_layer_checkpoint_dependencies/lstm/cell/vars/{}",
            "_layer_checkpoint_dependencies/lstm_2/cell/vars/{}",
            "2.13.1",
            (),
        ),
        (
            "_layer_checkpoint_dependencies\\lstm\\cell/vars/{}",
            "_layer_checkpoint_dependencies\\lstm_1\\cell/vars/{}",
            "2.13.1",
            (),
        ),
        (
            "layers/lstm_1/cell/vars/{}",
            "layers/lstm/cell/vars/{}",
            "3.9.0",
            (("layers/lstm/vars", "lstm_9"), ("layers/lstm_1/vars", "lstm_8")),
        ),
    ],
)
def test_paths_of_keras_files(first, second, version, extra):
    w1, w2 = LSTM_WEIGHTS, {"kernel": normal(5, 20), "recurrent_kernel": normal(5, 20), "bias": normal(20)}
    arrays = {first.format(i): a for i, a in enumerate(w1.values())} | {
        second.format(i): a for i, a in enumerate(w2.values())
    }
    for group, _ in extra:
        arrays[f"{group}/unused"] = np.zeros(1)
    graph = read(keras_zip(two_lstms(), arrays, version, extra))
    parts = [numpy_lstm(X[:, : t + 1], *w1.values(), sigmoid) for t in range(6)]
    close(run(graph, X), [numpy_lstm(np.stack(parts, 1), *w2.values(), sigmoid)])
