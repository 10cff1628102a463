"""One case: an operator with its inputs, its answer, and how every front end that has it spells it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

FRONT_ENDS = ("onnx", "torch", "keras", "tflite", "network")
EXPORTED = {"B": 2, "T": 4}  # sizes that the models are made with: sequences and frames
RUN_WITH = {"B": 3, "T": 6}  # and those they are run with where they are open

RANGES: dict[str, tuple[int, int]] = {"ids": (0, 3), "signed_ids": (-4, 4), "ints": (-6, 7), "bits": (0, 2)}

Array = np.ndarray
Spelling = Callable[..., Any]


class Later:
    """A framework's module, imported when something of it is first asked for."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)


@dataclass(frozen=True)
class Input:
    """Sizes, B and T for the ones that may be open, and what kind of numbers it holds."""

    sizes: tuple[int | str, ...]
    kind: str = "normal"

    @property
    def dtype(self) -> str:
        return {"bool": "bool", "lengths": "int64"}.get(self.kind, "int64" if self.kind in RANGES else "float32")

    def shape(self, sizes: Mapping[str, int]) -> list[int]:
        return [sizes[s] if isinstance(s, str) else s for s in self.sizes]

    def array(self, sizes: Mapping[str, int], seed: int) -> Array:
        """Random numbers of the kind; no two floats in them are equal."""
        rng, shape = np.random.default_rng(seed), self.shape(sizes)
        if self.kind in RANGES:
            return rng.integers(*RANGES[self.kind], shape)
        if self.kind == "bool":
            return rng.integers(0, 2, shape) > 0
        if self.kind == "lengths":
            return rng.integers(1, sizes["T"] + 1, shape)
        normal = rng.normal(0, 1.5, shape)
        made = {"normal": normal, "positive": np.abs(normal) + 0.3, "unit": np.tanh(normal) * 0.95}
        made["above_one"] = np.abs(normal) + 1.1
        return made[self.kind].astype(np.float32)


def given(sizes: str, kind: str = "normal") -> Input:
    """An input by its sizes as words: given("B T 3")."""
    return Input(tuple(int(s) if s.isdigit() else s for s in sizes.split()), kind)


@dataclass(frozen=True)
class Case:
    """An operator under one choice of attributes and sizes.

    answer: a function of the inputs as float64, int64 and bool arrays. For each front end a spelling, or in words why its
    format has none. refused: what the message of a refusal says, when every front end refuses; open: whether sizes stay
    open where the inputs say so, with `refused_open` when that alone is refused.
    """

    name: str
    inputs: tuple[Input, ...]
    answer: Callable[..., Any]
    onnx: Spelling | str
    torch: Spelling | str
    keras: Spelling | str
    tflite: Spelling | str
    network: Spelling | str = "no such layer"
    refused: str = ""
    refused_open: str = ""

    def spelling(self, front_end: str) -> Spelling | None:
        found = getattr(self, front_end)
        return None if isinstance(found, str) else found

    @property
    def has_open_sizes(self) -> bool:
        return any(isinstance(s, str) for i in self.inputs for s in i.sizes)

    def why_refused(self, is_open: bool) -> str:
        return self.refused or (self.refused_open if is_open else "")

    def arrays(self, sizes: Mapping[str, int]) -> list[Array]:
        return [i.array(sizes, 1 + n) for n, i in enumerate(self.inputs)]

    def wanted(self, arrays: list[Array]) -> list[Array]:
        """The answers in float64."""
        wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]
        found = self.answer(*wide)
        return [np.asarray(a) for a in (found if isinstance(found, (list, tuple)) else [found])]
