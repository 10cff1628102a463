"""The algebra of recurrent cells: what a tensor of a Graph is, as a polynomial. cells.py tells which recurrence it spells.

A tensor (..., n) is read along its last axis as a sum of terms. A term is a product of atoms times either one factor per
column (`diag`) or a matrix (`dense`, (K, n)). An atom is a Leaf (columns of a tensor that is not looked into) or an Act (a
function of a sum). So every spelling of a cell, whatever its order of operations, concatenations and splits, comes to the
same form, in which gates are told by the place they have in the equations of docs/ops.md, not by names or node order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np

from ..ir.dims import product
from ..ir.graph import Graph, Node
from ..ir.ops import ACTIVATIONS, PARAMETERS, each, read_attrs

MOST_TERMS = 12  # a cell's state has at most 4; more is no cell and would grow without bound
MOST_DEPTH = (
    60  # nodes between a cell's inputs and its new state; the deepest known (bidirectional GRU of Keras) has 14
)


class NotACell(Exception):
    """The message says what does not fit."""


@dataclass(frozen=True, eq=False)
class Leaf:
    """Columns start..stop of a tensor that has `width` of them."""

    tensor: str
    start: int
    stop: int
    width: int

    @cached_property
    def key(self) -> str:
        return f"{self.tensor}[{self.start}:{self.stop}]"

    def cut(self, start: int, stop: int) -> Leaf:
        return Leaf(self.tensor, self.start + start, self.start + stop, self.width)


@dataclass(frozen=True, eq=False)
class Act:
    """A function of a sum; `linear` wraps a sum so that a product of sums stays one term."""

    kind: str
    alpha: float
    beta: float
    of: Sum

    @cached_property
    def key(self) -> str:
        return digest(f"{self.kind} {self.alpha} {self.beta} {self.of.key}".encode())

    def cut(self, start: int, stop: int) -> Act:
        return Act(self.kind, self.alpha, self.beta, self.of.cut(start, stop))


Atom = Leaf | Act
Term = tuple[tuple[Atom, ...], np.ndarray]
Terms = dict[tuple[str, ...], Term]


@dataclass(frozen=True, eq=False)
class Sum:
    """`base`: (sum, alpha, beta) where this is alpha * sum + beta by two numbers, as a hard sigmoid's argument is spelt."""

    width: int
    diag: Terms = field(default_factory=dict)
    dense: Terms = field(default_factory=dict)
    base: tuple[Sum, float, float] | None = None

    @cached_property
    def key(self) -> str:
        parts = [f"{self.width}"]
        for kind, terms in (("d", self.diag), ("m", self.dense)):
            parts += [
                f"{kind}{key}{digest(np.ascontiguousarray(a).tobytes())}" for key, (_, a) in sorted(terms.items())
            ]
        return digest(" ".join(parts).encode())

    def cut(self, start: int, stop: int) -> Sum:
        if (start, stop) == (0, self.width):
            return self
        diag = products((tuple(a.cut(start, stop) for a in atoms), f[start:stop]) for atoms, f in self.diag.values())
        dense = {k: (atoms, m[:, start:stop]) for k, (atoms, m) in self.dense.items()}
        base = self.base and (self.base[0].cut(start, stop), *self.base[1:])
        return Sum(stop - start, diag, dense, base)

    @property
    def constant(self) -> np.ndarray | None:
        """Its value, where it is one."""
        if self.dense or set(self.diag) - {()}:
            return None
        return self.diag[()][1] if self.diag else np.zeros(self.width)

    def sole_act(self) -> Act | None:
        """The Act that this is and nothing else."""
        if self.dense or len(self.diag) != 1:
            return None
        ((atoms, factor),) = self.diag.values()
        return atoms[0] if len(atoms) == 1 and isinstance(atoms[0], Act) and bool(np.all(factor == 1)) else None


def digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def products(terms: Any) -> Terms:
    """Terms by key; equal products are added, those with no factor left dropped."""
    out: Terms = {}
    for atoms, factor in terms:
        atoms = tuple(sorted(atoms, key=lambda a: a.key))
        key = tuple(a.key for a in atoms)
        out[key] = (atoms, out[key][1] + factor if key in out else factor)
    return {k: t for k, t in out.items() if np.any(t[1])}


def constant(values: np.ndarray) -> Sum:
    return Sum(len(values), products([((), np.asarray(values, np.float64))]))


def leaf(tensor: str, width: int) -> Sum:
    return single(Leaf(tensor, 0, width, width), width)


def single(atom: Atom, width: int) -> Sum:
    return Sum(width, products([((atom,), np.ones(width))]))


def add(a: Sum, b: Sum) -> Sum:
    for x, y in ((a, b), (b, a)):
        offset = _number(y)
        if offset is not None:
            of, alpha, beta = x.base or (x, 1.0, 0.0)
            return Sum(a.width, *_added(a, b), (of, alpha, beta + offset))
    return Sum(a.width, *_added(a, b))


def _added(a: Sum, b: Sum) -> tuple[Terms, Terms]:
    diag, dense = (products([*x.values(), *y.values()]) for x, y in ((a.diag, b.diag), (a.dense, b.dense)))
    if len(diag) + len(dense) > MOST_TERMS:
        raise NotACell(f"a sum of more than {MOST_TERMS} different products")
    return diag, dense


def scaled(a: Sum, factor: np.ndarray) -> Sum:
    diag = products((atoms, f * factor) for atoms, f in a.diag.values())
    dense = products((atoms, m * factor) for atoms, m in a.dense.values())
    base = None
    if factor.size and np.all(factor == factor[0]):
        of, alpha, beta = a.base or (a, 1.0, 0.0)
        base = (of, alpha * float(factor[0]), beta * float(factor[0]))
    return Sum(a.width, diag, dense, base)


def times(a: Sum, b: Sum) -> Sum:
    for x, y in ((a, b), (b, a)):
        if y.constant is not None:
            return scaled(x, y.constant)
    a, b = (single(Act("linear", 0.0, 0.0, s), s.width) if s.dense else s for s in (a, b))
    if len(a.diag) * len(b.diag) > MOST_TERMS:
        raise NotACell(f"a product of {len(a.diag)} by {len(b.diag)} terms")
    return Sum(a.width, products((x + y, f * g) for x, f in a.diag.values() for y, g in b.diag.values()))


def applied(kind: str, alpha: float, beta: float, a: Sum) -> Sum:
    """A function of a sum, with the spelt-out ones of a cell in their own names."""
    if kind == "linear":
        return a
    if kind in ("neg", "affine"):
        slope, offset = (-1.0, 0.0) if kind == "neg" else (alpha, beta)
        return add(scaled(a, np.full(a.width, slope)), constant(np.full(a.width, offset)))
    if kind == "clip":
        return _clipped(a, alpha, beta)
    if kind == "reciprocal":
        return _sigmoid(a)
    if kind not in ACTIVATIONS:
        raise NotACell(f"{kind} is no activation")
    return single(Act(kind, alpha, beta, a), a.width)


def _clipped(a: Sum, low: float, high: float) -> Sum:
    """min(max(a, low), high): a clip of a clip is one, by 0 and 1 a hard sigmoid, by 0 alone relu."""
    inner = a.sole_act()
    if inner is not None and inner.kind == "clip":
        low, high = min(max(inner.alpha, low), high), max(min(inner.beta, high), low)
        a = inner.of
    elif inner is not None and inner.kind == "relu" and high > 0:
        low, a = max(low, 0.0), inner.of
    if (low, high) == (0.0, 1.0):
        of, alpha, beta = a.base or (a, 1.0, 0.0)
        return single(Act("hard_sigmoid", alpha, beta, of), a.width)
    if low == 0.0 and high in (6.0, np.inf):
        return single(Act("relu" if high == np.inf else "relu6", 0.0, 0.0, a), a.width)
    return single(Act("clip", low, high, a), a.width)


def _sigmoid(a: Sum) -> Sum:
    """1 / (1 + exp(-x))."""
    inner = add(a, constant(-np.ones(a.width))).sole_act()
    if inner is None or inner.kind != "exp":
        raise NotACell("a reciprocal that is no sigmoid")
    return single(Act("sigmoid", 0.0, 0.0, scaled(inner.of, -np.ones(a.width))), a.width)


def _number(a: Sum) -> float | None:
    """The one number a constant sum consists of."""
    c = a.constant
    return float(c[0]) if c is not None and c.size and np.all(c == c[0]) else None


def times_matrix(parts: list[Sum], matrix: np.ndarray) -> Sum:
    """[parts] @ matrix; matrix (sum of widths, n)."""
    terms, bias, at = [], np.zeros(matrix.shape[1]), 0
    for part in parts:
        rows = matrix[at : at + part.width]
        at += part.width
        for atoms, f in part.diag.values():
            if atoms:
                terms.append((atoms, f[:, None] * rows))
            else:
                bias = bias + f @ rows
        terms += [(atoms, m @ rows) for atoms, m in part.dense.values()]
    return Sum(matrix.shape[1], products([((), bias)]), products(terms))


# ---- reading a Graph -------------------------------------------------------------------------------------------------


class Reader:
    """Tensors of a graph as lists of Sums (side by side along the last axis).

    `leaves` are not looked into. `open_products`: whether a matrix product is looked through when its input is computed
    from others by another matrix product; a pass over a whole network says no, a loop's body yes.
    """

    def __init__(self, graph: Graph, leaves: Collection[str], open_products: bool = True):
        self.graph, self.leaves, self.open_products = graph, leaves, open_products
        self.producers = {o: n for n in graph.nodes for o in n.outputs if o}
        self._known: dict[str, list[Sum]] = {}

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
        t = self.graph.tensors[tensor]
        if tensor in self.leaves:
            return [leaf(tensor, self._width(tensor))]
        if t.data is not None:
            return [constant(_row(t.data, tensor))] if t.dtype == "float32" else self._leaf(tensor)
        node = self.producers.get(tensor)
        read = READERS.get(node.op) if node is not None else None
        if node is None or read is None or node.outputs[0] != tensor or depth > MOST_DEPTH:
            return self._leaf(tensor)
        return read(self, node, depth + 1)

    def _leaf(self, tensor: str) -> list[Sum]:
        if self.graph.tensors[tensor].dtype != "float32":
            raise NotACell(f"{tensor!r} is {self.graph.tensors[tensor].dtype}")
        return [leaf(tensor, self._width(tensor))]

    def _width(self, tensor: str) -> int:
        shape = self.graph.shape(tensor)
        if not shape or not isinstance(shape[-1], int):
            raise NotACell(f"{tensor!r} of shape {list(shape)} has no last axis of known size")
        return shape[-1]

    def same_elements(self, *tensors: str) -> bool:
        """Whether a binary op of these only pairs elements one by one (constants along the last axis aside)."""
        sizes = [product(self.graph.shape(t)) for t in tensors]
        return all(s == sizes[0] for s in sizes)


def _row(data: np.ndarray, tensor: str) -> np.ndarray:
    if data.size and np.all(data == data.flat[0]) and data.ndim == 0:
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
    if not r.same_elements(out, *run):
        raise NotACell(f"node {node.name} ({node.op}) broadcasts")
    width = r._width(out)
    a, b = (_widened(r.parts(i, depth), width) for i in node.inputs)
    return [BINARIES[kind](x, y) for x, y in _aligned(a, b)]


def _widened(parts: list[Sum], width: int) -> list[Sum]:
    """A constant of one element as one of `width`."""
    if len(parts) == 1 and parts[0].width == 1 and parts[0].constant is not None and width > 1:
        return [constant(np.full(width, parts[0].constant[0]))]
    return parts


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
    return times(a, _sigmoid(b))


def _bounded(a: Sum, b: Sum, low: bool) -> Sum:
    for x, y in ((a, b), (b, a)):
        bound = _number(y)
        if bound is not None:
            return _clipped(x, bound if low else -np.inf, np.inf if low else bound)
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
        return r._leaf(node.outputs[0])
    matrix = w.data.astype(np.float64)
    matrix = matrix.T if node.op == "Dense" or attrs["trans_b"] else matrix
    matrix = matrix * attrs.get("scale", 1.0)
    parts = r.parts(x, depth)
    if not r.open_products and any(p.dense or _is_function(p) for p in parts):
        parts = [leaf(x, r._width(x))]
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
        return r._leaf(node.outputs[0])
    return [p for i in node.inputs for p in r.parts(i, depth)]


def _read_slice(r: Reader, node: Node, depth: int) -> list[Sum]:
    attrs, width = read_attrs(node), r._width(node.inputs[0])
    rank = len(r.graph.shape(node.inputs[0]))
    start, stop = 0, width
    for axis, a, b, step in zip(
        attrs["axes"], attrs["starts"], attrs["ends"], each(attrs["steps"], len(attrs["axes"]))
    ):
        last, (first, end, _) = axis % rank == rank - 1, slice(a, b).indices(width)
        if step != 1 or not last and not (a == 0 and b >= 2**31 - 1):
            return r._leaf(node.outputs[0])
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
        return r._leaf(node.outputs[0])
    return r.parts(node.inputs[0], depth)


READERS: dict[str, Callable[[Reader, Node, int], list[Sum]]] = {
    "Unary": _read_unary,
    "Binary": _read_binary,
    "MatMul": _read_product,
    "Dense": _read_product,
    "Concat": _read_concat,
    "Slice": _read_slice,
    "Reshape": _read_reshape,
}
