"""The aten calls of movement: shapes, slices, joining, choosing elements, making tensors, and arithmetic on sizes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ...ir.dims import Dim, Size, product, value
from .program import END, MAX_FOLDED, OPS, Arange, DType, Full, Lowering, Var, op, run_dtype


def axes_of(c: Lowering, x: Any, dim: Any) -> list[int]:
    if dim is None or dim == []:
        return list(range(c.rank(x)))
    return [c.axis(x, d) for d in (dim if isinstance(dim, (list, tuple)) else [dim])]


# ---- shapes ---------------------------------------------------------------------------------------------------------


@op("sym_size")
def _sym_size(c: Lowering, self: Any, dim: int | None = None) -> Any:
    return list(c.shape(self)) if dim is None else c.shape(self)[c.axis(self, dim)]


OPS["size"] = _sym_size


@op("numel", "sym_numel")
def _numel(c: Lowering, self: Any) -> Size:
    return product(c.shape(self))


@op("dim")
def _dim(c: Lowering, self: Any) -> int:
    return c.rank(self)


@op("view", "reshape", "_unsafe_view", "_reshape_alias", "reshape_copy", lazy=True)
def _view(c: Lowering, self: Any, size: Any, *_: Any) -> Any:
    if isinstance(size, DType):
        raise c.unsupported(f"a view of the bits as {size}")
    return c.reshape(self, list(size))


@op("view_as", "reshape_as")
def _view_as(c: Lowering, self: Any, other: Any) -> Any:
    return c.reshape(self, list(c.shape(other)))


@op("flatten")
def _flatten(c: Lowering, self: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    shape = list(c.shape(self))
    first, last = c.axis(self, start_dim), c.axis(self, end_dim)
    return c.reshape(self, [*shape[:first], product(shape[first : last + 1]), *shape[last + 1 :]])


@op("unflatten")
def _unflatten(c: Lowering, self: Any, dim: int, sizes: Any, names: Any = None) -> Any:
    shape, axis = list(c.shape(self)), c.axis(self, dim)
    return c.reshape(self, [*shape[:axis], *sizes, *shape[axis + 1 :]])


@op("squeeze", lazy=True)
def _squeeze(c: Lowering, self: Any, dim: Any = None) -> Any:
    axes = axes_of(c, self, dim)
    return c.reshape(self, [s for d, s in enumerate(c.shape(self)) if not (d in axes and s == 1)])


@op("unsqueeze", lazy=True)
def unsqueeze(c: Lowering, self: Any, dim: int) -> Any:
    shape = list(c.shape(self))
    shape.insert(dim % (len(shape) + 1), 1)
    if isinstance(self, Arange):
        return c.reshape(Var(c.t(self)), shape)
    return c.reshape(self, shape)


def permute_axes(c: Lowering, x: Any, perm: list[int]) -> Any:
    if perm == sorted(perm):
        return x
    if isinstance(x, Full):
        return Full(x.value, tuple(x.shape[p] for p in perm), x.dtype)
    return c.node("Transpose", [x], {"perm": perm})


@op("permute", "permute_copy", lazy=True)
def _permute(c: Lowering, self: Any, dims: Any) -> Any:
    if isinstance(self, np.ndarray):
        return np.transpose(self, dims)
    return permute_axes(c, self, [c.axis(self, d) for d in dims])


@op("transpose", "swapaxes", "swapdims", "t", "numpy_T", "mT", "adjoint", "transpose_copy", "t_copy", lazy=True)
def _transpose(c: Lowering, self: Any, dim0: int = -2, dim1: int = -1) -> Any:
    rank = c.rank(self)
    if rank < 2:
        return self
    perm = list(range(rank))
    if c.step.base == "numpy_T":
        perm.reverse()
    else:
        a, b = c.axis(self, dim0), c.axis(self, dim1)
        perm[a], perm[b] = b, a
    return np.transpose(self, perm) if isinstance(self, np.ndarray) else permute_axes(c, self, perm)


@op("movedim", "moveaxis")
def _movedim(c: Lowering, self: Any, source: Any, destination: Any) -> Any:
    pairs = list(zip(axes_of(c, self, source), axes_of(c, self, destination)))
    rest = iter([d for d in range(c.rank(self)) if d not in [s for s, _ in pairs]])
    at = {d: s for s, d in pairs}
    return permute_axes(c, self, [at[d] if d in at else next(rest) for d in range(c.rank(self))])


def _bound(c: Lowering, bound: Any, size: Size, default: int) -> int:
    """A slice bound as a number: a symbolic one must be a fixed distance from the end or, where it counts from there,
    from the beginning."""
    if bound is None:
        return default
    if isinstance(bound, Dim):
        distance, from_front = bound - size, bound + size
        if not isinstance(from_front, Dim):
            return max(from_front, 0)
        if isinstance(distance, Dim) or distance > 0 and default != END:
            raise c.unsupported(f"a slice up to {bound} of an axis of size {size}")
        return END if distance >= 0 else distance
    return max(min(int(bound), END), -END)


def slice_axis(c: Lowering, x: Any, axis: int, start: Any, end: Any, step: int = 1) -> Any:
    size = c.shape(x)[axis]
    first, last = _bound(c, start, size, 0), _bound(c, end, size, END)
    if isinstance(size, int):
        first, last, _ = slice(first, last).indices(size)
        last = max(first, last)
    if first == 0 and step == 1 and (last == END or last == size):
        return x
    if isinstance(x, np.ndarray):
        return x[(slice(None),) * axis + (slice(first, last, step),)]
    if isinstance(x, Full) and isinstance(size, int):
        return Full(x.value, (*x.shape[:axis], len(range(first, last, step)), *x.shape[axis + 1 :]), x.dtype)
    return c.node("Slice", [x], {"axes": [axis], "starts": [first], "ends": [last], "steps": [step]})


@op("slice", "slice_copy", lazy=True)
def _aten_slice(c: Lowering, self: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    if isinstance(self, (list, tuple)):  # TorchScript: of a list
        return self[dim : start : end or 1]
    return slice_axis(c, self, c.axis(self, dim), start, end, step)


@op("narrow")
def _narrow(c: Lowering, self: Any, dim: int, start: Any, length: Any) -> Any:
    axis = c.axis(self, dim)
    start = start + c.shape(self)[axis] if isinstance(start, int) and start < 0 else start
    return slice_axis(c, self, axis, start, start + length)


@op("select", "select_copy", lazy=True)
def _select(c: Lowering, self: Any, dim: int, index: Any) -> Any:
    axis = c.axis(self, dim)
    shape = c.shape(self)
    if isinstance(index, Dim):
        index = _bound(c, index, shape[axis], 0)
    if isinstance(index, (Var, np.ndarray)):
        return c.node("Gather", [self, index], {"axis": axis})
    if isinstance(self, np.ndarray):
        return np.take(self, index, axis)
    end = END if index == -1 else index + 1
    return c.reshape(slice_axis(c, self, axis, index, end), [*shape[:axis], *shape[axis + 1 :]])


@op("split", "split_with_sizes", "split_with_sizes_copy", "split_copy")
def _split(c: Lowering, self: Any, split_size: Any, dim: int = 0) -> list[Any]:
    axis = c.axis(self, dim)
    size = c.shape(self)[axis]
    if not isinstance(split_size, (list, tuple)):
        if isinstance(size, Dim):
            raise c.unsupported(f"split of an axis of size {size} in parts of {split_size}: their number is not fixed")
        split_size = [min(split_size, size - at) for at in range(0, size, split_size)]
    ends = np.cumsum([0, *split_size])
    return [slice_axis(c, self, axis, int(a), int(b)) for a, b in pairwise(ends)]


@op("chunk", "unsafe_chunk")
def _chunk(c: Lowering, self: Any, chunks: int, dim: int = 0) -> list[Any]:
    size = c.shape(self)[c.axis(self, dim)]
    if isinstance(size, Dim):
        raise c.unsupported(f"chunk of an axis of size {size}, which is not a fixed number")
    return _split(c, self, -(-size // chunks), dim)


@op("tensor_split")
def _tensor_split(c: Lowering, self: Any, sections: Any, dim: int = 0) -> list[Any]:
    size = c.shape(self)[c.axis(self, dim)]
    if isinstance(size, Dim) or not isinstance(sections, int):
        raise c.unsupported("tensor_split at given places or of an axis without a fixed size")
    return _split(c, self, [size // sections + (i < size % sections) for i in range(sections)], dim)


@op("unbind", "unbind_copy")
def _unbind(c: Lowering, self: Any, dim: int = 0) -> list[Any]:
    size = c.shape(self)[c.axis(self, dim)]
    if isinstance(size, Dim):
        raise c.unsupported(f"unbind of an axis of size {size}: the number of parts is not fixed")
    return [_select(c, self, dim, i) if c.used(i) else None for i in range(size)]


@op("cat", "concat", "concatenate")
def _cat(c: Lowering, tensors: Any, dim: int = 0) -> Any:
    parts = [t for t in tensors if c.shape(t) != (0,)]  # torch takes an empty vector as nothing
    dtype = c.promoted(*parts)
    if len(parts) == 1:
        return parts[0]
    return c.node("Concat", [Var(c.t(p, dtype)) for p in parts], {"axis": c.axis(parts[0], dim)})


@op("stack")
def _stack(c: Lowering, tensors: Any, dim: int = 0) -> Any:
    axis = dim % (c.rank(tensors[0]) + 1)
    return _cat(c, [unsqueeze(c, t, axis) for t in tensors], axis)


@op("hstack", "vstack")
def _hstack(c: Lowering, tensors: Any) -> Any:
    if c.rank(tensors[0]) < 2:
        raise c.unsupported(f"{c.step.base} of vectors")
    return _cat(c, tensors, int(c.step.base == "hstack"))


@op("expand", "expand_copy", "broadcast_to", lazy=True)
def _expand(c: Lowering, self: Any, size: Any, *, implicit: bool = False) -> Any:
    old = (1,) * (len(size) - c.rank(self)) + c.shape(self)
    shape = [o if isinstance(s, int) and s == -1 else s for o, s in zip(old, size)]
    if tuple(shape) == c.shape(self):
        return self
    if isinstance(self, np.ndarray) and not any(isinstance(s, Dim) for s in shape):
        if product(shape) > MAX_FOLDED:
            raise c.unsupported(f"a constant of shape {tuple(shape)}")
        return np.broadcast_to(self, shape)
    if isinstance(self, Full):
        return Full(self.value, tuple(shape), self.dtype)
    name = c.t(self)
    attrs, sources, _ = c.sizes(shape, [name])
    return Var(c.g.add1("Expand", [name, *sources], attrs, c.label()))


@op("expand_as")
def _expand_as(c: Lowering, self: Any, other: Any) -> Any:
    return _expand(c, self, c.shape(other))


@op("repeat", "tile", lazy=True)
def _repeat(c: Lowering, self: Any, repeats: Any) -> Any:
    rank = max(len(repeats), c.rank(self))
    repeats = [1] * (rank - len(repeats)) + list(repeats)
    x = c.reshape(self, [1] * (rank - c.rank(self)) + list(c.shape(self)))
    if any(isinstance(r, Dim) for r in repeats):
        if any(s != 1 for s, r in zip(c.shape(x), repeats) if isinstance(r, Dim)):
            raise c.unsupported(f"repeat {repeats} of a tensor of shape {c.shape(x)}")
        x = _expand(c, x, [r if isinstance(r, Dim) else s for s, r in zip(c.shape(x), repeats)])
        repeats = [1 if isinstance(r, Dim) else r for r in repeats]
    return x if set(repeats) == {1} else c.node("Tile", [x], {"repeats": repeats})


@op("repeat_interleave")
def _repeat_interleave(c: Lowering, self: Any, repeats: Any, dim: int | None = None, *, output_size: Any = None) -> Any:
    if not isinstance(repeats, int):
        raise c.unsupported("repeat_interleave with a tensor of repeats")
    x, axis = (c.reshape(self, [-1]), 0) if dim is None else (self, c.axis(self, dim))
    scales = [repeats if d == axis else 1 for d in range(c.rank(x))]
    return c.node("Resize", [x], {"scales": scales})


@op("flip")
def _flip(c: Lowering, self: Any, dims: Any) -> Any:
    axes = axes_of(c, self, dims)
    n = len(axes)
    return c.node("Slice", [self], {"axes": axes, "starts": [END] * n, "ends": [-END] * n, "steps": [-1] * n})


@op("roll")
def _roll(c: Lowering, self: Any, shifts: Any, dims: Any = ()) -> Any:
    x = self
    shifts = shifts if isinstance(shifts, (list, tuple)) else [shifts]
    for shift, axis in zip(shifts, axes_of(c, x, dims) if dims != () and dims != [] else []):
        if shift:
            x = c.node(
                "Concat", [slice_axis(c, x, axis, -shift, None), slice_axis(c, x, axis, 0, -shift)], {"axis": axis}
            )
    if dims in ((), []):
        raise c.unsupported("roll over all elements")
    return x


@op("constant_pad_nd", "pad", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d")
def _pad(c: Lowering, self: Any, pad: Any, mode: Any = None, value: Any = None) -> Any:
    base = c.step.base
    if base == "constant_pad_nd":
        mode, value = "constant", mode
    elif base != "pad":
        mode = "reflect" if base.startswith("reflection") else "edge"
    mode = {"replicate": "edge", None: "constant"}.get(mode, mode)
    if mode == "circular":
        return _circular_pad(c, self, pad)
    rank = c.rank(self)
    pads = [0] * (2 * rank)
    x = self
    for i in range(len(pad) // 2):
        axis = rank - 1 - i
        for side, amount in enumerate(pad[2 * i : 2 * i + 2]):
            if amount < 0:
                x = slice_axis(c, x, axis, -amount if side == 0 else 0, END if side == 0 else amount)
            pads[axis + side * rank] = max(amount, 0)
    if not any(pads):
        return x
    return c.node("Pad", [x], {"pads": pads, "mode": mode, "value": float(value or 0.0)})


def _circular_pad(c: Lowering, x: Any, pad: Any) -> Any:
    for i in range(len(pad) // 2):
        axis = c.rank(x) - 1 - i
        before, after = pad[2 * i], pad[2 * i + 1]
        parts = (
            [slice_axis(c, x, axis, -before, None)] * (before > 0)
            + [x]
            + [slice_axis(c, x, axis, 0, after)] * (after > 0)
        )
        x = c.node("Concat", parts, {"axis": axis}) if len(parts) > 1 else x
    return x


# ---- choosing elements ----------------------------------------------------------------------------------------------


def _is_whole_range(c: Lowering, index: Any, size: Size) -> bool:
    if isinstance(index, Arange):
        return index.size == size
    return (
        isinstance(index, np.ndarray)
        and index.ndim == 1
        and np.array_equal(index, np.arange(len(index)))
        and len(index) == size
    )


@op("index_select")
def _index_select(c: Lowering, self: Any, dim: int, index: Any) -> Any:
    axis = c.axis(self, dim)
    if _is_whole_range(c, index, c.shape(self)[axis]):
        return self
    return c.node("Gather", [self, index], {"axis": axis})


@op("gather")
def _gather(c: Lowering, self: Any, dim: int, index: Any, *, sparse_grad: bool = False) -> Any:
    return c.node("GatherElements", [self, index], {"axis": c.axis(self, dim)})


@op("take_along_dim")
def _take_along(c: Lowering, self: Any, indices: Any, dim: int) -> Any:
    axis = c.axis(self, dim)
    wanted = [s if d != axis else c.shape(indices)[d] for d, s in enumerate(c.shape(self))]
    return _gather(c, self, axis, _expand(c, indices, wanted))


@op("scatter", "scatter_add", "scatter.src", "scatter.value")
def _scatter(
    c: Lowering, self: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: Any = None
) -> Any:
    if reduce not in (None, "add"):
        raise c.unsupported(f"scatter with reduce={reduce!r}")
    if isinstance(index, Arange) and isinstance(src, Arange) and c.shape(self) == (index.size,):
        return index  # the inverse of the identity permutation
    updates = (
        src
        if value is None and not isinstance(src, (int, float))
        else Full(float(src if value is None else value), c.shape(index), c.dtype(self))
    )
    add = c.step.base.startswith("scatter_add") or reduce == "add"
    return c.node(
        "ScatterElements", [self, index, updates], {"axis": c.axis(self, dim), "reduction": "add" if add else "none"}
    )


@op("index")
def _index(c: Lowering, self: Any, indices: Any) -> Any:
    """x[..., i, ...] with one index tensor, or x[arange(B), i], which picks one frame of every sequence."""
    given = [(axis, i) for axis, i in enumerate(indices) if i is not None]
    if any(c.dtype(i) == "bool" for _, i in given):
        raise c.unsupported("a boolean index: how many elements it picks depends on the values")
    if len(given) == 1:
        return _index_select(c, self, given[0][0], given[0][1])
    shape = c.shape(self)
    (a, first), (b, second) = given if len(given) == 2 else ((0, None), (0, None))
    if (a, b) == (0, 1) and _is_whole_range(c, first, shape[0]) and c.rank(second) == 1:
        rest = list(shape[2:])
        places = c.reshape(_negative_from_end(c, second), [shape[0], 1, *[1] * len(rest)])
        places = _expand(c, places, [shape[0], 1, *rest])
        return c.reshape(c.node("GatherElements", [self, places], {"axis": 1}), [shape[0], *rest])
    raise c.unsupported(f"indexing with {len(given)} tensors; expected one, or arange(batch) and one")


def _negative_from_end(c: Lowering, index: Any) -> Any:
    return index if isinstance(index, (Var, np.ndarray)) else Var(c.t(index))


@op("slice_scatter")
def _slice_scatter(
    c: Lowering, self: Any, src: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Any:
    axis = c.axis(self, dim)
    if step != 1:
        raise c.unsupported(f"assignment to a slice with step {step}")
    size = c.shape(self)[axis]
    first, last = _bound(c, start, size, 0), _bound(c, end, size, END)
    head = [] if first == 0 else [slice_axis(c, self, axis, 0, first)]
    tail = [] if last in (END, size) else [slice_axis(c, self, axis, last, None)]
    return _cat(c, [*head, src, *tail], axis)


@op("select_scatter")
def _select_scatter(c: Lowering, self: Any, src: Any, dim: int, index: int) -> Any:
    axis = c.axis(self, dim)
    return _slice_scatter(c, self, unsqueeze(c, src, axis), axis, index, None if index == -1 else index + 1)


@op("copy")
def _copy(c: Lowering, self: Any, src: Any, non_blocking: bool = False) -> Any:
    return _expand(c, c.cast(src, c.dtype(self)), c.shape(self))


@op("fill")
def _fill(c: Lowering, self: Any, value: Any) -> Any:
    return Full(float(value), c.shape(self), c.dtype(self))


OPS["zero"] = lambda c, self: Full(0.0, c.shape(self), c.dtype(self))


@op("tril", "triu")
def _tril(c: Lowering, self: Any, diagonal: int = 0) -> Any:
    rows, columns = c.shape(self)[-2:]
    row = c.reshape(Var(c.t(arange_of(rows))), [rows, 1])
    column = c.reshape(Var(c.t(arange_of(columns))), [1, columns])
    keep = c.binary("less_equal" if c.step.base == "tril" else "greater_equal", column, c.binary("add", row, diagonal))
    return c.node("Where", [keep, Var(c.t(self)), Var(c.t(Full(0.0, (), c.dtype(self))))])


# ---- making tensors -------------------------------------------------------------------------------------------------


def arange_of(size: Size) -> Any:
    return Arange(size) if isinstance(size, Dim) else np.arange(size, dtype=np.int32)


@op("zeros", "empty", "new_zeros", "new_empty", "ones", "new_ones", lazy=True)
def _zeros(c: Lowering, *args: Any, dtype: DType | None = None, **_: Any) -> Full:
    own = c.dtype(args[0]) if c.step.base.startswith("new_") else "float32"
    size = args[1] if c.step.base.startswith("new_") else args[0]
    return Full(float("ones" in c.step.base), tuple(size), run_dtype(dtype, own))


@op("full", "new_full", lazy=True)
def _full(c: Lowering, *args: Any, dtype: DType | None = None, **_: Any) -> Any:
    own, (size, value) = (c.dtype(args[0]), args[1:3]) if c.step.base == "new_full" else (c.dtype(args[1]), args[:2])
    if isinstance(value, (Var, np.ndarray)):
        return _expand(c, c.cast(value, run_dtype(dtype, own)), list(size))
    return Full(float(value), tuple(size), run_dtype(dtype, own))


@op("zeros_like", "ones_like", "full_like", "empty_like", lazy=True)
def _like(c: Lowering, self: Any, fill_value: Any = None, *, dtype: DType | None = None, **_: Any) -> Full:
    filled = float(fill_value) if fill_value is not None else float(c.step.base == "ones_like")
    return Full(filled, c.shape(self), run_dtype(dtype, c.dtype(self)))


@op("scalar_tensor", "tensor", lazy=True)
def _scalar_tensor(c: Lowering, s: Any, *, dtype: DType | None = None, **_: Any) -> Any:
    return Var(c.t(s)) if isinstance(s, Dim) else np.asarray(s, run_dtype(dtype, c.dtype(s)))


@op("arange")
def _arange(c: Lowering, *bounds: Any, dtype: DType | None = None, **_: Any) -> Any:
    start, end, step = (0, bounds[0], 1) if len(bounds) == 1 else (*bounds, 1)[:3]
    if isinstance(step, Dim) or (step != 1 and isinstance(end, Dim)):
        raise c.unsupported(f"arange({start}, {end}, {step})")
    dtype_name = run_dtype(dtype, "float32" if any(isinstance(b, float) for b in bounds) else "int32")
    if not any(isinstance(b, Dim) for b in bounds):
        return np.arange(start, end, step).astype(dtype_name)
    if start == 0:
        return Arange(end) if dtype_name == "int32" else c.cast(Var(c.t(Arange(end))), dtype_name)
    counted = Var(c.t(arange_of(end - start)))
    return c.cast(c.binary("add", counted, start), dtype_name)


# ---- numbers that depend on sizes -----------------------------------------------------------------------------------


def _at_large(a: Any) -> Any:
    return value(a, 1 << 20, 1 << 20) if isinstance(a, Dim) else a


def _truediv(a: Any, b: Any) -> Any:
    if isinstance(a, Dim) or isinstance(b, Dim):
        raise TypeError("not a size")
    return a / b


SIZE_ARITHMETIC = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "truediv": _truediv,
    "pow": lambda a, b: a**b,
}
SIZE_COMPARISON = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}


TENSOR_KIND = {"truediv": "div", "add": "add", "sub": "sub", "mul": "mul", "pow": "pow"}


def _number(name: str, exact: Any) -> Any:
    """Python's operator `name` on sizes; where no size results (a quotient), a scalar of the graph."""

    def lowered(c: Lowering, a: Any, b: Any) -> Any:
        if not isinstance(a, Var) and not isinstance(b, Var):
            try:
                return exact(a, b)
            except (TypeError, ValueError):
                pass
        if name not in TENSOR_KIND:
            raise c.unsupported(f"{name} of {a} and {b}")
        return c.binary(TENSOR_KIND[name], c.floating(a), c.floating(b))

    return lowered


def _comparison(exact: Any) -> Any:
    """On sizes, batch and frames taken as large. Of numbers read out of tensors only assertions ask; they get None."""
    return lambda c, a, b: None if isinstance(a, Var) or isinstance(b, Var) else exact(_at_large(a), _at_large(b))


for _name, _exact in SIZE_ARITHMETIC.items():
    OPS[f"operator.{_name}"] = _number(_name, _exact)
for _name, _exact in SIZE_COMPARISON.items():
    OPS[f"operator.{_name}"] = _comparison(_exact)
OPS["operator.neg"] = lambda c, a: -a
OPS["operator.getitem"] = lambda c, a, i: a[i]
OPS["math.sym_min"] = lambda c, a, b: a if _at_large(a) <= _at_large(b) else b
OPS["math.sym_max"] = lambda c, a, b: a if _at_large(a) >= _at_large(b) else b
OPS["math.sym_float"] = OPS["math.sym_int"] = lambda c, a: a
OPS["math.sym_not"] = lambda c, a: not a


@op("item", "_local_scalar_dense", lazy=True)
def _item(c: Lowering, self: Any) -> Any:
    """A number read out of a tensor: it stays what it is, and only an op that can take it will."""
    return self if isinstance(self, Var) else np.asarray(c.array(self, "item")).item()


@op(
    "_assert_scalar",
    "_assert_async",
    "sym_constrain_range_for_size",
    "sym_constrain_range",
    "_assert_tensor_metadata",
    "_check_is_size",
    lazy=True,
)
def _assertion(c: Lowering, *_: Any, **__: Any) -> None:
    return None
