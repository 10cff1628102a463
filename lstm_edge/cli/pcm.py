"""Samples of sound as bytes: PCM of integers or floats, with or without a header before them."""

from __future__ import annotations

import numpy as np

from ..errors import FormatError
from .pipes import Pipe

PCM, FLOAT = 1, 3  # as a WAVE header calls them
RAW = {"s16le": (PCM, 16), "s24le": (PCM, 24), "s32le": (PCM, 32), "f32le": (FLOAT, 32)}

WAVE = "a .wav"
# Of files of sound with a header: where which bytes stand.
HEADERS = (
    (WAVE, b"RIFF", b"WAVE"),
    ("RF64", b"RF64", b"WAVE"),
    ("AIFF", b"FORM", b"AIF"),
    ("FLAC", b"fLaC", b""),
    ("Ogg", b"OggS", b""),
    ("a .npy", b"\x93NUMPY", b""),
)
HEAD = 12  # bytes that tell them


class RawReader:
    """Samples without a header. `rate` is 0 where nobody said it; how many there are (`count`) is never known.

    FormatError where a header is found: read as samples it would be a click, and what follows it perhaps noise.
    """

    count: int | None = None

    def __init__(self, pipe: Pipe, form: str, rate: int, channels: int):
        self.pipe, self.rate, self.channels, self.form = pipe, rate, channels, form
        self.tag, self.bits = RAW[form]
        self.head = b""

    def read(self, count: int) -> np.ndarray:
        """The next samples that are there, at most `count`, none at the end: float32 (n, channels) in [-1, 1)."""
        unit = self.channels * self.bits // 8
        data = self.pipe.some(unit, count * unit)
        if len(self.head) < HEAD:
            self.head += data[: HEAD - len(self.head)]
            self._refuse_header()
        return decoded(data, self.tag, self.bits).reshape(-1, self.channels)

    def _refuse_header(self) -> None:
        for name, start, later in HEADERS:
            if self.head.startswith(start) and self.head[8:].startswith(later):
                also = ", and name the file .wav" if self.pipe.owned else ""
                read = f"leave out --raw, --rate and --channels{also}: the header says them"
                other = f"a decoder such as ffmpeg makes samples of it (ffmpeg -i FILE -f {self.form} -)"
                raise FormatError(
                    f"{self.pipe.place}: --raw {self.form}: expected samples without a header, found {name}; "
                    f"{read if name == WAVE else other}"
                )

    def close(self) -> None:
        self.pipe.close()


def decoded(data: bytes, tag: int, bits: int) -> np.ndarray:
    """Samples as float32 (n,), integers scaled to [-1, 1)."""
    if tag == FLOAT:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which is counted and said
            return np.frombuffer(data, f"<f{bits // 8}").astype(np.float32)
    if bits == 8:
        return ((np.frombuffer(data, np.uint8) - 128.0) / 128.0).astype(np.float32)
    if bits == 24:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return (wide.view("<i4")[:, 0] / 2.0**31).astype(np.float32)
    return (np.frombuffer(data, f"<i{bits // 8}") / 2.0 ** (bits - 1)).astype(np.float32)
