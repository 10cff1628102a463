"""The Keras importer against Keras 3 itself (torch backend), against the given real models, and against hand-made old
files."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from effort import at_once
from shared import MODELS, needs_models

from lstm_edge import reference
from lstm_edge.errors import FormatError, LstmEdgeError, ShapeError, UnsupportedModelError
from lstm_edge.importers.keras.model import read
from lstm_edge.ir.dims import FRAMES

h5py = pytest.importorskip("h5py")
RNG = np.random.default_rng(7)


def run(graph, *inputs):
    """Outputs in order; inputs in the graph's order, cast to its dtypes."""
    feeds = {p.name: np.asarray(x) for p, x in zip(graph.inputs, inputs)}
    outputs, _ = reference.run(graph, feeds)
    return [outputs[p.name] for p in graph.outputs]


# ---- real files ------------------------------------------------------------------------------------------------------


@needs_models
@pytest.mark.parametrize(
    "file, answers, x, y",
    [
        ("predmaint/binary_model.h5", "predmaint/binary_turbofan_test.ref.npz", "x", "p"),
        ("emg_cdt406/model.keras", "emg_cdt406/model.keras.ref.npz", "x", "y"),
        ("har_esp32/lstm_model.keras", "har_esp32/lstm_model.keras.ref.npz", "x", "y"),
        ("dgad/lstm_best.h5", "dgad/lstm_best.post.ref.npz", "x", "y"),
    ],
)
def test_real_files_give_their_references(file, answers, x, y):
    saved = np.load(MODELS / answers)
    graph = read(MODELS / file)
    [out] = run(graph, saved[x])
    np.testing.assert_allclose(out.reshape(saved[y].shape), saved[y], rtol=0, atol=1e-5)
    from_bytes = read((MODELS / file).read_bytes())
    np.testing.assert_array_equal(run(from_bytes, saved[x])[0], out)


@needs_models
def test_real_files_say_what_was_assumed():
    graph = read(MODELS / "predmaint/binary_model.h5")
    assert graph.metadata["source"]["producer"] == "keras 2.0.5"
    assert any("0.2 x + 0.5" in n for n in graph.metadata["notes"])
    assert graph.shape(graph.inputs[0].tensor)[1] == FRAMES
    tokens = read(MODELS / "dgad/lstm_best.h5")
    assert tokens.tensors[tokens.inputs[0].tensor].dtype == "int32"
    assert tokens.metadata["input_dtypes"] == {"embedding_input": "float32"}


@needs_models
def test_weights_only_file_is_refused_with_a_hint():
    with pytest.raises(UnsupportedModelError, match="--network"):
        read(MODELS / "dtln/model.h5")


# ---- Keras 3 models --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras():
    module = pytest.importorskip("keras")
    if module.__version__.split(".")[0] != "3":
        pytest.skip("needs Keras 3")
    return module


def randomise(model):
    """Every weight random, so that none is neutral; variances positive."""
    for v in model.weights:
        values = RNG.normal(0, 0.4, v.shape)
        v.assign(np.abs(values) + 0.5 if "variance" in v.path else values)


def sample(model, frames):
    """One input per graph input: tokens below 6 for integers."""
    xs = []
    for t in model.inputs:
        shape = [3] + [frames if s is None else s for s in t.shape[1:]]
        xs.append(RNG.integers(0, 6, shape) if "int" in str(t.dtype) else RNG.normal(0, 1, shape).astype(np.float32))
    return xs


def close(found, wanted, atol=1e-5):
    assert len(found) == len(wanted)
    for f, w in zip(found, wanted):
        assert f.shape == w.shape
        np.testing.assert_allclose(f, w, rtol=0, atol=atol)


def check(model, tmp_path, xs=None, frames=7, free=True, h5=True):
    """The model live, as .keras and as .h5 gives Keras's own answers; returns the live graph."""
    randomise(model)
    xs = xs or sample(model, frames)
    wanted = [np.asarray(w) for w in _flat(model.predict(xs if len(xs) > 1 else xs[0], verbose=0))]
    paths = [tmp_path / "m.keras"] + [tmp_path / "m.h5"] * h5
    graphs = [read(model)]
    for path in paths:
        model.save(path)
        graphs.append(read(path))
    for graph in graphs:
        close(run(graph, *xs), wanted)
        assert any(graph.time_axis(p.tensor) >= 0 for p in graph.inputs) == free, graph.metadata["notes"]
    return graphs[0]


def _flat(item):
    if isinstance(item, dict):
        item = list(item.values())
    return [v for i in item for v in _flat(i)] if isinstance(item, (list, tuple)) else [item]


def _attention_classifier(k):
    L = k.layers
    x = k.Input((28, 12))
    y = L.LSTM(16, return_sequences=True)(x)
    weights = L.Softmax(axis=1)(L.Dense(1, activation="tanh")(y))
    return k.Model(x, L.Dense(5, activation="softmax")(L.Flatten()(L.Dot(axes=1)([weights, y]))))


def _residual(k):
    L = k.layers
    x = k.Input((None, 8))
    y = L.LSTM(8, return_sequences=True)(x)
    for _ in range(2):
        y = L.Add()([y, L.LSTM(8, return_sequences=True)(L.LayerNormalization()(y))])
    return k.Model(x, L.Dense(3)(y))


def _encoder_decoder(k):
    L = k.layers
    source, target = k.Input((None, 6), name="source"), k.Input((None, 5), name="target")
    _, h, c = L.LSTM(9, return_state=True)(source)
    y = L.LSTM(9, return_sequences=True)(target, initial_state=[h, c])
    return k.Model([source, target], L.Dense(4, activation="softmax")(y))


def _functional(k):
    L = k.layers
    x = k.Input((28, 28))
    y = L.Dropout(0.2)(L.LSTM(128, return_sequences=True)(x))
    y = L.Dropout(0.2)(L.LSTM(64, return_sequences=True)(y))
    return k.Model(x, L.Dense(10, activation="softmax")(y))


TEXTBOOK = {
    "lstm_relu": lambda k: k.Sequential([k.Input((10, 1)), k.layers.LSTM(50, activation="relu"), k.layers.Dense(1)]),
    "stacked": lambda k: k.Sequential(
        [
            k.Input((None, 10)),
            k.layers.LSTM(64, return_sequences=True),
            k.layers.LSTM(32),
            k.layers.Dense(10, activation="softmax"),
        ]
    ),
    "sequences": lambda k: k.Sequential(
        [k.Input((20, 10)), k.layers.LSTM(50, return_sequences=True), k.layers.Dense(1)]
    ),
    "functional": _functional,
    "rows": lambda k: k.Sequential([k.Input((28, 28)), k.layers.LSTM(128), k.layers.Dense(10, activation="softmax")]),
    "gru": lambda k: k.Sequential(
        [
            k.Input((28, 28)),
            k.layers.GRU(64, return_sequences=True),
            k.layers.GRU(32),
            k.layers.Dense(10, activation="softmax"),
        ]
    ),
    "bidirectional": lambda k: k.Sequential(
        [
            k.Input((28, 28)),
            k.layers.Bidirectional(k.layers.LSTM(32, return_sequences=True)),
            k.layers.Bidirectional(k.layers.GRU(16)),
            k.layers.Dense(10, activation="softmax"),
        ]
    ),
    "residual": _residual,
    "attention": _attention_classifier,
    "encoder_decoder": _encoder_decoder,
    "autoencoder": lambda k: k.Sequential(
        [
            k.Input((10, 3)),
            k.layers.LSTM(12),
            k.layers.RepeatVector(10),
            k.layers.LSTM(12, return_sequences=True),
            k.layers.TimeDistributed(k.layers.Dense(3)),
        ]
    ),
}


@pytest.mark.parametrize("name", TEXTBOOK)
def test_textbook_networks(keras, tmp_path, name):
    model = TEXTBOOK[name](keras)
    frames = 28 if name in ("functional", "rows", "gru", "bidirectional", "attention") else 10
    graph = check(model, tmp_path, frames={"sequences": 20}.get(name, frames))
    assert graph.metadata["source"]["producer"].startswith("keras 3")


def test_frames_stay_free_beyond_what_the_file_says(keras):
    model = TEXTBOOK["rows"](keras)
    graph = read(model)
    x = RNG.normal(0, 1, (2, 28, 28)).astype(np.float32)
    close(run(graph, x), [model.predict(x, verbose=0)])
    assert run(graph, x[:, :5])[0].shape == (2, 10)
    assert any("28 frames in the file, left free" in n for n in graph.metadata["notes"])


def test_shapes_override(keras):
    model = TEXTBOOK["rows"](keras)
    name = read(model).inputs[0].name
    assert read(model, shapes={name: ["batch", 9, 28]}).shape(name)[1] == 9
    assert read(model, shapes={name: [1, "frames", 28]}).shape(name) == (1, FRAMES, 28)
    with pytest.raises(UnsupportedModelError, match="no input 'nobody'"):
        read(model, shapes={"nobody": ["batch", 9, 28]})
    with pytest.raises(UnsupportedModelError, match="expected 3 sizes"):
        read(model, shapes={name: ["batch", 9]})


# ---- layers ----------------------------------------------------------------------------------------------------------


def stack(*layers, shape=(None, 5), dtype=None):
    return lambda k: k.Sequential([k.Input(shape, dtype=dtype), *(layer(k.layers) for layer in layers)])


def merged(make, shapes=((None, 4), (None, 4))):
    def build(k):
        inputs = [k.Input(s) for s in shapes]
        return k.Model(inputs, make(k.layers)(inputs))

    return build


def graph_of(make, shape=(None, 4)):
    def build(k):
        x = k.Input(shape)
        return k.Model(x, make(k, x))

    return build


ACTIVATIONS = (
    "linear relu sigmoid tanh hard_sigmoid elu selu softplus softsign gelu silu mish relu6 exponential softmax "
    "log_softmax leaky_relu "
    "hard_silu celu log_sigmoid hard_tanh tanh_shrink squareplus"
).split()
LAYERS = {
    **{
        f"lstm_{a}_{r}": stack(
            lambda L, a=a, r=r: L.LSTM(6, activation=a, recurrent_activation=r, return_sequences=True)
        )
        for a, r in (("tanh", "sigmoid"), ("softsign", "hard_sigmoid"), ("elu", "tanh"), ("silu", "hard_silu"))
    },
    "lstm_no_bias": stack(lambda L: L.LSTM(6, use_bias=False)),
    "lstm_backwards": stack(lambda L: L.LSTM(6, go_backwards=True)),
    "lstm_backwards_sequences": stack(lambda L: L.LSTM(6, go_backwards=True, return_sequences=True)),
    "lstm_unrolled": stack(lambda L: L.LSTM(6, unroll=True), shape=(7, 5)),
    "gru_after": stack(lambda L: L.GRU(6, return_sequences=True)),
    "gru_before": stack(lambda L: L.GRU(6, reset_after=False, return_sequences=True)),
    "gru_no_bias": stack(lambda L: L.GRU(6, use_bias=False)),
    "gru_hard": stack(lambda L: L.GRU(6, recurrent_activation="hard_sigmoid")),
    "simple_rnn": stack(lambda L: L.SimpleRNN(6, return_sequences=True)),
    "simple_rnn_relu": stack(lambda L: L.SimpleRNN(6, activation="relu")),
    "rnn_cell": stack(lambda L: L.RNN(L.LSTMCell(6), return_sequences=True)),
    "rnn_stacked": stack(lambda L: L.RNN([L.LSTMCell(6), L.GRUCell(4), L.SimpleRNNCell(3)])),
    "rnn_stacked_backwards": stack(
        lambda L: L.RNN([L.LSTMCell(6), L.LSTMCell(4)], go_backwards=True, return_sequences=True)
    ),
    **{
        f"bidirectional_{m}_{s}": stack(
            lambda L, m=m, s=s: L.Bidirectional(L.LSTM(4, return_sequences=s), merge_mode=m)
        )
        for m in ("concat", "sum", "mul", "ave")
        for s in (True, False)
    },
    "bidirectional_rnn": stack(lambda L: L.Bidirectional(L.SimpleRNN(4, return_sequences=True))),
    "bidirectional_stacked": stack(
        lambda L: L.Bidirectional(L.RNN([L.LSTMCell(3), L.GRUCell(4)], return_sequences=True))
    ),
    "bidirectional_mixed": stack(
        lambda L: L.Bidirectional(
            L.LSTM(4, return_sequences=True), backward_layer=L.GRU(4, go_backwards=True, return_sequences=True)
        )
    ),
    "time_distributed_dense": stack(
        lambda L: L.LSTM(4, return_sequences=True), lambda L: L.TimeDistributed(L.Dense(3, activation="relu"))
    ),
    "time_distributed_conv": stack(
        lambda L: L.TimeDistributed(L.Conv1D(4, 3, padding="same")),
        lambda L: L.TimeDistributed(L.MaxPooling1D(2)),
        lambda L: L.TimeDistributed(L.Flatten()),
        lambda L: L.LSTM(5),
        shape=(None, 8, 2),
    ),
    "time_distributed_conv2d": stack(
        lambda L: L.TimeDistributed(L.Conv2D(4, 3, strides=2)),
        lambda L: L.TimeDistributed(L.GlobalAveragePooling2D()),
        lambda L: L.GRU(5),
        shape=(None, 8, 8, 1),
    ),
    "time_distributed_lstm": stack(lambda L: L.TimeDistributed(L.LSTM(4)), lambda L: L.LSTM(3), shape=(None, 6, 2)),
    "embedding": stack(lambda L: L.Embedding(6, 4), lambda L: L.LSTM(3), shape=(None,), dtype="int32"),
    "embedding_float_input": stack(lambda L: L.Embedding(6, 4), lambda L: L.LSTM(3), shape=(9,), dtype="int64"),
    **{f"dense_{a}": stack(lambda L, a=a: L.Dense(6, activation=a)) for a in ACTIVATIONS},
    "activation": stack(lambda L: L.Activation("hard_sigmoid"), lambda L: L.LSTM(3)),
    **{
        f"act_{n}": stack(make, lambda L: L.LSTM(3))
        for n, make in {
            "leaky": lambda L: L.LeakyReLU(0.13),
            "elu": lambda L: L.ELU(0.7),
            "relu6": lambda L: L.ReLU(6.0),
            "relu_all": lambda L: L.ReLU(max_value=1.5, negative_slope=0.1, threshold=0.3),
            "relu_slope": lambda L: L.ReLU(negative_slope=0.2),
            "prelu_shared": lambda L: L.PReLU(shared_axes=[1]),
            "softmax": lambda L: L.Softmax(),
        }.items()
    },
    "regularisers": stack(
        lambda L: L.Dropout(0.5),
        lambda L: L.GaussianNoise(0.1),
        lambda L: L.SpatialDropout1D(0.2),
        lambda L: L.AlphaDropout(0.1),
        lambda L: L.GaussianDropout(0.1),
        lambda L: L.ActivityRegularization(0.1),
        lambda L: L.LSTM(3),
    ),
    "repeat": stack(lambda L: L.LSTM(4), lambda L: L.RepeatVector(3), lambda L: L.LSTM(2, return_sequences=True)),
    "crop_pad_up": stack(
        lambda L: L.ZeroPadding1D((1, 2)),
        lambda L: L.Cropping1D((2, 1)),
        lambda L: L.UpSampling1D(2),
        lambda L: L.LSTM(3),
    ),
    "pad2d": stack(
        lambda L: L.ZeroPadding2D(((1, 0), (2, 1))),
        lambda L: L.UpSampling2D((1, 2)),
        lambda L: L.Conv2D(3, 3),
        lambda L: L.TimeDistributed(L.Flatten()),
        lambda L: L.LSTM(3),
        shape=(None, 6, 2),
    ),
    "conv1d_valid": stack(lambda L: L.Conv1D(6, 3, activation="relu"), lambda L: L.LSTM(3)),
    "conv1d_causal": stack(lambda L: L.Conv1D(6, 3, padding="causal", dilation_rate=2), lambda L: L.LSTM(3)),
    "conv1d_same": stack(lambda L: L.Conv1D(6, 4, padding="same", activation="softmax"), lambda L: L.LSTM(3)),
    "conv1d_same_stride": stack(lambda L: L.Conv1D(6, 2, strides=2, padding="same"), lambda L: L.LSTM(3)),
    "images": stack(
        lambda L: L.Conv2D(4, 3, padding="same", activation="relu"),
        lambda L: L.MaxPooling2D(2),
        lambda L: L.Reshape((4, 16)),
        lambda L: L.LSTM(3),
        shape=(8, 8, 1),
    ),
    "conv1d_groups": stack(lambda L: L.Conv1D(6, 3, groups=2), lambda L: L.LSTM(3), shape=(None, 4)),
    "conv1d_transpose": stack(lambda L: L.Conv1DTranspose(6, 3, strides=2, padding="same"), lambda L: L.LSTM(3)),
    "conv1d_transpose_valid": stack(lambda L: L.Conv1DTranspose(6, 2, strides=3), lambda L: L.LSTM(3)),
    "depthwise1d": stack(lambda L: L.DepthwiseConv1D(3, depth_multiplier=2, padding="same"), lambda L: L.LSTM(3)),
    "separable1d": stack(lambda L: L.SeparableConv1D(6, 3, depth_multiplier=2, activation="tanh"), lambda L: L.LSTM(3)),
    "max_pool_same": stack(lambda L: L.MaxPooling1D(2, padding="same"), lambda L: L.LSTM(3)),
    "average_pool": stack(lambda L: L.AveragePooling1D(3, strides=1), lambda L: L.LSTM(3)),
    "global_average": stack(lambda L: L.LSTM(4, return_sequences=True), lambda L: L.GlobalAveragePooling1D()),
    "global_max": stack(lambda L: L.LSTM(4, return_sequences=True), lambda L: L.GlobalMaxPooling1D()),
    "batch_norm": stack(lambda L: L.BatchNormalization(), lambda L: L.LSTM(3)),
    "batch_norm_bare": stack(lambda L: L.BatchNormalization(scale=False, center=False), lambda L: L.LSTM(3)),
    "layer_norm": stack(lambda L: L.LayerNormalization(), lambda L: L.LSTM(3)),
    "rms_norm": stack(lambda L: L.RMSNormalization(), lambda L: L.LSTM(3)),
    "group_norm": stack(lambda L: L.GroupNormalization(2), lambda L: L.LSTM(3), shape=(7, 4)),
    "unit_norm": stack(lambda L: L.UnitNormalization(), lambda L: L.LSTM(3)),
    "einsum_dense": stack(
        lambda L: L.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de", activation="relu"),
        lambda L: L.EinsumDense("abde,def->abf", (None, 4), bias_axes="f"),
        lambda L: L.LSTM(3),
    ),
    "multi_head_output": graph_of(lambda k, x: k.layers.MultiHeadAttention(3, 2, output_shape=7, use_bias=False)(x, x)),
    "rescaling": stack(lambda L: L.Rescaling(0.1, offset=-0.5), lambda L: L.LSTM(3)),
    "normalization": stack(
        lambda L: L.Normalization(mean=[1.0, 2, 3, 4, 5], variance=[1.0, 2, 3, 4, 5]), lambda L: L.LSTM(3)
    ),
    **{
        f"merge_{c}": merged(lambda L, c=c: getattr(L, c)())
        for c in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate")
    },
    "concatenate_time": merged(lambda L: L.Concatenate(axis=1)),
    "dot_features": merged(lambda L: L.Dot(axes=2)),
    "dot_time": merged(lambda L: L.Dot(axes=(1, 1), normalize=True)),
    "attention": merged(lambda L: L.Attention(use_scale=True)),
    "attention_concat": merged(lambda L: L.Attention(score_mode="concat", use_scale=True)),
    "additive_attention": merged(lambda L: L.AdditiveAttention()),
    "multi_head": graph_of(lambda k, x: k.layers.MultiHeadAttention(2, 3, value_dim=5)(x, x)),
    "multi_head_causal": graph_of(lambda k, x: k.layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)),
    "ops_arithmetic": graph_of(lambda k, x: 2.0 * k.layers.LSTM(3, return_sequences=True)(x) - x[:, :, :3] / 4.0 + 1.0),
    "ops_last_step": graph_of(lambda k, x: k.layers.LSTM(3, return_sequences=True)(x)[:, -1, :]),
    "ops_reduce": graph_of(
        lambda k, x: k.ops.mean(k.layers.GRU(3, return_sequences=True)(x), axis=1) + k.ops.max(x[..., :3], axis=1)
    ),
    "ops_shape": graph_of(
        lambda k, x: k.ops.concatenate(
            [k.ops.expand_dims(k.layers.LSTM(3)(x), 1), k.ops.transpose(x, (0, 2, 1))[:, :3, :3]], axis=1
        ),
        (7, 4),
    ),
    "ops_softmax_matmul": graph_of(
        lambda k, x: k.ops.matmul(
            k.ops.softmax(k.ops.matmul(x, k.ops.transpose(x, (0, 2, 1))), axis=-1),
            k.layers.LSTM(3, return_sequences=True)(x),
        )
    ),
    "ops_unary": graph_of(
        lambda k, x: k.layers.LSTM(3)(k.ops.clip(k.ops.sqrt(k.ops.abs(x)) + k.ops.square(k.ops.tanh(x)), 0.1, 1.5))
    ),
    "ops_where": graph_of(lambda k, x: k.layers.LSTM(3)(k.ops.where(x > 0.0, x, 0.1 * x))),
    "ops_reshape": graph_of(lambda k, x: k.layers.LSTM(3)(k.ops.reshape(x, (-1, 7, 2, 2))[:, :, 0]), (7, 4)),
    "ops_split": graph_of(lambda k, x: k.layers.LSTM(3)(k.ops.concatenate(k.ops.split(x, 2, axis=-1)[::-1], axis=-1))),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(keras, tmp_path, name):
    check(LAYERS[name](keras), tmp_path, frames=9 if name == "embedding_float_input" else 7)


FIXED = {  # the frames cannot be free
    "flatten": stack(
        lambda L: L.LSTM(3, return_sequences=True), lambda L: L.Flatten(), lambda L: L.Dense(4), shape=(7, 5)
    ),
    "permute": stack(lambda L: L.Permute((2, 1)), lambda L: L.Dense(6), lambda L: L.LSTM(3), shape=(7, 5)),
    "reshape": stack(lambda L: L.Reshape((5, 7)), lambda L: L.LSTM(3), shape=(7, 5)),
    "prelu": stack(lambda L: L.PReLU(), lambda L: L.LSTM(3), shape=(7, 5)),
    "conv_stride": stack(lambda L: L.Conv1D(4, 3, strides=2, padding="same"), lambda L: L.LSTM(3), shape=(7, 5)),
    "layer_norm_time": stack(lambda L: L.LayerNormalization(axis=[1, 2]), lambda L: L.LSTM(3), shape=(7, 5)),
    "batch_norm_time": stack(lambda L: L.BatchNormalization(axis=1), lambda L: L.LSTM(3), shape=(7, 5)),
    "features": stack(lambda L: L.Dense(12), lambda L: L.Reshape((3, 4)), lambda L: L.LSTM(3), shape=(5,)),
    "conv2d_all": stack(
        lambda L: L.DepthwiseConv2D(3, strides=2, padding="same"),
        lambda L: L.SeparableConv2D(4, 2),
        lambda L: L.AveragePooling2D(2),
        lambda L: L.Conv2DTranspose(3, 3, strides=2),
        lambda L: L.BatchNormalization(),
        lambda L: L.Flatten(),
        lambda L: L.Dense(3),
        shape=(11, 11, 2),
    ),
    "channels_first": stack(
        lambda L: L.Conv1D(4, 3, data_format="channels_first"),
        lambda L: L.MaxPooling1D(2, data_format="channels_first"),
        lambda L: L.GlobalAveragePooling1D(data_format="channels_first"),
        lambda L: L.Dense(3),
        shape=(6, 20),
    ),
    "no_time": stack(lambda L: L.Dense(4, activation="relu"), lambda L: L.Dense(2), shape=(5,)),
}


@pytest.mark.parametrize("name", FIXED)
def test_layers_that_fix_the_frames(keras, tmp_path, name):
    graph = check(FIXED[name](keras), tmp_path, free=False)
    if name in ("flatten", "permute", "reshape", "conv_stride"):
        assert any("frames fixed at 7, because" in n for n in graph.metadata["notes"])


# ---- masks, states, structure ----------------------------------------------------------------------------------------


def tokens(pre):
    """Token rows with padding 0 before or after, one row without, one with a hole."""
    ids = RNG.integers(1, 6, (4, 8))
    ids[0, :3], ids[1, :1], ids[2, 4] = 0, 0, 0
    return ids if pre else ids[:, ::-1].copy()


MASKED = {
    "lstm": lambda L: [L.LSTM(4)],
    "sequences": lambda L: [L.LSTM(4, return_sequences=True)],
    "two": lambda L: [L.LSTM(4, return_sequences=True), L.GRU(3)],
    "backwards": lambda L: [L.LSTM(4, go_backwards=True)],
    "backwards_sequences": lambda L: [L.GRU(4, go_backwards=True, return_sequences=True), L.LSTM(3)],
    "zero": lambda L: [L.LSTM(4, return_sequences=True, zero_output_for_mask=True)],
    "zero_last": lambda L: [L.LSTM(4, zero_output_for_mask=True)],
    "bidirectional": lambda L: [L.Bidirectional(L.LSTM(4, return_sequences=True)), L.Bidirectional(L.LSTM(3))],
    "bidirectional_sum": lambda L: [L.Bidirectional(L.GRU(4, return_sequences=True), merge_mode="sum"), L.SimpleRNN(3)],
    "through": lambda L: [L.Dense(3, activation="relu"), L.Dropout(0.1), L.LayerNormalization(), L.LSTM(4)],
    "average": lambda L: [L.LSTM(4, return_sequences=True), L.GlobalAveragePooling1D()],
    "lost": lambda L: [L.Conv1D(3, 2, padding="causal"), L.LSTM(4)],
    "distributed": lambda L: [L.LSTM(4, return_sequences=True), L.TimeDistributed(L.Dense(2)), L.LSTM(3)],
    "stacked": lambda L: [L.RNN([L.LSTMCell(4), L.GRUCell(3)])],
}


@pytest.mark.parametrize("pre", [True, False])
@pytest.mark.parametrize("name", MASKED)
def test_masks_of_embeddings(keras, tmp_path, name, pre):
    L = keras.layers
    model = keras.Sequential([keras.Input((None,), dtype="int32"), L.Embedding(6, 5, mask_zero=True), *MASKED[name](L)])
    check(model, tmp_path, [tokens(pre)])


@pytest.mark.parametrize("name", MASKED)
def test_masks_of_masking(keras, tmp_path, name):
    L = keras.layers
    model = keras.Sequential([keras.Input((8, 5)), L.Masking(-1.0), *MASKED[name](L)])
    x = RNG.normal(0, 1, (4, 8, 5)).astype(np.float32)
    x[0, :3] = x[1, 6:] = x[2, 4] = -1.0
    check(model, tmp_path, [x])


def test_normalization_that_was_adapted(keras, tmp_path):
    layer = keras.layers.Normalization()
    layer.adapt(RNG.normal(3, 2, (50, 7, 4)))
    x = keras.Input((7, 4))
    model = keras.Model(x, keras.layers.LSTM(3)(layer(x)))
    xs = [RNG.normal(3, 2, (3, 7, 4)).astype(np.float32)]
    wanted = model.predict(xs[0], verbose=0)
    for path in (tmp_path / "m.keras", tmp_path / "m.h5"):
        model.save(path)
        close(run(read(path), *xs), [wanted])
    close(run(read(model), *xs), [wanted])


def test_masks_of_attention(keras, tmp_path):
    L = keras.layers
    a, b = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    embed = L.Embedding(6, 5, mask_zero=True)
    q, v = embed(a), embed(b)
    y = L.Add()([L.Attention()([q, v]), L.AdditiveAttention()([q, v])])
    check(keras.Model([a, b], [y, L.GlobalAveragePooling1D()(y)]), tmp_path, [tokens(False), tokens(True)])


def test_masks_of_multi_head_attention(keras, tmp_path):
    L = keras.layers
    a, b = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    embed = L.Embedding(6, 5, mask_zero=True)
    q, v = embed(a), embed(b)
    z = L.MultiHeadAttention(2, 3)(L.LSTM(5, return_sequences=True)(q), v)
    check(
        keras.Model([a, b], L.GlobalAveragePooling1D()(L.Multiply()([z, q]))), tmp_path, [tokens(False), tokens(True)]
    )


def test_masks_join(keras, tmp_path):
    L = keras.layers
    a, b = keras.Input((None,), dtype="int32"), keras.Input((None, 5))
    q = L.Embedding(6, 5, mask_zero=True)(a)
    outputs = [
        L.LSTM(3)(L.Concatenate()([q, L.Masking()(b)])),
        L.LSTM(3)(L.Add()([q, q])),
        L.LSTM(3)(L.Multiply()([q, b])),
        L.LSTM(3)(L.Maximum()([q, L.Masking()(b), q])),
        L.LSTM(3)(L.Multiply()([q, L.Masking()(b)])),
    ]
    x = RNG.normal(0, 1, (4, 8, 5)).astype(np.float32)
    x[0, :2] = x[3, 5] = 0
    check(keras.Model([a, b], outputs), tmp_path, [tokens(True), x])


def test_states_in_and_out(keras, tmp_path):
    L = keras.layers
    x, h, c, g = keras.Input((None, 4)), keras.Input((5,)), keras.Input((5,)), keras.Input((6,))
    y, h1, c1 = L.LSTM(5, return_sequences=True, return_state=True)(x, initial_state=[h, c])
    z, g1 = L.GRU(6, return_state=True, go_backwards=True)(y, initial_state=g)
    s = L.SimpleRNN(6)(x, initial_state=g1)
    check(keras.Model([x, h, c, g], [y, h1, c1, z, g1, s]), tmp_path)


def test_states_of_bidirectional(keras, tmp_path):
    L = keras.layers
    x, h = keras.Input((None, 4)), keras.Input((5,))
    y, *states = L.Bidirectional(L.LSTM(5, return_state=True, return_sequences=True))(x, initial_state=[h, h, h, h])
    z, *more = L.Bidirectional(L.GRU(3, return_state=True), merge_mode=None)(y)
    check(keras.Model([x, h], [y, *states, z, *more]), tmp_path)


def test_initial_state_behind_a_mask(keras, tmp_path):
    L = keras.layers
    ids, h = keras.Input((None,), dtype="int32"), keras.Input((5,))
    x = L.Embedding(6, 4, mask_zero=True)(ids)
    outputs = [
        L.LSTM(5)(x, initial_state=[h, h]),
        L.GRU(5, go_backwards=True)(x, initial_state=h),
        L.LSTM(5, return_sequences=True)(x, initial_state=[h, h]),
    ]
    outputs += [L.Bidirectional(L.LSTM(5))(x, initial_state=[h] * 4)]
    rows = tokens(True)
    rows[3] = 0
    graph = check(keras.Model([ids, h], outputs), tmp_path, [rows, RNG.normal(0, 1, (4, 5)).astype(np.float32)])
    assert any("ignores the mask" in n for n in graph.metadata["notes"])


def test_explicit_mask_with_states(keras, tmp_path):
    L = keras.layers
    ids, h = keras.Input((None,), dtype="int32"), keras.Input((5,))
    embed = L.Embedding(6, 4)
    x, mask = embed(ids), keras.ops.not_equal(ids, 0)
    outputs = [
        L.LSTM(5)(x, mask=mask, initial_state=[h, h]),
        L.GRU(5, go_backwards=True)(x, mask=mask, initial_state=h),
        L.LSTM(5, return_sequences=True)(x, mask=mask, initial_state=[h, h]),
        L.Bidirectional(L.LSTM(5))(x, mask=mask, initial_state=[h] * 4),
    ]
    rows = tokens(True)
    rows[3] = 0  # nothing valid: the output is zeros although the state is not
    check(keras.Model([ids, h], outputs), tmp_path, [rows, RNG.normal(0, 1, (4, 5)).astype(np.float32)])


def test_shared_layers_and_nested_models(keras, tmp_path):
    L = keras.layers
    a, b = keras.Input((None, 4), name="a"), keras.Input((None, 4), name="b")
    tower = keras.Sequential(
        [keras.Input((None, 4)), L.LSTM(5, return_sequences=True), L.BatchNormalization(), L.Dense(3)], name="tower"
    )
    i = keras.Input((None, 3))
    head = keras.Model(i, [L.GRU(4)(i), L.GlobalMaxPooling1D()(i)], name="head")
    shared = L.LSTM(4)
    p, q = tower(a), tower(b)
    (u, v), (w, _) = head(p), head(q)
    graph = check(
        keras.Model(
            [a, b],
            {
                "first": L.Concatenate(name="first")([u, v, w]),
                "second": L.Subtract(name="second")([shared(p), shared(q)]),
            },
        ),
        tmp_path,
    )
    assert [p.name for p in graph.outputs] == ["first", "second"]
    weights = [t for t in graph.tensors.values() if t.is_constant and t.shape == (1, 16, 3)]
    assert len(weights) == 1, "a shared layer's weights are kept once"


def test_time_distributed_model(keras, tmp_path):
    L = keras.layers
    words = keras.Sequential([keras.Input((6,), dtype="int32"), L.Embedding(6, 4, mask_zero=True), L.LSTM(5)])
    model = keras.Sequential([keras.Input((None, 6), dtype="int32"), L.TimeDistributed(words), L.LSTM(3)])
    check(model, tmp_path)


def test_stateful_is_noted(keras, tmp_path):
    model = keras.Sequential([keras.Input(batch_shape=(3, 7, 4)), keras.layers.LSTM(5, stateful=True)])
    graph = check(model, tmp_path)
    assert any("stateful" in n for n in graph.metadata["notes"])


def test_inputs_of_unlike_lengths_stay_as_they_are(keras, tmp_path):
    L = keras.layers
    a, b = keras.Input((9, 4)), keras.Input((5, 4))
    graph = check(keras.Model([a, b], L.Add()([L.LSTM(3)(a), L.LSTM(3)(b)])), tmp_path, free=False)
    assert graph.shape(graph.inputs[0].tensor)[1] == 9


def test_unused_states_are_not_asked_for(keras):
    graph = read(TEXTBOOK["stacked"](keras))
    assert [len(n.outputs) for n in graph.nodes if n.op == "LSTM"] == [1, 2]


# ---- old versions, written by hand -----------------------------------------------------------------------------------


def h5_file(layers, version, backend="tensorflow", style="{layer}/{weight}:0", model=None):
    """The bytes of a Keras HDF5 model. `layers`: [(class, config, {weight name: array})]; `model` overrides the
    config."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as f:
        config = model or {"class_name": "Sequential", "config": [{"class_name": c, "config": o} for c, o, _ in layers]}
        f.attrs["model_config"] = json.dumps(config).encode()
        if version:
            f.attrs["keras_version"] = version.encode()
        f.attrs["backend"] = backend.encode()
        root = f.create_group("model_weights")
        root.attrs["layer_names"] = [o["name"].encode() for _, o, _ in layers]
        for _, options, weights in layers:
            group = root.create_group(options["name"])
            names = [style.format(layer=options["name"], weight=w) for w in weights]
            group.attrs["weight_names"] = [n.encode() for n in names]
            for name, array in zip(names, weights.values()):
                group[name] = array
    return stream.getvalue()


def normal(*shape):
    return RNG.normal(0, 0.5, shape).astype(np.float32)


def hard_sigmoid_2(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_lstm(x, kernel, recurrent, bias, gate):
    """Last h of a Keras LSTM, gates i f c o."""
    h = c = np.zeros((len(x), recurrent.shape[0]))
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        c = gate(f) * c + gate(i) * np.tanh(g)
        h = gate(o) * np.tanh(c)
    return h


def numpy_gru(x, kernel, recurrent, bias, gate):
    """Last h of a Keras GRU with reset before, gates z r h."""
    n = recurrent.shape[0]
    h = np.zeros((len(x), n))
    for t in range(x.shape[1]):
        a = x[:, t] @ kernel + bias
        z, r = gate(a[:, :n] + h @ recurrent[:, :n]), gate(a[:, n : 2 * n] + h @ recurrent[:, n : 2 * n])
        h = z * h + (1 - z) * np.tanh(a[:, 2 * n :] + (r * h) @ recurrent[:, 2 * n :])
    return h


X = RNG.normal(0, 1, (3, 6, 4)).astype(np.float32)
LSTM_WEIGHTS = {"kernel": normal(4, 20), "recurrent_kernel": normal(5, 20), "bias": normal(20)}
GRU_WEIGHTS = {"kernel": normal(4, 15), "recurrent_kernel": normal(5, 15), "bias": normal(15)}


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


def keras_zip(config, arrays, version="2.13.1", names=()):
    """The bytes of a .keras zip. `arrays`: {key in the weights file: array}, keys cut at '/' alone."""
    weights = io.BytesIO()
    with h5py.File(weights, "w") as f:
        for key, array in arrays.items():
            f[key] = array
        for group, name in names:
            f[group].attrs["name"] = name
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as z:
        z.writestr("config.json", json.dumps(config))
        z.writestr("metadata.json", json.dumps({"keras_version": version}))
        z.writestr("model.weights.h5", weights.getvalue())
    return stream.getvalue()


def two_lstms(names=("lstm_8", "lstm_9")):
    layers = [
        {
            "module": "keras.layers",
            "class_name": "InputLayer",
            "config": {"batch_input_shape": [None, 6, 4], "name": "x"},
        }
    ]
    layers += [
        {
            "module": "keras.layers",
            "class_name": "LSTM",
            "registered_name": None,
            "config": {
                "name": n,
                "units": 5,
                "activation": "tanh",
                "recurrent_activation": "sigmoid",
                "return_sequences": s,
                "trainable": True,
            },
        }
        for n, s in zip(names, (True, False))
    ]
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": layers}}


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


# ---- refusals --------------------------------------------------------------------------------------------------------


def sequential(*layers, version="2.9.0", weights=None):
    configs = [
        ("InputLayer", {"name": "x", "batch_input_shape": [None, 6, 4]}, {}),
        *[(c, {"name": n, **o}, w) for c, n, o, w in layers],
    ]
    return h5_file(configs, version)


@pytest.mark.parametrize(
    "layer, error, words",
    [
        (
            ("Lambda", "lam", {"function": ["4wE=", None, None]}, {}),
            UnsupportedModelError,
            "layer 'lam'.*Lambda.*never run",
        ),
        (("Mine>Attention", "att", {}, {}), UnsupportedModelError, "'att'.*custom class"),
        (("ConvLSTM2D", "cl", {"filters": 2}, {}), UnsupportedModelError, "'cl'.*ConvLSTM2D"),
        (
            ("Dense", "d", {"units": 2, "activation": "my_function"}, {"kernel": normal(4, 2), "bias": normal(2)}),
            UnsupportedModelError,
            "'d'.*my_function",
        ),
        (
            ("LSTM", "l", {"units": 5, "recurrent_activation": "softmax"}, LSTM_WEIGHTS),
            UnsupportedModelError,
            "'l'.*softmax",
        ),
        (("LSTM", "l", {"units": 5, "zoneout": 0.1}, LSTM_WEIGHTS), UnsupportedModelError, "'l'.*zoneout"),
        (("LSTM", "l", {"units": 6}, LSTM_WEIGHTS), ShapeError, "'l'.*kernel.*24.*20"),
        (
            (
                "LSTM",
                "l",
                {"units": 5},
                {"kernel": normal(3, 20), "recurrent_kernel": normal(5, 20), "bias": normal(20)},
            ),
            ShapeError,
            "'l'.*expected input",
        ),
        (
            ("LSTM", "l", {"units": 5}, {"kernel": normal(4, 20), "bias": normal(20)}),
            FormatError,
            "'l'.*expected 3 weights.*found 2",
        ),
        (
            (
                "LSTM",
                "l",
                {"units": 5},
                {"bias": normal(20), "kernel": normal(4, 20), "recurrent_kernel": normal(5, 20)},
            ),
            FormatError,
            "'l'.*order",
        ),
        (("LSTM", "l", {"units": -5}, LSTM_WEIGHTS), FormatError, "'l'.*units.*-5"),
        (("Attention", "a", {}, {"W": normal(4, 4), "b": normal(4)}), UnsupportedModelError, "'a'.*custom"),
        (
            (
                "Dense",
                "d",
                {"units": 2, "dtype": {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8"}}},
                {},
            ),
            UnsupportedModelError,
            "'d'.*quantise",
        ),
    ],
)
def test_refused_by_name(layer, error, words):
    with pytest.raises(error, match=words):
        read(sequential(layer))


def test_live_lambda_and_custom_layers_are_refused(keras):
    class Strange(keras.layers.Layer):
        def call(self, x):
            return x * 2

    for layer, words in (
        (keras.layers.Lambda(lambda x: x * 2, name="twice"), "'twice'"),
        (Strange(name="strange"), "'strange'.*custom class Strange"),
    ):
        with pytest.raises(UnsupportedModelError, match=words):
            read(keras.Sequential([keras.Input((6, 4)), layer, keras.layers.LSTM(3)]))


def test_subclassed_model_is_refused(keras):
    class Mine(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(UnsupportedModelError, match="subclassed"):
        read(Mine())


def test_random_at_run_time_is_refused(keras):
    x = keras.Input((6, 4))
    model = keras.Model(x, keras.layers.LSTM(3)(keras.layers.Dropout(0.5, name="always")(x, training=True)))
    with pytest.raises(UnsupportedModelError, match="'always'.*random"):
        read(model)
    inner = keras.Sequential([keras.Input((6, 4)), keras.layers.BatchNormalization(name="bn")])
    with pytest.raises(UnsupportedModelError, match="'.*bn'.*by the batch"):
        read(keras.Model(x, keras.layers.LSTM(3)(inner(x, training=True))))


def test_sizes_no_model_has():
    layers = [("RepeatVector", "r", {"n": 1 << 40}, {})]
    config = [
        ("InputLayer", {"name": "x", "batch_input_shape": [None, 4]}, {}),
        *[(c, {"name": n, **o}, w) for c, n, o, w in layers],
    ]
    assert "'r'" in refused_fast(h5_file(config, "2.9.0")) or "node r" in refused_fast(h5_file(config, "2.9.0"))
    huge = [("InputLayer", {"name": "x", "batch_input_shape": [None, 1 << 40]}, {})]
    assert "'x'" in refused_fast(h5_file(huge, "2.9.0"))


# ---- hostile files ---------------------------------------------------------------------------------------------------


def refused_fast(data):
    errors = []

    def refused():
        with pytest.raises(LstmEdgeError) as caught:
            read(data)
        errors.append(str(caught.value))

    at_once(refused)
    return errors[0]


def test_zip_bomb():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("config.json", b" " * (64 << 20))
    assert "ratio" in refused_fast(stream.getvalue())


def test_zip_that_lies_about_a_size():
    data = bytearray(keras_zip(two_lstms(), {}))
    at = data.rindex(b"PK\x01\x02")  # the last member's entry in the directory
    data[at + 24 : at + 28] = (3 << 30).to_bytes(4, "little")
    assert "claims" in refused_fast(bytes(data))


def bare_h5(fill):
    stream = io.BytesIO(sequential(("LSTM", "l", {"units": 5}, LSTM_WEIGHTS)))
    with h5py.File(stream, "r+") as f:
        group = f["model_weights/l"]
        del group["l/kernel:0"]
        fill(group, f)
    return stream.getvalue()


def test_h5_that_claims_sizes_it_does_not_hold():
    def claimed(group, f):
        group["l"].create_dataset("kernel:0", shape=(1 << 20, 1 << 12), dtype="f4", chunks=(1024, 1024))

    assert "claims" in refused_fast(bare_h5(claimed))

    def bomb(group, f):
        group["l"].create_dataset("kernel:0", data=np.zeros((4096, 4096), np.float32), compression="gzip")

    assert "ratio" in refused_fast(bare_h5(bomb))


def test_h5_cycles_and_links_out(tmp_path):
    def cycle(group, f):
        group["l/again"] = f["model_weights"]

    assert "expected a dataset" in refused_fast(bare_h5(cycle))

    with h5py.File(tmp_path / "secret.h5", "w") as f:
        f["kernel"] = LSTM_WEIGHTS["kernel"]

    def out(group, f):
        group["l/kernel:0"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "kernel")

    assert "expected a dataset" in refused_fast(bare_h5(out))

    def raw(group, f):
        group["l"].create_dataset(
            "kernel:0", shape=(4, 20), dtype="f4", external=[(str(tmp_path / "secret.h5"), 0, 320)]
        )

    assert "outside the file" in refused_fast(bare_h5(raw))


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04" + bytes(40), b"\x89HDF\r\n\x1a\n" + bytes(200)])
def test_not_a_keras_file(data):
    refused_fast(data)


def test_truncated_and_damaged_files():
    for whole in (sequential(("LSTM", "l", {"units": 5}, LSTM_WEIGHTS)), keras_zip(two_lstms(), {})):
        for cut in range(0, len(whole), max(len(whole) // 12, 1)):
            refused_fast(whole[:cut])


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"class_name": "Sequential"},
        {"class_name": "Sequential", "config": 3},
        {"class_name": "Sequential", "config": {"layers": 3}},
        {"class_name": "Sequential", "config": []},
        {"class_name": "Functional", "config": {"layers": [], "input_layers": [["x", 0, 0]]}},
        {"class_name": "Functional", "config": {"layers": [], "input_layers": [], "output_layers": []}},
        {"class_name": "MyModel", "config": {}},
        {
            "class_name": "Functional",
            "config": {
                "layers": [
                    {
                        "class_name": "Dense",
                        "name": "d",
                        "config": {"name": "d", "units": 1, "trainable": True},
                        "inbound_nodes": [[["d", 0, 0, {}]]],
                    }
                ],
                "input_layers": [["d", 1, 0]],
                "output_layers": [["d", 0, 0]],
            },
        },
    ],
)
def test_configs_that_are_none(config):
    refused_fast(h5_file([], "2.9.0", model=config or {"x": 1}))


def test_deep_config():
    config = {"class_name": "Sequential", "config": {"layers": []}}
    for _ in range(60):
        config = {"class_name": "Sequential", "config": {"layers": [config]}}
    assert "deeper" in refused_fast(h5_file([], "2.9.0", model=config))
