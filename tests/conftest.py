"""Set before any test is imported: one thread and Keras on torch for the frameworks, and how long hypothesis searches."""

from __future__ import annotations

import os

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
