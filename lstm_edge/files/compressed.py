"""Bytes that one of the standard library's compressors wrote, as pickles are kept: told by their first bytes, not by a name."""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import Any

from .. import memory
from ..errors import FormatError, UnsupportedModelError

MOST = 64 << 20  # of what comes out


def inflated(data: bytes) -> bytes:
    """The bytes as they were before, or as they are where nothing compressed them. FormatError: damaged, or more than MOST;
    UnsupportedModelError for a compressor that Python does not have."""
    if data.startswith(b"\x04\x22\x4d\x18"):
        raise UnsupportedModelError("compressed by lz4, which is not read; write it with compress='zlib' or without")
    opener = _opener(data)
    if opener is None:
        return data
    most = memory.left(MOST)
    try:
        made: bytes = opener.decompress(data, most + 1)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as why:
        raise FormatError(f"damaged compressed data ({why})") from None
    if len(made) > MOST:
        raise FormatError(f"compressed data of more than {MOST} bytes; refused")
    memory.take(len(made), "compressed data")
    if not opener.eof:
        raise FormatError("compressed data that is truncated")
    return made


def _opener(data: bytes) -> Any:
    if data[:2] in (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"):
        return zlib.decompressobj()
    if data.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(zlib.MAX_WBITS | 16)
    if data.startswith(b"BZh"):
        return bz2.BZ2Decompressor()
    if data.startswith((b"\xfd7zXZ", b"\x5d\x00\x00")):
        return lzma.LZMADecompressor()
    return None
