"""Which outputs of a graph continue which inputs, seen from how they are used and not from their names.

An element of an input that a recurrence starts from is continued by the same element of what that recurrence ends in. So
every element of the inputs gets a number, the numbers go with the elements through ops that only move them, and pass from
a recurrence's initial states to its last ones: an output whose elements have the numbers of an input, in order, continues it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import reference
from ..errors import LstmEdgeError
from ..ir.dims import Dim, Size
from ..ir.graph import Graph, Node, Port
from ..ir.ops import RECURRENT, STATES, axes_of_frames, input_of, op_spec

MOVES = ("Reshape", "Transpose", "Slice", "Concat", "Gather")
OPEN = 2  # what open sizes are taken to be: enough to tell the first frame from the last
NOTHING = -1  # the number of an element that no input gave
FROM_ELSEWHERE = -2  # and of what a recurrence ends in that starts from no input
MOST = 2**20  # elements of an input; one with more is no state
Numbers = dict[str, np.ndarray]  # tensor -> the number of each of its elements


class Uses:
    """What becomes of the elements of some inputs."""

    def __init__(self, graph: Graph, sources: Sequence[Port]):
        self._graph = graph
        self._given: Numbers = {}  # of tensors that hold elements of the inputs
        self._ended: Numbers = {}  # of those that hold what recurrences end in
        self._started: set[int] = set()  # numbers that a recurrence starts from
        first = 0
        for port in sources:
            shape = _at(graph.shape(port.tensor))
            count = int(np.prod(shape))
            if count > MOST:
                continue
            self._given[port.tensor] = np.arange(first, first + count).reshape(shape)
            first += count
        for node in graph.nodes:
            if node.op in RECURRENT:
                self._pass_on(node)
            elif node.op in MOVES and node.inputs:
                for numbers in (self._given, self._ended):
                    self._move(node, numbers)

    def continues(self, source: Port, target: Port) -> bool:
        """Whether every element of an output is what the same element of an input has become."""
        ended, given = self._ended.get(target.tensor), self._given.get(source.tensor)
        return ended is not None and given is not None and np.array_equal(ended, given)

    def are_states(self, source: Port, target: Port) -> bool:
        """Whether an input is of what recurrences start from, and an output of what they end in."""
        ended, given = self._ended.get(target.tensor), self._given.get(source.tensor)
        if ended is None or given is None:
            return False
        return not self._started.isdisjoint(given.reshape(-1).tolist()) and bool((ended != NOTHING).any())

    def _pass_on(self, node: Node) -> None:
        """From the initial states to the last ones, and to the last frame of y."""
        outputs = dict(zip(op_spec(node).output_names, node.outputs))
        for start, end in STATES.items():
            if start not in op_spec(node).input_names:
                continue
            name = input_of(node, start)
            initial = self._given.get(name, self._ended.get(name))
            if initial is None:
                if outputs.get(end):
                    self._ended[outputs[end]] = np.full(_at(self._graph.shape(outputs[end])), FROM_ELSEWHERE)
                continue
            self._started.update(initial.reshape(-1).tolist())
            if outputs.get(end):
                self._ended[outputs[end]] = initial
            if start == "h0" and outputs.get("y") and node.attrs.get("direction", "forward") == "forward":
                self._ended[outputs["y"]] = _in_last_frame(_at(self._graph.shape(outputs["y"])), initial, node)

    def _move(self, node: Node, numbers: Numbers) -> None:
        if not any(i in numbers for i in node.inputs):
            return
        if node.op == "Gather" and not self._graph.tensors[node.inputs[1]].is_constant:
            return
        try:
            (moved,) = reference.run_node(node, [self._array(name, numbers) if name else None for name in node.inputs])
        except (
            LstmEdgeError
        ):  # sizes that do not fit when every open one is the same: nothing is known of what is moved
            return
        if moved is not None:
            numbers[node.outputs[0]] = moved.astype(np.int64)

    def _array(self, name: str, numbers: Numbers) -> np.ndarray:
        """The numbers of a tensor as an array of its type in the reference; NOTHING where it has none."""
        tensor = self._graph.tensors[name]
        if tensor.dtype == "int32" and tensor.is_constant:
            return tensor.values
        array = numbers.get(name, np.full(_at(tensor.shape), NOTHING))
        return array.astype(np.int32 if tensor.dtype == "int32" else np.float64)


def _at(shape: Sequence[Size]) -> tuple[int, ...]:
    """A shape with every open size at OPEN."""
    return tuple(s.at(dict.fromkeys(s.symbols(), OPEN)) if isinstance(s, Dim) else s for s in shape)


def _in_last_frame(shape: tuple[int, ...], initial: np.ndarray, node: Node) -> np.ndarray:
    """The numbers of y: those of the last state in its last frame."""
    y = np.full(shape, NOTHING)
    _, time = axes_of_frames(node.attrs)
    last = y[-1:] if time == 0 else y[:, -1:]
    if last.size == initial.size:
        last[...] = initial.reshape(last.shape)
    return y
