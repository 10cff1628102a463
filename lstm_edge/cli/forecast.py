"""lstm-edge forecast: what comes after a table, as a table and as a picture."""

from __future__ import annotations

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
from ..forecasting.history import History, read_history
from .io import err_console, read_inputs, suffix_of
from .options import Assignment, isa_option, model_argument
from .sinks import check_output, replacing

PICTURES = (".png", ".svg", ".pdf")
SHOWN_HORIZONS = 4  # of history in a picture, at least as many frames as LEAST_SHOWN
LEAST_SHOWN = 48


class Told:
    """A forecast with what its table and picture need: past (frames, targets), answer (steps, targets[, quantiles])."""

    def __init__(self, targets: Sequence[str], past: np.ndarray, answer: np.ndarray):
        self.targets, self.past, self.answer = list(targets), past, answer
        self.quantiles: tuple[float, ...] = ()
        self.times: tuple[np.ndarray, np.ndarray] | None = None

    def rows(self) -> Iterator[str]:
        """The lines of a .csv: time stamps (or the number of the step), then targets, each with its quantiles."""
        levels = [f"_{q:g}" for q in self.quantiles] or [""]
        yield ",".join(["step" if self.times is None else "time", *(f"{t}{q}" for t in self.targets for q in levels)])
        stamps = self.times[1] if self.times is not None else np.arange(1, len(self.answer) + 1)
        for stamp, row in zip(_spelled(stamps), self.answer.reshape(len(self.answer), -1)):
            yield ",".join([stamp, *(f"{value:.9g}" for value in row)])


def _spelled(stamps: np.ndarray) -> list[str]:
    """Times as short as they all can be: dates, minutes or seconds."""
    if stamps.dtype.kind != "M":
        return [str(stamp) for stamp in stamps]
    unit = next((u for u in ("D", "m") if (stamps.astype(f"M8[{u}]") == stamps).all()), "s")
    return [text.replace("T", " ") for text in np.datetime_as_string(stamps.astype(f"M8[{unit}]"))]


@click.command("forecast")
@model_argument
@click.argument("history", metavar="HISTORY", type=click.Path(exists=True, dir_okay=False))
@click.option("--steps", metavar="N", type=int, help="How many times to forecast; default: the model's horizon.")
@click.option("-o", "--output", default="-", metavar="FILE.csv", help="Where to write it; - for stdout (default).")
@click.option("--plot", "plot", metavar="FILE.png", help="Draw history and forecast: .png, .svg or .pdf.")
@click.option("--time-format", metavar="FORMAT", help="How HISTORY writes times, such as %d.%m.%Y; default: found.")
@click.option("--delimiter", metavar="CHARACTER", help="What separates HISTORY's columns; default: found.")
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
    time_format: str | None,
    delimiter: str | None,
    feedback: tuple[tuple[str, str], ...],
    window: int | None,
    isa: str | None,
) -> None:
    """Forecast what comes after HISTORY with MODEL.lstm.

    HISTORY is a .csv with the columns that the model was trained on, by their names; empty cells and missing rows are gaps.
    Of a model that was not made by `lstm-edge train`, a row is a frame (.csv, .npy or .npz).

    Example: lstm-edge forecast load.lstm history.csv --steps 24 -o next.csv --plot next.png
    """
    for path in (output, plot):
        if path not in (None, "-"):
            check_output(str(path), (model_path, history))
    if output != "-" and suffix_of(output) != ".csv":
        raise FormatError(f"--output: expected a .csv file, found {output!r}")
    if plot is not None and suffix_of(plot) not in PICTURES:
        raise FormatError(f"--plot: expected a file among {', '.join(PICTURES)}, found {plot!r}")
    model = lstm_edge.load(model_path, isa=isa)
    about = description_of(model)
    if steps is None and about is None:
        raise ShapeError("--steps: expected how many, because the file names no horizon, found nothing")
    count = steps if steps is not None else _horizon(model, about)
    try:
        if about is None:
            told = _of_frames(model, history, count, dict(feedback), window)
        else:
            told = _of_table(model, about, history, count, time_format, delimiter, window, dict(feedback) or None)
    except ShapeError as exc:
        raise exc.at(history) from None
    if plot is not None:
        with replacing(plot) as file:
            shown = told.past[-max(SHOWN_HORIZONS * count, LEAST_SHOWN) :]
            times = None if told.times is None else (told.times[0][-len(shown) :], told.times[1])
            picture.draw(file, suffix_of(plot)[1:], told.targets, shown, told.answer, told.quantiles, times)
    _write(output, told)


def _horizon(model: Any, about: Description | None) -> int:
    """What the model was trained to forecast: a recursive one answers one step at a time."""
    assert about is not None
    trained = model.metadata.get("training", {}).get("options", {}).get("horizon")
    return int(trained) if isinstance(trained, int) and trained > 0 else about.horizon


def _write(output: str, told: Told) -> None:
    text = "\n".join(told.rows()) + "\n"
    if output == "-":
        sys.stdout.write(text)
        return
    with replacing(output) as file:
        file.write(text.encode())


def _of_table(
    model: Any,
    about: Description,
    path: str,
    steps: int,
    time_format: str | None,
    delimiter: str | None,
    window: int | None,
    feedback: dict[str, str] | None,
) -> Told:
    """A table with the columns that the file names."""
    options = model.metadata.get("training", {}).get("options", {})
    averaged = options.get("step") is not None
    history = read_history(about, read_table(path, delimiter), time_format or options.get("time_format"), averaged)
    _note(path, history)
    frames, known = len(history.series), history.known
    if known is not None:
        ahead = -(-steps // about.horizon) * about.horizon
        have = len(known) - frames
        if have < ahead:
            raise FormatError(
                f"{path}: expected {ahead} rows with {', '.join(about.known)} behind the last observation, for --steps {steps} in "
                f"rounds of {about.horizon}, found {have}"
            )
        known = known[: frames + ahead]
    time = history.times if about.time is not None else None
    answer = model.forecast(history.series, steps, known=known, time=time, window=window, feedback=feedback)
    _refuse_gaps(path, about, history, answer)
    told = Told(about.targets, history.series[:, list(about.feedback)], answer)
    told.quantiles = about.quantiles
    if history.times is not None and about.between is not None:
        told.times = history.times, about.between.after(history.times[-1], steps)
    return told


def _note(path: str, history: History) -> None:
    if sys.stderr.isatty():
        if history.gaps:
            err_console().print(f"{path}: {history.gaps} frames without a row are gaps", markup=False)
        if history.unused:
            err_console().print(f"{path}: not used: {', '.join(history.unused)}", markup=False)


def _refuse_gaps(path: str, about: Description, history: History, answer: np.ndarray) -> None:
    """Where gaps of the history come through, the model does not take them."""
    places = np.argwhere(np.isnan(history.series))
    if len(places) and np.isnan(answer).any():
        frame, column = places[0]
        at = f"frame {frame + 1}" if history.times is None else str(history.times[frame]).replace("T", " ")
        raise FormatError(
            f"{path}: column {about.columns[column]!r}: expected a value in every row, because the model takes no gaps, found none at {at}"
        )


def _of_frames(model: Any, path: str, steps: int, feedback: dict[str, str], window: int | None) -> Told:
    """Arrays of a model that says nothing of forecasts."""
    arrays, _ = read_inputs(model, (path,))
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
