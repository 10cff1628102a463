"""Named arrays from files that hold weights without a network: .npz, .npy, .h5, .safetensors, checkpoints, pickles, JSON.

Nothing a file names is run, and what it claims is checked before memory is taken for it.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import FormatError, LstmEdgeError, UnsupportedModelError
from ...files import hdf5, pickles
from ...files.pickles import Inert
from ..json import model as json_rnn
from ..json.values import array, whole
from ..keras.files import NOT_WEIGHTS
from ..torch import model as torch
from ..torch.state import PREFERRED_KEYS, state_dict

NPY_MAGIC = b"\x93NUMPY"
ZIP_MAGIC = b"PK\x03\x04"
MAX_NPY_HEADER = 64 << 10
MAX_TENSORS = 100_000
MAX_DEPTH = 64  # of containers in containers
# A zip of weights may inflate to this much and a multiple of its size: bombs reach 1000 to 1, pruned weights some 10.
INFLATED_BASE, INFLATED_RATIO = 16 << 20, 20


def read_weights(
    source: str | os.PathLike[str] | bytes, key: str | None = None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """name -> array of a file (a path, or its bytes), and notes on what was chosen.

    Nested dictionaries and lists give names joined by dots. `key` picks one entry of a checkpoint. FormatError for what
    is damaged or carries code, UnsupportedModelError for what holds no arrays.
    """
    place = "bytes" if isinstance(source, bytes) else Path(source).name
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    if data.startswith(hdf5.MAGIC):
        with hdf5.opened(data, place) as file:
            return _checked(file.arrays(NOT_WEIGHTS)), []
    if data.startswith(NPY_MAGIC):
        return _checked(_named(_npy(data, place), "")), []
    if data.startswith(ZIP_MAGIC) and _is_npz(data):
        return _checked(_npz(data)), []
    if data[:64].lstrip()[:1] == b"{":
        return _checked(_from_json(json_rnn.load(data))), []
    if torch._is_safetensors(data):
        return _checked(torch.read_safetensors(data, place)), []
    return _pickled(pickles.load(data, place), place, key)


def _pickled(value: Any, place: str, key: str | None) -> tuple[dict[str, np.ndarray], list[str]]:
    """A checkpoint (its entry `key`, or the one that holds a network), or any dictionaries and lists of arrays."""
    checkpoint = isinstance(value, dict) and any(isinstance(value.get(k), (dict, Inert)) for k in PREFERRED_KEYS)
    if key is not None or checkpoint or isinstance(value, Inert):
        found, notes = state_dict(value, place, key)
        return _checked(found), notes
    return _checked(_named(value, "")), []


def _checked(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if not arrays:
        raise UnsupportedModelError("a file without arrays; expected weights by name")
    if len(arrays) > MAX_TENSORS:
        raise FormatError(f"{len(arrays)} arrays in one file; expected at most {MAX_TENSORS}")
    return arrays


# ---- numpy -----------------------------------------------------------------------------------------------------------


def _is_npz(data: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return all(n.endswith(".npy") for n in archive.namelist())
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError) as why:
        raise FormatError(f"a damaged zip archive ({why})") from None


def _npz(data: bytes) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            claimed, most = sum(m.file_size for m in members), INFLATED_BASE + INFLATED_RATIO * len(data)
            if claimed > most or len(members) > MAX_TENSORS:
                raise FormatError(
                    f"{len(members)} arrays of {claimed} bytes in a file of {len(data)}: expected at most {most}; "
                    "refused as a zip bomb"
                )
            for member in members:
                name = member.filename.removesuffix(".npy")
                found |= _named(_npy(archive.read(member), name), name)
    except LstmEdgeError:
        raise
    except (zipfile.BadZipFile, zlib.error, struct.error, ValueError, RuntimeError, EOFError, OSError) as why:
        raise FormatError(f"a damaged .npz archive ({type(why).__name__}: {why})") from None
    return found


def _npy(data: bytes, name: str) -> Any:
    """The array of a .npy file; what np.save pickled (a dictionary), read without running it, object arrays as lists."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise FormatError(f"array {name!r}: .npy version {version}, expected 1.0 or 2.0")
        shape, fortran, dtype = readers[version](stream, max_header_size=MAX_NPY_HEADER)
    except LstmEdgeError:
        raise
    except (ValueError, TypeError, SyntaxError, struct.error, EOFError, MemoryError, RecursionError) as why:
        raise FormatError(f"array {name!r}: not a .npy file ({str(why)[:120]})") from None
    if dtype.hasobject:
        value = pickles.load(data[stream.tell() :], name)
        return value[0] if isinstance(value, list) and shape == () else value
    count = prod(shape)
    left = len(data) - stream.tell()
    if any(size < 0 for size in shape) or count * dtype.itemsize != left:
        raise FormatError(
            f"array {name!r}: shape {shape} of {dtype} claims {count * dtype.itemsize} bytes, found {left}"
        )
    if not dtype.itemsize or not count:
        return np.zeros(shape, dtype)
    return np.frombuffer(data, dtype, count, stream.tell()).reshape(shape, order="F" if fortran else "C")


# ---- nested containers -----------------------------------------------------------------------------------------------


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
