"""What becomes of a loop: the recurrences that its body spells, else its trips one after the other, else a refusal.

A front end gives a `Loop`: what its node says, how to interpret its body once, and what the body is as a Graph. It is
settled at once and is no node of the Graph: what follows a loop in the source reads sizes and known numbers out of it,
and a trip that is interpreted with its number known folds what a Graph of the body could not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import LstmEdgeError
from ..importers.dialect import Dialect, Value, movement
from ..ir.dims import Dim, Size
from ..options import as_typed
from .body import Body, Frame
from .polynomials import NotACell
from .spelled import emit, recognised
from .states import joined, meet, part


@dataclass
class Budget:
    """How much of a source may yet be interpreted, shared with the bodies of its loops.

    most: operators that one loop may have interpreted. repeats: how often the loops around what is at hand will have it
    interpreted. noun: what the format calls an operator.
    """

    left: int
    most: int
    noun: str
    repeats: int = 1


@dataclass
class Trip:
    """What one trip gives: whether there is a next (None: always), what it hands on, what is collected."""

    goes_on: Value | None
    carried: list[Value]
    collected: list[Value] = field(default_factory=list)


@dataclass
class Collected:
    """The axis along which what the trips give is collected, the first trip first, or last where `backward`."""

    axis: int = 0
    backward: bool = False


class Loop(ABC):
    """A loop of a source. `carried`: first values. `frames`: sequences that each trip takes one frame of. `size`: how
    many operators its body has."""

    ctx: Dialect
    budget: Budget
    carried: list[Value]
    frames: Sequence[Frame] = ()
    collected: Sequence[Collected] = ()
    size: int

    @abstractmethod
    def describe(self) -> Body:
        """The body as a Graph; NotACell or an LstmEdgeError where it cannot be one."""

    @abstractmethod
    def finish(self, body: Body, last: Mapping[str, Value], outputs: list[Value]) -> list[Value]:
        """All that the loop gives, from the last values of what the body carries and its outputs as (T, ...)."""

    @abstractmethod
    def trip(self, number: int, carried: list[Value], frames: list[Value]) -> Trip:
        """Interprets the body once."""

    @abstractmethod
    def bound(self) -> Size | str | None:
        """The most trips that it makes; None where its condition alone ends it, words where only a run knows."""

    @abstractmethod
    def condition(self, carried: list[Value], last: Trip | None) -> Value | None:
        """Whether a trip begins with these values, after `last`; None where it always does."""

    @property
    def certain(self) -> bool:
        """Whether it makes as many trips as its bound says."""
        return False


def settle(loop: Loop) -> list[Value]:
    """The values that the loop gives: the carried ones, then what it collects.

    UnsupportedModelError, with the reason of each attempt, for a loop that is no recurrence and cannot be unrolled.
    """
    try:
        body = loop.describe()
        outputs, last = as_recurrence(loop.ctx, body)
        return loop.finish(body, last, outputs)
    except (NotACell, LstmEdgeError) as why:
        return _unrolled(loop, f"it is no recurrence that can be told ({why})")


def as_recurrence(ctx: Dialect, body: Body) -> tuple[list[Value], dict[str, Value]]:
    """The ops that a loop's body spells: its outputs as (T, ...), and the last values of what it carries by the tensor
    that each is read as. NotACell or an LstmEdgeError where it spells none."""
    parted = part(ctx, body)
    body.read_again()
    meet(body)
    spelling = recognised(body, _numbers(ctx, body))
    outputs, last = emit(ctx, body, spelling)
    last = joined(ctx, parted, last)
    ctx.note(f"{ctx.place}: its body spells {spelling.text}")
    return outputs, last


def _numbers(ctx: Dialect, body: Body) -> dict[str, float]:
    """The values from around the loop that are one number in all their elements, such as zeros of the batch's size."""
    floats = (t for t in body.outer if body.graph.tensors[t].dtype == "float32")
    found = {t: ctx.uniform(body.outer[t]) for t in floats}
    return {t: float(n) for t, n in found.items() if n is not None and not isinstance(n, Dim)}


def _unrolled(loop: Loop, why: str) -> list[Value]:
    """Trip by trip."""
    ctx, bound = loop.ctx, loop.bound()
    if isinstance(bound, (str, Dim)):
        raise ctx.refuse(
            f"{why}, and cannot be unrolled since its number of trips is {bound}; fix the sizes that it depends on ({as_typed('shapes')})"
        )
    if bound is not None:
        _check_size(loop, bound, loop.size, why)
    carried, number = loop.carried, 0
    rows: list[list[Value]] = [[] for _ in loop.collected]
    last: Trip | None = None
    while (bound is None or number < bound) and _runs(loop, loop.condition(carried, last), why):
        _check_size(loop, number + 1, loop.size, why)
        last = _trip(loop, number, carried, bound if loop.certain and bound is not None else 1, why)
        carried = last.carried
        for row, value in zip(rows, last.collected):
            row.append(value)
        number += 1
    ctx.note(f"{ctx.place}: unrolled {number} trips, since {why}")
    return [*carried, *(_stacked(ctx, row, c) for row, c in zip(rows, loop.collected))]


def _runs(loop: Loop, condition: Value | None, why: str) -> bool:
    if condition is not None and not condition.is_known:
        raise loop.ctx.refuse(f"{why}, and cannot be unrolled since its condition is known only at run time")
    return condition is None or bool(condition.data.reshape(-1)[0])


def _trip(loop: Loop, number: int, carried: list[Value], certain: int, why: str) -> Trip:
    """One of `certain` trips that will all run: loops in the body are refused by what they take in all of them, and the
    first trip tells what functions and branches take."""
    budget = loop.budget
    left, outer = budget.left, budget.repeats
    budget.repeats = outer * certain
    try:
        trip = loop.trip(number, carried, [_frame(loop.ctx, f, number) for f in loop.frames])
    finally:
        budget.repeats = outer
    if number == 0:
        _check_size(loop, certain, left - budget.left, why)
    return trip


def _check_size(loop: Loop, trips: int, size: int, why: str) -> None:
    budget = loop.budget
    if budget.repeats * trips * size > budget.most:
        times = f", {budget.repeats} times over," if budget.repeats > 1 else ""
        raise loop.ctx.refuse(
            f"{trips} trips of {size} {budget.noun}{times} are more than can be unrolled ({budget.most}), and {why}"
        )


def _frame(ctx: Dialect, frame: Frame, number: int) -> Value:
    """The frame that a trip takes."""
    shape = ctx.shape(frame.source)
    size = shape[frame.axis]
    assert isinstance(size, int)
    at = size - 1 - number if frame.backward else number
    row = ctx.slice_axis(frame.source, frame.axis, at, at + 1)
    return ctx.reshape(row, [*shape[: frame.axis], *shape[frame.axis + 1 :]])


def _stacked(ctx: Dialect, values: list[Value], collected: Collected) -> Value:
    if not values:
        raise ctx.refuse("a loop without trips that collects outputs is not supported")
    return movement.stack(ctx, values[::-1] if collected.backward else values, collected.axis)
