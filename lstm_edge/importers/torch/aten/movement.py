"""The aten calls of movement: shapes, slices, joining, repeating."""

from __future__ import annotations

from typing import Any

from ....ir.dims import Dim, Size, product
from ...dialect import TO_END, Value, selection
from ...dialect import movement as move
from ..lowering import Lowering
from ..program import DType
from ..registry import op

# ---- shapes ---------------------------------------------------------------------------------------------------------


def listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


@op("size", "sym_size")
def _size(c: Lowering, self: Value, dim: int | None = None) -> Any:
    return list(c.shape(self)) if dim is None else c.shape(self)[c.axis_of(self, dim)]


@op("numel", "sym_numel")
def _numel(c: Lowering, self: Value) -> Size:
    return product(c.shape(self))


@op("dim")
def _dim(c: Lowering, self: Value) -> int:
    return c.rank(self)


@op("view", "reshape", "_unsafe_view", "_reshape_alias", "reshape_copy", lazy=True)
def _view(c: Lowering, self: Value, size: Any, *_: Any) -> Value:
    if isinstance(size, DType):
        raise c.refuse(f"a view of the bits as {size}")
    return move.reshape(c, self, list(size))


@op("view_as", "reshape_as")
def _view_as(c: Lowering, self: Value, other: Value) -> Value:
    return move.reshape(c, self, c.shape(other))


@op("flatten")
def _flatten(c: Lowering, self: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    return move.merge_axes(c, self, start_dim, end_dim)


@op("unflatten")
def _unflatten(c: Lowering, self: Value, dim: int, sizes: Any, names: Any = None) -> Value:
    return move.unflatten(c, self, dim, list(sizes))


@op("squeeze", lazy=True)
def _squeeze(c: Lowering, self: Value, dim: Any = None) -> Value:
    return move.squeeze(c, self, None if dim is None else listed(dim), lenient=True)


@op("unsqueeze", lazy=True)
def _unsqueeze(c: Lowering, self: Value, dim: int) -> Value:
    return move.unsqueeze(c, self, [dim])


@op("permute", "permute_copy", lazy=True)
def _permute(c: Lowering, self: Value, dims: Any) -> Value:
    return move.transpose(c, self, dims)


@op("transpose", "swapaxes", "swapdims", "t", "mT", "adjoint", "transpose_copy", "t_copy", lazy=True)
def _transpose(c: Lowering, self: Value, dim0: int = -2, dim1: int = -1) -> Value:
    return self if c.rank(self) < 2 else move.swap_axes(c, self, dim0, dim1)


@op("numpy_T", lazy=True)
def _numpy_t(c: Lowering, self: Value) -> Value:
    return move.transpose(c, self)


@op("movedim", "moveaxis")
def _movedim(c: Lowering, self: Value, source: Any, destination: Any) -> Value:
    return move.move_axes(c, self, listed(source), listed(destination))


# ---- slices ---------------------------------------------------------------------------------------------------------


def slice_axis(c: Lowering, x: Value, axis: int, start: Any, end: Any, step: int = 1) -> Value:
    """x[start:end:step] along one axis; None is from the first, or to the last."""
    first, last = (0 if start is None else start), (TO_END if end is None else end)
    return move.take(c, x, [axis], [first], [last], [step])


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


@op("unbind", "unbind_copy")
def _unbind(c: Lowering, self: Value, dim: int = 0) -> list[Any]:
    return move.unstack(c, self, dim)


# ---- joining and repeating ------------------------------------------------------------------------------------------


@op("cat", "concat", "concatenate")
def _cat(c: Lowering, tensors: Any, dim: int = 0) -> Value:
    return move.concat(c, c.promote(*tensors), dim)


@op("stack")
def _stack(c: Lowering, tensors: Any, dim: int = 0) -> Value:
    return move.stack(c, c.promote(*tensors), dim)


@op("hstack", "vstack")
def _hstack(c: Lowering, tensors: Any) -> Value:
    if c.rank(tensors[0]) < 2:
        raise c.refuse(f"{c.step.base} of vectors")
    return _cat(c, tensors, int(c.step.base == "hstack"))


@op("expand", "expand_copy", "broadcast_to", lazy=True)
def _expand(c: Lowering, self: Value, size: Any, *, implicit: bool = False) -> Value:
    own = (1,) * (len(size) - c.rank(self)) + c.shape(self)
    return c.expand(self, [o if isinstance(s, int) and s == -1 else s for o, s in zip(own, size)])


@op("expand_as")
def _expand_as(c: Lowering, self: Value, other: Value) -> Value:
    return c.expand(self, c.shape(other))


@op("repeat", "tile", lazy=True)
def _repeat(c: Lowering, self: Value, repeats: Any) -> Value:
    return move.tile(c, self, repeats)


@op("repeat_interleave")
def _repeat_interleave(
    c: Lowering, self: Value, repeats: Any, dim: int | None = None, *, output_size: Any = None
) -> Value:
    if not isinstance(repeats, int):
        raise c.refuse("repeat_interleave with a tensor of repeats")
    return move.repeat_each(c, move.reshape(c, self, [-1]) if dim is None else self, repeats, dim or 0)


@op("flip")
def _flip(c: Lowering, self: Value, dims: Any) -> Value:
    return move.flip(c, self, c.axes_of(self, dims))


@op("roll")
def _roll(c: Lowering, self: Value, shifts: Any, dims: Any = ()) -> Value:
    return move.roll(c, self, listed(shifts), listed(dims) or None)


PAD_MODES = {"replicate": "edge", "circular": "wrap", None: "constant"}


@op("pad", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d")
def _pad(c: Lowering, self: Value, pad: Any, mode: Any = None, value: Any = None) -> Value:
    """`pad`: before and after the last axis, before and after the one before it, and so on."""
    if c.step.base != "pad":
        mode = c.step.base.partition("_pad")[0].replace("reflection", "reflect").replace("replication", "edge")
    rest = [0] * (c.rank(self) - len(pad) // 2)
    begins, ends = [*rest, *pad[-2::-2]], [*rest, *pad[::-2]]
    return move.pad(c, self, begins, ends, PAD_MODES.get(mode, mode), float(value or 0.0))


@op("constant_pad_nd")
def _constant_pad(c: Lowering, self: Value, pad: Any, value: Any = 0.0) -> Value:
    return _pad(c, self, pad, "constant", value)


@op("pixel_shuffle")
def _pixel_shuffle(c: Lowering, self: Value, upscale_factor: int) -> Value:
    return move.depth_to_space(c, self, upscale_factor, depth_last=True)


@op("unfold")
def _unfold(c: Lowering, self: Value, dimension: int, size: int, step: int) -> Value:
    return move.unfold(c, self, dimension, size, step)
