"""The tensors and arrays that the layers of a network description name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ...ir.dims import Size
from ..dialect import Dialect, Value, known
from .keys import Keys


class Network(Dialect):
    """What layers are built from: the dialect, the arrays of the weights file, and the values that have names. Every op
    is called after its layer."""

    op_in_names = False

    def __init__(self, arrays: Mapping[str, np.ndarray], convention: str):
        super().__init__()
        self.arrays, self.convention = arrays, convention
        self.used: set[str] = set()
        self.named: dict[str, Value] = {}  # of inputs, layers and their states
        self.previous = Value("float32")

    def input(self, name: str, shape: tuple[Size, ...], dtype: str) -> None:
        self.named[name] = Value(dtype, tensor=self.graph.input(name, shape, dtype))

    def array(self, name: Any, keys: Keys, key: str) -> np.ndarray:
        """An array of the weights file by name."""
        if not isinstance(name, str):
            keys.fail(f"{key}: expected the name of an array, found {name!r}", key)
        if name not in self.arrays:
            near = difflib.get_close_matches(name, self.arrays, 3, 0.4) or sorted(self.arrays)[:6]
            keys.fail(f"{key}: the weights hold no array {name!r}; close: {', '.join(near)}", key)
        self.used.add(name)
        array = self.arrays[name]
        if array.dtype.kind != "f":
            return array
        if not np.isfinite(array).all():
            raise UnsupportedModelError(f"{name}: holds values that are not finite numbers")
        return array.astype(np.float32)

    def value(self, name: Any, keys: Keys, key: str) -> Value | None:
        """What a name stands for: a layer, an input, an array of the weights, or a number; None for an empty name."""
        if isinstance(name, bool) or not isinstance(name, (str, int, float)):
            keys.fail(f"{key}: expected a name or a number, found {name!r}", key)
        if not isinstance(name, str):
            return self.constant(float(name))
        if name == "" or name in self.named:
            return self.named.get(name)
        if name not in self.arrays:
            keys.fail(
                f"{key}: no layer, input or array is called {name!r}; layers and inputs: {', '.join(self.named)}", key
            )
        return known(self.array(name, keys, key))

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
