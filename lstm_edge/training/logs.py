"""Logs of a training in its folder: reports that write what they are told."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ..files.replacing import replacing
from .options import Options
from .report import Epoch, History, Report, TrainingError

CSV_NAME = "log.csv"


def log_of(options: Options) -> list[Report]:
    """The log that the options ask for, if any. TrainingError: its library is missing."""
    if options.log == "none" or options.folder is None:
        return []
    os.makedirs(options.folder, exist_ok=True)
    return [CsvLog(options.folder) if options.log == "csv" else TensorBoardLog(options.folder)]


class CsvLog:
    """log.csv: a row for each epoch. It is written anew each time, at once, so that a training which was killed and goes on
    has every epoch once."""

    def __init__(self, folder: str):
        self.path = Path(folder, CSV_NAME)

    def began(self, *, epochs: int, steps: int, done: int) -> None: ...

    def step(self, epoch: int, step: int, loss: float, rate: float) -> None: ...

    def note(self, text: str) -> None: ...

    def ended(self, history: History) -> None: ...

    def epoch(self, epoch: Epoch, history: History) -> None:
        text = io.StringIO(newline="")
        rows = csv.DictWriter(text, [f.name for f in fields(Epoch)])
        rows.writeheader()
        rows.writerows(asdict(each) for each in history.epochs)
        with replacing(self.path) as file:
            file.write(text.getvalue().encode())


class TensorBoardLog:
    """Events for TensorBoard over the steps: the loss and the rate of each, the losses and validations of epochs."""

    def __init__(self, folder: str):
        try:
            from torch.utils import tensorboard
        except ImportError as exc:
            needed = "expected the module 'tensorboard', found none; pip install tensorboard, or log='csv'"
            raise TrainingError(needed) from exc
        self.tensorboard = tensorboard
        self.folder = folder
        self.writer: Any = None
        self.steps = 1

    def began(self, *, epochs: int, steps: int, done: int) -> None:
        """What an interrupted training wrote of steps that are taken again is purged."""
        self.steps = steps
        self.writer = self.tensorboard.SummaryWriter(self.folder, purge_step=done + 1 if done else None)

    def step(self, epoch: int, step: int, loss: float, rate: float) -> None:
        place = (epoch - 1) * self.steps + step
        self.writer.add_scalar("step/loss", loss, place)
        self.writer.add_scalar("step/rate", rate, place)

    def epoch(self, epoch: Epoch, history: History) -> None:
        place = epoch.number * self.steps
        self.writer.add_scalar("epoch/loss", epoch.loss, place)
        self.writer.add_scalar("epoch/validation", epoch.validation, place)

    def note(self, text: str) -> None: ...

    def ended(self, history: History) -> None:
        if self.writer is not None:
            self.writer.close()
