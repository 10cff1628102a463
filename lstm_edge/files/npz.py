"""NumPy's .npy and .npz files: what they claim is checked before memory is taken for it, and no pickle in them is run."""

from __future__ import annotations

import io
from math import prod
from typing import Any

import numpy as np

from .. import memory
from ..errors import FormatError, LstmEdgeError
from . import pickles, zips

MAGIC = b"\x93NUMPY"
MAX_HEADER = 64 << 10
MAX_ARRAYS = 100_000
MAX_RANK, MAX_SIZE = 32, 1 << 31  # an empty array may claim any size on its other axes
# A zip of weights may inflate to this much and a multiple of its size: bombs reach 1000 to 1, pruned weights some 10.
INFLATED_BASE, INFLATED_RATIO = 16 << 20, 20


def is_npz(data: bytes) -> bool:
    """Whether a zip archive holds arrays alone. FormatError for a damaged one."""
    with zips.opened(data, "the file") as archive:
        return all(n.endswith(".npy") for n in archive.namelist())


def read_npz(data: bytes) -> dict[str, Any]:
    """The arrays by name, or what np.save pickled in their place. FormatError for a damaged archive or a bomb."""
    with zips.opened(data, "the file") as archive:
        members = archive.infolist()
        claimed, most = sum(m.file_size for m in members), INFLATED_BASE + INFLATED_RATIO * len(data)
        if claimed > most or len(members) > MAX_ARRAYS:
            raise FormatError(
                f"{len(members)} arrays of {claimed} bytes in a file of {len(data)}: expected at most {most}; "
                "refused as a zip bomb"
            )
        names = {member: member.filename.removesuffix(".npy") for member in members}
        return {name: read_npy(zips.inflated(archive, member, "the file"), name) for member, name in names.items()}


def read_npy(data: bytes, name: str) -> Any:
    """The array of a .npy file; what np.save pickled (a dictionary), read without running it, object arrays as lists."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise FormatError(f"array {name!r}: .npy version {version}, expected 1.0 or 2.0")
        shape, fortran, dtype = readers[version](stream, max_header_size=MAX_HEADER)
    except LstmEdgeError:
        raise
    except Exception as why:  # the header is a literal of Python: NumPy hands on what its parser and tokenizer raise
        raise FormatError(f"array {name!r}: not a .npy file ({str(why)[:120]})") from why
    if dtype.hasobject:
        value = pickles.load(data[stream.tell() :], name)
        return value[0] if isinstance(value, list) and shape == () else value
    count = prod(shape)
    left = len(data) - stream.tell()
    if any(size < 0 for size in shape) or count * dtype.itemsize != left:
        raise FormatError(
            f"array {name!r}: shape {shape} of {dtype} claims {count * dtype.itemsize} bytes, found {left}"
        )
    if len(shape) > MAX_RANK or max(shape, default=0) > MAX_SIZE:
        raise FormatError(f"array {name!r}: expected at most {MAX_RANK} axes of at most {MAX_SIZE}, found {shape}")
    if not dtype.itemsize or not count:
        return np.zeros(shape, dtype)
    return memory.hold(np.frombuffer(data, dtype, count, stream.tell()), name).reshape(
        shape, order="F" if fortran else "C"
    )
