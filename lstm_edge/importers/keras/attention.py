"""Attention, AdditiveAttention and MultiHeadAttention."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dialect import Value, arithmetic, movement, products, reductions
from .config import Layer
from .emit import Call, Emit, Masked, Rule

_TAKEN_OFF = 1e9  # Keras's own: what is taken off a masked score


def attention(e: Emit, layer: Layer, call: Call) -> list[Masked]:
    """[query, value, key?]: (B,Tq,K), (B,Tv,D), (B,Tv,K) -> (B,Tq,D)."""
    if len(call.inputs) not in (2, 3):
        raise e.unsupported(f"{len(call.inputs)} inputs", "expected query, value and perhaps key")
    query, value = call.inputs[:2]
    key = call.inputs[2] if len(call.inputs) == 3 else value
    q_mask, v_mask = _given_masks(e, call, query.mask, value.mask)
    layer.config.take("use_scale")
    score_mode = layer.config.word("score_mode", ("dot", "concat"), "dot") if layer.cls == "Attention" else "concat"
    if score_mode == "dot":
        scale = float(np.ravel(layer.weights["scale"])[0]) if "scale" in layer.weights else 1.0
        scores = products.matmul(e, query.value, key.value, scale, transpose_b=True)
    else:
        scores = _additive_scores(e, layer, query.value, key.value)
    mask = movement.unsqueeze(e, v_mask, [1]) if v_mask else None
    causal = bool(call.kwargs.pop("use_causal_mask", None) or layer.config.flag("causal"))
    weights = e.named(products.masked_softmax(e, e.named(scores, "scores"), mask, causal, _TAKEN_OFF), "weights")
    y = products.matmul(e, weights, value.value)
    if q_mask:
        wide = movement.unsqueeze(e, q_mask, [2])
        y = arithmetic.where(e, wide, e.named(y, "sum"), e.constant(0.0))
    return _with_weights(call, Masked(y, q_mask), weights)


def _with_weights(call: Call, y: Masked, weights: Value) -> list[Masked]:
    return [y, Masked(weights)] if call.kwargs.pop("return_attention_scores", None) else [y]


def _given_masks(e: Emit, call: Call, q_mask: Value | None, v_mask: Value | None) -> tuple[Value | None, Value | None]:
    mask = call.kwargs.pop("mask", None)
    if mask is None:
        return q_mask, v_mask
    if not isinstance(mask, (list, tuple)) or isinstance(mask, Masked):
        raise e.unsupported(f"mask {str(mask)[:40]}", "expected [query mask, value mask]")
    q, v = (e.cast(m.value, "bool") if isinstance(m, Masked) else None for m in mask[:2])
    return q, v


def _additive_scores(e: Emit, layer: Layer, query: Value, key: Value) -> Value:
    """sum over features of scale * tanh(query + key), for every pair; Attention's concat mode scales inside the tanh."""
    total = e.binary("add", movement.unsqueeze(e, query, [2]), movement.unsqueeze(e, key, [1]))
    scale = layer.weights.get("scale", np.float32(1))
    if layer.cls == "Attention":
        curved = e.unary("tanh", e.scaled(total, scale))
        return e.scaled(reductions.reduce(e, "sum", curved, [3], False), layer.weights["concat_score_weight"])
    return reductions.reduce(e, "sum", e.scaled(e.unary("tanh", total), scale), [3], False)


def _both(e: Emit, mask: Value | None, other: Value) -> Value:
    return other if mask is None else e.binary("and", mask, other)


def multi_head_attention(e: Emit, layer: Layer, call: Call) -> list[Masked]:
    """query (B,T,F), value (B,S,F), key -> (B,T,O): heads by Dense, reshape to (B,N,T,D), two products."""
    query, value, key = _heads_inputs(e, call)
    if any(e.rank(v.value) != 3 for v in (query, value, key)):
        raise e.unsupported(f"inputs of shape {e.shape(query.value)}, {e.shape(value.value)}", "expected rank 3")
    heads, width = layer.config.size("num_heads"), layer.config.size("key_dim")
    value_width = layer.config.size("value_dim", width) if layer.config.take("value_dim") else width
    for name in ("use_bias", "output_shape", "flash_attention"):
        layer.config.take(name)
    if (
        layer.config.take("attention_axes") not in (None, 1, [1], [-2])
        or layer.config.take("use_gate")
        or layer.config.take("sliding_window")
    ):
        raise e.unsupported(
            "attention_axes, use_gate or sliding_window", "expected attention over axis 1 without gate or window"
        )
    if (layer.version.major, layer.version.minor) < (2, 10):  # masks of the inputs are used since Keras 2.10
        query, value, key = (Masked(v.value) for v in (query, value, key))
    q = _project(e, layer, "query", query.value, heads, width)
    k = _project(e, layer, "key", key.value, heads, width)
    v = _project(e, layer, "value", value.value, heads, value_width)
    scores = e.named(products.matmul(e, q, k, 1 / np.sqrt(width), transpose_b=True), "scores")
    mask, causal = _heads_mask(e, call, query, value, key), bool(call.kwargs.pop("use_causal_mask", None))
    weights = e.named(products.masked_softmax(e, scores, mask, causal, _TAKEN_OFF), "weights")
    flat = products.join_heads(e, e.named(products.matmul(e, weights, v), "mixed"))
    kernel = layer.weights["output_kernel"].reshape(heads * value_width, -1)
    return _with_weights(call, Masked(_dense(e, layer, "output", flat, kernel, ""), query.mask), weights)


def _heads_inputs(e: Emit, call: Call) -> tuple[Masked, Masked, Masked]:
    """query, value, key, given in order or by keyword."""
    given = list(call.inputs)
    for word in ("query", "value", "key"):
        named = call.kwargs.pop(word, None)
        if isinstance(named, Masked):
            given.insert(("query", "value", "key").index(word), named)
    if len(given) not in (2, 3):
        raise e.unsupported(f"{len(given)} inputs", "expected query, value and perhaps key")
    return given[0], given[1], given[2] if len(given) == 3 else given[1]


def _dense(e: Emit, layer: Layer, part: str, x: Value, kernel: np.ndarray, name: str) -> Value:
    """x W + b with the bias of this part."""
    bias = layer.weights.get(f"{part}_bias")
    offset = None if bias is None else e.weight(bias.ravel(), f"{part}_bias")
    return e.named(products.dense(e, x, e.weight(kernel.T, f"{part}_w"), offset), name)


def _project(e: Emit, layer: Layer, part: str, x: Value, heads: int, width: int) -> Value:
    """x W + b as (B, heads, T, width)."""
    kernel = layer.weight(f"{part}_kernel", (_features(e, x), heads, width))
    return products.split_heads(e, _dense(e, layer, part, x, kernel.reshape(kernel.shape[0], -1), part), heads)


def _features(e: Emit, x: Value) -> Any:
    return e.shape(x)[-1]


def _heads_mask(e: Emit, call: Call, query: Masked, value: Masked, key: Masked) -> Value | None:
    """(B,1,T,S) or less: query, value and key masks and the given attention_mask (B,T,S), all joined by AND."""
    words = [call.kwargs.pop(w, None) for w in ("query_mask", "value_mask", "key_mask", "mask")]
    if any(isinstance(m, Masked) for m in words):
        raise e.unsupported("masks by keyword", "pass attention_mask instead")
    mask = movement.unsqueeze(e, query.mask, [1, 3]) if query.mask else None
    for side in (value, key) if key.value.tensor != value.value.tensor else (value,):
        if side.mask:
            mask = _both(e, mask, movement.unsqueeze(e, side.mask, [1, 2]))
    given = call.kwargs.pop("attention_mask", None)
    if isinstance(given, Masked):
        wanted = e.cast(given.value, "bool")
        mask = _both(e, mask, movement.unsqueeze(e, wanted, [1]) if e.rank(wanted) == 3 else wanted)
    elif given is not None:
        raise e.unsupported("an attention_mask that is not a tensor", "pass it as an input")
    return mask


RULES: dict[str, Rule] = {
    "Attention": attention,
    "AdditiveAttention": attention,
    "MultiHeadAttention": multi_head_attention,
}
