"""Tables of models that forecast: series by the names of their columns, on the grid that the model knows."""

from __future__ import annotations

from typing import Any

from ..files.tables import read_table
from ..forecasting import Description
from ..forecasting.history import History, read_histories


def read_table_of(
    model: Any,
    about: Description,
    path: str,
    time_format: str | None = None,
    delimiter: str | None = None,
    series: str | None = None,
) -> dict[str, History]:
    """The series of a .csv by their names, read as the model's training read its table; `series` picks one. FormatError, OSError."""
    options = model.metadata.get("training", {}).get("options", {})
    averaged = options.get("step") is not None
    form = time_format or options.get("time_format")
    return read_histories(about, read_table(path, delimiter), form, averaged, series)
