"""All that cannot be converted of a graph, collected so that a user reads it at once and not one thing a run."""

from __future__ import annotations

from typing import Any

from ...errors import UnsupportedModelError
from ...ir.sizes import NeedsNumber, SizeMismatch

MOST_LISTED = 20  # refusals below the first


class Refusals:
    """Refused nodes, in their order. What reads their outputs is not lowered, and refused only where its operator is."""

    def __init__(self) -> None:
        self.first: UnsupportedModelError | None = None
        self._others: dict[str, list[str]] = {}  # by reason, the nodes
        self._lost: set[str] = set()

    def lost(self, names: set[str]) -> bool:
        """Whether something of these is made by a refused node, or from its outputs."""
        return bool(names & self._lost)

    def pass_over(self, node: Any) -> None:
        """Notes that a node is not lowered."""
        self._lost.update(o for o in node.output if o)

    def add(self, node: Any, place: str, error: UnsupportedModelError) -> None:
        """Notes a refused node. Raises the error where it is for the solver of sizes."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, (SizeMismatch, NeedsNumber)):
                raise error
            cause = cause.__cause__
        self.pass_over(node)
        if self.first is None:
            self.first = error
        else:
            self._others.setdefault(error.message.removeprefix(f"{place}: "), []).append(place)

    def settle(self) -> None:
        """Raises the first refusal, with the others below it, where there is one."""
        if self.first is None:
            return
        lines = [f"{_listed(places)}: {reason}" for reason, places in self._others.items()]
        if lines:
            left = [f"and {len(lines) - MOST_LISTED} more"] if len(lines) > MOST_LISTED else []
            self.first.below = "\n".join(["also refused:", *lines[:MOST_LISTED], *left])
        raise self.first


def _listed(places: list[str]) -> str:
    return places[0] if len(places) == 1 else f"{places[0]} and {len(places) - 1} more like it"
