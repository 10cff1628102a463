"""Small networks run with every kernel table of this CPU, and how far their answers are from the scalar kernels'.

Sizes are no multiple of any tile, so that full tiles and remainders both run.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from .. import format, reference
from .._core import Model
from ..ir.dims import BATCH, FRAMES
from ..ir.graph import Graph
from ..ir.ops import GATES
from ..quantize import Narrower

NETWORKS = ("LSTM", "GRU", "Dense", "Conv")
WEIGHTS = ("float32", "float16", "int8")
BATCHES, STEPS, FEATURES, UNITS = 3, 21, 37, 53


@cache
def network(op: str, weights: str) -> Graph:
    """One op over x (batch, frames, FEATURES), of weights uniform in +-1/sqrt(UNITS)."""
    rng, graph = np.random.default_rng(0), Graph()
    x = graph.input("x", (BATCH, FRAMES, FEATURES))

    def uniform(*shape: int) -> str:
        return graph.constant(rng.uniform(-1, 1, shape).astype(np.float32) * np.float32(UNITS**-0.5), "w")

    if op in GATES:
        rows = len(GATES[op]) * UNITS
        biases = [uniform(1, rows) for _ in range(2 if op == "GRU" else 1)]
        y = graph.add1(op, [x, uniform(1, rows, FEATURES), uniform(1, rows, UNITS), *biases], {}, op)
    elif op == "Dense":
        y = graph.add1(op, [x, uniform(UNITS, FEATURES), uniform(UNITS)], {"activation": "tanh"}, op)
    else:
        attributes = {"layout": "channels_last", "pads": [1, 1], "activation": "sigmoid"}
        y = graph.add1(op, [x, uniform(UNITS, FEATURES, 3), uniform(UNITS)], attributes, op)
    graph.output("y", y)
    return graph if weights == "float32" else Narrower(graph, weights).apply({}).graph


@cache
def network_bytes(op: str, weights: str) -> bytes:
    """`network` as the content of a .lstm file."""
    return format.to_bytes(network(op, weights))


@cache
def frames() -> np.ndarray:
    """float32 (BATCHES, STEPS, FEATURES)."""
    return np.random.default_rng(1).standard_normal((BATCHES, STEPS, FEATURES), np.float32)


def answer(op: str, weights: str, isa: str) -> np.ndarray:
    answers: np.ndarray = Model(network_bytes(op, weights), isa).run(frames())
    return answers


def differences(isa: str) -> dict[str, tuple[float, bool]]:
    """Per network: the largest difference of float32 and float16 weights, and whether int8 gives scalar's bits.

    `scalar` itself is compared with the reference in float64, its int8 with itself. A NaN makes the difference infinite.
    """
    found = {}
    for op in NETWORKS:
        largest = 0.0
        for weights in ("float32", "float16"):
            if isa == "scalar":
                expected = reference.run(network(op, weights), {"x": frames()})[0]["y"]
            else:
                expected = answer(op, weights, "scalar")
            difference = float(np.abs(answer(op, weights, isa) - expected).max())
            largest = max(largest, difference if np.isfinite(difference) else np.inf)
        found[op] = largest, answer(op, "int8", isa).tobytes() == answer(op, "int8", "scalar").tobytes()
    return found
