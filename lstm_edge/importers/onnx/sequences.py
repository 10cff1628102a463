"""ONNX sequences of tensors. None is left in the Graph: one of known length is its tensors, one with as many tensors as there
are frames is one tensor of them all (`Frames`), and one that a loop grows is what each trip adds to it (`Growing`)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...errors import UnsupportedModelError
from ...ir.dims import Dim, Size
from ..dialect import Value, known, movement, selection
from .files import element_dtype
from .lowering import Call, lowers


@dataclass(eq=False)
class Frames(Value):
    """A sequence of as many tensors as `whole` has along its first axis."""

    whole: Value = field(default_factory=lambda: Value("float32"))


@dataclass(eq=False)
class Growing(Value):
    """A sequence that a loop carries, empty before it: what one trip has added, and whether in front of the others."""

    added: tuple[Value, ...] = ()
    in_front: bool = False


def frames(whole: Value) -> Frames:
    return Frames(whole.dtype, items=[], whole=whole)


def _tensors(call: Call, n: int) -> list[Value]:
    """The tensors of a sequence of known length."""
    value = call.input(n)
    if value.items is None:
        raise call.refuse(f"input {call.input_name(n)!r} is a tensor: expected a sequence of tensors")
    if isinstance(value, Growing):
        raise call.refuse(f"reads {call.input_name(n)!r}, a sequence that a loop is still growing")
    if isinstance(value, Frames):
        raise _as_many_as_frames(call)
    return value.items


def _as_many_as_frames(call: Call) -> UnsupportedModelError:
    return call.refuse("a sequence of as many tensors as there are frames is only joined, read and counted")


def _place(call: Call, n: int, count: int, most: int) -> int:
    """The place that input n names in a sequence of `count` tensors: 0 to `most`, a negative number from the end. The last
    tensor's where the input is not given."""
    place = -1 if call.optional(n) is None else call.known_ints(n)[0]
    if not -count <= place <= most:
        raise call.refuse(f"place {place} of a sequence of {count} tensors")
    return place + count if place < 0 else place


@lowers("SequenceEmpty", folds=True)
def _empty(call: Call) -> Value:
    return Value(element_dtype(call.attr("dtype", 1), call.place), items=[])


@lowers("SequenceConstruct", folds=True)
def _construct(call: Call) -> Value:
    values = call.all_inputs()
    return Value(values[0].dtype, items=values)


@lowers("SequenceInsert", folds=True)
def _insert(call: Call) -> Value:
    sequence, new = call.input(0), call.input(1)
    if isinstance(sequence, Growing):
        at = None if call.optional(2) is None else call.known_ints(2)[0]
        if at not in (None, 0):
            raise call.refuse(
                f"inserts at place {at} of a sequence that a loop grows: expected its beginning or its end"
            )
        return Growing(new.dtype, items=[], added=(*sequence.added, new), in_front=at == 0)
    items = _tensors(call, 0)
    at = len(items) if call.optional(2) is None else _place(call, 2, len(items), len(items))
    return Value(new.dtype, items=[*items[:at], new, *items[at:]])


@lowers("SequenceErase", folds=True)
def _erase(call: Call) -> Value:
    items = _tensors(call, 0)
    at = _place(call, 1, len(items), len(items) - 1)
    return Value(call.input(0).dtype, items=[*items[:at], *items[at + 1 :]])


@lowers("SequenceAt", folds=True)
def _at(call: Call) -> Value:
    """A place that only a run knows is looked up among the tensors as one."""
    sequence, place = call.input(0), call.input(1)
    if isinstance(sequence, Frames):
        return selection.gather(call.ctx, sequence.whole, call.ctx.reshape(place, []))
    items = _tensors(call, 0)
    if place.is_known:
        return items[_place(call, 1, len(items), len(items) - 1)]
    return selection.gather(call.ctx, movement.stack(call.ctx, items, 0), call.ctx.reshape(place, []))


@lowers("SequenceLength", folds=True)
def _length(call: Call) -> Value:
    sequence = call.input(0)
    if isinstance(sequence, Frames):
        return known(np.array(call.ctx.shape(sequence.whole)[0], object), "int64")
    return known(np.array(len(_tensors(call, 0)), np.int64))


@lowers("SplitToSequence", folds=True)
def _split(call: Call) -> Value:
    """Parts of the given sizes, of one given size, or (none given) of one element each, whose axis `keepdims` may drop."""
    ctx, x = call.ctx, call.input(0)
    axis, keepdims = call.axis(call.attr("axis", 0), call.rank(0)), call.attr("keepdims", 1)
    size, one_each = call.shape(0)[axis], call.optional(1) is None
    if one_each and isinstance(size, Dim):
        first = movement.move_axes(ctx, x, [axis], [0])
        return frames(movement.unsqueeze(ctx, first, [axis + 1]) if keepdims else first)
    cut = movement.split(ctx, x, axis, _parts(call, size))
    if one_each and not keepdims:
        cut = [movement.squeeze(ctx, part, [axis]) for part in cut]
    return Value(x.dtype, items=cut)


def _parts(call: Call, size: Size) -> list[int]:
    """The sizes of the parts of an axis."""
    each = call.optional(1)
    if each is not None and call.ctx.shape(each):
        return call.known_ints(1)
    (size,) = movement.fixed_sizes(call.ctx, [size], "splits an axis of sizes")
    step = 1 if each is None else call.known_ints(1)[0]
    if step < 1:
        raise call.refuse(f"splits into parts of {step}: expected 1 or more")
    return [min(step, size - at) for at in range(0, size, step)]


@lowers("ConcatFromSequence", folds=True)
def _concat(call: Call) -> Value:
    ctx, sequence = call.ctx, call.input(0)
    axis, new_axis = int(call.require_attr("axis")), bool(call.attr("new_axis", 0))
    if isinstance(sequence, Frames):
        return _joined(call, sequence.whole, axis, new_axis)
    items = _tensors(call, 0)
    if not items:
        raise call.refuse("joins a sequence without tensors")
    return movement.stack(ctx, items, axis) if new_axis else movement.concat(ctx, items, axis)


def _joined(call: Call, whole: Value, axis: int, new_axis: bool) -> Value:
    """The tensors of `whole` side by side along a new axis, or one after the other along one that they have."""
    ctx, shape = call.ctx, call.ctx.shape(whole)
    axis = call.axis(axis, len(shape) if new_axis else len(shape) - 1)
    moved = movement.move_axes(ctx, whole, [0], [axis])
    return moved if new_axis else movement.merge_axes(ctx, moved, axis, axis + 1)
