"""The aten calls of matrix products: linear, matmul and its kin, einsum, attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir.dims import product
from .movement import arange_of, permute_axes, unsqueeze
from .program import Lowering, Var, op


@op("linear")
def _linear(c: Lowering, input: Any, weight: Any, bias: Any = None) -> Var:
    return c.dense(input, weight, bias)


@op("addmm")
def _addmm(c: Lowering, self: Any, mat1: Any, mat2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    if alpha == beta == 1 and isinstance(mat2, np.ndarray):
        return c.dense(mat1, np.ascontiguousarray(mat2.T), self)
    y = c.node("MatMul", [mat1, mat2], {"scale": float(alpha)})
    return c.binary("add", y, self if beta == 1 else c.binary("mul", self, beta))


@op("baddbmm")
def _baddbmm(c: Lowering, self: Any, batch1: Any, batch2: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    y = c.node("MatMul", [batch1, batch2], {"scale": float(alpha)})
    return y if beta == 0 else c.binary("add", y, self if beta == 1 else c.binary("mul", self, beta))


@op("matmul", "mm", "bmm", "mv", "dot", "inner", "__matmul__")
def _matmul(c: Lowering, self: Any, other: Any) -> Any:
    a, b = self, other
    vector_a, vector_b = c.rank(a) == 1, c.rank(b) == 1
    if isinstance(b, np.ndarray) and b.ndim == 2 and not isinstance(a, np.ndarray):
        return c.dense(a, np.ascontiguousarray(b.T), None)
    a = unsqueeze(c, a, 0) if vector_a else a
    b = unsqueeze(c, b, 1) if vector_b else b
    y = c.node("MatMul", [a, b])
    shape = list(c.shape(y))
    if vector_b:
        shape.pop(-1)
    if vector_a:
        shape.pop(-1 if vector_b else -2)
    return c.reshape(y, shape) if vector_a or vector_b else y


@op("einsum")
def _einsum(c: Lowering, equation: str, tensors: Any, *, path: Any = None) -> Any:
    """Two operands: batch letters (in both and in the result), inner ones (in both), and each one's own."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != 2 or not arrow or "." in equation or any(len(set(t)) != len(t) for t in [*terms, result]):
        raise c.unsupported(f"einsum {equation!r}; expected two operands, distinct letters and an explicit result")
    ta, tb = terms
    a, b = tensors
    batch = [k for k in ta if k in tb and k in result]
    inner = [k for k in ta if k in tb and k not in result]
    a, ta = _sum_out(c, a, ta, tb + result)
    b, tb = _sum_out(c, b, tb, ta + result)
    own_a, own_b = [k for k in ta if k not in tb], [k for k in tb if k not in ta]
    size = dict(zip(ta, c.shape(a))) | dict(zip(tb, c.shape(b)))

    def arranged(x: Any, term: str, *groups: list[str]) -> Any:
        x = permute_axes(c, x if isinstance(x, Var) else Var(c.t(x)), [term.index(k) for g in groups for k in g])
        return c.reshape(x, [*(size[k] for k in batch), *(product(size[k] for k in g) for g in groups[1:])])

    y = c.node("MatMul", [arranged(a, ta, batch, own_a, inner), arranged(b, tb, batch, inner, own_b)])
    y = c.reshape(y, [size[k] for k in [*batch, *own_a, *own_b]])
    order = [*batch, *own_a, *own_b]
    return permute_axes(c, y, [order.index(k) for k in result])


def _sum_out(c: Lowering, x: Any, term: str, elsewhere: str) -> tuple[Any, str]:
    alone = [d for d, k in enumerate(term) if k not in elsewhere]
    if not alone:
        return x, term
    return c.node("Reduce", [x], {"kind": "sum", "axes": alone, "keepdims": 0}), "".join(
        k for k in term if k in elsewhere
    )


@op("scaled_dot_product_attention", "_scaled_dot_product_attention_math", "_scaled_dot_product_flash_attention_for_cpu")
def _attention(
    c: Lowering,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    **_: Any,
) -> Any:
    if dropout_p or enable_gqa:
        raise c.unsupported("attention with dropout or grouped queries")
    width = c.shape(query)[-1]
    scores = c.node(
        "MatMul", [query, key], {"trans_b": 1, "scale": float(1 / math.sqrt(width) if scale is None else scale)}
    )
    if is_causal:
        rows, columns = c.shape(scores)[-2:]
        row = c.reshape(Var(c.t(arange_of(rows))), [rows, 1])
        column = c.reshape(Var(c.t(arange_of(columns))), [1, columns])
        attn_mask = c.binary("less_equal", column, row)
    if attn_mask is not None and c.dtype(attn_mask) == "bool":
        scores = c.node("Where", [attn_mask, scores, -math.inf])
    elif attn_mask is not None:
        scores = c.binary("add", scores, attn_mask)
    return c.node("MatMul", [c.node("Softmax", [scores], {"axis": -1}), value])


@op("_native_multi_head_attention")
def _multi_head(
    c: Lowering,
    query: Any,
    key: Any,
    value: Any,
    embed_dim: int,
    num_head: int,
    qkv_weight: Any,
    qkv_bias: Any,
    proj_weight: Any,
    proj_bias: Any,
    mask: Any = None,
    need_weights: bool = True,
    average: bool = True,
    mask_type: Any = None,
) -> Any:
    """nn.MultiheadAttention's fast path: query, key and value projected by thirds of one matrix."""
    if mask is not None or embed_dim % num_head:
        raise c.unsupported("multi-head attention with a mask")
    weights, biases = np.split(c.array(qkv_weight, "weight"), 3), np.split(c.array(qkv_bias, "bias"), 3)
    batch, width = c.shape(query)[0], embed_dim // num_head

    def heads(x: Any, n: int) -> Any:
        y = c.dense(x, weights[n], biases[n])
        return permute_axes(c, c.reshape(y, [batch, c.shape(x)[1], num_head, width]), [0, 2, 1, 3])

    q, k, v = (heads(x, n) for n, x in enumerate((query, key, value)))
    scores = c.node("MatMul", [q, k], {"trans_b": 1, "scale": float(1 / math.sqrt(width))})
    weighted = c.node("Softmax", [scores], {"axis": -1})
    joined = permute_axes(c, c.node("MatMul", [weighted, v]), [0, 2, 1, 3])
    y = c.dense(c.reshape(joined, [batch, c.shape(query)[1], embed_dim]), proj_weight, proj_bias)
    if not need_weights:
        return [y, None]
    return [y, c.node("Reduce", [weighted], {"kind": "mean", "axes": [1], "keepdims": 0}) if average else weighted]


@op("_transformer_encoder_layer_fwd")
def _encoder_layer(
    c: Lowering,
    src: Any,
    embed_dim: int,
    num_heads: int,
    qkv_weight: Any,
    qkv_bias: Any,
    proj_weight: Any,
    proj_bias: Any,
    use_gelu: bool,
    norm_first: bool,
    eps: float,
    scale1: Any,
    shift1: Any,
    scale2: Any,
    shift2: Any,
    w1: Any,
    b1: Any,
    w2: Any,
    b2: Any,
    mask: Any = None,
    mask_type: Any = None,
) -> Any:
    """nn.TransformerEncoderLayer's fast path."""

    def norm(x: Any, scale: Any, shift: Any) -> Any:
        return c.node("Normalize", [x, scale, shift], {"axes": [c.rank(x) - 1], "epsilon": float(eps)})

    def attend(x: Any) -> Any:
        return _multi_head(c, x, x, x, embed_dim, num_heads, qkv_weight, qkv_bias, proj_weight, proj_bias, mask, False)[
            0
        ]

    def feed(x: Any) -> Any:
        return c.dense(c.unary("gelu" if use_gelu else "relu", c.dense(x, w1, b1)), w2, b2)

    if norm_first:
        x = c.binary("add", src, attend(norm(src, scale1, shift1)))
        return c.binary("add", x, feed(norm(x, scale2, shift2)))
    x = norm(c.binary("add", src, attend(src)), scale1, shift1)
    return norm(c.binary("add", x, feed(x)), scale2, shift2)
