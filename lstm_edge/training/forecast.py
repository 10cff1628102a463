"""The network of a forecast: raw values in, raw units out. What makes it one is in its operations, so that they are in its file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from .calendar import Calendar
from .cells import recurrent
from .fill import ForwardFill
from .forecast_options import ForecastOptions
from .scaling import Scaling

LARGEST_CHANGE = 8.0  # changes are cut to so many of their deviations: the first frames have no value to differ from


@dataclass(frozen=True)
class Plan:
    """What was learnt of the training part before the network is made; columns are the targets, further inputs, static ones.

    mean, deviation: (columns,) of the series, (known,) of the known columns. spread: for each target what its values differ from
    their base by, in deviations of the column. gaps: the columns that have gaps. residual: none, last, seasonal. level: whether the
    network sees the targets' level. minutes: between frames, None where they are no whole number.
    """

    columns: tuple[str, ...]
    targets: tuple[str, ...]
    static: tuple[str, ...]
    known: tuple[str, ...]
    mean: np.ndarray
    deviation: np.ndarray
    known_mean: np.ndarray
    known_deviation: np.ndarray
    spread: np.ndarray
    gaps: tuple[int, ...]
    residual: str
    season: int
    level: bool
    minutes: int | None

    @property
    def lag(self) -> int:
        """Frames from a value to the one that it is told by."""
        return self.season if self.residual == "seasonal" else 1


class Forecaster(nn.Module):
    """series (B, T, columns), NaN where missing; time (B, T) minutes; known (B, T, horizon, K) -> forecast (B, T, horizon,
    targets[, quantiles]): at frame t the values at t+1 .. t+horizon, from what stands in frames up to t.

    scaled=True leaves the answer in units of training, as `in_units` brings targets to them.
    """

    per_unit: Tensor

    def __init__(self, plan: Plan, options: ForecastOptions):
        super().__init__()
        self.targets, self.quantiles = len(plan.targets), len(options.quantiles)
        self.centre = nearest_half(options.quantiles)
        self.horizon = 1 if options.mode == "recursive" else options.horizon
        self.residual, self.level, self.gaps = plan.residual, plan.level, list(plan.gaps)
        self.scaling = Scaling(plan.mean, plan.deviation)
        self.known_scaling = Scaling(plan.known_mean, plan.known_deviation) if plan.known else None
        units = plan.deviation[: self.targets] * plan.spread
        self.units = Scaling(plan.mean[: self.targets], units)
        self.register_buffer("per_unit", torch.tensor(1 / plan.spread, dtype=torch.float32))
        self.fill = ForwardFill(len(plan.columns)) if options.missing == "fill" else None
        self.calendar = Calendar(options.calendar, plan.minutes) if options.calendar else None
        self.lagged = Lagged(self.targets, plan.season, self.horizon) if plan.residual == "seasonal" else None
        self.change = Change(self.targets, plan.lag) if plan.residual != "none" else None
        width = len(plan.columns) - (0 if plan.level else self.targets) + len(plan.gaps)
        width += (self.targets if self.change is not None else 0) + self.horizon * len(plan.known)
        width += self.calendar.width if self.calendar is not None else 0
        self.recurrence = recurrent(options.cell, width, options.hidden, options.layers, dropout=options.dropout)
        self.head = nn.Linear(options.hidden, self.horizon * self.targets * max(self.quantiles, 1))
        with torch.no_grad():  # at first the answer is nearly the base alone
            self.head.weight.mul_(0.1)
            self.head.bias.mul_(0.1)

    def forward(
        self, series: Tensor, time: Tensor | None = None, known: Tensor | None = None, scaled: bool = False
    ) -> Tensor:
        seen = self.scaling(series)
        parts = []
        if self.fill is not None:
            seen, given = self.fill(seen)
            parts += [given[..., column : column + 1] for column in self.gaps]
        observed = seen[..., : self.targets] * self.per_unit  # in units of training
        parts.append(seen if self.level else seen[..., self.targets :])
        if self.change is not None:
            parts.append(self.change(observed))
        if self.calendar is not None and time is not None:
            parts.append(self.calendar(time))
        if self.known_scaling is not None and known is not None:
            parts.append(self.known_scaling(known).flatten(2))
        features = self.recurrence(torch.cat(parts, -1))
        per_target = (self.quantiles,) if self.quantiles else ()
        answer: Tensor = unfolded(self.head(features), -1, (self.horizon, self.targets, *per_target))
        if self.quantiles:
            answer = in_order(answer, self.centre)
        base = self._base(observed)
        if base is not None:
            answer = answer + (base.unsqueeze(-1) if self.quantiles else base)
        if scaled:
            return answer
        if self.quantiles:
            return answer * self.units.deviation[:, None] + self.units.mean[:, None]
        return self.units.unscale(answer)

    def in_units(self, values: Tensor) -> Tensor:
        """Raw values (..., targets) in units of training."""
        scaled: Tensor = self.units(values)
        return scaled

    def _base(self, observed: Tensor) -> Tensor | None:
        """observed (B, T, targets) -> (B, T, horizon or 1, targets), what the answer is added to."""
        if self.lagged is not None:
            found: Tensor = self.lagged(observed)
            return found
        return observed.unsqueeze(2) if self.residual == "last" else None


def unfolded(x: Tensor, axis: int, sizes: tuple[int, ...]) -> Tensor:
    """x with one axis as several."""
    return nn.Unflatten(axis, sizes)(x)  # type: ignore[no-any-return]


def nearest_half(quantiles: tuple[float, ...]) -> int:
    """The place of the quantile that stands for the forecast where one value is asked for; 0 without quantiles."""
    return min(range(len(quantiles)), key=lambda n: abs(quantiles[n] - 0.5), default=0)


def in_order(answer: Tensor, middle: int) -> Tensor:
    """Quantiles (..., Q) that never cross: the middle one as it is, the others by the softplus of what stands in their place
    above or below their neighbour."""
    centre = answer[..., middle : middle + 1]
    parts = [centre]
    if middle:
        below = nn.functional.softplus(answer[..., :middle]).cumsum(-1)
        parts.insert(0, centre - below.flip(-1))
    if answer.shape[-1] > middle + 1:
        parts.append(centre + nn.functional.softplus(answer[..., middle + 1 :]).cumsum(-1))
    return torch.cat(parts, -1)


class Shift(nn.Module):
    """x (B, T, columns) -> the values `frames` before, 0 where there were none. A convolution with a single 1, which is exact and
    whose past a stream keeps."""

    taps: Tensor

    def __init__(self, columns: int, frames: int):
        super().__init__()
        self.columns, self.frames = columns, frames
        taps = torch.zeros(columns, 1, frames + 1)
        taps[:, :, 0] = 1
        self.register_buffer("taps", taps)

    def forward(self, x: Tensor) -> Tensor:
        past = nn.functional.pad(x.transpose(1, 2), (self.frames, 0))
        return nn.functional.conv1d(past, self.taps, groups=self.columns).transpose(1, 2)


class Change(nn.Module):
    """x (B, T, columns) -> x less its value `frames` before, cut to LARGEST_CHANGE."""

    def __init__(self, columns: int, frames: int):
        super().__init__()
        self.shift = Shift(columns, frames)

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(x - self.shift(x), -LARGEST_CHANGE, LARGEST_CHANGE)


class Lagged(nn.Module):
    """x (B, T, columns) -> (B, T, horizon, columns): at frame t, for each of t+1 .. t+horizon, the newest value known at t that is
    whole seasons before it."""

    taps: Tensor

    def __init__(self, columns: int, season: int, horizon: int):
        super().__init__()
        self.columns, self.horizon, self.places = columns, horizon, min(season, horizon)
        self.shift = Shift(columns, season - self.places) if season > self.places else None
        taps = torch.eye(self.places).repeat(columns, 1)[:, None]  # (columns * places, 1, places)
        self.register_buffer("taps", taps)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.shift is None else self.shift(x)
        past = nn.functional.pad(x.transpose(1, 2), (self.places - 1, 0))
        found = nn.functional.conv1d(past, self.taps, groups=self.columns)
        found = unfolded(found, 1, (self.columns, self.places)).permute(0, 3, 2, 1)
        times = -(-self.horizon // self.places)
        return found if times == 1 else torch.cat([found] * times, 2)[:, :, : self.horizon]
