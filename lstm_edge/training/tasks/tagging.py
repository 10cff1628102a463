"""Labels for sequences and for frames: the network, its loss, and its scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import FormatError
from ..devices import moved
from ..loop import fit
from ..options import Options
from ..report import Report
from ..trained import Trained
from . import tell
from .losses import PADDING, CrossEntropy
from .network import Features, example_of, features_of, largest, last, mean, recurrence_of
from .parts import Parts
from .sequences import Sequences, in_order
from .spans import Batch, Spans

SHOWN = 16  # frames of the example that the file keeps to test itself


class Tagger(nn.Module):
    """frames (B, T, columns), raw -> probabilities (B, labels), or (B, T, labels) with summary "frames"."""

    def __init__(self, features: Features, labels: int, summary: str, options: Options):
        super().__init__()
        self.features, self.summary, self.bidirectional = features, summary, options.bidirectional
        self.recurrence = recurrence_of(features.width, options, bidirectional=options.bidirectional)
        self.dropout = nn.Dropout(options.dropout)
        self.head = nn.Linear(self.recurrence.width, labels)

    def forward(self, frames: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        return {"probabilities": self.logits(frames, lengths).softmax(-1)}

    def logits(self, frames: Tensor, lengths: Tensor | None = None) -> Tensor:
        """lengths: (B,) of sequences that are padded behind."""
        y = self.recurrence(self.features(frames), lengths)
        if self.summary == "last":
            y = last(y, lengths, self.bidirectional)
        elif self.summary == "mean":
            y = mean(y, lengths)
        elif self.summary == "max":
            y = largest(y, lengths)
        found: Tensor = self.head(self.dropout(y))
        return found


def weights_of(labels: tuple[str, ...], targets: np.ndarray, given: Any, options: Options) -> Tensor | None:
    """A weight for each label in the loss: as given, or for "balanced" by how rare it is among the targets."""
    if given is None:
        return None
    if given == "balanced":
        counts = np.bincount(targets, minlength=len(labels))
        return _of_mean_one(len(targets) / (len(labels) * np.maximum(counts, 1)), targets)
    assert isinstance(given, Mapping)
    unknown = [name for name in given if name not in labels]
    if unknown:
        raise FormatError(
            f"{options.named('class_weights')}: expected labels among {', '.join(labels)}, found {unknown[0]!r}"
        )
    return _of_mean_one(np.array([given.get(label, 1.0) for label in labels]), targets)


def _of_mean_one(weights: np.ndarray, targets: np.ndarray) -> Tensor:
    """The weights scaled so that their mean over the targets is 1: they change what counts, not how fast all is learnt."""
    return torch.tensor(weights / weights[targets].mean(), dtype=torch.float32)


def logits_of(module: nn.Module, batch: Batch) -> Tensor:
    """A Tagger's logits of a batch."""
    assert isinstance(module, Tagger)
    return module.logits(batch["frames"], batch["lengths"])


def answers(module: Tagger, spans: Spans) -> tuple[Tensor, Tensor]:
    """Logits (n, labels) and targets (n,) of all that is judged, on the CPU."""
    device = module.head.weight.device
    logits, targets = [], []
    with torch.no_grad():
        for batch in spans.batches():
            batch = moved(batch, device)
            kept = batch["target"] != PADDING
            logits.append(logits_of(module, batch)[kept].float().cpu())
            targets.append(batch["target"][kept].cpu())
    return torch.cat(logits), torch.cat(targets)


def scores(module: Tagger, spans: Spans, labels: tuple[str, ...], most_frequent: int) -> dict[str, Any]:
    """accuracy; balanced, the mean over labels of the share that is found; those of always saying the training part's most
    frequent label beside them; and the share found of each label that the part holds."""
    logits, targets = answers(module, spans)
    found, truth = logits.argmax(-1).numpy(), targets.numpy()
    shares = {label: float((found[truth == n] == n).mean()) for n, label in enumerate(labels) if (truth == n).any()}
    return {
        "accuracy": float((found == truth).mean()),
        "balanced": float(np.mean(list(shares.values()))),
        "cross-entropy": float(functional.cross_entropy(logits, targets)),
        "accuracy of the most frequent label": float((truth == most_frequent).mean()),
        "share found": shares,
    }


def coded(words: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """The labels that there are, and the number of each word's."""
    labels = in_order(words)
    numbers = {name: n for n, name in enumerate(labels)}
    return labels, np.array([numbers[word] for word in words], np.int64)


def trained_tagger(
    task: str,
    found: Sequences,
    parts: Parts,
    spans: tuple[Spans, Spans, Spans],
    labels: tuple[str, ...],
    summary: str,
    options: Options,
    report: Report | None,
) -> Trained:
    """A Tagger trained on the first of `spans`, chosen by the second, with its scores on the third."""
    training, validation, test = spans
    torch.manual_seed(options.seed)
    features, said = features_of(found, parts.stretches[0])
    notes = tell(report, [*found.notes, parts.note, *said])
    module = Tagger(features, len(labels), summary, options)
    targets = _targets(training)
    weights = weights_of(labels, targets, options.class_weights, options)
    loss = CrossEntropy(logits_of, len(targets) / len(training), weights)
    history = fit(module, loss, training, lambda _: loss.over(module, validation.batches()), options, report=report)
    most_frequent = int(np.bincount(targets, minlength=len(labels)).argmax())
    about = {"input": "frames", "columns": list(found.columns), "output": "probabilities", "labels": list(labels)}
    return Trained(
        task=task,
        module=module,
        options=options,
        history=history,
        scores=scores(module, test, labels, most_frequent),
        notes=notes,
        metadata={task: about},
        example={"frames": example_of(found, parts.stretches[0], SHOWN)},
    )


def _targets(training: Spans) -> np.ndarray:
    """All targets of the training part."""
    if "target" in training.each:
        return training.each["target"].numpy()
    target = training.by_frame["target"].numpy()
    return np.concatenate([target[begin:end] for begin, end in training.stretches])
