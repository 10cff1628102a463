"""What a forecast is measured against: the season before, and statsmodels' exponential smoothing (ETS), from the same origins.

Forecasts are arrays (frames, horizon): row t holds what is foretold at t for t+1 .. t+horizon, from values up to t alone.
ETS learns its parameters once, on all that stands before the test part; its states follow the series up to every origin.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from statsmodels.tsa.exponential_smoothing.ets import ETSModel
from statsmodels.tsa.statespace.exponential_smoothing import ExponentialSmoothing

TRENDS = {"no trend": (False, False), "trend": (True, False), "damped trend": (True, True)}


def following(values: np.ndarray, horizon: int) -> np.ndarray:
    """What followed each frame, NaN where nothing is known."""
    padded = np.concatenate([values[1:], np.full(horizon, np.nan)])
    return np.lib.stride_tricks.sliding_window_view(padded, horizon)[: len(values)]


def seasonal_naive(values: np.ndarray, season: int, horizon: int) -> np.ndarray:
    """The newest value that is whole seasons before, a gap filled by the value before it."""
    filled = pd.Series(values).ffill().to_numpy()
    places = np.arange(len(values))[:, None] - (season - 1 - np.arange(horizon) % season)
    return np.where(places >= 0, filled[np.maximum(places, 0)], np.nan)


def ets(values: np.ndarray, known: int, season: int, horizon: int, trend: str) -> np.ndarray:
    """statsmodels' ETSModel with additive errors and season. It knows no gaps: those before the test part, values[:known], are filled
    by straight lines; in the test part a gap leaves its states as they were."""
    has_trend, damped = TRENDS[trend]
    past = pd.Series(values[:known]).interpolate().bfill().to_numpy()
    model = ETSModel(
        past, error="add", trend="add" if has_trend else None, damped_trend=damped,
        seasonal="add", seasonal_periods=season, initialization_method="heuristic",
    )  # fmt: skip
    fitted = model.fit(disp=False, maxiter=200)
    found = dict(zip(fitted.param_names, np.asarray(fitted.params)))
    alpha, gamma = found["smoothing_level"], found["smoothing_seasonal"]
    beta, phi = found.get("smoothing_trend", 0.0), found.get("damping_trend", 1.0)
    ahead = np.cumsum(phi ** np.arange(1, horizon + 1)) if has_trend else np.zeros(horizon)
    level, slope = fitted.level[-1], fitted.slope[-1] if has_trend else 0.0
    seasons = list(fitted.season[-season:])  # seasons[-season] is that of the next frame
    forecasts = np.full((len(values), horizon), np.nan)
    for t in range(known - 1, len(values)):
        if t >= known:
            foretold = level + phi * slope + seasons[-season]
            error = 0.0 if np.isnan(values[t]) else values[t] - foretold
            level, slope = level + phi * slope + alpha * error, phi * slope + beta * error
            seasons.append(seasons[-season] + gamma * error)
        forecasts[t] = level + slope * ahead + np.resize(seasons[-season:], horizon)
    np.testing.assert_allclose(forecasts[known - 1], fitted.forecast(horizon), rtol=1e-6)
    return forecasts


def ets_by_kalman_filter(values: np.ndarray, known: int, season: int, horizon: int, trend: str) -> np.ndarray:
    """statsmodels' ExponentialSmoothing in state space, which takes gaps as they are; slow for long seasons."""
    has_trend, damped = TRENDS[trend]
    kind = {"trend": has_trend, "damped_trend": damped, "seasonal": season}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ExponentialSmoothing(values[:known], **kind, initialization_method="concentrated")
        fitted = model.fit(disp=False, maxiter=20)
    # The first states are part of what was fitted: a model of the whole series would find its own by looking ahead.
    first = dict(zip(("level", "trend") if has_trend else ("level",), np.ravel(fitted.initial_state)))
    first = {f"initial_{name}": value for name, value in first.items()}
    first["initial_seasonal"] = np.ravel(fitted.initial_state)[len(first) :]
    whole = ExponentialSmoothing(values, **kind, initialization_method="known", **first)
    state, forecasts = whole.filter(fitted.params).filtered_state, np.empty((len(values), horizon))
    for step in range(horizon):
        state = whole.ssm["transition"] @ state
        forecasts[:, step] = (whole.ssm["design"] @ state)[0]
    np.testing.assert_allclose(forecasts[known - 1], fitted.forecast(horizon), rtol=1e-6)
    return forecasts


def best_ets(
    values: np.ndarray, known: int, season: int, horizon: int, by_kalman_filter: bool
) -> tuple[str, np.ndarray]:
    """That variant whose error on the test part itself is lowest, which is more than a forecaster could know."""
    ways = {"ETSModel": ets} | ({"state space": ets_by_kalman_filter} if by_kalman_filter else {})
    found = {
        f"{way}, {trend}": make(values, known, season, horizon, trend) for way, make in ways.items() for trend in TRENDS
    }
    name = min(found, key=lambda name: errors(found[name], values, known)[0])
    return name, found[name]


def errors(forecasts: np.ndarray, values: np.ndarray, known: int) -> tuple[float, float]:
    """Mean absolute error and root mean square error over all origins from the last frame before the test part on."""
    off = (forecasts - following(values, forecasts.shape[1]))[known - 1 :]
    return float(np.nanmean(np.abs(off))), float(np.sqrt(np.nanmean(off**2)))
