"""Ops along axes in float64 NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..ir.graph import Node
from .arrays import Array, Attrs, Rule


def _log_sum_exp(x: Array, axis: tuple[int, ...], keepdims: bool) -> Array:
    """log sum exp x, shifted by the maximum so that it does not overflow; a maximum of +-inf shifts by nothing."""
    most = x.max(axis=axis, keepdims=True)
    shift = np.where(np.isfinite(most), most, 0.0)
    y = np.log(np.exp(x - shift).sum(axis=axis, keepdims=True)) + shift
    return y if keepdims else np.squeeze(y, axis)


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
    "log_sum_exp": _log_sum_exp,
}


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


RULES: dict[str, Rule] = {
    "Reduce": _reduce,
    "ArgReduce": _arg_reduce,
    "Softmax": _softmax,
    "CumSum": _cum_sum,
    "TopK": _top_k,
}
