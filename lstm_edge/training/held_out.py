"""Forecasts over a part of the series as a device makes them, state kept from frame to frame; and what they are measured by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .forecast import Forecaster
from .windows import Batch, Frames

SERIES_AT_ONCE, ORIGINS_AT_ONCE = 64, 128


@dataclass(frozen=True)
class Part:
    """A part of each series, (first frame, end) counted from the series' start. history: frames before it that a stream sees first."""

    frames: Frames
    spans: Sequence[tuple[int, int]]
    history: int
    horizon: int
    targets: int

    def batches(self) -> Iterator[Batch]:
        """Some series at a time, from `history` frames before the part to its end: Frames.gather's batch, in which `target` holds
        what is forecast from the last frame before the part on, NaN elsewhere. `at` (B, T): the frames."""
        rows = [(start, a, b) for start, (a, b) in zip(self.frames.starts, self.spans) if b > a and b > 1]
        for n in range(0, len(rows), SERIES_AT_ONCE):
            start, a, b = (torch.tensor(v)[:, None] for v in zip(*rows[n : n + SERIES_AT_ONCE]))
            first = torch.clamp(a - 1 - self.history, min=0)
            at = torch.minimum(start + first + torch.arange(int((b - first).max()) - 1), start + b - 1)
            batch = self.frames.gather(at, start + b, self.horizon, self.targets)
            early = at < start + torch.clamp(a - 1, min=0)
            batch["target"] = batch["target"].masked_fill(early[..., None, None], torch.nan)
            yield {**batch, "at": at}


def inputs_of(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """The arguments of a Forecaster in a batch."""
    return {name: batch[name].to(device) for name in ("series", "time", "known") if name in batch}


def streamed(module: Forecaster, part: Part) -> Iterator[tuple[Batch, Tensor]]:
    """Each batch of a part with the module's forecasts (B, T, horizon, targets[, Q]), raw."""
    device = module.head.weight.device
    with torch.no_grad():
        for batch in part.batches():
            yield batch, module(**inputs_of(batch, device)).cpu()


def rolled(module: Forecaster, part: Part, window: int) -> Iterator[tuple[Batch, Tensor]]:
    """As `streamed` for a module of horizon 1: at each of some origins, evenly over the part, it is fed its own forecasts, from a zero
    state over the window before. Batches hold one frame, T = 1, and `horizon` values of each."""
    device, targets = module.head.weight.device, part.targets
    spans = [
        (start, max(a, 1), b) for start, (a, b) in zip(part.frames.starts, part.spans)
    ]  # the first is forecast by none
    ends = [(start + a - 1, start + b, start) for start, a, b in spans if b > a]
    origins = np.concatenate([np.arange(a, max(b - part.horizon, a + 1)) for a, b, _ in ends])
    end = np.concatenate([np.full(max(b - part.horizon - a, 1), b) for a, b, _ in ends])
    begin = np.concatenate([np.full(max(b - part.horizon - a, 1), s) for a, b, s in ends])
    chosen = np.unique(np.linspace(0, len(origins) - 1, min(len(origins), ORIGINS_AT_ONCE)).round().astype(int))
    origin, last, first = (torch.from_numpy(v[chosen])[:, None] for v in (origins, end, begin))
    at = torch.maximum(origin + torch.arange(1 - window, part.horizon), first)
    inputs = inputs_of(part.frames.gather(at, last, 1, targets), device)
    found = []
    with torch.no_grad():
        for step in range(part.horizon):
            answer = module(**{name: value[:, : window + step] for name, value in inputs.items()})[:, -1:]
            found.append(answer)
            if step + 1 < part.horizon:
                inputs["series"][:, window + step, :targets] = middle(answer, module.centre)[:, 0, 0]
    whole = part.frames.gather(origin, last, part.horizon, targets)
    yield {**whole, "at": origin}, torch.cat(found, 2).cpu()


def middle(forecast: Tensor, centre: int) -> Tensor:
    """The values of a forecast (B, T, horizon, targets[, Q]): of quantiles the one at `centre`."""
    return forecast if forecast.dim() == 4 else forecast[..., centre]


@dataclass
class Errors:
    """Sums of errors of each target, over all that was forecast."""

    absolute: np.ndarray
    squared: np.ndarray
    count: np.ndarray

    @classmethod
    def none(cls, targets: int) -> Errors:
        return cls(np.zeros(targets), np.zeros(targets), np.zeros(targets))

    def add(self, forecast: np.ndarray, target: np.ndarray, counted: np.ndarray) -> None:
        """Arrays (..., targets); counted: which values take part."""
        off = np.where(counted, forecast.astype(np.float64) - target, 0.0)
        axes = tuple(range(off.ndim - 1))
        self.absolute += np.abs(off).sum(axes)
        self.squared += (off**2).sum(axes)
        self.count += counted.sum(axes)

    @property
    def mae(self) -> np.ndarray:
        mean: np.ndarray = self.absolute / np.maximum(self.count, 1)
        return mean

    @property
    def rmse(self) -> np.ndarray:
        mean: np.ndarray = np.sqrt(self.squared / np.maximum(self.count, 1))
        return mean


class Naive:
    """Forecasts without a network, from series whose gaps take the value before them."""

    def __init__(self, frames: Frames, lengths: Sequence[int], targets: int):
        values = frames.values[:, :targets].numpy().astype(np.float64)
        self.first = np.repeat(frames.starts, lengths)  # of each frame's series
        place = np.arange(len(values))[:, None]
        last = np.maximum.accumulate(np.where(np.isnan(values), -1, place))
        self.values = np.where(last < self.first[:, None], np.nan, np.take_along_axis(values, np.maximum(last, 0), 0))

    def last(self, at: np.ndarray, horizon: int) -> np.ndarray:
        """at (B, T) -> (B, T, horizon, targets): the newest value."""
        found: np.ndarray = np.repeat(self.values[at][:, :, None], horizon, 2)
        return found

    def seasonal(self, at: np.ndarray, horizon: int, season: int) -> np.ndarray:
        """The newest value that is whole seasons before; NaN before the series has one."""
        back = season - np.arange(horizon) % season - 1
        places = at[:, :, None] - back
        known = places >= self.first[at][:, :, None]
        found: np.ndarray = np.where(known[..., None], self.values[np.maximum(places, 0)], np.nan)
        return found
