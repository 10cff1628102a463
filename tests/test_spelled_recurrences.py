"""Recurrences that a file spells out: loops of tf2onnx, Scan, cells of every kind against the op they are."""

import os
from pathlib import Path

import numpy as np
import pytest
from shared import GOLDEN as GOLDENS

from lstm_edge import reference
from lstm_edge.errors import UnsupportedModelError
from lstm_edge.importers.dialect import Value
from lstm_edge.importers.onnx.lowering import Lowering
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.recurrences.body import Body, Carried, Frame
from lstm_edge.recurrences.spelled import emit, recognised

GOLDEN = GOLDENS / "onnx"
CASES = sorted(p.stem for p in GOLDEN.glob("*.onnx"))
RECURRENT = {"LSTM", "GRU", "RNN"}


def run(graph: Graph, inputs: dict) -> dict:
    return reference.run(graph, inputs)[0]


# ---- what tf2onnx writes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_tf2onnx(name):
    importer = pytest.importorskip("lstm_edge.importers.onnx.model")
    pytest.importorskip("onnx")
    graph = importer.read(GOLDEN / f"{name}.onnx")
    golden = np.load(GOLDEN / f"{name}.npz")
    (answer,) = run(graph, {"x": golden["x"]}).values()
    assert np.abs(answer - golden["y"]).max() < 2e-6
    if "unrolled" not in name:
        assert any(n.op in RECURRENT for n in graph.nodes)


def test_tf2onnx_cases_are_there():
    assert len(CASES) >= 15


# ---- cells, spelt in every order -------------------------------------------------------------------------------------

H, INPUTS = 5, 3


class Speller:
    """A body of a loop over x (T,B,I), with random weights."""

    def __init__(self, states: int, seed: int):
        self.rng = np.random.default_rng(seed)
        self.graph = Graph()
        self.x = self.graph.input("x", (BATCH, INPUTS))
        self.states = [self.graph.input(f"s{n}", (BATCH, H)) for n in range(states)]

    def weight(self, *shape: int) -> str:
        return self.graph.constant(self.rng.normal(0, 0.5, shape).astype(np.float32), "w")

    def op(self, op: str, *inputs: str, **attrs) -> str:
        return self.graph.add1(op, list(inputs), attrs)

    def binary(self, kind: str, a: str, b: str) -> str:
        pair = [a, b] if kind in ("sub", "div") or self.rng.random() < 0.5 else [b, a]
        return self.op("Binary", *pair, kind=kind)

    def unary(self, kind: str, x: str, **attrs) -> str:
        return self.op("Unary", x, kind=kind, **attrs)

    def number(self, value: float) -> str:
        return self.graph.constant(np.float32(value), "number")

    def linear(self, n: int, *inputs: str) -> str:
        """A sum of matrix products of the inputs, spelt in one of several ways, with a bias."""
        width = sum(self.graph.shape(i)[-1] for i in inputs)
        way = self.rng.integers(3)
        if way == 0:  # side by side
            both = self.op("Concat", *inputs, axis=-1) if len(inputs) > 1 else inputs[0]
            return self.op("Dense", both, self.weight(n, width), self.weight(n))
        total = self.weight(n) if way == 1 else ""
        for i in inputs:
            part = self.op("MatMul", i, self.weight(self.graph.shape(i)[-1], n))
            total = self.binary("add", total, part) if total else part
        return total if way == 1 else self.binary("add", total, self.weight(1, n))

    def split(self, x: str, parts: int) -> list[str]:
        return [self.op("Slice", x, axes=[-1], starts=[n * H], ends=[(n + 1) * H]) for n in range(parts)]

    def gate(self, x: str) -> str:
        way = self.rng.integers(4)
        if way == 0:
            return self.unary("sigmoid", x)
        if way == 1:
            return self.unary("hard_sigmoid", x, alpha=0.2, beta=0.5)
        if way == 2:
            line = self.binary("add", self.binary("mul", x, self.number(0.2)), self.number(0.5))
            return self.binary("max", self.binary("min", line, self.number(1.0)), self.number(0.0))
        e = self.unary("exp", self.unary("neg", x))
        return self.binary("div", self.number(1.0), self.binary("add", e, self.number(1.0)))

    def body(self, *following: str) -> Body:
        source = Value("float32", tensor="sequence")
        carried = [Carried(r, w, Value("float32", tensor=f"first_{r}")) for r, w in zip(self.states, following)]
        return Body(self.graph, frames={self.x: Frame(source, 0)}, carried=carried, outputs=[following[0]])


class SameWeights:
    """Gives the same array for each shape, and always the second way of a choice, in the place of a Generator."""

    def __init__(self, seed: int):
        self.seed = seed

    def normal(self, mean: float, scale: float, shape: tuple[int, ...]) -> np.ndarray:
        return np.random.default_rng(self.seed).normal(mean, scale, shape)

    def integers(self, ways: int) -> int:
        return 1 if ways == 3 else 0

    def random(self) -> float:
        return 0.0


def spelt_lstm(s: Speller, peephole: bool, coupled: str, clip: float, squash: str) -> tuple[str, str]:
    h, c = s.states
    i, f, g, o = s.split(s.linear(4 * H, s.x, h), 4)
    if peephole:
        i, f = (s.binary("add", a, s.binary("mul", c, s.weight(H))) for a in (i, f))
    one = s.number(1.0)
    i, f, g = s.gate(i), s.gate(f), s.unary("tanh", g)
    i = s.binary("sub", one, f) if coupled == "i=1-f" else i
    f = s.binary("sub", one, i) if coupled == "f=1-i" else f
    new = s.binary("add", s.binary("mul", f, c), s.binary("mul", i, g))
    new = s.unary("clip", new, alpha=-clip, beta=clip) if clip else new
    if peephole:
        o = s.binary("add", o, s.binary("mul", new, s.weight(H)))
    out = s.binary("mul", s.gate(o), s.unary(squash, new) if squash else new)
    return out, new


def spelt_gru(s: Speller, after: bool, other: bool) -> str:
    (h,) = s.states
    z, r = s.split(s.linear(2 * H, s.x, h), 2)
    z, r = s.gate(z), s.gate(r)
    if after:
        n = s.binary("add", s.linear(H, s.x), s.binary("mul", r, s.linear(H, h)))
    else:
        n = s.linear(H, s.x, s.binary("mul", r, h))
    n = s.unary("tanh", n)
    if other:
        return s.binary("add", n, s.binary("mul", z, s.binary("sub", h, n)))
    return s.binary("add", s.binary("mul", s.binary("sub", s.number(1.0), z), n), s.binary("mul", z, h))


def check(body: Body, op: str, graph: Graph) -> None:
    """The op that the body is recognised as, against the body run frame by frame."""
    spelling = recognised(body)
    assert [m.cell.op for m in spelling.matches] == [op]
    ctx = Lowering({"": 17}, set())
    outer = ctx.graph
    outer.input("sequence", (FRAMES, BATCH, INPUTS), tensor="sequence")
    for c in body.carried:
        outer.input(c.initial.tensor, (BATCH, H), tensor=c.initial.tensor)
    (y,), last = emit(ctx, body, spelling)
    outer.output("y", y.tensor)
    for n, c in enumerate(body.carried):
        outer.output(f"last{n}", last[c.read].tensor)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(6, 2, INPUTS))
    state = {c.read: rng.normal(size=(2, H)) for c in body.carried}
    found = run(outer, {"sequence": x, **{c.initial.tensor: state[c.read] for c in body.carried}})
    graph.outputs.clear()
    for c in body.carried:
        graph.output(c.write, c.write)
    frames = []
    for frame in x:
        after = run(graph, {"x": frame, **state})
        state = {c.read: after[c.write] for c in body.carried}
        frames.append(after[body.outputs[0]])
    assert np.abs(found["y"] - np.stack(frames)).max() < 2e-6
    for n, c in enumerate(body.carried):
        assert np.abs(found[f"last{n}"] - state[c.read]).max() < 2e-6


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("peephole", [False, True])
@pytest.mark.parametrize("coupled", ["", "i=1-f", "f=1-i"])
@pytest.mark.parametrize("clip", [0.0, 0.3])
@pytest.mark.parametrize("squash", ["tanh", ""])
def test_lstm_spelt(seed, peephole, coupled, clip, squash):
    s = Speller(2, seed)
    check(s.body(*spelt_lstm(s, peephole, coupled, clip, squash)), "LSTM", s.graph)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("other", [False, True])
def test_gru_spelt(seed, after, other):
    s = Speller(1, seed)
    check(s.body(spelt_gru(s, after, other)), "GRU", s.graph)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["tanh", "relu", "linear"])
def test_rnn_spelt(seed, kind):
    s = Speller(1, seed)
    x = s.linear(H, s.x, s.states[0])
    check(s.body(s.unary(kind, x) if kind != "linear" else x), "RNN", s.graph)


def wrong_cells() -> dict:
    def sum_of_squares(s):
        (h,) = s.states
        return [s.binary("add", s.binary("mul", h, h), s.linear(H, s.x))]

    def candidate_twice(s):
        h, c = s.states
        i, f, g, o = s.split(s.linear(4 * H, s.x, h), 4)
        new = s.binary(
            "add", s.binary("mul", s.unary("sigmoid", f), c), s.binary("mul", s.unary("tanh", g), s.number(2.0))
        )
        return [s.binary("mul", s.unary("sigmoid", o), s.unary("tanh", new)), new]

    def old_cell_in_output(s):
        h, c = s.states
        i, f, g, o = s.split(s.linear(4 * H, s.x, h), 4)
        new = s.binary(
            "add", s.binary("mul", s.unary("sigmoid", f), c), s.binary("mul", s.unary("sigmoid", i), s.unary("tanh", g))
        )
        return [s.binary("mul", s.unary("sigmoid", o), s.unary("tanh", c)), new]

    def gru_with_two_gates_mixed(s):
        (h,) = s.states
        z, r = s.split(s.linear(2 * H, s.x, h), 2)
        n = s.unary("tanh", s.linear(H, s.x, s.binary("mul", s.unary("sigmoid", r), h)))
        z = s.unary("sigmoid", z)
        return [s.binary("add", s.binary("mul", z, n), s.binary("mul", z, h))]

    return {f.__name__: f for f in (sum_of_squares, candidate_twice, old_cell_in_output, gru_with_two_gates_mixed)}


@pytest.mark.parametrize("name", wrong_cells())
def test_what_only_resembles_a_cell_is_refused(name):
    from lstm_edge.recurrences.polynomials import NotACell

    spell = wrong_cells()[name]
    s = Speller(1 if name in ("sum_of_squares", "gru_with_two_gates_mixed") else 2, 0)
    with pytest.raises(NotACell):
        recognised(s.body(*spell(s)))


# ---- Scan and Loop around them, against onnxruntime ------------------------------------------------------------------


def gru_body(helper, tp, loop: bool):
    """z, r, n of a GRU with reset before; the frame is an input (Scan) or gathered (Loop)."""
    nodes = [] if not loop else [helper.make_node("Gather", ["sequence", "at"], ["x"], axis=0)]
    nodes += [
        helper.make_node("MatMul", ["x", "W"], ["xw"]),
        helper.make_node("MatMul", ["h", "R"], ["hr"]),
        helper.make_node("Split", ["xw"], ["xz", "xr", "xn"], axis=1, num_outputs=3),
        helper.make_node("Split", ["hr"], ["hz", "hr2"], axis=1, num_outputs=2),
        helper.make_node("Add", ["xz", "hz"], ["az"]),
        helper.make_node("Sigmoid", ["az"], ["z"]),
        helper.make_node("Add", ["xr", "hr2"], ["ar"]),
        helper.make_node("Sigmoid", ["ar"], ["r"]),
        helper.make_node("Mul", ["r", "h"], ["rh"]),
        helper.make_node("MatMul", ["rh", "Rn"], ["an"]),
        helper.make_node("Add", ["an", "xn"], ["bn"]),
        helper.make_node("Tanh", ["bn"], ["n"]),
        helper.make_node("Sub", ["h", "n"], ["d"]),
        helper.make_node("Mul", ["z", "d"], ["zd"]),
        helper.make_node("Add", ["n", "zd"], ["h2"]),
        helper.make_node("Identity", ["h2"], ["y"]),
    ]
    info = helper.make_tensor_value_info
    if not loop:
        return helper.make_graph(
            nodes,
            "body",
            [info("h", tp.FLOAT, ["N", 4]), info("x", tp.FLOAT, ["N", 3])],
            [info("h2", tp.FLOAT, ["N", 4]), info("y", tp.FLOAT, ["N", 4])],
        )
    nodes += [helper.make_node("Identity", ["go"], ["go2"])]
    return helper.make_graph(
        nodes,
        "body",
        [info("at", tp.INT64, []), info("go", tp.BOOL, []), info("h", tp.FLOAT, ["N", 4])],
        [info("go2", tp.BOOL, []), info("h2", tp.FLOAT, ["N", 4]), info("y", tp.FLOAT, ["N", 4])],
    )


def looped_model(loop: bool, backward: int = 0, out_backward: int = 0):
    onnx = pytest.importorskip("onnx")
    helper, tp = onnx.helper, onnx.TensorProto
    rng = np.random.default_rng(0)
    arrays = {
        "W": rng.normal(size=(3, 12)),
        "R": rng.normal(size=(4, 8)),
        "Rn": rng.normal(size=(4, 4)),
        "zero": np.zeros((1, 1)),
    }
    weights = [onnx.numpy_helper.from_array(a.astype(np.float32), k) for k, a in arrays.items()]
    nodes = [
        helper.make_node("Shape", ["sequence"], ["shape"]),
        helper.make_node("Gather", ["shape", "batch_at"], ["count"], axis=0),
        helper.make_node("Concat", ["count", "width"], ["size"], axis=0),
        helper.make_node("Expand", ["zero", "size"], ["h0"]),
    ]
    weights += [
        onnx.numpy_helper.from_array(np.array(v, np.int64), k)
        for k, v in (("batch_at", [1]), ("width", [4]), ("time_at", 0))
    ]
    body = gru_body(helper, tp, loop)
    if loop:
        nodes += [
            helper.make_node("Gather", ["shape", "time_at"], ["trips"], axis=0),
            helper.make_node("Loop", ["trips", "", "h0"], ["last", "ys"], body=body),
        ]
    else:
        nodes += [
            helper.make_node(
                "Scan",
                ["h0", "sequence"],
                ["last", "ys"],
                body=body,
                num_scan_inputs=1,
                scan_input_directions=[backward],
                scan_output_directions=[out_backward],
            )
        ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [info("sequence", tp.FLOAT, ["T", "N", 3])],
        [info("ys", tp.FLOAT, ["T", "N", 4]), info("last", tp.FLOAT, ["N", 4])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("loop, backward, out_backward", [(True, 0, 0), (False, 0, 0), (False, 1, 0), (False, 1, 1)])
def test_loops_against_onnxruntime(loop, backward, out_backward):
    ort = pytest.importorskip("onnxruntime")
    importer = pytest.importorskip("lstm_edge.importers.onnx.model")
    model = looped_model(loop, backward, out_backward)
    x = np.random.default_rng(2).normal(size=(6, 2, 3)).astype(np.float32)
    ys, last = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"sequence": x}
    )
    graph = importer.read(model, shapes={"sequence": ["frames", "batch", 3]})
    assert [n.op for n in graph.nodes if n.op in RECURRENT] == ["GRU"]
    assert "GRU of 4 units" in " ".join(graph.metadata["notes"])
    out = run(graph, {"sequence": x})
    assert np.abs(out["ys"] - ys).max() < 2e-6 and np.abs(out["last"] - last).max() < 2e-6


def test_open_loop_that_is_no_recurrence_is_refused_by_name():
    importer = pytest.importorskip("lstm_edge.importers.onnx.model")
    onnx = pytest.importorskip("onnx")
    model = looped_model(True)
    body = next(n for n in model.graph.node if n.op_type == "Loop").attribute[0].g
    next(n for n in body.node if n.op_type == "Sub").op_type = "Add"
    next(n for n in model.graph.node if n.op_type == "Loop").name = "the_loop"
    with pytest.raises(UnsupportedModelError, match=r"the_loop.*\(Loop\).*not a GRU.*shapes="):
        importer.read(
            onnx.ModelProto.FromString(model.SerializeToString()), shapes={"sequence": ["frames", "batch", 3]}
        )


@pytest.mark.skipif("LSTM_EDGE_MODELS" not in os.environ, reason="LSTM_EDGE_MODELS is not set")
def test_dtln_cells_are_told():
    from lstm_edge.convert import to_graph

    graph = to_graph(Path(os.environ["LSTM_EDGE_MODELS"]) / "dtln" / "model_2.onnx")
    assert [n.op for n in graph.nodes].count("LSTM") == 2


# ---- the pass over a whole graph -------------------------------------------------------------------------------------


def ops_after_pipeline(name: str) -> list:
    pytest.importorskip("onnx")
    from lstm_edge.convert import to_graph

    graph = to_graph(GOLDEN / f"{name}.onnx")
    golden = np.load(GOLDEN / f"{name}.npz")
    (answer,) = run(graph, {"x": golden["x"]}).values()
    assert np.abs(answer - golden["y"]).max() < 2e-6
    return graph.nodes


def test_unrolled_steps_become_one_op():
    """Of the cutting and stacking that the unrolling needed nothing is left."""
    assert [n.op for n in ops_after_pipeline("lstm_unrolled")] == ["LSTM"]


def test_unrolled_steps_whose_first_one_leaves_out_the_zero_states_become_one_op():
    pytest.importorskip("flatbuffers")
    from lstm_edge.convert import to_graph

    folder = GOLDENS / "tflite"
    graph = to_graph(folder / "unrolled_lstm.tflite")
    golden = np.load(folder / "unrolled_lstm.npz")
    assert [n.op for n in graph.nodes] == ["Reshape", "LSTM", "Reshape", "Dense"]
    (port,) = graph.inputs
    for x, y in zip(golden["in0"], golden["out0"]):
        (answer,) = run(graph, {port.name: x}).values()
        assert np.abs(answer - y).max() < 2e-6


def test_recurrence_between_two_reversals_is_reverse():
    nodes = ops_after_pipeline("bilstm_elu")
    assert [n.attrs["direction"] for n in nodes if n.op == "LSTM"] == ["forward", "reverse"]
    assert "Slice" not in [n.op for n in nodes]


def spelt_from_zeros(s: Speller, op: str) -> list[str]:
    """The first step from states that are zeros, in the form that a converter leaves."""
    if op == "RNN":
        return [s.unary("tanh", s.linear(H, s.x))]
    i, f, g, o = s.split(s.linear(4 * H, s.x), 4)
    new = s.binary("mul", s.unary("sigmoid", i), s.unary("tanh", g))
    return [s.binary("mul", s.unary("sigmoid", o), s.unary("tanh", new)), new]


def spelt_step(s: Speller, op: str) -> list[str]:
    if op == "LSTM":
        return [*spelt_lstm(s, False, "", 0.0, "tanh")]
    return [spelt_gru(s, True, False) if op == "GRU" else s.unary("tanh", s.linear(H, s.x, s.states[0]))]


def unrolled_graph(op: str, steps: int, feedback: bool = False) -> Graph:
    """Steps of one spelt cell over x (B,steps,I); with feedback each frame is added to a function of the answer before."""
    from lstm_edge import passes

    g = Graph()
    x = g.input("x", (BATCH, steps, INPUTS))
    states = [g.input(f"s{n}", (BATCH, H)) for n in range(2 if op == "LSTM" else 1)]
    for t in range(steps):
        s = Speller.__new__(Speller)
        s.rng, s.graph, s.states = np.random.default_rng(3), g, states
        frame = s.op("Slice", x, axes=[1], starts=[t], ends=[t + 1])
        s.x = s.op("Reshape", frame, shape=[1, INPUTS], from_input=[0, -1], from_axis=[0, 0])
        if feedback and t:
            w = g.constant(np.full((INPUTS, H), 0.1, np.float32), "feedback")
            s.x = s.op("Binary", s.x, s.op("Dense", states[0], w), kind="add")
        states = spelt_step(s, op)
        g.output(f"h{t}", states[0])
    g.output("last", states[-1])
    plain = run(g, inputs_of(g))
    passes.recurrences.recognise(g)
    after = run(g, inputs_of(g))
    assert all(np.abs(after[k] - plain[k]).max() < 2e-6 for k in plain)
    return g


def inputs_of(graph: Graph) -> dict:
    rng = np.random.default_rng(0)
    return {p.name: rng.normal(size=[2 if s == BATCH else s for s in graph.shape(p.tensor)]) for p in graph.inputs}


@pytest.mark.parametrize(
    "op, steps, feedback, count",
    [(op, *case) for op in ("LSTM", "GRU") for case in ((1, False, 1), (4, False, 1), (4, True, 4))]
    # a layer of two inputs is no recurrence by itself
    + [("RNN", 1, False, 0), ("RNN", 4, False, 1), ("RNN", 4, True, 0)],
)
def test_unrolled(op, steps, feedback, count):
    g = unrolled_graph(op, steps, feedback)
    assert [n.op for n in g.nodes if n.op in RECURRENT] == [op] * count


def test_all_frames_of_an_unrolled_sequence_are_the_sequence():
    g = unrolled_graph("RNN", 4)
    assert next(n for n in g.nodes if n.op == "RNN").inputs[0] == "x"


@pytest.mark.parametrize("swap, x_of_rnn", [(False, "x"), (True, None)])
def test_frames_of_another_order_are_put_together(swap, x_of_rnn):
    """An RNN over all frames of x (B,4,I), or over them with two places swapped."""
    from lstm_edge import passes

    g = Graph()
    x, state = g.input("x", (BATCH, 4, INPUTS)), g.input("s", (BATCH, H))
    rng = np.random.default_rng(1)
    w, r = (g.constant(rng.normal(size=(H, n)).astype(np.float32), "w") for n in (INPUTS, H))
    for t in (0, 2, 1, 3) if swap else range(4):
        frame = g.add1("Slice", [x], {"axes": [1], "starts": [t], "ends": [t + 1]})
        frame = g.add1("Reshape", [frame], {"shape": [1, INPUTS], "from_input": [0, -1], "from_axis": [0, 0]})
        total = [g.add1("Dense", [frame, w]), g.add1("Dense", [state, r])]
        state = g.add1("Unary", [g.add1("Binary", total, {"kind": "add"})], {"kind": "tanh"})
    g.output("y", state)
    plain = run(g, inputs_of(g))["y"]
    passes.recurrences.recognise(g)
    assert np.abs(run(g, inputs_of(g))["y"] - plain).max() < 2e-6
    (rnn,) = (n for n in g.nodes if n.op == "RNN")
    assert (rnn.inputs[0] == "x") == (x_of_rnn == "x")


@pytest.mark.parametrize("op", ["LSTM", "RNN"])
def test_first_step_without_its_zero_states(op):
    """Only a step of the same weights is the first one. What has others stays as it is, and an RNN starts from it."""
    from lstm_edge import passes

    for other, lengths in ((False, [3]), (True, [] if op == "LSTM" else [2])):
        g = Graph()
        x = g.input("x", (BATCH, 3, INPUTS))
        states: list[str] = []
        for t in range(3):
            s = Speller.__new__(Speller)
            s.rng, s.graph, s.states = SameWeights(9 if other and not t else 8), g, states
            frame = s.op("Slice", x, axes=[1], starts=[t], ends=[t + 1])
            s.x = s.op("Reshape", frame, shape=[1, INPUTS], from_input=[0, -1], from_axis=[0, 0])
            states = spelt_step(s, op) if t else spelt_from_zeros(s, op)
        g.output("last", states[0])
        plain = run(g, inputs_of(g))["last"]
        passes.recurrences.recognise(g)
        assert np.abs(run(g, inputs_of(g))["last"] - plain).max() < 2e-6
        found = [n for n in g.nodes if n.op == op]
        assert [g.shape(n.inputs[0])[1] for n in found] == lengths


def test_gates_over_all_frames_are_no_recurrence():
    """A highway layer has the arithmetic of a GRU's update but no step."""
    from lstm_edge import passes

    s = Speller(1, 0)
    for name in (s.x, *s.states):
        s.graph.tensors[name].shape = (BATCH, FRAMES, *s.graph.tensors[name].shape[1:])
    out = spelt_gru(s, True, False)
    s.graph.output("y", out)
    before = [n.op for n in s.graph.nodes]
    passes.recurrences.recognise(s.graph)
    assert [n.op for n in s.graph.nodes] == before
