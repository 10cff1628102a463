"""Dense layers, matrix products, windows over time."""

from __future__ import annotations

from ...ir.dims import same
from ...ir.graph import Node
from ...ir.ops import channel_axis, each, read_attrs, spatial_axes
from .flow import Analysis, Flow, Rule, Window


def _dense(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    if flows[0].kind == "time" and flows[0].axis == a.rank(node.inputs[0]) - 1:
        a.refuse(node, "sums over time, which needs the whole sequence")
    return a.merge(node, flows[:1], node.inputs[:1])


def _matmul(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    flow = a.still_unless_time(node, flows)
    if flow is not None:
        return flow
    attrs, out_rank = read_attrs(node), len(a.graph.shape(node.outputs[0]))
    places = []
    for i, trans in ((0, attrs["trans_a"]), (1, attrs["trans_b"])):
        if flows[i].kind != "time":
            continue
        from_end = flows[i].axis - a.rank(node.inputs[i])
        if from_end >= -2:
            contracted = (-2 if trans else -1) if i == 0 else (-1 if trans else -2)
            if from_end == contracted:
                a.refuse(node, "sums over time, which needs the whole sequence")
            from_end = -2 if i == 0 else -1
        places.append(from_end)
    if len(set(places)) > 1:
        a.refuse(node, "relates every frame with every other (attention over time)")
    a.only_still_beside(node, flows)
    moving = [f for f in flows if f.kind == "time"]
    if len(moving) == 2 and (moving[0].lead != moving[1].lead or not same(moving[0].size, moving[1].size)):
        a.refuse(node, "joins sequences that are out of step")
    return moving[0].at(places[0] + out_rank)


def _conv(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    spatial = _conv_axis(a, node, flows)
    if spatial is None:
        return a.merge(node, flows[:1], node.inputs[:1])
    attrs, d, n = read_attrs(node), spatial, a.rank(node.inputs[0]) - 2
    kernel = a.graph.shape(node.inputs[1])[2 + d] if node.op == "Conv" else each(attrs["kernel"], n)[d]
    span = (kernel - 1) * each(attrs["dilations"], n)[d] + 1
    stride, pads = each(attrs["strides"], n)[d], each(attrs["pads"], 2 * n)
    if node.op == "Pool" and pads[d] or attrs.get("ceil_mode") and stride > 1:
        a.refuse(node, "pools over time with padding or ceil_mode")
    if pads[n + d]:
        a.refuse(
            node, f"pads {pads[n + d]} frames at the end of time ('same' padding): its answer depends on frames to come"
        )
    if pads[d] >= span:
        a.refuse(node, f"pads {pads[d]} frames before time, more than its kernel's {span} reach")
    return window(a, node, span, stride, pads[d])


def _conv_axis(a: Analysis, node: Node, flows: list[Flow]) -> int | None:
    """The number of the spatial axis that is time; None when time is the batch axis or does not occur."""
    if any(f.kind == "time" for f in flows[1:]):
        a.refuse(node, "takes its weights from the sequence")
    if flows[0].kind != "time" or flows[0].axis == 0:
        return None
    rank = a.rank(node.inputs[0])
    if flows[0].axis == channel_axis(node.attrs, rank):
        a.refuse(node, "takes time as its channels")
    return spatial_axes(node.attrs, rank).index(flows[0].axis)


def window(a: Analysis, node: Node, span: int, stride: int, begin: int) -> Flow:
    """An op whose output j looks at frames [j*stride, j*stride+span) of its input with `begin` zeros in front.

    After t frames the next window starts at stride * (number of windows that fitted); so what must be kept is
    the largest number below span that is congruent to t + begin modulo stride, once t is that large.
    """
    flow = a.need_pure(node)
    own = flow.size - flow.lead
    over = (a.align(node, own, stride) + begin) % stride
    keep = span - 1 - (span - 1 - over) % stride
    if keep < 0:
        a.refuse(node, f"skips frames with a stride of {stride} that does not fit the chunks")
    if flow.lead:
        if flow.lead != keep or begin:
            a.refuse(node, f"needs {keep} frames of context, but the states in front of it keep {flow.lead}")
        return a.result(node, flow.axis)
    if keep or begin:
        a.need_state_shape(node, node.inputs[0], flow.axis)
        a.plans[id(node)] = Window(flow.axis, begin, keep)
    return a.result(node, flow.axis)


def _conv_transpose(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    """Output j gets something from the frames i with i*stride <= j + begin < i*stride + span. After m frames m*stride -
    begin outputs are complete; the node must give just these, its end cropped by span - stride."""
    d = _conv_axis(a, node, flows)
    if d is None:
        return a.merge(node, flows[:1], node.inputs[:1])
    attrs, n = read_attrs(node), a.rank(node.inputs[0]) - 2
    stride, pads = each(attrs["strides"], n)[d], each(attrs["pads"], 2 * n)
    span = (a.graph.shape(node.inputs[1])[2 + d] - 1) * each(attrs["dilations"], n)[d] + 1
    begin, surplus = pads[d], span + each(attrs["output_padding"], n)[d] - pads[n + d] - stride
    if surplus:
        a.refuse(
            node,
            f"adds overlapping frames over time and gives {surplus} that are not complete yet: crop {surplus} of the end"
            if surplus > 0
            else f"crops {-surplus} complete frames of the end of time",
        )
    flow = a.need_pure(node)
    if flow.lead:
        a.refuse(node, "runs over frames of kept context")
    keep = (span - 1) // stride
    if begin % stride or begin > keep * stride:
        a.refuse(
            node, f"crops {begin} frames of the beginning of time, no multiple of its stride {stride} within its reach"
        )
    if keep:
        a.need_state_shape(node, node.inputs[0], flow.axis)
        a.plans[id(node)] = Window(flow.axis, keep - begin // stride, keep, (keep * stride, span - stride))
    return a.result(node, flow.axis)


RULES: dict[str, Rule] = {
    "sums": _dense,
    "multiplies": _matmul,
    "windows": _conv,
    "overlaps": _conv_transpose,
}
