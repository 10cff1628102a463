"""The tensors of a checkpoint: which entry of it holds the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ...files.pickles import Inert
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
    raise UnsupportedModelError(
        f"{place}: expected one dictionary of named tensors, found {_keys(value)}; name the entry that "
        f"holds the network with {as_typed('options', 'key')}"
    )


def named_tensors(value: Any) -> dict[str, np.ndarray]:
    """name -> array of a state dict, of a dict of dicts of arrays, or of a pickled nn.Module."""
    if isinstance(value, Inert):
        return packed.unpacked(*_module_entries(value, ""))
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


def _module_entries(module: Inert, prefix: str, depth: int = 0) -> tuple[dict[str, Any], dict[str, int]]:
    """The parameters, buffers and packed weights of a pickled nn.Module, by the names its state_dict would have, and the
    directions of its recurrences."""
    state = module.state
    if not isinstance(state, dict) or depth > 64:
        return {}, {}
    found = {
        prefix + str(k): v
        for group in ("_parameters", "_buffers")
        for k, v in (state.get(group) or {}).items()
        if isinstance(v, np.ndarray)
    }
    found.update({prefix + n: state[n] for n in ("_packed_params", "param") if packed.is_packed(n, state.get(n))})
    directions = {prefix: 2 if state["bidirectional"] else 1} if "bidirectional" in state else {}
    for name, child in (state.get("_modules") or {}).items():
        if isinstance(child, Inert):
            below, of = _module_entries(child, f"{prefix}{name}.", depth + 1)
            found.update(below)
            directions.update(of)
    return found, directions


def is_quantized(value: Any) -> bool:
    """Whether a pickled module or a state dict holds packed weights."""
    if isinstance(value, Inert):
        return any(packed.is_packed(k, v) for k, v in _module_entries(value, "")[0].items())
    return isinstance(value, Mapping) and any(packed.is_packed(str(k), v) or is_quantized(v) for k, v in value.items())


def _keys(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a dict with entries " + ", ".join(repr(k) for k in list(value)[:20])
    return value.name if isinstance(value, Inert) else type(value).__name__
