"""The Keras importer against the given real models and against Keras 3 itself: networks of the textbooks."""

from __future__ import annotations

import numpy as np
import pytest
from keras_helpers import RNG, check, close, run
from shared import MODELS, needs_models

from lstm_edge.errors import UnsupportedModelError
from lstm_edge.importers.keras.model import read
from lstm_edge.ir.dims import FRAMES


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
    with pytest.raises(UnsupportedModelError, match="network="):
        read(MODELS / "dtln/model.h5")


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


def test_an_encoder_and_a_decoder_have_lengths_of_their_own(keras, tmp_path):
    xs = [RNG.normal(0, 1, (3, 9, 6)).astype(np.float32), RNG.normal(0, 1, (3, 7, 5)).astype(np.float32)]
    graph = check(TEXTBOOK["encoder_decoder"](keras), tmp_path, xs)
    assert [str(graph.shape(p.tensor)[1]) for p in graph.inputs] == ["frames", "target_frames"]


def test_shapes_override(keras):
    model = TEXTBOOK["rows"](keras)
    name = read(model).inputs[0].name
    assert read(model, shapes={name: ["batch", 9, 28]}).shape(name)[1] == 9
    assert read(model, shapes={name: [1, "frames", 28]}).shape(name) == (1, FRAMES, 28)
    with pytest.raises(UnsupportedModelError, match="nobody.*no such input"):
        read(model, shapes={"nobody": ["batch", 9, 28]})
    with pytest.raises(UnsupportedModelError, match="expected 3 sizes"):
        read(model, shapes={name: ["batch", 9]})


def test_unused_states_are_not_asked_for(keras):
    graph = read(TEXTBOOK["stacked"](keras))
    assert [len(n.outputs) for n in graph.nodes if n.op == "LSTM"] == [1, 2]
