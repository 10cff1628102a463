"""The oracle: runs a Graph in float64 NumPy, op by op as docs/ops.md says. Knows nothing of the C core.

float32 becomes float64 (float16 widened, int8 times its scale); int32 stays int32 and wraps; an absent value is None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ShapeError
from ..ir.activations import activate, erf
from ..ir.dims import Dim, Size, value
from ..ir.ops import ACTIVATIONS, each, op_spec, place, read_attrs
from ..ir.shapes import infer
from . import recurrent as recurrent

if TYPE_CHECKING:
    from ..ir.graph import Graph, Node, State, Tensor

Array = Any  # an op's operand: np.ndarray, or None where the node leaves it out
Attrs = dict[str, Any]
_RUN = {"float32": np.float64, "int32": np.int32, "bool": np.bool_}


def run(
    graph: Graph,
    inputs: dict[str, np.ndarray],
    states: dict[str, np.ndarray] | None = None,
    trace: dict[str, np.ndarray | None] | None = None,
) -> tuple[dict[str, np.ndarray | None], dict[str, np.ndarray]]:
    """One run. `inputs` by input name, shaped as graph.inputs declare; `states` as the last run gave them (or initial).

    Returns outputs by name (None where absent; float64, int32 or bool) and the states after the run.
    `trace`, when given, is filled with every tensor by its name. ShapeError when an array does not fit.
    """
    batch, _ = _symbols(graph, inputs)
    values: dict[str, Array] = {n: constant(t) for n, t in graph.tensors.items() if t.is_constant}
    for port in graph.inputs:
        values[port.tensor] = np.asarray(inputs[port.name]).astype(_RUN[graph.tensors[port.tensor].dtype])
    before = initial_states(graph, batch)
    for name, array in (states or {}).items():
        if name not in before:
            raise ShapeError(f"state {name!r}: expected one of {', '.join(before) or 'none'}")
        before[name] = np.asarray(array).astype(before[name].dtype)
    for state in graph.states:
        values[state.read] = before[state.name]
    for node in graph.nodes:
        results = run_node(node, [values[i] if i else None for i in node.inputs])
        values.update({o: r for o, r in zip(node.outputs, results) if o})
    if trace is not None:
        trace.update(values)
    after = {s.name: before[s.name] if values[s.write] is None else values[s.write] for s in graph.states}
    return {p.name: values[p.tensor] for p in graph.outputs}, after


def run_frames(
    graph: Graph, inputs: dict[str, np.ndarray], states: dict[str, np.ndarray] | None = None
) -> tuple[dict[str, np.ndarray | None], dict[str, np.ndarray]]:
    """Runs a step model once per element of the inputs' leading axis and stacks the outputs. An absent output
    is left out of the stack (None when it is absent in every frame). Returns outputs by name and the last states."""
    counts = {name: len(a) for name, a in inputs.items()}
    if len(set(counts.values())) != 1:
        raise ShapeError(f"inputs: expected the same number of frames on every leading axis, found {counts}")
    outs: dict[str, list[np.ndarray]] = {p.name: [] for p in graph.outputs}
    for t in range(next(iter(counts.values()))):
        out, states = run(graph, {name: a[t] for name, a in inputs.items()}, states)
        for name, array in out.items():
            if array is not None:
                outs[name].append(array)
    return {name: np.stack(a) if a else None for name, a in outs.items()}, states or {}


def constant(tensor: Tensor) -> np.ndarray:
    """A constant's data as the reference computes with it. int8: of n scales, each is for 1/n of the elements."""
    data: Array = tensor.data
    if tensor.scale is None:
        return data.astype(np.float64) if data.dtype.kind == "f" else data
    scale = tensor.scale.astype(np.float64).reshape(-1, 1)
    if scale.size == 0 or data.size % scale.size:
        raise ShapeError(f"constant {tensor.name}: expected one scale per row of {data.shape}, found {scale.size}")
    return (data.astype(np.float64).reshape(scale.size, -1) * scale).reshape(data.shape)


def initial_states(graph: Graph, batch: int) -> dict[str, np.ndarray]:
    """Every state before the first run, by name."""
    return {s.name: _initial(s, batch) for s in graph.states}


def _initial(state: State, batch: int) -> Array:
    shape = [value(s, batch, 0) for s in state.shape]
    if state.fill_axis >= 0:
        shape[state.fill_axis] = 0
        if state.initial is not None:
            shape[state.fill_axis] = np.broadcast_to(
                state.initial, np.broadcast_shapes(state.initial.shape, (1,) * len(shape))
            ).shape[state.fill_axis]
    return np.broadcast_to(0 if state.initial is None else state.initial, shape).astype(_RUN[state.dtype])


def _symbols(graph: Graph, inputs: dict[str, np.ndarray]) -> tuple[int, int]:
    """Solves batch and frames from the inputs' shapes; checks every declared size. Both default to 1."""
    names = {p.name for p in graph.inputs}
    if set(inputs) != names:
        raise ShapeError(f"inputs: expected {sorted(names)}, found {sorted(inputs)}")
    found: dict[str, int] = {}
    for port in graph.inputs:
        declared, shape = graph.shape(port.tensor), np.shape(inputs[port.name])
        if len(declared) != len(shape):
            raise ShapeError(f"input {port.name}: expected shape {declared}, found {shape}")
        for want, have in zip(declared, shape):
            name, coefficient = _symbol(want), value(want, 1, 1)
            if name and coefficient:
                found.setdefault(name, have // coefficient)
    batch, frames = found.get("batch", 1), found.get("frames", 1)
    for port in graph.inputs:
        declared, shape = graph.shape(port.tensor), np.shape(inputs[port.name])
        if tuple(value(s, batch, frames) for s in declared) != shape:
            raise ShapeError(
                f"input {port.name}: expected shape {declared}, found {shape} (batch {batch}, frames {frames})"
            )
    return batch, frames


def _symbol(size: Size) -> str | None:
    """The symbol of a size of the form coefficient times symbol."""
    monomials = list(size.terms) if isinstance(size, Dim) else []
    plain = len(monomials) == 1 and len(monomials[0]) == 1 and isinstance(monomials[0][0], str)
    return monomials[0][0] if plain else None


def run_node(node: Node, arrays: list[np.ndarray | None]) -> list[np.ndarray | None]:
    """One op on `arrays` (float64, int32 or bool; None for an input the node leaves out, or an absent value).

    Returns all outputs, optional ones included; None for absent ones. Checks shapes as shapes.infer does.
    """
    if any(name and array is None for name, array in zip(node.inputs, arrays)):
        return [None] * len(op_spec(node).outputs)
    shapes = infer(node, [None if a is None else _Shaped(_dtype(a), a.shape) for a in arrays])
    attrs = read_attrs(node)
    if _has_nothing_to_answer(node, attrs, arrays, shapes):
        return [None] * len(shapes)
    arrays = arrays + [None] * (len(op_spec(node).inputs) - len(arrays))
    with np.errstate(all="ignore"):
        results = _RULES[node.op](node, attrs, arrays)
    results = [np.asarray(r) for r in (results if isinstance(results, list) else [results])]
    for result, (dtype, shape) in zip(results, shapes):
        assert (result.dtype, result.shape) == (_RUN[dtype], shape), (place(node), result.dtype, result.shape, shape)
    return results


class _Shaped:
    """What shapes.infer looks at."""

    def __init__(self, dtype: str, shape: tuple[int, ...]):
        self.dtype, self.shape = dtype, shape


def _dtype(array: Array) -> str:
    return {"f": "float32", "i": "int32", "b": "bool"}[array.dtype.kind]


def _has_nothing_to_answer(node: Node, attrs: Attrs, arrays: list[Array], shapes: list) -> bool:
    """The rule of docs/ops.md for absent values: ops that would have to make something of an empty axis."""
    if node.op == "Reshape":
        return arrays[0].size == 0 and 0 not in shapes[0][1]
    sizes = arrays[0].shape if arrays else ()
    if node.op == "Reduce":
        axes = attrs["axes"] or range(len(sizes))
    elif node.op in ("ArgReduce", "Softmax"):
        axes = [attrs["axis"]]
    elif node.op == "Pool":
        axes = _spatial_axes(attrs, arrays[0])
    else:
        return False
    return any(sizes[a] == 0 for a in axes)


# ---- dense and convolution -------------------------------------------------------------------------------------------


def _dense(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x, w, bias = arrays
    return activate(a["activation"], x @ w.T + (0 if bias is None else bias), a["alpha"], a["beta"])


def _matmul(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x, y, *_ = arrays
    x = np.swapaxes(x, -1, -2) if a["trans_a"] else x
    y = np.swapaxes(y, -1, -2) if a["trans_b"] else y
    return x @ y * a["scale"]


def _spatial_axes(a: Attrs, x: Array) -> range:
    return range(1, x.ndim - 1) if a["layout"] == "channels_last" else range(2, x.ndim)


def _channels_first(a: Attrs, x: Array) -> Array:
    return np.moveaxis(x, -1, 1) if a["layout"] == "channels_last" else x


def _as_laid_out(a: Attrs, y: Array) -> Array:
    return np.moveaxis(y, 1, -1) if a["layout"] == "channels_last" else y


def _windows(x: Array, kernel: list[int], strides: list[int], dilations: list[int], sizes: tuple[int, ...]) -> Array:
    """Views of x (B,C,*S): (B,C,*sizes,*kernel), window o on axis d begins at o*strides[d]."""
    n = len(kernel)
    steps = [x.strides[2 + d] * strides[d] for d in range(n)] + [x.strides[2 + d] * dilations[d] for d in range(n)]
    shape = (*x.shape[:2], *sizes, *kernel)
    return np.lib.stride_tricks.as_strided(x, shape, (*x.strides[:2], *steps), writeable=False)


def _padded(x: Array, before: list[int], after: list[int], fill: float) -> Array:
    return np.pad(x, [(0, 0), (0, 0), *zip(before, after)], constant_values=fill)


def _conv(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x, w, bias = arrays
    x = _channels_first(a, x)
    n, groups = x.ndim - 2, a["groups"]
    strides, dilations, pads = each(a["strides"], n), each(a["dilations"], n), each(a["pads"], 2 * n)
    x = _padded(x, pads[:n], pads[n:], 0.0)
    kernel = list(w.shape[2:])
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    sizes = tuple(max(0, (s - span) // step + 1) for s, span, step in zip(x.shape[2:], spans, strides))
    parts = []
    for x_g, w_g in zip(np.split(x, groups, axis=1), np.split(w, groups)):
        windows = _windows(x_g, kernel, strides, dilations, sizes)
        y = np.tensordot(windows, w_g, ([1, *range(2 + n, 2 + 2 * n)], list(range(1, 2 + n))))  # (B,*sizes,O)
        parts.append(np.moveaxis(y, -1, 1))
    return _as_laid_out(a, _finish(a, np.concatenate(parts, axis=1), bias))


def _finish(a: Attrs, y: Array, bias: Array) -> Array:
    if bias is not None:
        y = y + bias.reshape(-1, *[1] * (y.ndim - 2))
    return activate(a["activation"], y, a["alpha"], a["beta"])


def _conv_transpose(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    """Every x[s] adds w x[s] to the outputs s*stride + k*dilation; then begins and ends are cut off."""
    x, w, bias = arrays
    x = _channels_first(a, x)
    n, groups = x.ndim - 2, a["groups"]
    strides, dilations, pads = each(a["strides"], n), each(a["dilations"], n), each(a["pads"], 2 * n)
    extra = each(a["output_padding"], n)
    sizes, kernel = x.shape[2:], w.shape[2:]
    spans = [(k - 1) * d + 1 + e for k, d, e in zip(kernel, dilations, extra)]
    full = [(s - 1) * step + span if s else 0 for s, step, span in zip(sizes, strides, spans)]
    y: Array = np.zeros((x.shape[0], groups, w.shape[1], *full))
    x_g = x.reshape(x.shape[0], groups, w.shape[0] // groups, *sizes)
    w_g = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    for k in np.ndindex(*kernel) if 0 not in sizes else ():
        first = [k[d] * dilations[d] for d in range(n)]
        at = tuple(slice(first[d], first[d] + (sizes[d] - 1) * strides[d] + 1, strides[d]) for d in range(n))
        y[(..., *at)] += np.einsum("bgc...,gco->bgo...", x_g, w_g[(..., *k)])
    y = y.reshape(x.shape[0], groups * w.shape[1], *full)
    y = y[(..., *(slice(pads[d], max(pads[d], full[d] - pads[n + d])) for d in range(n)))]
    return _as_laid_out(a, _finish(a, y, bias))


def _pool(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    """Windows over the padded x. An average divides by the elements inside x, or inside x and its padding
    (count_include_pad); what ceil_mode lets hang over the end of the padding never counts."""
    x = _channels_first(a, arrays[0])
    n, kernel = x.ndim - 2, a["kernel"]
    strides, dilations, pads = each(a["strides"], n), each(a["dilations"], n), each(a["pads"], 2 * n)
    laid_out = _shape_of(node, arrays)
    sizes = laid_out[1:-1] if a["layout"] == "channels_last" else laid_out[2:]
    reach = [(o - 1) * s + (k - 1) * d + 1 for o, s, k, d in zip(sizes, strides, kernel, dilations)]
    over = [max(0, r - s - pads[d] - pads[n + d]) for d, (r, s) in enumerate(zip(reach, x.shape[2:]))]
    window_axes = tuple(range(2 + n, 2 + 2 * n))

    def windows(values: Array, fill: float) -> Array:
        after = [pads[n + d] + over[d] for d in range(n)]
        return _windows(_padded(values, pads[:n], after, fill), kernel, strides, dilations, sizes)

    if a["kind"] == "max":
        return _as_laid_out(a, windows(x, -np.inf).max(axis=window_axes))
    inside = np.ones((1, 1, *x.shape[2:]))
    if a["count_include_pad"]:
        inside = _padded(inside, pads[:n], pads[n:], 1.0)
        counts = _windows(_padded(inside, [0] * n, over, 0.0), kernel, strides, dilations, sizes)
    else:
        counts = windows(inside, 0.0)
    return _as_laid_out(a, windows(x, 0.0).sum(axis=window_axes) / counts.sum(axis=window_axes))


def _normalize(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x, scale, bias = arrays
    axes = tuple(a["axes"])
    centred = x - x.mean(axes, keepdims=True) if a["kind"] == "layer" else x
    y = centred / np.sqrt((centred**2).mean(axes, keepdims=True) + a["epsilon"])
    return y * (1 if scale is None else scale) + (0 if bias is None else bias)


# ---- elementwise -----------------------------------------------------------------------------------------------------

_UNARY: dict[str, Callable[[Array], Array]] = {
    "neg": lambda x: -x,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "log": np.log,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.round,
    "reciprocal": lambda x: 1 / x,
    "sign": np.sign,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "erf": erf,
    "is_nan": np.isnan,
    "not": np.logical_not,
}


def _unary(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x, kind = arrays[0], a["kind"]
    if kind == "clip":
        return to_dtype(np.minimum(np.maximum(x.astype(np.float64), a["alpha"]), a["beta"]), _dtype(x))
    if kind in ACTIVATIONS:
        return activate(kind, x, a["alpha"], a["beta"])
    return _UNARY[kind](x)


def to_dtype(x: Array, dtype: str) -> Array:
    """Cast: float to int truncates and saturates, NaN gives 0; to bool: x != 0."""
    if dtype == "int32" and x.dtype.kind == "f":
        return np.clip(np.trunc(np.nan_to_num(x, nan=0.0)), -(2.0**31), 2.0**31 - 1).astype(np.int32)
    return x != 0 if dtype == "bool" else x.astype(_RUN[dtype])


def _divide(x: Array, y: Array) -> Array:
    if x.dtype.kind == "f":
        return x / y
    wide, by = x.astype(np.int64), y.astype(np.int64)
    quotient = np.abs(wide) // np.where(by == 0, 1, np.abs(by)) * np.sign(wide) * np.sign(by)
    return quotient.astype(np.int32)


def _power(x: Array, y: Array) -> Array:
    if x.dtype.kind == "f":
        return np.power(x, y)
    return to_dtype(np.power(x.astype(np.float64), y.astype(np.float64)), "int32")


_BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": _divide,
    "pow": _power,
    "min": np.minimum,
    "max": np.maximum,
    "mod": np.mod,
    "fmod": np.fmod,
    "prelu": lambda a, b: np.where(a < 0, b * a, a),
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
}


def _binary(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return np.asarray(_BINARY[a["kind"]](arrays[0], arrays[1]))


def _where(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return np.where(*arrays)


def _cast(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return to_dtype(arrays[0], a["to"])


# ---- over axes -------------------------------------------------------------------------------------------------------

_REDUCE: dict[str, Callable[..., Array]] = {
    "sum": lambda x, **k: x.sum(dtype=x.dtype, **k),
    "mean": lambda x, **k: x.mean(**k) if x.dtype.kind == "f" else np.trunc(x.mean(**k)).astype(np.int32),
    "max": lambda x, **k: x.max(**k),
    "min": lambda x, **k: x.min(**k),
    "prod": lambda x, **k: x.prod(dtype=x.dtype, **k),
    "l1": lambda x, **k: np.abs(x).sum(dtype=x.dtype, **k),
    "l2": lambda x, **k: np.sqrt((x * x).sum(**k)),
    "sum_square": lambda x, **k: (x * x).sum(dtype=x.dtype, **k),
    "log_sum": lambda x, **k: np.log(x.sum(**k)),
    "log_sum_exp": lambda x, **k: _log_sum_exp(x, **k),
}


def _log_sum_exp(x: Array, axis: tuple[int, ...], keepdims: bool) -> Array:
    """log sum exp x, shifted by the maximum so that it does not overflow; a maximum of +-inf shifts by nothing."""
    most = x.max(axis=axis, keepdims=True)
    shift = np.where(np.isfinite(most), most, 0.0)
    y = np.log(np.exp(x - shift).sum(axis=axis, keepdims=True)) + shift
    return y if keepdims else np.squeeze(y, axis)


def _reduce(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x = arrays[0]
    axes = tuple(d % x.ndim for d in a["axes"]) or tuple(range(x.ndim))
    return np.asarray(_REDUCE[a["kind"]](x, axis=axes, keepdims=bool(a["keepdims"])))


def _arg_reduce(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    """The first (or last) of equal extremes."""
    x, axis = arrays[0], a["axis"]
    find = np.argmax if a["kind"] == "max" else np.argmin
    y = find(np.flip(x, axis) if a["select_last"] else x, axis=axis, keepdims=bool(a["keepdims"]))
    return np.asarray(x.shape[axis] - 1 - y if a["select_last"] else y, dtype=np.int32)


def _softmax(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x, axis = arrays[0], a["axis"]
    z = x - x.max(axis=axis, keepdims=True)
    total = np.exp(z).sum(axis=axis, keepdims=True)
    return z - np.log(total) if a["log"] else np.exp(z) / total


def _cum_sum(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x, axis = arrays[0], a["axis"]
    x = np.flip(x, axis) if a["reverse"] else x
    y = np.cumsum(x, axis=axis, dtype=x.dtype)
    if a["exclusive"]:
        zero = np.zeros_like(np.take(x, [0] if x.shape[axis] else [], axis=axis))
        y = np.concatenate([zero, np.delete(y, -1, axis=axis)], axis=axis) if x.shape[axis] else y
    return np.flip(y, axis) if a["reverse"] else y


def _top_k(node: Node, a: Attrs, arrays: list[Array]) -> list[Array]:
    x, axis = arrays[0], a["axis"]
    order = np.argsort(-x.astype(np.float64) if a["largest"] else x, axis=axis, kind="stable")
    indices = np.take(order, range(a["k"]), axis=axis)
    return [np.take_along_axis(x, indices, axis), indices.astype(np.int32)]


# ---- movement --------------------------------------------------------------------------------------------------------


def _shape_of(node: Node, arrays: list[Array]) -> tuple[int, ...]:
    """The shape of the first output."""
    shape: Any = infer(node, [None if x is None else _Shaped(_dtype(x), x.shape) for x in arrays])[0][1]
    return shape


def _reshape(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return arrays[0].reshape(_shape_of(node, arrays))


def _expand(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return np.broadcast_to(arrays[0], _shape_of(node, arrays)).copy()


def _fill(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return np.full(_shape_of(node, arrays), to_dtype(np.asarray(a["value"], np.float64), a["dtype"]))


def _transpose(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return arrays[0].transpose(a["perm"])


def _concat(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return np.concatenate([x for x in arrays if x is not None], axis=a["axis"])


def _slice(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x = arrays[0]
    steps = each(a["steps"], len(a["axes"]))
    for axis, start, end, step in zip(a["axes"], a["starts"], a["ends"], steps):
        size = x.shape[axis]
        through_first = step < 0 and end < -size
        at = [slice(None)] * x.ndim
        at[axis] = slice(start, None if through_first else end, step)
        x = x[tuple(at)]
    return x


def _pad(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x = arrays[0]
    width = list(zip(a["pads"][: x.ndim], a["pads"][x.ndim :]))
    if a["mode"] != "constant":
        return np.pad(x, width, mode=a["mode"])
    return np.pad(x, width, constant_values=to_dtype(np.asarray(a["value"], np.float64), _dtype(x)))


def _tile(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return np.tile(arrays[0], a["repeats"])


def _checked(node: Node, indices: Array, size: int) -> Array:
    """Indices counted from the start; ShapeError for one out of range."""
    if indices.size and (indices.min() < -size or indices.max() >= size):
        raise ShapeError(
            f"{place(node)}: input indices: expected values of {-size} to {size - 1}, "
            f"found {indices.min()} to {indices.max()}"
        )
    return np.where(indices < 0, indices + size, indices)


def _gather(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return np.take(arrays[0], _checked(node, arrays[1], arrays[0].shape[a["axis"]]), axis=a["axis"])


def _along(node: Node, a: Attrs, x: Array, indices: Array) -> tuple[Array, ...]:
    """The places that indices name: its own coordinates, but on `axis` its values."""
    at = list(np.indices(indices.shape, sparse=True))
    at[a["axis"]] = _checked(node, indices, x.shape[a["axis"]])
    return tuple(at)


def _gather_elements(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    return arrays[0][_along(node, a, arrays[0], arrays[1])]


def _scatter_elements(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    """In row-major order of the indices: of equal places the last one stays (none), or all are added."""
    y, updates = arrays[0].copy(), arrays[2]
    at = tuple(np.broadcast_to(i, updates.shape).reshape(-1) for i in _along(node, a, y, arrays[1]))
    if a["reduction"] == "add":
        np.add.at(y, at, updates.reshape(-1))
    else:
        for *where, update in zip(*at, updates.reshape(-1)):
            y[tuple(where)] = update
    return y


def _reverse_sequence(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x, lengths = arrays
    y = np.moveaxis(x.copy(), (a["batch_axis"] % x.ndim, a["time_axis"] % x.ndim), (0, 1))
    if lengths.size and (lengths.min() < 0 or lengths.max() > y.shape[1]):
        raise ShapeError(
            f"{place(node)}: input lengths: expected values of 0 to {y.shape[1]}, found {lengths.tolist()}"
        )
    for row, length in zip(y, lengths):
        row[:length] = row[:length][::-1].copy()
    return np.moveaxis(y, (0, 1), (a["batch_axis"] % x.ndim, a["time_axis"] % x.ndim))


def _resize(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x = arrays[0]
    for axis, scale in enumerate(a["scales"]):
        x = np.repeat(x, scale, axis=axis)
    return x


_RULES: dict[str, Callable[[Node, Attrs, list[Array]], Any]] = {
    "LSTM": recurrent.lstm,
    "GRU": recurrent.gru,
    "RNN": recurrent.rnn,
    "Dense": _dense,
    "MatMul": _matmul,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Pool": _pool,
    "Normalize": _normalize,
    "Unary": _unary,
    "Binary": _binary,
    "Where": _where,
    "Cast": _cast,
    "Reduce": _reduce,
    "ArgReduce": _arg_reduce,
    "Softmax": _softmax,
    "CumSum": _cum_sum,
    "TopK": _top_k,
    "Reshape": _reshape,
    "Expand": _expand,
    "Fill": _fill,
    "Transpose": _transpose,
    "Concat": _concat,
    "Slice": _slice,
    "Pad": _pad,
    "Tile": _tile,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "ScatterElements": _scatter_elements,
    "ReverseSequence": _reverse_sequence,
    "Resize": _resize,
}
