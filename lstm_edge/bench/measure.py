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
from ..many import step_many
from ..options import argument
from .machine import pinned
from .sampling import Samples, sample
from .statistics import Summary, summarise

MODES = ("step", "chunk", "sequence")
MANY = "many"  # a step of all streams in one call, which has the threads
MOST_THREADS, MOST_STREAMS = 256, 65536
MOST_FRAMES, MOST_BATCH = 10_000_000, 65536
COLD_BYTES = 64 << 20  # read between calls to push the model out of every cache; larger than most last levels


@dataclass(frozen=True)
class Call:
    """What is timed: one step (`frames` is then the model's hop), that of `many` streams at once, a chunk of `frames`, or one
    whole sequence."""

    mode: str
    isa: str
    batch: int
    frames: int
    streams: int
    threads: int
    cold: bool
    warmup: int


@dataclass(frozen=True)
class Timing(Summary):
    """The Summary of one Call. outliers: calls beyond Tukey's outer fence by what the kernel says of them. times, begun: of each
    call, nanoseconds, not part of as_dict."""

    call: Call
    outliers: dict[str, int]
    calls_per_second: float  # of all threads together
    missed: int | None  # calls longer than the period, when one was given
    real_time_factor: float | None  # median / period
    cpu: int | None  # the CPU the calls were pinned to
    times: np.ndarray = field(repr=False, compare=False)
    begun: np.ndarray = field(repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """The call's fields, then the figures."""
        own = {name: value for name, value in asdict(self).items() if name not in ("call", "times", "begun")}
        return {**asdict(self.call), **own}


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
    frames), or `many` (lstm_edge.step_many of all streams, on `threads`). streams: so many streams are called in turn. threads: each steps streams of its own at the same time. seconds:
    at least so long, and until the median is known to half a percent, at most `patience` times as long (sampling.sample). period: seconds between calls;
    calls that take longer are counted in `missed` (`paced` waits as a device would). cpu: pins the calling thread to this
    CPU for the time of the call. cold: caches are emptied before every call, unmeasured.
    Raises UnsupportedModelError when a model that cannot stream is stepped, LstmEdgeError for what is not there.
    """
    if mode not in (*MODES, MANY):
        raise LstmEdgeError(f"bench: {argument('mode')}: expected mode {', '.join(MODES)} or {MANY}, found {mode!r}")
    most = {"frames": MOST_FRAMES, "batch": MOST_BATCH, "streams": MOST_STREAMS, "threads": MOST_THREADS}
    for name, count in zip(most, (frames, batch, streams, threads)):
        if not 1 <= count <= most[name]:
            raise LstmEdgeError(
                f"bench: {argument(name)}: expected at least 1 and at most {most[name]:,}, found {count:,}"
            )
    if threads * streams > MOST_STREAMS:
        raise LstmEdgeError(
            f"bench: {argument('streams')}: expected at most {MOST_STREAMS:,} of all threads together, "
            f"found {threads:,} threads of {streams:,} each"
        )
    if period is not None and period <= 0:
        raise LstmEdgeError(f"bench: expected a period above 0 seconds, found {period}")
    if threads > 1 and cpu is not None:
        raise LstmEdgeError(f"bench: expected one thread on cpu {cpu}, found {threads}")
    frames = frames_of(model, mode, frames)
    try:
        how: dict[str, Any] = {"frames": frames, "batch": batch, "streams": streams}
        if mode == MANY:
            calls = [make_call(model, mode, **how, threads=threads)]
        else:
            calls = [make_call(model, mode, **how) for _ in range(threads)]
    except MemoryError:
        raise LstmEdgeError(
            f"bench: {', '.join(map(argument, ('frames', 'batch', 'streams')))}: expected what fits into memory, found {frames:,} frames, batch {batch:,}, "
            f"{streams:,} streams in {threads:,} threads"
        ) from None
    options: dict[str, Any] = {"warmup": warmup, "runs": runs, "seconds": seconds, "patience": patience, "cpu": cpu}
    if cold:
        options["between"] = cache_flusher()
    with pinned(cpu):
        start = time.perf_counter()
        found = _in_threads([partial(sample, call, **options) for call in calls])
        past = time.perf_counter() - start
    call = Call(mode, model.isa, batch, frames, streams, threads, cold, warmup)
    return _timing(found, call, period, cpu, past)


def _timing(found: list[Samples], call: Call, period: float | None, cpu: int | None, past: float) -> Timing:
    """found: of each thread; past: the seconds that all took."""
    times = np.concatenate([each.times for each in found])
    outliers: dict[str, int] = {}
    for cause, count in itertools.chain.from_iterable(each.outliers.items() for each in found):
        outliers[cause] = outliers.get(cause, 0) + count
    summary = summarise(times)
    return Timing(
        **vars(summary),
        call=call,
        outliers=outliers,
        calls_per_second=1e6 / summary.mean if len(found) == 1 else len(times) / past,
        missed=None if period is None else int((times > period * 1e9).sum()),
        real_time_factor=None if period is None else summary.median / (period * 1e6),
        cpu=cpu,
        times=times,
        begun=np.concatenate([each.begun for each in found]),
    )


def frames_of(model: Any, mode: str, frames: int) -> int:
    """The frames of one call: a step takes the model's hop, a chunk a multiple of it."""
    hop = int(model.metadata.get("streaming", {}).get("multiple", 1))
    if mode in ("step", MANY):
        return hop
    return max(frames // hop, 1) * hop if mode == "chunk" else frames


def make_call(
    model: Any, mode: str, *, frames: int, batch: int = 1, streams: int = 1, threads: int = 1
) -> Callable[[], object]:
    """One call of `mode`, on inputs made here; of several streams the next one's, or (many) of all, on `threads`."""
    model._check_batch(batch)
    arrays = sample_inputs(model, frames=frames, batch=batch, step=mode in ("step", MANY))
    if mode == "sequence":
        return partial(model.run, *arrays)
    opened = [model.stream(batch) for _ in range(streams)]
    if mode == MANY:
        given = {port.name: np.stack([array] * streams) for port, array in zip(model.inputs, arrays)}
        return partial(step_many, opened, given, threads=threads)
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
        raise LstmEdgeError(f"bench: {argument('threads')}: expected {len(jobs)}, found that {exc}") from None
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
