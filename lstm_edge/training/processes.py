"""Which process this is, of those that torchrun started. Nothing here needs torch."""

from __future__ import annotations

import os
from typing import NamedTuple


class Place(NamedTuple):
    """rank: this process among `size`; local: among those of its machine, which is its GPU's number."""

    rank: int
    size: int
    local: int


def place() -> Place:
    """What torchrun's variables say; one process without them."""
    names = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0}
    return Place(*(int(os.environ.get(name, default)) for name, default in names.items()))


def is_first() -> bool:
    """Whether this is the process that writes and tells."""
    return place().rank == 0
