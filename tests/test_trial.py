"""convert --check: many files tried, none written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from shared import ROOT

from lstm_edge.cli import _run

DIGITS = ROOT / "examples" / "digits"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "below").mkdir()
    for name in ("digits.onnx", "digits.pt", "seven.csv", "README.md"):
        shutil.copy(DIGITS / name, tmp_path / "below" / name)
    (tmp_path / "broken.keras").write_bytes(b"PK\x03\x04 not a zip")
    return Path()


def rows(capsys):
    lines = capsys.readouterr().out.splitlines()
    return {
        line.split()[0].rsplit("/", 1)[-1]: line
        for line in lines[1:-1]
        if "/" in line.split()[0] or line.startswith("broken")
    }, lines[-1]


def test_a_folder_is_tried_and_nothing_is_written(folder, capsys):
    before = sorted(folder.rglob("*"))
    assert _run(["convert", "--check", "."]) == 1
    found, last = rows(capsys)
    assert set(found) == {"digits.onnx", "digits.pt", "broken.keras"} and last == "1 of 3 files convert"
    assert " yes " in found["digits.onnx"] and "5 ops, streaming: yes, frame by frame" in found["digits.onnx"]
    assert " no " in found["digits.pt"] and "--write-network" in found["digits.pt"]
    assert " no " in found["broken.keras"] and sorted(folder.rglob("*")) == before


def test_flags_go_for_every_file(folder, capsys):
    pt = str(folder / "below" / "digits.pt")
    assert _run(["convert", "--check", pt, pt, "--assume"]) == 0
    out = capsys.readouterr().out
    assert out.count("ASSUMED: ") >= 2 and "2 of 2 files convert" in out


def test_what_check_does_not_go_with(folder, capsys):
    onnx = str(folder / "below" / "digits.onnx")
    assert _run(["convert", onnx, onnx]) == 2 and "--check tries many" in capsys.readouterr().err
    assert _run(["convert", "--check", onnx, "-o", "x.lstm"]) == 2 and "writes nothing" in capsys.readouterr().err
