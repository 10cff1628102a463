"""The five networks of textbooks, as examples/textbook writes them in Keras: what they convert to, and what they answer."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
from shared import ROOT

import lstm_edge as le

keras = pytest.importorskip("keras")
pytest.importorskip("sklearn")

OPS = {
    "sine": ["LSTM", "Dense"],
    "stacked": ["LSTM", "LSTM", "Dense"],
    "per_frame": ["LSTM", "Dense"],
    "image_rows": ["LSTM", "LSTM", "Dense"],
    "text": ["LSTM", "Dense"],
}


@pytest.fixture
def textbook(monkeypatch):
    """A network's script by its name, as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "textbook"))
    names = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) & set(OPS) - names:
        del sys.modules[name]


@pytest.mark.parametrize("name", OPS)
def test_network(name, textbook, tmp_path):
    """After an epoch on little data: the file's ops, Keras's answers, and a stream's bits."""
    script = textbook(name)
    network, x, y = script.train(epochs=1, examples=60)
    model = le.convert(network, tmp_path / "network.lstm")
    assert [op for op, _ in model.ops if op in ("LSTM", "Dense")] == OPS[name]
    ours, theirs = model.run(x), network.predict(x, verbose=0)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    assert script.score(y, ours)
    stream = model.stream()
    stepped = np.stack([stream.step(frame) for frame in x[0]])
    np.testing.assert_array_equal(stepped if ours.ndim == 3 else stepped[-1], ours[0])


def test_time_distributed_and_dense_convert_to_the_same(textbook):
    script = textbook("per_frame")
    one, other = script.build(), script.build(time_distributed=False)
    other.set_weights(one.get_weights())
    a, b = (le.convert(network) for network in (one, other))
    x = script.data()[0][:3]
    assert [op for op, _ in a.ops] == [op for op, _ in b.ops]
    np.testing.assert_array_equal(a.run(x), b.run(x))
