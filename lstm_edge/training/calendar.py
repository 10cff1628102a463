"""Features of the calendar out of a time in minutes, as operations that a file keeps: the device feeds the time alone.

Times are whole minutes since 1970-01-01 00:00, local as the table has them; 32 bits of them last until the year 6053. All is in whole
numbers, and sines and cosines stand in tables, so that every machine has the same bits.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from .forecast_options import CALENDAR

MINUTES_OF_DAY, DAYS_OF_ERA = 1440, 146097  # the Gregorian calendar repeats after 400 years, an era
HARMONICS = {"hour": 2, "weekday": 3, "yearday": 2, "month": 1}  # pairs of sine and cosine
COUNTS = {"hour": MINUTES_OF_DAY, "weekday": 7, "yearday": 366, "month": 12}
PERIODS = {**COUNTS, "yearday": 365.25}


class Calendar(nn.Module):
    """time (B, T) in minutes, integers -> (B, T, width): for each feature sine and cosine of its angle and of multiples of it.

    hour: the part of the day, in parts of `minutes`, those between frames; weekday: the day of the week from Monday; yearday: the day
    of the year over 365.25; month. Several multiples, because a working week is no sine.
    """

    def __init__(self, features: tuple[str, ...], minutes: int | None):
        super().__init__()
        self.features = [f for f in CALENDAR if f in features]
        self.width = 2 * sum(HARMONICS[f] for f in self.features)
        self.part = math.gcd(minutes or 1, MINUTES_OF_DAY)
        for feature in self.features:
            self.register_buffer(feature, torch.from_numpy(table(feature, self.part if feature == "hour" else 1)))

    def forward(self, time: Tensor) -> Tensor:
        values = fields(time)
        found = []
        for feature in self.features:
            place = values[feature] // self.part if feature == "hour" else values[feature]
            found.append(nn.functional.embedding(place, self.get_buffer(feature)))
        return torch.cat(found, -1)


def table(feature: str, step: int) -> np.ndarray:
    """Sines and cosines (rows, 2 * harmonics) float32 of a feature's whole numbers 0, step, 2 step, ..."""
    angle = np.arange(0, COUNTS[feature], step)[:, None] * (2 * math.pi / PERIODS[feature])
    turns = [f(n * angle) for n in range(1, HARMONICS[feature] + 1) for f in (np.sin, np.cos)]
    return np.concatenate(turns, 1).astype(np.float32)


def fields(time: Tensor) -> dict[str, Tensor]:
    """Each feature's whole number from 0: minute of the day, day of the week from Monday, day of the year, month.

    The date is counted in years that begin on 1 March, so that the day of a leap year comes last (Hinnant, "chrono-compatible
    low-level date algorithms", 2013).
    """
    minute = time % MINUTES_OF_DAY
    day = (time - minute) // MINUTES_OF_DAY
    from_era = day + 719468  # 1970-01-01, counted from 0000-03-01
    of_era = from_era % DAYS_OF_ERA
    year_of_era = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    leaps = year_of_era // 4 - year_of_era // 100
    of_year = of_era - (365 * year_of_era + leaps)  # from 1 March
    month = ((5 * of_year + 2) // 153 + 2) % 12  # January is 0
    before_march = month < 2
    is_leap = (year_of_era % 4 == 0) & ((year_of_era % 100 != 0) | (year_of_era == 0))
    yearday = torch.where(before_march, of_year - 306, of_year + 59 + is_leap.to(of_year.dtype))
    return {"hour": minute, "weekday": (day + 3) % 7, "yearday": yearday, "month": month}
