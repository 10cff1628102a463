"""What the tests of the ONNX importer share: small models, and the comparison with onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_edge import reference
from lstm_edge.importers.onnx import model as importer

onnx = pytest.importorskip("onnx")

TOLERANCE = 1e-5
FLOAT, INT64, BOOL = 1, 7, 9
RNG = np.random.default_rng(7)


def run(graph, inputs):
    outputs, _ = reference.run(graph, inputs)
    return outputs


def value_info(name, shape, elem_type=FLOAT):
    return onnx.helper.make_tensor_value_info(name, elem_type, shape)


def make_model(nodes, inputs, outputs, initializers=(), opset=17, extra=()):
    tensors = [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in dict(initializers).items()]
    graph = onnx.helper.make_graph(nodes, "g", inputs, outputs, tensors)
    opsets = [onnx.helper.make_opsetid("", opset), *(onnx.helper.make_opsetid(d, 1) for d in extra)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)


def node(op, inputs, outputs, **attrs):
    return onnx.helper.make_node(op, inputs, outputs, name=attrs.pop("name", f"the_{op}_{outputs[0]}"), **attrs)


def one_node(op, shapes, constants=None, outputs=("y",), **attrs):
    inputs = [value_info(name, shape) for name, shape in shapes.items()]
    nodes = [node(op, [*shapes, *(constants or {})], list(outputs), **attrs)]
    return make_model(nodes, inputs, [value_info(o, None) for o in outputs], constants or {})


def against_onnxruntime(model, feeds, tolerance=TOLERANCE, **options):
    """Converts, runs both, compares every output; returns the graph."""
    ort = pytest.importorskip("onnxruntime")
    ort.set_default_logger_severity(3)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, feeds)
    graph = importer.read(model.SerializeToString(), **options)
    outputs = run(graph, {k: v for k, v in feeds.items() if k not in options.get("constants", {})})
    for info, e in zip(session.get_outputs(), expected):
        assert outputs[info.name].shape == e.shape, info.name
        assert np.allclose(
            outputs[info.name].astype(np.float64), e.astype(np.float64), rtol=tolerance, atol=tolerance
        ), info.name
    return graph


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def recurrent_model(op, hidden, direction="forward", extra_inputs=(), **attrs):
    """A recurrence on x (T,B,3) with free T and B; the optional inputs named are given too."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    d = 2 if direction == "bidirectional" else 1
    weights = {"W": normal(d, gates * hidden, 3), "R": normal(d, gates * hidden, hidden)}
    names = ["x", "W", "R", "", "", "", "", ""]
    inputs = [value_info("x", ["T", "N", 3])]
    if "B" in extra_inputs:
        weights["B"], names[3] = normal(d, 2 * gates * hidden), "B"
    if "P" in extra_inputs:
        weights["P"], names[7] = normal(d, 3 * hidden), "P"
    if "lengths" in extra_inputs:
        names[4] = "lengths"
        inputs.append(value_info("lengths", ["N"], 6))
    for place, name in ((5, "h0"), (6, "c0")):
        if name in extra_inputs:
            names[place] = name
            inputs.append(value_info(name, [d, "N", hidden]))
    while not names[-1]:
        names.pop()
    outputs = ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2]
    attributes = {"direction": direction, "hidden_size": hidden, **attrs}
    return make_model([node(op, names, outputs, **attributes)], inputs, [value_info(o, None) for o in outputs], weights)


def identity_model(shapes, op="Relu"):
    nodes = [node(op, [n], [f"{n}_out"], name=f"node_{n}") for n in shapes]
    return make_model(
        nodes, [value_info(n, s) for n, s in shapes.items()], [value_info(f"{n}_out", None) for n in shapes]
    )
