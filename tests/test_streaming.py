"""Promise 1 on the oracle: the streaming pass gives, cut into any chunks, what the untouched graph gives in one run."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import ISAS

import lstm_edge
from lstm_edge import FormatError, ShapeError, format, reference
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph, State, Tensor
from lstm_edge.passes import fold, fuse, overlap, pipeline, streaming

RNG = np.random.default_rng(7)
TOLERANCE = 1e-12  # float64 sums in another order


def weights(*shape):
    return RNG.normal(0, 0.4, shape).astype(np.float32)


def lstm(g, x, width, hidden, name="lstm", **attrs):
    inputs = [
        x,
        g.constant(weights(1, 4 * hidden, width)),
        g.constant(weights(1, 4 * hidden, hidden)),
        g.constant(weights(1, 4 * hidden)),
    ]
    return g.add("LSTM", inputs, attrs, name)


def conv(g, x, channels, out, kernel, name="conv", **attrs):
    return g.add1(
        "Conv", [x, g.constant(weights(out, channels, *np.atleast_1d(kernel))), g.constant(weights(out))], attrs, name
    )


def joined(parts, axis):
    parts = [p for p in parts if p is not None]
    return np.concatenate(parts, axis)


def run_in_chunks(graph, x, cuts, axis):
    """Outputs of the rewritten graph, chunk by chunk (None: absent), on one frames axis."""
    (port,) = graph.inputs
    states, outs = None, []
    for part in np.split(x, np.cumsum(cuts)[:-1], axis):
        out, states = reference.run(graph, {port.name: part}, states)
        outs.append(out[graph.outputs[0].name])
    return outs


def check(graph, x, cuts, axis=1, out_axis=1, answers="frames"):
    """`answers`: frames (joined along out_axis) or last (the last chunk's)."""
    whole = copy.deepcopy(graph)
    want = reference.run(whole, {graph.inputs[0].name: x})[0][graph.outputs[0].name]
    streaming.apply(graph)
    assert graph.metadata["streaming"]["supported"], graph.metadata["streaming"]["why"]
    once = reference.run(graph, {graph.inputs[0].name: x})[0][graph.outputs[0].name]
    np.testing.assert_allclose(once, want, atol=TOLERANCE)
    outs = run_in_chunks(graph, x, cuts, axis)
    got = joined(outs, out_axis) if answers == "frames" else outs[-1]
    np.testing.assert_allclose(got, want, atol=TOLERANCE)
    for isa in ISAS:
        check_core(graph, isa, x, cuts, axis, out_axis, answers, want)


def check_core(graph, isa, x, cuts, axis, out_axis, answers, want):
    """The C core: near the oracle, and the same bits however the sequence is cut."""
    model = lstm_edge.load(format.to_bytes(graph), isa)
    x = x.astype(np.float32)
    whole = model.run(x)
    np.testing.assert_allclose(whole, want, atol=1e-5, err_msg=isa)
    declared = graph.shape(graph.inputs[0].tensor)
    (in_blocks,) = model._run_arrays(
        [x], None, model.metadata["streaming"].get("multiple", 1)
    )  # as a run that takes long
    assert in_blocks.tobytes() == whole.tobytes(), f"{isa}: {np.abs(in_blocks - whole).max()}"
    stream = model.stream(x.shape[declared.index(BATCH)] if BATCH in declared else None)
    outs = [stream.run(np.ascontiguousarray(part)) for part in np.split(x, np.cumsum(cuts)[:-1], axis)]
    got = joined(outs, out_axis) if answers == "frames" else outs[-1]
    assert got.tobytes() == whole.tobytes(), f"{isa}: {np.abs(got - whole).max()}"


def refused(graph, *words):
    before = copy.deepcopy(graph)
    streaming.apply(graph)
    verdict = graph.metadata["streaming"]
    assert not verdict["supported"]
    for word in words:
        assert word in verdict["why"], verdict["why"]
    assert graph.nodes == before.nodes and not graph.states, "a graph that cannot stream is left as it was"


def sequence(width=3, shape=None):
    g = Graph()
    return g, g.input("x", shape or (BATCH, FRAMES, width))


CUTS = [1, 2, 3, 7, 4]
X = RNG.normal(size=(2, sum(CUTS), 3))


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("time_major", [0, 1])
def test_recurrences_carry_their_state(op, time_major):
    g, x = sequence(shape=(FRAMES, BATCH, 3) if time_major else None)
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    y = g.add1(
        op,
        [x, g.constant(weights(1, gates * 5, 3)), g.constant(weights(1, gates * 5, 5))],
        {"time_major": time_major},
        "r",
    )
    g.output("y", y)
    check(g, X.swapaxes(0, 1) if time_major else X, CUTS, axis=1 - time_major, out_axis=1 - time_major)
    assert {s.name for s in g.states} == ({"r.h", "r.c"} if op == "LSTM" else {"r.h"})


def test_stack_with_last_frame_answer():
    g, x = sequence()
    y = lstm(g, x, 3, 6, "one")[0]
    y, h, _ = lstm(g, y, 6, 4, "two")
    last = g.add1("Slice", [y], {"axes": [1], "starts": [-1], "ends": [2**31 - 1]}, "last")
    last = g.add1("Reshape", [last, x], {"shape": [1, 4], "from_input": [1, -1], "from_axis": [0, 0]}, "flat")
    g.output("y", g.add1("Dense", [last, g.constant(weights(2, 4))], {"activation": "sigmoid"}, "dense"))
    check(g, X, CUTS, answers="last")
    assert g.metadata["step"] is False


def test_projection_and_constant_initial_state():
    g, x = sequence(shape=(1, FRAMES, 3))
    h0, w_proj = g.constant(weights(1, 1, 2)), g.constant(weights(1, 2, 5))
    inputs = [x, g.constant(weights(1, 20, 3)), g.constant(weights(1, 20, 2)), "", h0, "", "", "", "", w_proj]
    c = g.add("LSTM", inputs, {}, "p")[2]
    g.output("c", c)
    check(g, X[:1], CUTS, answers="last")
    assert [s.shape for s in g.states] == [(1, 1, 2), (1, 1, 5)]


@pytest.mark.parametrize("output", ["previous", "zero"])
def test_mask_across_a_cut(output):
    g, x = sequence()
    mask = g.add1(
        "Binary",
        [g.add1("Reduce", [x], {"kind": "sum", "axes": [2], "keepdims": 0}, "s"), g.constant(0.0)],
        {"kind": "greater"},
        "mask",
    )
    w = [g.constant(weights(1, 12, 3)), g.constant(weights(1, 12, 4))]
    g.output("y", g.add1("GRU", [x, *w, "", "", "", "", mask], {"masked_output": output}, "gru"))
    x = X.copy()
    x[:, 2:8] = -1  # masked over two cuts
    x[1, :4] = -1
    check(g, x, CUTS)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_convolution_over_time(data):
    kernel, stride, dilation = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    begin = data.draw(st.integers(0, (kernel - 1) * dilation))
    g, x = sequence(shape=(BATCH, 3, FRAMES))
    y = conv(g, x, 3, 4, kernel, strides=[stride], dilations=[dilation], pads=[begin, 0])
    g.output("y", g.add1("Unary", [y], {"kind": "tanh"}, "act"))
    cuts = [stride * n for n in data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))]
    span = (kernel - 1) * dilation + 1
    cuts[-1] += stride * span  # at least one full window
    check(g, RNG.normal(size=(2, 3, sum(cuts))), cuts, axis=2, out_axis=2)
    assert stride % g.metadata["streaming"]["multiple"] == 0 or g.metadata["streaming"]["multiple"] == stride


def test_stride_that_does_not_fit_an_odd_front_is_refused_or_exact():
    g, x = sequence(shape=(BATCH, 3, FRAMES))
    y = conv(g, x, 3, 3, 3, "valid")  # frames - 2
    y = conv(g, y, 3, 3, 4, "strided", strides=[2])
    g.output("y", lstm(g, g.add1("Transpose", [y], {"perm": [0, 2, 1]}, "t"), 3, 4)[0])
    check(g, RNG.normal(size=(1, 3, 24)), [2, 2, 4, 6, 10], axis=2)
    assert g.metadata["streaming"]["multiple"] == 2


def test_residual_tcn_with_cropped_padding_and_norm():
    g, x = sequence(shape=(BATCH, FRAMES, 4))
    t = g.add1("Transpose", [x], {"perm": [0, 2, 1]}, "t")
    for n, dilation in enumerate((1, 2, 4)):
        pad = 2 * dilation
        y = conv(g, t, 4, 4, 3, f"conv{n}", dilations=[dilation], pads=[pad, pad])
        y = g.add1("Slice", [y], {"axes": [2], "starts": [0], "ends": [-pad]}, f"chomp{n}")
        y = g.add1("Unary", [y], {"kind": "relu"}, f"relu{n}")
        t = g.add1("Binary", [t, y], {"kind": "add"}, f"add{n}")
    y = g.add1("Transpose", [t], {"perm": [0, 2, 1]}, "back")
    y = g.add1("Normalize", [y], {"axes": [-1], "epsilon": 1e-5}, "norm")
    g.output("y", y)
    fuse.fuse(g)
    assert not [n for n in g.nodes if n.op == "Slice"]
    check(g, RNG.normal(size=(2, 17, 4)), CUTS)


def test_valid_convolution_with_cropped_skip_and_zero_prefix():
    g, x = sequence()
    padded = g.add1("Pad", [x], {"pads": [0, 4, 0, 0, 0, 1]}, "pad")
    y = conv(g, padded, 4, 4, 5, layout="channels_last")
    y = conv(g, y, 4, 4, 3, "second", layout="channels_last")
    skip = g.add1("Slice", [padded], {"axes": [1], "starts": [6], "ends": [2**31 - 1]}, "skip")
    delayed = g.add1("Slice", [padded], {"axes": [1], "starts": [2], "ends": [-4]}, "delayed")
    g.output("y", g.add1("Binary", [g.add1("Binary", [y, skip], {"kind": "add"}, "a"), delayed], {"kind": "mul"}, "b"))
    check(g, X, CUTS)


def test_constant_frames_in_front():
    g, x = sequence(shape=(1, FRAMES, 3))
    start = g.constant(weights(1, 2, 3))
    g.output("y", lstm(g, g.add1("Concat", [start, x], {"axis": 1}, "cat"), 3, 4)[0])
    check(g, X[:1], CUTS)


@pytest.mark.parametrize("fills", [False, True], ids=["at once", "behind a window that fills"])
def test_the_first_frame_repeated_in_front(fills):
    """Other axes padded too; behind a window that fills, the first runs have no frame that could be repeated."""
    g, x = sequence()
    if fills:
        x = conv(g, x, 3, 3, 4, "filling", layout="channels_last")
    padded = g.add1("Pad", [x], {"pads": [0, 2, 0, 0, 0, 1], "mode": "edge"}, "edge")
    g.output("y", conv(g, padded, 4, 5, 3, layout="channels_last"))
    check(g, X, CUTS)


def test_frames_merged_with_batch_and_back():
    g, x = sequence(shape=(BATCH, FRAMES, 3, 8))
    flat = g.add1("Reshape", [x], {"shape": [-1, 3, 8], "from_input": [-1, -1, -1], "from_axis": [0, 0, 0]}, "merge")
    y = conv(g, flat, 3, 5, 3, pads=[1, 1])
    y = g.add1("Reduce", [y], {"kind": "mean", "axes": [2], "keepdims": 0}, "pool")
    y = g.add1("Reshape", [y, x], {"shape": [1, 1, 5], "from_input": [1, 1, -1], "from_axis": [0, 1, 0]}, "split")
    g.output("y", lstm(g, y, 5, 4)[0])
    check(g, RNG.normal(size=(2, 17, 3, 8)), CUTS)


def test_inner_recurrence_over_frequency():
    g, x = sequence(shape=(1, FRAMES, 6, 3))
    flat = g.add1("Reshape", [x], {"shape": [-1, 6, 3], "from_input": [-1] * 3, "from_axis": [0] * 3}, "rows")
    intra = g.add(
        "RNN",
        [flat, g.constant(weights(2, 4, 3)), g.constant(weights(2, 4, 4))],
        {"direction": "bidirectional"},
        "intra",
    )[0]
    y = g.add1(
        "Reshape",
        [intra, x],
        {"shape": [1, 1, 6, 8], "from_input": [-1, 1, -1, -1], "from_axis": [0, 1, 0, 0]},
        "unrows",
    )
    y = g.add1("Transpose", [y], {"perm": [0, 2, 1, 3]}, "t")
    y = g.add1("Reshape", [y], {"shape": [6, -1, 8], "from_input": [-1] * 3, "from_axis": [0] * 3}, "columns")
    g.output("y", lstm(g, y, 8, 4)[0])
    check(g, RNG.normal(size=(1, 17, 6, 3)), CUTS)


@pytest.mark.parametrize("kind", ["sum", "mean", "max", "min"])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_pooling_over_time_answers_so_far(kind, keepdims):
    g, x = sequence()
    y = lstm(g, x, 3, 5)[0]
    y = g.add1("Reduce", [y], {"kind": kind, "axes": [1], "keepdims": keepdims}, "pool")
    g.output("y", g.add1("Dense", [y, g.constant(weights(2, 5))], {}, "dense"))
    want = [reference.run(copy.deepcopy(g), {"x": X[:, :n]})[0]["y"] for n in np.cumsum(CUTS)]
    check(g, X, CUTS, answers="last")
    got = run_in_chunks(g, X, CUTS, 1)
    for a, b in zip(got, want):
        np.testing.assert_allclose(a, b, atol=TOLERANCE)


def test_overlap_of_a_sequence_model():
    wide = RNG.normal(size=(17, 10))
    for row in range(1, 17):
        wide[row, :4] = wide[row - 1, -4:]
    wide[0, :4] = 0
    g, x = sequence(shape=(FRAMES, 10))
    y = conv(
        g,
        g.add1("Reshape", [x], {"shape": [-1, 1, 10], "from_input": [-1] * 3, "from_axis": [0] * 3}, "r"),
        1,
        6,
        4,
        strides=[2],
    )
    y = g.add1("Reduce", [y], {"kind": "sum", "axes": [2], "keepdims": 0}, "s")
    y = g.add1("Reshape", [y], {"shape": [-1, 1, 6], "from_input": [-1] * 3, "from_axis": [0] * 3}, "r2")
    g.output("y", lstm(g, y, 6, 4, time_major=1)[0])
    want = reference.run(g, {"x": wide})[0]["y"]
    overlap.apply(g, {"x": 4})
    check(g, wide[:, 4:], CUTS, axis=0, out_axis=0)
    np.testing.assert_allclose(reference.run(g, {"x": wide[:, 4:]})[0]["y"], want, atol=TOLERANCE)


def test_overlap_of_a_step_model():
    g = Graph()
    x = g.input("x", (1, 6))
    g.output("y", g.add1("Unary", [x], {"kind": "neg"}, "n"))
    overlap.apply(g, {"x": 4})
    frames = RNG.normal(size=(5, 1, 2))
    got = reference.run_frames(g, {"x": frames})[0]["y"]
    stream = np.concatenate([np.zeros(4), frames.reshape(-1)])
    np.testing.assert_array_equal(got[:, 0], -np.lib.stride_tricks.sliding_window_view(stream, 6)[::2])


def test_explicit_states_of_a_sequence_model():
    g, x = sequence(shape=(1, FRAMES, 3))
    h0, c0 = g.input("h0", (1, 1, 4)), g.input("c0", (1, 1, 4))
    y, hn, cn = g.add("LSTM", [x, g.constant(weights(1, 16, 3)), g.constant(weights(1, 16, 4)), "", h0, c0], {}, "lstm")
    g.output("y", y), g.output("hn", hn), g.output("cn", cn)
    want = reference.run(g, {"x": X[:1], "h0": np.zeros((1, 1, 4)), "c0": np.zeros((1, 1, 4))})[0]["y"]
    pipeline(g)
    assert {s.name for s in g.states} == {"h0", "c0"} and [p.name for p in g.inputs + g.outputs] == ["x", "y"]
    assert g.metadata["streaming"]["supported"]
    np.testing.assert_allclose(joined(run_in_chunks(g, X[:1], CUTS, 1), 1), want, atol=TOLERANCE)


def test_cache_in_front_of_a_convolution():
    g, x = sequence(shape=(1, 3, FRAMES))
    cache = g.input("cache", (1, 3, 4))
    wide = g.add1("Concat", [cache, x], {"axis": 2}, "cat")
    g.output("y", conv(g, wide, 3, 4, 3, dilations=[2]))
    g.output("cache_out", g.add1("Slice", [wide], {"axes": [2], "starts": [-4], "ends": [2**31 - 1]}, "next"))
    x = RNG.normal(size=(1, 3, 17))
    want = reference.run(g, {"x": x, "cache": np.zeros((1, 3, 4))})[0]["y"]
    pipeline(g)
    assert g.metadata["streaming"]["supported"], g.metadata
    np.testing.assert_allclose(joined(run_in_chunks(g, x, CUTS, 2), 2), want, atol=TOLERANCE)


def test_step_model_is_left_alone():
    g = Graph()
    x, s = g.input("x", (1, 3)), g.input("state", (1, 3))
    g.output("y", x), g.output("state_out", g.add1("Binary", [x, s], {"kind": "add"}, "sum"))
    g.outputs[0].tensor = g.nodes[0].outputs[0]
    pipeline(g)
    assert g.metadata["step"] and g.metadata["streaming"] == {"supported": True, "why": "", "multiple": 1}
    frames = RNG.normal(size=(6, 1, 3))
    np.testing.assert_allclose(reference.run_frames(g, {"x": frames})[0]["y"], np.cumsum(frames, 0))


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_without_an_axis_of_frames_a_call_is_a_step():
    g = Graph()
    x = g.input("x", (BATCH, 3))
    g.output("y", g.add1("Dense", [x, g.constant(weights(2, 3)), g.constant(weights(2))], {"activation": "tanh"}))
    pipeline(g)
    model = lstm_edge._core.Model(format.to_bytes(g))
    x = weights(1, 3)
    stream = model.stream()
    for _ in range(2):
        assert stream.run(x).tobytes() == model.run(x).tobytes()


def _bidirectional(g, x):
    return g.add1(
        "LSTM", [x, g.constant(weights(2, 16, 3)), g.constant(weights(2, 16, 4))], {"direction": "bidirectional"}, "bi"
    )


def _last_to_all(g, x):
    last = g.add1("Slice", [x], {"axes": [1], "starts": [-1], "ends": [2**31 - 1]}, "last")
    return g.add1("Binary", [x, last], {"kind": "sub"}, "difference")


REFUSALS = {
    "bidirectional": (_bidirectional, ["bi (LSTM)", "frames to come"]),
    "reverse": (lambda g, x: lstm(g, x, 3, 4, "back", direction="reverse")[0], ["back (LSTM)", "reverse"]),
    "same": (
        lambda g, x: conv(g, x, 3, 4, 3, "same", layout="channels_last", pads=[1, 1]),
        ["same (Conv)", "at the end of time"],
    ),
    "attention": (lambda g, x: g.add1("MatMul", [x, x], {"trans_b": 1}, "scores"), ["scores (MatMul)", "every other"]),
    "softmax": (lambda g, x: g.add1("Softmax", [x], {"axis": 1}, "soft"), ["soft (Softmax)", "whole sequence"]),
    "norm": (lambda g, x: g.add1("Normalize", [x], {"axes": [1, 2], "epsilon": 1e-5}, "norm"), ["norm (Normalize)"]),
    "prod": (lambda g, x: g.add1("Reduce", [x], {"kind": "prod", "axes": [1]}, "prod"), ["prod (Reduce)"]),
    "argmax": (lambda g, x: g.add1("ArgReduce", [x], {"kind": "max", "axis": 1}, "arg"), ["arg (ArgReduce)"]),
    "first": (
        lambda g, x: g.add1("Slice", [x], {"axes": [1], "starts": [0], "ends": [1]}, "first"),
        ["first (Slice)", "[0:1]"],
    ),
    "gather": (lambda g, x: g.add1("Gather", [x, g.constant(np.int32(0))], {"axis": 1}, "g0"), ["g0 (Gather)"]),
    "flip": (
        lambda g, x: g.add1("Slice", [x], {"axes": [1], "starts": [-1], "ends": [-(2**31)], "steps": [-1]}, "flip"),
        ["flip (Slice)"],
    ),
    "last to all": (_last_to_all, ["difference (Binary)", "after the last frame"]),
    "reflect": (
        lambda g, x: g.add1("Pad", [x], {"pads": [0, 2, 0, 0, 0, 0], "mode": "reflect"}, "mirror"),
        ["mirror (Pad)"],
    ),
    "end pad": (lambda g, x: g.add1("Pad", [x], {"pads": [0, 0, 0, 0, 2, 0]}, "end"), ["end (Pad)", "end of time"]),
    "tile": (lambda g, x: g.add1("Tile", [x], {"repeats": [1, 2, 1]}, "twice"), ["twice (Tile)"]),
    "transposed conv": (
        lambda g, x: g.add1(
            "ConvTranspose", [x, g.constant(weights(3, 4, 4))], {"strides": [2], "layout": "channels_last"}, "up"
        ),
        ["up (ConvTranspose)", "crop 2 of the end"],
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_stream_says_why(case):
    build, words = REFUSALS[case]
    g, x = sequence()
    g.output("y", build(g, x))
    refused(g, *words)


def test_reshape_that_mixes_time_is_refused():
    g, x = sequence(shape=(1, FRAMES, 4))
    y = g.add1("Transpose", [x], {"perm": [0, 2, 1]}, "t")
    y = g.add1("Reshape", [y], {"shape": [1, -1, 4], "from_input": [-1] * 3, "from_axis": [0] * 3}, "scramble")
    g.output("y", lstm(g, y, 4, 4)[0])
    refused(g, "scramble (Reshape)", "mixes time with other axes")


def test_unpaired_initial_state_names_the_remedy():
    g, x = sequence(shape=(1, FRAMES, 3))
    h0 = g.input("start", (1, 1, 4))
    w = [g.constant(weights(1, 4, 3)), g.constant(weights(1, 4, 4))]
    g.output("y", g.add1("RNN", [x, *w, "", h0], {}, "rnn"))
    refused(g, "start", "states=")


def test_folding_after_streaming_keeps_it_exact():
    g, x = sequence(shape=(BATCH, 3, FRAMES))
    y = conv(g, x, 3, 4, 3, pads=[2, 0])
    g.output("y", conv(g, y, 4, 4, 2, "valid"))
    x = RNG.normal(size=(2, 3, 17))
    want = reference.run(copy.deepcopy(g), {"x": x})[0]["y"]
    streaming.apply(g)
    fold.fold(g)
    np.testing.assert_allclose(joined(run_in_chunks(g, x, CUTS, 2), 2), want, atol=TOLERANCE)


@pytest.mark.parametrize(
    "kernel, stride, dilation, begin", [(3, 1, 1, 0), (2, 1, 3, 0), (3, 1, 1, 1), (4, 2, 1, 0), (5, 2, 1, 2)]
)
def test_overlapping_transposed_convolution_carries_its_frames(kernel, stride, dilation, begin):
    """Cropped to the frames that are complete, as causal decoders are."""
    g, x = sequence(shape=(BATCH, 3, FRAMES))
    span = (kernel - 1) * dilation + 1
    attrs = {"strides": [stride], "dilations": [dilation], "pads": [begin, span - stride]}
    inputs = [x, g.constant(weights(3, 4, kernel)), g.constant(weights(4))]
    g.output("y", g.add1("ConvTranspose", inputs, attrs, "up"))
    check(g, X.swapaxes(1, 2), CUTS, axis=2, out_axis=2)


def test_a_slice_behind_a_transposed_convolution_becomes_its_crop():
    g, x = sequence(shape=(BATCH, 3, FRAMES))
    y = g.add1("ConvTranspose", [x, g.constant(weights(3, 4, 3))], {}, "up")
    y = g.add1("Slice", [y], {"axes": [2], "starts": [0], "ends": [-2]}, "crop")
    y = g.add1("Binary", [y, g.constant(weights(4, 1))], {"kind": "mul"}, "scale")
    g.output("y", y)
    want = reference.run(copy.deepcopy(g), {"x": X.swapaxes(1, 2)})[0]["y"]
    fuse.fuse(g)
    assert [n.op for n in g.nodes] == ["ConvTranspose"]
    np.testing.assert_allclose(reference.run(g, {"x": X.swapaxes(1, 2)})[0]["y"], want, atol=1e-6)
    check(g, X.swapaxes(1, 2), CUTS, axis=2, out_axis=2)


@pytest.mark.parametrize("exclusive", [0, 1])
def test_cumulative_sum_goes_on(exclusive):
    g, x = sequence()
    g.output("y", g.add1("CumSum", [x], {"axis": 1, "exclusive": exclusive}, "sum"))
    check(g, X, CUTS)


def test_a_start_learned_and_stretched_to_the_batch_is_the_states_initial_value():
    g, x = sequence()
    h0 = g.constant(weights(1, 1, 4))
    h0 = g.add1("Expand", [h0, x], {"shape": [1, 1, 4], "from_input": [-1, 1, -1], "from_axis": [0, 0, 0]}, "start")
    g.output("y", g.add1("RNN", [x, g.constant(weights(1, 4, 3)), g.constant(weights(1, 4, 4)), "", h0], {}, "rnn"))
    check(g, X, CUTS)
    g.drop_unused()
    assert [n.op for n in g.nodes] == ["RNN"] and [s.name for s in g.states] == ["rnn.h"]


def test_a_start_computed_from_an_input_without_time_is_read_once():
    g, x = sequence()
    still = g.input("still", (BATCH, 5))
    h0 = g.add1("Dense", [still, g.constant(weights(4, 5))], {"activation": "tanh"}, "dense")
    h0 = g.add1("Reshape", [h0], {"shape": [1, -1, 4]}, "start")
    g.output("y", g.add1("RNN", [x, g.constant(weights(1, 4, 3)), g.constant(weights(1, 4, 4)), "", h0], {}, "rnn"))
    given = RNG.normal(size=(2, 5))
    want = reference.run(copy.deepcopy(g), {"x": X, "still": given})[0]["y"]
    pipeline(g)
    whole, states, got = lstm_edge.load(format.to_bytes(g)), None, []
    stream, x32, still32 = whole.stream(2), X.astype(np.float32), given.astype(np.float32)
    for part in np.split(X, np.cumsum(CUTS)[:-1], 1):
        out, states = reference.run(g, {"x": part, "still": given}, states)
        got.append(out["y"])
    np.testing.assert_allclose(np.concatenate(got, 1), want, atol=TOLERANCE)
    parts = [stream.run(np.ascontiguousarray(p), still32) for p in np.split(x32, np.cumsum(CUTS)[:-1], 1)]
    assert np.concatenate(parts, 1).tobytes() == whole.run(x32, still32).tobytes()


def test_steps_while_windows_fill_one_behind_the_other():
    """Each window that has filled changes the shapes of the next step; what the last step had must not be reused."""
    g, x = sequence(shape=(BATCH, 3, FRAMES))
    y = x
    for i, dilation in enumerate((1, 2, 4)):
        y = conv(g, y, 3, 3, 2, f"c{i}", dilations=[dilation])
    g.output("y", y)
    pipeline(g)
    x32 = X.swapaxes(1, 2).astype(np.float32)
    for isa in ISAS:
        model = lstm_edge.load(format.to_bytes(g), isa)
        stream = model.stream(2)
        answers = [stream.step(np.ascontiguousarray(x32[:, :, t])) for t in range(x32.shape[2])]
        assert [a is None for a in answers] == [t < 7 for t in range(x32.shape[2])]
        assert np.stack(answers[7:], 2).tobytes() == model.run(x32).tobytes()


def test_a_file_keeps_the_extent_a_filling_state_starts_with():
    """A valid window's difference beside a padded front: the two extents differ at first."""
    g, x = sequence()
    later = g.add1("Slice", [x], {"axes": [1], "starts": [1], "ends": [2**31 - 1]}, "later")
    earlier = g.add1("Slice", [x], {"axes": [1], "starts": [0], "ends": [-1]}, "earlier")
    change = g.add1("Binary", [later, earlier], {"kind": "sub"}, "change")
    change = g.add1("Pad", [change], {"pads": [0, 1, 0, 0, 0, 0]}, "front")
    g.output("y", g.add1("Concat", [x, change], {"axis": 2}, "both"))
    streaming.apply(g)
    back = format.read(format.to_bytes(g))
    assert {s.name: back.shape(s.read) for s in back.states} == {s.name: g.shape(s.read) for s in g.states}


def test_windows_that_fill_take_no_more_memory():
    """A slice that lies within its input, once there is one, makes that tensor live as long as itself."""
    g, x = sequence(shape=(BATCH, 3, FRAMES))
    y = wide = g.add1("Unary", [conv(g, x, 3, 160, 4)], {"kind": "tanh"}, "wide")
    half = g.add1("Slice", [wide], {"axes": [1], "starts": [0], "ends": [80]}, "half")
    for i in range(3):
        y = g.add1("Unary", [y], {"kind": "tanh"}, f"t{i}")
    other = g.add1("Slice", [y], {"axes": [1], "starts": [80], "ends": [160]}, "other")
    g.output("y", g.add1("Binary", [half, other], {"kind": "add"}, "sum"))
    streaming.apply(g)
    stream = lstm_edge.load(format.to_bytes(g)).stream()
    opened = stream.nbytes
    answers = [stream.step(np.ones((1, 3), np.float32)) for _ in range(6)]
    assert [a is None for a in answers] == [True] * 3 + [False] * 3
    assert stream.nbytes == opened


def growing(rows=400, before=False):
    """A step model whose answer is all rows so far: one more at every step, until its state is full. before: without this step's."""
    g = Graph()
    x = g.input("x", (BATCH, 1, 3))
    past = g.fresh("past")
    g.tensors[past] = Tensor(past, "float32", (BATCH, 0, 3))
    joined = g.add1("Concat", [past, x], {"axis": 1})
    g.states.append(State("past", past, joined, (BATCH, rows, 3), 1))
    g.output("y", g.add1("Unary", [past], {"kind": "tanh"}) if before else joined)
    g.metadata["streaming"] = {"supported": True, "why": "", "multiple": 1}
    return lstm_edge.load(format.to_bytes(g))


@pytest.mark.parametrize("steps", [2, 300])
def test_answers_that_grow_from_step_to_step_are_not_written_beyond_their_array(steps):
    """The first answer's size was taken for that of all: a file of 2.5 kB wrote beyond the array."""
    x = np.arange(steps * 3, dtype=np.float32).reshape(steps, 1, 1, 3)
    for run in (growing().run, growing().stream().run):
        with pytest.raises(ShapeError, match="output y: expected 12 bytes as of the first run, found 24"):
            run(x)
    stream = growing().stream()
    assert [len(stream.step(row[0])) for row in x] == list(range(1, steps + 1))


@pytest.mark.parametrize("steps", [2, 1000])
def test_answers_that_begin_empty_and_grow_are_not_written_beyond_their_array(steps):
    """A state that is empty at first is an answer of no bytes, not one that is absent."""
    for run in (growing(before=True).run, growing(before=True).stream().run):
        with pytest.raises(ShapeError, match="output y: expected 0 bytes as of the first run, found 12"):
            run(np.ones((steps, 1, 1, 3), np.float32))


def test_a_call_that_is_repeated_has_room_for_answers_that_grow():
    stream = growing().stream()
    stream._repeat([np.ones((1, 1, 3), np.float32)], 1, 300)
    assert stream.step(np.ones((1, 3), np.float32)).shape == (302, 3)  # one to warm up, 300, and this


def test_answers_of_another_rank_than_the_file_says_are_refused():
    g = Graph()
    x = g.input("x", (BATCH, FRAMES, 3))
    y = g.add1("Unary", [x], {"kind": "tanh"})
    g.output("y", y)
    g.tensors[y] = Tensor(y, "float32", (BATCH, FRAMES))
    model = lstm_edge.load(format.to_bytes(g))
    with pytest.raises(FormatError, match="section META: outputs: y: expected 3 sizes, as its answers have, found"):
        model.run(np.ones((1, 4, 3), np.float32))
