"""Weights without a network: stacks of recurrences and linear layers recognised from names and shapes.

A state dict says which layers there are, not what happens between them. What is assumed is written to the graph's
notes and can be changed by options; where more than one network would fit, the tensors are listed and nothing is built.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ...files.pickles import Inert
from ...ir.dims import BATCH, FRAMES
from ...ir.graph import Graph
from .layers import LayerWeights, recurrence_inputs

RECURRENT = re.compile(r"(weight|bias)_(ih|hh|hr)(?:_l(\d+))?(_reverse)?$")
KINDS = {4: "LSTM", 3: "GRU", 1: "RNN"}
OPTIONS = {
    "head": ("last", "every", "mean", "final"),
    "activation": ("relu", "tanh", "sigmoid", "gelu", "elu", "silu", "linear", "leaky_relu"),
    "output": ("linear", "softmax", "log_softmax", "sigmoid", "tanh", "relu"),
    "nonlinearity": ("tanh", "relu"),
}
END = 2**31 - 1  # "to the end" in a Slice
MAX_REORDERED = 7  # layers that are put in order by their sizes; more would be guessing
PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.")


@dataclass
class _Module:
    """One layer: its tensors under one prefix, and the widths it takes and gives (0: any, the same)."""

    name: str
    tensors: dict[str, np.ndarray]
    kind: str = ""
    width_in: int = 0
    width_out: int = 0
    layers: list[list[LayerWeights]] = field(default_factory=list)


def build(tensors: dict[str, np.ndarray], place: str, options: dict[str, Any] | None = None) -> Graph:
    """A Graph of the layers in `tensors` (name -> array): Embedding?, Linear*, LSTM/GRU/RNN stacks, norms, Linear*.

    Options, with what is assumed without them: head 'last' (Linear layers after the last recurrence see its last frame;
    'every': all frames, assumed where there are as many outputs as tokens; 'mean': their mean; 'final': each direction's
    last state), activation 'relu' (between Linear layers, not after the last), output
    'linear' (after the last layer), nonlinearity 'tanh' (of RNN). UnsupportedModelError lists the tensors when they do
    not make one network.
    """
    options = _checked(options or {})
    tensors, stripped = _without_prefix(tensors)
    modules = [_recognise(m, tensors, place) for m in _grouped(tensors)]
    notes = [f"name prefix {stripped!r} dropped"] if stripped else []
    ordered, reordered = _ordered(modules, tensors, place)
    if reordered:
        notes.append("layers put in the only order in which their sizes fit: " + ", ".join(m.name for m in ordered))
    return _Builder(ordered, options, notes).graph()


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    for name, value in options.items():
        if name not in OPTIONS:
            raise UnsupportedModelError(f"option {name!r}: expected one of key, {', '.join(OPTIONS)}")
        if value not in OPTIONS[name]:
            raise UnsupportedModelError(f"option {name}={value!r}: expected one of {', '.join(OPTIONS[name])}")
    return options


def _without_prefix(tensors: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], str]:
    """Without what DataParallel, torch.compile and wrappers put before every name."""
    dropped = ""
    while True:
        prefix = next((p for p in PREFIXES if tensors and all(n.startswith(p) for n in tensors)), None)
        if prefix is None or all(
            "." not in n[len(prefix) :] and not RECURRENT.match(n[len(prefix) :]) for n in tensors
        ):
            return tensors, dropped
        tensors, dropped = {n[len(prefix) :]: t for n, t in tensors.items()}, dropped + prefix


def _grouped(tensors: dict[str, np.ndarray]) -> list[_Module]:
    groups: dict[str, _Module] = {}
    for name, array in tensors.items():
        prefix, _, own = name.rpartition(".")
        if own != "num_batches_tracked":
            groups.setdefault(prefix, _Module(prefix, {})).tensors[own] = array
    return list(groups.values())


# ---- the tensors of a checkpoint ------------------------------------------------------------------------------------

PREFERRED_KEYS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "params",
    "weights",
    "params_ema",
    "generator",
)
OTHER_STATE = ("optim", "sched", "scaler", "loss", "args", "config", "history", "hparam", "rng", "epoch", "callback")


def state_dict(value: Any, place: str, key: str | None = None) -> tuple[dict[str, np.ndarray], list[str]]:
    """The tensors by name inside what `load` gave, and notes on what was chosen.

    `key` picks one entry of a checkpoint that holds several networks. UnsupportedModelError when there is none or a
    choice is needed; the message lists the candidates.
    """
    notes: list[str] = []
    if key is not None:
        if not isinstance(value, dict) or key not in value:
            raise UnsupportedModelError(f"{place}: no entry {key!r}: found {_keys(value)}")
        value = value[key]
    for _ in range(4):
        nested = value if isinstance(value, dict) else {}
        candidates = {k: v for k, v in nested.items() if _named_tensors(v) or _nested(v)}
        candidates = {k: v for k, v in candidates.items() if not any(o in str(k).lower() for o in OTHER_STATE)}
        preferred = [k for k in PREFERRED_KEYS if k in candidates]
        own = _named_tensors(value)
        if own and not preferred:
            return own, notes
        chosen = preferred[:1] if preferred else list(candidates)
        if len(chosen) != 1:
            break
        notes.append(f"tensors taken from entry {chosen[0]!r} of the checkpoint")
        value = candidates[chosen[0]]
    raise UnsupportedModelError(
        f"{place}: expected one dictionary of named tensors, found {_keys(value)}; name the entry that "
        "holds the network with options={'key': ...}"
    )


def _named_tensors(value: Any) -> dict[str, np.ndarray]:
    """name -> array of a state dict, of a dict of dicts of arrays, or of a pickled nn.Module."""
    if isinstance(value, Inert):
        return _module_tensors(value, "")
    if not isinstance(value, dict):
        return {}
    return {str(k): np.asarray(v) for k, v in value.items() if isinstance(v, np.ndarray)}


def _nested(value: Any) -> bool:
    return isinstance(value, dict) and any(_named_tensors(v) for v in value.values())


def _module_tensors(module: Inert, prefix: str, depth: int = 0) -> dict[str, np.ndarray]:
    """The parameters and buffers of a pickled nn.Module, by the names its state_dict would have."""
    state = module.state
    if not isinstance(state, dict) or depth > 64:
        return {}
    found = {
        prefix + str(k): v
        for group in ("_parameters", "_buffers")
        for k, v in (state.get(group) or {}).items()
        if isinstance(v, np.ndarray)
    }
    for name, child in (state.get("_modules") or {}).items():
        if isinstance(child, Inert):
            found.update(_module_tensors(child, f"{prefix}{name}.", depth + 1))
    return found


def _keys(value: Any) -> str:
    if isinstance(value, dict):
        return "a dict with entries " + ", ".join(repr(k) for k in list(value)[:20])
    return value.name if isinstance(value, Inert) else type(value).__name__


# ---- recognising ----------------------------------------------------------------------------------------------------


def _recognise(m: _Module, everything: dict[str, np.ndarray], place: str) -> _Module:
    t = m.tensors
    names, ranks = set(t), {n: a.ndim for n, a in t.items()}
    if any(RECURRENT.match(n) for n in names):
        return _recurrence(m, everything, place)
    if names == {"weight", "bias", "running_mean", "running_var"} or names == {"running_mean", "running_var"}:
        m.kind, m.width_in, m.width_out = "batch_norm", t["running_mean"].size, t["running_mean"].size
    elif names <= {"weight", "bias"} and ranks.get("weight") == 2 and ranks.get("bias", 1) == 1:
        m.kind, (m.width_out, m.width_in) = "linear", t["weight"].shape
        if "bias" not in t and re.search(r"emb|lookup|vocab", m.name.lower()):
            m.kind, m.width_in, m.width_out = "embedding", 0, t["weight"].shape[1]
    elif names == {"weight", "bias"} and ranks == {"weight": 1, "bias": 1} and t["weight"].shape == t["bias"].shape:
        m.kind, m.width_in, m.width_out = "layer_norm", t["weight"].size, t["weight"].size
    else:
        raise _refused(f"the layer {m.name!r} with {_listed(t)} is not one that sizes alone explain", everything, place)
    return m


def _recurrence(m: _Module, everything: dict[str, np.ndarray], place: str) -> _Module:
    found: dict[tuple[int, bool], dict[str, np.ndarray]] = {}
    for name, array in m.tensors.items():
        match = RECURRENT.match(name)
        if not match:
            raise _refused(f"tensor {name!r} in the recurrence {m.name!r}", everything, place)
        what, which, layer, reverse = match.groups()
        found.setdefault((int(layer or 0), bool(reverse)), {})[f"{what[0]}_{which}"] = array
    count = max(n for n, _ in found) + 1
    directions = 2 if any(r for _, r in found) else 1
    gates = set()
    width = 0
    for n in range(count):
        made = []
        for reverse in (False, True)[:directions]:
            w = found.get((n, reverse), {})
            if not {"w_ih", "w_hh"} <= set(w) or ("b_ih" in w) != ("b_hh" in w):
                raise _refused(
                    f"recurrence {m.name!r}: weights of layer {n}{' reverse' * reverse} are missing", everything, place
                )
            rows, fed = w["w_hh"].shape
            hidden = w["w_hr"].shape[1] if "w_hr" in w else fed
            gates.add(rows // hidden if rows % hidden == 0 and w["w_ih"].shape[0] == rows else 0)
            if n and w["w_ih"].shape[1] != width:
                raise _refused(
                    f"recurrence {m.name!r}: layer {n} takes {w['w_ih'].shape[1]} features, not the {width} before it",
                    everything,
                    place,
                )
            made.append(LayerWeights(w["w_ih"], w["w_hh"], w.get("b_ih"), w.get("b_hh"), w.get("w_hr")))
        m.layers.append(made)
        width = directions * m.layers[-1][0].w_hh.shape[1]
    if len(gates) != 1 or not gates <= set(KINDS):
        raise _refused(
            f"recurrence {m.name!r}: rows of weight_hh are not 4, 3 or 1 times the hidden size", everything, place
        )
    m.kind, m.width_in, m.width_out = KINDS[gates.pop()], m.layers[0][0].w_ih.shape[1], width
    return m


def _refused(why: str, tensors: dict[str, np.ndarray], place: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{place}: {why}. A state dict does not say how its layers are joined; give the live module, an "
        f"exported program, or a network description. Tensors: {_listed(tensors)}"
    )


def _listed(tensors: dict[str, np.ndarray]) -> str:
    shown = [f"{n} {tuple(a.shape)}" for n, a in tensors.items()]
    return ", ".join(shown[:40]) + (f" and {len(shown) - 40} more" if len(shown) > 40 else "")


# ---- ordering -------------------------------------------------------------------------------------------------------


def _fits(order: list[_Module] | tuple[_Module, ...]) -> bool:
    width = 0
    for i, m in enumerate(order):
        if m.kind == "embedding" and i:
            return False
        if width and m.width_in != width:
            return False
        width = m.width_out
    return True


def _ordered(modules: list[_Module], tensors: dict[str, np.ndarray], place: str) -> tuple[list[_Module], bool]:
    """The layers as a chain: in the order of the file where that fits, else in the only order that does."""
    if not any(m.layers for m in modules):
        raise _refused("no recurrence (weight_ih, weight_hh) among the tensors", tensors, place)
    first = _as_embedding(modules)
    if _fits(first) and not _alphabetical(tensors):
        return first, False
    if len(modules) > MAX_REORDERED:
        if _fits(first):
            return first, False
        raise _refused("the layers do not follow each other by size in the order of the file", tensors, place)
    chains = []
    for order in permutations(modules):
        chain = _as_embedding(list(order))
        if _fits(chain) and not any(_same_chain(chain, c) for c in chains):
            chains.append(chain)
    inner = [c for c in chains if c[-1].kind == "linear"] or chains  # a network may start with Linear, but ends with it
    starts = [c for c in inner if c[0].kind == "embedding" or c[0].layers] or inner
    if len(starts) != 1:
        raise _refused(
            "the layers fit together in no order" if not starts else f"the layers fit together in {len(starts)} orders",
            tensors,
            place,
        )
    return starts[0], [m.name for m in starts[0]] != [m.name for m in modules]


def _same_chain(a: list[_Module], b: list[_Module]) -> bool:
    return all(x.name == y.name for x, y in zip(a, b))


def _alphabetical(tensors: dict[str, np.ndarray]) -> bool:
    """safetensors sorts names, so that their order says nothing about the network's."""
    names = list(tensors)
    return len({n.rpartition(".")[0] for n in names}) > 1 and names == sorted(names)


def _as_embedding(modules: list[_Module]) -> list[_Module]:
    """A leading bias-free matrix whose columns, not rows, feed the next layer is a table of embeddings."""
    if len(modules) < 2 or modules[0].kind != "linear" or "bias" in modules[0].tensors:
        return modules
    first, following = modules[0], modules[1]
    rows, columns = first.tensors["weight"].shape
    if columns == following.width_in and rows != following.width_in:
        return [_Module(first.name, first.tensors, "embedding", 0, columns), *modules[1:]]
    return modules


# ---- building -------------------------------------------------------------------------------------------------------


class _Builder:
    def __init__(self, modules: list[_Module], options: dict[str, Any], notes: list[str]) -> None:
        self.modules, self.options, self.notes = modules, options, notes
        self.g = Graph()
        self.recurrent = [i for i, m in enumerate(modules) if m.layers]

    def option(self, name: str, default: str, note: str) -> str:
        """The option, or what is assumed without it, which is noted."""
        if name in self.options:
            return self.options[name]
        if note not in self.notes:
            self.notes.append(note)
        return default

    def graph(self) -> Graph:
        first = self.modules[0]
        shape = (BATCH, FRAMES) if first.kind == "embedding" else (BATCH, FRAMES, first.width_in)
        x = self.g.input("input", shape, "int32" if first.kind == "embedding" else "float32")
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
                    "options={'activation': 'linear' or another} changes it",
                )
                x = x if kind == "linear" else self._unary(x, kind)
        x = self._output(x)
        self.g.output("output", x)
        self.g.metadata["notes"] = self.notes
        return self.g

    def _head(self, x: str) -> str:
        """What the layers after the last recurrence see of it."""
        if self._is_language_model():
            seen, what = "every", "every frame, as there are as many outputs as tokens"
        else:
            seen, what = "last", "its last frame, output[:, -1]"
        others = ", ".join(repr(h) for h in OPTIONS["head"] if h != seen)
        head = self.option(
            "head",
            seen,
            f"assumed: the layers after the last recurrence see {what}; options={{'head': ...}} changes it to {others}",
        )
        if head == "every":
            return x
        if head == "final" and len(self.modules[self.recurrent[-1]].layers[0]) == 2:
            return self._final_states(x)
        if head == "mean":
            return self.g.add1("Reduce", [x], {"kind": "mean", "axes": [1], "keepdims": 0}, "mean_frame")
        last = self.g.add1("Slice", [x], {"axes": [1], "starts": [-1], "ends": [END], "steps": [1]}, "last_frame.slice")
        width = self.g.shape(x)[-1]
        return self.g.add1(
            "Reshape", [last], {"shape": [1, width], "from_input": [0, -1], "from_axis": [0, 0]}, "last_frame"
        )

    def _is_language_model(self) -> bool:
        first, last = self.modules[0], self.modules[-1]
        return first.kind == "embedding" and last.width_out == first.tensors["weight"].shape[0]

    def _final_states(self, x: str) -> str:
        """The forward half of the last frame beside the backward half of the first: torch's cat((h[-2], h[-1]), 1)."""
        half = self.g.shape(x)[-1] // 2
        parts = []
        for name, start, end, low, high in (("forward", -1, END, 0, half), ("backward", 0, 1, half, 2 * half)):
            attrs = {"axes": [1, 2], "starts": [start, low], "ends": [end, high], "steps": [1, 1]}
            part = self.g.add1("Slice", [x], attrs, f"final_{name}.slice")
            flat = {"shape": [1, half], "from_input": [0, -1], "from_axis": [0, 0]}
            parts.append(self.g.add1("Reshape", [part], flat, f"final_{name}"))
        return self.g.add1("Concat", parts, {"axis": 1}, "final_states")

    def _unary(self, x: str, kind: str) -> str:
        alpha = {"elu": 1.0, "leaky_relu": 0.01}.get(kind, 0.0)
        return self.g.add1("Unary", [x], {"kind": kind, "alpha": alpha, "beta": 0.0}, kind)

    def _output(self, x: str) -> str:
        kind = self.options.get("output", "linear")
        if "output" not in self.options and self.modules[-1].kind == "linear":
            self.notes.append(
                "assumed: nothing after the last layer; options={'output': 'softmax' or 'sigmoid'} changes it"
            )
        if kind in ("softmax", "log_softmax"):
            return self.g.add1("Softmax", [x], {"axis": -1, "log": int(kind == "log_softmax")}, kind)
        return x if kind == "linear" else self._unary(x, kind)

    def _add(self, x: str, m: _Module) -> str:
        if m.layers:
            return self._recurrence(x, m)
        w = {
            n: self.g.constant(np.asarray(a, np.float32), f"{m.name}.{n}")
            for n, a in m.tensors.items()
            if m.kind in ("linear", "embedding", "layer_norm")
        }
        if m.kind == "embedding":
            return self.g.add1("Gather", [w["weight"], x], {"axis": 0}, m.name)
        if m.kind == "linear":
            return self.g.add1("Dense", [x, w["weight"], *([w["bias"]] if "bias" in w else [])], {}, m.name)
        self.notes.append(f"assumed: {m.name!r} normalises the last axis with epsilon 1e-5")
        if m.kind == "layer_norm":
            axis = len(self.g.shape(x)) - 1
            return self.g.add1("Normalize", [x, w["weight"], w["bias"]], {"axes": [axis], "epsilon": 1e-5}, m.name)
        return self._batch_norm(x, m)

    def _batch_norm(self, x: str, m: _Module) -> str:
        t = {n: a.astype(np.float64) for n, a in m.tensors.items()}
        scale = t.get("weight", 1.0) / np.sqrt(t["running_var"] + 1e-5)
        shift = t.get("bias", 0.0) - t["running_mean"] * scale
        scaled = self.g.add1("Binary", [x, self.g.constant(scale, f"{m.name}.scale")], {"kind": "mul"}, f"{m.name}.mul")
        return self.g.add1("Binary", [scaled, self.g.constant(shift, f"{m.name}.shift")], {"kind": "add"}, m.name)

    def _recurrence(self, x: str, m: _Module) -> str:
        attrs: dict[str, Any] = {"direction": "bidirectional"} if len(m.layers[0]) == 2 else {}
        if m.kind == "RNN":
            kind = self.option(
                "nonlinearity", "tanh", "assumed: tanh in the RNN; options={'nonlinearity': 'relu'} changes it"
            )
            attrs["activations"] = [kind] * len(m.layers[0])
        for n, layer in enumerate(m.layers):
            place = f"{m.name}.{n}" if len(m.layers) > 1 else m.name or m.kind.lower()
            arrays = {k: self.g.constant(a, f"{place}.{k}") for k, a in recurrence_inputs(m.kind, layer).items()}
            biases = ["bias_ih", "bias_hh"] if m.kind == "GRU" else ["bias"]
            inputs = [x, arrays["w_ih"], arrays["w_hh"], *(arrays.get(b, "") for b in biases)]
            if "w_proj" in arrays:
                inputs += ["", "", "", "", "", arrays["w_proj"]]
            while not inputs[-1]:
                inputs.pop()
            x = self.g.add(m.kind, inputs, attrs, place, [self.g.fresh(place)])[0]
        return x
