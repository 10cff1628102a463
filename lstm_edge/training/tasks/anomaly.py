"""The task anomaly: what deviates from what is usual, with the threshold in the file."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import FormatError
from ..devices import moved
from ..loop import fit
from ..report import Report
from ..trained import Trained
from . import tell
from .network import example_of, features_of
from .options import AnomalyOptions
from .parts import divided
from .sequences import Sequences, read
from .spans import Batch, Spans, in_windows
from .surprise import Expectation, Reconstruction, Surprise

MARKS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
WINDOWS_AT_ONCE = 16  # of a stretch that chooses the weights


def run(source: Any, options: AnomalyOptions, report: Report | None = None) -> Trained:
    """source: a table whose rows are frames, of one sequence or several, sequences as arrays, or (sequences, marks of anomalies)."""
    found = read(source, options, labelled=False, grouped=False)
    usual = torch.from_numpy(1 - _marks(found)).float()
    parts = divided(found.bounds, options)
    by_frame = {"frames": torch.from_numpy(found.values), "usual": usual}
    forecast = options.form == "forecast"
    window = options.window

    def spans(n: int, length: int, stride: int) -> Spans:
        return Spans(by_frame, in_windows(parts.stretches[n], length, stride))

    if forecast:
        training = spans(0, window, max(window // 2, 1))
        choosing, validation = (
            spans(1, WINDOWS_AT_ONCE * window, WINDOWS_AT_ONCE * window),
            Spans(by_frame, parts.stretches[1]),
        )
        test = Spans(by_frame, parts.stretches[2])
    else:
        sliding = max(window // 4, 1)
        training, choosing = (_usual_alone(spans(n, window, sliding)) for n in (0, 1))
        validation, test = choosing, spans(2, window, window)
    _require(training, validation, found, options)
    torch.manual_seed(options.seed)
    features, said = features_of(found, parts.stretches[0])
    notes = tell(report, [*found.notes, parts.note, *said, *_said(options)])
    module = Expectation(features, options) if forecast else Reconstruction(features, options)
    loss = _Loss(options.loss or "mse", training.frames * features.columns / len(training))
    history = fit(module, loss, training, lambda m: loss.over(m, choosing), options, report=report)
    _learn_threshold(module, training, validation, options.quantile)
    return Trained(
        task="anomaly",
        module=module,
        options=options,
        history=history,
        scores=_scores(module, test, marked=found.labels is not None),
        notes=notes,
        metadata={"anomaly": _about(module, found, options)},
        example={"frames": example_of(found, parts.stretches[0], window)},
    )


def _marks(found: Sequences) -> np.ndarray:
    """(frames,) 1 for a known anomaly, else 0. FormatError names what is no mark."""
    if found.labels is None:
        return np.zeros(len(found.values), np.int64)
    words = np.array([str(word).lower() for word in found.labels], object)
    for word in dict.fromkeys(words):
        if word not in MARKS:
            raise FormatError(f"{found.place}: expected 0 or 1 as the mark of an anomaly, found {word!r}")
    return np.array([MARKS[word] for word in words], np.int64)


def _usual_alone(spans: Spans) -> Spans:
    """The examples without a known anomaly."""
    usual = spans.by_frame["usual"].numpy()
    kept = np.array([usual[begin:end].all() for begin, end in spans.stretches], bool)
    return Spans(spans.by_frame, spans.stretches[kept])


def _require(training: Spans, validation: Spans, found: Sequences, options: AnomalyOptions) -> None:
    """FormatError where a part has nothing that is judged and usual."""
    first = options.settle if options.form == "forecast" else 0
    kind = f"frames beyond the first {first} that are no anomaly" if first else "sequences without an anomaly"
    for spans, what in ((training, "train on"), (validation, "choose by and to take the threshold from")):
        usual = spans.by_frame["usual"].numpy()
        if not any(usual[begin + first : end].any() for begin, end in spans.stretches):
            raise FormatError(f"{found.place}: expected {kind} to {what}, found none; give more frames")


class _Loss:
    """What values differ from what is expected, the mean over a batch's examples; in each the sum over `values`, the usual
    number of those that are judged. Known anomalies are not judged."""

    def __init__(self, kind: str, values: float):
        self.kind, self.values = kind, values

    def __call__(self, module: nn.Module, batch: Batch) -> Tensor:
        return self.sums(module, batch)[0] / (len(batch["frames"]) * self.values)

    def sums(self, module: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        assert isinstance(module, Surprise)
        off, judged = module.differences(batch["frames"], batch["lengths"])
        judged = judged * batch["usual"][..., None]
        size = off.abs()
        if self.kind == "mse":
            size = off.square()
        elif self.kind == "huber":
            size = torch.where(size < 1, 0.5 * off.square(), size - 0.5)
        return (size * judged).sum(), judged.sum()

    def over(self, module: nn.Module, spans: Spans) -> float:
        device = next(module.parameters()).device
        sums = [self.sums(module, moved(batch, device)) for batch in spans.batches()]
        return float(sum(float(total) for total, _ in sums) / max(sum(float(count) for _, count in sums), 1.0))


def _learn_threshold(module: Surprise, training: Spans, validation: Spans, quantile: float) -> None:
    """Sets what a difference is measured by, from the training part, then the threshold, from the validation part."""
    squares, counts = torch.zeros(module.features.columns), torch.zeros(module.features.columns)
    with torch.no_grad():
        for batch in training.batches():
            off, judged = module.differences(batch["frames"], batch["lengths"])
            judged = judged * batch["usual"][..., None]
            squares += (off.square() * judged).sum((0, 1))
            counts += judged.sum((0, 1))
        module.spread.copy_((squares / counts.clamp(min=1)).sqrt().clamp(min=1e-6))
        scores, marks = _judged(module, validation)
        if not (marks == 0).any():
            raise FormatError(
                "expected values to take the threshold from, found none in the validation part; give a longer table"
            )
        module.threshold.copy_(torch.tensor(np.quantile(scores[marks == 0], quantile), dtype=torch.float32))


def _judged(module: Surprise, spans: Spans) -> tuple[np.ndarray, np.ndarray]:
    """The score of each judged frame or sequence, and 1 where it holds a known anomaly, else 0."""
    scores, marks = [], []
    with torch.no_grad():
        for batch in spans.batches():
            off, judged = module.differences(batch["frames"], batch["lengths"])
            score, any_judged, odd = module.score(off, judged), judged.amax(2) > 0, 1 - batch["usual"]
            if score.dim() == 1:
                any_judged, odd = any_judged.any(1), (odd * judged.amax(2)).amax(1)
            scores.append(score[any_judged].numpy())
            marks.append(odd[any_judged].numpy())
    return np.concatenate(scores), np.concatenate(marks)


def _scores(module: Surprise, test: Spans, *, marked: bool) -> dict[str, float]:
    """The threshold, the share of usual frames (or sequences) above it; with marks what share of anomalies is found, what share
    of alarms is right, and the probability that an anomaly's score is above a usual one's."""
    scores, marks = _judged(module, test)
    if not len(scores):
        raise FormatError("expected frames in the test part beyond those that settle, found none; give a longer table")
    threshold = float(module.threshold)
    alarms, odd = scores > threshold, marks > 0
    found = {"threshold": threshold, "false alarms": float(alarms[~odd].mean()) if (~odd).any() else 0.0}
    if marked and odd.any() and not odd.all():
        found["recall"] = float(alarms[odd].mean())
        found["precision"] = float(odd[alarms].mean()) if alarms.any() else 0.0
        found["area under ROC"] = _area(scores, odd)
    return found


def _area(scores: np.ndarray, odd: np.ndarray) -> float:
    """The probability that an odd one's score is above another's; equal scores count half, by their mean rank."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    pairs = float(odd.sum() * (~odd).sum())
    return float((ranks[odd].sum() - odd.sum() * (odd.sum() + 1) / 2) / pairs)


def _about(module: Surprise, found: Sequences, options: AnomalyOptions) -> dict[str, Any]:
    """What the file says."""
    return {
        "input": "frames",
        "columns": list(found.columns),
        "form": options.form,
        "threshold": float(module.threshold),
        "quantile": options.quantile,
        "score of": "frame" if options.form == "forecast" else "sequence",
        "window": options.window,
        "settle": options.settle if options.form == "forecast" else 0,
    }


def _said(options: AnomalyOptions) -> list[str]:
    if options.form == "forecast":
        return [
            f"the first {options.settle} frames of a sequence have score 0: a stream has seen too little to judge them"
        ]
    return [
        f"an autoencoder reads a sequence whole, so that it does not stream; it was trained on {options.window} frames, or "
        "shorter sequences"
    ]
