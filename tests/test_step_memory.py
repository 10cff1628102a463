"""The memory of a step: arrays and buffers of every kind, answers that lie where frames do, objects that do not say the truth."""

import array
import os
import subprocess
import sys

import numpy as np
import pytest

import lstm_edge
from lstm_edge import ShapeError, _core, format, step_many
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.passes import streaming

F = np.float32
WIDTH = 6
WITHOUT_THE_INTERFACE = """
import sys
import numpy as np
sys.modules.get("numpy._core._multiarray_umath", sys.modules.get("numpy.core._multiarray_umath"))._ARRAY_API = None
import lstm_edge
from lstm_edge import _core
stream = lstm_edge.load(sys.argv[1]).stream()
x = np.arange(6, dtype=np.float32)
answers = [stream.step(x) for _ in range(3)]
out = np.empty_like(x)
assert stream.step(x, out=out) is out and not _core.arrays_in_place()
print(*answers[-1], *out)
"""


class Liar(np.ndarray):
    """An array that says that it is another one."""

    shape = property(lambda self: (WIDTH,))
    dtype = property(lambda self: np.dtype("float32"))
    nbytes = property(lambda self: 4 * WIDTH)


class Changing:
    """Gives another buffer each time it is asked (from Python 3.12 on)."""

    def __init__(self, *buffers):
        self.buffers = list(buffers)

    def __buffer__(self, flags):
        return memoryview(self.buffers.pop(0) if len(self.buffers) > 1 else self.buffers[0])


def file(batch=BATCH):
    """y = LSTM(x) + x, which reads x after it began to write y; as wide as x."""
    g, rng = Graph(), np.random.default_rng(3)
    x = g.input("x", (batch, FRAMES, WIDTH))
    weights = [g.constant(rng.uniform(-1, 1, (1, 4 * WIDTH, WIDTH)).astype(F)) for _ in range(2)]
    h, _, _ = g.add("LSTM", [x, *weights], {"direction": "forward"}, "lstm")
    g.output("y", g.add1("Binary", [h, x], {"kind": "add"}, "sum"))
    streaming.apply(g)
    return format.to_bytes(g)


@pytest.fixture(scope="module")
def model():
    return lstm_edge.load(file())


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(8, WIDTH)).astype(F)


def misaligned(values):
    held = np.empty(values.nbytes + 1, np.uint8)[1:].view(F).reshape(values.shape)
    held[...] = values
    return held


FORMS = {
    "array": lambda v: v.copy(),
    "a row": lambda v: np.stack([v, v])[1],
    "strided": lambda v: np.repeat(v, 2)[::2],
    "backwards": lambda v: v[::-1].copy()[::-1],
    "other byte order": lambda v: v.astype(v.dtype.newbyteorder()),
    "misaligned": misaligned,
    "a misaligned buffer": lambda v: memoryview(b"." + v.tobytes())[1:].cast("f"),
    "read-only": lambda v: np.frombuffer(v.tobytes(), F),
    "subclass": lambda v: v.copy().view(Liar),
    "its own dtype": lambda v: v.astype(np.dtype("float32", metadata={"unit": "V"})),
    "float64": lambda v: v.astype(float),
    "list": lambda v: v.tolist(),
    "buffer": lambda v: array.array("f", v),
    "bytes of floats": lambda v: memoryview(v.tobytes()).cast("f"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_frame_gives_the_same_answer(model, x, form):
    want, stream = model.run(x), model.stream()
    for t, row in enumerate(x):  # arrays in between, so that each form meets what was seen of the other
        given = FORMS[form](row) if t % 3 else row
        np.testing.assert_array_equal(stream.step(given), want[t])
    assert _core.arrays_in_place()


def test_buffers_then_arrays_then_buffers(model, x):
    """The first array after buffers is looked at anew."""
    want, stream = model.run(x), model.stream()
    for row, answer, form in zip(x, want, ["buffer", "buffer", "array", "array", "array", "buffer", "array", "array"]):
        np.testing.assert_array_equal(stream.step(FORMS[form](row)), answer)


def test_answers_are_arrays_of_their_own(model, x):
    stream = model.stream()
    answers = [stream.step(row) for row in x]
    np.testing.assert_array_equal(answers, model.run(x))
    assert all(type(a) is np.ndarray and a.flags.owndata and a.flags.writeable and a.base is None for a in answers)
    assert {a.dtype for a in answers} == {np.dtype(F)}
    for wrong in np.float32(1), np.array(1, F), x[0][:1], x, memoryview(x[0][:1]):
        with pytest.raises(ShapeError, match="found"):
            stream.step(wrong)
        stream.step(x[0])  # what the next one is compared with
    references = sys.getrefcount(np.dtype(F))
    for _ in range(100):
        stream.step(x[0])
    assert abs(sys.getrefcount(np.dtype(F)) - references) < 50  # made arrays give their dtype back


def test_numpy_without_its_c_interface_gives_the_same_answers(tmp_path, model):
    path = tmp_path / "m.lstm"
    path.write_bytes(file())
    command = [sys.executable, "-c", WITHOUT_THE_INTERFACE, str(path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.getcwd()}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    want = model.run(np.tile(np.arange(WIDTH, dtype=F), (4, 1)))[2:]
    assert [F(word) for word in done.stdout.split()] == want.ravel().tolist()


@pytest.mark.parametrize("shift", [0, 1, -2, WIDTH - 1])
@pytest.mark.parametrize("kind", [np.asarray, memoryview])
def test_an_answer_may_lie_where_the_frame_does(model, x, kind, shift):
    want, stream = model.run(x), model.stream()
    for row, expected in zip(x, want):
        memory = np.zeros(3 * WIDTH, F)
        frame, out = memory[WIDTH : 2 * WIDTH], memory[WIDTH + shift : 2 * WIDTH + shift]
        frame[...] = row
        stream.step(kind(frame), out=kind(out))
        np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(stream._newest(0, (WIDTH,)), x[-1])  # not what the answer made of it


def test_answers_of_many_streams_may_lie_where_their_frames_do(model, x):
    streams, memory = [model.stream() for _ in x], x.copy()
    want = [model.stream().step(row) for row in x]
    assert step_many(streams, memory, out=memory) is memory
    np.testing.assert_array_equal(memory, want)
    np.testing.assert_array_equal([s._newest(0, (WIDTH,)) for s in streams], x)


def test_an_answer_is_written_into_the_memory_that_there_is(model, x):
    stream = model.stream()
    stream.step(x[0])
    room = np.zeros(WIDTH, F)
    for wrong in (
        np.zeros(2, F).view(Liar),
        np.zeros(WIDTH, np.int16).view(Liar),
        np.zeros(2 * WIDTH, F)[::2].view(Liar),
        misaligned(room),
        memoryview(bytearray(4 * WIDTH + 1))[1:].cast("f"),
        Changing(bytearray(3)),
        None if sys.version_info < (3, 12) else Changing(np.zeros(WIDTH + 1, F), np.zeros(1, F)),
    ):
        if wrong is None:
            continue
        for _ in range(2):  # compared with the last step, and analysed anew
            with pytest.raises(ShapeError, match="out: expected one writable C-contiguous float32 array"):
                stream.step(x[1], out=wrong)
    honest = np.zeros(WIDTH, F).view(Liar)
    assert stream.step(x[1], out=honest) is honest
    np.testing.assert_array_equal(np.asarray(honest), model.run(x[:2])[1])
    many = [model.stream(), model.stream()]
    with pytest.raises(ShapeError, match="out: expected"):
        step_many(many, x[:2], out=np.zeros(2, F).view(Liar))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="objects of Python's own have no buffers before Python 3.12")
def test_a_buffer_that_changes_is_read_as_it_was_seen(model, x):
    want, stream = model.run(x[:2]), model.stream()
    np.testing.assert_array_equal(stream.step(Changing(x[0], x[0][:1])), want[0])
    room, short = np.zeros(WIDTH, F), np.zeros(1, F)
    changing = Changing(room, short)
    stream.reset()
    stream.step(x[0], out=changing)
    np.testing.assert_array_equal(room, want[0])
    with pytest.raises(ShapeError):
        stream.step(x[1][:1])


class Asking:
    """Runs something when it is asked for its buffer (from Python 3.12 on)."""

    def __init__(self, act, memory=None):
        self.act, self.memory = act, memory

    def __buffer__(self, flags):
        self.act()
        return memoryview(self.memory)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="objects of Python's own have no buffers before Python 3.12")
def test_a_stream_is_taken_while_a_step_asks_for_memory(model, x):
    """Else the frame would be read as what the step within remembers: here twice as many samples as there is room for."""
    want, stream = model.run(x[:3]), model.stream()
    stream.step(x[0])
    refused = []

    def step_within():
        with pytest.raises(lstm_edge.LstmEdgeError, match="another thread is running it"):
            stream.step(bytes(2 * WIDTH))
        refused.append(True)

    room = np.zeros(WIDTH, F)
    stream.step(x[1], out=Asking(step_within, room))
    np.testing.assert_array_equal(room, want[1])
    np.testing.assert_array_equal(stream.step(x[2]), want[2])
    assert refused


@pytest.mark.skipif(sys.version_info < (3, 12), reason="objects of Python's own have no buffers before Python 3.12")
def test_a_step_that_is_interrupted_gives_the_frame_back(model, x):
    def interrupt():
        raise KeyboardInterrupt

    held, stream = bytearray(x[0].tobytes()), model.stream()
    with memoryview(held).cast("f") as frame:
        stream.step(frame)
        with pytest.raises(KeyboardInterrupt):
            stream.step(frame, out=Asking(interrupt))
        want = model.run(np.tile(x[0], (2, 1)))[1]
        np.testing.assert_array_equal(stream.step(frame), want)
    held.append(0)  # BufferError while something holds it


def test_what_is_no_model_or_stream_is_refused():
    for make in (
        lambda: _core.Stream(None),
        lambda: _core.Model(None),
        lambda: _core.Model.__new__(_core.Model),
        lambda: _core.Stream.__new__(_core.Stream, None),
        lambda: _core.Many(None, 1, 1, 1),
        lambda: _core.Layout(None),
        lambda: lstm_edge.load(None),
        lambda: _core.Stream.step(None, [0.0]),
        lambda: lstm_edge.load(file())._borrow_many(None, 1),
        lambda: step_many([None], [0.0]),
        lambda: step_many(None, [0.0]),
    ):
        with pytest.raises((TypeError, AttributeError, ValueError)):
            make()
    assert _core.Stream(_core.Model.__new__(_core.Model, file())).batch == 1  # there is no model but a whole one


class Refusing:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("of another device")


def test_what_gives_no_values_is_refused_by_name(model, x):
    """Values behind a mask are none; what another library says of its tensor is passed on."""
    for given, found in (
        (np.ma.array(x[0], mask=[1] + [0] * (x.shape[1] - 1)), "expected values, found 1 masked; .filled"),
        (Refusing(), "expected an array of float32, found of another device"),
    ):
        for call in (model.stream().step, model.run):
            with pytest.raises(ShapeError, match=found):
                call(given)
    assert model.stream().step(np.ma.array(x[0])) is not None
