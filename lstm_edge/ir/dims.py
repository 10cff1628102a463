"""Symbolic sizes. A dimension is an int or a Dim: a polynomial over symbols such as `batch` and `frames` and floor divisions of such.

Only importers and passes see a Dim. The core works with numbers: it infers every shape when a stream is opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import gcd, prod
from typing import Union

Size = Union[int, "Dim"]
Monomial = tuple["Atom", ...]  # a product, sorted; () is 1
# a symbol, or ("floor", terms, divisor)
Atom = Union[str, tuple[str, "tuple[tuple[Monomial, int], ...]", int]]


class Dim:
    """An integer polynomial; `terms` maps each monomial to its coefficient."""

    __slots__ = ("terms",)

    def __init__(self, terms: dict[Monomial, int]):
        self.terms = {m: c for m, c in terms.items() if c}

    @staticmethod
    def symbol(name: str) -> Dim:
        return Dim({(name,): 1})

    def __add__(self, other: Size) -> Size:
        terms = dict(self.terms)
        for m, c in _terms(other).items():
            terms[m] = terms.get(m, 0) + c
        return _simple(Dim(terms))

    def __mul__(self, other: Size) -> Size:
        terms: dict[Monomial, int] = {}
        for m1, c1 in self.terms.items():
            for m2, c2 in _terms(other).items():
                m = tuple(sorted(m1 + m2, key=repr))
                terms[m] = terms.get(m, 0) + c1 * c2
        return _simple(Dim(terms))

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        return self + (-1 * other)

    def __rsub__(self, other: Size) -> Size:
        return (-self) + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __floordiv__(self, other: Size) -> Size:
        if isinstance(other, Dim):
            quotient = self._exact_quotient(other)
            if quotient is None:
                raise ValueError(f"cannot divide {self} by {other}")
            return quotient
        if other <= 0:
            raise ValueError(f"cannot divide {self} by {other}")
        whole = {m: c // other for m, c in self.terms.items()}
        rest = Dim({m: c % other for m, c in self.terms.items()})
        if not any(m for m in rest.terms):  # only a constant below the divisor is left
            return _simple(Dim(whole))
        return _simple(Dim(whole)) + _floor(rest, other)

    def _exact_quotient(self, other: Dim) -> Size | None:
        """self / other by polynomial long division, None where a remainder is left."""
        lead, lead_coefficient = max(other.terms.items(), key=_degree)
        rest: Size = self
        quotient: Size = 0
        while isinstance(rest, Dim):
            m, c = max(rest.terms.items(), key=_degree)
            left = list(m)
            for atom in lead:
                if atom not in left:
                    return None
                left.remove(atom)
            if c % lead_coefficient:
                return None
            term = Dim({tuple(left): c // lead_coefficient})
            quotient, rest = quotient + term, rest - term * other
        return quotient if rest == 0 else None

    def __mod__(self, other: Size) -> Size:
        return self - (self // other) * other

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(frozenset(self.terms.items()))

    def mentions(self, name: str) -> bool:
        """Whether the symbol occurs anywhere in the expression."""
        return any(_atom_mentions(a, name) for m in self.terms for a in m)

    def symbols(self) -> set[str]:
        """The names of the open sizes that occur anywhere in the expression, floor divisions included."""
        return {
            name for m in self.terms for a in m for name in ([a] if isinstance(a, str) else Dim(dict(a[1])).symbols())
        }

    def at(self, values: Mapping[str, int]) -> int:
        """The number this size has where each symbol has the given one."""
        return sum(c * prod(_atom_value(a, values) for a in m) for m, c in self.terms.items())

    def value(self, batch: int, frames: int) -> int:
        """The number this size has for a given batch and number of frames; further lengths are as many as the frames."""
        return self.at({name: batch if name == "batch" else frames for name in self.symbols()})

    def __repr__(self) -> str:
        parts = []
        for m, c in sorted(self.terms.items(), key=lambda t: (-len(t[0]), repr(t[0]))):
            alone = len(m) == 1 and abs(c) == 1
            names = "*".join(_atom_text(a) if alone or isinstance(a, str) else f"({_atom_text(a)})" for a in m)
            text = str(c) if not m else names if c == 1 else f"-{names}" if c == -1 else f"{c}*{names}"
            parts.append(text)
        return "+".join(parts).replace("+-", "-") or "0"


BATCH = Dim.symbol("batch")
FRAMES = Dim.symbol("frames")


def _degree(term: tuple[Monomial, int]) -> tuple[int, list[str]]:
    """Orders monomials so that the leading one of a product is the product of the leading ones."""
    atoms = sorted(map(repr, term[0]), reverse=True)
    return len(atoms), atoms


def mentions(size: Size, name: str) -> bool:
    return isinstance(size, Dim) and size.mentions(name)


def value(size: Size, batch: int, frames: int) -> int:
    return size.value(batch, frames) if isinstance(size, Dim) else int(size)


def symbols(size: Size) -> set[str]:
    """The names of the open sizes that occur in an expression."""
    return size.symbols() if isinstance(size, Dim) else set()


def same(a: Size, b: Size) -> bool:
    """Whether two sizes are equal whatever the open ones are. Floors spelt differently are compared by value."""
    if a == b:
        return True
    if not (isinstance(a, Dim) and isinstance(b, Dim)):
        return False
    names = sorted(a.symbols() | b.symbols())
    return all(a.at(v) == b.at(v) for v in _sampled(names))


def _sampled(names: Sequence[str]) -> Iterator[dict[str, int]]:
    """Values for every symbol: all remainders by 64, each symbol going through them in an order of its own."""
    for n in range(128):
        yield {name: 997 + 64 * k + (2 * k + 1) * n % 64 for k, name in enumerate(names)}


def substitute(size: Size, values: Mapping[str, Size]) -> Size:
    """The expression with a number or another expression in place of each symbol that `values` names."""
    if not isinstance(size, Dim) or not size.symbols() & values.keys():
        return size
    total: Size = 0
    for monomial, coefficient in size.terms.items():
        term: Size = coefficient
        for atom in monomial:
            term = term * _substituted(atom, values)
        total = total + term
    return total


def _substituted(atom: Atom, values: Mapping[str, Size]) -> Size:
    if isinstance(atom, str):
        return values.get(atom, Dim.symbol(atom))
    return substitute(Dim(dict(atom[1])), values) // atom[2]


def quotient(whole: Size, part: Size) -> Size | None:
    """whole / part where that leaves no remainder, else None."""
    if not isinstance(whole, Dim):
        return whole // part if not isinstance(part, Dim) and part and whole % part == 0 else None
    try:
        found = whole // part
    except ValueError:
        return None
    return found if same(found * part, whole) else None


def product(sizes: Iterable[Size]) -> Size:
    out: Size = 1
    for s in sizes:
        out = out * s
    return out


def _terms(size: Size) -> dict[Monomial, int]:
    return size.terms if isinstance(size, Dim) else {(): int(size)}


def _simple(dim: Dim) -> Size:
    if not dim.terms:
        return 0
    if set(dim.terms) == {()}:
        return dim.terms[()]
    return dim


def _floor(dim: Size, divisor: int) -> Size:
    """floor(dim / divisor), with nested floors joined: floor((floor(x/a)+c)/b) = floor((x+a*c)/(a*b))."""
    if not isinstance(dim, Dim):
        return dim // divisor
    inner = [m for m in dim.terms if m]
    if len(inner) == 1 and len(inner[0]) == 1 and isinstance(inner[0][0], tuple) and dim.terms[inner[0]] == 1:
        _, terms, a = inner[0][0]
        joined = Dim(dict(terms)) + a * dim.terms.get((), 0)
        return joined // (a * divisor)
    common = gcd(divisor, *dim.terms.values())
    terms = tuple(sorted(((m, c // common) for m, c in dim.terms.items()), key=repr))
    return Dim({(("floor", terms, divisor // common),): 1})


def _atom_mentions(atom: Atom, name: str) -> bool:
    if isinstance(atom, str):
        return atom == name
    return any(_atom_mentions(a, name) for m, _ in atom[1] for a in m)


def _atom_value(atom: Atom, values: Mapping[str, int]) -> int:
    return values[atom] if isinstance(atom, str) else Dim(dict(atom[1])).at(values) // atom[2]


def _atom_text(atom: Atom) -> str:
    if isinstance(atom, str):
        return atom
    inner = repr(Dim(dict(atom[1])))
    return f"{inner}//{atom[2]}" if inner.isalpha() else f"({inner})//{atom[2]}"
