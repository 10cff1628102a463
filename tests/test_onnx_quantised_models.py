"""Models as onnxruntime's own tools quantise them, at several opsets, against onnxruntime without graph optimisation.

Its optimiser multiplies in 8 bits what the file says in float32, so that its answer is then not the file's.
"""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest
from onnx_helpers import TOLERANCE, importer, make_model, node, normal, onnx, run, value_info

import lstm_edge

torch = pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")
quantization = pytest.importorskip("onnxruntime.quantization")
nn = torch.nn
OPSETS = (11, 13, 17)


def plainly(model):
    """An onnxruntime session that does what the file says."""
    ort.set_default_logger_severity(3)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.lstm, self.after = nn.Linear(6, 10), nn.LSTM(10, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return torch.sigmoid(self.after(self.lstm(torch.relu(self.before(x)))[0]))


class Convolved(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.gru, self.after = (
            nn.Conv1d(6, 10, 3, padding=1),
            nn.GRU(10, 8, batch_first=True),
            nn.Linear(8, 3),
        )

    def forward(self, x):
        y = nn.functional.leaky_relu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        y = self.after(self.gru(y)[0])
        return torch.softmax(torch.cat([y, y * 2 + 1], -1), -1)


class Layers(nn.Module):
    """Nothing that remembers: each frame is answered by itself."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 10), nn.Linear(10, 3)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


class Spelled(nn.Module):
    """Three steps of an LSTM in products, as tf2onnx writes the integer LSTM of TFLite: each result on a grid of its own."""

    def __init__(self):
        super().__init__()
        self.i, self.r, self.after = nn.Linear(6, 20), nn.Linear(5, 20), nn.Linear(5, 2)

    def forward(self, x):
        h = c = torch.zeros(x.shape[0], 5)
        rows = []
        for t in range(3):
            i, f, g, o = torch.split(self.i(x[:, t]) + self.r(h), 5, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            rows.append(self.after(h))
        return torch.stack(rows, 1)


class Samples(quantization.CalibrationDataReader):
    def __init__(self):
        rng = np.random.default_rng(1)
        self.left = iter([{"x": rng.standard_normal((2, 9, 6)).astype(np.float32)} for _ in range(8)])

    def get_next(self):
        return next(self.left, None)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(class, opset) -> the path of its export."""
    folder = tmp_path_factory.mktemp("exported")
    made = {}

    def path(kind, opset):
        if (kind, opset) not in made:
            torch.manual_seed(0)
            made[kind, opset] = folder / f"{kind.__name__}{opset}.onnx"
            axes = {0: "batch", 1: "time"}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    kind().eval(),
                    (torch.randn(2, 9, 6),),
                    made[kind, opset],
                    dynamo=False,
                    input_names=["x"],
                    output_names=["y"],
                    opset_version=opset,
                    dynamic_axes={"x": axes, "y": axes},
                )
        return made[kind, opset]

    return path


def quantised(function, source, target, *args, **options):
    logging.getLogger().setLevel(logging.ERROR)  # it advises to preprocess
    function(source, target, *args, **options)
    return onnx.load(target)


@pytest.mark.parametrize("kind", [Recurrent, Convolved, Spelled])
@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("style", ["QDQ", "QOperator"])
def test_static_quantisation(exported, tmp_path, kind, opset, style):
    model = quantised(
        quantization.quantize_static,
        exported(kind, opset),
        tmp_path / "q.onnx",
        Samples(),
        quant_format=quantization.QuantFormat[style],
        per_channel=opset == 17,
        weight_type=quantization.QuantType.QInt8,
    )
    names = {n.op_type for n in model.graph.node}
    assert "DequantizeLinear" in names and (style == "QDQ" or any(n.startswith("QLinear") for n in names))
    graph = importer.read(model)
    x = normal(3, 11, 6)
    assert np.allclose(run(graph, {"x": x})["y"], plainly(model).run(None, {"x": x})[0], atol=TOLERANCE)


@pytest.mark.parametrize("kind", [Recurrent, Convolved])
@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize("weight_type", ["QInt8", "QUInt8"])
def test_dynamic_quantisation(exported, tmp_path, kind, opset, weight_type):
    """The runtime takes one scale for all frames of a call, so that it differs by what a step of 8 bits is."""
    model = quantised(
        quantization.quantize_dynamic,
        exported(kind, opset),
        tmp_path / "q.onnx",
        weight_type=quantization.QuantType[weight_type],
    )
    graph = importer.read(model)
    assert any("each frame is quantised by itself" in n for n in graph.metadata["notes"])
    x = normal(3, 11, 6)
    assert np.allclose(run(graph, {"x": x})["y"], plainly(model).run(None, {"x": x})[0], atol=0.005)


def test_frames_are_quantised_as_the_runtime_quantises_them_one_by_one(exported, tmp_path):
    model = quantised(quantization.quantize_dynamic, exported(Layers, 17), tmp_path / "q.onnx")
    converted = lstm_edge.convert(model, self_test=False)
    x = normal(1, 11, 6)
    session = plainly(model)
    wanted = np.concatenate([session.run(None, {"x": x[:, t : t + 1]})[0] for t in range(11)], 1)
    stream = converted.stream()
    pieces = np.concatenate([stream.run(x[:, at : at + 3]) for at in range(0, 11, 3)], 1)
    assert np.allclose(pieces, wanted, atol=TOLERANCE)
    assert np.array_equal(pieces, converted.run(x))


@pytest.mark.parametrize("opset", [10, 13, 17, 18, 19, 21])
def test_dequantised_weights_at_any_opset(opset):
    model = make_model(
        [node("DequantizeLinear", ["q", "scale", "zero"], ["w"]), node("MatMul", ["x", "w"], ["y"])],
        [value_info("x", ["batch", 5])],
        [value_info("y", None)],
        {"q": np.arange(15, dtype=np.int8).reshape(5, 3), "scale": np.float32(0.01), "zero": np.int8(3)},
        opset=opset,
    )
    graph = importer.read(model)
    assert [n.op for n in graph.nodes] == ["Dense"]
    x = normal(4, 5)
    assert np.allclose(run(graph, {"x": x})["y"], plainly(model).run(None, {"x": x})[0], atol=TOLERANCE)


SCALE, ZERO = np.float32(0.02), np.uint8(120)
OUT = [np.float32(0.03), np.uint8(110)]
A, B = (np.random.default_rng(n).integers(0, 255, (2, 4, 6)).astype(np.uint8) for n in (0, 1))
TWO = [A, SCALE, ZERO, B, np.float32(0.01), np.uint8(100)]
PICTURE = [A.reshape(1, 2, 4, 6), SCALE, ZERO]


@pytest.mark.parametrize(
    "op, inputs, attrs",
    [
        ("QLinearAdd", [*TWO, *OUT], {}),
        ("QLinearMul", [*TWO, *OUT], {}),
        ("QLinearSigmoid", [*TWO[:3], np.float32(1 / 256), np.uint8(0)], {}),
        ("QLinearLeakyRelu", [*TWO[:3], *OUT], {"alpha": 0.2}),
        ("QLinearSoftmax", [*TWO[:3], np.float32(1 / 256), np.uint8(0)], {"axis": -1, "opset": 13}),
        ("QLinearConcat", [*OUT, *TWO], {"axis": 2}),
        ("QLinearWhere", [A > 99, *TWO, *OUT], {}),
        ("QLinearAveragePool", [*PICTURE, *OUT], {"kernel_shape": [2, 3], "strides": [2, 1], "pads": [0, 1, 0, 1]}),
        ("QLinearGlobalAveragePool", [*PICTURE, *OUT], {}),
        ("QGemm", [A[0], SCALE, ZERO, B[0].T, *TWO[4:], np.arange(4, dtype=np.int32), *OUT], {}),
        ("QGemm", [A[0], SCALE, ZERO, B[0], *TWO[4:]], {"transB": 1, "alpha": 0.5}),
    ],
)
def test_onnxruntimes_quantised_operators(op, inputs, attrs):
    names = [f"i{n}" for n in range(len(inputs))]
    run_time = {n: a for n, a in zip(names, inputs) if a.ndim > 1}
    made = node(op, names, ["y"], domain="com.microsoft", **attrs)
    model = make_model(
        [made],
        [value_info(n, a.shape, onnx.helper.np_dtype_to_tensor_dtype(a.dtype)) for n, a in run_time.items()],
        [value_info("y", None, onnx.TensorProto.UINT8 if op != "QGemm" or len(inputs) > 7 else onnx.TensorProto.FLOAT)],
        {n: a for n, a in zip(names, inputs) if n not in run_time},
        extra=("com.microsoft",),
    )
    wanted = plainly(model).run(None, run_time)[0]
    got = run(importer.read(model), run_time)["y"]
    off = np.abs(got.astype(np.float64) - wanted)
    if wanted.dtype == np.float32:
        assert off.max() < TOLERANCE
    else:  # a step where the value lies between two
        assert got.shape == wanted.shape and off.max() <= 1 and np.mean(off > 0) < 0.1
