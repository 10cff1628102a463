"""The table of docs/performance.md: this project beside the engines that pip installs, in one run.

    make peers                                     all of it, some eight minutes of an otherwise idle machine
    PYTHONPATH=.:tools:tests python -m peers --only 'step*' -o docs/performance.md

What was measured is kept in build/peers.json; with --only the rows that match are measured anew and join those kept. --only '' measures
nothing and writes the page from what is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from common import ROOT

from lstm_edge.bench.machine import look, warnings_of
from peers import cold_start, page
from peers.cases import BY_NAME, OURS_ALONE, needs_models
from peers.engines import PACKAGES
from peers.environment import interpreters
from peers.measure import ROUNDS, EngineFailed, Process, row

KEPT = ROOT / "build" / "peers.json"


def main() -> None:
    options = _options()
    kept: dict[str, Any] = json.loads(options.kept.read_text()) if options.kept.exists() else {"rows": {}}
    wanted = [name for name in (*BY_NAME, cold_start.NAME) if any(fnmatch(name, p) for p in options.only)]
    if wanted:
        _measure(wanted, options, kept)
    if options.output:
        Path(options.output).write_text(page.written(kept), encoding="utf-8")


def _measure(wanted: list[str], options: argparse.Namespace, kept: dict[str, Any]) -> None:
    """Every row is saved as soon as it is there."""
    pythons = interpreters(options.engines.split(","))
    before = look(options.cpu)
    with _processes(pythons, options.cpu) as processes:
        for name in wanted:
            if needs_models(BY_NAME.get(name)) and not os.environ.get("LSTM_EDGE_MODELS"):
                print(f"{name}: left out, LSTM_EDGE_MODELS is not set", file=sys.stderr)
                continue
            start = time.monotonic()
            if name == cold_start.NAME:
                kept["rows"][name] = cold_start.row(pythons)
            else:
                beside = {"ours": processes["ours"]} if name in OURS_ALONE else processes
                kept["rows"][name] = row(name, beside, options.rounds, options.seconds)
            print(f"{name}: {time.monotonic() - start:.1f} s", file=sys.stderr)
            _keep(kept, options.kept)
        kept["versions"] = {**kept.get("versions", {}), **_versions(processes)}
    kept["machine"] = look(options.cpu).as_dict() | {"warnings": warnings_of(before, look(options.cpu), options.cpu)}
    _keep(kept, options.kept)


@contextmanager
def _processes(pythons: dict[str, str], cpu: int) -> Iterator[dict[str, Process]]:
    made = {engine: Process(engine, python, cpu) for engine, python in pythons.items()}
    try:
        yield made
    finally:
        for process in made.values():
            process.close()


def _versions(processes: dict[str, Process]) -> dict[str, str]:
    found = {}
    for engine, process in processes.items():
        try:
            found[engine] = process.ask("version")
        except EngineFailed as why:
            found[engine] = f"{engine}: {why}"
    return found


def _keep(kept: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(kept, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", help="the page to write")
    parser.add_argument(
        "--only", action="append", metavar="PATTERN", help="rows by their names, more than once; default all"
    )
    parser.add_argument("--engines", default=",".join(PACKAGES), help="default %(default)s")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="where all run, one at a time")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=8.0, help="of a row, at most")
    parser.add_argument("--kept", type=Path, default=KEPT, help="default %(default)s")
    options = parser.parse_args()
    options.only = options.only if options.only is not None else ["*"]
    return options


if __name__ == "__main__":
    main()
