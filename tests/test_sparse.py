"""Block-sparse weights: the bits of the dense product with its zeros, on every ISA."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import ISAS

import lstm_edge
from lstm_edge import format
from lstm_edge.cli import group
from lstm_edge.convert import to_graph
from lstm_edge.errors import FormatError
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.ir.sparse import cut, density, join
from lstm_edge.quantize import Narrower

F = np.float32
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1, "Dense": 1}


def blocks(rng: np.random.Generator, n: int, k: int, share: float) -> np.ndarray:
    """(n, k) weights of which a share of the blocks of 16 rows and a column holds something."""
    weights = rng.uniform(-1, 1, (n, k)).astype(F) * F(k**-0.5)
    held = rng.random((-(-n // 16), k)) < share
    return np.where(np.repeat(held, 16, 0)[:n], weights, F(0))


def beside(weights: np.ndarray, gates: int, rng: np.random.Generator) -> np.ndarray:
    """`weights` with as many outputs again of every gate, small ones without a zero, so that the whole is dense."""
    per_gate = weights.reshape(gates, -1, weights.shape[-1])
    added = rng.uniform(1e-4, 2e-4, per_gate.shape).astype(F)
    return np.concatenate([per_gate, added], 1).reshape(-1, weights.shape[-1])


def network(op: str, inputs: int, hidden: int, share: float, seed: int, dense: bool) -> Graph:
    """One op with block-sparse weights; `dense`: the same with twice the units, of which the second half changes nothing in the first."""
    rng, other, gates = np.random.default_rng(seed), np.random.default_rng(0), GATES[op]
    w_ih, w_hh = (blocks(rng, gates * hidden, k, share) for k in (inputs, hidden))
    biases = rng.uniform(-1, 1, (2, gates * hidden)).astype(F)
    if dense:
        w_ih = beside(w_ih, gates, other)
        w_hh = beside(np.concatenate([w_hh, np.zeros_like(w_hh)], 1), gates, other)
        biases = np.concatenate([biases.reshape(2, gates, hidden), np.zeros((2, gates, hidden), F)], 2).reshape(2, -1)
    graph = Graph(metadata={"streaming": {"supported": True}})
    x = graph.input("x", (BATCH, FRAMES, inputs))
    if op == "Dense":
        graph.output("y", graph.add1(op, [x, graph.constant(w_ih), graph.constant(biases[0])]))
        return graph
    constants = [graph.constant(a) for a in (w_ih[None], w_hh[None], biases[:1], biases[1:])[: 4 if op == "GRU" else 3]]
    graph.output("y", graph.add1(op, [x, *constants], {"reset_after": 1} if op == "GRU" else {}, op.lower()))
    return graph


def loaded(graph: Graph, weights: str, isa: str) -> lstm_edge.Model:
    narrow = graph if weights == "float32" else Narrower(graph, weights).apply({}).graph
    return lstm_edge.Model(format.to_bytes(narrow), isa)


@settings(max_examples=40)
@given(st.data())
def test_the_bits_are_the_dense_ones(data):
    op, weights, isa = (
        data.draw(st.sampled_from(options)) for options in (sorted(GATES), ("float32", "float16", "int8"), ISAS)
    )
    inputs, seed = data.draw(st.integers(1, 70)), data.draw(st.integers(0, 99))
    hidden = data.draw(st.integers(8, 70))  # fewer outputs than 8 are summed in another order
    share = data.draw(st.sampled_from([0.0, 0.05, 0.2, 0.4, 1.0]))
    batch, frames = data.draw(st.sampled_from([(1, 1), (1, 7), (3, 2), (9, 1)]))
    x = np.random.default_rng(seed).standard_normal((batch, frames, inputs)).astype(F)
    if data.draw(st.booleans()):
        x.flat[data.draw(st.integers(0, x.size - 1))] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf, -0.0]))
    sparse, dense = (
        loaded(network(op, inputs, hidden, share, seed, whole), weights, isa).run(x) for whole in (False, True)
    )
    np.testing.assert_array_equal(sparse, dense[..., :hidden])


def test_a_sparse_model_takes_less_memory():
    for weights in ("float32", "float16", "int8"):
        for isa in ISAS:
            sizes = [loaded(network("LSTM", 64, 128, d, 1, False), weights, isa).nbytes for d in (0.1, 1.0)]
            assert sizes[0] < 0.75 * sizes[1], (weights, isa, sizes)


# ---- the file --------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.data())
def test_blocks_cut_and_joined_are_the_weight(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 40), min_size=2, max_size=3)))
    dtype = data.draw(st.sampled_from(["float32", "float16", "int8"]))
    rows = blocks(np.random.default_rng(data.draw(st.integers(0, 99))), int(np.prod(shape[:-1])), shape[-1], 0.3)
    weight = (rows * 100).astype(dtype).reshape(shape)
    np.testing.assert_array_equal(join(*cut(weight), shape), weight)


@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
def test_a_file_stores_the_blocks_alone(weights):
    graphs = [network("LSTM", 64, 128, share, 1, False) for share in (0.1, 1.0)]
    narrow = [g if weights == "float32" else Narrower(g, weights).apply({}).graph for g in graphs]
    contents = [format.to_bytes(g) for g in narrow]
    assert len(contents[0]) < 0.2 * len(contents[1])
    assert [c[8] for c in contents] == [2, 1]  # the major version: what reads no blocks refuses them by it
    back = format.read(contents[0])
    assert format.to_bytes(back) == contents[0]
    for name, tensor in narrow[0].tensors.items():
        if tensor.is_constant:
            np.testing.assert_array_equal(back.tensors[name].data, tensor.data)


def test_a_weight_that_something_else_reads_is_stored_whole():
    graph = network("Dense", 40, 40, 0.1, 1, False)
    assert format.to_bytes(graph)[8] == 2
    weight = next(n for n, t in graph.tensors.items() if t.is_constant and t.values.ndim == 2)
    graph.output("table", weight)
    content = format.to_bytes(graph)
    assert content[8] == 1
    np.testing.assert_array_equal(
        lstm_edge.Model(content).run(np.zeros((1, 2, 40), F))["table"], graph.tensors[weight].data
    )


def record_of(content: bytes, kind: bytes) -> int:
    """The offset of a section."""
    return int.from_bytes(content[content.index(kind) + 8 :][:8], "little")


@pytest.mark.parametrize(
    "damage, core, python",
    [
        ("a bit more", "expected .* bytes for .* blocks, found", "bytes for .* blocks"),
        ("a bit behind", "bits behind them", "bits behind them"),
        ("a size too large", "blocks inside section DATA|bytes for", "bytes for .* blocks"),
        ("rank 1", "rank 2 or more", "rank 2 or more"),
        ("int32", "rank 2 or more", "rank 2 or more"),
        ("kind 3", "constant 3", "constant 0, 1 or 2"),
        ("the data's end", "inside section DATA", "within DATA"),
        ("read as a bias", "stored by its blocks, which input 2 cannot be", ""),
    ],
)  # fmt: skip
def test_damaged_blocks_are_refused(damage, core, python):
    content = bytearray(format.to_bytes(network("Dense", 33, 40, 0.1, 1, False)))
    tensor = record_of(content, b"TENS") + 8  # x, then w
    constant = record_of(content, b"CNST")
    assert content[tensor + 5] == 2
    bits = int.from_bytes(content[constant + 8 : constant + 16], "little")
    if damage == "a bit more":
        content[bits] = 255
    elif damage == "a bit behind":
        content[bits + 3 * 33 // 8] |= 128
    elif damage == "a size too large":
        content[constant + 16] ^= 64
    elif damage == "rank 1":
        content[constant + 4] = 1
    elif damage == "int32":
        content[tensor + 4] = 1
    elif damage == "kind 3":
        content[tensor + 5] = 3
    elif damage == "the data's end":
        content[constant + 8 : constant + 16] = len(content).to_bytes(8, "little")
    else:
        indices = record_of(content, b"IDXS")
        content[indices + 8 : indices + 12] = (1).to_bytes(4, "little")
    content[12:16] = zlib.crc32(content[16:]).to_bytes(4, "little")
    with pytest.raises(FormatError, match=core):
        lstm_edge.Model(bytes(content))
    if python:
        with pytest.raises(FormatError, match=python):
            format.read(bytes(content))


# ---- pruning ---------------------------------------------------------------------------------------------------------


def stacked(seed: int) -> Graph:
    """LSTM and Dense, float32."""
    graph, other = network("LSTM", 12, 32, 1.0, seed, False), network("Dense", 32, 32, 1.0, seed, False)
    names = [graph.constant(other.tensors[n].values, "dense") for n in other.nodes[0].inputs[1:]]
    y = graph.outputs.pop().tensor
    graph.output("z", graph.add1("Dense", [y, *names], {}, "out"))
    return graph


@pytest.mark.parametrize("calibrated", [False, True])
def test_pruning_leaves_the_share_of_blocks_asked_for(calibrated):
    graph, x = stacked(3), np.random.default_rng(0).standard_normal((4, 50, 12)).astype(F)
    model, report = lstm_edge.prune(graph, density=0.4, calibration=x if calibrated else None)
    w_ih, w_hh, w = (weight.after for weight in report.weights)
    # One share for the weights of an op: those of its input and of its state make up for each other.
    assert (w_ih * 12 + w_hh * 32) / 44 == pytest.approx(0.4, abs=0.01) and w == pytest.approx(0.4, abs=0.01)
    assert set(report.calls) == {"step", "chunk"} and model.metadata["pruning"]["density"] == 0.4
    assert report.max_error > 0 and density(graph.tensors[graph.nodes[0].inputs[1]].values) == 1


def test_data_prunes_better_than_size(tmp_path):
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((8, 60, 4)) @ rng.standard_normal((4, 12))).astype(F)  # four directions of twelve
    errors = {}
    for name, calibration in (("size", None), ("data", x[:4])):
        pruned, _ = lstm_edge.prune(stacked(3), tmp_path / f"{name}.lstm", density=0.5, calibration=calibration)
        errors[name] = np.abs(pruned.run(x[4:]) - lstm_edge.Model(format.to_bytes(stacked(3))).run(x[4:])).mean()
    assert errors["data"] < 0.7 * errors["size"]
    _, report = lstm_edge.quantize(tmp_path / "data.lstm", tmp_path / "int8.lstm", calibration=x[:4], precision="int8")
    graph = format.read(tmp_path / "int8.lstm")
    weights = [graph.tensors[i] for i in graph.nodes[0].inputs[1:3]]
    assert [w.dtype for w in weights] == ["int8", "int8"]
    shares = [density(w.values) for w in weights]
    assert (shares[0] * 12 + shares[1] * 32) / 44 == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("attrs", [{}, {"direction": "reverse"}, {"direction": "bidirectional", "time_major": 1}])
def test_what_is_never_needed_goes_first(op, attrs):
    """An input that stays 0 and units that nothing drives: their blocks go at no cost, in any direction and layout."""
    rng, gates, directions = np.random.default_rng(0), GATES[op], 2 if "bi" in attrs.get("direction", "") else 1
    graph = Graph(metadata={"streaming": {"supported": False}})
    x = graph.input("x", (FRAMES, BATCH, 10) if "time_major" in attrs else (BATCH, FRAMES, 10))
    shapes = (10,), (16,), (), ()
    constants = [rng.uniform(-0.5, 0.5, (directions, gates * 16, *last)).astype(F) for last in shapes][
        : 4 if op == "GRU" else 3
    ]
    names = [graph.constant(a) for a in constants]
    graph.output("y", graph.add1(op, [x, *names], {**attrs, **({"reset_after": 1} if op == "GRU" else {})}, "cell"))
    frames = rng.standard_normal((30, 30, 10)).astype(F)
    frames[..., 5:] = 0
    _, report = lstm_edge.prune(graph, density=21 / 26 if op != "GRU" else 0.5, calibration=frames, layers="cell")
    assert report.weights[0].after < 0.6 and report.max_error < (0.05 if op != "GRU" else np.inf)


def test_digits_pruned_to_half_stay_within_a_point():
    folder = Path(__file__).parents[1] / "examples" / "digits"
    test = np.load(folder / "test.npz")
    images, labels = test["images"].astype(F) / F(16), test["labels"]
    graph = to_graph(folder / "digits.onnx")
    pruned, report = lstm_edge.prune(graph, density=0.5, calibration=images[::2])
    right = [
        (np.argmax(m.run(images[1::2]), -1).ravel() == labels[1::2]).mean()
        for m in (lstm_edge.Model(format.to_bytes(graph)), pruned)
    ]
    assert right[1] >= right[0] - 0.01
    assert sum(w.bytes_after for w in report.weights) < 0.65 * sum(w.bytes_before for w in report.weights)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"density": 0}, "density: expected a share above 0, at most 1, found 0"),
        ({"density": 0.5, "layers": ["gru*"]}, "layers: no op with weights to prune is named 'gru.'; there are lstm, out"),
    ],
)  # fmt: skip
def test_pruning_refuses(arguments, message):
    with pytest.raises(lstm_edge.LstmEdgeError, match=message):
        lstm_edge.prune(stacked(0), **arguments)


def test_density_1_cuts_nothing():
    graph = stacked(2)
    model, report = lstm_edge.prune(graph, density=1)
    assert report.max_error == 0 and [w.after for w in report.weights] == [1, 1, 1]
    x = np.ones((1, 3, 12), F)
    np.testing.assert_array_equal(model.run(x), lstm_edge.Model(format.to_bytes(graph)).run(x))


def test_prune_on_the_command_line(tmp_path):
    format.write(stacked(4), tmp_path / "m.lstm")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((1, 40, 12)).astype(F))
    options = ["--density", "0.25", "--calibrate", str(tmp_path / "x.npy"), "-o", str(tmp_path / "s.lstm")]
    result = CliRunner().invoke(group, ["prune", str(tmp_path / "m.lstm"), *options, "--layers", "l*"])
    assert result.exit_code == 0, result.output
    assert "second moments of the" in result.output and "largest error" in result.output
    told = CliRunner().invoke(group, ["info", str(tmp_path / "s.lstm")]).output
    assert "sparse: blocks" in told
    assert (tmp_path / "s.lstm").stat().st_size < 0.9 * (tmp_path / "m.lstm").stat().st_size
