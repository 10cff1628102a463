"""Carbon dioxide at Mauna Loa, weekly, with gaps, forecast 26 weeks ahead: the page docs/forecast-co2.md.

pip install statsmodels matplotlib '.[train]'
python examples/forecasting/co2.py          # four minutes on one core
"""

from __future__ import annotations

import sys

from report import Example, make_page
from statsmodels.datasets import co2

BEFORE_INDUSTRY = 280.0  # ppm


def main() -> None:
    weekly = co2.load_pandas().data["co2"] - BEFORE_INDUSTRY
    options = {
        "window": 156,
        "settle": 52,
        "residual": "seasonal",
        "calendar": "yearday",
        "hidden": 32,
        "epochs": 40,
        "loss": "mae",
        "rate": 3e-3,
        "schedule": "cosine",
        "validation": 0.1,
    }
    table = weekly.rename_axis("week").reset_index()
    make_page(Example("forecast-co2", table, "ppm", 52, 26, options, True, slice(0, 210)))


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(__doc__)
    main()
