"""Notes of a conversion. Those that rest on a guess begin with one word, so that every screen can show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ASSUMED = "assumed: "
# Metadata of a model whose source was trained in the core's int8 arithmetic: its answers are not those of its weights in float32.
TRAINED_IN_INT8 = "trained_in_int8"


def notes_of(metadata: Mapping[str, Any]) -> list[str]:
    """The notes that a file carries, whatever else stands in their place: metadata is anybody's JSON."""
    notes = metadata.get("notes")
    return [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []


def assumptions(metadata: Mapping[str, Any]) -> list[str]:
    """What the answers of a converted model rest on without anybody having said it, a sentence each."""
    return [note.removeprefix(ASSUMED) for note in notes_of(metadata) if note.startswith(ASSUMED)]
