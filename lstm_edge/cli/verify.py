"""lstm-edge verify: the self-test of a .lstm file, on the machine at hand."""

from __future__ import annotations

import os

import click

from .io import out_console, print_json
from .options import isa_option, json_option, model_argument

DIFFERENT = 3


@click.command("verify")
@model_argument
@isa_option
@json_option
def command(model_path: str, isa: str | None, as_json: bool) -> int:
    """Replay the sample input stored in MODEL.lstm and compare with the answer of the framework it came from.

    Exit code 3 when a difference is beyond the tolerance stored with it.
    """
    import lstm_edge

    report = lstm_edge.verify(model_path, isa=isa)
    if as_json:
        about = {"model": os.path.basename(model_path), "source": report.source, "isa": report.isa}
        print_json({**about, "tolerance": report.tolerance, "errors": report.errors, "passed": report.passed})
        return 0 if report.passed else DIFFERENT
    console = out_console()
    for name, error in report.errors.items():
        console.print(f"{name}: largest difference {error:.3g}, tolerance {report.tolerance:.3g}", markup=False)
    verdict = "passed" if report.passed else "FAILED"
    console.print(f"{verdict}: {report.isa} kernels against {report.source}", style="green" if report.passed else "red")
    return 0 if report.passed else DIFFERENT
