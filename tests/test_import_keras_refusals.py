"""What the Keras importer refuses, by name; damaged and hostile files."""

from __future__ import annotations

import io
import re
import zipfile

import numpy as np
import pytest
from effort import at_once
from keras_helpers import LSTM_WEIGHTS, h5_file, keras_zip, normal, two_lstms

from lstm_edge.errors import FormatError, LstmEdgeError, ShapeError, UnsupportedModelError
from lstm_edge.importers.keras.model import read

h5py = pytest.importorskip("h5py")


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
        (("ConvLSTM3D", "cl", {"filters": 2}, {}), UnsupportedModelError, "'cl'.*ConvLSTM3D"),
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


def test_all_that_is_unsupported_is_named_at_once():
    model = sequential(
        ("Lambda", "lam", {}, {}),
        ("LSTM", "l", {"units": 5, "activation": "softmax", "return_sequences": True}, LSTM_WEIGHTS),
        ("Mine>Attention", "att", {}, {}),
        ("Dense", "d", {"units": 2, "activation": "my_function"}, {"kernel": normal(5, 2), "bias": normal(2)}),
    )
    with pytest.raises(UnsupportedModelError) as refused:
        read(model)
    lines = str(refused.value).splitlines()
    assert [re.match(r"layer '(\w+)'", line)[1] for line in lines] == ["lam", "l", "att", "d"]
    assert "train the layer with such a one, and apply softmax in a layer behind it" in lines[1]


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
