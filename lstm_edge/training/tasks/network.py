"""What the networks of the tasks share: features of raw frames, and what is read from a sequence. All of it is in their files."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ...around.coarse import coarse
from ...errors import FormatError
from ..cells import Recurrence, recurrent
from ..fill import ForwardFill
from ..options import Options
from ..scaling import Scaling, learnt
from .sequences import Sequences
from .spans import Stretches


class Features(nn.Module):
    """Raw frames (B, T, columns), NaN where missing -> features (B, T, width): scaled by what the training part holds; where there
    are gaps, filled with the value before them, with a channel for each column that says which values were given."""

    def __init__(self, rows: np.ndarray, gaps: bool):
        """rows: (frames, columns) of the training part. gaps: whether values are missing anywhere."""
        super().__init__()
        columns = rows.shape[1]
        self.scaling = Scaling(*learnt(rows.astype(np.float64)))
        self.fill = ForwardFill(columns) if gaps else None
        self.columns, self.width = columns, columns * (2 if gaps else 1)

    def parts(self, frames: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, T, columns) scaled without gaps, and 1.0 where a value was given, else 0.0; None where there are no gaps."""
        scaled = self.scaling(frames)
        return (scaled, None) if self.fill is None else self.fill(scaled)

    def forward(self, frames: Tensor) -> Tensor:
        scaled, given = self.parts(frames)
        return scaled if given is None else torch.cat([scaled, given], -1)


def features_of(found: Sequences, training: Stretches) -> tuple[Features, list[str]]:
    """The features that the training part teaches, and notes."""
    rows = np.concatenate([found.values[begin:end] for begin, end in training])
    empty = np.flatnonzero(np.isnan(rows).all(0))
    if len(empty):
        raise FormatError(
            f"{found.place}: column {found.columns[empty[0]]!r}: expected values, found none in the training part"
        )
    made = Features(rows, found.gaps)
    means, deviations = made.scaling.mean.tolist(), made.scaling.deviation.tolist()
    said = [coarse(*about) for about in zip(found.columns, means, deviations)]
    return made, [note for note in said if note is not None]


def example_of(found: Sequences, training: Stretches, most: int) -> Tensor:
    """The first frames (1, T, columns) of the longest stretch of the training part, at most so many."""
    begin, end = training[np.argmax(training[:, 1] - training[:, 0])]
    return torch.from_numpy(found.values[begin : min(end, begin + most)])[None]


def recurrence_of(inputs: int, options: Options, *, bidirectional: bool = False) -> Recurrence:
    """The recurrence that the options ask for."""
    return recurrent(
        options.cell, inputs, options.hidden, options.layers, bidirectional=bidirectional, dropout=options.dropout
    )


def last(y: Tensor, lengths: Tensor | None, bidirectional: bool) -> Tensor:
    """y (B, T, width), 0 beyond a sequence's length -> (B, width), what each direction gives at the end of its way."""
    if lengths is None:
        forward = y[:, -1]
    else:
        forward = y.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, y.shape[2])).squeeze(1)
    if not bidirectional:
        return forward
    half = y.shape[2] // 2
    return torch.cat([forward[:, :half], y[:, 0, half:]], -1)


def mean(y: Tensor, lengths: Tensor | None) -> Tensor:
    """y (B, T, width), 0 beyond a sequence's length -> (B, width), over its frames."""
    return y.mean(1) if lengths is None else y.sum(1) / lengths[:, None]


def largest(y: Tensor, lengths: Tensor | None) -> Tensor:
    """y (B, T, width) -> (B, width), the largest over a sequence's frames."""
    if lengths is not None:
        beyond = torch.arange(y.shape[1], device=y.device) >= lengths[:, None]
        y = y.masked_fill(beyond[..., None], -torch.inf)
    return y.amax(1)
