"""lstm-edge export-c: a model as C99 for machines without an operating system."""

from __future__ import annotations

import click

from ..export_c import export_c
from .io import out_console, print_json
from .options import json_option, model_argument
from .parsing import Command


@click.command("export-c", cls=Command)
@model_argument
@click.option(
    "-o", "--output", metavar="FOLDER", type=click.Path(file_okay=False), required=True, help="Made if needed."
)
@click.option("--name", metavar="NAME", help="Of the functions and files; default: the model file's.")
@click.option("--frames", metavar="N", type=click.IntRange(1), help="Frames of a step; default: 1, or the model's hop.")
@json_option
def command(model_path: str, output: str, name: str | None, frames: int | None, as_json: bool) -> None:
    """Write MODEL.lstm as a self-contained folder of C99: the ops that it needs, its weights as constants, no malloc, no files.

    Example: lstm-edge export-c amp.lstm -o amp/ && make -C amp test
    """
    made = export_c(model_path, output, name=name, frames=frames)
    if as_json:
        print_json(
            {
                "folder": output,
                "files": sorted(made.files),
                "memory": made.memory,
                "steps": made.steps,
                "meanings": made.meanings,
            }
        )
        return
    out_console().print(
        f"{output}: {len(made.files)} files; a stream takes {made.memory:,} bytes; `make test` there replays {made.steps} steps",
        markup=False,
    )
    for meant in made.meanings:
        out_console().print(
            f"{output}: {meant}: its numbers alone; what they mean ([after]) is not part of a program", markup=False
        )
    if made.others:
        out_console().print(f"{output}: not of this program, and left alone: {', '.join(made.others)}", markup=False)
