"""One call from data to a trained network."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Optional

from ..errors import LstmEdgeError
from ..options import spelled
from .options import Options, read_options
from .processes import is_first
from .registry import TASKS
from .report import Report, Reports, TrainingError
from .sweep import Sweep

if TYPE_CHECKING:
    from .trained import Trained

    Run = Callable[[Any, Options, Optional[Report]], Trained]


def train(
    source: Any,
    task: str = "forecast",
    output: str | os.PathLike[str] | None = None,
    *,
    report: Report | None = None,
    **options: Any,
) -> Trained:
    """Trains a network for `task` on `source` (the path of a CSV, a pandas DataFrame, arrays where the task takes them), and writes
    its .lstm file to `output` where one is given.

    options: those of the task, docs/training.md. report: who is told of the progress. Raises OptionError, which names all options that
    are wrong; FormatError, which names what of the source cannot be read; TrainingError; OSError.
    """
    if task not in TASKS:
        found = spelled("--task", "task")
        raise LstmEdgeError(f"{found}: expected one of {', '.join(TASKS)}, found {task!r}")
    kind = TASKS[task]
    given = read_options(kind.options, options)
    run: Run = importlib.import_module(f".{kind.module}", __package__).run
    told = report if is_first() else None
    try:
        if given.trials:
            trained = Sweep(
                lambda options, told: run(source, options, told), given, Reports([told] if told else [])
            ).search()
        else:
            trained = run(source, given, told)
    except (MemoryError, RuntimeError) as exc:  # torch has no type of its own for what a CPU lacks
        if not isinstance(exc, MemoryError) and not re.search("out of memory|allocate memory", str(exc)):
            raise
        found = (str(exc).strip().splitlines() or ["no more to be had"])[0]
        raise TrainingError(f"training: expected memory for the data and the network, found: {found}") from exc
    if output is not None and is_first():
        trained.export(output)
    return trained
