"""The sizes of an exported program's inputs: numbers, what it leaves open, and what it merely was exported with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ...ir.dims import Size
from ..dialect.open_sizes import OpenSize
from .program import Program, ProgramInput, Ref, Step, leaves

RECURRENCES = ("lstm", "gru", "rnn_tanh", "rnn_relu")
# Calls whose numbers are never the number of sequences or frames, or only where that is harmless (zero states).
NEUTRAL = {
    "zeros",
    "new_zeros",
    "conv1d",
    "conv2d",
    "layer_norm",
    "linear",
    "getitem",
    "dropout",
    "batch_norm",
    "group_norm",
    "transpose",
    "permute",
    "unsqueeze",
    "cat",
    "stack",
    "softmax",
    "log_softmax",
    *RECURRENCES,
}


@dataclass(frozen=True)
class Extent:
    """A size that is free in the exported program: the symbols in it, whether it is just one of them, and its value in
    the example."""

    names: frozenset[str]
    alone: bool
    hint: int


Sizes = list[Any]  # int or Extent per axis


@dataclass
class Given:
    """An input of the program as it was exported."""

    name: str
    dtype: str
    sizes: Sizes


@dataclass
class Traced:
    """A program as torch exported it, before its inputs have sizes: calls, constants and outputs.

    `shapes`: sizes by value name. `ranges` (symbol -> least and most, None: any) and `guards` (comparisons in Python): the
    sizes for which it holds.
    """

    steps: list[Step]
    shapes: dict[str, Sizes]
    inputs: list[Given]
    constants: dict[str, np.ndarray]
    outputs: list[tuple[str, Any]]
    ranges: dict[str, tuple[int, int | None]]
    guards: list[str]

    def with_shapes(self, shape: Callable[[str], tuple[Size, ...]]) -> Program:
        """The program with the shape that `shape` gives to each of its inputs."""
        inputs = [ProgramInput(i.name, shape(i.name), i.dtype, i.name) for i in self.inputs]
        return Program(inputs, self.constants, self.steps, self.outputs)


MOST_OPEN = (
    2  # sizes of one input: its batch and its frames; what else torch leaves open is features, which a stream has fixed
)


def declared(
    traced: Traced, fixed: Mapping[str, Mapping[int, int]]
) -> tuple[dict[str, list[int | OpenSize]], list[str]]:
    """The sizes of every input, and notes: numbers, those that the program leaves open, and the batch and frames of its
    recurrences where the program holds a number that nothing in it spells. `fixed`: input -> axis -> size that the caller
    has settled."""
    freed = _free_axes(traced)
    made: dict[str, list[int | OpenSize]] = {}
    notes = []
    for i in traced.inputs:
        open_names: set[str] = set()
        made[i.name] = []
        for axis, size in enumerate(i.sizes):
            if axis in fixed.get(i.name, {}):
                made[i.name].append(fixed[i.name][axis])
                continue
            if not isinstance(size, Extent):
                made[i.name].append(freed.get((i.name, axis), size))
                continue
            if not size.alone:
                raise UnsupportedModelError(
                    f"input {i.name!r}: axis {axis} has a size computed from {', '.join(size.names)}; "
                    "export it with a plain dynamic dimension"
                )
            open_names |= size.names
            if len(open_names) > MOST_OPEN:
                made[i.name].append(size.hint)
                notes.append(
                    f"input {i.name!r}: axis {axis} was free in torch and is fixed at {size.hint}, as in the example"
                )
            else:
                made[i.name].append(OpenSize(i.name, axis, next(iter(size.names)), size.hint))
    return made, notes


def recurrences(steps: list[Step]) -> Iterator[tuple[Step, bool]]:
    """Every recurrence over a sequence, with whether its input is batch first (packed data is, here)."""
    for s in steps:
        base = s.base.removesuffix("_packed")
        if base in RECURRENCES:
            packed = (
                s.base.endswith("_packed")
                or isinstance(s.args[1], Ref)
                and isinstance(s.args[2], list)
                and len(s.args) < 10
                and not isinstance(s.args[3], bool)
            )
            yield s, True if packed else bool(s.args[8])


def _recurrence_sizes(steps: list[Step], shapes: dict[str, Sizes]) -> list[tuple[Any, Any]]:
    """(batch, frames) as the input of every recurrence has them."""
    found = []
    for s, batch_first in recurrences(steps):
        sizes = shapes.get(s.args[0].name, []) if isinstance(s.args[0], Ref) else []
        if len(sizes) == 3:
            found.append((sizes[0], sizes[1]) if batch_first else (sizes[1], sizes[0]))
    return found


def _free_axes(traced: Traced) -> dict[tuple[str, int], OpenSize]:
    """Axes of fixed size that may be batch or frames all the same: the program was exported without dynamic shapes, but
    nothing in it depends on the number."""
    found: dict[tuple[str, int], OpenSize] = {}
    steps = traced.steps
    sizes = _recurrence_sizes(steps, traced.shapes)
    for label, number in zip(("batch", "frames"), sizes[0] if sizes else ()):
        if isinstance(number, Extent) or (label == "frames" and number == 1) or _depends_on(traced, number):
            continue
        for i in traced.inputs:
            last = len(i.sizes) - (len(i.sizes) > 2)  # a last axis is features
            axes = [a for a in range(last) if i.sizes[a] == number and (i.name, a) not in found]
            if len(axes) > 1:
                axes = _same_place(steps, i.name, label, axes)
            if len(axes) == 1:
                found[i.name, axes[0]] = OpenSize(i.name, axes[0], label, number, declared=False)
    return found


def _same_place(steps: list[Step], name: str, label: str, axes: list[int]) -> list[int]:
    """Of several axes of that size, the one that a recurrence reading the input directly calls batch or frames."""
    for s, batch_first in recurrences(steps):
        if s.args[0] == Ref(name):
            wanted = (0 if batch_first else 1) if label == "batch" else (1 if batch_first else 0)
            return [wanted] if wanted in axes else []
        if Ref(name) in list(leaves(s.args[1])):
            return [1] if label == "batch" and 1 in axes else []
    return []


def _comes_of(value: float, number: int) -> bool:
    """Whether a scalar is the inverse, the root or the inverse root of a size."""
    return any(math.isclose(v, 1.0) for v in (value * number, value * value / number, value * value * number))


def _reads_within(step: Step, shapes: dict[str, Sizes], number: int) -> bool:
    """Whether a call picks places inside an axis of that size, which may have been told from it, as the middle is."""
    if step.base not in ("select", "slice", "narrow") or not isinstance(step.args[0], Ref):
        return False
    sizes = shapes.get(step.args[0].name, [])
    dim = step.args[1] if len(step.args) > 1 else 0
    if not isinstance(dim, int) or not -len(sizes) <= dim < len(sizes) or sizes[dim] != number:
        return False
    return any(isinstance(v, int) and 1 < v < number for v in step.args[2:4])


def _depends_on(traced: Traced, number: int) -> bool:
    """Whether a call spells the number itself or what may come of it: one less, of the last element, a place inside, an
    inverse or a root."""
    if number == 1:
        return False
    for s in traced.steps:
        if s.base in NEUTRAL:
            continue
        if _reads_within(s, traced.shapes, number):
            return True
        suspicious = {number, -number, number - 1} if s.base in ("select", "slice", "narrow") else {number}
        for v in leaves([s.args, s.kwargs]):
            if isinstance(v, bool) or not isinstance(v, (int, float)):
                continue
            if (v in suspicious and v not in (0, 1)) or (isinstance(v, float) and _comes_of(v, number)):
                return True
    return False
