"""Tables of models that forecast: series by the names of their columns, on the grid that the model knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import numpy as np

from ..errors import FormatError
from ..files.tables import TextTable, read_table
from ..forecasting import Description
from ..forecasting.description import KNOWN, description_of
from ..forecasting.history import History, read_histories
from .io import frames_of_rows, read_inputs, suffix_of


@dataclass(frozen=True)
class Reading:
    """How a command's table is read; None: as it is found."""

    series: str | None = None
    time_format: str | None = None
    delimiter: str | None = None


def table_options(which: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of a command that make a Reading. which: what becomes of the one of --series."""
    options = (
        click.option(
            "--series", metavar="NAME", help=f"Of a table of several series (models trained with --group), {which}."
        ),
        click.option(
            "--time-format", metavar="FORMAT", help="How a table writes times, such as %d.%m.%Y; default: found."
        ),
        click.option("--delimiter", metavar="CHARACTER", help="What separates a table's columns; default: found."),
    )

    def added(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return added


def histories(model: Any, about: Description, table: TextTable, reading: Reading) -> dict[str, History]:
    """A table's series by their names, read as the model's training read its table. FormatError names what does not fit."""
    options = model.metadata.get("training", {}).get("options", {})
    averaged = options.get("step") is not None
    form = reading.time_format or options.get("time_format")
    return read_histories(about, table, form, averaged, reading.series)


def read_arrays(model: Any, paths: tuple[str, ...], reading: Reading) -> list[np.ndarray]:
    """Arrays for Model.run: those of a table where the model has one, else those of one file per input."""
    arrays = arrays_of_table(model, paths, reading)
    return read_inputs(model, paths)[0] if arrays is None else arrays


def arrays_of_table(model: Any, paths: tuple[str, ...], reading: Reading) -> list[np.ndarray] | None:
    """What a model that forecasts takes of one .csv: columns by their names, gaps as NaN, time stamps, known values of times to come.

    None for other models and files, and for tables without some of these columns, whose rows are frames as they stand, where
    the model takes no more than the series. FormatError, OSError.
    """
    about = description_of(model)
    if about is None or len(paths) != 1 or suffix_of(paths[0]) != ".csv":
        if reading != Reading():
            raise FormatError(
                "--series, --time-format, --delimiter: expected a model of `lstm-edge train --task forecast` and one .csv, found others"
            )
        return None
    path = paths[0]
    table = read_table(path, reading.delimiter)
    named = {*about.columns, about.time_column or about.columns[0], about.group or about.columns[0]}
    if len(model.inputs) == 1 and not named <= set(table.names) and reading == Reading():
        return None
    found = histories(model, about, table, reading)
    if len(found) > 1:
        names = ", ".join(map(repr, found))
        raise FormatError(f"{path}: expected one series, found {names}; `run` and `trace` pick it by --series")
    (history,) = found.values()
    rows = {about.input: history.series}
    if about.time is not None and history.times is not None:
        rows[about.time] = history.times.astype("M8[m]").astype(np.int64)[:, None]
    if history.known is not None:
        rows[KNOWN] = _windows(path, about, history.known, len(history.series))
    others = [port.name for port in model.inputs if port.name not in rows]
    if others:
        raise FormatError(
            f"{path}: expected a table of all inputs, found none of {', '.join(others)}; give a .npz with all"
        )
    return [frames_of_rows(rows[port.name], port, model.is_step_model, path) for port in model.inputs]


def _windows(path: str, about: Description, known: np.ndarray, frames: int) -> np.ndarray:
    """(frames, horizon * K): of each frame the known values of the next `horizon` times."""
    needed = frames + about.horizon
    if len(known) < needed:
        raise FormatError(
            f"{path}: expected {about.horizon} rows with {', '.join(about.known)} behind the last observation, found {len(known) - frames}"
        )
    windows = np.lib.stride_tricks.sliding_window_view(known[1:needed], about.horizon, axis=0)  # (frames, K, horizon)
    return np.moveaxis(windows, -1, 1).reshape(frames, -1)
