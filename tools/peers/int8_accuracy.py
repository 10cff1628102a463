"""Error of int8 against float64, and its drift: random recurrences, N(0,1) input, weights uniform in +-1/sqrt(H).

    python tools/peers/int8_accuracy.py [--seeds 5] [--steps 1000000] [--input-bits 8]

Prints, per case, the largest error of any seed and the largest of the seeds' mean errors over 100 steps, beside the best peers' (PEERS below:
litert, ncnn and onnxruntime, measured on another machine), and where --steps is given the error of the last 1000 steps of a saturating input.
"""

from __future__ import annotations

import argparse

import numpy as np

import lstm_edge
from lstm_edge import format, passes, reference
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph

FRAMES_RUN = 100
PEERS = {
    ("LSTM", 64, 128, 1): (0.0042, 0.00058), ("LSTM", 257, 128, 1): (0.0110, 0.0011), ("LSTM", 256, 512, 1): (0.0048, 0.00065),
    ("GRU", 64, 128, 1): (0.0079, 0.0012), ("LSTM", 64, 128, 2): None, ("LSTM", 1, 32, 1): None, ("GRU", 1, 32, 1): None,
}  # fmt: skip


def network(op: str, inputs: int, hidden: int, directions: int, seed: int) -> Graph:
    """One recurrence over frames."""
    rng, bound, gates = np.random.default_rng(seed), hidden**-0.5, {"LSTM": 4, "GRU": 3}[op]
    graph = Graph()
    x = graph.input("x", (BATCH, FRAMES, inputs))
    shapes = [(inputs,), (hidden,), ()] + [()] * (op == "GRU")
    weights = [
        graph.constant(rng.uniform(-bound, bound, (directions, gates * hidden, *s)).astype(np.float32), "w")
        for s in shapes
    ]
    attrs = {"direction": "bidirectional"} if directions == 2 else {}
    graph.output("y", graph.add1(op, [x, *weights], attrs, op))
    return passes.pipeline(graph)


def errors(case: tuple[str, int, int, int], seed: int, input_bits: int) -> np.ndarray:
    """|int8 - float64| of every hidden output."""
    graph = network(*case, seed)
    x = np.random.default_rng(seed + 1000).standard_normal((1, FRAMES_RUN, case[1])).astype(np.float32)
    model, _ = lstm_edge.quantize(graph, precision="int8", input_bits=input_bits)
    return np.abs(model.run(x) - reference.run(graph, {"x": x})[0]["y"])


def drift(case: tuple[str, int, int, int], steps: int) -> tuple[float, float]:
    """Largest difference from this library's float32 over the first 1000 and the last 1000 of `steps` steps at +-30."""
    graph = network(*case, 0)
    exact = lstm_edge.Model(format.to_bytes(graph)).stream(1)
    narrow = lstm_edge.quantize(graph, precision="int8")[0].stream(1)
    x = np.where(np.random.default_rng(0).random((1, 1, case[1])) < 0.5, np.float32(-30), np.float32(30))
    block = np.ascontiguousarray(np.repeat(x, 1000, axis=1), np.float32)
    gaps = [float(np.abs(exact.run(block) - narrow.run(block)).max()) for _ in range(steps // 1000)]
    return gaps[0], gaps[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--input-bits", type=int, choices=(8, 15), default=15)
    options = parser.parse_args()
    for case, peers in PEERS.items():
        found = [errors(case, seed, options.input_bits) for seed in range(options.seeds)]
        most, mean = max(float(e.max()) for e in found), max(float(e.mean()) for e in found)
        name = f"{case[0]} {case[1]}x{case[2]}" + (" bidirectional" if case[3] == 2 else "")
        print(
            f"{name:26} max {most:.5f}  mean {mean:.6f}"
            + (f"  best peers {peers[0]:.4f} {peers[1]:.5f}" if peers else "")
        )
        if options.steps and case[3] == 1:
            first, last = drift(case, options.steps)
            print(f"{'':26} {options.steps} steps at +-30: first 1000 {first:.5f}, last 1000 {last:.5f}")


if __name__ == "__main__":
    main()
