"""Which importer a source goes to, what its errors name, and that a self-test notices a wrong model."""

import inspect
import io
import json
import os
import struct
import zipfile

import numpy as np
import pytest
from shared import GOLDEN

import lstm_edge
from lstm_edge import format
from lstm_edge.check.self_test import make_self_test
from lstm_edge.convert import to_graph
from lstm_edge.errors import FormatError, LstmEdgeError, UnsupportedModelError
from lstm_edge.importers.registry import IMPORTERS, kind_of
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.options import OPTIONS, as_typed, named_as_on_command_line
from lstm_edge.passes import pipeline
from lstm_edge.reference.samples import difference

RNG = np.random.default_rng(5)


def archive(*names):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name in names:
            file.writestr(name, b"")
    return data.getvalue()


HEADER = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
CONTENTS = {
    "keras": [b"\x89HDF\r\n\x1a\n" + bytes(64), archive("metadata.json", "config.json", "model.weights.h5")],
    "torch": [
        archive("net/data.pkl", "net/data/0"),
        b"\x80\x02}q\x00.",
        archive("m/archive_format", "m/models/model.json"),
    ],
    "safetensors": [struct.pack("<Q", len(HEADER)) + HEADER + bytes(4)],
    "tflite": [b"\x1c\0\0\0TFL3" + bytes(16)],
    "json": [b'{"layers": []}', b'\n  {"a": 1}'],
    "npz": [archive("a.npy", "b.npy")],
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_content_decides_whatever_the_name_says(kind, tmp_path):
    for content in CONTENTS[kind]:
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        assert kind_of(path) == kind_of(content) == kind


def test_what_is_no_model_is_refused_by_name(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(UnsupportedModelError, match=r"notes\.txt.*extension '\.txt'"):
        to_graph(path)
    path = tmp_path / "empty.onnx"
    path.write_bytes(b"")
    with pytest.raises(FormatError, match=r"empty\.onnx: the file is empty"):
        to_graph(path)
    with pytest.raises(UnsupportedModelError, match="object of type dict_keys"):
        to_graph({}.keys())
    path = tmp_path / "again.lstm"
    path.write_bytes(format.to_bytes(network()))
    with pytest.raises(UnsupportedModelError, match=r"again\.lstm: this is a \.lstm file already"):
        to_graph(path)


@pytest.mark.parametrize(
    "content, what",
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>404</html>", "web page"),
    ],
)
def test_what_a_download_left_in_place_of_a_model_is_told(content, what, tmp_path):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(FormatError, match=what):
        lstm_edge.convert(tmp_path / "model.onnx")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the folders of this system")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "model.onnx")
    with pytest.raises(FormatError, match="expected a file, found a pipe"):
        lstm_edge.convert(tmp_path / "model.onnx")


def test_an_argument_without_use_is_refused():
    with pytest.raises(UnsupportedModelError, match="constants: not used for keras models"):
        to_graph(CONTENTS["keras"][1], constants={"sr": 16000})


def test_an_entry_of_options_is_refused_by_what_there_is():
    fused = GOLDEN / "tflite" / "fused_integer.tflite"
    with pytest.raises(UnsupportedModelError, match=r"options=\{'speed': 1\}: expected options=\{'integer': \.\.\.\}"):
        to_graph(fused, options={"speed": 1})
    with pytest.raises(UnsupportedModelError, match=r"options=\{'integer': 'fast'\}: expected one of exact, float"):
        to_graph(fused, options={"integer": "fast"})


def test_convert_takes_the_options_that_are_declared():
    taken = inspect.signature(lstm_edge.convert).parameters
    assert [*taken] == ["source", "path", *OPTIONS, "self_test", "max_memory"]
    for importer in IMPORTERS:
        assert set(importer.options) <= {o.name for o in OPTIONS.values() if o.of_importer}
        assert bool(importer.settings) == ("options" in importer.options)


def test_every_option_has_a_use():
    used = {name for importer in IMPORTERS for name in importer.options}
    assert used == {o.name for o in OPTIONS.values() if o.of_importer}


@pytest.mark.parametrize(
    "option, key, value, in_python, on_command_line",
    [
        ("shapes", "", ..., "shapes={...}", "--shape NAME=..."),
        ("shapes", "x", ..., "shapes={'x': ...}", "--shape x=..."),
        ("shapes", "x", ("batch", 576), "shapes={'x': ('batch', 576)}", "--shape x=batch,576"),
        ("constants", "sr", 16000, "constants={'sr': 16000}", "--set sr=16000"),
        ("states", "", {}, "states={}", "--no-states"),
        ("network", "", "net.toml", "network='net.toml'", "--network net.toml"),
        ("example", "", ..., "example=...", "--example ..."),
        ("options", "key", "ema", "options={'key': 'ema'}", "--option key=ema"),
    ],
)
def test_messages_name_options_as_their_reader_types_them(option, key, value, in_python, on_command_line):
    assert as_typed(option, key, value) == in_python
    with named_as_on_command_line():
        assert as_typed(option, key, value) == on_command_line
    assert as_typed(option, key, value) == in_python


def network():
    g = Graph()
    tokens = g.input("tokens", (BATCH, FRAMES), "int32")
    table = g.constant(RNG.normal(size=(7, 4)).astype(np.float32))
    y = g.add1("Gather", [table, tokens], {"axis": 0}, "embedding")
    w_ih, w_hh = (g.constant(RNG.normal(size=(1, 12, 4)).astype(np.float32)) for _ in range(2))
    g.output("y", g.add1("GRU", [y, w_ih, w_hh], {}, "gru"))
    return pipeline(g)


def test_self_test_draws_tokens_within_the_table_and_verifies():
    g = network()
    g.self_test = make_self_test(g)
    assert g.self_test.source == "lstm_edge.reference"
    tokens = g.self_test.inputs["tokens"]
    assert tokens.dtype == np.int32 and tokens.min() >= 0 and tokens.max() < 7 and len(np.unique(tokens)) > 3
    for isa, supported in lstm_edge.isas():
        if supported:
            report = lstm_edge.verify(format.to_bytes(g), isa)
            assert report.passed and report.isa == isa and list(report.errors) == ["y"]


def test_verify_notices_another_weight():
    g = network()
    g.self_test = make_self_test(g)
    weight = next(t for t in g.tensors.values() if t.is_constant and t.shape == (1, 12, 4))
    weight.data[0, 0, 0] += 0.01
    report = lstm_edge.verify(format.to_bytes(g))
    assert not report.passed and report.errors["y"] > report.tolerance


def test_verify_without_a_self_test_says_what_to_do():
    with pytest.raises(UnsupportedModelError, match="no self-test"):
        lstm_edge.verify(format.to_bytes(network()))


def test_a_sample_of_the_user_is_taken():
    g = network()
    sample = {"tokens": np.array([[1, 2, 3], [4, 5, 6]])}
    test = make_self_test(g, sample=sample)
    np.testing.assert_array_equal(test.inputs["tokens"], sample["tokens"])
    with pytest.raises(LstmEdgeError, match="sample: 'words' is no input; expected tokens"):
        make_self_test(g, sample={"words": sample["tokens"]})


def test_a_conversion_that_contradicts_its_framework_is_refused():
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(3, 2)
    g = to_graph(module, example=torch.zeros(4, 3))
    assert make_self_test(g, module).source.startswith("torch ")
    with torch.no_grad():
        module.weight += 1
    with pytest.raises(LstmEdgeError, match="differs from torch"):
        make_self_test(g, module)


def test_difference_treats_nan_and_infinity_as_values():
    nan, inf = np.nan, np.inf
    assert difference(np.array([nan, inf, 1.0]), np.array([nan, inf, 1.5])) == 0.5
    assert difference(np.array([1.0]), np.array([nan])) == inf
    assert difference(np.array([inf]), np.array([-inf])) == inf
    assert difference(np.zeros(2), np.zeros(3)) == inf
