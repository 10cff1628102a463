"""The tasks by name: the options of each, and the module that trains it. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .forecast_options import ForecastOptions
from .options import Declared, Options, declared_options
from .tasks.options import AnomalyOptions, ClassifyOptions, LabelOptions, Seq2SeqOptions, TextOptions


@dataclass(frozen=True)
class Task:
    """about: a line of help. module: the one in this package with `run(source, options, report) -> Trained`, imported when it is
    used."""

    options: type[Options]
    module: str
    about: str


TASKS = {
    "forecast": Task(ForecastOptions, "forecast_task", "the next values of a series"),
    "classify": Task(ClassifyOptions, "tasks.classify", "a label for each sequence"),
    "label": Task(LabelOptions, "tasks.label", "a label for each frame"),
    "anomaly": Task(AnomalyOptions, "tasks.anomaly", "what deviates from what is usual"),
    "text": Task(TextOptions, "tasks.text", "a text that goes on, symbol by symbol"),
    "seq2seq": Task(Seq2SeqOptions, "tasks.seq2seq", "a text from a text"),
}


def sections() -> Iterator[tuple[str, list[Declared]]]:
    """Every option under a title: those of all tasks, then those of each that no task before it has, or has with another
    meaning or default."""
    shared = list(declared_options(Options).values())
    yield "Options of every task", shared
    said = {(d.name, d.help, d.default) for d in shared}
    for name, task in TASKS.items():
        own = [d for d in declared_options(task.options).values() if (d.name, d.help, d.default) not in said]
        said.update((d.name, d.help, d.default) for d in own)
        yield f"Options of {name}, {task.about}", own
