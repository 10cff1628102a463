"""Latency of a model on this machine: time per step or per whole sequence, one thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .errors import LstmEdgeError

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
            arrays.append(rng.standard_normal(shape).astype(np.float32))
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
) -> Timing:
    """Times `model` (from lstm_edge.load) on random input.

    mode: `step` (Stream.step, state kept) or `sequence` (Model.run over `frames` frames). period: seconds a call may
    take; longer ones are counted in `missed`. Raises UnsupportedModelError when a model that cannot stream is stepped.
    """
    if mode not in MODES:
        raise LstmEdgeError(f"bench: expected mode {' or '.join(MODES)}, found {mode!r}")
    if mode == "step":
        frames = int(model.metadata.get("streaming", {}).get("multiple", 1))
        stream = model.stream(batch)
        arrays = sample_inputs(model, frames=frames, batch=batch, step=True)
        run = stream.step
    else:
        arrays = sample_inputs(model, frames=frames, batch=batch)
        run = model.run
    times = measure(lambda: run(*arrays), warmup=warmup, runs=runs, seconds=seconds)
    p50, p90, p99 = np.percentile(times, [50, 90, 99]) / 1e3
    missed = None if period is None else int((times > period * 1e9).sum())
    low, high = times.min() / 1e3, times.max() / 1e3
    return Timing(
        mode, model.isa, batch, frames, warmup, len(times), low, float(p50), float(p90), float(p99), high, missed
    )


def _number(size: int | str, sizes: dict[str, int]) -> int:
    """A size as Port.shape writes it (3, 'batch', '2*frames') as a number."""
    if isinstance(size, int):
        return size
    coefficient, star, symbol = size.rpartition("*")
    return (int(coefficient) if star else 1) * sizes[symbol]
