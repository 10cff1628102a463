"""Movement of frames."""

from __future__ import annotations

import numpy as np

from ...ir.dims import mentions, product, quotient, same
from ...ir.graph import Node
from ...ir.ops import TO_END, each, read_attrs
from ..edit import constant_of
from .flow import LAST, STILL, Analysis, Edge, Flow, Prefix, Rule
from .layers import window


def _slice(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    flow, attrs = flows[0], read_attrs(node)
    axes = [x % a.rank(node.inputs[0]) for x in attrs["axes"]]
    if flow.kind != "time" or flow.axis not in axes:
        return flow
    i = axes.index(flow.axis)
    start, end, step = attrs["starts"][i], attrs["ends"][i], each(attrs["steps"], len(axes))[i]
    if start == 0 and end >= TO_END and step == 1:
        return flow
    a.need_pure(node)
    if step > 0 and start >= 0 and (end >= TO_END or end < 0):
        return window(a, node, start + 1 + (0 if end >= TO_END else -end), step, 0)
    if step == 1 and end >= TO_END and -start <= flow.lead + 1:
        return LAST
    a.refuse(
        node,
        f"takes frames [{start}:{end if end < TO_END else ''}{f':{step}' if step != 1 else ''}] of the whole sequence",
    )


def _gather(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    flow = a.still_unless_time(node, flows)
    if flow is not None:
        return flow
    data, indices = flows
    axis = read_attrs(node)["axis"] % a.rank(node.inputs[0])
    if data.kind != "time":
        a.only_still_beside(node, flows)
        return indices.at(axis + indices.axis)
    if indices.kind == "time":
        a.refuse(node, "picks from a sequence by a sequence")
    if data.axis != axis:
        return a.merge(node, [data], node.inputs[:1]).at(
            data.axis + (a.rank(node.inputs[1]) - 1 if data.axis > axis else 0)
        )
    a.need_pure(node)
    picked = constant_of(a.graph, node.inputs[1])
    if picked is None or picked.size != 1 or int(picked.reshape(-1)[0]) != -1:
        a.refuse(node, "picks frames of the whole sequence by number")
    return LAST


def _all_move(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    """GatherElements and ScatterElements: fine along another axis when every input moves with time."""
    flow = a.still_unless_time(node, flows)
    if flow is not None:
        return flow
    if any(f.kind != "time" for f in flows) or flows[0].axis == read_attrs(node)["axis"] % a.rank(node.inputs[0]):
        a.refuse(node, "picks or places elements across the whole sequence")
    return a.merge(node, flows)


def _reverse_sequence(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    if flows[0].kind == "time" and flows[0].axis == read_attrs(node)["time_axis"] % a.rank(node.inputs[0]):
        a.refuse(node, "reverses time")
    return flows[0]


def _transpose(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    return flows[0].at(node.attrs["perm"].index(flows[0].axis)) if flows[0].kind == "time" else flows[0]


def _reshape(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    """Follows the time factor through the flat layout: it lies behind as many elements as before."""
    flow, shape = flows[0], a.graph.shape(node.outputs[0])
    if flow.kind != "time":
        return flow
    axes = [d for d, s in enumerate(shape) if mentions(s, "frames")]
    if len(axes) != 1 or flow.within is None:
        a.refuse(node, f"spreads time over the axes of {shape}")
    axis = axes[0]
    source = a.graph.shape(node.inputs[0])
    within = quotient(product(source[: flow.axis]) * flow.within, product(shape[:axis]))
    if within is None:
        a.refuse(node, f"mixes time with other axes ({source} to {shape})")
    if quotient(shape[axis], within * flow.size) is not None:
        return Flow("time", axis, flow.size, within, flow.lead)
    group = quotient(flow.size, shape[axis])
    if not same(within, 1) or not isinstance(group, int) or flow.lead or a.align(node, flow.size, group):
        a.refuse(node, f"mixes time with other axes ({source} to {shape})")
    return Flow("time", axis, shape[axis])


def _sized(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    """Expand and Fill: content that does not move, repeated for as many frames as another tensor has."""
    content = flows[0] if node.op == "Expand" else STILL
    shape = a.graph.shape(node.outputs[0])
    if content.kind == "time":
        return content.at(content.axis + len(shape) - a.rank(node.inputs[0]))
    axes = [d for d, s in enumerate(shape) if mentions(s, "frames")]
    if not axes:
        return content
    a.only_still_beside(node, [content])
    attrs = read_attrs(node)
    source = each(attrs["from_input"], len(shape))[axes[0]]
    sizer = a.flows[node.inputs[source]] if source >= 0 else STILL
    pure = not mentions(shape[axes[0]], "batch")
    return Flow("time", axes[0], shape[axes[0]], 1 if pure else None, sizer.lead)


def _concat(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    moving = [i for i, f in enumerate(flows) if f.kind == "time"]
    if not moving:
        return a.merge(node, flows)
    axis = read_attrs(node)["axis"] % a.rank(node.inputs[0])
    if any(flows[i].axis != axis for i in moving):
        return a.merge(node, flows)
    if not all(a.is_pure(node.inputs[i]) for i in moving):
        a.refuse(node, "works along an axis in which time is mixed with other axes")
    if moving != [len(flows) - 1]:
        a.refuse(node, "joins sequences one behind the other in time")
    front, flow = flows[:-1], flows[-1]
    if all(f.kind == "state" for f in front):
        lead = sum(a.graph.shape(n)[axis] for n in node.inputs[:-1])
        return Flow("time", axis, flow.size + lead, 1, flow.lead + lead)
    constants = [c for n in node.inputs[:-1] if (c := constant_of(a.graph, n)) is not None]
    if len(constants) < len(front) or flow.lead:
        a.refuse(node, "puts something that is neither constant nor a state in front of the sequence")
    a.need_state_shape(node, node.inputs[-1], axis)
    a.plans[id(node)] = Prefix(axis, np.concatenate(constants, axis))
    return a.result(node, axis)


def _pad(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    flow, attrs, rank = flows[0], read_attrs(node), a.rank(node.inputs[0])
    if flow.kind != "time" or not (attrs["pads"][flow.axis] or attrs["pads"][rank + flow.axis]):
        return flow
    a.need_pure(node)
    if attrs["pads"][rank + flow.axis]:
        a.refuse(node, "pads the end of time: its answer depends on where the sequence ends")
    if attrs["mode"] == "reflect" or flow.lead:
        a.refuse(node, f"pads the beginning of time with mode {attrs['mode']}")
    if attrs["mode"] == "edge":
        a.plans[id(node)] = Edge(flow.axis, attrs["pads"][flow.axis])
        return a.result(node, flow.axis)
    a.need_state_shape(node, node.inputs[0], flow.axis)
    shape = [1] * rank
    shape[flow.axis] = attrs["pads"][flow.axis]
    a.plans[id(node)] = Prefix(flow.axis, np.full(shape, attrs["value"], a.graph.tensors[node.inputs[0]].dtype))
    return a.result(node, flow.axis)


def _tile(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    if flows[0].kind == "time" and node.attrs["repeats"][flows[0].axis] != 1:
        a.refuse(node, "repeats the sequence")
    return flows[0]


def _resize(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    if flows[0].kind != "time" or node.attrs["scales"][flows[0].axis] == 1:
        return flows[0]
    flow = a.need_pure(node)
    return a.result(node, flow.axis, lead=flow.lead * node.attrs["scales"][flow.axis])


RULES: dict[str, Rule] = {
    "cuts": _slice,
    "picks": _gather,
    "places": _all_move,
    "reverses": _reverse_sequence,
    "permutes": _transpose,
    "reshapes": _reshape,
    "fills": _sized,
    "joins": _concat,
    "pads": _pad,
    "repeats": _tile,
    "stretches": _resize,
}
