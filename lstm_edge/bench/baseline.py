"""A run beside an earlier one: what became slower."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Optional

from ..errors import LstmEdgeError
from ..options import argument

SCHEMA = 2
KEY = ("precision", "isa", "mode", "batch", "frames", "streams", "threads", "cold")

# What rows hold under these names.
KINDS: tuple[tuple[Any, str, tuple[str, ...]], ...] = (
    (str, "a word", ("isa", "mode")),
    (int, "a whole number", ("batch", "frames", "streams", "threads")),
    (bool, "true or false", ("cold",)),
    (Optional[str], "a word or null", ("precision",)),
)


@dataclass(frozen=True)
class Change:
    """One row of both runs: medians in microseconds, ratio now / before, slower: the ratio is beyond what is allowed."""

    name: str
    before: float
    now: float
    ratio: float
    slower: bool


def compare(report: dict[str, Any], base: Any, max_loss: float) -> list[Change]:
    """The rows that two reports (as `lstm-edge bench --json` prints them) have in common. max_loss: 0.05 allows 5 % more.

    LstmEdgeError where the base is of another schema, or no row is in both.
    """
    before = {_key(row): row for row in checked(base)["results"]}
    changes = []
    for row in report["results"]:
        was = before.get(_key(row))
        if was is not None:
            ratio = row["median"] / was["median"]
            changes.append(Change(name_of(row), was["median"], row["median"], ratio, ratio > 1 + max_loss))
    if not changes:
        theirs, ours = ("; ".join(map(name_of, rows["results"])) or "none" for rows in (base, report))
        raise LstmEdgeError(f"bench: {argument('base')}: expected a row of this run ({ours}), found {theirs}")
    return changes


def checked(base: Any) -> dict[str, Any]:
    """A report of this schema; LstmEdgeError for anything else."""
    if not isinstance(base, dict) or base.get("schema") != SCHEMA or not isinstance(base.get("results"), list):
        found = base.get("schema") if isinstance(base, dict) else type(base).__name__
        raise LstmEdgeError(f"bench: {argument('base')}: expected a report of schema {SCHEMA}, found {found!r}")
    for row in base["results"]:
        _key(row)
        if not isinstance(row.get("median"), (int, float)) or not 0 < row["median"] < math.inf:
            raise LstmEdgeError(f"bench: {argument('base')}: expected a median above 0, found {row.get('median')!r}")
    return base


def name_of(row: dict[str, Any]) -> str:
    """One row in words: what differs from a plain step is said."""
    parts = [row["mode"], row["isa"], row.get("precision")]
    parts += [f"{row['frames']} frames" if row["mode"] in ("chunk", "sequence") else None]
    parts += [f"{row[name]} {name}" if row[name] > 1 else None for name in ("streams", "threads")]
    parts += [f"batch {row['batch']}" if row["batch"] > 1 else None, "cold" if row["cold"] else None]
    return ", ".join(filter(None, parts))


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    if not isinstance(row, dict) or any(name not in row for name in KEY):
        raise LstmEdgeError(f"bench: {argument('base')}: expected rows with {', '.join(KEY)}, found {row!r}")
    for kind, expected, names in KINDS:
        for name in names:
            if not isinstance(row[name], kind):
                raise LstmEdgeError(f"bench: {argument('base')}: {name}: expected {expected}, found {row[name]!r}")
    return tuple(row[name] for name in KEY)
