"""lstm-edge verify: the self-test of a .lstm file, on the machine at hand."""

from __future__ import annotations

import os
from typing import Any

import click

import lstm_edge

from ..check.against import compare
from ..check.verify import Report
from ..options import OPTIONS
from .conversion import conversion_options, plugin_option, taken
from .io import out_console, print_json
from .options import isa_option, json_option, memory_option, model_argument
from .parsing import Command
from .summary import show_assumptions

DIFFERENT = 3
OF_IMPORTERS = [o for o in OPTIONS.values() if o.of_importer]


@click.command("verify", cls=Command)
@model_argument
@click.option(
    "--against",
    metavar="ORIGINAL",
    type=click.Path(exists=True),
    help="Compare op by op with the model that the file was converted from.",
)
@conversion_options(OF_IMPORTERS, help="With --against: as it was given to convert.")
@plugin_option
@click.option("--tolerance", type=float, help="With --against: times the largest value of a tensor; default 1e-4.")
@isa_option
@memory_option
@json_option
def command(
    model_path: str, against: str | None, tolerance: float | None, isa: str | None, max_memory: int | None,
    as_json: bool, **given: Any,
) -> int:  # fmt: skip
    """Replay the sample input stored in MODEL.lstm and compare with the answer stored beside it.

    It says "verified" only where that is the answer of the framework the model came from, and why where it is not. With
    --against, every op's answer is compared with the original's, and the first that differs is named. Exit code 3 when
    a difference is beyond what is allowed.
    """
    options = {**taken(given), **({"tolerance": tolerance} if tolerance else {})}
    if against is not None:
        return _compare(model_path, against, isa, as_json, options)
    if options:
        flags = ", ".join(o.flag for o in OF_IMPORTERS)
        raise click.UsageError(f"{flags} and --tolerance go with --against.")
    report = lstm_edge.verify(model_path, isa=isa, max_memory=max_memory)
    if as_json:
        about = {"model": os.path.basename(model_path), "source": report.source, "isa": report.isa}
        verdict = {
            "passed": report.passed,
            "verified": report.verified,
            "by": report.by,
            "why": report.why,
            "assumed": report.assumed,
        }
        print_json({**about, "tolerance": report.tolerance, "errors": report.errors, **verdict})
        return 0 if report.passed else DIFFERENT
    console = out_console()
    for name, error in report.errors.items():
        console.print(f"{name}: largest difference {error:.3g}, allowed {report.tolerance:.3g}", markup=False)
    show_assumptions(report.assumed, console)
    say_verdict(report)
    console.print(f"with {report.isa} kernels")
    return 0 if report.passed else DIFFERENT


def say_verdict(report: Report) -> None:
    """The one line that says what the file's answer is equal to: green where a framework gave that."""
    style = "green" if report.verified else "yellow" if report.passed else "red"
    out_console().print(report.words, style=style, markup=False)


def _compare(model_path: str, against: str, isa: str | None, as_json: bool, given: dict[str, Any]) -> int:
    found = compare(model_path, against, isa=isa, **given)
    code = 0 if found.passed else DIFFERENT
    if as_json:
        rows = [
            {"op": o.op, "name": o.name, "tensor": o.tensor, "error": o.error, "allowed": o.allowed} for o in found.ops
        ]
        about = {"model": os.path.basename(model_path), "original": os.path.basename(against), "source": found.source}
        first = found.first.name if found.first else None
        verdict = {"passed": found.passed, "by": found.by, "why": found.why}
        print_json({**about, "isa": found.isa, "ops": rows, "first": first, **verdict})
        return code
    console = out_console()
    for row in found.ops:
        mark = "" if row.agrees else "  <- beyond the tolerance"
        console.print(f"{row.op:16} {row.tensor}: largest difference {row.error:.3g}{mark}", markup=False)
    if found.first is not None:
        row = found.first
        console.print(
            f"first op that differs: {row.name} ({row.op}), output {row.tensor!r}: {row.error:.3g}, "
            f"allowed {row.allowed:.3g}",
            style="red",
            markup=False,
        )
    console.print(found.words, style="green" if found.passed else "red", markup=False)
    return code
