"""lstm-edge forecast: what comes after a table, as a table and as a picture."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click
import numpy as np

import lstm_edge

from ..errors import FormatError, ShapeError
from ..files.tables import read_table
from ..forecasting import Description, picture
from ..forecasting.description import description_of
from ..forecasting.history import History
from ..metadata import section
from .assignments import Assignment
from .io import err_console, read_inputs, stdout, suffix_of
from .options import isa_option, model_argument
from .parsing import Command
from .sinks import PICTURES, check_output, replacing
from .tables import Reading, histories, table_options

SHOWN_HORIZONS = 4  # of history in a picture, at least as many frames as LEAST_SHOWN
LEAST_SHOWN = 48


class Told:
    """A forecast with what its table and picture need: past (frames, targets), answer (steps, targets[, quantiles])."""

    def __init__(self, targets: Sequence[str], past: np.ndarray, answer: np.ndarray, series: str = ""):
        self.targets, self.past, self.answer, self.series = list(targets), past, answer, series
        self.quantiles: tuple[float, ...] = ()
        self.times: tuple[np.ndarray, np.ndarray] | None = None

    def header(self) -> list[str]:
        """Time stamps (or the number of the step), then targets, each with its quantiles."""
        levels = [f"_{q:g}" for q in self.quantiles] or [""]
        return ["step" if self.times is None else "time", *(f"{t}{q}" for t in self.targets for q in levels)]

    def rows(self) -> Iterator[list[str]]:
        stamps = self.times[1] if self.times is not None else np.arange(1, len(self.answer) + 1)
        for stamp, row in zip(_spelled(stamps), self.answer.reshape(len(self.answer), -1)):
            yield [stamp, *(f"{value:.9g}" for value in row)]


def _table(told: Sequence[Told], group: str | None) -> str:
    """Forecasts as a .csv, of a model of several series with the name of each in front."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*([group] if group is not None else []), *told[0].header()])
    for one in told:
        writer.writerows([*([one.series] if group is not None else []), *row] for row in one.rows())
    return text.getvalue()


def _spelled(stamps: np.ndarray) -> list[str]:
    """Times as short as they all can be: dates, minutes or seconds."""
    if stamps.dtype.kind != "M":
        return [str(stamp) for stamp in stamps]
    unit = next((u for u in ("D", "m") if (stamps.astype(f"M8[{u}]") == stamps).all()), "s")
    return [text.replace("T", " ") for text in np.datetime_as_string(stamps.astype(f"M8[{unit}]"))]


@click.command("forecast", cls=Command)
@model_argument
@click.argument("history", metavar="HISTORY", type=click.Path(exists=True, dir_okay=False))
@click.option("--steps", metavar="N", type=int, help="How many times to forecast; default: the model's horizon.")
@click.option("-o", "--output", default="-", metavar="FILE.csv", help="Where to write it; - for stdout (default).")
@click.option("--plot", "plot", metavar="FILE.png", help="Draw history and forecast: .png, .svg or .pdf.")
@table_options("the one to forecast; default: all", windows=False)
@click.option(
    "--feedback",
    type=Assignment("name"),
    metavar="OUTPUT=INPUT",
    multiple=True,
    help="What continues what, where the file does not say it.",
)
@click.option(
    "--window", metavar="N", type=int, help="Run the last N frames anew for each step: networks that answer once."
)
@isa_option
def command(
    model_path: str,
    history: str,
    steps: int | None,
    output: str,
    plot: str | None,
    reading: Reading,
    feedback: tuple[tuple[str, str], ...],
    window: int | None,
    isa: str | None,
) -> None:
    """Forecast what comes after HISTORY with MODEL.lstm.

    HISTORY is a table (.csv, .tsv, .parquet) with the columns that the model was trained on, by their names; empty cells and missing rows are gaps.
    Of a model trained with --group, each of HISTORY's series is forecast, and named in the first column of the answer.
    Of a model that was not made by `lstm-edge train`, a row is a frame (a table, .npy or .npz).

    Example: lstm-edge forecast load.lstm history.csv --steps 24 -o next.csv --plot next.png
    """
    for path in (output, plot):
        if path not in (None, "-"):
            check_output(str(path), (model_path, history))
    if output != "-" and suffix_of(output) != ".csv":
        raise FormatError(f"--output: expected a .csv file, found {output!r}")
    if plot is not None and suffix_of(plot) not in PICTURES:
        raise FormatError(f"--plot: expected a file among {', '.join(PICTURES)}, found {plot!r}")
    reading.check((history,))
    model = lstm_edge.load(model_path, isa=isa)
    about = description_of(model)
    if steps is None and about is None:
        raise ShapeError("--steps: expected how many, because the file names no horizon, found nothing")
    count = steps if steps is not None else _horizon(model, about)
    if reading.series is not None and (about is None or about.group is None):
        raise FormatError("--series: expected a model trained on several series (--group), found one that names none")
    try:
        if about is None:
            told = [_of_frames(model, history, count, dict(feedback), window, reading)]
        else:
            table = read_table(history, reading.form.dialect)
            read = histories(model, about, table, reading)
            _note(history, read)
            told = [
                _of_table(model, about, history, name, one, count, window, dict(feedback)) for name, one in read.items()
            ]
    except ShapeError as exc:
        raise exc.at(history) from None
    if plot is not None:
        _draw(plot, told, count)
    _write(output, _table(told, None if about is None else about.group))


def _draw(plot: str, told: Sequence[Told], count: int) -> None:
    if len(told) > 1:
        names = ", ".join(repr(one.series) for one in told)
        raise FormatError(
            f"--plot: expected one series, because a picture shows one; pick it by --series, one of {names}"
        )
    one = told[0]
    with replacing(plot) as file:
        shown = one.past[-max(SHOWN_HORIZONS * count, LEAST_SHOWN) :]
        times = None if one.times is None else (one.times[0][-len(shown) :], one.times[1])
        picture.draw(file, suffix_of(plot)[1:], one.targets, shown, one.answer, one.quantiles, times)


def _horizon(model: Any, about: Description | None) -> int:
    """What the model was trained to forecast: a recursive one answers one step at a time."""
    assert about is not None
    trained = section(section(model.metadata, "training"), "options", "metadata 'training'").get("horizon")
    return int(trained) if isinstance(trained, int) and trained > 0 else about.horizon


def _write(output: str, text: str) -> None:
    if output == "-":
        stdout().write(text)
        return
    with replacing(output) as file:
        file.write(text.encode())


def _of_table(
    model: Any,
    about: Description,
    path: str,
    name: str,
    history: History,
    steps: int,
    window: int | None,
    feedback: dict[str, str],
) -> Told:
    """One series of a table with the columns that the file names."""
    place = path if about.group is None else f"{path}: {about.group} {name!r}"
    frames, known = len(history.series), history.known
    if known is not None:
        ahead = -(-steps // about.horizon) * about.horizon
        have = len(known) - frames
        if have < ahead:
            raise FormatError(
                f"{place}: expected {ahead} rows with {', '.join(about.known)} behind the last observation, for --steps {steps} in "
                f"rounds of {about.horizon}, found {have}"
            )
        known = known[: frames + ahead]
    time = history.times if about.time is not None else None
    answer = model.forecast(history.series, steps, known=known, time=time, window=window, feedback=feedback or None)
    _refuse_gaps(place, about, history, answer)
    told = Told(about.targets, history.series[:, list(about.feedback)], answer, name)
    told.quantiles = about.quantiles
    if history.times is not None and about.between is not None:
        told.times = history.times, about.between.after(history.times[-1], steps)
    return told


def _note(path: str, read: dict[str, History]) -> None:
    if sys.stderr.isatty():
        gaps, unused = sum(one.gaps for one in read.values()), next(iter(read.values())).unused
        if gaps:
            err_console().print(f"{path}: {gaps} frames without a row are gaps", markup=False)
        if unused:
            err_console().print(f"{path}: not used: {', '.join(unused)}", markup=False)


def _refuse_gaps(place: str, about: Description, history: History, answer: np.ndarray) -> None:
    """Where gaps of the history come through, the model does not take them."""
    places = np.argwhere(np.isnan(history.series))
    if len(places) and np.isnan(answer).any():
        frame, column = places[0]
        at = f"frame {frame + 1}" if history.times is None else str(history.times[frame]).replace("T", " ")
        raise FormatError(
            f"{place}: column {about.columns[column]!r}: expected a value in every row, because the model takes no gaps, found none at {at}"
        )


def _of_frames(
    model: Any, path: str, steps: int, feedback: dict[str, str], window: int | None, reading: Reading
) -> Told:
    """Arrays of a model that says nothing of forecasts."""
    arrays, _ = read_inputs(model, (path,), reading.form)
    by_name = {port.name: array for port, array in zip(model.inputs, arrays)}
    answer = model.forecast(by_name, steps, feedback=feedback or None, window=window)
    if isinstance(answer, dict):
        raise ShapeError(
            "--feedback: expected one output, whose forecast is written, found several; Model.forecast gives them all"
        )
    ((output, onto),) = feedback.items()
    past = by_name[onto]
    if answer.ndim != past.ndim or past.ndim > 2:
        past, answer = past.reshape(-1, answer[0].size), answer.reshape(steps, -1)
    past = past.reshape(len(past), -1)
    answer = answer.reshape(steps, -1)
    names = [output] if answer.shape[1] == 1 else [f"{output}{n}" for n in range(answer.shape[1])]
    return Told(names, past, answer)
