"""lstm-edge bench: how long a step, a chunk or a sequence takes on this machine, and what to make of it (docs/benchmark.md)."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import click

import lstm_edge

from ..bench import MODES, bench, empty_call, look, paced, picture, warnings_of
from ..bench.baseline import SCHEMA, Change, checked, compare, name_of
from ..bench.core_step import core_step
from ..bench.machine import cpu_name
from ..bench.measure import MANY, MOST_BATCH, MOST_FRAMES, MOST_STREAMS, MOST_THREADS
from ..bench.ops import op_times
from ..bench.page import page, timeline
from ..bench.sampling import MOST
from ..bench.startup import startup
from ..bench.statistics import histogram
from ..check.versus import ENGINES
from ..errors import FormatError, LstmEdgeError
from ..options import OPTIONS
from .bench_report import print_csv, print_markdown, print_tables
from .bench_versus import code_of, engines_of, measured, sources_of
from .conversion import conversion_options, plugin_option
from .io import err_console, print_json, suffix_of
from .options import Duration, json_option, memory_option, model_argument
from .parsing import Command
from .sinks import PICTURES, check_output, replacing
from .summary import delay_lines

OF_SOURCES = [o for o in OPTIONS.values() if o.name != "sample"]
PRECISIONS = ("file", "float16", "int8")


@click.command("bench", cls=Command)
@model_argument
@click.option(
    "--mode",
    type=click.Choice([*MODES, MANY, "both", "all"]),
    default="both",
    show_default=True,
    help="both: step and sequence.",
)
@click.option(
    "--frames",
    type=click.IntRange(1, MOST_FRAMES),
    default=100,
    show_default=True,
    help="Frames of a chunk or sequence.",
)
@click.option("--batch", type=click.IntRange(1, MOST_BATCH), default=1, show_default=True)
@click.option(
    "--streams",
    type=click.IntRange(1, MOST_STREAMS),
    default=1,
    show_default=True,
    help="Streams called in turn; with --mode many in one call.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, MOST_THREADS),
    default=1,
    show_default=True,
    help="Threads, each with its streams.",
)
@click.option("--warmup", type=click.IntRange(0, MOST), default=50, show_default=True, help="Calls before measuring.")
@click.option(
    "--runs", type=click.IntRange(1, MOST), help="Calls measured; default: until the median is known to half a percent."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=3.0,
    show_default=True,
    help="Measure at least so long; at most four times.",
)
@click.option(
    "--period", type=Duration(), metavar="32ms", help="A frame comes so often: late answers, real-time factor."
)
@click.option(
    "--duration",
    type=Duration(),
    metavar="60s",
    help="With --period: steps at that pace for so long, asleep in between.",
)
@click.option("--cpu", type=click.IntRange(0), metavar="N", help="Run on this CPU alone.")
@click.option("--cold", is_flag=True, help="Empty the caches before every call.")
@click.option(
    "--isa",
    "isas",
    metavar="NAME",
    multiple=True,
    help="Kernels to use (scalar, avx2, ...; all); may be repeated; default: the best of this CPU.",
)
@click.option(
    "--precision",
    "precisions",
    type=click.Choice([*PRECISIONS, "all"]),
    multiple=True,
    help="Beside the file as it is: quantised to float16, int8.",
)
@click.option("--breakdown", is_flag=True, help="Starting in a fresh process, and the core's part of a step.")
@click.option("--ops", is_flag=True, help="Time, bytes and share of the machine's bandwidth per op.")
@click.option(
    "--save", type=click.Path(dir_okay=False), metavar="BASE.json", help="Write the report for a later --against."
)
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False),
    metavar="BASE.json",
    help="Compare; exit code 3 where a median is worse.",
)
@click.option(
    "--max-loss",
    default="5%",
    show_default=True,
    metavar="PERCENT",
    help="With --against: how much more time is no loss.",
)
@click.option("--vs", metavar="NAME,...", help=f"Beside engines that run the source, in turn: {', '.join(ENGINES)}.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="With --vs: what MODEL.lstm was converted from, also in further formats; default: beside it, by its name.",
)
@click.option(
    "--tolerance", type=click.FloatRange(0, min_open=True), help="With --vs: times the largest answer; default 1e-4."
)
@conversion_options(OF_SOURCES, help="With --vs: as it was given to convert.")
@plugin_option
@click.option("--strict", is_flag=True, help="Exit code 3 where the machine is warned of.")
@click.option("--csv", "as_csv", is_flag=True, help="Print rows of comma-separated values.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a table in Markdown.")
@click.option("--html", type=click.Path(dir_okay=False), metavar="PAGE.html", help="Write one self-contained page.")
@click.option("--plot", metavar="FILE.png", help="Draw it: .png, .svg or .pdf (pip install 'lstm-edge[plot]').")
@memory_option
@json_option
def command(model_path: str, **given: Any) -> int:
    """Time MODEL.lstm on random input. A step is one frame (or hop) with the state kept.

    Every call is timed alone, Python's part included. What disturbs the machine is told, never changed.
    """
    forms = [
        flag
        for flag, name in (("--json", "as_json"), ("--csv", "as_csv"), ("--markdown", "as_markdown"))
        if given[name]
    ]
    if len(forms) > 1:
        raise click.UsageError(f"{' and '.join(forms)} exclude each other.")
    if given["duration"] and not given["period"]:
        raise click.UsageError("--duration needs --period.")
    for path in filter(None, (given["save"], given["html"], given["plot"])):
        check_output(path, (model_path,))
    if given["plot"] and suffix_of(given["plot"]) not in PICTURES:
        raise FormatError(f"--plot: expected a file among {', '.join(PICTURES)}, found {given['plot']!r}")
    if given["plot"] and find_spec("matplotlib") is None:
        raise LstmEdgeError("--plot: matplotlib is not installed; pip install 'lstm-edge[plot]'")
    sources = sources_of(model_path, given) if engines_of(given) else []
    allowed = _percent(given["max_loss"])
    base = _read_base(given["against"])
    before = look(given["cpu"])
    report = _measure(model_path, given)
    if sources:
        report["versus"] = measured(
            model_path, sources, list(dict.fromkeys(row["mode"] for row in report["results"])), given
        )
    after = look(given["cpu"])
    report |= {"machine": {"before": before.as_dict(), "after": after.as_dict()}}
    report["warnings"] = warnings_of(before, after, given["cpu"])
    for warning in report["warnings"]:
        err_console().print(f"warning: {warning}", markup=False, soft_wrap=True)
    changes = _changes(report, base, allowed)
    _write(report, given)
    if given["as_json"]:
        print_json(report | ({"changes": [vars(change) for change in changes]} if changes else {}))
    elif given["as_csv"]:
        print_csv(report)
    elif given["as_markdown"]:
        print_markdown(report)
    else:
        print_tables(report, changes, before)
    worse = any(change.slower for change in changes)
    return 3 if worse or (given["strict"] and report["warnings"]) else code_of(report.get("versus", []))


def _measure(path: str, given: dict[str, Any]) -> dict[str, Any]:
    report: dict[str, Any] = {
        "schema": SCHEMA, "unit": "us", "model": os.path.basename(path), "bytes": os.path.getsize(path), "cpu": cpu_name(),
        "version": lstm_edge.__version__, "python": platform.python_version(), "system": platform.platform(),
        "period_s": given["period"], "empty_call": empty_call(given["cpu"]), "results": [],
    }  # fmt: skip
    isa = next(iter(_isas(given["isas"])))
    model = lstm_edge.load(path, isa=isa, max_memory=given["max_memory"])
    report["delay"] = delay_lines(model)
    steps = bool(model.metadata.get("streaming", {}).get("supported"))
    if given["ops"] and not steps:
        raise LstmEdgeError(
            "bench: --ops times the ops of a step, and this model cannot stream (`lstm-edge info` says why)"
        )
    with _files(path, given["precisions"]) as files:
        for precision, file in files.items():
            for isa in _isas(given["isas"]):
                report["results"] += _rows(file, precision, isa, given)
    if given["duration"]:
        with err_console().status(f"stepping every {1e3 * given['period']:g} ms for {given['duration']:g} s"):
            report["paced"] = paced(model, period=given["period"], duration=given["duration"],
                                    batch=given["batch"], cpu=given["cpu"]).as_dict()  # fmt: skip
    if given["breakdown"]:
        with err_console().status("starting in fresh processes"):
            mode, frames = ("step", 1) if steps else ("sequence", given["frames"])
            report["startup"] = startup(
                path, mode=mode, isa=isa, frames=frames, max_memory=given["max_memory"]
            ).as_dict()
            report["core_step"] = core_step(model, given["batch"]) if steps else None
    if given["ops"]:
        with err_console().status("timing ops"):
            mode = "chunk" if given["mode"] == "chunk" else "step"
            rows, machine = op_times(path, mode=mode, frames=given["frames"], isa=isa, max_memory=given["max_memory"])
            report |= {"ops": [row.as_dict() for row in rows], "ops_mode": mode, "limits": machine.as_dict()}
    return report


def _rows(file: str, precision: str, isa: str | None, given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    model = lstm_edge.load(file, isa=isa, max_memory=given["max_memory"])
    wanted = {"both": ["step", "sequence"], "all": list(MODES)}.get(given["mode"], [given["mode"]])
    if len(wanted) > 1 and not model.metadata.get("streaming", {}).get("supported"):
        err_console().print("this model cannot stream: sequence only", markup=False)
        wanted = ["sequence"]
    names = ("frames", "batch", "streams", "threads", "warmup", "runs", "seconds", "cpu", "cold")
    for mode in wanted:
        with err_console().status(f"timing {mode}, {model.isa}, {precision}"):
            timing = bench(
                model, mode=mode, period=given["period"] if mode == "step" else None, **{n: given[n] for n in names}
            )
        row = {"precision": precision, **timing.as_dict()}
        shown = vars(histogram(timing.times))
        yield {"name": name_of(row), **row, "histogram": shown, "timeline": timeline(timing.times, timing.begun)}


@contextmanager
def _files(path: str, precisions: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The file in each precision asked for; those made here lie in a folder that is gone afterwards."""
    wanted = PRECISIONS if "all" in precisions else precisions or ("file",)
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for precision in wanted:
            files[precision] = path
            if precision != "file":
                files[precision] = os.path.join(folder, f"{precision}.lstm")
                lstm_edge.quantize(path, files[precision], weights=precision)
        yield files


def _isas(given: tuple[str, ...]) -> list[str | None]:
    if "all" in given:
        return [name for name, supported in lstm_edge.isas() if supported]
    return list(given) or [None]


def _percent(text: str) -> float:
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise click.UsageError(f"--max-loss: expected a percentage such as 5%, found {text!r}.")
    return value / 100


def _read_base(path: str | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            return checked(json.load(file))
    except (ValueError, RecursionError) as why:
        told = (
            why
            if isinstance(why, LstmEdgeError)
            else "expected a report of `lstm-edge bench --save`, found other content"
        )
        raise LstmEdgeError(f"{path}: {told}") from None


def _changes(report: dict[str, Any], base: dict[str, Any] | None, allowed: float) -> list[Change]:
    if base is None:
        return []
    if base.get("cpu") != report["cpu"]:
        err_console().print(
            f"warning: the base was taken on {base.get('cpu')!r}, this run on {report['cpu']!r}", markup=False
        )
    return compare(report, base, allowed)


def _write(report: dict[str, Any], given: dict[str, Any]) -> None:
    if given["save"]:
        _write_text(given["save"], json.dumps(report, indent=1) + "\n")
    if given["html"]:
        _write_text(given["html"], page(report))
    if given["plot"]:
        with replacing(given["plot"]) as file:
            picture.draw(report, file, suffix_of(given["plot"])[1:])


def _write_text(path: str, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode())
