"""What is known of time at every tensor, and the walk that finds it out.

The invariant behind every plan: after m frames in all, a tensor has delivered exactly size(m) frames, its size in a
whole run of m frames. So tensors of equal size stay in step however the sequence is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import gcd
from typing import NoReturn, Union

import numpy as np

from ...ir.dims import Dim, Size, mentions, same, value
from ...ir.graph import Graph, Node
from ...ir.ops import op_spec, place

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
    """A recurrence's h and c become states: `initials` has their inputs' names and what they start from, None for a
    value that is computed when the stream starts."""

    initials: dict[str, np.ndarray | None]
    masked: bool


@dataclass(frozen=True)
class Prefix:
    """Constant frames in front of the whole sequence: a state that is empty after the first chunk."""

    axis: int
    frames: np.ndarray


@dataclass(frozen=True)
class Edge:
    """The first frame so many times over in front of the whole sequence: copies of the first chunk's, none after it."""

    axis: int
    count: int


@dataclass(frozen=True)
class Running:
    """A reduction over time that gives its answer so far."""

    axis: int


@dataclass(frozen=True)
class Cumulative:
    """A CumSum over time that goes on from the sum so far."""

    axis: int


Plan = Union[Window, Carry, Prefix, Edge, Running, Cumulative]
# (analysis, node, flows of its inputs) -> flow of the outputs, one for all or one each
Rule = Callable[["Analysis", Node, list[Flow]], Union[Flow, list[Flow]]]


class Analysis:
    """Flows of every tensor of a sequence model and the plan of every node that needs one; raises NotStreamable."""

    def __init__(self, graph: Graph, rules: Mapping[str, Rule]):
        self.graph = graph
        self.flows: dict[str, Flow] = {}
        self.plans: dict[int, Plan] = {}  # by id of the node
        self.multiple = 1
        self.rules = rules
        self.made_by = graph.producers()
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
        result = self.rules[op_spec(node).time.how](self, node, flows)
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

    def still_unless_time(self, node: Node, flows: list[Flow]) -> Flow | None:
        """The result of ops that need no care unless input 0 moves in time; None when it does."""
        return self.merge(node, flows) if all(f.kind != "time" for f in flows) else None

    def need_state_shape(self, node: Node, tensor: str, time: int) -> None:
        """A state's sizes must be numbers or multiples of batch."""
        for d, size in enumerate(self.graph.shape(tensor)):
            if d != time and isinstance(size, Dim) and set(size.terms) != {("batch",)}:
                self.refuse(node, f"would keep a state whose axis {d} has size {size}")

    def merge(self, node: Node, flows: list[Flow], names: list[str] | None = None) -> Flow:
        """The flow of an elementwise result with NumPy's broadcast."""
        names = node.inputs if names is None else names
        moving = [(f, self.rank(n)) for f, n in zip(flows, names) if f.kind == "time"]
        if not moving:
            kinds = {f.kind for f in flows}
            return LAST if "last" in kinds else STATE if "state" in kinds else STILL
        self.only_still_beside(node, flows)
        rank = len(self.graph.shape(node.outputs[0]))
        first = next((f for f, _ in moving if f.within is not None), moving[0][0])
        for flow, own_rank in moving:
            axis_from_end = flow.axis - own_rank
            if axis_from_end != moving[0][0].axis - moving[0][1]:
                self.refuse(node, "relates frames with other frames (time lies on different axes of its inputs)")
            if flow.lead != first.lead or not _in_step(flow, first):
                self.refuse(node, "joins sequences that are out of step")
        return first.at(moving[0][0].axis - moving[0][1] + rank)

    def only_still_beside(self, node: Node, flows: list[Flow]) -> None:
        for flow in flows:
            if flow.kind == "last":
                self.refuse(node, "brings a value known only after the last frame back to every frame")
            if flow.kind == "state":
                self.refuse(node, "lets a kept state meet every frame of a chunk")


def _in_step(flow: Flow, first: Flow) -> bool:
    """Whether time passes alike; content that does not vary along its axis goes with any."""
    if flow.within is None or first.within is None:
        return flow.within is None
    return same(flow.within, first.within) and same(flow.size, first.size)
