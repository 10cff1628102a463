"""lstm-edge train: from data to a .lstm file; the training itself is torch's."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

import lstm_edge

from ..errors import LstmEdgeError
from ..training.options import Declared
from ..training.processes import is_first
from ..training.registry import TASKS, sections
from ..training.report import Epoch, History
from ..training.trainer import train
from .grid import Column, name, print_grid, text
from .io import err_console, out_console
from .model_files import check_model_output
from .parsing import Command
from .verify import say_verdict


class _Command(Command):
    """A command whose help has a section for each task."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        of_training = {d.name for _, section in sections() for d in section}
        others = [p for p in self.get_params(ctx) if isinstance(p, click.Option) and p.name not in of_training]
        with formatter.section("Options"):
            formatter.write_dl([record for p in others if (record := p.get_help_record(ctx)) is not None])
        for title, section in sections():
            with formatter.section(title):
                formatter.write_dl([(f"{d.flag} {_form(d).get('metavar', '')}", _help(d)) for d in section])


def _training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    every = {d.name: d for _, section in sections() for d in section}  # tasks share a flag, each with its own default
    for declared in every.values():
        command = click.option(declared.flag, declared.name, **_form(declared))(command)
    return command


def _form(declared: Declared) -> dict[str, Any]:
    """How click reads an option: as text, which `training` understands and complains of."""
    if declared.kind is bool:
        return {"is_flag": True, "default": None}
    words = "|".join(declared.choices)
    metavar = declared.metavar or words or {int: "N", float: "NUMBER"}.get(declared.kind, "WORD")
    return {"metavar": metavar, "default": None, "multiple": declared.many}


def _help(declared: Declared) -> str:
    return declared.help + f" [default: {declared.said_default}]" * bool(declared.said_default)


class _Shown:
    """Progress on stderr: a bar with loss, rate and time left, and a line for each note."""

    def __init__(self, console: Console):
        self.console = console
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[said]}"),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=console, transient=True)
        self.task: TaskID | None = None
        self.said, self.steps = "", 1

    def began(self, *, epochs: int, steps: int, done: int) -> None:
        self.steps = steps
        if self.task is not None:  # of the trial before
            self.progress.remove_task(self.task)
        self.task = self.progress.add_task("training", total=epochs * steps, completed=done, said="")
        self.progress.start()

    def step(self, epoch: int, step: int, loss: float, rate: float) -> None:
        if self.task is not None:
            said = f"loss {loss:.4g}, rate {rate:.2g}{self.said}"
            done = (epoch - 1) * self.steps + step
            self.progress.update(self.task, completed=done, description=f"epoch {epoch}", said=said)

    def epoch(self, epoch: Epoch, history: History) -> None:
        self.said = f", validation {epoch.validation:.4g} (best {history.best.validation:.4g})"

    def note(self, text: str) -> None:
        self.console.print(f"note: {text}", markup=False, soft_wrap=True)

    def ended(self, history: History) -> None:
        self.progress.stop()


@click.command("train", cls=_Command)
@click.argument("source", metavar="SOURCE", type=click.Path(exists=True))
@click.option("--task", metavar="|".join(TASKS), default="forecast", show_default=True, help="What to train.")
@click.option(
    "-o", "--output", metavar="MODEL.lstm", required=True, type=click.Path(dir_okay=False), help="The file to write."
)
@_training_options
def command(source: str, task: str, output: str, **given: Any) -> int:
    """Train a network on SOURCE (a CSV; for some tasks a folder or a text) and write it as a .lstm file.

    Example: lstm-edge train load.csv --task forecast --target load --window 96 --horizon 24 -o load.lstm
    """
    check_model_output(output, (source,))
    options = {name: value for name, value in given.items() if value not in (None, ())}
    console = err_console()
    trained = _with_extra(lambda: train(source, task, report=_Shown(console), **options))
    if not is_first():  # of several processes, one writes
        return 0
    with console.status(f"writing {os.path.basename(output)}"):
        trained.export(output)
    out = out_console()
    best = trained.history.best
    ended = "no better one came" if trained.history.stopped else "all were made"
    out.print(f"the weights are those of epoch {best.number} of {len(trained.history.epochs)}: {ended}", markup=False)
    show_scores(trained.scores, out)
    for file in trained.files(output):
        out.print(f"{file}: {os.path.getsize(file):,} bytes, {len(lstm_edge.load(file).ops)} ops", markup=False)
        say_verdict(lstm_edge.verify(file))
    return 0


def _with_extra(call: Callable[[], Any]) -> Any:
    """`call`, or what to install where training's libraries are missing."""
    try:
        return call()
    except ModuleNotFoundError as exc:
        if exc.name not in ("torch", "pandas"):
            raise
        needed = f"expected the module {exc.name!r}, found none; pip install 'lstm-edge[train]'"
        raise LstmEdgeError(needed) from None


def show_scores(scores: dict[str, Any], console: Console) -> None:
    """The scores of a task: a table where rows of figures stand under names, a line for each other one."""
    for score, value in scores.items():
        if score == "targets":
            _print_targets(console, value)
        elif isinstance(value, dict):
            for of, figures in value.items():
                said = (
                    ", ".join(f"{k} {v:.4g}" for k, v in figures.items())
                    if isinstance(figures, dict)
                    else f"{figures:.4g}"
                )
                console.print(f"{score}, {of}: {said}", markup=False)
        else:
            console.print(f"{score}: {value:.4g}" if isinstance(value, float) else f"{score}: {value}", markup=False)


def _print_targets(console: Console, targets: dict[str, dict[str, dict[str, float]]]) -> None:
    columns = [name.upper() for kinds in targets.values() for name in next(iter(kinds.values()))]
    rows = [
        (target, kind, *(f"{v:.5g}" for v in figures.values()))
        for target, kinds in targets.items()
        for kind, figures in kinds.items()
    ]
    print_grid(console, (name("target"), text("by"), *map(Column, dict.fromkeys(columns))), rows)
