"""Named arrays from files that hold weights without a network: .npz, .npy, .h5, .safetensors, checkpoints, pickles, JSON.

Nothing a file names is run, and what it claims is checked before memory is taken for it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ... import memory
from ...errors import FormatError, UnsupportedModelError
from ...files import hdf5, json, npz, pickles, safetensors
from ...files.json import array, whole
from ...files.pickles import Inert
from ..keras.files import NOT_WEIGHTS
from . import packed, parametrizations
from .checkpoint import PREFERRED_KEYS, is_quantized, named_tensors, state_dict

ZIP_MAGIC = b"PK\x03\x04"
MAX_DEPTH = 64  # of containers in containers


@dataclass
class Weights:
    """name -> array, the entry of a checkpoint that they come from, and notes on what was chosen."""

    arrays: dict[str, np.ndarray]
    key: str | None = None
    notes: list[str] = field(default_factory=list)


def read_weights(source: Any, key: str | None = None, described: bool = True) -> Weights:
    """The arrays of a file (a path, or its bytes) or of a live state dict.

    Nested dictionaries and lists give names joined by dots. `key` picks one entry of a checkpoint; where no network is
    `described`, the entry that holds one is looked for. FormatError for what is damaged or carries code,
    UnsupportedModelError for what holds no arrays.
    """
    if isinstance(source, Mapping):
        if described and not source:
            return Weights({})  # of layers that have none
        return _checked(_chosen(_without_objects(source), "the dictionary", key, described))
    place = "bytes" if isinstance(source, bytes) else Path(source).name
    if not isinstance(source, bytes):
        memory.read(source)
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    if data.startswith(hdf5.MAGIC):
        with hdf5.opened(data, place) as file:
            return _checked(Weights(file.arrays(NOT_WEIGHTS)))
    if data.startswith(npz.MAGIC):
        return _checked(Weights(_named(npz.read_npy(data, place), "")))
    if data.startswith(ZIP_MAGIC) and npz.is_npz(data):
        return _checked(Weights(_flat(npz.read_npz(data))))
    if safetensors.is_safetensors(data, len(data)):
        return _checked(Weights(safetensors.read(data, place)))
    if data[:64].lstrip()[:1] == b"{":
        return _checked(Weights(_from_json(json.load(data))))
    return _checked(_chosen(pickles.load(data, place), place, key, described))


def _without_objects(live: Mapping[str, Any]) -> Any:
    """A live state dict, packed weights of quantised modules in it as a file has them."""
    if not any(type(v).__name__ == "ScriptObject" or isinstance(v, tuple) for v in live.values()):
        return live
    import torch

    buffer = io.BytesIO()
    torch.save(dict(live), buffer)
    return pickles.load(buffer.getvalue(), "the dictionary")


def _chosen(value: Any, place: str, key: str | None, described: bool) -> Weights:
    """A checkpoint (its entry `key`, or the one that holds a network), or any dictionaries and lists of arrays."""
    mapping, quantized = isinstance(value, Mapping), is_quantized(value)
    checkpoint = mapping and any(isinstance(value.get(k), (Mapping, Inert)) for k in PREFERRED_KEYS)
    if key is not None or checkpoint or isinstance(value, Inert) or not described or quantized:
        found, entries = state_dict(value, place, key)
        notes = [f"tensors taken from entry {e!r} of the checkpoint" for e in entries if e != key]
        notes += [packed.NOTE] if quantized else []
        return Weights(found, entries[0] if entries else None, notes)
    return Weights(named_tensors(value) if mapping and not _nested(value) else _named(value, ""))


def _nested(value: Mapping[str, Any]) -> bool:
    return any(isinstance(v, (Mapping, list, tuple)) for v in value.values())


def _checked(weights: Weights) -> Weights:
    if not weights.arrays:
        raise UnsupportedModelError("a file without arrays; expected weights by name")
    if len(weights.arrays) > npz.MAX_ARRAYS:
        raise FormatError(f"{len(weights.arrays)} arrays in one file; expected at most {npz.MAX_ARRAYS}")
    arrays, notes = parametrizations.computed(weights.arrays)
    return Weights(arrays, weights.key, weights.notes + notes)


# ---- nested containers -----------------------------------------------------------------------------------------------


def _flat(arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    return {path: array for name, value in arrays.items() for path, array in _named(value, name).items()}


def _named(value: Any, prefix: str) -> dict[str, np.ndarray]:
    """Arrays of numbers inside dictionaries and lists, by their path. What is no array (a number, a word) is left out."""
    found: dict[str, np.ndarray] = {}
    stack, seen = [(prefix, value, 0)], set()
    while stack:
        path, item, depth = stack.pop()
        if isinstance(item, np.ndarray):
            if item.dtype.kind in "fiub":
                found[path] = item
            continue
        if not isinstance(item, (dict, list, tuple)) or id(item) in seen:
            continue
        if depth > MAX_DEPTH:
            raise FormatError(f"dictionaries and lists nested more than {MAX_DEPTH} deep")
        seen.add(id(item))
        children = item.items() if isinstance(item, dict) else enumerate(item)
        stack += [(f"{path}.{k}" if path else str(k), v, depth + 1) for k, v in children]
    return dict(sorted(found.items()))


def _from_json(document: dict[str, Any]) -> dict[str, np.ndarray]:
    """Nested lists of numbers by their path; {data, dim or shape} gives data in that shape. Words are left out."""
    found: dict[str, np.ndarray] = {}
    stack: list[tuple[str, Any]] = [("", document)]
    while stack:
        path, item = stack.pop()
        if isinstance(item, dict):
            shape = item.get("dim", item.get("shape"))
            if isinstance(item.get("data"), list) and isinstance(shape, list):
                found[path] = _shaped(array(item["data"], path), shape, path)
            else:
                stack += [(f"{path}.{k}" if path else str(k), v) for k, v in item.items()]
        elif isinstance(item, list) and isinstance(_first_leaf(item), (int, float)):
            found[path] = array(item, path)
    return dict(sorted(found.items()))


def _shaped(data: np.ndarray, shape: list[Any], path: str) -> np.ndarray:
    sizes = tuple(whole(s, f"{path}: shape", 0) for s in shape)
    if prod(sizes) != data.size:
        raise FormatError(f"{path}: shape {sizes}, expected {data.size} elements")
    return data.reshape(sizes)


def _first_leaf(item: Any) -> Any:
    while isinstance(item, list):
        item = item[0] if item else None
    return item
