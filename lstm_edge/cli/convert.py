"""lstm-edge convert: a trained model to one .lstm file."""

from __future__ import annotations

import os
from typing import Any

import click

import lstm_edge

from ..errors import FormatError
from ..ir.notes import assumptions, notes_of
from ..options import OPTIONS, named
from .conversion import conversion_memory_option, conversion_options, plugin_option, taken
from .explain import explain
from .io import err_console, out_console
from .model_files import as_lstm, check_model_output
from .parsing import Command
from .sinks import check_output
from .summary import describe, show_assumptions
from .trial import check
from .verify import say_verdict


@click.command("convert", cls=Command)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=click.Path(exists=True))
@click.option(
    "-o",
    "--output",
    metavar="MODEL.lstm",
    type=click.Path(dir_okay=False),
    help="Default: the source's name with .lstm.",
)
@conversion_options(OPTIONS.values())
@click.option(
    "--write-network",
    metavar="NET.toml",
    type=click.Path(dir_okay=False),
    help="Write the network that weights suggest to a file to correct, and convert nothing.",
)
@click.option("--check", "trial", is_flag=True, help="Try files and folders, write nothing, print which convert.")
@conversion_memory_option
@plugin_option
@click.option("--explain", "explained", is_flag=True, help="List what was folded, fused, recognised and assumed.")
@click.option("--no-self-test", is_flag=True, help="Store no sample input with its answer.")
def command(
    sources: tuple[str, ...],
    output: str | None,
    write_network: str | None,
    trial: bool,
    explained: bool,
    no_self_test: bool,
    max_memory: int | None,
    **given: Any,
) -> int:
    """Convert SOURCE (.onnx .keras .h5 .pt .pt2 .safetensors .tflite .json .nam .npz .toml) to a .lstm file.

    Example: lstm-edge convert vad.onnx -o vad.lstm --shape input=1,576 --set sr=16000 --overlap input=64
    """
    options = taken(given)
    if trial:
        if output or write_network or explained:
            raise click.UsageError("--check writes nothing: it goes without -o, --write-network and --explain.")
        return check(sources, not no_self_test, options | {"max_memory": max_memory})
    if len(sources) > 1:
        raise click.UsageError(f"expected one SOURCE, found {len(sources)}; --check tries many and writes none.")
    source = sources[0]
    if write_network is not None:
        _write_network(source, write_network, options)
        return 0
    beside = [options[name] for name in ("network", "architecture") if name in options]
    target = output or as_lstm(source)
    check_model_output(target, (source, *beside))
    with err_console().status(f"converting {os.path.basename(source)}"):
        model = lstm_edge.convert(source, target, self_test=not no_self_test, max_memory=max_memory, **options)
    out_console().print(f"{target}: {os.path.getsize(target):,} bytes, {len(model.ops)} ops", markup=False)
    describe(model, out_console(), notes=False)
    show_assumptions(assumptions(model.metadata), out_console())
    if not no_self_test:
        say_verdict(lstm_edge.verify(target))
    notes = len(notes_of(model.metadata))
    if explained:
        explain(model, out_console())
    elif notes:
        out_console().print(f"notes: {notes}, shown by --explain and by lstm-edge info --notes", markup=False)
    return 0


def _write_network(source: str, path: str, options: dict[str, Any]) -> None:
    """The network that weights suggest, to a new file: a description that somebody corrected is not written over."""
    if others := [o for o in options if o != "options"]:
        raise click.UsageError(f"--write-network goes without {', '.join(named(o) for o in others)}.")
    check_output(path, (source,))
    if os.path.exists(path):
        raise FormatError(f"{path}: expected a new file to write the network to, found one; remove it or give another")
    lstm_edge.suggest_network(source, path, options=options.get("options"))
    again = f"lstm-edge convert {source} --network {path}"
    out_console().print(
        f"{path}: read it, correct what is marked 'assumed', then {again}", markup=False, soft_wrap=True
    )
