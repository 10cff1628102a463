"""Operations of functional models that move, choose or make elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir.dims import Dim, Size
from ...options import as_typed
from ..dialect import TO_END, Value, movement, reductions, selection
from .emit import Emit, Masked
from .merges import alike
from .operation import Op, Rule
from .shaping import reshape_to


def _reshape(op: Op) -> Value:
    shape = op.arg(1, "newshape", "shape")
    if not isinstance(shape, (list, tuple)) or not all(s is None or isinstance(s, int) for s in shape):
        raise op.fail(f"shape {str(shape)[:60]}: expected numbers")
    if not shape or shape[0] not in (-1, None):
        raise op.fail(f"shape {list(shape)}: fixes the batch", "start the shape with -1")
    sizes, rest = op.e.shape(op.x)[1:], [-1 if s is None else s for s in shape[1:]]
    numbers = [s for s in sizes if isinstance(s, int)]
    is_open, held = len(numbers) < len(sizes), int(np.prod(numbers))
    if -1 not in rest and (held % int(np.prod(rest)) == 0 if is_open else held != int(np.prod(rest))):
        return movement.reshape(op.e, op.x, [-1, *rest])  # moves other axes, or parts of them, into the batch
    return reshape_to(op.e, op.x, rest)


def _all(op: Op) -> list[Value]:
    """The tensors that the operation joins, in one dtype."""
    return alike(op.e, [v.value for v in op.call.inputs])


def _split(op: Op) -> list[Value]:
    parts, axis = op.arg(1, "indices_or_sections", "num_or_size_splits"), op.axis(2, 0)
    size = op.e.shape(op.x)[axis]
    if isinstance(size, Dim):
        raise op.fail(f"splits an axis of {size} elements", f"give the number of frames ({as_typed('shapes')})")
    if isinstance(parts, int):
        sizes = [size // parts] * parts
    else:
        sizes = parts if op.layer.cls == "TFOpLambda" else np.diff([0, *parts, size]).tolist()
    return movement.split(op.e, op.x, axis, sizes)


def _squeeze(op: Op) -> Value:
    axis = op.arg(1, "axis")
    return movement.squeeze(op.e, op.x, None if axis is None else op.axes(axis))


def _tile(op: Op) -> Value:
    repeats = op.arg(1, "repeats", "multiples")
    if not isinstance(repeats, (list, tuple)):
        raise op.fail(f"repeats {str(repeats)[:40]}")
    return movement.tile(op.e, op.x, repeats)


def _pad(op: Op) -> Value:
    pads, mode = op.arg(1, "pad_width", "paddings"), str(op.arg(2, "mode", default="constant")).lower()
    value = op.arg(3, "constant_values", default=0) or 0
    if len(pads) != op.rank or not isinstance(value, (int, float)):
        raise op.fail(f"mode {mode}, pads {str(pads)[:60]}")
    return movement.pad(op.e, op.x, [p[0] for p in pads], [p[1] for p in pads], mode, float(value))


def _cumsum(op: Op) -> Value:
    axis = op.arg(1, "axis")
    if not isinstance(axis, int):
        raise op.fail("no axis")
    return reductions.cumulative_sum(op.e, op.x, axis)


def _filled(value: float | None) -> Rule:
    """x's shape full of a value (None: of the one that the call gives)."""

    def rule(op: Op) -> Value:
        dtype = op.arg(1 if value is not None else 2, "dtype")
        content = op.number(1, "fill_value", 0.0) if value is None else value
        return op.e.fill(content, op.e.shape(op.x), op.run_dtype(dtype or op.x.dtype))

    return rule


def _one_hot(op: Op) -> Value:
    count = op.arg(1, "num_classes")
    if not isinstance(count, int):
        raise op.fail("num_classes that is not a number")
    on, off = op.e.constant(1.0), op.e.constant(0.0)
    return selection.one_hot(op.e, op.x, count, on, off, op.axis(2, -1), wrap=False)


def _places(op: Op) -> Value:
    """The integers that Take and its kin choose by."""
    given = op.arg(1, "indices")
    try:
        places = given.value if isinstance(given, Masked) else op.e.constant(given, "int32")
    except (TypeError, ValueError) as error:
        raise op.fail(f"indices {str(given)[:60]!r}", "expected a tensor or numbers") from error
    return op.e.cast(places, "int32")


def _along(meaning: Callable[[Emit, Value, Value, int], Value]) -> Rule:
    """Take, TakeAlongAxis: elements of x at places along an axis."""

    def rule(op: Op) -> Value:
        axis = op.arg(2, "axis")
        if not isinstance(axis, int) or axis % op.rank == 0:
            raise op.fail(f"axis {axis}", "expected one axis behind the batch")
        return meaning(op.e, op.x, _places(op), axis)

    return rule


def _roll(op: Op) -> Value:
    shift, axes = op.arg(1, "shift"), op.arg(2, "axis")
    if axes is None:
        raise op.fail("rolls over the batch")
    return movement.roll(op.e, op.x, np.ravel(shift).tolist(), np.ravel(axes).tolist())


def _repeat(op: Op) -> Value:
    count, axis = op.arg(1, "repeats"), op.arg(2, "axis")
    if not isinstance(count, int) or not isinstance(axis, int):
        raise op.fail(f"repeats {str(count)[:40]} along axis {axis}", "expected one number and one axis")
    return movement.repeat_each(op.e, op.x, count, axis)


def _move_axes(op: Op) -> Value:
    sources, targets = (np.ravel(op.arg(n, word)).tolist() for n, word in ((1, "source"), (2, "destination")))
    return movement.move_axes(op.e, op.x, sources, targets)


def _get_item(op: Op) -> Value:
    """x[key] with ints, slices, None and an ellipsis, as one slice and one reshape."""
    x, key = op.x, op.arg(1, "key", "slice_spec")
    items = _items(op, list(key) if isinstance(key, (list, tuple)) else [key])
    cut = list(enumerate(i for i in items if i is not None))
    for axis, item in cut:
        if isinstance(item, int) and not isinstance(size := op.e.shape(x)[axis], Dim) and not -size <= item < size:
            raise op.fail(f"index {item} on an axis of {size}")
    bounds = [_bounds(item) for _, item in cut]
    taken = movement.take(op.e, x, [axis for axis, _ in cut], *zip(*bounds)) if cut else x
    sizes, target = iter(op.e.shape(taken)), list[Size]()
    for entry in items:
        size = 1 if entry is None else next(sizes)
        target += [] if isinstance(entry, int) else [size]
    target += sizes
    return taken if target == list(op.e.shape(taken)) else op.e.reshape(taken, target)


def _items(op: Op, items: list[Any]) -> list[int | slice | None]:
    """An index's entries, those of old files as slices, an ellipsis written out."""
    items = [slice(*(i.get(k) for k in ("start", "stop", "step"))) if isinstance(i, dict) else i for i in items]
    used = sum(i is not None and i is not Ellipsis for i in items)
    if Ellipsis in items:
        at = items.index(Ellipsis)
        items[at : at + 1] = [slice(None)] * (op.rank - used)
    if any(isinstance(i, bool) or not (i is None or isinstance(i, (slice, int))) for i in items):
        raise op.fail(f"index {str(items)[:80]}", "index with numbers and slices")
    if used > op.rank:
        raise op.fail(f"{used} indices into {op.e.shape(op.x)}")
    return items


def _bounds(item: int | slice) -> tuple[int, int, int]:
    """start, end and step of an entry."""
    if isinstance(item, int):
        return item, item + 1 if item != -1 else TO_END, 1
    step = item.step or 1
    first, last = (0, TO_END) if step > 0 else (TO_END, -TO_END)
    return first if item.start is None else item.start, last if item.stop is None else item.stop, step


RULES: dict[str, Rule] = {
    "Take": _along(selection.gather),
    "TakeAlongAxis": _along(selection.gather_elements),
    "Roll": _roll,
    "Repeat": _repeat,
    "Moveaxis": _move_axes,
    "Tril": lambda op: selection.trilu(op.e, op.x, False, int(op.number(1, "k", 0))),
    "Triu": lambda op: selection.trilu(op.e, op.x, True, int(op.number(1, "k", 0))),
    "Reshape": _reshape,
    "Transpose": lambda op: movement.transpose(op.e, op.x, op.arg(1, "axes", "perm")),
    **dict.fromkeys(
        ("Swapaxes", "SwapAxes"),
        lambda op: movement.swap_axes(op.e, op.x, op.arg(1, "axis1"), op.arg(2, "axis2")),
    ),
    "Concatenate": lambda op: movement.concat(op.e, _all(op), op.axis(1, -1)),
    "Stack": lambda op: movement.stack(op.e, _all(op), op.axis(1, 0)),
    "Split": _split,
    "Unstack": lambda op: movement.unstack(op.e, op.x, op.axis(2, 0)),
    "Squeeze": _squeeze,
    "ExpandDims": lambda op: movement.unsqueeze(op.e, op.x, np.ravel(op.arg(1, "axis")).tolist()),
    "Flip": lambda op: movement.flip(op.e, op.x, op.axes(op.arg(1, "axis"))),
    "Tile": _tile,
    "Pad": _pad,
    "Cumsum": _cumsum,
    "OneHot": _one_hot,
    "GetItem": _get_item,
    "ZerosLike": _filled(0.0),
    "OnesLike": _filled(1.0),
    "FullLike": _filled(None),
}
