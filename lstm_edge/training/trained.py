"""What training gives, whatever the task."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from .._core import Model
from .exporting import export
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
        names = self.outputs or None
        said = {**self.metadata, "notes": self.notes}
        return export(self.module, path, self.example, metadata=said, names=names)

    def files(self, path: str | os.PathLike[str]) -> tuple[str, ...]:
        """The files that `export` writes for this path."""
        return (os.fspath(path),)
