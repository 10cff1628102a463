"""Messages in the form of their reader: flags on the command line, arguments in Python; what is wrong is said all at once."""

from __future__ import annotations

import os

import numpy as np
import pytest
from conftest import skips_told
from shared import ROOT

import lstm_edge
from lstm_edge.cli import COMMANDS, _run
from lstm_edge.errors import FormatError, LstmEdgeError
from lstm_edge.format import write
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.passes import pipeline

DIGITS = str(ROOT / "examples" / "digits" / "digits.keras")
SEVEN = str(ROOT / "examples" / "digits" / "seven.csv")


def error_of(capsys, args: list[str], code: int = 1) -> str:
    assert _run(args) == code
    told = capsys.readouterr().err.strip()
    assert told.startswith("error: ") and "\n" not in told
    return told


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> str:
    """y = x w, one Dense."""
    graph = Graph()
    x = graph.input("x", (BATCH, FRAMES, 3))
    w = graph.constant(np.ones((16, 3), np.float32), "dense.w")
    graph.output("y", graph.add1("Dense", [x, w], {}, "dense"))
    pipeline(graph)
    path = tmp_path_factory.mktemp("small") / "small.lstm"
    write(graph, path)
    return str(path)


# ---- an unconverted model ---------------------------------------------------------------------------------------------

HEADS = {
    "net.onnx": b"\x08\x07\x12\x07pytorch:",
    "net.keras": b"PK\x03\x04",
    "net.h5": b"\x89HDF\r\n\x1a\n",
    "net.pt": b"PK\x03\x04",
    "net.pth": b"\x80\x02}",
    "net.tflite": b"\x1c\0\0\0TFL3",
    "net.json": b"{}",
    "net.toml": b"[x]",
    "my net.safetensors": b"\x08\0\0\0\0\0\0\0{}      ",
}
REST = {
    "run": [SEVEN],
    "forecast": [SEVEN],
    "trace": [SEVEN],
    "evaluate": [SEVEN, SEVEN],
    "prune": ["--density", "0.5"],
    "join": ["--pipeline", SEVEN, "-o", "joined.lstm"],
    "export-c": ["-o", "exported"],
}


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in ("convert", "train", "doctor")])
def test_commands_say_how_to_convert(command, capsys):
    told = error_of(capsys, [command, DIGITS, *REST.get(command, [])])
    made = DIGITS.replace(".keras", ".lstm")
    assert (
        f"expected a .lstm file, found an unconverted model (keras); convert it first: lstm-edge convert {DIGITS} -o {made}"
        in told
    )


@pytest.mark.parametrize("name", HEADS)
def test_every_kind_of_source_is_known_by_its_name(name, tmp_path, capsys):
    (tmp_path / name).write_bytes(HEADS[name] + bytes(80) * (HEADS[name][:1] not in b"{["))
    told = error_of(capsys, ["info", str(tmp_path / name)])
    assert "convert" in told or "damaged" in told


def test_python_says_how_to_convert():
    for call in (lstm_edge.verify, lstm_edge.quantize):
        with pytest.raises(FormatError, match=r"not a \.lstm file; convert it first: lstm_edge\.convert"):
            call(DIGITS)


def test_data_and_pages_in_the_place_of_a_model(tmp_path, capsys):
    assert "the model comes first" in error_of(capsys, ["run", SEVEN, SEVEN])
    page = tmp_path / "model.lstm"
    page.write_text("<!DOCTYPE html><title>Sign in</title>")
    assert "the download went wrong" in error_of(capsys, ["info", str(page)])


# ---- where a model is written -------------------------------------------------------------------------------------------


def test_the_suffix_of_a_model(small, tmp_path, capsys):
    prune = ["prune", small, "--density", "1", "-o"]
    for suffix in (".onnx", ".keras", ".csv", ".png", ".npy"):
        told = error_of(capsys, [*prune, str(tmp_path / f"out{suffix}")])
        assert f"expected a name that ends in .lstm to write a model to, found {suffix}" in told
    assert _run([*prune, str(tmp_path / "out.model")]) == 0
    assert "written under this name" in capsys.readouterr().err
    assert _run([*prune, str(tmp_path / "out.lstm")]) == 0
    assert "note" not in capsys.readouterr().err


def test_a_pipe_is_not_replaced(small, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    assert "a pipe or a device" in error_of(capsys, ["prune", small, "--density", "1", "-o", str(tmp_path / "pipe")])
    with pytest.raises(OSError, match="a pipe or a device"):
        lstm_edge.prune(small, tmp_path / "pipe", density=1)
    assert (tmp_path / "pipe").is_fifo()


# ---- all at once, in the reader's form ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (
            "bench {m} --batch 0 --mode foo --runs x",
            2,
            ("'--batch'", "'--mode'", "'--runs'", "`lstm-edge bench --help`"),
        ),
        ("run nope.lstm nope.csv", 2, ("'nope.lstm' does not exist. ", "'nope.csv' does not exist. ")),
        ("convert {d} -o x.lstm --scale nope.joblib", 2, ("nope.joblib: No such file",)),
        ("run {m} x.csv --foo 3 --selct=2", 2, ("--foo", "--selct", "'--select'")),
        ("prune", 2, ("Missing argument 'MODEL.lstm'. ", "Missing option '--density'. ")),
        ("convert {d} --shape foo --set =3 --overlap a=b", 2, ("--shape", "found 'foo'. ", "--set", "--overlap")),
        ("info {m} a b", 2, ("unexpected extra arguments (a b)",)),
        ("run {m} --isa", 2, ("'--isa' requires an argument", "`lstm-edge run --help`")),
        ("quantize {d} --precision int9", 2, ("lstm-edge convert", "'int9'")),
        ("convert {d} --set a=3 --option b=c --option d=e", 1, ("--set: not used for keras", "; --option: not used")),
        (
            "quantize {m} --max-error -1 --keep a --keep b --weights int8 --precision float16",
            1,
            (
                "--weights: expected float16, which --precision says",
                "; --max-error: ",
                "; --keep: no op is named 'a' or 'b'",
            ),
        ),
        (
            "prune {m} --density 0.5 --layers a --layers b",
            1,
            ("--layers: no op with weights to prune is named 'a' or 'b'",),
        ),
        ("bench {m} --frames 70000 --batch 60000", 1, ("--frames, --batch, --streams",)),
    ],
)
def test_all_that_is_wrong_with_a_line(line, code, words, small, capsys):
    told = error_of(capsys, line.format(m=small, d=DIGITS).split(), code)
    assert all(word in told for word in words), told


def test_all_that_is_wrong_with_arguments(small):
    with pytest.raises(LstmEdgeError) as wrong:
        lstm_edge.quantize(small, max_error=-1, keep=["a", "b"], weights="int8", precision="float16", target="pi1")
    told = str(wrong.value).split("; ")
    assert [t.split(":")[0] for t in told if ": " in t] == [
        *("weights", "target", "max_error", "keep", "those with weights")
    ]
    with pytest.raises(LstmEdgeError, match="^density: .*; layers: .*; calibration: "):
        lstm_edge.prune(small, density=0, layers="a", calibration=[])


def test_skips_are_told_by_reason():
    told = skips_told(
        ["LSTM_EDGE_MODELS is not set", "could not import 'torch'", "LSTM_EDGE_MODELS is not set", "slow"]
    )
    assert told == [
        "    2 LSTM_EDGE_MODELS is not set: LSTM_EDGE_MODELS=/path/to/models make test",
        "    1 could not import 'torch': make test EXTRAS=dev,frameworks, or pip install it",
        "    1 slow",
    ]
