"""bench --vs: engines in processes of their own, their answers compared, their times in turn."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import lstm_edge as le
from lstm_edge.check import versus
from lstm_edge.cli import _run

QUICK = ["--runs", "15", "--warmup", "1", "--frames", "4"]
ROW = {
    "mode", "engine", "name", "source", "why", "error", "allowed", "agrees", "runs", "min", "median", "low", "high", "ratio",
    "ratio_low", "ratio_high", "ratio_min",
}  # fmt: skip
UNITS, WIDTH = 3, 2


def _lstm(path: Path, seed: int = 0, states: bool = True) -> str:
    """An ONNX LSTM over frames; its states are inputs and outputs, or it starts anew at each call."""
    rng = np.random.default_rng(seed)
    weights = {"W": (1, 4 * UNITS, WIDTH), "R": (1, 4 * UNITS, UNITS)}
    held = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in weights.items()]
    carried = ["h", "c"] if states else []
    node = helper.make_node(
        "LSTM", ["x", "W", "R", "", "", *carried], ["y", *(f"{n}_next" for n in carried)], hidden_size=UNITS
    )
    ports = {n: (1, 1, UNITS) for n in carried}
    inputs, outputs = {"x": ("t", 1, WIDTH), **ports}, {"y": ("t", 1, 1, UNITS)}
    outputs |= {f"{n}_next": shape for n, shape in ports.items()}
    _save(path, [node], inputs, outputs, held)
    return str(path)


def _frame(path: Path) -> str:
    """A network of one frame: y = x W + s, and s goes on."""
    weights = numpy_helper.from_array(np.random.default_rng(1).standard_normal((6, UNITS)).astype(np.float32) / 4, "W")
    nodes = [helper.make_node("MatMul", ["x", "W"], ["a"]), helper.make_node("Add", ["a", "s"], ["y"])]
    nodes.append(helper.make_node("Tanh", ["y"], ["s_next"]))
    _save(path, nodes, {"x": (1, 6), "s": (1, UNITS)}, {"y": (1, UNITS), "s_next": (1, UNITS)}, [weights])
    return str(path)


def _save(path: Path, nodes: list, inputs: dict, outputs: dict, held: list) -> None:
    ports = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in p.items()] for p in (inputs, outputs)]
    model = helper.make_model(helper.make_graph(nodes, "g", *ports, held), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)


def _told(capsys: pytest.CaptureFixture[str], args: list[str], code: int) -> list[dict]:
    assert _run(["bench", *QUICK, *args, "--json"]) == code
    rows = json.loads(capsys.readouterr().out)["versus"]
    assert all(set(row) == ROW for row in rows)
    return rows


def test_states_go_from_call_to_call_as_ours_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, model = _lstm(tmp_path / "m.onnx"), str(tmp_path / "m.lstm")
    le.convert(source, model, self_test=False)
    rows = _told(capsys, [model, "--mode", "all", "--vs", "onnxruntime,torch"], 1)
    assert [(row["mode"], row["engine"]) for row in rows] == [
        (mode, engine) for mode in ("step", "chunk", "sequence") for engine in ("lstm_edge", "onnxruntime", "torch")
    ]
    for ours, theirs, neither in zip(rows[::3], rows[1::3], rows[2::3]):
        assert ours["ratio"] is None and ours["median"] > 0
        assert theirs["agrees"] and theirs["error"] < 1e-6 and theirs["allowed"] == 1e-4
        assert theirs["name"].startswith("onnxruntime ") and theirs["source"] == "m.onnx" and theirs["runs"] >= 15
        assert 0 < theirs["ratio_low"] <= theirs["ratio"] <= theirs["ratio_high"]
        assert theirs["ratio_min"] == pytest.approx(ours["min"] / theirs["min"], rel=2e-5)  # of six digits each
        assert "none was given" in neither["why"] and neither["median"] is None
    words = Path("docs/benchmark.md").read_text()
    assert all(f"`{name}`" in words for name in ROW)


def test_other_weights_are_found_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, other, model = _lstm(tmp_path / "m.onnx"), _lstm(tmp_path / "other.onnx", 1), str(tmp_path / "m.lstm")
    le.convert(source, model, self_test=False)
    args = ["bench", model, *QUICK, "--mode", "step", "--vs", "onnxruntime", "--source", other]
    assert _run(args) == 3
    assert "ANSWERS DIFFER: by" in capsys.readouterr().out
    page = tmp_path / "page.html"
    assert _run([*args, "--csv", "--tolerance", "10", "--html", str(page)]) == 0
    tables = capsys.readouterr().out.split("\n\n")
    assert [row["agrees"] for row in csv.DictReader(io.StringIO(tables[1]))] == ["", "True"]
    assert '"agrees":true' in page.read_text()


def test_a_source_of_one_frame_is_called_once_a_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, model = _frame(tmp_path / "f.onnx"), str(tmp_path / "f.lstm")
    le.convert(source, model, states={"s": "s_next"}, overlap={"x": 2}, self_test=False)
    assert le.load(model).is_step_model and le.load(model).inputs[0].shape == (1, 4)
    for mode in ("step", "chunk"):
        assert _told(capsys, [model, "--mode", mode, "--vs", "onnxruntime"], 0)[1]["agrees"]


def test_what_an_engine_cannot_do_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    source, model = _lstm(tmp_path / "m.onnx", states=False), str(tmp_path / "m.lstm")
    le.convert(source, model, self_test=False)
    step, sequence = _told(capsys, [model, "--vs", "onnxruntime"], 0)[1::2]
    assert "keeps no state" in step["why"] and sequence["agrees"]
    monkeypatch.setattr(versus, "find_spec", lambda name: None)
    row = _told(capsys, [model, "--mode", "sequence", "--vs", "litert"], 1)[1]
    assert row["why"] == "litert is not installed; pip install ai-edge-litert"
    Path(source).unlink()
    assert _run(["bench", model, "--vs", "onnxruntime"]) == 1
    assert "--vs: expected m.onnx beside" in capsys.readouterr().err
    for wrong, words in (
        (["--vs", "keras"], "found 'keras'"),
        (["--vs", "onnxruntime", "--threads", "2"], "one stream in one thread"),
        (["--tolerance", "1"], "go with --vs"),
    ):
        assert _run(["bench", model, *wrong]) == 2 and words in " ".join(capsys.readouterr().err.split())


SCALERS = {
    "scale": {"x": {"mean": [3e3, 15.0], "scale": [800.0, 8.0]}},
    "unscale": {"y": {"mean": 1e-5, "scale": 1e-6}},
}
LABELS = {"type": "labels", "labels": ["a", "b", "c"], "activation": "softmax"}
RAW = np.float32([[3e3, 15.0], [2e3, 20.0]] * 20)[:, None]


@pytest.mark.parametrize(
    ("around", "words", "limit"),
    [
        (SCALERS, "between the file's scalers in float64", 1e-6),
        ({"after": {"after": {"y": LABELS}}}, "behind whom the file's softmax stood in float64", 1),
    ],
)
def test_what_stands_around_the_network_stands_around_an_engine(around, words, limit, tmp_path: Path, capsys) -> None:
    """What may differ is of real units' own size: values of 1e-5 that differ by 1e-6 would all be within 1e-4."""
    source, model, small = (str(tmp_path / name) for name in ("m.onnx", "m.lstm", "q.lstm"))
    le.convert(_lstm(tmp_path / "m.onnx"), model, self_test=False, **around)
    le.quantize(model, small, precision="int8", calibration=RAW)
    for path, share in ((model, 1.1e-4), (small, 0.11)):
        args = [path, "--mode", "chunk", "--vs", "onnxruntime", "--source", source]
        theirs = _told(capsys, args, 0)[1]
        assert theirs["agrees"] and words in theirs["name"] and 0 < theirs["allowed"] <= share * limit
    other = _lstm(tmp_path / "other.onnx", 1)
    theirs = _told(capsys, [model, "--mode", "chunk", "--vs", "onnxruntime", "--source", other], 3)[1]
    assert not theirs["agrees"]


def test_a_file_that_computes_features_is_not_timed_against_features(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    weights = numpy_helper.from_array(rng.standard_normal((13, UNITS)).astype(np.float32), "W")
    _save(
        tmp_path / "w.onnx",
        [helper.make_node("MatMul", ["x", "W"], ["y"])],
        {"x": ("t", 1, 13)},
        {"y": ("t", 1, UNITS)},
        [weights],
    )
    before = {"before": {"x": {"type": "mfcc", "like": "kaldi"}}}
    le.convert(
        tmp_path / "w.onnx", tmp_path / "w.lstm", before=before, shapes={"x": (1, "frames", 13)}, self_test=False
    )
    row = _told(capsys, [str(tmp_path / "w.lstm"), "--mode", "sequence", "--vs", "onnxruntime"], 1)[1]
    assert "the source takes features" in row["why"] and row["median"] is None


def test_ncnn_runs_files_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ncnn")
    source, model = _lstm(tmp_path / "m.onnx"), str(tmp_path / "m.lstm")
    le.convert(source, model, self_test=False)
    w, r = (numpy_helper.to_array(t)[0] for t in onnx.load(source).graph.initializer)
    i, o, f, g = (slice(n * UNITS, (n + 1) * UNITS) for n in range(4))
    order = np.r_[i, f, o, g]  # ncnn's
    param = tmp_path / "m.param"
    layers = [f"Input {name} 0 1 {name}" for name in ("x", "h", "c")]
    layers.append(f"LSTM cell 3 3 x h c y hn cn 0={UNITS} 1={w.size} 2=0")
    param.write_text("\n".join(["7767517", "4 6", *layers]) + "\n")
    assert "expected m.bin beside" in _told(capsys, [model, "--vs", "ncnn", "--source", str(param)], 1)[1]["why"]
    parts = (w[order], np.zeros(4 * UNITS), r[order])
    param.with_suffix(".bin").write_bytes(b"".join(bytes(4) + part.astype("<f4").tobytes() for part in parts))
    assert _told(capsys, [model, "--mode", "chunk", "--vs", "ncnn", "--source", str(param)], 0)[1]["agrees"]


def test_torch_runs_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    source, model = str(tmp_path / "m.pt"), str(tmp_path / "m.lstm")
    torch.jit.trace(torch.nn.GRU(WIDTH, UNITS), (torch.zeros(4, 1, WIDTH), torch.zeros(1, 1, UNITS))).save(source)
    shapes = {"input": ("frames", 1, WIDTH), "hx": (1, 1, UNITS)}
    le.convert(source, model, shapes=shapes, self_test=False)
    theirs = _told(capsys, [model, "--mode", "step", "--vs", "torch"], 0)[1]
    assert theirs["agrees"] and theirs["name"].startswith("torch ") and theirs["source"] == "m.pt"
