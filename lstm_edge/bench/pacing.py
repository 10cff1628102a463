"""Steps at the pace of a device: a frame comes every period, and must be answered before the next one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..errors import LstmEdgeError
from ..options import argument
from .energy import meter
from .machine import pinned
from .measure import frames_of, make_call
from .sampling import MOST


@dataclass(frozen=True)
class Paced:
    """Seconds (period, duration) and microseconds (the rest) of `frames` frames, one a period.

    wake: from a frame's arrival to the start of its step, what the system's scheduler adds, where the frame before was
    answered in time. work: the step alone. answer: arrival to answer; `missed` took longer than the period. real_time_factor:
    mean work / period. cpu_share: of one CPU, the whole process. joules: of the whole machine or package, by `meter`.
    """

    isa: str
    period: float
    duration: float
    frames: int
    missed: int
    wake: dict[str, float]
    work: dict[str, float]
    answer: dict[str, float]
    jitter: float  # standard deviation of the starts against their grid
    real_time_factor: float
    cpu_share: float
    joules: float | None
    meter: str | None
    cpu: int | None
    answers: np.ndarray = field(
        repr=False, compare=False, default_factory=lambda: np.empty(0)
    )  # microseconds, a frame each

    def as_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "answers"}


def paced(
    model: Any,
    *,
    period: float,
    duration: float = 10.0,
    batch: int = 1,
    cpu: int | None = None,
    between: Callable[[], object] | None = None,
) -> Paced:
    """Steps `model` once every `period` seconds for `duration` seconds, asleep in between, as a program that reads a microphone
    is. A frame that comes while another is worked on waits; where the pace cannot be kept, it ends after twice the duration and
    a second, with as many frames as it answered. between: called after each step, as a program's own work."""
    if not 0 < period <= duration < np.inf:
        raise LstmEdgeError(
            f"bench: expected a period above 0 and a longer duration, found {period} s and {duration} s"
        )
    if duration / period > MOST:
        raise LstmEdgeError(
            f"bench: {argument('duration')}: expected at most {MOST:,} periods, found {duration / period:,.0f}"
        )
    call = make_call(model, "step", frames=frames_of(model, "step", 1), batch=batch)
    for _ in range(3):
        call()
    with pinned(cpu), meter() as energy:
        busy = time.process_time()
        arrivals, starts, ends = _run(call, period, max(1, round(duration / period)), between)
        spent = time.process_time() - busy
    past = (ends[-1] - arrivals[0]) / 1e9
    free = np.append(True, ends[:-1] <= arrivals[1:])  # whether the frame before was answered when this one came
    answers = (ends - arrivals) / 1e3
    work = (ends - starts) / 1e3
    return Paced(
        isa=model.isa,
        period=period,
        duration=past,
        frames=len(ends),
        missed=int((answers > period * 1e6).sum()),
        wake=_spread((starts - arrivals)[free] / 1e3),
        work=_spread(work),
        answer=_spread(answers),
        jitter=float((starts - arrivals).std() / 1e3),
        real_time_factor=float(work.mean() / (period * 1e6)),
        cpu_share=spent / past,
        joules=energy.joules,
        meter=energy.name,
        cpu=cpu,
        answers=answers,
    )


def _run(
    call: Callable[[], object], period: float, frames: int, between: Callable[[], object] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nanoseconds of arrivals, starts and ends. Arrivals lie on a grid: a late step does not shift those after it."""
    clock, step = time.perf_counter_ns, round(period * 1e9)
    first = clock() + step
    starts, ends = np.empty(frames, np.int64), np.empty(frames, np.int64)
    done, last = frames, first + 2 * frames * step + 10**9
    for n in range(frames):
        ahead = first + n * step - clock()
        if ahead > 0:
            time.sleep(ahead / 1e9)
        starts[n] = clock()
        call()
        ends[n] = clock()
        if between is not None:
            between()
        if ends[n] > last:
            done = n + 1
            break
    return first + step * np.arange(done, dtype=np.int64), starts[:done], ends[:done]


def _spread(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {}
    found = dict(zip(("median", "p99"), map(float, np.percentile(values, [50, 99]))))
    return {"min": float(values.min()), **found, "max": float(values.max())}
