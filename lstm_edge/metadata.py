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
