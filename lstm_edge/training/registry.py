"""The tasks by name: the options of each, and the module that trains it. Nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass

from .forecast_options import ForecastOptions
from .options import Options


@dataclass(frozen=True)
class Task:
    """about: a line of help. module: the one in this package with `run(source, options, report) -> Trained`, imported when it is
    used."""

    options: type[Options]
    module: str
    about: str


TASKS = {
    "forecast": Task(ForecastOptions, "forecast_task", "the next values of a series"),
}
