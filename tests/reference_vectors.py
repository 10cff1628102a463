"""Bits that the kernels give, one checksum for each case and ISA, in tests/reference_vectors.json: a changed rounding is seen without real models.

    python tests/reference_vectors.py     writes the rows of this machine's ISAs; other rows stay

Cells get gates that every ISA sums exactly (multiples of 1/64 of small numbers), so that their bits are one for all; products of float32 are an ISA's own.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
from shared import ISAS

import lstm_edge
from lstm_edge import format
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.ir.ops import ACTIVATIONS, PARAMETERS

PATH = Path(__file__).with_suffix(".json")
BATCH_SIZE, FEATURES, FRAME_COUNT = 3, 24, 5
UNARY = ["exp", "log", "erf", "gelu", "sin"]


def numbers(seed: int, *shape: int) -> np.ndarray:
    """-1 to 1 by a generator of this file's own: NumPy's may change."""
    count = int(np.prod(shape))
    state, values = seed, np.empty(count, np.float32)
    for i in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        values[i] = (state >> 8) / 2.0**23 - 1.0
    return values.reshape(shape)


def grid(seed: int, *shape: int) -> np.ndarray:
    """Multiples of 1/64, whose sums of products float32 holds exactly."""
    return np.float32(np.rint(numbers(seed, *shape) * 64) / 64)


def recurrent(op: str, gates: int, hidden: int, seed: int, exact: bool = True, dtype: str = "float32") -> Graph:
    """A cell that starts from h and c: one step of it where sums must be exact."""
    make = grid if exact else numbers
    graph = Graph()
    x = graph.input("x", (BATCH_SIZE, FRAMES, FEATURES))
    w_ih = weight(graph, make(seed, 1, gates * hidden, FEATURES), dtype)
    w_hh = weight(graph, make(seed + 1, 1, gates * hidden, hidden) / np.float32(8 if exact else hidden), dtype)
    inputs = [x, w_ih, w_hh, graph.constant(make(seed + 2, 1, gates * hidden)), *([""] if op == "GRU" else [])]
    states = [graph.constant(make(seed + n, 1, BATCH_SIZE, hidden)) for n in ((3, 4) if op == "LSTM" else (3,))]
    graph.output("y", graph.add(op, inputs + states, {}, "cell")[0])
    return graph


def weight(graph: Graph, array: np.ndarray, dtype: str) -> str:
    name = graph.constant(array)
    tensor = graph.tensors[name]
    if dtype == "float16":
        tensor.data, tensor.dtype = array.astype(np.float16), dtype
    elif dtype == "int8":
        rows = array.reshape(-1, array.shape[-1])
        scale = np.float32(np.maximum(np.abs(rows).max(axis=1), np.float32(1e-6)) / np.float32(127))
        tensor.data, tensor.dtype = np.rint(rows / scale[:, None]).astype(np.int8).reshape(array.shape), dtype
        tensor.scale = scale
    return name


def dense(outputs: int, seed: int, dtype: str, zeros: float = 0, **attrs: int) -> Graph:
    graph = Graph()
    x = graph.input("x", (BATCH, FRAMES, FEATURES))
    w = numbers(seed, outputs, FEATURES)
    held = np.repeat(numbers(seed + 7, outputs // 16 + 1, FEATURES) > zeros * 2 - 1, 16, axis=0)[:outputs]
    w = np.where(held, w, 0).astype(np.float32)
    bias = graph.constant(numbers(seed + 1, outputs))
    graph.output("y", graph.add1("Dense", [x, weight(graph, w, dtype), bias], dict(attrs), "dense"))
    return graph


def pointwise(op: str, attrs: dict[str, str | float]) -> Graph:
    graph = Graph()
    graph.output("y", graph.add1(op, [graph.input("x", (BATCH, FRAMES, FEATURES))], attrs, "op"))
    return graph


def convolution(groups: int, seed: int) -> Graph:
    """Channels first: conv_planes.c and its axpy where each group has one channel."""
    graph = Graph()
    x = graph.input("x", (BATCH, FEATURES, FRAMES))
    w = graph.constant(numbers(seed, FEATURES, FEATURES // groups, 3))
    graph.output(
        "y", graph.add1("Conv", [x, w, graph.constant(numbers(seed + 1, FEATURES))], {"groups": groups}, "conv")
    )
    return graph


def cases() -> dict[str, tuple[Graph, np.ndarray]]:
    x = numbers(1, BATCH_SIZE, FRAME_COUNT, FEATURES)
    steep = (x * 12).astype(np.float32)
    step = grid(2, BATCH_SIZE, 1, FEATURES)
    found: dict[str, tuple[Graph, np.ndarray]] = {}
    for hidden in (16, 64, 67, 133):
        found[f"LSTM cell of {hidden}"] = recurrent("LSTM", 4, hidden, 10), step
        found[f"GRU cell of {hidden}"] = recurrent("GRU", 3, hidden, 20), step
    for dtype in ("float32", "float16", "int8"):
        found[f"LSTM of 33 in {dtype}"] = recurrent("LSTM", 4, 33, 30, False, dtype), x
        for outputs in (2, 5, 33, 211):
            found[f"Dense of {outputs} in {dtype}"] = dense(outputs, 40, dtype), x
        for outputs in (48, 71):
            found[f"sparse Dense of {outputs} in {dtype}"] = dense(outputs, 50, dtype, zeros=0.8), x
    found["Dense of 33 in int8 of 8 bits"] = dense(33, 40, "int8", input_bits=8), x
    for name in ACTIVATIONS:
        parameters = {"alpha": 0.75, "beta": 0.25} if PARAMETERS.get(name) else {}
        found[f"activation {name}"] = pointwise("Unary", {"kind": name, **parameters}), steep
    for name in UNARY:
        found[f"function {name}"] = pointwise("Unary", {"kind": name}), np.abs(steep) if name == "log" else steep
    tiny = np.float32(2.0) ** np.float32(np.arange(-149, -149 + FRAME_COUNT * FEATURES)).reshape(1, FRAME_COUNT, -1)
    found["logarithms of small numbers"] = pointwise("Unary", {"kind": "log"}), tiny
    found["exponentials at the ends"] = pointwise("Unary", {"kind": "exp"}), (x * 104).astype(np.float32)
    found["depthwise Conv"] = convolution(FEATURES, 60), numbers(61, 2, FEATURES, 40)
    return found


def bits(graph: Graph, x: np.ndarray, isa: str) -> str:
    y = np.asarray(lstm_edge.load(format.to_bytes(graph), isa).run(x))
    return f"{zlib.crc32(np.ascontiguousarray(y).tobytes()):08x}"


def write() -> None:
    rows: dict[str, dict[str, str]] = json.loads(PATH.read_text()) if PATH.exists() else {}
    made = {name: {**rows.get(name, {}), **{isa: bits(*case, isa) for isa in ISAS}} for name, case in cases().items()}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in made.items())
    PATH.write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    write()
