"""What the settings of keras.layers.MelSpectrogram and STFTSpectrogram stand for: features, and kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .filterbanks import WINDOWS, window

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


def of_stft_spectrogram(config: Mapping[str, Any], kernels: Sequence[np.ndarray] = ()) -> dict[str, Any]:
    """The fields that an STFTSpectrogram's config stands for, beside those of like = keras; it knows no rate. kernels: real and
    imaginary ones, where it has them. ValueError for what is no feature of a table."""
    mode, name, length = config["mode"], config["window"] or "rectangular", config["frame_length"]
    stays = "; leave the layer in the network, which converts with it"
    if mode not in ("log", "magnitude", "psd"):
        raise ValueError(f"mode: expected log, magnitude or psd, found {mode!r}{stays}")
    if not isinstance(name, str) or name not in WINDOWS:
        raise ValueError(f"window: expected one of {', '.join(WINDOWS)} or None, found {name!r:.60}{stays}")
    for key, expected in (("padding", "valid"), ("expand_dims", False)):
        if config[key] != expected:
            raise ValueError(f"{key}: expected {expected!r}, found {config[key]!r}{stays}")
    taper = window(name, length, config["periodic"])
    scaling = config["scaling"] if config["window"] is not None else None
    share = {None: 1.0, "density": np.sqrt((taper**2).sum()), "spectrum": np.abs(taper).sum()}[scaling]
    found = taper_of(*(k[:, 0].astype(np.float64) for k in kernels)) if kernels else taper / share
    if found is None or np.abs(found - taper / share).max() > 1e-5 * np.abs(taper / share).max():
        raise ValueError(f"kernels: expected those of the window {name}, found trained ones{stays}")
    power = 2 if mode == "psd" else 1
    return {
        "type": "log_stft" if mode == "log" else "stft",
        "n_fft": 2 * ((config["fft_length"] or 1 << (length - 1).bit_length()) // 2),
        "win_length": length,
        "hop": config["frame_step"] or length // 2,
        "window": name,
        "periodic": bool(config["periodic"]),
        "window_at": "start",
        "center": False,
        "power": float(power),
        "spectrum_scale": float(share**-power),
        "doubled": mode == "psd",
        "least": 0.0 if mode == "psd" else EPSILON**0.5,
        "log": "ln",
        "floor": EPSILON,
        "top_db": 0.0,
        "fmin": 0.0,
    }


def taper_of(real: np.ndarray, imaginary: np.ndarray) -> np.ndarray | None:
    """The window, scaled, of kernels (samples, bins) of a Fourier transform of 2 (bins - 1) points; None where they are none, as after
    training. Keras makes them in float32, phases too, which are many turns: they count as far as that allows."""
    samples, bins = real.shape
    points = 2 * (bins - 1)
    if not 1 <= samples <= points:
        return None
    turns = np.outer(np.arange(samples), np.arange(bins)) % points * (2 * np.pi / points)
    wave = np.exp(-1j * turns)
    given = real + 1j * imaginary
    taper = (given * wave.conj()).real.mean(1)
    rounding = max(1e-6, np.pi * samples * 2.0**-23) * np.abs(taper).max(initial=0.0)
    return taper if np.abs(given - taper[:, None] * wave).max() <= rounding else None
