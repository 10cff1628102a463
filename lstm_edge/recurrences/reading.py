"""Reading a Graph by the algebra of polynomials.py: what each tensor is, as sums side by side along its last axis."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np

from ..ir.dims import product
from ..ir.graph import Graph, Node
from ..ir.ops import GATES, PARAMETERS, TO_END, each, read_attrs
from .polynomials import (
    Act,
    Leaf,
    NotACell,
    Sum,
    add,
    applied,
    clipped,
    constant,
    leaf,
    mask,
    number,
    opposite,
    scaled,
    sigmoid,
    times,
    times_matrix,
)
from .step import one_step

MOST_DEPTH = (
    60  # nodes between a cell's inputs and its new state; the deepest known (bidirectional GRU of Keras) has 14
)


class Reader:
    """Tensors of a graph as lists of Sums (side by side along the last axis).

    `leaves` are not looked into; those in `numbers` are one number in all their elements. `liftable`: those that are a leaf where they are anything but a linear function of
    leaves. `closed`: a matrix product is a leaf where its input is computed from others by another matrix product, and
    so is every choice; a pass over a whole network reads so, a loop's body is read openly.
    """

    def __init__(
        self,
        graph: Graph,
        leaves: Collection[str],
        liftable: Collection[str] = frozenset(),
        closed: bool = False,
        numbers: Mapping[str, float] = {},
    ):
        self.graph, self.leaves, self.liftable, self.closed, self.numbers = graph, leaves, liftable, closed, numbers
        self.producers = graph.producers()
        self._known: dict[str, list[Sum]] = {}
        self.meetings: dict[int, bool] = {}  # whether several tensors meet in what a node computes, by its id

    def forget(self) -> None:
        """To be called when there are more leaves than before."""
        self._known.clear()
        self.meetings.clear()

    def sum(self, tensor: str) -> Sum:
        parts = self.parts(tensor)
        if len(parts) != 1:
            raise NotACell(f"{tensor!r} is a concatenation")
        return parts[0]

    def parts(self, tensor: str, depth: int = 0) -> list[Sum]:
        if tensor not in self._known:
            self._known[tensor] = self._parts(tensor, depth)
        return self._known[tensor]

    def _parts(self, tensor: str, depth: int) -> list[Sum]:
        truth = None if self.closed else self._truth(tensor)
        if truth is not None:
            return [truth]
        if self.graph.tensors[tensor].dtype == "bool":
            raise NotACell(f"{tensor!r} is no truth value for each row")
        if tensor in self.numbers:
            return [constant(np.full(self.width(tensor), self.numbers[tensor]))]
        if tensor in self.leaves:
            return [leaf(tensor, self.width(tensor))]
        if tensor not in self.liftable:
            return self._read(tensor, depth)
        try:
            parts = self._read(tensor, depth)
        except NotACell:
            return self.leaf(tensor)
        return parts if all(p.is_mask or _is_linear(p) for p in parts) else self.leaf(tensor)

    def _read(self, tensor: str, depth: int) -> list[Sum]:
        t = self.graph.tensors[tensor]
        if t.data is not None:
            return [constant(_row(t.data, tensor))] if t.dtype == "float32" else self.leaf(tensor)
        node = self.producers.get(tensor)
        if node is not None and node.op in GATES and not self.closed:
            return [one_step(self.graph, node, lambda t: self.parts(t, depth + 1))[node.outputs.index(tensor)]]
        read = READERS.get(node.op) if node is not None else None
        if node is None or read is None or node.outputs[0] != tensor or depth > MOST_DEPTH:
            return self.leaf(tensor)
        return read(self, node, depth + 1)

    def leaf(self, tensor: str) -> list[Sum]:
        if self.graph.tensors[tensor].dtype != "float32":
            raise NotACell(f"{tensor!r} is {self.graph.tensors[tensor].dtype}")
        return [leaf(tensor, self.width(tensor))]

    def width(self, tensor: str) -> int:
        shape = self.graph.shape(tensor)
        if not shape or not isinstance(shape[-1], int):
            raise NotACell(f"{tensor!r} of shape {list(shape)} has no last axis of known size")
        return shape[-1]

    def root(self, tensor: str) -> tuple[str, bool]:
        """The tensor behind casts, reshapes, repetitions and negations of truth, and whether it is inverted on the way."""
        inverted = False
        node = self.producers.get(tensor)
        while node is not None and tensor not in self.leaves:
            if node.op == "Unary" and node.attrs["kind"] == "not":
                inverted = not inverted
            elif node.op not in ("Reshape", "Expand", "Tile", "Cast"):
                break
            tensor = node.inputs[0]
            node = self.producers.get(tensor)
        return tensor, inverted

    def _truth(self, tensor: str) -> Sum | None:
        """A tensor of one truth value for each row, None where it is no such."""
        root, inverted = self.root(tensor)
        if self.graph.tensors[root].dtype != "bool" or self.graph.tensors[root].is_constant:
            return None
        rows, shape = product(self.graph.shape(root)), self.graph.shape(tensor)
        if not shape or not isinstance(shape[-1], int) or product(shape[:-1]) != rows:
            return None
        return mask(root, shape[-1], inverted)

    def rows_fit(self, out: str, inputs: Collection[str], depth: int) -> bool:
        """Whether an elementwise op of these run-time tensors only pairs elements one by one, each mask with its row."""
        shape = self.graph.shape(out)
        for tensor in inputs:
            own = self.graph.shape(tensor)
            if own == shape or product(own) == product(shape):
                continue
            parts = [] if self.closed else self.parts(tensor, depth)
            if not parts or not all(p.is_mask for p in parts) or product(own[:-1]) != product(shape[:-1]):
                return False
        return True


def _is_linear(part: Sum) -> bool:
    """Whether it is a linear function of leaves."""
    terms = (*part.diag.values(), *part.dense.values())
    return all(len(atoms) == 0 or len(atoms) == 1 and isinstance(atoms[0], Leaf) for atoms, _ in terms)


def _row(data: np.ndarray, tensor: str) -> np.ndarray:
    if data.ndim == 0:
        return np.full(1, float(data))
    if any(s != 1 for s in data.shape[:-1]):
        raise NotACell(f"constant {tensor!r} of shape {list(data.shape)} varies beside the last axis")
    return data.reshape(-1).astype(np.float64)


def _read_unary(r: Reader, node: Node, depth: int) -> list[Sum]:
    attrs = read_attrs(node)
    kind, used = attrs["kind"], PARAMETERS.get(attrs["kind"], 0)
    alpha, beta = (attrs["alpha"] if used > 0 else 0.0), (attrs["beta"] if used > 1 else 0.0)
    return [applied(kind, alpha, beta, s) for s in r.parts(node.inputs[0], depth)]


def _read_binary(r: Reader, node: Node, depth: int) -> list[Sum]:
    kind, out = node.attrs["kind"], node.outputs[0]
    if kind not in BINARIES or r.graph.tensors[out].dtype != "float32":
        raise NotACell(f"{kind} is not part of any cell")
    run = [i for i in node.inputs if not r.graph.tensors[i].is_constant]
    if not r.rows_fit(out, run, depth):
        raise NotACell(f"node {node.name} ({node.op}) broadcasts")
    width = r.width(out)
    a, b = (_widened(r.parts(i, depth), width) for i in node.inputs)
    return [BINARIES[kind](x, y) for x, y in _aligned(a, b)]


def _widened(parts: list[Sum], width: int) -> list[Sum]:
    """A number or a mask of one column as one of `width`."""
    if len(parts) == 1 and parts[0].width == 1 and parts[0].is_mask and width > 1:
        return [Sum(width, {k: (atoms, np.full(width, f[0])) for k, (atoms, f) in parts[0].diag.items()})]
    return parts


def _read_where(r: Reader, node: Node, depth: int) -> list[Sum]:
    """m a + (1 - m) b."""
    out, width = node.outputs[0], r.width(node.outputs[0])
    run = [i for i in node.inputs if not r.graph.tensors[i].is_constant]
    if r.closed or r.graph.tensors[out].dtype != "float32":
        return r.leaf(out)
    if not r.rows_fit(out, run, depth):
        raise NotACell(f"node {node.name} (Where) chooses by more than a truth value for each row")
    truth, a, b = (_widened(r.parts(i, depth), width) for i in node.inputs)
    if not all(t.is_mask for t in truth):
        raise NotACell(f"node {node.name} (Where) chooses by more than a truth value for each row")
    m = truth[0].cut(0, 1)
    yes, no = (_widened([t], width)[0] for t in (m, opposite(m)))
    return [add(times(yes.cut(0, x.width), x), times(no.cut(0, y.width), y)) for x, y in _aligned(a, b)]


def _aligned(a: list[Sum], b: list[Sum]) -> list[tuple[Sum, Sum]]:
    """Both cut at the ends of either's parts."""
    ends = sorted({int(e) for parts in (a, b) for e in np.cumsum([p.width for p in parts])})
    return list(zip(_cut_at(a, ends), _cut_at(b, ends)))


def _cut_at(parts: list[Sum], ends: list[int]) -> list[Sum]:
    out, start = [], 0
    for end in ends:
        out += _between(parts, start, end)
        start = end
    return out


def _between(parts: list[Sum], start: int, stop: int) -> list[Sum]:
    out, at = [], 0
    for part in parts:
        low, high = max(start - at, 0), min(stop - at, part.width)
        if low < high:
            out.append(part.cut(low, high))
        at += part.width
    return out


def _divided(a: Sum, b: Sum) -> Sum:
    if b.constant is not None:
        return scaled(a, 1.0 / b.constant)
    return times(a, sigmoid(b))


def _bounded(a: Sum, b: Sum, low: bool) -> Sum:
    for x, y in ((a, b), (b, a)):
        bound = number(y)
        if bound is not None:
            return clipped(x, bound if low else -np.inf, np.inf if low else bound)
    raise NotACell("min or max of two computed values")


BINARIES: dict[str, Callable[[Sum, Sum], Sum]] = {
    "add": add,
    "sub": lambda a, b: add(a, scaled(b, -np.ones(b.width))),
    "mul": times,
    "div": _divided,
    "max": lambda a, b: _bounded(a, b, True),
    "min": lambda a, b: _bounded(a, b, False),
}


def _read_product(r: Reader, node: Node, depth: int) -> list[Sum]:
    """MatMul by a constant matrix, and Dense."""
    attrs = read_attrs(node)
    x, weight = node.inputs[:2]
    w = r.graph.tensors[weight]
    if w.data is None or w.dtype not in ("float32", "float16") or w.data.ndim != 2 or attrs.get("trans_a"):
        return r.leaf(node.outputs[0])
    matrix = w.data.astype(np.float64)
    matrix = matrix.T if node.op == "Dense" or attrs["trans_b"] else matrix
    matrix = matrix * attrs.get("scale", 1.0)
    parts = r.parts(x, depth)
    if r.closed and any(p.dense or _is_function(p) for p in parts):
        parts = [leaf(x, r.width(x))]
    out = times_matrix(parts, matrix)
    if node.op == "Dense" and len(node.inputs) > 2 and node.inputs[2]:
        out = add(out, r.sum(node.inputs[2]))
    if node.op == "Dense" and attrs["activation"] != "linear":
        out = applied(attrs["activation"], attrs["alpha"], attrs["beta"], out)
    return [out]


def _is_function(part: Sum) -> bool:
    """Whether it is a function of another product, and so the output of a layer before."""
    return any(isinstance(a, Act) for atoms, _ in part.diag.values() for a in atoms)


def _read_concat(r: Reader, node: Node, depth: int) -> list[Sum]:
    axis, rank = read_attrs(node)["axis"], len(r.graph.shape(node.outputs[0]))
    if axis % rank != rank - 1:
        return r.leaf(node.outputs[0])
    return [p for i in node.inputs for p in r.parts(i, depth)]


def _read_slice(r: Reader, node: Node, depth: int) -> list[Sum]:
    attrs, width = read_attrs(node), r.width(node.inputs[0])
    rank = len(r.graph.shape(node.inputs[0]))
    start, stop = 0, width
    for axis, a, b, step in zip(
        attrs["axes"], attrs["starts"], attrs["ends"], each(attrs["steps"], len(attrs["axes"]))
    ):
        last, (first, end, _) = axis % rank == rank - 1, slice(a, b).indices(width)
        if step != 1 or not last and not (a == 0 and b >= TO_END):
            return r.leaf(node.outputs[0])
        start, stop = (first, end) if last else (start, stop)
    return _between(r.parts(node.inputs[0], depth), start, stop)


def _read_reshape(r: Reader, node: Node, depth: int) -> list[Sum]:
    """One that only adds or takes away axes of size 1."""
    before, after = (r.graph.shape(t) for t in (node.inputs[0], node.outputs[0]))
    if (
        not before
        or not after
        or before[-1] != after[-1]
        or [s for s in before if s != 1] != [s for s in after if s != 1]
    ):
        return r.leaf(node.outputs[0])
    return r.parts(node.inputs[0], depth)


PRODUCTS = ("MatMul", "Dense")
READERS: dict[str, Callable[[Reader, Node, int], list[Sum]]] = {
    "Unary": _read_unary,
    "Binary": _read_binary,
    "Where": _read_where,
    **dict.fromkeys(PRODUCTS, _read_product),
    "Concat": _read_concat,
    "Slice": _read_slice,
    "Reshape": _read_reshape,
}
