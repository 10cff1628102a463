"""Tables of models that forecast: series by the names of their columns, on the grid that the model knows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import numpy as np

from ..errors import FormatError
from ..files.number_rows import FILLINGS
from ..files.rows import Dialect
from ..files.tables import TextTable, read_table
from ..forecasting import Description
from ..forecasting.description import KNOWN, description_of
from ..forecasting.history import History, read_histories
from .io import AS_FOUND, Form, frames_of_rows, read_inputs, suffix_of


@dataclass(frozen=True)
class Reading:
    """How a command's files are read. series, time_format: of tables that a forecasting model knows; form: of every table."""

    series: str | None = None
    time_format: str | None = None
    form: Form = AS_FOUND


def table_options(series: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of a command that reads tables, which it is given as `reading`. series: what becomes of the series that --series
    names; a command without has neither that nor --time-format."""
    options = [
        click.option("--columns", metavar="NAME,...", multiple=True, help="Of a table: the columns to take, by name or by number from 1; default: all that hold numbers."),
        click.option("--missing", type=click.Choice(FILLINGS), help="Empty cells: an error (default), the value above, or 0; of a model trained on gaps, gaps."),
        click.option("--delimiter", metavar="CHARACTER", help="What separates a table's columns; default: found."),
        click.option("--decimal", type=click.Choice([".", ","]), help="What stands before the decimals; default: found."),
        click.option("--skip", metavar="N", type=click.IntRange(0), default=0, help="Lines above a table's header to leave out."),
    ]  # fmt: skip
    if series:
        options += [
            click.option("--series", metavar="NAME", help=f"Of a table of several series (models trained with --group), {series}."),
            click.option("--time-format", metavar="FORMAT", help="How a table writes times, such as %d.%m.%Y; default: found."),
        ]  # fmt: skip

    def added(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def gathered(
            *args: Any, columns: tuple[str, ...], missing: str | None, delimiter: str | None, decimal: str | None,
            skip: int, series: str | None = None, time_format: str | None = None, **others: Any,
        ) -> Any:  # fmt: skip
            names = tuple(name.strip() for given in columns for name in given.split(",") if name.strip())
            form = Form(Dialect(delimiter, skip, decimal), names, missing)
            return command(*args, reading=Reading(series, time_format, form), **others)

        decorated: Callable[..., Any] = gathered
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

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
    return read_inputs(model, paths, reading.form)[0] if arrays is None else arrays


def arrays_of_table(model: Any, paths: tuple[str, ...], reading: Reading) -> list[np.ndarray] | None:
    """What a model that forecasts takes of one .csv: columns by their names, gaps as NaN, time stamps, known values of times to come.

    None for other models and files, and for tables without some of these columns, whose rows are frames as they stand, where
    the model takes no more than the series. FormatError, OSError.
    """
    about = description_of(model)
    of_series = reading.series is not None or reading.time_format is not None
    if about is None or len(paths) != 1 or suffix_of(paths[0]) != ".csv" or reading.form.columns:
        if of_series:
            raise FormatError(
                "--series, --time-format: expected a model of `lstm-edge train --task forecast` and one .csv, without --columns, found others"
            )
        return None
    path = paths[0]
    table = read_table(path, reading.form.dialect)
    named = {*about.columns, about.time_column or about.columns[0], about.group or about.columns[0]}
    if len(model.inputs) == 1 and not named <= set(table.names) and not of_series:
        return None
    found = histories(model, about, table, reading)
    if len(found) > 1:
        names = ", ".join(map(repr, found))
        raise FormatError(f"{path}: expected one series, found {names}; `run` and `trace` pick it by --series")
    (history,) = found.values()
    rows = {about.input: _filled(path, history, about, reading.form.missing)}
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


def _filled(path: str, history: History, about: Description, missing: str | None) -> np.ndarray:
    """The history's series, (frames, columns), its gaps as --missing says; None: as they are."""
    gaps = np.argwhere(np.isnan(history.series))
    if missing is None or not len(gaps):
        return history.series
    if missing == "zero":
        return np.where(np.isnan(history.series), np.float32(0), history.series)
    given = ~np.isnan(history.series)
    last = np.maximum.accumulate(np.where(given, np.arange(len(given))[:, None], -1))
    refused = np.argwhere(last < 0) if missing == "forward" else gaps
    if len(refused):
        frame, column = refused[0]
        at = f"frame {frame + 1}" if history.times is None else str(history.times[frame]).replace("T", " ")
        raise FormatError(
            f"{path}: column {about.columns[column]!r}: expected a value (--missing {missing}), found none at {at}"
        )
    filled: np.ndarray = np.take_along_axis(history.series, last, 0)
    return filled


def _windows(path: str, about: Description, known: np.ndarray, frames: int) -> np.ndarray:
    """(frames, horizon * K): of each frame the known values of the next `horizon` times."""
    needed = frames + about.horizon
    if len(known) < needed:
        raise FormatError(
            f"{path}: expected {about.horizon} rows with {', '.join(about.known)} behind the last observation, found {len(known) - frames}"
        )
    windows = np.lib.stride_tricks.sliding_window_view(known[1:needed], about.horizon, axis=0)  # (frames, K, horizon)
    return np.moveaxis(windows, -1, 1).reshape(frames, -1)
