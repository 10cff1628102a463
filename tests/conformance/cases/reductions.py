"""Over axes: sums, means, largest elements and their places, softmax, running sums, order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from conformance.case import Array, Case, Later, given
from conformance.spelled import NONE, by_name

torch, F = Later("torch"), Later("torch.nn.functional")
K, L = Later("keras.ops"), Later("keras.layers")

X = (given("B T 4"),)
POSITIVE = (given("B T 4", "positive"),)
BOOL = (given("B T 4", "bool"),)
BATCH = "no reduction over the batch"


def log_sum_exp(x: Array, axis: tuple[int, ...], keepdims: bool) -> Array:
    return np.asarray(np.log(np.exp(x).sum(axis=axis, keepdims=keepdims)))


def norm(x: Array, axis: tuple[int, ...], keepdims: bool) -> Array:
    return np.asarray(np.sqrt((x**2).sum(axis=axis, keepdims=keepdims)))


# Name, the answer; then the operator of ONNX, torch, keras.ops, TFLite and the kind of the core's Reduce.
REDUCTIONS: list[tuple[str, Any, str, str, str, str, str]] = [
    ("sum", np.sum, "ReduceSum", "sum", "sum", "SUM", "sum"),
    ("mean", np.mean, "ReduceMean", "mean", "mean", "MEAN", "mean"),
    ("max", np.max, "ReduceMax", "amax", "max", "REDUCE_MAX", "max"),
    ("min", np.min, "ReduceMin", "amin", "min", "REDUCE_MIN", "min"),
    ("prod", np.prod, "ReduceProd", "prod", "prod", "REDUCE_PROD", "prod"),
    ("l1", lambda x, **k: np.abs(x).sum(**k), "ReduceL1", "", "", "", "l1"),
    ("l2", norm, "ReduceL2", "norm", "", "", "l2"),
    ("sum of squares", lambda x, **k: (x**2).sum(**k), "ReduceSumSquare", "", "", "", "sum_square"),
    ("log of a sum", lambda x, **k: np.log(x.sum(**k)), "ReduceLogSum", "", "", "", "log_sum"),
    ("logsumexp", log_sum_exp, "ReduceLogSumExp", "logsumexp", "logsumexp", "", "log_sum_exp"),
    ("var", np.var, "", "var", "var", "", ""),
    ("std", np.std, "", "std", "std", "", ""),
]
# How each is reduced: in words, axes, keepdims.
OVER: list[tuple[str, tuple[int, ...], bool]] = [
    ("over the last axis", (-1,), False),
    ("over frames, kept", (1,), True),
    ("over two axes", (1, 2), False),
]
MORE_THAN_MANY = ("sum", "mean", "max")  # reduced in every way; the others in one each


def _reduced(row: tuple[str, Any, str, str, str, str, str], words: str, axes: tuple[int, ...], keep: bool) -> Case:
    name, answer, of_onnx, of_torch, of_keras, of_tflite, of_network = row
    torch_axes: Any = axes[0] if of_torch == "prod" else axes
    more = {"correction": 0} if of_torch in ("var", "std") else {}
    several = of_torch == "prod" and len(axes) > 1
    return by_name(
        f"{name} {words}",
        POSITIVE,
        lambda x: answer(x, axis=axes, keepdims=keep),
        (lambda o, x: o(of_onnx, x, list(axes), keepdims=int(keep))) if of_onnx else NONE,
        (lambda x: getattr(torch, of_torch)(x, dim=torch_axes, keepdim=keep, **more))
        if of_torch and not several
        else NONE,
        (lambda x: getattr(K, of_keras)(x, axis=axes, keepdims=keep)) if of_keras else NONE,
        (lambda t, x: t(of_tflite, x, list(axes), keep_dims=keep)) if of_tflite else NONE,
        (lambda n, x: n("Reduce", x, kind=of_network, axes=list(axes), keepdims=int(keep))) if of_network else NONE,
    )


def _all_reduced() -> Iterator[Case]:
    for at, row in enumerate(REDUCTIONS):
        ways = OVER if row[0] in MORE_THAN_MANY else [OVER[at % len(OVER)]]
        for words, axes, keep in ways:
            yield _reduced(row, words, axes, keep)


def softmax(x: Array, axis: int | tuple[int, ...] = -1) -> Array:
    made = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(made / made.sum(axis=axis, keepdims=True))


def ordered(x: Array, axis: int, largest: bool = False, k: int | None = None) -> list[Array]:
    places = np.argsort(-x if largest else x, axis=axis, kind="stable")
    places = places[(slice(None),) * (axis % x.ndim) + (slice(k),)]
    return [np.take_along_axis(x, places, axis), places]


def _with_second(name: str, second: str) -> list[str]:
    """The outputs of a layer that has two."""
    return [name, f"{name}.{second}"]


CASES: list[Case] = [
    *_all_reduced(),
    by_name(
        "any",
        BOOL,
        lambda x: x.any(axis=-1),
        "over numbers only",
        lambda x: torch.any(x, dim=-1),
        lambda x: K.any(x, axis=-1),
        lambda t, x: t("REDUCE_ANY", x, [-1], keep_dims=False),
        lambda n, x: n("Reduce", x, kind="max", axes=[-1], keepdims=0),
    ),
    by_name(
        "all",
        BOOL,
        lambda x: x.all(axis=1, keepdims=True),
        "over numbers only",
        lambda x: torch.all(x, dim=1, keepdim=True),
        lambda x: K.all(x, axis=1, keepdims=True),
        lambda t, x: t("REDUCE_ALL", x, [1], keep_dims=True),
        lambda n, x: n("Reduce", x, kind="min", axes=[1], keepdims=1),
    ),
    by_name(
        "argmax",
        X,
        lambda x: x.argmax(axis=-1),
        lambda o, x: o("ArgMax", x, axis=-1, keepdims=0),
        lambda x: torch.argmax(x, dim=-1),
        lambda x: K.argmax(x, axis=-1),
        lambda t, x: t("ARG_MAX", x, -1, dtype="int32"),
        lambda n, x: n("ArgReduce", x, kind="max", axis=-1, keepdims=0),
    ),
    by_name(
        "argmin over frames",
        X,
        lambda x: x.argmin(axis=1),
        lambda o, x: o("ArgMin", x, axis=1, keepdims=0),
        lambda x: torch.argmin(x, dim=1),
        lambda x: K.argmin(x, axis=1),
        lambda t, x: t("ARG_MIN", x, 1, dtype="int32"),
        lambda n, x: n("ArgReduce", x, kind="min", axis=1, keepdims=0),
    ),
    by_name(
        "argmax of several equal ones",
        (given("B T 4", "bits"),),
        lambda x: x.argmax(axis=-1),
        lambda o, x: o("ArgMax", o("Cast", x, to=1), axis=-1, keepdims=0),
        lambda x: torch.argmax(x.float(), dim=-1),
        lambda x: K.argmax(K.cast(x, "float32"), axis=-1),
        lambda t, x: t("ARG_MAX", t("CAST", x, dtype="float32"), -1, dtype="int32"),
        lambda n, x: n("ArgReduce", n("Cast", x, to="float32"), kind="max", axis=-1, keepdims=0),
    ),
    by_name(
        "softmax",
        X,
        softmax,
        "Softmax",
        lambda x: torch.softmax(x, -1),
        lambda x: K.softmax(x),
        lambda t, x: t("SOFTMAX", x, beta=1.0),
        lambda n, x: n("Softmax", x),
    ),
    by_name(
        "softmax over frames",
        X,
        lambda x: softmax(x, 1),
        lambda o, x: o("Softmax", x, axis=1),
        lambda x: torch.softmax(x, 1),
        lambda x: K.softmax(x, axis=1),
        "over the last axis only",
        lambda n, x: n("Softmax", x, axis=1),
    ),
    by_name(
        "softmax over several axes",
        X,
        lambda x: softmax(x, (1, 2)),
        "over one axis only",
        "over one axis only",
        lambda x: K.softmax(x, axis=(1, 2)),
        "over the last axis only",
        "over one axis only",
    ),
    by_name(
        "softmax layer over several axes",
        X,
        lambda x: softmax(x, (1, 2)),
        "over one axis only",
        "over one axis only",
        lambda x: L.Softmax(axis=(1, 2))(x),
        "over the last axis only",
        "over one axis only",
    ),
    by_name(
        "softmax with a factor",
        X,
        lambda x: softmax(0.5 * x),
        "no factor",
        "no factor",
        "no factor",
        lambda t, x: t("SOFTMAX", x, beta=0.5),
        "no factor",
    ),
    by_name(
        "log_softmax",
        X,
        lambda x: np.log(softmax(x)),
        "LogSoftmax",
        lambda x: torch.log_softmax(x, -1),
        lambda x: K.log_softmax(x),
        "LOG_SOFTMAX",
        lambda n, x: n("Softmax", x, log=1),
    ),
    by_name(
        "hardmax",
        X,
        lambda x: (x == x.max(axis=-1, keepdims=True)).astype(float),
        "Hardmax",
        NONE,
        NONE,
        NONE,
        NONE,
    ),
    by_name(
        "cumsum over frames",
        X,
        lambda x: x.cumsum(axis=1),
        lambda o, x: o("CumSum", x, 1),
        lambda x: torch.cumsum(x, 1),
        lambda x: K.cumsum(x, axis=1),
        lambda t, x: t("CUMSUM", x, 1, exclusive=False, reverse=False),
        lambda n, x: n("CumSum", x, axis=1),
    ),
    by_name(
        "cumsum from the end, without its own",
        X,
        lambda x: np.flip(np.flip(x, 2).cumsum(axis=2), 2) - x,
        lambda o, x: o("CumSum", x, 2, exclusive=1, reverse=1),
        "from the start only",
        "from the start only",
        lambda t, x: t("CUMSUM", x, 2, exclusive=True, reverse=True),
        lambda n, x: n("CumSum", x, axis=2, exclusive=1, reverse=1),
    ),
    by_name(
        "top-k",
        X,
        lambda x: ordered(x, -1, True, 2),
        lambda o, x: o("TopK", x, [2], outputs=2),
        lambda x: list(torch.topk(x, 2)),
        lambda x: list(K.top_k(x, 2)),
        lambda t, x: t("TOPK_V2", x, 2, outputs=2),
        lambda n, x: _with_second(n("TopK", x, k=2), "indices"),
    ),
    by_name(
        "smallest over frames",
        X,
        lambda x: ordered(x, 1, False, 2),
        lambda o, x: o("TopK", x, [2], axis=1, largest=0, outputs=2),
        lambda x: list(torch.topk(x, 2, dim=1, largest=False)),
        "the largest of the last axis only",
        "the largest of the last axis only",
        lambda n, x: _with_second(n("TopK", x, k=2, axis=1, largest=0), "indices"),
    ),
    by_name(
        "sort",
        X,
        lambda x: ordered(x, -1)[0],
        NONE,
        lambda x: torch.sort(x).values,
        lambda x: K.sort(x),
        NONE,
        NONE,
    ),
    by_name(
        "sort over frames",
        X,
        lambda x: ordered(x, 1)[0],
        lambda o, x: o("TopK", x, o("Gather", o("Shape", x), [1]), axis=1, largest=0, outputs=2)[0],
        lambda x: torch.sort(x, dim=1).values,
        lambda x: K.sort(x, axis=1),
        NONE,
        NONE,
    ),
    by_name(
        "argsort, largest first",
        X,
        lambda x: ordered(x, 1, True)[1],
        lambda o, x: o("TopK", x, o("Gather", o("Shape", x), [1]), axis=1, outputs=2)[1],
        lambda x: torch.argsort(x, dim=1, descending=True),
        lambda x: K.argsort(K.negative(x), axis=1),
        NONE,
        NONE,
    ),
]
