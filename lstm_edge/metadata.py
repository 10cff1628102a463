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
