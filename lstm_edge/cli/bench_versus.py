"""bench --vs: which engines, on which sources, and what the exit code is."""

from __future__ import annotations

from typing import Any

import click

from ..bench.measure import MANY
from ..check.versus import ENGINES, Source, digest, neighbour, versus
from ..convert import to_graph
from ..errors import LstmEdgeError
from ..format import read
from ..importers import registry
from .conversion import taken
from .io import err_console


def engines_of(given: dict[str, Any]) -> list[str]:
    """The names of --vs, and what may not be beside it, before anything is timed."""
    if given["vs"] is None:
        if given["sources"] or given["tolerance"] or taken(given):
            raise click.UsageError("--source, --tolerance and the options of a conversion go with --vs.")
        return []
    names = list(dict.fromkeys(filter(None, given["vs"].replace(" ", "").split(","))))
    unknown = next((name for name in names if name not in ENGINES), None)
    if unknown or not names:
        raise click.UsageError(f"--vs: expected names among {', '.join(ENGINES)}, found {unknown or given['vs']!r}.")
    if given["streams"] > 1 or given["threads"] > 1 or given["cold"] or given["mode"] == MANY:
        raise click.UsageError(
            "--vs times one stream in one thread: without --streams, --threads, --cold and --mode many."
        )
    return names


def sources_of(model_path: str, given: dict[str, Any]) -> list[Source]:
    """The files of --source, or the one beside the model. What the model was made from is known; others are converted to know
    their inputs, outputs and states."""
    own = read(model_path)
    options = taken(given)
    found = []
    for path in given["sources"] or filter(None, [neighbour(model_path)]):
        if path.endswith(".param"):  # ncnn's, which nothing here reads: its ports are the model's, in their order
            found.append(Source(path, "ncnn", own, {}))
            continue
        same = digest(path) == own.metadata.get("source", {}).get("sha256")
        graph = own if same else to_graph(path, **options)
        found.append(Source(path, registry.kind_of(path), graph, options.get("constants", {})))
    if not found:
        name = own.metadata.get("source", {}).get("name") or "the source"
        raise LstmEdgeError(
            f"--vs: expected {name} beside {model_path}, as it was converted, found none; give --source"
        )
    return found


def measured(model_path: str, sources: list[Source], modes: list[str], given: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of all modes."""
    rows = []
    names = ("frames", "batch", "runs", "seconds", "cpu", "tolerance")
    for mode in modes:
        with err_console().status(f"timing {mode} beside {given['vs']}"):
            found = versus(model_path, engines_of(given), sources, mode=mode,
                           isa=next(iter(given["isas"]), None), **{n: given[n] for n in names})  # fmt: skip
        rows += [row.as_dict() for row in found]
    return rows


def code_of(rows: list[dict[str, Any]]) -> int:
    """3 where answers differ, 1 where an engine could do none of the modes, else 0."""
    ran = {row["engine"] for row in rows if not row["why"]}
    return 3 if any(row["agrees"] is False for row in rows) else 1 if {row["engine"] for row in rows} - ran else 0
