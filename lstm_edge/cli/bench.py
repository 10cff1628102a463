"""lstm-edge bench: microseconds per step and per sequence on this machine."""

from __future__ import annotations

import os
import platform

import click
from rich.table import Table

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
@click.option("--period", type=Duration(), metavar="32ms", help="Time between frames: counts late calls.")
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
    isa: str | None,
    as_json: bool,
) -> None:
    """Time MODEL.lstm on random input, one thread. A step is one frame with the state kept."""
    import lstm_edge
    from lstm_edge.bench import MODES, bench

    model = lstm_edge.load(model_path, isa=isa)
    wanted = list(MODES) if mode == "both" else [mode]
    if mode == "both" and not model.metadata.get("streaming", {}).get("supported"):
        err_console().print("this model cannot stream: sequence only", markup=False)
        wanted = ["sequence"]
    results = []
    for each in wanted:
        with err_console().status(f"timing {each}"):
            late = period if each == "step" else None
            timing = bench(
                model, mode=each, frames=frames, batch=batch, warmup=warmup, runs=runs, seconds=seconds, period=late
            )
        results.append(timing)
    if as_json:
        about = {"schema": SCHEMA, "model": os.path.basename(model_path), "cpu": cpu_name(), "unit": "us"}
        print_json(
            {**about, "version": lstm_edge.__version__, "period_s": period, "results": [t.as_dict() for t in results]}
        )
        return
    console = out_console()
    console.print(f"{os.path.basename(model_path)}, microseconds per call, {cpu_name()}", markup=False)
    table = Table("mode", "isa", "frames", "batch", "runs", box=None, pad_edge=False)
    for name in ("min", "median", "p90", "p99", "max", *(["late"] if period else [])):
        table.add_column(name, justify="right")
    for t in results:
        times = [_microseconds(value) for value in (t.min, t.median, t.p90, t.p99, t.max)]
        misses = [] if not period else ["" if t.missed is None else str(t.missed)]
        table.add_row(t.mode, t.isa, str(t.frames), str(t.batch), str(t.runs), *times, *misses)
    console.print(table)


def _microseconds(value: float) -> str:
    """Four significant digits or whole microseconds."""
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
