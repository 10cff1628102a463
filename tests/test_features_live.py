"""Audio features out of a live layer of Keras, against the layer itself."""

from __future__ import annotations

import numpy as np
import pytest
from test_features import signal

import lstm_edge
from lstm_edge import format, passes
from lstm_edge.around import features
from lstm_edge.errors import UnsupportedModelError
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph


def network(width: int) -> Graph:
    graph = Graph()
    graph.output("y", graph.add1("Unary", [graph.input("x", (BATCH, width, FRAMES))], {"kind": "neg"}))
    return graph


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"fft_length": 512, "sequence_stride": 160, "num_mel_bins": 40, "power_to_db": False},
        {"fft_length": 512, "sequence_length": 400, "sequence_stride": 160, "num_mel_bins": 64, "window": "hamming"},
        {"fft_length": 1024, "sequence_stride": 256, "mag_exp": 1.0, "min_freq": 100, "max_freq": 7000, "top_db": 60},
        {"fft_length": 512, "sequence_stride": 128, "sampling_rate": 8000, "num_mel_bins": 32, "min_power": 1e-6},
    ],
)
def test_a_live_layer_of_keras_is_its_table(given):
    layers = pytest.importorskip("keras").layers
    layer, graph = layers.MelSpectrogram(**given), network(given.get("num_mel_bins", 128))
    passes.pipeline(graph, dress=lambda g: features.apply(g, layer))
    want = np.asarray(layer(signal()[None]))
    found = -lstm_edge.load(format.to_bytes(graph)).run(signal()[None])
    assert found.shape == want.shape
    assert np.abs(found - want).max() < 1e-4 * np.abs(want).max()


def test_another_layer_is_refused_by_name():
    layers = pytest.importorskip("keras").layers
    with pytest.raises(
        UnsupportedModelError, match="expected keras.layers.MelSpectrogram or a table, found a layer Dense"
    ):
        features.apply(network(8), {"x": layers.Dense(2)})
