"""TFLite's full-integer LSTM: one op in the runtime's own arithmetic, and float32 with a note where it cannot be that.

test_import_tflite.py compares the recorded models with the runtime's integers.
"""

from __future__ import annotations

import numpy as np
import pytest
from shared import GOLDEN

import lstm_edge
from lstm_edge import format
from lstm_edge.convert import to_graph
from lstm_edge.errors import UnsupportedModelError
from lstm_edge.ir.dims import FRAMES
from lstm_edge.reference import fixed_point as fixed

pytest.importorskip("flatbuffers")
from lstm_edge.importers.tflite import model as importer  # noqa: E402
from lstm_edge.importers.tflite.schema import Operator, SubGraph, load  # noqa: E402

EVERY_INT16 = np.arange(-(2**15), 2**15)


@pytest.mark.parametrize("bits", range(7))
def test_the_fixed_point_functions_are_near_the_real_ones(bits):
    wanted = np.tanh(EVERY_INT16 / 2.0 ** (15 - bits)) * 2.0**15
    assert np.abs(fixed.tanh(EVERY_INT16, bits) - wanted).max() < 13  # of 2^15, gemmlowp's own error
    assert np.abs(fixed.sigmoid(EVERY_INT16) - 2.0**15 / (1 + np.exp(-EVERY_INT16 / 2.0**12))).max() < 7


def test_products_with_scales_and_inverse_roots_are_near_the_real_ones():
    x = np.random.default_rng(0).integers(-(2**24), 2**24, 1000)
    for scale in (0.75, 3e-5, 1.0, 0.0, 2.0**-40):
        assert np.abs(fixed.rescaled(x, *fixed.scale_of(scale)) - x * float(np.float32(scale))).max() <= 1
    for value in (1, 2, 3, 77, 2**27, 2**31 - 1):
        multiplier, shift = fixed.inverse_sqrt(value)
        assert multiplier * 2.0 ** (shift - 31) == pytest.approx(value**-0.5, rel=1e-3)


@pytest.mark.parametrize("name", ["integer_plain", "integer_coupled", "integer_all"])
def test_frames_are_open_and_chunks_do_not_matter(name):
    graph = to_graph(GOLDEN / "tflite" / f"{name}.tflite")
    assert [n.op for n in graph.nodes].count("IntegerLSTM") == 1
    shape = graph.shape(graph.inputs[0].tensor)
    axis = shape.index(FRAMES)
    model = lstm_edge.load(format.to_bytes(graph))
    x = np.random.default_rng(0).integers(-128, 128, [13 if s == FRAMES else s for s in shape]).astype(np.int32)
    stream = model.stream()
    parts = [stream.run(chunk) for chunk in np.split(x, [2, 3, 8], axis)]
    assert np.array_equal(np.concatenate(parts, axis), model.run(x))


def changed(name, monkeypatch, change):
    """A recorded model whose LSTM `change` has changed: it is given the operator and its subgraph."""
    file = load(GOLDEN / "tflite" / f"{name}.tflite")
    main = file.subgraphs[0]
    change(main.operators[0], main)
    monkeypatch.setattr(importer, "load", lambda source: file)
    return importer.read(b"")


def without_the_gates_steps(op: Operator, graph: SubGraph) -> None:
    op.intermediates = op.intermediates[:1]


def with_a_cell_of_odd_steps(op: Operator, graph: SubGraph) -> None:
    graph.tensors[op.inputs[19]].quantization.scale = np.float32([0.0007])


def with_a_hidden_zero_of_its_own(op: Operator, graph: SubGraph) -> None:
    graph.tensors[op.intermediates[4]].quantization.zero_point = np.int64([1])


@pytest.mark.parametrize(
    "change, why",
    [
        (without_the_gates_steps, "its states are not 8 and 16 bits wide"),
        (with_a_cell_of_odd_steps, "the step of its cell is not a power of 2"),
        (with_a_hidden_zero_of_its_own, "the zero points of its hidden output (1) and state (6) differ"),
    ],
)
def test_what_the_runtimes_kernel_does_not_take_runs_in_float32_and_says_why(monkeypatch, change, why):
    graph = changed("integer_plain", monkeypatch, change)
    assert [n.op for n in graph.nodes if "LSTM" in n.op] == ["LSTM"]
    assert any("runs in float32" in note and why in note for note in graph.metadata["notes"])


def test_what_float32_has_not_is_refused_with_the_way_back():
    with pytest.raises(UnsupportedModelError, match="not supported in float32; leave options=.*integer.* out"):
        to_graph(GOLDEN / "tflite" / "integer_norm.tflite", options={"integer": "float"})


def two_sequences(op: Operator, graph: SubGraph) -> None:
    graph.tensors[op.inputs[0]].shape[0] = graph.tensors[op.inputs[0]].signature[0] = 2


def test_a_kernel_that_confuses_sequences_is_refused(monkeypatch):
    with pytest.raises(UnsupportedModelError, match="peepholes, a projection and several sequences"):
        changed("integer_all", monkeypatch, two_sequences)


def test_peepholes_beyond_the_projections_width_are_left_out_as_in_the_runtime():
    notes = to_graph(GOLDEN / "tflite" / "integer_all.tflite").metadata["notes"]
    assert any("peepholes of the first 6 of 8 cells alone" in note for note in notes)
