"""Latency of a model on this machine: time per step or per whole sequence, one thread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from ..errors import LstmEdgeError

MODES = ("step", "sequence")


@dataclass(frozen=True)
class Timing:
    """Microseconds per call. A call is one step (`frames` is then the model's hop) or one whole sequence."""

    mode: str
    isa: str
    batch: int
    frames: int
    warmup: int
    runs: int
    min: float
    median: float
    p90: float
    p99: float
    max: float
    missed: int | None = None  # calls longer than the period, when one was given
    real_time_factor: float | None = None  # median / period
    cpu: int | None = None  # the CPU the calls were pinned to

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    call: Callable[[], object], *, warmup: int = 50, runs: int | None = None, seconds: float = 1.0
) -> np.ndarray:
    """Nanoseconds of each of `runs` calls after `warmup` unmeasured ones, int64 (runs,).

    Without `runs`, as many as fit into `seconds`, at least 10. The clock's own cost (about 50 ns) is included.
    """
    if warmup < 0 or (runs is not None and runs < 1) or seconds <= 0:
        raise LstmEdgeError(f"bench: expected warmup >= 0, runs >= 1, seconds > 0, found {warmup}, {runs}, {seconds}")
    clock = time.perf_counter_ns
    for _ in range(warmup):
        call()
    if runs is None:
        start = clock()
        for _ in range(5):
            call()
        runs = max(10, min(1_000_000, int(seconds * 1e9 / max((clock() - start) / 5, 1))))
    times = np.empty(runs, np.int64)
    for n in range(runs):
        start = clock()
        call()
        times[n] = clock() - start
    return times


def sample_inputs(model: Any, *, frames: int, batch: int = 1, step: bool = False, seed: int = 0) -> list[np.ndarray]:
    """Random arrays for every input: N(0,1) for float32, zeros for int32, True for bool.

    Shaped for `Model.run`, or with `step` for one `Stream.step`; a step model's `run` takes frames first.
    """
    rng = np.random.default_rng(seed)
    sizes = {"batch": batch, "frames": frames}
    arrays = []
    for port in model.inputs:
        shape = [_number(size, sizes) for size in port.shape]
        if model.is_step_model and not step:
            shape = [frames, *shape]
        if port.dtype == "float32":
            arrays.append(rng.standard_normal(shape, np.float32))
        else:
            arrays.append(np.full(shape, port.dtype == "bool", port.dtype))
    return arrays


def bench(
    model: Any,
    *,
    mode: str = "step",
    frames: int = 100,
    batch: int = 1,
    warmup: int = 50,
    runs: int | None = None,
    seconds: float = 1.0,
    period: float | None = None,
    cpu: int | None = None,
) -> Timing:
    """Times `model` (from lstm_edge.load) on random input.

    mode: `step` (Stream.step, state kept) or `sequence` (Model.run over `frames` frames). period: seconds between calls;
    calls that take longer are counted in `missed`. cpu: pins the calling thread to this CPU for the time of the call.
    Raises UnsupportedModelError when a model that cannot stream is stepped, LstmEdgeError for a CPU that is not there.
    """
    if mode not in MODES:
        raise LstmEdgeError(f"bench: expected mode {' or '.join(MODES)}, found {mode!r}")
    if period is not None and period <= 0:
        raise LstmEdgeError(f"bench: expected a period above 0 seconds, found {period}")
    run: Callable[..., object]
    if mode == "step":
        frames = int(model.metadata.get("streaming", {}).get("multiple", 1))
        run = model.stream(batch).step
    else:
        run = model.run
    call = partial(run, *sample_inputs(model, frames=frames, batch=batch, step=mode == "step"))
    with pinned(cpu):
        times = measure(call, warmup=warmup, runs=runs, seconds=seconds)
    p50, p90, p99 = (float(p) for p in np.percentile(times, [50, 90, 99]) / 1e3)
    low, high = times.min() / 1e3, times.max() / 1e3
    missed = factor = None
    if period is not None:
        missed, factor = int((times > period * 1e9).sum()), p50 / (period * 1e6)
    found = (low, p50, p90, p99, high, missed, factor, cpu)
    return Timing(mode, model.isa, batch, frames, warmup, len(times), *found)


@contextmanager
def pinned(cpu: int | None) -> Iterator[None]:
    """Keeps this thread on one CPU; None leaves it to the system."""
    if cpu is None:
        yield
        return
    before = os.sched_getaffinity(0)
    if cpu not in before:
        raise LstmEdgeError(f"bench: cpu: expected one of {', '.join(map(str, sorted(before)))}, found {cpu}")
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def machine_warnings(cpu: int | None = None) -> list[str]:
    """What on this machine makes times vary: a governor that saves power, other work. Nothing is changed."""
    warnings = []
    governor = f"/sys/devices/system/cpu/cpu{cpu or 0}/cpufreq/scaling_governor"
    try:
        with open(governor, encoding="ascii") as file:
            found = file.read().strip()
        if found != "performance":
            advice = f"echo performance | sudo tee {governor}"
            warnings.append(f"cpu {cpu or 0} is governed by {found!r}: its clock changes during a run; {advice}")
    except OSError:
        pass  # virtual machines have none
    load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    if load > 0.5 * cpus:
        warnings.append(f"load average {load:.1f} on {cpus} CPUs: other work disturbs the times")
    return warnings


def _number(size: int | str, sizes: dict[str, int]) -> int:
    """A size as Port.shape writes it (3, 'batch', '2*frames') as a number."""
    if isinstance(size, int):
        return size
    coefficient, star, symbol = size.rpartition("*")
    return (int(coefficient) if star else 1) * sizes.get(symbol, sizes["frames"])  # further lengths: as many as frames
