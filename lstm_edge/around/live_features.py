"""Audio features out of a live layer of Keras or transform of torchaudio: its settings as a table of [before.INPUT]."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..errors import UnsupportedModelError
from ..options import as_typed
from ..spectra.keras import of_mel_spectrogram, of_stft_spectrogram
from . import torchaudio

KNOWN = ("MelSpectrogram", "STFTSpectrogram")


def is_layer(given: Any) -> bool:
    """Whether it is a live layer rather than a table or a path."""
    return callable(given) and not isinstance(given, (str, os.PathLike, Mapping))


def table_of(layer: Any, place: str, rate: float | None) -> dict[str, Any]:
    """The table that a layer stands for; rate: the samples a second, where the caller says them and the layer may not.
    UnsupportedModelError for another layer, or settings that no table has."""
    name = type(layer).__name__
    try:
        if torchaudio.is_transform(layer):
            table = {"like": "torchaudio", **torchaudio.table_of(layer)}
        elif name in KNOWN and callable(getattr(layer, "get_config", None)):
            table = {"like": "keras", **_of_keras(layer)}
        else:
            known = " or ".join(f"keras.layers.{n}" for n in KNOWN)
            raise ValueError(f"expected {known}, a transform of torchaudio or a table, found a layer {name}")
    except ValueError as why:
        raise UnsupportedModelError(f"{place}: {why}") from why
    if "rate" not in table:
        if rate is None:
            raise UnsupportedModelError(
                f"{place}: expected the samples a second, which {name} does not know; say {as_typed('rate', value=16000)}"
            )
        table["rate"] = float(rate)
    return table


def _of_keras(layer: Any) -> dict[str, Any]:
    if type(layer).__name__ == KNOWN[0]:
        return of_mel_spectrogram(layer.get_config())
    return of_stft_spectrogram(layer.get_config(), layer.get_weights())
