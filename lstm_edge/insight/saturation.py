"""How far gates are saturated, and how long a cell remembers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .trace import Array, Recurrence, Trace

LOW, HIGH = 0.05, 0.95
KEEPS = {"LSTM": "f", "ConvLSTM": "f", "GRU": "z"}  # the gate that says what share of the state stays
CANDIDATES = "gn"  # between -1 and 1: their magnitude counts


@dataclass(frozen=True)
class Saturation:
    """Of one recurrence: `gates` holds, for each, the shares of its values under 0.05 and over 0.95 (of the candidates g and n, of
    their magnitudes); `memory` the frames that each unit remembers (units,), None for an RNN, which has no gates.

    A unit keeps the share f of its cell each frame (a GRU: z of its state), after n frames the product of n of them. `memory` is
    the n that leaves 1/e: -1 / mean(ln f) over all frames; 0 where f was once 0, infinite where it was always 1 (or more).
    """

    name: str
    op: str
    gates: dict[str, tuple[float, float]]
    memory: Array | None


def saturation(traces: Trace | Iterable[Trace]) -> dict[str, Saturation]:
    """By the name of a recurrence, over one trace or several of the same model (batches, files)."""
    several = [traces] if isinstance(traces, Trace) else list(traces)
    return {name: _of([t[name] for t in several]) for name in several[0]} if several else {}


def _of(parts: list[Recurrence]) -> Saturation:
    first = parts[0]
    gates = {letter: np.concatenate([_ran(p.gates[letter]) for p in parts]) for letter in first.gates}
    kept = KEEPS.get(first.op)
    shares = {letter: _shares(np.abs(a) if letter in CANDIDATES else a) for letter, a in gates.items()}
    return Saturation(first.name, first.op, shares, None if kept is None else _memory(gates[kept]))


def _ran(gate: Array) -> Array:
    """(frames of all sequences that ran, units) in float64."""
    rows = gate.reshape(-1, gate.shape[-1]).astype(np.float64)
    return rows[~np.isnan(rows).all(axis=1)]


def _shares(gate: Array) -> tuple[float, float]:
    return (float((gate < LOW).mean()), float((gate > HIGH).mean())) if gate.size else (np.nan, np.nan)


def _memory(kept: Array) -> Array:
    if not len(kept):
        return np.full(kept.shape[1], np.nan)
    with np.errstate(divide="ignore"):
        decay = -np.log(np.abs(kept)).mean(axis=0)
        return np.where(decay > 0, 1 / decay, np.inf)
