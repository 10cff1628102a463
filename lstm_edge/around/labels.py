"""Names of an output's values: a list, a file with one on each line, or what a live model calls its classes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError
from ..ir.graph import Graph, Port
from ..options import named
from ..passes.edit import note
from .description import MOST_BYTES, Table

LABELLED = ("labels", "ctc")  # the types of answers whose values have names


def width_of(graph: Graph, port: Port) -> int:
    """Values of one answer."""
    return int(np.prod([size for size in graph.shape(port.tensor) if isinstance(size, int)], dtype=np.int64))


def labelled(graph: Graph, tables: Mapping[str, Any], labels: Any, source: Any) -> dict[str, Any]:
    """The tables [after.OUTPUT] with the labels that are given beside them: a list or a file's path, by output name, or alone where there
    is one output. Without any, the `class_names` of a live `source`. FormatError, OSError."""
    made = dict(tables)
    if labels is None:
        return {**_class_names(graph, made, source), **made}
    outputs = [p.name for p in graph.outputs]
    by_name = labels if isinstance(labels, Mapping) else {"": labels}
    for key, given in by_name.items():
        name = key or outputs[0]
        if (not key and len(outputs) > 1) or name not in outputs:
            found = f"{key!r}" if key else "labels alone"
            raise FormatError(
                f"{named('labels')}: expected labels of one of the outputs {', '.join(outputs)}, found {found}"
            )
        made[name] = _with_labels(
            graph, made.get(name, {"type": "labels"}), given, f"{named('labels')}: output {name!r}"
        )
    return made


def _with_labels(graph: Graph, values: Any, given: Any, place: str) -> dict[str, Any]:
    table = Table(values, place)
    if known := [key for key in ("labels", "alphabet") if table.has(key)]:
        table.fail("the labels once", f"{known[0]!r} in the output's table as well")
    if (kind := table.take("type")) not in LABELLED:
        table.fail(f"an output whose table says type = {' or '.join(LABELLED)}", kind)
    is_path = isinstance(given, (str, os.PathLike))
    names = lines_of(Path(given), table, graph) if is_path else names_of(given, table)
    return {**table.values, "labels": names}


def _class_names(graph: Graph, tables: Mapping[str, Any], source: Any) -> dict[str, Any]:
    """What a live model calls its classes, as Keras's data sets call theirs: where they fit its only output. Its files keep no such thing."""
    names = None if isinstance(source, (str, bytes, os.PathLike)) else getattr(source, "class_names", None)
    if not isinstance(names, Sequence) or isinstance(names, str) or not all(isinstance(name, str) for name in names):
        return {}
    if len(graph.outputs) != 1 or graph.outputs[0].name in tables or width_of(graph, graph.outputs[0]) != len(names):
        return {}
    name = graph.outputs[0].name
    note(graph, f"output {name}: its labels are the model's class_names")
    return {name: {"type": "labels", "labels": list(names)}}


def names_of(given: Any, table: Table) -> list[str]:
    """A list of names, none of them empty or longer than a line."""
    given = given.tolist() if hasattr(given, "tolist") else given
    is_list = isinstance(given, Sequence) and not isinstance(given, (str, bytes))
    if not is_list or not given or not all(isinstance(name, str) and name for name in given):
        table.fail("a list of names, or the name of a file with one on each line", given or "none", "labels")
    if broken := [name for name in given if len(name.splitlines()) > 1]:
        table.fail("names of one line each", repr(broken[0]), "labels")
    return [str(name) for name in given]


def lines_of(path: Path, table: Table, graph: Graph) -> list[str]:
    """The names that a file has, one on each line. Where every line begins with its own number from 0 on, as Teachable Machine writes them,
    the names are what stands behind it, and a note says so."""
    if path.is_file() and (size := path.stat().st_size) > MOST_BYTES:
        table.fail(f"a file of at most {MOST_BYTES} bytes", f"{size} in {os.fspath(path)}", "labels")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        table.fail("text in UTF-8", f"other bytes in {os.fspath(path)}", "labels")
    names = [line for line in lines if line]
    parts = [name.partition(" ") for name in names]
    if len(names) > 1 and all(head == str(n) and rest.strip() for n, (head, _, rest) in enumerate(parts)):
        note(graph, f"{table.place}: each line of {path.name} begins with its number, which is no part of the label")
        names = [rest.strip() for _, _, rest in parts]
    if not names:
        table.fail("a name on each line", f"none in {os.fspath(path)}", "labels")
    return names
