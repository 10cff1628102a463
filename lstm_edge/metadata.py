"""What a file says beside its network, read with care: anybody may have written it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import FormatError


def section(metadata: Mapping[str, Any], name: str, place: str = "metadata") -> Mapping[str, Any]:
    """The object of that name, empty where the file has none. FormatError names the place where it is something else."""
    found = metadata.get(name, {})
    if not isinstance(found, Mapping):
        raise FormatError(f"{place} {name!r}: expected an object, found {type(found).__name__}")
    return found


def sample_rate(metadata: Mapping[str, Any]) -> float:
    """Samples a second of the sound that a model takes, 0 where its file does not say. FormatError for what is no rate."""
    rate = metadata.get("sample_rate") or 0
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate < float("inf"):
        raise FormatError(f"metadata 'sample_rate': expected samples a second, found {rate!r}")
    return float(rate)


def in_front_end(metadata: Mapping[str, Any], op: str) -> bool:
    """Whether an op, by its name, belongs to the audio features in front of an input."""
    return any(op.startswith(f"{name}.before.") for name in section(metadata, "before"))


def source_frames(metadata: Mapping[str, Any]) -> int:
    """The frames that the source's network was made for, though the file takes any number; 0 where it was for any, or does not say."""
    found = section(metadata, "source").get("frames")
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0


def sounds(metadata: Mapping[str, Any]) -> frozenset[str]:
    """The outputs that are samples of sound at the sample rate. FormatError for what is no list of names."""
    found = metadata.get("sound") or []
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise FormatError(f"metadata 'sound': expected a list of names, found {found!r}")
    return frozenset(found)


def delays(metadata: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """What an output waits for or lies behind, in samples of the input, by output: {"clean": {"frame": 128, "overlap-add": 384}}.
    FormatError for what is no such table."""
    found: dict[str, dict[str, int]] = {}
    for name in section(metadata, "delay"):
        found[name] = dict(section(section(metadata, "delay"), name, "metadata 'delay'"))
        for part, samples in found[name].items():
            if isinstance(samples, bool) or not isinstance(samples, int) or samples < 0:
                raise FormatError(f"metadata 'delay' {name!r}: expected whole samples of {part!r}, found {samples!r}")
    return found
