"""A program to a Graph: with everything the lowering of calls knows, and with as many free axes as hold."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import LstmEdgeError
from ...ir.dims import BATCH, FRAMES, Size
from ...ir.graph import Graph
from .aten import OPS
from .lowering import Lowering
from .program import Program

__all__ = ["OPS", "freest", "lower"]


def lower(program: Program) -> Graph:
    """The Graph of `program`. UnsupportedModelError names the first call that has no meaning here."""
    return Lowering(program).run()


def freest(program: Callable[[tuple[Size, ...] | None], Program]) -> Graph:
    """The Graph of `program(free)` with as many free axes as hold: a size fixed at export is freed where nothing depends
    on it; one left open where something does (torch says only that it lies in a range) is fixed as in the example.
    LstmEdgeError of the first kind of attempt when none holds."""
    failures: list[LstmEdgeError] = []
    for free in ((BATCH, FRAMES), (BATCH,), (FRAMES,), (), None):
        try:
            return lower(program(free))
        except LstmEdgeError as e:
            failures.append(e)
    raise failures[-2]
