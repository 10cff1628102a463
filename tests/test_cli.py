"""The command line: what it prints, exits with and writes, on the digits model that the repository carries."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import textwrap
import wave
from pathlib import Path

import click
import numpy as np
import pytest
from shared import EXAMPLES, GOLDEN

import lstm_edge
from lstm_edge import format as le_format
from lstm_edge.cli import _run
from lstm_edge.cli.convert import command as convert_command
from lstm_edge.cli.io import frames_of_rows, frames_of_samples, read_rows, read_wav
from lstm_edge.cli.verify import command as verify_command
from lstm_edge.convert import to_graph
from lstm_edge.errors import FormatError, ShapeError
from lstm_edge.importers.registry import IMPORTERS
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph, SelfTest
from lstm_edge.options import OPTIONS

DIGITS = EXAMPLES / "digits"


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> str:
    pytest.importorskip("h5py")
    path = tmp_path_factory.mktemp("digits") / "digits.lstm"
    assert _run(["convert", str(DIGITS / "digits.keras"), "-o", str(path)]) == 0
    return str(path)


@pytest.fixture
def doubler(tmp_path) -> str:
    """y = 2 x over frames of 4 values, with a self-test."""
    graph = Graph(metadata={"streaming": {"supported": True}, "step": False, "outputs": {"y": ["batch", "frames", 4]}})
    x = graph.input("x", (BATCH, FRAMES, 4))
    graph.output("y", graph.add1("Binary", [x, graph.constant(np.float32(2), "two")], {"kind": "mul"}, "double"))
    sample = np.arange(8, dtype=np.float32).reshape(1, 2, 4)
    graph.self_test = SelfTest({"x": sample}, {"y": 2 * sample}, "arithmetic", 1e-6)
    path = tmp_path / "doubler.lstm"
    le_format.write(graph, path)
    return str(path)


def error_of(capsys, args: list[str], code: int = 1, bench: bool = False) -> str:
    assert _run(args) == code
    err = capsys.readouterr().err
    if bench:  # what it says of the machine comes first
        err = "".join(line + "\n" for line in err.splitlines() if not line.startswith("warning: "))
    assert err.startswith("error: ") and "Traceback" not in err and err.count("\n") == 1
    return err


def test_digits_read_right(digits):
    with np.load(DIGITS / "test.npz") as archive:
        images, labels = archive["images"].astype(np.float32) / 16, archive["labels"]
    answers = lstm_edge.load(digits).run(images)
    assert answers.shape == (len(images), 10)
    assert (answers.argmax(-1) == labels).mean() > 0.97


@pytest.mark.parametrize(
    "other, flags", [("digits.onnx", ()), ("digits.pt", ("--network", str(DIGITS / "digits.toml")))]
)
def test_digits_are_the_same_in_every_format(digits, other, flags, tmp_path):
    path = str(tmp_path / "other.lstm")
    assert _run(["convert", str(DIGITS / other), "-o", path, *flags]) == 0
    with np.load(DIGITS / "test.npz") as archive:
        images = archive["images"][:20].astype(np.float32) / 16
    found, expected = (np.asarray(lstm_edge.load(p).run(images)) for p in (path, digits))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_run_prints_csv(digits, capsys):
    assert _run(["run", digits, str(DIGITS / "seven.csv"), "--quiet"]) == 0
    out = capsys.readouterr().out
    answers = np.array([float(v) for v in out.replace("\n", ",").strip(",").split(",")])
    assert answers.size == 10 and answers.argmax() == 7


def test_run_cuts_into_chunks_and_joins_them(doubler, tmp_path, capsys):
    rows = np.random.default_rng(0).standard_normal((1000, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", rows)
    assert _run(["run", doubler, str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy")]) == 0
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""  # progress is for terminals
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), 2 * rows)


def test_run_wav_to_wav_keeps_rate_and_pads_the_last_frame(doubler, tmp_path):
    samples = np.arange(-5, 5, dtype="<i2")
    with wave.open(str(tmp_path / "in.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    assert _run(["run", doubler, str(tmp_path / "in.wav"), "-o", str(tmp_path / "out.wav"), "--quiet"]) == 0
    with wave.open(str(tmp_path / "out.wav"), "rb") as file:
        assert file.getframerate() == 8000
        out = np.frombuffer(file.readframes(99), "<i2")
    np.testing.assert_array_equal(out, [*(2 * samples), 0, 0])


def test_answers_of_any_length_are_written_whole(doubler, tmp_path):
    """Longer than a chunk, in every kind of file: the header of a .npy and a .wav is known only at the end."""
    rows = np.random.default_rng(0).standard_normal((3001, 4)).astype(np.float32) / 16
    np.savetxt(tmp_path / "x.csv", rows, fmt="%.9g", delimiter=",")
    for suffix in ("npy", "npz", "csv"):
        assert _run(["run", doubler, str(tmp_path / "x.csv"), "-o", str(tmp_path / f"y.{suffix}")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), 2 * rows)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["y"], 2 * rows)
    np.testing.assert_array_equal(read_rows(str(tmp_path / "y.csv")).astype(np.float32), 2 * rows)
    np.save(tmp_path / "batch.npy", np.stack([rows, -rows]))
    assert _run(["run", doubler, str(tmp_path / "batch.npy"), "-o", str(tmp_path / "y.npy")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), [2 * rows, -2 * rows])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_long_recording_needs_little_memory(doubler, tmp_path):
    samples = np.zeros(20_000_000, "<i2")
    (tmp_path / "long.wav").write_bytes(wav_bytes(1, 16, samples.tobytes()))
    # VmPeak counts what is mapped; VmHWM what was ever resident.
    code = (
        "import sys; from lstm_edge.cli import _run; assert _run(sys.argv[1:]) == 0;"
        "print(next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')))"
    )
    args = ["run", doubler, str(tmp_path / "long.wav"), "-o", str(tmp_path / "out.wav")]
    done = subprocess.run([sys.executable, "-c", code, *args], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 100_000  # kB; the samples alone are 80,000 as float32, on top of Python and NumPy
    assert (tmp_path / "out.wav").stat().st_size == 40_000_044


def test_nothing_half_written_is_left(doubler, tmp_path, capsys, monkeypatch):
    (tmp_path / "bad.csv").write_text("1,2,3,4\n" * 3000 + "1,2,3\n")
    (tmp_path / "y.npy").write_bytes(b"before")
    assert "line 3001" in error_of(capsys, ["run", doubler, str(tmp_path / "bad.csv"), "-o", str(tmp_path / "y.npy")])
    np.save(tmp_path / "x.npy", np.zeros((8, 4), np.float32))
    monkeypatch.setattr("lstm_edge.cli.sinks.Sink.write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert _run(["run", doubler, str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy")]) == 130
    assert (tmp_path / "y.npy").read_bytes() == b"before" and not list(tmp_path.glob("*.tmp"))


def test_sources_are_never_overwritten(doubler, tmp_path, capsys):
    pytest.importorskip("h5py")
    source = tmp_path / "digits.keras"
    source.write_bytes((DIGITS / "digits.keras").read_bytes())
    before = source.read_bytes()
    assert "another file than the input" in error_of(capsys, ["convert", str(source), "-o", str(source)])
    (tmp_path / "link.lstm").symlink_to(source)
    assert "another file than the input" in error_of(
        capsys, ["convert", str(source), "-o", str(tmp_path / "link.lstm")]
    )
    (tmp_path / "notes.txt").write_text("mine")
    assert "expected a .lstm file" in error_of(capsys, ["convert", str(source), "-o", str(tmp_path / "notes.txt")])
    assert source.read_bytes() == before and (tmp_path / "notes.txt").read_text() == "mine"
    rows = tmp_path / "x.csv"
    rows.write_text("1,2,3,4\n")
    assert "another file than the input" in error_of(capsys, ["run", doubler, str(rows), "-o", str(rows)])
    assert rows.read_text() == "1,2,3,4\n"


def test_a_recurrence_over_a_fixed_number_of_frames_says_how_to_stream(tmp_path, capsys):
    """ "streaming: yes" alone would read as if its state went from call to call."""
    shapes = {"rnn.weight_ih_l0": (3, 2), "rnn.weight_hh_l0": (3, 3)}
    np.savez(tmp_path / "w.npz", **{n: np.ones(s, np.float32) for n, s in shapes.items()})
    network = 'convention = "torch"\ninputs = { x = [1, FRAMES, 2] }\nlayer = [{ type = "rnn", weights = "rnn" }]\n'
    for frames, fixed in (("7", True), ('"frames"', False)):
        (tmp_path / "net.toml").write_text(network.replace("FRAMES", frames))
        path = str(tmp_path / "w.lstm")
        assert _run(["convert", str(tmp_path / "w.npz"), "--network", str(tmp_path / "net.toml"), "-o", path]) == 0
        capsys.readouterr()
        assert _run(["info", path]) == 0
        out = capsys.readouterr().out
        assert ("a whole input of fixed size" in out and "--shape" in out) == fixed
        assert ("model.run(" in out) == fixed and ("stream.step(" in out) != fixed


def test_info_tells_ports_and_ops(doubler, capsys):
    assert _run(["info", doubler]) == 0
    out = capsys.readouterr().out
    assert "(batch, frames, 4)" in out and "1 Binary" in out and "streaming: yes" in out and "arithmetic" in out
    assert "any number of frames of 4 values" in out and "4 values for every frame" in out
    assert _run(["info", doubler, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["inputs"] == [{"name": "x", "shape": ["batch", "frames", 4], "dtype": "float32"}]
    assert told["ops"] == [{"op": "Binary", "name": "double"}]


@pytest.mark.parametrize(
    "shape, multiple, supported, frame",
    [
        (("batch", "frames", 4), 1, True, (4,)),
        (("frames", "batch", 4), 1, True, (4,)),
        (("batch", "frames", 4), 3, True, (3, 4)),
        (("batch", 2, "6*frames"), 1, True, (1, 2, 6)),
        (("batch", "frames", 4), 1, False, (100, 4)),
        ((2, 5), 1, True, (2, 5)),
    ],
)
def test_info_shows_python_that_runs(tmp_path, capsys, shape, multiple, supported, frame):
    sizes = {"batch": BATCH, "frames": FRAMES, "6*frames": 6 * FRAMES}
    streaming = {"supported": supported, "why": "a test", "multiple": multiple}
    graph = Graph(metadata={"streaming": streaming, "step": "frames" not in str(shape)})
    x = graph.input("x", tuple(sizes.get(s, s) for s in shape))
    graph.output("y", graph.add1("Unary", [x], {"kind": "neg"}, "negative"))
    path = str(tmp_path / "m.lstm")
    le_format.write(graph, path)
    assert _run(["info", path]) == 0
    code = capsys.readouterr().out.split("in Python:\n")[1]
    ran: dict = {}
    exec(textwrap.dedent(code), ran)
    assert ran["answer"].shape == frame and len(code.splitlines()) == 3


def test_verify_passes_and_fails(doubler, capsys):
    assert _run(["verify", doubler]) == 0
    capsys.readouterr()
    graph = le_format.read(doubler)
    graph.self_test.outputs["y"] = graph.self_test.outputs["y"] + np.float32(1e-3)
    le_format.write(graph, doubler)
    assert _run(["verify", doubler]) == 3


def test_bench_json(digits, capsys):
    assert _run(["bench", digits, "--runs", "20", "--warmup", "2", "--frames", "8", "--json", "--isa", "scalar"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == 2 and [r["mode"] for r in told["results"]] == ["step", "sequence"]
    for row in told["results"]:
        assert row["isa"] == "scalar" and row["runs"] == 20
        assert 0 < row["min"] <= row["median"] <= row["p90"] <= row["p99"] <= row["max"]


def test_bench_counts_late_calls(doubler, capsys):
    assert _run(["bench", doubler, "--mode", "step", "--runs", "10", "--period", "0.001us", "--json"]) == 0
    timing = json.loads(capsys.readouterr().out)["results"][0]
    assert timing["missed"] == 10 and timing["real_time_factor"] == pytest.approx(timing["median"] / 0.001)


def test_bench_pins_and_unpins(doubler, capsys):
    before = os.sched_getaffinity(0)
    cpu = min(before)
    assert _run(["bench", doubler, "--mode", "step", "--runs", "10", "--cpu", str(cpu), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["cpu"] == cpu
    assert os.sched_getaffinity(0) == before
    assert "expected one of" in error_of(capsys, ["bench", doubler, "--cpu", "100000"], bench=True)


def test_errors_are_one_line(doubler, tmp_path, capsys):
    damaged = tmp_path / "damaged.lstm"
    damaged.write_bytes(Path(doubler).read_bytes()[:-1])
    assert "truncated" in error_of(capsys, ["info", str(damaged)])
    assert "expected 4 columns" in error_of(capsys, ["run", doubler, str(DIGITS / "seven.csv")])
    assert "--select" in error_of(capsys, ["run", doubler, str(DIGITS / "seven.csv"), "--select", "z"])
    assert "expected one of scalar" in error_of(capsys, ["info", doubler, "--isa", "nothing"])


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("a.npy", b"", "expected a .npy array"),
        ("a.npy", b"\x93NUMPY\x01\x00", "expected a .npy array"),
        ("a.npz", b"", "expected a .npz archive"),
        ("a.npz", b"PK\x03\x04garbage", "expected a .npz archive"),
        ("a.csv", b"\xff\xfe1", "expected text in UTF-8"),
        ("a.csv", b"", "expected rows of a table"),
        ("a.wav", b"", "expected a RIFF WAVE file"),
        ("a.txt", b"1,2,3,4", "expected a file among .npy, .npz, .csv, .tsv, .parquet, .jsonl, .wav, found .txt"),
    ],
)
def test_foreign_inputs_are_named(doubler, tmp_path, capsys, name, content, words):
    (tmp_path / name).write_bytes(content)
    err = error_of(capsys, ["run", doubler, str(tmp_path / name)])
    assert words in err and name in err


@pytest.mark.parametrize("dtype", ["bool", "complex128", "U1", "int16"])
def test_wrong_dtypes_are_named_with_what_to_do(doubler, tmp_path, capsys, dtype):
    np.save(tmp_path / "a.npy", np.zeros((2, 4), dtype))
    said = error_of(capsys, ["run", doubler, str(tmp_path / "a.npy")])
    assert f"expected dtype float32, found {np.dtype(dtype)}" in said and "array.astype('float32')" in said


def test_outputs_that_cannot_be_written_are_named_before_any_work(doubler, tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.zeros((2, 4), np.float32))
    for output, words in (
        (tmp_path / "none" / "y.csv", "expected an existing folder"),
        (tmp_path / "y.txt", "expected a file to write among"),
        (tmp_path / "y.wav", "expected a .wav input"),
    ):
        assert words in error_of(capsys, ["run", doubler, str(tmp_path / "a.npy"), "-o", str(output)])
    (tmp_path / "dir.csv").mkdir()
    assert "found a directory" in error_of(
        capsys, ["run", doubler, str(tmp_path / "a.npy"), "-o", str(tmp_path / "dir.csv")]
    )


def test_rates_must_agree(doubler, tmp_path, capsys):
    graph = le_format.read(doubler)
    graph.metadata["sample_rate"] = 48000.0
    le_format.write(graph, doubler)
    (tmp_path / "a.wav").write_bytes(wav_bytes(1, 16, bytes(80)))
    assert "expected 48000 Hz, the model's rate, found 16000 Hz" in error_of(
        capsys, ["run", doubler, str(tmp_path / "a.wav")]
    )


def test_a_missing_module_is_named_with_its_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    err = error_of(capsys, ["convert", str(DIGITS / "digits.onnx"), "-o", str(tmp_path / "digits.lstm")])
    assert "pip install 'lstm-edge[onnx]'" in err


def test_a_fault_of_ours_is_one_line_too(doubler, capsys, monkeypatch):
    monkeypatch.setattr(lstm_edge, "load", lambda *_, **__: 1 / 0)
    assert "a fault in lstm_edge itself: ZeroDivisionError" in error_of(capsys, ["info", doubler], 4)


def flags_of(command) -> dict[str, str]:
    return {p.name: p.opts[0] for p in command.params}


def test_commands_take_the_options_that_are_declared():
    convert, verify = flags_of(convert_command), flags_of(verify_command)
    for option in OPTIONS.values():
        assert convert[option.name] == option.flag and (
            option.off is None or convert[f"no_{option.name}"] == option.off[0]
        )
        assert verify.get(option.name) == (option.flag if option.of_importer else None)
    text = convert_command.get_help(click.Context(convert_command))
    for setting in (s for importer in IMPORTERS for s in importer.settings):
        assert f"{setting.name}=" in text


def test_options_reach_the_conversion(tmp_path, capsys):
    fused, path = str(GOLDEN / "tflite" / "fused_integer.tflite"), str(tmp_path / "m.lstm")
    assert _run(["convert", fused, "-o", path, "--option", "integer=float"]) == 0
    assert [op for op, _ in lstm_edge.load(path).ops].count("LSTM") == 2
    capsys.readouterr()
    assert "--option speed=1: expected --option integer=..." in error_of(
        capsys, ["convert", fused, "-o", path, "--option", "speed=1"]
    )
    assert "--set: not used for tflite models" in error_of(capsys, ["convert", fused, "-o", path, "--set", "x=1"])


def test_an_example_and_a_sample_come_from_files(tmp_path):
    torch = pytest.importorskip("torch")
    torch.jit.script(torch.nn.Linear(3, 2)).save(str(tmp_path / "m.pt"))
    example, sample = (np.random.default_rng(n).normal(size=(4, 3)).astype(np.float32) for n in (0, 1))
    np.save(tmp_path / "example.npy", example)
    np.save(tmp_path / "sample.npy", sample)
    files = [f"{tmp_path}/{name}.npy" for name in ("example", "sample")]
    path = str(tmp_path / "m.lstm")
    graph = to_graph(tmp_path / "m.pt", example=example)
    name = graph.inputs[0].name
    args = ["convert", str(tmp_path / "m.pt"), "-o", path, "--example", files[0], "--sample", f"{name}={files[1]}"]
    assert _run(args) == 0
    found = le_format.read(path)
    np.testing.assert_array_equal(found.self_test.inputs[name], sample)
    assert found.shape(found.inputs[0].tensor) == graph.shape(graph.inputs[0].tensor)


@pytest.mark.parametrize(
    "args",
    [
        ["nothing"],
        ["info"],
        ["info", "missing.lstm"],
        ["bench", "--frames", "0", __file__],
        ["convert", __file__, "--shape", "x"],
        ["convert", __file__, "--set", "x=abc"],
        ["convert", __file__, "--set", "x=99999999999999999999"],
        ["convert", __file__, "--overlap", "x=-1"],
        ["bench", __file__, "--period", "1.2.3ms"],
        ["bench", __file__, "--period", "0ms"],
    ],
)
def test_wrong_command_lines_exit_2(args, capsys):
    error_of(capsys, args, 2)


def test_module_runs_as_the_command_and_exits_with_its_code(tmp_path):
    (tmp_path / "x.lstm").write_bytes(b"not a model")
    command = [sys.executable, "-m", "lstm_edge", "info", str(tmp_path / "x.lstm")]
    root = Path(__file__).parents[1]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=root, env={**os.environ, "NO_COLOR": "1"}
    )
    assert done.returncode == 1 and done.stdout == "" and done.stderr.startswith("error: ")


def test_help_names_every_command(capsys):
    assert _run(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("convert", "info", "run", "verify", "bench", "Exit codes"))


# ---- files ----------------------------------------------------------------------------------------------------------


def test_wav_cut_short_is_refused_and_open_ended_is_read(tmp_path):
    whole = wav_bytes(1, 16, np.arange(4, dtype="<i2").tobytes())
    (tmp_path / "a.wav").write_bytes(whole[:-2])
    with pytest.raises(FormatError, match="truncated: expected 8 bytes of samples, found 6"):
        read_wav(str(tmp_path / "a.wav"))
    at = whole.index(b"data") + 4
    (tmp_path / "a.wav").write_bytes(whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :])
    assert len(read_wav(str(tmp_path / "a.wav"))[0]) == 4


def wav_bytes(tag: int, bits: int, data: bytes, channels: int = 1) -> bytes:
    fmt = struct.pack("<HHIIHH", tag, channels, 16000, 16000 * channels * bits // 8, channels * bits // 8, bits)
    body = b"WAVE" + b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"fmt " + struct.pack("<I", 16) + fmt
    body += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    "tag, bits, data",
    [
        (1, 8, bytes([0, 128, 192])),
        (1, 16, np.array([-32768, 0, 16384], "<i2").tobytes()),
        (1, 24, b"\0\0\x80" + b"\0\0\0" + b"\0\0\x40"),
        (1, 32, np.array([-(2**31), 0, 2**30], "<i4").tobytes()),
        (3, 32, np.array([-1, 0, 0.5], "<f4").tobytes()),
        (3, 64, np.array([-1, 0, 0.5], "<f8").tobytes()),
    ],
)
def test_wav_of_every_width(tmp_path, tag, bits, data):
    (tmp_path / "a.wav").write_bytes(wav_bytes(tag, bits, data))
    samples, rate = read_wav(str(tmp_path / "a.wav"))
    assert rate == 16000 and samples.dtype == np.float32
    np.testing.assert_array_equal(samples, [[-1], [0], [0.5]])


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", wav_bytes(2, 4, b"12"), wav_bytes(1, 16, b"12", 0), wav_bytes(1, 16, b"")[:30]]
)
def test_foreign_wav_is_named(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(FormatError, match=r"a\.wav: expected"):
        read_wav(str(tmp_path / "a.wav"))


def test_csv_header_and_errors(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("left,right\n1,2\n\n3,4e-1\n")
    np.testing.assert_array_equal(read_rows(str(path)), [[1, 2], [3, 0.4]])
    for text, words in (
        ("1,2\n3\n", "line 2: expected 2 columns, separated by ',', as the first row has, found 1"),
        ("a,b\n", "found none"),
        ("1\nx\n", "line 2, column 'column1': expected a number, found 'x'"),
        ("1,,2\n1,2,3\n", "line 1, column 'column2': expected a number, found an empty cell; --missing forward"),
    ):
        path.write_text(text)
        with pytest.raises(FormatError, match=words):
            read_rows(str(path))


@pytest.mark.parametrize(
    "shape, step_model, rows, expected",
    [
        (("batch", "frames", 6), False, (5, 6), (5, 6)),
        (("frames", "batch", 6), False, (5, 6), (5, 6)),
        (("batch", 3, "frames", 2), False, (5, 6), (3, 5, 2)),
        (("batch", "6*frames"), False, (5, 6), (30,)),
        (("batch", 2, "3*frames"), False, (5, 6), (2, 15)),
        (("batch", "frames"), False, (5, 1), (5,)),
        ((1, 6), True, (5, 6), (5, 6)),
        (("batch", 1, 6), True, (5, 6), (5, 1, 6)),
        (("batch", 2, 6), False, (4, 6), (2, 2, 6)),
    ],
)
def test_rows_become_frames_of_the_input(shape, step_model, rows, expected):
    values = np.arange(np.prod(rows), dtype=np.float64).reshape(rows)
    array = frames_of_rows(values, lstm_edge.Port("x", shape, "float32"), step_model, "a.csv")
    assert array.shape == expected and array.dtype == np.float32
    if "frames" in str(shape) and shape[1] == 2:  # channel 1 of frame 0 holds its second half
        np.testing.assert_array_equal(array[1, :3], [3, 4, 5])


def test_samples_need_a_model_with_frames():
    with pytest.raises(ShapeError, match="expected a model with frames"):
        frames_of_samples(np.zeros(8, np.float32), lstm_edge.Port("x", ("batch", 8), "float32"), False, "a.wav")


def test_commands_that_run_files_start_without_what_converts():
    code = "import sys, lstm_edge.cli.run; print(*{m.split('.')[1] for m in sys.modules if m.startswith('lstm_edge.')})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0 and not {"importers", "format", "ir", "passes"} & {*done.stdout.split()}, done.stdout
