"""The options of commands that read tables, and tables of models that forecast: series by the names of their columns, on the grid that the model knows."""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Any

import click
import numpy as np

from ..errors import FormatError, ShapeError
from ..files.number_rows import FILLINGS
from ..files.rows import Dialect
from ..files.table_files import SUFFIXES as TABLES
from ..files.tables import TextTable, read_table
from ..forecasting import Description
from ..forecasting.description import KNOWN, description_of
from ..forecasting.history import History, read_histories
from .io import AS_FOUND, Form, frames_of_rows, named_form, number_rows, read_inputs, suffix_of, taken_in
from .options import Kind
from .windows import windows_for


@dataclass(frozen=True)
class Reading:
    """How a command's files are read. series, time_format: of tables that a forecasting model knows; form: of every table; window: how
    many rows are one input of the model, None where the model takes them as they come."""

    series: str | None = None
    time_format: str | None = None
    form: Form = AS_FOUND
    window: int | None = None

    @property
    def said(self) -> list[str]:
        """The flags of what is said of tables."""
        dialect, form = self.form.dialect, self.form
        given = {
            "--columns": form.columns, "--missing": form.missing, "--delimiter": dialect.delimiter, "--decimal": dialect.decimal,
            "--skip": dialect.skip, "--window": self.window, "--series": self.series, "--time-format": self.time_format,
        }  # fmt: skip
        return [flag for flag, value in given.items() if value]

    def check(self, paths: tuple[str, ...], streams: Collection[str] = ()) -> None:
        """UsageError for what is said of tables where there are none. streams: paths that may be one, whatever their suffix."""
        if not any(path in streams or suffix_of(path) in (*TABLES, ".jsonl") for path in paths) and self.said:
            kinds = ", ".join((*TABLES, ".jsonl"))
            raise click.UsageError(
                f"{', '.join(self.said)}: expected a table ({kinds}), found {', '.join(paths) or 'no file'}."
            )
        if self.window is not None and (len(paths) != 1 or suffix_of(paths[0]) not in TABLES):
            raise click.UsageError(
                f"--window: expected one table ({', '.join(TABLES)}), whose rows it takes together, found {', '.join(paths)}."
            )
        if self.window is not None and (self.series or self.time_format):
            raise click.UsageError("--window: expected frames as they stand, found --series or --time-format with it.")


class Delimiter(Kind):
    """One character, a tab as \\t too."""

    name = "delimiter"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        character: str = "\t" if value == "\\t" else value
        if len(character) != 1 or character in '\r\n"':
            self.fail(f"expected one character, and no quote or line end, found {value!r}", param, ctx)
        return character


class Columns(Kind):
    """Names or numbers of columns, separated by commas; in quotes where a name has one."""

    name = "columns"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in next(csv.reader([value], skipinitialspace=True), []))
        if not all(names) or not names:
            self.fail(f"expected names or numbers of columns, separated by commas, found {value!r}", param, ctx)
        return names


def table_options(series: str = "", windows: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of a command that reads tables, which it is given as `reading`. series: what becomes of the series that --series
    names; a command without has neither that nor --time-format. windows: whether it has --window."""
    options = [
        click.option("--columns", metavar="NAME,...", multiple=True, type=Columns(), help="Of a table: the columns to take, by name or by number from 1; default: all that hold numbers."),
        click.option("--missing", type=click.Choice(FILLINGS), help="Empty cells: an error (default), the value above, or 0; of a model trained on gaps, gaps."),
        click.option("--delimiter", metavar="CHARACTER", type=Delimiter(), help="What separates a table's columns; default: found."),
        click.option("--decimal", type=click.Choice([".", ","]), help="What stands before the decimals; default: found."),
        click.option("--skip", metavar="N", type=click.IntRange(0), default=0, help="Lines above a table's header to leave out."),
    ]  # fmt: skip
    if windows:
        options.append(click.option("--window", metavar="N", type=click.IntRange(1), help="Of a table: each window of N rows is an input, or each row that holds a whole window."))  # fmt: skip
    if series:
        options += [
            click.option("--series", metavar="NAME", help=f"Of a table of several series (models trained with --group), {series}."),
            click.option("--time-format", metavar="FORMAT", help="How a table writes times, such as %d.%m.%Y; default: found."),
        ]  # fmt: skip

    def added(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def gathered(
            *args: Any, columns: tuple[tuple[str, ...], ...], missing: str | None, delimiter: str | None, decimal: str | None,
            skip: int, series: str | None = None, time_format: str | None = None, **others: Any,
        ) -> Any:  # fmt: skip
            form = Form(Dialect(delimiter, skip, decimal), tuple(chain.from_iterable(columns)), missing)
            window = others.pop("window") if windows else None
            return command(*args, reading=Reading(series, time_format, form, window), **others)

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


def read_runs(model: Any, paths: tuple[str, ...], reading: Reading) -> list[list[np.ndarray]]:
    """Arrays for Model.run, of each run: those of a table where the model has one, else those of one file per input. Windows are one
    run where the model takes a batch, else each is its own."""
    reading.check(paths)
    if reading.window is None:
        arrays = arrays_of_table(model, paths, reading)
        return [read_inputs(model, paths, reading.form)[0] if arrays is None else taken_in(model, arrays, paths)]
    windows = windows_for(model, reading.window)
    with closing(number_rows(paths[0], *named_form(model, windows.port, reading.form))) as rows:
        pieces = [array for array, _ in windows.of_rows(rows, paths[0])]
    if windows.batch is None:
        return [taken_in(model, [piece], paths) for piece in pieces]
    return [taken_in(model, [np.concatenate(pieces, windows.batch)], paths)]


def read_arrays(model: Any, paths: tuple[str, ...], reading: Reading) -> list[np.ndarray]:
    """The arrays of one run. ShapeError where windows are several."""
    first, *others = read_runs(model, paths, reading)
    if others:
        raise ShapeError(
            f"--window: expected one window, because the model takes no batch, found {1 + len(others)} in {paths[0]}"
        )
    return first


def calibration_of(model: Any, paths: tuple[str, ...], reading: Reading) -> list[dict[str, np.ndarray]] | None:
    """What `--calibrate` names, by inputs; None without. UsageError where tables are described and none is given."""
    if not paths:
        reading.check(paths)
        return None
    runs = read_runs(model, paths, reading)
    return [{port.name: array for port, array in zip(model.inputs, arrays)} for arrays in runs]


def arrays_of_table(model: Any, paths: tuple[str, ...], reading: Reading) -> list[np.ndarray] | None:
    """What a model that forecasts takes of one table: columns by their names, gaps as NaN, time stamps, known values of times to come.

    None for other models and files, and for tables without some of these columns, whose rows are frames as they stand, where
    the model takes no more than the series. FormatError, OSError.
    """
    about = description_of(model)
    of_series = reading.series is not None or reading.time_format is not None
    if about is None or len(paths) != 1 or suffix_of(paths[0]) not in TABLES or reading.form.columns:
        if of_series:
            raise FormatError(
                "--series, --time-format: expected a model of `lstm-edge train --task forecast` and one table, without --columns, found others"
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
