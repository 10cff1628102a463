"""Masks that travel with values, and initial and final states, against Keras itself."""

from __future__ import annotations

import numpy as np
import pytest
from keras_helpers import RNG, check, tokens

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
