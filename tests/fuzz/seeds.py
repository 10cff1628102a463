"""Small models of every op, for the fuzzers to begin with: python tests/fuzz/seeds.py FOLDER (PYTHONPATH=.:tests)."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from strategies import STRATEGIES, Case, cases

from lstm_edge import format

MOST_BYTES, EACH, TRIED = 6000, 4, 60


def smallest(op: str) -> list[bytes]:
    """The smallest of some random models of one node."""
    found: set[bytes] = set()

    @settings(
        max_examples=TRIED, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(cases(op))
    def collect(case: Case) -> None:
        found.add(format.to_bytes(case.graph))

    collect()
    return [content for content in sorted(found, key=len)[: 2 * EACH : 2] if len(content) <= MOST_BYTES]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in STRATEGIES:
        for number, content in enumerate(smallest(name)):
            (folder / f"{name}{number}.lstm").write_bytes(content)
