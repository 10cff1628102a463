"""The sizes that a reshape asks for: 0 and -1 worked out, sizes left open, and sizes that the source has baked in."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.dims import Dim, Size, product, quotient
from ...ir.shapes import same
from ...ir.sizes import SizeMismatch
from ...options import as_typed
from .builder import Dialect


def reshape_target(d: Dialect, shape: Sequence[Size], asked: Sequence[Size], copy_zeros: bool = False) -> list[Size]:
    """The sizes that a reshape of `shape` asks for, 0 and -1 worked out."""
    if copy_zeros:
        asked = [shape[n] if not isinstance(s, Dim) and s == 0 else s for n, s in enumerate(asked)]
    total = product(shape)
    target = _resolved(asked, total)
    if target is None:
        target = _with_opened(d, shape, asked)
    if target is None:
        target = _for_multiples(d, asked, total)
    if target is None:
        whole = any(not isinstance(s, Dim) and s < 0 for s in asked)  # then the elements say nothing of the sizes
        raise d.refuse(
            f"cannot reshape {list(shape)} to {list(asked)}: the number of elements differs. The file has a size "
            f"baked in that its inputs leave open; fix the sizes of the inputs ({as_typed('shapes')}), "
            "or export the model again with these sizes open"
        ) from (None if whole else SizeMismatch.between(total, product(asked), "elements"))
    return target


def _resolved(asked: Sequence[Size], total: Size) -> list[Size] | None:
    """`asked` with its -1 found from the number of elements; None where they do not go together."""
    unknown = [n for n, s in enumerate(asked) if not isinstance(s, Dim) and s == -1]
    if not unknown:
        return list(asked) if same(product(asked), total) else None
    left = exact_quotient(total, product([s for n, s in enumerate(asked) if n != unknown[0]]))
    if len(unknown) > 1 or left is None:
        return None
    return [left if n == unknown[0] else s for n, s in enumerate(asked)]


def exact_quotient(a: Size, b: Size) -> Size | None:
    """a / b when that is exact whatever the open sizes are, else None. An empty tensor's nothing by nothing is nothing."""
    return 0 if a == 0 and b == 0 else quotient(a, b)


def _with_opened(d: Dialect, shape: Sequence[Size], asked: Sequence[Size]) -> list[Size] | None:
    """`asked` with an open size in place of the number that the source has for it. Where several numbers could be that
    one, the axes that are not 1 come in the same order on both sides."""
    places = {n: size for n, size in enumerate(d.opened(s) for s in asked) if size is not None}
    tried = [
        _resolved([size if n == at else s for n, s in enumerate(asked)], product(shape)) for at, size in places.items()
    ]
    found = [target for target in tried if target is not None]
    wide = [s for s in shape if s != 1]
    in_order = [target for target in found if [s for s in target if s != 1] == wide]
    return in_order[0] if in_order else found[0] if len(found) == 1 else None


def _for_multiples(d: Dialect, asked: Sequence[Size], total: Size) -> list[Size] | None:
    """A reshape that fits only where an open size n is a multiple of a stride s: it is read as s * (n // s)."""
    for atom in {a for m in (total.terms if isinstance(total, Dim) else {}) for a in m if isinstance(a, tuple)}:
        inner, divisor = Dim(dict(atom[1])), atom[2]
        names = [a for m in inner.terms for a in m if isinstance(a, str)]
        if len(names) != 1 or inner != Dim.symbol(names[0]):
            continue
        target = _resolved([_substituted(s, names[0], Dim({(atom,): divisor})) for s in asked], total)
        if target is not None:
            d.note(f"{d.place}: needs {names[0]} to be a multiple of {divisor}; what is beyond is left out")
            return target
    return None


def _substituted(size: Size, name: str, value: Size) -> Size:
    """A size with a symbol replaced (not inside floor divisions)."""
    if not isinstance(size, Dim):
        return size
    total: Size = 0
    for monomial, c in size.terms.items():
        total = total + product([c, *(value if a == name else Dim({(a,): 1}) for a in monomial)])
    return total
