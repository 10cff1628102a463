"""No answer rests on a guess unsaid: every importer's guesses stand in the file, on every screen, and nowhere as plain notes."""

from __future__ import annotations

import ast
import json
import re

import numpy as np
import pytest
from shared import ROOT

import lstm_edge
from lstm_edge.cli import _run
from lstm_edge.importers import plugins, registry
from lstm_edge.ir.notes import assumptions, notes_of

RNG = np.random.default_rng(5)


def torch_nn():
    return pytest.importorskip("torch").nn


def state_dict(folder):
    pytest.importorskip("torch").save(torch_nn().GRU(3, 4).state_dict(), folder / "w.pt")
    return folder / "w.pt", {"assume": True}


def safetensors(folder):
    save = pytest.importorskip("safetensors.torch").save_file
    save(torch_nn().GRU(3, 4).state_dict(), folder / "w.safetensors")
    return folder / "w.safetensors", {"assume": True}


def live_state_dict(folder):
    return torch_nn().LSTM(3, 4).state_dict(), {"assume": True}


def module_without_example(folder):
    nn = torch_nn()
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), {}


def script_without_shapes(folder):
    torch = pytest.importorskip("torch")
    torch.jit.script(torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh())).save(folder / "s.pt")
    return folder / "s.pt", {}


def rtneural_without_skip(folder):
    dense = {"type": "dense", "activation": "", "shape": [None, None, 1], "weights": [[[0.5]], [0.0]]}
    (folder / "amp.json").write_text(json.dumps({"in_shape": [None, None, 1], "layers": [dense]}))
    return folder / "amp.json", {}


def guitarml_without_skip(folder):
    nn = torch_nn()
    state = {f"rec.{k}": v.tolist() for k, v in nn.LSTM(1, 4).state_dict().items()}
    state |= {f"lin.{k}": v.tolist() for k, v in nn.Linear(4, 1).state_dict().items()}
    about = {"unit_type": "LSTM", "input_size": 1, "output_size": 1, "hidden_size": 4, "num_layers": 1, "bias_fl": True}
    (folder / "amp.json").write_text(json.dumps({"model_data": {"model": "SimpleRNN", **about}, "state_dict": state}))
    return folder / "amp.json", {}


def onnx_states_by_shape(folder):
    onnx = pytest.importorskip("onnx")
    helper, f32 = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("MatMul", ["a", "w"], ["m"]),
        helper.make_node("Add", ["x", "m"], ["s"]),
        helper.make_node("Tanh", ["s"], ["b"]),
        helper.make_node("ReduceSum", ["b"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, f32, [1, 4]) for n in ("x", "a")],
        [helper.make_tensor_value_info("y", f32, None), helper.make_tensor_value_info("b", f32, [1, 4])],
        [onnx.numpy_helper.from_array(RNG.standard_normal((4, 4)).astype(np.float32), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), folder / "m.onnx")
    return folder / "m.onnx", {}


def keras_mask_into_a_rule(folder):
    keras = pytest.importorskip("keras")

    class Mine(keras.layers.Layer):
        def call(self, x):
            return x * 2

    lstm_edge.register_layer("Mine", lambda d, inputs, config, weights: d.binary("add", inputs[0], inputs[0]))
    i = keras.Input((None,), dtype="int32")
    keras.Model(i, Mine()(keras.layers.Embedding(9, 4, mask_zero=True)(i))).save(folder / "m.keras")
    return folder / "m.keras", {}


# What each rests on. A front end that has none (TFLite) is named with its reason.
GUESSES = {
    state_dict: ("network", "nothing else happens between them"),
    safetensors: ("network", "every frame of the last recurrence"),
    live_state_dict: ("network", "nothing else happens between them"),
    module_without_example: ("torch", "the input"),
    script_without_shapes: ("torch", "the input"),
    rtneural_without_skip: ("json", "the input is not added to the answer"),
    guitarml_without_skip: ("json", "skip 1"),
    onnx_states_by_shape: ("onnx", "from shapes alone"),
    keras_mask_into_a_rule: ("keras", "does not use the mask"),
}
WITHOUT = {"tflite"}  # its files say all that its rules need; states paired by shape are the passes', as with ONNX


@pytest.fixture(autouse=True)
def _nothing_stays_registered(monkeypatch):
    monkeypatch.setattr(plugins, "_LAYERS", {})


def test_every_importer_is_walked():
    rooms = {i.module.split(".")[2] for i in registry.IMPORTERS}
    assert {room for room, _ in GUESSES.values()} | WITHOUT == rooms


@pytest.mark.parametrize("make", GUESSES, ids=lambda m: m.__name__)
def test_a_guess_stands_in_the_file_and_on_every_screen(make, tmp_path, capsys):
    source, options = make(tmp_path)
    path = tmp_path / "m.lstm"
    model = lstm_edge.convert(source, path, **options)
    said = assumptions(model.metadata)
    assert any(GUESSES[make][1] in s for s in said), model.metadata["notes"]
    for command in ("info", "verify"):
        assert _run([command, str(path)]) == 0
        screen = capsys.readouterr().out
        assert all(f"ASSUMED: {s}" in screen for s in said)
        assert _run([command, str(path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["assumed"] == said
    if not hasattr(source, "suffix"):
        return
    flags = ["--assume"] * options.get("assume", False)
    assert _run(["convert", str(source), "-o", str(tmp_path / "again.lstm"), *flags]) == 0
    assert capsys.readouterr().out.count("ASSUMED: ") == len(said)
    narrow = tmp_path / "int8.lstm"
    lstm_edge.quantize(path, narrow, weights="float16")
    assert assumptions(lstm_edge.load(narrow).metadata) == said


def words_of_guessing():
    """Texts in the code that speak of a guess without the word that puts it on the screens."""
    for folder in ("importers", "passes", "recurrences"):
        for file in (ROOT / "lstm_edge" / folder).rglob("*.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            quiet = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}  # docstrings
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "note":
                    texts = [n for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
                    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                    if any(re.search(r"assum|guess|probabl|taken to be", t.value) for t in texts if id(t) not in quiet):
                        if "ASSUMED" not in names:
                            yield f"{file.relative_to(ROOT)}:{node.lineno}"


def test_no_note_speaks_of_a_guess_in_other_words():
    assert list(words_of_guessing()) == []


@pytest.mark.parametrize("notes", [3, {"a": 1}, [1, None, "said"], "said", None])
def test_notes_of_another_kind_are_no_fault(notes):
    assert notes_of({"notes": notes}) == (["said"] if isinstance(notes, list) else [])
    assert assumptions({"notes": notes}) == [] == assumptions({})
