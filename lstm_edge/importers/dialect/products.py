"""Products of matrices: matmul and its kin, einsum, attention."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...ir.dims import Size, product
from ...options import as_typed
from .arithmetic import where
from .builder import Dialect
from .reductions import reduce, softmax
from .value import Value, known


def dense(
    d: Dialect, x: Value, weight: Value, bias: Value | None = None, activation: Mapping[str, Any] | None = None
) -> Value:
    """x (..., K) by weight (N, K), plus bias (N,). activation: the attributes activation, alpha and beta of Dense, for
    a weight known at conversion."""
    fits = bias is None or bias.is_known and d.shape(bias) == d.shape(weight)[:1]
    if weight.is_known and weight.data.ndim == 2 and fits:
        return d.emit("Dense", [x, weight, bias], dict(activation or {}))
    out = d.emit("MatMul", [x, weight], {"trans_b": 1})
    return out if bias is None else d.binary("add", out, bias)


def matmul(
    d: Dialect, a: Value, b: Value, scale: float = 1.0, transpose_a: bool = False, transpose_b: bool = False
) -> Value:
    """scale * a b as NumPy's matmul has it, of the last two axes turned where asked. A known matrix on the right makes
    a Dense."""
    rank_a, rank_b = len(d.shape(a)), len(d.shape(b))
    if b.is_known and rank_b == 2 and rank_a >= 1 and not (transpose_a and rank_a > 1):
        matrix = b.data if transpose_b else b.data.T
        return d.emit("Dense", [a, known(np.ascontiguousarray(matrix.astype(np.float32) * np.float32(scale)))])
    a = d.reshape(a, [1, *d.shape(a)]) if rank_a == 1 else a
    b = d.reshape(b, [*d.shape(b), 1]) if rank_b == 1 else b
    turned = {"trans_a": transpose_a and rank_a > 1, "trans_b": transpose_b and rank_b > 1}
    attrs: dict[str, float] = {k: 1 for k, v in turned.items() if v}
    out = d.emit("MatMul", [a, b], {**attrs, "scale": scale} if scale != 1.0 else attrs)
    shape = list(d.shape(out))
    if rank_a == 1:
        del shape[-2]
    if rank_b == 1:
        del shape[-1]
    return d.reshape(out, shape)


def gemm(d: Dialect, a: Value, b: Value, c: Value | None, alpha: float = 1.0, beta: float = 1.0) -> Value:
    """alpha a b + beta c; with b and a row c known, one Dense. A beta of 0 leaves c out, whatever it holds."""
    if c is not None and beta == 0.0:
        c = None
    if c is not None and c.is_known:
        c = known(c.data.astype(np.float32) * np.float32(beta))
    elif c is not None and beta != 1.0:
        c = d.binary("mul", c, d.constant(beta))
    if c is not None and c.is_known and b.is_known and b.data.ndim == 2:
        width = b.data.shape[1]
        if c.data.size == 1 or c.data.size == width == c.data.shape[-1]:
            weight = known(np.ascontiguousarray(b.data.T.astype(np.float32) * np.float32(alpha)))
            bias = known(np.ascontiguousarray(np.broadcast_to(c.data.reshape(-1), (width,))))
            return d.emit("Dense", [a, weight, bias])
    out = matmul(d, a, b, alpha)
    return out if c is None else d.binary("add", out, c)


# ---- einsum ----------------------------------------------------------------------------------------------------------


def einsum(d: Dialect, equation: str, operands: Sequence[Value]) -> Value:
    """Pairs of operands from the left: labels that nothing else needs are summed out, the rest is one MatMul."""
    equation = equation.replace(" ", "")
    terms, output = _einsum_terms(d, equation, operands)
    labels, value = terms[0], _sum_out(d, terms[0], operands[0], set(output).union(*terms[1:]))
    labels = [x for x in labels if x in set(output).union(*terms[1:])]
    for n in range(1, len(terms)):
        needed = set(output).union(*terms[n + 1 :])
        labels, value = _einsum_pair(d, labels, value, terms[n], operands[n], needed)
    return d.transpose(value, [labels.index(x) for x in output])


def _einsum_terms(d: Dialect, equation: str, operands: Sequence[Value]) -> tuple[list[list[str]], list[str]]:
    """The labels of each operand and of the output; an ellipsis becomes '.0', '.1' counted from the last axis."""
    left, arrow, right = equation.partition("->")
    texts = left.split(",")
    if len(texts) != len(operands):
        raise d.refuse(f"equation {equation!r}: expected {len(texts)} operands, found {len(operands)}")
    terms: list[list[str]] = []
    widest = 0
    for n, (text, operand) in enumerate(zip(texts, operands)):
        rank = len(d.shape(operand))
        extra = rank - len(text.replace("...", ""))
        widest = max(widest, extra if "..." in text else 0)
        dots = [f".{k}" for k in range(extra - 1, -1, -1)]
        head, mark, tail = text.partition("...")
        term = [*head, *(dots if mark else []), *tail]
        if len(set(term)) != len(term) or len(term) != rank:
            raise d.refuse(
                f"equation {equation!r}: expected each label once per operand, and one per axis "
                f"(operand {n} has {rank} axes)"
            )
        terms.append(term)
    all_dots = [f".{k}" for k in range(widest - 1, -1, -1)]
    if arrow:
        head, mark, tail = right.partition("...")
        return terms, [*head, *(all_dots if mark else []), *tail]
    once = sorted(x for x in {y for t in terms for y in t} if sum(t.count(x) for t in terms) == 1 and x[0] != ".")
    return terms, all_dots + once


def _sum_out(d: Dialect, labels: list[str], value: Value, needed: set[str]) -> Value:
    axes = [n for n, x in enumerate(labels) if x not in needed]
    return reduce(d, "sum", value, axes, keepdims=False) if axes else value


def _einsum_pair(
    d: Dialect, left: list[str], a: Value, right: list[str], b: Value, needed: set[str]
) -> tuple[list[str], Value]:
    a, b = (_sum_out(d, x, v, needed | set(other)) for x, v, other in ((left, a, right), (right, b, left)))
    left, right = ([x for x in t if x in needed | set(o)] for t, o in ((left, right), (right, left)))
    batch = [x for x in left if x in right and x in needed]
    inner = [x for x in left if x in right and x not in needed]
    rows, columns = ([x for x in t if x not in o] for t, o in ((left, right), (right, left)))

    sizes_a, sizes_b = dict(zip(left, d.shape(a))), dict(zip(right, d.shape(b)))

    def matrix(value: Value, sizes: dict[str, Size], first: list[str], second: list[str]) -> Value:
        ordered = d.transpose(value, [[*sizes].index(x) for x in batch + first + second])
        return d.reshape(ordered, [sizes[x] for x in batch] + [product(sizes[x] for x in g) for g in (first, second)])

    out = matmul(d, matrix(a, sizes_a, rows, inner), matrix(b, sizes_b, inner, columns))
    shared = d.shape(out)[: len(batch)]  # the labels of an ellipsis broadcast
    return batch + rows + columns, d.reshape(
        out, [*shared, *(sizes_a[x] for x in rows), *(sizes_b[x] for x in columns)]
    )


# ---- attention -------------------------------------------------------------------------------------------------------


def causal_mask(d: Dialect, rows: Size, columns: Size) -> Value:
    """bool (rows, columns): key j is no later than query i."""
    both = [rows, columns]
    return d.binary("less_equal", d.positions(both, 1), d.positions(both, 0))


def attention(
    d: Dialect,
    query: Value,
    key: Value,
    value: Value,
    mask: Value | None = None,
    causal: bool = False,
    scale: float | None = None,
    taken_off: float = math.inf,
) -> tuple[Value, Value]:
    """Scaled dot product attention, and its weights: query (..., T, E), key (..., S, E), value (..., S, V).

    mask: bool (true: looked at) or float (added to the scores), broadcast to (..., T, S). scale: 1 / sqrt(E) where
    None. taken_off: what a masked score loses.
    """
    if scale is None:
        width = d.shape(query)[-1]
        if not isinstance(width, int):
            raise d.refuse(f"attention over features of size {width}; fix that size ({as_typed('shapes')})")
        scale = 1 / math.sqrt(width)
    scores = d.emit("MatMul", [query, key], {"trans_b": 1, "scale": float(scale)})
    weights = masked_softmax(d, scores, mask, causal, taken_off)
    return d.emit("MatMul", [weights, value]), weights


def masked_softmax(
    d: Dialect, scores: Value, mask: Value | None = None, causal: bool = False, taken_off: float = math.inf
) -> Value:
    """Softmax of scores (..., T, S) over S, as `attention` masks them."""
    if mask is not None and d.run_dtype(mask) != "bool":
        scores, mask = d.binary("add", scores, mask), None
    if causal:
        lower = causal_mask(d, *d.shape(scores)[-2:])
        mask = lower if mask is None else d.binary("and", mask, lower)
    if mask is not None:
        low = -math.inf if taken_off == math.inf else d.binary("sub", scores, taken_off)
        scores = where(d, mask, scores, low)
    return softmax(d, scores)


def split_heads(d: Dialect, x: Value, heads: int) -> Value:
    """(B, T, N*D) to (B, N, T, D)."""
    batch, frames, width = d.shape(x)
    if not isinstance(width, int) or width % heads:
        raise d.refuse(f"{width} features for {heads} heads: expected a multiple")
    return d.transpose(d.reshape(x, [batch, frames, heads, width // heads]), [0, 2, 1, 3])


def join_heads(d: Dialect, x: Value) -> Value:
    """(B, N, T, D) to (B, T, N*D)."""
    batch, heads, frames, width = d.shape(x)
    return d.reshape(d.transpose(x, [0, 2, 1, 3]), [batch, frames, heads * width])
