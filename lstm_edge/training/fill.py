"""Gaps in a series: each missing value is the last one that was given, and a channel says which were."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import LstmEdgeError
from ..importers.torch.opaque import is_tracing, traced_ops


class ForwardFill(nn.Module):
    """x (B, T, columns) with NaN for what is missing -> (filled, mask), both (B, T, columns).

    filled: the value itself, else the column's last one that was given, 0 before the first. mask: 1.0 where the value was given,
    else 0.0. In a file it is a masked RNN whose state is the last value, so that a stream remembers it from call to call.
    """

    def __init__(self, columns: int):
        super().__init__()
        if not isinstance(columns, int) or columns < 1:
            raise LstmEdgeError(f"columns: expected a whole number of 1 or more, found {columns!r}")
        self.columns = columns

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.dim() != 3 or x.shape[2] != self.columns:
            raise LstmEdgeError(f"ForwardFill: expected (batch, frames, {self.columns}), found shape {tuple(x.shape)}")
        if is_tracing():
            filled, mask = traced_ops().forward_fill(x)
            return filled, mask
        given = ~torch.isnan(x)
        at = torch.arange(1, x.shape[1] + 1, device=x.device)[None, :, None]
        last = (
            torch.where(given, at, 0).cummax(1).values
        )  # 0 where nothing was given yet, else the frame's number from 1
        before = torch.nn.functional.pad(torch.where(given, x, 0.0), (0, 0, 1, 0))
        return before.gather(1, last), given.to(x.dtype)
