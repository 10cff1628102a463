"""lstm-edge trace: the gates of a model over a file of frames, as a table, a picture, a page or arrays."""

from __future__ import annotations

import fnmatch
import os

import click
import numpy as np
from rich.console import Console

import lstm_edge

from ..errors import FormatError, LstmEdgeError, ShapeError
from ..insight import Saturation, Trace, saturation
from ..insight.page import page
from ..insight.picture import draw
from ..insight.shown import Map, input_maps, trace_maps
from .grid import Column, name, print_grid, text
from .io import out_console, print_json, suffix_of
from .options import isa_option, json_option, model_argument
from .parsing import Command
from .sinks import PICTURES, check_output, replacing
from .tables import Reading, read_arrays, table_options


@click.command("trace", cls=Command)
@model_argument
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option(
    "-o", "--output", metavar="FILE", help="A picture (.png, .svg, .pdf), or .npz with every array as NAME.GATE."
)
@click.option(
    "--html", metavar="FILE", help="A page that scrolls over the frames and shows the value under the pointer."
)
@click.option(
    "--op", "patterns", metavar="NAME", multiple=True, help="These recurrences only; a pattern such as `lstm*`."
)
@click.option("--sequence", type=int, default=0, show_default=True, help="Which one of a batch is drawn.")
@table_options("the one to trace")
@isa_option
@json_option
def command(
    model_path: str, inputs: tuple[str, ...], output: str | None, html: str | None, patterns: tuple[str, ...], sequence: int,
    reading: Reading, isa: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Run MODEL.lstm over INPUT (as `lstm-edge run` takes it) and look at the gates of its recurrences.

    Prints, for each gate, the shares of its values under 0.05 and over 0.95 (of the candidates g and n, of their
    magnitudes), and how many frames the cell remembers, the time in which the forget gate leaves 1/e.
    """
    _check_outputs(output, html, (model_path, *inputs))
    model = lstm_edge.load(model_path, isa=isa)
    arrays = read_arrays(model, inputs, reading)
    traced = _chosen(model.trace(*arrays), patterns)
    if output is not None or html is not None:
        _write(output, html, os.path.basename(model_path), traced, input_maps(model, arrays, sequence), sequence)
    found = saturation(traced)
    if as_json:
        print_json(
            {
                "model": os.path.basename(model_path),
                "recurrences": list(map(_as_dict, found.values())),
                "left_out": traced.left_out,
            }
        )
        return
    _print_table(out_console(), found)
    for op, why in traced.left_out.items():
        out_console().print(f"{op}: left out: {why}", markup=False)


def _check_outputs(output: str | None, html: str | None, sources: tuple[str, ...]) -> None:
    if output is not None and suffix_of(output) not in (*PICTURES, ".npz"):
        expected = f"expected a file to write among {', '.join(PICTURES)} and .npz"
        raise FormatError(f"{output}: {expected}, found {suffix_of(output) or 'no suffix'}")
    for path in filter(None, (output, html)):
        check_output(path, sources)


def _chosen(traced: Trace, patterns: tuple[str, ...]) -> Trace:
    if not traced:
        left_out = "; ".join(f"{name}: {why}" for name, why in traced.left_out.items())
        raise LstmEdgeError(f"expected a model with an LSTM, GRU, RNN or ConvLSTM op, found {left_out or 'none'}")
    if not patterns:
        return traced
    kept = {n: r for n, r in traced.items() if any(fnmatch.fnmatch(n, p) for p in patterns)}
    if not kept:
        raise ShapeError(f"--op: expected one of {', '.join(traced)}, or a pattern of it, found {', '.join(patterns)}")
    return Trace(kept, traced.left_out)


def _write(output: str | None, html: str | None, title: str, traced: Trace, above: list[Map], sequence: int) -> None:
    maps = trace_maps(traced, sequence)
    if output is not None:
        with replacing(output) as file:
            if suffix_of(output) == ".npz":
                np.savez(file, **traced.arrays)  # type: ignore[arg-type]
            else:
                draw(above, maps, file, format=suffix_of(output)[1:])
    if html is not None:
        with replacing(html) as file:
            file.write(page(title, above, maps).encode())


def _print_table(console: Console, found: dict[str, Saturation]) -> None:
    numbers = {"under 0.05": 0, "over 0.95": 0, "memory in frames: median": 1, "least": 2, "most": 2}
    columns = name("recurrence"), text("op"), text("gate"), *(Column(told, drop=drop) for told, drop in numbers.items())
    rows = []
    for s in found.values():
        remembers = ["", "", ""] if s.memory is None else [f"{v:.3g}" for v in _spread(s)]
        for n, (gate, (low, high)) in enumerate(s.gates.items()):
            head = (s.name, s.op) if n == 0 else ("", "")
            rows.append((*head, gate, f"{low:.1%}", f"{high:.1%}", *(remembers if n == 0 else ())))
        if not s.gates:
            rows.append((s.name, s.op, "none"))
    print_grid(console, columns, rows)


def _spread(s: Saturation) -> tuple[float, float, float]:
    assert s.memory is not None
    return float(np.median(s.memory)), float(s.memory.min()), float(s.memory.max())


def _as_dict(s: Saturation) -> dict[str, object]:
    gates = {gate: {"under": low, "over": high} for gate, (low, high) in s.gates.items()}
    memory = None if s.memory is None else [None if np.isinf(v) else float(v) for v in s.memory]
    return {"name": s.name, "op": s.op, "gates": gates, "memory": memory}
