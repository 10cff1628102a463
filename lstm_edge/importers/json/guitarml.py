"""GuitarML's JSON (Proteus, NeuralPi): one torch recurrence and a Linear, the input added to the answer."""

from __future__ import annotations

from typing import Any

from ...errors import FormatError, UnsupportedModelError
from ...files.json import array, whole
from ...ir.graph import Graph
from ...ir.notes import ASSUMED
from ...ir.ops import GATES
from ..dialect import Value
from ..dialect.recurrences import Weights
from .layers import Layers

DESCRIPTION = {"model", "input_size", "skip", "output_size", "unit_type", "num_layers", "hidden_size", "bias_fl"}


def build(document: dict[str, Any]) -> Graph:
    """Input x (batch, frames, features: the signal, then the knobs), output y (batch, frames, 1)."""
    about, weights = document["model_data"], dict(document["state_dict"])
    unknown = set(about) - DESCRIPTION
    if unknown or about.get("model", "SimpleRNN") != "SimpleRNN":
        what = f"model {about['model']!r}" if not unknown else f"entry {sorted(unknown)[0]!r}"
        raise UnsupportedModelError(f"model_data: {what} is not done, expected SimpleRNN with {sorted(DESCRIPTION)}")
    op = about["unit_type"]
    if op not in GATES:
        raise UnsupportedModelError(f"unit_type {op!r}: expected one of {', '.join(GATES)}")
    hidden, count = (whole(about[k], f"model_data: {k}") for k in ("hidden_size", "num_layers"))
    d = Layers()
    source = x = d.x(whole(about["input_size"], "model_data: input_size"))
    for n in range(count):
        x = _level(d.at(f"rec.{n}"), x, op, n, weights, hidden, bool(about.get("bias_fl", True)))
    out = whole(about.get("output_size", 1), "model_data: output_size")
    w = array(weights.pop("lin.weight"), "lin.weight", (out, hidden))
    bias = array(weights.pop("lin.bias"), "lin.bias", (out,)) if "lin.bias" in weights else None
    x = d.at("lin").dense(x, w, bias)
    if weights:
        raise FormatError(f"state_dict: expected rec.* and lin.* only, found also {', '.join(list(weights)[:5])}")
    skip = whole(about.get("skip", 1), "model_data: skip", 0)
    if "skip" not in about:
        d.note(f"{ASSUMED}skip 1 where model_data has none, as GuitarML's players do; the input is added to the answer")
    elif skip:
        d.note(f"the input is added to the answer (skip {skip})")
    return d.done(d.skip(x, source, skip) if skip else x, None)


def _level(d: Layers, x: Value, op: str, n: int, weights: dict[str, Any], hidden: int, biased: bool) -> Value:
    rows = len(GATES[op]) * hidden
    shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, d.width(x)), "weight_hh": (rows, hidden)}
    if biased:
        shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
    found = {k: array(weights.pop(f"rec.{k}_l{n}"), f"rec.{k}_l{n}", shape) for k, shape in shapes.items()}
    own = Weights(found["weight_ih"], found["weight_hh"], found.get("bias_ih"), found.get("bias_hh"))
    return d.recurrence(op, x, own)
