"""The Graph: a flat list of ops over tensors, in execution order. Importers build it, passes rewrite it, format.py writes it.

docs/ops.md says what each op means; shapes.py infers the shapes, reference.py runs a Graph in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import memory
from ..errors import UnsupportedModelError
from .dims import Size, mentions
from .node import Node, Tensor, dtype_name
from .shapes import infer
from .spec import INT32, RUN_DTYPES

__all__ = ["RUN_DTYPES", "Graph", "Node", "Port", "SelfTest", "State", "Tensor", "run_array"]


@dataclass
class State:
    """A value a stream keeps: `read` holds it when a run starts, the content of `write` becomes the next `read`.

    `shape` may mention batch only, as an int times batch. With `fill_axis` >= 0 the extent of that axis varies from
    0 to shape[fill_axis] (a convolution's window that fills up). `initial` is broadcast to the shape (fill_axis: its own extent counts);
    None is zeros, and zero extent on fill_axis.
    """

    name: str
    read: str
    write: str
    shape: tuple[Size, ...]
    fill_axis: int = -1
    initial: np.ndarray | None = None
    dtype: str = "float32"


@dataclass
class Port:
    """An input or output of the whole graph: the name users see, and the tensor."""

    name: str
    tensor: str


@dataclass
class SelfTest:
    """A sample input with the answer its own framework gave (promise 7). Arrays are shaped as Model.run takes and gives them."""

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    source: str  # "onnxruntime 1.31.1", "torch 2.13.0", "lstm_edge.reference"
    tolerance: float = 1e-5
    why: str = ""  # why the answer is not a framework's

    @property
    def by(self) -> str:
        """'framework', or 'reference' where the answer is this project's own."""
        return "reference" if self.why or self.source.startswith("lstm_edge") else "framework"


@dataclass
class Graph:
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    self_test: SelfTest | None = None
    # (graph, frames it was made with): whether the source, where it can be asked, answers as the graph at other numbers
    ask: Callable[[Graph, int], bool] | None = field(default=None, repr=False, compare=False)
    _last: dict[str, int] = field(default_factory=dict, repr=False, compare=False)  # fresh's last number per base

    # ---- building -------------------------------------------------------------------------------------------------

    def fresh(self, base: str) -> str:
        """A tensor name not used yet, from `base`."""
        if base and base not in self.tensors:
            return base
        n = self._last.get(base, 0) + 1
        while f"{base}.{n}" in self.tensors:
            n += 1
        self._last[base] = n - 1  # a name is taken when a tensor has it, not when it is asked for
        return f"{base}.{n}"

    def input(self, name: str, shape: tuple[Size, ...], dtype: str = "float32", tensor: str | None = None) -> str:
        """Declares a graph input; returns its tensor name."""
        t = self.fresh(tensor or name)
        self.tensors[t] = Tensor(t, dtype, tuple(shape))
        self.inputs.append(Port(name, t))
        return t

    def output(self, name: str, tensor: str) -> None:
        self.outputs.append(Port(name, tensor))

    def constant(self, data: Any, name: str = "const") -> str:
        """Adds a constant; floats become float32, integers int32 (range-checked). Returns its tensor name."""
        array = run_array(np.asarray(data), name)
        t = self.fresh(name)
        self.tensors[t] = Tensor(t, dtype_name(array.dtype), array.shape, array)
        return t

    def add(
        self,
        op: str,
        inputs: list[str],
        attrs: dict[str, Any] | None = None,
        name: str = "",
        outputs: list[str] | None = None,
    ) -> list[str]:
        """Appends a node and infers the shapes of its outputs at once. Returns all output names.

        `outputs` gives the wanted names (made fresh when taken); without it they derive from `name`. An op's optional
        outputs are made too, unless `outputs` leaves them out or names them ''.
        """
        node = Node(op, list(inputs), [], dict(attrs or {}), name or op.lower())
        for i in node.inputs:
            if i and i not in self.tensors:
                raise KeyError(f"node {node.name}: input tensor {i!r} does not exist")
        inferred = infer(node, [self.tensors[i] if i else None for i in node.inputs])
        for n, (dtype, shape) in enumerate(inferred):
            if outputs is not None and (n >= len(outputs) or not outputs[n]):
                node.outputs.append("")
                continue
            t = self.fresh(outputs[n] if outputs else (node.name if n == 0 else f"{node.name}:{n}"))
            self.tensors[t] = Tensor(t, dtype, tuple(shape))
            node.outputs.append(t)
        while node.outputs and not node.outputs[-1]:
            node.outputs.pop()
        self.nodes.append(node)
        return node.outputs

    def add1(self, op: str, inputs: list[str], attrs: dict[str, Any] | None = None, name: str = "") -> str:
        """`add` for ops whose first output is the only one of interest (the others are left out)."""
        want = [self.fresh(name or op.lower())]
        return self.add(op, inputs, attrs, name, want)[0]

    # ---- asking ---------------------------------------------------------------------------------------------------

    def shape(self, tensor: str) -> tuple[Size, ...]:
        return self.tensors[tensor].shape

    def producers(self) -> dict[str, Node]:
        """The node that makes each tensor, as the nodes are now: for those who ask of many."""
        return {o: n for n in self.nodes for o in n.outputs if o}

    def consumers(self, tensor: str) -> list[Node]:
        return [n for n in self.nodes if tensor in n.inputs]

    def time_axis(self, tensor: str) -> int:
        """The axis whose size mentions frames, -1 if none does."""
        axes = [d for d, s in enumerate(self.tensors[tensor].shape) if mentions(s, "frames")]
        return axes[0] if axes else -1

    def is_step_model(self) -> bool:
        """Whether one run is one frame: no input has a frames axis."""
        return all(self.time_axis(p.tensor) < 0 for p in self.inputs)

    def drop_unused(self) -> None:
        """Removes nodes whose outputs nobody reads, and tensors that no node, port or state names."""
        needed = {p.tensor for p in self.outputs} | {s.write for s in self.states}
        kept = []
        for node in reversed(self.nodes):
            if not needed.isdisjoint(node.outputs):
                kept.append(node)
                needed.update(node.inputs)
                needed.discard("")  # an input that is left out
        self.nodes = kept[::-1]
        needed |= {p.tensor for p in self.inputs} | {s.read for s in self.states}
        needed |= {o for n in self.nodes for o in n.outputs}
        self.tensors = {k: t for k, t in self.tensors.items() if k in needed}


def run_array(array: np.ndarray, place: str) -> np.ndarray:
    """`array` in a dtype the core computes in (float32, int32 range-checked, bool), C-contiguous."""
    if array.dtype == np.bool_:
        return memory.hold(np.array(array, order="C"), place)
    if array.dtype.kind == "f":
        return memory.hold(np.array(array, dtype=np.float32, order="C"), place)
    if array.dtype.kind in "iu":
        low, high = INT32
        if array.size and (int(array.min()) < low or int(array.max()) > high):
            array = np.clip(array, low, high) if _is_limit(array) else array
            if int(array.min()) < low or int(array.max()) > high:
                raise UnsupportedModelError(
                    f"{place}: integer constant beyond int32: expected values in [-2^31, 2^31), "
                    f"found [{array.min()}, {array.max()}]"
                )
        return memory.hold(np.array(array, dtype=np.int32, order="C"), place)
    raise UnsupportedModelError(f"{place}: expected float, integer or bool data, found dtype {array.dtype}")


def _is_limit(array: np.ndarray) -> bool:
    """Whether what lies beyond int32 is only the 'to the end' marker of slices (+-2^63 or near)."""
    wide = array[(array < INT32[0]) | (array > INT32[1])]
    return bool(np.all(np.abs(wide.astype(np.float64)) >= 2.0**62))
