"""Elementwise ops, and ops along axes."""

from __future__ import annotations

from ...ir.graph import Node
from ...ir.ops import op_spec, read_attrs
from .flow import LAST, Analysis, Cumulative, Flow, Rule, Running


def _elementwise(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    return a.merge(node, flows)


def _along(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    """Ops that look along their axes: fine unless one of them is time."""
    flow = a.still_unless_time(node, flows)
    if flow is not None:
        return flow
    attrs, rank = read_attrs(node), a.rank(node.inputs[0])
    axes = attrs["axes"] if "axes" in attrs else [attrs["axis"]]
    if flows[0].kind == "time" and flows[0].axis in [x % rank for x in axes]:
        a.refuse(node, op_spec(node).time.across)
    return a.merge(node, flows)


def _reduce(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    if flows[0].kind != "time":
        return flows[0]
    attrs, rank, time = read_attrs(node), a.rank(node.inputs[0]), flows[0].axis
    axes = sorted(x % rank for x in attrs.get("axes") or range(rank))
    if time in axes:
        a.need_pure(node)
        if attrs["kind"] not in ("sum", "mean", "max", "min") or a.graph.tensors[node.inputs[0]].dtype != "float32":
            a.refuse(node, f"reduces over time with {attrs['kind']}, which needs the whole sequence")
        if flows[0].lead:
            a.refuse(node, "reduces over frames of kept context")
        a.need_state_shape(node, node.inputs[0], time)
        a.plans[id(node)] = Running(time)
        return LAST
    return flows[0] if attrs["keepdims"] else flows[0].at(time - sum(x < time for x in axes))


def _cum_sum(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    flow, attrs = flows[0], read_attrs(node)
    if flow.kind != "time" or flow.axis != attrs["axis"] % a.rank(node.inputs[0]):
        return flow
    a.need_pure(node)
    if attrs["reverse"] or flow.lead:
        a.refuse(node, "sums up over time from the last frame")
    a.need_state_shape(node, node.inputs[0], flow.axis)
    a.plans[id(node)] = Cumulative(flow.axis)
    return flow


def _arg_reduce(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    if flows[0].kind != "time":
        return flows[0]
    attrs = read_attrs(node)
    axis, time = attrs["axis"] % a.rank(node.inputs[0]), flows[0].axis
    if axis == time:
        a.refuse(node, "looks for an extreme over time, which needs the whole sequence")
    return flows[0] if attrs["keepdims"] or axis > time else flows[0].at(time - 1)


RULES: dict[str, Rule] = {
    "maps": _elementwise,
    "along": _along,
    "folds": _reduce,
    "accumulates": _cum_sum,
    "searches": _arg_reduce,
}
