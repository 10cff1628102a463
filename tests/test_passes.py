"""Folding, fusing and state pairing: the graph becomes smaller, its answers stay, and nothing is paired by
guesswork."""

import copy

import numpy as np
import pytest

from lstm_edge import reference
from lstm_edge.errors import UnsupportedModelError
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.ir.notes import ASSUMED
from lstm_edge.passes import fold, fuse, pieces, pipeline, states

RNG = np.random.default_rng(3)


def weights(*shape):
    return RNG.normal(0, 0.5, shape).astype(np.float32)


def answers(graph, **inputs):
    return reference.run(graph, inputs)[0]


def ops(graph):
    return [n.op for n in graph.nodes]


def same_answers(graph, passes, tolerance=1e-6, **inputs):
    """Applies `passes` and checks every output against the untouched graph."""
    want = answers(copy.deepcopy(graph), **inputs)
    for apply in passes:
        apply(graph)
    got = answers(graph, **inputs)
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, atol=tolerance, err_msg=name)


def unary(g, x, kind, **attrs):
    return g.add1("Unary", [x], {"kind": kind, **attrs}, kind)


def binary(g, a, b, kind):
    return g.add1("Binary", [a, b], {"kind": kind}, kind)


def reshape(g, x, *shape):
    return g.add1(
        "Reshape",
        [x],
        {"shape": list(shape), "from_input": [-1] * len(shape), "from_axis": [0] * len(shape)},
        "reshape",
    )


# ---- fold ------------------------------------------------------------------------------------------------------------


def test_fold_computes_constants_and_drops_what_is_unused():
    g = Graph()
    x = g.input("x", (BATCH, 4))
    c = binary(g, g.constant(weights(4)), g.constant(2.0), "mul")
    c = unary(g, c, "tanh")
    unary(g, x, "exp")  # read by nobody
    g.output("y", binary(g, x, c, "add"))
    same_answers(g, [fold.fold], x=RNG.normal(size=(2, 4)))
    assert ops(g) == ["Binary"]
    assert len(g.tensors) == 3


def test_fold_removes_movements_that_move_nothing():
    g = Graph()
    x = g.input("x", (BATCH, FRAMES, 4))
    y = reshape(g, x, -1, 4)
    y = g.add1("Reshape", [y, x], {"shape": [1, 1, 4], "from_input": [1, 1, -1], "from_axis": [0, 1, 0]}, "back")
    y = g.add1("Slice", [y], {"axes": [2], "starts": [0], "ends": [4]}, "all")
    y = g.add1("Pad", [y], {"pads": [0] * 6}, "nothing")
    y = g.add1("Transpose", [y], {"perm": [2, 0, 1]}, "there")
    y = g.add1("Transpose", [y], {"perm": [1, 2, 0]}, "and_back")
    y = g.add1("Cast", [y], {"to": "float32"}, "cast")
    y = g.add1("Concat", [y], {"axis": 0}, "one")
    g.output("y", unary(g, y, "neg"))
    same_answers(g, [fold.fold], x=RNG.normal(size=(2, 3, 4)))
    assert ops(g) == ["Unary"]


def test_fold_keeps_a_slice_that_cuts_and_a_transpose_that_turns():
    g = Graph()
    x = g.input("x", (FRAMES, 4, 4))
    y = g.add1("Transpose", [x], {"perm": [0, 2, 1]}, "turn")
    g.output("y", g.add1("Slice", [y], {"axes": [0], "starts": [1], "ends": [2**31 - 1]}, "cut"))
    same_answers(g, [fold.fold], x=RNG.normal(size=(3, 4, 4)))
    assert ops(g) == ["Transpose", "Slice"]


def test_fold_leaves_large_constants_small():
    g = Graph()
    x = g.input("x", (BATCH, 1024, 1024))
    ones = g.add1(
        "Fill", [], {"shape": [1024, 1024], "from_input": [-1, -1], "from_axis": [0, 0], "value": 1.0}, "ones"
    )
    g.output("y", binary(g, x, ones, "mul"))
    fold.fold(g)
    assert ops(g) == ["Fill", "Binary"]


def test_fold_settles_sizes_that_are_numbers():
    g = Graph()
    x = g.input("x", (BATCH, 3, 4))
    s = g.input("s", (3,))
    y = g.add1("Expand", [s, x], {"shape": [1, 1, 1], "from_input": [-1, -1, 1], "from_axis": [0, 0, 1]}, "e")
    g.output("y", y), g.output("x", unary(g, x, "neg"))
    fold.fold(g)
    (expand,) = [n for n in g.nodes if n.op == "Expand"]
    assert expand.inputs == [g.inputs[1].tensor] and expand.attrs["shape"] == [1, 1, 3]


# ---- fuse ------------------------------------------------------------------------------------------------------------


def batch_norm(g, x, channels, rank, axis):
    shape = [1] * rank
    shape[axis] = channels
    y = binary(g, x, g.constant(weights(*shape)), "sub")
    y = binary(g, y, g.constant(1 + weights(*shape) ** 2), "mul")
    return binary(g, y, g.constant(weights(*shape)), "add")


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_pad_batch_norm_and_activation_go_into_the_convolution(layout):
    first = layout == "channels_first"
    g = Graph()
    x = g.input("x", (BATCH, 3, 9) if first else (BATCH, 9, 3))
    y = g.add1("Pad", [x], {"pads": [0, 0, 2, 0, 0, 1] if first else [0, 2, 0, 0, 1, 0]}, "pad")
    y = g.add1(
        "Conv", [y, g.constant(weights(5, 3, 3)), g.constant(weights(5))], {"layout": layout, "pads": [1, 0]}, "conv"
    )
    y = batch_norm(g, y, 5, 3, 1 if first else 2)
    g.output("y", unary(g, y, "leaky_relu", alpha=0.1))
    same_answers(g, [fuse.fuse], x=RNG.normal(size=(2, 3, 9) if first else (2, 9, 3)))
    assert ops(g) == ["Conv"]
    assert list(g.nodes[0].attrs["pads"]) == [3, 1] and g.nodes[0].attrs["activation"] == "leaky_relu"
    assert g.metadata["notes"]


@pytest.mark.parametrize("groups", [1, 2])
def test_a_pointwise_transposed_convolution_is_a_convolution(groups):
    g = Graph()
    x = g.input("x", (BATCH, 6, 9))
    inputs = [x, g.constant(weights(6, 4, 1)), g.constant(weights(4 * groups))]
    y = g.add1("ConvTranspose", inputs, {"groups": groups, "activation": "relu"}, "up")
    g.output("y", binary(g, y, g.constant(weights(4 * groups, 1)), "mul"))
    same_answers(g, [fuse.fuse], x=RNG.normal(size=(2, 6, 9)))
    assert ops(g) == ["Conv", "Binary"]


def test_slices_are_taken_from_the_parts_of_what_was_put_together():
    g = Graph()
    x, new = g.input("x", (BATCH, 8, 3)), g.input("new", (BATCH, 2, 3))

    def cut(tensor, start, end):
        return g.add1("Slice", [tensor], {"axes": [1], "starts": [start], "ends": [end]}, "cut")

    joined = g.add1("Concat", [new, cut(x, 2, 8)], {"axis": 1}, "joined")
    g.output("old", cut(joined, 3, -1))
    g.output("new_again", binary(g, cut(joined, 0, 2), g.constant(2.0), "mul"))
    same_answers(g, [pieces.take_from_sources, fold.fold], x=RNG.normal(size=(2, 8, 3)), new=RNG.normal(size=(2, 2, 3)))
    assert ops(g) == ["Slice", "Binary"]  # x[3:7] of 8, and all of `new`
    assert [list(g.nodes[0].attrs[k]) for k in ("starts", "ends")] == [[3], [7]]


def test_a_slice_across_parts_stays():
    g = Graph()
    x, new = g.input("x", (BATCH, 8, 3)), g.input("new", (BATCH, 2, 3))
    joined = g.add1("Concat", [new, x], {"axis": 1}, "joined")
    g.output("y", g.add1("Slice", [joined], {"axes": [1], "starts": [1], "ends": [4]}, "cut"))
    same_answers(g, [pieces.take_from_sources], x=RNG.normal(size=(2, 8, 3)), new=RNG.normal(size=(2, 2, 3)))
    assert ops(g) == ["Concat", "Slice"]


def test_matmul_add_activation_become_dense():
    g = Graph()
    x = g.input("x", (BATCH, FRAMES, 6))
    y = g.add1("MatMul", [x, g.constant(weights(6, 4))], {}, "matmul")
    y = binary(g, g.constant(weights(4)), y, "add")
    g.output("y", unary(g, y, "sigmoid"))
    same_answers(g, [fuse.fuse], x=RNG.normal(size=(2, 3, 6)))
    assert ops(g) == ["Dense"] and g.nodes[0].attrs["activation"] == "sigmoid"


def test_what_another_reader_needs_is_not_fused():
    g = Graph()
    x = g.input("x", (BATCH, 6))
    y = g.add1("Dense", [x, g.constant(weights(4, 6))], {}, "dense")
    g.output("logits", y), g.output("p", unary(g, y, "sigmoid"))
    same_answers(g, [fuse.fuse], x=RNG.normal(size=(2, 6)))
    assert ops(g) == ["Dense", "Unary"]


def test_an_addition_that_varies_elsewhere_is_not_a_bias():
    g = Graph()
    x = g.input("x", (1, 5, 6))
    y = g.add1("Dense", [x, g.constant(weights(6, 6))], {}, "dense")
    g.output("y", binary(g, y, g.constant(weights(5, 1)), "add"))
    same_answers(g, [fuse.fuse], x=RNG.normal(size=(1, 5, 6)))
    assert ops(g) == ["Dense", "Binary"]


@pytest.mark.parametrize("spelling", ["square", "pow", "twice", "reciprocal"])
def test_spelt_out_layer_norm(spelling):
    g = Graph()
    x = g.input("x", (BATCH, FRAMES, 8))

    def mean(t):
        return g.add1("Reduce", [t], {"kind": "mean", "axes": [2]}, "mean")

    centred = binary(g, x, mean(x), "sub")
    other = binary(g, x, mean(x), "sub") if spelling == "twice" else centred
    square = binary(g, other, g.constant(2.0), "pow") if spelling == "pow" else binary(g, other, other, "mul")
    root = unary(g, binary(g, mean(square), g.constant(1e-3), "add"), "sqrt")
    y = (
        binary(g, unary(g, root, "reciprocal"), centred, "mul")
        if spelling == "reciprocal"
        else binary(g, centred, root, "div")
    )
    y = binary(g, y, g.constant(weights(8)), "mul")
    g.output("y", binary(g, y, g.constant(weights(8)), "add"))
    same_answers(g, [fuse.fuse], x=RNG.normal(size=(2, 3, 8)))
    assert ops(g) == ["Normalize"] and g.nodes[0].attrs["epsilon"] == pytest.approx(1e-3)


def test_a_different_centre_is_no_layer_norm():
    g = Graph()
    x, z = g.input("x", (BATCH, 8)), g.input("z", (BATCH, 8))
    mean = {t: g.add1("Reduce", [t], {"kind": "mean", "axes": [1]}, "mean") for t in (x, z)}
    centred = binary(g, x, mean[z], "sub")
    variance = g.add1("Reduce", [binary(g, centred, centred, "mul")], {"kind": "mean", "axes": [1]}, "variance")
    root = unary(g, binary(g, variance, g.constant(1e-3), "add"), "sqrt")
    g.output("y", binary(g, centred, root, "div"))
    same_answers(g, [fuse.fuse], x=RNG.normal(size=(2, 8)), z=RNG.normal(size=(2, 8)))
    assert "Normalize" not in ops(g)


def test_silu_and_plain_powers():
    g = Graph()
    x = g.input("x", (BATCH, 8))
    y = binary(g, unary(g, x, "sigmoid"), x, "mul")
    g.output("y", binary(g, binary(g, y, g.constant(2.0), "pow"), g.constant(0.5), "pow"))
    same_answers(g, [fuse.fuse], x=RNG.normal(size=(2, 8)))
    assert [n.attrs["kind"] for n in g.nodes] == ["silu", "mul", "sqrt"]


# ---- states ----------------------------------------------------------------------------------------------------------


def carrying(inputs, outputs):
    """A graph whose outputs have the given shapes; inputs and outputs are lists of (name, shape)."""
    g = Graph()
    tensors = [g.input(name, shape) for name, shape in inputs]
    total = g.constant(0.0)
    for t in tensors:
        total = binary(g, total, g.add1("Reduce", [t], {"kind": "sum", "keepdims": 0}, "sum"), "add")
    for name, shape in outputs:
        same = next((t for t, (_, s) in zip(tensors, inputs) if s == shape), None)
        base = same or g.constant(np.zeros(shape, np.float32))
        g.output(name, binary(g, base, total, "add"))
    return g


FRAME, H = (1, 16), (2, 1, 8)


@pytest.mark.parametrize(
    "source, target",
    [
        ("state", "stateN"),
        ("h0", "hn"),
        ("c0", "cn"),
        ("h", "hn"),
        ("h_0", "h_n"),
        ("conv_cache", "conv_cache_out"),
        ("h", "h_out"),
        ("in_state", "out_state"),
        ("hidden_in", "hidden_out"),
        ("prev_h", "next_h"),
        ("past_key", "present_key"),
        ("state", "new_state"),
        ("initial_hidden", "final_hidden"),
        ("state_1", "state_1_out"),
        ("state.1", "state"),
        ("cacheIn", "cacheOut"),
        ("h_in:0", "h_out:0"),
        ("state_3", "state_7"),
    ],
)
def test_pairs_found_by_name(source, target):
    g = carrying(
        [("audio", FRAME), (source, H), ("other", (3, 3))], [("result", FRAME), (target, H), ("another", (5, 5))]
    )
    assert states.pair(g) == {source: target}
    assert [p.name for p in g.inputs] == ["audio", "other"] and [p.name for p in g.outputs] == ["result", "another"]
    (state,) = g.states
    assert (state.name, state.shape, state.initial) == (source, H, None)


def test_numbered_layers_pair_with_their_own_number():
    names = [f"h_{n}" for n in range(3)]
    g = carrying([("audio", FRAME), *((n, H) for n in names)], [("y", FRAME), *((f"{n}_out", H) for n in names)])
    assert states.pair(g) == {n: f"{n}_out" for n in names}


def test_a_signal_that_keeps_its_shape_is_no_state():
    for source, target in (("input", "output"), ("x_in", "x_out"), ("audio", "audio_out"), ("input_2", "activation_2")):
        g = carrying([(source, FRAME), ("h", H)], [(target, FRAME), ("hn", H)])
        assert states.pair(g) == {"h": "hn"}, source


def test_ambiguous_or_different_pairs_are_left_alone():
    g = carrying([("audio", FRAME), ("state_a1", H), ("state_a2", H)], [("y", FRAME), ("state_a3", H), ("state_a4", H)])
    assert states.pair(g) == {}
    g = carrying([("audio", FRAME), ("h", H)], [("y", FRAME), ("hn", (2, 1, 9))])
    assert states.pair(g) == {}


def test_a_single_pair_by_shape_alone_is_taken_and_noted():
    g = carrying(
        [("input_2", (1, 1, 257)), ("input_3", (1, 2, 128, 2))],
        [("activation_2", (1, 1, 257)), ("tf_op_layer_stack_2", (1, 2, 128, 2))],
    )
    assert states.pair(g) == {"input_3": "tf_op_layer_stack_2"}
    assert any("assumed" in note for note in g.metadata["notes"])


def test_the_only_input_stays():
    g = carrying([("h_in", H)], [("h_out", H)])
    assert states.pair(g) == {} and [p.name for p in g.inputs] == ["h_in"]
    assert "no input would be left" in g.metadata["notes"][0]


def test_frames_are_never_a_state():
    g = Graph()
    x = g.input("state", (FRAMES, 4))
    a = g.input("a", (1, 4))
    g.output("state_out", unary(g, x, "neg")), g.output("y", unary(g, a, "neg"))
    assert states.pair(g) == {}


@pytest.mark.parametrize(
    "pairs, word",
    [
        ({"nothing": "hn"}, "no input"),
        ({"h": "nothing"}, "no output"),
        ({"h": "y"}, "same dtype and shape"),
        ({"audio": "y", "h": "hn"}, "one must stay"),
    ],
)
def test_wrong_explicit_pairs_are_refused(pairs, word):
    g = carrying([("audio", FRAME), ("h", H)], [("y", FRAME), ("hn", H)])
    with pytest.raises(UnsupportedModelError, match=word):
        states.pair(g, pairs)


def test_explicit_pairs_alone_are_paired():
    g = carrying([("audio", FRAME), ("h", H), ("q", (4, 4))], [("y", FRAME), ("hn", H), ("r", (4, 4))])
    assert states.pair(g, {"q": "r"}) == {"q": "r"}
    assert [p.name for p in g.inputs] == ["audio", "h"]


def test_pipeline_sets_what_the_file_says():
    g = carrying([("audio", FRAME), ("h", H)], [("y", FRAME), ("hn", H)])
    pipeline(g)
    assert g.metadata["pairs"] == {"h": "hn"} and g.metadata["step"] is True
    assert g.metadata["streaming"] == {"supported": True, "why": "", "multiple": 1}


# ---- states known from what recurrences do with them ------------------------------------------------------------------


def stepping_lstms(layers=1, order="hc"):
    """One frame of LSTMs over x: inputs p (h) and q (c), side by side for the layers; outputs y, then u (h) and v (c)."""
    g = Graph()
    x = g.input("x", (1, 1, 3))
    given = {"h": g.input("p", (layers, 1, 3)), "c": g.input("q", (layers, 1, 3))}
    new: dict[str, list[str]] = {"h": [], "c": []}
    for layer in range(layers):
        cut = {"axes": [0], "starts": [layer], "ends": [layer + 1]}
        h0, c0 = (g.add1("Slice", [given[s]], cut) if layers > 1 else given[s] for s in "hc")
        w_ih, w_hh = (g.constant(np.ones((1, 12, 3), np.float32)) for _ in range(2))
        x, h, c = g.add("LSTM", [x, w_ih, w_hh, "", h0, c0])
        new["h"].append(h)
        new["c"].append(c)
    g.output("y", x)
    for state in order:
        joined = g.add1("Concat", new[state], {"axis": 0}) if layers > 1 else new[state][0]
        g.output({"h": "u", "c": "v"}[state], joined)
    return g


@pytest.mark.parametrize("order", ["hc", "ch"])
@pytest.mark.parametrize("layers", [1, 2])
def test_states_are_paired_by_what_recurrences_do_with_them(layers, order):
    g = stepping_lstms(layers, order)
    assert states.pair(g) == {"p": "u", "q": "v"}
    assert not any(n.startswith(ASSUMED) for n in g.metadata["notes"])


def test_a_hidden_state_is_no_cell_though_the_shapes_agree():
    """Of the outputs beside the first, the one left to pair by its shape is what the cell ends with."""
    g = stepping_lstms()
    g.outputs = [p for p in g.outputs if p.name in ("y", "v")]
    lstm = g.nodes[0]
    lstm.inputs = lstm.inputs[:5]
    g.inputs = [p for p in g.inputs if p.name != "q"]
    assert states.pair(g) == {}


def test_the_first_output_is_no_state():
    g = stepping_lstms()
    g.outputs = [p for p in g.outputs if p.name != "y"]
    assert states.pair(g) == {"q": "v"}
