"""The layers of a network description but the recurrent ones: each takes its keys and gives its tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir.dims import Dim
from ...ir.ops import OPS
from ..dialect import layers
from ..dialect.layers import Activation
from .keys import Keys, size_of
from .tensors import Network

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


def source(net: Network, k: Keys) -> str:
    """What the layer reads: `input`, or what the layer before gave."""
    name = k.take("input", None)
    return net.previous if name is None else net.tensor(name, k, "input")


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
    return k.word("layout", ("rows", "columns"), "columns" if net.convention == "keras" else "rows") == "columns"


def shaped(array: np.ndarray, rank: int, k: Keys, key: str) -> np.ndarray:
    if array.ndim != rank:
        k.fail(f"{key}: expected {rank} axes, found shape {array.shape}", key)
    return array


def _activation(k: Keys) -> Activation:
    return layers.activation(k.take("activation", None), k.place)


def _dense(net: Network, k: Keys, name: str) -> str:
    x, found, columns = source(net, k), parameters(net, k, "kernel", "bias"), column_major(net, k)
    w = shaped(found["kernel"], 2, k, "kernel")
    return layers.dense(net.graph, x, w.T if columns else w, found["bias"], _activation(k), name)


def _embedding(net: Network, k: Keys, name: str) -> str:
    x, found = source(net, k), parameters(net, k, "table")
    table = layers.constant(net.graph, shaped(found["table"], 2, k, "table"), f"{name}.table")
    if net.graph.tensors[x].dtype != "int32":
        x = net.graph.add1("Cast", [x], {"to": "int32"}, f"{name}.tokens")
    return net.graph.add1("Gather", [table, x], {"axis": 0}, name)


def _conv1d(net: Network, k: Keys, name: str) -> str:
    x, found, columns = source(net, k), parameters(net, k, "kernel", "bias"), column_major(net, k)
    w = shaped(found["kernel"], 3, k, "kernel")
    w = w.transpose(2, 1, 0) if columns else w
    stride, dilation = k.whole("stride", 1), k.whole("dilation", 1)
    channels = k.word("channels", ("last", "first"), "last")
    return layers.conv1d(
        net.graph,
        x,
        w,
        found["bias"],
        _activation(k),
        name,
        layout=f"channels_{channels}",
        strides=[stride],
        dilations=[dilation],
        groups=k.whole("groups", 1),
        pads=_pads(k, w.shape[2], stride, dilation),
    )


def _pads(k: Keys, size: int, stride: int, dilation: int) -> list[int]:
    padding = k.take("padding", "valid")
    extent = (size - 1) * dilation
    if padding == "valid":
        return [0, 0]
    if padding == "causal":
        return [extent, 0]
    if padding == "same" and stride == 1:
        return [extent // 2, extent - extent // 2]
    if not isinstance(padding, list) or len(padding) != 2 or not all(isinstance(p, int) and p >= 0 for p in padding):
        k.fail(f"padding = {padding!r}: expected 'valid', 'causal', 'same' (stride 1) or [before, after]", "padding")
    return padding


def _layer_norm(net: Network, k: Keys, name: str) -> str:
    x, found = source(net, k), parameters(net, k, "scale", "offset")
    constants = [
        layers.constant(net.graph, found[p], f"{name}.{p}") for p in ("scale", "offset") if found[p] is not None
    ]
    attrs = {"axes": k.take("axes", [-1]), "epsilon": float(k.number("epsilon"))}
    return net.graph.add1("Normalize", [x, *constants], attrs, name)


def _batch_norm(net: Network, k: Keys, name: str) -> str:
    x, found = source(net, k), parameters(net, k, "mean", "variance", "scale", "offset")
    if found["variance"] is None or found["mean"].ndim != 1 or found["variance"].shape != found["mean"].shape:
        k.fail("expected mean and variance of one size")
    arrays = {"mean": found["mean"], "variance": found["variance"], "scale": found["scale"], "bias": found["offset"]}
    return layers.batch_norm(net.graph, x, arrays, k.number("epsilon"), k.whole("axis", -1), name)


def _prelu(net: Network, k: Keys, name: str) -> str:
    x, found = source(net, k), parameters(net, k, "slope")
    slope = layers.constant(net.graph, found["slope"], f"{name}.slope")
    return net.graph.add1("Binary", [x, slope], {"kind": "prelu"}, name)


def _activation_layer(net: Network, k: Keys, name: str) -> str:
    return layers.activate(net.graph, source(net, k), _activation(k), name)


def _inputs(net: Network, k: Keys, fewest: int) -> list[str]:
    names = k.take("inputs")
    if not isinstance(names, list) or len(names) < fewest:
        k.fail(f"inputs: expected a list of {fewest} names or more, found {names!r}", "inputs")
    return [net.tensor(n, k, "inputs") for n in names]


def _merge(kind: str) -> Callable[[Network, Keys, str], str]:
    def layer(net: Network, k: Keys, name: str) -> str:
        x, *others = _inputs(net, k, 2)
        for n, other in enumerate(others):
            x = net.graph.add1("Binary", [x, other], {"kind": kind}, name if n == len(others) - 1 else f"{name}.{n}")
        return x

    return layer


def _concat(net: Network, k: Keys, name: str) -> str:
    inputs = _inputs(net, k, 1)
    return net.graph.add1("Concat", inputs, {"axis": k.whole("axis", -1)}, name)


def _scale(net: Network, k: Keys, name: str) -> str:
    x = source(net, k)
    values = {key: k.take(key, default) for key, default in (("factor", 1), ("offset", 0))}
    arrays = {key: net.array(v, k, key) if isinstance(v, str) else v for key, v in values.items()}
    try:
        return layers.scaled(net.graph, x, arrays["factor"], arrays["offset"], name)
    except (TypeError, ValueError) as why:
        k.fail(f"factor and offset: expected numbers, lists of numbers or names of arrays ({why})", "factor")


def _reshape(net: Network, k: Keys, name: str) -> str:
    x, shape = source(net, k), k.take("shape")
    if not isinstance(shape, list):
        k.fail(f"shape: expected a list, found {shape!r}", "shape")
    sizes = [-1 if s == -1 else size_of(s, k) for s in shape]
    if all(isinstance(s, Dim) or s != -1 for s in sizes) or sizes.count(-1) == 1:
        return layers.reshape(net.graph, x, sizes, name)
    k.fail("shape: expected at most one -1", "shape")


def _last(net: Network, k: Keys, name: str) -> str:
    return layers.last_frame(net.graph, source(net, k), name)


def _dropout(net: Network, k: Keys, name: str) -> str:
    k.number("rate", 0)
    return source(net, k)


def raw_op(net: Network, k: Keys, kind: str, name: str) -> str:
    """An op of docs/ops.md by its own name, its attributes as keys; further outputs are called name.output."""
    if kind not in OPS:
        k.fail(f"unknown op {kind!r}; expected one of {', '.join(OPS)}", "type")
    inputs = _inputs(net, k, 0) if "inputs" in k.values else [net.previous]
    attrs = {key: k.take(key) for key in list(k.values)}
    attrs = {key: int(v) if isinstance(v, bool) else v for key, v in attrs.items()}
    outputs = net.graph.add(kind, inputs, attrs, name)
    for spelling, tensor in zip(OPS[kind].outputs[1:], outputs[1:]):
        net.named[f"{name}.{spelling.rstrip('?')}"] = tensor
    return outputs[0]


LAYERS: dict[str, Callable[[Any, Keys, str], str]] = {
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
    "dropout": _dropout,
}
