"""The network that the names and sizes of a file of weights suggest, as a description to read, correct and give back.

A state dict says which layers there are, not what happens between them. Every answer that it does not hold stands in the
description as a line marked `assumed`, with what else it may be; nothing is built from it before somebody has said so.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ...ir.notes import ASSUMED
from ...options import as_typed
from .torch_names import Layer, recognised

SLOPES = {"leaky_relu": "alpha = 0.01"}  # torch's default, for what needs a parameter
EPSILON = 1e-5  # of torch's normalisations where nobody chose another


@dataclass
class Suggestion:
    """text: the description (docs/network.md). assumptions: what in it the weights do not say, a sentence each."""

    text: str
    assumptions: list[str]
    notes: list[str] = field(default_factory=list)


def suggested(
    tensors: Mapping[str, np.ndarray], place: str, answers: Mapping[str, str] | None = None, key: str | None = None
) -> Suggestion:
    """The description of the layers in `tensors`: Embedding?, Linear*, LSTM/GRU/RNN stacks, norms, Linear*.

    answers: what is known of head, activation, output and nonlinearity, as IMPORTER.settings declare them; the others
    are assumed. key: the entry of a checkpoint that `tensors` come from. UnsupportedModelError lists the tensors where
    they do not make one network.
    """
    layers, notes, prefix = recognised(dict(tensors), place)
    writer = _Writer(layers, prefix, dict(answers or {}))
    writer.write()
    head = _comment(
        f"The network that the names and sizes in {place} suggest. A file of weights does not say how its layers are "
        "joined: what is marked 'assumed' is a guess. Correct it, and convert with this file "
        f"({as_typed('network', value='net.toml')})."
    )
    head += ['convention = "torch"'] + ([f"key = {_text(key)}"] if key is not None else [])
    return Suggestion("\n".join([*head, *writer.top, *writer.lines]) + "\n", writer.assumptions, notes)


def _comment(text: str) -> list[str]:
    """Lines of a comment. Names come out of files, so that nothing in them may end a line."""
    return textwrap.wrap(_text(text)[1:-1].replace('\\"', '"'), 110, initial_indent="# ", subsequent_indent="#   ")


def _text(value: str) -> str:
    """A string of TOML, whose escapes are JSON's; control characters that JSON leaves alone are escaped too."""
    return re.sub("[\x7f-\x9f]", lambda m: f"\\u{ord(m[0]):04x}", json.dumps(value, ensure_ascii=False))


class _Writer:
    """The lines of a description, and what they assume."""

    def __init__(self, layers: list[Layer], prefix: str, answers: dict[str, str]) -> None:
        self.layers, self.prefix, self.answers = layers, prefix, answers
        self.top: list[str] = []
        self.lines: list[str] = []
        self.assumptions: list[str] = []
        self.last_recurrence = max(i for i, m in enumerate(layers) if m.layers)

    def write(self) -> None:
        first = self.layers[0]
        if first.kind == "embedding":
            self.top.append('inputs = { input = { shape = ["batch", "frames"], dtype = "int32" } }')
        else:
            self.top.append(f'inputs = {{ input = ["batch", "frames", {first.width_in}] }}')
        self._chain()
        for i, layer in enumerate(self.layers):
            if layer.layers:
                self._recurrence(layer, i)
            elif layer.kind == "embedding":
                self._layer("embedding", layer.name, table=self._array(layer, "weight"))
            elif layer.kind == "linear":
                self._linear(layer, i)
            else:
                self._norm(layer)
            if layer.kind == "batch_norm" and self._is_linear(i - 1) and i + 1 < len(self.layers):
                kind = self._activation()
                self._layer("activation", "", activation=_activation_text(kind))
            if i == self.last_recurrence:
                self._head()

    # ---- lines ---------------------------------------------------------------------------------------------------

    def _layer(self, kind: str, name: str, **keys: str) -> None:
        apart = [] if self.lines and self.lines[-1].startswith("#") else [""]
        self.lines += [*apart, "[[layer]]", f"type = {_text(kind)}"]
        self.lines += [f"name = {_text(name)}"] if name else []
        self.lines += [f"{k} = {v}" for k, v in keys.items() if v]

    def _assume(self, what: str, otherwise: str = "", setting: str = "") -> None:
        """Adds a guess to the lines, once to the list; `setting` is the option that answers it."""
        self.lines += ["", *_comment(f"{ASSUMED}{what}.")]
        self.lines += _comment(f"Otherwise: {otherwise}.") if otherwise else []
        changes = f"; {as_typed('options', setting)} changes it" if setting else ""
        if f"{ASSUMED}{what}{changes}" not in self.assumptions:
            self.assumptions.append(f"{ASSUMED}{what}{changes}")

    def _answer(self, setting: str, usual: str, what: str, otherwise: str) -> str:
        """What is known of a setting, or what is assumed without it."""
        if setting in self.answers:
            return self.answers[setting]
        self._assume(what, otherwise, setting)
        return usual

    def _array(self, layer: Layer, part: str) -> str:
        return (
            _text(f"{self._prefix_of(layer)}.{part}" if self._prefix_of(layer) else part)
            if part in layer.tensors
            else ""
        )

    def _prefix_of(self, layer: Layer) -> str:
        return (self.prefix + layer.name).rstrip(".")

    def _is_linear(self, i: int) -> bool:
        return i >= 0 and self.layers[i].kind == "linear"

    # ---- layers --------------------------------------------------------------------------------------------------

    def _chain(self) -> None:
        names = ", ".join(m.name or m.kind for m in self.layers)
        self._assume(
            f"the layers follow each other in the order {names}, and nothing else happens between them",
            'reorder them, or add what is missing, such as { type = "activation", activation = "relu" } or '
            '{ type = "add", inputs = [...] }',
        )

    def _recurrence(self, layer: Layer, i: int) -> None:
        keys = {"weights": _text(self._prefix_of(layer))}
        if layer.kind == "RNN":
            kind = self._answer("nonlinearity", "tanh", "tanh in the RNN", 'h = "relu"')
            keys["activations"] = f"{{ h = {_text(kind)} }}"
        if i == self.last_recurrence and i + 1 < len(self.layers) and self.answers.get("head") == "final":
            keys["returns"] = _text("last")
        self._layer(layer.kind.lower(), layer.name, **keys)

    def _head(self) -> None:
        """What the layers after the last recurrence see of it; without such layers, what the answer is."""
        if self.last_recurrence + 1 == len(self.layers):
            if "head" in self.answers:
                self._take(self.answers["head"])
                return
            self._assume("the answer is every frame of the last recurrence", 'add a layer { type = "last" }', "head")
            return
        if self._is_language_model():
            seen, what = "every", "every frame, as there are as many outputs as tokens"
            otherwise = 'add here a layer of type "last" (the last frame) or "mean" (the mean of all frames), or'
        else:
            seen, what = "last", "its last frame, output[:, -1]"
            otherwise = 'instead of this layer none (every frame) or type = "mean" (the mean of all frames), or'
        self._take(
            self._answer(
                "head",
                seen,
                f"the layers after the last recurrence see {what}",
                f'{otherwise} returns = "last" in the recurrence (the last state of each direction)',
            )
        )

    def _take(self, head: str) -> None:
        if head in ("last", "mean"):
            self._layer(head, f"{head}_frame")

    def _is_language_model(self) -> bool:
        first, last = self.layers[0], self.layers[-1]
        return first.kind == "embedding" and last.width_out == first.tensors["weight"].shape[0]

    def _activation(self) -> str:
        return self._answer(
            "activation",
            "relu",
            "relu between Linear layers and whatever follows",
            'activation = "linear" (nothing), "tanh", "sigmoid", "gelu", "elu" or "silu"',
        )

    def _linear(self, layer: Layer, i: int) -> None:
        following = self.layers[i + 1] if i + 1 < len(self.layers) else None
        if following is None:
            otherwise = 'activation = "softmax", "log_softmax", "sigmoid", "tanh" or "relu"'
            kind = self._answer("output", "linear", "nothing after the last layer", otherwise)
        else:
            kind = "" if following.kind == "batch_norm" else self._activation()
        arrays = {"kernel": self._array(layer, "weight"), "bias": self._array(layer, "bias")}
        self._layer("dense", layer.name, **arrays, activation=_activation_text(kind))

    def _norm(self, layer: Layer) -> None:
        self._assume(f"{layer.name!r} normalises the last axis with epsilon {EPSILON:g}", "epsilon = ...")
        keys = {"scale": self._array(layer, "weight"), "offset": self._array(layer, "bias"), "epsilon": f"{EPSILON:g}"}
        if layer.kind == "batch_norm":
            keys = {"mean": self._array(layer, "running_mean"), "variance": self._array(layer, "running_var"), **keys}
        self._layer(layer.kind, layer.name, **keys)


def _activation_text(kind: str) -> str:
    if not kind:
        return ""
    return f"{{ kind = {_text(kind)}, {SLOPES[kind]} }}" if kind in SLOPES else _text(kind)
