"""convert --explain: what the conversion folded, fused, recognised, took as states, assumed, and the ops that came of it."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from rich.console import Console

from ..ir.notes import ASSUMED, notes_of

# Heading -> how its notes are told. The first that fits; what fits none is an assumption, which a reader should see.
GROUPS = {
    "folded": r"^folded|took its \w+ branch|was left out$",
    "fused": r"^fused",
    "recurrences recognised": r"^recognised|its body spells|over a reversed sequence|unrolled \d+ trips",
    "states": r"states? of the stream|not paired as states|stream then carries|is stateful|starts at 0|carries state",
    "numbers": r"int8|float16|float32|8-bit|dequantised|full-integer|hard_sigmoid",
}
GUESSED = ASSUMED.removesuffix(": ")


def grouped(notes: list[str]) -> dict[str, list[str]]:
    """Notes under their headings; every heading is there, so that an empty one says so."""
    out: dict[str, list[str]] = {name: [] for name in (*GROUPS, GUESSED)}
    for note in notes:
        name = next((g for g, pattern in GROUPS.items() if re.search(pattern, note)), GUESSED)
        out[GUESSED if note.startswith(ASSUMED) else name].append(note)
    return out


def explain(model: Any, console: Console) -> None:
    """Prints where the model came from, the grouped notes and the ops of the file."""
    source = model.metadata.get("source", {})
    about = [str(source[k]) for k in ("name", "format", "producer") if source.get(k)]
    if source.get("opset"):
        about.append(f"opset {source['opset']}")
    console.print(f"source: {', '.join(about)}", markup=False)
    for name, notes in grouped(notes_of(model.metadata)).items():
        console.print(f"{name}:{'' if notes else ' nothing'}", style="bold" if notes else "", markup=False)
        for note in notes:
            console.print(f"  {note}", markup=False)
    counts = Counter(op for op, _ in model.ops)
    console.print("ops:", style="bold")
    for op, count in counts.items():
        console.print(f"  {count:4} {op}", markup=False)
