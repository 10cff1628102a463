"""What the worked examples compute themselves: what forecasts are measured against, numbers in words, tables of pages."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from shared import ROOT


@pytest.fixture
def example(monkeypatch):
    """A module of examples/ by its folder and name."""

    def found(folder: str, name: str):
        monkeypatch.syspath_prepend(str(ROOT / "examples" / folder))
        return importlib.import_module(name)

    return found


def waves(frames: int) -> np.ndarray:
    t = np.arange(frames)
    return 5 * np.sin(2 * np.pi * t / 12) + 0.05 * t + 0.3 * np.random.default_rng(0).standard_normal(frames)


def test_baselines_look_at_no_future(example):
    """What is foretold at a frame does not change with the values after it; and gaps change no row before them."""
    pytest.importorskip("statsmodels")
    baselines = example("forecasting", "baselines")
    values, known, at = waves(120), 90, 100
    other = values.copy()
    other[at + 1 :] += 50
    other[at + 3] = np.nan
    for make in (
        lambda v: baselines.seasonal_naive(v, 12, 6),
        lambda v: baselines.ets(v, known, 12, 6, "trend"),
        lambda v: baselines.ets_by_kalman_filter(v, known, 12, 6, "trend"),
    ):
        a, b = make(values), make(other)
        np.testing.assert_array_equal(a[known - 1 : at + 1], b[known - 1 : at + 1])
        assert np.isfinite(b[known - 1 :]).all()
        assert np.abs(a[at + 1 :] - b[at + 1 :]).max() > 1


def test_both_ways_of_smoothing_agree(example):
    """Where there are no gaps and the same parameters are found, but for what each starts from."""
    pytest.importorskip("statsmodels")
    baselines = example("forecasting", "baselines")
    values, known = waves(240), 200
    scores = {
        name: baselines.errors(make(values, known, 12, 6, "trend"), values, known)
        for name, make in (("ets", baselines.ets), ("kalman", baselines.ets_by_kalman_filter))
    }
    naive = baselines.errors(baselines.seasonal_naive(values, 12, 6), values, known)
    assert scores["ets"] == pytest.approx(scores["kalman"], rel=0.1)
    assert scores["ets"][0] < naive[0]


def test_numbers_in_words(example):
    pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    words = example("tasks", "numbers_in_words").words
    assert words(4206) == "four thousand two hundred and six"
    assert [words(n) for n in (0, 13, 40, 99, 700)] == ["zero", "thirteen", "forty", "ninety-nine", "seven hundred"]
    assert words(1000) == "one thousand" and words(9021) == "nine thousand and twenty-one"
    assert len({words(n) for n in range(10_000)}) == 10_000


def test_a_page_keeps_all_but_its_tables(example, tmp_path):
    page = example("", "page")
    path = tmp_path / "page.md"
    path.write_text("before\n<!-- scores -->\nold\n<!-- end -->\nafter\n<!-- other -->\n<!-- end -->\n")
    page.write_block(path, "scores", [["a", "b"], ["1", "2"]], "Times: none.")
    text = path.read_text()
    assert "| a | b |\n|---|---|\n| 1 | 2 |" in text and "Times: none." in text and "old" not in text
    assert text.startswith("before\n<!-- scores -->") and text.endswith("after\n<!-- other -->\n<!-- end -->\n")
    with pytest.raises(SystemExit, match="missing"):
        page.write_block(path, "missing", [["a"]])
