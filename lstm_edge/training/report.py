"""What a training says of itself: its history, and who is told while it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..errors import LstmEdgeError


class TrainingError(LstmEdgeError):
    """Training cannot go on, or cannot begin; the message says where and why."""


class NotFinite(TrainingError):
    """A loss, a gradient or a validation that is no number, or infinite."""


@dataclass(frozen=True)
class Epoch:
    """A pass over the training part. number: from 1. loss: the mean over its examples, of the weights as they were when
    each was drawn. validation: what early stopping goes by. rate: of the last step. better: whether it was the best yet.
    """

    number: int
    loss: float
    validation: float
    rate: float
    seconds: float
    better: bool


@dataclass
class History:
    """The epochs in order; `stopped`: no better one came for `patience` epochs; `device`: where it was computed."""

    epochs: list[Epoch] = field(default_factory=list)
    stopped: bool = False
    device: str = ""

    @property
    def best(self) -> Epoch:
        """The epoch whose weights were kept."""
        return next(epoch for epoch in reversed(self.epochs) if epoch.better)


class Report(Protocol):
    """Who is told of a training. Only the first of several processes tells."""

    def began(self, *, epochs: int, steps: int, done: int) -> None:
        """At most `epochs` of `steps` steps; `done`: steps of an earlier process that are not repeated."""

    def step(self, epoch: int, step: int, loss: float, rate: float) -> None:
        """A step is done: epoch and step from 1. Called often, so that it must be quick."""

    def epoch(self, epoch: Epoch, history: History) -> None:
        """An epoch is done, the last of `history`."""

    def note(self, text: str) -> None:
        """What was chosen or assumed, in a sentence."""

    def ended(self, history: History) -> None:
        """Training is over, or failed: what was opened can be closed."""


class Reports:
    """Several reports as one; with none, nobody is told."""

    def __init__(self, reports: Sequence[Report]):
        self.reports = reports

    def began(self, **counts: Any) -> None:
        for report in self.reports:
            report.began(**counts)

    def step(self, epoch: int, step: int, loss: float, rate: float) -> None:
        for report in self.reports:
            report.step(epoch, step, loss, rate)

    def epoch(self, epoch: Epoch, history: History) -> None:
        for report in self.reports:
            report.epoch(epoch, history)

    def note(self, text: str) -> None:
        for report in self.reports:
            report.note(text)

    def ended(self, history: History) -> None:
        for report in self.reports:
            report.ended(history)
