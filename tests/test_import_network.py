"""Networks described in TOML over weights: the language against an oracle in NumPy, real weights, hostile files."""

import io
import json
import pickle
import struct
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from effort import at_once
from g2p import G2P
from shared import EXAMPLES, MODELS, needs_models

import lstm_edge
from lstm_edge import reference
from lstm_edge.convert import to_graph
from lstm_edge.errors import FormatError, LstmEdgeError, UnsupportedModelError
from lstm_edge.importers.network.weights import read_weights

RNG = np.random.default_rng(21)
B, T, WIDE, H = 2, 9, 3, 4


def random(*shape):
    return RNG.normal(size=shape).astype(np.float32) * 0.6


def run(weights, layers, x, *, convention="torch", outputs=None, **top):
    """The answers of the C core, which agree with the reference's."""
    shape = ["batch", "frames", *x.shape[2:]]
    network = {
        "convention": convention,
        "inputs": {"x": {"shape": shape, "dtype": str(x.dtype)}},
        "layer": layers,
        **({"outputs": outputs} if outputs else {}),
        **top,
    }
    graph = to_graph(weights, network=network)
    wanted, _ = reference.run(graph, {"x": x})
    got = lstm_edge.convert(weights, network=network, self_test=False).run(x)
    got = got if isinstance(got, dict) else {graph.outputs[0].name: got}
    for name, value in got.items():
        np.testing.assert_allclose(value, wanted[name], rtol=0, atol=1e-5, err_msg=name)
    return got if outputs and len(outputs) > 1 else next(iter(got.values()))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(x, w, u, b, peephole=None, h=None, c=None, forget_bias=0.0, act=np.tanh):
    """Gate by gate: w, u, b by letter; peephole by letter, (H,) or (H,H)."""
    p = peephole or {}
    h, c = (np.zeros((len(x), H)) if s is None else np.tile(s, (len(x), 1)).astype(np.float64) for s in (h, c))
    w, u, b = ({g: np.asarray(v, np.float64) for g, v in d.items()} for d in (w, u, b))

    def seen(g, cell):
        if g not in p:
            return 0.0
        return cell * p[g] if p[g].ndim == 1 else cell @ p[g].T.astype(np.float64)

    frames = []
    for t in range(x.shape[1]):
        a = {g: x[:, t] @ w[g].T + h @ u[g].T + b.get(g, 0.0) for g in w}
        f = sigmoid(a["f"] + seen("f", c) + forget_bias) if "f" in a else None
        i = sigmoid(a["i"] + seen("i", c)) if "i" in a else 1 - f
        f = 1 - i if f is None else f
        c = f * c + i * act(a["g"] + seen("g", c))
        h = sigmoid(a["o"] + seen("o", c)) * act(c)
        frames.append(h)
    return np.stack(frames, 1)


def gates(letters="ifgo"):
    w, u, b = ({g: random(H, k) for g in letters} for k in (WIDE, H, 1))
    return w, u, {g: v[:, 0] for g, v in b.items()}


def named(prefix, blocks):
    return {f"{prefix}{g}": v for g, v in blocks.items()}, {g: f"{prefix}{g}" for g in blocks}


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


# ---- recurrences -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["ifgo", "ifog", "iofg", "gfio", "ogif"])
@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_any_gate_order_in_either_layout(order, layout):
    w, u, b = gates()
    arrays = {k: np.concatenate([d[g] for g in order]) for k, d in (("w", w), ("u", u), ("b", b))}
    if layout == "columns":
        arrays |= {"w": arrays["w"].T, "u": arrays["u"].T}
    spelled = order.replace("g", "c")  # Keras calls the candidate c
    one = {"type": "lstm", "kernel": "w", "recurrent": "u", "bias": "b", "gates": spelled, "layout": layout}
    x = random(B, T, WIDE)
    close(run(arrays, [one], x), lstm(x, w, u, b))


@pytest.mark.parametrize("joined", ["xh", "hx"])
def test_joined_weights_with_the_forget_bias_of_tensorflow_1(joined):
    """BasicLSTMCell: one kernel over [x, h] in columns, gates i j f o, and 1 added to f at run time."""
    w, u, b = gates()
    parts = [np.concatenate([d[g] for g in "igfo"]) for d in ((w, u) if joined == "xh" else (u, w))]
    arrays = {"cell/kernel": np.concatenate(parts, 1).T, "cell/bias": np.concatenate([b[g] for g in "igfo"])}
    one = {"type": "lstm", "weights": "cell", "joined": joined, "gates": "ijfo", "forget_bias": 1.0}
    x = random(B, T, WIDE)
    close(run(arrays, [one], x, convention="keras"), lstm(x, w, u, b, forget_bias=1.0))
    unbiased = {k: v for k, v in arrays.items() if "bias" not in k}
    close(run(unbiased, [one], x, convention="keras"), lstm(x, w, u, {}, forget_bias=1.0))


@pytest.mark.parametrize("with_cc", [False, True])
@pytest.mark.parametrize("form", ["diagonal", "full", "full columns", "packed diagonal", "packed full"])
def test_peepholes_gate_by_gate(form, with_cc):
    """i and f see the cell before the update, o the one after it, and with W_cc the candidate sees the one before."""
    w, u, b = gates()
    order = "ifog" if with_cc else "ifo"
    p = {g: random(H) if "diagonal" in form else random(H, H) for g in order}
    arrays, keys = {}, {}
    for key, blocks in (("kernel", w), ("recurrent", u), ("bias", b)):
        found, keys[key] = named(f"{key}_", blocks)
        arrays |= found
    if "packed" in form:
        packed = "".join(reversed(order))
        arrays["p"], keys["peephole"] = np.concatenate([p[g] for g in packed]), "p"
        keys["peephole_gates"] = packed
    else:
        found, keys["peephole"] = named("W_c", p)
        arrays |= found
    if form == "full columns":
        arrays = {k: v.T if v.ndim == 2 else v for k, v in arrays.items()}
        keys["layout"] = "columns"
    x = random(B, T, WIDE)
    close(run(arrays, [{"type": "lstm", **keys}], x), lstm(x, w, u, b, p))


@pytest.mark.parametrize("coupled, dependent", [("f=1-i", "f"), ("i=1-f", "i")])
def test_a_coupled_gate_needs_no_weights(coupled, dependent):
    letters = "ifgo".replace(dependent, "")
    w, u, b = gates(letters)
    arrays = {k: np.concatenate([d[g] for g in letters]) for k, d in (("w", w), ("u", u), ("b", b))}
    one = {"type": "lstm", "kernel": "w", "recurrent": "u", "bias": "b", "gates": letters, "coupled": coupled}
    x = random(B, T, WIDE)
    close(run(arrays, [one], x), lstm(x, w, u, b))


def test_activations_by_gate():
    w, u, b = gates()
    arrays = {k: np.concatenate([d[g] for g in "ifgo"]) for k, d in (("w", w), ("u", u), ("b", b))}
    one = {"type": "lstm", "kernel": "w", "recurrent": "u", "bias": "b", "activations": {"g": "relu", "h": "relu"}}
    x = random(B, T, WIDE)
    close(run(arrays, [one], x), lstm(x, w, u, b, act=lambda v: np.maximum(v, 0)))
    one["activations"] = {"i": "hard_sigmoid"}
    with pytest.raises(UnsupportedModelError, match=r"hard_sigmoid needs alpha.*Keras 2: alpha 0\.2"):
        run(arrays, [one], x)


def test_initial_states_from_the_weights_start_every_stream():
    w, u, b = gates()
    arrays = {k: np.concatenate([d[g] for g in "ifgo"]) for k, d in (("w", w), ("u", u), ("b", b))}
    arrays |= {"h": random(H), "c": random(1, H)}
    one = {"type": "lstm", "kernel": "w", "recurrent": "u", "bias": "b", "initial_h": "h", "initial_c": "c"}
    x = random(B, T, WIDE)
    want = lstm(x, w, u, b, h=arrays["h"], c=arrays["c"][0])
    close(run(arrays, [one], x), want)
    both = {"type": "lstm", "direction": "bidirectional", "initial_h": "h2"} | {
        k: [v, v] for k, v in one.items() if k in ("kernel", "recurrent", "bias")
    }
    h2 = np.stack([arrays["h"], arrays["c"][0]])
    two = run({**{k: arrays[k] for k in "wub"}, "h2": h2}, [both], x)
    close(two[..., :H], lstm(x, w, u, b, h=h2[0]))
    close(two[..., H:], lstm(x[:, ::-1], w, u, b, h=h2[1])[:, ::-1])


@pytest.mark.parametrize(
    "kind, layers, both", [("LSTM", 2, True), ("GRU", 3, False), ("RNN", 1, True), ("LSTM", 1, False)]
)
def test_a_prefix_of_torch_holds_a_stack(kind, layers, both):
    torch = pytest.importorskip("torch")
    torch.manual_seed(5)
    module = getattr(torch.nn, kind)(WIDE, H, layers, bidirectional=both, batch_first=True)
    arrays = {f"net.rec.{k}": v.numpy() for k, v in module.state_dict().items()}
    x = random(B, T, WIDE)
    with torch.no_grad():
        y, h = module(torch.from_numpy(x))
    h = (h[0] if kind == "LSTM" else h)[-1 - both :]
    close(run(arrays, [{"type": kind.lower(), "weights": "net.rec"}], x), y.numpy())
    last = {"type": kind.lower(), "weights": "net.rec", "returns": "last"}
    close(run(arrays, [last], x), torch.cat(tuple(h), -1).numpy())


def test_a_projection_and_merged_directions():
    torch = pytest.importorskip("torch")
    torch.manual_seed(6)
    module = torch.nn.LSTM(WIDE, H, proj_size=2, bidirectional=True, batch_first=True)
    arrays = {f"rec.{k}": v.numpy() for k, v in module.state_dict().items()}
    x = random(B, T, WIDE)
    with torch.no_grad():
        y = module(torch.from_numpy(x))[0].numpy()
    forward, backward = y[..., :2], y[..., 2:]
    for merge, want in (
        ("concat", y),
        ("sum", forward + backward),
        ("mul", forward * backward),
        ("average", (forward + backward) / 2),
    ):
        close(run(arrays, [{"type": "lstm", "weights": "rec", "merge": merge}], x), want)


@pytest.mark.parametrize("kind, gates", [("lstm", 4), ("gru", 3)])
def test_weights_of_cudnn_layers(kind, gates):
    """CuDNNLSTM and CuDNNGRU keep every gate as (units, inputs) in the memory of (inputs, units), and two biases."""
    kernel, recurrent, bias = random(WIDE, gates * H), random(H, gates * H), random(2, gates * H)
    plain = {
        "r/kernel:0": kernel,
        "r/recurrent_kernel:0": recurrent,
        "r/bias:0": bias if kind == "gru" else bias.sum(0),
    }
    cudnn = {
        "r/kernel:0": np.concatenate([k.T.reshape(k.shape) for k in np.split(kernel, gates, 1)], 1),
        "r/recurrent_kernel:0": np.concatenate([k.T for k in np.split(recurrent, gates, 1)], 1),
        "r/bias:0": bias.ravel(),
    }
    x, layers = random(B, T, WIDE), [{"type": kind, "weights": "r"}]
    wanted = run(plain, layers, x, convention="keras")
    close(run(cudnn, layers, x, convention="keras"), wanted)
    apart = [{"type": kind, "kernel": "r/kernel:0", "recurrent": "r/recurrent_kernel:0", "bias": "r/bias:0"}]
    close(run(cudnn, apart, x, convention="keras"), wanted)
    with pytest.raises(FormatError, match="line|expected cuDNN weights"):
        run({**cudnn, "r/kernel:0": kernel[:, 1:]}, layers, x, convention="keras")


@pytest.mark.parametrize("reset_after", [True, False])
def test_a_gru_of_keras_resets_by_its_bias(reset_after):
    arrays = {"g/kernel:0": random(WIDE, 3 * H), "g/recurrent_kernel:0": random(H, 3 * H)}
    arrays["g/bias:0"] = random(2, 3 * H) if reset_after else random(3 * H)
    bias = arrays["g/bias:0"].astype(np.float64).reshape(-1, 3 * H)
    x, h, want = random(B, T, WIDE), np.zeros((B, H)), []
    for t in range(T):
        a = x[:, t] @ arrays["g/kernel:0"].astype(np.float64) + bias[0]
        r_h = h @ arrays["g/recurrent_kernel:0"].astype(np.float64) + (bias[1] if reset_after else 0)
        z, r = sigmoid(a[:, :H] + r_h[:, :H]), sigmoid(a[:, H : 2 * H] + r_h[:, H : 2 * H])
        inner = r * r_h[:, 2 * H :] if reset_after else (r * h) @ arrays["g/recurrent_kernel:0"][:, 2 * H :]
        h = z * h + (1 - z) * np.tanh(a[:, 2 * H :] + inner)
        want.append(h)
    close(run(arrays, [{"type": "gru", "weights": "g"}], x, convention="keras"), np.stack(want, 1))


def test_an_encoder_gives_its_state_and_a_decoder_takes_it():
    arrays = {"w": random(3 * H, WIDE), "u": random(3 * H, H)}
    gru = {"type": "gru", "name": "gru", "kernel": "w", "recurrent": "u"}
    x = random(B, T, WIDE)
    whole = run(arrays, [gru], x)
    given = run(arrays, [gru], x[:, :5], outputs={"y": "gru", "state": "gru.h"})
    assert given["state"].shape == (1, B, H)
    network = {
        "convention": "torch",
        "inputs": {"x": ["batch", "frames", WIDE], "start": ["batch", H]},
        "layer": [gru | {"input": "x", "initial_h": "start"}],
    }
    decoder = lstm_edge.convert(arrays, network=network, states={}, self_test=False)
    close(decoder.run(x[:, 5:], given["state"][0]), whole[:, 5:])


# ---- other layers ----------------------------------------------------------------------------------------------------


def test_every_other_layer():
    table, kernel, bias = random(7, 6), random(5, 6, 3), random(5)
    arrays = {"table": table, "conv.weight": kernel, "conv.bias": bias, "ln.weight": random(5), "ln.bias": random(5)}
    arrays |= {
        "bn.running_mean": random(5),
        "bn.running_var": random(5) ** 2,
        "bn.weight": random(5),
        "bn.bias": random(5),
    }
    arrays |= {
        "bn.num_batches_tracked": np.array(3),
        "act.weight": random(5),
        "fc.weight": random(2, 5),
        "fc.bias": random(2),
    }
    arrays |= {"mean": random(5)}
    layers = [
        {"type": "embedding", "table": "table"},
        {"type": "conv1d", "name": "conv", "weights": "conv", "padding": "causal", "dilation": 2, "activation": "tanh"},
        {"type": "layer_norm", "weights": "ln", "epsilon": 1e-5},
        {"type": "batch_norm", "weights": "bn", "epsilon": 1e-3},
        {"type": "prelu", "weights": "act"},
        {"type": "scale", "factor": 2.0, "offset": "mean"},
        {"type": "dropout", "rate": 0.5},
        {"type": "add", "name": "sum", "inputs": ["dropout_6", "conv"]},
        {"type": "concat", "inputs": ["sum", "conv"]},
        {"type": "Slice", "axes": [-1], "starts": [0], "ends": [5]},
        {"type": "dense", "weights": "fc", "activation": "softmax"},
        {"type": "reshape", "shape": ["batch", "frames", 2, 1]},
        {"type": "last"},
    ]
    tokens = RNG.integers(0, 7, (B, T)).astype(np.int32)
    got = run(arrays, layers, tokens)
    x = np.concatenate([np.zeros((B, 4, 6)), table[tokens].astype(np.float64)], 1)
    conv = np.tanh(sum(x[:, 2 * k : 2 * k + T] @ kernel[:, :, k].T for k in range(3)) + bias)
    x = (conv - conv.mean(-1, keepdims=True)) / np.sqrt(conv.var(-1, keepdims=True) + 1e-5)
    x = x * arrays["ln.weight"] + arrays["ln.bias"]
    x = (x - arrays["bn.running_mean"]) / np.sqrt(arrays["bn.running_var"] + 1e-3) * arrays["bn.weight"] + arrays[
        "bn.bias"
    ]
    x = np.where(x < 0, x * arrays["act.weight"], x) * 2 + arrays["mean"] + conv
    x = np.exp(x @ arrays["fc.weight"].T + arrays["fc.bias"])
    close(got, (x / x.sum(-1, keepdims=True))[:, -1, :, None])


def test_an_input_skip_and_two_outputs():
    arrays = {"w": random(1, 3), "b": random(1)}
    layers = [
        {"type": "dense", "name": "head", "kernel": "w", "bias": "b"},
        {"type": "Slice", "name": "first", "inputs": ["x"], "axes": [-1], "starts": [0], "ends": [1]},
        {"type": "add", "name": "skip", "inputs": ["head", "first"]},
        {"type": "Binary", "name": "louder", "inputs": ["skip", 2], "kind": "mul"},
    ]
    x = random(B, T, 3)
    got = run(arrays, layers, x, outputs=["head", "louder"])
    close(got["louder"], 2 * (x @ arrays["w"].T + arrays["b"] + x[..., :1]))
    close(got["head"], x @ arrays["w"].T + arrays["b"])


# ---- errors ----------------------------------------------------------------------------------------------------------

TOML = """convention = "torch"
inputs = { x = ["batch", "frames", 3] }

[[layer]]
type = "dense"
kernel = "w"

[[layer]]
type = "dense"
kernel = "v"
"""
ARRAYS = {"w": np.ones((4, 3), np.float32), "v": np.ones((2, 4), np.float32)}
WRONG = [
    (
        TOML.replace('kernel = "v"', 'kernel = "v"\nactivaton = "relu"'),
        "line 11: unknown key 'activaton'; did you mean activation",
    ),
    (TOML.replace('"v"', '"vv"'), "line 10: kernel: the weights hold no array 'vv'; close: v"),
    (TOML.replace('"dense"\nkernel = "v"', '"dens"\nkernel = "v"'), "line 9: unknown type 'dens'"),
    (TOML.replace("convention", "konvention"), "convention is missing"),
    (TOML.replace('"torch"', '"torch"\nweigths = "a"'), "line 2: unknown key 'weigths'; did you mean weights"),
    (TOML.replace("frames", "time"), "expected a number, batch, frames or a multiple"),
    (TOML.replace('kernel = "v"', 'kernel = "w"'), r"line 8.*layer 1|layer 1.*line 8"),
    (TOML.replace('\n\n[[layer]]\ntype = "dense"\nkernel = "v"', ""), "no layer takes 1 arrays of the weights: v"),
    (TOML.replace('"torch"', '"torch"\nignore = ["z*"]'), "'z.' matches no array"),
    (TOML.replace('"torch"', '"torch"\noutputs = ["dense"]'), "line 2: outputs: no layer or input is called 'dense'"),
    (TOML + "name = 7\n", "line 11: name: expected a name, found 7"),
    (TOML + 'type = "dense"\n', "not TOML"),
    ("a = " + "[" * 5000, "not TOML"),
    (
        'convention = "torch"\ninputs = { x = ["batch", "frames", 3] }\nlayer = [\n  { type = "dense", kernel = "w" },\n'
        '  { type = "dense", kernel = "v", bais = "w" },\n]\n',
        "line 5: unknown key 'bais'; did you mean bias",
    ),
]


@pytest.mark.parametrize("text, message", WRONG)
def test_what_is_wrong_is_named_with_its_line(text, message, tmp_path):
    path = tmp_path / "net.toml"
    path.write_text(text)
    with pytest.raises(LstmEdgeError, match=message):
        to_graph(ARRAYS, network=path)


LSTM = {"type": "lstm", "kernel": "w", "recurrent": "u"}
LSTM_ARRAYS = {"w": random(4 * H, WIDE), "u": random(4 * H, H)}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"gates": "ifg"}, "expected each of ifgo once"),
        ({"gates": "ifgz"}, "'z' is no gate"),
        ({"recurrent": None}, "recurrent is missing"),
        ({"kernel": {"i": "w", "f": "w"}}, "kernel: expected gates ifgo"),
        ({"direction": "bidirectional"}, r"kernel: expected a list \[forward, backward\]"),
        ({"direction": "sideways"}, "expected forward or reverse or bidirectional"),
        ({"peephole": "w"}, "peephole: shape"),
        ({"peephole": {"z": "w"}}, "'z' is no gate"),
        ({"returns": "all"}, "expected every or last"),
        ({"forget_bias": "one"}, "forget_bias: expected a number"),
        ({"units": 4}, "unknown key 'units'"),
        ({"initial_h": "nothing"}, "hold no array 'nothing'"),
        ({"activations": {"x": "relu"}}, "'x' is no gate"),
    ],
)
def test_a_wrong_recurrence_is_named(change, message):
    layer = {k: v for k, v in (LSTM | change).items() if v is not None}
    with pytest.raises(LstmEdgeError, match=message):
        run(LSTM_ARRAYS, [layer], random(B, T, WIDE))


def test_weights_alone_are_read_by_torch_names_or_ask_for_a_network(tmp_path):
    torch = pytest.importorskip("torch")
    module = torch.nn.LSTM(WIDE, H, batch_first=True)
    path = tmp_path / "weights.npz"
    np.savez(path, **{f"lstm.{k}": v.numpy() for k, v in module.state_dict().items()})
    x = random(B, T, WIDE)
    got = lstm_edge.convert(path, assume=True).run(x)
    with torch.no_grad():
        close(got if not isinstance(got, dict) else next(iter(got.values())), module(torch.from_numpy(x))[0].numpy())
    np.savez(path, a=random(2, 3, 4, 5), b=random(3))
    with pytest.raises(UnsupportedModelError, match="describe the network in a TOML file and pass it with network="):
        to_graph(path)


def test_a_description_may_name_its_weights(tmp_path):
    np.savez(tmp_path / "w.npz", **ARRAYS)
    path = tmp_path / "net.toml"
    path.write_text('weights = "w.npz"\n' + TOML)
    close(lstm_edge.convert(path).run(np.ones((1, 2, 3), np.float32)), np.full((1, 2, 2), 12.0))
    path.write_text(TOML)
    with pytest.raises(FormatError, match="names no weights"):
        to_graph(path)


def test_the_command_takes_a_network(tmp_path):
    from lstm_edge.cli import _run

    np.savez(tmp_path / "w.npz", **ARRAYS)
    (tmp_path / "net.toml").write_text(TOML)
    assert _run(["convert", str(tmp_path / "w.npz"), "--network", str(tmp_path / "net.toml")]) == 0
    close(lstm_edge.load(tmp_path / "w.lstm").run(np.ones((1, 2, 3), np.float32)), np.full((1, 2, 2), 12.0))


# ---- containers of weights -------------------------------------------------------------------------------------------

NESTED = {"a": np.arange(6.0).reshape(2, 3), "b": {"c": [np.ones(2, np.float32), np.zeros(3, np.int64)]}}
FLAT = {"a": NESTED["a"], "b.c.0": NESTED["b"]["c"][0], "b.c.1": NESTED["b"]["c"][1]}


def npy(value):
    data = io.BytesIO()
    np.save(data, value)
    return data.getvalue()


def npz(compressed=False, **arrays):
    data = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(data, **arrays)
    return data.getvalue()


def safetensors(**arrays):
    header, body = {}, b""
    for name, a in arrays.items():
        header[name] = {"dtype": "F32", "shape": list(a.shape), "data_offsets": [len(body), len(body) + a.nbytes]}
        body += a.astype("<f4").tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize("protocol", range(6))
def test_pickled_arrays_keep_their_paths(protocol):
    found = read_weights(pickle.dumps(NESTED, protocol)).arrays
    assert set(found) == set(FLAT)
    for name, want in FLAT.items():
        np.testing.assert_array_equal(found[name], want)


def test_arrays_of_every_container():
    a = random(2, 3)
    fortran = np.asfortranarray(a)
    for data in (
        npz(a=a),
        npz(True, a=fortran),
        safetensors(a=a),
        pickle.dumps({"a": a}),
        json.dumps({"a": a.tolist()}).encode(),
    ):
        found = read_weights(data).arrays
        np.testing.assert_array_equal(found["a"], a)
    assert set(read_weights(npy(NESTED)).arrays) == set(FLAT)
    dims = json.dumps({"m": {"v": 1, "dim": [2, 3], "data": a.ravel().tolist()}, "words": ["x"], "n": 3}).encode()
    found = read_weights(dims).arrays
    np.testing.assert_array_equal(found["m"], a)
    assert list(found) == ["m"]


def test_h5_weights_by_their_paths(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as h5:
        h5["lstm/lstm/kernel:0"] = ARRAYS["w"]
    np.testing.assert_array_equal(read_weights(path).arrays["lstm/lstm/kernel:0"], ARRAYS["w"])


class Runs:
    def __init__(self, module, name):
        self.call = (module, name)

    def __reduce__(self):
        module, name = self.call
        return getattr(sys.modules[module], name), ("echo",)


def claiming(shape):
    """A .npy whose header claims `shape` of float64 over no data."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def bomb(entries, size):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(entries):
            archive.writestr(f"{n}.npy", npy(np.zeros(size)))
    return data.getvalue()


def renamed(data, claimed):
    """The zip with another uncompressed size in its central directory."""
    at = data.index(b"PK\x01\x02") + 24
    return data[:at] + struct.pack("<I", claimed) + data[at + 4 :]


HOSTILE = {
    "pickle that runs os.system": lambda: pickle.dumps({"w": Runs("os", "system")}),
    "pickle that evaluates": lambda: pickle.dumps({"w": Runs("builtins", "eval")}),
    "pickle of numpy's loader": lambda: pickle.dumps({"w": Runs("os", "listdir")}, 0),
    "npy with a pickle that runs": lambda: npy(np.array({"w": Runs("os", "system")}, object)),
    "npz with a pickle that runs": lambda: npz(w=np.array({"w": Runs("os", "system")}, object)),
    "npy that claims an exabyte": lambda: claiming("(1152921504606846976,)"),
    "npy that overflows": lambda: claiming("(4294967296, 4294967296)"),
    "npy with negative size": lambda: claiming("(-1, 8)"),
    "npy with a program for a header": lambda: claiming("__import__('os').getpid()"),
    "npy with a long header": lambda: b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b" " * 1000,
    "npy cut": lambda: npy(np.zeros(100))[:-1],
    "npz of zeros": lambda: bomb(2, 30_000_000),
    "npz of many zeros": lambda: bomb(300, 200_000),
    "npz that lies": lambda: renamed(bomb(1, 1000), 2**31),
    "npz cut": lambda: npz(a=np.zeros(100))[:-30],
    "npz without arrays": lambda: npz(w=np.array(["a", "b"])),
    "safetensors that claim 2 GB": lambda: safetensors(a=ARRAYS["w"]).replace(b"[0, 48]", b"[0,2**9]"),
    "nested pickle": lambda: b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "nested json": lambda: b'{"a":' + b"[" * 500_000,
    "pickle of a number": lambda: pickle.dumps(7),
    "half a pickle": lambda: pickle.dumps(NESTED)[:-30],
    "text": lambda: b"hello",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_ends_in_a_named_error_at_once(name, tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(HOSTILE[name]())
    network = {
        "convention": "torch",
        "inputs": {"x": ["batch", "frames", 3]},
        "layer": [{"type": "dense", "kernel": "w"}],
    }

    def refused():
        with pytest.raises((FormatError, UnsupportedModelError), match=r"weights\.bin"):
            to_graph(path, network=network)

    at_once(refused)
    tracemalloc.start()
    with pytest.raises(LstmEdgeError):
        to_graph(path, network=network)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200 << 20


# ---- real weights ----------------------------------------------------------------------------------------------------


def real(weights, toml, **options):
    path = EXAMPLES / toml
    assert len([line for line in path.read_text().splitlines() if line.strip()]) <= 20 or "silero" in toml
    graph = to_graph(MODELS / weights, network=path, **options)
    return graph, lstm_edge.convert(MODELS / weights, network=path, **options)


@needs_models
@pytest.mark.parametrize("block", ["1", "2"])
def test_dtln_from_its_keras_weights(block):
    graph, model = real("dtln/model.h5", f"networks/dtln_{block}.toml")
    z = np.load(MODELS / "dtln/model_12_onnx.ref.npz")
    x, want = (z[f"{k}{block}"].reshape(1, 400, -1) for k in ("in", "out"))
    close(reference.run(graph, {graph.inputs[0].name: x})[0][graph.outputs[0].name], want)
    close(model.run(x), want)
    stream = model.stream()
    assert (
        np.concatenate([stream.run(p) for p in np.split(x, [1, 3, 10, 17], 1)], 1).tobytes() == model.run(x).tobytes()
    )


@needs_models
def test_thai_word_breaks():
    graph, model = real("icu_lstm/weights.json", "networks/icu_thai.toml")
    z = np.load(MODELS / "icu_lstm/thai_cp5.ref.npz")
    ids = z["ids"].astype(np.int32)[None]
    close(reference.run(graph, {"points": ids})[0]["scores"][0], z["logits"])
    scores = model.run(ids)[0]
    close(scores, z["logits"])
    text, starts = str(z["text"]), np.isin(scores.argmax(-1), (0, 3))  # b and s begin a word
    cuts = [n for n in range(len(text)) if starts[n]]
    assert [text[a:b] for a, b in zip(cuts, [*cuts[1:], len(text)])] == list(z["words"])


@needs_models
def test_g2p_says_its_five_words():
    z = np.load(MODELS / "g2p_en/checkpoint20.ref.npz")
    g2p = G2P(str(MODELS / "g2p_en/checkpoint20.npz"))
    for word, phones, state in zip(z["words"], z["phones"], z["enc_h"]):
        assert g2p(str(word)) == phones
        letters = np.array([[ord(c) - ord("a") + 3 for c in str(word)] + [2]], np.int32)
        close(g2p.encoder.run(letters)[0, 0], state)
    for part in ("encoder", "decoder"):
        real("g2p_en/checkpoint20.npz", f"g2p/{part}.toml")


@needs_models
def test_silero_from_named_weights(tmp_path):
    """The safetensors hold another training than the ONNX file; the network is that file's, so its weights must give
    that file's answers."""
    onnx = pytest.importorskip("onnx")

    def constants(graph):
        for tensor in graph.initializer:
            yield tensor.name, onnx.numpy_helper.to_array(tensor)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    yield from constants(attribute.g)

    found = {}
    for name, array in constants(onnx.load(MODELS / "silero_vad/silero_vad_16k_op15.onnx").graph):
        found.setdefault(name.split("model.")[-1], array)
    names = {"stft.forward_basis_buffer": "stft_conv.weight", "decoder.decoder.2.weight": "final_conv.weight"}
    names |= {"decoder.decoder.2.bias": "final_conv.bias"}
    for n in range(4):
        names |= {f"encoder.{n}.reparam_conv.{k}": f"conv{n + 1}.{k}" for k in ("weight", "bias")}
    names |= {f"decoder.rnn.{k}": f"lstm_cell.{k}" for k in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    arrays = {ours: found[theirs] for theirs, ours in names.items()}
    z = np.load(MODELS / "silero_vad/silero_vad_16k_op15.ref.npz")
    x = np.ascontiguousarray(z["input"][..., 64:].reshape(1, -1, 512))
    toml = EXAMPLES / "networks/silero_vad.toml"
    model = lstm_edge.convert(arrays, network=toml, overlap={"audio": 64}, self_test=False)
    close(model.run(x).ravel(), z["prob"].ravel())
    stream = model.stream()
    assert np.concatenate([stream.run(p) for p in np.split(x, [1, 9], 1)], 1).tobytes() == model.run(x).tobytes()
    own = lstm_edge.convert(MODELS / "silero_vad/silero_vad_16k.safetensors", network=toml, overlap={"audio": 64})
    assert np.mean((own.run(x).ravel() > 0.5) == (z["prob"].ravel() > 0.5)) > 0.95


# ---- the documentation -----------------------------------------------------------------------------------------------


def test_the_documented_network_converts_and_every_type_is_listed(tmp_path):
    import re

    from lstm_edge.importers.network.layers import LAYERS

    text = (EXAMPLES.parent / "docs/network.md").read_text()
    path = tmp_path / "net.toml"
    path.write_text(re.search(r"```toml\n(.*?)```", text, re.S)[1])
    arrays = {
        f"lstm_1/{k}": random(*s) for k, s in (("kernel", (257, 16)), ("recurrent_kernel", (4, 16)), ("bias", (16,)))
    }
    arrays |= {"dense/kernel:0": random(4, 257), "dense/bias:0": random(257), "lstm_9/bias": random(3)}
    assert lstm_edge.convert(arrays, network=path).run(random(1, 5, 257)).shape == (1, 5, 257)
    listed = set(
        re.findall(r"`(\w+)`", " ".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `")))
    )
    assert set(LAYERS) <= listed
