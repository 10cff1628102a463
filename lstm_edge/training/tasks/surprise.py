"""Networks that measure how far frames, or sequences, deviate from what was learnt to be usual."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .network import Features, last, recurrence_of
from .options import AnomalyOptions


class Surprise(nn.Module):
    """frames (B, T, columns), raw -> score and anomaly, score > threshold. `spread` and `threshold` are set after training.

    A score is the root of the mean square of what a value differs from what was expected, by column in units of `spread`, the
    root mean square of such differences in the training part: about 1 where all is as usual.
    """

    spread: Tensor
    threshold: Tensor

    def __init__(self, features: Features):
        super().__init__()
        self.features = features
        self.register_buffer("spread", torch.ones(features.columns))
        self.register_buffer("threshold", torch.tensor(torch.inf))

    def forward(self, frames: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
        score = self.score(*self.differences(frames, lengths))
        return {"score": score, "anomaly": score > self.threshold}

    def differences(self, frames: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What values differ from what was expected, scaled, (B, T, columns); and 1.0 where that is judged, else 0.0."""
        raise NotImplementedError

    def score(self, off: Tensor, judged: Tensor) -> Tensor:
        """(B, T, columns) each -> the score of each frame (B, T), or of each sequence (B,)."""
        raise NotImplementedError

    def _scored(self, off: Tensor, judged: Tensor, axes: tuple[int, ...]) -> Tensor:
        squares = torch.square(off / self.spread) * judged
        return (squares.sum(axes) / judged.sum(axes).clamp(min=1.0)).sqrt()


class Expectation(Surprise):
    """Each frame against what was expected of it a frame before. Streams: the expectation is a state."""

    def __init__(self, features: Features, options: AnomalyOptions):
        super().__init__(features)
        self.settle = options.settle
        self.recurrence = recurrence_of(features.width, options)
        self.head = nn.Linear(self.recurrence.width, features.columns)

    def differences(self, frames: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        scaled, given = self.features.parts(frames)
        seen = scaled if given is None else torch.cat([scaled, given], -1)
        ahead = self.head(self.recurrence(seen, lengths))
        expected = functional.pad(ahead, (0, 0, 1, 0))[:, :-1]
        settled = functional.pad(torch.ones_like(scaled[..., :1]), (0, 0, self.settle, 0))[:, : -self.settle]
        judged = settled.expand_as(scaled) if given is None else settled * given
        return scaled - expected, judged if lengths is None else judged * _inside(frames, lengths)

    def score(self, off: Tensor, judged: Tensor) -> Tensor:
        return self._scored(off, judged, (2,))


class Reconstruction(Surprise):
    """A sequence against what an autoencoder makes of it, through `code` numbers. It needs the whole sequence."""

    def __init__(self, features: Features, options: AnomalyOptions):
        super().__init__(features)
        self.bidirectional = options.bidirectional
        self.encoder = recurrence_of(features.width, options, bidirectional=options.bidirectional)
        self.code = nn.Linear(self.encoder.width, options.code)
        self.decoder = recurrence_of(options.code, options, bidirectional=options.bidirectional)
        self.head = nn.Linear(self.decoder.width, features.columns)

    def differences(self, frames: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        scaled, given = self.features.parts(frames)
        seen = scaled if given is None else torch.cat([scaled, given], -1)
        code = torch.tanh(self.code(last(self.encoder(seen, lengths), lengths, self.bidirectional)))
        every = code[:, None].expand(-1, scaled.shape[1], -1)
        judged = torch.ones_like(scaled) if given is None else given
        off = scaled - self.head(self.decoder(every, lengths))
        return off, judged if lengths is None else judged * _inside(frames, lengths)

    def score(self, off: Tensor, judged: Tensor) -> Tensor:
        return self._scored(off, judged, (1, 2))


def _inside(frames: Tensor, lengths: Tensor) -> Tensor:
    """(B, T, 1): 1.0 for frames before a sequence's length."""
    inside = torch.arange(frames.shape[1], device=frames.device) < lengths[:, None]
    return inside[..., None].to(frames.dtype)
