"""Settings of live transforms of torchaudio (2.x), alone or one behind another in a torch.nn.Sequential, as a table of features.

They are known by their class and read by their attributes, so that torchaudio itself is not imported. Whatever attribute one has
beyond those that are understood is refused by name: a later version, or a user, may mean something by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..spectra.filterbanks import cosines, mel_bank, window

OF_SPECTRUM = "n_fft win_length hop_length pad power normalized".split()
KNOWN: Mapping[str, list[str]] = {
    "Spectrogram": [*OF_SPECTRUM, "window", "center", "pad_mode", "onesided"],
    "MelScale": "n_mels sample_rate f_max f_min norm mel_scale fb".split(),
    "MelSpectrogram": [*OF_SPECTRUM, *"sample_rate n_mels f_max f_min spectrogram mel_scale".split()],
    "AmplitudeToDB": "stype top_db multiplier amin ref_value db_multiplier".split(),
    "MFCC": "sample_rate n_mfcc dct_type norm top_db amplitude_to_DB MelSpectrogram dct_mat log_mels".split(),
}
CHAINS = {
    ("MFCC",),
    *(
        (*first, *last)
        for first in (("Spectrogram",), ("Spectrogram", "MelScale"), ("MelSpectrogram",))
        for last in ((), ("AmplitudeToDB",))
    ),
}
NEAR = 1e-4  # of the largest number, that constants may differ by from what the settings say


def is_transform(given: Any) -> bool:
    """Whether it is a transform of torchaudio, or a Sequential that begins with one."""
    parts = _parts(given)
    return bool(parts) and _of_torchaudio(parts[0])


def _parts(given: Any) -> list[Any]:
    kind = type(given)
    return list(given) if kind.__name__ == "Sequential" and kind.__module__.startswith("torch.") else [given]


def _of_torchaudio(part: Any) -> bool:
    return type(part).__module__.startswith("torchaudio.transforms")


def table_of(given: Any) -> dict[str, Any]:
    """The fields that transforms stand for, beside those of like = torchaudio. ValueError for what no table has, by its name."""
    parts = _parts(given)
    names = tuple(type(p).__name__ for p in parts)
    if names not in CHAINS or not all(map(_of_torchaudio, parts)):
        known = "; ".join(", ".join(chain) for chain in sorted(CHAINS))
        raise ValueError(f"expected transforms of torchaudio, one of: {known}; found {', '.join(names)}")
    table: dict[str, Any] = {}
    for part, name in zip(parts, names):
        try:
            _RULES[name](part, table)
        except AttributeError as why:
            raise ValueError(f"{name}: expected the attributes of torchaudio 2, found {why}") from why
    return table


def _check(part: Any, wrong: Mapping[str, bool] | None = None) -> None:
    """ValueError where an attribute is not one that is understood, or (by `wrong`) has a value that no table has."""
    name = type(part).__name__
    own = vars(part)
    there = {*own, *(key for group in ("_buffers", "_modules", "_parameters") for key in own.get(group, ()))}
    strange = sorted(key for key in there - {*KNOWN[name], "training"} if not key.startswith("_"))
    strange += [key for key, is_wrong in (wrong or {}).items() if is_wrong]
    if strange:
        found = ", ".join(f"{key} = {getattr(part, key)!r:.60}" for key in strange)
        raise ValueError(f"{name}: attributes that no table of features has: {found}")


def _array(value: Any) -> np.ndarray:
    value = value.detach().cpu() if hasattr(value, "detach") else value
    return np.asarray(value, np.float64)


def _same(found: Any, wanted: np.ndarray) -> bool:
    found = _array(found)
    return found.shape == wanted.shape and bool(
        np.abs(found - wanted).max(initial=0) <= NEAR * np.abs(wanted).max(initial=0)
    )


def _spectrogram(part: Any, table: dict[str, Any]) -> None:
    _check(
        part,
        {
            "pad": part.pad != 0,
            "power": part.power not in (1, 2),
            "onesided": not part.onesided,
            "normalized": part.normalized not in (False, True, "window", "frame_length"),
            "pad_mode": part.pad_mode not in ("reflect", "constant"),
        },
    )
    tapers = {(n, p): window(n, part.win_length, p) for n in ("hann", "hamming", "rectangular") for p in (True, False)}
    kind = next((key for key, taper in tapers.items() if _same(part.window, taper)), None)
    if kind is None:
        raise ValueError(
            "Spectrogram: window: expected the values of hann_window, hamming_window or ones, found others"
        )
    divisor = {False: 1.0, "frame_length": part.n_fft}.get(part.normalized, (tapers[kind] ** 2).sum())
    table.update(
        type="stft", n_fft=part.n_fft, win_length=part.win_length, hop=part.hop_length, power=float(part.power),
        window=kind[0], periodic=kind[1], center=bool(part.center), pad_mode=part.pad_mode,
        spectrum_scale=float(divisor ** (-part.power / 2)),
    )  # fmt: skip


def _mel_scale(part: Any, table: dict[str, Any]) -> None:
    _check(part, {"norm": part.norm not in (None, "slaney"), "mel_scale": part.mel_scale not in ("htk", "slaney")})
    highest = part.sample_rate // 2 if part.f_max is None else part.f_max
    norm = part.norm or "none"
    bank = mel_bank(part.sample_rate, table["n_fft"], part.n_mels, part.f_min, highest, part.mel_scale, norm, "hertz")
    if not _same(part.fb, bank.T):
        raise ValueError("MelScale: fb: expected the filter bank that its other attributes describe, found another")
    table.update(
        type="mel", rate=float(part.sample_rate), n_mels=part.n_mels, fmin=float(part.f_min),
        fmax=float(highest), mel=part.mel_scale, norm=norm,
    )  # fmt: skip


def _mel_spectrogram(part: Any, table: dict[str, Any]) -> None:
    inner = {"spectrogram": part.spectrogram, "mel_scale": part.mel_scale}
    owners = {
        **dict.fromkeys(OF_SPECTRUM, part.spectrogram),
        **dict.fromkeys(("sample_rate", "n_mels", "f_min"), part.mel_scale),
    }
    _check(part, {key: getattr(part, key) != getattr(owner, key) for key, owner in owners.items()})
    _spectrogram(inner["spectrogram"], table)
    _mel_scale(inner["mel_scale"], table)


def _decibels(part: Any, table: dict[str, Any]) -> None:
    shift = np.log10(max(part.amin, part.ref_value))
    _check(
        part,
        {"multiplier": part.multiplier not in (10, 20), "db_multiplier": not np.isclose(part.db_multiplier, shift)},
    )
    table.update(
        type="log_mel" if table["type"] == "mel" else "log_stft",
        log="db" if part.multiplier == 10 else "amplitude_db", floor=float(part.amin), db_of=float(part.ref_value),
        top_db=float(part.top_db or 0),
    )  # fmt: skip


def _mfcc(part: Any, table: dict[str, Any]) -> None:
    mel = part.MelSpectrogram
    _check(
        part,
        {
            "dct_type": part.dct_type != 2,
            "norm": part.norm not in (None, "ortho"),
            "sample_rate": part.sample_rate != mel.sample_rate,
            "top_db": not part.log_mels and part.top_db != part.amplitude_to_DB.top_db,
        },
    )
    _mel_spectrogram(mel, table)
    dct = part.norm or "none"
    if not _same(part.dct_mat, cosines(part.n_mfcc, mel.n_mels, dct).T):
        raise ValueError("MFCC: dct_mat: expected the cosines that its other attributes describe, found others")
    if part.log_mels:  # torchaudio's own log_offset
        table.update(log="ln", floor=1e-6, floor_by="add", top_db=0.0)
    else:
        _decibels(part.amplitude_to_DB, table)
    table.update(type="mfcc", n_mfcc=part.n_mfcc, dct=dct)


_RULES: dict[str, Callable[[Any, dict[str, Any]], None]] = {
    "Spectrogram": _spectrogram,
    "MelScale": _mel_scale,
    "MelSpectrogram": _mel_spectrogram,
    "AmplitudeToDB": _decibels,
    "MFCC": _mfcc,
}
