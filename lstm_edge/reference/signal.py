"""Frames of samples and their Fourier transforms in float64 NumPy."""

from __future__ import annotations

import numpy as np

from ..ir.graph import Node
from .arrays import Array, Attrs, Rule


def _frames(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    x, size, hop = arrays[0], a["size"], a["hop"]
    count = max(0, (x.shape[-1] - size) // hop + 1)
    places = np.arange(count)[:, None] * hop + np.arange(size)
    return x[..., places]


def _rfft(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    spectrum = np.fft.rfft(arrays[0], a["n"])
    return np.stack([spectrum.real, spectrum.imag], -2)


def _irfft(node: Node, a: Attrs, arrays: list[Array]) -> Array:
    real, imaginary = np.moveaxis(arrays[0], -2, 0)
    return np.fft.irfft(real + 1j * imaginary, a["n"])


RULES: dict[str, Rule] = {"Frames": _frames, "Rfft": _rfft, "Irfft": _irfft}
