"""TFLite files whose signature leaves sizes open that their constants do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lstm_edge import reference
from lstm_edge.errors import UnsupportedModelError
from lstm_edge.ir.dims import BATCH
from lstm_edge.ir.graph import Graph

pytest.importorskip("flatbuffers")
from conformance import spell_tflite  # noqa: E402

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


def strided_after_recurrence(signature: list[int]) -> bytes:
    """An RNN over (1, 7, 4), then SAME windows of 3 with stride 2, whose padding depends on how many frames there are."""
    t = spell_tflite.Operators()
    x = t.tensor("float32", [1, 7, 4], signature)
    weights = [RNG.standard_normal(shape).astype(np.float32) for shape in ((4, 4), (4, 4), (4,))]
    y = t("UNIDIRECTIONAL_SEQUENCE_RNN", x, *weights, t.variable(1, 4))
    options = {"stride_h": 2, "stride_w": 1, "padding": 0, "filter_h": 3, "filter_w": 1}
    y = t("SQUEEZE", t("MAX_POOL_2D", t("EXPAND_DIMS", y, 2), **options), squeeze_dims=[2])
    return spell_tflite.written(t, [x], [y])


def test_strided_same_keeps_the_frames_of_a_file_that_has_a_number_and_says_why():
    graph = importer.read(strided_after_recurrence([1, 7, 4]))
    assert graph.shape(graph.inputs[0].tensor) == (1, 7, 4)
    (note,) = (n for n in graph.metadata["notes"] if "dimension 1" in n)
    assert "is fixed at 7: with it open" in note and "SAME padding with stride 2 on an axis of frames" in note


def test_strided_same_is_refused_where_the_file_leaves_the_frames_open():
    with pytest.raises(UnsupportedModelError, match="SAME padding with stride 2 on an axis of frames"):
        importer.read(strided_after_recurrence([1, -1, 4]))
