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


# ---- a signature that leaves the batch open over constants for one sequence ------------------------------------------

X = RNG.standard_normal((3, 6, 4)).astype(np.float32)
ONE = RNG.standard_normal((1, 6, 2)).astype(np.float32)
FROM_ONE_STATE = RNG.standard_normal((1, 4)).astype(np.float32)
SQUARE = RNG.standard_normal((4, 4)).astype(np.float32)


def rnn(x: np.ndarray, h: np.ndarray) -> np.ndarray:
    frames = []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ SQUARE.T + h @ SQUARE.T)
        frames.append(h)
    return np.stack(frames, 1)


# By what the constant does: the operators, and their answer. The first group holds the batch at 1, the second says nothing of it.
HOLDING: dict[str, tuple[Any, Any]] = {
    "joined with the input": (
        lambda t, x: t("CONCATENATION", x, ONE, axis=2),
        lambda x: np.concatenate([x, ONE], 2),
    ),
    "rows written out": (
        lambda t, x: t("PACK", t("UNPACK", x, axis=0, num=1), values_count=1, axis=1),
        lambda x: x[0][:, None],
    ),
    "two reshapes, one of them open": (
        lambda t, x: t("RESHAPE", t("RESHAPE", x, [-1, 24]), [1, 4, 6]),
        lambda x: x.reshape(1, 4, 6),
    ),
}
BROADCAST: dict[str, tuple[Any, Any]] = {
    "added to the input": (lambda t, x: t("ADD", x, SQUARE[:1][None]), lambda x: x + SQUARE[:1][None]),
    "a shape to broadcast to": (
        lambda t, x: t("BROADCAST_TO", t("MEAN", x, [1], keep_dims=True), [1, 5, 4]),
        lambda x: np.broadcast_to(x.mean(1, keepdims=True), (len(x), 5, 4)),
    ),
    "a state that every run starts from": (
        lambda t, x: t(
            "UNIDIRECTIONAL_SEQUENCE_RNN", x, SQUARE, SQUARE, np.zeros(4, np.float32), FROM_ONE_STATE, activation=4
        ),
        lambda x: rnn(x, FROM_ONE_STATE),
    ),
}


def with_open_batch(spelled: Any) -> Graph:
    t = spell_tflite.Operators()
    x = t.tensor("float32", [1, 6, 4], [-1, 6, 4])
    return importer.read(spell_tflite.written(t, [x], [spelled(t, x)]))


def check(graph: Graph, x: np.ndarray, answer: Any) -> None:
    got = reference.run(graph, {graph.inputs[0].name: x})[0][graph.outputs[0].name]
    np.testing.assert_allclose(got, answer(x.astype(float)), atol=1e-6)


@pytest.mark.parametrize("name", HOLDING)
def test_a_batch_that_constants_hold_at_one_converts_without_a_flag(name):
    spelled, answer = HOLDING[name]
    graph = with_open_batch(spelled)
    assert graph.shape(graph.inputs[0].tensor)[0] == 1
    assert any("dimension 0 (without a name) is fixed at 1: " in n and "operator" in n for n in graph.metadata["notes"])
    check(graph, X[:1], answer)


@pytest.mark.parametrize("name", BROADCAST)
def test_a_batch_that_nothing_holds_stays_open_beside_constants_for_one_sequence(name):
    spelled, answer = BROADCAST[name]
    graph = with_open_batch(spelled)
    assert graph.shape(graph.inputs[0].tensor)[0] == BATCH
    for count in (1, 3):
        check(graph, X[:count], answer)


def test_a_shape_for_an_input_that_there_is_not_names_those_that_there_are():
    t = spell_tflite.Operators()
    x = t.tensor("float32", [1, 6, 4], [-1, 6, 4])
    data = spell_tflite.written(t, [x], [t("RELU", x)])
    with pytest.raises(UnsupportedModelError, match="'nothing'.*no such input; its inputs are t0"):
        importer.read(data, shapes={"nothing": [1, 6, 4]})
