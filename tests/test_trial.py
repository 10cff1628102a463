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


def test_an_onnx_file_is_refused_for_all_that_it_has(folder, capsys):
    """What stands below such a refusal is no network that somebody might assume."""
    onnx = pytest.importorskip("onnx")
    nodes = [onnx.helper.make_node(op, ["x"], [o], domain="com.acme") for op, o in (("One", "y"), ("Two", "z"))]
    info = onnx.helper.make_tensor_value_info
    ports = [info(n, onnx.TensorProto.FLOAT, ["n", 3]) for n in "xyz"]
    graph = onnx.helper.make_graph(nodes, "g", ports[:1], ports[1:])
    imports = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.acme", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=imports), folder / "acme.onnx")
    assert _run(["convert", "--check", "acme.onnx"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "operator One" in out and "operator Two" in out and "weights without a network" not in out
