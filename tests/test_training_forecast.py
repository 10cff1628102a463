"""From a table to a forecast file: the file says what the trained module says, and nothing of what is held out is learnt from."""

from __future__ import annotations

import shlex

import numpy as np
import pytest
from shared import ROOT
from test_docs import FENCE

torch = pytest.importorskip("torch")
pd = pytest.importorskip("pandas")

import training_options  # noqa: E402
from torch.distributed.run import parse_args  # noqa: E402

import lstm_edge  # noqa: E402
from lstm_edge.cli import _run  # noqa: E402
from lstm_edge.training import forecast_task, train  # noqa: E402
from lstm_edge.training.calendar import Calendar, fields  # noqa: E402
from lstm_edge.training.forecast import Forecaster  # noqa: E402
from lstm_edge.training.forecast_options import ForecastOptions  # noqa: E402
from lstm_edge.training.forecast_task import Prepared  # noqa: E402
from lstm_edge.training.held_out import inputs_of  # noqa: E402
from lstm_edge.training.table import Series, read_table  # noqa: E402
from lstm_edge.training.windows import Frames, Windows, cuts  # noqa: E402

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
        {"quantiles": [0.9, 0.1, 0.5], "known": ["temp"], "residual": "none", "cell": "gru", "offset": 1e5},
    ],
    ids=["seasonal", "last", "quantiles"],
)
def test_the_file_says_what_the_module_says(options, tmp_path):
    """Over all frames from the first of the table to its end, gaps included, in a stream of single frames."""
    window = 40 if "residual" not in options else 24  # longer than a season
    table = hourly()
    table["load"] += options.pop("offset", 0)
    trained = train(table, "forecast", target=["load"], **{**TINY, "window": window, **options})
    model = trained.export(tmp_path / "load.lstm")
    inputs = whole(table, trained.options)
    with torch.no_grad():
        wanted = trained.module(**inputs)[0].numpy()
    arrays = {n: v.numpy().astype(np.int32 if n == "time" else np.float32) for n, v in inputs.items()}
    assert np.isnan(arrays["series"]).any()
    got = streamed(model, arrays)
    assert got.shape == wanted.shape
    load = arrays["series"][..., 0]
    last_digit = np.spacing(np.nanmax(load))  # far from 0 it is coarser than 1e-5 of what the load varies by
    assert np.abs(got - wanted).max() <= max(1e-5 * np.nanstd(load), 1.5 * last_digit)
    assert lstm_edge.verify(tmp_path / "load.lstm").verified
    assert "assumed: the season is 24" in " ".join(model.metadata["notes"])
    if "quantiles" in options:
        assert (np.diff(got, axis=-1) >= 0).all() and (np.diff(wanted, axis=-1) >= 0).all()
        assert model.metadata["forecast"]["quantiles"] == [0.1, 0.5, 0.9]


def test_calendar_is_that_of_pandas():
    times = pd.to_datetime(np.random.default_rng(0).integers(-200 * 10**8, 950 * 10**8, 3000) // 10, unit="s")
    minutes = torch.from_numpy(np.array(times, "datetime64[m]").astype(np.int64))
    found = {name: value.numpy() for name, value in fields(minutes).items()}
    assert (found["hour"] == times.hour * 60 + times.minute).all()
    assert (found["weekday"] == times.day_of_week).all()
    assert (found["yearday"] == times.day_of_year - 1).all()
    assert (found["month"] == times.month - 1).all()
    features = Calendar(("month", "hour"), 15)(minutes[None])[0].numpy()
    part = (times.hour * 60 + times.minute) // 15 * 15 / 1440 * 2 * np.pi
    month = (times.month - 1) / 12 * 2 * np.pi
    angles = [np.sin(part), np.cos(part), np.sin(2 * part), np.cos(2 * part), np.sin(month), np.cos(month)]
    np.testing.assert_allclose(features, np.stack(angles, 1), atol=1e-6)


# ---- what training may see -------------------------------------------------------------------------------------------


def state(trained) -> np.ndarray:
    return np.concatenate([v.numpy().ravel() for v in trained.module.state_dict().values()])


def test_what_is_held_out_changes_nothing():
    """Other values in the test part: the same network, bit for bit. In the validation part: the same scaling."""
    options = {**TINY, "window": 30, "calendar": ["hour"], "inputs": ["temp"]}
    table = hourly()
    first = train(table, target=["load"], **options)
    assert np.array_equal(state(first), state(train(table, target=["load"], **options)))
    changed = table.copy()
    changed.loc[changed.index[-55:], ["load", "temp"]] *= 3  # of 60 frames held out
    other = train(changed, target=["load"], **options)
    assert np.array_equal(state(first), state(other)) and first.scores != other.scores
    changed.loc[changed.index[-110:-60], ["load", "temp"]] *= 3
    third = train(changed, target=["load"], **{**options, "residual": first.module.residual, "level": "keep"})
    assert torch.equal(third.module.scaling.mean, first.module.scaling.mean)
    assert torch.equal(third.module.units.deviation, first.module.units.deviation)


@pytest.mark.parametrize("lengths", [(200,), (120, 7, 60)])
def test_windows_are_views_of_their_part(lengths):
    """Each frame of a window with the values that follow it: those of its series, none beyond the part."""
    rows = np.arange(sum(lengths), dtype=np.float64)[:, None]
    series = [Series(str(n), part, None) for n, part in enumerate(np.split(rows, np.cumsum(lengths)[:-1]))]
    frames = Frames(series, 1, False)
    parts = [(0, int(0.8 * n)) for n in lengths]
    windows = Windows(frames, parts, window=20, stride=3, horizon=4, targets=1, settle=5, settle_at_start=2)
    batch = windows.batch(torch.arange(len(windows)))
    now, ahead = batch["series"][..., 0].numpy(), batch["target"][..., 0].numpy()
    seen = ~np.isnan(ahead)
    np.testing.assert_array_equal((ahead - now[..., None])[seen], np.broadcast_to(np.arange(1, 5), ahead.shape)[seen])
    ends = frames.starts + [b for _, b in parts]
    followers = {int(v) for v in ahead[seen]}
    expected = {v for s, e in zip(frames.starts, ends) for v in range(int(s) + 3, int(e))}
    assert followers == expected  # every value of the part that something is known before


def test_splits_are_in_order_for_all_series():
    """No series trains on a time at which another one is held out."""
    minutes = [np.arange(100) * 60, np.arange(50, 180) * 60, np.arange(150, 160) * 60]
    series = [Series(str(n), np.zeros((len(m), 1)), m) for n, m in enumerate(minutes)]
    found = cuts(series, 0.2, 0.1)
    for kind in ("validation", "test"):
        before = [m[: getattr(c, kind)] for m, c in zip(minutes, found)]
        after = [m[getattr(c, kind) :] for m, c in zip(minutes, found)]
        assert max(m.max() for m in before if len(m)) < min(m.min() for m in after if len(m))


# ---- modes -----------------------------------------------------------------------------------------------------------


def test_recursive_scores_are_of_its_own_forecasts():
    """A network of one frame that is fed its answers: the scores are those of a loop written here."""
    table = hourly(gaps=False)
    trained = train(table, target=["load"], mode="recursive", residual="last", calendar=["hour"], test=0.05, **TINY)
    options = trained.options
    prepared = Prepared(*read_table(table, options), options)
    inputs, (begin, end) = whole(table, options), prepared.spans("test")[0]
    off = []
    with torch.no_grad():
        for origin in range(begin - 1, end - options.horizon):
            rows = {n: v[:, origin + 1 - options.window : origin + options.horizon].clone() for n, v in inputs.items()}
            for step in range(options.horizon):
                until = {n: v[:, : options.window + step] for n, v in rows.items()}
                answer = trained.module(**until)[0, -1, 0, 0]
                off.append(float(answer - inputs["series"][0, origin + 1 + step, 0]))
                if step + 1 < options.horizon:
                    rows["series"][0, options.window + step, 0] = answer
    found = trained.scores["targets"]["load"]["forecast"]
    assert found["mae"] == pytest.approx(np.abs(off).mean(), rel=1e-4)
    assert trained.metadata["forecast"]["horizon"] == 1


def test_several_targets_and_series(tmp_path):
    """Series of different lengths in one file, static columns, two targets; one is too short to train on."""
    rows = []
    for n, (name, count) in enumerate((("north", 200), ("south", 90), ("east", 1))):
        for t in range(count):
            rows.append((f"2024-01-{1 + t // 24:02} {t % 24:02}:00", name, np.sin(t / 4) + n, np.cos(t / 4), 10.0 * n))
    table = pd.DataFrame(rows, columns=["when", "place", "a", "b", "height"])
    trained = train(table, target=["a", "b"], group="place", static=["height"], **{**TINY, "epochs": 3})
    assert set(trained.scores["targets"]) == {"a", "b"}
    told = trained.metadata["forecast"]
    assert told["columns"] == ["a", "b", "height"] and told["static"] == [2] and told["feedback"] == [0, 1]
    assert told["group"] == "place"


def test_constant_and_coarse_columns():
    table = hourly(gaps=False)
    table["same"], table["far"] = 5.0, 1e6 + np.arange(len(table)) % 7
    trained = train(table, target=["load"], inputs=["same", "far"], **{**TINY, "epochs": 1})
    assert any("constant in the training part: 'same'" in n for n in trained.notes)
    assert any("column 'far'" in n and "float32 keeps steps of" in n for n in trained.notes)
    assert np.isfinite(state(trained)).all()
    table["far"] += 1e9  # where float32 tells none of its values from another
    with pytest.raises(lstm_edge.LstmEdgeError, match="column 'far'.*float32 keeps steps of"):
        train(table, target=["load"], inputs=["same", "far"], **{**TINY, "epochs": 1})


WRONG = {
    "options that contradict": ({"quantiles": [0.5], "loss": "mse", "hiden": 3}, "2 options are wrong: hiden.*hidden.*loss='mse' gives no quantiles"),
    "inputs nobody knows": ({"mode": "recursive", "inputs": ["temp"]}, "inputs.*known"),
    "a calendar without time": ({"calendar": ["hour"], "time": None, "drop": "when"}, "expected a column of times"),
    "a season that does not fit": ({"residual": "seasonal", "window": 20}, "expected a window longer than the season of 24"),
    "a task that is none": ({"task": "foretell"}, "task: expected one of forecast.*found 'foretell'"),
    "too short": ({"rows": 2}, "the (training|validation) part"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_refused(case):
    options, said = WRONG[case]
    options = {**TINY, "target": ["load"], **options}
    table = hourly().drop(columns=options.pop("drop", [])).head(options.pop("rows", 1000))
    with pytest.raises(lstm_edge.LstmEdgeError, match=said):
        train(table, options.pop("task", "forecast"), **options)


def test_the_page_has_every_option():
    assert training_options.PAGE.read_text(encoding="utf-8") == training_options.page(), (
        "run python tools/training_options.py"
    )


def shown_only(page: str) -> list[str]:
    """Every command of this program that a page shows and tests/test_docs.py does not run: those that are run here."""
    blocks = FENCE.findall((ROOT / page).read_text(encoding="utf-8"))
    lines = [line for kind, how, body in blocks if (kind, how) == ("sh", " norun") for line in body.splitlines()]
    return [line for line in lines if "lstm-edge " in line or "lstm_edge " in line]


def test_the_commands_of_the_readme(tmp_path, monkeypatch, capfd):
    """As they stand there, but for one epoch on windows that lie further apart."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Train and forecast")[2]
    commands = FENCE.search(section).group(3).splitlines()
    assert [shlex.split(c)[1] for c in commands] == ["train", "info", "verify", "forecast"]
    assert commands == shown_only("README.md")
    for command in commands:
        words = shlex.split(command)[1:]
        assert _run(words + (["--epochs", "1", "--stride", "24"] if words[0] == "train" else [])) == 0, (
            capfd.readouterr()
        )
    said = capfd.readouterr()
    following = (tmp_path / "next.csv").read_text().splitlines()
    assert len(following) == 25 and following[1].startswith("2025-03-07 00:00")
    assert (tmp_path / "next.png").read_bytes().startswith(b"\x89PNG")
    assert "seasonal naive" in said.out and "equal to what torch" in said.out
    assert "note: assumed: the season is 24 frames" in said.err


def test_the_commands_of_the_page(tmp_path, monkeypatch, capfd):
    """As they stand in docs/training.md, up to the training, which README's are run through; the command and the call in Python are the
    same one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "load.csv").symlink_to(ROOT / "examples/load/load.csv")
    trained = []

    def prepare(source, options, report):
        Prepared(*read_table(source, options), options)
        trained.append((source, options.said()))
        raise lstm_edge.LstmEdgeError("prepared")

    monkeypatch.setattr(forecast_task, "run", prepare)
    alone, together = (shlex.split(command, comments=True) for command in shown_only("docs/training.md"))
    launched = parse_args(together[1:])
    assert launched.module and launched.training_script == "lstm_edge"
    for words in (alone[1:], launched.training_script_args):
        assert _run(words) == 1 and "error: prepared" in capfd.readouterr().err
    blocks = FENCE.findall((ROOT / "docs/training.md").read_text(encoding="utf-8"))
    (call,) = (body for kind, _, body in blocks if kind == "python")
    with pytest.raises(lstm_edge.LstmEdgeError, match="prepared"):
        exec(compile(call, "training.md", "exec"), {})
    by_command, by_torchrun, by_call = trained
    assert by_command == by_call and by_torchrun[0] == "load.csv" and by_torchrun[1]["batch"] == 16


def test_a_series_that_is_held_out_whole_is_scored_from_its_second_frame():
    frame = pd.DataFrame({"t": pd.date_range("2024-01-01", periods=100), "shop": ["x"] * 85 + ["y"] * 15})
    options = ForecastOptions(mode="recursive", group="shop", target=("a",), window=8, horizon=3, hidden=4)
    prepared = Prepared(*read_table(frame.assign(a=np.sin(np.arange(100))), options), options)
    assert prepared.spans("test") == [(85, 85), (0, 15)]
    assert prepared.scores(Forecaster(prepared.plan, options))["values"] > 0


def test_a_table_shorter_than_a_season_is_not_measured_by_it():
    trained = train(
        hourly(12, gaps=False), target=["load"], season=24, **{**TINY, "window": 48, "horizon": 1, "epochs": 1}
    )
    assert trained.scores["values"] and list(trained.scores["targets"]["load"]) == ["forecast", "last value"]
    assert any("seasonal was not tried: no value" in note for note in trained.notes)
