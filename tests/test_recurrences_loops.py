"""Loops of ONNX around what they compute besides a cell, against onnxruntime; and what is said of those that are refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lstm_edge import reference
from lstm_edge.errors import UnsupportedModelError
from lstm_edge.ir.graph import Graph

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
importer = pytest.importorskip("lstm_edge.importers.onnx.model")

H, INPUTS, STEPS, ROWS = 4, 3, 6, 2
RECURRENT = ("LSTM", "GRU", "RNN")
FLOAT, BOOL, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL, onnx.TensorProto.INT64
node = onnx.helper.make_node


def info(name: str, shape: list, dtype: int = FLOAT):
    return onnx.helper.make_tensor_value_info(name, dtype, shape)


class Cells:
    """Nodes of a body, and the weights that they read from the scope around."""

    def __init__(self):
        self.rng, self.nodes, self.weights = np.random.default_rng(5), [], {"one": np.ones(1), "zero": np.zeros(1)}

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attrs):
        names = [f"t{len(self.nodes)}_{n}" for n in range(outputs)]
        self.nodes.append(node(kind, list(inputs), names, **attrs))
        return names[0] if outputs == 1 else names

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = self.rng.normal(0, 0.6, shape)
        return name

    def linear(self, n: int, x: str, width: int) -> str:
        return self.op("Add", self.op("MatMul", x, self.weight(width, n)), self.weight(n))

    def lstm(self, x: str, h: str, c: str, width: int = INPUTS, product: bool = True) -> tuple[str, str]:
        gates = self.linear(4 * H, x, width) if product else x
        gates = self.op("Add", gates, self.op("MatMul", h, self.weight(H, 4 * H)))
        i, f, g, o = self.op("Split", gates, outputs=4, axis=-1, num_outputs=4)
        i, f, o = (self.op("Sigmoid", v) for v in (i, f, o))
        new = self.op("Add", self.op("Mul", f, c), self.op("Mul", i, self.op("Tanh", g)))
        return self.op("Mul", o, self.op("Tanh", new)), new

    def body(self, inputs: list, outputs: dict[str, list]):
        ends = [node("Identity", [t], [f"out{n}"]) for n, t in enumerate(outputs)]
        made = [info(f"out{n}", s, BOOL if not s else FLOAT) for n, s in enumerate(outputs.values())]
        return onnx.helper.make_graph([*self.nodes, *ends], "body", inputs, made)


def model_of(cells: Cells, nodes: list, inputs: list, outputs: list):
    weights = [onnx.numpy_helper.from_array(np.asarray(a, np.float32), k) for k, a in cells.weights.items()]
    graph = onnx.helper.make_graph(nodes, "g", inputs, outputs, weights)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)


def scanned(cells: Cells, body, states: int, sequences: list, outputs: list, between: list | None = None):
    """A Scan over sequences whose first ones are replaced by `between`: nodes before it and what they give."""
    nodes, names = between or ([], [s.name for s in sequences])
    firsts = [info(f"s{n}", ["N", H]) for n in range(states)]
    given = [*(f.name for f in firsts), *names]
    scan = node("Scan", given, [o.name for o in outputs], body=body, num_scan_inputs=len(names), name="the_scan")
    return model_of(cells, [*nodes, scan], [*firsts, *sequences], outputs)


def against_onnxruntime(model, ops: list[str], inputs: dict[str, np.ndarray]) -> Graph:
    """The open model's Graph, which has these recurrences and gives onnxruntime's answers."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    wanted = dict(zip(names, session.run(names, inputs)))
    graph = importer.read(model)
    assert [n.op for n in graph.nodes if n.op in RECURRENT] == ops
    found = reference.run(graph, inputs)[0]
    for name in names:
        np.testing.assert_allclose(found[name], wanted[name], atol=2e-6)
    return graph


def arrays(states: int, **more: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    first = {f"s{n}": rng.normal(size=(ROWS, H)).astype(np.float32) for n in range(states)}
    return {**first, "x": rng.normal(size=(STEPS, ROWS, INPUTS)).astype(np.float32), **more}


X = info("x", ["T", "N", INPUTS])
LSTM_INPUTS = [info("h", ["N", H]), info("c", ["N", H])]
ENDS = [info("h_n", ["N", H]), info("c_n", ["N", H])]


def mask_of_rows() -> np.ndarray:
    return np.random.default_rng(2).random((STEPS, ROWS, 1)) < 0.6


@pytest.mark.parametrize("zeroed", [False, True])
def test_masked_scan(zeroed):
    s = Cells()
    new = s.lstm("frame", "h", "c")
    kept = [s.op("Where", "m", a, b) for a, b in zip(new, ("h", "c"))]
    y = s.op("Where", "m", new[0], "zero") if zeroed else kept[0]
    frames = [info("frame", ["N", INPUTS]), info("m", ["N", 1], BOOL)]
    body = s.body([*LSTM_INPUTS, *frames], {kept[0]: ["N", H], kept[1]: ["N", H], s.op("Identity", y): ["N", H]})
    model = scanned(s, body, 2, [X, info("mask", ["T", "N", 1], BOOL)], [*ENDS, info("y", ["T", "N", H])])
    graph = against_onnxruntime(model, ["LSTM"], arrays(2, mask=mask_of_rows()))
    (lstm,) = (n for n in graph.nodes if n.op == "LSTM")
    assert lstm.attrs.get("masked_output", "previous") == ("zero" if zeroed else "previous")


def test_layers_before_and_a_head_after_stay_around():
    s = Cells()
    x = s.op("Relu", s.linear(5, "frame", INPUTS))
    h, c = s.lstm(x, "h", "c", 5)
    scores = s.op("Softmax", s.linear(7, s.op("Add", h, s.linear(H, "frame", INPUTS)), H), axis=-1)
    body = s.body([*LSTM_INPUTS, info("frame", ["N", INPUTS])], {h: ["N", H], c: ["N", H], scores: ["N", 7]})
    model = scanned(s, body, 2, [X], [*ENDS, info("y", ["T", "N", 7])])
    against_onnxruntime(model, ["LSTM"], arrays(2))


def test_a_stack_in_one_loop():
    s = Cells()
    h1, c1 = s.lstm("frame", "h1", "c1")
    h2, c2 = s.lstm(h1, "h2", "c2", H)
    states = [info(n, ["N", H]) for n in ("h1", "c1", "h2", "c2")]
    ends = {h1: ["N", H], c1: ["N", H], h2: ["N", H], c2: ["N", H], s.op("Identity", h2): ["N", H]}
    body = s.body([*states, info("frame", ["N", INPUTS])], ends)
    outputs = [*(info(f"{n}_n", ["N", H]) for n in ("h1", "c1", "h2", "c2")), info("y", ["T", "N", H])]
    against_onnxruntime(scanned(s, body, 4, [X], outputs), ["LSTM", "LSTM"], arrays(4))


def test_the_inputs_product_before_the_loop_is_a_part_of_the_cell():
    s = Cells()
    h, c = s.lstm("frame", "h", "c", product=False)
    body = s.body([*LSTM_INPUTS, info("frame", ["N", 4 * H])], {h: ["N", H], c: ["N", H]})
    before = [node("MatMul", ["x", s.weight(INPUTS, 4 * H)], ["xw"]), node("Add", ["xw", s.weight(4 * H)], ["xwb"])]
    graph = against_onnxruntime(scanned(s, body, 2, [X], ENDS, (before, ["xwb"])), ["LSTM"], arrays(2))
    (lstm,) = (n for n in graph.nodes if n.op == "LSTM")
    assert graph.shape(lstm.inputs[1]) == (1, 4 * H, INPUTS)
    assert not [n for n in graph.nodes if n.op in ("MatMul", "Dense")]


def test_lengths_against_the_number_of_the_trip_are_a_mask():
    s = Cells()
    s.nodes.append(node("Gather", ["x", "at"], ["frame"], axis=0))
    new = s.lstm("frame", "h", "c")
    m = s.op("Less", "at", "lengths")
    kept = [s.op("Where", m, a, b) for a, b in zip(new, ("h", "c"))]
    inputs = [info("at", [], INT64), info("go", [], BOOL), *LSTM_INPUTS]
    y = s.op("Where", m, new[0], "zero")
    body = s.body(inputs, {"go": [], kept[0]: ["N", H], kept[1]: ["N", H], y: ["N", H]})
    nodes = [
        node("Shape", ["x"], ["shape"], start=0, end=1),
        node("Squeeze", ["shape"], ["trips"]),
        node("Loop", ["trips", "", "s0", "s1"], ["h_n", "c_n", "y"], body=body),
    ]
    firsts = [info(f"s{n}", ["N", H]) for n in range(2)]
    model = model_of(s, nodes, [*firsts, X, info("lengths", ["N", 1], INT64)], [*ENDS, info("y", ["T", "N", H])])
    against_onnxruntime(model, ["LSTM"], arrays(2, lengths=np.array([[4], [6]])))


def test_a_loop_that_carries_nothing_is_lifted_whole():
    s = Cells()
    y = s.op("Sigmoid", s.linear(2, "frame", INPUTS))
    body = s.body([info("frame", ["N", INPUTS])], {y: ["N", 2]})
    against_onnxruntime(scanned(s, body, 0, [X], [info("y", ["T", "N", 2])]), [], arrays(0))


def test_a_refusal_gives_the_reason_of_each_attempt():
    s = Cells()
    h = s.op("Sin", s.op("Add", "h", s.linear(H, "frame", INPUTS)))
    body = s.body([info("h", ["N", H]), info("frame", ["N", INPUTS])], {h: ["N", H]})
    model = scanned(s, body, 1, [X], [info("h_n", ["N", H])])
    reason = (
        "the_scan.*(Scan).*no recurrence that can be told (.*sin.*), and cannot be unrolled since its number of trips"
    )
    with pytest.raises(UnsupportedModelError, match=re.escape(reason).replace(r"\.\*", ".*")):
        importer.read(model)
