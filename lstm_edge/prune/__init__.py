"""Blocks of weights cut by what they weigh, or by what data says of them."""

from .pruner import prune
from .report import PruneReport, WeightReport

__all__ = ["PruneReport", "WeightReport", "prune"]
