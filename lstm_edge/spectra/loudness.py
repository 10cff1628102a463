"""What is taken of a filter bank's sums: logarithms, decibels, or PCEN."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.graph import Graph
from .fields import Fields


def binary(graph: Graph, kind: str, x: str, value: Any, name: str) -> str:
    """An op of a tensor and a number, or a row of numbers."""
    constant = graph.constant(np.asarray(value, np.float64), f"{name}.value")
    return graph.add1("Binary", [x, constant], {"kind": kind}, name)


def logarithm(graph: Graph, x: str, f: Fields, name: str) -> str:
    """(batch, frames, n) -> the same, by f.log."""
    if f.log == "none":
        return x
    x = binary(graph, f.floor_by, x, f.floor, f"{name}.floored")
    y = graph.add1("Unary", [x], {"kind": "log"}, name)
    if f.log == "ln":
        return y
    steps = 20 if f.log == "amplitude_db" else 10
    y = binary(graph, "mul", y, steps * np.log10(np.e), f"{name}.db")
    if f.db_of != 1:
        y = binary(graph, "sub", y, steps * np.log10(max(f.db_of, f.floor)), f"{name}.of")
    if not f.top_db:
        return y
    loudest = graph.add1("Reduce", [y], {"kind": "max", "axes": [1, 2], "keepdims": 1}, f"{name}.loudest")
    least = binary(graph, "sub", loudest, f.top_db, f"{name}.least")
    return graph.add1("Binary", [y, least], {"kind": "max"}, f"{name}.top")


def pcen(graph: Graph, x: str, f: Fields, name: str) -> str:
    """(batch, frames, n) -> the same: x over how loud it has been, to the power `gain`, then compressed.

    How loud it has been is a smoother with one pole, which librosa starts from 1: a recurrence whose matrices are diagonal.
    """
    columns = graph.shape(x)[2]
    assert isinstance(columns, int), "features are so many a frame"
    steps = f.time_constant * f.rate / f.hop
    share = (np.sqrt(1 + 4 * steps**2) - 1) / (2 * steps**2)
    weights = [
        graph.constant(np.eye(columns)[None] * value, f"{name}.{part}")
        for part, value in (("new", share), ("kept", 1 - share))
    ]
    start = {"shape": [1, 1, columns], "from_input": [-1, 0, -1], "from_axis": [0, 0, 0], "value": 1.0}
    ones = graph.add1("Fill", [x], start, f"{name}.start")
    loud = graph.add1("RNN", [x, *weights, "", ones], {"activations": ["linear"]}, f"{name}.smoothed")
    logs = graph.add1("Unary", [binary(graph, "add", loud, f.eps, f"{name}.above")], {"kind": "log"}, f"{name}.logs")
    gained = binary(graph, "mul", logs, -f.gain, f"{name}.gained")
    even = graph.add1(
        "Binary", [x, graph.add1("Unary", [gained], {"kind": "exp"}, f"{name}.gain")], {"kind": "mul"}, f"{name}.even"
    )
    logs = graph.add1(
        "Unary",
        [binary(graph, "add", even, f.bias if f.pcen_power else 1.0, f"{name}.biased")],
        {"kind": "log"},
        f"{name}.log",
    )
    if not f.pcen_power:
        return logs
    root = graph.add1(
        "Unary", [binary(graph, "mul", logs, f.pcen_power, f"{name}.share")], {"kind": "exp"}, f"{name}.root"
    )
    return binary(graph, "sub", root, f.bias**f.pcen_power, name) if f.bias else root
