"""The arguments of an exported step: one for each input, then one for each output."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from ..errors import UnsupportedModelError
from .layout import Layout
from .loaded import Loaded

CTYPES = {"float32": "float", "int32": "int32_t", "bool": "uint8_t"}


class Port(NamedTuple):
    """`word`: its name in C. `size`: elements of a step, for an output at most."""

    word: str
    size: int
    about: str
    ctype: str
    is_input: bool

    @property
    def declared(self) -> str:
        return f"{'const ' if self.is_input else ''}{self.ctype} *{self.word}"


def ports_of(loaded: Loaded, layout: Layout) -> list[Port]:
    made = []
    for io, port in zip(loaded.inputs, loaded.model.inputs):
        dims = next((p.values[io.tensor].dims for p in layout.plans if io.tensor in p.values), (0,))
        size = int(np.prod(dims, dtype=np.int64))
        made.append(Port(_word(port.name), size, f"{port.name}: {port.dtype} {dims}", _ctype(port.dtype), True))
    for i, port in enumerate(loaded.model.outputs):
        most = max(p.written[i] for p in layout.plans)
        about = f"{port.name}: {port.dtype}, {most} elements"
        made.append(Port(_word(port.name), most, about, _ctype(port.dtype), False))
    return made


def macro(name: str, *words: str) -> str:
    return "_".join((name, *words)).upper()


def _word(name: str) -> str:
    word = re.sub(r"\W", "_", name)
    taken = word in ("state", "int", "float", "double", "in", "s")
    return f"x_{word}" if taken or not re.match(r"[A-Za-z]", word) else word


def _ctype(dtype: str) -> str:
    if dtype not in CTYPES:
        raise UnsupportedModelError(f"export-c: expected inputs and outputs of float32, int32 or bool, found {dtype}")
    return CTYPES[dtype]
