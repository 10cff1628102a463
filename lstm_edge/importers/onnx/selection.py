"""ONNX operators that choose elements: gathers, scatters, one-hot, triangles. Spelled in the dialect."""

from __future__ import annotations

from ..dialect import Value, known, selection
from .lowering import Call, lowers


@lowers("Gather", folds=True)
def _gather(call: Call) -> Value:
    return selection.gather(call.ctx, call.input(0), call.input(1), call.attr("axis", 0))


@lowers("GatherElements")
def _gather_elements(call: Call) -> Value:
    return selection.gather_elements(call.ctx, call.input(0), call.input(1), call.attr("axis", 0))


@lowers("GatherND")
def _gather_nd(call: Call) -> Value:
    return selection.gather_nd(call.ctx, call.input(0), call.known(1), int(call.attr("batch_dims", 0)))


@lowers("Compress")
def _compress(call: Call) -> Value:
    return selection.compress(call.ctx, call.input(0), call.known(1), call.attr("axis"))


@lowers("ScatterElements", "Scatter")
def _scatter_elements(call: Call) -> Value:
    axis, reduction = call.attr("axis", 0), call.attr("reduction", "none")
    return selection.scatter_elements(call.ctx, call.input(0), call.input(1), call.input(2), axis, reduction)


@lowers("ScatterND")
def _scatter_nd(call: Call) -> Value:
    return selection.scatter_nd(call.ctx, call.input(0), call.known(1), call.input(2), call.attr("reduction", "none"))


@lowers("Trilu")
def _trilu(call: Call) -> Value:
    k = call.known_ints(1)[0] if call.optional(1) is not None else 0
    return selection.trilu(call.ctx, call.input(0), bool(call.attr("upper", 1)), k)


@lowers("OneHot")
def _one_hot(call: Call) -> Value:
    depth, (off, on) = call.known_ints(1)[0], call.known(2)
    return selection.one_hot(call.ctx, call.input(0), depth, known(on), known(off), call.attr("axis", -1))
