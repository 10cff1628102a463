"""Ops along axes: rows of the table, and the shapes of their outputs."""

from __future__ import annotations

from ..spec import NUMBERS, RUN_DTYPES, Attr, Call, OpSpec, Result, Shape, Time, at_large, integer, row, word

REDUCE = ("sum", "mean", "max", "min", "prod", "l1", "l2", "sum_square", "log_sum", "log_sum_exp")


def _without(shape: Shape, axes: list[int], keepdims: bool) -> Shape:
    return tuple(1 if d in axes else s for d, s in enumerate(shape) if keepdims or d not in axes)


def _reduce(c: Call) -> Result:
    kind, x = c.attrs["kind"], c.shape(0)
    on_integers = ("sum", "prod", "mean", "l1", "sum_square")
    allowed = RUN_DTYPES if kind in ("max", "min") else NUMBERS if kind in on_integers else ("float32",)
    axes = c.axes("axes", len(x)) or list(range(len(x)))
    return [(c.dtype(0, *allowed), _without(x, axes, c.flag("keepdims")))]


def _arg_reduce(c: Call) -> Result:
    c.dtype(0, *NUMBERS)
    c.flag("select_last")
    x = c.shape(0)
    return [("int32", _without(x, [c.axis(c.attrs["axis"], len(x))], c.flag("keepdims")))]


def _softmax(c: Call) -> Result:
    c.dtype(0, "float32"), c.flag("log"), c.axis(c.attrs["axis"], len(c.shape(0)))
    return [("float32", c.shape(0))]


def _cum_sum(c: Call) -> Result:
    c.flag("exclusive"), c.flag("reverse"), c.axis(c.attrs["axis"], len(c.shape(0)))
    return [(c.dtype(0, *NUMBERS), c.shape(0))]


def _top_k(c: Call) -> Result:
    dtype, x, k = c.dtype(0, *NUMBERS), list(c.shape(0)), c.attrs["k"]
    axis = c.axis(c.attrs["axis"], len(x))
    c.flag("largest")
    if k < 0 or at_large(x[axis]) < k:
        raise c.fail("attribute k", f"0 to the axis's {x[axis]}", k)
    x[axis] = k
    return [(dtype, tuple(x)), ("int32", tuple(x))]


OPS: dict[str, OpSpec] = {
    "Reduce": row("x", "y", _reduce, Time("folds"), kind=word(REDUCE), axes=Attr("ints", ()), keepdims=integer(1)),
    "ArgReduce": row(
        "x",
        "y",
        _arg_reduce,
        Time("searches"),
        kind=word(("max", "min")),
        axis=integer(),
        keepdims=integer(1),
        select_last=integer(0),
    ),
    "Softmax": row(
        "x",
        "y",
        _softmax,
        Time("along", "is a softmax over time, which needs the whole sequence"),
        axis=integer(-1),
        log=integer(0),
    ),
    "CumSum": row("x", "y", _cum_sum, Time("accumulates"), axis=integer(), exclusive=integer(0), reverse=integer(0)),
    "TopK": row(
        "x",
        "values indices?",
        _top_k,
        Time("along", "looks for the largest over time, which needs the whole sequence"),
        k=integer(),
        axis=integer(-1),
        largest=integer(1),
    ),
}
