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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from peers.cases import BY_NAME
from peers.engines import Runner

WARM_SHARE = 0.2  # of a block's time, uncounted, since another process has had the caches in between


class Worker:
    def __init__(self, engine: str, cpu: str) -> None:
        self.cpus = os.sched_getaffinity(0)
        self.cpu = {int(cpu)} if cpu else self.cpus
        os.sched_setaffinity(0, self.cpu)
        self.engine = importlib.import_module(f"peers.engines.{engine}")
        self.runners: list[Runner] = []

    def version(self) -> str:
        return str(self.engine.version())

    def open(self, case: str, folder: str) -> list[tuple[str, str, float, bool]]:
        """Name, precision, work and whether it is checked of each way that the engine has."""
        self.runners = []
        gc.collect()
        self.runners = self.engine.runners(BY_NAME[case], Path(folder))
        return [(r.name, r.precision, r.work, r.checked) for r in self.runners]

    def answer(self, index: int, path: str) -> None:
        with self._on_its_cpus(self.runners[index]):
            np.save(path, self.runners[index].answer())

    @contextmanager
    def _on_its_cpus(self, runner: Runner) -> Iterator[None]:
        """Threads take over where the thread that starts them may run."""
        os.sched_setaffinity(0, self.cpus if runner.cpus > 1 else self.cpu)
        try:
            yield
        finally:
            os.sched_setaffinity(0, self.cpu)

    def block(self, index: int, seconds: float) -> list[int]:
        """Nanoseconds of each call; at least one, and one before it that does not count."""
        with self._on_its_cpus(self.runners[index]):
            return self._block(self.runners[index], seconds)

    def _block(self, runner: Runner, seconds: float) -> list[int]:
        clock = time.perf_counter_ns
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
    worker: Any = None
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            worker = worker or Worker(engine, cpu)
            answer = {"ok": getattr(worker, name)(*arguments)}
        except Exception as error:  # an engine that fails is left out by name; the table goes on
            traceback.print_exc(limit=-3)
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
