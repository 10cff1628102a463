"""safetensors files: 8 bytes of header size, a header in JSON, then the bytes of every tensor."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .. import memory
from ..errors import FormatError, MemoryLimitError, UnsupportedModelError
from .json import parsed
from .pickled_tensors import widened

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
MAX_HEADER = 100 << 20
MAX_RANK, MAX_SIZE = 32, 1 << 40  # an empty tensor may claim any size on its other axes


def is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that begins with `head` (9 bytes or more) is one."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size


def read(data: bytes, place: str) -> dict[str, np.ndarray]:
    """The tensors by name, bfloat16 as float32. FormatError where offsets, sizes or dtypes do not agree."""
    size = int.from_bytes(data[:8], "little")
    if size > min(MAX_HEADER, len(data) - 8):
        raise FormatError(f"{place}: a header of {size} bytes in a file of {len(data)}")
    try:
        header = parsed(data[8 : 8 + size].decode("utf-8"))
    except MemoryLimitError:
        raise
    except (ValueError, RecursionError) as e:
        raise FormatError(f"{place}: the safetensors header is not JSON ({e})") from e
    body = memoryview(data)[8 + size :]
    entries = {n: e for n, e in header.items() if n != "__metadata__"} if isinstance(header, dict) else {}
    _check_apart(entries, place)
    found = {name: _tensor(name, entry, body, place) for name, entry in entries.items()}
    if not found:
        raise FormatError(f"{place}: a safetensors file without tensors")
    return found


def _check_apart(entries: dict[str, Any], place: str) -> None:
    """FormatError where two tensors have bytes in common: some kB of header would ask for gigabytes. What is no range is left
    to _tensor."""
    offsets = {n: e.get("data_offsets") for n, e in entries.items() if isinstance(e, dict)}
    ranges = [(*o, n) for n, o in offsets.items() if isinstance(o, list) and [type(i) for i in o] == [int, int]]
    ranges = sorted(r for r in ranges if r[0] < r[1])
    for (_, end, name), (start, _, other) in zip(ranges, ranges[1:]):
        if start < end:
            raise FormatError(f"{place}: tensors {name!r} and {other!r} overlap: expected bytes of each one's own")


def _tensor(name: str, entry: Any, body: memoryview, place: str) -> np.ndarray:
    try:
        kind, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as e:
        raise FormatError(f"{place}: tensor {name!r}: expected dtype, shape and data_offsets") from e
    if (
        not isinstance(kind, str)
        or any(type(n) is not int or n < 0 for n in (*shape, start, end))
        or len(shape) > MAX_RANK
    ):
        raise FormatError(
            f"{place}: tensor {name!r}: expected a dtype as a word, at most {MAX_RANK} whole sizes and two whole offsets, found "
            f"{str(entry)[:160]}"
        )
    if kind not in DTYPES:
        raise UnsupportedModelError(f"{place}: tensor {name!r} of dtype {kind}: expected one of {', '.join(DTYPES)}")
    dtype = np.dtype(DTYPES[kind])
    claimed = prod(shape) * dtype.itemsize
    if not start <= end <= len(body) or end - start != claimed or max(shape, default=0) > MAX_SIZE:
        raise FormatError(
            f"{place}: tensor {name!r}: expected {claimed} bytes for shape {shape} of {kind}, found the range {start} to "
            f"{end} of {len(body)}"
        )
    memory.foresee(claimed * (4 if kind == "BF16" else 1), place)
    array = np.frombuffer(body[start:end], dtype).reshape(shape)
    return memory.hold(widened(array) if kind == "BF16" else np.array(array), place)
