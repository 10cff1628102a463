"""A Keras network in two files: model.to_json() and save_weights()."""

from __future__ import annotations

import json

import numpy as np
import pytest
from keras_helpers import LSTM_WEIGHTS, RNG, X, close, hard_sigmoid_2, numpy_lstm, randomise, run

import lstm_edge
from lstm_edge.errors import FormatError, UnsupportedModelError
from lstm_edge.importers import registry
from lstm_edge.importers.keras.model import read
from lstm_edge.ir.notes import assumptions

h5py = pytest.importorskip("h5py")


@pytest.fixture
def pair(keras, tmp_path):
    """(architecture, weights, an input, Keras's answer)."""
    L = keras.layers
    x = keras.Input((7, 5))
    y = L.Bidirectional(L.LSTM(4, return_sequences=True))(x)
    model = keras.Model(x, L.Dense(2)(L.GRU(3)(L.Add()([y, L.Dense(8)(y)]))))
    randomise(model)
    architecture, weights = tmp_path / "net.json", tmp_path / "net.weights.h5"
    architecture.write_text(model.to_json())
    model.save_weights(weights)
    sample = RNG.normal(0, 1, (3, 7, 5)).astype(np.float32)
    return architecture, weights, sample, model.predict(sample, verbose=0)


def test_weights_with_their_architecture(pair):
    architecture, weights, x, wanted = pair
    for given in (architecture, str(architecture), json.loads(architecture.read_text())):
        close(run(read(weights, architecture=given), x), [wanted])
    close(run(read(weights.read_bytes(), architecture=architecture), x), [wanted])
    assert not assumptions(read(weights, architecture=architecture).metadata)


def test_an_architecture_finds_the_weights_of_its_name(pair, tmp_path):
    architecture, weights, x, wanted = pair
    assert registry.kind_of(architecture) == "keras"
    graph = read(architecture)
    close(run(graph, x), [wanted])
    assert assumptions(graph.metadata) == ["the weights of net.json are those of net.weights.h5, which lies beside it"]
    for source, options in ((architecture, {}), (weights, {"architecture": architecture})):
        model = lstm_edge.convert(source, tmp_path / "net.lstm", **options)
        np.testing.assert_allclose(model.run(x), wanted, atol=1e-5)
        assert lstm_edge.verify(tmp_path / "net.lstm").source.startswith("keras 3")
    (tmp_path / "net.h5").write_bytes(weights.read_bytes())
    with pytest.raises(UnsupportedModelError, match=r"beside it lie net.weights.h5, net.h5.*architecture='net.json'"):
        read(architecture)


def test_one_file_without_the_other(pair, tmp_path):
    architecture, weights, _, _ = pair
    with pytest.raises(UnsupportedModelError, match="weights without a network.*architecture='net.json'"):
        read(weights)
    weights.rename(tmp_path / "elsewhere.h5")
    with pytest.raises(UnsupportedModelError, match="without its weights .beside it lie elsewhere.h5"):
        read(architecture)


def test_json_written_twice_and_a_bare_config(pair):
    architecture, weights, x, wanted = pair
    text = architecture.read_text()
    architecture.write_text(json.dumps(text))
    assert registry.kind_of(architecture) == "keras"
    close(run(read(architecture), x), [wanted])
    architecture.write_text(json.dumps(json.loads(text)["config"]))
    close(run(read(weights, architecture=architecture), x), [wanted])


def test_what_is_no_architecture(pair, tmp_path):
    architecture, weights, _, _ = pair
    with pytest.raises(FormatError, match="net.json: expected the weights of"):
        read(architecture, architecture=architecture)
    architecture.write_text('{"in_shape": [1], "layers": 3}')
    with pytest.raises(FormatError, match="net.json: expected the architecture of a Keras model.*'in_shape'"):
        read(weights, architecture=architecture)
    architecture.write_text('{"class_name": ')
    with pytest.raises(FormatError, match="net.json: not readable JSON"):
        read(weights, architecture=architecture)


def test_masks_of_an_unknown_keras_3(keras, tmp_path):
    """Since 3.4 they are joined anew, and neither file names a version."""
    L = keras.layers
    tokens = keras.Input((7,), dtype="int32")
    a, b = (L.Embedding(6, 4, mask_zero=True)(tokens) for _ in range(2))
    model = keras.Model(tokens, L.LSTM(3)(L.Add()([a, b])))
    architecture = json.loads(model.to_json())
    model.save_weights(tmp_path / "net.weights.h5")
    graph = read(tmp_path / "net.weights.h5", architecture=architecture)
    assert any("Keras 3.4 or later made the model" in text for text in assumptions(graph.metadata))


@pytest.mark.parametrize("said", ["architecture", "weights", "neither"])
def test_weights_of_keras_2(tmp_path, said):
    """Its save_weights lists layers and weights by name; hard_sigmoid had another slope."""
    options = {"name": "lstm_1", "units": 5, "recurrent_activation": "hard_sigmoid", "batch_input_shape": [None, 6, 4]}
    config = {"class_name": "Sequential", "config": [{"class_name": "LSTM", "config": options}]}
    about = {"keras_version": "2.2.4", "backend": "tensorflow"}
    weights, architecture = tmp_path / "model_weights.h5", tmp_path / "model.json"
    architecture.write_text(json.dumps({**config, **(about if said == "architecture" else {})}))
    with h5py.File(weights, "w") as f:
        f.attrs.update({"layer_names": [b"lstm_1"], **(about if said == "weights" else {})})
        f.create_group("lstm_1").attrs["weight_names"] = [f"lstm_1/{w}:0".encode() for w in LSTM_WEIGHTS]
        for name, array in LSTM_WEIGHTS.items():
            f[f"lstm_1/lstm_1/{name}:0"] = array
    graph = read(architecture)
    close(run(graph, X), [numpy_lstm(X, *LSTM_WEIGHTS.values(), hard_sigmoid_2)])
    assert graph.metadata["source"]["producer"] == ("keras 2" if said == "neither" else "keras 2.2.4")
    assert any("last Keras 2 wrote" in text for text in assumptions(graph.metadata)) == (said == "neither")
