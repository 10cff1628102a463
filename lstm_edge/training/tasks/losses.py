"""Cross entropy over frames, padding left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..devices import moved
from .spans import Batch

PADDING = -100  # the target of a frame that is not there


class CrossEntropy:
    """The loss of a batch, the mean over its examples; in each the sum over frames / `frames`, the usual number of them.

    So every frame counts alike, and batches on several machines average to what they give together, however long their
    examples are. logits: from a module and a batch, (B, labels) or (B, T, labels), for the batch's `target` (B,) or (B, T).
    weights: of the labels.
    """

    def __init__(self, logits: Callable[[nn.Module, Batch], Tensor], frames: float, weights: Tensor | None = None):
        self.logits, self.frames, self.weights = logits, frames, weights

    def __call__(self, module: nn.Module, batch: Batch) -> Tensor:
        return self._sum(module, batch) / (len(batch["target"]) * self.frames)

    def over(self, module: nn.Module, batches: Iterable[Batch]) -> float:
        """The mean over all frames of a part, each with its label's weight."""
        device, total, weight = next(module.parameters()).device, 0.0, 0.0
        with torch.no_grad():
            for batch in batches:
                total += float(self._sum(module, moved(batch, device)))
                kept = batch["target"][batch["target"] != PADDING]
                weight += len(kept) if self.weights is None else float(self.weights[kept].sum())
        return total / weight

    def _sum(self, module: nn.Module, batch: Batch) -> Tensor:
        logits, target = self.logits(module, batch).flatten(0, -2), batch["target"].flatten()
        weights = None if self.weights is None else self.weights.to(logits.device)
        return functional.cross_entropy(logits, target, weights, ignore_index=PADDING, reduction="sum")
