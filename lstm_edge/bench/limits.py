"""What the machine could do with an ISA's instructions: bytes a second out of the memory that a model's weights live in, and
products a second out of registers (src_c/kernels/probe.inc)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from .._core import probe

STEP = 512  # bytes; what the core's probe reads is a multiple of it
ROUND = 1e-3  # seconds of one measurement, of which the best of many counts
TRIES = 60


@dataclass(frozen=True)
class Limits:
    """read: bytes a second of one thread that reads `bytes` again and again, so from the cache that holds them, or from memory. float32,
    int8: operations a second, a product and its sum being two."""

    isa: str
    bytes: int
    read: float
    float32: float
    int8: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def limits(isa: str, size: int) -> Limits:
    """Measures all three for `size` bytes in some 0.2 s."""
    whole = -(-max(size, 4096) // STEP) * STEP
    products = [_rate(partial(probe, isa, kind)) for kind in ("float32", "int8")]
    return Limits(isa, whole, read_rate(isa, aligned_ones(whole)), *products)


def aligned_ones(size: int) -> np.ndarray:
    """`size` bytes of float32 that begin on a cache line, as packed weights do: vectors across two lines are read at half the rate."""
    data = np.ones(size // 4 + 16, np.float32)
    first = -data.ctypes.data % 64 // 4
    return data[first : first + size // 4]


def read_rate(isa: str, data: np.ndarray) -> float:
    """Bytes a second of reading `data` (float32, a multiple of 512 bytes) again and again."""
    return _rate(lambda times: probe(isa, "read", times, data))


def _rate(work: Callable[[int], float]) -> float:
    """The best rate of many tries, each of so many rounds that it takes about a millisecond."""
    times = 1
    while (spent := min(_seconds(work, times)[0] for _ in range(3))) < ROUND / 4 and times < 1 << 40:
        times *= 4
    times = max(1, round(times * ROUND / spent))
    return max(done / seconds for seconds, done in (_seconds(work, times) for _ in range(TRIES)))


def _seconds(work: Callable[[int], float], times: int) -> tuple[float, float]:
    start = time.perf_counter()
    done = work(times)
    return max(time.perf_counter() - start, 1e-9), done
