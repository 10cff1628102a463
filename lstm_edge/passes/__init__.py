"""Graph -> Graph, in place. Importers give a Graph; `pipeline` makes it what the core runs best."""

from __future__ import annotations

from collections.abc import Callable

from ..ir.graph import Graph
from . import fold, frames, fuse, overlap, pieces, recurrences, states, streaming, unrolled


def pipeline(
    graph: Graph,
    states_: dict[str, str] | None = None,
    overlap_: dict[str, int] | None = None,
    dress: Callable[[Graph], None] = lambda graph: None,
) -> Graph:
    """Fold, fuse, recognise recurrences, pair states, declare overlaps, dress, make it stream. dress: puts around the network what
    streams with it.

    `states_` maps paired inputs to outputs (None: found by name), `overlap_` inputs to the values that successive
    frames
    share. metadata `ports`, `pairs` and `overlap` keep the source's inputs and outputs and what became of them, so
    that a
    file can be compared with its source.
    """
    graph.metadata["ports"] = {"inputs": [p.name for p in graph.inputs], "outputs": [p.name for p in graph.outputs]}
    graph.drop_unused()
    fold.fold(graph)
    fuse.fuse(graph)
    unrolled.fix_frames(graph)
    recurrences.recognise(graph)
    frames.free(graph)
    unrolled.tell(graph)
    graph.metadata["pairs"] = states.pair(graph, states_)
    overlap.apply(graph, overlap_ or {})
    graph.metadata["overlap"] = dict(overlap_ or {})
    dress(graph)
    fold.fold(graph)
    streaming.apply(graph)
    pieces.take_from_sources(graph)
    fold.fold(graph)
    graph.drop_unused()
    return graph
