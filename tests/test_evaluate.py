"""evaluate: accuracy and confusion for classes, MAE and RMSE for numbers, and the command."""

from __future__ import annotations

import json

import numpy as np
import pytest

import lstm_edge
from lstm_edge import format
from lstm_edge.cli import _run
from lstm_edge.errors import LstmEdgeError, ShapeError
from lstm_edge.ir.dims import BATCH
from lstm_edge.ir.graph import Graph

F = np.float32


def passing(width: int | None = None) -> lstm_edge.Model:
    """Gives back what it gets."""
    return lstm_edge.Model(format.to_bytes(graph(width)))


def graph(width: int | None = None) -> Graph:
    g = Graph()
    shape = (BATCH,) if width is None else (BATCH, width)
    g.output("y", g.add1("Unary", [g.input("x", shape)], {"kind": "linear"}))
    return g


def test_classes():
    answers = np.eye(3, dtype=F)[[0, 1, 2, 2, 1, 0, 0]]
    result = lstm_edge.evaluate(passing(3), answers, np.array([0, 1, 2, 1, 1, 0, 2]))
    assert (result.task, result.count) == ("classes", 7)
    assert result.accuracy == pytest.approx(5 / 7)
    np.testing.assert_array_equal(result.confusion, [[2, 0, 0], [0, 2, 1], [1, 0, 1]])


@pytest.mark.parametrize(
    "labels", [np.array([0, 1, 1, 0]), np.array([[0], [1], [1], [0]]), np.array([0.0, 1.0, 1.0, 0.0])]
)
def test_two_classes_of_one_value(labels):
    answers = np.array([[0.2], [0.9], [0.4], [0.6]], F)
    result = lstm_edge.evaluate(passing(1), answers, labels)
    np.testing.assert_array_equal(result.confusion, [[1, 1], [1, 1]])
    assert lstm_edge.evaluate(passing(1), answers, labels, threshold=0.3).accuracy == 0.75


def test_one_hot_labels_are_classes():
    answers = np.array([[0.1, 0.9], [0.8, 0.2]], F)
    assert lstm_edge.evaluate(passing(2), answers, np.array([[0, 1], [0, 1]])).accuracy == 0.5


def test_a_nan_answer_is_wrong():
    answers = np.array([[np.nan, 1], [0, 1]], F)
    result = lstm_edge.evaluate(passing(2), answers, np.array([1, 1]))
    assert result.accuracy == 0.5 and result.confusion.sum() == 1


def test_regression():
    x = np.array([[1.0, 2.0], [3.0, 5.0]], F)
    result = lstm_edge.evaluate(passing(2), x, np.array([[1.5, 2.0], [3.0, 3.0]]))
    assert (result.task, result.count) == ("regression", 4)
    assert result.mae == pytest.approx(2.5 / 4) and result.rmse == pytest.approx(np.sqrt(4.25 / 4))


def test_task_decides_for_whole_numbers():
    x = np.array([[0.5], [1.0]], F)
    labels = np.array([0, 1])
    assert lstm_edge.evaluate(passing(1), x, labels).task == "classes"
    assert lstm_edge.evaluate(passing(1), x, labels, task="regression").mae == pytest.approx(0.25)


def test_large_sets_run_in_parts():
    labels = np.random.default_rng(0).integers(0, 5, 700)
    assert lstm_edge.evaluate(passing(5), np.eye(5, dtype=F)[labels], labels).accuracy == 1.0


def test_labels_that_do_not_fit_are_named():
    x = np.zeros((4, 3), F)
    with pytest.raises(ShapeError, match="classes 0 to 2, found 0 to 3"):
        lstm_edge.evaluate(passing(3), x, np.array([0, 1, 2, 3]))
    with pytest.raises(ShapeError, match=r"expected shape \(4,\) or \(4, 3\)"):
        lstm_edge.evaluate(passing(3), x, np.zeros(5))
    with pytest.raises(ShapeError, match="no classes"):
        lstm_edge.evaluate(passing(3), x, np.full((4, 3), 0.5), task="classes")
    with pytest.raises(ShapeError, match="dtype"):
        lstm_edge.evaluate(passing(3), x, np.array(["a", "b", "c", "d"]))
    with pytest.raises(LstmEdgeError, match="expected one of"):
        lstm_edge.evaluate(passing(3), x, np.zeros(4, int), output="z")


def test_command(tmp_path, capsys):
    model, inputs, labels = (str(tmp_path / n) for n in ("m.lstm", "x.npy", "labels.npy"))
    format.write(graph(2), model)
    np.save(inputs, np.array([[1, 0], [0, 1], [1, 0]], F))
    np.save(labels, np.array([0, 1, 1]))
    assert _run(["evaluate", model, inputs, labels]) == 0
    assert "3 answers: accuracy 0.6667" in capsys.readouterr().out
    assert _run(["evaluate", model, inputs, labels, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["confusion"] == [[1, 0], [1, 1]]
    (tmp_path / "labels.csv").write_text("class\n0\n1\n1\n")
    assert _run(["evaluate", model, inputs, str(tmp_path / "labels.csv")]) == 0
    np.save(labels, np.array([[0.5, 0], [0, 1], [1, 0]]))
    assert _run(["evaluate", model, inputs, labels]) == 0
    assert "MAE 0.0833333" in capsys.readouterr().out
    assert _run(["evaluate", model, inputs, inputs.replace(".npy", ".txt")]) == 2
