"""lstm-edge verify: the self-test of a .lstm file, on the machine at hand."""

from __future__ import annotations

import click

from .io import out_console, print_json
from .options import isa_option, json_option, model_argument

DIFFERENT = 3


@click.command("verify")
@model_argument
@isa_option
@json_option
@click.pass_context
def command(ctx: click.Context, model_path: str, isa: str | None, as_json: bool) -> None:
    """Replay the sample input stored in MODEL.lstm and compare with the answer of the framework it came from.

    Exit code 3 when the difference is beyond the tolerance stored with it.
    """
    raise NotImplementedError
