"""How time runs through a graph: which axis of each tensor is time, and what a chunk must know of the chunks before it.

The invariant behind every plan: after m frames in all, a tensor has delivered exactly size(m) frames, its size in a
whole run of m frames. So tensors of equal size stay in step however the sequence is cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd
from typing import NoReturn

import numpy as np

from ..ir.dims import Dim, Size, mentions, product, value
from ..ir.graph import Graph, Node
from ..ir.ops import TO_END, each, place, read_attrs
from ..ir.shapes import same
from .edit import constant_of
from .initial import initial_value, is_given

SOME_FRAMES = 1 << 16  # sizes are compared this far from the start, where no convolution's window is still filling


class NotStreamable(Exception):
    """The message is a sentence for the user: the node and what it asks of time."""


@dataclass(frozen=True)
class Flow:
    """What a tensor knows of time.

    `kind`: `still` (the same in every chunk), `state` (kept by the stream), `last` (the answer so far) or `time`.
    For `time`, `axis` holds it; the axis is all time when its size is `size`, else time lies inside it behind `within`
    other elements (None: unknown, the content does not vary along it). `lead`: frames of kept context in front of the
    chunk's own.
    """

    kind: str
    axis: int = -1
    size: Size = 0
    within: Size | None = 1
    lead: int = 0

    def at(self, axis: int) -> Flow:
        return Flow(self.kind, axis, self.size, self.within, self.lead)


STILL, STATE, LAST = Flow("still"), Flow("state"), Flow("last")


@dataclass(frozen=True)
class Window:
    """Concat of a state in front of x along `axis`: at first `initial` zeros, then the last `keep` frames. The node's own
    padding of time becomes `pads`, begin and end."""

    axis: int
    initial: int
    keep: int
    pads: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Carry:
    """A recurrence's h and c become states: `initials` has their place among the node's inputs and what they start from,
    None for a value that is computed when the stream starts."""

    initials: dict[int, np.ndarray | None]
    masked: bool


@dataclass(frozen=True)
class Prefix:
    """Constant frames in front of the whole sequence: a state that is empty after the first chunk."""

    axis: int
    frames: np.ndarray


@dataclass(frozen=True)
class Running:
    """A reduction over time that gives its answer so far."""

    axis: int


@dataclass(frozen=True)
class Cumulative:
    """A CumSum over time that goes on from the sum so far."""

    axis: int


Plan = Window | Carry | Prefix | Running | Cumulative
# Where h0 and c0, lengths and mask are among the inputs.
RECURRENT = {"LSTM": ((4, 5), 6, 7), "GRU": ((5,), 6, 7), "RNN": ((4,), 5, 6)}


class Analysis:
    """Flows of every tensor of a sequence model and the plan of every node that needs one; raises NotStreamable."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.flows: dict[str, Flow] = {}
        self.plans: dict[int, Plan] = {}  # by id of the node
        self.multiple = 1
        self.made_by = {o: n for n in graph.nodes for o in n.outputs if o}
        self._start()
        for node in graph.nodes:
            self._follow(node)
        self._end()

    def _start(self) -> None:
        for name, t in self.graph.tensors.items():
            if t.is_constant:
                self.flows[name] = STILL
        for port in self.graph.inputs:
            shape = self.graph.shape(port.tensor)
            axes = [d for d, s in enumerate(shape) if mentions(s, "frames")]
            if len(axes) > 1:
                raise NotStreamable(f"input {port.name} of shape {shape} has two frames axes")
            self.flows[port.tensor] = Flow("time", axes[0], shape[axes[0]]) if axes else STILL
        for state in self.graph.states:
            self.flows[state.read] = STATE

    def _follow(self, node: Node) -> None:
        flows = [self.flows[i] if i else STILL for i in node.inputs]
        rule = _RULES.get(node.op, _no_rule)
        result = rule(self, node, flows)
        outputs = result if isinstance(result, list) else [result] * len(node.outputs)
        for name, flow in zip(node.outputs, outputs):
            if not name:
                continue
            axes = [d for d, s in enumerate(self.graph.shape(name)) if mentions(s, "frames")]
            if flow.kind == "time" and axes != [flow.axis] or flow.kind != "time" and axes:
                self.refuse(node, f"relates frames with other frames (its output has shape {self.graph.shape(name)})")
            self.flows[name] = flow

    def _end(self) -> None:
        for port in self.graph.outputs:
            if self.flows[port.tensor].lead:
                raise NotStreamable(f"output {port.name} holds frames of context from before the chunk")
        for state in self.graph.states:
            if self.flows[state.write].kind == "time":
                raise NotStreamable(f"state {state.name} is given a whole sequence, not the value after the last frame")

    # ---- what the rules ask ----

    def refuse(self, node: Node, why: str) -> NoReturn:
        raise NotStreamable(f"{place(node)} {why}")

    def rank(self, tensor: str) -> int:
        return len(self.graph.shape(tensor))

    def is_pure(self, tensor: str) -> bool:
        flow = self.flows[tensor]
        return same(self.graph.shape(tensor)[flow.axis], flow.size)

    def need_pure(self, node: Node) -> Flow:
        if not self.is_pure(node.inputs[0]):
            self.refuse(node, "works along an axis in which time is mixed with other axes")
        return self.flows[node.inputs[0]]

    def result(self, node: Node, axis: int, size: Size | None = None, lead: int = 0) -> Flow:
        """The flow of an output whose axis `axis` is all time."""
        return Flow("time", axis, self.graph.shape(node.outputs[0])[axis] if size is None else size, 1, lead)

    def align(self, node: Node, size: Size, step: int) -> int:
        """Makes a chunk's frames on an axis of `size` a multiple of `step`; returns what is over at a chunk's end,
        size mod step."""

        def count(chunks: int) -> int:
            return value(size, 1, chunks * self.multiple)

        far = SOME_FRAMES // self.multiple
        per_chunk = count(far + 1) - count(far)
        self.multiple *= step // gcd(step, per_chunk)
        return count(SOME_FRAMES // self.multiple) % step

    def merge(self, node: Node, flows: list[Flow], names: list[str] | None = None) -> Flow:
        """The flow of an elementwise result with NumPy's broadcast."""
        names = node.inputs if names is None else names
        moving = [(f, self.rank(n)) for f, n in zip(flows, names) if f.kind == "time"]
        if not moving:
            kinds = {f.kind for f in flows}
            return LAST if "last" in kinds else STATE if "state" in kinds else STILL
        self._only_still_beside(node, flows)
        rank = len(self.graph.shape(node.outputs[0]))
        first = next((f for f, _ in moving if f.within is not None), moving[0][0])
        for flow, own_rank in moving:
            axis_from_end = flow.axis - own_rank
            if axis_from_end != moving[0][0].axis - moving[0][1]:
                self.refuse(node, "relates frames with other frames (time lies on different axes of its inputs)")
            if (
                flow.lead != first.lead
                or flow.within is not None
                and not (same(flow.within, first.within) and same(flow.size, first.size))
            ):
                self.refuse(node, "joins sequences that are out of step")
        return first.at(moving[0][0].axis - moving[0][1] + rank)

    def _only_still_beside(self, node: Node, flows: list[Flow]) -> None:
        for flow in flows:
            if flow.kind == "last":
                self.refuse(node, "brings a value known only after the last frame back to every frame")
            if flow.kind == "state":
                self.refuse(node, "lets a kept state meet every frame of a chunk")


# ---- rules: (analysis, node, flows of its inputs) -> flow of the outputs, one or a list ----------------------------

Rule = Callable[[Analysis, Node, list[Flow]], "Flow | list[Flow]"]


def _no_rule(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    a.refuse(node, "is not known to the streaming pass")


def _elementwise(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    return a.merge(node, flows)


def _still_unless_time(a: Analysis, node: Node, flows: list[Flow]) -> Flow | None:
    """The result of ops that need no care unless input 0 moves in time; None when it does."""
    return a.merge(node, flows) if flows[0].kind != "time" and all(f.kind != "time" for f in flows) else None


def _over_axes(axes_of: Callable[[dict], list[int]], what: str) -> Rule:
    """Ops that look along axes: fine unless one of them is time."""

    def rule(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
        flow = _still_unless_time(a, node, flows)
        if flow is not None:
            return flow
        rank = a.rank(node.inputs[0])
        if flows[0].kind == "time" and flows[0].axis in [x % rank for x in axes_of(read_attrs(node))]:
            a.refuse(node, what)
        return a.merge(node, flows)

    return rule


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
        _need_state_shape(a, node, node.inputs[0], time)
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
    _need_state_shape(a, node, node.inputs[0], flow.axis)
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


def _recurrence(a: Analysis, node: Node, flows: list[Flow]) -> list[Flow]:
    attrs = read_attrs(node)
    initials, lengths, mask = RECURRENT[node.op]
    names, flows = node.inputs + [""] * 10, flows + [STILL] * 10
    if flows[0].kind != "time":
        if any(f.kind == "time" for f in flows):
            a.refuse(node, "takes a sequence as something other than its input")
        return [a.merge(node, flows)] * 3
    time_axis = 0 if attrs["time_major"] else 1
    if flows[0].axis == 2:
        a.refuse(node, "takes time as its features")
    if flows[0].axis != time_axis:  # every frame is a sequence of its own
        a._only_still_beside(node, flows)
        return [flows[0]] + [flows[0].at(1)] * 2
    a.need_pure(node)
    if attrs["direction"] != "forward":
        a.refuse(node, f"is {attrs['direction']}: its answer at a frame depends on frames to come")
    if names[lengths]:
        a.refuse(node, "takes the sequences' lengths, which a chunk does not know")
    if flows[0].lead:
        a.refuse(node, "runs over frames of kept context")
    carried = {i: _initial(a, node, i, flows[i], names[i]) for i in initials if flows[i].kind != "state"}
    masked = bool(names[mask]) and attrs["masked_output"] == "previous"
    if names[mask] and flows[mask].kind != "time":
        a.refuse(node, "takes a mask that does not move with the frames")
    if masked and initials[0] in carried and (carried[initials[0]] is None or np.any(carried[initials[0]])):
        a.refuse(node, "has a mask and an initial state that is not zero")
    _need_state_shape(a, node, node.inputs[0], time_axis)
    if carried or masked:
        a.plans[id(node)] = Carry(carried, masked)
    return [flows[0], LAST, LAST]


def _initial(a: Analysis, node: Node, index: int, flow: Flow, name: str) -> np.ndarray | None:
    """What a recurrence's state starts from: known numbers, or None for what a run computes from inputs without time."""
    if not name:
        return np.zeros((), np.float32)
    if flow.kind != "still":
        a.refuse(
            node,
            f"starts from {name}, which is known only after the last frame"
            if flow.kind == "last"
            else f"starts from {name}, a sequence in itself",
        )
    if is_given(a.graph, a.made_by, name):
        a.refuse(
            node,
            f"starts from {name}, which is not a state: pair it with the output that continues it "
            "(states={input: output})",
        )
    return initial_value(a.graph, a.made_by, name)


def _dense(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    if flows[0].kind == "time" and flows[0].axis == a.rank(node.inputs[0]) - 1:
        a.refuse(node, "sums over time, which needs the whole sequence")
    return a.merge(node, flows[:1], node.inputs[:1])


def _matmul(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    flow = _still_unless_time(a, node, flows)
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
    a._only_still_beside(node, flows)
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
    return _window(a, node, span, stride, pads[d])


def _conv_axis(a: Analysis, node: Node, flows: list[Flow]) -> int | None:
    """The number of the spatial axis that is time; None when time is the batch axis or does not occur."""
    if any(f.kind == "time" for f in flows[1:]):
        a.refuse(node, "takes its weights from the sequence")
    if flows[0].kind != "time" or flows[0].axis == 0:
        return None
    last = node.attrs.get("layout") == "channels_last"
    if flows[0].axis == (a.rank(node.inputs[0]) - 1 if last else 1):
        a.refuse(node, "takes time as its channels")
    return flows[0].axis - (1 if last else 2)


def _window(a: Analysis, node: Node, span: int, stride: int, begin: int) -> Flow:
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
        _need_state_shape(a, node, node.inputs[0], flow.axis)
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
        _need_state_shape(a, node, node.inputs[0], flow.axis)
        a.plans[id(node)] = Window(flow.axis, keep - begin // stride, keep, (keep * stride, span - stride))
    return a.result(node, flow.axis)


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
        return _window(a, node, start + 1 + (0 if end >= TO_END else -end), step, 0)
    if step == 1 and end >= TO_END and -start <= flow.lead + 1:
        return LAST
    a.refuse(
        node,
        f"takes frames [{start}:{end if end < TO_END else ''}{f':{step}' if step != 1 else ''}] of the whole sequence",
    )


def _gather(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    flow = _still_unless_time(a, node, flows)
    if flow is not None:
        return flow
    data, indices = flows
    axis = read_attrs(node)["axis"] % a.rank(node.inputs[0])
    if data.kind != "time":
        a._only_still_beside(node, flows)
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
    flow = _still_unless_time(a, node, flows)
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
    within = _quotient(product(source[: flow.axis]) * flow.within, product(shape[:axis]))
    if within is None:
        a.refuse(node, f"mixes time with other axes ({source} to {shape})")
    if _quotient(shape[axis], within * flow.size) is not None:
        return Flow("time", axis, flow.size, within, flow.lead)
    group = _quotient(flow.size, shape[axis])
    if not same(within, 1) or not isinstance(group, int) or flow.lead or a.align(node, flow.size, group):
        a.refuse(node, f"mixes time with other axes ({source} to {shape})")
    return Flow("time", axis, shape[axis])


def _quotient(whole: Size, part: Size) -> Size | None:
    """whole / part where that leaves no remainder, else None."""
    if isinstance(whole, int) and isinstance(part, int):
        return whole // part if part and whole % part == 0 else None
    if isinstance(part, Dim) and not isinstance(whole, Dim):
        return None
    try:
        quotient = whole // part
    except ValueError:
        return None
    return quotient if same(quotient * part, whole) else None


def _sized(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    """Expand and Fill: content that does not move, repeated for as many frames as another tensor has."""
    content = flows[0] if node.op == "Expand" else STILL
    shape = a.graph.shape(node.outputs[0])
    if content.kind == "time":
        return content.at(content.axis + len(shape) - a.rank(node.inputs[0]))
    axes = [d for d, s in enumerate(shape) if mentions(s, "frames")]
    if not axes:
        return content
    a._only_still_beside(node, [content])
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
    constants = [constant_of(a.graph, n) for n in node.inputs[:-1]]
    if any(c is None for c in constants) or flow.lead:
        a.refuse(node, "puts something that is neither constant nor a state in front of the sequence")
    _need_state_shape(a, node, node.inputs[-1], axis)
    a.plans[id(node)] = Prefix(axis, np.concatenate(constants, axis))
    return a.result(node, axis)


def _pad(a: Analysis, node: Node, flows: list[Flow]) -> Flow:
    flow, attrs, rank = flows[0], read_attrs(node), a.rank(node.inputs[0])
    if flow.kind != "time" or not (attrs["pads"][flow.axis] or attrs["pads"][rank + flow.axis]):
        return flow
    a.need_pure(node)
    if attrs["pads"][rank + flow.axis]:
        a.refuse(node, "pads the end of time: its answer depends on where the sequence ends")
    if attrs["mode"] != "constant" or flow.lead:
        a.refuse(node, f"pads the beginning of time with mode {attrs['mode']}")
    _need_state_shape(a, node, node.inputs[0], flow.axis)
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


def _need_state_shape(a: Analysis, node: Node, tensor: str, time: int) -> None:
    """A state's sizes must be numbers or multiples of batch."""
    for d, size in enumerate(a.graph.shape(tensor)):
        if d != time and isinstance(size, Dim) and set(size.terms) != {("batch",)}:
            a.refuse(node, f"would keep a state whose axis {d} has size {size}")


_RULES: dict[str, Rule] = {
    "LSTM": _recurrence,
    "GRU": _recurrence,
    "RNN": _recurrence,
    "Dense": _dense,
    "MatMul": _matmul,
    "Conv": _conv,
    "Pool": _conv,
    "ConvTranspose": _conv_transpose,
    "Unary": _elementwise,
    "Binary": _elementwise,
    "Where": _elementwise,
    "Cast": _elementwise,
    "Normalize": _over_axes(lambda at: at["axes"], "normalises over time, which needs the whole sequence"),
    "Softmax": _over_axes(lambda at: [at["axis"]], "is a softmax over time, which needs the whole sequence"),
    "CumSum": _cum_sum,
    "TopK": _over_axes(lambda at: [at["axis"]], "looks for the largest over time, which needs the whole sequence"),
    "Reduce": _reduce,
    "ArgReduce": _arg_reduce,
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": _all_move,
    "ScatterElements": _all_move,
    "ReverseSequence": _reverse_sequence,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Expand": _sized,
    "Fill": _sized,
    "Concat": _concat,
    "Pad": _pad,
    "Tile": _tile,
    "Resize": _resize,
}
