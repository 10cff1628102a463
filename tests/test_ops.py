"""Every op of the C core, on every ISA of this CPU, against the float64 oracle on random single-op graphs.

Bounds, u = 2^-24 being float32's unit roundoff:
- what moves, compares, counts or is one IEEE operation: equal to the oracle's answer rounded to float32;
- elementwise functions: 8u |y|, that is 8 ulp, and with it 4e-7 where a sigmoid, tanh or exp - 1 may cancel (the
  kernels' promise), times 1 + |x| for x sigmoid(x) and its like;
- sums of n products (dense, convolution, recurrence, reductions): a float32 sum is the exact sum of inputs each changed
  a little, and with data of random signs by about sqrt(n) u (Higham and Mary, "A new approach to probabilistic rounding
  error analysis", 2019). So the oracle runs on inputs and weights changed at random by sqrt(n) u, and CONDITION times
  the largest change of its answer is allowed, plus 4e-7 + 8u |y| for an activation: random changes, not the worst;
- int8 weights: the core rounds each row of x to 1/127 of its largest, so the changes are by that much; and every ISA
  gives the same bits.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from shared import ISAS
from strategies import SUMS, Builder, Case, answers_of, bias, cases, recurrent

import lstm_edge
from lstm_edge import format, reference
from lstm_edge.ir.graph import Graph
from lstm_edge.ir.ops import OPS

U = 2.0**-24
CONDITION = 12
EXACT = {
    "linear",
    "relu",
    "neg",
    "abs",
    "sqrt",
    "floor",
    "ceil",
    "round",
    "reciprocal",
    "sign",
    "clip",
    "relu6",
    "is_nan",
    "not",
    "thresholded_relu",
    "max",
    "min",
}
RELATIVE = {"exp", "log", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "erf", "pow"}
TIMES_X = {"silu", "gelu", "gelu_tanh", "hard_silu", "mish", "leaky_relu"}
# x f(x) with f(-inf) = 0, or inf / inf: the formula gives NaN where the limit is a number, frameworks differ.
UNDEFINED_AT_INFINITY = {"silu", "gelu", "gelu_tanh", "hard_silu", "mish", "softsign"}


def core_outputs(case: Case, isa: str) -> dict[str, np.ndarray | None]:
    model = lstm_edge.load(format.to_bytes(case.graph), isa=isa)
    assert model.isa == isa
    return answers_of(model, case.inputs.values())


def terms(case: Case) -> float:
    """How many rounded operations lead to one element of the answer, about."""
    node, shape = case.graph.nodes[0], case.inputs["x0"].shape
    sizes = [case.graph.shape(i) if i else () for i in node.inputs]
    if node.op in ("LSTM", "GRU", "RNN"):
        return 8 + sizes[1][2] + sizes[2][2]
    if node.op in ("Conv", "ConvTranspose"):
        return 8 + math.prod(sizes[1][1:] if node.op == "Conv" else (sizes[1][0], *sizes[1][2:]))
    if node.op == "Dense":
        return 8 + shape[-1]
    if node.op == "MatMul":
        return 8 + sizes[0][-2 if node.attrs.get("trans_a") else -1]
    if node.op == "Pool":
        return 8 + math.prod(node.attrs["kernel"])
    axes = node.attrs.get("axes", range(len(shape)) if node.op == "Reduce" else [node.attrs.get("axis", -1)])
    return 8 + math.prod(shape[a] for a in axes)


def holds_int8(case: Case) -> bool:
    return any(t.dtype == "int8" for t in case.graph.tensors.values())


def changed(case: Case, rng: np.random.Generator) -> Case:
    """The case in float64 with every float changed at random, as much as the core's rounding stands for."""
    size = 1 / 127 if holds_int8(case) else math.sqrt(terms(case)) * U

    def change(a: np.ndarray) -> np.ndarray:
        if a.dtype.kind != "f":
            return a
        reach = np.abs(a).max(axis=-1, keepdims=True, initial=0) if holds_int8(case) else a
        return a + np.where(np.isfinite(a), size * reach, 0) * rng.uniform(-1, 1, a.shape)

    graph = copy.deepcopy(case.graph)
    for t in graph.tensors.values():
        if t.is_constant:
            t.data, t.scale = change(reference.constant(t)), None
    return Case(graph, {n: change(a.astype(np.float64) if a.dtype.kind == "f" else a) for n, a in case.inputs.items()})


def allowance(case: Case, expected: dict, seed: int = 0) -> dict[str, np.ndarray | float]:
    """The allowed difference of each float output from the oracle's."""
    node, x = case.graph.nodes[0], case.inputs["x0"]
    kind = node.attrs.get("kind")
    rounds = node.op in SUMS or node.op == "Unary" or kind == "pow" or node.attrs.get("reduction") == "add"
    if not rounds or kind in EXACT:
        return dict.fromkeys(expected, 0.0)
    near = 0.0 if kind in RELATIVE else 4e-7 * (1 + np.minimum(np.abs(x), 10)) if kind in TIMES_X else 4e-7
    with np.errstate(invalid="ignore", over="ignore"):
        bounds = {
            n: np.where(np.isfinite(y), near + 8 * U * np.abs(y), 0.0)
            for n, y in expected.items()
            if y is not None and y.dtype.kind == "f"
        }
    if node.op in ("Unary", "Binary"):
        return bounds
    rng = np.random.default_rng(seed)
    largest = dict.fromkeys(bounds, 0.0)
    for _ in range(3):
        other = changed(case, rng)
        moved, _ = reference.run(other.graph, other.inputs)
        for n in bounds:
            with np.errstate(invalid="ignore"):  # -inf stays -inf
                largest[n] = max(largest[n], np.nan_to_num(np.abs(moved[n] - expected[n])).max(initial=0))
    return {n: bound + CONDITION * largest[n] for n, bound in bounds.items()}


def assert_matches(case: Case, found: dict, expected: dict, isa: str) -> None:
    bounds = allowance(case, expected)
    assert found.keys() == expected.keys()
    for name, want in expected.items():
        have = found[name]
        assert (have is None) == (want is None), (isa, name)
        if want is None:
            continue
        assert have.shape == want.shape
        if want.dtype.kind != "f":
            assert have.dtype == want.dtype
            np.testing.assert_array_equal(have, want, err_msg=isa)
            continue
        assert have.dtype == np.float32
        with np.errstate(over="ignore", invalid="ignore"):
            want32 = want.astype(np.float32)
            same = (have == want32) | (np.isnan(have) & np.isnan(want)) | (np.abs(have - want) <= bounds[name])
            node = case.graph.nodes[0]
            if node.op == "Unary" and node.attrs["kind"] in UNDEFINED_AT_INFINITY:
                same |= np.isinf(next(iter(case.inputs.values())))
        if not same.all():
            at = np.unravel_index(int(np.argmin(same)), same.shape)
            bound = np.broadcast_to(bounds[name], same.shape)[at]
            pytest.fail(
                f"{isa} {node.op} {node.attrs} {name}{list(at)}: expected {want[at]!r}, found {have[at]!r}, "
                f"bound {bound:.3g}"
            )


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


def assert_same_bits(a: np.ndarray | None, b: np.ndarray | None) -> None:
    assert (a is None) == (b is None)
    if a is not None:
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()


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
