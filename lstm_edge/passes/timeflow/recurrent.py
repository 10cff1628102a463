"""Recurrences over time."""

from __future__ import annotations

import numpy as np

from ...ir.graph import Node
from ...ir.ops import STATES, axes_of_frames, op_spec, read_attrs
from ...options import as_typed
from ..initial import initial_value, is_given
from .flow import LAST, STILL, Analysis, Carry, Flow, Rule


def _recurrence(a: Analysis, node: Node, flows: list[Flow]) -> list[Flow]:
    attrs, names = read_attrs(node), op_spec(node).input_names
    given = {name: (tensor, flow) for name, tensor, flow in zip(names, node.inputs, flows) if tensor}
    x = flows[0]
    if x.kind != "time":
        if any(f.kind == "time" for f in flows):
            a.refuse(node, "takes a sequence as something other than its input")
        return [a.merge(node, flows)] * 3
    _, time_axis = axes_of_frames(attrs)
    if x.axis == 2:
        a.refuse(node, "takes time as its features")
    if x.axis != time_axis:  # every frame is a sequence of its own
        a.only_still_beside(node, flows)
        return [x] + [x.at(1)] * 2
    a.need_pure(node)
    if attrs.get("direction", "forward") != "forward":
        a.refuse(node, f"is {attrs['direction']}: its answer at a frame depends on frames to come")
    if "lengths" in given:
        a.refuse(node, "takes the sequences' lengths, which a chunk does not know")
    if x.lead:
        a.refuse(node, "runs over frames of kept context")
    starts = {name: given.get(name, ("", STILL)) for name in STATES if name in names}
    carried = {name: _initial(a, node, *start) for name, start in starts.items() if start[1].kind != "state"}
    masked = "mask" in given and attrs["masked_output"] == "previous"
    if "mask" in given and given["mask"][1].kind != "time":
        a.refuse(node, "takes a mask that does not move with the frames")
    if masked and "h0" in carried and (carried["h0"] is None or np.any(carried["h0"])):
        a.refuse(node, "has a mask and an initial state that is not zero")
    a.need_state_shape(node, node.inputs[0], time_axis)
    if carried or masked:
        a.plans[id(node)] = Carry(carried, masked)
    return [x, LAST, LAST]


def _initial(a: Analysis, node: Node, name: str, flow: Flow) -> np.ndarray | None:
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
            f"({as_typed('states')})",
        )
    return initial_value(a.graph, a.made_by, name)


RULES: dict[str, Rule] = {
    "recurs": _recurrence,
}
