"""The constants of audio features in float64: windows, filter banks, cosine transforms, as each library makes them."""

from __future__ import annotations

import numpy as np

WINDOWS = ("hann", "hamming", "povey", "rectangular")
SPACING = ("hertz", "mel", "bins", "sonopy")  # where the sides of a filter are straight lines


def window(name: str, length: int, periodic: bool) -> np.ndarray:
    """periodic: the window of length + 1 without its last value, as for spectra; else the symmetric one."""
    phase = 2 * np.pi * np.arange(length) / max(length - (not periodic), 1)
    if name == "rectangular":
        return np.ones(length)
    hann = 0.5 - 0.5 * np.cos(phase)
    return 0.54 - 0.46 * np.cos(phase) if name == "hamming" else hann**0.85 if name == "povey" else hann


def to_mel(hertz: np.ndarray | float, scale: str) -> np.ndarray:
    """slaney: 200/3 Hz a step up to 1000 Hz, logarithmic above; htk: 2595 log10(1 + f / 700)."""
    f = np.asarray(hertz, np.float64)
    if scale == "htk":
        return np.asarray(2595 * np.log10(1 + f / 700))
    return np.where(f >= 1000, 15 + np.log(np.maximum(f, 1000) / 1000) * 27 / np.log(6.4), f * 3 / 200)


def from_mel(mel: np.ndarray, scale: str) -> np.ndarray:
    """The inverse of to_mel."""
    if scale == "htk":
        return np.asarray(700 * (10 ** (mel / 2595) - 1))
    return np.where(mel >= 15, 1000 * np.exp((np.maximum(mel, 15) - 15) * np.log(6.4) / 27), mel * 200 / 3)


def mel_bank(
    rate: float, n_fft: int, n_mels: int, fmin: float, fmax: float, scale: str, norm: str, spacing: str
) -> np.ndarray:
    """(n_mels, n_fft / 2 + 1). spacing: whether the sides of a triangle are straight over hertz, over mel, or between whole bins.
    norm slaney: each filter has an area of 1 over hertz."""
    if spacing == "sonopy":
        return _sonopy_bank(rate, n_fft, n_mels)
    mels = np.linspace(to_mel(fmin, scale), to_mel(fmax, scale), n_mels + 2)
    corners = from_mel(mels, scale)
    bins = np.arange(n_fft // 2 + 1) * (rate / n_fft)
    if spacing == "mel":
        places, edges = to_mel(bins, scale), mels
    elif spacing == "bins":
        places, edges = np.arange(n_fft // 2 + 1.0), np.floor((n_fft + 1) * corners / rate)
    else:
        places, edges = bins, corners
    width = np.diff(edges)
    with np.errstate(divide="ignore", invalid="ignore"):
        up = (places - edges[:-2, None]) / width[:-1, None]
        down = (edges[2:, None] - places) / width[1:, None]
    bank = np.maximum(0, np.fmin(up, down))
    if spacing == "bins":  # a side of no bins is a step
        inside = (places >= edges[:-2, None]) & (places < edges[2:, None])
        rising = places < edges[1:-1, None]
        bank = np.where(inside, np.where(rising, up, down), 0)
    if norm == "slaney":
        bank = bank * (2 / (corners[2:] - corners[:-2]))[:, None]
    return np.asarray(bank)


def _sonopy_bank(rate: float, n_fft: int, n_mels: int) -> np.ndarray:
    """sonopy's: it takes the bins of half the rate for those of the whole one, and moves corners that meet apart."""
    bins = n_fft // 2 + 1
    corners = 700 * (np.exp(np.linspace(0, 1127 * np.log(1 + rate / 700), n_mels + 2) / 1127) - 1)
    grid = (corners * bins / rate).astype(int)
    for i in range(1, len(grid)):
        grid[i] = max(grid[i], grid[i - 1] + 1)
    bank = np.zeros((n_mels, bins))
    for row, left, middle, right in zip(bank, grid, grid[1:], grid[2:]):
        row[left:middle] = np.linspace(0, 1, middle - left, endpoint=False)
        row[middle:right] = np.linspace(1, 0, right - middle, endpoint=False)[: max(bins - middle, 0)]
    return bank


def cosines(count: int, size: int, norm: str) -> np.ndarray:
    """DCT-II, (count, size). ortho: orthonormal; even: every row as ortho's others, the first one too (TensorFlow's)."""
    matrix = np.cos(np.pi / size * (np.arange(size) + 0.5) * np.arange(count)[:, None]) * np.sqrt(2 / size)
    if norm == "ortho":
        matrix[0] /= np.sqrt(2)
    return np.asarray(matrix * np.sqrt(2 * size) if norm == "none" else matrix)


def lifter(count: int, length: float, first: int) -> np.ndarray:
    """1 + length / 2 sin(pi n / length) for coefficients n = first, first + 1, ...; ones without a length."""
    return 1 + length / 2 * np.sin(np.pi * (first + np.arange(count)) / length) if length else np.ones(count)
