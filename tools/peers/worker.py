"""A process of one engine: opens rows, answers, and times blocks of calls when it is told to.

Lines of JSON come in on stdin and go out on a copy of stdout; what an engine prints itself goes to stderr.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from peers.cases import BY_NAME
from peers.engines import Runner

WARM_SHARE = 0.2  # of a block's time, uncounted, since another process has had the caches in between


class Worker:
    def __init__(self, engine: str) -> None:
        self.engine = importlib.import_module(f"peers.engines.{engine}")
        self.runners: list[Runner] = []

    def version(self) -> str:
        return str(self.engine.version())

    def open(self, case: str, folder: str) -> list[tuple[str, str, float]]:
        """Name, precision and work of each way that the engine has."""
        self.runners = []
        gc.collect()
        self.runners = self.engine.runners(BY_NAME[case], Path(folder))
        return [(r.name, r.precision, r.work) for r in self.runners]

    def answer(self, index: int, path: str) -> None:
        np.save(path, self.runners[index].answer())

    def block(self, index: int, seconds: float) -> list[int]:
        """Nanoseconds of each call; at least one, and one before it that does not count."""
        runner, clock = self.runners[index], time.perf_counter_ns
        call, frames, times = runner.call, runner.frames, []
        gc.disable()
        start = clock()
        warm, end = start + int(1e9 * WARM_SHARE * seconds), start + int(1e9 * seconds)
        while True:
            for frame in frames:
                call(frame)
            if clock() >= warm:
                break
        while not times or clock() < end:
            for frame in frames:
                before = clock()
                call(frame)
                times.append(clock() - before)
        gc.enable()
        return times


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    engine, cpu = sys.argv[1:]
    if cpu:
        os.sched_setaffinity(0, {int(cpu)})
    worker: Any = None
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            worker = worker or Worker(engine)
            answer = {"ok": getattr(worker, name)(*arguments)}
        except Exception as error:  # an engine that fails is left out by name; the table goes on
            traceback.print_exc(limit=-3)
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
