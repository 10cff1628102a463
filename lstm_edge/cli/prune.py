"""lstm-edge prune: weights with fewer blocks, and what that costs."""

from __future__ import annotations

import os

import click
from rich.console import Console

import lstm_edge

from ..prune.report import PruneReport
from .grid import Column, name, print_grid, text
from .io import err_console, out_console, print_json
from .model_files import check_model_output, print_sizes, sizes_of
from .options import json_option, model_argument
from .parsing import Command
from .tables import Reading, calibration_of, table_options


@click.command("prune", cls=Command)
@model_argument
@click.option("-o", "--output", metavar="OUT.lstm", type=click.Path(dir_okay=False), help="Default: MODEL.pruned.lstm.")
@click.option(
    "--density", type=click.FloatRange(0, 1, min_open=True), required=True,
    help="The share of each weight's blocks that is left; 1 cuts nothing and says what is sparse already.",
)  # fmt: skip
@click.option(
    "--calibrate", metavar="FILE", multiple=True, type=click.Path(exists=True, dir_okay=False),
    help="Real input, as `lstm-edge run` takes it: blocks are chosen by it, and the others make up for them.",
)  # fmt: skip
@click.option("--layers", metavar="NAME", multiple=True, help="An op to prune, or a pattern such as 'lstm*'; else all.")
@table_options()
@json_option
def command(
    model_path: str,
    output: str | None,
    density: float,
    calibrate: tuple[str, ...],
    layers: tuple[str, ...],
    reading: Reading,
    as_json: bool,
) -> None:
    """Cut weights of MODEL.lstm in blocks of 16 outputs by one input, and report what that costs, weight by weight.

    Example: lstm-edge prune vad.lstm --density 0.3 --calibrate speech.wav -o small.lstm
    """
    source = lstm_edge.load(model_path)
    calibration = calibration_of(source, calibrate, reading)
    target = output or f"{os.path.splitext(model_path)[0]}.pruned.lstm"
    check_model_output(target, (model_path, *calibrate))
    with err_console().status(f"pruning {os.path.basename(model_path)}"):
        _, report = lstm_edge.prune(
            model_path, target, density=density, calibration=calibration, layers=layers or ("*",)
        )
    if as_json:
        print_json({**sizes_of(model_path, target), **report.as_metadata()})
        return
    console = out_console()
    print_report(report, console)
    print_sizes(model_path, target, console)


def print_report(report: PruneReport, console: Console) -> None:
    """A row per weight, a line per output and kind of call, and what stayed whole."""
    columns = (
        text("op", 2),
        name("name"),
        text("weight"),
        Column("density"),
        Column("from", drop=1),
        Column("bytes"),
        Column("from", drop=1),
    )
    rows = []
    for w in report.weights:
        shares, sizes = (f"{w.after:.3f}", f"{w.before:.3f}"), (f"{w.bytes_after:,}", f"{w.bytes_before:,}")
        rows.append((w.op, w.name, w.weight, *shares, *sizes))
    print_grid(console, columns, rows)
    for output, e in report.outputs.items():
        console.print(
            f"output {output}: largest error {e.max:.2g}, mean {e.mean:.2g}, SNR {e.snr:.1f} dB", markup=False
        )
    for kind, (before, after) in report.calls.items():
        console.print(f"a {kind}: {after:.4g} us, before {before:.4g}; {report.where}", markup=False)
    console.print(f"chosen by: {report.by}; errors measured on: {report.source}", markup=False)
    for place, why in report.stayed.items():
        console.print(f"whole: {place}: {why}", markup=False)
