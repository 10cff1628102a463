"""Every op of the C core, on every ISA of this CPU, against the float64 oracle on random single-op graphs (bounds: op_bounds.py)."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from op_bounds import assert_matches, assert_same_bits, holds_int8
from shared import ISAS
from strategies import Builder, Case, answers_of, bias, cases, recurrent

import lstm_edge
from lstm_edge import format, reference
from lstm_edge.ir.graph import Graph
from lstm_edge.ir.ops import OPS


def core_outputs(case: Case, isa: str) -> dict[str, np.ndarray | None]:
    model = lstm_edge.load(format.to_bytes(case.graph), isa=isa)
    assert model.isa == isa
    return answers_of(model, case.inputs.values())


@pytest.mark.parametrize("op", OPS)
def test_op_is_the_oracle(op):
    @given(cases(op))
    def check(case):
        expected, _ = reference.run(case.graph, case.inputs)
        for isa in ISAS:
            assert_matches(case, core_outputs(case, isa), expected, isa)

    check()


@pytest.mark.parametrize("op", [op for op, spec in OPS.items() if spec.weights])
def test_int8_gives_the_same_bits_on_every_isa(op):
    @given(cases(op, weights=("int8",)))
    def check(case):
        assume(holds_int8(case))
        first, *others = (core_outputs(case, isa) for isa in ISAS)
        for other in others:
            for name in first:
                assert_same_bits(first[name], other[name])

    check()


def out_of_range_cases() -> list[Case]:
    """Runs whose values, not shapes, are wrong."""
    cases_ = []
    for op, arrays, attrs in (
        ("Gather", [np.zeros((3, 2), np.float32), np.int32([0, 3])], {}),
        ("Gather", [np.zeros((3, 2), np.float32), np.int32([-3])], {"axis": 1}),
        ("GatherElements", [np.zeros((3, 2), np.float32), np.int32([[2**31 - 1]])], {"axis": 0}),
        ("ScatterElements", [np.zeros(3, np.float32), np.int32([-4]), np.ones(1, np.float32)], {"axis": 0}),
        ("ReverseSequence", [np.zeros((1, 4), np.float32), np.int32([5])], {"batch_axis": 0, "time_axis": 1}),
        ("ReverseSequence", [np.zeros((1, 4), np.float32), np.int32([-1])], {"batch_axis": 0, "time_axis": 1}),
    ):
        case = Case()
        names = []
        for n, a in enumerate(arrays):
            case.inputs[f"x{n}"] = a
            names.append(case.graph.input(f"x{n}", a.shape, str(a.dtype)))
        case.graph.output("y", case.graph.add1(op, names, attrs))
        cases_.append(case)
    for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        case = Case(inputs={"x0": np.zeros((2, 3, 1), np.float32), "x1": np.int32([1, 4])})
        g = case.graph
        x, lengths = g.input("x0", (2, 3, 1)), g.input("x1", (2,), "int32")
        inputs = [
            x,
            g.constant(np.zeros((1, gates, 1))),
            g.constant(np.zeros((1, gates, 1))),
            *[""] * len(OPS[op].inputs),
        ]
        inputs[OPS[op].inputs.index("lengths?")] = lengths
        g.output("y", g.add1(op, inputs[: OPS[op].inputs.index("lengths?") + 1]))
        cases_.append(case)
    return cases_


@pytest.mark.parametrize("case", out_of_range_cases(), ids=lambda c: c.graph.nodes[0].op)
def test_values_out_of_range_are_errors_of_the_run(case):
    with pytest.raises(lstm_edge.LstmEdgeError):
        reference.run(case.graph, case.inputs)
    for isa in ISAS:
        with pytest.raises(lstm_edge.LstmEdgeError, match=case.graph.nodes[0].op):
            core_outputs(case, isa)


def unaligned(array: np.ndarray) -> np.ndarray:
    """The same array 4 bytes past a 64-byte line (1 byte for bool)."""
    room = np.zeros(array.nbytes + 192, np.uint8)
    start = -room.ctypes.data % 64 + max(array.itemsize, 1)
    view = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


@pytest.mark.parametrize(
    "op",
    ["LSTM", "GRU", "RNN", "ConvLSTM", "Dense", "MatMul", "Conv", "ConvTranspose", "Pool", "Unary", "Binary", "Reduce"],
)
def test_unaligned_arrays_give_the_same_bits(op):
    @settings(max_examples=15)
    @given(cases(op))
    def check(case):
        for isa in ISAS:
            model = lstm_edge.load(format.to_bytes(case.graph), isa=isa)
            aligned = answers_of(model, case.inputs.values())
            for name, moved in answers_of(model, map(unaligned, case.inputs.values())).items():
                assert_same_bits(aligned[name], moved)

    check()


@st.composite
def forward_layers(draw, op: str) -> tuple[Case, list[int]]:
    """A forward recurrence with a Dense after it, and where to cut its frames."""
    b = Builder(draw)
    gates, per_direction = {"LSTM": (4, 5), "GRU": (3, 3), "RNN": (1, 1)}[op]
    s, attrs, inputs = recurrent(b, gates, per_direction, plain=True)
    w_proj = b.case.graph.constant(b.values(1, s.width, s.hidden)) if s.width != s.hidden else ""
    inputs.append(bias(b, s, gates))
    if w_proj:
        inputs += [""] * 5 + [w_proj]
    g = b.case.graph
    # Weights at run time belong to no stream: a stream's inputs are its frames.
    for n in range(1, len(inputs)):
        if inputs[n] in b.case.inputs:
            array = b.case.inputs.pop(inputs[n])
            g.inputs = [p for p in g.inputs if p.tensor != inputs[n]]
            inputs[n] = g.constant(array)
    y = g.add1(op, inputs, attrs, "layer")
    g.output("y", g.add1("Dense", [y, g.constant(b.values(5, s.width))], {"activation": "tanh"}))
    cuts = sorted({0, s.frames, *draw(st.lists(st.integers(0, s.frames), max_size=4))})
    return b.case, cuts


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_chunks_give_the_bits_of_one_run(op):
    streaming = pytest.importorskip("lstm_edge.passes.streaming")

    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(forward_layers(op))
    def check(drawn):
        case, cuts = drawn
        graph = copy.deepcopy(case.graph)
        streaming.apply(graph)
        data = format.to_bytes(graph)
        x = case.inputs["x0"]
        expected, _ = reference.run(case.graph, case.inputs)
        for isa in ISAS:
            model = lstm_edge.load(data, isa=isa)
            whole = model.run(x)
            assert_matches(case, {"y": whole}, expected, isa)
            stream = model.stream(batch=len(x))
            chunks = [stream.run(np.ascontiguousarray(x[:, a:b])) for a, b in zip(cuts, cuts[1:])]
            assert_same_bits(np.concatenate(chunks, axis=1), whole)
            for row in range(len(x)):  # the batch does not matter either
                assert_same_bits(model.run(np.ascontiguousarray(x[row : row + 1])), whole[row : row + 1])

    check()


def test_powers_of_integers_saturate_and_truncate():
    edges = np.array([0, 1, -1, 2, -2, 3, -3, 30, 31, 32, 46340, 46341, -46341, 2**31 - 1, -(2**31)], np.int32)
    bases, exponents = (axis.ravel() for axis in np.meshgrid(edges, edges))
    graph = Graph()
    a, b = (graph.input(name, bases.shape, "int32") for name in "ab")
    graph.output("y", graph.add1("Binary", [a, b], {"kind": "pow"}, "pow"))
    with np.errstate(all="ignore"):
        exact = np.trunc(np.power(bases.astype(np.float64), exponents))
    wanted = np.clip(exact, -(2**31), 2**31 - 1).astype(np.int32)
    assert np.array_equal(lstm_edge.Model(format.to_bytes(graph)).run(bases, exponents), wanted)
