"""lstm-edge quantize: int8 or float16 weights, and what they cost."""

from __future__ import annotations

import os

import click
from rich.console import Console

import lstm_edge

from .. import format
from ..ir.int8 import COARSE
from ..quantize.auto import compare
from ..quantize.inputs import AUTO, CHOICES
from ..quantize.report import Error, QuantizeReport
from ..quantize.targets import HERE, TARGETS, measure_for
from .grid import Column, name, print_grid, text
from .io import err_console, out_console, print_json
from .model_files import check_model_output, print_sizes, sizes_of
from .options import json_option, model_argument
from .parsing import Command
from .tables import Reading, calibration_of, table_options


@click.command("quantize", cls=Command)
@model_argument
@click.option(
    "-o", "--output", metavar="OUT.lstm", type=click.Path(dir_okay=False), help="Default: MODEL.PRECISION.lstm."
)
@click.option(
    "--calibrate", metavar="FILE", multiple=True, type=click.Path(exists=True, dir_okay=False),
    help="Real input, as `lstm-edge run` takes it: weights are rounded for it and errors measured on it.",
)  # fmt: skip
@click.option(
    "--precision",
    type=click.Choice(["auto", "int8", "float16"]),
    help="auto, the default: times each op here and stores narrow what is no slower so. int8, float16: all that can be.",
)
@click.option(
    "--weights",
    type=click.Choice(["int8", "float16"]),
    help="With --precision auto the only narrow form to try; alone the same as --precision.",
)
@click.option(
    "--for",
    "board",
    type=click.Choice(list(TARGETS)),
    default=HERE,
    show_default=True,
    help="The machine whose times decide: this one, timed, or a Raspberry Pi, modelled.",
)
@click.option("--max-error", type=float, help="Largest error at the outputs; ops return to float32 until it holds.")
@click.option(
    "--keep", metavar="NAME", multiple=True, help="An op, or a pattern such as 'decoder*', to leave in float32."
)
@click.option(
    "--input-bits",
    type=click.Choice([str(choice) for choice in CHOICES]),
    default=AUTO,
    show_default=True,
    help="Bits in which int8 takes what comes into an op. auto: 15, and 8 where --calibrate shows that outputs hardly tell. 8 is faster.",
)
@table_options()
@json_option
def command(
    model_path: str, output: str | None, calibrate: tuple[str, ...], weights: str | None, max_error: float | None,
    keep: tuple[str, ...], precision: str | None, board: str, reading: Reading, input_bits: str, as_json: bool,
) -> None:  # fmt: skip
    """Store the weights of MODEL.lstm in int8 or float16 and report what that changes, op by op.

    Example: lstm-edge quantize vad.lstm -o vad.int8.lstm --calibrate speech.wav --max-error 0.01
    """
    source = lstm_edge.load(model_path)
    calibration = calibration_of(source, calibrate, reading)
    form = precision or weights or "auto"
    target = output or f"{os.path.splitext(model_path)[0]}.{form}.lstm"
    check_model_output(target, (model_path, *calibrate))
    with err_console().status(f"quantising {os.path.basename(model_path)}"):
        _, report = lstm_edge.quantize(
            model_path,
            target,
            calibration=calibration,
            weights=weights,
            max_error=max_error,
            keep=keep,
            precision=precision,
            target=board,
            input_bits=input_bits,
        )
        if form != "auto":
            add_times(report, model_path, target, board)
    if as_json:
        print_json({**sizes_of(model_path, target), **report.as_metadata()})
        return
    console = out_console()
    print_report(report, console)
    print_sizes(model_path, target, console)


def add_times(report: QuantizeReport, before: str, after: str, target: str) -> None:
    """Puts what a call takes in both forms into a report of weights that were asked for, and a note where they are slower."""
    found, slower = compare(format.read(before), format.read(after), report.weights, measure_for(target))
    report.take_times(found)
    report.notes = [*report.notes, *slower]


def print_report(report: QuantizeReport, console: Console) -> None:
    """A row per op with constants, a row per output, and what stayed float32."""
    forms = list(dict.fromkeys(form for op in report.ops for form in op.times))
    numbers = {"bytes": 0, "from": 2, "max error": 0, "mean": 4, "SNR dB": 3, "alone": 5}
    columns = text("op", 1), name("name"), text("stored"), *(Column(told, drop=drop) for told, drop in numbers.items())
    rows = []
    for op in report.ops:
        alone = "" if op.alone is None else f"{op.alone:.2g}"
        times = [f"{op.times[form]:.2f}" if form in op.times else "" for form in forms]
        sizes = f"{op.bytes_after:,}", f"{op.bytes_before:,}"
        stored = f"{op.stored}, x in 8 bits" if op.input_bits == COARSE else op.stored
        rows.append((op.op, op.name, stored, *sizes, *_error_cells(op.error), alone, *times))
    rows += [("output", output, "", "", "", *_error_cells(error)) for output, error in report.outputs.items()]
    print_grid(console, (*columns, *(Column(f"{form} us", drop=6) for form in forms)), rows)
    for kind, forms_us in report.calls.items():
        told = ", ".join(f"{form} {us:.4g} us" for form, us in forms_us.items())
        console.print(f"a {kind}: {told}; {report.where}", markup=False)
    console.print(f"errors against float32, measured on: {report.source}", markup=False)
    if report.inputs:
        console.print(f"inputs: {report.inputs}", markup=False)
    for op in report.ops:
        for role, why in op.stayed.items():
            console.print(f"float32: {op.name} {role}: {why}", markup=False)
    for note in report.notes:
        console.print(f"note: {note}", markup=False)


def _error_cells(error: Error | None) -> tuple[str, str, str]:
    return ("", "", "") if error is None else (f"{error.max:.2g}", f"{error.mean:.2g}", f"{error.snr:.1f}")
