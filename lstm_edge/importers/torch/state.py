"""Weights without a network: stacks of recurrences and linear layers recognised from names and shapes.

A state dict says which layers there are, not what happens between them. What is assumed is written to the graph's
notes and can be changed by options; where more than one network would fit, the tensors are listed and nothing is built.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ...ir.dims import BATCH, FRAMES, Size
from ...ir.graph import Graph
from ...options import as_typed
from ..dialect import TO_END, Dialect, Value, known, norms
from ..dialect import movement as move
from ..dialect.products import dense
from ..dialect.recurrences import recurrence
from ..dialect.reductions import reduce, softmax
from ..dialect.selection import embedding
from .layers import Layer, recognised

OPTIONS = {
    "head": ("last", "every", "mean", "final"),
    "activation": ("relu", "tanh", "sigmoid", "gelu", "elu", "silu", "linear", "leaky_relu"),
    "output": ("linear", "softmax", "log_softmax", "sigmoid", "tanh", "relu"),
    "nonlinearity": ("tanh", "relu"),
}


def build(tensors: dict[str, np.ndarray], place: str, options: dict[str, Any] | None = None) -> Graph:
    """A Graph of the layers in `tensors` (name -> array): Embedding?, Linear*, LSTM/GRU/RNN stacks, norms, Linear*.

    Options, with what is assumed without them: head 'last' (Linear layers after the last recurrence see its last frame;
    'every': all frames, assumed where there are as many outputs as tokens; 'mean': their mean; 'final': each direction's
    last state), activation 'relu' (between Linear layers, not after the last), output
    'linear' (after the last layer), nonlinearity 'tanh' (of RNN). UnsupportedModelError lists the tensors when they do
    not make one network.
    """
    options = _checked(options or {})
    ordered, notes = recognised(tensors, place)
    return _Builder(ordered, options, notes).graph()


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    for name, value in options.items():
        if name not in OPTIONS:
            raise UnsupportedModelError(f"option {name!r}: expected one of key, {', '.join(OPTIONS)}")
        if value not in OPTIONS[name]:
            raise UnsupportedModelError(f"option {name}={value!r}: expected one of {', '.join(OPTIONS[name])}")
    return options


class _Builder:
    def __init__(self, modules: list[Layer], options: dict[str, Any], notes: list[str]) -> None:
        self.modules, self.options = modules, options
        self.d = Dialect()
        self.d.op_in_names = False
        self.d.notes = notes
        self.recurrent = [i for i, m in enumerate(modules) if m.layers]

    def option(self, name: str, default: str, note: str) -> str:
        """The option, or what is assumed without it, which is noted."""
        if name in self.options:
            return str(self.options[name])
        self.d.note(note)
        return default

    def graph(self) -> Graph:
        first, graph = self.modules[0], self.d.graph
        tokens = first.kind == "embedding"
        dtype, shape = ("int32", (BATCH, FRAMES)) if tokens else ("float32", (BATCH, FRAMES, first.width_in))
        x = Value(dtype, tensor=graph.input("input", shape, dtype))
        last = self.recurrent[-1]
        for i, m in enumerate(self.modules):
            if i == last + 1:
                x = self._head(x)
            x = self._add(x, m)
            following = self.modules[i + 1] if i + 1 < len(self.modules) else None
            if m.kind == "linear" and following is not None and following.kind != "batch_norm":
                kind = self.option(
                    "activation",
                    "relu",
                    "assumed: relu between Linear layers and whatever follows; "
                    f"{as_typed('options', 'activation')} changes it, to linear for one",
                )
                x = x if kind == "linear" else self._unary(x, kind)
        graph.output("output", self.d.tensor(self._output(x)))
        graph.metadata["notes"] = self.d.notes
        return graph

    def _head(self, x: Value) -> Value:
        """What the layers after the last recurrence see of it."""
        if self._is_language_model():
            seen, what = "every", "every frame, as there are as many outputs as tokens"
        else:
            seen, what = "last", "its last frame, output[:, -1]"
        others = ", ".join(repr(h) for h in OPTIONS["head"] if h != seen)
        head = self.option(
            "head",
            seen,
            f"assumed: the layers after the last recurrence see {what}; {as_typed('options', 'head')} changes it to {others}",
        )
        if head == "every":
            return x
        if head == "final" and len(self.modules[self.recurrent[-1]].layers[0]) == 2:
            return self._final_states(x)
        if head == "mean":
            self.d.node_name = "mean_frame"
            return reduce(self.d, "mean", x, [1], keepdims=False)
        return self._frame(x, -1, "last_frame")

    def _frame(self, x: Value, at: int, name: str, first: Size = 0, end: Size = TO_END) -> Value:
        """The features from `first` to `end` of the frame `at`, which is the first (0) or the last (-1)."""
        self.d.node_name = f"{name}.slice"
        frame = move.take(self.d, x, [1, 2], [at, first], [at + 1 or TO_END, end])
        self.d.node_name = name
        return move.squeeze(self.d, frame, [1])

    def _is_language_model(self) -> bool:
        first, last = self.modules[0], self.modules[-1]
        return first.kind == "embedding" and last.width_out == first.tensors["weight"].shape[0]

    def _final_states(self, x: Value) -> Value:
        """The forward half of the last frame beside the backward half of the first: torch's cat((h[-2], h[-1]), 1)."""
        half = self.d.shape(x)[-1] // 2
        parts = [self._frame(x, -1, "final_forward", 0, half), self._frame(x, 0, "final_backward", half)]
        self.d.node_name = "final_states"
        return move.concat(self.d, parts, 1)

    def _unary(self, x: Value, kind: str) -> Value:
        self.d.node_name = kind
        return self.d.unary(kind, x, {"elu": 1.0, "leaky_relu": 0.01}.get(kind))

    def _output(self, x: Value) -> Value:
        kind = self.options.get("output", "linear")
        if "output" not in self.options and self.modules[-1].kind == "linear":
            self.d.note(
                f"assumed: nothing after the last layer; {as_typed('options', 'output')} changes it, to softmax or sigmoid"
            )
        if kind in ("softmax", "log_softmax"):
            self.d.node_name = kind
            return softmax(self.d, x, -1, kind == "log_softmax")
        return x if kind == "linear" else self._unary(x, kind)

    def _add(self, x: Value, m: Layer) -> Value:
        self.d.node_name = m.name
        if m.layers:
            return self._recurrence(x, m)
        w = {n: known(np.asarray(a, np.float32)) for n, a in m.tensors.items()}
        if m.kind == "embedding":
            return embedding(self.d, w["weight"], x)
        if m.kind == "linear":
            return dense(self.d, x, w["weight"], w.get("bias"))
        self.d.note(f"assumed: {m.name!r} normalises the last axis with epsilon 1e-5")
        if m.kind == "layer_norm":
            return norms.normalize(self.d, x, [-1], 1e-5, w["weight"], w["bias"])
        t = m.tensors
        mean, variance = t["running_mean"], t["running_var"]
        return norms.batch_norm(self.d, x, mean, variance, t.get("weight"), t.get("bias"), 1e-5, axis=-1)

    def _recurrence(self, x: Value, m: Layer) -> Value:
        activations = None
        if m.kind == "RNN":
            kind = self.option(
                "nonlinearity",
                "tanh",
                f"assumed: tanh in the RNN; {as_typed('options', 'nonlinearity', 'relu')} changes it",
            )
            activations = [(kind, 0.0, 0.0)]
        for n, layer in enumerate(m.layers):
            self.d.node_name = f"{m.name}.{n}" if len(m.layers) > 1 else m.name or m.kind.lower()
            x = recurrence(self.d, m.kind, x, layer, activations=activations).frames(self.d, time_major=False)
        return x
