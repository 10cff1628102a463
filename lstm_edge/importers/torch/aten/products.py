"""The aten calls of matrix products: linear, matmul and its kin, einsum, attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...dialect import Value, known
from ...dialect import products as of
from ...dialect.norms import normalize
from ...dialect.reductions import reduce
from ..lowering import Lowering
from ..registry import op, spell

spell(
    {
        "linear": lambda c, input, weight, bias=None: of.dense(c, input, weight, bias),
        "addmm baddbmm": lambda c, self, mat1, mat2, *, beta=1, alpha=1: of.gemm(
            c, mat1, mat2, self, float(alpha), float(beta)
        ),
        "matmul mm bmm mv dot __matmul__": lambda c, self, other: of.matmul(c, self, other),
        "inner": lambda c, self, other: of.matmul(c, self, other, transpose_b=True),
        "einsum": lambda c, equation, tensors, *, path=None: of.einsum(c, equation, tensors),
    }
)


@op("scaled_dot_product_attention", "_scaled_dot_product_attention_math", "_scaled_dot_product_flash_attention_for_cpu")
def _attention(
    c: Lowering,
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Value | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    **_: Any,
) -> Value:
    if dropout_p or enable_gqa:
        raise c.refuse("attention with dropout or grouped queries")
    return of.attention(c, query, key, value, attn_mask, is_causal, scale)[0]


@op("_native_multi_head_attention")
def _multi_head(
    c: Lowering,
    query: Value,
    key: Value,
    value: Value,
    embed_dim: int,
    num_head: int,
    qkv_weight: Value,
    qkv_bias: Value,
    proj_weight: Value,
    proj_bias: Value,
    mask: Value | None = None,
    need_weights: bool = True,
    average: bool = True,
    mask_type: Any = None,
) -> Any:
    """nn.MultiheadAttention's fast path: query, key and value projected by thirds of one matrix."""
    if mask is not None:
        raise c.refuse("multi-head attention with a mask")
    weights, biases = (np.split(c.array(v, "weight"), 3) for v in (qkv_weight, qkv_bias))
    projected = [of.dense(c, x, known(w), known(b)) for x, w, b in zip((query, key, value), weights, biases)]
    q, k, v = (of.split_heads(c, x, num_head) for x in projected)
    heads, looked = of.attention(c, q, k, v)
    y = of.dense(c, of.join_heads(c, heads), proj_weight, proj_bias)
    if not need_weights:
        return [y, None]
    return [y, reduce(c, "mean", looked, [1], keepdims=False) if average else looked]


@op("_transformer_encoder_layer_fwd")
def _encoder_layer(
    c: Lowering,
    src: Value,
    embed_dim: int,
    num_heads: int,
    qkv_weight: Value,
    qkv_bias: Value,
    proj_weight: Value,
    proj_bias: Value,
    use_gelu: bool,
    norm_first: bool,
    eps: float,
    scale1: Value,
    shift1: Value,
    scale2: Value,
    shift2: Value,
    w1: Value,
    b1: Value,
    w2: Value,
    b2: Value,
    mask: Value | None = None,
    mask_type: Any = None,
) -> Value:
    """nn.TransformerEncoderLayer's fast path."""

    def norm(x: Value, scale: Value, shift: Value) -> Value:
        return normalize(c, x, [-1], eps, scale, shift)

    def attend(x: Value) -> Value:
        weights = (qkv_weight, qkv_bias, proj_weight, proj_bias)
        y: Value = _multi_head(c, x, x, x, embed_dim, num_heads, *weights, mask, False)[0]
        return y

    def feed(x: Value) -> Value:
        return of.dense(c, c.unary("gelu" if use_gelu else "relu", of.dense(c, x, w1, b1)), w2, b2)

    if norm_first:
        x = c.binary("add", src, attend(norm(src, scale1, shift1)))
        return c.binary("add", x, feed(norm(x, scale2, shift2)))
    x = norm(c.binary("add", src, attend(src)), scale1, shift1)
    return norm(c.binary("add", x, feed(x)), scale2, shift2)
