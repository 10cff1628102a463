"""One sequence of a trace as rows of heat maps, for pictures and pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError
from ..options import argument
from .trace import Trace

if TYPE_CHECKING:
    from .._core import Model


@dataclass(frozen=True)
class Map:
    """values (frames, units); `gate`: they lie between 0 and 1, others around 0."""

    name: str
    values: NDArray[Any]
    gate: bool = False


def input_maps(model: Model, arrays: list[NDArray[Any]], sequence: int = 0) -> list[Map]:
    """The inputs that have frames, of one sequence; `arrays` as Model.run takes them."""
    found = []
    for port, array in zip(model.inputs, arrays):
        axes = ["frames"] * model.is_step_model + [str(size) for size in port.shape or ()]
        if array.ndim < len(axes):
            axes.remove("batch" if "batch" in axes else "1")
        if "batch" in axes:
            array = np.take(array, _checked(sequence, array.shape[axes.index("batch")]), axes.index("batch"))
            axes.remove("batch")
        if "frames" in axes:
            frames = np.moveaxis(array, axes.index("frames"), 0)
            found.append(Map(port.name, frames.reshape(len(frames), -1).astype(np.float32)))
    return found


def trace_maps(trace: Trace, sequence: int = 0) -> dict[str, list[Map]]:
    """The gates and states of each recurrence, of one sequence."""
    return {
        name: [
            Map(letter, array[_checked(sequence, len(array))], letter in "iforz")
            for letter, array in recurrence.arrays.items()
        ]
        for name, recurrence in trace.items()
    }


def _checked(sequence: int, count: int) -> int:
    if not 0 <= sequence < count:
        raise ShapeError(f"{argument('sequence')}: expected 0 to {count - 1}, found {sequence}")
    return sequence
