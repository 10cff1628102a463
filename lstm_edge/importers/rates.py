"""The sample rate of the sound that a model takes, kept in its file as metadata `sample_rate`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from numbers import Real
from typing import Any

import numpy as np

from ..errors import UnsupportedModelError
from ..ir.graph import Graph
from ..metadata import sample_rate
from ..options import named

NAMES = frozenset(("sr", "fs", "rate", "samplerate", "samplingrate", "samplefrequency", "samplingfrequency"))
LEAST, MOST = 1000, 1 << 20  # of what a name alone makes a rate of sound


def keep_rate(graph: Graph, rate: float | None, constants: Mapping[str, Any]) -> None:
    """Writes `rate`; without one the source's own stays, or an input is taken that is called as rates are and was fixed (Silero's
    `sr`), which the notes say. UnsupportedModelError where `rate` is none."""
    of_source = sample_rate(graph.metadata)
    if rate is not None:
        if isinstance(rate, bool) or not isinstance(rate, Real) or not 1 <= rate < float("inf"):
            raise UnsupportedModelError(f"{named('rate')}: expected samples a second, 1 or more, found {rate!r}")
        graph.metadata["sample_rate"] = float(rate)
        if of_source not in (0, float(rate)):
            _note(graph, f"{float(rate):g} Hz, as was said at conversion; the source says {of_source:g} Hz")
        return
    name, fixed = rate_among(constants)
    if fixed and not of_source:
        graph.metadata["sample_rate"] = fixed
        _note(graph, f"{fixed:g} Hz, the value that {name!r} was fixed to")


def rate_among(values: Mapping[str, Any]) -> tuple[str, float]:
    """The one of named values, numbers or texts, whose name and size say that it is a sample rate; 0 without one, or of several."""
    found = {}
    for name, value in values.items():
        with suppress(ValueError, TypeError):
            number = float(np.asarray(value).reshape(-1)[0]) if np.size(value) == 1 else 0.0
            if "".join(filter(str.isalpha, name.lower())) in NAMES and LEAST <= number <= MOST:
                found[name] = number
    return next(iter(found.items())) if len(set(found.values())) == 1 else ("", 0.0)


def _note(graph: Graph, text: str) -> None:
    graph.metadata.setdefault("notes", []).append(f"sample rate: {text}")
