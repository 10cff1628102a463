"""Several networks and what lies between them as one .lstm file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union

from . import __version__, format, load
from ._core import Model
from .around.description import Description
from .around.pipeline import pipeline as built
from .check.self_test import make_self_test
from .check.verify import verify
from .errors import FormatError, LstmEdgeError
from .ir.graph import Graph

Network = Union[str, "os.PathLike[str]", bytes]


def join(
    networks: Sequence[str | os.PathLike[str]] | Mapping[str, Network],
    path: str | os.PathLike[str] | None = None,
    *,
    pipeline: Description,
    self_test: bool = True,
) -> Model:
    """Joins .lstm files by the description of what lies between them (docs/pipelines.md) and returns the Model.

    networks: paths, each known by its file's name without .lstm, or {name: path or bytes}. path: where the file is written;
    None writes none. pipeline: a TOML file, or such a dict. self_test: each network's own self-test is replayed before,
    and the file keeps the answer that this project's float64 reference of the whole gives to raw input.
    Raises FormatError and UnsupportedModelError with the place in the description, OSError.
    """
    files = _by_name(networks)
    graphs = {name: format.read(file) for name, file in files.items()}
    graph = built(graphs, pipeline)
    graph.metadata["converter"] = f"lstm_edge {__version__}"
    graph.metadata["source"] = {"format": "lstm", "name": " + ".join(graphs)}
    if self_test:
        proofs = [f"{name} {_proof(name, graphs[name], file)}" for name, file in files.items()]
        graph.self_test = make_self_test(graph)
        graph.self_test.why = f"no framework has the whole; of its parts, {', '.join(proofs)}"
    if path is None:
        return load(format.to_bytes(graph))
    format.write(graph, path)
    return load(path)


def _by_name(networks: Any) -> dict[str, Network]:
    """What is given by name. FormatError for what is neither a path nor, under a name, bytes."""
    if isinstance(networks, Mapping):
        for name, file in networks.items():
            if not isinstance(name, str) or not isinstance(file, (str, os.PathLike, bytes)):
                found = f"{name!r}: {_kind(file)}"
                raise FormatError(
                    f"networks: expected the path or the bytes of a .lstm file for each name, found {found}"
                )
        return dict(networks)
    paths = [networks] if isinstance(networks, (str, os.PathLike)) else networks
    wrong = (
        [paths] if not isinstance(paths, (list, tuple)) else [p for p in paths if not isinstance(p, (str, os.PathLike))]
    )
    if wrong:
        raise FormatError(
            f"networks: expected paths of .lstm files, or {{name: path or bytes}}, found {_kind(wrong[0])}"
        )
    names = [Path(path).stem for path in paths]
    if len(set(names)) < len(names):
        raise FormatError(f"networks: expected a name of its own for each, found {', '.join(names)}; rename a file")
    return dict(zip(names, paths))


def _kind(given: Any) -> str:
    loaded = "; give the path that it was loaded from" if isinstance(given, Model) else ""
    return f"an object of {type(given).__name__}{loaded}"


def _proof(name: str, graph: Graph, file: Network) -> str:
    """What a network's own self-test says here and now."""
    if graph.self_test is None:
        return "has no self-test"
    report = verify(file)
    if not report.passed:
        raise LstmEdgeError(f"{name}: {report.words}; convert it again")
    return f"answers as {report.source}"
