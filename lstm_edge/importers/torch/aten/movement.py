"""The aten calls of movement: shapes, slices, joining, repeating."""

from __future__ import annotations

from typing import Any

from ....ir.dims import Dim, product
from ...dialect import TO_END, Value, selection
from ...dialect import movement as move
from ..lowering import Lowering
from ..program import DType
from ..registry import op, spell

# ---- shapes ---------------------------------------------------------------------------------------------------------


def listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


@op("view", "reshape", "_unsafe_view", "_reshape_alias", "reshape_copy", lazy=True)
def _view(c: Lowering, self: Value, size: Any, *_: Any) -> Value:
    if isinstance(size, DType):
        raise c.refuse(f"a view of the bits as {size}")
    return move.reshape(c, self, list(size))


def _swapped(c: Lowering, self: Value, dim0: int = -2, dim1: int = -1) -> Value:
    return self if c.rank(self) < 2 else move.swap_axes(c, self, dim0, dim1)


spell(
    {
        "size sym_size": lambda c, self, dim=None: (
            list(c.shape(self)) if dim is None else c.shape(self)[c.axis_of(self, dim)]
        ),
        "numel sym_numel": lambda c, self: product(c.shape(self)),
        "dim": lambda c, self: c.rank(self),
        "view_as reshape_as": lambda c, self, other: move.reshape(c, self, c.shape(other)),
        "flatten": lambda c, self, start_dim=0, end_dim=-1: move.merge_axes(c, self, start_dim, end_dim),
        "unflatten": lambda c, self, dim, sizes, names=None: move.unflatten(c, self, dim, list(sizes)),
        "movedim moveaxis": lambda c, self, source, destination: move.move_axes(
            c, self, listed(source), listed(destination)
        ),
    }
)
spell(
    {
        "squeeze": lambda c, self, dim=None: move.squeeze(c, self, None if dim is None else listed(dim), lenient=True),
        "unsqueeze": lambda c, self, dim: move.unsqueeze(c, self, [dim]),
        "permute permute_copy": lambda c, self, dims: move.transpose(c, self, dims),
        "transpose swapaxes swapdims t mT adjoint transpose_copy t_copy": _swapped,
        "numpy_T": lambda c, self: move.transpose(c, self),
    },
    lazy=True,
)


# ---- slices ---------------------------------------------------------------------------------------------------------


def slice_axis(c: Lowering, x: Value, axis: int, start: Any, end: Any, step: int = 1) -> Value:
    """x[start:end:step] along one axis; None is from the first, or to the last."""
    first, last = (0 if start is None else start), (TO_END if end is None else end)
    if _is_of_a_table(c, x, axis, first, last, step):
        places = c.arange(last - first)
        places = places if first == 0 else c.binary("add", places, c.fill(float(first), [1]))
        return selection.gather(c, x, c.cast(places, "int32"), axis)
    return move.take(c, x, [axis], [first], [last], [step])


def _is_of_a_table(c: Lowering, x: Value, axis: int, first: Any, last: Any, step: int) -> bool:
    """Whether as many entries as an open size says are taken, from a place that is known, of an axis whose size is not open: a
    table of positions. The program's guards say that there are as many."""
    size = c.shape(x)[c.axis_of(x, axis)]
    return isinstance(size, int) and isinstance(first, int) and first >= 0 and isinstance(last, Dim) and step == 1


@op("slice", "slice_copy", lazy=True)
def _slice(c: Lowering, self: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    if isinstance(self, (list, tuple)):  # TorchScript: of a list
        return self[dim : start : end or 1]
    return slice_axis(c, self, dim, start, end, step)


@op("narrow")
def _narrow(c: Lowering, self: Value, dim: int, start: Any, length: Any) -> Value:
    size = c.shape(self)[c.axis_of(self, dim)]
    start = start + size if isinstance(start, int) and start < 0 else start
    return slice_axis(c, self, dim, start, start + length)


@op("select", "select_copy", lazy=True)
def _select(c: Lowering, self: Value, dim: int, index: Any) -> Value:
    if isinstance(index, Value):
        return selection.gather(c, self, index, dim)
    return move.index(c, self, dim, index)


@op("split", "split_with_sizes", "split_with_sizes_copy", "split_copy")
def _split(c: Lowering, self: Value, split_size: Any, dim: int = 0) -> list[Any]:
    if isinstance(split_size, (list, tuple)):
        return move.split(c, self, dim, split_size)
    size = c.shape(self)[c.axis_of(self, dim)]
    if isinstance(size, Dim):
        raise c.refuse(f"split of an axis of size {size} in parts of {split_size}: their number is not fixed")
    return move.split(c, self, dim, [min(split_size, size - at) for at in range(0, size, split_size)])


@op("chunk", "unsafe_chunk")
def _chunk(c: Lowering, self: Value, chunks: int, dim: int = 0) -> list[Any]:
    size = c.shape(self)[c.axis_of(self, dim)]
    if isinstance(size, Dim):
        raise c.refuse(f"chunk of an axis of size {size}, which is not a fixed number")
    return _split(c, self, -(-size // chunks), dim)


@op("tensor_split")
def _tensor_split(c: Lowering, self: Value, sections: Any, dim: int = 0) -> list[Any]:
    size = c.shape(self)[c.axis_of(self, dim)]
    if isinstance(size, Dim) or not isinstance(sections, int):
        raise c.refuse("tensor_split at given places or of an axis without a fixed size")
    return move.split(c, self, dim, [size // sections + (i < size % sections) for i in range(sections)])


# ---- joining and repeating ------------------------------------------------------------------------------------------


def _cat(c: Lowering, tensors: Any, dim: int = 0) -> Value:
    return move.concat(c, c.promote(*tensors), dim)


@op("hstack", "vstack")
def _hstack(c: Lowering, tensors: Any) -> Value:
    if c.rank(tensors[0]) < 2:
        raise c.refuse(f"{c.step.base} of vectors")
    return _cat(c, tensors, int(c.step.base == "hstack"))


@op("expand", "expand_copy", "broadcast_to", lazy=True)
def _expand(c: Lowering, self: Value, size: Any, *, implicit: bool = False) -> Value:
    own = (1,) * (len(size) - c.rank(self)) + c.shape(self)
    return c.expand(self, [o if isinstance(s, int) and s == -1 else s for o, s in zip(own, size)])


@op("repeat_interleave")
def _repeat_interleave(
    c: Lowering, self: Value, repeats: Any, dim: int | None = None, *, output_size: Any = None
) -> Value:
    if not isinstance(repeats, int):
        raise c.refuse("repeat_interleave with a tensor of repeats")
    return move.repeat_each(c, move.reshape(c, self, [-1]) if dim is None else self, repeats, dim or 0)


PAD_MODES = {"replicate": "edge", "circular": "wrap", None: "constant"}


@op("pad", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d")
def _pad(c: Lowering, self: Value, pad: Any, mode: Any = None, value: Any = None) -> Value:
    """`pad`: before and after the last axis, before and after the one before it, and so on."""
    if c.step.base != "pad":
        mode = c.step.base.partition("_pad")[0].replace("reflection", "reflect").replace("replication", "edge")
    rest = [0] * (c.rank(self) - len(pad) // 2)
    begins, ends = [*rest, *pad[-2::-2]], [*rest, *pad[::-2]]
    return move.pad(c, self, begins, ends, PAD_MODES.get(mode, mode), float(value or 0.0))


spell(
    {
        "unbind unbind_copy": lambda c, self, dim=0: move.unstack(c, self, dim),
        "cat concat concatenate": _cat,
        "stack": lambda c, tensors, dim=0: move.stack(c, c.promote(*tensors), dim),
        "expand_as": lambda c, self, other: c.expand(self, c.shape(other)),
        "flip": lambda c, self, dims: move.flip(c, self, c.axes_of(self, dims)),
        "roll": lambda c, self, shifts, dims=(): move.roll(c, self, listed(shifts), listed(dims) or None),
        "constant_pad_nd": lambda c, self, pad, value=0.0: _pad(c, self, pad, "constant", value),
        "pixel_shuffle": lambda c, self, upscale_factor: move.depth_to_space(c, self, upscale_factor, depth_last=True),
        "unfold": lambda c, self, dimension, size, step: move.unfold(c, self, dimension, size, step),
    }
)
spell({"repeat tile": lambda c, self, repeats: move.tile(c, self, repeats)}, lazy=True)
