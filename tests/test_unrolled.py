"""Loops over time that a source has written out: which become ops, what is said of the others, which sizes they fix."""

import numpy as np
import pytest

from lstm_edge import format, load, passes, reference
from lstm_edge.errors import ShapeError, UnsupportedModelError
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph, Node
from lstm_edge.passes.steps import _sort

H, INPUTS, STEPS = 5, 3, 4


class Cells:
    """One cell after the other over the places of x (B,T,I), with the same random weights."""

    def __init__(self, frames=STEPS):
        self.rng = np.random.default_rng(0)
        self.graph = Graph()
        self.x = self.graph.input("x", (BATCH, frames, INPUTS))

    def op(self, op, *inputs, **attrs):
        return self.graph.add1(op, list(inputs), attrs)

    def weight(self, *shape):
        return self.graph.constant(self.rng.normal(size=shape).astype(np.float32), "w")

    def frame(self, t, squeezed=True):
        cut = self.op("Slice", self.x, axes=[1], starts=[t], ends=[t + 1])
        if not squeezed:
            return cut
        return self.op("Reshape", cut, shape=[1, INPUTS], from_input=[0, -1], from_axis=[0, 0])

    def stacked(self, answers):
        apart = [self.op("Reshape", y, shape=[1, 1, H], from_input=[0, -1, -1], from_axis=[0, 0, 0]) for y in answers]
        self.graph.output("y", self.op("Concat", *apart, axis=1))
        return self.graph


def notes(graph):
    return " ".join(graph.metadata.get("notes", ()))


def same_after(graph, frames=STEPS):
    """The graph after the pipeline, whose answer is what it was."""
    x = np.random.default_rng(1).normal(size=(2, frames, INPUTS))
    before = reference.run(graph, {"x": x})[0]
    passes.pipeline(graph, {})
    after = reference.run(graph, {"x": x})[0]
    assert before.keys() == after.keys()
    assert all(np.abs(before[k] - after[k]).max() < 2e-6 for k in before)
    return graph


def one_frame_ops(kind, read):
    """A recurrence of one frame for each place, as a source calls nn.LSTM or LSTMCell in a loop. `read`: the output whose
    numbers are the answer."""
    c = Cells()
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    w_ih, w_hh, bias = c.weight(1, gates * H, INPUTS), c.weight(1, gates * H, H), c.weight(1, gates * H)
    states, answers = [], []
    for t in range(STEPS):
        inputs = [c.frame(t, squeezed=False), w_ih, w_hh, bias, *([""] if kind == "GRU" else []), *states]
        while inputs and not inputs[-1]:
            inputs.pop()
        y, *states = c.graph.add(kind, inputs, {"direction": "forward"})
        states = [c.op("Reshape", s, shape=[1, 1, H], from_input=[-1, 0, -1], from_axis=[0, 1, 0]) for s in states]
        source = y if read == "y" else states[0]
        answers.append(
            c.op("Reshape", source, shape=[1, H], from_input=[0, -1], from_axis=[0 if read == "y" else 1, 0])
        )
    return c.stacked(answers)


@pytest.mark.parametrize("read", ["y", "h_n"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_ops_of_one_frame_that_hand_their_states_on_are_one(kind, read):
    graph = same_after(one_frame_ops(kind, read))
    assert [n.op for n in graph.nodes] == [kind]
    assert f"recognised 1 spelt-out {kind} cell of {STEPS} steps, as many as the source has written out" in notes(graph)


def test_ops_of_different_weights_stay_apart():
    graph = one_frame_ops("GRU", "h_n")
    second = next(n for n in graph.nodes[3:] if n.op == "GRU")
    second.inputs[1] = graph.constant(np.ones((1, 3 * H, INPUTS), np.float32))
    assert [n.op for n in same_after(graph).nodes if n.op == "GRU"] == ["GRU"] * 3  # the last two are one


def rounded_first_step(c):
    """RNN steps of two biases, whose first one from zeros has them added up in float32."""
    w, r, b, b_r = c.weight(H, INPUTS), c.weight(H, H), c.weight(H), c.weight(H)
    joined = c.graph.constant(c.graph.tensors[b].data + c.graph.tensors[b_r].data)
    h = c.op("Unary", c.op("Dense", c.frame(0), w, joined), kind="tanh")
    answers = [h]
    for t in range(1, STEPS):
        total = c.op("Binary", c.op("Dense", c.frame(t), w, b), c.op("Dense", h, r, b_r), kind="add")
        h = c.op("Unary", total, kind="tanh")
        answers.append(h)
    return c.stacked(answers)


def test_a_first_step_whose_biases_were_added_up_is_the_same_cell():
    assert [n.op for n in same_after(rounded_first_step(Cells())).nodes] == ["RNN"]


def test_an_open_size_that_a_loop_takes_place_by_place_is_fixed():
    """For fewer frames the steps would find nothing, for more they would leave the rest out."""
    graph = same_after(rounded_first_step(Cells(FRAMES)))
    assert graph.shape(graph.inputs[0].tensor) == (BATCH, STEPS, INPUTS)
    assert f"axis 1 of 'x' is fixed at {STEPS}: the source leaves it open" in notes(graph)
    model = load(format.to_bytes(graph))
    assert model.run(np.zeros((2, STEPS, INPUTS), np.float32)).shape == (2, STEPS, H)
    for frames in (STEPS - 1, STEPS + 1):
        with pytest.raises(ShapeError, match="input 'x'"):
            model.run(np.zeros((2, frames, INPUTS), np.float32))


def test_an_open_size_that_others_read_too_stays_open():
    c = Cells(FRAMES)
    c.graph.output("mean", c.op("Reduce", c.x, kind="mean", axes=[1]))
    assert same_after(rounded_first_step(c)).shape("x") == (BATCH, FRAMES, INPUTS)


def unknown_cell(steps):
    """h' = sin(W x + R h) (1 - h), which is no recurrence of docs/ops.md."""
    c = Cells(steps)
    w, r = c.weight(H, INPUTS), c.weight(H, H)
    h = c.op("Dense", c.frame(0), w)
    answers = [h]
    for t in range(1, steps):
        s = c.op("Unary", c.op("Binary", c.op("Dense", c.frame(t), w), c.op("Dense", h, r), kind="add"), kind="sin")
        h = c.op("Binary", s, c.op("Unary", h, kind="affine", alpha=-1.0, beta=1.0), kind="mul")
        answers.append(h)
    return c.stacked(answers)


def test_what_stays_unrolled_is_said_with_its_ops():
    """All ops but those that cut the frames out, and the Concat behind the loop."""
    graph = same_after(unknown_cell(6), 6)
    assert "left unrolled: a loop over the 6 places along axis 1 of 'x' that spells no recurrence" in notes(graph)
    said = next(n for n in graph.metadata["notes"] if "left unrolled" in n)
    assert int(said.split()[0]) == len([n for n in graph.nodes if n.op not in ("Slice", "Concat")])


def test_a_filter_is_no_loop():
    """Taps of three frames, added up one after the other."""
    c = Cells(3)
    taps = [c.op("Binary", c.frame(t), c.weight(1, INPUTS), kind="mul") for t in range(3)]
    total = c.op("Binary", c.op("Binary", taps[0], taps[1], kind="add"), taps[2], kind="add")
    c.graph.output("y", total)
    assert "unrolled" not in notes(same_after(c.graph, 3))


def test_a_circle_is_refused_by_name():
    graph = Graph()
    graph.input("x", (BATCH, H))
    graph.nodes = [
        Node("Binary", ["x", "b"], ["a"], {"kind": "add"}, "first"),
        Node("Binary", ["a", "x"], ["b"], {"kind": "add"}, "second"),
    ]
    with pytest.raises(UnsupportedModelError, match=r"node first \(Binary\): reads what is computed from it"):
        _sort(graph)
