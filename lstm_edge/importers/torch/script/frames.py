"""A list of the tensors along an axis of one: what unbind gives, and what a loop collects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ....ir.dims import Dim, Size
from ...dialect import Value, movement

if TYPE_CHECKING:
    from .machine import Machine


@dataclass(eq=False)
class Frames:
    """The tensors along `axis` of what the handle `whole` holds, as many as there are frames."""

    whole: Value
    axis: int = 0

    def count(self, m: Machine) -> Size:
        return m.low.shape(self.whole)[self.axis]

    def first_axis(self, m: Machine) -> Value:
        """All of them along the first axis."""
        return movement.move_axes(m.low, m.memory.now(self.whole), [self.axis], [0])

    def elements(self, m: Machine) -> list[Any]:
        """The tensors one by one. UnsupportedModelError where their number is not fixed."""
        count = self.count(m)
        if isinstance(count, Dim):
            raise m.low.refuse("this use of a list of as many tensors as there are frames; fix the number of frames")
        return [m.aten("select", [self.whole, self.axis, n]) for n in range(count)]


def call(m: Machine, name: str, frames: Frames, args: list[Any]) -> Any:
    """What a function of TorchScript gives for such a list, `args` those after it; None where it needs them one by one."""
    function = OF_FRAMES.get(name)
    return None if function is None else function(m, frames, *args)


def item(m: Machine, frames: Frames, at: Any) -> Any:
    """The tensor at a place, which may be the number of a trip."""
    return m.aten("select", [frames.whole, frames.axis, at])


def _stack(m: Machine, frames: Frames, dim: int = 0) -> Value:
    now = m.memory.now(frames.whole)
    stacked = movement.move_axes(m.low, now, [frames.axis], [m.low.axis(dim, len(m.low.shape(now)))])
    return Value(stacked.dtype, stacked.array, stacked.tensor)  # a copy, to be written to by itself


def _cat(m: Machine, frames: Frames, dim: int = 0) -> Value:
    """The tensors side by side along an axis, which is joined with that of their number in front of it."""
    low, rank = m.low, m.low.rank(frames.whole)
    axis = low.axis(dim, rank - 1)
    moved = movement.move_axes(low, m.memory.now(frames.whole), [frames.axis], [axis])
    shape = low.shape(moved)
    return low.reshape(moved, [*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :]])


def _turned(m: Machine, frames: Frames) -> Value:
    return movement.flip(m.low, m.memory.now(frames.whole), [frames.axis])


def _slice(m: Machine, frames: Frames, start: Any = None, end: Any = None, step: int = 1) -> Frames:
    if (start, end, step) == (None, None, -1):
        return Frames(_turned(m, frames), frames.axis)
    return Frames(m.aten("slice", [frames.whole, frames.axis, start, end, step]), frames.axis)


def _reverse(m: Machine, frames: Frames) -> Frames:
    """In place, as TorchScript's reverse of a list."""
    frames.whole = _turned(m, frames)
    return frames


def _append(m: Machine, frames: Frames, value: Value, in_front: bool = False) -> Frames:
    row = movement.unsqueeze(m.low, m.memory.now(value), [0])
    parts = [row, frames.first_axis(m)] if in_front else [frames.first_axis(m), row]
    frames.whole, frames.axis = movement.concat(m.low, m.low.promote(*parts), 0), 0
    return frames


def _insert(m: Machine, frames: Frames, at: Any, value: Value) -> Frames:
    if at != 0:
        raise m.unsupported(f"insertion at {at} of a list of as many tensors as there are frames")
    return _append(m, frames, value, in_front=True)


def _refused(name: str) -> Callable[..., Any]:
    def refuse(m: Machine, *_: Any) -> Any:
        raise m.unsupported(f"{name} of a list of as many tensors as there are frames")

    return refuse


OF_FRAMES: dict[str, Callable[..., Any]] = {
    "len": lambda m, frames: frames.count(m),
    "__getitem__": item,
    "stack": _stack,
    "cat": _cat,
    "slice": _slice,
    "reverse": _reverse,
    "append": _append,
    "insert": _insert,
    "list": lambda m, frames: Frames(frames.whole, frames.axis),
    **{name: _refused(name) for name in ("pop", "clear", "_set_item", "add_", "extend")},
}
