"""A program to a Graph: with everything the lowering of calls knows, and with as many open sizes as hold."""

from __future__ import annotations

from collections.abc import Mapping

from ...ir.dims import FRAMES
from ...ir.graph import Graph
from ..dialect.input_sizes import InputSizes
from ..dialect.open_sizes import freest
from .aten import OPS
from .axes import Traced, declared
from .lowering import Lowering
from .program import Program

__all__ = ["OPS", "lower", "lower_freest"]


def lower(program: Program) -> Graph:
    """The Graph of `program`. UnsupportedModelError names the first call that has no meaning here."""
    return Lowering(program).run()


def lower_freest(traced: Traced, fixed: Mapping[str, Mapping[int, int]] | None = None) -> Graph:
    """The Graph of an exported program with as many open sizes as hold: one fixed at export is freed where nothing depends
    on it; one left open where something does (torch says only that it lies in a range) is fixed as in the example.

    `fixed`: input -> axis -> size that the caller has settled. LstmEdgeError of the freest attempt when none holds.
    """
    sizes_of_inputs, fixed_notes = declared(traced, fixed or {})
    inputs = InputSizes(sizes_of_inputs, None)
    graph, notes = freest(lambda sizes: lower(traced.with_shapes(lambda name: inputs.shape(name, sizes))), inputs.open)
    graph.metadata["notes"] = [*notes, *fixed_notes, *graph.metadata["notes"]]
    frames = _exported_frames(traced, graph)
    if frames:
        graph.metadata["source"] = {"frames": frames}
    return graph


def _exported_frames(traced: Traced, graph: Graph) -> int:
    """The number of frames that the program was exported for, where that number became free again; else 0."""
    for given, port in zip(traced.inputs, graph.inputs):
        for number, size in zip(given.sizes, graph.shape(port.tensor)):
            if size == FRAMES and isinstance(number, int):
                return number
    return 0
