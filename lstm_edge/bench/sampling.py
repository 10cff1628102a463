"""Times one call many times over, and keeps what the kernel says of each block of calls."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..errors import LstmEdgeError
from .counters import thread_events
from .machine import clock_rate
from .statistics import median_interval, outlier_limit

BLOCK = 5e-3  # seconds of calls between two looks at the kernel's counters
SPREAD = 0.005  # the interval of the median that ends a run, as a share of the median on either side
MOST = 5_000_000  # calls, 40 MB of times
CAUSES = ("context switch", "page fault", "clock rate", "unknown")


@dataclass
class Samples:
    """Nanoseconds of each call (runs,), when it began after the first, and what long calls came from."""

    times: np.ndarray
    begun: np.ndarray
    outliers: dict[str, int] = field(default_factory=dict)


@dataclass
class _Block:
    first: int
    switches: int
    faults: int
    rate: float | None


def sample(
    call: Callable[[], object],
    *,
    warmup: int = 50,
    runs: int | None = None,
    seconds: float = 3.0,
    patience: float = 4.0,
    between: Callable[[], object] | None = None,
    cpu: int | None = None,
) -> Samples:
    """Calls `call` again and again, each call timed alone.

    runs: so many calls. Without it at least 10 and `seconds`, and on until the median is known to half a percent
    (statistics.median_interval), at most
    `patience` times `seconds`. between: called before each call, unmeasured (to empty
    caches). What a look at the clock takes, some 50 ns, is no part of the times (time_calls).
    """
    if not 0 <= warmup <= MOST or not 1 <= (1 if runs is None else runs) <= MOST or not 0 < seconds < np.inf:
        raise LstmEdgeError(
            f"bench: expected warmup of 0 to {MOST:,}, runs of 1 to {MOST:,}, seconds > 0, found {warmup}, {runs}, {seconds}"
        )
    for _ in range(warmup):
        call()
    size = _block_size(call)
    times: list[int] = []
    begun: list[int] = []
    blocks: list[_Block] = []
    collecting = gc.isenabled()
    gc.disable()  # a collection is this process's own, not the model's
    try:
        start = time.perf_counter()
        look = seconds
        while True:
            count = size if runs is None else min(size, runs - len(times))
            switches, faults = thread_events()
            first = len(times)
            time_calls(call, between, count, times, begun)
            switches_after, faults_after = thread_events()
            blocks.append(_Block(first, switches_after - switches, faults_after - faults, clock_rate(cpu)))
            if runs is not None:
                if len(times) >= runs:
                    break
                continue
            past = time.perf_counter() - start
            if len(times) >= MOST or past >= patience * seconds:
                break
            if past >= look and len(times) >= 10:
                if _known(times):
                    break
                look = past * 1.25
    finally:
        if collecting:
            gc.enable()
    found = Samples(np.array(times, np.int64), np.array(begun, np.int64))
    found.begun -= found.begun[0]
    found.outliers = _causes(found.times, blocks)
    return found


def empty_call(cpu: int | None = None) -> float:
    """Microseconds that a Python function which does nothing takes by the same clock."""
    return float(np.median(sample(_nothing, runs=20_000, cpu=cpu).times)) / 1e3


def _nothing() -> None:
    pass


def _block_size(call: Callable[[], object]) -> int:
    start = time.perf_counter()
    for _ in range(3):
        call()
    return max(1, min(20_000, int(BLOCK * 3 / max(time.perf_counter() - start, 1e-9))))


def time_calls(
    call: Callable[[], object], between: Callable[[], object] | None, count: int, times: list[int], begun: list[int]
) -> None:
    """Adds `count` times to `times`, nanoseconds, and when each call began to `begun`.

    Two looks at the clock with nothing between them lie some 50 ns apart: a fourteenth of a small model's step. It is measured
    here, before every block of calls, and taken off each time.
    """
    clock = time.perf_counter_ns
    look = _look(clock)
    if between is None:
        for _ in range(count):
            start = clock()
            call()
            end = clock()
            times.append(max(end - start - look, 0))
            begun.append(start)
        return
    for _ in range(count):
        between()
        start = clock()
        call()
        end = clock()
        times.append(max(end - start - look, 0))
        begun.append(start)


def _look(clock: Callable[[], int]) -> int:
    """Nanoseconds between two looks at the clock, the median of 101: 10 us, where a block of calls takes 5 ms."""
    gaps = []
    for _ in range(101):
        start = clock()
        end = clock()
        gaps.append(end - start)
    return sorted(gaps)[50]


def _known(times: list[int]) -> bool:
    low, high = median_interval(np.sort(np.array(times, np.int64)))
    return high - low <= SPREAD * (high + low)


def _causes(times: np.ndarray, blocks: list[_Block]) -> dict[str, int]:
    """How many calls stand apart, by cause: in a block with n context switches the n longest of them are laid to those, in one
    with page faults likewise, and the rest to the clock if it ran slower than most of the time."""
    limit = outlier_limit(times)
    found = dict.fromkeys(CAUSES, 0)
    rates = [block.rate for block in blocks if block.rate]
    usual = float(np.median(rates)) if rates else 0.0
    ends = [block.first for block in blocks[1:]] + [len(times)]
    for block, end in zip(blocks, ends):
        left = int((times[block.first : end] > limit).sum())
        for cause, most in (("context switch", block.switches), ("page fault", block.faults)):
            found[cause] += min(left, most)
            left -= min(left, most)
        slower = block.rate is not None and block.rate < 0.97 * usual
        found["clock rate" if slower else "unknown"] += left
    return {cause: count for cause, count in found.items() if count}
