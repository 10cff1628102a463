"""From a table to a forecast file: the file says what the trained module says, and nothing of what is held out is learnt from."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pd = pytest.importorskip("pandas")

import lstm_edge  # noqa: E402
from lstm_edge.training import train  # noqa: E402
from lstm_edge.training.calendar import fields  # noqa: E402
from lstm_edge.training.forecast_task import Prepared  # noqa: E402
from lstm_edge.training.held_out import inputs_of  # noqa: E402
from lstm_edge.training.table import read_table  # noqa: E402

TINY = {"window": 24, "horizon": 5, "hidden": 6, "epochs": 2, "seed": 1}


def hourly(frames: int = 400, gaps: bool = True) -> pd.DataFrame:
    """A load with a day's cycle that a temperature moves; missing values and missing rows."""
    rng = np.random.default_rng(0)
    times = pd.date_range("2024-02-20", periods=frames, freq="h")
    temperature = 10 + 5 * np.sin(np.arange(frames) / 24 * 2 * np.pi + 1) + rng.normal(0, 0.3, frames)
    load = 300 + 40 * np.sin(np.arange(frames) / 24 * 2 * np.pi) + temperature + rng.normal(0, 2, frames)
    table = pd.DataFrame({"when": times, "load": load, "temp": temperature})
    if gaps:
        table.loc[rng.choice(frames, 20, replace=False), "load"] = np.nan
        table = table.drop(index=rng.choice(np.arange(1, frames - 1), 10, replace=False))
    return table


def whole(table: pd.DataFrame, options) -> dict[str, torch.Tensor]:
    """The inputs of a forecast over all frames of a table, (1, frames, ...)."""
    prepared = Prepared(*read_table(table, options), options)
    frames = len(prepared.frames.values)
    batch = prepared.frames.gather(torch.arange(frames)[None], torch.tensor([[frames]]), prepared.horizon, 1)
    return inputs_of(batch, torch.device("cpu"))


def streamed(model: lstm_edge.Model, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Answers (frames, ...) to one sequence (1, frames, ...), frame by frame."""
    stream = model.stream()
    frames = next(iter(inputs.values())).shape[1]
    return np.stack([stream.step(**{name: a[0, t] for name, a in inputs.items()}) for t in range(frames)])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"residual": "last", "level": "drop", "calendar": ["hour", "weekday"], "inputs": ["temp"]},
        {"quantiles": [0.9, 0.1, 0.5], "known": ["temp"], "residual": "none", "cell": "gru"},
    ],
    ids=["seasonal", "last", "quantiles"],
)
def test_the_file_says_what_the_module_says(options, tmp_path):
    """Over all frames from the first of the table to its end, gaps included, in a stream of single frames."""
    window = 40 if "residual" not in options else 24  # longer than a season
    table = hourly()
    trained = train(table, "forecast", target=["load"], **{**TINY, "window": window, **options})
    model = trained.export(tmp_path / "load.lstm")
    inputs = whole(table, trained.options)
    with torch.no_grad():
        wanted = trained.module(**inputs)[0].numpy()
    arrays = {n: v.numpy().astype(np.int32 if n == "time" else np.float32) for n, v in inputs.items()}
    assert np.isnan(arrays["series"]).any()
    got = streamed(model, arrays)
    assert got.shape == wanted.shape
    scale = np.nanstd(arrays["series"][..., 0])
    assert np.abs(got - wanted).max() <= 1e-5 * scale
    assert lstm_edge.verify(tmp_path / "load.lstm").verified
    if "quantiles" in options:
        assert (np.diff(got, axis=-1) >= 0).all() and (np.diff(wanted, axis=-1) >= 0).all()
        assert model.metadata["forecast"]["quantiles"] == [0.1, 0.5, 0.9]


def test_calendar_is_that_of_pandas():
    times = pd.to_datetime(np.random.default_rng(0).integers(-200 * 10**8, 950 * 10**8, 3000) // 10, unit="s")
    minutes = torch.from_numpy(np.array(times, "datetime64[m]").astype(np.int64))
    found = {name: value.numpy() for name, (value, _) in fields(minutes).items()}
    assert (found["hour"] == times.hour * 60 + times.minute).all()
    assert (found["weekday"] == times.day_of_week).all()
    assert (found["yearday"] == times.day_of_year - 1).all()
    assert (found["month"] == times.month - 1).all()
