"""Frames of samples and their transforms."""

from __future__ import annotations

from ...ir.graph import Node
from ...ir.ops import read_attrs
from .flow import Analysis, Flow, Rule
from .layers import window


def _frames(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    """Windows of the last axis; its place is taken by the frames."""
    if flows[0].kind != "time" or flows[0].axis != a.rank(node.inputs[0]) - 1:
        return flows[0]
    attrs = read_attrs(node)
    return window(a, node, attrs["size"], attrs["hop"], 0)


def _transforms(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    """The axes of a transform have sizes that are numbers, so that time is never one of them."""
    return flows[0]


RULES: dict[str, Rule] = {"frames": _frames, "transforms": _transforms}
