"""Zip archives, and their members, whose claimed sizes are checked before memory is taken for them."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import BinaryIO

from .. import memory
from ..errors import FormatError

MAX_RATIO = 250  # inflated / deflated; weights do not shrink like this, bombs do (deflate's limit is 1032)
FREE_BYTES = 1 << 20  # what any member may inflate to, whatever its ratio
# What zipfile raises on bad bytes. ValueError: names that are no UTF-8, places before the file; LookupError: an unknown codec;
# RuntimeError: a password; NotImplementedError: a method of compression.
DAMAGES = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    RuntimeError,
    NotImplementedError,
    OverflowError,
)


def opened(source: bytes | BinaryIO, place: str) -> zipfile.ZipFile:
    """The archive of these bytes or this stream. FormatError where it is damaged."""
    try:
        return zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source)
    except DAMAGES as why:
        raise FormatError(f"{place}: a damaged zip archive ({why})") from why


def read_entry(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    place: str,
    ratio: int = MAX_RATIO,
    limit: int | None = None,
    kept: bool = True,
) -> bytes:
    """The bytes of an archive member, counted in a conversion's memory where they are `kept` as they are. FormatError when it
    claims more than `limit` bytes, more than `ratio` times its compressed ones, or holds another number than it claims, and where
    it is damaged."""
    claimed, packed = info.file_size, info.compress_size
    if limit is not None and claimed > limit:
        raise FormatError(f"{place}: {info.filename} claims {claimed} bytes, expected at most {limit}")
    if claimed > FREE_BYTES + ratio * packed:
        raise FormatError(
            f"{place}: {info.filename} claims {claimed} bytes from {packed} compressed ones, expected a ratio below "
            f"{ratio} to 1; refused as a zip bomb"
        )
    if kept:
        memory.take(claimed, place)
    return inflated(archive, info, place)


def inflated(archive: zipfile.ZipFile, info: zipfile.ZipInfo, place: str) -> bytes:
    """The bytes of a member whose claimed size the caller has found to be bearable. FormatError where it is damaged."""
    memory.foresee(2 * info.file_size, place)
    try:
        with archive.open(info) as stream:
            data = stream.read(info.file_size + 1)
    except DAMAGES as why:
        raise FormatError(f"{place}: {info.filename}: a damaged member of a zip archive ({why})") from why
    if len(data) != info.file_size:
        raise FormatError(f"{place}: {info.filename}: expected {info.file_size} bytes, found {len(data)}")
    return data
