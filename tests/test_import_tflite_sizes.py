"""TFLite files whose signature leaves sizes open that their constants do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lstm_edge import reference
from lstm_edge.ir.dims import BATCH
from lstm_edge.ir.graph import Graph

pytest.importorskip("flatbuffers")
from lstm_edge.importers.tflite import model as importer  # noqa: E402
from lstm_edge.importers.tflite.schema import ModelFile, Operator, SubGraph, TensorInfo  # noqa: E402

RNG = np.random.default_rng(3)
WEIGHT = RNG.standard_normal((5, 36)).astype(np.float32)


def tensor(index: int, name: str, shape: list[int], signature: list[int] | None = None, data: Any = None) -> TensorInfo:
    dtype = "float32" if data is None else str(data.dtype)
    raw = None if data is None else np.frombuffer(data.tobytes(), np.uint8)
    return TensorInfo(index, name, dtype, shape, signature or shape, False, None, raw, False)


def flattened(rows: int, monkeypatch: pytest.MonkeyPatch) -> Graph:
    """(-1, 9, 4) by its signature, flattened to (rows, 36), through a matrix."""
    target = np.array([rows, 36], np.int32)
    file = ModelFile(
        "",
        [
            SubGraph(
                "main",
                [
                    tensor(0, "x", [1, 9, 4], [-1, 9, 4]),
                    tensor(1, "target", [2], data=target),
                    tensor(2, "flat", [1, 36]),
                    tensor(3, "weight", [5, 36], data=WEIGHT),
                    tensor(4, "y", [1, 5]),
                ],
                [0],
                [4],
                [
                    Operator(0, "RESHAPE", [0, 1], [2], [], {}),
                    Operator(1, "FULLY_CONNECTED", [2, 3, -1], [4], [], {}),
                ],
            )
        ],
    )
    monkeypatch.setattr(importer, "load", lambda source: file)
    return importer.read(b"")


def test_a_constant_for_one_sequence_fixes_the_batch(monkeypatch):
    graph = flattened(1, monkeypatch)
    assert graph.shape(graph.inputs[0].tensor) == (1, 9, 4)
    assert any(
        n.startswith("input 'x': dimension 0 (without a name) is fixed at 1: operator 0")
        for n in graph.metadata["notes"]
    )
    x = RNG.standard_normal((1, 9, 4)).astype(np.float32)
    np.testing.assert_allclose(reference.run(graph, {"x": x})[0]["y"], x.reshape(1, 36) @ WEIGHT.T, rtol=1e-5)


def test_a_constant_that_leaves_it_open_leaves_it_open(monkeypatch):
    graph = flattened(-1, monkeypatch)
    assert graph.shape(graph.inputs[0].tensor) == (BATCH, 9, 4)
    x = RNG.standard_normal((3, 9, 4)).astype(np.float32)
    np.testing.assert_allclose(reference.run(graph, {"x": x})[0]["y"], x.reshape(3, 36) @ WEIGHT.T, rtol=1e-5)
