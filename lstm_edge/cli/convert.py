"""lstm-edge convert: a trained model to one .lstm file."""

from __future__ import annotations

import os
from typing import Any

import click

import lstm_edge

from ..options import OPTIONS
from .explain import explain
from .io import err_console, out_console
from .options import conversion_options, taken
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
@conversion_options(OPTIONS.values())
@click.option("--explain", "explained", is_flag=True, help="List what was folded, fused, recognised and assumed.")
@click.option("--no-self-test", is_flag=True, help="Store no sample input with its answer.")
def command(source: str, output: str | None, explained: bool, no_self_test: bool, **given: Any) -> None:
    """Convert SOURCE (.onnx .keras .h5 .pt .pt2 .safetensors .tflite .json .nam .npz .toml) to a .lstm file.

    Example: lstm-edge convert vad.onnx -o vad.lstm --shape input=1,576 --set sr=16000 --overlap input=64
    """
    options = taken(given)
    network = options.get("network")
    target = output or os.path.splitext(source)[0] + ".lstm"
    check_output(target, (source, *([network] if network else [])))
    check_replaceable(target)
    with err_console().status(f"converting {os.path.basename(source)}"):
        model = lstm_edge.convert(source, target, self_test=not no_self_test, **options)
    out_console().print(f"{target}: {os.path.getsize(target):,} bytes, {len(model.ops)} ops", markup=False)
    describe(model, out_console(), notes=False)
    notes = len(model.metadata.get("notes", []))
    if explained:
        explain(model, out_console())
    elif notes:
        out_console().print(f"notes: {notes}, shown by --explain and by lstm-edge info --notes", markup=False)
