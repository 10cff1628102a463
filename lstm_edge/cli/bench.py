"""lstm-edge bench: microseconds per step and per sequence on this machine."""

from __future__ import annotations

import os
import platform
from typing import Any

import click
from rich.table import Table

import lstm_edge

from ..bench import MODES, bench, machine_warnings
from .io import err_console, out_console, print_json
from .options import Duration, isa_option, json_option, model_argument

SCHEMA = 1


@click.command("bench")
@model_argument
@click.option("--mode", type=click.Choice(["step", "sequence", "both"]), default="both", show_default=True)
@click.option("--frames", type=click.IntRange(1), default=100, show_default=True, help="Frames of a sequence.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True)
@click.option("--warmup", type=click.IntRange(0), default=50, show_default=True, help="Calls before measuring.")
@click.option("--runs", type=click.IntRange(1), help="Calls measured; default: as many as fit into --seconds.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True)
@click.option(
    "--period", type=Duration(), metavar="32ms", help="Time between steps: counts late ones, real-time factor."
)
@click.option("--cpu", type=click.IntRange(0), metavar="N", help="Run on this CPU alone.")
@isa_option
@json_option
def command(
    model_path: str,
    mode: str,
    frames: int,
    batch: int,
    warmup: int,
    runs: int | None,
    seconds: float,
    period: float | None,
    cpu: int | None,
    isa: str | None,
    as_json: bool,
) -> None:
    """Time MODEL.lstm on random input, one thread. A step is one frame (or hop) with the state kept.

    Every call is timed alone, Python's part included. Steps run one after another without waiting for --period, so that
    caches are warmer than in real use.
    """
    model = lstm_edge.load(model_path, isa=isa)
    wanted = list(MODES) if mode == "both" else [mode]
    if mode == "both" and not model.metadata.get("streaming", {}).get("supported"):
        err_console().print("this model cannot stream: sequence only", markup=False)
        wanted = ["sequence"]
    warnings = machine_warnings(cpu)
    for warning in warnings:
        err_console().print(f"warning: {warning}", markup=False, soft_wrap=True)
    given: dict[str, Any] = {
        "frames": frames,
        "batch": batch,
        "warmup": warmup,
        "runs": runs,
        "seconds": seconds,
        "cpu": cpu,
    }
    results = []
    for each in wanted:
        with err_console().status(f"timing {each}"):
            results.append(bench(model, mode=each, period=period if each == "step" else None, **given))
    if as_json:
        about = {"schema": SCHEMA, "model": os.path.basename(model_path), "cpu": cpu_name(), "unit": "us"}
        about |= {"version": lstm_edge.__version__, "python": platform.python_version(), "system": platform.platform()}
        rows = [t.as_dict() for t in results]
        print_json({**about, "period_s": period, "warnings": warnings, "results": rows})
        return
    console = out_console()
    console.print(f"{os.path.basename(model_path)}, microseconds per call, {cpu_name()}", markup=False)
    table = Table("mode", "isa", "frames", "batch", "runs", box=None, pad_edge=False)
    for name in ("min", "median", "p90", "p99", "max"):
        table.add_column(name, justify="right")
    for t in results:
        times = [_microseconds(value) for value in (t.min, t.median, t.p90, t.p99, t.max)]
        table.add_row(t.mode, t.isa, str(t.frames), str(t.batch), str(t.runs), *times)
    console.print(table)
    for t in results:
        if period and t.real_time_factor is not None:
            late = f"{t.missed} of {t.runs} steps late for a period of {1e3 * period:g} ms"
            console.print(f"{late}; real-time factor {t.real_time_factor:.3g} (median / period)", markup=False)


def _microseconds(value: float) -> str:
    """Three to four significant digits."""
    return f"{value:.2f}" if value < 100 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def cpu_name() -> str:
    """The CPU's model name as the kernel tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() in ("model name", "Model") and value.strip():
                    return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
