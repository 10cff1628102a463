"""The tensors of a checkpoint: which entry of it holds the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ...files.pickles import Inert, below
from ...options import as_typed
from . import packed

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
    """The tensors by name inside what a pickle holds or a live mapping is, and the entries that were chosen on the way.

    `key` picks one entry of a checkpoint that holds several networks. UnsupportedModelError when there is none or a
    choice is needed; the message lists the candidates.
    """
    entries: list[str] = []
    if key is not None:
        if not isinstance(value, Mapping) or key not in value:
            raise UnsupportedModelError(f"{place}: no entry {key!r}: found {_keys(value)}")
        value = value[key]
        entries.append(key)
    for _ in range(4):
        nested = value if isinstance(value, Mapping) else {}
        candidates = {k: v for k, v in nested.items() if named_tensors(v) or _nested(v)}
        candidates = {k: v for k, v in candidates.items() if not any(o in str(k).lower() for o in OTHER_STATE)}
        preferred = [k for k in PREFERRED_KEYS if k in candidates]
        own = named_tensors(value)
        if own and not preferred:
            return own, entries
        chosen = preferred[:1] if preferred else list(candidates)
        if len(chosen) != 1:
            break
        entries.append(chosen[0])
        value = candidates[chosen[0]]
    found = _keys(value)
    if found.startswith("sklearn."):
        hint = f"a scaler goes beside the network that was trained on what it scales: {as_typed('scale')}"
    else:
        hint = f"name the entry that holds the network with {as_typed('options', 'key')}"
    raise UnsupportedModelError(f"{place}: expected one dictionary of named tensors, found {found}; {hint}")


def named_tensors(value: Any) -> dict[str, np.ndarray]:
    """name -> array of a state dict, of a dict of dicts of arrays, or of a pickled nn.Module."""
    if isinstance(value, Inert):
        return packed.unpacked(*_module_entries(value))
    if not isinstance(value, Mapping):
        return {}
    entries = {str(k): v if packed.is_packed(str(k), v) else _array(v) for k, v in value.items()}
    return packed.unpacked({k: v for k, v in entries.items() if v is not None}, {})


def _array(value: Any) -> np.ndarray | None:
    """The array of a live torch tensor or of what a pickle holds; None of what is neither."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if str(value.dtype) in ("torch.bfloat16", "torch.float16") else value).numpy()
    return np.asarray(value) if isinstance(value, np.ndarray) else None


def _nested(value: Any) -> bool:
    return isinstance(value, Mapping) and any(named_tensors(v) for v in value.values())


def _module_entries(root: Inert) -> tuple[dict[str, Any], dict[str, int]]:
    """The parameters, buffers and packed weights of a pickled nn.Module, by the names its state_dict would have, and the
    directions of its recurrences."""
    found: dict[str, Any] = {}
    directions: dict[str, int] = {}
    for path, module in below(root, _children):
        state = module.state if isinstance(module.state, dict) else {}
        prefix = f"{path}." if path else ""
        for group in ("_parameters", "_buffers"):
            found.update({prefix + str(k): v for k, v in _dict(state, group).items() if isinstance(v, np.ndarray)})
        found.update({prefix + n: state[n] for n in ("_packed_params", "param") if packed.is_packed(n, state.get(n))})
        if "bidirectional" in state:
            directions[prefix] = 2 if state["bidirectional"] else 1
    return found, directions


def _children(module: Inert) -> dict[Any, Inert]:
    modules = _dict(module.state, "_modules") if isinstance(module.state, dict) else {}
    return {name: child for name, child in modules.items() if isinstance(child, Inert)}


def _dict(state: dict[str, Any], name: str) -> dict[Any, Any]:
    held = state.get(name)
    return held if isinstance(held, dict) else {}


def is_quantized(value: Any) -> bool:
    """Whether a pickled module, or a state dict at any depth of dictionaries, holds packed weights."""
    waiting, seen = [value], set()
    while waiting:
        held = waiting.pop()
        if id(held) in seen:  # a pickle may hold one dictionary in many places, itself too
            continue
        seen.add(id(held))
        entries = _module_entries(held)[0] if isinstance(held, Inert) else held
        if isinstance(entries, Mapping):
            if any(packed.is_packed(str(k), v) for k, v in entries.items()):
                return True
            waiting += [v for v in entries.values() if isinstance(v, (Mapping, Inert))]
    return False


def _keys(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a dict with entries " + ", ".join(repr(k) for k in list(value)[:20])
    return value.name if isinstance(value, Inert) else type(value).__name__
