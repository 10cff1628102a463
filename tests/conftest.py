"""Set before any test is imported: one thread and Keras on torch for the frameworks, and how long hypothesis searches."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("OMP_NUM_THREADS", "1")

CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile("default", deadline=None, max_examples=60, suppress_health_check=CHECKS)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, database=None)
settings.register_profile("emulated", settings.get_profile("ci"), max_examples=6)
settings.register_profile("long", settings.get_profile("default"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))


@pytest.fixture(scope="session")
def keras():
    """Keras 3 on torch; without it the test is skipped."""
    module = pytest.importorskip("keras")
    if module.__version__.split(".")[0] != "3":
        pytest.skip("needs Keras 3")
    return module


# What a reason to skip holds -> how to have the test run.
ENABLED_BY = {
    "LSTM_EDGE_MODELS": "LSTM_EDGE_MODELS=/path/to/models make test",
    "LSTM_EDGE_CASES": "LSTM_EDGE_CASES=/path/to/cases make test",
    "could not import": "make test EXTRAS=dev,frameworks, or pip install it",
    "not installed": "make test EXTRAS=dev,frameworks, or pip install it",
    "CUDA": "on a machine with a GPU",
    "GPU": "on a machine with a GPU",
    "ISA": "on a CPU that has it, or emulated: make test-avx512, make test-pi",
    "CPU": "on a CPU that has it, or emulated: make test-avx512, make test-pi",
}


def skips_told(reasons: list[str]) -> list[str]:
    """A line for each reason to skip: how often, why, and what makes these tests run."""
    lines = []
    for reason, count in Counter(reasons).most_common():
        how = next((told for mark, told in ENABLED_BY.items() if mark in reason), "")
        lines.append(f"{count:5} {reason}{': ' * bool(how)}{how}")
    return lines


def pytest_terminal_summary(terminalreporter):
    skipped = [r.longrepr for r in terminalreporter.stats.get("skipped", []) if isinstance(r.longrepr, tuple)]
    if skipped:
        terminalreporter.section("skipped: how many, why, how to enable")
        for line in skips_told([reason.removeprefix("Skipped: ") for _, _, reason in skipped]):
            terminalreporter.write_line(line)
