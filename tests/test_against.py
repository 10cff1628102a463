"""verify --against: op by op, the first that differs is named. convert --explain."""

import os
from pathlib import Path

import numpy as np
import pytest
from shared import GOLDEN as GOLDENS

import lstm_edge
from lstm_edge import format
from lstm_edge.check.against import compare
from lstm_edge.cli.explain import grouped
from lstm_edge.errors import FormatError, UnsupportedModelError

GOLDEN = GOLDENS / "onnx"
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


NETWORK = """
convention = "torch"
inputs = { x = ["batch", "frames", 3] }

[[layer]]
type = "rnn"
kernel = "w_ih"
recurrent = "w_hh"
"""


def converted(tmp_path, name="lstm_relu"):
    path = tmp_path / "model.lstm"
    lstm_edge.convert(GOLDEN / f"{name}.onnx", path)
    return path


def command(*args):
    from lstm_edge.cli import main

    with pytest.raises(SystemExit) as end:
        main([str(a) for a in args])
    return end.value.code


def spoil(path, op, factor=1.01):
    """The file with the weights of its first such op scaled."""
    graph = format.read(path)
    node = next(n for n in graph.nodes if n.op == op)
    weight = graph.tensors[node.inputs[1]]
    weight.data = np.ascontiguousarray(weight.data * np.float32(factor))
    format.write(graph, path)
    return node.name


@pytest.mark.parametrize("name", ["lstm_relu", "gru_hard_sigmoid", "bilstm", "lstm_masked"])
def test_a_right_conversion_passes(tmp_path, name):
    found = compare(converted(tmp_path, name), GOLDEN / f"{name}.onnx")
    assert found.passed and found.ops and found.source.startswith("onnxruntime")


@pytest.mark.parametrize("op", ["LSTM", "Dense"])
def test_the_first_op_that_differs_is_named(tmp_path, op, capsys):
    path = converted(tmp_path)
    name = spoil(path, op)
    found = compare(path, GOLDEN / "lstm_relu.onnx")
    assert not found.passed
    place = [n.name for n in format.read(path).nodes]
    assert place.index(found.first.name) - place.index(name) in (0, 1)  # the LSTM's own y has another shape than ONNX's
    assert command("verify", path, "--against", GOLDEN / "lstm_relu.onnx") == 3
    assert f"first op that differs: {found.first.name}" in capsys.readouterr().out.replace("\n", " ")


def test_command_passes(tmp_path, capsys):
    assert command("verify", converted(tmp_path), "--against", GOLDEN / "lstm_relu.onnx") == 0
    assert "passed" in capsys.readouterr().out


def test_without_onnxruntime_the_imported_graph_answers(tmp_path, monkeypatch):
    path = converted(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    found = compare(path, GOLDEN / "lstm_relu.onnx")
    assert found.passed and "reference" in found.source
    spoil(path, "Dense")
    assert compare(path, GOLDEN / "lstm_relu.onnx").first.op == "Dense"


def test_weights_in_another_file(tmp_path):
    """What torch's exporter writes by default; the runtime is given a changed copy that lies beside no such file."""
    import onnx

    source, path = tmp_path / "there" / "m.onnx", tmp_path / "m.lstm"
    source.parent.mkdir()
    model = onnx.load(GOLDEN / "lstm_relu.onnx")
    onnx.save(model, source, save_as_external_data=True, location="m.data", size_threshold=0)
    lstm_edge.convert(source, path)
    assert lstm_edge.verify(path).verified
    found = compare(path, source)
    assert found.passed and found.by == "framework" and found.source.startswith("onnxruntime")
    os.remove(source.parent / "m.data")
    with pytest.raises(FormatError, match=r"external data 'm\.data'"):
        compare(path, source)


def test_what_was_compared_is_said(tmp_path, capsys):
    weights, path = tmp_path / "w.npz", tmp_path / "m.lstm"
    rng = np.random.default_rng(0)
    np.savez(weights, w_ih=rng.normal(size=(4, 3)), w_hh=rng.normal(size=(4, 4)))
    net = tmp_path / "net.toml"
    net.write_text(NETWORK)
    assert command("convert", weights, "--network", net, "-o", path) == 0
    assert command("verify", path, "--against", weights, "--network", net) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "against this project's own reference on the model as imported" in said
    assert "no framework ran the original: the source holds weights without their network" in said
    found = compare(path, weights, network=net)
    assert found.by == "reference" and found.passed


def test_a_live_module_answers_at_the_outputs(tmp_path):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).eval()
    path = tmp_path / "m.lstm"
    lstm_edge.convert(module, path, example=torch.zeros(5, 3))
    found = compare(path, module, example=torch.zeros(5, 3))
    assert found.passed and found.by == "framework" and found.source.startswith("torch ")
    assert "at the outputs, this project's own reference on the model as imported before them" in found.words
    with torch.no_grad():
        module[2].weight += 1
    assert not compare(path, module, example=torch.zeros(5, 3)).passed


def test_another_model_is_refused(tmp_path):
    path = converted(tmp_path)
    with pytest.raises(UnsupportedModelError, match="original|same|name"):
        compare(path, GOLDEN / "simple_rnn.onnx")


@pytest.mark.skipif("LSTM_EDGE_MODELS" not in os.environ, reason="LSTM_EDGE_MODELS is not set")
def test_a_step_model_with_states(tmp_path):
    source = Path(os.environ["LSTM_EDGE_MODELS"]) / "dtln" / "model_2.onnx"
    lstm_edge.convert(source, tmp_path / "m.lstm")
    found = compare(tmp_path / "m.lstm", source)
    assert found.passed and len(found.ops) >= 15


def test_explain_names_what_was_done(tmp_path, capsys):
    assert command("convert", GOLDEN / "gru_hard_sigmoid.onnx", "-o", tmp_path / "m.lstm", "--explain") == 0
    text = capsys.readouterr().out
    for heading in ("folded:", "fused:", "recurrences recognised:", "assumed:", "ops:"):
        assert heading in text
    assert "GRU of 4 units" in text


def test_notes_are_grouped():
    notes = [
        "folded 3 constant nodes",
        "fused scale into Normalize",
        "node 'l' (Loop): its body spells GRU of 4 units (tanh)",
        "input 'x': dimension 0 ('N') is batch",
        "assumed: from shapes alone: a -> b carries state",
        "kept as states of the stream: a -> b",
    ]
    groups = grouped(notes)
    assert (
        groups["folded"] == notes[:1]
        and groups["fused"] == notes[1:2]
        and groups["recurrences recognised"] == notes[2:3]
    )
    assert groups["assumed"] == notes[3:5] and groups["states"] == notes[5:]
