"""Stretches of series as the examples of training: views into flat tensors, gathered batch by batch and padded behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

Batch = dict[str, Tensor]
Stretches = np.ndarray  # (n, 2) int64: the first frame of each and the one after its last, in the flat tensors


@dataclass(frozen=True)
class Spans:
    """Examples of the loop. by_frame: tensors whose first axis is all frames of all sequences, one after another.

    each: tensors whose first axis counts the examples. A batch holds the frames of each example (B, T, ...), those beyond
    its end as `pads` says (0 where it says nothing), `lengths` (B,), and the rows of `each`.
    """

    by_frame: Mapping[str, Tensor]
    stretches: Stretches
    each: Mapping[str, Tensor] = field(default_factory=dict)
    pads: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.stretches)

    @property
    def frames(self) -> int:
        """Frames of all examples together."""
        return int((self.stretches[:, 1] - self.stretches[:, 0]).sum())

    def batch(self, indices: Tensor) -> Batch:
        ends = torch.from_numpy(self.stretches[indices.numpy()])
        starts, lengths = ends[:, 0], ends[:, 1] - ends[:, 0]
        offsets = torch.arange(int(lengths.max()))
        beyond = offsets >= lengths[:, None]
        at = torch.where(beyond, starts[:, None], starts[:, None] + offsets)
        batch = {"lengths": lengths}
        for name, tensor in self.by_frame.items():
            rows = tensor[at]
            cover = beyond.view(*beyond.shape, *[1] * (rows.dim() - 2))
            batch[name] = rows.masked_fill(cover, self.pads.get(name, 0))
        return batch | {name: tensor[indices] for name, tensor in self.each.items()}

    def batches(self, most: int = 1 << 16) -> Iterator[Batch]:
        """All examples, the shortest first, each batch of at most so many frames with their padding (or of one example)."""
        lengths = self.stretches[:, 1] - self.stretches[:, 0]
        order = np.argsort(lengths, kind="stable")
        lengths, counted, begin = lengths[order], np.arange(1, len(order) + 1), 0
        while begin < len(order):
            fits = int(np.searchsorted((counted - begin)[begin:] * lengths[begin:], most, "right"))
            end = begin + max(fits, 1)
            yield self.batch(torch.from_numpy(order[begin:end]))
            begin = end


def in_windows(stretches: Stretches, window: int, stride: int, *, short: bool = True) -> Stretches:
    """Stretches cut into windows that begin `stride` frames apart; the last one of each ends with it.

    short: whether a stretch that is shorter than a window is one by itself, or is left out.
    """
    found = [stretches[:0]]
    for begin, end in stretches:
        if end - begin <= window:
            places = np.array([begin] if short or end - begin == window else [], np.int64)
        else:
            places = np.unique(np.append(np.arange(begin, end - window, stride), end - window))
        found.append(np.stack([places, np.minimum(places + window, end)], 1))
    return np.concatenate(found)
