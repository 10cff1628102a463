"""WAVE files, read and written piece by piece: an hour of audio needs no more memory than a second."""

from __future__ import annotations

import struct
from typing import IO

import numpy as np

from ..errors import FormatError
from .pcm import FLOAT, PCM, decoded
from .pipes import Pipe

EXTENSIBLE = 0xFFFE
OPEN_ENDED = 0x7FFFF000  # sizes from here on are what recorders write that do not know the length yet
HEADER_BYTES = 44


class WavReader:
    """Samples of a file, or of a stream whose header need not know its length. PCM of 8, 16, 24 and 32 bits, float of 32 and 64.

    `count`: how many samples, None of a stream that does not say. Raises FormatError naming the file.
    """

    def __init__(self, pipe: Pipe):
        self.pipe, self.place = pipe, pipe.place
        self._read_header()

    def _read_header(self) -> None:
        head = self.pipe.exactly(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            raise FormatError(f"{self.place}: expected a RIFF WAVE file, found {head!r}")
        found, form, size = [], b"", None
        while len(chunk := self.pipe.exactly(8)) == 8:
            kind, claimed = chunk[:4], struct.unpack("<I", chunk[4:])[0]
            found.append(kind.decode("latin-1"))
            if kind == b"data" and form:
                size = claimed
                break
            taken = min(claimed, 64) if kind == b"fmt " else 0
            form = self.pipe.exactly(taken) if taken else form
            self.pipe.skip(claimed + claimed % 2 - taken)
        if len(form) < 16 or size is None:
            raise FormatError(f"{self.place}: expected chunks 'fmt ' and 'data', in this order, found {found}")
        self.tag, self.channels, self.rate, _, _, self.bits = struct.unpack_from("<HHIIHH", form)
        if self.tag == EXTENSIBLE and len(form) >= 26:
            self.tag = struct.unpack_from("<H", form, 24)[0]
        if (self.tag, self.bits) not in [(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64)]:
            raise FormatError(
                f"{self.place}: expected PCM of 8, 16, 24 or 32 bits or float of 32 or 64, "
                f"found format {self.tag} of {self.bits} bits"
            )
        if not self.channels or not self.rate:
            wanted, other = ("channel", self.channels) if not self.channels else ("sample a second", self.rate)
            raise FormatError(f"{self.place}: expected at least one {wanted}, found {other}")
        self._read_length(size, struct.unpack("<I", head[4:8])[0])

    def _read_length(self, size: int, whole: int) -> None:
        """How many samples there are, of what the header claims of them and of the file as a whole."""
        open_ended = size >= OPEN_ENDED or (size == 0 and not OPEN_ENDED > whole > HEADER_BYTES)
        present = self.pipe.left()
        self.claimed = None if open_ended else size
        if present is None:
            usable = self.claimed
        else:
            self._check_claim(present)
            usable = min(size or present, present) if open_ended else size
        self.unit = self.bits // 8 * self.channels
        self.count = None if usable is None else usable // self.unit
        self.given = 0

    def _check_claim(self, present: int) -> None:
        if self.claimed is not None and present < self.claimed:
            raise FormatError(f"{self.place}: truncated: expected {self.claimed} bytes of samples, found {present}")

    def read(self, count: int) -> np.ndarray:
        """The next samples that are there, at most `count`, none at the end: float32 (n, channels) in [-1, 1).

        FormatError where a stream ends before the length that it claimed.
        """
        count = count if self.count is None else min(count, self.count - self.given)
        data = self.pipe.some(self.unit, count * self.unit) if count else b""
        self.given += len(data) // self.unit
        if count and not data and not self.pipe.stopped:
            self._check_claim(self.given * self.unit + len(self.pipe.held))
        return decoded(data, self.tag, self.bits).reshape(-1, self.channels)

    def close(self) -> None:
        self.pipe.close()


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
