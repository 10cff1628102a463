"""Attention, AdditiveAttention and MultiHeadAttention as MatMul, Softmax and masks."""

from __future__ import annotations

import numpy as np

from .config import Layer
from .emit import Call, Emit, From, Value, unsupported

_LOW = np.float32(-1e9)  # Keras's own: what is taken off a masked score


def attention(e: Emit, layer: Layer, call: Call) -> list[Value]:
    """[query, value, key?]: (B,Tq,K), (B,Tv,D), (B,Tv,K) -> (B,Tq,D)."""
    if len(call.inputs) not in (2, 3):
        raise unsupported(layer, f"{len(call.inputs)} inputs", "expected query, value and perhaps key")
    query, value = call.inputs[:2]
    key = call.inputs[2] if len(call.inputs) == 3 else value
    q_mask, v_mask = _given_masks(layer, call, query.mask, value.mask)
    layer.config.take("use_scale")
    score_mode = layer.config.word("score_mode", ("dot", "concat"), "dot") if layer.cls == "Attention" else "concat"
    if score_mode == "dot":
        scale = float(np.ravel(layer.weights["scale"])[0]) if "scale" in layer.weights else 1.0
        scores = e.op("MatMul", [query.t, key.t], f"{layer.name}/scores", trans_b=1, scale=scale)
    else:
        scores = _additive_scores(e, layer, query.t, key.t)
    mask = _score_mask(e, layer, call, scores, v_mask)
    weights = _masked_softmax(e, scores, mask, layer.name)
    y = e.op("MatMul", [weights, value.t], f"{layer.name}/sum" if q_mask else layer.name)
    if q_mask:
        wide = e.expand_dims(q_mask, 2, f"{layer.name}/query_mask")
        y = e.op("Where", [wide, y, e.const(np.float32(0), f"{layer.name}/zero")], layer.name)
    out = [Value(y, q_mask)]
    return out + [Value(weights)] if call.kwargs.pop("return_attention_scores", None) else out


def _given_masks(layer: Layer, call: Call, q_mask: str | None, v_mask: str | None) -> tuple[str | None, str | None]:
    mask = call.kwargs.pop("mask", None)
    if mask is None:
        return q_mask, v_mask
    if not isinstance(mask, (list, tuple)):
        raise unsupported(layer, f"mask {str(mask)[:40]}", "expected [query mask, value mask]")
    q, v = (m.t if isinstance(m, Value) else None for m in mask[:2])
    return q, v


def _additive_scores(e: Emit, layer: Layer, query: str, key: str) -> str:
    """sum over features of scale * tanh(query + key), for every pair; Attention's concat mode scales inside the
    tanh."""
    total = e.binary(
        "add",
        e.expand_dims(query, 2, f"{layer.name}/q"),
        e.expand_dims(key, 1, f"{layer.name}/k"),
        f"{layer.name}/pairs",
    )
    scale = layer.weights.get("scale", np.float32(1))
    if layer.cls == "Attention":
        curved = e.unary("tanh", e.scaled(total, scale, 0, f"{layer.name}/inside"), f"{layer.name}/tanh")
        scores = e.reduce("sum", curved, [3], f"{layer.name}/scores")
        return e.scaled(scores, layer.weights["concat_score_weight"], 0, f"{layer.name}/weighted")
    return e.reduce(
        "sum",
        e.scaled(e.unary("tanh", total, f"{layer.name}/tanh"), scale, 0, f"{layer.name}/scaled"),
        [3],
        f"{layer.name}/scores",
    )


def _score_mask(e: Emit, layer: Layer, call: Call, scores: str, v_mask: str | None) -> str | None:
    """What of (B,Tq,Tv) may be attended to; None for all."""
    causal = call.kwargs.pop("use_causal_mask", None) or layer.config.flag("causal")
    mask = e.expand_dims(v_mask, 1, f"{layer.name}/value_mask") if v_mask else None
    if causal:
        lower = _causal_mask(e, scores, layer.name)
        mask = e.binary("and", mask, lower, f"{layer.name}/both_masks") if mask else lower
    return mask


def _causal_mask(e: Emit, scores: str, name: str) -> str:
    """bool (Tq, Tv): key j is no later than query i."""
    rank = e.rank(scores)
    ones = e.g.add1(
        "Fill",
        [scores],
        {"shape": [1, 1], "from_input": [0, 0], "from_axis": [rank - 2, rank - 1], "value": 1.0},
        f"{name}/ones",
    )
    rows = e.op("CumSum", [ones], f"{name}/rows", axis=0)
    columns = e.op("CumSum", [ones], f"{name}/columns", axis=1)
    return e.binary("greater_equal", rows, columns, f"{name}/causal")


def _masked_softmax(e: Emit, scores: str, mask: str | None, name: str) -> str:
    if mask:
        low = e.scaled(scores, 1, _LOW, f"{name}/low")
        scores = e.op("Where", [mask, scores, low], f"{name}/masked")
    return e.op("Softmax", [scores], f"{name}/weights", axis=-1)


def multi_head_attention(e: Emit, layer: Layer, call: Call) -> list[Value]:
    """query (B,T,F), value (B,S,F), key -> (B,T,O): heads by Dense, reshape to (B,N,T,D), two products."""
    query, value, key = _heads_inputs(layer, call)
    if any(e.rank(v.t) != 3 for v in (query, value, key)):
        raise unsupported(layer, f"inputs of shape {e.shape(query.t)}, {e.shape(value.t)}", "expected rank 3")
    heads, width = layer.config.size("num_heads"), layer.config.size("key_dim")
    value_width = layer.config.size("value_dim", width) if layer.config.take("value_dim") else width
    for name in ("use_bias", "output_shape", "flash_attention"):
        layer.config.take(name)
    if (
        layer.config.take("attention_axes") not in (None, 1, [1], [-2])
        or layer.config.take("use_gate")
        or layer.config.take("sliding_window")
    ):
        raise unsupported(
            layer, "attention_axes, use_gate or sliding_window", "expected attention over axis 1 without gate or window"
        )
    if (layer.version.major, layer.version.minor) < (2, 10):  # masks of the inputs are used since Keras 2.10
        query, value, key = (Value(v.t) for v in (query, value, key))
    q = _project(e, layer, "query", query.t, heads, width, (0, 2, 1, 3))
    k = _project(e, layer, "key", key.t, heads, width, (0, 2, 3, 1))
    v = _project(e, layer, "value", value.t, heads, value_width, (0, 2, 1, 3))
    scores = e.op("MatMul", [q, k], f"{layer.name}/scores", scale=1 / np.sqrt(width))
    weights = _masked_softmax(e, scores, _heads_mask(e, layer, call, scores, query, value, key), layer.name)
    mixed = e.transpose(e.op("MatMul", [weights, v], f"{layer.name}/mixed"), (0, 2, 1, 3), f"{layer.name}/turned")
    flat = e.reshape(mixed, [From(mixed, 0), From(mixed, 1), heads * value_width], f"{layer.name}/heads")
    kernel = layer.weights["output_kernel"]
    wide = kernel.reshape(heads * value_width, -1)
    inputs = [flat, e.const(wide.T, f"{layer.name}/output_w")]
    if "output_bias" in layer.weights:
        inputs.append(e.const(layer.weights["output_bias"].ravel(), f"{layer.name}/output_bias"))
    out = [Value(e.op("Dense", inputs, layer.name), query.mask)]
    return out + [Value(weights)] if call.kwargs.pop("return_attention_scores", None) else out


def _heads_inputs(layer: Layer, call: Call) -> tuple[Value, Value, Value]:
    """query, value, key, given in order or by keyword."""
    given = list(call.inputs)
    for word in ("query", "value", "key"):
        named = call.kwargs.pop(word, None)
        if isinstance(named, Value):
            given.insert(("query", "value", "key").index(word), named)
    if len(given) not in (2, 3):
        raise unsupported(layer, f"{len(given)} inputs", "expected query, value and perhaps key")
    return given[0], given[1], given[2] if len(given) == 3 else given[1]


def _project(e: Emit, layer: Layer, part: str, x: str, heads: int, width: int, perm: tuple[int, ...]) -> str:
    """x W + b as (B, T, heads, width), transposed by `perm`."""
    kernel = e.weight(layer, f"{part}_kernel", (e.shape(x)[-1], heads, width))
    inputs = [x, e.const(kernel.reshape(kernel.shape[0], -1).T, f"{layer.name}/{part}_w")]
    if f"{part}_bias" in layer.weights:
        inputs.append(e.const(layer.weights[f"{part}_bias"].ravel(), f"{layer.name}/{part}_bias"))
    y = e.op("Dense", inputs, f"{layer.name}/{part}")
    y = e.reshape(y, [From(y, 0), From(y, 1), heads, width], f"{layer.name}/{part}_heads")
    return e.transpose(y, perm, f"{layer.name}/{part}_turned")


def _heads_mask(e: Emit, layer: Layer, call: Call, scores: str, query: Value, value: Value, key: Value) -> str | None:
    """(B,1,T,S) or less: query, value and key masks, the given attention_mask (B,T,S) and the causal one, all joined
    by AND."""
    parts = []
    words = {w: call.kwargs.pop(w, None) for w in ("query_mask", "value_mask", "key_mask", "mask")}
    if any(isinstance(m, Value) for m in words.values()):
        raise unsupported(layer, "masks by keyword", "pass attention_mask instead")
    if query.mask:
        parts.append(
            e.reshape(query.mask, [From(query.mask, 0), 1, From(query.mask, 1), 1], f"{layer.name}/query_mask")
        )
    for side, word in ((value, "value"), (key, "key")) if key.t != value.t else ((value, "value"),):
        if side.mask:
            parts.append(
                e.reshape(side.mask, [From(side.mask, 0), 1, 1, From(side.mask, 1)], f"{layer.name}/{word}_mask")
            )
    given = call.kwargs.pop("attention_mask", None)
    if isinstance(given, Value):
        given_t = e.cast(given.t, "bool", f"{layer.name}/attention_mask")
        parts.append(e.expand_dims(given_t, 1, f"{layer.name}/attention_heads") if e.rank(given_t) == 3 else given_t)
    elif given is not None:
        raise unsupported(layer, "an attention_mask that is not a tensor", "pass it as an input")
    if call.kwargs.pop("use_causal_mask", None):
        parts.append(_causal_mask(e, scores, layer.name))
    mask = None
    for i, part in enumerate(parts):
        mask = part if mask is None else e.binary("and", mask, part, f"{layer.name}/masks{i}")
    return mask


RULES = {"Attention": attention, "AdditiveAttention": attention, "MultiHeadAttention": multi_head_attention}
