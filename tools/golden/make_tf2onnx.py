"""Makes tests/golden/onnx: small Keras networks as tf2onnx writes them, each with an input and TensorFlow's answer.

Needs tensorflow, tf_keras and tf2onnx: python tools/golden/make_tf2onnx.py tests/golden/onnx
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", TF_USE_LEGACY_KERAS="1")

import numpy as np
import tensorflow as tf
import tf2onnx
import tf_keras as keras

L = keras.layers
WIDTH = 3
OPSET = 13


def case(name: str, *layers, frames: int | None = None) -> tuple:
    return name, layers, frames


CASES = [
    case("lstm_hard_sigmoid", L.LSTM(4, recurrent_activation="hard_sigmoid", return_sequences=True)),
    case("lstm_relu", L.LSTM(4, activation="relu", return_sequences=True), L.Dense(2)),
    case("lstm_elu", L.LSTM(4, activation="elu", recurrent_activation="hard_sigmoid", return_sequences=True)),
    case("lstm_backwards", L.LSTM(4, activation="softsign", go_backwards=True, return_sequences=True)),
    case("lstm_masked", L.Masking(), L.LSTM(4, return_sequences=True)),
    case("lstm_masked_last", L.Masking(), L.LSTM(4)),
    case("lstm_masked_zeros", L.Masking(), L.LSTM(4, return_sequences=True, zero_output_for_mask=True)),
    case("bigru_masked", L.Masking(), L.Bidirectional(L.GRU(3, return_sequences=True))),
    case("bilstm_masked_fixed", L.Masking(), L.Bidirectional(L.LSTM(3, return_sequences=True)), frames=6),
    case(
        "gru_masked_backwards",
        L.Masking(),
        L.GRU(3, reset_after=False, go_backwards=True, return_sequences=True, zero_output_for_mask=True),
    ),
    case("gru_reset_before", L.GRU(4, reset_after=False, return_sequences=True)),
    case("gru_hard_sigmoid", L.GRU(4, recurrent_activation="hard_sigmoid", return_sequences=True)),
    case("gru_relu_last", L.GRU(4, activation="relu", reset_after=False)),
    case("simple_rnn", L.SimpleRNN(4, return_sequences=True)),
    case("simple_rnn_relu_last", L.SimpleRNN(4, activation="relu")),
    case("bilstm", L.Bidirectional(L.LSTM(4, return_sequences=True))),
    case(
        "bilstm_relu_hard_sigmoid",
        L.Bidirectional(L.LSTM(4, activation="relu", recurrent_activation="hard_sigmoid", return_sequences=True)),
    ),
    case("bilstm_elu", L.Bidirectional(L.LSTM(4, activation="elu", return_sequences=True))),
    case("bigru_last", L.Bidirectional(L.GRU(3, recurrent_activation="hard_sigmoid"))),
    case(
        "stack_fixed_frames", L.LSTM(4, activation="elu", return_sequences=True), L.GRU(3, reset_after=False), frames=6
    ),
    case("lstm_unrolled", L.LSTM(4, unroll=True, return_sequences=True), frames=4),
]


def make(folder: Path, name: str, layers: tuple, frames: int | None) -> None:
    rng = np.random.default_rng(0)
    inputs = outputs = keras.Input((frames, WIDTH))
    for layer in layers:
        outputs = layer(outputs)
    model = keras.Model(inputs, outputs)
    model.set_weights([rng.normal(0, 0.6, w.shape).astype(np.float32) for w in model.get_weights()])
    spec = (tf.TensorSpec((None, frames, WIDTH), tf.float32, name="x"),)
    tf2onnx.convert.from_keras(model, input_signature=spec, opset=OPSET, output_path=str(folder / f"{name}.onnx"))
    x = rng.normal(size=(2, frames or 7, WIDTH)).astype(np.float32)
    if "masked" in name:
        x[0, 3:5], x[1, 5:] = 0, 0
    np.savez(folder / f"{name}.npz", x=x, y=model(x).numpy())


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for row in CASES:
        make(target, *row)
