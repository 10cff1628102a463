"""Notes of a conversion. Those that rest on a guess begin with one word, so that every screen can show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ASSUMED = "assumed: "


def assumptions(metadata: Mapping[str, Any]) -> list[str]:
    """What the answers of a converted model rest on without anybody having said it, a sentence each."""
    return [n.removeprefix(ASSUMED) for n in metadata.get("notes", []) if n.startswith(ASSUMED)]
