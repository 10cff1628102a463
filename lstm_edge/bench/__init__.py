"""Measures latency: docs/benchmark.md."""

from .machine import Machine, look, warnings_of
from .measure import MODES, Timing, bench
from .pacing import Paced, paced
from .sampling import empty_call

__all__ = ["MODES", "Machine", "Paced", "Timing", "bench", "empty_call", "look", "paced", "warnings_of"]
