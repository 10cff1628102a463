"""Layers and operators that their users describe: Keras, ONNX, torch, from Python and by `--plugin`."""

import re

import numpy as np
import pytest
from shared import ROOT

import lstm_edge
from lstm_edge.cli import _run
from lstm_edge.dialect import arithmetic, products, reductions
from lstm_edge.errors import LstmEdgeError, UnsupportedModelError
from lstm_edge.importers import plugins

RNG = np.random.default_rng(3)
GUIDE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"```python\n(.*?)^model = ", GUIDE, re.S | re.M).group(1)


@pytest.fixture(autouse=True)
def _nothing_stays_registered(monkeypatch):
    monkeypatch.setattr(plugins, "_LAYERS", {})
    monkeypatch.setattr(plugins, "_OPS", {})


# ---- Keras -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def keras():
    return pytest.importorskip("keras")


def attention_of(keras):
    class MyAttention(keras.layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(shape[-1], 5), name="w")
            self.v = self.add_weight(shape=(5, 1), name="v")

        def call(self, x):
            ops = keras.ops
            weight = ops.softmax(ops.matmul(ops.tanh(ops.matmul(x, self.w)), self.v), axis=1)
            return ops.sum(weight * x, axis=1)

    return MyAttention


def classifier(keras):
    i = keras.Input((None, 4))
    x = keras.layers.LSTM(6, return_sequences=True)(i)
    return keras.Model(i, keras.layers.Dense(3)(attention_of(keras)(name="pool")(x)))


@pytest.mark.parametrize("form", ["live", ".keras", ".h5"])
def test_the_guides_example_converts_a_custom_layer(keras, form, tmp_path):
    model, x = classifier(keras), RNG.standard_normal((2, 9, 4)).astype(np.float32)
    source = model if form == "live" else tmp_path / f"m{form}"
    if form != "live":
        model.save(source)
    with pytest.raises(UnsupportedModelError, match="MyAttention is not supported.*register_layer"):
        lstm_edge.convert(source)
    exec(EXAMPLE, {})
    got = lstm_edge.convert(source)
    np.testing.assert_allclose(got.run(x), np.asarray(model(x).detach()), atol=1e-5)
    assert any("made by the registered rule attention_pooling" in n for n in got.metadata["notes"])


def test_a_plugin_is_a_file_that_its_user_names(keras, tmp_path, capsys):
    classifier(keras).save(tmp_path / "m.keras")
    (tmp_path / "mine.py").write_text(EXAMPLE)
    command = ["convert", str(tmp_path / "m.keras"), "-o", str(tmp_path / "m.lstm")]
    assert _run(command) == 1 and "--plugin" in capsys.readouterr().err
    assert _run([*command, "--plugin", str(tmp_path / "mine.py")]) == 0
    capsys.readouterr()
    assert _run(["verify", str(tmp_path / "m.lstm")]) == 0
    assert "not given it; converting the live model compares it" in capsys.readouterr().out
    (tmp_path / "mine.py").write_text("1 / 0")
    capsys.readouterr()
    assert _run([*command, "--plugin", str(tmp_path / "mine.py")]) == 1
    assert "mine.py: the plugin raised ZeroDivisionError" in capsys.readouterr().err


def test_a_plugin_that_exits_has_converted_nothing(tmp_path):
    (tmp_path / "mine.py").write_text("import sys\nsys.exit()\n")
    with pytest.raises(LstmEdgeError, match="mine.py: the plugin raised SystemExit"):
        plugins.load(tmp_path / "mine.py")


def test_a_plugin_without_the_rule_is_told_what_it_has(keras, tmp_path, capsys):
    classifier(keras).save(tmp_path / "m.keras")
    plugin = tmp_path / "mine.py"
    command = ["convert", str(tmp_path / "m.keras"), "--plugin", str(plugin)]
    plugin.write_text("answer = 1")
    assert _run(command) == 1 and "mine.py: the plugin registers no rule" in capsys.readouterr().err
    plugin.write_text("import lstm_edge\nlstm_edge.register_layer('Other', lambda *a: a[1][0])")
    assert _run(command) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "MyAttention is not supported" in error and "there are rules for Other)" in error


def test_two_layers_of_a_class_in_a_nested_model_take_their_own_weights(keras, tmp_path):
    cls, layers = attention_of(keras), keras.layers
    i = keras.Input((None, 4))
    inner = keras.Model(i, layers.Concatenate()([cls(name="a")(layers.Dense(4)(i)), cls(name="b")(i)]), name="inner")
    model = keras.Sequential([keras.Input((None, 4)), layers.GRU(4, return_sequences=True), inner, layers.Dense(2)])
    x = RNG.standard_normal((1, 6, 4)).astype(np.float32)
    exec(EXAMPLE, {})
    for suffix in (".keras", ".h5"):
        model.save(tmp_path / f"m{suffix}")
        got = lstm_edge.convert(tmp_path / f"m{suffix}").run(x)
        np.testing.assert_allclose(got, np.asarray(model(x).detach()), atol=1e-5)


def test_a_lambda_goes_by_its_name(keras, tmp_path):
    model = keras.Sequential(
        [keras.Input((None, 4)), keras.layers.GRU(3), keras.layers.Lambda(lambda v: v * 2 + 1, name="twice")]
    )
    model.save(tmp_path / "m.keras")
    x = RNG.standard_normal((2, 5, 4)).astype(np.float32)
    lstm_edge.register_layer(
        "twice",
        lambda d, inputs, config, weights: d.binary("add", arithmetic.scaled(d, inputs[0], 2.0), d.constant(1.0)),
    )
    np.testing.assert_allclose(lstm_edge.convert(tmp_path / "m.keras").run(x), np.asarray(model(x).detach()), atol=1e-5)


def test_a_mask_that_ends_in_a_rule_is_an_assumption(keras):
    i = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(9, 4, mask_zero=True)(i)
    model = keras.Model(i, attention_of(keras)(name="pool")(x))
    exec(EXAMPLE, {})
    notes = lstm_edge.convert(model, self_test=False).metadata["notes"]
    assert any(n.startswith("assumed: ") and "mask" in n for n in notes)


# ---- ONNX ------------------------------------------------------------------------------------------------------------


def acme(nodes, initialisers=()):
    from onnx import TensorProto, helper, numpy_helper

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, ["n", "t", 4])],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, n) for n, a in initialisers],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 1)]
    return helper.make_model(graph, opset_imports=imports).SerializeToString()


def test_an_operator_of_another_domain():
    onnx = pytest.importorskip("onnx")
    w = RNG.standard_normal((4, 3)).astype(np.float32)
    node = onnx.helper.make_node("Thing", ["x", "w"], ["y"], domain="com.acme", scale=2.0, axis=-1)
    with pytest.raises(UnsupportedModelError, match="Thing.*com.acme.*register_op"):
        lstm_edge.convert(acme([node], [("w", w)]))

    def thing(d, inputs, config, weights):
        assert config == {"scale": 2.0, "axis": -1} and list(weights) == ["w"]
        return arithmetic.scaled(d, products.matmul(d, inputs[0], d.constant(weights["w"])), config["scale"])

    lstm_edge.register_op("com.acme", "Thing", thing)
    model = lstm_edge.convert(acme([node], [("w", w)]))
    x = RNG.standard_normal((2, 7, 4)).astype(np.float32)
    np.testing.assert_allclose(model.run(x), x @ w * 2, atol=1e-5)
    assert model.metadata["streaming"]["supported"]


def test_what_a_rule_does_wrong_is_named_with_its_place():
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Thing", ["x"], ["y", "z"], "the_node", domain="com.acme")

    def convert(rule):
        lstm_edge.register_op("com.acme", "Thing", rule)
        return lstm_edge.convert(acme([node]))

    with pytest.raises(UnsupportedModelError, match=r"the_node.*raised KeyError: 'rate'"):
        convert(lambda d, inputs, config, weights: config["rate"])
    with pytest.raises(UnsupportedModelError, match="the_node.*gave 3: expected a Value"):
        convert(lambda d, inputs, config, weights: 3)
    with pytest.raises(UnsupportedModelError, match="the_node.*gave 1 values: expected 2"):
        convert(lambda d, inputs, config, weights: inputs[0])
    with pytest.raises(LstmEdgeError, match="rule: expected a function"):
        lstm_edge.register_op("com.acme", "Thing", None)
    with pytest.raises(LstmEdgeError, match="name: expected a name"):
        lstm_edge.register_layer("", print)


def test_a_rule_may_give_several_outputs_and_stands_before_our_own():
    onnx = pytest.importorskip("onnx")
    nodes = [
        onnx.helper.make_node("Both", ["x"], ["sum", "max"], domain="com.acme"),
        onnx.helper.make_node("Add", ["sum", "max"], ["y"]),
    ]

    def both(d, inputs, config, weights):
        return [reductions.reduce(d, kind, inputs[0], [-1]) for kind in ("sum", "max")]

    lstm_edge.register_op("com.acme", "Both", both)
    x = RNG.standard_normal((2, 7, 4)).astype(np.float32)
    want = x.sum(-1, keepdims=True) + x.max(-1, keepdims=True)
    np.testing.assert_allclose(lstm_edge.convert(acme(nodes)).run(x), want, atol=1e-5)


# ---- torch -----------------------------------------------------------------------------------------------------------


def test_a_custom_operator_of_torch():
    torch = pytest.importorskip("torch")

    @torch.library.custom_op("acme::scaled_add", mutates_args=())
    def scaled_add(x: torch.Tensor, y: torch.Tensor, scale: float) -> torch.Tensor:
        return x + y * scale

    @scaled_add.register_fake
    def _(x, y, scale):
        return torch.empty_like(x)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = torch.nn.GRU(4, 4, batch_first=True)

        def forward(self, x):
            return torch.ops.acme.scaled_add(x, self.rnn(x)[0], 3.0)

    module, x = Net().eval(), torch.randn(2, 5, 4)
    with pytest.raises(UnsupportedModelError, match="acme.scaled_add.*register_op"):
        lstm_edge.convert(module, example=x)

    def rule(d, inputs, config, weights):
        assert config == {"2": 3.0}
        return d.binary("add", inputs[0], arithmetic.scaled(d, inputs[1], config["2"]))

    lstm_edge.register_op("acme", "scaled_add", rule)
    model = lstm_edge.convert(module, example=x)
    with torch.no_grad():
        np.testing.assert_allclose(model.run(x.numpy()), module(x).numpy(), atol=1e-5)
