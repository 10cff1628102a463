"""Networks as people publish them, in Keras 3, on the whole path: saved as .keras and .h5, and live."""

from __future__ import annotations

import numpy as np
import pytest
from whole_path import check

keras = pytest.importorskip("keras")
pytest.importorskip("torch")
L, Input, Model, Sequential = keras.layers, keras.Input, keras.Model, keras.Sequential
RNG = np.random.default_rng(3)
CASES = ((1, 14), (3, 21))
NETWORKS = {}


def network(*inputs, streams=True, kind="keras"):
    def register(build):
        NETWORKS[build.__name__] = (build, inputs, streams, kind)
        return build

    return register


def padded(tokens, first):
    """Tokens with zeros before or behind them, more in every sequence."""
    for n, row in enumerate(tokens):
        row[: 3 * n if first else 0] = 0
        row[len(row) if first or not n else -3 * n :] = 0
    return tokens


def made(spec, batch, frames):
    shape = [{"B": batch, "T": frames}.get(s, s) for s in spec if s not in ("first", "behind")]
    if "first" in spec or "behind" in spec:
        return padded(RNG.integers(1, 40, shape).astype(np.int32), "first" in spec)
    return RNG.standard_normal(shape).astype(np.float32)


@network(("B", "T", 10))
def noise_suppressor():
    x = Input((None, 10))
    t = L.Dense(8, activation="tanh")(x)
    v = L.GRU(8, return_sequences=True, reset_after=False)(t)
    n = L.GRU(12, activation="relu", return_sequences=True, reset_after=False)(L.concatenate([t, v, x]))
    return Model(x, [L.Dense(6, activation="sigmoid")(n), L.Dense(1, activation="sigmoid")(v)])


@network(("B", "T", 17, 2))
def causal_convolutions_in_two_dimensions():
    x = Input((None, 17, 2))
    a = L.PReLU(shared_axes=[1])(L.Conv2D(4, (2, 3), (1, 2))(L.ZeroPadding2D(((1, 0), (0, 0)))(x)))
    y = L.LSTM(32, return_sequences=True)(L.Reshape((-1, 32))(L.BatchNormalization()(a)))
    y = L.Concatenate()([L.Reshape((-1, 8, 4))(y), a])
    return Model(x, L.Conv2DTranspose(2, (1, 3), (1, 2), activation="tanh")(y))


@network(("B", 12, 3), kind="h5")
def autoencoder():
    return Sequential(
        [
            Input((12, 3)),
            L.LSTM(8, return_sequences=True),
            L.LSTM(4),
            L.RepeatVector(12),
            L.LSTM(8, return_sequences=True),
            L.TimeDistributed(L.Dense(3)),
        ]
    )


@network(("B", "T", "first"))
def sentiment():
    return Sequential(
        [Input((None,)), L.Embedding(40, 6, mask_zero=True), L.LSTM(8, dropout=0.2), L.Dense(1, activation="sigmoid")]
    )


@network(("B", "T", "behind"), streams=False)
def masked_tagger():
    x = Input((None,), dtype="int32")
    y = L.SpatialDropout1D(0.2)(L.Embedding(40, 6, mask_zero=True)(x))
    y = L.LSTM(5, return_sequences=True)(L.Bidirectional(L.GRU(4, return_sequences=True))(y))
    return Model(x, [L.TimeDistributed(L.Dense(3, activation="softmax"))(y), L.GlobalAveragePooling1D()(y)])


@network(("B", "T", 6), streams=False, kind="live")
def merge_modes_and_directions():
    x = Input((None, 6))
    both = [L.Bidirectional(L.LSTM(4, return_sequences=True), merge_mode=m)(x) for m in ("sum", "mul", "ave", "concat")]
    return Model(x, [*both, L.GRU(3, go_backwards=True)(x), *L.LSTM(3, return_state=True)(x)])


@network(("B", "T", 6), ("B", 5))
def start_from_covariates():
    x, static = Input((None, 6), name="sequence"), Input((5,), name="static")
    start = [L.Dense(8, activation="tanh")(static), L.Dense(8)(static)]
    return Model([x, static], L.Dense(2)(L.LSTM(8, return_sequences=True)(x, initial_state=start)))


@network(("B", "T", 6), ("B", 5, 2), kind="live")
def encoder_decoder():
    e, d = Input((None, 6)), Input((5, 2))
    _, h, c = L.LSTM(8, return_state=True)(e)
    return Model([e, d], L.Dense(4, activation="softmax")(L.LSTM(8, return_sequences=True)(d, initial_state=[h, c])))


@network(("B", 15, 5), kind="h5")
def attention_by_repeating():
    x = Input((15, 5))
    y = L.LSTM(4, return_sequences=True)(x)
    w = L.Activation("softmax")(L.Flatten()(L.Dense(1, activation="tanh")(y)))
    return Model(x, L.Dense(3)(L.Flatten()(L.Multiply()([y, L.Permute([2, 1])(L.RepeatVector(4)(w))]))))


@network(("B", 28, 28))
def rows_of_digits():
    x = Input((28, 28))
    return Model(x, L.Dense(10, activation="softmax")(L.Dropout(0.2)(L.LSTM(16)(x))))


@network(("B", 6, 12, 10, 1))
def video():
    layers = [L.Conv2D(4, 3, activation="relu"), L.MaxPooling2D(2), L.GlobalAveragePooling2D()]
    return Sequential(
        [Input((6, 12, 10, 1)), *map(L.TimeDistributed, layers), L.GRU(8), L.Dense(4, activation="softmax")]
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NETWORKS)
def test_network(name, tmp_path):
    keras.utils.set_random_seed(1)
    build, inputs, streams, kind = NETWORKS[name]
    model = build()
    for w in model.weights:
        w.assign(w + RNG.uniform(0, 0.3, w.shape).astype("float32"))
    source = model
    if kind != "live":
        source = tmp_path / f"model.{kind}"
        model.save(source)

    def want(*arrays):
        answer = model(list(arrays) if len(arrays) > 1 else arrays[0], training=False)
        return [a.detach().numpy() for a in (answer if isinstance(answer, (list, tuple)) else [answer])]

    arrays = [[made(i, b, t) for i in inputs] for b, t in CASES]
    check(source, want, arrays, tmp_path, streams, "keras")
