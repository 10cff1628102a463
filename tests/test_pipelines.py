"""Networks and what lies between them as one file: against loops in NumPy, in any chunks, as files and pipes of sound."""

from __future__ import annotations

import re
import wave

import numpy as np
import pytest
from shared import EXAMPLES, MODELS, needs_models

import lstm_edge
from lstm_edge.answers import Answers
from lstm_edge.cli import _run
from lstm_edge.errors import FormatError, LstmEdgeError

RANDOM = np.random.default_rng(3)
SIZE, HOP, BINS = 16, 4, 9
SOUND = RANDOM.standard_normal(10 * HOP).astype(np.float32) / 4
DTLN = {
    "rate": 8000,
    "input": "noisy",
    "output": "clean",
    "stage": [
        {"do": "frames", "in": "noisy", "out": "block", "size": SIZE, "hop": HOP},
        {"do": "rfft", "in": "block", "out": "spectrum"},
        {"do": "magnitude", "in": "spectrum", "out": "loudness"},
        {"run": "one", "in": "loudness", "out": "gains"},
        {"do": "mask", "in": ["spectrum", "gains"], "out": "masked"},
        {"do": "irfft", "in": "masked", "out": "estimate"},
        {"run": "two", "in": "estimate", "out": "cleaned"},
        {"do": "overlap_add", "in": "cleaned", "out": "clean", "hop": HOP},
    ],
}


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> dict[str, str]:
    """Two recurrent networks that take and give a frame: of bins, and of samples."""
    folder = tmp_path_factory.mktemp("networks")
    made = {}
    for name, width in (("one", BINS), ("two", SIZE)):
        sizes = {"weight_ih_l0": (4 * width, width), "weight_hh_l0": (4 * width, width), "bias_ih_l0": (4 * width,), "bias_hh_l0": (4 * width,)}  # fmt: skip
        arrays = {f"rec.{n}": RANDOM.standard_normal(s).astype(np.float32) / 3 for n, s in sizes.items()}
        layers = [{"type": "lstm", "weights": "rec"}]
        network = {"convention": "torch", "inputs": {"x": ["batch", "frames", width]}, "layer": layers}
        made[name] = str(folder / f"{name}.lstm")
        lstm_edge.convert(arrays, made[name], network=network, self_test=False)
    return made


def changed(number: int, **values) -> dict:
    stages = [{**stage, **values} if n == number else stage for n, stage in enumerate(DTLN["stage"], 1)]
    return {**DTLN, "stage": [{k: v for k, v in s.items() if v is not None} for s in stages]}


def between(stages: list[dict], samples: np.ndarray, hop: int) -> np.ndarray:
    """What stages without a network make of samples."""
    model = lstm_edge.join({}, pipeline={"input": "x", "output": "y", "stage": stages}, self_test=False)
    return model.run(samples.reshape(-1, 1, hop)).reshape(-1)


def test_a_block_loop_is_one_model(networks):
    model = lstm_edge.join(list(networks.values()), pipeline=DTLN)
    one, two = (lstm_edge.load(path).stream() for path in networks.values())
    came, went, cleaned = np.zeros(SIZE), np.zeros(SIZE), []
    for block in SOUND.reshape(-1, HOP):
        came = np.concatenate([came[HOP:], block])
        spectrum = np.fft.rfft(came)
        gains = one.step(np.abs(spectrum).astype(np.float32)).reshape(-1)
        estimate = np.fft.irfft(np.abs(spectrum) * gains * np.exp(1j * np.angle(spectrum)))
        went = np.concatenate([went[HOP:], np.zeros(HOP)]) + two.step(estimate.astype(np.float32)).reshape(-1)
        cleaned.append(went[:HOP])
    whole = model.run(SOUND.reshape(-1, 1, HOP))
    np.testing.assert_allclose(whole.reshape(-1), np.concatenate(cleaned), rtol=0, atol=1e-6)
    stream = model.stream()
    pieces = [
        stream.run(part.reshape(-1, 1, HOP)) for part in (SOUND[: 3 * HOP], SOUND[3 * HOP : 4 * HOP], SOUND[4 * HOP :])
    ]
    assert np.concatenate(pieces).tobytes() == whole.tobytes()
    assert {name.split("/")[0] for name in stream.state} == {"block", "one", "two", "clean"}
    assert model.metadata["delay"] == {"clean": {"frame": HOP, "overlap-add": SIZE - HOP}}


def test_the_whole_proves_itself_and_its_parts(networks, tmp_path):
    lstm_edge.join(networks, tmp_path / "joined.lstm", pipeline=DTLN)
    report = lstm_edge.verify(tmp_path / "joined.lstm")
    assert report.passed and "one has no self-test" in report.why


def test_sound_goes_in_and_comes_out(networks, tmp_path, monkeypatch, capfdbinary):
    monkeypatch.chdir(tmp_path)
    samples = np.rint(SOUND * 32768).astype("<i2")
    with wave.open("noisy.wav", "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    (tmp_path / "noisy.raw").write_bytes(samples.tobytes())
    (tmp_path / "p.toml").write_text(
        'rate = 8000\ninput = "noisy"\noutput = "clean"\nstage = ['
        + ", ".join("{" + ", ".join(f"{k} = {v!r}" for k, v in s.items()) + "}" for s in DTLN["stage"]) + "]"
    )  # fmt: skip
    assert _run(["join", *networks.values(), "--pipeline", "p.toml", "-o", "joined.lstm"]) == 0
    assert b"delay of clean: 2 ms (16 samples: frame 0.5 ms, overlap-add 1.5 ms)" in capfdbinary.readouterr().out
    assert _run(["run", "joined.lstm", "noisy.wav", "-o", "clean.wav"]) == 0
    want = lstm_edge.load("joined.lstm").run((samples / np.float32(32768)).reshape(-1, 1, HOP)).reshape(-1)
    with wave.open("clean.wav") as file:
        assert (file.getframerate(), file.getnchannels()) == (8000, 1)
        written = file.readframes(len(samples))
    np.testing.assert_array_equal(np.frombuffer(written, "<i2"), np.rint(want * 32768))
    for form, expected in ((["--format", "f32le"], want.tobytes()), (["--format", "s16le"], written), ([], written)):
        assert _run(["run", "joined.lstm", "noisy.raw", "--raw", "s16le", "--quiet", *form]) == 0
        given = capfdbinary.readouterr().out
        head = b"" if form else b"RIFF"
        assert given.startswith(head) and given[0 if form else 44 :] == expected


def test_a_short_time_spectrum_and_back_is_the_signal():
    window = {"window": "sqrt_hann"}
    stages = [
        {"do": "frames", "in": "x", "out": "block", "size": 8, "hop": 2, **window},
        {"do": "rfft", "in": "block", "out": "s"},
        {"do": "magnitude", "in": "s", "out": "m"},
        {"do": "with_phase", "in": ["m", "s"], "out": "same"},
        {"do": "irfft", "in": "same", "out": "back"},
        {"do": "overlap_add", "in": "back", "out": "y", "hop": 2, **window},
    ]
    got = between(stages, SOUND, 2)
    np.testing.assert_allclose(got[6:], SOUND[:-6], rtol=0, atol=1e-6)
    assert np.abs(between(stages, np.zeros(8, np.float32), 2)).max() == 0  # silence has no phase


def test_a_complex_mask_is_a_product():
    stages = [
        {"do": "frames", "in": "x", "out": "block", "size": 8, "hop": 4, "window": "hamming"},
        {"do": "rfft", "in": "block", "out": "s"},
        {"do": "complex_mask", "in": ["s", "s"], "out": "square"},
        {"do": "irfft", "in": "square", "out": "y"},
    ]
    got = between(stages, SOUND, 4).reshape(-1, 8)
    blocks = np.stack([np.concatenate([np.zeros(4), SOUND])[n : n + 8] for n in range(0, len(SOUND), 4)])
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(8) / 8)
    want = np.fft.irfft(np.fft.rfft(blocks * window) ** 2)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({**DTLN, "stage": []}, "stage: expected a list of stages"),
        ({**DTLN, "rates": 1}, "a key that this table has, found 'rates'; did you mean rate?"),
        ({**DTLN, "output": ["clean", "clean"]}, "output: expected names that differ, found clean, clean"),
        (changed(1, size=1 << 40), r"stage 1 \(frames\): size: expected at most 4194304 samples"),
        (changed(8, hop=2), "output: expected sound of 4 samples a call, as many as come in, found clean of 2"),
        ({**DTLN, "output": "noisy"}, "output: expected what a stage makes: block, spectrum, .*, found noisy"),
        (changed(1, hop=None), r"stage 1 \(frames\): hop: expected a whole number of at least 1, found none"),
        (changed(1, size=2), r"stage 1 \(frames\): size: expected at least the hop of 4 samples, found 2"),
        (changed(1, do="fames"), "stage 1: do: expected one of frames, rfft, .*, found fames"),
        (changed(2, **{"in": "blok"}), r"stage 2 \(rfft\): in: expected an input or .*: noisy, block, found blok"),
        (changed(3, **{"in": "block"}), r"stage 3 \(magnitude\): in: expected a spectrum.*, found shape \(1, 16\)"),
        (changed(3, out="block"), "out: expected a name of its own, found 'block', which is made by stage 1"),
        (changed(4, run="three"), "stage 4: run: expected one of one, two, found three"),
        (changed(4, **{"in": "block"}), r"stage 4 \(one\): in: expected 9 values, .* for input 'x' of one, found shape"),
        (changed(4, do="mask"), "stage 4: expected run = .*, or do = .*, found both"),
        (changed(5, **{"in": "spectrum"}), r"stage 5 \(mask\): in: expected 2 names, found spectrum"),
        (changed(7, run="one", **{"in": "gains"}), "stage: expected a stage that runs each network, run = 'two' among"),
        (changed(8, hop=32), r"stage 8 \(overlap_add\): hop: expected at most the block's 16 samples, found 32"),
        (changed(8, loud=1), r"stage 8 \(overlap_add\): expected a key that this table has, found 'loud'"),
    ],
)  # fmt: skip
def test_a_wrong_description_is_told_by_place(networks, description, message):
    with pytest.raises(FormatError, match=f"^the description: ?.*{message}"):
        lstm_edge.join(networks, pipeline=description, self_test=False)


def test_what_a_part_says_of_itself_goes_on_with_it(tmp_path):
    arrays = {"out.weight": RANDOM.standard_normal((4, 4)).astype(np.float32), "out.bias": np.zeros(4, np.float32)}
    network = {"convention": "torch", "inputs": {"x": ["batch", "frames", 4]}, "layer": [{"type": "dense", "name": "out", "weights": "out"}]}  # fmt: skip
    lstm_edge.convert(arrays, tmp_path / "n.lstm", network=network, labels=["a", "b", "c", "d"], rate=8000)
    lstm_edge.quantize(tmp_path / "n.lstm", tmp_path / "q.lstm", weights="int8")
    stages = [{"do": "frames", "in": "x", "out": "f", "size": 4, "hop": 2}, {"run": "q", "in": "f", "out": "y"}]
    pipeline = {"rate": 8000, "input": "x", "output": "y", "stage": stages}
    model = lstm_edge.join(tmp_path / "q.lstm", pipeline=pipeline)
    assert model.metadata["after"]["y"]["labels"] == ["a", "b", "c", "d"]
    assert [op["name"] for op in model.metadata["quantization"]["ops"]] == ["q/out"]
    assert {"q/out", "f/keep"} <= {name for _, name in model.ops}
    with pytest.raises(
        LstmEdgeError, match="q: expected a network of the pipeline's rate, 16000 Hz, found one of 8000 Hz"
    ):
        lstm_edge.join(tmp_path / "q.lstm", pipeline={**pipeline, "rate": 16000})


def test_a_network_that_does_not_answer_its_first_frames_is_refused(tmp_path):
    torch = pytest.importorskip("torch")

    class Narrowing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.over_time = torch.nn.Conv1d(4, 4, 3)

        def forward(self, x):
            return self.over_time(x.transpose(1, 2)).transpose(1, 2)

    lstm_edge.convert(Narrowing(), tmp_path / "n.lstm", example=torch.zeros(1, 20, 4), self_test=False)
    pipeline = {"input": "x", "output": "y", "stage": [{"run": "n", "in": "x", "out": "y"}]}
    with pytest.raises(LstmEdgeError, match="n: expected a network that answers every frame, found one whose output"):
        lstm_edge.join([tmp_path / "n.lstm"], pipeline=pipeline)


def test_a_network_that_cannot_step_is_told(tmp_path, networks):
    (tmp_path / "p.toml").write_text("stage = 3 4")
    with pytest.raises(FormatError, match=re.escape("p.toml: expected TOML")):
        lstm_edge.join(networks, pipeline=tmp_path / "p.toml")
    with pytest.raises(LstmEdgeError, match="expected a name of its own for each, found one, one"):
        lstm_edge.join([networks["one"]] * 2, pipeline=DTLN)


def test_a_part_that_looks_back_answers_as_it_does_alone(tmp_path):
    """What a network shifts and pads in time is a state that begins empty or full: its sizes are not those of every run."""
    torch = pytest.importorskip("torch")

    class Surprise(torch.nn.Module):
        """How far each frame lies from what was told of it two frames before; the first two are told by nobody."""

        def __init__(self):
            super().__init__()
            self.rnn = torch.nn.GRU(2, 3, batch_first=True)
            self.out = torch.nn.Linear(3, 2)

        def forward(self, x):
            told = torch.nn.functional.pad(self.out(self.rnn(x)[0]), (0, 0, 2, 0))[:, :-2]
            score = (x - told).abs().sum(2, keepdim=True)
            return score, score > 1

    lstm_edge.convert(Surprise(), tmp_path / "n.lstm", example=torch.zeros(1, 9, 2))
    stages = [{"run": "n", "in": "x", "out": ["score", "alarm"]}]
    after = {"alarm": {"type": "events", "frame_ms": 1000, "min_duration_ms": 0, "min_silence_ms": 0, "pad_ms": 0}}
    pipeline = {"input": "x", "output": ["score", "alarm"], "stage": stages, "after": after}
    model = lstm_edge.join(tmp_path / "n.lstm", pipeline=pipeline)
    frames = RANDOM.standard_normal((12, 2)).astype(np.float32)
    frames[6] = 9
    alone = list(lstm_edge.load(tmp_path / "n.lstm").run(frames).values())
    got = model.run(frames.reshape(12, 1, 1, 2))
    np.testing.assert_array_equal(got["score"].reshape(-1), alone[0].reshape(-1))
    np.testing.assert_array_equal(got["alarm"].reshape(-1), alone[1].reshape(-1))
    answers = Answers(model)
    events = [*answers.feed(got["alarm"]), *answers.finish()]
    assert any(event.start <= 6000 < event.end for event in events)


def test_scalers_and_columns_of_a_part_go_on_with_it(networks, tmp_path, capsys):
    sizes = {"weight_ih_l0": (8, 2), "weight_hh_l0": (8, 2), "bias_ih_l0": (8,), "bias_hh_l0": (8,)}
    arrays = {f"rec.{n}": RANDOM.standard_normal(s).astype(np.float32) for n, s in sizes.items()}
    layers = [{"type": "lstm", "name": "rec", "weights": "rec"}]
    network = {"convention": "torch", "inputs": {"x": ["batch", "frames", 2]}, "outputs": {"y": "rec"}, "layer": layers}
    scaler = {"mean": [3000.0, 15.0], "scale": [800.0, 8.0], "columns": ["load", "warmth"]}
    lstm_edge.convert(arrays, tmp_path / "n.lstm", network=network, scale=scaler, unscale=scaler)
    stages = [{"run": "n", "in": "x", "out": "between"}, {"run": "m", "in": "between", "out": "y"}]
    both = {"n": tmp_path / "n.lstm", "m": tmp_path / "n.lstm"}
    lstm_edge.join(both, tmp_path / "two.lstm", pipeline={"input": "x", "output": "y", "stage": stages})
    lstm_edge.join([tmp_path / "two.lstm"], tmp_path / "three.lstm", pipeline={"input": "x", "output": "y", "stage": [{"run": "two", "in": "x", "out": "y"}]})  # fmt: skip
    capsys.readouterr()
    for file, part in (("two.lstm", ""), ("three.lstm", "two/")):
        assert _run(["info", str(tmp_path / file)]) == 0
        told = capsys.readouterr().out
        assert "scale: input x is raw: " in told and "columns load, warmth" in told
        assert f"unscale: output y of {part}n is raw" in told and f"scale: input x of {part}m is raw" in told
    (tmp_path / "rows.csv").write_text("warmth,load\n16,3100\n14,2900\n")
    assert _run(["run", str(tmp_path / "two.lstm"), str(tmp_path / "rows.csv"), "-o", str(tmp_path / "y.npy")]) == 0
    rows, one = np.float32([[3100, 16], [2900, 14]]), lstm_edge.load(tmp_path / "n.lstm")
    np.testing.assert_allclose(np.load(tmp_path / "y.npy").reshape(2, 2), one.run(one.run(rows)), rtol=1e-6)


def test_features_of_a_part_stay_in_float32(tmp_path):
    torch = pytest.importorskip("torch")

    class Frame(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.out = torch.nn.Linear(13, 2)

        def forward(self, x):
            return self.out(x)

    front = {"before": {"x": {"type": "mfcc", "like": "kaldi"}}}
    lstm_edge.convert(Frame(), tmp_path / "n.lstm", example=torch.zeros(1, 13), shapes={"x": (1, 13)}, before=front, self_test=False)  # fmt: skip
    stages = [{"run": "n", "in": "sound", "out": "y"}]
    lstm_edge.join(tmp_path / "n.lstm", tmp_path / "j.lstm", pipeline={"input": "sound", "output": "y", "stage": stages}, self_test=False)  # fmt: skip
    lstm_edge.quantize(tmp_path / "j.lstm", tmp_path / "q.lstm", weights="int8")
    told = lstm_edge.load(tmp_path / "q.lstm").metadata["quantization"]["ops"]
    assert [op["name"] for op in told if op["stored"] == "int8"] == ["n/out.linear"]


def test_what_is_no_network_is_told(networks):
    model = lstm_edge.load(networks["one"])
    for given, found in (
        (model, "found an object of Model; give the path that it was loaded from"),
        ([networks["one"], model], "found an object of Model"),
        ({"one": model}, "for each name, found 'one': an object of Model"),
        (b"LSTM", "found an object of bytes"),
        (None, "found an object of NoneType"),
    ):
        with pytest.raises(FormatError, match=f"^networks: expected .*{found}"):
            lstm_edge.join(given, pipeline=DTLN)


@needs_models
def test_dtln_is_its_own_block_loop(tmp_path):
    networks = {f"dtln_{n}": tmp_path / f"dtln_{n}.lstm" for n in (1, 2)}
    for n, path in enumerate(networks.values(), 1):
        lstm_edge.convert(MODELS / "dtln" / f"model_{n}.onnx", path, self_test=False)
    model = lstm_edge.join(networks, pipeline=EXAMPLES / "pipelines" / "dtln.toml", self_test=False)
    reference = np.load(MODELS / "dtln" / "model_12_onnx.ref.npz")
    blocks = (len(reference["audio_in"]) - 384) // 128
    got = model.run(reference["audio_in"][: 128 * blocks].reshape(-1, 1, 128)).reshape(-1)
    np.testing.assert_allclose(got, reference["audio_out"][: 128 * blocks], rtol=0, atol=1e-5)


@needs_models
def test_gtcrn_is_its_own_frame_loop(tmp_path):
    ort = pytest.importorskip("onnxruntime")
    source = MODELS / "gtcrn" / "gtcrn_simple.onnx"
    lstm_edge.convert(source, tmp_path / "gtcrn.lstm", self_test=False)
    model = lstm_edge.join([tmp_path / "gtcrn.lstm"], pipeline=EXAMPLES / "pipelines" / "gtcrn.toml", self_test=False)
    samples = np.load(MODELS / "dtln" / "model_12_onnx.ref.npz")["audio_in"][16000:32000][: 62 * 256]
    session = ort.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    first, *caches = session.get_inputs()
    state = {c.name: np.zeros(c.shape, np.float32) for c in caches}
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512))
    came, went, cleaned = np.zeros(512), np.zeros(512), []
    for block in samples.reshape(-1, 256):
        came = np.concatenate([came[256:], block])
        spectrum = np.fft.rfft(came * window)
        pairs = np.stack([spectrum.real, spectrum.imag], -1)[None, :, None].astype(np.float32)
        enhanced, *after = session.run(None, {first.name: pairs, **state})
        state = dict(zip(state, after))
        part = np.fft.irfft(enhanced[0, :, 0, 0] + 1j * enhanced[0, :, 0, 1]) * window
        went = np.concatenate([went[256:], np.zeros(256)]) + part
        cleaned.append(went[:256])
    whole = model.run(samples.reshape(-1, 1, 256))
    np.testing.assert_allclose(whole.reshape(-1), np.concatenate(cleaned), rtol=0, atol=1e-5)
    stream = model.stream()
    pieces = [stream.run(samples[a:b].reshape(-1, 1, 256)) for a, b in ((0, 256), (256, 8 * 256), (8 * 256, None))]
    assert np.concatenate(pieces).tobytes() == whole.tobytes()
