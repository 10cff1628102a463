"""Which layers the tensors of a state dict are: recognised from names and shapes, and put in order by their sizes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np

from ...errors import UnsupportedModelError
from ..dialect.recurrences import Weights

RECURRENT = re.compile(r"(weight|bias)_(ih|hh|hr)(?:_l(\d+))?(_reverse)?$")
KINDS = {4: "LSTM", 3: "GRU", 1: "RNN"}
SHOWN = 12  # tensors that a refusal lists
MAX_REORDERED = 7  # layers that are put in order by their sizes; more would be guessing
PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.")


@dataclass
class Layer:
    """One layer: its tensors under one prefix, and the widths it takes and gives (0: any, the same)."""

    name: str
    tensors: dict[str, np.ndarray]
    kind: str = ""
    width_in: int = 0
    width_out: int = 0
    layers: list[list[Weights]] = field(default_factory=list)


def recognised(tensors: dict[str, np.ndarray], place: str) -> tuple[list[Layer], list[str], str]:
    """The layers in the order in which they run, notes, and what stands before every name. UnsupportedModelError lists
    the tensors when they do not make one network."""
    tensors, stripped = _without_prefix(tensors)
    modules = [_recognise(m, tensors, place) for m in _grouped(tensors)]
    notes = [f"name prefix {stripped!r} dropped"] if stripped else []
    ordered, reordered = _ordered(modules, tensors, place)
    if reordered:
        notes.append("layers put in the only order in which their sizes fit: " + ", ".join(m.name for m in ordered))
    return ordered, notes, stripped


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


def _grouped(tensors: dict[str, np.ndarray]) -> list[Layer]:
    groups: dict[str, Layer] = {}
    for name, array in tensors.items():
        prefix, _, own = name.rpartition(".")
        if own != "num_batches_tracked":
            groups.setdefault(prefix, Layer(prefix, {})).tensors[own] = array
    return list(groups.values())


# ---- recognising ----------------------------------------------------------------------------------------------------


def _recognise(m: Layer, everything: dict[str, np.ndarray], place: str) -> Layer:
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


def _recurrence(m: Layer, everything: dict[str, np.ndarray], place: str) -> Layer:
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
            ranks = {name: 1 if name.startswith("b") else 2 for name in w}
            rows = w["w_hh"].shape[0] if w["w_hh"].size else 0
            if not rows or any(a.ndim != ranks[name] for name, a in w.items()) or len(w.get("b_ih", w["w_hh"])) != rows:
                shapes = ", ".join(f"{name} {a.shape}" for name, a in w.items())
                raise _refused(
                    f"recurrence {m.name!r}: expected matrices and biases of as many rows, found {shapes}",
                    everything,
                    place,
                )
            fed = w["w_hh"].shape[1]
            hidden = w["w_hr"].shape[1] if "w_hr" in w else fed
            gates.add(rows // hidden if rows % hidden == 0 and w["w_ih"].shape[0] == rows else 0)
            if n and w["w_ih"].shape[1] != width:
                raise _refused(
                    f"recurrence {m.name!r}: layer {n} takes {w['w_ih'].shape[1]} features, not the {width} before it",
                    everything,
                    place,
                )
            made.append(Weights(w["w_ih"], w["w_hh"], w.get("b_ih"), w.get("b_hh"), projection=w.get("w_hr")))
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
    return ", ".join(shown[:SHOWN]) + (f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else "")


# ---- ordering -------------------------------------------------------------------------------------------------------


def _fits(order: list[Layer] | tuple[Layer, ...]) -> bool:
    width = 0
    for i, m in enumerate(order):
        if m.kind == "embedding" and i:
            return False
        if width and m.width_in != width:
            return False
        width = m.width_out
    return True


def _ordered(modules: list[Layer], tensors: dict[str, np.ndarray], place: str) -> tuple[list[Layer], bool]:
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
    chains: list[list[Layer]] = []
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


def _same_chain(a: list[Layer], b: list[Layer]) -> bool:
    return all(x.name == y.name for x, y in zip(a, b))


def _alphabetical(tensors: dict[str, np.ndarray]) -> bool:
    """safetensors sorts names, so that their order says nothing about the network's."""
    names = list(tensors)
    return len({n.rpartition(".")[0] for n in names}) > 1 and names == sorted(names)


def _as_embedding(modules: list[Layer]) -> list[Layer]:
    """A leading bias-free matrix whose columns, not rows, feed the next layer is a table of embeddings."""
    if len(modules) < 2 or modules[0].kind != "linear" or "bias" in modules[0].tensors:
        return modules
    first, following = modules[0], modules[1]
    rows, columns = first.tensors["weight"].shape
    if columns == following.width_in and rows != following.width_in:
        return [Layer(first.name, first.tensors, "embedding", 0, columns), *modules[1:]]
    return modules
