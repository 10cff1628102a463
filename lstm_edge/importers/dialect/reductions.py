"""Along axes: sums and their kin, softmax, running sums, the largest and their places, sorting."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...ir.dims import Dim, Size, product
from ...options import as_typed
from . import arithmetic, folding, movement
from .builder import Dialect
from .value import Value

_NUMBERS = ("int32", "float32")
_ANY = ("float32", "int32", "bool")
# The types that a kind of reduction is computed in; others become the first of them.
_REDUCED = {
    **dict.fromkeys(("max", "min"), _ANY),
    **dict.fromkeys(("sum", "prod", "l1", "sum_square"), _NUMBERS),
    "mean": ("float32", "int32"),
}


def reduce(d: Dialect, kind: str, x: Value, axes: Sequence[int] | None = None, keepdims: bool = True) -> Value:
    """x reduced over axes (all of them where None); a scalar is its own sum. `kind` as docs/ops.md has it."""
    rank = len(d.shape(x))
    if rank == 0:
        return x
    wanted = sorted({d.axis(a, rank) for a in (range(rank) if axes is None else axes)})
    if not wanted:
        return x
    x = d.computed_in(x, *_REDUCED.get(kind, ("float32",)))
    if any(d.shape(x)[axis] == 0 for axis in wanted):
        return _of_nothing(d, kind, x, wanted, keepdims)
    folded = folding.reduced(kind, x, wanted, keepdims) if x.array is not None else None
    return folded or d.emit("Reduce", [x], {"kind": kind, "axes": wanted, "keepdims": int(keepdims)})


def _of_nothing(d: Dialect, kind: str, x: Value, axes: Sequence[int], keepdims: bool) -> Value:
    """A reduction over no elements, as NumPy and ONNX have it: what changes nothing in a sum, a product or an extreme
    (the lowest number for a maximum), and NaN for a mean."""
    dtype = d.run_dtype(x)
    lowest, highest = {"float32": (-math.inf, math.inf), "int32": (-(2.0**31), 2.0**31 - 1), "bool": (0.0, 1.0)}[dtype]
    neutral = {"prod": 1.0, "max": lowest, "min": highest, "log_sum": -math.inf, "log_sum_exp": -math.inf}
    if dtype == "float32":
        neutral["mean"] = math.nan
    shape = [1 if n in axes else s for n, s in enumerate(d.shape(x)) if keepdims or n not in axes]
    filled = d.fill(neutral.get(kind, 0.0), shape, dtype)
    return Value(x.dtype, filled.array, filled.tensor)


def any_of(d: Dialect, x: Value, axes: Sequence[int] | None = None, keepdims: bool = True) -> Value:
    """Whether any element is other than 0."""
    return reduce(d, "max", d.cast(x, "bool"), axes, keepdims)


def all_of(d: Dialect, x: Value, axes: Sequence[int] | None = None, keepdims: bool = True) -> Value:
    """Whether all elements are other than 0."""
    return reduce(d, "min", d.cast(x, "bool"), axes, keepdims)


def variance(
    d: Dialect, x: Value, axes: Sequence[int] | None = None, keepdims: bool = True, correction: int = 0
) -> tuple[Value, Value]:
    """The variance over axes (of the number of elements less `correction`), and the mean."""
    rank = len(d.shape(x))
    wanted = sorted({d.axis(a, rank) for a in (range(rank) if axes is None else axes)})
    mean = reduce(d, "mean", x, wanted)
    centred = d.binary("sub", x, mean)
    total = reduce(d, "sum", d.binary("mul", centred, centred), wanted, keepdims)
    count = product(d.shape(x)[a] for a in wanted) - correction
    spread = arithmetic.divide(d, total, count)
    return spread, mean if keepdims else reduce(d, "mean", x, wanted, False)


def arg_reduce(
    d: Dialect, kind: str, x: Value, axis: int | None, keepdims: bool = True, last: bool = False, dtype: str = "int64"
) -> Value:
    """Where the largest (`kind` "max") or smallest ("min") element is: the first such place, or the last.

    axis: None is the place among all elements in order."""
    if axis is None:
        x, axis = d.reshape(x, [product(d.shape(x))]), 0
    attrs = {"kind": kind, "axis": d.axis(axis, len(d.shape(x))), "keepdims": int(keepdims), "select_last": int(last)}
    return d.emit("ArgReduce", [d.computed_in(x, *_NUMBERS)], attrs, dtype)


def softmax(d: Dialect, x: Value, axis: int = -1, log: bool = False) -> Value:
    return d.emit("Softmax", [d.computed_in(x, "float32")], {"axis": d.axis(axis, len(d.shape(x))), "log": int(log)})


def softmax_from(d: Dialect, x: Value, axis: int, log: bool = False) -> Value:
    """One distribution over all axes from `axis` on, as ONNX had it before opset 13."""
    shape = d.shape(x)
    axis = d.axis(axis, len(shape))
    if axis == len(shape) - 1:
        return softmax(d, x, axis, log)
    flat = d.reshape(x, [*shape[:axis], product(shape[axis:])])
    return d.reshape(softmax(d, flat, axis, log), shape)


def softmax_over(d: Dialect, x: Value, axes: Sequence[int], log: bool = False) -> Value:
    """One distribution over several axes, which need not lie side by side."""
    if len(axes) == 1:
        return softmax(d, x, axes[0], log)
    x = d.computed_in(x, "float32")
    below = d.binary("sub", x, reduce(d, "max", x, axes))
    if log:
        return d.binary("sub", below, reduce(d, "log_sum_exp", below, axes))
    powers = d.unary("exp", below)
    return d.binary("div", powers, reduce(d, "sum", powers, axes))


def hardmax(d: Dialect, x: Value, axis: int = -1) -> Value:
    """1 at the first largest element along an axis, else 0."""
    shape = d.shape(x)
    axis = d.axis(axis, len(shape))
    best = d.emit("ArgReduce", [x], {"kind": "max", "axis": axis}, "int64")
    return d.cast(d.binary("equal", best, d.positions(shape, axis)), "float32")


def cumulative_product(d: Dialect, x: Value, axis: int, exclusive: bool = False, reverse: bool = False) -> Value:
    """Running products along an axis of fixed size, in as many steps as its size doubles."""
    axis = d.axis(axis, len(d.shape(x)))
    (size,) = movement.fixed_sizes(d, [d.shape(x)[axis]], "multiplies along an axis of sizes")
    x = d.computed_in(x, *_NUMBERS)
    x = _delayed(d, x, axis, 1, reverse) if exclusive else x
    step = 1
    while step < size:
        x = d.binary("mul", x, _delayed(d, x, axis, step, reverse))
        step *= 2
    return x


def _delayed(d: Dialect, x: Value, axis: int, by: int, reverse: bool) -> Value:
    """x moved along an axis by so many places, ones in front (behind with `reverse`)."""
    none, moved = [0] * len(d.shape(x)), [by if n == axis else 0 for n in range(len(d.shape(x)))]
    ahead, behind = (none, moved) if reverse else (moved, none)
    padded = movement.pad(d, x, ahead, behind, value=1.0)
    return movement.pad(d, padded, [-n for n in behind], [-n for n in ahead])


def cumulative_sum(d: Dialect, x: Value, axis: int, exclusive: bool = False, reverse: bool = False) -> Value:
    attrs = {"axis": d.axis(axis, len(d.shape(x))), "exclusive": int(exclusive), "reverse": int(reverse)}
    return d.emit("CumSum", [d.computed_in(x, *_NUMBERS)], attrs)


def top_k(
    d: Dialect, x: Value, k: Size, axis: int = -1, largest: bool = True, dtype: str = "int64"
) -> tuple[Value, Value]:
    """The k largest (or smallest) elements along an axis in order, and their places; of equal ones the first come
    first. An open k must be the whole axis."""
    shape = d.shape(x)
    axis = d.axis(axis, len(shape))
    if not isinstance(k, Dim):
        attrs = {"k": int(k), "axis": axis, "largest": int(largest)}
        values, places = d.emit_all("TopK", [d.computed_in(x, *_NUMBERS)], attrs, [x.dtype, dtype])
        return values, places
    if k != shape[axis]:
        raise d.refuse(f"k = {k} of shape {list(shape)}; fix that size ({as_typed('shapes')})")
    return _sorted_by_rank(d, x, axis, largest, dtype)


def sort(d: Dialect, x: Value, axis: int = -1, descending: bool = False, dtype: str = "int64") -> tuple[Value, Value]:
    """The elements along an axis in order, and the places they came from."""
    return top_k(d, x, d.shape(x)[d.axis(axis, len(d.shape(x)))], axis, descending, dtype)


def _sorted_by_rank(d: Dialect, x: Value, axis: int, largest: bool, dtype: str) -> tuple[Value, Value]:
    """Values and places along an open axis in order, by counting for each element those that come before it.

    torch sorts a batch by length so."""
    shape = list(d.shape(x))
    rows = d.reshape(x, [*shape[:axis], 1, *shape[axis:]])
    columns = d.reshape(x, [*shape[: axis + 1], 1, *shape[axis + 1 :]])
    both = [*shape[: axis + 1], *shape[axis:]]
    ahead = d.binary("greater" if largest else "less", rows, columns)
    same = d.binary("equal", rows, columns)
    tied = d.binary("and", same, d.binary("less", d.positions(both, axis + 1), d.positions(both, axis)))
    before = d.cast(d.binary("or", ahead, tied), "float32")
    rank = d.cast(d.emit("Reduce", [before], {"kind": "sum", "axes": [axis + 1], "keepdims": 0}), "int32")
    places = d.positions(shape, axis)
    places = d.expand(places, shape)
    order = d.emit("ScatterElements", [places, rank, places], {"axis": axis}, dtype)
    return d.emit("GatherElements", [x, order], {"axis": axis}), order
