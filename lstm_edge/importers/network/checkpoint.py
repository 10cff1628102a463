"""The tensors of a checkpoint: which entry of it holds the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ...files.pickles import Inert
from ...options import as_typed

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
        return _module_tensors(value, "")
    if not isinstance(value, Mapping):
        return {}
    arrays = {str(k): _array(v) for k, v in value.items()}
    return {k: v for k, v in arrays.items() if v is not None}


def _array(value: Any) -> np.ndarray | None:
    """The array of a live torch tensor or of what a pickle holds; None of what is neither."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if str(value.dtype) in ("torch.bfloat16", "torch.float16") else value).numpy()
    return np.asarray(value) if isinstance(value, np.ndarray) else None


def _nested(value: Any) -> bool:
    return isinstance(value, Mapping) and any(named_tensors(v) for v in value.values())


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
    if isinstance(value, Mapping):
        return "a dict with entries " + ", ".join(repr(k) for k in list(value)[:20])
    return value.name if isinstance(value, Inert) else type(value).__name__
