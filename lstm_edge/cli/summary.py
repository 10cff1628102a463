"""A model as text: what goes in, what comes out, what a stream keeps, what the conversion noted."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def shape_text(shape: tuple[int | str, ...] | None) -> str:
    return "?" if shape is None else "(" + ", ".join(str(s) for s in shape) + ")"


def describe(model: Any, console: Console, notes: bool = True) -> None:
    """Prints ports, states, streaming and (unless told not to) notes of a loaded model."""
    table = Table("role", "name", "shape", "dtype", box=None, pad_edge=False)
    for role, ports in (("input", model.inputs), ("output", model.outputs), ("state", model.states)):
        for port in ports:
            table.add_row(role, port.name, shape_text(port.shape), port.dtype)
    console.print(table)
    console.print(f"streaming: {streaming_text(model)}", markup=False)
    for note in model.metadata.get("notes", []) if notes else []:
        console.print(f"note: {note}", markup=False)


def streaming_text(model: Any) -> str:
    streaming = model.metadata.get("streaming", {})
    if not streaming.get("supported"):
        return f"no, {streaming.get('why', 'the file does not say that it can')}"
    multiple = streaming.get("multiple", 1)
    return "yes" if multiple == 1 else f"yes, in multiples of {multiple} frames"


def as_dict(model: Any) -> dict[str, Any]:
    """What `describe` prints, for JSON."""
    ports = {
        role: [
            {"name": p.name, "shape": None if p.shape is None else list(p.shape), "dtype": p.dtype}
            for p in getattr(model, role)
        ]
        for role in ("inputs", "outputs", "states")
    }
    ops = [{"op": op, "name": name} for op, name in model.ops]
    return {**ports, "ops": ops, "isa": model.isa, "bytes_in_memory": model.nbytes, "metadata": model.metadata}
