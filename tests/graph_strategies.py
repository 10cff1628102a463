"""Random graphs of many ops: the single-op strategies (strategies.py) wired to one another, so that an op with a strategy is in these graphs as well.

Where a strategy asks for an array at run time it gets, three times of four, a tensor that the graph has by then, brought to the shape and the range
that were asked for by ops of movement: one tensor is read by many nodes, lies within others, and is what others are joined from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st
from strategies import STRATEGIES, Builder, Case

from lstm_edge import reference
from lstm_edge.ir.graph import State
from lstm_edge.ir.node import Node, Tensor
from lstm_edge.ir.ops import OPS
from lstm_edge.reference.node import run_node

MOST_STATES = 2
LARGEST = 1e30


@dataclass(repr=False)
class GraphCase(Case):
    """A step model of many ops. `made` has every tensor that ops made, `outputs` those that are told; `frames` how many to run."""

    made: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    frames: int = 1

    def __repr__(self) -> str:
        """A line for each input, node and state: what a failure prints."""
        graph = self.graph
        lines = [f"{n}: input {a.dtype}{list(a.shape)}" for n, a in self.inputs.items()]
        for node in graph.nodes:
            names = [self._operand(i) for i in node.inputs]
            attrs = ", ".join(f"{k}={v}" for k, v in node.attrs.items())
            lines.append(f"{', '.join(node.outputs)} = {node.op}({', '.join(names)}) {attrs}")
        lines += [f"{s.read} = state of {s.write}, {s.dtype}{list(s.shape)}, filled {s.initial}" for s in graph.states]
        return "\n".join([f"graph, {self.frames} frames, outputs {', '.join(self.outputs)}", *lines])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def _operand(self, name: str) -> str:
        tensor = self.graph.tensors.get(name)
        return f"{tensor.dtype}{list(tensor.shape)}" if tensor and tensor.is_constant else name or "-"

    def of_frame(self, t: int) -> dict[str, np.ndarray]:
        """Inputs of frame t: the same values at other places, so that indices stay within their range."""
        return {n: np.roll(a.ravel(), t).reshape(a.shape) for n, a in self.inputs.items()}


def is_plain(value: np.ndarray) -> bool:
    """Whether float32 holds all of it well: no NaN, nothing infinite or near it."""
    return bool(np.all(np.isfinite(value))) and not np.any(np.abs(value.astype(np.float64)) > LARGEST)


class Wiring(Builder):
    """Draws one graph. `values_of` has what the oracle makes of the first frame, for each tensor that later nodes may read."""

    def __init__(self, draw: Callable, **options: Any):
        super().__init__(draw, **options)
        self.case: GraphCase = GraphCase()
        self.values_of: dict[str, np.ndarray] = {}

    # ---- what a strategy asks for

    def at_run(self, array: np.ndarray, shape: tuple | None = None) -> str:
        pool = [n for n, v in self.values_of.items() if self._may_stand_for(v, array)]
        if not pool or self.draw(st.integers(0, 3)) == 0:
            name = super().at_run(array)
            self.values_of[name] = array
            return name
        if array.ndim and array.shape[0] > 1 and self.draw(st.integers(0, 4)) == 0:
            return self._bounded(self._joined(pool, array.shape), array)
        return self._bounded(self._shaped(self.draw(st.sampled_from(pool)), array.shape), array)

    def add(self, op: str, inputs: list[str], attrs: dict[str, Any] | None = None) -> None:
        while inputs and not inputs[-1]:
            inputs.pop()
        left_out = [n > 0 and self.draw(st.integers(0, 3)) == 0 for n in range(len(OPS[op].outputs))]
        self._add(op, inputs, attrs or {}, ["" if out else "y" for out in left_out])

    # ---- wiring

    def _may_stand_for(self, value: np.ndarray, array: np.ndarray) -> bool:
        if value.dtype.kind != array.dtype.kind or not array.size or not value.size:
            return False
        if value.dtype.kind == "i" and not np.all(np.abs(array.astype(np.int64)) < 2**24):
            return False  # the bounds of a clip are float32
        return is_plain(value) or not np.all(np.isfinite(array))

    def _add(self, op: str, inputs: list[str], attrs: dict[str, Any], wanted: list[str]) -> str:
        """The node, and of its outputs those that have a value that others may read."""
        graph = self.case.graph
        outputs = graph.add(op, inputs, attrs, graph.fresh(op.lower()), wanted)
        node = graph.nodes[-1]
        arrays = [self._value(i) if i else None for i in node.inputs]
        for name, value in zip(outputs, run_node(node, arrays)):
            if name and value is not None:
                self.case.made.append(name)
                self.values_of[name] = value
        return outputs[0]

    def _value(self, name: str) -> np.ndarray:
        tensor = self.case.graph.tensors[name]
        if tensor.is_constant:
            return reference.constant(tensor)
        value = self.values_of[name]
        return value.astype(np.float64) if value.dtype.kind == "f" else value

    def _one(self, op: str, inputs: list[str], attrs: dict[str, Any]) -> str:
        return self._add(op, inputs, attrs, [self.case.graph.fresh("w")])

    def _shaped(self, name: str, wanted: tuple[int, ...]) -> str:
        """The elements of a tensor in another shape: as they are, turned, a part of them, or over and over again."""
        shape = self.values_of[name].shape
        if shape == wanted:
            return name
        if len(shape) == len(wanted) and sorted(shape) == sorted(wanted):
            left = list(range(len(shape)))
            perm = [left.pop(next(i for i, a in enumerate(left) if shape[a] == size)) for size in wanted]
            return self._one("Transpose", [name], {"perm": perm})
        if len(shape) == len(wanted) and all(a >= b for a, b in zip(shape, wanted)):
            starts = [self.draw(st.integers(0, a - b)) for a, b in zip(shape, wanted)]
            ends = [s + size for s, size in zip(starts, wanted)]
            return self._one("Slice", [name], {"axes": list(range(len(shape))), "starts": starts, "ends": ends})
        have, need = math.prod(shape), math.prod(wanted)
        if len(shape) != 1:
            name = self._one("Reshape", [name], {"shape": [have]})
        if have < need:
            name = self._one("Tile", [name], {"repeats": [-(-need // have)]})
            have *= -(-need // have)
        if have > need:
            start = self.draw(st.integers(0, have - need))
            name = self._one("Slice", [name], {"axes": [0], "starts": [start], "ends": [start + need]})
        return name if wanted == (need,) else self._one("Reshape", [name], {"shape": list(wanted)})

    def _joined(self, pool: list[str], wanted: tuple[int, ...]) -> str:
        """Two tensors behind one another along the first axis."""
        cut = self.draw(st.integers(1, wanted[0] - 1))
        parts = [self._shaped(self.draw(st.sampled_from(pool)), (n, *wanted[1:])) for n in (cut, wanted[0] - cut)]
        return self._one("Concat", parts, {"axis": 0})

    def _bounded(self, name: str, array: np.ndarray) -> str:
        """A tensor held to the range of `array`, where that has one and it matters."""
        if array.dtype.kind == "b" or not np.all(np.isfinite(array)):
            return name
        low, high = np.float32(array.min()).item(), np.float32(array.max()).item()
        value = self.values_of[name]
        if array.dtype.kind == "f" and value.min() >= low and value.max() <= high and np.abs(array).max() > 1:
            return name
        return self._one("Unary", [name], {"kind": "clip", "alpha": low, "beta": high})

    # ---- the whole

    def first_input(self) -> None:
        array = self.values(*self.shape(0, 3, zero=False))
        self.values_of[super().at_run(array)] = array

    def state(self) -> None:
        """A state whose next value is to be found when all nodes are there."""
        graph, shape = self.case.graph, self.shape(0, 3, zero=False)
        initial = self.values(*shape) if self.flag() else None
        name = f"s{len(graph.states)}"
        graph.tensors[name] = Tensor(name, "float32", shape)
        graph.states.append(State(name, name, "", shape, initial=initial))
        self.values_of[name] = np.zeros(shape, np.float32) if initial is None else initial

    def finish(self) -> None:
        """New values of the states, and outputs: every tensor that nobody reads, and some that others read, one of them twice."""
        graph, case = self.case.graph, self.case
        for state in graph.states:
            pool = [n for n, v in self.values_of.items() if v.dtype.kind == "f" and v.size and is_plain(v)]
            next_value = self._shaped(self.draw(st.sampled_from(pool)), state.shape)
            state.write = self._one("Unary", [next_value], {"kind": "clip", "alpha": -2.0, "beta": 2.0})
        read = {i for node in graph.nodes for i in node.inputs}
        case.outputs = [n for n in case.made if n not in read or self.draw(st.integers(0, 5)) == 0]
        case.frames = self.draw(st.integers(1, 3))


@st.composite
def graphs(draw: Callable, op: str) -> GraphCase:
    """A graph with a node of `op` that others stand before and behind."""
    b = Wiring(draw)
    b.first_input()
    for _ in range(draw(st.integers(1, MOST_STATES))):
        b.state()
    others = st.lists(st.sampled_from(sorted(STRATEGIES)), max_size=3)
    for name in [*draw(others), op, *draw(others)]:
        STRATEGIES[name](b)
    b.finish()
    return b.case


def alone(case: GraphCase, node: Node, arrays: dict[str, np.ndarray]) -> Case:
    """One node of a graph as a case of its own, on the values that the graph's tensors have."""
    single, names = Case(), []
    for name in node.inputs:
        if not name:
            names.append("")
        elif case.graph.tensors[name].is_constant:
            single.graph.tensors[name] = case.graph.tensors[name]
            names.append(name)
        else:
            port = f"x{len(single.inputs)}"
            single.inputs[port] = arrays[name]
            names.append(single.graph.input(port, arrays[name].shape, str(arrays[name].dtype)))
    for name in single.graph.add(node.op, names, dict(node.attrs), node.name, node.outputs):
        if name in arrays:
            single.graph.output(name, name)
    return single
