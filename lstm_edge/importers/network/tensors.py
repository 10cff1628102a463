"""The tensors and arrays that the layers of a network description name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...ir.graph import Graph
from ..dialect.layers import constant
from .keys import Keys


class Network:
    """What layers are built from: the graph, the arrays of the weights file, and the tensors that have names."""

    def __init__(self, arrays: Mapping[str, np.ndarray], convention: str):
        self.graph = Graph()
        self.arrays, self.convention = arrays, convention
        self.used: set[str] = set()
        self.named: dict[str, str] = {}  # of inputs, layers and their states -> tensor
        self.previous = ""
        self.notes: list[str] = []

    def array(self, name: Any, keys: Keys, key: str) -> np.ndarray:
        """An array of the weights file by name."""
        if not isinstance(name, str):
            keys.fail(f"{key}: expected the name of an array, found {name!r}", key)
        if name not in self.arrays:
            near = difflib.get_close_matches(name, self.arrays, 3, 0.4) or sorted(self.arrays)[:6]
            keys.fail(f"{key}: the weights hold no array {name!r}; close: {', '.join(near)}", key)
        self.used.add(name)
        array = self.arrays[name]
        return array.astype(np.float32) if array.dtype.kind == "f" else array

    def tensor(self, name: Any, keys: Keys, key: str) -> str:
        """A tensor of the graph: a layer's, an input's, an array of the weights, or a number."""
        if isinstance(name, bool) or not isinstance(name, (str, int, float)):
            keys.fail(f"{key}: expected a name or a number, found {name!r}", key)
        if not isinstance(name, str):
            return constant(self.graph, np.asarray(float(name), np.float32), "number")
        if name == "" or name in self.named:
            return self.named.get(name, "")
        if name not in self.arrays:
            keys.fail(
                f"{key}: no layer, input or array is called {name!r}; layers and inputs: {', '.join(self.named)}", key
            )
        return constant(self.graph, self.array(name, keys, key), name)

    def under(self, prefix: str, keys: Keys) -> dict[str, str]:
        """Arrays below `prefix` by the last part of their names (without TensorFlow's ':0')."""
        found: dict[str, str] = {}
        for name in self.arrays:
            if prefix and not name.startswith((f"{prefix}/", f"{prefix}.")):
                continue
            part = re.split(r"[/.]", name)[-1].removesuffix(":0")
            if part in found:
                keys.fail(
                    f"weights = {prefix!r}: both {found[part]!r} and {name!r} are its {part}; name the arrays one by one",
                    "weights",
                )
            found[part] = name
        if not found:
            keys.fail(
                f"weights = {prefix!r}: no array lies below it; arrays: {', '.join(sorted(self.arrays)[:12])}",
                "weights",
            )
        return found
