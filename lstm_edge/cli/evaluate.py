"""lstm-edge evaluate: accuracy or error of a model on labelled data."""

from __future__ import annotations

import os
from dataclasses import replace

import click
import numpy as np

import lstm_edge

from ..errors import FormatError
from ..files.table_files import SUFFIXES as TABLES
from .grid import Column, print_grid, text
from .io import open_array, out_console, print_json, read_rows, suffix_of
from .options import isa_option, json_option, model_argument
from .parsing import Command
from .tables import Reading, read_arrays, table_options


@click.command("evaluate", cls=Command)
@model_argument
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.argument("labels", metavar="LABELS", type=click.Path(exists=True, dir_okay=False))
@click.option("--output", metavar="NAME", help="The output to compare, when there are several.")
@click.option("--task", type=click.Choice(["classes", "regression"]), help="Default: what the labels look like.")
@click.option(
    "--threshold", type=float, default=0.5, show_default=True, help="Splits answers of one value in two classes."
)
@table_options()
@isa_option
@json_option
def command(
    model_path: str, inputs: tuple[str, ...], labels: str, output: str | None, task: str | None, threshold: float,
    reading: Reading, isa: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Run MODEL.lstm over INPUT (as `lstm-edge run` takes it) and compare with LABELS, a .npy or a table.

    Prints accuracy and the confusion matrix for classes, mean absolute and root mean square error for numbers.
    """
    model = lstm_edge.load(model_path, isa=isa)
    arrays = read_arrays(model, inputs, reading)
    named = {p.name: a for p, a in zip(model.inputs, arrays)}
    result = lstm_edge.evaluate(
        model, named, _read_labels(labels, reading), output=output, task=task, threshold=threshold
    )
    if as_json:
        print_json({"model": os.path.basename(model_path), "isa": model.isa, **result.as_dict()})
        return
    console = out_console()
    if result.confusion is None:
        console.print(f"{result.count} values: MAE {result.mae:.6g}, RMSE {result.rmse:.6g}", markup=False)
        return
    assert result.accuracy is not None
    console.print(f"{result.count} answers: accuracy {result.accuracy:.4f}", markup=False)
    columns = text("label \\ answer"), *(Column(str(n)) for n in range(len(result.confusion)))
    print_grid(console, columns, [(str(n), *map(str, row)) for n, row in enumerate(result.confusion)])


def _read_labels(path: str, reading: Reading) -> np.ndarray:
    if suffix_of(path) in TABLES:
        table = read_rows(path, replace(reading.form, columns=()))
        return table[:, 0] if table.shape[1] == 1 else table
    if not path.lower().endswith(".npy"):
        raise FormatError(f"{path}: expected labels as .npy or a table ({', '.join(TABLES)})")
    return open_array(path)
