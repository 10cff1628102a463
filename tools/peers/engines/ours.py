"""This project, in three precisions, and the probes of what the machine could do (lstm_edge.bench.limits) as runners beside it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

import lstm_edge
from lstm_edge import format, passes
from lstm_edge._core import probe
from lstm_edge.bench.limits import STEP, aligned_ones
from lstm_edge.convert import to_graph
from lstm_edge.ir.dims import BATCH, FRAMES
from lstm_edge.ir.graph import Graph
from peers.cases import BYTES, PRECISIONS, Case, Row, Streams, Trained
from peers.engines import Runner

NAME = "lstm_edge"
PROBED = 1e-3  # seconds of one call of a probe, beside which what the call itself takes (it asks the CPU what it can do) is nothing


def version() -> str:
    return f"lstm_edge {lstm_edge.__version__} ({lstm_edge.isas()[-1][0]})"


def runners(case: Row, folder: Path) -> list[Runner]:
    if isinstance(case, Streams):
        return many_streams(case)
    made = contents(case, folder)
    if isinstance(case, Trained):
        return [trained(case, made[precision], precision) for precision in PRECISIONS]
    if case.zeros:
        return [runner(case, made[p], p) for p in PRECISIONS] + dense(replace(case, zeros=0.0), folder)
    return [runner(case, made[p], p) for p in PRECISIONS] + without_weights(case, folder) + probes(case)


def contents(case: Case | Trained, folder: Path) -> dict[str, bytes]:
    """The file of each precision: networks all of it, trained models what is no slower for it (`--precision auto`)."""
    made = {"float32": wide(case)}
    for precision in PRECISIONS[1:]:
        path = folder / f"{precision}.lstm"
        if isinstance(case, Trained):
            lstm_edge.quantize(made["float32"], path, precision="auto", weights=precision, calibration=given(case))
        else:
            lstm_edge.quantize(made["float32"], path, precision=precision)
        made[precision] = path.read_bytes()
    return made


def wide(case: Case | Trained) -> bytes:
    return format.to_bytes(to_graph(case.source, **dict(case.options)) if isinstance(case, Trained) else network(case))


def given(case: Trained) -> np.ndarray:
    """Frames as the converted model takes them."""
    x = np.ascontiguousarray(case.x()[..., case.context :])
    return x[0].astype(np.int32) if case.whole else x


def dense(case: Case, folder: Path) -> list[Runner]:
    made = contents(case, folder)
    return [replace(runner(case, made[p], p), name=f"{NAME} dense", checked=False) for p in PRECISIONS]


def without_weights(case: Case, folder: Path) -> list[Runner]:
    """All weights of the recurrences zero, which the sparse kernels skip: what a row takes beside the products of its weights."""
    empty = replace(case, zeros=1.0)
    made = contents(empty, folder)
    return [replace(runner(empty, made[p], p), name="without weights", work=1.0) for p in PRECISIONS]


def many_streams(case: Streams) -> list[Runner]:
    """One by one from Python, and in one call with one and two threads."""
    model = lstm_edge.Model(wide(case.of))
    frames = list(case.frames())

    def opened() -> list[lstm_edge.Stream]:
        return [model.stream() for _ in range(case.count)]

    def one_by_one(streams: list[lstm_edge.Stream]) -> Runner:
        call = lambda x: [stream.step(frame) for stream, frame in zip(streams, x)]  # noqa: E731
        return Runner("one by one", "float32", call, frames, partial(_reset, streams))

    def at_once(streams: list[lstm_edge.Stream], threads: int) -> Runner:
        call = partial(lstm_edge.step_many, streams, threads=threads)
        return Runner(f"{threads} threads", "float32", call, frames, partial(_reset, streams), cpus=threads)

    return [one_by_one(opened()), at_once(opened(), 1), at_once(opened(), 2)]


def _reset(streams: list[lstm_edge.Stream]) -> None:
    for stream in streams:
        stream.reset()


def network(case: Case) -> Graph:
    graph = Graph()
    x = graph.input("x", (BATCH, FRAMES, case.inputs))
    last = ""
    for layer, weights in zip(case.layers, case.weights):
        arrays = [weights.w, weights.r, weights.b] + [weights.rb] * (layer.cell == "GRU")
        attrs = {"direction": "bidirectional"} if layer.directions == 2 else {}
        x, last = graph.add(layer.cell, [x, *(graph.constant(a, "w") for a in arrays)], attrs, "y")[:2]
    if case.dense:
        w, b = case.dense_weights
        rows = {"shape": [1, case.layers[-1].hidden], "from_input": [0, -1], "from_axis": [1, 0]}
        flat = graph.add1("Reshape", [last], rows, "last")
        x = graph.add1("Dense", [flat, graph.constant(w, "w"), graph.constant(b, "b")], {}, "y")
    graph.output("y", x)
    return passes.pipeline(graph)


def runner(case: Case, content: bytes, precision: str) -> Runner:
    model = lstm_edge.Model(content)
    if not case.is_step:
        return Runner(NAME, precision, model.run, [case.x])
    stream = model.stream()
    return Runner(NAME, precision, stream.step, list(case.x), stream.reset)


def trained(case: Trained, content: bytes, precision: str) -> Runner:
    model = lstm_edge.Model(content)
    if case.whole:
        return Runner(NAME, precision, model.run, [given(case)])
    stream = model.stream()
    return Runner(NAME, precision, stream.step, list(given(case)), stream.reset)


def probes(case: Case) -> list[Runner]:
    """Reading the weights of a frame in each precision, and the two products out of registers."""
    isa = lstm_edge.isas()[-1][0]
    count = sum(layer.recurrent + layer.of_input * case.is_step for layer in case.layers)
    made = [_probe("read", precision, isa, count * BYTES[precision]) for precision in PRECISIONS]
    return made + [_probe("peak", precision, isa) for precision in ("float32", "int8")]


def _probe(name: str, precision: str, isa: str, size: int = 0) -> Runner:
    data = aligned_ones(-(-size // STEP) * STEP) if size else np.zeros(0, np.float32)
    kind = "read" if size else precision
    work = probe(isa, kind, 1, data)
    rate = 100e9 if size else 50e9  # a guess, which decides nothing but how long a call takes
    times = max(1, round(PROBED * rate / work))
    return Runner(name, precision, lambda n: probe(isa, kind, n, data), [times], work=work * times)
