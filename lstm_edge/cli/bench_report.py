"""A report of `lstm-edge bench` as tables, comma-separated values or Markdown."""

from __future__ import annotations

import csv
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from ..bench import Machine
from ..bench.baseline import Change
from ..bench.measure import MANY
from .io import out_console

COLUMNS = ("min", "mean", "sd", "median", "p90", "p95", "p99", "p999", "max")
BARS = " ▁▂▃▄▅▆▇█"
RIVAL = ("min", "median", "low", "high", "ratio", "ratio_low", "ratio_high", "ratio_min")  # figures of an engine


def print_tables(report: dict[str, Any], changes: list[Change], machine: Machine) -> None:
    console = out_console()
    clock = f", {machine.mhz:.0f} MHz" if machine.mhz else ""
    console.print(f"{report['model']}, microseconds per call, {report['cpu']}{clock}", markup=False)
    table = Table("call", "runs", box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for row in report["results"]:
        table.add_row(row["name"], str(row["runs"]), *(_number(row[name]) for name in COLUMNS))
    console.print(table)
    for row in report["results"]:
        _print_row(console, row, report)
    console.print(f"an empty call by the same clock: {_number(report['empty_call'])}", markup=False)
    if "versus" in report:
        _print_versus(console, report["versus"])
    if "paced" in report:
        _print_paced(console, report["paced"])
    if "startup" in report:
        _print_startup(console, report)
    if "ops" in report:
        _print_ops(console, report)
    for change in changes:
        word = "SLOWER" if change.slower else "ok"
        console.print(
            f"{word}: {change.name}: {_number(change.before)} -> {_number(change.now)}, {change.ratio:.3f} of before",
            markup=False,
        )


def _print_row(console: Console, row: dict[str, Any], report: dict[str, Any]) -> None:
    shape = row["histogram"]
    most = max(shape["counts"]) or 1
    bars = "".join(BARS[-(-count * 8 // most)] for count in shape["counts"])
    low, high = shape["edges"][0], shape["edges"][-1]
    console.print(f"{row['name']}: median {_number(row['low'])} to {_number(row['high'])} (95 %); "
                  f"{_number(low)} |{bars}| {_number(high)}, {shape['beyond']} beyond", markup=False, soft_wrap=True)  # fmt: skip
    if row["outliers"]:
        apart = ", ".join(f"{count} by {cause}" for cause, count in row["outliers"].items())
        console.print(f"  set apart: {apart.replace('by unknown', 'unknown')}", markup=False)
    if row["mode"] == MANY:
        per = _number(row["median"] / row["streams"])
        console.print(f"  {per} a stream, {row['streams']} streams in one call", markup=False)
    elif row["threads"] > 1:
        console.print(f"  {row['calls_per_second']:.0f} calls a second in {row['threads']} threads", markup=False)
    if row["missed"] is not None:
        late = f"{row['missed']} of {row['runs']} steps late for a period of {1e3 * report['period_s']:g} ms"
        console.print(f"  {late}; real-time factor {row['real_time_factor']:.3g} (median / period)", markup=False)


def _print_paced(console: Console, found: dict[str, Any]) -> None:
    console.print(f"paced: {found['missed']} of {found['frames']} answers late in {found['duration']:.1f} s, a frame every "
                  f"{1e3 * found['period']:g} ms; real-time factor {found['real_time_factor']:.3g}, {100 * found['cpu_share']:.1f} % of a CPU",
                  markup=False, soft_wrap=True)  # fmt: skip
    for name in ("wake", "work", "answer"):
        values = ", ".join(f"{kind} {_number(value)}" for kind, value in found[name].items())
        console.print(f"  {name}: {values}", markup=False)
    energy = (
        f"{found['joules']:.2f} J by {found['meter']}" if found["joules"] is not None else "not counted by this system"
    )
    console.print(f"  jitter {_number(found['jitter'])} (sd of the starts); energy: {energy}", markup=False)


def _print_startup(console: Console, report: dict[str, Any]) -> None:
    found, sizes = report["startup"], report["startup"]["bytes"]
    table = Table("from nothing, ms", "ms", "MB", box=None, pad_edge=False)
    for name in sizes:
        table.add_row(name, f"{found[name]:.2f}", f"{sizes[name] / 1e6:.1f}")
    console.print(table)
    if report["core_step"] is not None:
        console.print(f"a step in C alone: {_number(report['core_step'])}", markup=False)


def _print_ops(console: Console, report: dict[str, Any]) -> None:
    limit = report["limits"]
    console.print(f"ops of a {report['ops_mode']}; this machine reads {limit['bytes'] / 1e3:.0f} kB at {limit['read'] / 1e9:.1f} GB/s, "
                  f"float32 {limit['float32'] / 1e9:.0f}, "
                  f"int8 {limit['int8'] / 1e9:.0f} Gop/s out of registers ({limit['isa']}, one thread)", markup=False, soft_wrap=True)  # fmt: skip
    table = Table("op", "us", "share", "kB", "GB/s", "of bandwidth", box=None, pad_edge=False)
    for op in report["ops"]:
        read = (
            (f"{op['bytes'] / 1e3:.1f}", f"{op['bytes_per_second'] / 1e9:.1f}", f"{100 * op['of_bandwidth']:.0f} %")
            if op["bytes"]
            else ()
        )
        table.add_row(f"{op['name']} ({op['op']})", _number(op["median"]), f"{100 * op['share']:.1f} %", *read)
    console.print(table)


def _print_versus(console: Console, rows: list[dict[str, Any]]) -> None:
    for mode in dict.fromkeys(row["mode"] for row in rows):
        console.print(
            f"{mode}, engines in turn, a process each, one thread; below 1: lstm_edge is faster", markup=False
        )
        table = Table("engine", box=None, pad_edge=False)
        for name in ("min", "median", "ours/theirs", "95 %", "of minima"):
            table.add_column(name, justify="right", no_wrap=True)
        told = []
        for row in (row for row in rows if row["mode"] == mode):
            name = row["name"] or row["engine"]
            if row["why"]:
                told.append(f"{name}: cannot: {row['why']}")
                continue
            figures = [_number(row["min"]), _number(row["median"])]
            if row["ratio"] is not None:
                figures += [f"{row['ratio']:.3f}", f"{row['ratio_low']:.3f} to {row['ratio_high']:.3f}"]
                figures.append(f"{row['ratio_min']:.3f}")
            table.add_row(name, *figures)
            if row["agrees"] is not None:
                word = "answers agree" if row["agrees"] else "ANSWERS DIFFER"
                told.append(f"{name} on {row['source']}: {word}: by {row['error']:.2g}, {row['allowed']:.2g} allowed")
        console.print(table)
        for line in told:
            console.print(f"  {line}", markup=False, soft_wrap=True)


def print_csv(report: dict[str, Any]) -> None:
    """Rows of `results`; engines beside each other have a table of their own behind an empty line."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    tables = [
        [{k: v for k, v in row.items() if k not in ("histogram", "timeline", "outliers")} for row in report["results"]]
    ]
    for number, rows in enumerate([*tables, report["versus"]] if "versus" in report else tables):
        writer.writerows([[]] * number)
        writer.writerow(rows[0])
        writer.writerows(row.values() for row in rows)


def print_markdown(report: dict[str, Any]) -> None:
    rows = [["call", "runs", *COLUMNS]]
    rows += [[row["name"], str(row["runs"]), *(_number(row[name]) for name in COLUMNS)] for row in report["results"]]
    sys.stdout.write(f"{report['model']}, microseconds per call, {report['cpu']}\n\n{_markdown(rows)}")
    if "versus" in report:
        rows = [["call", "engine", *RIVAL, "differs by", "allowed"]]
        for row in report["versus"]:
            figures = [_number(row[name]) if row[name] is not None else "" for name in RIVAL]
            far = [f"{row[name]:.2g}" if row[name] is not None else "" for name in ("error", "allowed")]
            told = f"{row['name'] or row['engine']}{': cannot: ' * bool(row['why'])}{row['why']}".replace("|", "\\|")
            rows.append([row["mode"], told, *figures, *far])
        sys.stdout.write(f"\n{_markdown(rows)}")


def _markdown(rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])


def _number(value: float) -> str:
    """Three to four significant digits."""
    return f"{value:.2f}" if value < 100 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"
