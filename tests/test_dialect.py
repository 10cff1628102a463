"""The dialect: each meaning against NumPy, on known values, on tensors of fixed sizes and on tensors of open ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_edge import UnsupportedModelError, reference
from lstm_edge.errors import MemoryLimitError
from lstm_edge.importers.dialect import (
    Dialect,
    Value,
    arithmetic,
    known,
    products,
    reductions,
    selection,
)
from lstm_edge.ir.dims import BATCH, FRAMES, Dim
from lstm_edge.ir.dims import value as size_at

OPEN = {"b": BATCH, "t": FRAMES}
Maker = Callable[[np.random.Generator, list[int]], np.ndarray]
Inputs = list[tuple[str, Maker]]  # the axes of an input by letters (b, t and f are random sizes), and what is in it


def run_time(d: Dialect, name: str, array: np.ndarray, letters: str, open_sizes: bool) -> Value:
    shape = [OPEN.get(c, s) if open_sizes else s for c, s in zip(letters, array.shape)]
    dtype = {"f": "float32", "i": "int32", "b": "bool"}[array.dtype.kind]
    return Value(str(array.dtype), tensor=d.graph.input(name, tuple(shape), dtype))


def answers(case: Case, arrays: list[np.ndarray], at_run_time: bool, open_sizes: bool) -> list[Any]:
    """What a meaning gives: computed at conversion, or by the graph it makes."""
    d = Dialect()
    values = [
        run_time(d, f"x{n}", a, word, open_sizes) if at_run_time else known(a)
        for n, (a, (word, _)) in enumerate(zip(arrays, case.inputs))
    ]
    found = case.meaning(d, *values)
    results = list(found) if isinstance(found, (list, tuple)) else [found]
    if not at_run_time:
        assert not d.graph.nodes, "an op on known values is computed at once"
        return [r.data for r in results]
    for n, value in enumerate(results):
        d.graph.output(f"y{n}", d.tensor(value))
    outputs, _ = reference.run(d.graph, {f"x{n}": a for n, a in enumerate(arrays)})
    return [outputs[f"y{n}"] for n in range(len(results))]


def normal(r: np.random.Generator, shape: list[int]) -> np.ndarray:
    return r.normal(size=shape).astype(np.float32)


def between(low: int, high: int) -> Maker:
    return lambda r, shape: r.integers(low, high, shape)


def floats(*words: str) -> Inputs:
    return [(word, normal) for word in words]


def integers(word: str, low: int, high: int) -> Inputs:
    return [(word, between(low, high))]


def special(r: np.random.Generator, shape: list[int]) -> np.ndarray:
    return r.choice(np.float32([0.5, np.nan, np.inf, -np.inf]), shape)


def fractions(scale: float, offset: float = 0.0) -> Maker:
    return lambda r, shape: (offset + scale * r.random(shape)).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """`meaning` on Values, `answer` on arrays. fixed_only: where an open size cannot be, by the table of ops."""

    meaning: Callable[..., Any]
    answer: Callable[..., Any]
    inputs: Inputs = field(default_factory=lambda: floats("btf"))
    fixed_only: bool = False


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def attended(q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool) -> np.ndarray:
    scores = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])
    if causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
    return softmax(scores) @ v


def ordered(x: np.ndarray, axis: int, descending: bool) -> list[np.ndarray]:
    places = np.argsort(-x if descending else x, axis, kind="stable")
    return [np.take_along_axis(x, places, axis), places]


def triangle(x: np.ndarray, upper: bool, k: int) -> np.ndarray:
    return np.triu(x, k) if upper else np.tril(x, k)


CASES: dict[str, Case] = {
    # ---- arithmetic --------------------------------------------------------------------------------------------------
    "clip": Case(lambda d, x: arithmetic.clip(d, x, -0.5, 0.5), lambda x: np.clip(x, -0.5, 0.5)),
    "clip below": Case(lambda d, x: arithmetic.clip(d, x, low=0.1), lambda x: np.maximum(x, 0.1)),
    "clip by tensors": Case(
        lambda d, x, a, b: arithmetic.clip(d, x, a, b),
        lambda x, a, b: np.minimum(np.maximum(x, a), b),
        floats("btf", "btf", "btf"),
    ),
    "power of 2": Case(lambda d, x: arithmetic.power(d, x, 2), lambda x: x * x),
    "power of 3": Case(lambda d, x: arithmetic.power(d, x, 3), lambda x: x**3),
    "root": Case(lambda d, x: arithmetic.power(d, d.unary("abs", x), 0.5), lambda x: np.sqrt(np.abs(x))),
    "inverse of an integer": Case(lambda d, x: arithmetic.power(d, x, -1), lambda x: 1 / x, integers("bt", 1, 9)),
    "divide integers": Case(lambda d, x: arithmetic.divide(d, x, 4), lambda x: x / 4, integers("bt", -9, 9)),
    "floor_div integers": Case(lambda d, x: arithmetic.floor_div(d, x, 4), lambda x: x // 4, integers("bt", -9, 9)),
    "floor_div floats": Case(lambda d, x: arithmetic.floor_div(d, x, 0.5), lambda x: np.floor(x / 0.5)),
    "trunc_div integers": Case(
        lambda d, x: arithmetic.trunc_div(d, x, 4), lambda x: np.trunc(x / 4), integers("bt", -9, 9)
    ),
    "trunc_div floats": Case(lambda d, x: arithmetic.trunc_div(d, x, 0.5), lambda x: np.trunc(x / 0.5)),
    "an integer and a fraction": Case(lambda d, x: d.binary("mul", x, 0.5), lambda x: x * 0.5, integers("bt", -9, 9)),
    "a bool and a number": Case(
        lambda d, x: d.binary("add", d.binary("greater", x, 0), 1), lambda x: (x > 0) + 1, integers("bt", -9, 9)
    ),
    "a float and a size": Case(lambda d, x: d.binary("div", x, d.shape(x)[1]), lambda x: x / x.shape[1], floats("btf")),
    "exp of integers": Case(lambda d, x: d.unary("exp", x), np.exp, integers("bt", -3, 3)),
    "where": Case(
        lambda d, x, y: arithmetic.where(d, d.binary("greater", x, y), x, 0.0),
        lambda x, y: np.where(x > y, x, 0),
        floats("btf", "b1f"),
    ),
    "where of two types": Case(
        lambda d, x: arithmetic.where(d, d.binary("greater", x, 0.0), 1, x),
        lambda x: np.where(x > 0, 1, x),
    ),
    "mean_of": Case(
        lambda d, *xs: arithmetic.mean_of(d, xs), lambda *xs: sum(xs) / len(xs), floats("btf", "btf", "b1f")
    ),
    "variadic": Case(
        lambda d, *xs: arithmetic.variadic(d, "max", xs), lambda *xs: np.maximum.reduce(xs), floats("btf", "btf", "btf")
    ),
    "asinh": Case(lambda d, x: arithmetic.asinh(d, x), np.arcsinh),
    "acosh": Case(lambda d, x: arithmetic.acosh(d, x), np.arccosh, [("btf", fractions(1, 1))]),
    "atanh": Case(lambda d, x: arithmetic.atanh(d, x), np.arctanh, [("btf", fractions(0.9))]),
    "log1p": Case(lambda d, x: arithmetic.log1p(d, d.unary("abs", x)), lambda x: np.log1p(np.abs(x))),
    "expm1": Case(lambda d, x: arithmetic.expm1(d, x), np.expm1),
    "exp2": Case(lambda d, x: arithmetic.exp2(d, x), np.exp2),
    "logarithm": Case(lambda d, x: arithmetic.logarithm(d, d.unary("abs", x), 10), lambda x: np.log10(np.abs(x))),
    "trunc": Case(lambda d, x: arithmetic.trunc(d, x), np.trunc),
    "rsqrt": Case(lambda d, x: arithmetic.rsqrt(d, d.unary("abs", x)), lambda x: 1 / np.sqrt(np.abs(x))),
    "softplus": Case(
        lambda d, x: arithmetic.softplus(d, x, 2.0, 1.0),
        lambda x: np.where(2 * x > 1, x, np.log1p(np.exp(2 * x)) / 2),
    ),
    "log_sigmoid": Case(lambda d, x: arithmetic.log_sigmoid(d, x), lambda x: np.log(sigmoid(x))),
    "scaled_silu": Case(lambda d, x: arithmetic.scaled_silu(d, x, 1.5), lambda x: x * sigmoid(1.5 * x)),
    "elu": Case(
        lambda d, x: arithmetic.elu(d, x, 0.5, 2.0, 3.0),
        lambda x: 2.0 * np.where(x > 0, 3 * x, 0.5 * np.expm1(3 * x)),
    ),
    "threshold": Case(lambda d, x: arithmetic.threshold(d, x, 0.2, -7.0), lambda x: np.where(x > 0.2, x, -7.0)),
    "shrink": Case(
        lambda d, x: arithmetic.shrink(d, x, 0.4, 0.1),
        lambda x: np.where(x > 0.4, x - 0.1, np.where(x < -0.4, x + 0.1, 0.0)),
    ),
    "glu": Case(lambda d, x: arithmetic.glu(d, x, -1), lambda x: x[..., :2] * sigmoid(x[..., 2:]), floats("bt4")),
    "lerp": Case(lambda d, x, y: arithmetic.lerp(d, x, y, 0.25), lambda x, y: x + 0.25 * (y - x), floats("btf", "btf")),
    "nan_to_num": Case(
        lambda d, x: arithmetic.nan_to_num(d, x, 1.0, 2.0, 3.0),
        lambda x: np.nan_to_num(x, nan=1.0, posinf=2.0, neginf=3.0),
        [("btf", special)],
    ),
    "is_finite": Case(
        lambda d, x: arithmetic.is_finite(d, x),
        np.isfinite,
        [("btf", special)],
    ),
    # ---- reductions --------------------------------------------------------------------------------------------------
    "sum of all": Case(lambda d, x: reductions.reduce(d, "sum", x, keepdims=False), lambda x: x.sum()),
    "max along": Case(lambda d, x: reductions.reduce(d, "max", x, [-2]), lambda x: x.max(-2, keepdims=True)),
    "count": Case(
        lambda d, x: reductions.reduce(d, "sum", d.binary("greater", x, 0.0), [1], False), lambda x: (x > 0).sum(1)
    ),
    "sum of integers": Case(
        lambda d, x: reductions.reduce(d, "sum", x, [0, 1], False), lambda x: x.sum((0, 1)), integers("btf", -9, 9)
    ),
    "mean of a bool": Case(
        lambda d, x: reductions.reduce(d, "mean", d.binary("greater", x, 0.0), [2]),
        lambda x: (x > 0).mean(2, keepdims=True),
    ),
    "no axes": Case(lambda d, x: reductions.reduce(d, "sum", x, []), lambda x: x),
    "any": Case(lambda d, x: reductions.any_of(d, x, [1]), lambda x: x.any(1, keepdims=True), integers("btf", 0, 2)),
    "all": Case(lambda d, x: reductions.all_of(d, x, None, False), lambda x: x.all(), integers("btf", 0, 2)),
    "variance": Case(
        lambda d, x: reductions.variance(d, x, [0, 1], False),
        lambda x: [x.var((0, 1)), x.mean((0, 1))],
    ),
    "unbiased variance": Case(
        lambda d, x: reductions.variance(d, x, [-1], correction=1)[0],
        lambda x: x.var(-1, ddof=1, keepdims=True),
        floats("bt5"),
    ),
    "arg max": Case(lambda d, x: reductions.arg_reduce(d, "max", x, 1), lambda x: x.argmax(1)[:, None]),
    "arg min of all": Case(lambda d, x: reductions.arg_reduce(d, "min", x, None, False), lambda x: x.argmin()),
    "last arg max": Case(
        lambda d, x: reductions.arg_reduce(d, "max", x, 2, False, last=True),
        lambda x: x.shape[2] - 1 - x[:, :, ::-1].argmax(2),
        integers("btf", 0, 3),
    ),
    "softmax": Case(lambda d, x: reductions.softmax(d, x, 1), lambda x: softmax(x, 1)),
    "log softmax of integers": Case(
        lambda d, x: reductions.softmax(d, x, -1, log=True), lambda x: np.log(softmax(x)), integers("bt", -3, 3)
    ),
    "softmax_from": Case(
        lambda d, x: reductions.softmax_from(d, x, 1),
        lambda x: softmax(x.reshape(len(x), -1)).reshape(x.shape),
    ),
    "hardmax": Case(
        lambda d, x: reductions.hardmax(d, x, 1),
        lambda x: (x.argmax(1)[:, None] == np.arange(x.shape[1])[:, None]).astype(float),
    ),
    "cumulative_sum": Case(lambda d, x: reductions.cumulative_sum(d, x, -2), lambda x: x.cumsum(-2)),
    "cumulative_sum of a mask": Case(
        lambda d, x: reductions.cumulative_sum(d, d.binary("greater", x, 0.0), 1), lambda x: (x > 0).cumsum(1)
    ),
    "cumulative_sum from behind": Case(
        lambda d, x: reductions.cumulative_sum(d, x, 1, exclusive=True, reverse=True),
        lambda x: x[:, ::-1].cumsum(1)[:, ::-1] - x,
    ),
    "top_k": Case(
        lambda d, x: reductions.top_k(d, x, 2, 2),
        lambda x: [r[:, :, :2] for r in ordered(x, 2, True)],
        integers("bt7", -3, 3),
    ),
    "sort a fixed axis": Case(
        lambda d, x: reductions.sort(d, x, -1), lambda x: ordered(x, -1, False), integers("btf", -3, 3)
    ),
    "sort frames": Case(
        lambda d, x: reductions.sort(d, x, 1, descending=True), lambda x: ordered(x, 1, True), integers("btf", -3, 3)
    ),
    "sort a batch": Case(lambda d, x: reductions.sort(d, x, 0), lambda x: ordered(x, 0, False), integers("bt", -3, 3)),
    "sort a vector": Case(lambda d, x: reductions.sort(d, x, 0, True), lambda x: ordered(x, 0, True), floats("b")),
    # ---- products ----------------------------------------------------------------------------------------------------
    "matmul": Case(lambda d, a, b: products.matmul(d, a, b), np.matmul, floats("bt4", "b43")),
    "matmul of vectors": Case(lambda d, a, b: products.matmul(d, a, b), np.matmul, floats("3", "3"), fixed_only=True),
    "vector by matrices": Case(
        lambda d, a, b: products.matmul(d, a, b), np.matmul, floats("t", "bt3"), fixed_only=True
    ),
    "matmul transposed": Case(
        lambda d, a, b: products.matmul(d, a, b, 0.5, True, True),
        lambda a, b: 0.5 * np.swapaxes(a, 1, 2) @ np.swapaxes(b, 1, 2),
        floats("btf", "b3t"),
        fixed_only=True,
    ),
    "dense": Case(
        lambda d, x: products.dense(d, x, known(WEIGHT), known(WEIGHT[:, 0])),
        lambda x: x @ WEIGHT.T + WEIGHT[:, 0],
        floats("bt4"),
    ),
    "dense at run time": Case(
        lambda d, x, w, b: products.dense(d, x, w, b),
        lambda x, w, b: x @ w.T + b,
        floats("bt4", "34", "3"),
        fixed_only=True,
    ),
    "gemm": Case(
        lambda d, x: products.gemm(d, x, known(WEIGHT.T), known(WEIGHT[:, 0]), 0.5, 2.0),
        lambda x: 0.5 * x @ WEIGHT.T + 2 * WEIGHT[:, 0],
        floats("b4"),
    ),
    "gemm without its third": Case(
        lambda d, a, b, c: products.gemm(d, a, b, c, 1.0, 0.0),
        lambda a, b, c: a @ b,
        floats("b4", "43", "3"),
        fixed_only=True,
    ),
    "causal attention": Case(
        lambda d, q, k, v: products.attention(d, q, k, v, causal=True)[0],
        lambda q, k, v: attended(q, k, v, True),
        floats("bt4", "bt4", "bt3"),
    ),
    "attention with a mask": Case(
        lambda d, q, k, v, m: products.attention(d, q, k, v, d.binary("greater", m, -2.0), scale=0.5)[0],
        lambda q, k, v, m: softmax(np.where(m > -2, 0.5 * q @ np.swapaxes(k, 1, 2), -np.inf)) @ v,
        floats("bt4", "bt4", "bt3", "btt"),
        fixed_only=True,
    ),
    "attention with a causal mask and biases": Case(
        lambda d, q, m: products.masked_softmax(d, q, m, causal=True, taken_off=1e9),
        lambda q, m: softmax(np.where(np.tril(np.ones(q.shape[1:], bool)), q + m, q + m - 1e9)),
        floats("btt", "btt"),
        fixed_only=True,
    ),
    "heads": Case(
        lambda d, x: products.join_heads(d, d.binary("mul", products.split_heads(d, x, 2), 2.0)),
        lambda x: 2 * x,
        floats("bt4"),
    ),
    # ---- selection ---------------------------------------------------------------------------------------------------
    "gather evenly": Case(
        lambda d, x: selection.gather(d, x, known([1, 3, 5]), -1), lambda x: x[..., [1, 3, 5]], floats("bt7")
    ),
    "gather unevenly": Case(
        lambda d, x: selection.gather(d, x, known([[1, -1], [0, 0]]), 2),
        lambda x: x[..., [[1, -1], [0, 0]]],
        floats("bt7"),
    ),
    "gather one place": Case(
        lambda d, x: selection.gather(d, x, known(np.int64(-1)), 1), lambda x: x[:, -1], floats("bt7")
    ),
    "gather at run time": Case(
        lambda d, x, i: selection.gather(d, x, i, 2),
        lambda x, i: np.take(x, i, 2),
        [("bt5", normal), ("bt", between(0, 5))],
    ),
    "embedding": Case(lambda d, i: selection.embedding(d, known(WEIGHT), i), lambda i: WEIGHT[i], integers("bt", 0, 3)),
    "gather_elements": Case(
        lambda d, x, i: selection.gather_elements(d, x, i, -1),
        lambda x, i: np.take_along_axis(x, i, -1),
        [("bt5", normal), ("bt3", between(0, 5))],
    ),
    "gather_nd": Case(
        lambda d, x: selection.gather_nd(d, x, np.array([[0, 1], [2, -1]])),
        lambda x: x[[0, 2], [1, -1]],
        floats("34f"),
        fixed_only=True,
    ),
    "compress": Case(
        lambda d, x: selection.compress(d, x, np.array([1, 0, 1, 1]), 2), lambda x: x[..., [0, 2, 3]], floats("bt4")
    ),
    "compress all": Case(
        lambda d, x: selection.compress(d, x, np.array([0, 1, 1]), None),
        lambda x: x.reshape(-1)[[1, 2]],
        floats("bt5"),
    ),
    "scatter_nd in one axis": Case(
        lambda d, x, u: selection.scatter_nd(d, x, np.array([[1], [3]]), u),
        lambda x, u: np.concatenate([x[:1], u[:1], x[2:3], u[1:], x[4:]]),
        floats("6f", "2f"),
        fixed_only=True,
    ),
    "scatter_nd anywhere": Case(
        lambda d, x, u: selection.scatter_nd(d, x, np.array([[1, 0], [0, 2], [1, 0]]), u),
        lambda x, u: replaced(x, [(1, 0), (0, 2), (1, 0)], u),
        floats("34f", "3f"),
        fixed_only=True,
    ),
    "scatter_elements": Case(
        lambda d, x, u: selection.scatter_elements(d, x, known([[2, 0]]), u, 1, "add"),
        lambda x, u: x + np.stack([u[:, 1], 0 * u[:, 0], u[:, 0]], 1),
        floats("13", "12"),
        fixed_only=True,
    ),
    "one_hot": Case(
        lambda d, i: selection.one_hot(d, i, 4, d.constant(5.0), d.constant(-1.0)),
        lambda i: np.where(np.arange(4) == (i % 4)[..., None], 5.0, -1.0),
        integers("bt", -4, 4),
    ),
    "one_hot in front": Case(
        lambda d, i: selection.one_hot(d, i, 4, d.constant(1.0), d.constant(0.0), 0),
        lambda i: np.moveaxis(np.eye(4)[i], -1, 0),
        integers("bt", 0, 4),
    ),
    "upper triangle": Case(lambda d, x: selection.trilu(d, x, True, 1), lambda x: triangle(x, True, 1)),
    "lower triangle": Case(lambda d, x: selection.trilu(d, x, False), lambda x: triangle(x, False, 0)),
    "masked_fill": Case(
        lambda d, x, m: selection.masked_fill(d, x, m, -3),
        lambda x, m: np.where(m != 0, -3, x),
        [("btf", normal), ("bt1", between(0, 2))],
    ),
}
WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4) / 7


def replaced(x: np.ndarray, places: list[tuple[int, ...]], updates: np.ndarray) -> np.ndarray:
    out = x.copy()
    for place, update in zip(places, updates):
        out[place] = update
    return out


sizes = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=6, deadline=None)
@given(sizes=sizes, seed=st.integers(0, 2**32 - 1))
def test_a_meaning_is_numpys(name: str, sizes: tuple[int, int, int], seed: int) -> None:
    """On known values, on tensors of fixed sizes, and with batch and frames left open."""
    case, r, size = CASES[name], np.random.default_rng(seed), dict(zip("btf", sizes))
    arrays = [make(r, [size.get(c) or int(c) for c in word]) for word, make in case.inputs]
    with np.errstate(all="ignore"):
        wanted = case.answer(*(a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays))
    wanted = wanted if isinstance(wanted, list) else [wanted]
    ways = [(False, False), (True, False)] + ([] if case.fixed_only else [(True, True)])
    for at_run_time, open_sizes in ways:
        found = answers(case, arrays, at_run_time, open_sizes)
        assert len(found) == len(wanted)
        for f, w in zip(found, wanted):
            assert np.shape(f) == np.shape(w), (at_run_time, open_sizes)
            np.testing.assert_allclose(f, w, rtol=2e-5, atol=2e-6, err_msg=f"{at_run_time=} {open_sizes=}")


# ---- einsum ----------------------------------------------------------------------------------------------------------

EQUATIONS = [
    "bij,bjk->bik",
    "...ij,...jk->...ik",
    "b...i,ij->b...j",
    "ij,jk,kl->il",
    "bi,bi->b",
    "bti->",
    "bti->tib",
    "bi,tj->btij",
    "bti,jtk",
    "btc,btd,bte->be",
]
RANKS = {"...ij,...jk->...ik": (4, 3), "b...i,ij->b...j": (4, 2)}


@pytest.mark.parametrize("equation", EQUATIONS)
@settings(max_examples=6)
@given(sizes=st.lists(st.integers(1, 4), min_size=26, max_size=26), seed=st.integers(0, 2**32 - 1))
def test_einsum(equation: str, sizes: list[int], seed: int) -> None:
    """With an ellipsis, with any number of operands, with no result given; b and t left open."""
    words = equation.partition("->")[0].split(",")
    for n, rank in enumerate(RANKS.get(equation, ())):
        words[n] = words[n].replace("...", "xyz"[3 - (rank - len(words[n]) + 3) :])
    r = np.random.default_rng(seed)
    arrays = [normal(r, [sizes[ord(c) - ord("a")] for c in word]) for word in words]
    case = Case(lambda d, *xs: products.einsum(d, equation, xs), None, [(word, normal) for word in words])
    wanted = np.einsum(equation, *(a.astype(np.float64) for a in arrays))
    for at_run_time, open_sizes in [(False, False), (True, False), (True, True)]:
        (found,) = answers(case, arrays, at_run_time, open_sizes)
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


# ---- values known in part --------------------------------------------------------------------------------------------

OPEN_SIZES = [BATCH, FRAMES, FRAMES * 2 + 3, FRAMES // 4, BATCH * FRAMES - 1, FRAMES + BATCH, -1 * FRAMES]
WHOLE = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": lambda a, b: np.trunc(a / b).astype(int),
    "mod": np.mod,
    "max": np.maximum,
    "min": np.minimum,
    **{k: getattr(np, k) for k in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")},
}


def at(value: Value, d: Dialect, batch: int, frames: int) -> list[Any]:
    """The elements of a value for a batch and a number of frames: folded, or computed by the graph."""
    if value.array is not None:
        return [int(size_at(e, batch, frames)) for e in value.array.flat]
    d.graph.output("y", d.tensor(value))
    outputs, _ = reference.run(d.graph, {"x": np.zeros((batch, frames))})
    return outputs["y"].reshape(-1).tolist()


@pytest.mark.parametrize("kind", WHOLE)
@given(
    a=st.sampled_from(OPEN_SIZES),
    b=st.one_of(st.sampled_from(OPEN_SIZES), st.integers(1, 5)),
    turned=st.booleans(),
    batch=st.integers(1, 4),
    frames=st.integers(1, 9),
)
def test_sizes_are_computed_as_the_numbers_they_will_be(
    kind: str, a: Any, b: Any, turned: bool, batch: int, frames: int
) -> None:
    if turned:
        a, b = b, a
    numbers = [np.int64(size_at(s, batch, frames)) for s in (a, b)]
    if kind in ("div", "mod") and (numbers[1] <= 0 or numbers[0] < 0):
        return  # sizes are counts: what is divided is none below 0
    d = Dialect()
    d.graph.input("x", (BATCH, FRAMES), "float32")
    found = d.binary(kind, known(np.array([a, 7], object)), known(np.array([b, 2], object)))
    wanted = WHOLE[kind](np.array([numbers[0], 7]), np.array([numbers[1], 2]))
    assert at(found, d, batch, frames) == wanted.tolist()


@pytest.mark.parametrize("size", [FRAMES * -1, FRAMES * -3, 2 - FRAMES * 2 - BATCH])
@pytest.mark.parametrize("kind", ["div", "fmod", "mod"])
def test_negative_sizes_are_rounded_towards_zero(kind: str, size: Any) -> None:
    """As whole numbers are by every format's division; only mod has the sign of the divisor."""
    d = Dialect()
    found = d.binary(kind, known(np.array([size], object)), 4).data.item()
    for frames in range(1, 9):
        number = size_at(size, 2, frames)
        quotient = -(-number // 4) if kind == "div" else number % 4 if kind == "mod" else number + (-number // 4) * 4
        assert size_at(found, 2, frames) == quotient
    assert not d.notes and not d.graph.nodes


@pytest.mark.parametrize("kind, notes", [("div", 1), ("fmod", 1), ("mod", 0)])
def test_a_size_that_few_frames_would_make_negative_is_rounded_as_a_size_and_said_so(kind: str, notes: int) -> None:
    d = Dialect()
    assert isinstance(d.binary(kind, FRAMES - 3, 2).data.item(), Dim)
    assert len(d.notes) == notes and all("frames-3 is rounded as a size, so as no less than 0" in n for n in d.notes)


def test_what_is_decided_for_every_size_is_known() -> None:
    d = Dialect()
    assert d.binary("greater", FRAMES, 0).data.all()
    assert not d.binary("equal", FRAMES + 1, FRAMES).data.any()
    assert d.binary("max", FRAMES, 1).data.item() == FRAMES
    assert d.binary("div", FRAMES * 4, 2).data.item() == FRAMES * 2
    kept = arithmetic.where(d, known(np.array([True, False])), known(np.array([FRAMES, 3], object)), known([5, 6]))
    assert kept.data.tolist() == [FRAMES, 6]
    total = reductions.reduce(d, "prod", known(np.array([[FRAMES, 2], [BATCH, 3]], object)), [0], keepdims=False)
    assert total.data.tolist() == [FRAMES * BATCH, 6]
    assert d.unary("neg", known(np.array([FRAMES], object))).data.tolist() == [-1 * FRAMES]
    assert not d.graph.nodes


@given(a=st.integers(-(2**62), 2**62), b=st.integers(1, 2**62))
def test_integers_of_64_bits_stay_exact(a: int, b: int) -> None:
    d = Dialect()
    quotient, rest = d.binary("div", known(np.int64(a)), known(np.int64(b))), d.binary("mod", known(a), known(b))
    assert quotient.data.item() == abs(a) // b * (1 if a >= 0 else -1)
    assert rest.data.item() == a % b
    assert d.unary("neg", known(np.int64(a))).data.item() == -a
    assert d.unary("floor", known(np.int64(a))).data.item() == a


def test_a_neutral_number_leaves_no_op() -> None:
    d = Dialect()
    x = run_time(d, "x", np.zeros((2, 3), np.float32), "bt", True)
    assert d.binary("add", x, 0) is d.binary("mul", 1, x) is d.binary("div", x, 1.0) is x
    assert arithmetic.scaled(d, x, 1) is x is d.cast(x, "float32")
    assert not d.graph.nodes


# ---- refusals --------------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "an axis that is none": (lambda d, x: reductions.softmax(d, x, 3), "axis 3 of a tensor with 3 axes"),
    "an open half": (lambda d, x: arithmetic.glu(d, x, 1), "halves an axis of size frames"),
    "a place beyond the axis": (lambda d, x: selection.gather(d, x, known([4]), 2), "index 4 or 4 into an axis"),
    "part of an open axis": (lambda d, x: reductions.top_k(d, x, BATCH, 1), r"k = batch of shape \[batch, frames, 4\]"),
    "places in an open axis": (
        lambda d, x: selection.gather_nd(d, x, np.zeros((1, 2), int)),
        r"indexes axes of sizes \[batch, frames\]",
    ),
    "a label twice": (lambda d, x: products.einsum(d, "bii->b", [x]), "each label once"),
    "operands that lack": (lambda d, x: products.einsum(d, "bti,ij->btj", [x]), "expected 2 operands, found 1"),
    "no infinity": (lambda d, x: arithmetic.is_inf(d, x, False, False), "neither infinity"),
    "an unknown reduction": (
        lambda d, x: selection.scatter_elements(d, x, known([[[0]]]), x, 0, "mean"),
        "expected 'none', 'add', 'mul', 'max' or 'min'",
    ),
    "a huge constant": (lambda d, x: selection.one_hot(d, known([1]), 2**40), "asks for .* bytes of memory"),
    "a huge broadcast": (
        lambda d, x: d.binary("add", known(np.zeros((2**13, 1))), known(np.zeros((1, 2**13)))),
        "asks for 1073741824 bytes of memory",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_place(name: str) -> None:
    meaning, reason = REFUSED[name]
    d = Dialect()
    d.place = "node 'here'"
    x = run_time(d, "x", np.zeros((2, 3, 4), np.float32), "bt4", True)
    refusal = MemoryLimitError if "memory" in reason else UnsupportedModelError
    with pytest.raises(refusal, match=f"^node 'here': .*{reason}"):
        meaning(d, x)
