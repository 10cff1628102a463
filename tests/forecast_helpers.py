"""Small networks that forecast, as training writes them and as converters do."""

from __future__ import annotations

import numpy as np

import lstm_edge
from lstm_edge import format
from lstm_edge.forecasting import Description
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from lstm_edge.passes import streaming
from lstm_edge.quantize import Narrower

HIDDEN = 6
GATES = {"LSTM": 4, "GRU": 3}


class Net:
    """A small network under construction: random weights, one recurrence, a Dense to each output."""

    def __init__(self, seed: int = 0):
        self.rng, self.graph = np.random.default_rng(seed), Graph()
        self.graph.metadata["outputs"] = {}

    def weights(self, *shape: int) -> str:
        return self.graph.constant(self.rng.uniform(-0.5, 0.5, shape).astype(np.float32))

    def recurrence(self, x: str, inputs: int, op: str = "LSTM", **attrs) -> tuple[str, str]:
        directions = 2 if attrs.get("direction") == "bidirectional" else 1
        sizes = [(directions, GATES[op] * HIDDEN, n) for n in (inputs, HIDDEN)]
        y, h, *_ = self.graph.add(op, [x, *(self.weights(*s) for s in sizes)], attrs)
        return y, h

    def dense(self, x: str, width: int, outputs: int) -> str:
        return self.graph.add1("Dense", [x, self.weights(outputs, width)], {})

    def frames_of(self, x: str, *frame: int) -> str:
        """x (batch, frames, values) with the values as `frame`."""
        rank = len(frame)
        spec = {"shape": [1, 1, *frame], "from_input": [0, 0] + [-1] * rank, "from_axis": [0, 1] + [0] * rank}
        return self.graph.add1("Reshape", [x, x], spec)

    def output(self, name: str, x: str, *shape: object) -> None:
        self.graph.output(name, x)
        self.graph.metadata["outputs"][name] = list(shape)

    def file(self, about: Description | None = None, width: str = "float32") -> bytes:
        if about is not None:
            self.graph.metadata["forecast"] = about.to_metadata()
        streaming.apply(self.graph)
        graph = self.graph if width == "float32" else Narrower(self.graph, width).apply({}).graph
        return format.to_bytes(graph)

    def model(self, about: Description | None = None, width: str = "float32") -> lstm_edge.Model:
        return lstm_edge.load(self.file(about, width))


def described(about: Description, op: str = "LSTM", width: str = "float32", seed: int = 0) -> lstm_edge.Model:
    return lstm_edge.load(described_file(about, op, width, seed))


def described_file(about: Description, op: str = "LSTM", width: str = "float32", seed: int = 0) -> bytes:
    """A network as training writes it: the series, known values and time stamps in, a forecast of every frame out."""
    net = Net(seed)
    x, inputs = net.graph.input(about.input, (BATCH, FRAMES, len(about.columns))), len(about.columns)
    if about.known:
        known = net.graph.input("known", (BATCH, FRAMES, about.horizon, len(about.known)))
        count = about.horizon * len(about.known)
        x = net.graph.add1("Concat", [x, net.frames_of(known, count)], {"axis": 2})
        inputs += count
    if about.time:
        minutes = net.graph.input(about.time, (BATCH, FRAMES), "int32")
        scaled = net.graph.add1("Cast", [net.frames_of(minutes, 1)], {"to": "float32"})
        scaled = net.graph.add1("Binary", [scaled, net.graph.constant(np.float32([1e-8]))], {"kind": "mul"})
        x = net.graph.add1("Concat", [x, scaled], {"axis": 2})
        inputs += 1
    y, _ = net.recurrence(x, inputs, op)
    frame = (about.horizon, len(about.targets), *([len(about.quantiles)] if about.quantiles else []))
    y = net.frames_of(net.dense(y, HIDDEN, int(np.prod(frame))), *frame)
    net.output(about.output, y, "batch", "frames", *frame)
    return net.file(about, width)


def one_ahead(values: int = 2, seed: int = 0) -> lstm_edge.Model:
    return lstm_edge.load(one_ahead_file(values, seed))


def one_ahead_file(values: int = 2, seed: int = 0) -> bytes:
    """x (batch, frames, values) -> y of the same shape, without a word of what continues what."""
    net = Net(seed)
    y, _ = net.recurrence(net.graph.input("x", (BATCH, FRAMES, values)), values)
    net.output("y", net.dense(y, HIDDEN, values), "batch", "frames", values)
    return net.file()


SIMPLE = Description("series", "forecast", ("load",), ("load",), (0,))
WIDE = Description("series", "forecast", ("load", "place", "wind"), ("wind", "load"), (2, 0), 4, (0.1, 0.5, 0.9), (1,))


def history(about: Description, frames: int, *batch: int, seed: int = 1) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(*batch, frames, len(about.columns))).astype(np.float32)
    for column in about.static:
        x[..., column] = 7
    return x
