"""Neural Amp Modeler files (.nam), architecture LSTM: one flat list of weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import FormatError, UnsupportedModelError
from ...files.json import array, whole
from ...ir.graph import Graph
from ...ir.ops import GATES
from ..dialect import Value
from ..dialect.recurrences import Weights
from .layers import Layers

CONFIG = {"input_size", "hidden_size", "num_layers", "in_channels", "out_channels"}


def build(document: dict[str, Any]) -> Graph:
    """Input x (batch, frames, input_size), output y. The recurrences start from the states in the file.

    The list: for each layer the weight of [x, h] (4H, I + H) in rows, gates i f g o, its bias (4H,), initial h (H,) and
    c (H,); then the head's weight (out, H) and bias (out,).
    """
    if document["architecture"] != "LSTM":
        raise UnsupportedModelError(
            f"a NAM model of architecture {document['architecture']!r}: expected LSTM, the recurrent one"
        )
    config = document["config"]
    unknown = set(config) - CONFIG
    if unknown:
        raise UnsupportedModelError(
            f"config: unknown entry {sorted(unknown)[0]!r}, expected {', '.join(sorted(CONFIG))}"
        )
    hidden, count = (whole(config[k], f"config: {k}") for k in ("hidden_size", "num_layers"))
    width = whole(config.get("input_size", config.get("in_channels", 1)), "config: input_size")
    out = whole(config.get("out_channels", 1), "config: out_channels")
    weights = array(document["weights"], "weights", (None,))
    rows = len(GATES["LSTM"]) * hidden
    sizes = [rows * (inputs + hidden) + rows + 2 * hidden for inputs in [width] + [hidden] * (count - 1)]
    sizes.append(out * hidden + out)
    if sum(sizes) != weights.size:
        raise FormatError(
            f"weights: expected {sum(sizes)} numbers for {count} layers of {hidden} over {width}, found {weights.size}"
        )
    d = Layers()
    x = d.x(width)
    *layers, head = np.split(weights, np.cumsum(sizes)[:-1])
    for n, part in enumerate(layers):
        x = _level(d.at(f"lstm.{n}"), x, part, hidden)
    w, bias = head[:-out].reshape(out, hidden), head[-out:]
    y = d.at("head").dense(x, w, bias)
    d.note(
        "starts from the states stored in the file, and is what the model gives without the player's level corrections"
    )
    rate = document.get("sample_rate") or (document.get("metadata") or {}).get("sample_rate")
    return d.done(y, rate)


def _level(d: Layers, x: Value, part: np.ndarray, hidden: int) -> Value:
    rows = len(GATES["LSTM"]) * hidden
    joined, bias, h, c = np.split(part, np.cumsum([part.size - rows - 2 * hidden, rows, hidden]))
    joined = joined.reshape(rows, -1)
    weights = Weights(joined[:, :-hidden], joined[:, -hidden:], bias)
    return d.recurrence("LSTM", x, weights, initial=(h, c))
