"""librosa's MFCCs in NumPy, for the pages that train on them: librosa itself is no package of the tests. Compared with what librosa
computed, in tests/golden/features.npz, by test_features.py."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import numpy as np


def stand_in() -> ModuleType:
    """A module `librosa` that has `feature.mfcc`."""
    module = ModuleType("librosa")
    module.feature = SimpleNamespace(mfcc=mfcc)
    return module


def mfcc(*, y: np.ndarray, sr: int, n_mfcc: int, n_fft: int, hop_length: int, n_mels: int = 128) -> np.ndarray:
    """(n_mfcc, frames), librosa's defaults for all else: decibels of a Slaney mel spectrogram, 80 below its loudest at least."""
    blocks = np.lib.stride_tricks.sliding_window_view(np.pad(y, n_fft // 2), n_fft)[::hop_length]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    mel = np.abs(np.fft.rfft(blocks * window)) ** 2 @ filters(sr, n_fft, n_mels).T
    db = 10 * np.log10(np.maximum(mel, 1e-10))
    db = np.maximum(db, db.max() - 80)
    cosines = np.cos(np.pi * np.outer(np.arange(n_mfcc), np.arange(n_mels) + 0.5) / n_mels) * np.sqrt(2 / n_mels)
    cosines[0] /= np.sqrt(2)
    return (cosines @ db.T).astype(np.float32)


def filters(sr: int, n_fft: int, n_mels: int) -> np.ndarray:
    """Triangles (n_mels, bins) of area 1, even in Slaney's mels: straight up to 1000 Hz, then 27 to a factor of 6.4."""
    straight, steps = 1000 * 3 / 200, np.log(6.4) / 27
    mels = np.linspace(0, straight + np.log(sr / 2 / 1000) / steps, n_mels + 2)
    edges = np.where(mels < straight, mels * 200 / 3, 1000 * np.exp(steps * (mels - straight)))
    bins = np.arange(n_fft // 2 + 1) * sr / n_fft
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return (
        np.clip(np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)), 0, None) * 2 / (high - low)
    )
