"""The TFLite importer against the answers of the TFLite runtime (tools/golden/make_tflite.py recorded them)."""

import contextlib
import re
import struct
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from effort import at_once
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import GOLDEN as GOLDENS
from shared import MODELS, needs_models

import lstm_edge
from lstm_edge import format, reference
from lstm_edge.convert import to_graph
from lstm_edge.errors import FormatError, LstmEdgeError, UnsupportedModelError
from lstm_edge.importers.tflite import model as tflite
from lstm_edge.importers.tflite.lowering import LOWER
from lstm_edge.importers.tflite.names import OPERATORS
from lstm_edge.importers.tflite.schema import load
from lstm_edge.ir.dims import BATCH, FRAMES, Dim
from lstm_edge.ir.graph import Graph

GOLDEN = GOLDENS / "tflite"
NAMES = sorted(p.stem for p in GOLDEN.glob("*.tflite"))
HYBRID = {
    "hand_hybrid_lstm": 1e-2,
    "loop_lstm_hybrid": 1e-3,
}  # the runtime rounds activations to 8 bits, this importer does not
KEEPS_STATE = ("fused", "hand", "integer", "stateful")  # in the runtime from one invocation to the next


@cache
def converted(name: str) -> Graph:
    return to_graph(GOLDEN / f"{name}.tflite")


def arrays(name: str) -> tuple[list[np.ndarray], list[np.ndarray], float]:
    """Inputs and outputs per invocation, and the tolerance: one step for integers, none where an LSTM decides."""
    with np.load(GOLDEN / f"{name}.npz") as z:
        inputs = z["in0"].astype(np.int32) if z["in0"].dtype.kind == "i" else z["in0"]
        outputs = [z[k] for k in sorted(z.files) if k.startswith("out")]
    tolerance = 1.0 if outputs[0].dtype.kind == "i" else HYBRID.get(name, 1e-5)
    tolerance = 0.0 if name.startswith(("fused_integer", "integer")) else tolerance
    return inputs, outputs, tolerance


def check(name: str, run) -> None:
    """`run(x)` gives the outputs of one invocation by name; invocations follow one another."""
    graph = converted(name)
    inputs, outputs, tolerance = arrays(name)
    whole = graph.states and name.startswith(KEEPS_STATE) and not graph.metadata["streaming"]["supported"]
    for r, x in enumerate(inputs[:1] if whole else inputs):  # without streaming only the first starts like the runtime
        got = run(x)
        for port, want in zip(graph.outputs, outputs):
            assert got[port.name].shape == want[r].shape
            np.testing.assert_allclose(got[port.name], want[r].astype(float), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_reference_gives_the_runtimes_answers(name):
    graph, states = converted(name), None

    def run(x):
        nonlocal states
        out, states = reference.run(graph, {graph.inputs[0].name: x}, states if name.startswith(KEEPS_STATE) else None)
        return out

    check(name, run)


@pytest.mark.parametrize("name", NAMES)
def test_core_gives_the_runtimes_answers(name):
    graph = converted(name)
    model = lstm_edge.load(format.to_bytes(graph))
    keeps = graph.states and name.startswith(KEEPS_STATE) and graph.metadata["streaming"]["supported"]
    stream = model.stream() if keeps else None

    def run(x):
        out = model.run(x) if stream is None else stream.step(x) if model.is_step_model else stream.run(x)
        return out if isinstance(out, dict) else {model.outputs[0].name: out}

    check(name, run)


RECOGNISED = {
    "loop_lstm": ["LSTM", "LSTM"],
    "loop_lstm_relu_hard": ["LSTM"],
    "loop_lstm2_hard": ["LSTM"],
    "loop_lstm_frames": ["LSTM"],
    "loop_lstm_backwards": ["LSTM"],
    "loop_lstm_hybrid": ["LSTM"],
    "loop_lstm_float16": ["LSTM"],
    "loop_masked_lstm": ["LSTM"],
    "loop_masked_last": ["GRU"],
    "loop_masked_zero": ["LSTM"],
    "loop_masked_bidirectional": ["GRU", "GRU"],
    "loop_masked_bidirectional_zero": ["LSTM", "LSTM"],
    "loop_masked_cast": ["RNN"],
    "loop_cast_counter": ["RNN"],
    "loop_gru": ["GRU", "GRU"],
    "loop_gru_before": ["GRU"],
    "loop_gru2": ["GRU"],
    "loop_rnn": ["RNN", "RNN"],
    "loop_bidirectional": ["LSTM", "LSTM"],
    "loop_lists": ["LSTM", "GRU"],
    "stateful_lstm": ["LSTM"],
    "fused_lstm": ["LSTM", "LSTM"],
    "hand_bidirectional_lstm": ["LSTM"],
    "hand_rnn": ["RNN"],
    "conv_lstm": ["LSTM"],
}


@pytest.mark.parametrize("name", RECOGNISED)
def test_recurrences_are_recognised(name):
    assert [n.op for n in converted(name).nodes if n.op in ("LSTM", "GRU", "RNN")] == RECOGNISED[name]


OPEN = ["fused_lstm", "loop_lstm", "loop_lstm_frames", "loop_gru", "loop_rnn", "loop_lists", "loop_gru2", "hand_rnn"]


@pytest.mark.parametrize("name", OPEN)
def test_frames_are_open_and_chunks_do_not_matter(name):
    graph = converted(name)
    axis = graph.time_axis(graph.inputs[0].tensor)
    assert axis >= 0 and graph.metadata["streaming"]["supported"]
    model = lstm_edge.load(format.to_bytes(graph))
    x = (
        np.random.default_rng(0)
        .standard_normal(
            [13 if s == FRAMES else 1 if isinstance(s, Dim) else s for s in graph.shape(graph.inputs[0].tensor)]
        )
        .astype(np.float32)
    )
    whole, stream = model.run(x), model.stream()
    parts = [stream.run(chunk) for chunk in np.split(x, [2, 3, 8], axis)]
    last = len(graph.shape(graph.outputs[0].tensor)) == 2  # one answer per sequence
    assert np.array_equal(parts[-1] if last else np.concatenate(parts, axis), whole)


def test_a_free_batch_stays_free():
    graph = converted("loop_lists")
    assert graph.shape(graph.inputs[0].tensor) == (BATCH, FRAMES, 5)


def test_variable_tensors_are_states_of_the_stream():
    graph = converted("fused_lstm_step")
    assert [s.shape for s in graph.states] == [(1, 1, 8), (1, 1, 8)]
    assert graph.metadata["step"]


def test_ports_carry_the_signatures_names_and_the_integers_grid():
    graph = converted("fused_integer")
    assert graph.tensors[graph.inputs[0].tensor].dtype == "int32"
    assert set(graph.metadata["input_quantization"][graph.inputs[0].name]) == {"scale", "zero_point"}
    assert graph.metadata["output_dtypes"] == {graph.outputs[0].name: "int8"}


def test_integer_model_as_a_float_one():
    graph = to_graph(GOLDEN / "fused_integer.tflite", options={"integer": "float"})
    assert [n.op for n in graph.nodes if n.op == "LSTM"] == ["LSTM", "LSTM"]
    assert FRAMES in graph.shape(graph.inputs[0].tensor)
    inputs, outputs, _ = arrays("fused_integer")
    for x, want in zip(inputs, outputs[0]):
        got, _ = reference.run(graph, {graph.inputs[0].name: x})
        assert np.abs(got[graph.outputs[0].name] - want).max() <= 4


def test_hybrid_weights_are_exact():
    """The weights are the real numbers scale * q, bit for bit in float32, and a note says so."""
    file, graph = load(GOLDEN / "hand_hybrid_lstm.tflite").subgraphs[0], converted("hand_hybrid_lstm")
    stored = next(t for t in file.tensors if t.dtype == "int8" and t.quantization is not None)
    want = (stored.array.astype(np.float64) * stored.quantization.scale[0]).astype(np.float32)
    assert any(
        t.data is not None
        and t.data.ndim == 3
        and any(np.array_equal(t.data[0, n : n + len(want)], want) for n in range(0, t.data.shape[1], len(want)))
        for t in graph.tensors.values()
        if t.data is not None
    )
    assert any("8 bits or fewer" in n for n in graph.metadata["notes"])


def test_unknown_cells_are_unrolled_and_said_so():
    notes = converted("loop_unknown").metadata["notes"]
    assert any("unrolled 7 trips" in n for n in notes)


@pytest.mark.parametrize(
    "shapes, message",
    [
        ({"nothing": [1, 2]}, "no such input"),
        ({"input_1": [1]}, "expected 3 sizes"),
        ({"input_1": [1, "x", 5]}, "'batch' or 'frames'"),
    ],
)
def test_wrong_shapes_are_named(shapes, message):
    name = converted("fused_lstm").inputs[0].name
    with pytest.raises(UnsupportedModelError, match=re.escape(message)):
        tflite.read(GOLDEN / "fused_lstm.tflite", shapes={name if k == "input_1" else k: v for k, v in shapes.items()})


def test_the_batch_of_a_time_major_layer_is_not_taken_for_frames():
    graph = converted("hand_peephole_time_major")
    assert graph.shape(graph.inputs[0].tensor) == (FRAMES, 2, 5)


def test_given_shapes_hold():
    name = converted("loop_lstm").inputs[0].name
    graph = tflite.read(GOLDEN / "loop_lstm.tflite", shapes={name: [1, 7, 5]})
    assert graph.shape(graph.inputs[0].tensor) == (1, 7, 5)


def test_unknown_options_are_refused():
    with pytest.raises(UnsupportedModelError, match="option 'speed'"):
        tflite.read(GOLDEN / "fused_lstm.tflite", options={"speed": 1})


# ---- what is refused -------------------------------------------------------------------------------------------------


def with_operator(name: str, old: str, new: str) -> bytes:
    """A golden file with an operator code replaced by another."""
    data = bytearray((GOLDEN / f"{name}.tflite").read_bytes())
    a, b = OPERATORS.index(old), OPERATORS.index(new)
    places = [m.start() for m in re.finditer(re.escape(struct.pack("<i", a)), bytes(data))]
    for place in places:
        changed = bytearray(data)
        changed[place : place + 4] = struct.pack("<i", b)
        try:
            kinds = {o.kind for g in load(bytes(changed)).subgraphs for o in g.operators}
        except LstmEdgeError:
            continue
        if new in kinds:
            return bytes(changed)
    raise AssertionError(f"{old} does not occur")


def test_an_operator_without_a_lowering_is_named():
    assert "SVDF" not in LOWER
    with pytest.raises(
        UnsupportedModelError, match=r"operator \d+ .*\(STABLEHLO_SORT\): this operator is not supported"
    ):
        tflite.read(with_operator("hand_rnn", "UNIDIRECTIONAL_SEQUENCE_RNN", "STABLEHLO_SORT"))


def test_every_operator_without_a_lowering_is_named_at_once(monkeypatch):
    file = load(GOLDEN / "fused_lstm.tflite")
    for op, kind in zip(file.subgraphs[0].operators, ("SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM", "RFFT2D", "SVDF")):
        op.kind = kind
    monkeypatch.setattr(tflite, "load", lambda source: file)
    with pytest.raises(
        UnsupportedModelError, match=r"\(SVDF\): .* not supported; neither are RFFT2D \(operator 2\) of this"
    ):
        tflite.read(b"")


# ---- damaged files ---------------------------------------------------------------------------------------------------


def refused_quickly(data: bytes) -> None:
    def read():
        with contextlib.suppress(FormatError, UnsupportedModelError, lstm_edge.ShapeError):
            tflite.read(data)

    at_once(read, 2)


def test_no_tflite_file():
    for data in (b"", b"TFL3", b"\0" * 100, b"\0\0\0\0TFL3" + b"\xff" * 100):
        with pytest.raises(FormatError):
            tflite.read(data)


@pytest.mark.parametrize("name", ["hand_rnn", "fused_integer_step", "loop_rnn"])
def test_truncated_files(name):
    data = (GOLDEN / f"{name}.tflite").read_bytes()
    for size in [*range(0, 200, 7), *range(200, len(data), max(len(data) // 60, 1))]:
        with pytest.raises((FormatError, UnsupportedModelError)):
            tflite.read(data[:size])


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["hand_rnn", "fused_integer_step", "hand_coupled_peephole_projection"]), st.data())
def test_flipped_bytes_give_named_errors_or_a_graph(name, draw):
    data = bytearray((GOLDEN / f"{name}.tflite").read_bytes())
    for _ in range(draw.draw(st.integers(1, 8))):
        data[draw.draw(st.integers(8, len(data) - 1))] = draw.draw(st.integers(0, 255))
    refused_quickly(bytes(data))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes(tail):
    with pytest.raises((FormatError, UnsupportedModelError)):
        tflite.read(b"\x10\0\0\0TFL3" + tail)


def test_shared_offsets_cannot_ask_for_quadratic_work():
    """A vector of subgraphs that all point to one table with many tensors: a few kilobytes of file, 10^8 tables."""
    import flatbuffers

    count = 10_000
    b = flatbuffers.Builder(1 << 18)
    b.StartObject(10)
    tensor = b.EndObject()
    b.StartVector(4, count, 4)
    for _ in range(count):
        b.PrependUOffsetTRelative(tensor)
    tensors = b.EndVector()
    b.StartObject(5)
    b.PrependUOffsetTRelativeSlot(0, tensors, 0)
    graph = b.EndObject()
    b.StartVector(4, count, 4)
    for _ in range(count):
        b.PrependUOffsetTRelative(graph)
    graphs = b.EndVector()
    b.StartObject(8)
    b.PrependUint32Slot(0, 3, 0)
    b.PrependUOffsetTRelativeSlot(2, graphs, 0)
    b.Finish(b.EndObject(), b"TFL3")
    data = bytes(b.Output())

    def refused():
        with pytest.raises(FormatError, match="overlap without end"):
            tflite.read(data)

    at_once(refused, 5)


# ---- the page --------------------------------------------------------------------------------------------------------


def test_the_page_lists_what_there_is():
    page = (Path(__file__).parents[1] / "docs" / "tflite.md").read_text()
    assert set(re.findall(r"`([A-Z][A-Z0-9_]+|Flex\w+)`", page.split("## Limits")[0])) == set(LOWER)


# ---- real models -----------------------------------------------------------------------------------------------------


@needs_models
@pytest.mark.parametrize(
    "path, reference_file, key",
    [
        ("dtln/model_1", "dtln/tflite_float", ("in1", "out1")),
        ("dtln/model_2", "dtln/tflite_float", ("in2", "out2")),
        ("emg_cdt406/model", "emg_cdt406/model.tflite", None),
        ("tflm/trained_lstm", "tflm/trained_lstm.tflite", None),
    ],
)
def test_real_models(path, reference_file, key):
    graph = to_graph(MODELS / f"{path}.tflite")
    with np.load(MODELS / f"{reference_file}.ref.npz") as z:
        names = key or (next(k for k in z.files if k.startswith("in")), "out0")
        x, want = z[names[0]], z[names[1]]
    if key is None and graph.states:
        x, want = x[None], want[None]  # a step model takes frames first
    run = reference.run_frames if graph.states else reference.run
    got, states = run(graph, {graph.inputs[0].name: x})
    if key is not None:
        with np.load(MODELS / f"{reference_file}.ref.npz") as z:
            np.testing.assert_allclose(next(iter(states.values())), z[key[0].replace("in", "st")], rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(got[graph.outputs[0].name], want, rtol=0, atol=1e-5)
    model = lstm_edge.load(format.to_bytes(graph))
    np.testing.assert_allclose(model.run(x), want, rtol=0, atol=1e-5)
