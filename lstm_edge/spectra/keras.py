"""What the settings of keras.layers.MelSpectrogram and STFTSpectrogram stand for: features, and kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

EPSILON = 1e-7  # keras.config.epsilon(), where nobody has set another


def of_mel_spectrogram(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of spectra.fields that a MelSpectrogram's config stands for, beside those of like = keras. KeyError, TypeError, ValueError."""
    if config["window"] not in ("hann", "hamming", None):
        raise ValueError(f"window: expected hann, hamming or None, found {config['window']!r:.60}")
    return {
        "type": "log_mel" if config["power_to_db"] else "mel",
        "rate": float(config["sampling_rate"]),
        "n_fft": config["fft_length"],
        "win_length": config["sequence_length"],
        "hop": config["sequence_stride"],
        "window": config["window"] or "rectangular",
        "power": float(config["mag_exp"]),
        "n_mels": config["num_mel_bins"],
        "fmin": float(config["min_freq"]),
        "fmax": float(config["max_freq"]),
        "floor": float(config["min_power"]),
        "top_db": float(config["top_db"]),
        "db_of": abs(float(config["ref_power"])),
    }


def taper_of(real: np.ndarray | None, imaginary: np.ndarray | None) -> np.ndarray | None:
    """The window, scaled, of kernels (samples, bins) of a Fourier transform of 2 (bins - 1) points, one of them at least; None where they
    are none, as after training. Keras makes them in float32, phases too, which are many turns: they count as far as that allows."""
    given = [k for k in (real, imaginary) if k is not None]
    samples, bins = given[0].shape
    points = 2 * (bins - 1)
    if not 1 <= samples <= points:
        return None
    turns = np.outer(np.arange(samples), np.arange(bins)) % points * (2 * np.pi / points)
    waves = [w for k, w in ((real, np.cos(turns)), (imaginary, -np.sin(turns))) if k is not None]
    squares = sum((w**2).sum(1) for w in waves)
    taper = sum((k * w).sum(1) for k, w in zip(given, waves)) / np.maximum(squares, EPSILON)
    rounding = max(1e-6, np.pi * samples * 2.0**-23) * np.abs(taper).max(initial=0.0)
    near = all(np.abs(k - taper[:, None] * w).max() <= rounding for k, w in zip(given, waves))
    return np.asarray(taper) if near else None
