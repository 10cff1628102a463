"""RTNeural's JSON (layers with weights as Keras keeps them) and AIDA-X, which adds gains and an input skip."""

from __future__ import annotations

from typing import Any

from ...errors import FormatError, UnsupportedModelError
from ...files.json import array, whole
from ...ir.graph import Graph
from ...ir.notes import ASSUMED
from ..dialect import Value, arithmetic, known, norms, windows
from ..dialect.activations import Activation, activate, activation
from ..dialect.recurrences import KERAS_GATES, Weights
from .layers import Layers

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
MAX_LAYERS = 1024
SILENT_DB = -90.0  # AIDA-X's players take a gain at or below it as 0


def build(document: dict[str, Any]) -> Graph:
    """Input x (batch, frames, features), output y."""
    d = Layers()
    width = whole(document["in_shape"][-1], "in_shape")
    if len(document["in_shape"]) > 3:
        raise UnsupportedModelError("in_shape with 4 sizes: networks over 2-D frames (conv2d) are not done from JSON")
    if not isinstance(document["layers"], list) or len(document["layers"]) > MAX_LAYERS:
        raise FormatError(f"layers: expected a list of at most {MAX_LAYERS}")
    source = x = _gained(d, d.x(width), document, "in_gain")
    for n, layer in enumerate(document["layers"]):
        d.place = f"layer {n} ({layer.get('type')})"
        x = _layer(d.at(f"{layer.get('type', 'layer')}_{n}"), x, layer)
    d.place = ""
    x = _skipped(d, x, source, document)
    y = _gained(d, x, document, "out_gain")
    unknown = [k for k in document if k not in KNOWN]
    if unknown:
        d.note(f"entries of the file that say nothing of the network: {', '.join(unknown[:8])}")
    return d.done(y, document.get("samplerate") or (document.get("metadata") or {}).get("samplerate"))


def _layer(d: Layers, x: Value, layer: dict[str, Any]) -> Value:
    kind, place = layer.get("type"), d.place
    if kind not in LAYER_KEYS:
        raise d.refuse(f"this layer is not done, expected one of {', '.join(LAYER_KEYS)}")
    unknown = set(layer) - {"type", "activation", "shape", "weights", "name", *LAYER_KEYS[kind]}
    if unknown:
        raise d.refuse(f"unknown entry {sorted(unknown)[0]!r}")
    wide = d.width(x)
    weights = layer.get("weights", [])
    units = whole(layer["shape"][-1], f"{place}: shape") if "shape" in layer else wide
    if kind in ("lstm", "gru"):
        return _recurrent(d, x, kind.upper(), layer, units)
    act = activation(layer.get("activation"), place)
    if kind == "time-distributed-dense" and "activation" not in layer:
        d.note(f"{ASSUMED}{place} has no activation, as the file names none")
    if kind in ("dense", "time-distributed-dense"):
        w = array(weights[0], f"{place}: kernel", (wide, units)).T
        bias = array(weights[1], f"{place}: bias", (units,)) if len(weights) > 1 else None
        return d.dense(x, w, bias, act)
    if kind == "conv1d":
        return _conv(d, x, layer, units, act)
    if kind == "activation":
        return activate(d, x, act)
    if act.kind != "linear":
        raise d.refuse(f"an activation {act.kind!r} on such a layer")
    if kind == "prelu":
        slope = array(weights[0], f"{place}: slopes").reshape(-1)
        if slope.size not in (1, wide):
            raise FormatError(f"{place}: expected 1 or {wide} slopes, found {slope.size}")
        return arithmetic.prelu(d, x, known(slope))
    if len(weights) not in (2, 4):
        raise FormatError(f"{place}: expected 4 arrays (gamma, beta, mean, variance) or 2, found {len(weights)}")
    keys = ("scale", "offset", "mean", "variance") if len(weights) == 4 else ("mean", "variance")
    arrays = {k: array(w, f"{place}: {k}", (wide,)) for k, w in zip(keys, weights)}
    return norms.batch_norm(d, x, **arrays, epsilon=float(layer["epsilon"]), axis=-1)


def _recurrent(d: Layers, x: Value, op: str, layer: dict[str, Any], units: int) -> Value:
    place, gates = d.place, KERAS_GATES[op]
    rows = len(gates) * units
    kernel, recurrent, bias = layer["weights"]
    w_ih = array(kernel, f"{place}: kernel", (d.width(x), rows)).T
    w_hh = array(recurrent, f"{place}: recurrent kernel").T
    if w_hh.shape != (rows, units):
        raise FormatError(f"{place}: expected a recurrent kernel ({units}, {rows}), found {w_hh.shape[::-1]}")
    b = array(bias, f"{place}: bias")
    if b.shape not in ((rows,), (2, rows)) or (op == "LSTM" and b.ndim != 1):
        raise FormatError(f"{place}: expected a bias of {rows}, found shape {b.shape}")
    options: dict[str, Any] = {} if op == "LSTM" else {"reset_after": b.ndim == 2}
    wanted = layer.get("activation") or "tanh"
    if wanted != "tanh":
        act, gate = activation(wanted, place), Activation("sigmoid")
        options["activations"] = [gate, gate, act, gate, act] if op == "LSTM" else [gate, gate, act]
        d.note(f"{place}: activation {wanted} as the file says; RTNeural itself runs tanh whatever it says")
    weights = Weights(w_ih, w_hh, *(b if b.ndim == 2 else b[None]))
    return d.recurrence(op, x, weights, gates=gates, **options)


def _conv(d: Layers, x: Value, layer: dict[str, Any], units: int, act: Activation) -> Value:
    """Causal: RTNeural starts from a window of zeros."""
    place = d.place
    size, dilation = (whole(layer[k], f"{place}: {k}") for k in ("kernel_size", "dilation"))
    groups = whole(layer.get("groups", 1), f"{place}: groups")
    weights = layer["weights"]
    w = windows.kernel_first(array(weights[0], f"{place}: kernel", (size, d.width(x) // groups, units)))
    bias = array(weights[1], f"{place}: bias", (units,)) if len(weights) > 1 else None
    y = windows.conv(
        d,
        x,
        known(w),
        None if bias is None else known(bias),
        dilations=[dilation],
        padding="causal",
        groups=groups,
        channels_last=True,
        activation=act.fused,
    )
    return activate(d, y, act.after)


def _gained(d: Layers, x: Value, document: dict[str, Any], key: str) -> Value:
    """AIDA-X: a gain in decibels, of the input or of the answer with its skip."""
    gain = document.get(key, 0)
    if gain is None or gain == 0:
        return x
    if isinstance(gain, bool) or not isinstance(gain, (int, float)):
        raise FormatError(f"{key}: expected decibels, found {str(gain)[:40]}")
    d.note(f"{key} of {gain:g} dB applied")
    factor = 10 ** (gain / 20) if gain > SILENT_DB else 0.0
    return d.at(key).binary("mul", x, d.constant([factor]))


def _skipped(d: Layers, x: Value, source: Value, document: dict[str, Any]) -> Value:
    if "in_skip" not in document:
        if document["in_shape"][-1] == 1 == d.width(x):
            d.note(f"{ASSUMED}the input is not added to the answer, as the file has no in_skip")
        return x
    skip = whole(document["in_skip"], "in_skip", 0)
    if skip > 1:
        raise UnsupportedModelError(f"in_skip of {skip}: expected 0 or 1")
    if skip == 0:
        return x
    d.note("the input is added to the answer (in_skip 1)")
    return d.skip(x, source)
