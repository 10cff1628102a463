"""lstm-edge info: what a .lstm file holds."""

from __future__ import annotations

import os
from collections import Counter

import click

import lstm_edge

from .. import format
from ..around.features import described
from ..ir.notes import assumptions, notes_of
from ..ir.sparse import density, sparse_weights
from ..metadata import BEFORE, networks, section
from .io import out_console, print_json
from .options import isa_option, json_option, memory_option, model_argument
from .parsing import Command
from .summary import as_dict, describe, of_part, python_snippet, quantization_text, self_test_text, show_assumptions


@click.command("info", cls=Command)
@model_argument
@isa_option
@memory_option
@click.option("--ops", "show_ops", is_flag=True, help="List every op in execution order.")
@click.option("--notes", "show_notes", is_flag=True, help="List what the conversion folded, fused and assumed.")
@json_option
def command(
    model_path: str, isa: str | None, max_memory: int | None, show_ops: bool, show_notes: bool, as_json: bool
) -> None:
    """Show what goes into MODEL.lstm and comes out, whether it streams, its origin, and how Python calls it."""
    model = lstm_edge.load(model_path, isa=isa, max_memory=max_memory)
    size = os.path.getsize(model_path)
    graph = format.read(model_path)
    sparse = {name: round(density(graph.tensors[name].values), 3) for name in sorted(sparse_weights(graph))}
    if as_json:
        print_json({"file": os.path.basename(model_path), "bytes": size, **as_dict(model), "sparse": sparse})
        return
    console = out_console()

    def say(text: str) -> None:
        console.print(text, markup=False)

    say(f"{os.path.basename(model_path)}: {size:,} bytes, {model.nbytes:,} in memory with {model.isa} kernels")
    source = model.metadata.get("source", {})
    if source:
        producer = f", made by {source['producer']}" if source.get("producer") else ""
        say(f"from {source.get('name', '?')} ({source.get('format', '?')}{producer})")
    for part, about in networks(model.metadata):
        for name, front in section(about, BEFORE).items():
            say(f"before {of_part(name, part)}: {described(front)}")
    describe(model, console, notes=show_notes)
    show_assumptions(assumptions(model.metadata), console)
    say(f"quantisation: {quantization_text(model)}")
    if sparse:
        shares = ", ".join(f"{share:g} of {name}" for name, share in sparse.items())
        say(f"sparse: blocks that hold something: {shares}")
    test = model.metadata.get("self_test")
    say("self-test: " + self_test_text(test))
    if show_ops:
        for op, name in model.ops:
            say(f"op: {op} {name}")
    else:
        counts = Counter(op for op, _ in model.ops)
        say("ops: " + ", ".join(f"{n} {op}" for op, n in counts.most_common()))
    notes = len(notes_of(model.metadata))
    if notes and not show_notes:
        say(f"notes: {notes}, shown by --notes")
    say("in Python:")
    for line in python_snippet(model, model_path):
        say(f"    {line}")
