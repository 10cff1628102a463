"""The arguments of an exported step: one for each input, then one for each output."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from ..errors import UnsupportedModelError
from .layout import Layout
from .loaded import Loaded

CTYPES = {"float32": "float", "int32": "int32_t", "bool": "uint8_t"}

# What a step or its callers in C and C++ have by these names, and the languages' own words.
TAKEN = """
    s c state plan inputs outputs plans sizes numbers call run_plan i at failed main
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl concept const constexpr const_cast continue decltype default
    delete do double dynamic_cast else enum explicit export extern false final float for friend goto if inline int long mutable namespace new noexcept not
    not_eq nullptr operator or or_eq private protected public register reinterpret_cast requires restrict return short signed sizeof static static_assert
    static_cast struct switch template this thread_local throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t while
    xor xor_eq memcpy memset in
""".split()


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
    made, taken = [], set(TAKEN)
    for io, port in zip(loaded.inputs, loaded.model.inputs):
        dims = next((p.values[io.tensor].dims for p in layout.plans if io.tensor in p.values), (0,))
        size = int(np.prod(dims, dtype=np.int64))
        made.append(Port(_word(port.name, taken), size, f"{port.name}: {port.dtype} {dims}", _ctype(port.dtype), True))
    for i, port in enumerate(loaded.model.outputs):
        most = max(p.written[i] for p in layout.plans)
        about = f"{port.name}: {port.dtype}, {most} elements"
        made.append(Port(_word(port.name, taken), most, about, _ctype(port.dtype), False))
    return made


def macro(name: str, *words: str) -> str:
    return "_".join((name, *words)).upper()


def _word(name: str, taken: set[str]) -> str:
    """A name of C for a port, another than all that are taken, to which it is added."""
    word = re.sub(r"\W", "_", name)
    while not re.match(r"[A-Za-z]", word) or word in taken:
        word = f"x_{word}"
    taken.add(word)
    return word


def _ctype(dtype: str) -> str:
    if dtype not in CTYPES:
        raise UnsupportedModelError(f"export-c: expected inputs and outputs of float32, int32 or bool, found {dtype}")
    return CTYPES[dtype]
