"""What a [before] table of audio features may say, and what each library says where it says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ..errors import FormatError, LstmEdgeError
from ..spectra.fields import LIKE, TYPES, UTTERANCE, Fields, misfits
from ..spectra.filterbanks import SPACING, WINDOWS
from . import statistics
from .description import Table

# What the libraries call a field, to those who copy a call of theirs.
MEANT = {
    "hop_length": "hop", "frame_step": "hop", "winstep": "hop", "hop_size": "hop", "stride": "hop", "frame_length": "win_length",
    "winlen": "win_length", "window_size": "win_length", "sr": "rate", "sample_rate": "rate", "samplerate": "rate", "sampling_rate": "rate",
    "nfft": "n_fft", "fft_length": "n_fft", "fft_size": "n_fft", "numcep": "n_mfcc", "num_coeffs": "n_mfcc", "num_ceps": "n_mfcc",
    "nfilt": "n_mels", "num_filt": "n_mels", "num_mel_bins": "n_mels", "f_min": "fmin", "lowfreq": "fmin", "low_freq": "fmin",
    "f_max": "fmax", "highfreq": "fmax", "high_freq": "fmax", "preemph": "preemphasis", "preemphasis_coefficient": "preemphasis",
    "ceplifter": "lifter", "cepstral_lifter": "lifter", "mel_scale": "mel", "htk": "mel", "dct_type": "dct", "amin": "floor",
    "delta": "deltas", "add_deltas": "deltas", "delta_order": "deltas", "delta_window": "delta_width", "norm_vars": "cmvn_vars",
    "cmn": "cmvn", "preemph_coeff": "preemphasis", "alpha": "gain", "delta_mode": "delta_edges",
}  # fmt: skip

WORDS = {
    "type": TYPES,
    "window": WINDOWS,
    "window_at": ("middle", "start"),
    "pad_mode": ("constant", "reflect"),
    "end": ("pad", "cut"),
    "preemphasis_of": ("samples", "frames"),
    "preemphasis_first": ("itself", "extrapolated"),
    "mel": ("slaney", "htk"),
    "norm": ("slaney", "none"),
    "spacing": SPACING,
    "log": ("ln", "db", "amplitude_db", "none"),
    "floor_by": ("max", "add"),
    "dct": ("ortho", "even", "none"),
    "energy": ("none", "spectrum", "frame"),
    "delta_second": ("deltas", "features", "polynomial"),
    "delta_edges": ("nearest", "interp", "mirror", "constant"),
    "delta_end": ("pad", "cut"),
}


def settled(values: Any, place: str, folder: Path | None = None) -> Fields:
    """The front end that a table describes; files that it names lie in `folder`, None where it may name none. FormatError for an unknown field, a value that none can have, fields that do not fit."""
    table = Table(values, place)
    table.known.update(f.name for f in fields(Fields))
    table.done(MEANT)
    like = table.word("like", tuple(LIKE))
    start: dict[str, Any] = {"like": like, "type": table.word("type", TYPES), **LIKE[like]}
    given: dict[str, Any] = {}
    wrong: list[str] = []
    for field in fields(Fields):
        if field.name in table.values:
            try:
                given[field.name] = _value(table, field.name, str(field.type))
            except FormatError as why:
                wrong.append(str(why))
    try:
        given |= _statistics(table, {**start, **given}, folder)
    except LstmEdgeError as why:
        wrong.append(str(why.at(f"{place}: cmvn")))
    _refuse(wrong, place)
    if "n_fft" in given and "spectrum_scale" in start:
        start["spectrum_scale"] = 1 / given["n_fft"]
    made = {**start, **given}
    if "n_fft" in given and "win_length" not in given:
        made["win_length"] = min(start.get("win_length", given["n_fft"]), given["n_fft"])
        if like in ("librosa", "torchaudio", "tensorflow", "keras"):
            made["win_length"] = given["n_fft"]
    made.setdefault("win_length", made["n_fft"])
    if like in ("librosa", "torchaudio", "keras") and not made["center"]:
        made["end"] = given.get("end", "cut")  # without centring they fill nothing up
    front = Fields(**made)
    _refuse([f"{place}: {text}" for text in misfits(front)], place)
    return front


def _statistics(table: Table, made: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """The table's cmvn as numbers; nothing where it has none."""
    value = table.values.get("cmvn")
    if isinstance(value, (str, bool)) and value in ("", False, UTTERANCE):
        return {"cmvn": value or ""}
    if value is None:
        return {}
    with_variance = made.get("cmvn_vars", True) is True
    return {"cmvn": statistics.read(value, with_variance, folder)}


def _value(table: Table, name: str, kind: str) -> Any:
    if name == "cmvn":
        return table.take(name)
    if name in WORDS:
        return table.word(name, WORDS[name])
    if kind == "str":
        return table.word(name, tuple(LIKE))
    if name == "deltas" and isinstance(table.values[name], bool):
        return int(table.values[name])
    if kind == "int":
        return table.whole(name, least=int(name not in ("lifter_first", "deltas")))
    if kind == "float":
        return 0.0 if table.values[name] is False else table.number(name)
    value = table.take(name)
    if not isinstance(value, bool):
        table.fail("true or false", value, name)
    return value


def _refuse(wrong: list[str], place: str) -> None:
    """All that is wrong with a table in one error."""
    if wrong:
        raise FormatError("; ".join([wrong[0], *(text[len(place) + 2 :] for text in wrong[1:])]))


def as_metadata(front: Fields) -> dict[str, Any]:
    """What the file keeps: the settled fields."""
    return asdict(front)


def kept_fields(kept: Any) -> Fields:
    """The fields that a file keeps, checked as those of a table are: anybody may have written it. FormatError where they are none."""
    place = "metadata 'before'"
    return settled({key: value for key, value in Table(kept, place).values.items() if key != "shape"}, place)


def kept_shape(kept: Mapping[str, Any]) -> list[Any]:
    """The shape of the network's own input that a file keeps beside the fields: numbers, and "open" for what a caller decides."""
    found = kept.get("shape")
    if not isinstance(found, list) or not all(size == "open" or (type(size) is int and size > 0) for size in found):
        raise FormatError(f"metadata 'before': shape: expected sizes, found {found!r:.80}")
    return found


def tables_of(description: Mapping[str, Any], place: str, folder: Path | None = None) -> dict[str, Fields]:
    """Input name -> its front end, of the tables [before.INPUT]; files that they name lie in `folder`."""
    before = description.get("before")
    if set(description) != {"before"} or not isinstance(before, Mapping) or not before:
        raise FormatError(
            f"{place}: expected tables [before.INPUT] alone, found {', '.join(map(str, description)) or 'none'}"
        )
    return {name: settled(table, f"{place}: before.{name}", folder) for name, table in before.items()}
