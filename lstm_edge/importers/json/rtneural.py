"""RTNeural's JSON (layers with weights as Keras keeps them) and AIDA-X, which adds gains and an input skip."""

from __future__ import annotations

from typing import Any

from ...errors import FormatError, UnsupportedModelError
from ...files.json import array, whole
from ...ir.dims import BATCH, FRAMES
from ...ir.graph import Graph
from ..dialect.layers import (
    Activation,
    Cell,
    activate,
    activation,
    batch_norm,
    constant,
    conv1d,
    dense,
    recurrence,
    reordered,
)

KNOWN = {"in_shape", "layers", "in_skip", "in_gain", "out_gain", "metadata", "samplerate"}
LAYER_KEYS = {
    "dense": (),
    "time-distributed-dense": (),
    "lstm": (),
    "gru": (),
    "conv1d": ("kernel_size", "dilation", "groups"),
    "prelu": (),
    "batchnorm": ("epsilon",),
    "activation": (),
}
KERAS_GATES = {"LSTM": "ifgo", "GRU": "zrn"}
MAX_LAYERS = 1024
SILENT_DB = -90.0  # AIDA-X's players take a gain at or below it as 0


def build(document: dict[str, Any]) -> Graph:
    """Input x (batch, frames, features), output y."""
    graph, notes = Graph(), []
    width = whole(document["in_shape"][-1], "in_shape")
    if len(document["in_shape"]) > 3:
        raise UnsupportedModelError("in_shape with 4 sizes: networks over 2-D frames (conv2d) are not done from JSON")
    raw = graph.input("x", (BATCH, FRAMES, width))
    if not isinstance(document["layers"], list) or len(document["layers"]) > MAX_LAYERS:
        raise FormatError(f"layers: expected a list of at most {MAX_LAYERS}")
    source = _gained(graph, raw, document, "in_gain", notes)
    x = source
    for n, layer in enumerate(document["layers"]):
        x = _layer(graph, x, layer, f"layer {n}", f"{layer.get('type', 'layer')}_{n}", notes)
    x = _skipped(graph, x, source, document, notes)
    graph.output("y", _gained(graph, x, document, "out_gain", notes))
    unknown = [k for k in document if k not in KNOWN]
    if unknown:
        notes.append(f"entries of the file that say nothing of the network: {', '.join(unknown[:8])}")
    graph.metadata["notes"] = notes
    rate = document.get("samplerate") or (document.get("metadata") or {}).get("samplerate")
    if rate:
        graph.metadata["sample_rate"] = float(rate)
    return graph


def _layer(graph: Graph, x: str, layer: dict[str, Any], place: str, name: str, notes: list[str]) -> str:
    kind = layer.get("type")
    place = f"{place} ({kind})"
    if kind not in LAYER_KEYS:
        raise UnsupportedModelError(f"{place}: this layer is not done, expected one of {', '.join(LAYER_KEYS)}")
    unknown = set(layer) - {"type", "activation", "shape", "weights", "name", *LAYER_KEYS[kind]}
    if unknown:
        raise UnsupportedModelError(f"{place}: unknown entry {sorted(unknown)[0]!r}")
    wide = graph.shape(x)[-1]
    weights = layer.get("weights", [])
    units = whole(layer["shape"][-1], f"{place}: shape") if "shape" in layer else wide
    if kind in ("lstm", "gru"):
        return _recurrent(graph, x, kind.upper(), layer, units, place, name, notes)
    act = activation(layer.get("activation"), place)
    if kind == "time-distributed-dense" and "activation" not in layer:
        notes.append(f"{place}: no activation in the file, none assumed")
    if kind in ("dense", "time-distributed-dense"):
        w = array(weights[0], f"{place}: kernel", (wide, units)).T
        bias = array(weights[1], f"{place}: bias", (units,)) if len(weights) > 1 else None
        return dense(graph, x, w, bias, act, name)
    if kind == "conv1d":
        return _conv(graph, x, layer, wide, units, act, place, name)
    if kind == "activation":
        return activate(graph, x, act, name)
    if act.kind != "linear":
        raise UnsupportedModelError(f"{place}: an activation {act.kind!r} on such a layer")
    if kind == "prelu":
        slope = array(weights[0], f"{place}: slopes").reshape(-1)
        if slope.size not in (1, wide):
            raise FormatError(f"{place}: expected 1 or {wide} slopes, found {slope.size}")
        return graph.add1("Binary", [x, constant(graph, slope, f"{name}.slope")], {"kind": "prelu"}, name)
    if len(weights) not in (2, 4):
        raise FormatError(f"{place}: expected 4 arrays (gamma, beta, mean, variance) or 2, found {len(weights)}")
    keys = ("scale", "bias", "mean", "variance") if len(weights) == 4 else ("mean", "variance")
    arrays = {k: array(w, f"{place}: {k}", (wide,)) for k, w in zip(keys, weights)}
    return batch_norm(graph, x, arrays, float(layer["epsilon"]), -1, name)


def _recurrent(
    graph: Graph, x: str, op: str, layer: dict[str, Any], units: int, place: str, name: str, notes: list[str]
) -> str:
    gates = KERAS_GATES[op]
    rows, wide = len(gates) * units, graph.shape(x)[-1]
    kernel, recurrent, bias = layer["weights"]
    w_ih, w_hh = array(kernel, f"{place}: kernel", (wide, rows)).T, array(recurrent, f"{place}: recurrent kernel").T
    if w_hh.shape != (rows, units):
        raise FormatError(f"{place}: expected a recurrent kernel ({units}, {rows}), found {w_hh.shape[::-1]}")
    b = array(bias, f"{place}: bias")
    if b.shape not in ((rows,), (2, rows)) or (op == "LSTM" and b.ndim != 1):
        raise FormatError(f"{place}: expected a bias of {rows}, found shape {b.shape}")
    both = [reordered(v, gates, op, place) for v in (b if b.ndim == 2 else b[None])]
    cell = Cell(reordered(w_ih, gates, op, place), reordered(w_hh, gates, op, place), *both)
    attrs: dict[str, Any] = {} if op == "LSTM" else {"reset_after": int(b.ndim == 2)}
    wanted = layer.get("activation") or "tanh"
    if wanted != "tanh":
        act, gate = activation(wanted, place), Activation("sigmoid")
        attrs["activations"] = [gate, gate, act, gate, act] if op == "LSTM" else [gate, gate, act]
        notes.append(f"{place}: activation {wanted} as the file says; RTNeural itself runs tanh whatever it says")
    return recurrence(graph, op, x, [cell], name, **attrs).y


def _conv(
    graph: Graph, x: str, layer: dict[str, Any], wide: int, units: int, act: Activation, place: str, name: str
) -> str:
    """Causal: RTNeural starts from a window of zeros."""
    size, dilation = (whole(layer[k], f"{place}: {k}") for k in ("kernel_size", "dilation"))
    groups = whole(layer.get("groups", 1), f"{place}: groups")
    weights = layer["weights"]
    w = array(weights[0], f"{place}: kernel", (size, wide // groups, units)).transpose(2, 1, 0)
    bias = array(weights[1], f"{place}: bias", (units,)) if len(weights) > 1 else None
    return conv1d(
        graph,
        x,
        w,
        bias,
        act,
        name,
        layout="channels_last",
        dilations=[dilation],
        pads=[(size - 1) * dilation, 0],
        groups=groups,
    )


def _gained(graph: Graph, x: str, document: dict[str, Any], key: str, notes: list[str]) -> str:
    """AIDA-X: a gain in decibels, of the input or of the answer with its skip."""
    gain = document.get(key, 0)
    if gain is None or gain == 0:
        return x
    if isinstance(gain, bool) or not isinstance(gain, (int, float)):
        raise FormatError(f"{key}: expected decibels, found {str(gain)[:40]}")
    notes.append(f"{key} of {gain:g} dB applied")
    factor = 10 ** (gain / 20) if gain > SILENT_DB else 0.0
    return graph.add1("Binary", [x, constant(graph, [factor], f"{key}.factor")], {"kind": "mul"}, key)


def _skipped(graph: Graph, x: str, source: str, document: dict[str, Any], notes: list[str]) -> str:
    if "in_skip" not in document:
        if document["in_shape"][-1] == 1 == graph.shape(x)[-1]:
            notes.append("no in_skip in the file: assumed that the input is not added to the answer")
        return x
    skip = whole(document["in_skip"], "in_skip", 0)
    if skip > 1:
        raise UnsupportedModelError(f"in_skip of {skip}: expected 0 or 1")
    if skip == 0:
        return x
    notes.append("the input is added to the answer (in_skip 1)")
    return add_first_channel(graph, x, source)


def add_first_channel(graph: Graph, x: str, source: str, channels: int = 1) -> str:
    """x plus the first channels of the input: what amplifier models call skip."""
    if graph.shape(x)[-1] != channels:
        raise UnsupportedModelError(f"a skip of {channels} channels over an answer of {graph.shape(x)[-1]}")
    if graph.shape(source)[-1] != channels:
        source = graph.add1("Slice", [source], {"axes": [-1], "starts": [0], "ends": [channels]}, "skip.channels")
    return graph.add1("Binary", [x, source], {"kind": "add"}, "skip")
