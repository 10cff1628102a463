"""Arrays of files as a model's inputs take them, and a count of what is no finite number."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..casting import cast
from ..errors import ShapeError


class Intake:
    """Takes the arrays of one run, by the rule of Python's arrays."""

    def __init__(self) -> None:
        self.values = self.missing = self.infinite = 0

    def take(self, array: np.ndarray, port: Any, place: str) -> np.ndarray:
        """The array in the input's dtype. ShapeError names what does not survive."""
        try:
            taken = cast(array, port)
        except ShapeError as exc:
            raise exc.at(place) from None
        if array.dtype.kind == "f":
            missing = int(np.isnan(array).sum())
            self.missing += missing
            self.infinite += array.size - int(np.isfinite(array).sum()) - missing
        self.values += array.size
        return taken

    def told(self) -> str:
        """What there was beside finite numbers; "" where all are."""
        counts = [f"{n:,} {word}" for n, word in ((self.missing, "NaN"), (self.infinite, "infinite")) if n]
        return f"{' and '.join(counts)} of {self.values:,} values of the input" if counts else ""
