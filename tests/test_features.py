"""Audio features in front of a network: each library's own answers, streaming in any chunks, through convert and run."""

from __future__ import annotations

import importlib.util
import json
import os
import wave
from pathlib import Path

import numpy as np
import pytest
from librosa_mfcc import mfcc

import lstm_edge
from lstm_edge import format, passes
from lstm_edge.around import features
from lstm_edge.around.feature_fields import as_metadata, kept_fields, settled
from lstm_edge.errors import FormatError, ShapeError, UnsupportedModelError
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.spectra.fields import LIKE, TYPES

ROOT = Path(__file__).parent.parent
GOLDEN = dict(np.load(ROOT / "tests/golden/features.npz"))
SETS = json.loads(str(GOLDEN["sets"]))
RECORDINGS = Path(os.environ.get("LSTM_EDGE_MODELS", "models")).parent / "audio"
STREAMING = {"end": "cut", "top_db": False, "pad_mode": "constant"}


def signal() -> np.ndarray:
    spec = importlib.util.spec_from_file_location("make_features", ROOT / "tools/golden/make_features.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made.signal()


def fronted(table: dict, *shape) -> lstm_edge.Model:
    """A network that gives what it takes, negated, behind the front end."""
    graph = Graph()
    x = graph.input("x", shape or (BATCH, FRAMES, settled(table, "x").width))
    graph.output("y", graph.add1("Unary", [x], {"kind": "neg"}))
    passes.pipeline(graph, dress=lambda g: features.apply(g, {"before": {"x": table}}))
    return lstm_edge.Model(format.to_bytes(graph))


@pytest.mark.parametrize("n", range(len(SETS)), ids=lambda n: f"{SETS[n]['like']}-{SETS[n]['type']}-{n}")
def test_features_are_those_of_their_library(n):
    model = fronted(SETS[n])
    found, want = -model.run(signal()[None])[0], GOLDEN[f"{n}/signal"]
    assert len(found) == GOLDEN[f"{n}/signal/frames"]
    assert np.abs(found[-len(want) :] - want).max() < 1e-4 * np.abs(want).max()
    if f"{n}/signal/first" in GOLDEN:
        first = GOLDEN[f"{n}/signal/first"]
        assert np.abs(found[: len(first)] - first).max() < 1e-4 * np.abs(want).max()
    path = RECORDINGS / "gtcrn_mix_16k.wav"
    if path.exists():
        with wave.open(str(path)) as sound:
            samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16) / np.float32(32768)
        found, want = -model.run(samples[None])[0], GOLDEN[f"{n}/{path.stem}"]
        assert len(found) == GOLDEN[f"{n}/{path.stem}/frames"]
        assert np.abs(found[: len(want)] - want).max() < 1e-4 * np.abs(want).max()


def test_mfccs_that_pages_train_on_are_those_that_librosa_computed():
    assert SETS[0] == {"like": "librosa", "type": "mfcc", "rate": 16000, "n_fft": 512, "hop": 160, "n_mfcc": 13}
    found, want = mfcc(y=signal(), sr=16000, n_mfcc=13, n_fft=512, hop_length=160).T, GOLDEN["0/signal"]
    assert len(found) == GOLDEN["0/signal/frames"]
    np.testing.assert_allclose(found[-len(want) :], want, rtol=0, atol=1e-4)


@pytest.mark.parametrize("like", ["librosa", "torchaudio", "python_speech_features", "tensorflow", "kaldi", "sonopy"])
def test_features_stream_in_any_chunks(like):
    cut = {} if like in ("kaldi", "sonopy") else STREAMING
    model = fronted({"like": like, "type": "mfcc", "rate": 16000, **cut})
    hop = model.metadata["streaming"]["multiple"]
    samples = np.tile(signal(), 2)[: 14000 // hop * hop][None]
    front = kept_fields(model.metadata["before"]["x"])
    assert model.metadata["delay"] == {"y": {"frame": front.hop, "half a window": front.size // 2}}
    whole = model.run(samples)
    for hops in (1, 5):
        stream = model.stream(1)
        parts = [stream.run(samples[:, i : i + hops * hop]) for i in range(0, samples.shape[1], hops * hop)]
        np.testing.assert_array_equal(np.concatenate([p for p in parts if p is not None], 1), whole)


def test_what_needs_the_whole_recording_does_not_stream_and_says_so():
    model = fronted({"like": "librosa", "type": "mfcc"})
    assert not model.metadata["streaming"]["supported"]
    (note,) = [n for n in model.metadata["notes"] if "does not stream as librosa" in n]
    assert "end = 'cut'" in note and "top_db = false" in note


@pytest.mark.parametrize(
    ("fields", "least"),
    [({"deltas": 1}, 1280), ({"deltas": 2, "delta_edges": "mirror"}, 640), ({"pad_mode": "reflect"}, 257)],
)
def test_a_recording_too_short_for_its_features_is_told_by_the_input(fields, least):
    model = fronted({"like": "librosa", "type": "mfcc", "rate": 16000, "n_fft": 512, "hop": 160, **fields})
    assert model.run(signal()[None, :least]).shape[1] == least // 160 + 1
    with pytest.raises(ShapeError, match=f"^input 'x': samples: expected at least {least}, .* found {least - 1}$"):
        model.run(signal()[None, : least - 1])


def test_a_recording_without_a_frame_is_told_by_the_input():
    model = fronted({"like": "librosa", "type": "mfcc", "center": False, "n_fft": 512, "hop": 160})
    with pytest.raises(
        ShapeError, match="^input 'x': output 'y': expected a sequence long enough .* found 300 samples"
    ):
        model.run(signal()[None, :300])


def test_features_fit_networks_that_lay_them_out_otherwise():
    table = {"like": "kaldi", "type": "mfcc"}
    plain = fronted(table).run(signal()[None])
    for shape, axes in (((BATCH, 13, FRAMES), (0, 2, 1)), ((BATCH, 1, FRAMES, 13), None), ((1, 13, FRAMES), (0, 2, 1))):
        found = fronted(table, *shape).run(signal()[None])
        np.testing.assert_array_equal(
            found if axes is None else found.transpose(axes), plain[:, None] if axes is None else plain
        )
    fixed = fronted(table, 1, 20, 13)
    assert fixed.inputs[0].shape == (1, 19 * 160 + 400)
    np.testing.assert_array_equal(fixed.run(signal()[None, :3440]), plain[:, :20])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"type": "mfcc", "like": "librosa", "n_mfc": 3}, "'n_mfc'; did you mean n_mfcc"),
        ({"type": "mfcc", "like": "librosa", "hop_length": 160}, "'hop_length'; did you mean hop?"),
        ({"type": "mfcc", "like": "librosas"}, "like: expected one of librosa, "),
        ({"type": "mfcc", "like": "kaldi", "hop": 0}, "hop: expected a whole number of at least 1, found 0"),
        ({"type": "mfcc", "like": "kaldi", "n_mfcc": 30}, "n_mfcc: expected at most n_mels, 23, found 30"),
        ({"type": "mfcc", "like": "kaldi", "end": "pad"}, "end: expected cut, as kaldi fills nothing up, found pad"),
        ({"type": "mel", "like": "librosa", "fmin": 9000, "rate": 16000}, "fmax: expected more than fmin, 9000"),
        ({"type": "mfcc", "like": "kaldi", "n_fft": 10**9}, "n_fft: expected 2 to 65536, found 1000000000"),
        (
            {"type": "mfcc", "like": "kaldi", "hop": 10**400, "floor": 1e300},
            "hop: expected 1 to 1048576.*; floor: .*1e.300",
        ),
        ({"type": "mfcc", "like": "kaldi", "hop": -1, "fmin": float("nan")}, "hop: .*; fmin: .*found nan"),
        ({"type": "mfcc", "like": "kaldi", "rate": 10**400, "n_mels": True}, "rate: .*; n_mels: .*found True"),
        (
            {"type": "mel", "like": "kaldi", "n_mels": 500, "fmax": 9e3},
            "fmax: .*half the rate, 8000.*; n_mels: .*the 257",
        ),
    ],
)
def test_a_table_is_refused_by_its_field(table, message):
    with pytest.raises(FormatError, match=f"before.x: .*{message}"):
        settled(table, "features.toml: before.x")


@pytest.mark.parametrize("like", ["torchaudio", "python_speech_features", "kaldi"])
def test_a_network_of_one_frame_a_call_answers_as_on_the_whole_recording(like):
    table = {"like": like, "type": "mfcc", "rate": 16000, **({} if like == "kaldi" else STREAMING)}
    front = settled(table, "x")
    whole = fronted(table).run(signal()[None])
    for shape in ((BATCH, front.width), (1, 1, front.width), (BATCH, front.width, 1)):
        model = fronted(table, *shape)
        calls = signal()[: 20 * front.hop].reshape(20, 1, front.hop)
        answers = model.run(calls)
        assert answers.shape == (20, *(1 if d == BATCH else d for d in shape))
        found = answers.reshape(1, 20, -1)[:, front.calls_before :]
        np.testing.assert_array_equal(found, whole[:, : found.shape[1]])
        again = features.computed(model.metadata, {"x": calls})["x"]
        assert np.abs(answers + again).max() < 1e-4 * np.abs(whole).max()


def test_a_network_of_one_frame_a_call_is_given_no_whole_recording():
    with pytest.raises(
        UnsupportedModelError, match=r"found librosa's of whole recordings: the end .*; decibels are counted"
    ):
        fronted({"type": "mfcc", "like": "librosa"}, BATCH, 20)


def test_a_rate_beside_the_one_of_the_table_is_refused():
    graph = Graph()
    graph.output("y", graph.add1("Unary", [graph.input("x", (BATCH, FRAMES, 13))], {"kind": "neg"}))
    with pytest.raises(UnsupportedModelError, match="before.x: rate: expected the 8000 samples a second .*found 16000"):
        features.apply(graph, {"before": {"x": {"type": "mfcc", "like": "kaldi"}}}, 8000)


def test_a_front_end_without_its_input_is_refused():
    with pytest.raises(
        UnsupportedModelError, match=r"expected an input with an axis of the 13 values of a frame of mfcc"
    ):
        fronted({"type": "mfcc", "like": "kaldi"}, BATCH, FRAMES, 12)
    graph = Graph()
    graph.output("y", graph.add1("Unary", [graph.input("audio", (BATCH, FRAMES, 13))], {"kind": "neg"}))
    with pytest.raises(UnsupportedModelError, match=r"expected an input of the model \(audio\), found 'x'"):
        features.apply(graph, {"before": {"x": {"type": "mfcc", "like": "kaldi"}}})
    with pytest.raises(FormatError, match=r"expected tables \[before.INPUT\] alone, found after"):
        features.apply(graph, {"after": {}})


@pytest.mark.parametrize("like", ["librosa", "python_speech_features", "kaldi"])
@pytest.mark.parametrize("end", ["pad", "cut"])
def test_a_network_of_fixed_frames_gets_the_samples_that_they_need(like, end):
    table = {"type": "mfcc", "like": like, "n_mfcc": 13, "rate": 16000, "n_fft": 512, "hop": 160}
    if like != "kaldi" or end == "cut":
        model = fronted({**table, "end": end}, 1, 98, 13)
        assert model.run(np.zeros(model.inputs[0].shape, np.float32)).shape == (1, 98, 13)


def test_convert_takes_a_table_and_the_framework_answers_from_samples(tmp_path):
    torch = pytest.importorskip("torch")
    toml = tmp_path / "features.toml"
    toml.write_text('[before.x]\ntype = "mfcc"\nlike = "kaldi"\nn_mfcc = 12\n')

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = torch.nn.GRU(12, 4, batch_first=True)

        def forward(self, x):
            return self.gru(x)[0]

    scale = tmp_path / "scale.npz"
    np.savez(scale, mean=np.linspace(-9, 9, 12), scale=np.linspace(2, 20, 12))
    model = lstm_edge.convert(
        Net(),
        tmp_path / "net.lstm",
        before=toml,
        scale={"x": scale},
        example=torch.zeros(1, 5, 12),
        shapes={"x": ("batch", "frames", 12)},
    )
    assert model.metadata["self_test"]["source"].startswith("torch")
    assert model.metadata["before"]["x"]["n_mels"] == 23
    assert model.metadata["sample_rate"] == 16000
    lstm_edge.verify(tmp_path / "net.lstm")
    assert model.run(signal()[None]).shape == (1, 48, 4)


@pytest.mark.parametrize("like", LIKE)
def test_what_a_file_keeps_of_a_front_end_is_read_as_it_was(like):
    for kind in TYPES:
        front = settled({"type": kind, "like": like}, "x")
        assert kept_fields(json.loads(json.dumps({**as_metadata(front), "shape": [1]}))) == front


@pytest.mark.parametrize(
    "wrong", [{"rate": "a"}, {"rate": None}, {"n_fft": "512"}, {"n_fft": 10**30}, {"hop": -3}, {"new": 1}, {"like": []}]
)
def test_a_front_end_that_nobody_wrote_is_refused_by_its_field(wrong):
    kept = {**as_metadata(settled({"type": "stft", "like": "librosa"}, "x")), "shape": ["open", "open", 1025]}
    samples = {"x": np.zeros((1, 4096), np.float32)}
    for read in (
        lambda: features.described({**kept, **wrong}),
        lambda: features.frames_to_try({"before": {"x": {**kept, **wrong}}}),
        lambda: features.computed({"before": {"x": {**kept, **wrong}}}, samples),
        lambda: features.computed({"before": {"x": {**kept, "shape": "open"}}}, samples),
    ):
        with pytest.raises(FormatError, match="^metadata 'before': "):
            read()
