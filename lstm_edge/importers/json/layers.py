"""What the readers of JSON networks build with: the dialect, every op called after its layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.dims import BATCH, FRAMES
from ...ir.graph import Graph
from ..dialect import Dialect, Value, known, movement, products
from ..dialect.activations import LINEAR, Activation, activate
from ..dialect.recurrences import Weights, recurrence


class Layers(Dialect):
    """A network over x (batch, frames, features), layer by layer."""

    op_in_names = False

    def x(self, width: int) -> Value:
        """The input."""
        return Value("float32", tensor=self.graph.input("x", (BATCH, FRAMES, width)))

    def width(self, x: Value) -> int:
        return movement.fixed_sizes(self, self.shape(x)[-1:], "features of sizes")[0]

    def at(self, name: str) -> Layers:
        """Standing in the layer of this name."""
        self.node_name = name
        return self

    def dense(self, x: Value, w: np.ndarray, bias: np.ndarray | None, act: Activation = LINEAR) -> Value:
        """w (N, K), bias (N,)."""
        y = products.dense(self, x, known(w), None if bias is None else known(bias), act.fused)
        return activate(self, y, act.after)

    def recurrence(self, op: str, x: Value, weights: Weights, **options: Any) -> Value:
        """One direction; y (batch, frames, units). options: of the dialect's recurrence."""
        return recurrence(self, op, x, [weights], **options).frames(self, time_major=False)

    def skip(self, x: Value, source: Value, channels: int = 1) -> Value:
        """x plus the first channels of the input: what amplifier models call skip."""
        if self.width(x) != channels:
            raise self.refuse(f"a skip of {channels} channels over an answer of {self.width(x)}")
        first = self.at("skip.channels").slice_axis(source, 2, 0, channels)
        return self.at("skip").binary("add", x, first)

    def done(self, y: Value, rate: Any) -> Graph:
        """The graph with its output, its notes and the sample rate where the file tells one."""
        self.graph.output("y", self.tensor(y))
        self.graph.metadata["notes"] = self.notes
        if rate:
            self.graph.metadata["sample_rate"] = float(rate)
        return self.graph
