"""The oracle: any Graph in float64."""

from .run import constant, run, run_frames, run_node

__all__ = ["constant", "run", "run_frames", "run_node"]
