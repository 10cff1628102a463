"""Shape inference: symbolic sizes agree with the numbers that a run has, and what does not fit is refused by name."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import cases

from lstm_edge.errors import ShapeError, UnsupportedModelError
from lstm_edge.ir.dims import BATCH, FRAMES, value
from lstm_edge.ir.graph import Graph, Node, Tensor
from lstm_edge.ir.ops import OPS
from lstm_edge.ir.shapes import infer

X3, X4 = (BATCH, FRAMES, 6), (BATCH, 6, FRAMES, 9)


def typed(item):
    """A case's input: a float32 shape, or (shape, dtype)."""
    return item if item and isinstance(item[-1], str) else (item, "float32")


def shapes(op, inputs, **attrs):
    return infer(Node(op, [], [], attrs, "here"), [Tensor("t", dtype, shape) for shape, dtype in map(typed, inputs)])


# op, input shapes, attributes, output shapes
CASES = [
    (
        "LSTM",
        [X3, (2, 20, 6), (2, 20, 5)],
        {"direction": "bidirectional"},
        [(BATCH, FRAMES, 10), (2, BATCH, 5), (2, BATCH, 5)],
    ),
    ("GRU", [(FRAMES, BATCH, 6), (1, 15, 6), (1, 15, 5)], {"time_major": 1}, [(FRAMES, BATCH, 5), (1, BATCH, 5)]),
    ("RNN", [X3, (1, 5, 6), (1, 5, 5)], {"direction": "reverse"}, [(BATCH, FRAMES, 5), (1, BATCH, 5)]),
    ("Dense", [X3, (7, 6), (7,)], {}, [(BATCH, FRAMES, 7)]),
    ("MatMul", [X3, X3], {"trans_b": 1}, [(BATCH, FRAMES, FRAMES)]),
    (
        "Conv",
        [X4, (8, 3, 3, 2)],
        {"groups": 2, "strides": [2, 1], "pads": [1, 0, 1, 0]},
        [(BATCH, 8, (FRAMES + 1) // 2, 8)],
    ),
    ("Conv", [X3, (8, 6, 3)], {"layout": "channels_last", "dilations": [2]}, [(BATCH, FRAMES - 4, 8)]),
    ("ConvTranspose", [X4, (6, 4, 3, 2)], {"strides": [2, 1], "pads": [1, 0, 0, 0]}, [(BATCH, 4, 2 * FRAMES, 10)]),
    ("Pool", [X4], {"kind": "max", "kernel": [2, 3], "strides": [2, 3]}, [(BATCH, 6, FRAMES // 2, 3)]),
    (
        "Pool",
        [X3],
        {"kind": "average", "kernel": [3], "strides": [2], "ceil_mode": 1, "layout": "channels_last"},
        [(BATCH, FRAMES // 2, 6)],
    ),
    ("Normalize", [X3, (6,), (6,)], {"axes": [-1], "epsilon": 1e-5}, [X3]),
    ("Unary", [X3], {"kind": "tanh"}, [X3]),
    ("Binary", [X3, (BATCH, 1, 1)], {"kind": "less"}, [X3]),
    ("Where", [(X3, "bool"), (6,), ()], {}, [X3]),
    ("Cast", [X3], {"to": "int32"}, [X3]),
    ("Reduce", [X3], {"kind": "mean", "axes": [1], "keepdims": 0}, [(BATCH, 6)]),
    ("Reduce", [X3], {"kind": "sum"}, [(1, 1, 1)]),
    ("ArgReduce", [X3], {"kind": "max", "axis": -1}, [(BATCH, FRAMES, 1)]),
    ("Softmax", [X3], {}, [X3]),
    ("CumSum", [X3], {"axis": 1}, [X3]),
    ("TopK", [X3], {"k": 4, "axis": 1}, [(BATCH, 4, 6), (BATCH, 4, 6)]),
    ("Reshape", [X3], {"shape": [-1, 2, 3]}, [(BATCH * FRAMES, 2, 3)]),
    (
        "Reshape",
        [X3],
        {"shape": [2, 3, -1], "from_input": [0, -1, -1], "from_axis": [0, 0, 0]},
        [(2 * BATCH, 3, FRAMES)],
    ),
    ("Expand", [(6,), X3], {"shape": [1, 1, 6], "from_input": [1, 1, -1], "from_axis": [0, 1, 0]}, [X3]),
    ("Fill", [X3], {"shape": [2, 1], "from_input": [0, -1], "from_axis": [0, 0], "value": 1.5}, [(2 * BATCH, 1)]),
    ("Transpose", [X3], {"perm": [1, 0, 2]}, [(FRAMES, BATCH, 6)]),
    ("Concat", [X3, (BATCH, 2, 6)], {"axis": 1}, [(BATCH, FRAMES + 2, 6)]),
    ("Slice", [X3], {"axes": [1], "starts": [-1], "ends": [-(2**31)], "steps": [-2]}, [(BATCH, (FRAMES + 1) // 2, 6)]),
    ("Slice", [X3], {"axes": [1, 2], "starts": [2, -3], "ends": [2**31 - 1, 99]}, [(BATCH, FRAMES - 2, 3)]),
    ("Slice", [X3], {"axes": [1], "starts": [5], "ends": [-FRAMES.value(1, 3)]}, [(BATCH, FRAMES - 8, 6)]),
    ("Pad", [X3], {"pads": [0, 2, 0, 0, 1, 0], "mode": "reflect"}, [(BATCH, FRAMES + 3, 6)]),
    ("Tile", [X3], {"repeats": [1, 2, 3]}, [(BATCH, 2 * FRAMES, 18)]),
    ("Gather", [(99, 4), ((BATCH, FRAMES), "int32")], {}, [(BATCH, FRAMES, 4)]),
    ("Gather", [X3, ((), "int32")], {"axis": 1}, [(BATCH, 6)]),
    ("GatherElements", [X3, ((BATCH, 2, 6), "int32")], {"axis": 1}, [(BATCH, 2, 6)]),
    ("ScatterElements", [X3, ((BATCH, 2, 6), "int32"), (BATCH, 2, 6)], {"axis": 1}, [X3]),
    ("ReverseSequence", [X3, ((BATCH,), "int32")], {"batch_axis": 0, "time_axis": 1}, [X3]),
    ("Resize", [X3], {"scales": [1, 2, 1]}, [(BATCH, 2 * FRAMES, 6)]),
]


@pytest.mark.parametrize("op,inputs,attrs,expected", CASES, ids=[f"{n}-{c[0]}" for n, c in enumerate(CASES)])
def test_symbolic_shapes(op, inputs, attrs, expected):
    found = [shape for _, shape in shapes(op, inputs, **attrs)]
    assert found == expected

    def numbers(shape):
        return tuple(value(s, 5, 23) for s in shape)

    at_run = shapes(op, [(numbers(shape), dtype) for shape, dtype in map(typed, inputs)], **attrs)
    assert [shape for _, shape in at_run] == [numbers(s) for s in found]


FAR = 2**20  # comparisons take an open size as this large


@pytest.mark.parametrize("op", OPS)
def test_open_sizes_agree_with_numbers(op):
    """A size n of the inputs, written as FRAMES - (FAR - n), gives outputs that at FAR frames are those of n."""
    agreed = 0

    @given(cases(op), st.data())
    def check(case, data):
        nonlocal agreed
        node = case.graph.nodes[0]
        shaped = [case.graph.tensors[i] if i else None for i in node.inputs]
        numbers = [t and Tensor(t.name, t.dtype, np.shape(case.inputs.get(t.name, t.data))) for t in shaped]
        at_run = sorted({size for array in case.inputs.values() for size in array.shape if size > 1})
        assume(at_run)
        chosen = data.draw(st.sampled_from(at_run))
        opened = [
            t and Tensor(t.name, t.dtype, tuple(FRAMES - (FAR - s) if s == chosen else s for s in t.shape))
            for t in numbers
        ]
        try:
            found = infer(node, opened)
        except (ShapeError, UnsupportedModelError):  # the node itself asks for a number
            return
        for (dtype, shape), (same_dtype, wanted) in zip(found, infer(node, numbers)):
            assert dtype == same_dtype
            assert tuple(max(value(s, 1, FAR), 0) for s in shape) == wanted
        agreed += 1

    check()
    assert agreed


@pytest.mark.parametrize(
    "op,inputs,attrs,words",
    [
        ("LSTM", [X3, (1, 20, 7), (1, 20, 5)], {}, ["w_ih", "expected (1, 20, 6)", "found (1, 20, 7)"]),
        ("LSTM", [X3, (1, 20, 6), (1, 20, 5)], {"activations": ["tanh"]}, ["activations", "expected 5 names"]),
        ("GRU", [X3, (1, 20, 6), (1, 20, 5)], {}, ["rows of w_ih", "multiple of 3", "found 20"]),
        ("Dense", [X3, (7, 5)], {}, ["input w", "(any, 6)", "(7, 5)"]),
        ("MatMul", [X3, X3], {}, ["inner size", "expected 6"]),
        ("Conv", [X4, (8, 4, 3, 2)], {"groups": 2}, ["channels of x", "found 6"]),
        ("Binary", [X3, (5,)], {"kind": "add"}, ["broadcast"]),
        ("Binary", [X3, ((), "int32")], {"kind": "add"}, ["dtype of input b", "float32", "int32"]),
        ("Unary", [X3], {"kind": "not"}, ["dtype of input x", "bool"]),
        ("Reduce", [X3], {"kind": "sum", "axes": [3]}, ["axes", "an axis of 3", "found 3"]),
        ("Reshape", [X3], {"shape": [2, 3]}, ["6*batch*frames", "found 6"]),
        ("Reshape", [X3], {"shape": [-1, 4]}, ["a multiple of 4"]),
        ("Concat", [X3, (BATCH, 2, 7)], {"axis": 1}, ["input 1", "axis 1"]),
        ("TopK", [X3], {"k": 7}, ["attribute k", "found 7"]),
        ("Pad", [(2, 3)], {"pads": [0, 3, 0, 0], "mode": "reflect"}, ["reflect", "at most 2"]),
        ("Gather", [X3, (4,)], {}, ["indices", "int32"]),
        ("Slice", [X3], {"axes": [1], "starts": [0], "ends": [1], "steps": [0]}, ["steps", "no zero"]),
        ("Tile", [(1, 1, 1, 1, 1, 1, 1, 1, 1)], {"repeats": [1] * 9}, ["rank at most 8"]),
        ("Where", [(2,), (2,), (2,)], {}, ["condition", "bool"]),
        ("Dense", [X3], {}, ["2 to 3 inputs"]),
    ],
)
def test_what_does_not_fit_is_refused(op, inputs, attrs, words):
    with pytest.raises(ShapeError) as error:
        shapes(op, inputs, **attrs)
    for word in [f"node here ({op})", *words]:
        assert word in str(error.value)


@pytest.mark.parametrize(
    "op,inputs,attrs,words",
    [
        ("Einsum", [X3], {}, ["unknown op"]),
        ("Softmax", [X3], {"beta": 1.0}, ["unknown attribute 'beta'", "axis, log"]),
        ("Softmax", [X3], {"axis": 1.5}, ["'axis'", "expected int", "1.5"]),
        ("Softmax", [X3], {"axis": [1]}, ["'axis'", "expected int"]),
        ("CumSum", [X3], {}, ["'axis' (int) is missing"]),
        ("Unary", [X3], {"kind": "cbrt"}, ["'kind'", "found 'cbrt'"]),
        ("Unary", [X3], {"kind": "hard_sigmoid", "alpha": 0.2}, ["hard_sigmoid needs", "'beta'"]),
        ("RNN", [X3, (1, 5, 6), (1, 5, 5)], {"activations": ["elu"]}, ["elu needs", "'activation_alpha'"]),
        ("Pool", [X3], {"kind": "max", "kernel": 3}, ["'kernel'", "expected ints"]),
    ],
)
def test_unknown_attributes_are_refused(op, inputs, attrs, words):
    with pytest.raises(UnsupportedModelError) as error:
        shapes(op, inputs, **attrs)
    for word in [f"node here ({op})", *words]:
        assert word in str(error.value)


def test_slice_is_numpys_at_every_bound():
    for size in (0, 1, 4, 7):
        for start in (-9, -4, -1, 0, 2, 7, 2**31 - 1):
            for end in (-9, -3, -1, 0, 3, 7, 2**31 - 1, -(2**31)):
                for step in (-3, -1, 1, 2):
                    end_ = None if step < 0 and end < -size else end
                    expected = np.zeros(size)[start:end_:step].shape
                    assert (
                        shapes("Slice", [(size,)], axes=[0], starts=[start], ends=[end], steps=[step])[0][1] == expected
                    )


def test_weights_may_be_int8_and_nothing_else_may():
    assert shapes("Dense", [X3, ((7, 6), "int8")])[0] == ("float32", (BATCH, FRAMES, 7))
    assert shapes("Gather", [((99, 4), "float16"), ((2,), "int32")])[0] == ("float32", (2, 4))
    with pytest.raises(ShapeError, match="input bias: expected dtype float32, int32 or bool, found int8"):
        shapes("Dense", [X3, (7, 6), ((7,), "int8")])
    with pytest.raises(ShapeError, match="expected 0 where data is a float16 weight"):
        shapes("Gather", [((99, 4), "float16"), ((2,), "int32")], axis=1)


def test_graph_add_keeps_optional_outputs_apart():
    g = Graph()
    x, w, r = g.input("x", X3), g.constant(np.zeros((1, 15, 6))), g.constant(np.zeros((1, 15, 5)))
    assert len(g.add("GRU", [x, w, r], name="all")) == 2
    assert g.add("GRU", [x, w, r], name="last", outputs=["", "h"])[1] == "h"
    assert len(g.nodes[-1].outputs) == 2 and g.nodes[-1].outputs[0] == ""
    assert g.shape(g.add1("GRU", [x, w, r], name="y")) == (BATCH, FRAMES, 5)
