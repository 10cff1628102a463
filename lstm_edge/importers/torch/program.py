"""What every route into torch leads to: a flat program of aten calls.

Live modules, exported programs and TorchScript differ in how the calls are found; what a call means is the same, and is
written once, in the files that fill registry.OPS.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...ir.dims import Size


@dataclass(frozen=True)
class Ref:
    """The value of an earlier step, an input or a constant."""

    name: str


# In the order in which torch numbers them everywhere, from 0 or from 1; others follow at numbers of their own.
NUMBERED_DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


class DType(str):
    """A torch dtype by its name, so that programs need no torch."""


@dataclass
class Step:
    """One call: `target` as torch names it ("aten.linear.default", "getitem"), arguments with Ref for values."""

    target: str
    args: list[Any]
    kwargs: dict[str, Any]
    name: str
    place: str = ""  # the module it stands in, for messages

    @property
    def base(self) -> str:
        """The call's name without library and overload; in-place calls keep their underscore."""
        parts = self.target.split(".")
        return parts[1] if len(parts) > 1 else parts[0]

    @property
    def in_place(self) -> bool:
        return self.base.endswith("_") and not self.base.endswith("__")


@dataclass
class ProgramInput:
    name: str
    shape: tuple[Size, ...]
    dtype: str
    ref: str


@dataclass
class Program:
    inputs: list[ProgramInput]
    constants: dict[str, np.ndarray]
    steps: list[Step]
    outputs: list[tuple[str, Any]]  # name ("" = to be chosen), Ref or a constant
    notes: list[str] = field(default_factory=list)


# Calls that read or write files, by names that the model gives: no model gets them run.
TOUCH_FILES = ("from_file", "save")

# Calls whose result shares memory with their first argument.
VIEWS = {
    "view",
    "reshape",
    "_unsafe_view",
    "select",
    "slice",
    "narrow",
    "transpose",
    "permute",
    "t",
    "squeeze",
    "unsqueeze",
    "expand",
    "flatten",
    "unflatten",
    "split",
    "split_with_sizes",
    "chunk",
    "unbind",
    "getitem",
    "detach",
    "alias",
    "contiguous",
    "view_as",
    "expand_as",
    "movedim",
    "to",
    "dropout",
    "unfold",
}


def used_items(program: Program) -> dict[str, set[int]]:
    """name -> the items of it that getitem reads; -1 stands for the whole value."""
    used: dict[str, set[int]] = {}
    for s in program.steps:
        if s.base == "getitem" and isinstance(s.args[0], Ref) and isinstance(s.args[1], int):
            used.setdefault(s.args[0].name, set()).add(s.args[1])
            continue
        for leaf in leaves([s.args, s.kwargs]):
            if isinstance(leaf, Ref):
                used.setdefault(leaf.name, set()).add(-1)
    for _, v in program.outputs:
        for leaf in leaves(v):
            if isinstance(leaf, Ref):
                used.setdefault(leaf.name, set()).add(-1)
    dead = [s for s in program.steps if s.base == "getitem" and s.name not in used]
    for s in dead:
        used.get(s.args[0].name, set()).discard(s.args[1])
    return used


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for v in value:
            yield from leaves(v)
    elif isinstance(value, dict):
        for v in value.values():
            yield from leaves(v)
    else:
        yield value


def run_dtype(dtype: DType | None, default: str = "float32") -> str:
    """The dtype the core has for a torch dtype: floats are float32, integers int32."""
    if dtype is None:
        return default
    return "float32" if "float" in dtype or dtype in ("double", "half") else "bool" if dtype == "bool" else "int32"
