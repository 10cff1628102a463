"""lstm-edge info: what a .lstm file holds."""

from __future__ import annotations

import os
from collections import Counter

import click

from .io import out_console, print_json
from .options import isa_option, json_option, model_argument
from .summary import as_dict, describe


@click.command("info")
@model_argument
@isa_option
@click.option("--ops", "show_ops", is_flag=True, help="List every op in execution order.")
@json_option
def command(model_path: str, isa: str | None, show_ops: bool, as_json: bool) -> None:
    """Show inputs, outputs, states, ops and origin of a .lstm file."""
    import lstm_edge

    model = lstm_edge.load(model_path, isa=isa)
    size = os.path.getsize(model_path)
    if as_json:
        print_json({"file": os.path.basename(model_path), "bytes": size, **as_dict(model)})
        return
    console = out_console()
    console.print(
        f"{os.path.basename(model_path)}: {size:,} bytes, {model.nbytes:,} in memory with {model.isa} kernels",
        markup=False,
    )
    source = model.metadata.get("source", {})
    if source:
        producer = f", made by {source['producer']}" if source.get("producer") else ""
        console.print(f"from {source.get('name', '?')} ({source.get('format', '?')}{producer})", markup=False)
    describe(model, console)
    test = model.metadata.get("self_test")
    told = f"answers of {test.get('source')}, tolerance {test.get('tolerance'):g}" if test else "none"
    console.print(f"self-test: {told}", markup=False)
    if show_ops:
        for op, name in model.ops:
            console.print(f"op: {op} {name}", markup=False)
    else:
        counts = Counter(op for op, _ in model.ops)
        console.print("ops: " + ", ".join(f"{n} {op}" for op, n in counts.most_common()), markup=False)
