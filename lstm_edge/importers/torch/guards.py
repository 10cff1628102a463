"""The sizes for which an exported program holds: torch states ranges of its symbols, and guards, comparisons in Python.

A program is the path that its example took through forward. Where that path was chosen by a size (a branch on the number of
frames, a table of positions that ends), torch notes the comparison, and the program says nothing about other sizes.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Axis = tuple[str, int]  # an input of the program and one of its axes
Known = Mapping[Axis, int]

MOST_TEXT = 10_000  # characters of one guard
MOST_TRIED = 1024  # sizes from 1 on that a guard is evaluated at, one by one
LARGE = (1 << 20) + 7  # a size that no guard of a real model singles out

_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Div: operator.truediv,
}
_COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "max": max,
    "Max": max,
    "min": min,
    "Min": min,
    "abs": abs,
    "math.floor": math.floor,
    "math.ceil": math.ceil,
}


class _Unreadable(Exception):
    """A guard of another form, or of something else than sizes (a stride, a dtype)."""


@dataclass(frozen=True)
class Condition:
    """A comparison that must hold: its text, the sizes in it, and whether it holds for given ones."""

    text: str
    axes: frozenset[Axis]
    holds: Callable[[Known], bool]
    numbers: frozenset[int]  # that stand in it: near them the answer may change


def within(axis: Axis, least: int, most: int | None) -> Condition:
    """The condition that a size lies in a range. torch's least of 2 says only that it treats 0 and 1 apart."""
    least = 1 if least <= 2 else least
    return Condition(
        f"{least} <= dimension {axis[1]} of {axis[0]}" + (f" <= {most}" if most is not None else ""),
        frozenset({axis}),
        lambda known: known[axis] >= least and (most is None or known[axis] <= most),
        frozenset({least} if most is None else {least, most}),
    )


def parsed(text: str) -> Condition | None:
    """A guard such as "L['x'].size()[1] <= 8"; None where it is of another form or says nothing of the model."""
    if len(text) > MOST_TEXT:
        return None
    try:
        tree = ast.parse(text, mode="eval").body
        if _says_nothing(tree):
            return None
        axes = frozenset(_axes(tree))
        _evaluated(tree, dict.fromkeys(axes, 2))
    except ZeroDivisionError:
        pass
    except (_Unreadable, SyntaxError, ValueError, RecursionError, MemoryError, TypeError):
        return None
    numbers = frozenset(n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and type(n.value) is int)
    return Condition(text, axes, lambda known: _holds(tree, known), numbers) if axes else None


def unread(text: str) -> bool:
    """Whether a guard is about sizes in a form that `parsed` does not read; of strides the core has none."""
    if ".size()" not in text or "stride()" in text:
        return False
    try:
        says_nothing = len(text) <= MOST_TEXT and _says_nothing(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True
    return not says_nothing and parsed(text) is None


def _holds(tree: ast.expr, known: Known) -> bool:
    try:
        return bool(_evaluated(tree, known))
    except ZeroDivisionError:
        return False


def _says_nothing(tree: ast.expr) -> bool:
    """Whether a guard comes from torch and not from the model: it excludes but 0 and 1 of an expression (x != 1, x > 1,
    x >= 2), which torch tells apart everywhere; or it says that a size is a number, as torch does of every size that a
    recurrence runs over: the program then holds a number in its place."""
    if not isinstance(tree, ast.Compare) or len(tree.ops) != 1 or not isinstance(tree.comparators[0], ast.Constant):
        return False
    limit, kind = tree.comparators[0].value, type(tree.ops[0])
    if kind is ast.Eq:
        return _axis(tree.left) is not None
    if any(isinstance(part, ast.Mod) for part in ast.walk(tree)):
        return False
    return limit in {ast.NotEq: (0, 1), ast.Gt: (0, 1), ast.GtE: (0, 1, 2)}.get(kind, ())


def _axes(tree: ast.AST) -> Iterator[Axis]:
    axis = _axis(tree)
    if axis is not None:
        yield axis
        return
    for child in ast.iter_child_nodes(tree):
        yield from _axes(child)


def _axis(tree: ast.AST) -> Axis | None:
    """(input, axis) of L['x'].size()[1]; an input inside a container has the name that torch gives it, hx_0."""
    if not (isinstance(tree, ast.Subscript) and isinstance(tree.slice, ast.Constant)):
        return None
    axis, call = tree.slice.value, tree.value
    if not (isinstance(axis, int) and isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
        return None
    if call.func.attr != "size" or call.args:
        return None
    place, keys = call.func.value, []
    while isinstance(place, ast.Subscript) and isinstance(place.slice, ast.Constant):
        keys.append(str(place.slice.value))
        place = place.value
    return ("_".join(reversed(keys)), axis) if keys else None


def _evaluated(tree: ast.AST, known: Known) -> Any:
    axis = _axis(tree)
    if axis is not None:
        return known[axis]
    if isinstance(tree, ast.Constant) and isinstance(tree.value, (int, float)):
        return tree.value
    if isinstance(tree, ast.BinOp) and type(tree.op) in _ARITHMETIC:
        return _ARITHMETIC[type(tree.op)](_evaluated(tree.left, known), _evaluated(tree.right, known))
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return -_evaluated(tree.operand, known)
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not):
        return not _evaluated(tree.operand, known)
    if isinstance(tree, ast.BoolOp):
        return (all if isinstance(tree.op, ast.And) else any)([bool(_evaluated(v, known)) for v in tree.values])
    if isinstance(tree, ast.Compare):
        sides = [_evaluated(side, known) for side in (tree.left, *tree.comparators)]
        return all(_COMPARISONS[type(k)](a, b) for k, a, b in zip(tree.ops, sides, sides[1:]) if _known_kind(k))
    if isinstance(tree, ast.Call) and not tree.keywords and ast.unparse(tree.func) in _FUNCTIONS:
        return _FUNCTIONS[ast.unparse(tree.func)](*[_evaluated(a, known) for a in tree.args])
    raise _Unreadable


def _known_kind(kind: ast.cmpop) -> bool:
    if type(kind) not in _COMPARISONS:
        raise _Unreadable
    return True


# ---- what they leave of one size ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Range:
    """The sizes from `least` to `most` (None: any) that leave `rest` when divided by `multiple`."""

    least: int = 1
    most: int | None = None
    multiple: int = 1
    rest: int = 0

    def __contains__(self, size: int) -> bool:
        most = size if self.most is None else self.most
        return self.least <= size <= most and size % self.multiple == self.rest

    def __str__(self) -> str:
        text = f"at least {self.least}" if self.most is None else f"{self.least} to {self.most}"
        if self.multiple == 1:
            return text
        return f"{text}, a multiple of {self.multiple}" + (f" and {self.rest}" if self.rest else "")


def range_where(holds: Callable[[int], bool], numbers: set[int]) -> Range | None:
    """The sizes for which `holds`, as a Range; None where they are no such thing. `numbers` are those near which the
    answer may change beyond the first MOST_TRIED."""
    near = {n + d for n in numbers for d in (-1, 0, 1) if n < 1 << 40}
    tried = sorted({*range(1, MOST_TRIED + 1), *(n for n in near if n > 0), *range(LARGE, LARGE + 128)})
    good = [size for size in tried if holds(size)]
    if not good:
        return None
    multiple = math.gcd(*(b - a for a, b in zip(good, good[1:]))) or 1
    most = None if good[-1] >= LARGE and good[-1] > LARGE + 127 - multiple else good[-1]
    found = Range(good[0], most, multiple, good[0] % multiple)
    return found if all((size in found) == (size in set(good)) for size in tried) else None
