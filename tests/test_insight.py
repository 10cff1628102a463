"""Traces of gates and states against the float64 reference, in every form of a recurrence and on the real models."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from op_bounds import CONDITION, changed
from shared import EXAMPLES, ISAS, MODELS, needs_models
from strategies import Case, cases

import lstm_edge
from lstm_edge import format, reference
from lstm_edge.cli import _run
from lstm_edge.convert import to_graph
from lstm_edge.insight import (
    Recurrence,
    Trace,
    importance,
    integrated_gradients,
    occlusion,
    reference_trace,
    saturation,
)
from lstm_edge.insight.page import page
from lstm_edge.insight.picture import _scale
from lstm_edge.insight.shown import Map
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph, State, Tensor
from lstm_edge.ir.ops import GATES, input_of, op_spec, read_attrs
from lstm_edge.quantize import quantize
from lstm_edge.reference import constant
from lstm_edge.reference.recurrent import LETTERS
from lstm_edge.reference.recurrent import trace as reference_of
from lstm_edge.reference.samples import sample_inputs

RNG = np.random.default_rng(3)


def values(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def lstm(features: int = 3, hidden: int = 4, **attrs: Any) -> Graph:
    """x (batch, frames, features) -> LSTM -> y."""
    graph = Graph()
    directions = 2 if attrs.get("direction") == "bidirectional" else 1
    x = graph.input("x", (BATCH, FRAMES, features))
    weights = [graph.constant(values(directions, 4 * hidden, n)) for n in (features, hidden)]
    (y,) = graph.add("LSTM", [x, *weights, graph.constant(values(directions, 4 * hidden))], attrs, "cell", ["y"])
    graph.output("y", y)
    return graph


def load(graph: Graph, isa: str | None = None) -> Any:
    return lstm_edge.load(format.to_bytes(graph), isa)


def assert_near(found: Trace, expected: Trace, tolerance: float = 1e-6, others: list[Trace] | None = None) -> None:
    """To `tolerance`, of the value where it is above 1, and NaN in the same places. others: what the reference says where inputs and
    weights are moved by what float32 rounds; CONDITION times as far is allowed too, as in test_ops.py."""
    assert list(found) == list(expected) and list(found.arrays) == list(expected.arrays)
    for name, want in expected.arrays.items():
        have = found.arrays[name]
        assert have.shape == want.shape and np.array_equal(np.isnan(have), np.isnan(want)), name
        moved = max((np.nan_to_num(np.abs(o.arrays[name] - want)).max(initial=0) for o in others or []), default=0)
        error = np.nan_to_num(np.abs(have - want)) / (
            tolerance * np.maximum(1, np.nan_to_num(np.abs(want))) + CONDITION * moved
        )
        assert error.max(initial=0) <= 1, (name, error.max())


# ---- every form of a recurrence --------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", LETTERS)
def test_trace_is_the_reference(op):
    """All directions, layouts, activations, clips, couplings, peepholes, projections, both resets, lengths and masks."""

    @settings(max_examples=30, deadline=None)
    @given(cases(op, weights=("float32", "float16")))
    def check(case: Case) -> None:
        want = reference_trace(case.graph, case.inputs)
        rng = np.random.default_rng(0)
        others = [reference_trace(other.graph, other.inputs) for other in (changed(case, rng) for _ in range(3))]
        for isa in (ISAS[0], ISAS[-1]):
            assert_near(load(case.graph, isa).trace(**case.inputs), want, others=others)

    check()


@pytest.mark.parametrize("op", GATES)
def test_a_traced_run_is_the_plain_run(op):
    """h is the answer, bit for bit, also where weights are int8; and the model answers as before."""

    @settings(max_examples=15, deadline=None)
    @given(cases(op))
    def check(case: Case) -> None:
        model = load(case.graph)
        before = model.run(**case.inputs)
        found = model.trace(**case.inputs)
        after = model.run(**case.inputs)
        y, again = (a[model.outputs[0].name] if isinstance(a, dict) else a for a in (before, after))
        assert y.tobytes() == again.tobytes()
        if not any(input_of(case.graph.nodes[0], name) for name in ("lengths", "mask")):
            h = np.concatenate([r.h for r in found.values()], axis=2)
            h = np.swapaxes(h, 0, 1) if case.graph.nodes[0].attrs.get("time_major") else h
            assert h.tobytes() == y.tobytes()

    check()


def test_names_of_arrays():
    found = load(lstm(direction="bidirectional")).trace(values(2, 5, 3))
    assert list(found) == ["cell.forward", "cell.reverse"] and not found.left_out
    forward = found["cell.forward"]
    assert isinstance(forward, Recurrence) and (forward.op, forward.direction) == ("LSTM", "forward")
    assert list(forward.arrays) == ["i", "f", "g", "o", "c", "h"] and forward["f"].shape == (2, 5, 4)
    np.testing.assert_allclose(forward["h"], forward["o"] * np.tanh(forward["c"]), atol=1e-6)
    with pytest.raises(KeyError, match="expected one of i, f, g, o, c, h, found 'z'"):
        forward["z"]
    with pytest.raises(KeyError, match="expected one of cell.forward, cell.reverse, found 'cell'"):
        found["cell"]


def test_reverse_keeps_the_order_of_the_input():
    graph = lstm(direction="reverse")
    x = values(1, 6, 3)
    found = load(graph).trace(x)["cell"]
    forward = copy.deepcopy(graph)
    forward.nodes[0].attrs = {}
    turned = load(forward).trace(np.ascontiguousarray(x[:, ::-1]))["cell"]
    assert found.direction == "reverse"
    for letter in "ifgoch":
        np.testing.assert_array_equal(found[letter], turned[letter][:, ::-1])


def test_ragged_sequences_end():
    model = load(lstm(direction="bidirectional"))
    x = values(3, 7, 3)
    found = model.trace(x, lengths=[7, 2, 5])
    for row, length in enumerate([7, 2, 5]):
        alone = model.trace(x[row : row + 1, :length])
        for name, array in found.arrays.items():
            np.testing.assert_array_equal(array[row, :length], alone.arrays[name][0])
            assert np.isnan(array[row, length:]).all()
    with pytest.raises(lstm_edge.ShapeError, match="lengths: expected 3 integers from 1 to 7"):
        model.trace(x, lengths=[7, 2, 8])


def test_step_models_are_traced_call_by_call():
    """One frame a call, the state carried: the trace of the sequence model."""
    graph = lstm()
    step, x = Graph(), values(9, 1, 1, 3)
    names = {t: step.constant(graph.tensors[t].data) for t in graph.nodes[0].inputs[1:]}
    h, c = (step.fresh(name) for name in "hc")
    step.tensors |= {name: Tensor(name, "float32", (1, BATCH, 4)) for name in (h, c)}
    frame = step.input("x", (BATCH, 1, 3))
    y, h_n, c_n = step.add("LSTM", [frame, *names.values(), h, c], {}, "cell", ["y", "h_n", "c_n"])
    step.output("y", y)
    step.states += [State("h", h, h_n, (1, BATCH, 4)), State("c", c, c_n, (1, BATCH, 4))]
    model = load(step)
    assert model.is_step_model
    found = model.trace(x)
    whole = load(graph).trace(np.swapaxes(x[:, 0], 0, 1))
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
    assert_near(found, reference_trace(step, {"x": x}))


def test_units_of_images_are_positions_times_channels():
    graph = Graph()
    x = graph.input("x", (BATCH, FRAMES, 5, 8))
    (y,) = graph.add("ConvLSTM", [x, graph.constant(values(8, 2, 3))], {}, "images", ["y"])
    graph.output("y", y)
    model, frames = load(graph), values(2, 3, 5, 8)
    np.testing.assert_array_equal(model.trace(frames)["images"].h.reshape(2, 3, 5, 2), model.run(frames))


def test_what_has_no_trace_is_named():
    @settings(max_examples=1)
    @given(cases("IntegerLSTM"))
    def check(case: Case) -> None:
        found = load(case.graph).trace(**case.inputs)
        assert not found and found.left_out == {"op": "IntegerLSTM: it computes in whole numbers of a grid of its own"}

    check()


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_stored_in_less(dtype, tmp_path):
    """float16 computes on rounded weights: the reference's trace of that file. int8 also rounds what they multiply."""
    format.write(lstm(12, 24), tmp_path / "model.lstm")
    quantize(tmp_path / "model.lstm", tmp_path / "small.lstm", weights=dtype)
    x = values(2, 30, 12)
    found = lstm_edge.load(tmp_path / "small.lstm").trace(x)
    assert_near(found, reference_trace(tmp_path / "small.lstm", {"x": x}), 1e-6 if dtype == "float16" else 0.05)


# ---- the real models -------------------------------------------------------------------------------------------------

REAL: dict[str, dict[str, Any]] = {
    "silero_vad/silero_vad_16k_op15.onnx": {
        "overlap": {"input": 64},
        "shapes": {"input": (1, 576)},
        "constants": {"sr": 16000},
    },
    "silero_vad/silero_vad_16k_sequence.onnx": {"overlap": {"input": 64}},
    "silero_vad/silero_vad_openvino_16k.onnx": {"overlap": {"input": 64}},
    "dtln/model_1.onnx": {},
    "dtln/model_2.tflite": {},
    "gtcrn/gtcrn_simple.onnx": {},
    "predmaint/binary_model.h5": {},
    "har_esp32/lstm_model.keras": {},
    "emg_cdt406/model.keras": {},
    "cwru/lstm_model.pt": {"assume": True},
    "dgad/lstm_best.h5": {},
    "nnsplit/model.onnx": {},
    "centaur/centaur.json": {},
    "rtneural/gru_1d.json": {},
    "rtneural/lstm.json": {},
    "tflm/trained_lstm.tflite": {},
    "icu_lstm/weights.json": {"network": EXAMPLES / "networks/icu_thai.toml"},
}


@needs_models
@pytest.mark.parametrize("path", REAL)
def test_gates_of_real_models_are_the_references(path):
    """Every recurrence, each step from what the core had before it: what earlier layers and frames rounded is not its own. To 1e-6,
    or where an argument adds up products of more than 4 in all, to what float32 keeps of such a sum: 2^-22 of it."""
    if not Path(MODELS / path).exists():
        pytest.skip(f"{path} is not among the models")
    graph = to_graph(MODELS / path, **REAL[path])
    inputs = sample_inputs(graph, 8)
    traced = load(graph).trace(**inputs)
    given = operands(graph, inputs)
    assert traced and not traced.left_out
    for node in graph.nodes:
        if node.op in GATES:
            for name in (node.name, f"{node.name}.forward", f"{node.name}.reverse"):
                if name in traced:
                    check_steps(graph, node, traced[name], given)


def operands(graph: Graph, inputs: dict[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    """What the core gives each recurrence, by tensor: its value in each call of the network."""
    probed = copy.deepcopy(graph)
    wanted = {n for node in graph.nodes if node.op in GATES for n in node.inputs if n}
    wanted = {n for n in wanted if not graph.tensors[n].is_constant}
    for name in wanted - {p.name for p in graph.outputs}:
        probed.output(name, name)
    model = load(probed)
    answers = model.run(**inputs)
    answers = answers if isinstance(answers, dict) else {model.outputs[0].name: answers}
    return {n: list(answers[n]) if model.is_step_model else [answers[n]] for n in wanted}


def check_steps(graph: Graph, node: Any, found: Recurrence, given: dict[str, list[np.ndarray]]) -> None:
    """Every frame as a sequence of its own, from the states that the core had before it."""
    attrs, spec = read_attrs(node), op_spec(node).input_names
    assert not any(input_of(node, name) for name in ("lengths", "mask"))
    at = slice(1, 2) if found.name.endswith(".reverse") else slice(0, 1)
    fixed = {n: constant(graph.tensors[i]) for n, i in zip(spec, node.inputs) if i and graph.tensors[i].is_constant}
    done = 0
    for call, x in enumerate(given[node.inputs[0]]):
        x = np.swapaxes(x, 0, 1) if attrs["time_major"] else x
        part = {letter: a[:, done : done + x.shape[1]].astype(np.float64) for letter, a in found.arrays.items()}
        done += x.shape[1]
        operands = {name: array[at] for name, array in fixed.items()}
        operands["x"] = x.reshape(-1, 1, x.shape[2]).astype(np.float64)
        for letter in "hc" if node.op == "LSTM" else "h":
            start = input_of(node, letter + "0")
            first = (
                given[start][call][at] if start in given else operands.get(letter + "0", 0 * part[letter][None, :, 0])
            )
            operands[letter + "0"] = states_before(part[letter], first, found.direction).reshape(
                1, len(operands["x"]), -1
            )
        one_way = {**attrs, "direction": "forward", "time_major": 0}
        gates = reference_of(node, one_way, [operands.get(name) for name in spec]).gates[0, 0]
        for n, letter in enumerate(found.gates):
            rows = slice(n * gates.shape[2], (n + 1) * gates.shape[2])
            want = gates[:, n].reshape(part[letter].shape)
            products = [
                (operands["x"][:, 0], operands["w_ih"][0, rows]),
                (operands["h0"][0], operands["w_hh"][0, rows]),
            ]
            size = sum(np.abs(a) @ np.abs(w).T for a, w in products) + sum(
                np.abs(operands[name][0, rows]) for name in spec if name.startswith("bias") and name in operands
            )
            size = size.reshape(want.shape)
            error = np.abs(part[letter] - want) / np.maximum(1e-6, 2.0**-22 * size)
            assert error.max() <= 1, (found.name, letter, error.max())
    assert done == found.h.shape[1]


def states_before(after: np.ndarray, first: np.ndarray, direction: str) -> np.ndarray:
    """(batch, frames, units) before each frame, from those after it and the initial one (1, batch, units)."""
    first = np.broadcast_to(np.swapaxes(first, 0, 1), (len(after), 1, after.shape[2]))
    parts = [after[:, 1:], first] if direction == "reverse" else [first, after[:, :-1]]
    return np.concatenate(parts, axis=1)


# ---- saturation ------------------------------------------------------------------------------------------------------


def held(f: float, i: float = 0.5) -> Graph:
    """An LSTM of two units whose forget gate is f at every frame and input gate i: from the biases alone."""
    graph, logit = Graph(), lambda p: np.log(p / (1 - p))
    x = graph.input("x", (BATCH, FRAMES, 1))
    bias = np.repeat([logit(i), logit(f), 3.0, logit(0.99)], 2)[None]
    weights = [graph.constant(np.zeros((1, 8, n))) for n in (1, 2)]
    (y,) = graph.add("LSTM", [x, *weights, graph.constant(bias)], {}, "cell", ["y"])
    graph.output("y", y)
    return graph


@pytest.mark.parametrize("f", [0.3, 0.9, 0.99])
def test_memory_is_what_leaves_one_part_in_e(f):
    """The formula against the cell itself: what c holds when nothing more comes in."""
    model = load(held(f, 1e-6))
    found = saturation(model.trace(values(3, 50, 1)))["cell"]
    assert found.gates["i"] == (1.0, 0.0) and found.gates["o"] == (0.0, 1.0) and found.gates["g"] == (0.0, 1.0)
    assert found.gates["f"] == (0.0, float(f > 0.95))
    np.testing.assert_allclose(f**found.memory, np.exp(-1), rtol=1e-4)


def test_saturation_leaves_out_what_has_not_run():
    model = load(lstm())
    x = values(2, 9, 3)
    ragged = saturation(model.trace(x, lengths=[9, 4]))["cell"]
    apart = saturation([model.trace(x[:1]), model.trace(x[1:, :4])])["cell"]
    assert ragged.gates == apart.gates and np.isfinite(ragged.memory).all()
    np.testing.assert_allclose(ragged.memory, apart.memory)


# ---- importance ------------------------------------------------------------------------------------------------------


def classifier(columns: int = 3) -> Graph:
    """(batch, frames, columns) -> LSTM -> the last frame's h -> 2 numbers."""
    graph = lstm(columns)
    graph.outputs.clear()
    last = graph.add1("Gather", ["y", graph.constant(np.int32(-1))], {"axis": 1}, "last")
    graph.output("scores", graph.add1("Dense", [last, graph.constant(values(2, 4))], {}, "scores"))
    return graph


def test_occlusion_is_the_fall_of_the_answer():
    model, x = load(classifier()), values(6, 3)
    found = occlusion(model, x, 1, by="columns", baseline=0.25)
    without = x.copy()
    without[:, 2] = 0.25
    assert found[2] == float(model.run(x)[1]) - float(model.run(without)[1])
    assert occlusion(model, x, 1).shape == (6, 3) and occlusion(model, x, by="frames").shape == (6,)
    with pytest.raises(lstm_edge.ShapeError, match="by: expected one of frames, columns, values, found 'rows'"):
        occlusion(model, x, by="rows")
    with pytest.raises(lstm_edge.ShapeError, match=r"x: expected one sequence .* of rank 2, found shape \(1, 6, 3\)"):
        occlusion(model, x[None])


def test_integrated_gradients_are_complete():
    """They sum to answer(x) - answer(baseline); a column that nothing reads has no share; both ends may be chosen."""
    graph, x = classifier(), values(7, 3)
    graph.tensors[graph.nodes[0].inputs[1]].data[:, :, 1] = 0
    base = values(7, 3)
    found = integrated_gradients(graph, x, 0, baseline=base)
    ends = [reference.run(graph, {"x": a[None].astype(np.float64)})[0]["scores"][0, 0] for a in (x, base)]
    assert found.sum() == pytest.approx(ends[0] - ends[1], abs=1e-7)
    assert np.abs(found[:, 1]).max() < 1e-9 < np.abs(found[:, 0]).max()


def test_gradients_take_nodes_until_the_sum_is_right_and_refuse_a_jump(monkeypatch):
    graph, x = classifier(), values(5, 3)
    ends = [float(reference.run(graph, {"x": a[None]})[0]["scores"][0].sum()) for a in (x, np.zeros((5, 3)))]
    middle = np.mean(ends)
    monkeypatch.setattr(importance, "NODES", (1, 32))
    steep = integrated_gradients(graph, x, lambda scores: float(np.tanh(5 * (scores.sum() - middle))))
    change = [np.tanh(5 * (end - middle)) for end in ends]
    assert steep.sum() == pytest.approx(change[0] - change[1], rel=1e-3)
    with pytest.raises(
        lstm_edge.LstmEdgeError, match="with 32 nodes; a target that jumps, as an argmax does, has no gradient"
    ):
        integrated_gradients(graph, x, lambda scores: float(scores.sum() > middle))


def test_gradients_without_a_batch_axis_are_the_same():
    graph, x = lstm(), values(4, 3)
    want = integrated_gradients(graph, x, 2)
    fixed = copy.deepcopy(graph)
    fixed.tensors["x"].shape = (1, FRAMES, 3)
    np.testing.assert_allclose(integrated_gradients(fixed, x[None], 2)[0], want, atol=1e-9)


# ---- the command, its picture and its page ---------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """model.lstm (LSTM over 3 columns) and x.csv of 300 frames."""
    format.write(lstm(), tmp_path / "model.lstm")
    np.savetxt(tmp_path / "x.csv", values(300, 3), delimiter=",", fmt="%.9g")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_writes_what_it_is_asked_for(folder, capsys):
    assert _run(["trace", "model.lstm", "x.csv", "-o", "gates.npz"]) == 0
    table = capsys.readouterr().out
    assert re.search(r"cell +LSTM +i +[0-9.]+% +[0-9.]+% +[0-9.]+ +[0-9.]+ +[0-9.]+", table)
    x = np.loadtxt("x.csv", delimiter=",", dtype=np.float32)
    found = lstm_edge.load("model.lstm").trace(x)
    with np.load("gates.npz") as written:
        assert sorted(written) == sorted(f"cell.{letter}" for letter in "ifgoch")
        for name, array in found.arrays.items():
            np.testing.assert_array_equal(written[name], array)
    assert _run(["trace", "model.lstm", "x.csv", "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["recurrences"]
    np.testing.assert_allclose(said["memory"], saturation(found)["cell"].memory, rtol=5e-6)  # six digits


def test_the_picture_shows_every_map(folder):
    matplotlib = pytest.importorskip("matplotlib")
    assert _run(["trace", "model.lstm", "x.csv", "-o", "gates.png", "--op", "ce*"]) == 0
    picture = matplotlib.image.imread("gates.png")
    assert picture.shape[0] > picture.shape[1] > 300 and picture.std() > 0.1
    assert sorted(p.name for p in folder.iterdir()) == ["gates.png", "model.lstm", "x.csv"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["-o", "gates.jpg"], "gates.jpg: expected a file to write among .png, .svg, .pdf and .npz, found .jpg"),
        (["-o", "x.csv.npz", "--op", "dense"], "--op: expected one of cell, or a pattern of it, found dense"),
        (["--html", "x.csv"], "x.csv: expected another file than the input to write to"),
        (["--html", "a.html", "--sequence", "1"], "sequence: expected 0 to 0, found 1"),
    ],
)
def test_the_command_says_what_is_wrong(folder, capsys, arguments, message):
    assert _run(["trace", "model.lstm", "x.csv", *arguments]) == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_model_without_recurrences_is_named(folder, capsys):
    graph = Graph()
    x = graph.input("x", (BATCH, FRAMES, 3))
    graph.output("y", graph.add1("Unary", [x], {"kind": "tanh"}, "alone"))
    format.write(graph, "plain.lstm")
    assert _run(["trace", "plain.lstm", "x.csv"]) == 1
    assert "expected a model with an LSTM, GRU, RNN or ConvLSTM op, found none" in " ".join(
        capsys.readouterr().err.split()
    )


def test_names_cannot_end_the_script_of_the_page():
    names = "</script>", "<!--<script>"
    data = (
        page(names[0], [Map(names[1], np.zeros((1, 1), np.float32))], {})
        .partition("const D = ")[2]
        .partition(", $ =")[0]
    )
    assert "<" not in data and (json.loads(data)["title"], json.loads(data)["maps"][0]["name"]) == names


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the page in")
def test_the_page_shows_the_value_under_the_pointer(folder):
    """In a browser: at three places, the last only after scrolling; and nothing is asked of a network."""
    assert _run(["trace", "model.lstm", "x.csv", "--html", "gates.html"]) == 0
    text = Path("gates.html").read_text(encoding="utf-8")
    assert "http" not in text and "src=" not in text and len(text) < 60_000
    points = [("cell.f", 0, 0), ("x", 17, 2), ("cell.c", 290, 3)]
    Path("gates.html").write_text(
        text.replace("</html>", f"<pre id=seen></pre>{POINTING}</html>").replace("POINTS", json.dumps(points))
    )
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder}/profile",
        "--dump-dom",
    ]
    shown = subprocess.run(
        [*command, f"file://{folder}/gates.html"], capture_output=True, text=True, timeout=120
    ).stdout
    lines = re.search(r'<pre id="seen">(.*?)</pre>', shown, re.DOTALL)[1].splitlines()
    x = np.loadtxt("x.csv", delimiter=",", dtype=np.float32)
    arrays = {"x": x[None], **lstm_edge.load("model.lstm").trace(x).arrays}
    assert len(points) == len(lines)
    for (name, frame, unit), line in zip(points, lines):
        place, value = line.rsplit(":", 1)
        assert place.split() == f"{name} frame {frame} unit {unit}".split()
        assert float(value) == pytest.approx(float(arrays[name][0, frame, unit]), abs=2e-4)


# Moves the pointer to the middle of a frame and unit, scrolled into view, and notes what the page says: what lies there gets the event.
POINTING = """<script>
for (const [name, frame, unit] of POINTS) {
  const m = D.maps.find(m => m.name === name);
  scroll.scrollLeft = frame * px - scroll.clientWidth / 2;
  m.canvas.scrollIntoView({block: "center", inline: "nearest"});
  const left = scroll.getBoundingClientRect().left, top = m.canvas.getBoundingClientRect().top;
  const at = {clientX: left + (frame + .5) * px - scroll.scrollLeft, clientY: top + (unit + .5) * m.row, bubbles: true};
  document.elementFromPoint(at.clientX, at.clientY).dispatchEvent(new PointerEvent("pointermove", at));
  $("seen").textContent += $("value").textContent + "\\n";
}
</script>"""


def test_a_raw_input_fills_its_scale():
    raw = np.array([[90.0], [110.0], [np.nan]], np.float32)
    for values, expected in ((raw, (90, 110, "Greys")), (raw - 100, (-10, 10, "RdBu_r")), (raw * 0, (-1, 1, "RdBu_r"))):
        assert _scale(Map("x", values, False)) == expected
