"""Traces of gates and states against the float64 reference, in every form of a recurrence and on the real models."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from shared import EXAMPLES, ISAS, MODELS, needs_models
from strategies import Case, cases

import lstm_edge
from lstm_edge import format
from lstm_edge.convert import to_graph
from lstm_edge.insight import Recurrence, Trace, reference_trace
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph, State, Tensor
from lstm_edge.ir.ops import GATES, input_of, op_spec, read_attrs
from lstm_edge.quantize import quantize
from lstm_edge.reference import constant
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


def assert_near(found: Trace, expected: Trace, tolerance: float = 1e-6) -> None:
    """To `tolerance`, of the value where it is above 1, and NaN in the same places."""
    assert list(found) == list(expected) and list(found.arrays) == list(expected.arrays)
    for name, want in expected.arrays.items():
        assert found.arrays[name].shape == want.shape, name
        scale = np.maximum(1, np.abs(want))
        np.testing.assert_allclose(found.arrays[name] / scale, want / scale, rtol=0, atol=tolerance, err_msg=name)


# ---- every form of a recurrence --------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", GATES)
def test_trace_is_the_reference(op):
    """All directions, layouts, activations, clips, couplings, peepholes, projections, both resets, lengths and masks."""

    @settings(max_examples=40, deadline=None)
    @given(cases(op, weights=("float32", "float16")))
    def check(case: Case) -> None:
        for isa in (ISAS[0], ISAS[-1]):
            found, want = load(case.graph, isa).trace(**case.inputs), reference_trace(case.graph, case.inputs)
            unbounded = "activations" in case.graph.nodes[0].attrs  # then rounding grows from frame to frame
            assert_near(found, want, 2e-5 if unbounded else 1e-6)

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


def test_what_has_no_trace_is_named():
    graph = Graph()
    x = graph.input("x", (BATCH, FRAMES, 5, 8))
    (y,) = graph.add("ConvLSTM", [x, graph.constant(values(8, 2, 3))], {}, "images", ["y"])
    graph.output("y", y)
    found = load(graph).trace(values(1, 3, 5, 8))
    assert not found and found.left_out == {"images": "ConvLSTM: its gates are images, one at every position"}


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
