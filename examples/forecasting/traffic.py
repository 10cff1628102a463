"""Cars on a motorway, hourly, with gaps, forecast 24 hours ahead: the page docs/forecast-traffic.md.

pip install --no-deps autots && pip install statsmodels matplotlib '.[train]'
python examples/forecasting/traffic.py      # five minutes on one core
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
from report import Example, make_page


def traffic() -> pd.DataFrame:
    """Thousands of cars an hour on Interstate 94 westbound, two years. autots ships the table; nothing else of it is used."""
    package = find_spec("autots")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("the data come with autots: pip install --no-deps autots")
    path = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "traffic_hourly.zip"
    table = pd.read_csv(path, parse_dates=["datetime"])[["datetime", "traffic_volume"]]
    return table.assign(traffic_volume=table["traffic_volume"] / 1000)


def main() -> None:
    options = {
        "window": 264,
        "settle": 168,
        "stride": 12,
        "residual": "seasonal",
        "calendar": ("hour", "weekday"),
        "hidden": 32,
        "epochs": 25,
        "loss": "mae",
        "rate": 3e-3,
        "schedule": "cosine",
        "validation": 0.1,
    }
    make_page(Example("forecast-traffic", traffic(), "thousand cars", 168, 24, options, False, slice(0, 240)))


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(__doc__)
    main()
