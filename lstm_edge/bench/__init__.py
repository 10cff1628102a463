"""Measures latency."""

from .measure import MODES, Timing, bench, machine_warnings

__all__ = ["MODES", "Timing", "bench", "machine_warnings"]
