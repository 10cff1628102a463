"""What the tests of the Keras importer share: Keras models run beside their graphs, old files made by hand."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

from lstm_edge import reference
from lstm_edge.importers.keras.model import read

h5py = pytest.importorskip("h5py")


RNG = np.random.default_rng(7)


def run(graph, *inputs):
    """Outputs in order; inputs in the graph's order, cast to its dtypes."""
    feeds = {p.name: np.asarray(x) for p, x in zip(graph.inputs, inputs)}
    outputs, _ = reference.run(graph, feeds)
    return [outputs[p.name] for p in graph.outputs]


def randomise(model):
    """Every weight random, so that none is neutral; variances positive."""
    for v in model.weights:
        values = RNG.normal(0, 0.4, v.shape)
        v.assign(np.abs(values) + 0.5 if "variance" in v.path else values)


def sample(model, frames):
    """One input per graph input: tokens below 6 for integers."""
    xs = []
    for t in model.inputs:
        shape = [3] + [frames if s is None else s for s in t.shape[1:]]
        xs.append(RNG.integers(0, 6, shape) if "int" in str(t.dtype) else RNG.normal(0, 1, shape).astype(np.float32))
    return xs


def close(found, wanted, atol=1e-5):
    assert len(found) == len(wanted)
    for f, w in zip(found, wanted):
        assert f.shape == w.shape
        np.testing.assert_allclose(f, w, rtol=0, atol=atol * max(1.0, float(np.abs(w).max(initial=0.0))))


def check(model, tmp_path, xs=None, frames=7, free=True, h5=True):
    """The model live, as .keras and as .h5 gives Keras's own answers; returns the live graph."""
    randomise(model)
    xs = xs or sample(model, frames)
    wanted = [np.asarray(w) for w in _flat(model.predict(xs if len(xs) > 1 else xs[0], verbose=0))]
    paths = [tmp_path / "m.keras"] + [tmp_path / "m.h5"] * h5
    graphs = [read(model)]
    for path in paths:
        model.save(path)
        graphs.append(read(path))
    for graph in graphs:
        close(run(graph, *xs), wanted)
        assert any(graph.time_axis(p.tensor) >= 0 for p in graph.inputs) == free, graph.metadata["notes"]
    return graphs[0]


def _flat(item):
    if isinstance(item, dict):
        item = list(item.values())
    return [v for i in item for v in _flat(i)] if isinstance(item, (list, tuple)) else [item]


def stack(*layers, shape=(None, 5), dtype=None):
    return lambda k: k.Sequential([k.Input(shape, dtype=dtype), *(layer(k.layers) for layer in layers)])


def merged(make, shapes=((None, 4), (None, 4))):
    def build(k):
        inputs = [k.Input(s) for s in shapes]
        return k.Model(inputs, make(k.layers)(inputs))

    return build


def graph_of(make, shape=(None, 4)):
    def build(k):
        x = k.Input(shape)
        return k.Model(x, make(k, x))

    return build


def tokens(pre):
    """Token rows with padding 0 before or after, one row without, one with a hole."""
    ids = RNG.integers(1, 6, (4, 8))
    ids[0, :3], ids[1, :1], ids[2, 4] = 0, 0, 0
    return ids if pre else ids[:, ::-1].copy()


def h5_file(layers, version, backend="tensorflow", style="{layer}/{weight}:0", model=None):
    """The bytes of a Keras HDF5 model. `layers`: [(class, config, {weight name: array})]; `model` overrides the
    config."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as f:
        config = model or {"class_name": "Sequential", "config": [{"class_name": c, "config": o} for c, o, _ in layers]}
        f.attrs["model_config"] = json.dumps(config).encode()
        if version:
            f.attrs["keras_version"] = version.encode()
        f.attrs["backend"] = backend.encode()
        root = f.create_group("model_weights")
        root.attrs["layer_names"] = [o["name"].encode() for _, o, _ in layers]
        for _, options, weights in layers:
            group = root.create_group(options["name"])
            names = [style.format(layer=options["name"], weight=w) for w in weights]
            group.attrs["weight_names"] = [n.encode() for n in names]
            for name, array in zip(names, weights.values()):
                group[name] = array
    return stream.getvalue()


def normal(*shape):
    return RNG.normal(0, 0.5, shape).astype(np.float32)


def hard_sigmoid_2(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_lstm(x, kernel, recurrent, bias, gate):
    """Last h of a Keras LSTM, gates i f c o."""
    h = c = np.zeros((len(x), recurrent.shape[0]))
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        c = gate(f) * c + gate(i) * np.tanh(g)
        h = gate(o) * np.tanh(c)
    return h


def numpy_gru(x, kernel, recurrent, bias, gate):
    """Last h of a Keras GRU with reset before, gates z r h."""
    n = recurrent.shape[0]
    h = np.zeros((len(x), n))
    for t in range(x.shape[1]):
        a = x[:, t] @ kernel + bias
        z, r = gate(a[:, :n] + h @ recurrent[:, :n]), gate(a[:, n : 2 * n] + h @ recurrent[:, n : 2 * n])
        h = z * h + (1 - z) * np.tanh(a[:, 2 * n :] + (r * h) @ recurrent[:, 2 * n :])
    return h


X = RNG.normal(0, 1, (3, 6, 4)).astype(np.float32)


LSTM_WEIGHTS = {"kernel": normal(4, 20), "recurrent_kernel": normal(5, 20), "bias": normal(20)}


GRU_WEIGHTS = {"kernel": normal(4, 15), "recurrent_kernel": normal(5, 15), "bias": normal(15)}


def keras_zip(config, arrays, version="2.13.1", names=()):
    """The bytes of a .keras zip. `arrays`: {key in the weights file: array}, keys cut at '/' alone."""
    weights = io.BytesIO()
    with h5py.File(weights, "w") as f:
        for key, array in arrays.items():
            f[key] = array
        for group, name in names:
            f[group].attrs["name"] = name
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as z:
        z.writestr("config.json", json.dumps(config))
        z.writestr("metadata.json", json.dumps({"keras_version": version}))
        z.writestr("model.weights.h5", weights.getvalue())
    return stream.getvalue()


def two_lstms(names=("lstm_8", "lstm_9")):
    layers = [
        {
            "module": "keras.layers",
            "class_name": "InputLayer",
            "config": {"batch_input_shape": [None, 6, 4], "name": "x"},
        }
    ]
    layers += [
        {
            "module": "keras.layers",
            "class_name": "LSTM",
            "registered_name": None,
            "config": {
                "name": n,
                "units": 5,
                "activation": "tanh",
                "recurrent_activation": "sigmoid",
                "return_sequences": s,
                "trainable": True,
            },
        }
        for n, s in zip(names, (True, False))
    ]
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": layers}}
