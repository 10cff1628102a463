"""docs/performance.md from what was measured, and from bounds.md: what bounds the rows that miss, written by hand."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from peers.cases import BY_NAME, CASES, PRECISIONS, SPARSE, SPARSE_AIMS, STREAMS, TRAINED, TWO_THREADS
from peers.cold_start import NAME as COLD_START
from peers.limits import OF_BEST_PEER, OF_LIMIT, PYTHON_CALL, limit, misses

BOUNDS = Path(__file__).with_name("bounds.md")
OURS = "lstm_edge"
COMPARED = {case.name for case in CASES}
Row = dict[str, Any]
NOTHING: Row = {"runs": []}


def written(kept: dict[str, Any]) -> str:
    rows, bounds = kept["rows"], Bounds(BOUNDS.read_text(encoding="utf-8"))
    networks = [(precision, "", _networks(rows, precision, bounds)) for precision in PRECISIONS]
    every = "\n".join([_every(rows, "float32"), _every(rows, "int8"), _left_out(rows)])
    sections = [
        *networks,
        ("Trained models", TRAINED_TEXT, _trained(rows, bounds)),
        ("Sparse weights", SPARSE_TEXT, _sparse(rows, bounds)),
        ("Many streams", STREAMS_TEXT, _streams(rows, bounds)),
        ("Cold start", COLD_TEXT, _cold_start(rows)),
        ("What bounds the rows that miss", "", bounds.text),
        ("Every engine", EVERY_TEXT, every),
    ]
    parts = [part for title, *texts in sections for part in (f"## {title}\n", *texts) if part]
    return "\n".join([INTRODUCTION, _machine(kept), *parts]).rstrip() + "\n"


INTRODUCTION = f"""# How fast it is

Made by `make peers` (`tools/peers`): this project beside the engines that pip installs, in one run, never edited by hand. Random weights of one seed, one thread, one CPU, Python's
call included. Every engine has a process of its own, and blocks of some 8 ms are timed in turn, so that what the machine does meets all alike; its first fifth is not counted, since another engine has had the caches. Before
that every answer is compared with ours in float32: a difference above 1e-4 (float32), 0.02 (float16) or 0.1 (int8) of the largest answer leaves an engine out, as does an "int8" that computed in
float32. Steps carry their state. How times were taken, and what a median is known to: [the benchmark](benchmark.md).

**limit**: the weight bytes of a frame over the read bandwidth of the cache level they live in, measured in that run by the core's own probe (`lstm_edge.bench.limits`) between the engines' blocks; for sequences the recurrent
weights alone, and the input product at the measured peak of its instruction; and 0.35 µs for a call from Python. Aimed at: {OF_LIMIT["float32"]} of it in float32, {OF_LIMIT["float16"]} in float16, {OF_LIMIT["int8"]} in int8 where
hidden is 128 or more; {OF_BEST_PEER:.2f} of the best peer where it is 64 or less; no row behind a peer. A row that misses says which, and why: the letters lead to
[what bounds them](#what-bounds-the-rows-that-miss). **without weights**: the same network with zeros for the recurrence's weights, which the sparse kernels skip, in the same turns: Python's call, the cells' arithmetic, in int8 the rounding of x
and h. **weights, of the limit**: the rest of the row over what the limit has beside the call; near 1 the weights come as fast as the cache gives them. float16 is beside the best float32 peer: none has 16-bit weights on a CPU. Times are microseconds, minimum / median; ratios, of minima / of medians.
"""
TRAINED_TEXT = """Published models (`LSTM_EDGE_MODELS`), state kept, real frames, beside onnxruntime's `run` of the source file with the state fed back. nnsplit: a text of 500 bytes. float16 and int8:
what `quantize` stores narrow because it is no slower. Microseconds and ratios, medians, to onnxruntime's float32; aimed at: the share in brackets, and int8 and float16 not slower than float32.
"""
SPARSE_TEXT = """Nine blocks of ten are zero, against the same network without zeros, in turns; microseconds, minimum / median, and the ratio of medians.
"""
STREAMS_TEXT = """A frame for each of a thousand streams of one model, float32: one by one from Python, by one call of `step_many`, and by that on two threads. Microseconds a stream, medians; the same bits.
"""
COLD_TEXT = """A fresh process that imports, loads LSTM(64, 128) in float32 and steps once, until it has ended, beyond one of Python alone; medians, files in the page cache. onnxruntime and LiteRT import NumPy; lstm_edge does where arrays are made of it, and the row without NumPy steps on buffers.
"""
EVERY_TEXT = """Medians in microseconds. -: it has no such network (below), or its answer was wrong, or it computed in float32. An engine over three times slower than the fastest was timed in five blocks alone.
"""


class Bounds:
    """bounds.md: sections `### a: title`, whose first line `rows: pattern; pattern` says which `precision row` they explain."""

    def __init__(self, text: str) -> None:
        found = re.findall(r"^### (\w+): .*\n\nrows: (.*)\n", text, re.M)
        self.patterns = {key: [p.strip() for p in patterns.split(";")] for key, patterns in found}
        self.text = re.sub(r"^rows: .*\n\n?", "", text, flags=re.M)
        self.text = re.sub(r"^### (\w+): ", r'### <a id="\1"></a>\1: ', self.text, flags=re.M)

    def keys(self, precision: str, name: str) -> str:
        keys = [k for k, patterns in self.patterns.items() if any(fnmatch(f"{precision} {name}", p) for p in patterns)]
        return " ".join(f"[{key}](#{key})" for key in keys) or "not explained"


def best_peer(row: Row, precision: str) -> Row | None:
    peers = [r for r in _counted(row) if r["name"] != OURS and r["precision"] == precision]
    return min(peers, key=lambda r: float(r["median"]), default=None)


def ours(row: Row, precision: str) -> Row | None:
    return next((r for r in _counted(row) if r["name"] == OURS and r["precision"] == precision), None)


def _counted(row: Row) -> list[Row]:
    return [r for r in row["runs"] if "work" not in r and "median" in r and not r["why"]]


def _networks(rows: dict[str, Row], precision: str, bounds: Bounds) -> str:
    head = f"| input x hidden | limit | {OURS} | of the limit | without weights | weights, of the limit | best peer | of the best peer | misses |"
    lines = [head, "|---" * 9 + "|"]
    for case in CASES:
        row = rows.get(case.name)
        mine = ours(row, precision) if row else None
        if row is None or mine is None:
            lines.append(f"| {case.name} | | not measured | | | | | | |")
            continue
        limits = [limit(case, row["runs"], precision, which) for which in ("min", "median")]
        of_limit = [mine[which] / x if x else None for which, x in zip(("min", "median"), limits)]
        peer = best_peer(row, "float32" if precision == "float16" else precision)
        of_peer = [mine[which] / peer[which] if peer else None for which in ("min", "median")]
        missed = misses(case, precision, of_limit[1], of_peer[1])
        note = f"{', '.join(missed)}: {bounds.keys(precision, case.name)}" if missed else ""
        named = f"{peer['name']} {_pair(peer['min'], peer['median'])}" if peer else "none"
        cells = [
            case.name,
            _pair(*limits),
            _pair(mine["min"], mine["median"]),
            _ratios(of_limit, missed),
            *_parts(row, precision, mine, limits),
            named,
            _ratios(of_peer, missed),
        ]
        lines.append("| " + " | ".join([*cells, note]) + " |")
    return "\n".join(lines) + "\n"


def _parts(row: Row, precision: str, mine: Row, limits: list[float | None]) -> list[str]:
    """What is left without weights, and what their products take beside what the limit has for them; medians."""
    found = [r for r in row["runs"] if r["name"] == "without weights" and r["precision"] == precision and "median" in r]
    if not found or limits[1] is None:
        return ["", ""]
    left = found[0]["median"]
    return [_number(left), f"{(mine['median'] - left) / (limits[1] - PYTHON_CALL):.2f}"]


def _trained(rows: dict[str, Row], bounds: Bounds) -> str:
    lines = ["| model | float32 | float16 | int8 | onnxruntime | its int8 | misses |", "|---|---|---|---|---|---|---|"]
    for case in TRAINED:
        row = rows.get(case.name)
        if row is None:
            lines.append(f"| {case.name} | not measured | | | | | |")
            continue
        peer, mine = best_peer(row, "float32"), {p: ours(row, p) for p in PRECISIONS}
        share = {p: m["median"] / peer["median"] if m and peer else None for p, m in mine.items()}
        missed = misses(case, "float32", None, share["float32"])
        missed += [f"{p} slower than float32" for p in PRECISIONS[1:] if _slower(mine[p], mine["float32"])]
        note = f"{', '.join(missed)}: {bounds.keys('trained', case.name)}" if missed else ""
        aims = {"float32": f" ({case.target:.2f})"}
        cells = [
            f"{m['median']:.1f}: {share[p]:.2f}{aims.get(p, '')}" if m and share[p] else _why(row, p)
            for p, m in mine.items()
        ]
        narrow = best_peer(row, "int8")
        others = [
            f"{peer['median']:.1f}" if peer else "-",
            f"{narrow['median']:.1f}" if narrow else _why(row, "int8", peer=True),
        ]
        lines.append("| " + " | ".join([case.name, *cells, *others, note]) + " |")
    return "\n".join(lines) + "\n"


def _sparse(rows: dict[str, Row], bounds: Bounds) -> str:
    lines = ["| | dense | sparse | of the dense | misses |", "|---|---|---|---|---|"]
    for case in SPARSE:
        for precision in PRECISIONS:
            pair = {r["name"]: r for r in _counted(rows.get(case.name, NOTHING)) if r["precision"] == precision}
            if len(pair) < 2:
                lines.append(f"| {case.name} | not measured | | | |")
                break
            thin, full = pair[OURS], pair[f"{OURS} dense"]
            share, aim = thin["median"] / full["median"], SPARSE_AIMS.get(precision)
            missed = f"over {aim:.2f}: {bounds.keys(precision, case.name)}" if aim and share > aim else ""
            times = [_pair(r["min"], r["median"]) for r in (full, thin)]
            lines.append(f"| {case.name}, {precision} | {times[0]} | {times[1]} | {share:.2f} | {missed} |")
    return "\n".join(lines) + "\n"


def _streams(rows: dict[str, Row], bounds: Bounds) -> str:
    lines = [
        "| | one by one | one call | of one by one | two threads | one thread / two | misses |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in STREAMS:
        found = {r["name"]: r["median"] / case.count for r in _counted(rows.get(case.name, NOTHING))}
        if len(found) < 3:
            lines.append(f"| {case.name} | not measured | | | | | |")
            continue
        alone, one, two = (found[name] for name in ("one by one", "1 threads", "2 threads"))
        missed = [f"over {case.target:.2f} of one by one"] if one > case.target * alone else []
        if case is not STREAMS[0] and one < TWO_THREADS * two:
            missed.append(f"under {TWO_THREADS} by two threads")
        note = f"{', '.join(missed)}: {bounds.keys('streams', case.name)}" if missed else ""
        lines.append(
            f"| {case.name} | {alone:.2f} | {one:.2f} | {one / alone:.2f} | {two:.2f} | {one / two:.2f} | {note} |"
        )
    return "\n".join(lines) + "\n"


def _slower(a: Row | None, b: Row | None) -> bool:
    """By more than the spread of a run."""
    return a is not None and b is not None and bool(a["median"] > 1.03 * b["median"])


def _why(row: Row, precision: str, peer: bool = False) -> str:
    found = [r["why"] for r in row["runs"] if (r["name"] != OURS) == peer and r["precision"] == precision]
    return found[0] if found and found[0] else "-"


def _cold_start(rows: dict[str, Row]) -> str:
    row = rows.get(COLD_START)
    if row is None:
        return "Not measured.\n"
    lines = ["| | ms | MB |", "|---|---|---|"]
    lines += [
        f"| {r['name']}{' itself' if r['name'] == 'Python' else ''} | {r['ms']:.1f} | {r['mb']:.1f} |"
        for r in row["runs"]
    ]
    return "\n".join(lines) + "\n"


def _every(rows: dict[str, Row], precision: str) -> str:
    counted = {
        case.name: {r["name"]: r for r in _counted(rows[case.name]) if r["precision"] == precision}
        for case in CASES
        if case.name in rows
    }
    names = list(dict.fromkeys(name for found in counted.values() for name in found))
    lines = [f"| {precision} | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    for case, found in counted.items():
        lines.append(
            f"| {case} | " + " | ".join(_number(found[n]["median"]) if n in found else "-" for n in names) + " |"
        )
    return "\n".join(lines) + "\n"


def _left_out(rows: dict[str, Row]) -> str:
    """Every engine's reasons, each once."""
    reasons: dict[str, list[str]] = {}
    for name, row in rows.items():
        if name not in COMPARED:
            continue
        for engine, why in row["left_out"].items():
            reasons.setdefault(f"{engine}: {why}", []).append(name)
        for r in row["runs"]:
            if r["why"]:
                why = re.sub(r"wrong by .*", "wrong", r["why"])
                reasons.setdefault(f"{r['name']} {r['precision']}: {why}", []).append(name)
    lines = [f"- {why} ({_listed(names)})" for why, names in reasons.items()]
    return "\n".join(["Left out:", "", *lines]) + "\n"


def _listed(names: list[str]) -> str:
    return "; ".join(names) if len(names) <= 4 else f"{len(names)} rows"


def _machine(kept: dict[str, Any]) -> str:
    machine, versions = kept.get("machine", {}), kept.get("versions", {})
    dates = sorted(row["date"] for row in kept["rows"].values())
    when = f"{dates[0]} to {dates[-1]}" if dates else "never"
    said = [f"{machine.get('cpu', '?')}, {machine.get('cpus', '?')} CPUs; {when}; {', '.join(versions.values())}."]
    said += [f"Beside it: {warning}." for warning in machine.get("warnings", [])]
    return " ".join(said) + "\n"


def _pair(low: float | None, middle: float | None) -> str:
    return "" if low is None or middle is None else f"{_number(low)} / {_number(middle)}"


def _number(us: float) -> str:
    return f"{us:.2f}" if us < 10 else f"{us:.1f}" if us < 100 else f"{us:.0f}"


def _ratios(pair: list[float | None], missed: list[str]) -> str:
    if pair[0] is None or pair[1] is None:
        return ""
    return f"{pair[0]:.2f} / {f'**{pair[1]:.2f}**' if missed else f'{pair[1]:.2f}'}"


def names_of(page: str) -> list[str]:
    """The rows that a page has, for the test that it was made by this list."""
    found = re.findall(r"^\| ([^|]+?)(?:, (?:float32|float16|int8))? \|", page, re.M)
    return list(dict.fromkeys(name for name in found if name in BY_NAME))
