"""Sizes that must agree: a small solver of equations between the open sizes of a model.

Every size that a source leaves open is a symbol of its own at first. Where an op needs two sizes to be equal and they are
not spelt alike, shape inference raises SizeMismatch with both; what that equation says of a symbol is kept in Sizes, and the
model is lowered again with it. One equation is learnt a round, so that there are at most as many rounds as open sizes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ..errors import ShapeError
from .dims import Dim, Monomial, Size, same, substitute, symbols


class SizeMismatch(ShapeError):
    """Two sizes that an op needs to be equal and that are not spelt alike: `a` and `b`."""

    a: Size
    b: Size

    @classmethod
    def between(cls, a: Size, b: Size, message: str) -> SizeMismatch:
        error = cls(message)
        error.a, error.b = a, b
        return error


class NeedsNumber(ShapeError):
    """A size that an op needs as a number, and that is open: `size`."""

    size: Size

    @classmethod
    def of(cls, size: Size, message: str) -> NeedsNumber:
        error = cls(message)
        error.size = size
        return error


def require_equal(found: Size, wanted: Size, message: str) -> None:
    """SizeMismatch where two sizes differ that a solver may make equal, ShapeError where they are two numbers."""
    if isinstance(found, Dim) or isinstance(wanted, Dim):
        if not same(found, wanted):
            raise SizeMismatch.between(found, wanted, message)
    elif found != wanted:
        raise ShapeError(message)


def broadcast(shapes: Sequence[Sequence[Size]], place: str) -> tuple[Size, ...]:
    """NumPy's broadcast of shapes with open sizes; SizeMismatch naming `place` where they do not fit."""
    rank = max(len(s) for s in shapes)
    out: list[Size] = []
    for d in range(-rank, 0):
        size: Size = 1
        for shape in shapes:
            s = shape[d] if -d <= len(shape) else 1
            if s == 1 or same(s, size):
                continue
            if size != 1:
                found = " and ".join(str(tuple(shape)) for shape in shapes)
                raise SizeMismatch.between(size, s, f"{place}: expected shapes that broadcast, found {found}")
            size = s
        out.append(size)
    return tuple(out)


class Sizes:
    """What is known of open sizes. `order` names them, those whose names are to stay first."""

    def __init__(self, order: Sequence[str] = ()):
        self._order = list(order)
        self._known: dict[str, Size] = {}
        self.reasons: dict[str, str] = {}  # symbol -> the place that said what it is

    def resolve(self, size: Size) -> Size:
        """The size with everything that has been learnt put in."""
        return substitute(size, self._known)

    def shape(self, sizes: Sequence[Size]) -> tuple[Size, ...]:
        return tuple(self.resolve(s) for s in sizes)

    def equate(self, a: Size, b: Size, place: str) -> bool:
        """Learns from a = b; whether anything new was learnt.

        A symbol takes the value of the rest where the equation is linear in it: a number first, else the symbol named last
        takes the value of those before it. False where the equation holds already or says nothing that can be told.
        ShapeError, naming `place` and what said otherwise before, where it cannot hold.
        """
        a, b = self.resolve(a), self.resolve(b)
        if same(a, b):
            return False
        solution = self._solved(a - b)
        if solution is None:
            if isinstance(a, Dim) or isinstance(b, Dim):
                return False
            raise ShapeError(f"{place}: expected two sizes that are equal, found {a} and {b}{self._because()}")
        self.fix(*solution, place)
        return True

    def fix(self, symbol: str, value: Size, place: str) -> None:
        """Says what an open size is, and where that was learnt."""
        self._known = {name: substitute(known, {symbol: value}) for name, known in self._known.items()}
        self._known[symbol] = value
        self.reasons[symbol] = place

    def renamed(self, names: Mapping[str, Size]) -> Sizes:
        """The same knowledge with other symbols in the place of those that are open still; they may change places."""
        other = Sizes(self._order)
        other._known = {name: substitute(value, names) for name, value in self._known.items()} | dict(names)
        other.reasons = self.reasons
        return other

    def _because(self) -> str:
        fixed = [f"{name} is {self._known[name]} because of {place}" for name, place in self.reasons.items()]
        return f" ({'; '.join(fixed)})" if fixed else ""

    def _solved(self, difference: Size) -> tuple[str, Size] | None:
        """(symbol, its value) that makes a difference zero, None where none can be told."""
        if not isinstance(difference, Dim):
            return None
        terms = _without_common_factors(difference.terms)
        best: tuple[bool, int, str, Size] | None = None
        for monomial, coefficient in terms.items():
            if len(monomial) != 1 or not isinstance(monomial[0], str):
                continue
            name = monomial[0]
            rest = {m: c for m, c in terms.items() if m != monomial}
            if name in symbols(Dim(rest)) or any(c % coefficient for c in rest.values()):
                continue
            value = Dim({m: -c // coefficient for m, c in rest.items()}) + 0
            rank = self._order.index(name) if name in self._order else len(self._order)
            candidate = (isinstance(value, int), rank, name, value)
            if (
                isinstance(value, int) and value < 1
            ):  # no size that there is: the equation is left to whoever asked for it
                continue
            if best is None or candidate[:2] > best[:2]:
                best = candidate
        return best[2:] if best else None


def _without_common_factors(terms: Mapping[Monomial, int]) -> dict[Monomial, int]:
    """The terms divided by every symbol that occurs in all of them: sizes are at least 1, so that it cannot be zero."""
    if len(terms) == 1:
        return dict(terms)
    common = Counter(next(iter(terms)))
    for monomial in terms:
        common &= Counter(monomial)
    return {tuple((Counter(m) - common).elements()): c for m, c in terms.items()}
