"""What a model is worth in its user's own terms: accuracy and confusion for classes, MAE and RMSE for numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._core import Model, load
from ..errors import LstmEdgeError, ShapeError
from ..options import argument

TASKS = ("classes", "regression")
BATCH = 256  # sequences run at once


@dataclass(frozen=True)
class Evaluation:
    """count: answers compared. Classes: accuracy, confusion (rows are labels, columns answers). Regression: mae, rmse."""

    task: str
    count: int
    accuracy: float | None = None
    confusion: np.ndarray | None = None
    mae: float | None = None
    rmse: float | None = None

    def as_dict(self) -> dict[str, Any]:
        if self.task == "regression":
            return {"task": self.task, "count": self.count, "mae": self.mae, "rmse": self.rmse}
        confusion = [] if self.confusion is None else self.confusion.tolist()
        return {"task": self.task, "count": self.count, "accuracy": self.accuracy, "confusion": confusion}


def evaluate(
    model: Model | str | os.PathLike[str] | bytes,
    inputs: np.ndarray | Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    output: str | None = None,
    task: str | None = None,
    threshold: float = 0.5,
    isa: str | None = None,
) -> Evaluation:
    """Runs `model` (loaded, a path, or a file's bytes) over `inputs` and compares its answers with `labels`.

    inputs: as Model.run takes them, one array or a dict by input name. output: which one, when there are several.
    labels: whole numbers shaped as the answers without their last axis are classes (the largest answer counts); whole
    numbers 0 and 1 for answers of one value are classes split at `threshold` (0.5 for a probability, 0 for a logit); rows of
    zeros with a one are classes too; anything else, shaped as the answers, is regression. `task` decides where labels do
    not. A NaN answer is wrong. Raises ShapeError when labels do not fit the answers.
    """
    if task is not None and task not in TASKS:
        raise LstmEdgeError(f"{argument('task')}: expected {' or '.join(TASKS)}, found {task!r}")
    loaded = (
        model if isinstance(model, Model) else load(model, isa) if not isinstance(model, bytes) else Model(model, isa)
    )
    answers = _answers(loaded, inputs, output)
    labels = np.asarray(labels)
    if labels.dtype.kind not in "biuf":
        raise ShapeError(f"{argument('labels')}: expected numbers, found dtype {labels.dtype}")
    classes = None if task == "regression" else _classes(answers, labels, threshold)
    if classes is not None:
        return _count(*classes)
    if task == "classes" or labels.size != answers.size:
        expected = f"{answers.shape[:-1]} or {answers.shape}" if task != "regression" else f"{answers.shape}"
        raise ShapeError(
            f"{argument('labels')}: expected shape {expected} for answers of shape {answers.shape}, found {labels.shape}"
            + (" with values that are no classes" if labels.size == answers.size else "")
        )
    gap = answers.astype(np.float64).ravel() - labels.astype(np.float64).ravel()
    return Evaluation("regression", gap.size, mae=float(np.abs(gap).mean()), rmse=float(np.sqrt(np.square(gap).mean())))


def _answers(model: Model, inputs: Any, output: str | None) -> np.ndarray:
    names = [p.name for p in model.outputs]
    if output is None and len(names) > 1:
        raise LstmEdgeError(f"{argument('output')}: the model has several, {names}; name one")
    if output is not None and output not in names:
        raise LstmEdgeError(f"{argument('output')}: expected one of {names}, found {output!r}")
    arrays = dict(inputs) if isinstance(inputs, Mapping) else {model.inputs[0].name: inputs}
    parts = []
    for part in _batches(model, {k: np.asarray(v) for k, v in arrays.items()}):
        answer = model.run(**part)
        value = answer[output or names[0]] if isinstance(answer, dict) else answer
        if value is None:
            raise ShapeError(f"{argument('inputs')}: too few frames for an answer")
        parts.append(value)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _batches(model: Model, arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Parts of the batch, where all inputs and outputs begin with that axis; else everything at once."""
    shapes = {p.name: p.shape or () for p in model.inputs}
    split = not model.is_step_model and all(
        shapes.get(n, ())[:1] == ("batch",) and a.ndim == len(shapes[n]) for n, a in arrays.items()
    )
    split = split and all((p.shape or ())[:1] == ("batch",) for p in model.outputs)
    count = max((len(a) for a in arrays.values() if a.ndim), default=0)
    if not split or count <= BATCH:
        return [arrays]
    return [{k: a[i : i + BATCH] for k, a in arrays.items()} for i in range(0, count, BATCH)]


def _classes(answers: np.ndarray, labels: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, int] | None:
    """(labels, answers, number of classes), flat, -1 for a NaN answer; None when the labels are no classes."""
    whole = labels.dtype.kind in "biu" or bool(np.isfinite(labels).all() and (labels == np.trunc(labels)).all())
    if not whole or not labels.size:
        return None
    width = answers.shape[-1] if answers.ndim else 1
    if answers.size == labels.size and labels.min() >= 0 and labels.max() <= 1:
        if width > 1 and labels.shape == answers.shape and (labels.sum(axis=-1) == 1).all():
            return labels.argmax(-1).ravel(), _largest(answers), width
        split = np.where(np.isnan(answers), -1, answers > threshold)
        return labels.ravel().astype(int), split.ravel().astype(int), 2
    if width > 1 and labels.size == answers.size // width:
        if labels.min() < 0 or labels.max() >= width:
            raise ShapeError(
                f"{argument('labels')}: expected classes 0 to {width - 1}, found {labels.min()} to {labels.max()}"
            )
        return labels.ravel().astype(int), _largest(answers), width
    return None


def _largest(answers: np.ndarray) -> np.ndarray:
    broken = np.isnan(answers).any(-1)
    return np.where(broken, -1, np.where(np.isnan(answers), -np.inf, answers).argmax(-1)).ravel()


def _count(labels: np.ndarray, answers: np.ndarray, classes: int) -> Evaluation:
    confusion = np.zeros((classes, classes), np.int64)
    valid = answers >= 0
    np.add.at(confusion, (labels[valid], answers[valid]), 1)
    return Evaluation("classes", labels.size, accuracy=float((labels == answers).mean()), confusion=confusion)
