"""A row measured: every engine in a process of its own, blocks of calls in turn, answers checked before."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lstm_edge.bench.statistics import summarise
from peers.environment import variables

BLOCK = 8e-3  # seconds
ROUNDS = 40
LEAST = 5  # rounds, also of an engine that is SLOW times slower than the fastest
SLOW = 3.0
# Largest difference from this project's float32, as a share of the largest answer.
TOLERANCE = {"float32": 1e-4, "float16": 2e-2, "int8": 0.1}
UNROUNDED = 2e-6  # an "int8" nearer than this computed in float32


class EngineFailed(Exception):
    pass


class Process:
    """A worker of one engine; started anew after it died."""

    def __init__(self, engine: str, python: str, cpu: int | None) -> None:
        self.command = [python, "-m", "peers.worker", engine, "" if cpu is None else str(cpu)]
        self.process: subprocess.Popen[str] | None = None

    def ask(self, *message: object) -> Any:
        if self.process is None:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=variables()
            )  # fmt: skip
        assert self.process.stdin and self.process.stdout
        try:
            print(json.dumps(message), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self.process.wait()
            self.process = None
            raise EngineFailed(f"its process ended with {code}")
        answer = json.loads(line)
        if "error" in answer:
            raise EngineFailed(answer["error"])
        return answer["ok"]

    def close(self) -> None:
        if self.process is not None:
            self.process.communicate()
            self.process = None


@dataclass
class Run:
    """One way of running a row, and what it took. why: nothing, or why it does not count."""

    engine: str
    index: int
    name: str
    precision: str
    work: float
    checked: bool
    error: float = 0.0
    why: str = ""
    times: list[np.ndarray] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        row: dict[str, Any] = {"name": self.name, "precision": self.precision, "error": self.error, "why": self.why}
        if self.work:
            row["work"] = self.work
        if self.times:
            found = summarise(np.concatenate(self.times))
            row |= {k: round(getattr(found, k), 4) for k in ("min", "median", "low", "high")} | {"runs": found.runs}
        return row


def row(case: str, processes: Mapping[str, Process], rounds: int = ROUNDS, seconds: float = 8.0) -> dict[str, Any]:
    """The row `case`: for at most about `seconds`, but LEAST rounds."""
    left_out: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        runs = _open(case, processes, Path(folder), left_out)
        _check(runs, processes, Path(folder))
    _time([r for r in runs if not r.why], processes, rounds, seconds)
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "runs": [r.as_dict() for r in runs],
        "left_out": left_out,
    }


def _open(case: str, processes: Mapping[str, Process], folder: Path, left_out: dict[str, str]) -> list[Run]:
    runs = []
    for engine, process in processes.items():
        own = folder / engine
        own.mkdir()
        try:
            made = process.ask("open", case, str(own))
        except EngineFailed as why:
            left_out[engine] = str(why).removeprefix("CannotMake: ")
            continue
        runs += [Run(engine, n, *which) for n, which in enumerate(made)]
    return runs


def _check(runs: list[Run], processes: Mapping[str, Process], folder: Path) -> None:
    """Every answer beside the first, which is this project's in float32."""
    wanted: np.ndarray | None = None
    for run in runs:
        if run.work or not run.checked:
            continue
        path = folder / "answer.npy"
        try:
            processes[run.engine].ask("answer", run.index, str(path))
        except EngineFailed as why:
            run.why = str(why)
            continue
        found = np.load(path)
        wanted = found if wanted is None else wanted
        run.why, run.error = compared(found, wanted, run.precision)


def compared(found: np.ndarray, wanted: np.ndarray, precision: str) -> tuple[str, float]:
    """Why an answer does not count, and its error as a share of the largest answer."""
    if found.shape != wanted.shape:
        return f"answers of shape {found.shape}, not {wanted.shape}", float("nan")
    error = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    if not error <= TOLERANCE[precision]:
        return f"wrong by {error:.2g}", error
    return ("left in float32" if precision == "int8" and error < UNROUNDED else ""), error


def _time(runs: list[Run], processes: Mapping[str, Process], rounds: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    for n in range(rounds):
        if n >= LEAST and time.monotonic() > end:
            break
        for run in runs[n % len(runs) :] + runs[: n % len(runs)]:
            if run.why or (n >= LEAST and _slow(run, runs)):
                continue
            try:
                run.times.append(np.array(processes[run.engine].ask("block", run.index, BLOCK), np.int64))
            except EngineFailed as why:
                run.why = str(why)
                print(f"{run.name} {run.precision}: {why}", file=sys.stderr)


def _slow(run: Run, runs: list[Run]) -> bool:
    if run.work:
        return False
    others = [float(r.times[0].min()) for r in runs if r.precision == run.precision and not r.work and r.times]
    return float(run.times[0].min()) > SLOW * min(others)
