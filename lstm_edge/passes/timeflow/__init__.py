"""How time runs through a graph: which axis of each tensor is time, and what a chunk must know of the chunks before it."""

from __future__ import annotations

from ...ir.graph import Graph
from . import layers, movement, over_axes, recurrent, signal
from .flow import Analysis, Carry, Cumulative, Edge, NotStreamable, Plan, Prefix, Rule, Running, Window

__all__ = [
    "RULES",
    "Analysis",
    "Carry",
    "Cumulative",
    "Edge",
    "NotStreamable",
    "Plan",
    "Prefix",
    "Running",
    "Window",
    "analyse",
]

# By `how` of an op's row: what the op does to frames.
RULES: dict[str, Rule] = {**recurrent.RULES, **layers.RULES, **over_axes.RULES, **movement.RULES, **signal.RULES}


def analyse(graph: Graph) -> Analysis:
    """Flows of every tensor of a sequence model and the plan of every node that needs one; raises NotStreamable."""
    return Analysis(graph, RULES)
