"""Networks in TOML from lines such as `n("Softmax", x, axis=-1)`."""

from __future__ import annotations

from typing import Any

import numpy as np

from conformance.case import EXPORTED, Case

SYMBOLS = {"B": "batch", "T": "frames"}


class Layers:
    """The layers so far. Arrays among the inputs and keys of a call become entries of the file of weights."""

    def __init__(self) -> None:
        self.layers: list[dict[str, Any]] = []
        self.weights: dict[str, np.ndarray] = {}

    def __call__(self, layer: str, /, *inputs: Any, **keys: Any) -> str:
        name = f"layer{len(self.layers)}"
        names = [self._named(i) for i in inputs]
        one = len(names) == 1 and not layer[0].isupper()
        keys = {k: self._named(v) for k, v in keys.items()}
        self.layers.append({"type": layer, "name": name, **({"input": names[0]} if one else {"inputs": names}), **keys})
        return name

    def _named(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._named(v) for v in value]
        if not isinstance(value, np.ndarray):
            return value
        name = f"w{len(self.weights)}"
        self.weights[name] = value.astype({"f": np.float32, "i": np.int32}.get(value.dtype.kind, value.dtype))
        return name


def model(case: Case, is_open: bool) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The case as arrays and the description of their network."""
    n = Layers()
    names = [f"x{k}" for k in range(len(case.inputs))]
    made = case.network(n, *names)  # type: ignore[operator]
    inputs = {}
    for name, i in zip(names, case.inputs):
        sizes = [SYMBOLS.get(str(s), s) for s in i.sizes] if is_open else i.shape(EXPORTED)
        inputs[name] = {"shape": sizes, "dtype": "int32" if i.dtype == "int64" else i.dtype}
    outputs = [made] if isinstance(made, str) else list(made)
    return n.weights, {"convention": "torch", "inputs": inputs, "outputs": outputs, "layer": n.layers}
