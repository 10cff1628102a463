"""Model and Stream as users meet them: shapes, dtypes, ragged batches, states, errors, threads, allocations."""

import ctypes
import gc
import os
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest
from shared import ISAS

import lstm_edge
from lstm_edge import FormatError, LstmEdgeError, ShapeError, UnsupportedModelError, format
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.passes import streaming

INPUTS, HIDDEN, OUTPUTS = 5, 13, 3


def uniform(rng, *shape):
    return rng.uniform(-0.5, 0.5, shape).astype(np.float32)


def lstm_dense(direction="forward", last=False) -> bytes:
    """LSTM(5 -> 13), Dense 3 over every frame, or over the last hidden state alone."""
    rng = np.random.default_rng(7)
    d = 2 if direction == "bidirectional" else 1
    g = Graph()
    x = g.input("x", (BATCH, FRAMES, INPUTS))
    weights = [g.constant(uniform(rng, d, 4 * HIDDEN, n)) for n in (INPUTS, HIDDEN)]
    y, h, _ = g.add("LSTM", [x, *weights], {"direction": direction}, "lstm")
    if last:
        y = g.add1("Reshape", [h, h], {"shape": [1, HIDDEN], "from_input": [0, -1], "from_axis": [1, 0]}, "last")
    g.output("y", g.add1("Dense", [y, g.constant(uniform(rng, OUTPUTS, d * HIDDEN))], {}, "dense"))
    streaming.apply(g)
    return format.to_bytes(g)


@pytest.fixture(params=ISAS)
def model(request):
    return lstm_edge.load(lstm_dense(), request.param)


def frames(n, *batch):
    return np.random.default_rng(n).normal(size=(*batch, n, INPUTS)).astype(np.float32)


def test_run_takes_sequences_with_and_without_a_batch(model):
    x = frames(9, 4)
    whole = model.run(x)
    assert whole.shape == (4, 9, OUTPUTS) and whole.dtype == np.float32
    for b in range(4):
        np.testing.assert_array_equal(model.run(x[b]), whole[b])
    np.testing.assert_array_equal(model.run(x=x), whole)


def test_steps_chunks_and_runs_agree_to_the_bit(model):
    x = frames(23)
    whole = model.run(x)
    stream = model.stream()
    np.testing.assert_array_equal([stream.step(frame) for frame in x], whole)
    for size in (1, 2, 3, 7, 23):
        stream.reset()
        parts = [stream.run(x[t : t + size]) for t in range(0, 23, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    batched = model.stream(batch=2)
    both = [batched.step(np.stack([frame, -frame])) for frame in x]
    np.testing.assert_array_equal(np.array(both)[:, 0], whole)


def test_step_shapes_and_out(model):
    stream = model.stream()
    x = frames(3)
    assert stream.step(x[0]).shape == (OUTPUTS,)
    assert stream.step(x[:1]).shape == (1, OUTPUTS)
    assert stream.step(x[None, :1]).shape == (1, 1, OUTPUTS)
    out = np.empty(OUTPUTS, np.float32)
    stream.reset()
    assert stream.step(x[0], out=out) is out
    assert stream.step(x[1], out=out) is out
    np.testing.assert_array_equal(out, model.run(x[:2])[1])
    for wrong in (
        np.empty(OUTPUTS + 1, np.float32),
        np.empty(OUTPUTS),
        np.empty((2, OUTPUTS), np.float32)[:, ::2],
        [0.0] * OUTPUTS,
    ):
        with pytest.raises(ShapeError):
            stream.step(x[2], out=wrong)
    readonly = np.empty(OUTPUTS, np.float32)
    readonly.flags.writeable = False
    with pytest.raises(ShapeError):
        stream.step(x[2], out=readonly)


def test_last_frame_answers_so_far():
    model = lstm_edge.load(lstm_dense(last=True))
    x = frames(6)
    stream = model.stream()
    for t, frame in enumerate(x):
        np.testing.assert_array_equal(stream.step(frame), model.run(x[: t + 1]))


def test_state_is_saved_and_restored(model):
    x = frames(12)
    stream = model.stream()
    stream.run(x[:5])
    saved = stream.state
    assert {name: a.shape for name, a in saved.items()} == {p.name: (1, 1, HIDDEN) for p in model.states}
    expected = stream.run(x[5:])
    other = model.stream()
    other.state = saved
    np.testing.assert_array_equal(other.run(x[5:]), expected)
    stream.reset()
    np.testing.assert_array_equal(stream.run(x), model.run(x))


def test_a_wrong_state_changes_nothing(model):
    stream = model.stream()
    stream.run(frames(4))
    before = stream.state
    names = list(before)
    for wrong in (
        {},
        {names[0]: before[names[0]]},
        {**before, "other": before[names[0]]},
        {names[0]: before[names[0]] + 1, names[1]: np.zeros((1, 1, HIDDEN + 1), np.float32)},
        {names[0]: before[names[0]] + 1, names[1]: before[names[1]].astype(np.float64)},
        {names[0]: before[names[0]] + 1, names[1]: np.float32(0)},
        None,
    ):
        with pytest.raises(ShapeError):
            stream.state = wrong
        after = stream.state
        for name in names:
            np.testing.assert_array_equal(after[name], before[name])


@pytest.mark.parametrize(
    "call, expected",
    [
        (lambda m: m.run(np.zeros((4, INPUTS + 1), np.float32)), r"input 'x'.*\(frames, 5\).*\(4, 6\)"),
        (lambda m: m.run(np.full((4, INPUTS), 1e39)), "expected values that float32 can hold, found 1e.39 in float64"),
        (lambda m: m.run(np.full((4, INPUTS), 2**24 + 1)), f"float32 can hold, found 16777217 in {np.dtype(int).name}"),
        (lambda m: m.run([[2**24 + 1] * INPUTS]), f"float32 can hold, found 16777217 in {np.dtype(int).name}"),
        (lambda m: m.run(np.zeros((4, INPUTS), complex)), "expected dtype float32, found complex128"),
        (
            lambda m: m.run(np.zeros((4, INPUTS), np.int16)),
            "expected dtype float32, found int16, of which nothing says how",
        ),
        (lambda m: m.run(np.zeros((0, 4, INPUTS), np.float32)), "at least 1 sequence"),
        (lambda m: m.run(np.zeros(INPUTS, np.float32)), r"found \(5,\)"),
        (lambda m: m.run(), "input 'x' is missing"),
        (lambda m: m.run(frames(2), frames(2)), "expected 1 inputs, found 2"),
        (lambda m: m.run(frames(2), y=frames(2)), "unknown input 'y'"),
        (lambda m: m.run(np.zeros((2, INPUTS), "U3")), "expected dtype float32"),
        (lambda m: m.stream(0), "batch: expected"),
        (lambda m: m.stream(batch=2).run(frames(3)), "batch"),
        (lambda m: m.stream(batch=2).step(np.zeros((3, INPUTS), np.float32)), "batch 2"),
        (lambda m: m.run(frames(4, 2), lengths=[1, 5]), "lengths: expected 2 integers from 1 to 4"),
        (lambda m: m.run(frames(4, 2), lengths=[1.0, 2.0]), "lengths"),
    ],
)
def test_wrong_arrays_are_named_and_change_nothing(model, call, expected):
    stream = model.stream()
    stream.run(frames(3))
    before = stream.state
    with pytest.raises(LstmEdgeError, match=expected):
        call(model)
    with pytest.raises(LstmEdgeError):
        stream.step(np.zeros(INPUTS + 2, np.float32))
    with pytest.raises(LstmEdgeError):
        stream.step(np.full(INPUTS, 1e39))
    for name, value in stream.state.items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_ragged_batches_give_the_bits_of_one_by_one(direction):
    model = lstm_edge.load(lstm_dense(direction))
    x = frames(11, 6)
    lengths = np.array([11, 3, 7, 3, 1, 11])
    y = model.run(x, lengths=lengths)
    for b, n in enumerate(lengths):
        np.testing.assert_array_equal(y[b, :n], model.run(x[b, :n]))
        assert not y[b, n:].any()


def scores(masked: bool) -> lstm_edge.Model:
    """softmax(x x^T), (batch, frames, frames), times a mask of that shape; and its sums."""
    g = Graph()
    x = g.input("x", (BATCH, FRAMES, INPUTS))
    y = g.add1("Softmax", [g.add1("MatMul", [x, x], {"trans_b": 1})], {"axis": -1})
    if masked:
        y = g.add1("Binary", [y, g.input("mask", (BATCH, FRAMES, FRAMES))], {"kind": "mul"})
    g.output("scores", y)
    g.output("sums", g.add1("Reduce", [y], {"kind": "sum", "axes": [1]}))
    return lstm_edge.load(format.to_bytes(g))


@pytest.mark.parametrize("masked", [False, True])
def test_ragged_batches_are_cut_along_every_axis_of_frames(masked):
    model = scores(masked)
    x, lengths = frames(7, 4), np.array([7, 2, 5, 2])
    mask = np.random.default_rng(0).random((4, 7, 7), np.float32)
    found = model.run(x, *([mask] if masked else []), lengths=lengths)
    for b, n in enumerate(lengths):
        alone = model.run(x[b : b + 1, :n], *([mask[b : b + 1, :n, :n]] if masked else []))
        np.testing.assert_array_equal(found["scores"][b, :n, :n], alone["scores"][0])
        np.testing.assert_array_equal(found["sums"][b].reshape(-1)[:n], alone["sums"][0].reshape(-1))
        assert not found["scores"][b, n:].any() and not found["scores"][b, :, n:].any()


def test_what_does_not_fit_in_memory_is_refused_with_its_size():
    with pytest.raises(MemoryError, match="cannot allocate [0-9]{11} bytes for 70000 frames of batch 1"):
        scores(False).run(np.zeros((1, 70000, INPUTS), np.float32))


def test_a_model_that_cannot_stream_says_why():
    model = lstm_edge.load(lstm_dense("bidirectional"))
    with pytest.raises(UnsupportedModelError, match="cannot stream.*lstm"):
        model.stream()


def test_nan_and_infinity_travel(model):
    x = frames(4)
    x[1, 2] = np.nan
    y = model.run(x)
    assert np.isfinite(y[0]).all() and np.isnan(y[1:]).all()
    x[1, 2] = np.inf
    assert np.isfinite(model.run(x)[0]).all()


def test_unknown_isas_are_refused(monkeypatch):
    data = lstm_dense()
    with pytest.raises(UnsupportedModelError, match="'quantum'"):
        lstm_edge.load(data, isa="quantum")
    for name in ISAS:
        monkeypatch.setenv("LSTM_EDGE_ISA", name)
        assert lstm_edge.load(data).isa == name
    monkeypatch.setenv("LSTM_EDGE_ISA", "quantum")
    with pytest.raises(UnsupportedModelError, match="LSTM_EDGE_ISA.*'quantum'"):
        lstm_edge.load(data)


def test_damaged_files_are_named(tmp_path):
    data = bytearray(lstm_dense())
    path = tmp_path / "model.lstm"
    for content, message in [
        (data[:100], "truncated|expected .* bytes"),
        (b"", "header"),
        (b"PK\x03\x04" * 40, "magic"),
    ]:
        path.write_bytes(content)
        with pytest.raises(FormatError, match=message) as caught:
            lstm_edge.load(path)
        assert "model.lstm" in str(caught.value)
    data[8] = 9
    with pytest.raises(FormatError, match="major version 2.*9.0"):
        lstm_edge.load(bytes(data))


def test_metadata_nested_too_deep_is_refused():
    room = 400_000
    graph = format.read(lstm_dense())
    graph.metadata["note"] = "x" * room
    data = bytearray(format.to_bytes(graph))
    at = data.index(b'"' + b"x" * room)
    data[at : at + room + 2] = (b"[" * (room // 2 + 1)) + b"]" * (room // 2 + 1)
    data[12:16] = zlib.crc32(bytes(data[16:])).to_bytes(4, "little")
    with pytest.raises(FormatError, match="section META: expected JSON, found .*recursion"):
        lstm_edge.load(bytes(data))


def test_mutated_files_never_crash():
    """Bytes changed on purpose, the checksum made right again: refused by name, or run without touching foreign memory."""
    data = lstm_dense()
    rng = np.random.default_rng(3)
    opened = 0
    for _ in range(1500):
        mutant = bytearray(data)
        for at in rng.integers(64, len(mutant), rng.integers(1, 4)):
            mutant[at] = rng.choice([0, 1, 2, 4, 127, 128, 255, mutant[at] ^ (1 << rng.integers(8))])
        mutant[12:16] = zlib.crc32(bytes(mutant[16:])).to_bytes(4, "little")
        try:
            model = lstm_edge.load(bytes(mutant))
            model.run(frames(2))
            model.stream().step(frames(1)[0])
            opened += 1
        except (LstmEdgeError, MemoryError):
            pass
    assert opened  # most bytes are weights: the loop did reach runs


def test_threads_share_a_model_and_not_a_stream(model):
    x = frames(400)
    expected = model.run(x)
    results = [None] * 4

    def work(i):
        stream = model.stream()
        results[i] = np.array([stream.step(frame) for frame in x])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for result in results:
        np.testing.assert_array_equal(result, expected)


def test_steps_leave_no_memory_behind(model):
    stream = model.stream()
    x = frames(2)

    def resident():
        gc.collect()
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def growth_of_a_round():
        before = resident()
        for _ in range(12500):
            stream.step(x[0])
            assert stream.state
        return resident() - before

    growth_of_a_round()
    # A leak of 16 bytes a step grows every round by 200 kB. An emulator's own memory, which counts here, grows in some round by megabytes.
    assert min(growth_of_a_round() for _ in range(4)) < 1 << 17


def test_a_step_allocates_nothing(tmp_path):
    """ltrace-like count without tools: the C allocator's own statistics around 10000 steps with out= given."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        pytest.skip("the C library has no mallinfo2")

    class Info(ctypes.Structure):
        _fields_ = [
            (n, ctypes.c_size_t)
            for n in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
        ]

    libc.mallinfo2.restype = Info
    stream = lstm_edge.load(lstm_dense()).stream()
    x, out = frames(1)[0], np.empty(OUTPUTS, np.float32)
    stream.step(x, out=out)
    before = libc.mallinfo2()
    for _ in range(10000):
        stream.step(x, out=out)
    after = libc.mallinfo2()
    assert after.hblkhd == before.hblkhd and abs(after.uordblks - before.uordblks) < 4096


def test_import_is_light():
    code = "import sys, lstm_edge; print([m for m in ('click', 'rich', 'onnx', 'torch', 'h5py', 'lstm_edge.graph') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def recurrence(op, direction, ragged) -> lstm_edge.Model:
    """One recurrence with outputs y and h, its sequences ended by `lengths` or by a post- or pre-padding `mask`."""
    rng = np.random.default_rng(11)
    d, gates = 2 if direction == "bidirectional" else 1, {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    g = Graph()
    x = g.input("x", (BATCH, FRAMES, INPUTS))
    inputs = [x] + [g.constant(uniform(rng, d, gates * HIDDEN, n)) for n in (INPUTS, HIDDEN)]
    place = {"LSTM": 6, "GRU": 6, "RNN": 5}[op] + (ragged == "mask")
    inputs += [""] * (place - len(inputs))
    if ragged == "lengths":
        inputs.append(g.input("lengths", (BATCH,), "int32"))
    elif ragged == "mask":
        inputs.append(g.input("mask", (BATCH, FRAMES), "bool"))
    y, h = g.add(op, inputs, {"direction": direction}, "cell")[:2]
    g.output("y", y)
    g.output("h", h)
    return lstm_edge.load(format.to_bytes(g))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_lengths_and_masks_inside_a_model_give_the_bits_of_one_by_one(op, direction):
    alone = recurrence(op, direction, "")
    x, lengths = frames(9, 5), np.array([9, 2, 5, 1, 7], np.int32)
    post = np.arange(9)[None] < lengths[:, None]
    pre = post[:, ::-1]
    ended = recurrence(op, direction, "lengths").run(x, lengths)
    masked = recurrence(op, direction, "mask")
    after, before = masked.run(x, post), masked.run(x, np.ascontiguousarray(pre))
    for b, n in enumerate(lengths):
        expected = alone.run(x[b, :n][None])
        np.testing.assert_array_equal(ended["y"][b, :n], expected["y"][0])
        np.testing.assert_array_equal(ended["h"][:, b], expected["h"][:, 0])
        np.testing.assert_array_equal(after["y"][b, :n], expected["y"][0])
        np.testing.assert_array_equal(after["h"][:, b], expected["h"][:, 0])
        expected = alone.run(x[b, 9 - n :][None])
        np.testing.assert_array_equal(before["y"][b, 9 - n :], expected["y"][0])
        np.testing.assert_array_equal(before["h"][:, b], expected["h"][:, 0])


def test_a_sequence_too_short_for_an_output_is_named(tmp_path):
    """Frames out of no frames are none; the last of none is an error, and so is a window that never fills."""
    graph = Graph()
    x = graph.input("x", (BATCH, FRAMES, 2))
    graph.output("each", graph.add1("Unary", [x], {"kind": "tanh"}))
    model = lstm_edge.load(format.to_bytes(graph))
    assert model.run(np.zeros((3, 0, 2), np.float32)).shape == (3, 0, 2)
    graph.output("mean", graph.add1("Reduce", [x], {"kind": "mean", "axes": [1], "keepdims": 0}))
    model = lstm_edge.load(format.to_bytes(graph))
    assert model.run(np.ones((3, 1, 2), np.float32))["mean"].shape == (3, 2)
    with pytest.raises(ShapeError, match="output 'mean'.*found 0 frames"):
        model.run(np.zeros((3, 0, 2), np.float32))
