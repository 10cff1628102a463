"""The description of a loop that every front end gives: its body as a Graph, and what each tensor of it is to the loop.

ONNX's Loop and Scan, TFLite's WHILE and TorchScript's for come to this: `Body`. It is handed over as it is made, and is no node of the
Graph around: what follows a loop in the source reads sizes and known numbers out of it, so that what the loop is has to
be settled before the next operator can be lowered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..importers.dialect import TO_END, Value, known
from ..ir.dims import Dim, Size
from ..ir.graph import Graph, Node
from .polynomials import NotACell

OPPOSITES = {
    "less": "greater_equal",
    "less_equal": "greater",
    "greater": "less_equal",
    "greater_equal": "less",
    "equal": "not_equal",
    "not_equal": "equal",
}


@dataclass
class Frame:
    """A tensor of the body that is one frame of `source` along `axis`: the first at the first trip, or the last."""

    source: Value
    axis: int
    backward: bool = False


@dataclass
class Carried:
    """A value that one trip hands to the next: the tensor it is read as, the one that becomes the next, the first."""

    read: str
    write: str
    initial: Value


@dataclass
class Body:
    """`outer`: body tensors that are whole values of the scope around. `trip`: the body tensor (or '') that counts trips
    from 0. `sizes`: body tensors that hold a size. `outputs`: tensors collected once per trip. `total`: the number of
    trips, None where it is the frames of every sequence."""

    graph: Graph
    outer: dict[str, Value] = field(default_factory=dict)
    frames: dict[str, Frame] = field(default_factory=dict)
    carried: list[Carried] = field(default_factory=list)
    trip: str = ""
    sizes: Mapping[str, Size] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    total: Size | None = None

    def __post_init__(self) -> None:
        self._counters: dict[str, tuple[int, Size]] = {}

    @cached_property
    def producers(self) -> dict[str, Node]:
        return self.graph.producers()

    def read_again(self) -> None:
        """To be called after a change of the graph's nodes."""
        self.__dict__.pop("producers", None)

    # ---- integers that follow the number of the trip ------------------------------------------------------------------

    def count(self) -> None:
        """Finds the carried integers that go up or down by the same step each trip."""
        if self.trip:
            self._counters[self.trip] = (1, 0)
        for c in self.integers():
            if c.initial.array is None or c.initial.array.size != 1:
                raise NotACell(f"carried integer {c.read!r} does not start at a known number")
            self._counters[c.read] = (0, 0)  # at first by its distance from the value at hand
            slope, step = self.affine(c.write)
            if slope != 0 or not isinstance(step, int) or not self._reads(c.write, c.read):
                raise NotACell(f"carried integer {c.read!r} does not go up or down by one step each trip")
            self._counters[c.read] = (step, c.initial.array.reshape(-1)[0])

    def integers(self) -> list[Carried]:
        return [c for c in self.carried if self.graph.tensors[c.read].dtype == "int32"]

    def is_count(self, tensor: str) -> bool:
        """Whether the tensor follows from the number of the trip and sizes alone."""
        if self.graph.tensors[tensor].dtype != "int32":
            return False
        try:
            self.affine(tensor)
        except NotACell:
            return False
        return True

    def states(self) -> list[Carried]:
        return [c for c in self.carried if self.graph.tensors[c.read].dtype == "float32"]

    def _reads(self, tensor: str, source: str) -> bool:
        if tensor == source:
            return True
        node = self.producers.get(tensor)
        return node is not None and any(self._reads(i, source) for i in node.inputs if i)

    def affine(self, tensor: str, depth: int = 0) -> tuple[int, Size]:
        """(a, b) where the tensor is a * trip + b."""
        t = self.graph.tensors[tensor]
        if tensor in self._counters:
            return self._counters[tensor]
        if tensor in self.sizes:
            return 0, self.sizes[tensor]
        if t.data is not None and t.data.size == 1 and float(t.data.flat[0]).is_integer():
            return 0, int(t.data.flat[0])
        node = self.producers.get(tensor)
        if node is not None and depth < 20:
            if node.op in ("Cast", "Reshape"):
                return self.affine(node.inputs[0], depth + 1)
            if node.op == "Binary" and node.attrs["kind"] in ("add", "sub"):
                (a, b), (c, d) = (self.affine(i, depth + 1) for i in node.inputs)
                return (a + c, b + d) if node.attrs["kind"] == "add" else (a - c, b - d)
        raise NotACell(f"{tensor!r} does not follow from the number of the trip")

    def final(self, c: Carried, trips: Size) -> Value:
        """A carried integer after the loop."""
        step, start = self._counters[c.read]
        out = np.empty(c.initial.data.shape, object)
        out[...] = start + trips * step
        return known(out, c.initial.dtype)

    def trips(self, condition: str, at_most: Size | None) -> Size:
        """How often the body runs: at most as often as given, and as long as `condition` ('' for always) holds after it."""
        counts = [c for c in [at_most, *self._counts(condition)] if c is not None]
        counts = [c for c in counts if not (isinstance(c, int) and c >= TO_END - 1)]
        if not counts:
            raise NotACell("its number of trips has no bound")
        least = counts[0]
        for count in counts[1:]:
            more = count - least
            if isinstance(more, Dim):
                raise NotACell(f"its number of trips is not one known size (found {counts})")
            least = count if more < 0 else least
        return least

    def _counts(self, condition: str, holds: bool = True) -> list[Size]:
        """The numbers of trips after each of which one part of a condition ends the loop; `holds`: the loop goes on while
        the condition is true, or while it is false."""
        data = self.graph.tensors[condition].data if condition else np.bool_(True)
        if data is not None and bool(np.all(data)) == holds:
            return []
        node = self.producers.get(condition)
        if node is not None and node.op in ("Cast", "Reshape"):
            return self._counts(node.inputs[0], holds)
        kind = node.attrs["kind"] if node is not None and node.op in ("Binary", "Unary") else ""
        if node is not None and kind == "not":
            return self._counts(node.inputs[0], not holds)
        if node is not None and kind == ("and" if holds else "or"):
            return [c for i in node.inputs for c in self._counts(i, holds)]
        kind = kind if holds else OPPOSITES.get(kind, "")
        if node is None or kind not in OPPOSITES or kind == "equal":
            raise NotACell("its condition is no comparison of the number of the trip with a size")
        (a, b), (c, d) = (self.affine(i) for i in node.inputs)
        upward = kind.startswith("less") or kind == "not_equal" and a > c
        slope, left = (c - a, d - b) if upward else (a - c, b - d)
        if slope != -1 or kind == "not_equal" and isinstance(left, int) and left < 0:
            raise NotACell("its condition does not count trips one by one")
        return [left + (2 if kind.endswith("_equal") and kind != "not_equal" else 1)]

    # ---- frames -------------------------------------------------------------------------------------------------------

    def find_frames(self, trips: Size) -> None:
        """Adds every Gather from an outer value at the number of the trip, or from its end backwards."""
        for node in self.graph.nodes:
            if node.op != "Gather" or node.inputs[0] not in self.outer:
                continue
            slope, start = self.affine(node.inputs[1])
            axis, source = node.attrs.get("axis", 0), self.outer[node.inputs[0]]
            size = self.graph.shape(node.inputs[0])[axis]
            if size != trips or (slope, start) not in ((1, 0), (-1, size - 1)):
                raise NotACell(f"takes frames {start} + {slope} * trip of {size} in {trips} trips, expected each once")
            self.frames[node.outputs[0]] = Frame(source, axis, slope < 0)
