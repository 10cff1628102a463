"""Many streams in one call, and a batch over threads: the bits of one by one, whatever the streams, the model and the threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from shared import ISAS, needs_models
from test_real_models import converted

import lstm_edge
from lstm_edge import LstmEdgeError, Model, ShapeError, Stream, format, step_many
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.passes import streaming
from lstm_edge.quantize import Narrower

F = np.float32
INPUTS = 6


class Maker:
    """A graph over frames of INPUTS values, and its weights."""

    def __init__(self, time_major: bool = False, batch: Any = BATCH) -> None:
        self.rng = np.random.default_rng(3)
        self.graph = Graph()
        lead = (FRAMES, batch) if time_major else (batch, FRAMES)
        self.x = self.graph.input("x", (*lead, INPUTS))
        self.time_major = time_major

    def weights(self, *shape: int) -> str:
        return self.graph.constant(self.rng.normal(0, 0.4, shape).astype(F))

    def recurrence(self, op: str, x: str, inputs: int, hidden: int) -> str:
        gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
        arrays = [self.weights(1, gates * hidden, n) for n in (inputs, hidden)]
        return self.graph.add(op, [x, *arrays], {"time_major": int(self.time_major)}, op.lower())[0]

    def finish(self, **outputs: str) -> Graph:
        for name, tensor in outputs.items():
            self.graph.output(name, tensor)
        streaming.apply(self.graph)
        assert self.graph.metadata["streaming"]["supported"], self.graph.metadata["streaming"]
        return self.graph


def recurrent(op: str, time_major: bool = False, batch: Any = BATCH) -> Graph:
    m = Maker(time_major, batch)
    y = m.recurrence(op, m.recurrence(op, m.x, INPUTS, 21), 21, 17)
    return m.finish(y=m.graph.add1("Dense", [y, m.weights(3, 17)], {}, "dense"), hidden=y)


def windows(stride: int = 1) -> Graph:
    """A window of 4 frames that fills up, then a recurrence over its answers."""
    m = Maker()
    attrs = {"pads": [0, 0], "strides": [stride]}
    front = m.graph.add1("Transpose", [m.x], {"perm": [0, 2, 1]}, "channels first")
    y = m.graph.add1("Conv", [front, m.weights(5, INPUTS, 4), m.weights(5)], attrs, "conv")
    y = m.graph.add1("Transpose", [y], {"perm": [0, 2, 1]}, "channels last")
    return m.finish(y=m.recurrence("LSTM", y, 5, 9))


def table() -> Graph:
    """Whole numbers that are rows of a table of ten."""
    m = Maker()
    g = Graph()
    m.graph, m.x = g, g.input("x", (BATCH, FRAMES), "int32")
    return m.finish(y=m.recurrence("GRU", g.add1("Gather", [m.weights(10, 4), m.x], {"axis": 0}, "rows"), 4, 8))


def mixing() -> Graph:
    """Each sequence's answer depends on the others' of its batch."""
    m = Maker()
    y = m.recurrence("LSTM", m.x, INPUTS, 7)
    return m.finish(y=m.graph.add1("Softmax", [y], {"axis": 0}, "over the batch"))


def two_inputs() -> Graph:
    m = Maker()
    more = m.graph.input("more", (BATCH, FRAMES, 2))
    both = m.graph.add1("Concat", [m.x, more], {"axis": 2}, "both")
    return m.finish(y=m.recurrence("RNN", both, INPUTS + 2, 12))


KINDS: dict[str, Callable[[], Graph]] = {
    "lstm": partial(recurrent, "LSTM"),
    "gru": partial(recurrent, "GRU", True),
    "fixed batch": partial(recurrent, "LSTM", False, 1),
    "windows": windows,
    "hop": partial(windows, 2),
    "mixing": mixing,
    "two inputs": two_inputs,
    "int8": lambda: Narrower(recurrent("LSTM"), "int8").apply({}).graph,
    "float16": lambda: Narrower(recurrent("GRU"), "float16").apply({}).graph,
}


def loaded(kind: str, isa: str | None = None) -> Model:
    return lstm_edge.load(format.to_bytes(KINDS[kind]()), isa)


def frames_for(model: Model, count: int, seed: int, batch: int | None = None) -> dict[str, np.ndarray]:
    """{input: a step of each of `count` streams}."""
    rng = np.random.default_rng(seed)
    hop = model.metadata["streaming"].get("multiple", 1)
    sizes = [
        [hop if hop > 1 and s == "frames" else s for s in p.shape if isinstance(s, int) or (hop > 1 and s == "frames")]
        for p in model.inputs
    ]
    lead = [] if batch is None else [batch]
    shapes = [[s for s in size if s != 1 or len(size) == 1] for size in sizes]
    return {p.name: rng.normal(size=(count, *lead, *s)).astype(F) for p, s in zip(model.inputs, shapes)}


def one_by_one(streams: list[Stream], frames: dict[str, np.ndarray]) -> list[Any]:
    return [stream.step(**{name: rows[i] for name, rows in frames.items()}) for i, stream in enumerate(streams)]


def same(got: Any, want: Any) -> bool:
    if want is None or got is None:
        return want is None and got is None
    return got.shape == want.shape and got.dtype == want.dtype and got.tobytes() == want.tobytes()


def check_answers(model: Model, got: Any, want: list[Any]) -> None:
    for name in [p.name for p in model.outputs]:
        rows = got[name] if isinstance(got, dict) else got
        assert len(rows) == len(want)
        assert all(same(r, w[name] if isinstance(w, dict) else w) for r, w in zip(rows, want))


def check_states(a: list[Stream], b: list[Stream]) -> None:
    for one, other in zip(a, b):
        assert one.state.keys() == other.state.keys()
        assert all(same(one.state[name], other.state[name]) for name in one.state)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", KINDS)
def test_many_streams_have_the_bits_of_one_by_one(kind, isa):
    model = loaded(kind, isa)
    for count, threads in (1, 1), (2, 3), (70, 1), (131, 2), (67, 4):
        alone, together = [[model.stream() for _ in range(count)] for _ in range(2)]
        for t in range(6):
            if t == 2 and count > 2:  # from here on they have come from different places
                one_by_one(alone[: count // 3], frames_for(model, count, 99))
                one_by_one(together[: count // 3], frames_for(model, count, 99))
            frames = frames_for(model, count, t)
            got = step_many(together, frames, threads=threads)
            check_answers(model, got, one_by_one(alone, frames))
        check_states(alone, together)


def test_streams_of_batches_and_the_shapes_that_step_takes():
    model = loaded("lstm")
    alone, together = [[model.stream(3) for _ in range(30)] for _ in range(2)]
    for t in range(3):
        frames = frames_for(model, 30, t, 3)
        check_answers(model, step_many(together, frames, threads=2), one_by_one(alone, frames))
    check_states(alone, together)
    single = loaded("int8")
    for shape in (INPUTS,), (1, INPUTS), (1, 1, INPUTS):
        alone, together = [[single.stream() for _ in range(5)] for _ in range(2)]
        rows = frames_for(single, 5, 1)["x"].reshape(5, *shape)
        check_answers(single, step_many(together, list(rows)), one_by_one(alone, {"x": rows}))


def test_streams_of_every_kind_in_one_list():
    """Full windows, filling ones, one that adapts and one that is timed."""
    model = loaded("windows")
    alone, together = [[model.stream() for _ in range(40)] for _ in range(2)]
    for streams in alone, together:
        for i in range(0, 40, 3):
            one_by_one(streams[i : i + 1] * 5, frames_for(model, 5, i))
        streams[3].profile()
    for t in range(5):
        frames = frames_for(model, 40, t)
        check_answers(model, step_many(together, frames, threads=2), one_by_one(alone, frames))
    check_states(alone, together)
    assert together[3].op_seconds is not None
    model = lstm_edge.load(format.to_bytes(dense_alone()))
    alone, together = [[model.stream() for _ in range(9)] for _ in range(2)]
    for stream in alone[4], together[4]:
        stream.adaptation()
    for t in range(4):
        frames = frames_for(model, 9, t)
        check_answers(model, step_many(together, frames), one_by_one(alone, frames))
        for stream in alone[4], together[4]:
            stream.adapt(np.full(3, 0.1 * t))
    check_states(alone, together)


def dense_alone() -> Graph:
    m = Maker()
    return m.finish(y=m.graph.add1("Dense", [m.recurrence("LSTM", m.x, INPUTS, 8), m.weights(3, 8)], {}, "dense"))


def test_answers_go_where_they_are_wanted():
    model = lstm_edge.load(format.to_bytes(dense_alone()))
    streams = [model.stream() for _ in range(70)]
    out = np.empty((70, 3), F)
    x = frames_for(model, 70, 0)["x"]
    assert step_many(streams, x, out=out) is out
    want = np.array([model.stream().step(row) for row in x])
    np.testing.assert_array_equal(out, want)
    for wrong in np.empty((70, 4), F), np.empty((70, 3)), np.empty((3, 70), F).T, [0]:
        with pytest.raises(
            ShapeError, match=r"out: expected one writable C-contiguous float32 array of shape \(70, 3\)"
        ):
            step_many(streams, x, out=wrong)


def test_a_stream_goes_on_from_a_call_of_many_in_every_way():
    """step, run, forecast, reset and a saved state see what step_many left."""
    model = lstm_edge.load(format.to_bytes(continuing()))
    alone, together = [[model.stream() for _ in range(4)] for _ in range(2)]
    for t in range(5):
        frames = frames_for(model, 4, t)
        check_answers(model, step_many(together, frames), one_by_one(alone, frames))
        forecasts = [[s.forecast(3, feedback={"y": "x"}) for s in streams] for streams in (alone, together)]
        np.testing.assert_array_equal(*forecasts)
        if t % 2:
            np.testing.assert_array_equal(alone[0].step(frames["x"][1]), together[0].step(frames["x"][1]))
            np.testing.assert_array_equal(
                alone[0].forecast(3, feedback={"y": "x"}), together[0].forecast(3, feedback={"y": "x"})
            )
    other = model.stream()
    other.state = together[1].state
    x = frames_for(model, 1, 9)["x"]
    np.testing.assert_array_equal(other.run(x), alone[1].run(x))
    together[2].reset()
    with pytest.raises(LstmEdgeError):
        together[2].forecast(3, feedback={"y": "x"})


def continuing() -> Graph:
    m = Maker()
    return m.finish(y=m.graph.add1("Dense", [m.recurrence("GRU", m.x, INPUTS, 8), m.weights(INPUTS, 8)], {}, "dense"))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_failed_call_names_the_first_and_changes_nothing(threads):
    model = lstm_edge.load(format.to_bytes(table()))
    streams = [model.stream() for _ in range(300)]
    x = np.arange(300, dtype=np.int32) % 10
    step_many(streams, x)
    before = [s.state for s in streams]
    wrong = x.copy()
    wrong[[150, 151, 290]] = 10
    with pytest.raises(LstmEdgeError, match=r"^stream 150: node.* 10"):
        step_many(streams, wrong, threads=threads)
    for stream, state in zip(streams, before):
        assert all(same(stream.state[name], state[name]) for name in state)
    want = [s.step(v) for s, v in zip([restored(model, s) for s in before], x)]
    check_answers(model, step_many(streams, x, threads=threads), want)


def restored(model: Model, state: dict[str, np.ndarray]) -> Stream:
    stream = model.stream()
    stream.state = state
    return stream


def test_what_cannot_be_called_together_is_named():
    model, other = loaded("lstm"), loaded("gru")
    a, b = model.stream(), model.stream()
    x = np.zeros((2, INPUTS), F)
    cases: list[tuple[Any, Any, dict[str, Any], str]] = [
        ([a, a], x, {}, "stream 1: expected each stream once, found stream 0 again"),
        ([a, other.stream()], x, {}, "stream 1: expected one of the model of stream 0, found one of another model"),
        ([a, model.stream(2)], x, {}, "stream 1: expected batch 1, as stream 0 has, found 2"),
        ([a, None], x, {}, "stream 1: expected a Stream, found NoneType"),
        ([None], x, {}, "stream 0: expected a Stream, found NoneType"),
        ([], x, {}, "streams: expected at least one Stream, found none"),
        (a, x, {}, "streams: expected a sequence of Streams, found Stream"),
        ([a, b], x[:1], {}, r"input 'x': expected 2 frames, one for each stream, found float32 of shape \(1, 6\)"),
        ([a, b], x[:, :5], {}, r"input 'x': expected shape \(batch, frames, 6\)"),
        ([a, b], {"z": x}, {}, "input 'x' is missing"),
        ([a, b], x, {"threads": 0}, "step_many: threads: expected an int from 1 to 1024, found 0"),
        ([a, b], x, {"threads": True}, "step_many: threads: expected an int from 1 to 1024, found True"),
    ]
    for streams, frames, options, message in cases:
        with pytest.raises(LstmEdgeError, match=message):
            step_many(streams, frames, **options)
    both = loaded("two inputs")
    with pytest.raises(
        ShapeError, match=r"frames: expected \{input: array\} for the inputs \['x', 'more'\], found float32"
    ):
        step_many([both.stream()], x[:1])
    check_answers(model, step_many([a, b], x), one_by_one([model.stream(), model.stream()], {"x": x}))


def test_calls_of_several_threads_do_not_meet():
    model = loaded("lstm")
    x = frames_for(model, 80, 0)
    want = [step_many([model.stream() for _ in range(80)], x)["y"]] * 6
    got: list[Any] = [None] * 6

    def work(i: int) -> None:
        got[i] = step_many([model.stream() for _ in range(80)], x, threads=2)["y"]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "fixed batch"])
def test_a_batch_over_threads_has_the_bits_of_one_thread(kind):
    model = loaded(kind)
    shapes = [[{"batch": 11, "frames": 24}.get(s, s) for s in port.shape] for port in model.inputs]
    arrays = [np.random.default_rng(1).normal(size=shape).astype(F) for shape in shapes]
    for threads in 1, 2, 3, 40:
        assert packed(model.run(*arrays, threads=threads)) == packed(model.run(*arrays))
    if kind != "mixing":
        lengths = np.array([24, 6, 6, 24, 8, 8, 8, 8, 8, 8, 10])
        want = packed(model.run(*arrays, lengths=lengths))
        assert all(packed(model.run(*arrays, lengths=lengths, threads=n)) == want for n in (2, 4))
    one = [a[0] if port.shape[0] == "batch" else a[:, 0] for a, port in zip(arrays, model.inputs)]
    assert packed(model.run(*one, threads=2)) == packed(model.run(*one))
    with pytest.raises(LstmEdgeError, match="run: threads: expected an int from 1 to 1024, found 2.5"):
        model.run(*arrays, threads=2.5)


def packed(answer: Any) -> list[tuple[Any, bytes]]:
    return [(a.shape, a.tobytes()) for a in (answer.values() if isinstance(answer, dict) else [answer])]


@needs_models
@pytest.mark.parametrize("name", ["silero_op15", "dtln_1", "gtcrn"])
def test_real_models_have_the_bits_of_one_by_one(name):
    model = lstm_edge.load(converted(name))
    port = model.inputs[0]
    shape = [{"batch": 1, "frames": 1}.get(s, s) for s in port.shape]
    x = np.random.default_rng(0).normal(size=(5, 12, *shape)).astype(port.dtype)
    alone, together = [[model.stream() for _ in range(12)] for _ in range(2)]
    for rows in x:
        check_answers(model, step_many(together, rows, threads=2), one_by_one(alone, {port.name: rows}))
    check_states(alone, together)
