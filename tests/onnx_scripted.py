"""Networks for torch.jit.script, which reads their annotations: so this file has no `from __future__ import annotations`."""

from typing import List  # noqa: UP035  (TorchScript knows no other)

import torch
from torch import Tensor, nn


class Appends(nn.Module):
    """An LSTM in products, whose frames go into a list."""

    def __init__(self):
        super().__init__()
        self.i, self.r = nn.Linear(5, 28), nn.Linear(7, 28)

    def forward(self, x: Tensor) -> Tensor:
        h, c = torch.zeros(x.size(1), 7), torch.zeros(x.size(1), 7)
        out: List[Tensor] = []  # noqa: UP006
        for t in range(x.size(0)):
            i, f, g, o = torch.split(self.i(x[t]) + self.r(h), 7, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            out += [h]
        return torch.stack(out)


class Cells(nn.Module):
    """An LSTMCell, whose frames go into a list."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(5, 7)

    def forward(self, x: Tensor) -> Tensor:
        h, c = torch.zeros(x.size(1), 7), torch.zeros(x.size(1), 7)
        out: List[Tensor] = []  # noqa: UP006
        for t in range(x.size(0)):
            h, c = self.cell(x[t], (h, c))
            out.append(h)
        return torch.stack(out)


class Counts(nn.Module):
    """An LSTMCell in a while loop, which ONNX has as INT64_MAX trips and a condition."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(5, 7)

    def forward(self, x: Tensor) -> Tensor:
        h, c = torch.zeros(x.size(1), 7), torch.zeros(x.size(1), 7)
        t = 0
        while t < x.size(0):
            h, c = self.cell(x[t], (h, c))
            t += 1
        return h
