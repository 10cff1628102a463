"""A loop that spells a recurrence, as the op. ONNX's Loop and Scan and TFLite's WHILE give their body as a Graph.

The body is read by algebra (cells.py); what is told here is the loop around it: which tensors are frames of a sequence, which
are states, which count trips, and that it runs once per frame.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..importers.dialect import TO_END, Dialect, Value, known
from ..ir.dims import Size, product
from ..ir.graph import Graph, Node
from ..ir.ops import OPS
from .cells import Cell, gru, lstm, rnn
from .polynomials import NotACell, Reader, Sum


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
    from 0. `sizes`: body tensors that hold a size. `outputs`: tensors collected once per trip."""

    graph: Graph
    outer: dict[str, Value] = field(default_factory=dict)
    frames: dict[str, Frame] = field(default_factory=dict)
    carried: list[Carried] = field(default_factory=list)
    trip: str = ""
    sizes: Mapping[str, Size] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.producers: dict[str, Node] = {o: n for n in self.graph.nodes for o in n.outputs if o}
        self._counters: dict[str, tuple[int, Size]] = {}

    # ---- integers that follow the number of the trip ------------------------------------------------------------------

    def count(self) -> None:
        """Finds the carried integers that go up or down by the same step each trip."""
        if self.trip:
            self._counters[self.trip] = (1, 0)
        for c in self.integers():
            if not c.initial.array is not None or c.initial.array.size != 1:
                raise NotACell(f"carried integer {c.read!r} does not start at a known number")
            self._counters[c.read] = (0, 0)  # at first by its distance from the value at hand
            slope, step = self.affine(c.write)
            if slope != 0 or not isinstance(step, int) or not self._reads(c.write, c.read):
                raise NotACell(f"carried integer {c.read!r} does not go up or down by one step each trip")
            self._counters[c.read] = (step, c.initial.array.reshape(-1)[0])

    def integers(self) -> list[Carried]:
        return [c for c in self.carried if self.graph.tensors[c.read].dtype == "int32"]

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
        out = np.empty(c.initial.array.shape, object)  # type: ignore[union-attr]
        out[...] = start + trips * step
        return known(out, c.initial.dtype)

    def trips(self, condition: str, at_most: Size | None) -> Size:
        """How often the body runs: at most as often as given, and as long as `condition` ('' for always) holds after it."""
        counts = [c for c in [at_most, *self._counts(condition)] if c is not None]
        counts = [c for c in counts if not (isinstance(c, int) and c >= TO_END - 1)]
        if not counts or any(c != counts[0] for c in counts):
            raise NotACell(f"its number of trips is not one known size (found {counts or 'no bound'})")
        return counts[0]

    def _counts(self, condition: str) -> list[Size]:
        if not condition:
            return []
        node = self.producers.get(condition)
        if node is not None and node.op in ("Cast", "Reshape"):
            return self._counts(node.inputs[0])
        kind = node.attrs["kind"] if node is not None and node.op == "Binary" else ""
        if kind == "and":
            return [c for i in node.inputs for c in self._counts(i)]  # type: ignore[union-attr]
        if kind not in ("less", "less_equal", "greater", "greater_equal"):
            raise NotACell("its condition is no comparison of the number of the trip with a size")
        (a, b), (c, d) = (self.affine(i) for i in node.inputs)  # type: ignore[union-attr]
        slope, left = (c - a, d - b) if kind.startswith("less") else (a - c, b - d)
        if slope != -1:
            raise NotACell("its condition does not count trips one by one")
        return [left + (2 if kind.endswith("_equal") else 1)]

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


@dataclass
class Match:
    """What the loop spells. `same`: states that hold the hidden state a second time (Keras's output under a mask)."""

    cell: Cell
    frames: list[Frame]
    states: dict[str, Carried]
    mask: Frame | None = None
    same: list[str] = field(default_factory=list)


def recognised(body: Body) -> Match:
    """The recurrence that the body spells (frames found before). NotACell says why it is none."""
    states = body.states()
    if len(states) + len(body.integers()) < len(body.carried):
        raise NotACell("it carries a value that is neither a state in float nor a count")
    for c in states:
        if body.graph.shape(c.read) != body.graph.shape(c.write):
            raise NotACell(f"state {c.read!r} changes its shape")
    mask = _Mask(body)
    writes = {c.read: mask.behind(c.write, c.read) for c in states}
    mask.check(len(writes))
    reader = Reader(body.graph, {*body.frames, *(c.read for c in states), *body.outer})
    following = {read: reader.sum(write) for read, write in writes.items()}
    same = _held_twice(body, writes, following) if mask.source else []
    cell = _cell({r: s for r, s in following.items() if r not in same}, list(body.frames))
    allowed = [c.write for c in states if c.read in (cell.hidden, *same)]
    for tensor in body.outputs:
        if tensor not in allowed and (mask.source or reader.sum(tensor).key != following[cell.hidden].key):
            raise NotACell(f"output {tensor!r} of its body is not the hidden state")
    frames = [body.frames[f] for f in cell.frame]
    if len({f.backward for f in [*frames, *([mask.source] if mask.source else [])]}) > 1:
        raise NotACell("it reads one sequence forwards and another backwards")
    return Match(cell, frames, {c.read: c for c in states}, mask.source, same)


def _held_twice(body: Body, writes: dict[str, str], following: dict[str, Sum]) -> list[str]:
    """States that start as zeros and that nothing but their own mask reads, which get the new value of another."""
    readers = Counter(i for n in body.graph.nodes for i in n.inputs)
    out: list[str] = []
    for c in body.states():
        twin = any(r != c.read and r not in out and following[r].key == following[c.read].key for r in writes)
        if twin and readers[c.read] == 1:
            out.append(c.read)
    return out


class _Mask:
    """The mask of a body that hands a state on where it is 0: state = Where(mask, new, state), or the same as
    mask * new + (not mask) * state in numbers."""

    def __init__(self, body: Body):
        self.body = body
        self.source: Frame | None = None
        self.tensor, self.found = "", 0

    def behind(self, write: str, read: str) -> str:
        """What a state becomes where the mask is 1."""
        node = self.body.producers.get(write)
        while (
            node is not None
            and node.op == "Reshape"
            and self.body.graph.shape(node.outputs[0])[-1:] == (self.body.graph.shape(node.inputs[0])[-1:])
        ):
            node = self.body.producers.get(node.inputs[0])
        mask, new = self._chosen(node, read)
        if not new:
            return write
        root, _ = self._root(mask)
        if root not in self.body.frames or self.tensor not in ("", root):
            raise NotACell(f"state {read!r} is kept by a mask that is no frame of one sequence")
        self.tensor, self.source = root, self.body.frames[root]
        self.found += 1
        return new

    def _chosen(self, node: Node | None, read: str) -> tuple[str, str]:
        """(mask, new value) where the node hands `read` on under a mask, else empty."""
        if node is not None and node.op == "Where":
            mask, yes, no = node.inputs
            new, old = (no, yes) if self._root(mask)[1] else (yes, no)
            return (mask, new) if old == read else ("", "")
        if node is None or node.op != "Binary" or node.attrs["kind"] != "add":
            return "", ""
        parts = []
        for product_ in (self.body.producers.get(i) for i in node.inputs):
            if product_ is None or product_.op != "Binary" or product_.attrs["kind"] != "mul":
                return "", ""
            for mask, value in (product_.inputs, product_.inputs[::-1]):
                root, inverted = self._root(mask)
                if root in self.body.frames and self.body.graph.tensors[root].dtype == "bool":
                    parts.append((root, inverted, value))
        parts.sort(key=lambda p: p[1])
        if len(parts) == 2 and parts[0][:2] == (parts[1][0], False) and parts[1][1:] == (True, read):
            return parts[0][0], parts[0][2]
        return "", ""

    def check(self, states: int) -> None:
        if self.found not in (0, states):
            raise NotACell("a mask keeps some of its states and not the others")

    def _root(self, tensor: str) -> tuple[str, bool]:
        """The tensor behind casts, reshapes and repetitions, and whether it is inverted on the way."""
        inverted = False
        node = self.body.producers.get(tensor)
        while node is not None and tensor not in self.body.frames:
            if node.op == "Unary" and node.attrs["kind"] == "not":
                inverted = not inverted
            elif node.op not in ("Reshape", "Expand", "Tile", "Cast"):
                break
            tensor = node.inputs[0]
            node = self.body.producers.get(tensor)
        return tensor, inverted


def _cell(following: dict[str, Sum], frames: list[str]) -> Cell:
    reads = list(following)
    if len(reads) == 2:
        reasons = []
        for h, c in (reads, reads[::-1]):
            try:
                found = lstm(following[h], following[c], h, frames)
                if found.cell != c:
                    raise NotACell("the cell's update reads another tensor in the place of the cell")
                return found
            except NotACell as why:
                reasons.append(str(why))
        raise NotACell(f"not an LSTM: {' / '.join(dict.fromkeys(reasons))}")
    if len(reads) != 1:
        raise NotACell(f"it carries {len(reads)} states, expected 1 (GRU, RNN) or 2 (LSTM)")
    h = reads[0]
    try:
        return gru(following[h], h, frames)
    except NotACell as no_gru:
        try:
            return rnn(following[h], h, frames)
        except NotACell as no_rnn:
            raise NotACell(f"not a GRU: {no_gru}; not a simple RNN: {no_rnn}") from None


def emit(ctx: Dialect, match: Match) -> tuple[Value, dict[str, Value]]:
    """Appends the op. (y as (T,B,P) in the order of the trips, the last value of each state by the tensor it is read as)."""
    cell = match.cell
    x = _sequence(ctx, match.frames)
    batch = ctx.shape(x)[1]
    before = ctx.producer(x)
    swapped = before is not None and before.op == "Transpose" and before.attrs["perm"] == [1, 0, 2]
    if swapped:  # the op reads (B,T,I) as well
        x = Value(x.dtype, tensor=before.inputs[0])  # type: ignore[union-attr]
    backward = match.frames[0].backward
    attrs = {**cell.attrs, "time_major": int(not swapped), "direction": "reverse" if backward else "forward"}
    given: dict[str, Value | None] = {"x": x, **{k: known(w) for k, w in cell.weights.items()}}
    for name, read in (("h0", cell.hidden), ("c0", cell.cell)):
        if read:
            given[name] = _initial(ctx, match.states[read].initial, batch)
    if match.mask is not None:
        time_first = ctx.transpose(
            match.mask.source,
            [match.mask.axis, *(d for d in range(len(ctx.shape(match.mask.source))) if d != match.mask.axis)],
        )
        mask = ctx.cast(ctx.reshape(time_first, [ctx.shape(time_first)[0], batch]), "bool")
        given["mask"] = ctx.transpose(mask, [1, 0]) if swapped else mask
    inputs = [given.get(i.rstrip("?")) for i in OPS[cell.op].inputs]
    outputs = ctx.emit_all(cell.op, inputs, attrs, ["float32"] * (3 if cell.op == "LSTM" else 2))
    y = ctx.transpose(outputs[0], [1, 0, 2]) if swapped else outputs[0]
    y = flipped(ctx, y, 0) if backward else y
    last = {
        read: ctx.reshape(v, ctx.shape(match.states[read].initial))
        for read, v in zip((cell.hidden, cell.cell), outputs[1:])
        if read
    }
    for read in match.same:
        last[read] = last[cell.hidden]
        if ctx.uniform(match.states[read].initial) != 0:
            raise NotACell(f"state {read!r}, the output under a mask, does not start as zeros")
    return y, last


def _sequence(ctx: Dialect, frames: Sequence[Frame]) -> Value:
    """x (T,B,I) of all frames side by side."""
    parts: list[Value] = []
    for f in frames:
        shape = ctx.shape(f.source)
        order = [f.axis, *(d for d in range(len(shape)) if d != f.axis)]
        moved = ctx.transpose(f.source, order)
        t, *rest = ctx.shape(moved)
        parts.append(ctx.reshape(moved, [t, product(rest[:-1]), rest[-1]]))
    return ctx.emit("Concat", parts, {"axis": 2}) if len(parts) > 1 else parts[0]


def _initial(ctx: Dialect, value: Value, batch: Size) -> Value | None:
    """(1,B,H); None for zeros, so that a stream can hold the state."""
    if ctx.uniform(value) == 0:
        return None
    width = ctx.shape(value)[-1]
    return ctx.expand(ctx.reshape(value, [1, product(ctx.shape(value)[:-1]), width]), [1, batch, width])


def flipped(ctx: Dialect, x: Value, axis: int) -> Value:
    return ctx.emit("Slice", [x], {"axes": [axis], "starts": [-1], "ends": [-TO_END], "steps": [-1]})


def attributes_text(cell: Cell) -> str:
    """The cell in words, for notes."""
    hidden = cell.weights["w_hh"].shape[1] // {"LSTM": 4, "GRU": 3, "RNN": 1}[cell.op]
    kinds: list[Any] = list(dict.fromkeys(cell.attrs["activations"]))
    return f"{cell.op} of {hidden} units ({', '.join(kinds)})"
