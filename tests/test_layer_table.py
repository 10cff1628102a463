"""docs/layers.md is what the importers do: not stale, and every name it says is refused is refused by that name."""

import io
import json
import os
import zipfile

import layer_table as table
import numpy as np
import pytest
from shared import ROOT

from lstm_edge.errors import LstmEdgeError, UnsupportedModelError


def test_page_is_not_stale():
    assert table.PAGE.read_text() == table.page(), "run python tools/layer_table.py"


@pytest.mark.parametrize("make", table.SECTIONS)
def test_sections_do_not_contradict_themselves(make):
    section = make()
    assert section.supported and not set(section.supported) & set(section.refused)


def refusal(section, name):
    return section.special.get(name, section.error).replace("NAME", name)


# ---- Keras -----------------------------------------------------------------------------------------------------------


def keras_archive(layers) -> bytes:
    h5py = pytest.importorskip("h5py")
    weights = io.BytesIO()
    with h5py.File(weights, "w"):
        pass
    config = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "m", "layers": layers},
        "registered_name": None,
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("model.weights.h5", weights.getvalue())
    return data.getvalue()


def layer(cls, module="keras.layers"):
    config = {"name": "the_layer", "trainable": True}
    return {"module": module, "class_name": cls, "config": config, "registered_name": None}


START = {
    "module": "keras.layers",
    "class_name": "InputLayer",
    "registered_name": None,
    "config": {"batch_shape": [None, None, 3], "dtype": "float32", "name": "x"},
}


@pytest.mark.parametrize("name", table.keras_layers().refused)
def test_keras_layers_are_refused_by_name(name):
    from lstm_edge.importers.keras import model as keras

    section = table.keras_layers()
    with pytest.raises(UnsupportedModelError) as why:
        keras.read(keras_archive([START, layer(name)]))
    assert f"{name} is not supported" in str(why.value) and "the_layer" in str(why.value)
    assert refusal(section, name).split("; ")[-1] in str(why.value)


def test_keras_operations_are_refused_by_name():
    from lstm_edge.importers.keras import model as keras

    for name in table.keras_operations().refused:
        with pytest.raises(UnsupportedModelError, match=rf"{name} is not supported"):
            keras.read(keras_archive([START, layer(name, "keras.src.ops.numpy")]))


# ---- ONNX ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", table.onnx_operators().refused)
def test_onnx_operators_are_refused_by_name(name):
    onnx = pytest.importorskip("onnx")
    from lstm_edge.importers.onnx import model as importer

    helper, f32 = onnx.helper, onnx.TensorProto.FLOAT
    try:
        schema = onnx.defs.get_schema(name)
    except onnx.defs.SchemaError:
        pytest.skip("not in this onnx")
    inputs = ["x"] * max(schema.min_input, 1 if schema.max_input else 0)
    node = helper.make_node(name, inputs, ["y"], name="the_node")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", f32, ["N", 3])],
        [helper.make_tensor_value_info("y", f32, None)],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", schema.since_version if schema.since_version > 17 else 17)]
    )
    with pytest.raises(LstmEdgeError, match=rf"the_node.*\({name}\)"):
        importer.read(model)


# ---- PyTorch ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(table.NAMES["torch_modules"]))
def test_torch_modules(name):
    torch = pytest.importorskip("torch")
    from lstm_edge.convert import to_graph

    section, row = table.torch_modules(), table.NAMES["torch_modules"][name]
    module = getattr(torch.nn, name)(*row["args"]).eval()
    ids = row["inputs"] == "ids"
    example = (torch.randint(0, 9, (2, 5)),) if ids else tuple(torch.randn(*s) for s in row["inputs"])
    if name in section.supported:
        to_graph(module, example=example)
        return
    with pytest.raises(UnsupportedModelError) as why:
        to_graph(module, example=example)
    calls = [f"the call {c} is not supported" for c in table.missing_calls(name)]
    assert any(text in str(why.value) for text in [refusal(section, name), *calls])


@pytest.mark.parametrize("name", table.aten_calls().refused)
def test_aten_calls_are_refused_by_name(name):
    from lstm_edge.importers.torch.lower import lower
    from lstm_edge.importers.torch.program import Program, ProgramInput, Ref, Step
    from lstm_edge.ir.dims import BATCH

    step = Step(f"aten.{name}.default", [Ref("x")], {}, "y")
    program = Program([ProgramInput("x", (BATCH, 3), "float32", "x")], {}, [step], [("y", Ref("y"))])
    with pytest.raises(UnsupportedModelError, match=rf"aten\.{name}\.default"):
        lower(program)


# ---- TFLite, TOML, JSON ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", table.tflite_operators().refused)
def test_tflite_operators_are_refused_by_name(name):
    pytest.importorskip("flatbuffers")
    from lstm_edge.importers.tflite import schema as tflite_schema
    from lstm_edge.importers.tflite.interpreter import lower_block
    from lstm_edge.importers.tflite.lowering import TfLowering

    source = next(iter(sorted((ROOT / "tests" / "golden" / "tflite").glob("*.tflite"))))
    file = tflite_schema.load(source)
    main = file.subgraphs[0]
    first = main.operators[0]
    first.kind = name
    ctx = TfLowering(file)
    from lstm_edge.importers.dialect import Value

    scope = {}
    for index in main.inputs:
        info = main.tensors[index]
        scope[index] = Value("float32", tensor=ctx.graph.input(info.name, tuple(info.shape)))
    with pytest.raises(UnsupportedModelError, match=rf"\({name}\)"):
        lower_block(ctx, main, scope)


def test_unknown_json_layers_are_refused_by_name():
    from lstm_edge.importers.json import model as json_rnn

    for name in table.json_layers().refused:
        document = {"in_shape": [None, None, 1], "layers": [{"type": name, "shape": [None, None, 1], "weights": []}]}
        with pytest.raises(UnsupportedModelError, match=name):
            json_rnn.read(json.dumps(document).encode())


def test_unknown_toml_layers_are_refused_by_name(tmp_path):
    from lstm_edge.convert import to_graph

    np.savez(tmp_path / "w.npz", w=np.zeros((2, 2), np.float32))
    (tmp_path / "net.toml").write_text(
        'convention = "torch"\n[inputs]\nx = ["batch", "frames", 2]\n[[layer]]\ntype = "perceptron"\n'
    )
    with pytest.raises(LstmEdgeError, match="unknown type 'perceptron'"):
        to_graph(tmp_path / "w.npz", network=os.fspath(tmp_path / "net.toml"))
