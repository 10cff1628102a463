"""The algebra of recurrent cells: polynomials in normal form. reading.py makes them of a Graph's tensors, cells.py tells
which recurrence they spell.

A tensor (..., n) is read along its last axis as a sum of terms. A term is a product of atoms times either one factor per
column (`diag`) or a matrix (`dense`, (K, n)). An atom is a Leaf (columns of a tensor that is not looked into), an Act (a
function of a sum) or a Mask (a truth value of a whole row, which is its own square). So every spelling of a cell,
whatever its order of operations, concatenations and splits, comes to the same form, in which gates are told by the place
they have in the equations of docs/ops.md, not by names or node order. A choice between a and b by a mask m is the
polynomial m a + (1 - m) b, whether a Where or arithmetic spelt it; `given` says what is left of it where m is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Union

import numpy as np

from ..ir.activations import ACTIVATIONS

MOST_TERMS = 12  # a cell's state has at most 6 (masked, gates coupled); more is no cell and would grow without bound


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


@dataclass(frozen=True, eq=False)
class Mask:
    """A bool tensor with one truth value for each row: 1 or 0, the same for all columns."""

    tensor: str

    @cached_property
    def key(self) -> str:
        return f"?{self.tensor}"

    def cut(self, start: int, stop: int) -> Mask:
        return self


Atom = Union[Leaf, Act, Mask]
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
        """Equal for sums that are equal in float32, as weights are: what a pass added up beforehand was rounded so."""
        parts = [f"{self.width}"]
        for kind, terms in (("d", self.diag), ("m", self.dense)):
            parts += [f"{kind}{key}{digest(a.astype(np.float32).tobytes())}" for key, (_, a) in sorted(terms.items())]
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

    @property
    def is_mask(self) -> bool:
        """Whether it is made of masks and numbers alone."""
        return not self.dense and all(isinstance(a, Mask) for atoms, _ in self.diag.values() for a in atoms)

    def sole_atom(self) -> Atom | None:
        """The atom that this is and nothing else."""
        if self.dense or len(self.diag) != 1:
            return None
        ((atoms, factor),) = self.diag.values()
        return atoms[0] if len(atoms) == 1 and bool(np.all(factor == 1)) else None

    def sole_leaf(self) -> Leaf | None:
        atom = self.sole_atom()
        return atom if isinstance(atom, Leaf) else None

    def sole_act(self) -> Act | None:
        atom = self.sole_atom()
        return atom if isinstance(atom, Act) else None


def digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def products(terms: Iterable[Term]) -> Terms:
    """Terms by key; equal products are added, those with no factor left dropped."""
    out: Terms = {}
    for atoms, factor in terms:
        masks = {a.key: a for a in atoms if isinstance(a, Mask)}
        atoms = tuple(sorted((*masks.values(), *(a for a in atoms if not isinstance(a, Mask))), key=lambda a: a.key))
        key = tuple(a.key for a in atoms)
        out[key] = (atoms, out[key][1] + factor if key in out else factor)
    return {k: t for k, t in out.items() if np.any(t[1])}


def constant(values: np.ndarray) -> Sum:
    return Sum(len(values), products([((), np.asarray(values, np.float64))]))


def leaf(tensor: str, width: int) -> Sum:
    return single(Leaf(tensor, 0, width, width), width)


def single(atom: Atom, width: int) -> Sum:
    return Sum(width, products([((atom,), np.ones(width))]))


def mask(tensor: str, width: int, inverted: bool = False) -> Sum:
    """The truth value of each row of a bool tensor, or its opposite, as `width` equal columns."""
    truth = single(Mask(tensor), width)
    return opposite(truth) if inverted else truth


def opposite(a: Sum) -> Sum:
    """1 - a."""
    return add(constant(np.ones(a.width)), scaled(a, -np.ones(a.width)))


def add(a: Sum, b: Sum) -> Sum:
    for x, y in ((a, b), (b, a)):
        offset = number(y)
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
    act = _scaled_act(a.sole_act(), factor)
    if act is not None:
        return single(act, a.width)
    diag = products((atoms, f * factor) for atoms, f in a.diag.values())
    dense = products((atoms, m * factor) for atoms, m in a.dense.values())
    base = None
    if factor.size and np.all(factor == factor[0]):
        of, alpha, beta = a.base or (a, 1.0, 0.0)
        base = (of, alpha * float(factor[0]), beta * float(factor[0]))
    return Sum(a.width, diag, dense, base)


def _scaled_act(act: Act | None, factor: np.ndarray) -> Act | None:
    """A factor times a function, where that is a function with a name of its own."""
    if act is None or not factor.size or np.any(factor != factor[0]):
        return None
    by = float(factor[0])
    high = {"relu6": 6.0, "clip": act.beta if act.alpha == 0 else 0.0}.get(act.kind, 0.0)
    if abs(high * by - 1) < 1e-6:
        return Act("hard_sigmoid", by, 0.0, act.of)
    if act.kind == "tanh" and abs(by) not in (0.0, 1.0):
        return Act("scaled_tanh", by, 1.0, act.of)
    return None


def times(a: Sum, b: Sum) -> Sum:
    for x, y in ((a, b), (b, a)):
        if y.constant is not None:
            return scaled(x, y.constant)
        if y.is_mask:
            return _masked(x, y)
    a, b = (single(Act("linear", 0.0, 0.0, s), s.width) if s.dense else s for s in (a, b))
    if len(a.diag) * len(b.diag) > MOST_TERMS:
        raise NotACell(f"a product of {len(a.diag)} by {len(b.diag)} terms")
    return Sum(a.width, products((x + y, f * g) for x, f in a.diag.values() for y, g in b.diag.values()))


def _masked(a: Sum, truth: Sum) -> Sum:
    """A product with a sum of masks, which commutes with matrices."""
    if (len(a.diag) + len(a.dense)) * len(truth.diag) > MOST_TERMS:
        raise NotACell(f"a mask of {len(a.diag) + len(a.dense)} terms")
    diag, dense = (
        products((x + m, f * g) for x, f in terms.values() for m, g in truth.diag.values())
        for terms in (a.diag, a.dense)
    )
    return Sum(a.width, diag, dense)


def masks(a: Sum) -> set[str]:
    """The tensors of all masks in it, also those inside functions."""
    found: set[str] = set()
    for atoms, _ in (*a.diag.values(), *a.dense.values()):
        for atom in atoms:
            found |= {atom.tensor} if isinstance(atom, Mask) else masks(atom.of) if isinstance(atom, Act) else set()
    return found


def given(a: Sum, tensor: str, truth: bool) -> Sum:
    """What is left of it in the rows where a mask has this truth value."""
    if tensor not in masks(a):
        return a

    def settled(terms: Terms) -> Terms:
        kept = (t for t in terms.values() if truth or all(m.key != Mask(tensor).key for m in t[0]))
        return products((tuple(inner(m) for m in atoms if m.key != Mask(tensor).key), f) for atoms, f in kept)

    def inner(atom: Atom) -> Atom:
        return Act(atom.kind, atom.alpha, atom.beta, given(atom.of, tensor, truth)) if isinstance(atom, Act) else atom

    return Sum(a.width, settled(a.diag), settled(a.dense))


def substituted(a: Sum, tensors: Mapping[str, str]) -> Sum:
    """With other tensors in the place of those that it reads; '' in the place of one stands for zeros."""

    def terms(old: Terms) -> Iterator[Term]:
        for atoms, factor in old.values():
            if all(tensors.get(m.tensor, m.tensor) for m in atoms if isinstance(m, Leaf)):
                new = [atom(m) for m in atoms]
                for m in [m for m in new if isinstance(m, Act) and m.kind == "linear" and m.of.constant is not None]:
                    new.remove(m)  # a sum of which nothing but numbers is left
                    factor = factor * m.of.constant
                yield tuple(new), factor

    def atom(m: Atom) -> Atom:
        if isinstance(m, Leaf):
            return Leaf(tensors.get(m.tensor, m.tensor), m.start, m.stop, m.width)
        return Act(m.kind, m.alpha, m.beta, substituted(m.of, tensors)) if isinstance(m, Act) else m

    return Sum(a.width, products(terms(a.diag)), products(terms(a.dense)))


def applied(kind: str, alpha: float, beta: float, a: Sum) -> Sum:
    """A function of a sum, with the spelt-out ones of a cell in their own names."""
    if kind == "linear":
        return a
    if kind in ("neg", "affine"):
        slope, offset = (-1.0, 0.0) if kind == "neg" else (alpha, beta)
        return add(scaled(a, np.full(a.width, slope)), constant(np.full(a.width, offset)))
    if kind in ("clip", "relu", "relu6"):
        low, high = {"clip": (alpha, beta), "relu": (0.0, np.inf), "relu6": (0.0, 6.0)}[kind]
        return clipped(a, low, high)
    if kind == "reciprocal":
        return sigmoid(a)
    if kind not in ACTIVATIONS:
        raise NotACell(f"{kind} is no activation")
    return single(Act(kind, alpha, beta, a), a.width)


def clipped(a: Sum, low: float, high: float) -> Sum:
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


def sigmoid(a: Sum) -> Sum:
    """1 / (1 + exp(-x))."""
    inner = add(a, constant(-np.ones(a.width))).sole_act()
    if inner is None or inner.kind != "exp":
        raise NotACell("a reciprocal that is no sigmoid")
    return single(Act("sigmoid", 0.0, 0.0, scaled(inner.of, -np.ones(a.width))), a.width)


def number(a: Sum) -> float | None:
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
