"""Features that look over frames: deltas, PCEN, normalisation; streaming in any chunks, and what they say where they cannot."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from click.testing import CliRunner
from test_features import fronted, signal

import lstm_edge
from lstm_edge import format, passes
from lstm_edge.around import features, scalers
from lstm_edge.around.feature_fields import as_metadata, kept_fields, settled
from lstm_edge.around.statistics import read
from lstm_edge.cli.info import command
from lstm_edge.errors import FormatError, UnsupportedModelError
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph

CUT = {"end": "cut", "top_db": False, "delta_end": "cut", "preemphasis_first": "itself", "pad_mode": "constant"}
STREAMING = {
    "interp": {"like": "librosa", "type": "mfcc", "rate": 16000, "n_fft": 512, "hop": 160, "n_mfcc": 13, "deltas": 2},
    "constant": {"like": "librosa", "type": "mel", "rate": 16000, "n_fft": 512, "hop": 160, "n_mels": 16, "deltas": 2, "delta_edges": "constant"},
    "deltas": {"like": "python_speech_features", "type": "mfcc", "deltas": 2},
    "features": {"like": "kaldi", "type": "mfcc", "deltas": 2, "cmvn": {"mean": [1.0] * 39, "std": [2.0] * 39}},
    "one": {"like": "torchaudio", "type": "mfcc", "deltas": 1, "cmvn": {"mean": [-5.0] * 40, "std": [30.0] * 40}},
    "pcen": {"like": "librosa", "type": "pcen", "rate": 16000, "n_fft": 512, "hop": 160, "n_mels": 40, "preemphasis": 0.97, "deltas": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMING)
def test_frames_meet_in_any_chunks_as_on_the_whole_recording(name):
    table = STREAMING[name]
    model, front = fronted({**table, **CUT}), settled({**table, **CUT}, "x")
    hop, random = front.hop, np.random.default_rng(5)
    samples = np.tile(signal(), 2)[: 14000 // hop * hop][None]
    whole = model.run(samples)
    assert model.metadata["delay"]["y"]["deltas"] == front.delta_frames * hop
    for _ in range(2):
        stream, cuts = model.stream(1), np.cumsum(random.integers(1, 7, 40)) * hop
        parts = [stream.run(np.ascontiguousarray(p)) for p in np.split(samples, cuts[cuts < samples.shape[1]], 1)]
        np.testing.assert_array_equal(np.concatenate([p for p in parts if p is not None], 1), whole)
    padded = fronted({**table, **CUT, "delta_end": "pad"}).run(samples)
    assert padded.shape[1] == whole.shape[1] + front.delta_frames
    np.testing.assert_array_equal(padded[:, : whole.shape[1]], whole)


def test_a_whole_recording_may_have_fewer_frames_than_a_window_of_deltas():
    for edges in ("nearest", "constant"):
        model = fronted({"like": "kaldi", "type": "mfcc", "deltas": 2, "delta_edges": edges})
        assert model.run(signal()[None, :400]).shape == (1, 1, 39)


def test_torchaudio_repeats_the_edges_of_each_delta():
    """By ComputeDeltas' documentation, which could not be run: sum n (c[t + n] - c[t - n]) / (2 sum n^2), edges replicated."""
    table = {"like": "torchaudio", "type": "mfcc", "deltas": 2, "delta_width": 7}
    found = np.split(-fronted(table).run(signal()[None])[0].astype(np.float64), 3, 1)
    for static, delta in zip(found, found[1:]):
        x = np.pad(static, ((3, 3), (0, 0)), "edge")
        want = sum(n * (x[3 + n : len(x) - 3 + n] - x[3 - n : len(x) - 3 - n]) for n in (1, 2, 3)) / 28
        assert np.abs(delta - want).max() < 1e-5 * np.abs(static).max()


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"deltas": 1, "delta_end": "pad"}, "delta_end = 'cut'"),
        ({"deltas": 1, "delta_edges": "mirror"}, "delta_edges = 'nearest'"),
        ({"cmvn": "utterance"}, "cmvn = 'FILE'"),
        ({"preemphasis": 0.97, "preemphasis_first": "extrapolated"}, "preemphasis_first = 'itself'"),
    ],
)
def test_what_needs_the_whole_recording_does_not_stream_and_says_so(more, why):
    model = fronted({"like": "librosa", "type": "mfcc", **CUT, **more})
    assert not model.metadata["streaming"]["supported"]
    assert any(why in note for note in model.metadata["notes"])


def kaldi_file(sums: np.ndarray, kind: str) -> bytes:
    """As Kaldi writes a matrix: text, or binary floats or doubles behind sizes."""
    if kind == "text":
        return b"global  [\n" + b"\n".join(b" ".join(b"%.17g" % v for v in row) for row in sums) + b" ]\n"
    mark, dtype = (b"FM ", "<f4") if kind == "float" else (b"DM ", "<f8")
    head = struct.pack("<bibi", 4, sums.shape[0], 4, sums.shape[1])
    return b"global \0B" + mark + head + sums.astype(dtype).tobytes()


@pytest.mark.parametrize("kind", ["text", "float", "double", "npy", "npz", "json", "pair"])
def test_statistics_are_read_as_they_were_written(tmp_path, kind):
    mean, std, count = np.array([4.0, -0.5, 1.0]), np.array([2.0, 0.5, 1.0]), 64
    sums = np.stack([np.append(mean * count, count), np.append((std**2 + mean**2) * count, 0)])
    path = tmp_path / f"stats.{kind}"
    if kind == "npy":
        np.save(path, sums)
    elif kind == "npz":
        np.savez(path, mean=mean, std=std)
    elif kind == "json":
        path.write_text(json.dumps({"mean": mean.tolist(), "scale": std.tolist()}))
    elif kind == "pair":
        np.save(tmp_path / "m.npy", mean), np.save(tmp_path / "s.npy", std)
    else:
        path.write_bytes(kaldi_file(sums, kind))
    name = "m.npy,s.npy" if kind == "pair" else path.name
    found = read(name, True, tmp_path)
    np.testing.assert_allclose([found["mean"], found["std"]], [mean, std], rtol=1e-6)
    if kind in ("text", "float", "double", "npy"):
        assert read(name, False, tmp_path)["std"] == [1, 1, 1]
    table = {"like": "kaldi", "type": "mfcc", "n_mfcc": 3, "cmvn": name, "cmvn_vars": True}
    front = settled(table, "x", tmp_path)
    assert kept_fields(json.loads(json.dumps({**as_metadata(front), "shape": [1]}))) == front
    with pytest.raises(FormatError, match="cmvn: .*expected mean and std, found"):
        settled(table, "x")  # as out of a file that somebody else wrote


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"cmvn": {"mean": [1.0] * 12, "std": [1.0] * 12}}, "cmvn: expected the 13 values .*, found statistics of 12"),
        ({"cmvn": {"mean": [float("nan")] * 13, "std": [1.0] * 13}}, "cmvn: .*mean: expected finite numbers"),
        ({"cmvn": {"mean": [0.0] * 13, "std": ["a"] * 13}}, "cmvn: .*std: expected a list of numbers"),
        ({"cmvn": {"mean": [], "std": []}}, "cmvn: .*found none"),
        ({"cmvn": 3}, "cmvn: expected a file of mean and std"),
        ({"cmvn": np.full((2, 14), np.nan)}, "cmvn: .*a count of frames"),
        ({"deltas": 3}, "deltas: expected 0 to 2, found 3"),
        ({"deltas": 1, "delta_width": 4}, "delta_width: expected an odd number of frames, found 4"),
        ({"delta_edges": "wrap"}, "delta_edges: expected one of nearest, interp"),
        ({"add_deltas": True}, "expected a key.*did you mean deltas"),
        ({"time_constant": 0}, "time_constant: expected 1e-06 to"),
    ],
)
def test_a_table_is_refused_by_its_field(more, message):
    with pytest.raises(FormatError, match=f"x: {message}"):
        settled({"like": "kaldi", "type": "mfcc", **more}, "x")


def test_one_frame_a_call_has_no_deltas():
    with pytest.raises(UnsupportedModelError, match="deltas look at frames before and behind"):
        fronted({"like": "kaldi", "type": "mfcc", "deltas": 1, "delta_end": "cut"}, BATCH, 26)


def test_a_network_of_fixed_frames_gets_the_samples_that_its_deltas_need():
    table = {"like": "kaldi", "type": "mfcc", "deltas": 2}
    for end, more in (("pad", 0), ("cut", 4)):
        model = fronted({**table, "delta_end": end}, 1, 20, 39)
        assert model.inputs[0].shape == (1, (19 + more) * 160 + 400)
        assert model.run(np.zeros(model.inputs[0].shape, np.float32)).shape == (1, 20, 39)


def test_two_front_ends_have_one_rate():
    graph = Graph()
    for name in ("a", "b"):
        graph.output(f"{name}y", graph.add1("Unary", [graph.input(name, (1, 20, 13))], {"kind": "neg"}))
    tables = {"a": {"like": "kaldi", "type": "mfcc"}, "b": {"like": "kaldi", "type": "mfcc", "rate": 8000}}
    with pytest.raises(UnsupportedModelError, match="one rate of all front ends, found 16000 Hz of a, 8000 Hz of b"):
        features.apply(graph, {"before": tables})


def test_features_and_scalers_stay_float32_where_a_network_becomes_narrow(tmp_path):
    rng, graph = np.random.default_rng(3), Graph()
    x = graph.input("x", (BATCH, FRAMES, 26))
    shapes = ((64, 26), (64, 16))
    w, r = (graph.constant(rng.normal(size=(1, *s)) / 4, "w") for s in shapes)
    graph.output("y", graph.add1("LSTM", [x, w, r], {}, "lstm"))
    table = {"like": "kaldi", "type": "mfcc", "deltas": 1, "delta_end": "cut"}
    scale = {"mean": [5.0] * 26, "scale": [20.0] * 26}

    def dress(g):
        scalers.apply(g, scale, None)
        features.apply(g, {"before": {"x": table}})

    passes.pipeline(graph, dress=dress)
    content, sound = format.to_bytes(graph), signal()[None]
    exact = lstm_edge.load(content).run(sound)
    quantised, report = lstm_edge.quantize(content, calibration=sound, precision="int8")
    assert [op.name for op in report.ops if op.stored == "int8"] == ["lstm"]
    assert np.abs(quantised.run(sound) - exact).max() < 0.02
    pruned, cut = lstm_edge.prune(content, calibration=sound, density=0.5)
    assert {w.op for w in cut.weights} == {"LSTM"} and np.isfinite(pruned.run(sound)).all()
    path = tmp_path / "net.lstm"
    path.write_bytes(content)
    said = CliRunner().invoke(command, [str(path)], catch_exceptions=False).output
    assert "any number of samples of sound" in said and "in multiples of 160 samples" in said
