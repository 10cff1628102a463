"""lstm-edge convert: a trained model to one .lstm file."""

from __future__ import annotations

import os
from typing import Any

import click

from .explain import explain
from .io import err_console, out_console
from .options import Assignment
from .sinks import check_output, check_replaceable
from .summary import describe


@click.command("convert")
@click.argument("source", type=click.Path(exists=True))
@click.option(
    "-o",
    "--output",
    metavar="MODEL.lstm",
    type=click.Path(dir_okay=False),
    help="Default: the source's name with .lstm.",
)
@click.option(
    "--shape", "shapes", type=Assignment("shape"), multiple=True, help="An input's shape; batch and frames stay free."
)
@click.option(
    "--set", "constants", type=Assignment("numbers"), multiple=True, help="Fix an input to a value, such as sr=16000."
)
@click.option(
    "--state", "states", type=Assignment("name"), multiple=True, help="An output that is the next call's input."
)
@click.option("--no-states", is_flag=True, help="Pair no inputs and outputs as states.")
@click.option(
    "--overlap",
    "overlaps",
    type=Assignment("integer"),
    multiple=True,
    help="Values each frame repeats from the one before.",
)
@click.option(
    "--network",
    metavar="NET.toml",
    type=click.Path(exists=True, dir_okay=False),
    help="The network whose weights SOURCE holds.",
)
@click.option("--explain", "explained", is_flag=True, help="List what was folded, fused, recognised and assumed.")
@click.option("--no-self-test", is_flag=True, help="Store no sample input with its answer.")
def command(
    source: str,
    output: str | None,
    shapes: Any,
    constants: Any,
    states: Any,
    no_states: bool,
    overlaps: Any,
    network: str | None,
    explained: bool,
    no_self_test: bool,
) -> None:
    """Convert SOURCE (.onnx .keras .h5 .pt .pt2 .safetensors .tflite .json .nam .npz .toml) to a .lstm file.

    Example: lstm-edge convert vad.onnx -o vad.lstm --shape input=1,576 --set sr=16000 --overlap input=64
    """
    import lstm_edge

    if states and no_states:
        raise click.UsageError("--state and --no-states exclude each other.")
    target = output or os.path.splitext(source)[0] + ".lstm"
    check_output(target, (source, *([network] if network else [])))
    check_replaceable(target)
    with err_console().status(f"converting {os.path.basename(source)}"):
        model = lstm_edge.convert(
            source,
            target,
            shapes=dict(shapes) or None,
            constants=dict(constants) or None,
            states={} if no_states else dict(states) or None,
            overlap=dict(overlaps) or None,
            network=network,
            self_test=not no_self_test,
        )
    out_console().print(f"{target}: {os.path.getsize(target):,} bytes, {len(model.ops)} ops", markup=False)
    describe(model, out_console(), notes=False)
    notes = len(model.metadata.get("notes", []))
    if explained:
        explain(model, out_console())
    elif notes:
        out_console().print(f"notes: {notes}, shown by --explain and by lstm-edge info --notes", markup=False)
