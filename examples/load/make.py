"""Writes load.csv: two months of an hourly load in kW with a daily and a weekly cycle, the temperature that moves it, and gaps.

python examples/load/make.py. Drawn with a fixed seed; no such town exists.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

HOURS = 24 * 60


def main() -> None:
    rng = np.random.default_rng(0)
    times = [datetime(2025, 1, 6) + timedelta(hours=h) for h in range(HOURS)]
    hour, weekend = np.arange(HOURS) % 24, np.array([t.weekday() > 4 for t in times])
    slow = np.cumsum(rng.normal(0, 0.12, HOURS))  # weather comes and goes over days
    temperature = 3 + slow - slow.mean() + 2.5 * np.sin((hour - 9) / 24 * 2 * np.pi)
    day = 90 * np.exp(-(((hour - 8) / 2.2) ** 2)) + 130 * np.exp(-(((hour - 19) / 3.0) ** 2))
    load = 310 + day * np.where(weekend, 0.6, 1.0) - 9 * (temperature - 3) + rng.normal(0, 6, HOURS)
    missing = rng.choice(HOURS, 20, replace=False)  # cells without a value
    absent = {*range(500, 507), *rng.choice(HOURS, 5, replace=False)}  # hours without a row
    lines = ["time,load,temperature"]
    for h, time in enumerate(times):
        value = "" if h in missing else f"{load[h]:.1f}"
        if h not in absent:
            lines.append(f"{time:%Y-%m-%d %H:%M},{value},{temperature[h]:.1f}")
    Path(__file__).with_name("load.csv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(__doc__)
    main()
