"""The oracle against torch and onnxruntime: the equations of docs/ops.md are the ones those frameworks compute."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_edge import reference
from lstm_edge.errors import ShapeError
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph, State
from lstm_edge.ir.ops import ACTIVATIONS

RNG = np.random.default_rng(7)


def values(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def run_op(op: str, arrays: list, attrs: dict | None = None, outputs: int = 1) -> list:
    """One op on arrays (None: absent input) through a Graph, all inputs at run time."""
    g = Graph()
    names = [g.input(f"in{n}", a.shape, str(a.dtype)) if a is not None else "" for n, a in enumerate(arrays)]
    wanted = [f"out{n}" for n in range(outputs)]
    for name in g.add(op, names, attrs, "op", wanted):
        g.output(name, name)
    out, _ = reference.run(g, {f"in{n}": a for n, a in enumerate(arrays) if a is not None})
    return [out[name] for name in wanted]


def close(found, expected, tolerance: float = 2e-6) -> None:
    expected = expected.detach().numpy() if hasattr(expected, "detach") else np.asarray(expected)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


# ---- recurrences against torch ---------------------------------------------------------------------------------------


def torch_layer(layer, n: int, bidirectional: bool, joined_bias: bool) -> list:
    """w_ih, w_hh and biases of layer n, directions stacked."""
    suffixes = ["", "_reverse"] if bidirectional else [""]

    def stacked(key):
        return np.stack([getattr(layer, f"{key}_l{n}{s}").detach().numpy() for s in suffixes])

    biases = [stacked("bias_ih"), stacked("bias_hh")]
    return [stacked("weight_ih"), stacked("weight_hh")] + ([biases[0] + biases[1]] if joined_bias else biases)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("projection", [0, 3])
def test_lstm_is_torch(bidirectional, projection):
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    lstm = torch.nn.LSTM(5, 7, num_layers=2, batch_first=True, bidirectional=bidirectional, proj_size=projection)
    directions, width = 2 if bidirectional else 1, projection or 7
    x, h0, c0 = values(3, 11, 5), values(2 * directions, 3, width), values(2 * directions, 3, 7)
    y, (h, c) = lstm(torch.tensor(x), (torch.tensor(h0), torch.tensor(c0)))
    attrs = {"direction": "bidirectional" if bidirectional else "forward"}
    found = x
    for n in range(2):
        part = slice(n * directions, (n + 1) * directions)
        proj = None
        if projection:
            proj = np.stack(
                [getattr(lstm, f"weight_hr_l{n}{s}").detach().numpy() for s in ["", "_reverse"][:directions]]
            )
        inputs = [
            found.astype(np.float32),
            *torch_layer(lstm, n, bidirectional, True),
            h0[part],
            c0[part],
            None,
            None,
            None,
            proj,
        ]
        found, h_n, c_n = run_op("LSTM", inputs, attrs, 3)
        close(h_n, h[part])
        close(c_n, c[part])
    close(found, y)


@pytest.mark.parametrize("op", ["GRU", "RNN"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("time_major", [0, 1])
def test_gru_and_rnn_are_torch(op, bidirectional, time_major):
    torch = pytest.importorskip("torch")
    torch.manual_seed(2)
    layer = getattr(torch.nn, op)(4, 6, batch_first=not time_major, bidirectional=bidirectional)
    x, h0 = values(5, 9, 4), values(2 if bidirectional else 1, 9 if time_major else 5, 6)
    y, h = layer(torch.tensor(x), torch.tensor(h0))
    attrs = {"direction": "bidirectional" if bidirectional else "forward", "time_major": time_major}
    found, h_n = run_op(op, [x, *torch_layer(layer, 0, bidirectional, op == "RNN"), h0], attrs, 2)
    close(found, y)
    close(h_n, h)


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_lengths_are_packed_sequences(op):
    torch = pytest.importorskip("torch")
    torch.manual_seed(3)
    layer = getattr(torch.nn, op)(4, 6, batch_first=True, bidirectional=True)
    x, lengths = values(4, 9, 4), np.array([9, 1, 4, 7], np.int32)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.tensor(x), lengths.tolist(), batch_first=True, enforce_sorted=False
    )
    y, states = layer(packed)
    y = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=9)[0]
    weights = torch_layer(layer, 0, True, op != "GRU")
    inputs = [x, *weights, None, *([None] if op == "LSTM" else []), lengths]
    found = run_op(op, inputs, {"direction": "bidirectional"}, 3 if op == "LSTM" else 2)
    close(found[0], y)
    for a, b in zip(found[1:], states if op == "LSTM" else [states]):
        close(a, b)


def test_mask_carries_state_and_repeats_y():
    """A masked sequence is the unmasked one without its masked frames (Keras: a mask of zeros anywhere)."""
    w, r = values(1, 16, 3), values(1, 16, 4)
    x, mask = values(1, 6, 3), np.array([[False, True, False, False, True, False]])
    short, h, c = run_op("LSTM", [x[:, mask[0]], w, r], outputs=3)
    y, h_m, c_m = run_op("LSTM", [x, w, r, None, None, None, None, mask], outputs=3)
    close(h_m, h)
    close(c_m, c)
    close(y[0], np.stack([0 * short[0, 0], *[short[0, 0]] * 3, *[short[0, 1]] * 2]))
    (zeroed,) = run_op("LSTM", [x, w, r, None, None, None, None, mask], {"masked_output": "zero"})
    close(zeroed[0][~mask[0]], np.zeros((4, 4)))
    close(zeroed[0][mask[0]], short[0])


def test_full_peephole_matrices_contain_the_diagonal_ones():
    h = 5
    x, w, r, p = values(2, 7, 3), values(1, 4 * h, 3), values(1, 4 * h, h), values(1, 4, h)
    full = np.concatenate([np.diag(row) for row in p[0]])[None].astype(np.float32)
    inputs = [x, w, r, None, None, None, None, None]
    close(run_op("LSTM", [*inputs, p])[0], run_op("LSTM", [*inputs, full])[0])
    assert abs(run_op("LSTM", [*inputs, p])[0] - run_op("LSTM", [*inputs, p[:, :3]])[0]).max() > 1e-3


def test_cell_and_projection_clip_by_hand():
    x, w, r, proj = 5 * values(2, 4, 3), 3 * values(1, 8, 3), values(1, 8, 1), 9 * values(1, 1, 2)
    y, h, c = run_op(
        "LSTM", [x, w, r, None, None, None, None, None, None, proj], {"cell_clip": 0.25, "proj_clip": 0.5}, 3
    )
    assert abs(c).max() == 0.25
    assert abs(y).max() == 0.5


# ---- recurrences against onnxruntime ---------------------------------------------------------------------------------

ONNX_ACTIVATIONS = {
    "Sigmoid": ("sigmoid", 0, 0),
    "Tanh": ("tanh", 0, 0),
    "Relu": ("relu", 0, 0),
    "Affine": ("affine", 0.7, 0.1),
    "LeakyRelu": ("leaky_relu", 0.3, 0),
    "ThresholdedRelu": ("thresholded_relu", 0.2, 0),
    "Elu": ("elu", 0.9, 0),
    "ScaledTanh": ("scaled_tanh", 1.2, 0.8),
    "HardSigmoid": ("hard_sigmoid", 0.25, 0.4),
    "Softsign": ("softsign", 0, 0),
    "Softplus": ("softplus", 0, 0),
}
TAKES = {"Affine": 2, "LeakyRelu": 1, "ThresholdedRelu": 1, "Elu": 1, "ScaledTanh": 2, "HardSigmoid": 2}
ONNX_TO_OURS = {"LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2], "RNN": [0]}  # ours i f g o from iofc, r z n from zrh


def onnx_run(op: str, arrays: dict, attrs: dict, directions: int) -> list:
    """One ONNX recurrence in onnxruntime: Y (T,D,B,H), then the states (D,B,H)."""
    onnx = pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    order = ["X", "W", "R", "B", "sequence_lens", "initial_h"] + (["initial_c", "P"] if op == "LSTM" else [])
    outputs = ["Y", "Y_h"] + (["Y_c"] if op == "LSTM" else [])
    node = onnx.helper.make_node(op, [n if n in arrays else "" for n in order], outputs, **attrs)
    infos = [
        onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in arrays.items()
    ]
    outs = [onnx.helper.make_tensor_value_info(n, 1, None) for n in outputs]
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", infos, outs), ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 14)]
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(
        None, arrays
    )


def reorder(op: str, a: np.ndarray) -> np.ndarray:
    """Gate blocks of axis 1 from ONNX's order to ours."""
    blocks = np.split(a, len(ONNX_TO_OURS[op]), axis=1)
    return np.concatenate([blocks[n] for n in ONNX_TO_OURS[op]], axis=1)


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("seed", range(12))
def test_recurrence_is_onnxruntime(op, seed):
    rng = np.random.default_rng(seed)
    gates = len(ONNX_TO_OURS[op])
    direction = ["forward", "reverse", "bidirectional"][seed % 3]
    d, t, b, i, h = (2 if direction == "bidirectional" else 1), 6, 3, 4, 5
    arrays = {
        "X": values(t, b, i),
        "W": values(d, gates * h, i),
        "R": 0.2 * values(d, gates * h, h),
    }  # small: softplus gates grow
    for name, shape in {
        "B": (d, 2 * gates * h),
        "initial_h": (d, b, h),
        "initial_c": (d, b, h),
        "P": (d, 3 * h),
    }.items():
        if rng.random() < 0.6 and (op == "LSTM" or name in ("B", "initial_h")):
            arrays[name] = values(*shape)
    if rng.random() < 0.6:
        arrays["sequence_lens"] = rng.integers(1, t + 1, b).astype(np.int32)
    theirs: dict = {"hidden_size": h, "direction": direction}
    ours: dict = {"direction": direction, "time_major": 1}
    if seed % 2:
        count = {"LSTM": 3, "GRU": 2, "RNN": 1}[op]
        names = [str(n) for n in rng.choice(list(ONNX_ACTIVATIONS), count * d)]
        theirs["activations"] = names
        for key, at in (("activation_alpha", 1), ("activation_beta", 2)):
            given = [float(ONNX_ACTIVATIONS[n][at]) for n in names if TAKES.get(n, 0) >= at]
            theirs |= {key: given} if given else {}
        spread = {"LSTM": [0, 0, 1, 0, 2], "GRU": [0, 0, 1], "RNN": [0]}[op]
        chosen = [ONNX_ACTIVATIONS[names[k * count + s]] for k in range(d) for s in spread]
        ours |= {
            "activations": [a[0] for a in chosen],
            "activation_alpha": [float(a[1]) for a in chosen],
            "activation_beta": [float(a[2]) for a in chosen],
        }
    if seed % 3 == 1:
        theirs["clip"] = ours["clip"] = 0.5
    if op == "LSTM" and seed % 4 == 2:
        theirs["input_forget"], ours["coupled"] = 1, "f=1-i"
    if op == "GRU":
        theirs["linear_before_reset"] = ours["reset_after"] = seed % 2
    expected = onnx_run(op, arrays, theirs, d)

    w, r = reorder(op, arrays["W"]), reorder(op, arrays["R"])
    bias = [None, None]
    if "B" in arrays:
        bias = [reorder(op, part) for part in np.split(arrays["B"], 2, axis=1)]
    if op != "GRU":
        bias = [None if bias[0] is None else bias[0] + bias[1]]
    inputs = [arrays["X"], w, r, *bias, arrays.get("initial_h")]
    if op == "LSTM":
        inputs.append(arrays.get("initial_c"))
    inputs += [arrays.get("sequence_lens"), None]
    if op == "LSTM" and "P" in arrays:
        inputs.append(arrays["P"].reshape(d, 3, h)[:, [0, 2, 1]])  # ONNX: i, o, f
    found = run_op(op, inputs, ours, len(expected))
    close(found[0], expected[0].transpose(0, 2, 1, 3).reshape(t, b, d * h), 1e-5)
    for a, e in zip(found[1:], expected[1:]):
        close(a, e, 1e-5)


# ---- the rest against torch ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_convolutions_are_torch(n, layout):
    torch = pytest.importorskip("torch")
    sizes, kernel, stride, dilation, pad = [13, 9][:n], [3, 2][:n], [2, 3][:n], [2, 1][:n], [1, 2][:n]
    x = values(2, 6, *sizes)
    laid = (lambda a: np.moveaxis(a, 1, -1)) if layout == "channels_last" else (lambda a: a)
    attrs = {"layout": layout, "strides": stride, "dilations": dilation, "pads": pad * 2, "groups": 2}
    w, bias = values(4, 3, *kernel), values(4)
    conv = getattr(torch.nn.functional, f"conv{n}d")
    y = conv(torch.tensor(x), torch.tensor(w), torch.tensor(bias), stride, pad, dilation, 2)
    close(run_op("Conv", [laid(x), w, bias], attrs)[0], laid(y.numpy()))
    w, extra = values(6, 5, *kernel), [1] * n
    transpose = getattr(torch.nn.functional, f"conv_transpose{n}d")
    y = transpose(torch.tensor(x), torch.tensor(w), None, stride, pad, extra, 2, dilation)
    close(run_op("ConvTranspose", [laid(x), w, None], attrs | {"output_padding": extra})[0], laid(y.numpy()))


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize("include", [0, 1])
def test_pool_is_torch(kind, ceil_mode, include):
    torch = pytest.importorskip("torch")
    x = values(2, 3, 10, 11)
    for kernel, stride, pad in (([3, 2], [2, 3], [1, 1]), ([2, 5], [3, 4], [0, 2]), ([3, 3], [1, 1], [0, 0])):
        attrs = {
            "kind": kind,
            "kernel": kernel,
            "strides": stride,
            "pads": pad * 2,
            "ceil_mode": ceil_mode,
            "count_include_pad": include,
        }
        if kind == "max":
            y = torch.nn.functional.max_pool2d(torch.tensor(x), kernel, stride, pad, ceil_mode=bool(ceil_mode))
        else:
            y = torch.nn.functional.avg_pool2d(torch.tensor(x), kernel, stride, pad, bool(ceil_mode), bool(include))
        close(run_op("Pool", [x], attrs)[0], y)


def test_normalize_and_softmax_are_torch():
    torch = pytest.importorskip("torch")
    x, scale, bias = values(3, 4, 6), values(4, 6), values(4, 6)
    y = torch.nn.functional.layer_norm(torch.tensor(x), (4, 6), torch.tensor(scale), torch.tensor(bias), 1e-3)
    close(run_op("Normalize", [x, scale, bias], {"axes": [1, -1], "epsilon": 1e-3})[0], y)
    y = torch.nn.functional.rms_norm(torch.tensor(x), (6,), torch.tensor(scale[0]), 1e-3)
    close(run_op("Normalize", [x, scale[0]], {"axes": [-1], "epsilon": 1e-3, "kind": "rms"})[0], y)
    close(run_op("Softmax", [x], {"axis": 1})[0], torch.softmax(torch.tensor(x), 1))
    close(run_op("Softmax", [x], {"axis": -1, "log": 1})[0], torch.log_softmax(torch.tensor(x), -1))


TORCH_ACTIVATIONS = {
    "linear": lambda f, x: x,
    "relu": lambda f, x: f.relu(x),
    "sigmoid": lambda f, x: f.sigmoid(x),
    "tanh": lambda f, x: f.tanh(x),
    "hard_sigmoid": lambda f, x: f.hardsigmoid(x),
    "leaky_relu": lambda f, x: f.leaky_relu(x, 0.2),
    "elu": lambda f, x: f.elu(x, 0.7),
    "selu": lambda f, x: f.selu(x),
    "softplus": lambda f, x: f.softplus(x, threshold=1e9),
    "softsign": lambda f, x: f.softsign(x),
    "gelu": lambda f, x: f.gelu(x),
    "gelu_tanh": lambda f, x: f.gelu(x, approximate="tanh"),
    "silu": lambda f, x: f.silu(x),
    "hard_silu": lambda f, x: f.hardswish(x),
    "mish": lambda f, x: f.mish(x),
    "thresholded_relu": lambda f, x: f.threshold(x, 0.4, 0),
    "scaled_tanh": lambda f, x: 1.7 * f.tanh(0.6 * x),
    "affine": lambda f, x: 1.7 * x + 0.6,
    "celu": lambda f, x: f.celu(x, 0.8),
    "relu6": lambda f, x: f.relu6(x),
    "exp": lambda f, x: x.exp(),
}
PARAMETERS = {
    "hard_sigmoid": (1 / 6, 0.5),
    "leaky_relu": (0.2, 0),
    "elu": (0.7, 0),
    "selu": (1.6732632423543772, 1.0507009873554805),
    "thresholded_relu": (0.4, 0),
    "scaled_tanh": (1.7, 0.6),
    "affine": (1.7, 0.6),
    "celu": (0.8, 0),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_is_torch(name):
    torch = pytest.importorskip("torch")
    x = np.concatenate([np.linspace(-9, 9, 1001), [0.0, -0.0, 50, -50]]).astype(np.float32)
    alpha, beta = PARAMETERS.get(name, (0, 0))
    expected = TORCH_ACTIVATIONS[name](torch.nn.functional, torch.tensor(x, dtype=torch.float64))
    attrs = {"kind": name, "alpha": float(alpha), "beta": float(beta)}
    close(run_op("Unary", [x], attrs)[0], expected, 1e-12)
    assert np.isnan(run_op("Unary", [np.float32([np.nan])], attrs)[0]).all()


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pad_is_torch(mode):
    torch = pytest.importorskip("torch")
    x = values(2, 3, 5, 6)
    y = torch.nn.functional.pad(torch.tensor(x), (1, 2, 3, 0), {"edge": "replicate"}.get(mode, mode))
    close(run_op("Pad", [x], {"pads": [0, 0, 3, 1, 0, 0, 0, 2], "mode": mode})[0], y)


# ---- runs of a Graph -------------------------------------------------------------------------------------------------


def step_graph() -> Graph:
    """h' = tanh-RNN over a state; y = h'."""
    g = Graph()
    rng = np.random.default_rng(5)
    x = g.input("x", (BATCH, 1, 3))
    g.tensors["h"] = g.tensors[x].__class__("h", "float32", (1, BATCH, 4))
    w, r = g.constant(rng.normal(size=(1, 4, 3))), g.constant(rng.normal(size=(1, 4, 4)))
    y, h_n = g.add("RNN", [x, w, r, "", "h"], name="rnn")
    g.output("y", y)
    g.states.append(State("hidden", "h", h_n, (1, BATCH, 4)))
    return g


def test_states_carry_from_run_to_run():
    g = step_graph()
    x = values(7, 2, 1, 3)
    stacked, states = reference.run_frames(g, {"x": x})
    w, r = (t.data for t in g.tensors.values() if t.is_constant)
    whole, h = run_op("RNN", [x[:, :, 0].transpose(1, 0, 2), w, r], outputs=2)
    close(stacked["y"][:, :, 0].transpose(1, 0, 2), whole, 1e-14)
    close(states["hidden"], h, 1e-14)


def test_filling_window_is_absent_until_full():
    """A stream's convolution keeps kernel-1 frames; what asks for its frames before the first one is absent."""
    g = Graph()
    x = g.input("x", (BATCH, FRAMES, 2))
    g.tensors["window"] = g.tensors[x].__class__("window", "float32", (BATCH, 2, 2))
    joined = g.add1("Concat", ["window", x], {"axis": 1})
    kept = g.add1("Slice", [joined], {"axes": [1], "starts": [-2], "ends": [2**31 - 1]})
    y = g.add1("Conv", [joined, g.constant(values(4, 2, 3))], {"layout": "channels_last"})
    g.output("y", y)
    g.output("last", g.add1("Reduce", [y], {"kind": "max", "axes": [1]}))
    g.states.append(State("window", "window", kept, (BATCH, 2, 2), fill_axis=1))
    frames, states, trace = values(1, 5, 2), None, {}
    rows = []
    for t in range(5):
        out, states = reference.run(g, {"x": frames[:, t : t + 1]}, states, trace)
        assert (out["last"] is None) == (t < 2)
        assert trace[y] is out["y"]
        rows.append(out["y"])
    (whole,) = run_op(
        "Conv", [frames, g.tensors["const.1" if "const.1" in g.tensors else "const"].data], {"layout": "channels_last"}
    )
    close(np.concatenate(rows, axis=1), whole, 1e-14)


def test_weights_are_widened_and_scaled():
    g = Graph()
    x = g.input("x", (BATCH, 3))
    w = g.constant(values(2, 3))
    g.tensors[w].data, g.tensors[w].dtype = np.array([[1, -2, 3], [4, 5, -127]], np.int8), "int8"
    g.tensors[w].scale = np.array([0.5, 0.25], np.float32)
    g.output("y", g.add1("Dense", [x, w]))
    out, _ = reference.run(g, {"x": np.eye(3, dtype=np.float32)})
    close(out["y"], [[0.5, 1.0], [-1.0, 1.25], [1.5, -31.75]], 0)


def test_wrong_inputs_are_refused_by_name():
    g = step_graph()
    for inputs in ({}, {"z": values(1, 1, 3)}, {"x": values(1, 2, 3)}, {"x": values(1, 3)}):
        with pytest.raises(ShapeError, match="input"):
            reference.run(g, inputs)
    with pytest.raises(ShapeError, match="indices.*expected values of -4 to 3"):
        run_op("Gather", [values(4, 2), np.array([4], np.int32)])
