"""The learning rate of each step."""

from __future__ import annotations

import math

from .options import Options


class Schedule:
    """`rate(step)` for steps counted from 0 over all epochs of `steps` steps each.

    Over `warmup` epochs the rate rises in equal parts to its full height, which the first step after them has. Then it
    stays (constant), falls to 0 along half a cosine by the end of the last epoch (cosine), is multiplied by `decay` after
    every `decay_after` epochs (step), or after as many epochs in a row whose validation was no better (plateau).
    """

    def __init__(self, options: Options, steps: int):
        self.options = options
        self.steps = steps
        self.warm = round(options.warmup * steps)
        self.lowered = 0  # how often plateau has multiplied
        self.waited = 0  # epochs since the last better one or the last lowering

    def rate(self, step: int) -> float:
        return self.options.rate * self._factor(step) * min(1.0, (step + 1) / (self.warm + 1))

    def _factor(self, step: int) -> float:
        o = self.options
        if o.schedule == "cosine":
            length = o.epochs * self.steps - self.warm
            return 0.5 + 0.5 * math.cos(math.pi * max(0, step - self.warm) / length)
        if o.schedule == "step":
            return float(o.decay ** (step // (o.decay_after * self.steps)))
        return float(o.decay**self.lowered)

    def judged(self, better: bool) -> None:
        """An epoch was validated, and was the best yet or not."""
        self.waited = 0 if better else self.waited + 1
        if self.options.schedule == "plateau" and self.waited >= self.options.decay_after:
            self.lowered, self.waited = self.lowered + 1, 0

    def state(self) -> dict[str, int]:
        return {"lowered": self.lowered, "waited": self.waited}

    def restore(self, state: dict[str, int]) -> None:
        self.lowered, self.waited = state["lowered"], state["waited"]
