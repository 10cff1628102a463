"""Latency of a model on this machine: time per step, chunk or whole sequence."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ..errors import LstmEdgeError
from .machine import pinned
from .sampling import Samples, sample
from .statistics import summarise

MODES = ("step", "chunk", "sequence")
MOST_THREADS, MOST_STREAMS = 256, 65536
COLD_BYTES = 64 << 20  # read between calls to push the model out of every cache; larger than most last levels


@dataclass(frozen=True)
class Timing:
    """Microseconds per call. A call is one step (`frames` is then the model's hop), a chunk of `frames` or one whole sequence.

    low, high: a 95 % interval of the median. outliers: calls beyond Tukey's outer fence by what the kernel says of them. times,
    begun: of each call, nanoseconds, not part of as_dict.
    """

    mode: str
    isa: str
    batch: int
    frames: int
    streams: int
    threads: int
    cold: bool
    warmup: int
    runs: int
    min: float
    mean: float
    sd: float
    median: float
    low: float
    high: float
    p90: float
    p95: float
    p99: float
    p999: float
    max: float
    outliers: dict[str, int]
    calls_per_second: float  # of all threads together
    missed: int | None = None  # calls longer than the period, when one was given
    real_time_factor: float | None = None  # median / period
    cpu: int | None = None  # the CPU the calls were pinned to
    times: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64), repr=False, compare=False)
    begun: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64), repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name not in ("times", "begun")}


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
    streams: int = 1,
    threads: int = 1,
    warmup: int = 50,
    runs: int | None = None,
    seconds: float = 3.0,
    patience: float = 4.0,
    period: float | None = None,
    cpu: int | None = None,
    cold: bool = False,
) -> Timing:
    """Times `model` (from lstm_edge.load) on random input.

    mode: `step` (Stream.step, state kept), `chunk` (Stream.run of `frames` frames) or `sequence` (Model.run over `frames`
    frames). streams: so many streams are called in turn. threads: each steps streams of its own at the same time. seconds:
    at least so long, and until the median is known to half a percent, at most `patience` times as long (sampling.sample). period: seconds between calls;
    calls that take longer are counted in `missed` (`paced` waits as a device would). cpu: pins the calling thread to this
    CPU for the time of the call. cold: caches are emptied before every call, unmeasured.
    Raises UnsupportedModelError when a model that cannot stream is stepped, LstmEdgeError for what is not there.
    """
    if mode not in MODES:
        raise LstmEdgeError(f"bench: expected mode {', '.join(MODES[:-1])} or {MODES[-1]}, found {mode!r}")
    for name, count in (("streams", streams), ("threads", threads), ("frames", frames)):
        if count < 1:
            raise LstmEdgeError(f"bench: {name}: expected at least 1, found {count}")
    if threads * streams > MOST_STREAMS or threads > MOST_THREADS:
        raise LstmEdgeError(
            f"bench: expected at most {MOST_THREADS} threads and {MOST_STREAMS:,} streams of them all, "
            f"found {threads:,} threads of {streams:,} each"
        )
    if period is not None and period <= 0:
        raise LstmEdgeError(f"bench: expected a period above 0 seconds, found {period}")
    if threads > 1 and cpu is not None:
        raise LstmEdgeError(f"bench: expected one thread on cpu {cpu}, found {threads}")
    frames = frames_of(model, mode, frames)
    calls = [make_call(model, mode, frames=frames, batch=batch, streams=streams) for _ in range(threads)]
    options: dict[str, Any] = {"warmup": warmup, "runs": runs, "seconds": seconds, "patience": patience, "cpu": cpu}
    if cold:
        options["between"] = cache_flusher()
    with pinned(cpu):
        start = time.perf_counter()
        found = _in_threads([partial(sample, call, **options) for call in calls])
        past = time.perf_counter() - start
    return _timing(found, model, mode, batch, frames, streams, threads, cold, warmup, period, cpu, past)


def _timing(
    found: list[Samples],
    model: Any,
    mode: str,
    batch: int,
    frames: int,
    streams: int,
    threads: int,
    cold: bool,
    warmup: int,
    period: float | None,
    cpu: int | None,
    past: float,
) -> Timing:
    times = np.concatenate([each.times for each in found])
    outliers: dict[str, int] = {}
    for cause, count in itertools.chain.from_iterable(each.outliers.items() for each in found):
        outliers[cause] = outliers.get(cause, 0) + count
    summary = asdict(summarise(times))
    late = None if period is None else int((times > period * 1e9).sum())
    return Timing(
        mode=mode,
        isa=model.isa,
        batch=batch,
        frames=frames,
        streams=streams,
        threads=threads,
        cold=cold,
        warmup=warmup,
        outliers=outliers,
        calls_per_second=1e6 * threads / summary["mean"] if threads == 1 else len(times) / past,
        missed=late,
        real_time_factor=None if period is None else summary["median"] / (period * 1e6),
        cpu=cpu,
        times=times,
        begun=np.concatenate([each.begun for each in found]),
        **summary,
    )


def frames_of(model: Any, mode: str, frames: int) -> int:
    """The frames of one call: a step takes the model's hop, a chunk a multiple of it."""
    hop = int(model.metadata.get("streaming", {}).get("multiple", 1))
    if mode == "step":
        return hop
    return max(frames // hop, 1) * hop if mode == "chunk" else frames


def make_call(model: Any, mode: str, *, frames: int, batch: int = 1, streams: int = 1) -> Callable[[], object]:
    """One call of `mode`, on inputs made here; of several streams the next one's."""
    arrays = sample_inputs(model, frames=frames, batch=batch, step=mode == "step")
    if mode == "sequence":
        return partial(model.run, *arrays)
    opened = [model.stream(batch) for _ in range(streams)]
    calls: list[Callable[[], object]] = [
        partial(stream.step if mode == "step" else stream.run, *arrays) for stream in opened
    ]
    return calls[0] if streams == 1 else _in_turn(calls)


def _in_turn(calls: list[Callable[[], object]]) -> Callable[[], object]:
    turn = itertools.cycle(calls).__next__
    return lambda: turn()()


def cache_flusher() -> Callable[[], object]:
    """Reads and writes more memory than the caches hold."""
    ballast = np.zeros(COLD_BYTES // 8)
    return partial(np.add, ballast, 1.0, ballast)


def _in_threads(jobs: list[Callable[[], Samples]]) -> list[Samples]:
    if len(jobs) == 1:
        return [jobs[0]()]
    found: list[Samples | BaseException | None] = [None] * len(jobs)
    together = threading.Barrier(len(jobs))

    def work(n: int) -> None:
        try:
            together.wait()
            found[n] = jobs[n]()
        except BaseException as why:  # raised again in the caller's thread
            found[n] = why

    workers = [threading.Thread(target=work, args=(n,)) for n in range(len(jobs))]
    try:
        for worker in workers:
            worker.start()
    except RuntimeError as exc:  # the system gives no more threads: those that wait for all must not wait for ever
        together.abort()
        raise LstmEdgeError(f"bench: threads: expected {len(jobs)}, found that {exc}") from None
    for worker in workers:
        worker.join()
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return [each for each in found if isinstance(each, Samples)]


def _number(size: int | str, sizes: dict[str, int]) -> int:
    """A size as Port.shape writes it (3, 'batch', '2*frames') as a number."""
    if isinstance(size, int):
        return size
    coefficient, star, symbol = size.rpartition("*")
    return (int(coefficient) if star else 1) * sizes.get(symbol, sizes["frames"])  # further lengths: as many as frames
