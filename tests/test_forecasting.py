"""Forecasts: equal to the loop written with step and run, bit for bit; the stream stays where it is; what does not fit is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from forecast_helpers import HIDDEN, SIMPLE, WIDE, Net, described, history, one_ahead
from hypothesis import given, settings
from hypothesis import strategies as st

import lstm_edge
from lstm_edge import FormatError, LstmEdgeError, ShapeError, UnsupportedModelError, format
from lstm_edge.forecasting import Description
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.passes import pipeline


def loop(model: lstm_edge.Model, about: Description, past: np.ndarray, steps: int) -> np.ndarray:
    """What docs/forecasting.md says, in Python: past (batch, frames, columns) -> (batch, steps, targets[, quantiles])."""
    stream = model.stream(len(past))
    answers = [stream.run(past)[:, -1]]
    while len(answers) * about.horizon < steps:
        last = answers[-1]
        frames = np.repeat(past[:, -1:], about.horizon, 1)
        frames[:, :, list(about.feedback)] = last[..., about.quantiles.index(0.5)] if about.quantiles else last
        answers.append(stream.run(frames)[:, -1])
    return np.concatenate(answers, 1)[:, :steps]


@settings(max_examples=25, deadline=None)
@given(
    op=st.sampled_from(["LSTM", "GRU"]),
    width=st.sampled_from(["float32", "int8", "float16"]),
    horizon=st.integers(1, 5),
    quantiles=st.sampled_from([(), (0.5,), (0.1, 0.5, 0.75)]),
    columns=st.permutations(range(4)).flatmap(lambda p: st.integers(1, 4).map(lambda n: tuple(p[:n]))),
    batch=st.integers(1, 3),
    frames=st.integers(1, 9),
    steps=st.integers(1, 17),
)
def test_equal_to_the_loop_in_python(op, width, horizon, quantiles, columns, batch, frames, steps):
    names = tuple("abcd")
    static = tuple(i for i in range(4) if i not in columns)
    about = Description(
        "series", "forecast", names, tuple(names[i] for i in columns), columns, horizon, quantiles, static
    )
    model = described(about, op, width)
    past = history(about, frames, batch)
    expected = loop(model, about, past, steps)
    np.testing.assert_array_equal(model.forecast(past, steps), expected)
    np.testing.assert_array_equal(model.forecast(past[0], steps), expected[0])
    stream = model.stream(batch)
    stream.run(past)
    before = stream.state
    np.testing.assert_array_equal(stream.forecast(steps), expected)
    assert all(np.array_equal(before[name], value) for name, value in stream.state.items())


def test_online_each_observation_is_a_step():
    """Forecasts between steps change nothing: not the answers, not what comes next."""
    model, other = (described(WIDE) for _ in range(2))
    past = history(WIDE, 12)
    with_forecasts, without = model.stream(), other.stream()
    for n, frame in enumerate(past, 1):
        np.testing.assert_array_equal(with_forecasts.step(frame), without.step(frame))
        np.testing.assert_array_equal(with_forecasts.forecast(9), model.forecast(past[:n], 9))


def test_the_answer_may_be_changed_by_its_owner():
    """The newest frame is a copy: arrays that are used again, or changed, are not fed back."""
    model, frame, answer = one_ahead(), np.zeros(2, np.float32), np.zeros(2, np.float32)
    stream, past = model.stream(), history(SIMPLE, 8, 2).reshape(8, 2)
    for row in past:
        frame[:] = row
        stream.step(frame, out=answer)
        frame[:] = answer[:] = np.nan
    np.testing.assert_array_equal(stream.forecast(5, feedback={"y": "x"}), model.forecast(past, 5, feedback={"y": "x"}))
    assert not np.isnan(stream.forecast(5, feedback={"y": "x"})).any()


def test_a_restored_state_forecasts():
    """Into another stream, as after a restart; without the newest frame the states are restored, and a forecast needs one first."""
    model, past = described(WIDE), history(WIDE, 8, 2)
    stream, other = model.stream(2), model.stream(2)
    assert not any(name.startswith("newest.") for name in stream.state)
    stream.run(past)
    saved = stream.state
    assert {name for name in saved if name.startswith("newest.")} == {"newest.series", "newest.forecast"}
    other.state = saved
    np.testing.assert_array_equal(other.forecast(9), stream.forecast(9))
    with pytest.raises(
        ShapeError,
        match=r"state newest.series: expected float32 of shape \(2, 1, 3\), found float32 of shape \(1, 1, 3\)",
    ):
        other.state = {**saved, "newest.series": saved["newest.series"][:1]}
    np.testing.assert_array_equal(other.forecast(9), stream.forecast(9))
    other.state = {name: value for name, value in saved.items() if not name.startswith("newest.")}
    with pytest.raises(LstmEdgeError, match="give it a frame first"):
        other.forecast(9)


def test_known_values_and_time_go_on():
    about = replace(WIDE, known=("price", "holiday"), time="time", minutes=15)
    model, rng = described(about), np.random.default_rng(3)
    past, steps, ahead = history(about, 6, 2), 10, 12  # three answers of 4
    known = rng.normal(size=(2, 6 + ahead, 2)).astype(np.float32)
    times = np.datetime64("2026-11-26T18:00") + np.arange(6) * np.timedelta64(15, "m")
    minutes = times.astype(np.int64).astype(np.int32)
    windows = np.stack([known[:, t + 1 : t + 5] for t in range(6 + 8)], 1)
    stream = model.stream(2)
    answers = [stream.run(past, windows[:, :6], np.tile(minutes, (2, 1)))[:, -1]]
    for start in (6, 10):
        frames = np.repeat(past[:, -1:], 4, 1)
        frames[:, :, [2, 0]] = answers[-1][..., 1]
        stamps = minutes[-1] + 15 * np.arange(start - 5, start - 1, dtype=np.int32)
        answers.append(stream.run(frames, windows[:, start : start + 4], np.tile(stamps, (2, 1)))[:, -1])
    expected = np.concatenate(answers, 1)[:, :steps]
    np.testing.assert_array_equal(model.forecast(past, steps, known=known, time=times), expected)
    stream.reset()
    stream.run(past, windows[:, :6], np.tile(minutes, (2, 1)))
    np.testing.assert_array_equal(stream.forecast(steps, known=known[:, 6:]), expected)
    np.testing.assert_array_equal(stream.forecast(steps, known=known[:, 6:], time=times[-1]), expected)
    with pytest.raises(
        ShapeError, match=r"known: expected price, holiday of 18 times \(6 of the history, 12 to come\)"
    ):
        model.forecast(past, steps, time=times)
    with pytest.raises(
        ShapeError, match=r"known: expected float32 of shape \(18, 2\) or \(2, 18, 2\), found .*; time: expected 6 time"
    ):
        model.forecast(past, steps, known=known[0, :7])
    with pytest.raises(ShapeError, match="within 32 bits"):
        model.forecast(past, steps, known=known, time=minutes + (2**31 - 1 - int(minutes[-1])) + 0 * minutes)


def test_a_window_takes_the_known_values_that_a_stream_takes():
    about = replace(WIDE, known=("price",))
    model, past = described(about), history(about, 6)
    known = np.random.default_rng(3).normal(size=(6 + 8, 1)).astype(np.float32)
    windows = np.stack([known[t + 1 : t + 5] for t in range(6 + 4)])
    first = model.run(past[1:], windows[1:6])[-1]
    frames = np.repeat(past[-1:], 4, 0)
    frames[:, [2, 0]] = first[..., 1]
    second = model.run(np.concatenate([past[5:], frames]), windows[5:10])[-1]
    expected = np.concatenate([first, second])[:5]
    np.testing.assert_array_equal(model.forecast(past, 5, known=known, window=5), expected)


def test_columns_that_nobody_knows_block_by_name():
    about = replace(WIDE, static=(), targets=("load",), feedback=(0,))
    model, past = described(about), history(about, 5)
    assert model.forecast(past, 4).shape == (4, 1, 3)
    message = r"steps: expected at most 4, the horizon of the file, because nobody knows the values to come of place, wind .*found 5"
    with pytest.raises(ShapeError, match=message):
        model.forecast(past, 5)
    with pytest.raises(ShapeError, match=r"because 0.5 is not among its quantiles \[0.1, 0.9\], found 5"):
        described(replace(WIDE, quantiles=(0.1, 0.9))).forecast(past, 5)


def test_windows_for_networks_that_answer_once():
    """Bidirectional, the last hidden states alone: cannot stream, so each step runs the last 7 frames."""
    net = Net()
    _, h = net.recurrence(net.graph.input("x", (BATCH, FRAMES, 2)), 2, direction="bidirectional")
    last = net.graph.add1("Transpose", [h], {"perm": [1, 0, 2]})
    last = net.graph.add1(
        "Reshape", [last, last], {"shape": [1, 2 * HIDDEN], "from_input": [0, -1], "from_axis": [0, 0]}
    )
    net.output("y", net.dense(last, 2 * HIDDEN, 2), "batch", 2)
    model, past = net.model(), np.random.default_rng(0).normal(size=(2, 9, 2)).astype(np.float32)
    rows = past
    for _ in range(6):
        rows = np.concatenate([rows, model.run(rows[:, -7:])[:, None]], 1)
    forecast = model.forecast(past, 6, feedback={"y": "x"}, window=7)
    np.testing.assert_array_equal(forecast, rows[:, 9:])
    np.testing.assert_array_equal(model.forecast(past[1], 6, feedback={"y": "x"}, window=7), rows[1, 9:])
    with pytest.raises(UnsupportedModelError, match="cannot stream: .*; give window, the number of frames"):
        model.forecast(past, 6, feedback={"y": "x"})
    with pytest.raises(ShapeError, match="history: expected at least 10 frames, the window, found 9"):
        model.forecast(past, 6, feedback={"y": "x"}, window=10)


def test_an_input_without_a_batch_axis_is_the_same_for_all_sequences():
    net = Net()
    shared, x = net.graph.input("shared", (FRAMES, 1)), net.graph.input("x", (BATCH, FRAMES, 2))
    both = net.graph.add1("Binary", [x, shared], {"kind": "add"})
    net.output("y", net.dense(both, 2, 2), "batch", "frames", 2)
    model, rng = net.model(), np.random.default_rng(0)
    past = {"x": rng.normal(size=(3, 6, 2)).astype(np.float32), "shared": rng.normal(size=(6, 1)).astype(np.float32)}
    told = {"feedback": {"y": "x"}, "known": {"shared": rng.normal(size=(4, 1)).astype(np.float32)}}
    rows = [model.forecast({**past, "x": one[None]}, 5, **told)[0] for one in past["x"]]
    for window in ({}, {"window": 4}):
        np.testing.assert_array_equal(model.forecast(past, 5, **told, **window), rows)


def test_what_is_fed_back_has_a_batch_axis_where_there_is_a_batch():
    net = Net()
    x, other = net.graph.input("x", (FRAMES, 2)), net.graph.input("other", (BATCH, FRAMES, 2))
    net.output("y", net.dense(x, 2, 2), "frames", 2)
    net.output("z", net.dense(other, 2, 2), "batch", "frames", 2)
    past = {"x": np.zeros((6, 2), np.float32), "other": np.zeros((3, 6, 2), np.float32)}
    with pytest.raises(ShapeError, match="because 'y' is fed back and has no batch axis, found a batch of 3"):
        net.model().forecast(past, 2, feedback={"y": "x", "z": "other"}, window=4)


def test_windows_of_a_direct_forecast():
    model, past = described(WIDE), history(WIDE, 9)
    rows, answers = past, []
    for _ in range(3):
        answers.append(model.run(rows[-6:])[-1])
        frames = np.repeat(past[-1:], 4, 0)
        frames[:, [2, 0]] = answers[-1][..., 1]
        rows = np.concatenate([rows, frames])
    np.testing.assert_array_equal(model.forecast(past, 10, window=6), np.concatenate(answers)[:10])


def test_a_step_model_and_several_inputs():
    """One call is one frame; two outputs continue two inputs, a third input's future is known."""
    net = Net()
    a, b = net.graph.input("a", (1, 2)), net.graph.input("b", (1, 3))
    extra = net.graph.input("extra", (1, 1))
    x = net.graph.add1("Concat", [a, b, extra], {"axis": 1})
    x = net.graph.add1("Reshape", [x], {"shape": [1, 1, 6]})
    h0 = net.graph.input("h", (1, 1, HIDDEN))
    weights = [net.weights(1, 3 * HIDDEN, 6), net.weights(1, 3 * HIDDEN, HIDDEN)]
    y, h = net.graph.add("GRU", [x, *weights, "", "", h0], {})
    flat = net.graph.add1("Reshape", [y], {"shape": [1, HIDDEN]})
    net.output("a_next", net.dense(flat, HIDDEN, 2), 1, 2)
    net.output("b_next", net.dense(flat, HIDDEN, 3), 1, 3)
    net.output("h_next", h, 1, 1, HIDDEN)
    model = lstm_edge.load(format.to_bytes(pipeline(net.graph, {"h": "h_next"})))
    assert model.is_step_model
    rng = np.random.default_rng(0)
    past = {n: rng.normal(size=(7, 1, w)).astype(np.float32) for n, w in (("a", 2), ("b", 3), ("extra", 1))}
    future = rng.normal(size=(4, 1)).astype(np.float32)
    stream = model.stream()
    last = {name: value[-1] for name, value in stream.run(**past).items()}
    expected = [last]
    for row in future:
        last = stream.step(last["a_next"], last["b_next"], row[None])
        expected.append(last)
    found = model.forecast(past, 5, feedback={"a_next": "a", "b_next": "b"}, known={"extra": future})
    for name in ("a_next", "b_next"):
        np.testing.assert_array_equal(found[name], np.stack([e[name] for e in expected], 1))
    with pytest.raises(ShapeError, match=r"known: expected \{'extra': the 4 frames to come\}"):
        model.forecast(past, 5, feedback={"a_next": "a", "b_next": "b"})


def test_what_does_not_fit_is_named():
    model, past = one_ahead(), np.zeros((5, 2), np.float32)
    wrong = {
        r"steps: expected a whole number of at least 1, found 0": {"steps": 0},
        r"steps: .*found True": {"steps": True},
        r"feedback: expected \{output: input\}, .*its outputs are y, its inputs x": {"feedback": None},
        r"feedback: expected \{output: input\} of names, found \['y', 'x'\]": {"feedback": ["y", "x"]},
        r"feedback: expected an output, found 'z'; expected an input, found 'w'": {"feedback": {"z": "w"}},
        r"known: expected \{input: values\} or nothing, found float64 of shape \(3,\)": {"known": [0.0] * 3},
        r"known: expected one of no input, found 'q'; time: expected none": {"known": {"q": 1}, "time": [1]},
        r"history: input 'x': expected shape \(batch, frames, 2\), or without the batch, found \(5,\)": {
            "history": past[:, 0]
        },
        r"history: input 'x': expected shape \(batch, frames, 2\), found \(5, 1\)": {"history": past[:, :1]},
        r"history: .*at least 1, found batch \[1\], frames \[0\]": {"history": past[:0]},
        r"history: expected \{input: array\} of x, found z": {"history": {"z": past}},
        r"input 'x': expected dtype float32, found int16": {"history": past.astype(np.int16)},
        r"window: expected a whole number of at least 1, found 1.5": {"window": 1.5},
        r"steps: expected a whole number below 2,147,483,648, found 1000000000000000000000": {"steps": 10**21},
        r"input 'x': expected an array of float32, found setting an array element": {"history": [[1, 2], [3]]},
    }
    for message, change in wrong.items():
        arguments = {"history": past, "steps": 3, "feedback": {"y": "x"}, **change}
        with pytest.raises(LstmEdgeError, match=message):
            model.forecast(arguments.pop("history"), arguments.pop("steps"), **arguments)
    stream = model.stream()
    for begin in (lambda: None, stream.reset, lambda: setattr(stream, "state", stream.state)):
        begin()
        with pytest.raises(LstmEdgeError, match="expected a stream that has answered since it began"):
            stream.forecast(3, feedback={"y": "x"})
        stream.step(past[0])


def test_a_damaged_description_is_refused_whole():
    good = SIMPLE.to_metadata()
    assert Description.from_metadata(good) == SIMPLE
    bad = {**good, "columns": [], "horizon": 0, "quantiles": [0.5, 2.0], "mode": "both", "feedback": [True]}
    del bad["output"]
    with pytest.raises(FormatError) as caught:
        Description.from_metadata(bad)
    for name in ("output: expected it", "columns:", "horizon:", "quantiles:", "mode: expected direct or", "feedback:"):
        assert name in str(caught.value)
    for change, message in (
        ({"feedback": [1]}, "feedback: expected different positions below 1"),
        ({"targets": ["load", "wind"]}, "feedback: expected 2 columns"),
        ({"static": [0]}, r"static: expected columns that are no targets, found \[0\]"),
        ({"time": "time"}, "minutes: expected the minutes"),
    ):
        with pytest.raises(FormatError, match=message):
            Description.from_metadata({**good, **change})
    model = one_ahead()
    model.metadata["forecast"] = good
    with pytest.raises(FormatError, match="input: expected one of x, found 'series'; output: expected one of y"):
        model.forecast(np.zeros((3, 2), np.float32), 1)
    model.metadata["forecast"] = {**good, "input": "x", "output": "y"}
    with pytest.raises(FormatError, match="input 'x': expected 1 values in a frame, found 2; output 'y': expected 1"):
        model.forecast(np.zeros((3, 2), np.float32), 1)


def test_times_and_known_values_that_numpy_cannot_hold():
    model = described(Description("x", "f", ("a",), ("a",), (0,), 2, known=("k",), time="t", minutes=60))
    past, times, known = np.zeros((3, 1), np.float32), np.arange(3), np.zeros((7, 1))
    for change, message in (
        ({"time": times + 2**62}, "time: expected minutes within 32 bits"),
        ({"time": np.full(3, 2**64 - 1, np.uint64)}, "time: expected minutes within 32 bits"),
        ({"time": times.astype("M8[as]")}, "time: expected a time stamp for each frame"),
        ({"known": known + 1e300}, r"known: expected numbers of float32's range, found 1e\+300"),
        ({"known": [[1], [1, 2]]}, r"known: expected float32 of shape \(7, 1\), found object"),
    ):
        with pytest.raises(ShapeError, match=message):
            model.forecast(past, 4, **{"time": times, "known": known, **change})
    assert model.forecast(past, 4, time=times.astype(np.int8), known=known).shape == (4, 1)
