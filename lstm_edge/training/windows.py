"""Parts of series by time, and windows of a part as the examples of training: views into one array, gathered batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import LstmEdgeError
from .table import Series

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Cut:
    """The frames at which a series' validation part and its test part begin; `end`: its frames."""

    validation: int
    test: int
    end: int


def cuts(series: Sequence[Series], validation: float, test: float) -> list[Cut]:
    """Where each series is cut: at the same two times for all, so that no part knows the time of a later one; without times, at
    the same shares of each."""
    shares = (1 - validation - test, 1 - test)
    times = [s.minutes for s in series if s.minutes is not None]
    if len(times) == len(series):
        every = np.sort(np.concatenate(times))
        at = [every[min(round(share * len(every)), len(every) - 1)] for share in shares]
        found = [tuple(int(np.searchsorted(one, a)) for a in at) for one in times]
        found = [(a, b if test else len(s.values)) for (a, b), s in zip(found, series)]
    else:
        found = [tuple(round(share * len(s.values)) for share in shares) for s in series]
    return [Cut(a, b, len(s.values)) for (a, b), s in zip(found, series)]


class Frames:
    """All series one after another as tensors, raw: values (frames, columns) float32, known (frames, K), minutes (frames,)."""

    def __init__(self, series: Sequence[Series], columns: int, dated: bool):
        values = np.concatenate([s.values for s in series])
        self.values = torch.from_numpy(np.ascontiguousarray(values[:, :columns], np.float32))
        self.known = torch.from_numpy(np.ascontiguousarray(values[:, columns:], np.float32))
        self.minutes = torch.from_numpy(np.concatenate([s.minutes for s in series])) if dated else None
        lengths = [len(s.values) for s in series]
        self.starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)

    def gather(self, at: Tensor, end: Tensor, horizon: int, targets: int) -> Batch:
        """Frames `at` (B, T) with what follows each, up to `end` (B, 1) of the part: the arguments of a Forecaster, and `target`
        (B, T, horizon, targets), NaN beyond the end. Frames beyond the end repeat the last one."""
        last = end - 1
        now = torch.minimum(at, last)
        ahead = at[:, :, None] + torch.arange(1, horizon + 1)
        beyond = ahead > last[:, :, None]
        ahead = torch.minimum(ahead, last[:, :, None])
        target = self.values[:, :targets][ahead].masked_fill(beyond[..., None], torch.nan)
        found = {"series": self.values[now], "target": target}
        if self.minutes is not None:
            found["time"] = self.minutes[now]
        if self.known.shape[1]:
            found["known"] = self.known[ahead]
        return found


class Windows:
    """Windows of the training part as Examples of the loop: window n is frames starts[n] .. starts[n] + window - 1 of one series.

    A series that is shorter than a window gives one, whose frames beyond its end have no target. The first frames of a window have
    none either, since the network has seen too little there.
    """

    def __init__(
        self,
        frames: Frames,
        parts: Sequence[tuple[int, int]],
        window: int,
        stride: int,
        horizon: int,
        targets: int,
        settle: int,
        settle_at_start: int,
    ):
        """parts: first frame and end of each series' part, counted from the series' start. settle: first frames of a window without a
        target; settle_at_start: of a window at the start of its series, where the device knows no more either."""
        self.frames, self.horizon, self.targets = frames, horizon, targets
        starts, ends, settled = [], [], []
        for first, (begin, end) in zip(frames.starts, parts):
            if end - begin < 2:
                continue  # nothing follows a single frame
            places = np.arange(end - 1 - window, begin, -stride)[::-1]  # the last one's last frame has a target
            places = np.concatenate([[begin], places])
            starts.append(first + places)
            settled.append(np.where(places == begin, settle_at_start, max(settle, settle_at_start)))
            ends.append(np.full(len(places), first + end))
        if not starts:
            raise LstmEdgeError(
                "the training part: expected two frames or more of a series, found fewer; give a longer table"
            )
        self.starts = torch.from_numpy(np.concatenate(starts))
        self.ends = torch.from_numpy(np.concatenate(ends))
        self.settled = torch.from_numpy(np.concatenate(settled))
        self.offsets = torch.arange(window)

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, indices: Tensor) -> Batch:
        at = self.starts[indices][:, None] + self.offsets
        batch = self.frames.gather(at, self.ends[indices][:, None], self.horizon, self.targets)
        early = self.offsets < self.settled[indices][:, None]
        batch["target"].masked_fill_(early[..., None, None], torch.nan)
        return batch
