"""Which axes of an exported program's inputs are batch and which are frames: read off its first recurrence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...errors import UnsupportedModelError
from ...ir.dims import BATCH, FRAMES, Size
from .program import Ref, Step, leaves

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


def input_shapes(
    steps: list[Step],
    shapes: dict[str, Sizes],
    inputs: list[Given],
    fixed: dict[str, dict[int, int]],
    free: tuple[Size, ...] | None,
) -> tuple[list[tuple[Size, ...]], list[str]]:
    """The shape of every input in batch and frames, and notes.

    `shapes`: sizes by value name (recurrences' inputs are looked up in it). `fixed`: input -> axis -> size that the
    caller has settled. `free`: which of BATCH and FRAMES may be given to axes that the program itself holds fixed;
    None fixes those too that it leaves open, as they were in its example.
    """
    if free is None:
        return _as_in_example(inputs)
    meaning = _symbols(steps, shapes, inputs)
    freed = _free_axes(steps, shapes, inputs, meaning, free)
    made, notes = [], []
    for i in inputs:
        shape: list[Size] = []
        for axis, size in enumerate(i.sizes):
            if axis in fixed.get(i.name, {}):
                shape.append(fixed[i.name][axis])
            elif not isinstance(size, Extent):
                shape.append(freed.get((i.name, axis), size))
            elif not size.alone:
                raise UnsupportedModelError(
                    f"input {i.name!r}: axis {axis} has a size computed from {', '.join(size.names)}; "
                    "export it with a plain dynamic dimension"
                )
            else:
                shape.append(meaning[next(iter(size.names))])
                if isinstance(shape[-1], int):
                    notes.append(
                        f"input {i.name!r}: axis {axis} was free in torch and is fixed at {shape[-1]}, as in the "
                        "example; one batch and one number of frames can be free"
                    )
        made.append(tuple(shape))
    return made, notes


def _as_in_example(inputs: list[Given]) -> tuple[list[tuple[Size, ...]], list[str]]:
    made = [tuple(s.hint if isinstance(s, Extent) else s for s in i.sizes) for i in inputs]
    return made, [
        f"input {i.name!r}: fixed at {list(m)}, as in the example" for i, m in zip(inputs, made) if i.sizes != list(m)
    ]


def _names(size: Any) -> frozenset[str]:
    return size.names if isinstance(size, Extent) else frozenset()


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


def _symbols(steps: list[Step], shapes: dict[str, Sizes], inputs: list[Given]) -> dict[str, Size]:
    """What each symbol of the program stands for: BATCH, FRAMES, or the size it had in the example."""
    hints: dict[str, int] = {}
    for i in inputs:
        for size in i.sizes:
            if isinstance(size, Extent) and size.alone:
                hints.setdefault(next(iter(size.names)), size.hint)
    batch = frames = None
    sizes = _recurrence_sizes(steps, shapes)
    for b, t in sizes:
        multiple = len(_names(b)) == 1 and bool(_names(t) - _names(b))  # of batch: every channel a sequence of its own
        batch = batch or (next(iter(b.names)) if isinstance(b, Extent) and (b.alone or multiple) else None)
        rest = _names(t) - {batch}
        frames = frames or (next(iter(rest)) if len(rest) == 1 and (batch or not _names(b)) else None)
    leading = [i.sizes[0] for i in inputs if i.sizes]
    if batch is None:
        plain = [next(iter(s.names)) for s in leading if isinstance(s, Extent) and s.alone]
        batch = next((n for n in plain if n != frames), None)
    if frames is None and not sizes:
        frames = next((n for n in hints if n != batch), None)
    batch_leads = any(_names(s) == {batch} for s in leading)
    meaning: dict[str, Size] = {}
    for name, hint in hints.items():
        also_leading = batch_leads and any(_names(s) == {name} for s in leading)
        if name == batch or (also_leading and name != frames):
            meaning[name] = BATCH
        else:
            meaning[name] = FRAMES if name == frames else hint
    return meaning


def _free_axes(
    steps: list[Step], shapes: dict[str, Sizes], inputs: list[Given], meaning: dict[str, Size], free: tuple[Size, ...]
) -> dict[tuple[str, int], Size]:
    """Axes of fixed size that may be batch or frames all the same: the program was exported without dynamic shapes, but
    nothing in it depends on the number."""
    found: dict[tuple[str, int], Size] = {}
    sizes = _recurrence_sizes(steps, shapes)
    for symbol, number in zip((BATCH, FRAMES), sizes[0] if sizes else ()):
        if (
            symbol not in free
            or symbol in meaning.values()
            or isinstance(number, Extent)
            or (symbol is FRAMES and number == 1)
        ):
            continue
        if _depends_on(steps, number):
            continue
        for i in inputs:
            last = len(i.sizes) - (len(i.sizes) > 2)  # a last axis is features
            axes = [a for a in range(last) if i.sizes[a] == number and (i.name, a) not in found]
            if len(axes) > 1:
                axes = _same_place(steps, i.name, symbol, axes)
            if len(axes) == 1:
                found[i.name, axes[0]] = symbol
    return found


def _same_place(steps: list[Step], name: str, symbol: Size, axes: list[int]) -> list[int]:
    """Of several axes of that size, the one that a recurrence reading the input directly calls batch or frames."""
    for s, batch_first in recurrences(steps):
        if s.args[0] == Ref(name):
            wanted = (0 if batch_first else 1) if symbol is BATCH else (1 if batch_first else 0)
            return [wanted] if wanted in axes else []
        if Ref(name) in list(leaves(s.args[1])):
            return [1] if symbol is BATCH and 1 in axes else []
    return []


def _depends_on(steps: list[Step], number: int) -> bool:
    """Whether a call spells the number itself, where it could be the fixed size (or one less, of the last element)."""
    if number == 1:
        return False
    for s in steps:
        if s.base in NEUTRAL:
            continue
        suspicious = {number, -number, number - 1} if s.base in ("select", "slice", "narrow") else {number}
        for v in leaves([s.args, s.kwargs]):
            if isinstance(v, bool) or not isinstance(v, (int, float)):
                continue
            if (v in suspicious and v not in (0, 1)) or (isinstance(v, float) and math.isclose(v * number, 1.0)):
                return True
    return False
