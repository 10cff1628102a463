"""What a Graph consists of: tensors, and nodes that make tensors from tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from .dims import Size


@cache
def dtype_name(dtype: np.dtype[Any]) -> str:
    """What a tensor's dtype is called: NumPy's name, which NumPy itself is slow to spell."""
    return str(dtype)


@dataclass
class Tensor:
    """A value. `data` is set for constants: float32, int32, bool, or a weight in float16 or int8 (then with `scale`)."""

    name: str
    dtype: str
    shape: tuple[Size, ...]
    data: np.ndarray | None = None
    # int8 only: float32 (n,), each for 1/n of the elements in order (one per weight row)
    scale: np.ndarray | None = None

    @property
    def is_constant(self) -> bool:
        return self.data is not None

    @property
    def values(self) -> np.ndarray:
        """The data of a constant; ValueError where the tensor is none."""
        if self.data is None:
            raise ValueError(f"tensor {self.name!r} is no constant")
        return self.data


@dataclass
class Node:
    """One op. An absent optional input or output is the empty name. `name` is the place that error messages give."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any] = field(default_factory=dict)
    name: str = ""


def place(node: Node) -> str:
    """How messages name `node`."""
    return f"node {node.name} ({node.op})"
