"""Audio features out of a live layer of Keras: its settings as a table of [before.INPUT]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UnsupportedModelError

KNOWN = "MelSpectrogram"


def is_layer(given: Any) -> bool:
    """Whether it is a live layer rather than a table or a path."""
    return not isinstance(given, (str, Mapping)) and callable(getattr(given, "get_config", None))


def table_of(layer: Any, place: str) -> dict[str, Any]:
    """The table that a keras.layers.MelSpectrogram stands for. UnsupportedModelError for another layer, or settings that no table has."""
    name = type(layer).__name__
    if name != KNOWN:
        raise UnsupportedModelError(f"{place}: expected keras.layers.{KNOWN} or a table, found a layer {name}")
    config = layer.get_config()
    if not isinstance(config["window"], (str, type(None))) or config["ref_power"] != 1:
        found = f"window {config['window']!r:.40} and ref_power {config['ref_power']!r}"
        raise UnsupportedModelError(f"{place}: expected a window by name and ref_power 1, found {found}")
    return {
        "like": "keras",
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
    }
