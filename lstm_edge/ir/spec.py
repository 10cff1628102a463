"""What a row of the table of ops says, and the checks that a row's shape rule is written with.

Where a size is a Dim, comparisons take what is open as large: frames - 3 is positive, a slice's end at 40 inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from ..errors import ShapeError
from .dims import Dim, Size, same
from .node import Node, place
from .sizes import SizeMismatch, broadcast

RUN_DTYPES = ("float32", "int32", "bool")
WEIGHT_DTYPES = ("float16", "int8")  # of constants that a row names as weights, beside float32
NUMBERS = ("float32", "int32")
INT32 = (-(2**31), 2**31 - 1)  # the least and the most
MAX_RANK = 8
MAX_INPUTS = 4096  # of an op that has one that repeats
MAX_SIZED = 8  # of an op whose last inputs are read for their sizes
_LARGE = 2**20

Shape = tuple[Size, ...]
Result = list[tuple[str, Shape]]  # dtype and shape of every output


# ---- attributes ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Each:
    """A default of as many `values` as the node needs: once per axis, direction or activation."""

    values: tuple[Any, ...]


REQUIRED = object()


@dataclass(frozen=True)
class Attr:
    """`kind`: int, float, str, ints, floats or strs, as stored in the file. `words`: what strings may be."""

    kind: str
    default: Any = REQUIRED
    words: tuple[str, ...] | None = None


def each(value: Any, count: int) -> list[Any]:
    """The list itself, or an Each default repeated `count` times."""
    return list(value.values) * count if isinstance(value, Each) else list(value)


def integer(default: Any = REQUIRED) -> Attr:
    return Attr("int", default)


def number(default: Any = REQUIRED) -> Attr:
    return Attr("float", default)


def word(words: tuple[str, ...], default: Any = REQUIRED) -> Attr:
    return Attr("str", default, words)


def integers(*each_: int) -> Attr:
    return Attr("ints", Each(each_) if each_ else REQUIRED)


# ---- rows ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Time:
    """How an op's frames depend on the frames of its inputs.

    `how` names a rule of passes/timeflow. `across`: what the op does where it works along time itself, which no stream
    can; it ends a sentence that begins with the node.
    """

    how: str
    across: str = ""


MAPS = Time("maps")  # an element depends on its own place in the inputs alone


@dataclass(frozen=True)
class OpSpec:
    """One row of the table.

    `inputs` names the inputs in order: '?' ends an optional one, '...' one that repeats, '...?' one that repeats or is
    left out. `outputs` likewise. `infer` gives dtype and shape of every output. `weights`: the inputs that may be float16
    or int8 constants, each with how many leading axes make a row that has an int8 scale of its own (0: none of its axes
    are rows of the result).
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    infer: Callable[[Call], Result]
    time: Time
    attrs: Mapping[str, Attr] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def min_inputs(self) -> int:
        return sum(not i.endswith("?") for i in self.inputs)

    @cached_property
    def max_inputs(self) -> int:
        if "..." not in self.inputs[-1]:
            return len(self.inputs)
        return MAX_SIZED if self.input_names[-1] == "sizes" else MAX_INPUTS

    @cached_property
    def input_names(self) -> tuple[str, ...]:
        return tuple(name.rstrip("?.") for name in self.inputs)

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        return tuple(name.rstrip("?.") for name in self.outputs)

    def input_name(self, index: int) -> str:
        return self.input_names[min(index, len(self.inputs) - 1)]

    def index(self, name: str) -> int:
        """The position of the input called `name` (without ? or ...); ValueError where the op has none."""
        return self.input_names.index(name)


def row(
    inputs: str,
    outputs: str,
    infer: Callable[[Call], Result],
    time: Time,
    /,
    *shared: Mapping[str, Attr],
    weights: Mapping[str, int] | None = None,
    **attrs: Attr,
) -> OpSpec:
    """A row with the names of inputs and outputs separated by blanks, and attributes shared with other rows."""
    every = {key: attr for some in (*shared, attrs) for key, attr in some.items()}
    return OpSpec(tuple(inputs.split()), tuple(outputs.split()), infer, time, every, weights or {})


# ---- shape rules -----------------------------------------------------------------------------------------------------


class Typed(Protocol):
    """What inference looks at in a node.Tensor."""

    @property
    def dtype(self) -> str: ...

    @property
    def shape(self) -> Shape: ...


class Call:
    """One node with its inputs and attributes, and the checks that shape rules share."""

    def __init__(self, node: Node, spec: OpSpec, tensors: Sequence[Typed | None], attrs: dict[str, Any]):
        self.node, self.spec, self.attrs = node, spec, attrs
        self.tensors: list[Any] = [*tensors, *[None] * (len(self.spec.inputs) - len(tensors))]

    def fail(self, what: str, expected: Any, found: Any) -> ShapeError:
        return ShapeError(f"{place(self.node)}: {what}: expected {expected}, found {found}")

    def equal(self, a: Size, b: Size, what: str, expected: Any, found: Any) -> None:
        """Checks that two sizes are equal. SizeMismatch where they are not."""
        if not same(a, b):
            raise SizeMismatch.between(a, b, f"{place(self.node)}: {what}: expected {expected}, found {found}")

    def at(self, i: int | str) -> int:
        """The number of an input given by number or name."""
        return self.spec.index(i) if isinstance(i, str) else i

    def shape(self, i: int | str) -> Shape:
        shape: Shape = self.tensors[self.at(i)].shape
        return shape

    def has(self, i: int | str) -> bool:
        """Whether input i is given."""
        return self.tensors[self.at(i)] is not None

    def broadcast(self, shapes: list[Shape]) -> Shape:
        return broadcast(shapes, place(self.node))

    def dtype(self, i: int | str, *allowed: str) -> str:
        """The dtype input i has when computed with (weights count as float32); ShapeError unless in `allowed`."""
        stored: str = self.tensors[self.at(i)].dtype
        dtype = stored if stored in RUN_DTYPES else "float32"
        if allowed and dtype not in allowed:
            raise self.fail(f"dtype of input {self.spec.input_name(self.at(i))}", " or ".join(allowed), dtype)
        return dtype

    def rank(self, i: int | str, low: int, high: int | None = None) -> Shape:
        shape, high = self.shape(i), low if high is None else high
        if not low <= len(shape) <= high:
            expected = f"rank {low}" if low == high else f"rank {low} to {high}"
            raise self.fail(f"input {self.spec.input_name(self.at(i))}", expected, f"shape {shape}")
        return shape

    def expect(self, i: int | str, *want: Size | None, dtype: str = "float32") -> Shape:
        """Checks the shape of input i; None in `want` is any size. An absent input passes."""
        if not self.has(i):
            return ()
        shape = self.shape(i)
        self.dtype(i, dtype)
        what, text = f"shape of input {self.spec.input_name(self.at(i))}", _expected(want)
        if len(shape) != len(want):
            raise self.fail(what, text, shape)
        for w, s in zip(want, shape):
            if w is not None:
                self.equal(w, s, what, text, shape)
        return shape

    def axis(self, axis: int, rank: int, what: str = "axis") -> int:
        if not -rank <= axis < rank:
            raise self.fail(f"attribute {what}", f"an axis of {rank}", axis)
        return axis % rank

    def axes(self, key: str, rank: int) -> list[int]:
        axes = [self.axis(a, rank, key) for a in self.attrs[key]]
        if len(set(axes)) != len(axes):
            raise self.fail(f"attribute {key}", "each axis once", self.attrs[key])
        return axes

    def each(self, key: str, count: int, low: int = 0) -> list[int]:
        """A per-axis attribute: `count` values, none below `low`."""
        values = each(self.attrs[key], count)
        if len(values) != count or any(v < low for v in values):
            raise self.fail(f"attribute {key}", f"{count} values of at least {low}", values)
        return values

    def one_of(self, key: str, *allowed: int) -> int:
        """An attribute that is one of a few numbers."""
        if self.attrs[key] not in allowed:
            raise self.fail(f"attribute {key}", " or ".join(map(str, allowed)), self.attrs[key])
        found: int = self.attrs[key]
        return found

    def flag(self, key: str) -> bool:
        return bool(self.one_of(key, 0, 1))


def _expected(want: Sequence[Size | None]) -> str:
    return "(" + ", ".join("any" if w is None else str(w) for w in want) + ")"


def at_large(size: Size) -> int:
    """A size where all that is open is large, for comparisons."""
    return size.at(dict.fromkeys(size.symbols(), _LARGE)) if isinstance(size, Dim) else size
