"""Real trained models against the answers of their own runtimes, on every kernel table, whole and cut into chunks.

The models lie outside the repository: LSTM_EDGE_MODELS names their folder. Without it these tests are skipped.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shared import ISAS

import lstm_edge
from lstm_edge import format
from lstm_edge.convert import to_graph

FOLDER = os.environ.get("LSTM_EDGE_MODELS")
if not FOLDER:
    pytest.skip("LSTM_EDGE_MODELS names no folder", allow_module_level=True)
ROOT = Path(FOLDER)
TOLERANCE = 1e-5
CHUNKS = (1, 2, 3, 7)


@dataclass(frozen=True)
class Case:
    """`prepare` turns the reference file into the input as Model.run takes it, and the answer wanted."""

    path: str
    reference: str
    prepare: Callable[[Any], tuple[np.ndarray, np.ndarray]]
    options: dict[str, Any] = field(default_factory=dict)
    frames_axis: int = 0  # of the input
    answers: str = (
        "frames"  # one per frame along axis frames_axis, or `last`: one per sequence, or `whole`: not to be cut
    )
    final_states: dict[str, str] = field(default_factory=dict)  # state name -> key of the reference file


def _new_samples(key: str) -> Callable[[Any], tuple[np.ndarray, np.ndarray]]:
    """Silero: the first 64 of 576 samples are the end of the frame before, which the stream keeps."""
    return lambda z: (np.ascontiguousarray(z["input"][..., 64:]), z[key])


SILERO = {"overlap": {"input": 64}}
CASES = {
    "silero_op15": Case(
        "silero_vad/silero_vad_16k_op15.onnx",
        "silero_vad/silero_vad_16k_op15.ref.npz",
        _new_samples("prob"),
        {**SILERO, "shapes": {"input": (1, 576)}, "constants": {"sr": 16000}},
    ),
    "silero_openvino": Case(
        "silero_vad/silero_vad_openvino_16k.onnx",
        "silero_vad/silero_vad_openvino_16k.ref.npz",
        _new_samples("prob"),
        SILERO,
    ),
    "silero_sequence": Case(
        "silero_vad/silero_vad_16k_sequence.onnx",
        "silero_vad/silero_vad_16k_sequence.ref.npz",
        _new_samples("speech_probs"),
        SILERO,
        final_states={"h": "hn", "c": "cn"},
    ),
    "dtln_1": Case("dtln/model_1.onnx", "dtln/model_12_onnx.ref.npz", lambda z: (z["in1"], z["out1"])),
    "dtln_2": Case("dtln/model_2.onnx", "dtln/model_12_onnx.ref.npz", lambda z: (z["in2"], z["out2"])),
    "gtcrn": Case("gtcrn/gtcrn_simple.onnx", "gtcrn/gtcrn_simple.ref.npz", lambda z: (z["mix"], z["enh"])),
    "predmaint": Case(
        "predmaint/binary_model.h5",
        "predmaint/binary_turbofan_test.ref.npz",
        lambda z: (z["x"], z["p"][:, None]),
        {},
        1,
        "last",
    ),
    "har": Case(
        "har_esp32/lstm_model.keras", "har_esp32/lstm_model.keras.ref.npz", lambda z: (z["x"], z["y"]), {}, 1, "last"
    ),
    "emg": Case("emg_cdt406/model.keras", "emg_cdt406/model.keras.ref.npz", lambda z: (z["x"], z["y"]), {}, 0, "whole"),
    "cwru": Case(
        "cwru/lstm_model.pt", "cwru/lstm_model.ref.npz", lambda z: (z["x"], z["y"]), {"assume": True}, 1, "last"
    ),
    "dgad": Case(
        "dgad/lstm_best.h5",
        "dgad/lstm_best.post.ref.npz",
        lambda z: (z["x"].astype(np.int32), z["y"][:, None]),
        {},
        1,
        "last",
    ),
    "nnsplit": Case(
        "nnsplit/model.onnx",
        "nnsplit/model.ref.npz",
        lambda z: (z["input"].astype(np.int32), z["output"]),
        {},
        1,
        "whole",
    ),
}
CAUSAL = [name for name, case in CASES.items() if case.answers != "whole"]


@cache
def converted(name: str) -> bytes:
    return format.to_bytes(to_graph(ROOT / CASES[name].path, **CASES[name].options))


def load(name: str, isa: str) -> tuple[Any, np.ndarray, np.ndarray, Any]:
    case = CASES[name]
    reference = np.load(ROOT / case.reference)
    return lstm_edge.load(converted(name), isa), *case.prepare(reference), reference


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", CASES)
def test_reproduces_its_reference(name, isa):
    model, x, want, reference = load(name, isa)
    got = model.run(x)
    assert got.shape == want.shape or got.size == want.size
    scale = max(1.0, float(np.abs(want).max()) / 10) if name == "nnsplit" else 1.0
    np.testing.assert_allclose(got.reshape(want.shape), want, rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.final_states])
def test_ends_in_the_reference_state(name):
    model, x, _, reference = load(name, ISAS[-1])
    stream = model.stream()
    stream.run(x)
    for state, key in CASES[name].final_states.items():
        np.testing.assert_allclose(stream.state[state], reference[key], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", CAUSAL)
def test_chunks_do_not_matter(name, isa):
    case = CASES[name]
    model, x, _, _ = load(name, isa)
    framed = model.is_step_model
    axis = case.frames_axis
    batch = None if framed or axis == 0 else min(len(x), 3)
    x = x[:batch] if batch else x[:210]
    whole = model.run(x)
    frames = x.shape[axis]
    for size in (*CHUNKS, frames):
        stream = model.stream(batch)
        pieces = np.split(x, range(size, frames, size), axis)
        answers = [stream.run(np.ascontiguousarray(p)) for p in pieces]
        got = answers[-1] if case.answers == "last" else np.concatenate([a for a in answers if a is not None], axis)
        assert got.tobytes() == whole.tobytes(), f"chunks of {size}: {np.abs(got - whole).max()}"


def test_dtln_over_a_whole_recording():
    """The model's own block loop: 512 samples every 128, spectrum masked by block 1, the block then cleaned by block
    2."""
    reference = np.load(ROOT / CASES["dtln_1"].reference)
    audio, block, hop = reference["audio_in"], 512, 128
    one, two = (lstm_edge.load(converted(name)).stream() for name in ("dtln_1", "dtln_2"))
    came, went, cleaned = np.zeros(block, np.float32), np.zeros(block, np.float32), np.zeros(len(audio), np.float32)
    for start in range(0, (len(audio) - block + hop) // hop * hop, hop):
        came = np.concatenate([came[hop:], audio[start : start + hop]])
        spectrum = np.fft.rfft(came)
        magnitude = np.abs(spectrum).astype(np.float32)
        mask = one.step(magnitude.reshape(1, 1, -1)).reshape(-1)
        estimate = np.fft.irfft(magnitude * mask * np.exp(1j * np.angle(spectrum))).astype(np.float32)
        went = np.concatenate([went[hop:], np.zeros(hop, np.float32)]) + two.step(estimate.reshape(1, 1, -1)).reshape(
            -1
        )
        cleaned[start : start + hop] = went[:hop]
    np.testing.assert_allclose(cleaned, reference["audio_out"], rtol=0, atol=TOLERANCE)
    for stream, state, key in ((one, "input_3", "st1_final"), (two, "input_5", "st2_final")):
        np.testing.assert_allclose(stream.state[state], reference[key], rtol=TOLERANCE, atol=TOLERANCE)


def test_turbofan_classes_are_as_published():
    model, x, want, reference = load("predmaint", ISAS[-1])
    classes = model.run(x)[:, 0] > 0.5
    np.testing.assert_array_equal(classes, want[:, 0] > 0.5)
    np.testing.assert_array_equal(classes, reference["published_binary"] > 0.5)
    assert np.mean(classes == reference["label"]) == pytest.approx(0.978, abs=5e-4)


def test_sentence_boundaries():
    model, x, want, _ = load("nnsplit", ISAS[-1])
    probability = 1 / (1 + np.exp(-model.run(x)[0, :, 0].astype(np.float64)))
    np.testing.assert_array_equal(np.flatnonzero(probability > 0.5), [19, 41, 90, 115])


def test_what_cannot_stream_says_why():
    with pytest.raises(lstm_edge.UnsupportedModelError, match="bidirectional"):
        lstm_edge.load(converted("nnsplit")).stream()


NODE_CASES = (
    sorted(p.name for p in (ROOT / "onnx_node").iterdir() if p.is_dir()) if (ROOT / "onnx_node").is_dir() else []
)


def _protobuf(path: Path) -> np.ndarray:
    onnx = pytest.importorskip("onnx")
    proto = onnx.TensorProto()
    proto.ParseFromString(path.read_bytes())
    return onnx.numpy_helper.to_array(proto)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", NODE_CASES)
def test_onnx_conformance_case(name, isa):
    onnx = pytest.importorskip("onnx")
    folder = ROOT / "onnx_node" / name
    proto = onnx.load(folder / "model.onnx").graph
    given = {p.name: _protobuf(folder / "test_data_set_0" / f"input_{n}.pb") for n, p in enumerate(proto.input)}
    want = [_protobuf(folder / "test_data_set_0" / f"output_{n}.pb") for n in range(len(proto.output))]
    constants = {k: v for k, v in given.items() if k != "X"}  # weights are run-time inputs there
    graph = to_graph(folder / "model.onnx", constants=constants)
    model = lstm_edge.load(format.to_bytes(graph), isa)
    got = model.run(given["X"])
    got = list(got.values()) if isinstance(got, dict) else [got]
    for port, a, b in zip(model.outputs, got, want):
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE, err_msg=port.name)
        assert a.shape == b.shape, port.name


@pytest.mark.parametrize("name", ["silero_op15", "dtln_1", "nnsplit", "predmaint", "cwru"])
def test_a_converted_file_proves_itself(name, tmp_path):
    case = CASES[name]
    path = tmp_path / "model.lstm"
    lstm_edge.convert(ROOT / case.path, path, **case.options)
    for isa in ISAS:
        report = lstm_edge.verify(path, isa)
        assert report.passed, report
    assert report.source
