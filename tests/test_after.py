"""What answers mean, kept in the file: labels and events, told by `run` and by lstm_edge.answers, whole and while they come."""

from __future__ import annotations

import json
import os
import threading
import wave
from types import SimpleNamespace

import numpy as np
import pytest
from shared import EXAMPLES, MODELS, needs_models
from test_answers import OF_THE_PACKAGE

import lstm_edge
from lstm_edge.answers import Answers, Event, Hysteresis, Label, Padding, padded
from lstm_edge.around.after import activated
from lstm_edge.cli import _run
from lstm_edge.cli.summary import delay_lines, meaning_lines
from lstm_edge.errors import FormatError, ShapeError

RANDOM = np.random.default_rng(8)
EVENTS = {"type": "events", "min_duration_ms": 0, "min_silence_ms": 4, "pad_ms": 2}
LABELS = {"type": "labels", "labels": ["one", "two", 'a "third", last']}


def identity(after, width: int = 1, rate: float | None = None, **more):
    """A network whose answers are its frames of `width` values."""
    arrays = {"out.weight": np.eye(width, dtype=np.float32), "out.bias": np.zeros(width, np.float32)}
    network = {"convention": "torch", "inputs": {"x": ["batch", "frames", width]}, "outputs": {"y": "out"}, "layer": [{"type": "dense", "name": "out", "weights": "out"}]}  # fmt: skip
    return lstm_edge.convert(arrays, network=network, self_test=False, after=after, rate=rate, **more)


def test_padding_while_events_come_is_that_of_the_whole():
    probabilities = RANDOM.random(400)
    for pad, silence in ((3, 0), (9, 12), (20, 4), (0, 0)):
        whole, rule = Hysteresis(4, 0.7, silence=silence), Hysteresis(4, 0.7, silence=silence)
        events = whole.feed(probabilities)
        expected = padded(events + whole.finish(1598), pad, 1598)
        padding = Padding(rule, pad)
        told = [event for p in probabilities for event in padding.feed(rule.feed([p]))]
        assert len(told) > 20
        assert told + padding.finish(rule.finish(1598), 1598) == expected


def test_events_of_a_file_in_any_pieces():
    model = identity({"after": {"y": EVENTS}}, rate=1000)
    loud = np.float32([0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1])
    answers = Answers(model)
    assert answers.feed(model.run(loud.reshape(-1, 1))) == [Event(0, 7)]
    assert answers.finish() == [Event(11, 15)]
    pieces, told = Answers(model), []
    for at, value in enumerate(loud):
        told += [(at, event) for event in pieces.feed([value])]
    assert told == [(5 + pieces.delay - 1, Event(0, 7))] and pieces.finish(14) == [Event(11, 14)]


def test_events_of_a_file_are_cut_where_they_are_too_long():
    model = identity(
        {"after": {"y": {**EVENTS, "pad_ms": 0.5, "max_duration_ms": 8, "min_silence_at_max_ms": 0}}}, rate=1000
    )
    assert "cut before they are longer than 8 ms, at a gap of more than 0 ms where they have one" in str(Answers(model))
    told = Answers(model).feed(np.float32([0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]))
    assert told == [Event(0, 4), Event(4, 12)]


def test_labels_are_the_best_that_reach_the_threshold():
    rows = [[0.1, 0.7, 0.2], [0.4, 0.4, 0.3], [np.nan, 0.1, 0.9]]
    model = identity({"after": {"y": LABELS}}, 3)
    assert [t[::2] for t in Answers(model).feed(rows)] == [("two", 0), ("one", 1), ('a "third", last', 2)]
    model = identity({"after": {"y": {**LABELS, "top": 2, "threshold": 0.35}}}, 3)
    assert Answers(model, "y").feed(rows) == [Label("two", 0.7, 0), Label("one", 0.4, 1), Label("two", 0.4, 1), Label('a "third", last', 0.9, 2)]  # fmt: skip
    with pytest.raises(ShapeError, match="expected 3 values an answer, found 4"):
        Answers(model).feed(np.zeros(4))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"type": "words"}, r"type: expected one of events, labels, ctc, found words"),
        (
            {**EVENTS, "frame_ms": 1, "treshold": 1},
            r"expected a key that this table has, found 'treshold'; did you mean threshold\?",
        ),
        (EVENTS, r"frame_ms: expected how long an answer lasts"),
        ({**EVENTS, "frame_ms": 0.5}, r"frame_ms: expected a whole number of samples to an answer.*found 0.5"),
        (
            {**EVENTS, "frame_ms": 1, "neg_threshold": 0.6},
            r"neg_threshold: expected at most the threshold of 0.5, found 0.6",
        ),
        ({**EVENTS, "frame_ms": 1, "threshold": 1.2}, r"threshold: expected a probability, 1 at most, found 1.2"),
        ({**EVENTS, "frame_ms": 1, "threshold": "0.5"}, r"threshold: expected a number of at least 0, found '0.5'"),
        ({**EVENTS, "frame_ms": 1e300}, r"frame_ms: expected milliseconds, at most 1e\+09, found 1e\+300"),
        ({**EVENTS, "frame_ms": 1, "activation": "softmax"}, r"activation: expected several values, as softmax of one"),
        ({**LABELS, "labels": ["a\nb"]}, r"labels: expected names of one line each, found 'a\\nb'"),
        ({**EVENTS, "frame_ms": 1, "column": 1}, r"column: expected one of the output's 1 values"),
        (LABELS, r"labels: expected 1 labels, one for each value of the output, found 3"),
        ({**LABELS, "labels": []}, r"labels: expected a list of names, or the name of a file"),
        (
            {**EVENTS, "frame_ms": 10, "max_duration_ms": 14},
            r"max_duration_ms: expected more than 14 ms, an answer and what",
        ),
        ({**LABELS, "labels": ["a"], "top": 2}, r"top: expected at most the 1 labels, found 2"),
    ],
)
def test_what_does_not_fit_is_refused(table, message):
    with pytest.raises(FormatError, match=r"^the description: after\.y.*" + message):
        identity({"after": {"y": table}})


def test_labels_stand_beside_a_table_or_alone(tmp_path):
    (tmp_path / "labels.txt").write_text("\ufeff0 Background Noise\r\n1 clap\r\n\r\n2 snap\r\n", encoding="utf-8")
    model = identity(None, 3, labels=tmp_path / "labels.txt")
    assert model.metadata["after"]["y"]["labels"] == ["Background Noise", "clap", "snap"]
    assert any("labels.txt begins with its number" in line for line in model.metadata["notes"])
    table = {"after": {"y": {"type": "labels", "top": 2, "activation": "softmax"}}}
    assert str(Answers(identity(table, 2, labels={"y": ["a", "b"]}))) == "the best 2 labels, of a, b"
    spoken = identity({"after": {"y": {"type": "ctc", "blank": 1}}}, 2, labels=("a", "-"))
    assert [one.label for one in Answers(spoken).feed([[1, 0], [0, 1], [1, 0]])] == ["a", "a"]


@pytest.mark.parametrize(
    ("after", "labels", "message"),
    [
        (None, {"z": ["a", "b"]}, "labels: expected labels of one of the outputs y, found 'z'"),
        (None, [], "labels: output 'y': labels: expected a list of names, or the name of a file"),
        (None, ["a", "b", "c"], "labels: expected 2 labels, one for each value of the output, found 3"),
        (
            {"y": {**LABELS, "labels": ["a", "b"]}},
            ["a", "b"],
            "expected the labels once, found 'labels' in the output's",
        ),
        (
            {"y": {**EVENTS, "frame_ms": 1, "column": 0}},
            ["a", "b"],
            "whose table says type = labels or ctc, found events",
        ),
    ],
)
def test_labels_that_do_not_fit_are_refused(after, labels, message):
    with pytest.raises(FormatError, match=message):
        identity(None if after is None else {"after": after}, 2, labels=labels)


def test_a_live_keras_model_says_what_its_classes_are():
    keras = pytest.importorskip("keras")
    net = keras.Sequential([keras.Input((None, 4)), keras.layers.Dense(2, activation="softmax")])
    net.class_names = ["cat", "dog"]
    model = lstm_edge.convert(net, self_test=False)
    assert str(Answers(model)) == "the label, of cat, dog"
    assert any(line.endswith("its labels are the model's class_names") for line in model.metadata["notes"])


def test_ctc_tells_a_symbol_once_until_another_or_the_blank():
    spoken = np.eye(4, dtype=np.float32)[[0, 1, 1, 0, 1, 2, 2, 0, 3, 3, 1]]
    model = identity({"after": {"y": {"type": "ctc", "alphabet": "-ab "}}}, 4)
    told = Answers(model).feed(spoken)
    assert "".join(label for label, _, _ in told) == "aab a" and [one.at for one in told] == [1, 4, 5, 8, 10]
    pieces = Answers(model)
    assert [one for frame in spoken for one in pieces.feed(frame)] == told
    last = identity({"after": {"y": {"type": "ctc", "labels": ["a", "b", "c", "-"], "blank": 3}}}, 4)
    assert [label for label, _, _ in Answers(last).feed(spoken)] == ["a", "b", "a", "b", "c", "a", "b"]
    with pytest.raises(FormatError, match="blank: expected one of the output's 4 values, from 0 on, found 4"):
        identity({"after": {"y": {"type": "ctc", "alphabet": "-ab ", "blank": 4}}}, 4)


def test_an_answer_lasts_as_long_as_the_front_end_says():
    front = {"type": "mfcc", "like": "kaldi", "rate": 16000, "n_mfcc": 13}
    after = {"after": {"y": {**EVENTS, "column": 0}}}
    model = identity(after, 13, before={"before": {"x": front}})
    assert model.metadata["after"]["y"]["hop"] == 160
    assert model.metadata["delay"]["y"] == {"frame": 160, "half a window": 200, "end of an event": 224}


@pytest.mark.parametrize("wrong", ["abc", None, {"y": 1}, [1j], ["1"]])
def test_what_are_no_numbers_tells_nothing(wrong):
    with pytest.raises(ShapeError, match="expected numbers, an array or lists of them, found"):
        Answers(identity({"after": {"y": LABELS}}, 3)).feed(wrong)


def test_answers_of_several_sequences_are_refused():
    events = {"after": {"y": {**EVENTS, "frame_ms": 1}}}
    assert Answers(identity(events)).feed(np.ones((1, 5, 1))) == []
    with pytest.raises(
        ShapeError, match=r"expected the answers of one sequence, 1 values each, found shape \(2, 5, 1\)"
    ):
        Answers(identity(events)).feed(np.ones((2, 5, 1)))


@pytest.mark.parametrize("change", [{"labels": "abc"}, {"labels": []}, {"top": -1}, {"type": "ctc", "blank": 7}])
def test_meanings_that_anybody_wrote_are_checked(change):
    about = {"type": "labels", "labels": ["a"], "top": 1, "threshold": None, **change}
    with pytest.raises(FormatError, match="metadata 'after' 'y': expected what after writes, found"):
        Answers(SimpleNamespace(metadata={"after": {"y": about}}))


def test_an_output_that_is_not_there_and_a_file_without_meaning():
    with pytest.raises(FormatError, match=r"after.z: expected an output of the model \(y\), found 'z'"):
        identity({"after": {"z": EVENTS}})
    with pytest.raises(FormatError, match="expected the meaning of output None, found that of none"):
        Answers(identity(None))
    with pytest.raises(FormatError, match="expected a model, whose file says what its answers mean, found str"):
        Answers("m.lstm")
    with pytest.raises(FormatError, match="expected the path of a TOML file or a dict, found int"):
        identity(5)


def test_run_tells_labels(tmp_path, monkeypatch, capfdbinary):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.txt").write_text('one\ntwo\na "third", last\n')
    (tmp_path / "after.toml").write_text('[after.y]\ntype = "labels"\nlabels = "labels.txt"\n')
    identity("after.toml", 3)
    lstm = tmp_path / "m.lstm"
    arrays = {"out.weight": np.eye(3, dtype=np.float32), "out.bias": np.zeros(3, np.float32)}
    np.savez("m.npz", **arrays)
    (tmp_path / "net.toml").write_text('convention = "torch"\ninputs = {x = ["batch", "frames", 3]}\noutputs = {y = "out"}\nlayer = [{type = "dense", name = "out", weights = "out"}]\n')  # fmt: skip
    assert _run(["convert", "m.npz", "--network", "net.toml", "--after", "after.toml", "-o", str(lstm)]) == 0
    (tmp_path / "x.csv").write_text("0.1,0.7,0.2\n0.1,0.2,0.9\n")
    capfdbinary.readouterr()
    assert _run(["run", str(lstm), "x.csv"]) == 0
    assert capfdbinary.readouterr().out.decode() == 'label,score\ntwo,0.7\n"a ""third"", last",0.9\n'.replace("0.7", "0.699999988").replace("0.9", "0.899999976")  # fmt: skip
    assert _run(["run", str(lstm), "x.csv", "--times", "--format", "jsonl"]) == 0
    lines = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert [(line["time"], line["label"]) for line in lines] == [(1, "two"), (2, 'a "third", last')]
    assert _run(["run", str(lstm), "x.csv", "--raw-answers"]) == 0
    assert len(capfdbinary.readouterr().out.splitlines()[0].split(b",")) == 3


@pytest.mark.parametrize(("kernel", "stride", "left", "ahead"), [(3, 1, 0, 2), (3, 1, 2, 0), (5, 1, 2, 2), (4, 2, 0, 2), (4, 2, 2, 0)])  # fmt: skip
def test_the_look_ahead_that_is_told_is_what_a_stream_waits_for(kernel, stride, left, ahead):
    torch = pytest.importorskip("torch")
    layers = torch.nn.Sequential(torch.nn.ConstantPad1d((left, 0), 0), torch.nn.Conv1d(2, 2, kernel, stride=stride))

    class OverTime(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = layers

        def forward(self, x):
            return self.layers(x.transpose(1, 2)).transpose(1, 2)

    model = lstm_edge.convert(OverTime(), example=torch.zeros(1, 20, 2), self_test=False, rate=1000)
    assert model.metadata["delay"]["output"] == {"frame": 2 * stride, **({"look-ahead": 2 * ahead} if ahead else {})}
    stream, came = model.stream(), []
    for frame in range(0, 12, stride):
        came += [frame + stride] * stream.run(np.zeros((1, stride, 2), np.float32)).shape[1]
    assert [frames - (n + 1) * stride for n, frames in enumerate(came)] == [ahead] * len(came) and len(came) > 3


@pytest.fixture(scope="module")
def silero(tmp_path_factory):
    folder = tmp_path_factory.mktemp("silero")
    (folder / "events.toml").write_text('[after.output]\ntype = "events"\n')
    source = str(MODELS / "silero_vad" / "silero_vad_16k_op15.onnx")
    options = ["--shape", "input=1,576", "--set", "sr=16000", "--overlap", "input=64", "--no-self-test"]
    lstm = str(folder / "vad.lstm")
    assert _run(["convert", source, *options, "--after", str(folder / "events.toml"), "-o", lstm]) == 0
    return lstm


@needs_models
def test_silero_as_a_pipeline_tells_the_events_of_its_package(tmp_path, monkeypatch, capfdbinary):
    monkeypatch.chdir(tmp_path)
    source = str(MODELS / "silero_vad" / "silero_vad_16k_op15.onnx")
    options = ["--shape", "input=1,576", "--set", "sr=16000", "--no-self-test"]
    assert _run(["convert", source, *options, "-o", "silero.lstm"]) == 0
    pipeline = str(EXAMPLES / "pipelines" / "silero.toml")
    assert _run(["join", "silero.lstm", "--pipeline", pipeline, "-o", "vad.lstm", "--no-self-test"]) == 0
    assert b"delay of speech: " in capfdbinary.readouterr().out
    assert _run(["run", "vad.lstm", str(MODELS.parent / "audio" / "silero_test_16k.wav")]) == 0
    assert seconds(capfdbinary.readouterr().out) == OF_THE_PACKAGE


def seconds(text: bytes) -> list[tuple[int, int]]:
    head, *lines = text.decode().splitlines()
    assert head == "start,end"
    return [tuple(round(float(cell) * 16000) for cell in line.split(",")) for line in lines]


@needs_models
def test_silero_tells_the_events_of_its_package(silero, capfdbinary, monkeypatch):
    sound = MODELS.parent / "audio" / "silero_test_16k.wav"
    capfdbinary.readouterr()
    assert _run(["run", silero, str(sound)]) == 0
    assert seconds(capfdbinary.readouterr().out) == OF_THE_PACKAGE


@needs_models
def test_silero_tells_the_same_while_sound_comes(silero, capfdbinary):
    with wave.open(str(MODELS.parent / "audio" / "silero_test_16k.wav")) as file:
        data = file.readframes(file.getnframes())
    kept, (reading, writing) = os.dup(0), os.pipe()

    def write() -> None:
        with open(writing, "wb", buffering=0) as pipe:
            for at in range(0, len(data), 3001):
                pipe.write(data[at : at + 3001])

    writer = threading.Thread(target=write)
    os.dup2(reading, 0)
    os.close(reading)
    capfdbinary.readouterr()
    writer.start()
    try:
        assert _run(["run", silero, "-", "--raw", "s16le", "--rate", "16000"]) == 0
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        writer.join()
    assert seconds(capfdbinary.readouterr().out) == OF_THE_PACKAGE


def test_a_pipeline_says_what_its_output_means():
    stages = [{"do": "frames", "in": "x", "out": "y", "size": 8, "hop": 4}]
    pipeline = {"rate": 1000, "input": "x", "output": "y", "stage": stages, "after": {"y": {**EVENTS, "column": 7}}}
    model = lstm_edge.join({}, pipeline=pipeline, self_test=False)
    loud = np.zeros((9, 4), np.float32)
    loud[2:4] = 1
    answers = Answers(model)
    assert answers.feed(model.run(loud.reshape(9, 1, 4))) == [Event(6, 18)]
    assert model.metadata["delay"]["y"]["end of an event"] == answers.delay == 8


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_logits_become_probabilities_in_the_file(kind):
    logits = np.float32([[0.5, 3, -100], [90, 89, 2]])
    model = identity({"after": {"y": {**LABELS, "activation": kind}}}, 3)
    powers = np.exp(logits.astype(np.float64))
    expected = powers / (powers.sum(1, keepdims=True) if kind == "softmax" else 1 + powers)
    assert np.abs(model.run(logits) - expected).max() < 1e-6
    assert np.abs(activated(model.metadata, {"y": logits})["y"] - expected).max() < 1e-6
    assert [label for label, _, _ in Answers(model).feed(model.run(logits))] == ["two", "one"]


def test_the_framework_answers_behind_the_activation(tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Linear(4, 3)
    after = {"after": {"output": {**LABELS, "activation": "softmax"}}}
    model = lstm_edge.convert(net, tmp_path / "m.lstm", example=torch.zeros(2, 4), after=after)
    assert "torch" in model.metadata["self_test"]["source"]
    assert model.metadata["self_test"]["source"].endswith("behind whom the file's softmax stood in float64")
    assert lstm_edge.verify(tmp_path / "m.lstm").passed
    frame = np.float32([[1, 2, 3, 4]])
    assert np.allclose(model.run(frame), net(torch.from_numpy(frame)).softmax(1).detach().numpy(), atol=1e-6)
    with pytest.raises(
        FormatError, match=r"activation: expected logits, which become probabilities, found what Softmax"
    ):
        lstm_edge.convert(torch.nn.Sequential(net, torch.nn.Softmax(1)), example=torch.zeros(2, 4), after=after)


def test_a_trained_file_has_labels_and_info_says_what_answers_mean():
    trained = SimpleNamespace(metadata={"label": {"output": "probabilities", "labels": ["a", "b"]}})
    assert str(Answers(trained)) == "the label, of a, b"
    assert Answers(trained).feed([[0.1, 0.9]]) == [Label("b", 0.9, 0)]
    model = identity({"after": {"y": {**EVENTS, "threshold": 0.25}}}, rate=1000)
    assert meaning_lines(model) == [
        "y tells events of 0.25 or more, ended below 0.1 for 4 ms, longer than 0 ms, padded by 2 ms; known 5 ms after their end"
    ]
    assert delay_lines(model)[0].startswith("delay of y: 6 ms (6 samples: frame 1 ms, end of an event 5 ms)")
