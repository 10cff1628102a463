"""Promise 2: an int8 model gives the same bits on every ISA, whole and in chunks; and the bits are those that a NumPy
emulation of the written sequence gives."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared import ISAS as SUPPORTED

import lstm_edge
from lstm_edge import format, passes, reference
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph, Tensor
from lstm_edge.quantize import Narrower, libm_ops, to_int8

ISAS = [name for name, _ in lstm_edge.isas()]
F = np.float32


def uniform(graph: Graph, rng: np.random.Generator, bound: float, *shape: int) -> str:
    return graph.constant(rng.uniform(-bound, bound, shape).astype(F), "w")


def recurrence(op: str, inputs: int, hidden: int, rng: np.random.Generator, x: str, graph: Graph, **attrs) -> str:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    directions = 2 if attrs.get("direction") == "bidirectional" else 1
    bound = hidden**-0.5
    weights = [
        uniform(graph, rng, bound, directions, gates * hidden, inputs),
        uniform(graph, rng, bound, directions, gates * hidden, hidden),
    ]
    biases = [uniform(graph, rng, bound, directions, gates * hidden) for _ in range(2 if op == "GRU" else 1)]
    return graph.add1(op, [x, *weights, *biases], attrs, op)


def network(op: str, inputs: int, hidden: int, seed: int = 0, **attrs) -> Graph:
    """One recurrence over frames, uniform weights of torch's default range."""
    graph, rng = Graph(), np.random.default_rng(seed)
    x = graph.input("x", (BATCH, FRAMES, inputs))
    graph.output("y", recurrence(op, inputs, hidden, rng, x, graph, **attrs))
    return graph


def int8(graph: Graph) -> Graph:
    return Narrower(graph, "int8").apply({}).graph


def loaded(graph: Graph, isa: str) -> lstm_edge.Model:
    return lstm_edge.Model(format.to_bytes(graph), isa)


def by_name(model: lstm_edge.Model, answer) -> dict[str, np.ndarray]:
    return answer if isinstance(answer, dict) else {model.outputs[0].name: answer}


def bits(array: np.ndarray) -> bytes:
    """NaNs are one value: their sign and payload are no part of the promise."""
    return np.where(np.isnan(array), F(np.nan), array).tobytes() if array.dtype == F else array.tobytes()


# ---- the written sequence, in NumPy -----------------------------------------------------------------------------------


def emulated(x: np.ndarray, q: np.ndarray, scale: np.ndarray, init: np.ndarray | None, fine: bool) -> np.ndarray:
    """kernels.h's int8 product of rows x (m, k) with int8 weights (n, k): every float operation rounds once."""
    top = np.abs(x).max(axis=1, keepdims=True)
    steps = x * np.divide(F(127), top, out=np.zeros_like(top), where=top >= F(1e-30))
    whole = np.rint(steps)
    x_scale = np.where(top >= F(1e-30), top / F(127), F(0))

    def product(planes: np.ndarray, plane_scale: np.ndarray) -> np.ndarray:
        sums = planes.astype(np.int32) @ q.T.astype(np.int32)
        return (sums.astype(F) * scale[None]) * plane_scale

    y = (np.zeros((len(x), len(q)), F) if init is None else init) + product(whole, x_scale)
    return y + product(np.rint((steps - whole) * F(254)), x_scale / F(254)) if fine else y


@given(st.integers(1, 40), st.sampled_from([1, 3, 4, 15, 16, 17, 31, 64, 65, 130, 257]),
       st.sampled_from([1, 7, 8, 16, 17, 31, 33, 64, 130]), st.integers(0, 2**32 - 1))  # fmt: skip
def test_dense_is_its_emulation_to_the_bit(m, k, n, seed):
    rng = np.random.default_rng(seed)
    graph = Graph()
    x = graph.input("x", (BATCH, k))
    w, b = rng.standard_normal((n, k)).astype(F), rng.standard_normal(n).astype(F)
    graph.output("y", graph.add1("Dense", [x, graph.constant(w, "w"), graph.constant(b, "b")], {}, "dense"))
    q, scale = to_int8(w, 1)
    graph.tensors["w"].data, graph.tensors["w"].scale, graph.tensors["w"].dtype = q, scale, "int8"
    frames = (rng.standard_normal((m, k)) * np.exp(rng.uniform(-20, 20, (m, 1)))).astype(F)
    frames[rng.random(m) < 0.1] = 0
    want = emulated(frames, q, scale, b[None], fine=True)
    for isa in SUPPORTED:
        assert loaded(graph, isa).run(frames).tobytes() == want.tobytes(), isa


def test_hidden_state_is_quantised_to_8_bits():
    """An RNN without activation: y[t] = W x[t] + b + R y[t-1], the first product fine, the second not."""
    graph = network("RNN", 19, 33, activations=["linear"])
    narrow = int8(graph)
    _, w_ih, w_hh, bias = (narrow.tensors[i] for i in narrow.nodes[0].inputs)
    x = np.random.default_rng(5).standard_normal((1, 9, 19)).astype(F)
    h, want = np.zeros((1, 33), F), []
    for frame in x[0]:
        z = emulated(frame[None], w_ih.data[0], w_ih.scale, bias.data, fine=True)
        h = emulated(h, w_hh.data[0], w_hh.scale, z, fine=False)
        want.append(h[0])
    for isa in SUPPORTED:
        assert loaded(narrow, isa).run(x).tobytes() == np.stack(want)[None].tobytes(), isa


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_inputs_of_8_bits_are_one_plane(op):
    """With input_bits 8 a step from zero is the emulation's, and chunks give the bits of the whole, on every ISA."""
    narrow = int8(passes.pipeline(network(op, 40, 33, **({"activations": ["linear"]} if op == "RNN" else {}))))
    x = np.random.default_rng(6).standard_normal((2, 21, 40)).astype(F)
    fine = loaded(narrow, SUPPORTED[-1]).run(x)
    narrow.nodes[0].attrs["input_bits"] = 8
    content, seen = format.to_bytes(narrow), set()
    assert content[8] == 2 and format.read(content).nodes[0].attrs["input_bits"] == 8
    for isa in SUPPORTED:
        model = lstm_edge.Model(content, isa)
        stream = model.stream(2)
        whole = model.run(x)
        parts = [stream.run(np.ascontiguousarray(x[:, i : i + 5])) for i in range(0, 21, 5)]
        seen |= {whole.tobytes(), np.concatenate(parts, 1).tobytes()}
    assert len(seen) == 1 and 0 < np.abs(whole - fine).max() < 0.1
    if op == "RNN":
        _, w_ih, _, bias = (narrow.tensors[i] for i in narrow.nodes[0].inputs[:4])
        first = emulated(x[:, 0], w_ih.data[0], w_ih.scale, bias.data, fine=False)
        assert whole[:, 0].tobytes() == first.tobytes()


@pytest.mark.parametrize("op", ["Dense", "Conv"])
def test_layers_take_8_bits_by_their_attribute(op):
    """The second of two equal layers has input_bits 8, and no other answer than the emulation's single plane."""
    rng = np.random.default_rng(7)
    graph = Graph()
    w = rng.standard_normal((18, 36)).astype(F)
    x = graph.input("x", (BATCH, 36) if op == "Dense" else (BATCH, FRAMES, 36))
    kernel = w if op == "Dense" else w[:, :, None]
    attrs = {} if op == "Dense" else {"layout": "channels_last"}
    for bits_ in (15, 8):
        graph.output(f"y{bits_}", graph.add1(op, [x, graph.constant(kernel, "w")], {**attrs, "input_bits": bits_}, op))
    narrow = int8(graph)
    q, scale = to_int8(w, 1)
    frames = rng.standard_normal((5, 36)).astype(F)
    for isa in SUPPORTED:
        answer = loaded(narrow, isa).run(frames if op == "Dense" else frames[None])
        for bits_ in (15, 8):
            assert answer[f"y{bits_}"].tobytes() == emulated(frames, q, scale, None, fine=bits_ == 15).tobytes(), isa


@pytest.mark.parametrize("op", ["LSTM", "Dense"])
def test_other_numbers_of_bits_are_refused(op):
    """By the core and by the table of ops; a file without the attribute keeps version 1."""
    graph = Graph()
    x = graph.input("x", (BATCH, FRAMES, 8))
    if op == "LSTM":
        y = recurrence(op, 8, 4, np.random.default_rng(0), x, graph)
    else:
        y = graph.add1("Dense", [x, uniform(graph, np.random.default_rng(0), 1, 3, 8)], {}, op)
    graph.output("y", y)
    assert format.to_bytes(graph)[8] == 1
    graph.nodes[0].attrs["input_bits"] = 12
    with pytest.raises(lstm_edge.LstmEdgeError, match=r"attribute input_bits: expected 8 or 15, found 12"):
        lstm_edge.Model(format.to_bytes(graph))
    with pytest.raises(lstm_edge.LstmEdgeError, match=r"attribute input_bits: expected 8 or 15, found 12"):
        reference.run(graph, {"x": np.zeros((1, 2, 8), F)})


def test_every_isa_of_this_cpu_is_tested():
    assert "scalar" in SUPPORTED and len(SUPPORTED) >= 1
    unsupported = set(ISAS) - set(SUPPORTED)
    if unsupported:
        pytest.skip(f"this CPU does not run {sorted(unsupported)}: their bits are not compared here")


# ---- networks ---------------------------------------------------------------------------------------------------------

CELLS = {
    "lstm": ("LSTM", {}),
    "lstm_bidirectional": ("LSTM", {"direction": "bidirectional"}),
    "lstm_reverse": ("LSTM", {"direction": "reverse"}),
    "lstm_coupled": ("LSTM", {"coupled": "f=1-i"}),
    "lstm_variant": ("LSTM", {"activations": ["hard_sigmoid", "sigmoid", "softsign", "sigmoid", "elu"], "clip": 3.0,
                              "activation_alpha": [0.2, 0, 0, 0, 1.0], "activation_beta": [0.5, 0, 0, 0, 0]}),
    "gru": ("GRU", {}),
    "gru_before": ("GRU", {"reset_after": 0}),
    "gru_bidirectional": ("GRU", {"direction": "bidirectional"}),
    "rnn": ("RNN", {}),
    "rnn_relu": ("RNN", {"activations": ["relu"]}),
}  # fmt: skip
SIZES = [(1, 32), (3, 7), (40, 64), (65, 33), (64, 128)]


@pytest.mark.parametrize("inputs, hidden", SIZES)
@pytest.mark.parametrize("cell", CELLS)
def test_recurrences_give_the_same_bits(cell, inputs, hidden):
    op, attrs = CELLS[cell]
    narrow = int8(network(op, inputs, hidden, **attrs))
    x = np.random.default_rng(1).standard_normal((3, 40, inputs)).astype(F)
    answers = {isa: loaded(narrow, isa).run(x) for isa in SUPPORTED}
    assert {bits(a) for a in answers.values()} == {bits(answers["scalar"])}
    assert np.abs(answers["scalar"] - reference.run(narrow, {"x": x})[0]["y"]).max() < 0.05


@pytest.mark.parametrize("cell", [c for c, (_, a) in CELLS.items() if a.get("direction", "forward") == "forward"])
def test_chunks_and_states_give_the_same_bits(cell):
    op, attrs = CELLS[cell]
    narrow = int8(passes.pipeline(network(op, 40, 65, **attrs)))
    x = np.random.default_rng(2).standard_normal((2, 50, 40)).astype(F)
    seen = set()
    for isa in SUPPORTED:
        model = loaded(narrow, isa)
        whole = model.run(x)
        for size in (1, 3, 16, 50):
            stream = model.stream(2)
            parts = [stream.run(np.ascontiguousarray(x[:, i : i + size])) for i in range(0, 50, size)]
            assert np.concatenate(parts, 1).tobytes() == whole.tobytes()
            states = stream.state
            assert states
            seen.add(whole.tobytes() + b"".join(states[k].tobytes() for k in sorted(states)))
    assert len(seen) == 1


def conv_network(rng: np.random.Generator) -> Graph:
    """Conv1D, grouped, strided and depthwise, an LSTM, attention's softmax, Dense: float32 ops between int8 ones."""
    graph = Graph()
    x = graph.input("x", (BATCH, 24, FRAMES))
    y = graph.add1(
        "Conv",
        [x, uniform(graph, rng, 0.2, 32, 24, 3), uniform(graph, rng, 0.2, 32)],
        {"activation": "gelu", "pads": [1, 1]},
    )
    y = graph.add1(
        "Conv",
        [y, uniform(graph, rng, 0.3, 32, 8, 3)],
        {"groups": 4, "pads": [1, 1], "activation": "elu", "alpha": 1.0},
    )
    y = graph.add1("Conv", [y, uniform(graph, rng, 0.5, 32, 1, 3)], {"groups": 32, "pads": [1, 1]})
    y = graph.add1("Transpose", [y], {"perm": [0, 2, 1]})
    y = graph.add1("Normalize", [y, graph.constant(np.ones(32, F))], {"axes": [-1], "epsilon": 1e-5})
    h = recurrence("LSTM", 32, 20, rng, y, graph)
    scores = graph.add1("Softmax", [graph.add1("MatMul", [h, h], {"trans_b": 1, "scale": 0.2})], {})
    h = graph.add1("MatMul", [scores, h])
    out = graph.add1("Dense", [h, uniform(graph, rng, 0.3, 6, 20), uniform(graph, rng, 0.3, 6)], {})
    graph.output("log", graph.add1("Softmax", [out], {"log": 1}))
    graph.output(
        "energy",
        graph.add1("Reduce", [graph.add1("Unary", [out], {"kind": "exp"})], {"kind": "log_sum_exp", "axes": [-1]}),
    )
    power = graph.add1("Binary", [graph.add1("Unary", [out], {"kind": "abs"}), graph.constant(F(0.3))], {"kind": "pow"})
    graph.output("erf", graph.add1("Unary", [graph.add1("Unary", [power], {"kind": "log"})], {"kind": "erf"}))
    return graph


def test_a_mixed_network_gives_the_same_bits():
    graph = int8(conv_network(np.random.default_rng(4)))
    assert not libm_ops(graph)
    x = np.random.default_rng(6).standard_normal((2, 24, 37)).astype(F)
    answers = [loaded(graph, isa).run(x) for isa in SUPPORTED]
    for name, want in answers[0].items():
        assert np.isfinite(want).all()
        assert {a[name].tobytes() for a in answers} == {want.tobytes()}, name


@pytest.mark.parametrize("group", [0, 1])
def test_a_convolution_some_of_whose_groups_hold_128_gives_the_same_bits_in_chunks(group):
    """A group with -128 is multiplied in float32, the other one in int8, however many frames there are."""
    rng = np.random.default_rng(5)
    q = rng.integers(-127, 128, (32, 3, 3)).astype(np.int8)
    q[16 * group, 0, 0] = -128
    g = Graph()
    x = g.input("x", (BATCH, 6, FRAMES))
    w = g.constant(q)
    g.tensors[w] = Tensor(w, "int8", q.shape, q, np.full(32, 0.01, np.float32))
    g.output("y", g.add1("Conv", [x, w], {"groups": 2}, "conv"))
    frames = rng.normal(size=(1, 6, 40)).astype(np.float32)
    for isa in SUPPORTED:
        model = loaded(g, isa)
        assert bits(model.run(frames)[:, :, :5]) == bits(model.run(np.ascontiguousarray(frames[:, :, :7]))), isa


def test_an_embedding_table_gives_the_values_it_stores():
    graph, rng = Graph(), np.random.default_rng(8)
    tokens = graph.input("tokens", (BATCH, FRAMES), "int32")
    table = rng.standard_normal((50, 12)).astype(F)
    graph.output("y", graph.add1("Gather", [graph.constant(table, "table"), tokens], {"axis": 0}))
    q, scale = to_int8(table, 1)
    indices = rng.integers(-50, 50, (2, 9)).astype(np.int32)
    want = q.astype(F)[indices] * scale[indices][..., None]
    for isa in SUPPORTED:
        assert loaded(int8(graph), isa).run(indices).tobytes() == want.tobytes()


# ---- accuracy ---------------------------------------------------------------------------------------------------------

# The best peers' largest and mean errors against float64: 100 steps of N(0,1), weights uniform in +-1/sqrt(H).
PEERS = {
    ("LSTM", 64, 128, "forward"): (0.0042, 0.00058),
    ("LSTM", 257, 128, "forward"): (0.0110, 0.0011),
    ("LSTM", 256, 512, "forward"): (0.0048, 0.00065),
    ("GRU", 64, 128, "forward"): (0.0079, 0.0012),
    ("LSTM", 64, 128, "bidirectional"): (0.0042, 0.00058),
    ("LSTM", 1, 32, "forward"): (0.0008, 0.00012),  # its one input column stays float32
    ("GRU", 1, 32, "forward"): (0.0015, 0.00025),
}


@pytest.mark.parametrize("case", PEERS, ids=lambda c: "-".join(map(str, c)))
def test_error_is_below_the_best_peers(case):
    op, inputs, hidden, direction = case
    for seed in range(2 if hidden > 128 else 4):
        graph = network(op, inputs, hidden, seed, direction=direction)
        x = np.random.default_rng(seed + 100).standard_normal((1, 100, inputs)).astype(F)
        error = np.abs(loaded(int8(graph), SUPPORTED[-1]).run(x) - reference.run(graph, {"x": x})[0]["y"])
        most, mean = PEERS[case]
        assert error.max() <= most and error.mean() <= mean, (seed, error.max(), error.mean())


@pytest.mark.parametrize("op", ["LSTM", "GRU"])
def test_a_saturating_input_does_not_drift(op):
    """Scaled down from 10^6 steps (tools/peers/int8_accuracy.py --steps 1000000)."""
    steps = int(os.environ.get("LSTM_EDGE_DRIFT_STEPS", "20000"))
    graph = network(op, 64, 64)
    x = np.full((1, 1000, 64), 30, F) * np.sign(np.random.default_rng(3).standard_normal((1, 1, 64))).astype(F)
    exact, narrow = loaded(graph, SUPPORTED[-1]), loaded(int8(graph), SUPPORTED[-1])
    short = np.abs(exact.run(x[:, :100]) - narrow.run(x[:, :100])).max()
    long = np.tile(x, (1, steps // 1000, 1))
    assert np.abs(exact.run(long)[:, -1000:] - narrow.run(long)[:, -1000:]).max() <= max(2 * short, 0.005)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_nan_and_infinity_come_out_as_nan(cell, bad):
    op, attrs = CELLS[cell]
    narrow = int8(network(op, 16, 24, **attrs))
    x = np.random.default_rng(1).standard_normal((2, 10, 16)).astype(F)
    clean = {isa: loaded(narrow, isa).run(x) for isa in SUPPORTED}
    x[0, 4, 3] = bad
    for isa in SUPPORTED:
        y = loaded(narrow, isa).run(x)
        assert np.isnan(y[0, 4:]).all()
        assert y[0, :4].tobytes() == clean[isa][0, :4].tobytes() and y[1].tobytes() == clean[isa][1].tobytes()


# ---- real models ------------------------------------------------------------------------------------------------------

if os.environ.get("LSTM_EDGE_MODELS"):
    import test_real_models as real

    REAL = sorted(real.CASES)
else:
    REAL = []


def real_input(name: str, most: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """(a sample short enough for every ISA, all of it)."""
    case = real.CASES[name]
    x, _ = case.prepare(np.load(real.ROOT / case.reference))
    return (x if name in ("nnsplit", "dgad", "emg") else x[:4] if case.frames_axis else x[:most]), x


@pytest.fixture(scope="module")
def real_int8(tmp_path_factory):
    """A model's content, quantised on so many frames of its reference (0: all), each made once."""
    made: dict[tuple[str, int], bytes] = {}

    def get(name: str, frames: int = 40) -> bytes:
        if (name, frames) not in made:
            path = tmp_path_factory.mktemp("int8") / f"{name}.lstm"
            sample = real_input(name, frames)[0] if frames else real_input(name)[1]
            lstm_edge.quantize(real.converted(name), path, calibration=sample, precision="int8")
            made[name, frames] = path.read_bytes()
        return made[name, frames]

    return get


def denoised(first: bytes, second: bytes, audio: np.ndarray) -> np.ndarray:
    """DTLN's block loop: 512 samples every 128, the spectrum masked by block 1, the block cleaned by block 2."""
    one, two = lstm_edge.Model(first).stream(), lstm_edge.Model(second).stream()
    came, went, out = np.zeros(512, F), np.zeros(512, F), np.zeros(len(audio), F)
    for start in range(0, len(audio) - 511, 128):
        came = np.concatenate([came[128:], audio[start : start + 128]])
        spectrum = np.fft.rfft(came)
        mask = one.step(np.abs(spectrum).astype(F).reshape(1, 1, -1)).reshape(-1)
        estimate = np.fft.irfft(spectrum * mask).astype(F)
        went = np.concatenate([went[128:], np.zeros(128, F)]) + two.step(estimate.reshape(1, 1, -1)).reshape(-1)
        out[start : start + 128] = went[:128]
    return out


@pytest.mark.parametrize("name", REAL)
def test_real_models_give_the_same_bits(name, real_int8):
    content = real_int8(name)
    assert not libm_ops(format.read(content))
    x, _ = real_input(name)
    seen = set()
    for isa in SUPPORTED:
        model = lstm_edge.Model(content, isa)
        answers = by_name(model, model.run(x))
        seen.add(b"".join(bits(answers[k]) for k in sorted(answers)))
        assert lstm_edge.verify(content, isa).passed
    assert len(seen) == 1


@pytest.mark.parametrize("name", [n for n in REAL if real.CASES[n].answers == "frames"])
def test_real_streams_give_the_same_bits(name, real_int8):
    content = real_int8(name)
    x = real_input(name, 24)[0]
    axis = real.CASES[name].frames_axis
    seen = set()
    for isa in SUPPORTED:
        model = lstm_edge.Model(content, isa)
        whole = model.run(x)
        for size in (1, 5):
            stream = model.stream()
            parts = [stream.run(np.ascontiguousarray(p)) for p in np.split(x, range(size, x.shape[axis], size), axis)]
            assert np.concatenate(parts, axis).tobytes() == whole.tobytes()
            state = stream.state
            seen.add(whole.tobytes() + b"".join(state[k].tobytes() for k in sorted(state)))
    assert len(seen) == 1


@pytest.mark.skipif(not REAL, reason="LSTM_EDGE_MODELS names no folder")
def test_turbofan_classes_stay(real_int8):
    _, x = real_input("predmaint")
    exact, narrow = (lstm_edge.Model(c).run(x)[:, 0] for c in (real.converted("predmaint"), real_int8("predmaint")))
    np.testing.assert_array_equal(narrow > 0.5, exact > 0.5)


@pytest.mark.skipif(not REAL, reason="LSTM_EDGE_MODELS names no folder")
def test_speech_decisions_stay(real_int8):
    _, x = real_input("silero_op15")
    exact, narrow = (
        lstm_edge.Model(c).run(x).ravel() for c in (real.converted("silero_op15"), real_int8("silero_op15", 300))
    )
    clear = np.abs(exact - 0.5) > 0.02
    np.testing.assert_array_equal(narrow[clear] > 0.5, exact[clear] > 0.5)


@pytest.mark.skipif(not REAL, reason="LSTM_EDGE_MODELS names no folder")
def test_noise_suppression_stays_within_45_db(real_int8):
    """DTLN's own block loop over the recording; calibrated on its first 400 blocks."""
    audio = np.load(real.ROOT / real.CASES["dtln_1"].reference)["audio_in"]
    exact = denoised(real.converted("dtln_1"), real.converted("dtln_2"), audio)
    narrow = denoised(real_int8("dtln_1", 0), real_int8("dtln_2", 0), audio)
    assert 10 * np.log10(np.square(exact).sum() / np.square(exact - narrow).sum()) >= 45
