"""WAVE files, read and written piece by piece: an hour of audio needs no more memory than a second."""

from __future__ import annotations

import os
import struct
from typing import IO

import numpy as np

from ..errors import FormatError

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
OPEN_ENDED = 0x7FFFF000  # sizes from here on are what recorders write that do not know the length yet
HEADER_BYTES = 44


class WavReader:
    """Samples of a file. PCM of 8, 16, 24 and 32 bits, float of 32 and 64. Raises FormatError naming the file."""

    def __init__(self, path: str):
        self.path = path
        self.file = open(path, "rb")
        try:
            self._read_header()
        except BaseException:
            self.file.close()
            raise

    def _read_header(self) -> None:
        head = self.file.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            raise FormatError(f"{self.path}: expected a RIFF WAVE file, found {head!r}")
        length = os.fstat(self.file.fileno()).st_size
        found, form, size = [], b"", None
        while len(chunk := self.file.read(8)) == 8:
            kind, claimed = chunk[:4], struct.unpack("<I", chunk[4:])[0]
            found.append(kind.decode("latin-1"))
            if kind == b"data" and form:
                size = claimed
                break
            at = self.file.tell()
            if kind == b"fmt ":
                form = self.file.read(min(claimed, 64))
            self.file.seek(at + claimed + claimed % 2)
        if len(form) < 16 or size is None:
            raise FormatError(f"{self.path}: expected chunks 'fmt ' and 'data', in this order, found {found}")
        self.tag, self.channels, self.rate, _, _, self.bits = struct.unpack_from("<HHIIHH", form)
        if self.tag == EXTENSIBLE and len(form) >= 26:
            self.tag = struct.unpack_from("<H", form, 24)[0]
        if (self.tag, self.bits) not in [(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64)]:
            raise FormatError(
                f"{self.path}: expected PCM of 8, 16, 24 or 32 bits or float of 32 or 64, "
                f"found format {self.tag} of {self.bits} bits"
            )
        if not self.channels:
            raise FormatError(f"{self.path}: expected at least one channel, found 0")
        present = length - self.file.tell()
        if present < size < OPEN_ENDED:
            raise FormatError(f"{self.path}: truncated: expected {size} bytes of samples, found {present}")
        self.left = self.count = min(size, present) // (self.bits // 8 * self.channels)

    def read(self, count: int) -> np.ndarray:
        """The next `count` samples, or fewer at the end: float32 (n, channels) in [-1, 1)."""
        count = min(count, self.left)
        self.left -= count
        data = self.file.read(count * self.channels * self.bits // 8)
        return _decoded(data, self.tag, self.bits).reshape(-1, self.channels)

    def close(self) -> None:
        self.file.close()


def _decoded(data: bytes, tag: int, bits: int) -> np.ndarray:
    if tag == FLOAT:
        return np.frombuffer(data, f"<f{bits // 8}").astype(np.float32)
    if bits == 8:
        return ((np.frombuffer(data, np.uint8) - 128.0) / 128.0).astype(np.float32)
    if bits == 24:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return (wide.view("<i4")[:, 0] / 2.0**31).astype(np.float32)
    return (np.frombuffer(data, f"<i{bits // 8}") / 2.0 ** (bits - 1)).astype(np.float32)


def wav_header(samples: int, rate: int) -> bytes:
    """The head of a file of one channel of 16 bits. Sizes beyond 4 GiB are written as open-ended."""
    size = min(2 * samples, 0xFFFFFFFF - 36)
    form = struct.pack("<HHIIHH", PCM, 1, rate, 2 * rate, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", size + 36)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", size)
    )


def write_samples(file: IO[bytes], samples: np.ndarray) -> int:
    """Appends samples of any shape, in order, 16 bits, clipped to [-1, 1); NaN becomes 0. Returns how many."""
    scaled = np.clip(np.rint(np.nan_to_num(samples.reshape(-1)) * 32768.0), -32768, 32767)
    file.write(scaled.astype("<i2").tobytes())
    return samples.size
