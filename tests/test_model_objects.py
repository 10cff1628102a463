"""Model and Stream as Python objects: what they say they are, copies and pickles, processes, many threads, refused batches, no frames."""

import copy
import json
import multiprocessing
import os
import pickle
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from test_runtime import INPUTS, OUTPUTS, frames, lstm_dense

import lstm_edge
from lstm_edge import FormatError, LstmEdgeError, ShapeError, format
from lstm_edge.bench import bench
from lstm_edge.ir.dims import FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.passes import streaming


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "m.lstm"
    path.write_bytes(lstm_dense())
    return lstm_edge.load(path)


def one_sequence() -> lstm_edge.Model:
    """A model whose inputs have no open batch."""
    g = Graph()
    x = g.input("x", (1, FRAMES, 2))
    weights = [g.constant(np.full((1, 12, n), 0.1, np.float32)) for n in (2, 3)]
    g.output("y", g.add("LSTM", [x, *weights], {}, "lstm")[0])
    streaming.apply(g)
    return lstm_edge.load(format.to_bytes(g))


# ---- what they say they are


def test_repr_says_shapes_isa_precision_and_bytes(model):
    assert repr(model) == (
        f"<lstm_edge.Model x (batch, frames, 5) -> y (batch, frames, 3): float32 weights, {model.isa}, {model.nbytes:,} bytes>"
    )
    stream = model.stream()
    stream.run(frames(4))
    stream.step(frames(1)[0])
    stream.step(frames(1)[0])
    assert "one sequence, 6 frames done" in repr(stream) and f"{stream.nbytes:,} bytes" in repr(stream)
    stream.adaptation()
    assert "batch 3, 0 frames done" in repr(model.stream(3)) and "adapting" in repr(stream)


# ---- copies


def test_a_model_is_its_own_copy_and_pickles_by_its_bytes(model):
    assert copy.copy(model) is model and copy.deepcopy(model) is model
    for made in (model, lstm_edge.load(lstm_dense()), lstm_edge.load(memoryview(lstm_dense()))):
        again = pickle.loads(pickle.dumps(made))
        assert again is not made and again.isa == made.isa
        np.testing.assert_array_equal(again.run(frames(5)), model.run(frames(5)))
    scalar = lstm_edge.load(lstm_dense(), "scalar")
    assert pickle.loads(pickle.dumps(scalar)).isa == "scalar"


def test_a_file_that_changed_is_not_pickled_in_its_place(tmp_path):
    path = tmp_path / "m.lstm"
    path.write_bytes(lstm_dense())
    model = lstm_edge.load(path)
    path.write_bytes(lstm_dense(last=True))
    with pytest.raises(LstmEdgeError, match="m.lstm: expected the file that the model was loaded from"):
        pickle.dumps(model)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        pickle.dumps(model)
    assert model.run(frames(2)).shape == (2, OUTPUTS)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copied_stream_goes_on_from_where_it_was(model, again):
    stream = model.stream()
    stream.adaptation(0.9, 0.5)
    for x in frames(6):
        stream.step(x)
        stream.adapt(np.ones(OUTPUTS))
    other = again(stream)
    assert other is not stream and repr(other) == repr(stream)
    for x in frames(5):
        np.testing.assert_array_equal(stream.step(x), other.step(x))
        stream.adapt(np.zeros(OUTPUTS)), other.adapt(np.zeros(OUTPUTS))
    stream.step(frames(1)[0])
    assert not np.array_equal(stream.state["lstm.h"], other.state["lstm.h"])


def test_a_copied_batch_stays_one(model):
    stream = model.stream(2)
    x = frames(1, 2)[:, 0]
    stream.step(x)
    other = pickle.loads(pickle.dumps(stream))
    assert other.batched and other.batch == 2
    np.testing.assert_array_equal(stream.step(x), other.step(x))


# ---- processes and threads


def one_step(stream, x):
    return stream.step(x), os.getpid()


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_models_and_streams_go_to_other_processes(model, method):
    stream = model.stream()
    stream.run(frames(7))
    x = frames(1)[0]
    with multiprocessing.get_context(method).Pool(1) as pool:
        answer, where = pool.apply(one_step, (stream, x))
        whole = pool.apply(model.run, (frames(4),))
    assert where != os.getpid()
    np.testing.assert_array_equal(answer, stream.step(x))
    np.testing.assert_array_equal(whole, model.run(frames(4)))


def test_joblib_runs_models(model):
    joblib = pytest.importorskip("joblib")
    answers = joblib.Parallel(n_jobs=2, backend="loky")(joblib.delayed(model.run)(frames(n)) for n in (3, 4))
    for n, answer in zip((3, 4), answers):
        np.testing.assert_array_equal(answer, model.run(frames(n)))


def test_64_streams_in_8_threads_are_as_one_by_one(model):
    x = np.random.default_rng(5).normal(size=(64, 20, INPUTS)).astype(np.float32)

    def one_by_one(sequence):
        stream = model.stream()
        return np.array([stream.step(frame) for frame in sequence])

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(one_by_one, x))
    np.testing.assert_array_equal(together, [one_by_one(sequence) for sequence in x])


# ---- what cannot be


def test_a_batch_that_the_model_cannot_have_is_refused():
    model = one_sequence()
    assert model.stream().step(np.zeros(2, np.float32)).shape == (3,)
    assert model.stream(1).batched
    expected = (
        r"batch: expected 1, since no size of the model's inputs is an open batch \(x \(1, frames, 2\)\), found 4"
    )
    with pytest.raises(ShapeError, match=expected):
        model.stream(4)
    for mode in ("step", "chunk", "sequence", "many"):
        with pytest.raises(ShapeError, match=expected):
            bench(model, mode=mode, batch=4)


@pytest.mark.parametrize("batch", [0, -1, 1.5, "2", True, np.float32(2), np.bool_(True)])
def test_a_batch_that_is_none_is_refused(model, batch):
    with pytest.raises(ShapeError, match="batch: expected an int of at least 1 or None"):
        model.stream(batch)


@pytest.mark.parametrize(
    "code",
    [
        "core.Stream(None)",
        "core.Many(None, 1, 1, 1)",
        "core.Stream.__new__(core.Stream)",
        "core.Model.__new__(core.Model).stream()",
        "core.Layout.__new__(core.Layout)",
        "core.load(data, isa='scalar\\0x')",
        "core.load(data, isa=1)",
        "core.load(data, isa='\\ud800')",
        "model._borrow_many(None, 1)",
        "model.stream()._full_frame(None, None)",
    ],
)
def test_what_is_no_model_or_stream_is_an_error_and_no_crash(tmp_path, code):
    (tmp_path / "m.lstm").write_bytes(lstm_dense())
    program = f"import lstm_edge; from lstm_edge import _core as core; data = open('m.lstm', 'rb').read(); model = core.load(data); {code}"
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1 and "Error" in done.stderr.splitlines()[-1], done.stderr


def test_a_model_is_whole_when_it_is_made(model):
    made = lstm_edge.Model.__new__(lstm_edge.Model, lstm_dense())
    assert made.inputs == model.inputs and made.stream().step(frames(1)[0]).shape == (OUTPUTS,)


class Liar(np.ndarray):
    """Says that it has a shape that its buffer has not."""

    shape = property(lambda self: (OUTPUTS,), lambda self, value: None)


def test_out_is_believed_by_its_buffer_alone(model):
    stream = model.stream()
    x = frames(1)[0]
    state = stream.state
    for _ in range(2):  # a first step, and one like the step before
        small = np.zeros(OUTPUTS - 2, np.float32).view(Liar)
        with pytest.raises(ShapeError, match="out: expected"):
            stream.step(x, out=small)
        with pytest.raises(ShapeError, match="out: expected"):
            stream.step(x, out=np.zeros(OUTPUTS, np.int32))
        for name, value in stream.state.items():
            np.testing.assert_array_equal(value, state[name])
        stream.step(x)
        state = stream.state


# ---- no frames


@pytest.mark.parametrize("last", [False, True])
def test_no_frames_move_nothing(last):
    """Outputs of frames have none; what is not one of frames answers by the states as they stand; step takes one frame, no less."""
    model = lstm_edge.load(lstm_dense(last=last))
    none = np.zeros((0, INPUTS), np.float32)
    fresh = model.run(none)
    assert fresh.shape == ((OUTPUTS,) if last else (0, OUTPUTS))
    stream = model.stream()
    newest = stream.run(frames(5))
    before = stream.state
    answer = stream.run(none)
    np.testing.assert_array_equal(answer, newest if last else newest[:0])
    for refused in (lambda: stream.step(none), lambda: lstm_edge.step_many([stream], none[None])):
        with pytest.raises(ShapeError, match=r"input 'x': expected .* frames 1, found \(0, "):
            refused()
    for name, value in stream.state.items():
        np.testing.assert_array_equal(value, before[name])
    np.testing.assert_array_equal(
        stream.run(frames(3)), model.run(np.concatenate([frames(5), frames(3)]))[... if last else slice(5, None)]
    )


def test_bytes_that_are_no_file_are_named(tmp_path):
    with pytest.raises(FormatError, match="header: expected at least 64 bytes"):
        lstm_edge.load(b"")
    with pytest.raises(TypeError):
        lstm_edge.load(3.5)
    assert json.loads(json.dumps(lstm_edge.load(lstm_dense()).metadata))["streaming"]["supported"]


# ---- metadata of other kinds than a reader expects -------------------------------------------------------------------


@pytest.mark.parametrize(
    "metadata",
    [
        *(
            {"streaming": {"supported": True, "multiple": m}}
            for m in (float("inf"), "2", [1], -1, 0, 1 << 40, None, True)
        ),
        *({"streaming": s} for s in ([], "x", None, {"supported": 1}, {"why": 1})),
        *(
            {"outputs": s}
            for s in ([], {"y": 3}, {"y": [None]}, {"y": [-1]}, {"y": [1.5]}, {"y": [1 << 62]}, {"y": [1] * 9})
        ),
        *(
            {name: [1]}
            for name in ("source", "ports", "pairs", "overlap", "self_test", "before", "scale", "forecast", "delay")
        ),
        *({"source": {"name": n}} for n in (None, 1, {})),
        *({"notes": n} for n in ("x", [1], {"a": 1})),
        {"sample_rate": "16000"},
        {"sample_rate": float("nan")},
        {"converter": 1},
        {"arithmetic": {"relative": "much"}},
        {"pairs": {"a": 1}},
        {"overlap": {"x": "3"}},
        {"source": {"name": "a\ud800"}},
    ],
    ids=repr,
)
def test_metadata_of_another_kind_is_a_format_error(metadata):
    data = with_metadata(lstm_dense(), metadata)
    for read in (lstm_edge.load, format.read):
        with pytest.raises(FormatError, match=f"section META: ({next(iter(metadata))}: )?.*expected .* found "):
            read(data)


def with_metadata(data, changed):
    """The file with entries of its metadata replaced, size and checksum made right."""
    row = next(at for at in range(64, len(data), 32) if data[at : at + 4] == b"META")
    offset, size = struct.unpack_from("<QQ", data, row + 8)
    text = json.dumps({**json.loads(data[offset : offset + size]), **changed}).encode()
    out = bytearray(data.ljust(-(-len(data) // 64) * 64, b"\0") + text)
    struct.pack_into("<QQ", out, row + 8, len(out) - len(text), len(text))
    struct.pack_into("<Q", out, 16, len(out))
    struct.pack_into("<I", out, 12, zlib.crc32(memoryview(out)[16:]))
    return bytes(out)


@pytest.mark.parametrize("shape", [["batch*frames", 3], ["2*frames-1", 3], ["frames", "frames", "frames", 3]])
def test_a_stream_runs_whatever_shape_metadata_says_of_an_output(shape):
    model = lstm_edge.load(with_metadata(lstm_dense(), {"outputs": {"y": shape}}))
    stream = model.stream()
    for call in (
        lambda: stream.run(frames(4)),
        lambda: stream.step(frames(1)[0]),
        lambda: stream.state,
        lambda: copy.copy(stream),
    ):
        try:
            call()
        except LstmEdgeError:
            pass
