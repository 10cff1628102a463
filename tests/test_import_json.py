"""JSON networks: RTNeural, AIDA-X, GuitarML, NAM, against their published answers, against torch, and hostile files."""

import json
import tracemalloc

import numpy as np
import pytest
from effort import at_once
from shared import MODELS, needs_models

import lstm_edge
from lstm_edge import reference
from lstm_edge.convert import to_graph
from lstm_edge.errors import FormatError, LstmEdgeError, UnsupportedModelError

RNG = np.random.default_rng(11)
B, T = 2, 23


def lists(*arrays):
    return [np.asarray(a).tolist() for a in arrays]


def random(*shape):
    return RNG.normal(size=shape).astype(np.float32) * 0.5


def convert(document, **options):
    return lstm_edge.convert(json.dumps(document).encode(), self_test=False, **options)


def notes(document):
    return " ".join(to_graph(json.dumps(document).encode()).metadata["notes"])


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


# ---- real files ------------------------------------------------------------------------------------------------------


@needs_models
@pytest.mark.parametrize(
    "name, key",
    [
        ("rtneural/gru", "y_published"),
        ("rtneural/lstm", "y_published"),
        ("rtneural/gru_1d", "y_published"),
        ("rtneural/lstm_1d", "y_published"),
        ("centaur/centaur", "y"),
        ("centaur/centaur_0", "y"),
    ],
)
def test_a_real_file_gives_its_published_answer(name, key):
    z, path = np.load(MODELS / f"{name}.ref.npz"), MODELS / f"{name}.json"
    graph = to_graph(path)
    x, want = z["x"].reshape(1, -1, graph.shape(graph.inputs[0].tensor)[-1]), z[key].reshape(1, -1, 1)
    outputs, _ = reference.run(graph, {"x": x})
    np.testing.assert_allclose(outputs["y"], want, rtol=0, atol=1e-5)
    model = lstm_edge.convert(path)
    np.testing.assert_allclose(model.run(x), want, rtol=0, atol=1e-5)
    stream = model.stream()
    pieces = [stream.run(np.ascontiguousarray(p)) for p in np.split(x, [1, 2, 9, 50], axis=1)]
    assert np.concatenate(pieces, 1).tobytes() == model.run(x).tobytes()


# ---- RTNeural and AIDA-X ---------------------------------------------------------------------------------------------


def rtneural(*layers, wide=3, **extra):
    return {"in_shape": [None, None, wide], "layers": list(layers), **extra}


def layer(kind, units, *weights, **extra):
    return {"type": kind, "shape": [None, None, units], "weights": lists(*weights), **extra}


def test_every_layer_of_rtneural():
    dense, conv = (random(3, 4), random(4)), (random(3, 4, 5), random(5))
    slope, norm = random(1, 5), (random(5), random(5), random(5), random(5) ** 2)
    document = rtneural(
        layer("dense", 4, *dense, activation="tanh"),
        layer("conv1d", 5, *conv, kernel_size=[3], dilation=[2], activation="relu"),
        layer("prelu", 5, slope),
        layer("batchnorm", 5, *norm, epsilon=1e-3),
        layer("activation", 5, activation="softmax"),
    )
    x = random(B, T, 3)
    h = np.tanh(x @ dense[0].astype(np.float64) + dense[1])
    past = np.concatenate([np.zeros((B, 4, 4)), h], 1)
    h = np.maximum(sum(past[:, 2 * k : 2 * k + T] @ conv[0][k] for k in range(3)) + conv[1], 0)
    h = np.where(h < 0, slope[0] * h, h)
    h = (h - norm[2]) / np.sqrt(norm[3] + 1e-3) * norm[0] + norm[1]
    want = np.exp(h) / np.exp(h).sum(-1, keepdims=True)
    np.testing.assert_allclose(convert(document).run(x), want, rtol=0, atol=1e-5)


def test_aida_x_gains_and_skip():
    """Players multiply the input, add it to the network's answer, and multiply the sum."""
    w, b = random(1, 1), random(1)
    document = rtneural(layer("dense", 1, w, b, activation=""), wide=1, in_skip=1, in_gain=6.0, out_gain=-3.0)
    x = random(B, T, 1)
    louder = x * 10 ** (6 / 20)
    want = (louder @ w + b + louder) * 10 ** (-3 / 20)
    np.testing.assert_allclose(convert(document).run(x), want, rtol=0, atol=1e-6)
    assert "input is added" in notes(document) and "6 dB" in notes(document)
    document |= {"in_skip": 0, "in_gain": 0, "out_gain": 0}
    np.testing.assert_allclose(convert(document).run(x), x @ w + b, rtol=0, atol=1e-6)


def test_a_missing_skip_is_an_assumption_that_is_noted():
    document = rtneural(layer("dense", 1, random(1, 1), random(1)), wide=1)
    assert "no in_skip" in notes(document)


@pytest.mark.parametrize("rows", [1, 2])
def test_a_gru_resets_before_or_after_by_its_bias(rows):
    h, wide = 4, 3
    kernel, recurrent, bias = random(wide, 3 * h), random(h, 3 * h), random(rows, 3 * h)
    document = rtneural(layer("gru", h, kernel, recurrent, bias if rows == 2 else bias[0]))
    x, state, want = random(B, T, wide), np.zeros((B, h)), []
    for t in range(T):
        given = x[:, t] @ kernel.astype(np.float64) + bias[0]
        fed = state @ recurrent.astype(np.float64) + (bias[1] if rows == 2 else 0)
        z, r = sigmoid(given[:, :h] + fed[:, :h]), sigmoid(given[:, h : 2 * h] + fed[:, h : 2 * h])
        inner = r * fed[:, 2 * h :] if rows == 2 else (r * state) @ recurrent[:, 2 * h :]
        state = z * state + (1 - z) * np.tanh(given[:, 2 * h :] + inner)
        want.append(state)
    np.testing.assert_allclose(convert(document).run(x), np.stack(want, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "document, message",
    [
        (rtneural({"type": "conv2d", "shape": [1]}), r"layer 0 \(conv2d\).*expected one of dense"),
        (
            rtneural(layer("dense", 4, random(3, 5), random(4))),
            r"layer 0 \(dense\): kernel: expected shape \(3, 4\), found",
        ),
        (rtneural(layer("dense", 4, random(3, 4), random(4), activation="swirl")), "activation 'swirl'"),
        (rtneural(layer("dense", 4, random(3, 4), random(4), stride=2)), "unknown entry 'stride'"),
        (rtneural(layer("lstm", 4, random(3, 16), random(5, 16), random(16))), "expected a recurrent kernel"),
        (rtneural({"type": "dense", "shape": [4], "weights": [[[1, "x"]]]}), "nested lists of finite numbers"),
        (rtneural({"type": "dense", "shape": [4], "weights": [[[1, 2], [3]]]}), "all rows of one length"),
        (rtneural(wide=3, in_skip=4), "in_skip of 4"),
        ({"in_shape": [None], "layers": []}, "in_shape: expected a whole number"),
        ({"in_shape": [3], "layers": [7]}, "not a RTNeural file"),
        ({"in_shape": [1, 2, 3, 4], "layers": []}, "conv2d"),
        ({"input": 1}, "entries 'input'.*expected RTNeural"),
    ],
)
def test_what_is_refused_is_named(document, message):
    with pytest.raises(LstmEdgeError, match=message):
        to_graph(json.dumps(document).encode())


# ---- GuitarML --------------------------------------------------------------------------------------------------------


def guitarml(module, head, **about):
    state = {f"rec.{k}": v.tolist() for k, v in module.state_dict().items()}
    state |= {f"lin.{k}": v.tolist() for k, v in head.state_dict().items()}
    described = {
        "model": "SimpleRNN",
        "input_size": module.input_size,
        "output_size": 1,
        "unit_type": module.mode.replace("RNN_TANH", "RNN"),
        "num_layers": module.num_layers,
        "hidden_size": module.hidden_size,
        "bias_fl": module.bias,
    }
    return {"model_data": described | about, "state_dict": state}


@pytest.mark.parametrize("kind, layers, knobs, bias", [("LSTM", 1, 0, True), ("GRU", 2, 1, True), ("RNN", 1, 2, False)])
def test_guitarml_agrees_with_torch(kind, layers, knobs, bias):
    torch = pytest.importorskip("torch")
    torch.manual_seed(3)
    module = getattr(torch.nn, kind)(1 + knobs, 6, layers, batch_first=True, bias=bias)
    head = torch.nn.Linear(6, 1)
    document = guitarml(module, head, skip=1)
    x = random(B, T, 1 + knobs)
    with torch.no_grad():
        want = head(module(torch.from_numpy(x))[0]).numpy() + x[..., :1]
    np.testing.assert_allclose(convert(document).run(x), want, rtol=0, atol=1e-5)
    assert "added to the answer (skip 1)" in notes(document)
    del document["model_data"]["skip"]
    np.testing.assert_allclose(convert(document).run(x), want, rtol=0, atol=1e-5)
    assert "assumed: skip 1" in notes(document)
    document["model_data"]["skip"] = 0
    np.testing.assert_allclose(convert(document).run(x), want - x[..., :1], rtol=0, atol=1e-5)


def test_guitarml_refuses_what_it_does_not_know():
    torch = pytest.importorskip("torch")
    document = guitarml(torch.nn.LSTM(1, 4, batch_first=True), torch.nn.Linear(4, 1))
    for change, message in [
        ({"unit_type": "WaveNet"}, "unit_type 'WaveNet'"),
        ({"model": "RecNet"}, "model 'RecNet'"),
        ({"conv_chans": 3}, "entry 'conv_chans'"),
        ({"hidden_size": 10**12}, "hidden_size: expected 1 to"),
        ({"hidden_size": 5}, "expected shape"),
    ]:
        with pytest.raises(LstmEdgeError, match=message):
            to_graph(json.dumps({**document, "model_data": document["model_data"] | change}).encode())
    document["state_dict"]["conv.weight"] = [1.0]
    with pytest.raises(FormatError, match="found also conv.weight"):
        to_graph(json.dumps(document).encode())


# ---- NAM -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers, width, out", [(1, 1, 1), (3, 2, 2)])
def test_nam_starts_from_the_states_in_the_file(layers, width, out):
    torch = pytest.importorskip("torch")
    torch.manual_seed(4)
    hidden = 5
    module, head = torch.nn.LSTM(width, hidden, layers, batch_first=True), torch.nn.Linear(hidden, out)
    h0, c0 = torch.randn(layers, 1, hidden), torch.randn(layers, 1, hidden)
    flat = []
    for n in range(layers):
        p = {k: getattr(module, f"{k}_l{n}").detach() for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        flat += torch.cat([p["weight_ih"], p["weight_hh"]], 1).flatten().tolist()
        flat += (p["bias_ih"] + p["bias_hh"]).tolist() + h0[n, 0].tolist() + c0[n, 0].tolist()
    flat += head.weight.flatten().tolist() + head.bias.tolist()
    config = {"input_size": width, "hidden_size": hidden, "num_layers": layers} | (
        {"out_channels": out} if out > 1 else {}
    )
    document = {
        "version": "0.5.4",
        "architecture": "LSTM",
        "config": config,
        "weights": flat,
        "sample_rate": 48000,
        "metadata": {"loudness": -18.0},
    }
    x = random(B, T, width)
    with torch.no_grad():
        states = (h0.expand(-1, B, -1).contiguous(), c0.expand(-1, B, -1).contiguous())
        want = head(module(torch.from_numpy(x), states)[0]).numpy()
    model = convert(document)
    np.testing.assert_allclose(model.run(x), want, rtol=0, atol=1e-5)
    assert model.metadata["sample_rate"] == 48000
    stream = model.stream(B)
    pieces = [stream.run(np.ascontiguousarray(p)) for p in np.split(x, [1, 4], axis=1)]
    assert np.concatenate(pieces, 1).tobytes() == model.run(x).tobytes()
    stream.reset()
    assert stream.run(x).tobytes() == model.run(x).tobytes()
    for change, message in [
        ({"weights": flat[:-1]}, "weights: expected"),
        ({"architecture": "WaveNet"}, "architecture 'WaveNet'"),
        ({"config": config | {"parametric": {}}}, "unknown entry 'parametric'"),
        ({"config": config | {"hidden_size": 2**20, "num_layers": 2**20}}, "weights: expected"),
    ]:
        with pytest.raises(LstmEdgeError, match=message):
            to_graph(json.dumps(document | change).encode())


# ---- hostile files ---------------------------------------------------------------------------------------------------

HOSTILE = {
    "nesting": b'{"in_shape":' + b"[" * 300_000,
    "nested objects": b'{"a":' * 200_000,
    "many lists": b'{"layers":[' + b"[]," * 5_000_000,
    "many numbers": b'{"weights":[' + b"0," * 8_000_000,
    "too long": b'{"a":"' + b"x" * (41 << 20),
    "many layers": b'{"in_shape":[1],"layers":[' + b'{"type":"activation"},' * 100_000 + b"{}]}",
    "infinite width": b'{"in_shape":[Infinity],"layers":[]}',
    "no number": b'{"in_shape":[NaN],"layers":[]}',
    "huge integer": b'{"in_shape":[' + b"9" * 100_000 + b'],"layers":[]}',
    "infinite weights": b'{"in_shape":[1],"layers":[{"type":"dense","shape":[1],"weights":[[[1e999]],[0]]}]}',
    "huge width": b'{"in_shape":[1e18],"layers":[]}',
    "deep weights": b'{"in_shape":[1],"layers":[{"type":"dense","shape":[1],"weights":['
    + b"[" * 60
    + b"1"
    + b"]" * 60
    + b"]}]}",
    "not utf-8": b'{"in_shape":\xff\xfe}',
    "a list": b"  {}[1]",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_ends_in_a_named_error_at_once(name, tmp_path):
    path = tmp_path / "model.json"
    path.write_bytes(HOSTILE[name])

    def refused():
        with pytest.raises((FormatError, UnsupportedModelError), match=r"model\.json"):
            to_graph(path)

    at_once(refused)
    tracemalloc.start()
    with pytest.raises(LstmEdgeError):
        to_graph(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200 << 20
