"""What many times of one call say: order statistics, an interval for the median, what stands apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

PERCENTILES = {"median": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}


@dataclass(frozen=True)
class Summary:
    """Microseconds. `low` and `high` hold the median of all such calls with a confidence of 95 %, if calls are independent."""

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


def summarise(times: np.ndarray) -> Summary:
    """times: nanoseconds (runs,)."""
    ordered = np.sort(times).astype(np.float64) / 1e3
    low, high = median_interval(ordered)
    found = {name: float(np.percentile(ordered, at)) for name, at in PERCENTILES.items()}
    sd = float(ordered.std(ddof=1)) if len(ordered) > 1 else 0.0
    return Summary(
        runs=len(ordered),
        min=float(ordered[0]),
        mean=float(ordered.mean()),
        sd=sd,
        low=low,
        high=high,
        max=float(ordered[-1]),
        **found,
    )


def median_interval(ordered: np.ndarray) -> tuple[float, float]:
    """A 95 % confidence interval of the median from sorted values, free of any assumption on how they are distributed.

    The number of values below the median is binomial(n, 1/2); its normal approximation gives the two ranks (Conover,
    Practical Nonparametric Statistics, 3.2).
    """
    n = len(ordered)
    half = 0.98 * math.sqrt(n)  # 1.96 standard deviations of sqrt(n) / 2
    first, last = math.floor((n - 1) / 2 - half), math.ceil((n - 1) / 2 + half)
    return float(ordered[max(first, 0)]), float(ordered[min(last, n - 1)])


def outlier_limit(times: np.ndarray) -> float:
    """Where Tukey's outer fence lies: three quartile distances above the third quartile, at least a fifth above the median
    (a clock that counts in tens of nanoseconds gives a quartile distance of nothing)."""
    first, median, third = np.percentile(times, [25, 50, 75])
    return float(max(third + 3 * (third - first), 1.2 * median))


@dataclass(frozen=True)
class Histogram:
    """Counts of calls between edges (microseconds, one more than counts), in equal steps up to `edges[-1]`; `beyond`: longer calls."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    beyond: int


def histogram(times: np.ndarray, bins: int = 20) -> Histogram:
    """The bulk of the calls, up to the 99th percentile or the outer fence, so that late calls do not flatten the rest."""
    values = times / 1e3
    low, high = float(values.min()), float(min(np.percentile(values, 99), outlier_limit(values)))
    if high <= low:
        high = low + max(low * 1e-3, 1e-3)
    counts, edges = np.histogram(values[values <= high], bins=bins, range=(low, high))
    return Histogram(tuple(map(float, edges)), tuple(map(int, counts)), int((values > high).sum()))
