"""Models within models, shared layers, layers per frame, inputs of several lengths, against Keras itself."""

from __future__ import annotations

import numpy as np
import pytest
from keras_helpers import RNG, check, run

from lstm_edge.ir.dims import Dim


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


def test_inputs_of_unlike_lengths_are_free_apart(keras, tmp_path):
    L = keras.layers
    a, b = keras.Input((9, 4)), keras.Input((5, 4))
    graph = check(keras.Model([a, b], L.Add()([L.LSTM(3)(a), L.LSTM(3)(b)])), tmp_path)
    lengths = [graph.shape(p.tensor)[1] for p in graph.inputs]
    assert all(isinstance(n, Dim) for n in lengths) and lengths[0] != lengths[1]
    xs = [RNG.normal(0, 1, (2, n, 4)).astype(np.float32) for n in (6, 11)]
    assert run(graph, *xs)[0].shape == (2, 3)


def test_an_encoder_and_a_decoder_of_fixed_lengths_are_free_apart(keras, tmp_path):
    L = keras.layers
    source, target = keras.Input((9, 4)), keras.Input((7, 5))
    _, h, c = L.LSTM(6, return_state=True)(source)
    y = L.LSTM(6, return_sequences=True)(target, initial_state=[h, c])
    graph = check(keras.Model([source, target], L.Dense(3)(y)), tmp_path)
    xs = [RNG.normal(0, 1, (2, n, width)).astype(np.float32) for n, width in ((5, 4), (12, 5))]
    assert run(graph, *xs)[0].shape == (2, 12, 3)


def test_one_frame_that_broadcasts_stays_one(keras, tmp_path):
    L = keras.layers
    a, b = keras.Input((9, 4)), keras.Input((1, 4))
    graph = check(keras.Model([a, b], L.LSTM(3)(L.Add()([a, b]))), tmp_path)
    assert [isinstance(graph.shape(p.tensor)[1], Dim) for p in graph.inputs] == [True, False]


def test_the_lengths_of_sequences_that_are_joined_stay_related(keras, tmp_path):
    L = keras.layers
    a, b = keras.Input((9, 4)), keras.Input((5, 4))
    graph = check(keras.Model([a, b], L.LSTM(3)(L.Concatenate(axis=1)([a, b]))), tmp_path)
    xs = [RNG.normal(0, 1, (2, n, 4)).astype(np.float32) for n in (6, 11)]
    assert run(graph, *xs)[0].shape == (2, 3)


BEHIND = {  # the frames are not on the axis behind the batch
    "permuted": ((4, None), lambda L, x: L.LSTM(3)(L.Permute((2, 1))(x))),
    "channels_first": ((4, None), lambda L, x: L.GlobalMaxPooling1D()(L.Conv1D(3, 3, data_format="channels_first")(x))),
    "columns_of_images": (
        (8, None, 1),
        lambda L, x: L.LSTM(3)(L.TimeDistributed(L.Flatten())(L.Permute((2, 1, 3))(L.Conv2D(2, 3, padding="same")(x)))),
    ),
    "numbers": ((9,), lambda L, x: L.LSTM(3)(L.Reshape((9, 1))(x))),
}


@pytest.mark.parametrize("name", BEHIND)
def test_frames_stay_open_on_any_axis(keras, tmp_path, name):
    shape, make = BEHIND[name]
    x = keras.Input(shape)
    graph = check(keras.Model(x, make(keras.layers, x)), tmp_path, frames=9)
    sizes = graph.shape(graph.inputs[0].tensor)
    assert [isinstance(s, Dim) for s in sizes[1:]] == [s in (None, 9) for s in shape]


def test_words_of_open_length_in_sentences_of_open_length(keras, tmp_path):
    L = keras.layers
    x = keras.Input((None, None, 4))
    graph = check(keras.Model(x, L.LSTM(3)(L.TimeDistributed(L.LSTM(5))(x))), tmp_path)
    assert run(graph, RNG.normal(0, 1, (2, 3, 5, 4)).astype(np.float32))[0].shape == (2, 3)


def test_a_vector_beside_sequences_keeps_its_features(keras, tmp_path):
    L = keras.layers
    x, speaker = keras.Input((9, 5)), keras.Input((3,))
    model = keras.Model([x, speaker], L.LSTM(3)(L.Multiply()([L.Dense(3)(x), speaker])))
    graph = check(model, tmp_path, frames=9)
    assert [isinstance(graph.shape(p.tensor)[1], Dim) for p in graph.inputs] == [True, False]
    assert not any("fixed" in n for n in graph.metadata["notes"])
