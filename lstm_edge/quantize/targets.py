"""Which machine a model is quantised for, and what tells its times."""

from __future__ import annotations

from ..errors import LstmEdgeError
from ..options import argument
from .boards import BOARDS, measure_of
from .timing import Measure, timed_here

HERE = "here"
TARGETS: dict[str, Measure] = {HERE: timed_here, **{name: measure_of(board) for name, board in BOARDS.items()}}


def measure_for(target: str) -> Measure:
    """What tells times on `target`, one of TARGETS."""
    if target not in TARGETS:
        raise LstmEdgeError(f"{argument('target')}: expected {', '.join(TARGETS)}, found {target!r}")
    return TARGETS[target]
