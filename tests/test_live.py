"""`lstm-edge run` on what arrives: standard input in pieces, rates and channels of sound, readers that leave, signals."""

from __future__ import annotations

import json
import os
import shlex
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from shared import ROOT

import lstm_edge
from lstm_edge import format, passes
from lstm_edge.cli import _run
from lstm_edge.errors import LstmEdgeError
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
FRAME, RATE = 8, 16000
RANDOM = np.random.default_rng(7)
SOUND = (RANDOM.standard_normal(16 * FRAME - 3) * 9000).astype("<i2")


def converted(path: Path, sizes: dict[str, list], layers: list[dict], **options) -> str:
    arrays = {f"rec.{n}": RANDOM.standard_normal(s).astype(np.float32) / 2
              for n, s in (("weight_ih_l0", (16, FRAME)), ("weight_hh_l0", (16, 4)), ("bias_ih_l0", (16,)), ("bias_hh_l0", (16,)))}  # fmt: skip
    network = {"convention": "torch", "inputs": sizes, "layer": [{"type": "lstm", "weights": "rec"}, *layers]}
    lstm_edge.convert(arrays, path, network=network, self_test=False, **options)
    return str(path)


@pytest.fixture(scope="module")
def vad(tmp_path_factory) -> str:
    """A recurrent model of 8 samples a frame at 16 kHz."""
    return converted(tmp_path_factory.mktemp("vad") / "vad.lstm", {"sound": ["batch", "frames", FRAME]}, [], rate=RATE)


@pytest.fixture
def stdin():
    """Writes bytes to what becomes standard input, in pieces, from a thread."""
    kept, threads, pieces_of = os.dup(0), [], []

    def feed(data: bytes, piece: int = 1 << 16) -> None:
        reading, writing = os.pipe()
        os.dup2(reading, 0)
        os.close(reading)

        def write() -> None:
            try:
                for at in range(0, len(data), piece):
                    os.write(writing, data[at : at + piece])
            except BrokenPipeError:
                pieces_of.append("left")
            os.close(writing)

        threads.append(threading.Thread(target=write))
        threads[-1].start()

    yield feed
    os.dup2(kept, 0)
    os.close(kept)
    for thread in threads:
        thread.join()


def wav(samples: np.ndarray, rate: int = RATE, channels: int = 1, size: int | None = None, whole: int = 0) -> bytes:
    data = samples.tobytes()
    form = struct.pack("<HHIIHH", 1, channels, rate, 2 * rate * channels, 2 * channels, 16)
    size = len(data) if size is None else size
    return struct.pack("<4sI4s4sI", b"RIFF", whole or len(data) + 36, b"WAVE", b"fmt ", 16) + form + struct.pack("<4sI", b"data", size) + data  # fmt: skip


def answers(capsys, *args: str, code: int = 0) -> str:
    assert _run(["run", *args]) == code
    return capsys.readouterr().out


def error_of(capsys, *args: str) -> str:
    assert _run(["run", *args]) in (1, 2)
    return capsys.readouterr().err


def whole_file(capsys, vad: str, tmp_path: Path, *flags: str) -> str:
    (tmp_path / "sound.wav").write_bytes(wav(SOUND))
    return answers(capsys, vad, str(tmp_path / "sound.wav"), *flags)


@pytest.mark.parametrize("piece", [1, 333, 65536])
def test_any_pieces_give_the_bits_of_the_whole_file(vad, stdin, tmp_path, capsys, piece):
    expected = whole_file(capsys, vad, tmp_path)
    assert expected.count("\n") == 16
    stdin(SOUND.tobytes(), piece)
    assert answers(capsys, vad, "-", "--raw", "s16le", "--rate", "16000") == expected
    for size, whole in ((None, 0), (0, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFF000, 0x7FFFF024)):
        stdin(wav(SOUND, size=size, whole=whole), piece)
        assert answers(capsys, vad, "-") == expected


@pytest.mark.parametrize("piece", [1, 65536])
def test_rows_and_arrays_come_the_same_way(vad, stdin, tmp_path, capsys, piece):
    rows = RANDOM.standard_normal((70, FRAME)).astype(np.float32)
    np.save(tmp_path / "x.npy", rows)
    expected = answers(capsys, vad, str(tmp_path / "x.npy"), "--times")
    assert expected.startswith("1,") and expected.splitlines()[-1].startswith("70,")
    name = lstm_edge.load(vad).inputs[0].name
    texts = [[f"{v:.9g}" for v in row] for row in rows.tolist()]
    for data in (
        "R,b,c,d,e,f,g,h\n\n" + "\n".join(map(",".join, texts)),
        "a;b;c;d;e;f;g;h\r\n" + "\r\n".join(";".join(row).replace(".", ",") for row in texts),
        "\n".join(map("\t".join, texts)),
        "\n".join(f"[{','.join(row)}]" for row in texts) + "\n",
        "\n".join(f'{{"{name}": [{",".join(row)}]}}' for row in texts),
    ):
        stdin(data.encode(), piece)
        assert answers(capsys, vad, "-", "--times") == expected
    data = (
        "made today\n"
        + "when;"
        + ";".join("abcdefgh")
        + "\n"
        + "\n".join(f"12:{n % 60:02};" + ";".join(row) for n, row in enumerate(texts))
    )
    stdin(data.encode(), piece)
    assert answers(capsys, vad, "-", "--times", "--skip", "1", "--columns", "a,b,c,d,e,f,g,h") == expected
    for array in (rows, np.asfortranarray(rows), rows[None]):
        np.save(tmp_path / "y.npy", array)
        stdin((tmp_path / "y.npy").read_bytes(), piece)
        assert answers(capsys, vad, "-", "--times") == expected


def test_a_row_is_answered_when_its_line_ends(vad):
    command = [sys.executable, "-m", "lstm_edge", "run", vad, "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, bufsize=0) as process:
        for _ in range(3):
            process.stdin.write(b"1,2,3,4,5,6,7,8\n")
            assert process.stdout.readline().count(b",") == 3
        process.stdin.close()
        assert process.wait() == 0


def test_every_way_of_writing_samples(vad, stdin, capsys, tmp_path):
    expected = whole_file(capsys, vad, tmp_path)
    wide = SOUND.astype("<i4") << 16
    ways = {
        "s24le": wide.view(np.uint8).reshape(-1, 4)[:, 1:].tobytes(),
        "s32le": wide.tobytes(),
        "f32le": (SOUND / 32768).astype("<f4").tobytes(),
    }
    for form, data in ways.items():
        stdin(data, 7)
        assert answers(capsys, vad, "-", "--raw", form) == expected
    two = np.stack([SOUND, np.zeros_like(SOUND)], 1)
    stdin(two.tobytes(), 5)
    assert answers(capsys, vad, "-", "--raw", "s16le", "--channels", "2", "--channel", "1") == expected
    (tmp_path / "two.wav").write_bytes(wav(np.stack([SOUND, SOUND], 1), channels=2))
    assert answers(capsys, vad, str(tmp_path / "two.wav"), "--channel", "mix") == expected
    assert "found 2; --channel N takes one" in error_of(capsys, vad, str(tmp_path / "two.wav"))
    assert "expected a channel 3, found 2" in error_of(capsys, vad, str(tmp_path / "two.wav"), "--channel", "3")


def test_a_frame_is_answered_when_it_is_complete(vad, capfd):
    """Not a byte later: the writer waits for the answer to each."""
    command = [sys.executable, "-m", "lstm_edge", "run", vad, "-", "--raw", "s16le", "--times", "--format", "jsonl"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, bufsize=0) as process:
        for n in range(3):
            process.stdin.write(SOUND[n * FRAME : (n + 1) * FRAME].tobytes())
            answer = json.loads(process.stdout.readline())
            assert answer["time"] == n * FRAME / RATE and len(answer[lstm_edge.load(vad).outputs[0].name]) == 4
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130 and process.stdout.read() == b""
    assert capfd.readouterr().err.strip().endswith("error: interrupted")


def test_what_was_done_is_written_when_a_signal_comes(vad, tmp_path):
    target = tmp_path / "y.npy"
    command = [sys.executable, "-m", "lstm_edge", "run", vad, "-", "--raw", "s16le", "-o", str(target), "--quiet"]
    sound = np.tile(SOUND, 200)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        process.stdin.write(sound.tobytes())
        process.stdin.flush()
        while not any(path.stat().st_size for path in tmp_path.glob("*.tmp")):  # no answer yet
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 143 and process.stderr.read() == b""
    done = np.load(target)
    assert len(done) > 0 and not list(tmp_path.glob("*.tmp"))
    frames = (sound[: len(done) * FRAME] / 32768).astype(np.float32).reshape(-1, FRAME)
    np.testing.assert_array_equal(done, lstm_edge.load(vad).run(frames))


@pytest.mark.parametrize("line", ["0,1,2,3,4,5,6,7", "[0,1,2,3,4,5,6,7]"])
def test_a_line_that_a_signal_cuts_short_is_not_answered(vad, tmp_path, line):
    """Its last number might be another, 0. of 0.5; what came before it is written."""
    target = tmp_path / "y.csv"
    command = [sys.executable, "-m", "lstm_edge", "run", vad, "-", "-o", str(target), "--quiet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        process.stdin.write(f"{line}\n{line}\n{line}"[: -2 * line.startswith("[") or None].encode())
        process.stdin.flush()
        while not list(tmp_path.glob("*.tmp")):  # nothing is read to be answered yet
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 143 and process.stderr.read() == b""
    assert target.read_text().count("\n") == 2


def test_raw_that_no_input_takes_is_refused(vad, tmp_path, capsys):
    (tmp_path / "sound.wav").write_bytes(wav(SOUND))
    assert "--raw is of what has no header" in error_of(capsys, vad, str(tmp_path / "sound.wav"), "--raw", "s16le")


@pytest.mark.parametrize("words", ["info", "run - --raw s16le"])
def test_a_closed_output_is_named_and_one_without_reader_is_none(vad, words):
    command, *flags = words.split()
    call = f"head -c 99 /dev/zero | {sys.executable} -m lstm_edge {command} {vad} {' '.join(flags)}"
    script = f"{call} >&-; echo $?; ({call}; echo $? >&2) | true"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "1\n" and done.stderr.endswith("\n0\n")
    assert "error: standard output: expected something to write to, found it closed\n" in done.stderr


def test_what_is_no_whole_sample_is_said(vad, stdin, capsys):
    stdin(SOUND.tobytes()[:-1])
    assert _run(["run", vad, "-", "--raw", "s16le"]) == 0
    assert "left out, as it is no whole sample: 1 bytes at the end" in capsys.readouterr().err
    stdin(struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 0, b"WAVE", b"fmt ", 16, 3, 1, RATE, 8 * RATE, 8, 64, b"data", 8 * FRAME) + np.full(FRAME, 1e300).tobytes())  # fmt: skip
    assert _run(["run", vad, "-"]) == 0
    assert "8 infinite of 8 values" in capsys.readouterr().err


def test_a_reader_that_leaves_ends_it_in_silence(vad, tmp_path):
    (tmp_path / "raw").write_bytes(SOUND.tobytes() * 20000)
    script = f"{sys.executable} -m lstm_edge run {vad} - --raw s16le --quiet < {tmp_path}/raw | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 141) and done.stderr == ""


def test_devices_and_pipes_are_written_in_place(vad, capsys, tmp_path, stdin):
    expected = whole_file(capsys, vad, tmp_path)
    stdin(SOUND.tobytes())
    assert answers(capsys, vad, "-", "--raw", "s16le", "-o", os.devnull) == ""
    assert not Path(os.devnull).is_file()
    os.mkfifo(tmp_path / "fifo")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "fifo").read_text()))
    reader.start()
    assert answers(capsys, vad, str(tmp_path / "sound.wav"), "-o", str(tmp_path / "fifo")) == ""
    reader.join()
    assert read == [expected]


def test_answers_that_begin_late_are_lines_and_arrays(stdin, tmp_path, capsys):
    """The first hops of samples give none: a feature's window is not full."""
    graph = Graph()
    framed = graph.add1("Frames", [graph.input("x", (BATCH, FRAMES))], {"size": 400, "hop": 160})
    graph.output("y", graph.add1("Reduce", [framed], {"kind": "sum", "axes": [2], "keepdims": 1}))
    graph.metadata["sample_rate"] = 16000.0
    passes.pipeline(graph)
    model, answers = tmp_path / "m.lstm", tmp_path / "y.npy"
    format.write(graph, model)
    samples = np.arange(1600).astype("<i2").tobytes()
    for flags in (["--times"], ["-o", str(answers)]):
        stdin(samples, 320)
        assert _run(["run", str(model), "-", "--raw", "s16le", *flags]) == 0
    lines = [line.split(",") for line in capsys.readouterr().out.split()]
    assert len(lines) == 8 and np.array_equal(np.float32([line[1] for line in lines]), np.load(answers).reshape(-1))


def test_another_rate_is_refused_or_resampled(vad, tmp_path, capsys, stdin):
    """A second of tones below 3 kHz, at 44.1 kHz and at 16 kHz from the same spectrum: within 1e-3, but for the edges."""
    spectrum = np.zeros(8001, np.complex128)
    spectrum[20:3000] = np.exp(2j * np.pi * RANDOM.random(2980)) * 20
    fast, slow = (np.fft.irfft(spectrum, n) * n for n in (44100, RATE))
    (tmp_path / "a.wav").write_bytes(wav(np.rint(fast).astype("<i2"), 44100))
    refused = error_of(capsys, vad, str(tmp_path / "a.wav"))
    assert "expected 16000 Hz, the model's rate, found 44100 Hz; --resample" in refused
    pytest.importorskip("soxr")
    assert _run(["run", vad, str(tmp_path / "a.wav"), "--resample"]) == 0
    found = capsys.readouterr()
    assert found.err.count("resampled from 44100 Hz to 16000 Hz") == 1
    stdin((tmp_path / "a.wav").read_bytes(), 333)
    assert answers(capsys, vad, "-", "--resample") == found.out
    stdin((slow / 32768).astype("<f4").tobytes())
    expected = answers(capsys, vad, "-", "--raw", "f32le")
    ours, theirs = (np.loadtxt(text.splitlines(), delimiter=",") for text in (found.out, expected))
    assert len(ours) == len(theirs) == RATE / FRAME and np.abs(ours - theirs)[50:-50].max() < 1e-3


def test_other_commands_refuse_another_rate_too(vad, tmp_path, capsys):
    (tmp_path / "a.wav").write_bytes(wav(SOUND, 8000))
    assert _run(["trace", vad, str(tmp_path / "a.wav")]) == 1
    assert "expected 16000 Hz, the model's rate, found 8000 Hz" in capsys.readouterr().err


def test_a_rate_is_asked_for_where_nobody_said_it(stdin, tmp_path, capsys):
    silent = converted(tmp_path / "m.lstm", {"x": ["batch", "frames", FRAME]}, [])
    (tmp_path / "a.wav").write_bytes(wav(SOUND))
    assert _run(["run", silent, str(tmp_path / "a.wav")]) == 0
    assert capsys.readouterr().err.count("the model does not say what rate it expects") == 1
    assert _run(["run", silent, str(tmp_path / "a.wav"), "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert "expected a model that says its rate" in error_of(capsys, silent, str(tmp_path / "a.wav"), "--resample")
    stdin(SOUND.tobytes())
    assert "--times: expected sound whose rate is known" in error_of(capsys, silent, "-", "--raw", "s16le", "--times")


def test_convert_keeps_the_rate(tmp_path):
    sizes = {"x": ["batch", "frames", FRAME]}
    assert lstm_edge.load(converted(tmp_path / "m.lstm", sizes, [], rate=8000)).metadata["sample_rate"] == 8000
    for rate in (0, float("nan"), "16000", True):
        with pytest.raises(LstmEdgeError, match="rate: expected samples a second, 1 or more"):
            converted(tmp_path / "m.lstm", sizes, [], rate=rate)


@pytest.mark.parametrize(
    "data, flags, words",
    [
        (b"", ("--raw", "s16le"), "standard input: expected samples, found none"),
        (b"\0", ("--raw", "s16le"), "standard input: expected samples, found none"),
        (b"", ("--rate", "16000"), "--rate goes with --raw"),
        (b"", ("--raw", "s16le", "--rate", "9" * 20), "is not in the range 1<=x<=4294967295"),
        (b"", ("--raw", "s16le", "--channel", "2"), "--channel: expected one of 1, found 2"),
        (wav(SOUND)[:-9], (), "truncated: expected 250 bytes of samples, found 241"),
        (wav(SOUND)[:30], (), "expected chunks 'fmt ' and 'data'"),
        (b"\0\1\2", (), "expected .wav, .csv, .jsonl or .npy, found other content; --raw s16le"),
        (b"PK\x03\x04", (), "expected .wav, .csv, .jsonl or .npy"),
        (
            b"1,2,3,4,5,6,7,8\n1,2\n",
            (),
            "standard input: line 2: expected 8 columns, separated by ',', as the first row has, found 2",
        ),
        (b"1,2,3,4,5,6,7,8\n1,2,3,4,5,6,7,x\n", (), "line 2, column 'column8': expected a number, found 'x'"),
        (b"[1,2]\n", (), "expected 8 columns, the values of one frame, found 2"),
        (b"[1,2\n", (), "line 1: expected a frame in JSON"),
        (b'{"y": 1}\n', (), "line 1: expected a frame in JSON"),
        (b"\x93NUMPY\x01\x00", (), "expected a .npy array of numbers"),
        (b"", (), "standard input: expected rows of a table as text, found none"),
        (b"", ("--from", "csv", "--raw", "s16le"), "--from names what has a header"),
    ],
)
def test_what_cannot_be_read_is_named(vad, stdin, capsys, data, flags, words):
    stdin(data)
    assert words in error_of(capsys, vad, "-", *flags)


# ---- examples/ ---------------------------------------------------------------------------------------------------------


def test_the_microphone_example_plays_a_file(vad, tmp_path):
    (tmp_path / "sound.wav").write_bytes(wav(SOUND))
    command = [sys.executable, str(ROOT / "examples" / "microphone.py")]
    done = subprocess.run(
        [*command, vad, "--file", str(tmp_path / "sound.wav")], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == len(SOUND) // FRAME and lines[2].split()[:2] == ["0.001", "s"]
    usage = subprocess.run([*command, "--help"], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert "usage: microphone.py" in usage.stdout and "--device" in usage.stdout


def test_the_unit_runs_what_it_says(vad, tmp_path):
    """Its command, with a recording in place of arecord."""
    text = (ROOT / "examples" / "lstm-edge.service").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("ExecStart="))
    (tmp_path / "sound.raw").write_bytes(SOUND.tobytes())
    for name, body in (("arecord", f"cat {tmp_path}/sound.raw"), ("lstm-edge", f'{sys.executable} -m lstm_edge "$@"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    own = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LSTM_EDGE": str(tmp_path / "lstm-edge"), "MODEL": vad}
    own |= {"CARD": "default", "STATE_DIRECTORY": str(tmp_path)}
    command = shlex.split(line.removeprefix("ExecStart="))
    done = subprocess.run(command, cwd=ROOT, env={**ENVIRONMENT, **own}, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in (tmp_path / "speech.jsonl").read_text().splitlines()]
    assert [line["time"] for line in lines] == [
        n * FRAME / RATE for n in range(16)
    ] and done.stderr == done.stdout == ""


@pytest.mark.parametrize("piece", [7, 1 << 16])
@pytest.mark.parametrize("line", [lambda row: ",".join(row), lambda row: "[" + ",".join(row) + "]"])
def test_lines_before_a_wrong_one_are_answered_however_they_come(vad, stdin, capsys, line, piece):
    rows = [[f"{value}.5" for value in range(FRAME)]] * 3
    stdin("\n".join([*map(line, rows), ""]).encode())
    whole = answers(capsys, vad, "-")
    stdin("\n".join([*map(line, rows), line(["0.5"]), line(rows[0]), ""]).encode(), piece)
    assert _run(["run", vad, "-"]) == 1
    said = capsys.readouterr()
    assert said.out == whole and whole.count("\n") >= len(rows) and "line 4" in said.err


@pytest.mark.parametrize("piece", [1, 65536])
def test_a_header_is_not_read_as_samples(vad, stdin, capsys, tmp_path, piece):
    stdin(wav(SOUND), piece)
    error = error_of(capsys, vad, "-", "--raw", "s16le", "--rate", "16000")
    assert "standard input: --raw s16le: expected samples without a header, found a .wav; leave out --raw" in error
    stdin(b"fLaC" + bytes(100), piece)
    assert "found FLAC; a decoder such as ffmpeg" in error_of(capsys, vad, "-", "--raw", "f32le")
    (tmp_path / "sound.pcm").write_bytes(wav(SOUND))
    assert "and name the file .wav" in error_of(capsys, vad, str(tmp_path / "sound.pcm"), "--raw", "s16le")
    stdin(b"RIFF" + SOUND.tobytes(), piece)  # samples may be anything
    answers(capsys, vad, "-", "--raw", "s16le", "--quiet")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux's")
@pytest.mark.parametrize("place, target", [("standard output", "-"), ("/dev/full", "/dev/full")])
def test_a_full_disk_is_named(vad, tmp_path, place, target):
    np.save(tmp_path / "x.npy", np.zeros((3, FRAME), np.float32))
    command = [sys.executable, "-m", "lstm_edge", "run", vad, str(tmp_path / "x.npy"), "-o", target]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (1, f"error: {place}: No space left on device\n")
