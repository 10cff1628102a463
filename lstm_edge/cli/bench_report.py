"""A report of `lstm-edge bench` as tables, comma-separated values or Markdown."""

from __future__ import annotations

import csv
from typing import Any

from rich.console import Console

from ..bench import Machine
from ..bench.baseline import Change
from ..bench.measure import MANY
from .grid import Column, name, print_grid, text
from .io import out_console, stdout

# A row of figures, and which of them go first where a terminal is narrow.
DROPPED = {"min": 2, "mean": 4, "sd": 7, "median": 0, "p90": 5, "p95": 6, "p99": 1, "p999": 3, "max": 2}
COLUMNS = tuple(DROPPED)
BARS = " ▁▂▃▄▅▆▇█"
RIVAL = ("min", "median", "low", "high", "ratio", "ratio_low", "ratio_high", "ratio_min")  # figures of an engine


def print_tables(report: dict[str, Any], changes: list[Change], machine: Machine) -> None:
    console = out_console()
    clock = f", {machine.mhz:.0f} MHz" if machine.mhz else ""
    console.print(f"{report['model']}, microseconds per call, {report['cpu']}{clock}", markup=False)
    columns = text("call"), Column("runs", drop=8), *(Column(figure, drop=DROPPED[figure]) for figure in COLUMNS)
    rows = [(row["name"], str(row["runs"]), *(_number(row[figure]) for figure in COLUMNS)) for row in report["results"]]
    print_grid(console, columns, rows)
    for row in report["results"]:
        _print_row(console, row, report)
    console.print(f"an empty call by the same clock: {_number(report['empty_call'])}", markup=False)
    for line in report["delay"]:
        console.print(line, markup=False, soft_wrap=True)
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
    for part in ("wake", "work", "answer"):
        values = ", ".join(f"{kind} {_number(value)}" for kind, value in found[part].items())
        console.print(f"  {part}: {values}", markup=False)
    energy = (
        f"{found['joules']:.2f} J by {found['meter']}" if found["joules"] is not None else "not counted by this system"
    )
    console.print(f"  jitter {_number(found['jitter'])} (sd of the starts); energy: {energy}", markup=False)


def _print_startup(console: Console, report: dict[str, Any]) -> None:
    found, sizes = report["startup"], report["startup"]["bytes"]
    rows = [(part, f"{found[part]:.2f}", f"{sizes[part] / 1e6:.1f}") for part in sizes]
    print_grid(console, (text("from nothing, ms"), Column("ms"), Column("MB")), rows)
    if report["core_step"] is not None:
        console.print(f"a step in C alone: {_number(report['core_step'])}", markup=False)


def _print_ops(console: Console, report: dict[str, Any]) -> None:
    limit = report["limits"]
    console.print(f"ops of a {report['ops_mode']}; this machine reads {limit['bytes'] / 1e3:.0f} kB at {limit['read'] / 1e9:.1f} GB/s, "
                  f"float32 {limit['float32'] / 1e9:.0f}, "
                  f"int8 {limit['int8'] / 1e9:.0f} Gop/s out of registers ({limit['isa']}, one thread)", markup=False, soft_wrap=True)  # fmt: skip
    rows = []
    for op in report["ops"]:
        read = (
            (f"{op['bytes'] / 1e3:.1f}", f"{op['bytes_per_second'] / 1e9:.1f}", f"{100 * op['of_bandwidth']:.0f} %")
            if op["bytes"]
            else ()
        )
        rows.append((f"{op['name']} ({op['op']})", _number(op["median"]), f"{100 * op['share']:.1f} %", *read))
    numbers = {"us": 0, "share": 0, "kB": 1, "GB/s": 2, "of bandwidth": 3}
    print_grid(console, (name("op"), *(Column(told, drop=drop) for told, drop in numbers.items())), rows)


def _print_versus(console: Console, rows: list[dict[str, Any]]) -> None:
    for mode in dict.fromkeys(row["mode"] for row in rows):
        console.print(
            f"{mode}, engines in turn, a process each, one thread; below 1: lstm_edge is faster", markup=False
        )
        numbers = {"min": 1, "median": 0, "ours/theirs": 0, "95 %": 2, "of minima": 3}
        told, lines = [], []
        for row in (row for row in rows if row["mode"] == mode):
            engine = row["name"] or row["engine"]
            if row["why"]:
                told.append(f"{engine}: cannot: {row['why']}")
                continue
            figures = [_number(row["min"]), _number(row["median"])]
            if row["ratio"] is not None:
                figures += [f"{row['ratio']:.3f}", f"{row['ratio_low']:.3f} to {row['ratio_high']:.3f}"]
                figures.append(f"{row['ratio_min']:.3f}")
            lines.append((engine, *figures))
            if row["agrees"] is not None:
                word = "answers agree" if row["agrees"] else "ANSWERS DIFFER"
                told.append(f"{engine} on {row['source']}: {word}: by {row['error']:.2g}, {row['allowed']:.2g} allowed")
        print_grid(console, (name("engine"), *(Column(figure, drop=drop) for figure, drop in numbers.items())), lines)
        for line in told:
            console.print(f"  {line}", markup=False, soft_wrap=True)


def print_csv(report: dict[str, Any]) -> None:
    """Rows of `results`; engines beside each other have a table of their own behind an empty line."""
    writer = csv.writer(stdout(), lineterminator="\n")
    tables = [
        [{k: v for k, v in row.items() if k not in ("histogram", "timeline", "outliers")} for row in report["results"]]
    ]
    for number, rows in enumerate([*tables, report["versus"]] if "versus" in report else tables):
        writer.writerows([[]] * number)
        writer.writerow(rows[0])
        writer.writerows(row.values() for row in rows)


def print_markdown(report: dict[str, Any]) -> None:
    rows = [["call", "runs", *COLUMNS]]
    rows += [
        [row["name"], str(row["runs"]), *(_number(row[figure]) for figure in COLUMNS)] for row in report["results"]
    ]
    stdout().write(f"{report['model']}, microseconds per call, {report['cpu']}\n\n{_markdown(rows)}")
    if "versus" in report:
        rows = [["call", "engine", *RIVAL, "differs by", "allowed"]]
        for row in report["versus"]:
            figures = [_number(row[figure]) if row[figure] is not None else "" for figure in RIVAL]
            far = [f"{row[gap]:.2g}" if row[gap] is not None else "" for gap in ("error", "allowed")]
            told = f"{row['name'] or row['engine']}{': cannot: ' * bool(row['why'])}{row['why']}".replace("|", "\\|")
            rows.append([row["mode"], told, *figures, *far])
        stdout().write(f"\n{_markdown(rows)}")


def _markdown(rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])


def _number(value: float) -> str:
    """Three to four significant digits."""
    return f"{value:.2f}" if value < 100 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"
