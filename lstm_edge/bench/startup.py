"""From nothing to an answer: importing, loading, the first call, the calls after it, each in a fresh process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..errors import LstmEdgeError

PROCESSES = 5

# Runs in a child: argv holds the model, the mode, the ISA ('' for the best), the frames, and when the parent started it.
CHILD = """
import json, resource, sys, time
clock = time.monotonic
marks = [("python", clock(), 0)]
def mark(name):
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    marks.append((name, clock(), pages * resource.getpagesize()))
mark("python")
import numpy; mark("numpy")
import lstm_edge; mark("package")
path, mode, isa, frames, most, started = sys.argv[1:]
model = lstm_edge.load(path, isa=isa or None, max_memory=int(most) or None); mark("load")
import numpy.random, lstm_edge.bench.measure as measure; mark("bench")
call = measure.make_call(model, mode, frames=int(frames)); mark("stream")
call(); mark("first")
call(); mark("second")
print(json.dumps([float(started), marks]))
"""


@dataclass(frozen=True)
class Startup:
    """Milliseconds, medians of `processes` fresh processes; the files are in the page cache. python: from the start of the process to its
    first line; numpy, package: importing; load; stream: opening it, with the inputs; first, second: calls. bytes: what each
    added to the resident memory."""

    processes: int
    python: float
    numpy: float
    package: float
    load: float
    stream: float
    first: float
    second: float
    bytes: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def startup(
    path: str, *, mode: str = "step", isa: str | None = None, frames: int = 1, max_memory: int | None = None
) -> Startup:
    """Starts the model of the file `path` in processes of its own. max_memory: as load takes it. LstmEdgeError with what such a process said when it failed."""
    looks = [_start(path, mode, isa, frames, max_memory) for _ in range(PROCESSES)]
    names = [field.name for field in fields(Startup) if field.name not in ("processes", "bytes")]
    times = {name: statistics.median(look[0][name] for look in looks) for name in names}
    sizes = {name: round(statistics.median(look[1][name] for look in looks)) for name in names}
    return Startup(processes=PROCESSES, bytes=sizes, **times)


def _start(
    path: str, mode: str, isa: str | None, frames: int, most: int | None
) -> tuple[dict[str, float], dict[str, int]]:
    paths = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-c", CHILD, path, mode, isa or "", str(frames), str(most or 0), repr(time.monotonic())]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise LstmEdgeError(f"bench: a fresh process could not run {path}: {last[0]}")
    started, marks = json.loads(done.stdout)
    times = {"python": 1e3 * (marks[0][1] - started)}
    sizes = {"python": marks[1][2]}
    for (_, since, held), (name, until, now) in zip(marks[1:], marks[2:]):
        times[name], sizes[name] = 1e3 * (until - since), now - held
    return times, sizes
