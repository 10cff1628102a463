"""Times on a regular grid: what is missing becomes a gap, what lies off it moves to the nearest frame, and notes say so."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import FormatError
from ..forecasting.steps import MOST_FRAMES_PER_ROW, SECONDS
from ..forecasting.steps import Step as PlainStep
from ..options import spelled

DAY = 86400
MINUTES_OF_MONTH = 43830  # on average
USUAL = (
    1,
    2,
    5,
    10,
    15,
    20,
    30,
    *(60 * m for m in (1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 480, 720)),
    DAY,
    7 * DAY,
)


@dataclass(frozen=True)
class Step(PlainStep):
    """The time from one frame to the next, as a table has it: with its name and its usual season."""

    def __str__(self) -> str:
        if self.months:
            return _count(self.months // 12, "year") if self.months % 12 == 0 else _count(self.months, "month")
        size, name = max((size, name) for name, size in SECONDS.items() if self.seconds % size == 0)
        return _count(self.seconds // size, name)

    @property
    def minutes(self) -> int | None:
        """Minutes between frames, on average where they are months; None where they are no whole number."""
        if self.months:
            return self.months * MINUTES_OF_MONTH
        return None if self.seconds % 60 else self.seconds // 60

    @property
    def season(self) -> int | None:
        """Frames of the season that such steps usually have: a year of months and weeks, a week of days, a day of less."""
        if self.months:
            return 12 // self.months if 12 % self.months == 0 and self.months < 12 else None
        if self.seconds == 7 * DAY:
            return 52
        if self.seconds == DAY:
            return 7
        return DAY // self.seconds if self.seconds < DAY and DAY % self.seconds == 0 else None


def _count(n: int, name: str) -> str:
    return f"{n} {name}{'s' if n > 1 else ''}"


def read_step(text: str) -> Step:
    """A step as it was typed: 1h, 15min, 1day, 1month. FormatError for what is none."""
    months = re.fullmatch(r"(\d*)\s*(months?|mon|M|MS|ME|quarters?|Q|years?|Y)", text.strip())
    if months:
        unit = {"q": 3, "y": 12}.get(months[2][0].lower(), 1)
        return Step(0, int(months[1] or 1) * unit)
    weeks = re.fullmatch(r"(\d*)\s*(weeks?|w|W)", text.strip())
    try:
        step = (
            7 * DAY * int(weeks[1] or 1)
            if weeks
            else pd.Timedelta(pd.tseries.frequencies.to_offset(_plain(text))).total_seconds()
        )
    except (ValueError, TypeError):
        step = 0
    if step < 1 or step != int(step):
        expected = "expected a time of whole seconds such as 15min, 1h, 1day, 1month"
        raise FormatError(f"{spelled('--step', 'step')}: {expected}, found {text!r}")
    return Step(int(step))


def _plain(text: str) -> str:
    """A step in pandas' letters."""
    number, unit = re.match(r"\s*([\d.]*)\s*(.*)", text).groups()  # type: ignore[union-attr]
    letters = {"day": "D", "hour": "h", "minute": "min", "second": "s", "d": "D", "H": "h", "T": "min"}
    return number + letters.get(unit.rstrip("s") or unit, letters.get(unit, unit))


def found_step(times: list[np.ndarray], place: str) -> Step:
    """The most common step of sorted times (datetime64[s]); months where every row is in a month of its own. FormatError where there
    is none."""
    steps = np.concatenate([np.diff(t).astype(np.int64) for t in times])
    steps = steps[steps > 0]
    if not len(steps):
        raise FormatError(
            f"{place}: expected rows at different times, found one time alone; leave out the column of times"
        )
    if np.median(steps) >= 27 * DAY:
        months = np.concatenate([np.diff(t.astype("datetime64[M]").astype(np.int64)) for t in times])
        months = months[months > 0]
        values, counts = np.unique(months, return_counts=True)
        if len(values) and len(months) == len(steps) and _one_day_of_month(times):
            return Step(0, int(values[counts.argmax()]))
    values, counts = np.unique(steps, return_counts=True)
    if counts.max() >= 0.9 * len(steps):
        return Step(int(values[counts.argmax()]))
    # Clocks that are a little off, or many gaps: the usual step that is near the middle one, else the most common.
    middle = float(np.median(steps))
    nearest = min(USUAL, key=lambda step: abs(step - middle))
    return Step(nearest if abs(nearest - middle) <= 0.05 * middle else int(values[counts.argmax()]))


def _one_day_of_month(times: list[np.ndarray]) -> bool:
    """Whether rows stand on one day of the month, or each on its last one."""
    days = np.concatenate([t.astype("datetime64[D]") for t in times])
    of_month = (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64)
    last = ((days + 1).astype("datetime64[M]") != days.astype("datetime64[M]")).all()
    return bool(last) or bool((of_month == of_month[0]).all())


@dataclass(frozen=True)
class Placed:
    """Rows on a grid: values (frames, columns) with NaN in gaps, minutes (frames,) since 1970; counts for the notes."""

    values: np.ndarray
    minutes: np.ndarray
    gaps: int
    moved: int
    furthest: int  # seconds, of rows that moved
    merged: int


def on_grid(times: np.ndarray, values: np.ndarray, step: Step, given: bool, duplicates: str, place: str) -> Placed:
    """Rows at sorted times (n,) datetime64[s] with values (n, columns) on the grid of `step` from the first row on.

    given: the step was asked for, so that it cuts time into parts whose rows are averaged; else each row moves to its nearest frame.
    duplicates: what rows of one time give: first, last, mean. FormatError where the grid would be mostly gaps.
    """
    at = step.places(times, given)
    count = int(at[-1]) + 1
    if count > MOST_FRAMES_PER_ROW * len(at) + 100:
        raise FormatError(
            f"{place}: {len(at):,} rows would be {count:,} frames of {step}; give a longer {spelled('--step', 'step')}"
        )
    starts = step.frames(step.begin(times[0], given), count)
    off = np.zeros(len(at), np.int64) if given or step.months else np.abs((times - starts[at]).astype(np.int64))
    same = len(at) - len(np.unique(at))
    frame = pd.DataFrame(values).groupby(at)
    how = (
        duplicates
        if same and not given and len(np.unique(times)) + same == len(at) and duplicates != "error"
        else "mean"
    )
    held = getattr(frame, how)() if same else pd.DataFrame(values, index=at)
    placed = np.array(held.reindex(np.arange(count)), np.float64)
    minutes = starts.astype(np.int64) // 60
    return Placed(placed, minutes, count - len(held), int((off > 0).sum()), int(off.max()), same)
