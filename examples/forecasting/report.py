"""What both forecasts are judged by and drawn with: co2.py and traffic.py."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.dates import ConciseDateFormatter

sys.path.insert(0, str(Path(__file__).parents[1]))

from baselines import best_ets, errors, following, seasonal_naive
from page import save, table, write_block

import lstm_edge as le
from lstm_edge.training import train

DOCS = Path(__file__).parents[2] / "docs"
TEST = 0.2  # share of the series at its end that is held out


@dataclass(frozen=True)
class Example:
    """name: of the page and of its picture. table: a column of times and one of values, a row a frame, NaN in gaps."""

    name: str
    table: pd.DataFrame
    unit: str
    season: int
    horizon: int
    options: dict
    ets_by_kalman_filter: bool
    drawn: slice  # the frames, counted from the first of the test part, that the picture shows


def minutes(times: pd.Series) -> np.ndarray:
    """Minutes since 1970, as a file's input `time` takes them."""
    return times.to_numpy().astype("datetime64[m]").astype(np.int32)


def streamed(model: le.Model, values: np.ndarray, time: np.ndarray) -> np.ndarray:
    """The whole series through one stream, frame by frame: (frames, horizon)."""
    stream = model.stream()
    return np.stack([stream.step(series=v[None], time=t)[:, 0] for v, t in zip(values.astype(np.float32), time)])


def by_torch(module: torch.nn.Module, values: np.ndarray, time: np.ndarray) -> np.ndarray:
    """The same from the trained module in one call."""
    series = torch.tensor(values, dtype=torch.float32)[None, :, None]
    with torch.no_grad():
        return module(series, torch.tensor(time)[None])[0, :, :, 0].numpy()


def with_gaps(values: np.ndarray, known: int, horizon: int) -> np.ndarray:
    """The series with a fifth of the test part's values taken out by chance, and one whole horizon in its middle."""
    gappy = values.copy()
    gappy[known:][np.random.default_rng(0).random(len(values) - known) < 0.2] = np.nan
    middle = (known + len(values)) // 2
    gappy[middle : middle + horizon] = np.nan
    return gappy


def make_page(example: Example) -> None:
    """Trains, measures, and writes the tables and the picture of docs/<name>.md."""
    torch.set_num_threads(1)
    frame, column = example.table, example.table.columns[1]
    values, times = frame[column].to_numpy(np.float64), minutes(frame.iloc[:, 0])
    known = round((1 - TEST) * len(values))
    start = time.perf_counter()
    trained = train(
        frame,
        task="forecast",
        target=column,
        horizon=example.horizon,
        season=example.season,
        test=TEST,
        **example.options,
    )
    print(f"trained in {time.perf_counter() - start:.0f} s", *trained.notes, trained.scores, sep="\n", flush=True)
    model = trained.export(f"{example.name}.lstm")
    ours = streamed(model, values, times)
    best, smoothing = best_ets(values, known, example.season, example.horizon, example.ets_by_kalman_filter)
    forecasts = {
        f"LSTM {trained.options.hidden}, the `.lstm` file, streamed": ours,
        "seasonal naive": seasonal_naive(values, example.season, example.horizon),
        f"ETS ({best})": smoothing,
    }
    scores = [[name, *(f"{e:.3f}" for e in errors(f, values, known))] for name, f in forecasts.items()]
    write_block(
        DOCS / f"{example.name}.md", "errors", [["forecast", "mean absolute error", "root mean square error"], *scores]
    )
    agreement = [["series, streamed one by one", "gaps in it", "largest difference from torch", "mean absolute error"]]
    gappy = with_gaps(values, known, example.horizon)
    for name, series in (("as it is", values), ("with values taken out of the test part", gappy)):
        answers = ours if series is values else streamed(model, series, times)
        for part, of in (("test part", slice(known - 1, None)), ("whole series", slice(None))):
            off = np.abs(answers[of] - by_torch(trained.module, series, times)[of]).max()
            error = f"{errors(answers, values, known)[0]:.3f}" if part == "test part" else ""
            agreement.append([f"{part} {name}", str(np.isnan(series[of]).sum()), f"{off:.1e} {example.unit}", error])
    write_block(DOCS / f"{example.name}.md", "agreement", agreement)
    print(table(scores), table(agreement), sep="\n\n")
    picture(example, frame.iloc[:, 0].to_numpy(), values, known, forecasts)


def picture(
    example: Example, times: np.ndarray, values: np.ndarray, known: int, forecasts: dict[str, np.ndarray]
) -> None:
    """Some of the forecasts over the series, and how errors grow with the distance."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 3.8), width_ratios=(3, 1), layout="constrained")
    shown = slice(known + example.drawn.start, known + example.drawn.stop)
    left.plot(times[shown], values[shown], color="0.6", lw=2.5, label="observed")
    colours = dict(zip(forecasts, ("C3", "C0", "C2")))
    names = {name: name.split(",")[0].split(" (")[0] for name in forecasts}
    for name, forecast in forecasts.items():
        for n, origin in enumerate(range(shown.start, shown.stop - example.horizon, example.horizon)):
            ahead = slice(origin + 1, origin + 1 + example.horizon)
            left.plot(
                times[ahead],
                forecast[origin],
                color=colours[name],
                lw=1.2,
                zorder=9 - list(forecasts).index(name),
                label=names[name] if n == 0 else None,
            )
        off = np.abs(forecast[known - 1 : -1] - following(values, example.horizon)[known - 1 : -1])
        right.plot(np.arange(1, example.horizon + 1), np.nanmean(off, axis=0), color=colours[name], label=names[name])
    left.set_ylabel(example.unit)
    left.xaxis.set_major_formatter(ConciseDateFormatter(left.xaxis.get_major_locator()))
    left.set_title(f"held out: every {example.horizon} frames a forecast of {example.horizon}", fontsize=10)
    left.legend(fontsize=8)
    right.set_title("mean absolute error by frames ahead", fontsize=10)
    right.set_ylim(bottom=0)
    save(figure, DOCS / "pictures" / f"{example.name}.png")
