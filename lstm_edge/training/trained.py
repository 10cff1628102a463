"""What training gives, whatever the task."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import format, load
from .._core import Model
from ..check.self_test import make_self_test
from ..convert import to_graph
from ..ir.graph import Port
from .options import Options
from .report import History


@dataclass
class Trained:
    """A trained network. module: raw values in, raw units out. scores: on held-out time or sequences. notes: what was assumed and
    chosen. metadata: what its file says beside the ops, by the task's name; example: inputs of the module, by name; outputs: how what
    it gives is called in the file."""

    task: str
    module: nn.Module
    options: Options
    history: History
    scores: dict[str, Any]
    notes: list[str]
    metadata: dict[str, Any]
    example: dict[str, torch.Tensor] = field(repr=False)
    outputs: tuple[str, ...] = ()

    def export(self, path: str | os.PathLike[str] | None = None) -> Model:
        """The Model that a device runs, written to `path` where one is given."""
        graph = to_graph(self.module, example=self.example)
        test = make_self_test(graph, self.module, sample=self._sample())
        if self.outputs:
            test.outputs = {name: test.outputs[p.name] for name, p in zip(self.outputs, graph.outputs)}
            graph.outputs = [Port(name, p.tensor) for name, p in zip(self.outputs, graph.outputs)]
        graph.self_test = test
        graph.metadata.update(self.metadata)
        graph.metadata.setdefault("notes", []).extend(self.notes)
        if path is None:
            return load(format.to_bytes(graph))
        format.write(graph, path)
        return load(path)

    def files(self, path: str | os.PathLike[str]) -> tuple[str, ...]:
        """The files that `export` writes for this path."""
        return (os.fspath(path),)

    def _sample(self) -> dict[str, np.ndarray]:
        """The example as the core takes it."""
        arrays = {name: value.numpy() for name, value in self.example.items()}
        return {name: a.astype(np.float32 if a.dtype.kind == "f" else np.int32) for name, a in arrays.items()}
