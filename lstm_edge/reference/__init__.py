"""The oracle: any Graph in float64."""

from .node import run_node
from .run import constant, open_sizes, run, run_frames, run_traced

__all__ = ["constant", "open_sizes", "run", "run_frames", "run_node", "run_traced"]
