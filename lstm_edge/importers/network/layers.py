"""The layers of a network description but the recurrent ones: each takes its keys and gives its tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...ir.dims import Dim
from ...ir.ops import OPS
from ..dialect import Value, arithmetic, known, movement, norms, products, reductions, selection, windows
from ..dialect.activations import Activation, activate, activation
from .keys import Keys, size_of
from .tensors import Network

Layer = Callable[[Network, Keys], Value]

# How files call a parameter: torch, Keras, TensorFlow.
SPELLINGS = {
    "kernel": ("kernel", "weight", "w"),
    "bias": ("bias", "b"),
    "table": ("embeddings", "embedding", "weight", "table"),
    "scale": ("gamma", "weight", "scale"),
    "offset": ("beta", "bias", "offset"),
    "mean": ("moving_mean", "running_mean", "mean"),
    "variance": ("moving_variance", "running_var", "variance", "var"),
    "slope": ("alpha", "weight", "slope"),
}


def source(net: Network, k: Keys) -> Value:
    """What the layer reads: `input`, or what the layer before gave."""
    name = k.take("input", None)
    found = net.previous if name is None else net.value(name, k, "input")
    if found is None:
        k.fail("input: expected a name, found none", "input")
    return found


def parameters(net: Network, k: Keys, required: str, *optional: str) -> dict[str, Any]:
    """Arrays by parameter: each under its own key, or all found below the prefix `weights`."""
    prefix = k.text_of("weights", None)
    found = net.under(prefix, k) if prefix is not None else {}
    made: dict[str, Any] = {}
    for parameter in (required, *optional):
        name = k.take(parameter, None)
        if name is None:
            name = next((found[s] for s in SPELLINGS[parameter] if s in found), None)
        if name is None and parameter == required:
            k.fail(f"{parameter} is missing" + (f": {prefix!r} holds {', '.join(found)}" if found else ""))
        made[parameter] = None if name is None else net.array(name, k, parameter)
    return made


def column_major(net: Network, k: Keys) -> bool:
    """Whether matrices are (in, out), as Keras keeps them; `layout` overrides the convention."""
    layout: str = k.word("layout", ("rows", "columns"), "columns" if net.convention == "keras" else "rows")
    return layout == "columns"


def shaped(array: np.ndarray, rank: int, k: Keys, key: str) -> np.ndarray:
    if array.ndim != rank:
        k.fail(f"{key}: expected {rank} axes, found shape {array.shape}", key)
    return array


def _activation(k: Keys) -> Activation:
    return activation(k.take("activation", None), k.place)


def _activated(net: Network, act: Activation, make: Callable[[Mapping[str, Any]], Value]) -> Value:
    """An op with its activation: fused, or behind it where it needs an op of its own."""
    name = net.node_name
    net.node_name = name if act.after.kind == "linear" else f"{name}.linear"
    y = make(act.fused)
    net.node_name = name
    return activate(net, y, act.after)


def _known(array: np.ndarray | None) -> Value | None:
    return None if array is None else known(array)


def _dense(net: Network, k: Keys) -> Value:
    x, found, columns = source(net, k), parameters(net, k, "kernel", "bias"), column_major(net, k)
    w, act = shaped(found["kernel"], 2, k, "kernel"), _activation(k)
    weight, bias = known(w.T if columns else w), _known(found["bias"])
    return _activated(net, act, lambda fused: products.dense(net, x, weight, bias, fused))


def _embedding(net: Network, k: Keys) -> Value:
    x, found = source(net, k), parameters(net, k, "table")
    table = known(shaped(found["table"], 2, k, "table"))
    return selection.embedding(net, table, net.cast(x, "int32"))


def _conv1d(net: Network, k: Keys) -> Value:
    x, found, columns = source(net, k), parameters(net, k, "kernel", "bias"), column_major(net, k)
    w, act = shaped(found["kernel"], 3, k, "kernel"), _activation(k)
    weight, bias = known(windows.kernel_first(w) if columns else w), _known(found["bias"])
    options: dict[str, Any] = {
        "strides": [k.whole("stride", 1)],
        "dilations": [k.whole("dilation", 1)],
        "padding": _padding(k),
        "groups": k.whole("groups", 1),
        "channels_last": k.word("channels", ("last", "first"), "last") == "last",
    }
    return _activated(net, act, lambda fused: windows.conv(net, x, weight, bias, **options, activation=fused))


def _padding(k: Keys) -> windows.Padding:
    padding: Any = k.take("padding", "valid")
    if padding in ("valid", "causal", "same"):
        return str(padding)
    if not isinstance(padding, list) or len(padding) != 2 or not all(isinstance(p, int) and p >= 0 for p in padding):
        k.fail(f"padding = {padding!r}: expected 'valid', 'causal', 'same' or [before, after]", "padding")
    return padding


def _layer_norm(net: Network, k: Keys) -> Value:
    x, found = source(net, k), parameters(net, k, "scale", "offset")
    scale, offset = _known(found["scale"]), _known(found["offset"])
    return norms.normalize(net, x, k.take("axes", [-1]), k.number("epsilon"), scale, offset)


def _batch_norm(net: Network, k: Keys) -> Value:
    x, found = source(net, k), parameters(net, k, "mean", "variance", "scale", "offset")
    if found["variance"] is None or found["mean"].ndim != 1 or found["variance"].shape != found["mean"].shape:
        k.fail("expected mean and variance of one size")
    epsilon, axis = k.number("epsilon"), k.whole("axis", -1)
    return norms.batch_norm(net, x, **found, epsilon=epsilon, axis=axis)


def _prelu(net: Network, k: Keys) -> Value:
    x, found = source(net, k), parameters(net, k, "slope")
    return arithmetic.prelu(net, x, known(found["slope"]))


def _activation_layer(net: Network, k: Keys) -> Value:
    return activate(net, source(net, k), _activation(k))


def _inputs(net: Network, k: Keys, fewest: int) -> list[Value | None]:
    names = k.take("inputs")
    if not isinstance(names, list) or len(names) < fewest:
        k.fail(f"inputs: expected a list of {fewest} names or more, found {names!r}", "inputs")
    return [net.value(n, k, "inputs") for n in names]


def _given(net: Network, k: Keys, fewest: int) -> list[Value]:
    values = _inputs(net, k, fewest)
    found = [v for v in values if v is not None]
    if len(found) != len(values):
        k.fail("inputs: expected names, found an empty one", "inputs")
    return found


def _merge(kind: str) -> Layer:
    def layer(net: Network, k: Keys) -> Value:
        return arithmetic.variadic(net, kind, _given(net, k, 2))

    return layer


def _concat(net: Network, k: Keys) -> Value:
    return movement.concat(net, _given(net, k, 1), k.whole("axis", -1))


def _scale(net: Network, k: Keys) -> Value:
    x = source(net, k)
    for key, default, kind in (("factor", 1, "mul"), ("offset", 0, "add")):
        given = k.take(key, default)
        try:
            array = np.asarray(net.array(given, k, key) if isinstance(given, str) else given, np.float32)
        except (TypeError, ValueError) as why:
            k.fail(f"factor and offset: expected numbers, lists of numbers or names of arrays ({why})", key)
        if not np.isfinite(array).all():
            k.fail(f"{key}: expected finite numbers", key)
        x = net.binary(kind, x, known(array))
    return x


def _reshape(net: Network, k: Keys) -> Value:
    x, shape = source(net, k), k.take("shape")
    if not isinstance(shape, list):
        k.fail(f"shape: expected a list, found {shape!r}", "shape")
    sizes = [-1 if s == -1 else size_of(s, k) for s in shape]
    if sum(not isinstance(s, Dim) and s == -1 for s in sizes) > 1:
        k.fail("shape: expected at most one -1", "shape")
    return movement.reshape(net, x, sizes)


def _last(net: Network, k: Keys) -> Value:
    return movement.index(net, source(net, k), 1, -1)


def _mean(net: Network, k: Keys) -> Value:
    return reductions.reduce(net, "mean", source(net, k), [1], keepdims=False)


def _dropout(net: Network, k: Keys) -> Value:
    k.number("rate", 0)
    return source(net, k)


def raw_op(net: Network, k: Keys, kind: str) -> Value:
    """An op of docs/ops.md by its own name, its attributes as keys; further outputs are called name.output."""
    if kind not in OPS:
        k.fail(f"unknown op {kind!r}; expected one of {', '.join(OPS)}", "type")
    inputs = _inputs(net, k, 0) if "inputs" in k.values else [net.previous]
    attrs = {key: k.take(key) for key in list(k.values)}
    attrs = {key: int(v) if isinstance(v, bool) else v for key, v in attrs.items()}
    graph, name = net.graph, net.node_name
    outputs = graph.add(kind, [net.tensor(v) for v in inputs], attrs, name)
    made = [Value(graph.tensors[o].dtype, tensor=o) for o in outputs]
    for spelling, value in zip(OPS[kind].outputs[1:], made[1:]):
        net.named[f"{name}.{spelling.rstrip('?')}"] = value
    return made[0]


LAYERS: dict[str, Layer] = {
    "dense": _dense,
    "embedding": _embedding,
    "conv1d": _conv1d,
    "layer_norm": _layer_norm,
    "batch_norm": _batch_norm,
    "prelu": _prelu,
    "activation": _activation_layer,
    "add": _merge("add"),
    "multiply": _merge("mul"),
    "concat": _concat,
    "scale": _scale,
    "reshape": _reshape,
    "last": _last,
    "mean": _mean,
    "dropout": _dropout,
}
