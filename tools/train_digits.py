"""Trains the model of examples/digits once: LSTM128 - Dropout - LSTM64 - Dropout - Dense10 over digits read row by row.

Needs keras, torch, onnx, onnxruntime and scikit-learn (make build EXTRAS=dev,frameworks). Writes digits.keras, the same
weights as digits.onnx and digits.pt, and the images that training never saw as test.npz and test.csv.

    python tools/train_digits.py
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SEED = 20
FOLDER = Path(__file__).parents[1] / "examples" / "digits"
MAX_PIXEL = 16.0


def build_model() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((None, 8), name="rows"),
            keras.layers.LSTM(128, return_sequences=True),
            keras.layers.Dropout(0.3),
            keras.layers.LSTM(64),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(10, activation="softmax"),
        ],
        name="digits",
    )


def lstm_weights(layer: keras.layers.LSTM) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W (4H, I), R (4H, H) and b (4H), gates i, f, g, o."""
    kernel, recurrent, bias = layer.get_weights()
    return kernel.T, recurrent.T, bias


def iofg(array: np.ndarray) -> np.ndarray:
    """Keras' gates i, f, g, o in ONNX's order i, o, f, c."""
    i, f, g, o = np.split(array, 4)
    return np.concatenate([i, o, f, g])


def onnx_lstm(name: str, layer: keras.layers.LSTM, x: str, outputs: list[str]) -> tuple[list, list]:
    w, r, b = lstm_weights(layer)
    arrays = {"W": iofg(w)[None], "R": iofg(r)[None], "B": np.concatenate([iofg(b), np.zeros_like(b)])[None]}
    weights = [numpy_helper.from_array(np.ascontiguousarray(a), f"{name}.{k}") for k, a in arrays.items()]
    node = helper.make_node("LSTM", [x, *[w.name for w in weights]], outputs, name=name, hidden_size=layer.units)
    return [node], weights


def to_onnx(model: keras.Model) -> onnx.ModelProto:
    """rows (batch, frames, 8) -> probabilities (batch, 10), opset 17."""
    first, second, dense = (layer for layer in model.layers if layer.weights)
    nodes1, weights1 = onnx_lstm("lstm", first, "frames_first", ["y1"])
    nodes2, weights2 = onnx_lstm("lstm_1", second, "y1_flat", ["", "h2"])
    kernel, bias = dense.get_weights()
    weights = [numpy_helper.from_array(a, n) for a, n in ((kernel, "dense.kernel"), (bias, "dense.bias"))]
    weights += [numpy_helper.from_array(np.array([a]), f"axis{a}") for a in (0, 1)]
    nodes = [
        helper.make_node("Transpose", ["rows"], ["frames_first"], perm=[1, 0, 2]),
        *nodes1,
        helper.make_node("Squeeze", ["y1", "axis1"], ["y1_flat"]),
        *nodes2,
        helper.make_node("Squeeze", ["h2", "axis0"], ["h"]),
        helper.make_node("Gemm", ["h", "dense.kernel", "dense.bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", "frames", 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])],
        weights1 + weights2 + weights,
    )
    exported = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(exported)
    return exported


def to_state_dict(model: keras.Model) -> dict[str, torch.Tensor]:
    """The state dict of nn.LSTM `lstm1`, nn.LSTM `lstm2`, nn.Linear `dense`."""
    first, second, dense = (layer for layer in model.layers if layer.weights)
    state: dict[str, np.ndarray] = {}
    for name, layer in (("lstm1", first), ("lstm2", second)):
        w, r, b = lstm_weights(layer)
        state |= {f"{name}.weight_ih_l0": w, f"{name}.weight_hh_l0": r}
        state |= {f"{name}.bias_ih_l0": b, f"{name}.bias_hh_l0": np.zeros_like(b)}
    kernel, bias = dense.get_weights()
    state |= {"dense.weight": kernel.T, "dense.bias": bias}
    return {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in state.items()}


def torch_probabilities(state: dict[str, torch.Tensor], images: np.ndarray) -> np.ndarray:
    module = torch.nn.ModuleDict(
        {
            "lstm1": torch.nn.LSTM(8, 128, batch_first=True),
            "lstm2": torch.nn.LSTM(128, 64, batch_first=True),
            "dense": torch.nn.Linear(64, 10),
        }
    )
    module.load_state_dict(state)
    with torch.no_grad():
        y, _ = module["lstm1"](torch.from_numpy(images))
        _, (h, _) = module["lstm2"](y)
        return torch.softmax(module["dense"](h[0]), -1).numpy()


def main() -> None:
    keras.utils.set_random_seed(SEED)
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8).astype(np.uint8)
    train, test, train_labels, test_labels = train_test_split(
        images, labels, test_size=0.2, random_state=SEED, stratify=labels
    )
    x, x_test = train.astype(np.float32) / MAX_PIXEL, test.astype(np.float32) / MAX_PIXEL

    model = build_model()
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    for rate, epochs in ((2e-3, 25), (5e-4, 15)):
        model.optimizer.learning_rate = rate
        model.fit(x, train_labels, batch_size=32, epochs=epochs, verbose=2)
    expected = model.predict(x_test, verbose=0)
    accuracy = float((expected.argmax(-1) == test_labels).mean())
    print(f"accuracy on {len(test)} images never seen: {accuracy:.4f}")
    if accuracy <= 0.97:
        raise SystemExit("error: expected an accuracy above 0.97")

    FOLDER.mkdir(parents=True, exist_ok=True)
    model.save(FOLDER / "digits.keras")
    onnx.save(to_onnx(model), FOLDER / "digits.onnx")
    state = to_state_dict(model)
    torch.save(state, FOLDER / "digits.pt")
    np.savez_compressed(FOLDER / "test.npz", images=test, labels=test_labels.astype(np.uint8))
    table = np.concatenate([test_labels[:, None], test.reshape(len(test), 64)], axis=1)
    header = ",".join(["label", *[f"pixel{n}" for n in range(64)]])
    np.savetxt(FOLDER / "test.csv", table, fmt="%d", delimiter=",", header=header, comments="")
    seven = x_test[test_labels == 7][0]
    np.savetxt(FOLDER / "seven.csv", seven, fmt="%g", delimiter=",")

    session = onnxruntime.InferenceSession(FOLDER / "digits.onnx")
    for name, found in (
        ("onnx", session.run(None, {"rows": x_test})[0]),
        ("torch", torch_probabilities(state, x_test)),
    ):
        print(f"{name}: largest difference from keras {np.abs(found - expected).max():.2g}")
        np.testing.assert_allclose(found, expected, atol=1e-5)


if __name__ == "__main__":
    main()
