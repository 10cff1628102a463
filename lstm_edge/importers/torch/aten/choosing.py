"""The aten calls that choose elements, and those that put some in their places."""

from __future__ import annotations

from typing import Any

from ...dialect import TO_END, Value
from ...dialect import movement as move
from ...dialect import selection as choose
from ..lowering import Lowering
from ..registry import op, spell
from .movement import slice_axis


@op("embedding")
def _embedding(c: Lowering, weight: Value, indices: Value, *_: Any, **__: Any) -> Value:
    if c.dtype(indices) != "int32":
        raise c.refuse(f"an embedding looked up with {c.dtype(indices)}; expected integers")
    return choose.embedding(c, weight, indices)


@op("take_along_dim")
def _take_along(c: Lowering, self: Value, indices: Value, dim: int) -> Value:
    axis = c.axis_of(self, dim)
    wanted = [s if d != axis else c.shape(indices)[d] for d, s in enumerate(c.shape(self))]
    return choose.gather_elements(c, self, c.expand(indices, wanted), axis)


@op("scatter", "scatter_add", "scatter.src", "scatter.value")
def _scatter(
    c: Lowering, self: Value, dim: int, index: Value, src: Any = None, *, value: Any = None, reduce: Any = None
) -> Value:
    if isinstance(src, Value) and c.counted(index) == c.counted(src) == c.shape(self)[0] and c.rank(self) == 1:
        return src  # the inverse of the identity permutation
    given = src if value is None else value
    updates = given if isinstance(given, Value) else c.fill(float(given), c.shape(index), c.dtype(self))
    reduction = "add" if c.step.base.startswith("scatter_add") else reduce or "none"
    return choose.scatter_elements(c, self, index, updates, dim, reduction)


@op("index")
def _index(c: Lowering, self: Value, indices: Any) -> Value:
    """x[..., i, ...] with one index tensor, or x[arange(B), i], which picks one frame of every sequence."""
    given = [(axis, i) for axis, i in enumerate(indices) if i is not None]
    if any(c.dtype(i) == "bool" for _, i in given):
        raise c.refuse("a boolean index: how many elements it picks depends on the values")
    if len(given) == 1:
        return choose.gather(c, self, given[0][1], given[0][0])
    axes = [axis for axis, _ in given]
    if axes == [0, 1] and c.counted(given[0][1]) == c.shape(self)[0] and c.rank(given[1][1]) == 1:
        batch, _, *rest = c.shape(self)
        places = c.reshape(given[1][1], [batch, *[1] * (len(rest) + 1)])
        chosen = choose.gather_elements(c, self, c.expand(places, [batch, 1, *rest]), 1)
        return c.reshape(chosen, [batch, *rest])
    raise c.refuse(f"indexing with {len(given)} tensors; expected one, or arange(batch) and one")


@op("slice_scatter")
def _slice_scatter(
    c: Lowering, self: Value, src: Value, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Value:
    axis = c.axis_of(self, dim)
    if step != 1:
        raise c.refuse(f"assignment to a slice with step {step}")
    size = c.shape(self)[axis]
    first, last = move.slice_bounds(c, size, 0 if start is None else start, TO_END if end is None else end)
    head = [slice_axis(c, self, axis, 0, first)] if first else []
    tail = [] if last == size or last == TO_END else [slice_axis(c, self, axis, last, None)]
    return move.concat(c, c.promote(*head, src, *tail), axis)


def _filled(c: Lowering, self: Value, value: Any) -> Value:
    return c.expand(c.value(value, c.dtype(self)), c.shape(self))


def _select_scatter(c: Lowering, self: Value, src: Value, dim: int, index: int) -> Value:
    row = move.unsqueeze(c, src, [c.axis_of(self, dim)])
    return _slice_scatter(c, self, row, dim, index, None if index == -1 else index + 1)


spell(
    {
        "index_select": lambda c, self, dim, index: choose.gather(c, self, index, dim),
        "gather": lambda c, self, dim, index, *, sparse_grad=False: choose.gather_elements(c, self, index, dim),
        "select_scatter": _select_scatter,
        "copy": lambda c, self, src, non_blocking=False: _filled(c, self, src),
        "fill": lambda c, self, value: _filled(c, self, value),
        "zero": lambda c, self: c.fill(0.0, c.shape(self), c.dtype(self)),
        "tril": lambda c, self, diagonal=0: choose.trilu(c, self, False, diagonal),
        "triu": lambda c, self, diagonal=0: choose.trilu(c, self, True, diagonal),
    }
)
