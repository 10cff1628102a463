"""Block-sparse weights: the bits of the dense product with its zeros, on every ISA."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import ISAS

import lstm_edge
from lstm_edge import format
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.quantize import Narrower

F = np.float32
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1, "Dense": 1}


def blocks(rng: np.random.Generator, n: int, k: int, density: float) -> np.ndarray:
    """(n, k) weights of which a share of the blocks of 16 rows and a column holds something."""
    weights = rng.uniform(-1, 1, (n, k)).astype(F) * F(k**-0.5)
    held = rng.random((-(-n // 16), k)) < density
    return np.where(np.repeat(held, 16, 0)[:n], weights, F(0))


def beside(weights: np.ndarray, gates: int, rng: np.random.Generator) -> np.ndarray:
    """`weights` with as many outputs again of every gate, small ones without a zero, so that the whole is dense."""
    per_gate = weights.reshape(gates, -1, weights.shape[-1])
    added = rng.uniform(1e-4, 2e-4, per_gate.shape).astype(F)
    return np.concatenate([per_gate, added], 1).reshape(-1, weights.shape[-1])


def network(op: str, inputs: int, hidden: int, density: float, seed: int, dense: bool) -> Graph:
    """One op with block-sparse weights; `dense`: the same with twice the units, of which the second half changes nothing in the first."""
    rng, other, gates = np.random.default_rng(seed), np.random.default_rng(0), GATES[op]
    w_ih, w_hh = (blocks(rng, gates * hidden, k, density) for k in (inputs, hidden))
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
    graph.output("y", graph.add1(op, [x, *constants], {"reset_after": 1} if op == "GRU" else {}))
    return graph


def loaded(graph: Graph, weights: str, isa: str) -> lstm_edge.Model:
    narrow = graph if weights == "float32" else Narrower(graph, weights).apply({}).graph
    return lstm_edge.Model(format.to_bytes(narrow), isa)


@settings(max_examples=60)
@given(st.data())
def test_the_bits_are_the_dense_ones(data):
    op, weights, isa = (
        data.draw(st.sampled_from(options)) for options in (sorted(GATES), ("float32", "float16", "int8"), ISAS)
    )
    inputs, seed = data.draw(st.integers(1, 70)), data.draw(st.integers(0, 99))
    hidden = data.draw(st.integers(8, 70))  # fewer outputs than 8 are summed in another order
    density = data.draw(st.sampled_from([0.0, 0.05, 0.2, 0.4, 1.0]))
    batch, frames = data.draw(st.sampled_from([(1, 1), (1, 7), (3, 2), (9, 1)]))
    x = np.random.default_rng(seed).standard_normal((batch, frames, inputs)).astype(F)
    if data.draw(st.booleans()):
        x.flat[data.draw(st.integers(0, x.size - 1))] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf, -0.0]))
    sparse, dense = (
        loaded(network(op, inputs, hidden, density, seed, whole), weights, isa).run(x) for whole in (False, True)
    )
    np.testing.assert_array_equal(sparse, dense[..., :hidden])


def test_a_sparse_model_takes_less_memory():
    for weights in ("float32", "float16", "int8"):
        for isa in ISAS:
            sizes = [loaded(network("LSTM", 64, 128, d, 1, False), weights, isa).nbytes for d in (0.1, 1.0)]
            assert sizes[0] < 0.75 * sizes[1], (weights, isa, sizes)
