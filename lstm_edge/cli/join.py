"""lstm-edge join: several .lstm files and what lies between them as one."""

from __future__ import annotations

import os

import click

import lstm_edge

from ..ir.notes import assumptions
from .io import err_console, out_console
from .model_files import ModelFile, check_model_output
from .parsing import Command
from .summary import describe, show_assumptions
from .verify import say_verdict


@click.command("join", cls=Command)
@click.argument("networks", metavar="MODEL.lstm...", nargs=-1, required=True, type=ModelFile())
@click.option(
    "--pipeline", "description", metavar="PIPELINE.toml", required=True, type=click.Path(exists=True, dir_okay=False),
    help="What lies between the networks, which it calls by their files' names without .lstm (docs/pipelines.md).",
)  # fmt: skip
@click.option("-o", "--output", metavar="OUT.lstm", required=True, type=click.Path(dir_okay=False))
@click.option("--no-self-test", is_flag=True, help="Store no sample input with its answer.")
def command(networks: tuple[str, ...], description: str, output: str, no_self_test: bool) -> None:
    """Join networks, and what lies before, between and behind them, to one file that takes raw input.

    Example: lstm-edge join dtln_1.lstm dtln_2.lstm --pipeline dtln.toml -o dtln.lstm
    """
    check_model_output(output, (*networks, description))
    with err_console().status(f"joining {os.path.basename(description)}"):
        model = lstm_edge.join(networks, output, pipeline=description, self_test=not no_self_test)
    out_console().print(f"{output}: {os.path.getsize(output):,} bytes, {len(model.ops)} ops", markup=False)
    describe(model, out_console(), notes=False)
    show_assumptions(assumptions(model.metadata), out_console())
    if not no_self_test:
        say_verdict(lstm_edge.verify(output))
