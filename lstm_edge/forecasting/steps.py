"""The time from one frame to the next, as a file names it: "15 minutes", "1 hour", "1 month"."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
MONTHS = {"month": 1, "year": 12}
MOST_FRAMES_PER_ROW = 20  # a grid with more is no grid of these rows
TEXT = re.compile(r"([1-9]\d{0,8}) (\w+?)s?")


@dataclass(frozen=True)
class Step:
    """Seconds, or months where those are not 0."""

    seconds: int
    months: int = 0

    def after(self, last: np.ndarray, count: int) -> np.ndarray:
        """(..., count) times, datetime64[s], that follow `last` (...); a month later is the same day, or the month's last."""
        ahead = np.arange(1, count + 1)
        if not self.months:
            return np.asarray(last[..., None] + (self.seconds * ahead).astype("m8[s]"))
        month = last.astype("M8[M]")
        months = month[..., None] + (self.months * ahead).astype("m8[M]")
        day = (last.astype("M8[D]") - month.astype("M8[D]"))[..., None]
        longest = (months + np.timedelta64(1, "M")).astype("M8[D]") - months.astype("M8[D]") - np.timedelta64(1, "D")
        clock = (last - last.astype("M8[D]"))[..., None]
        return np.asarray((months.astype("M8[D]") + np.minimum(day, longest)).astype("M8[s]") + clock)

    def begin(self, first: np.datetime64, parts: bool) -> np.datetime64:
        """The time of the frame that a series' first row lies in: the row's own, or where its part of time begins."""
        if not parts:
            return first
        if self.months:
            return np.datetime64(first.astype("M8[M]"), "s")
        return np.datetime64(int(first.astype(np.int64)) // self.seconds * self.seconds, "s")

    def places(self, times: np.ndarray, parts: bool = False) -> np.ndarray:
        """The frame of each of the sorted times (datetime64[s]), counted from the first row's: the one whose month it is, or the
        nearest one, or with `parts` the one whose part of time it lies in."""
        if self.months:
            months = times.astype("M8[M]").astype(np.int64)
            return np.asarray((months - months[0]) // self.months)
        since = (times - self.begin(times[0], parts)).astype(np.int64)
        return np.asarray((since if parts else since + self.seconds // 2) // self.seconds)

    def frames(self, first: np.datetime64, count: int) -> np.ndarray:
        """The times (count,) of frames from `first` on."""
        return np.concatenate([[first], self.after(np.asarray(first), count - 1)])


def step_of(text: str) -> Step | None:
    """None for what is no step."""
    match = TEXT.fullmatch(text)
    if not match or match[2] not in {**SECONDS, **MONTHS}:
        return None
    count, unit = int(match[1]), match[2]
    return Step(0, count * MONTHS[unit]) if unit in MONTHS else Step(count * SECONDS[unit])
