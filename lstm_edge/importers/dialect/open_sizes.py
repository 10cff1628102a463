"""Which sizes of a model stay open, and what they are called: decided once, for every front end, from the graph itself.

A front end says which sizes its source leaves open, and which numbers it was merely made with. Each is a symbol of its own at
first, called by the best guess that names and places allow. `freest` lowers the model with them; where an op needs two sizes
to be equal, or one to be a number, that is learnt and the model lowered again, so that what is open at the end is what nothing
in the model asks for. What the recurrences then take for batch and for frames is called so, and the rest by the source's own
names; where a guess was wrong, the model is lowered once more with the right names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Union

from ...errors import LstmEdgeError, MemoryLimitError
from ...ir.dims import Dim, Size, substitute, symbols
from ...ir.graph import Graph
from ...ir.ops import RECURRENT
from ...ir.sizes import NeedsNumber, SizeMismatch, Sizes

MOST_CHOICES = 8  # of sizes to hold at what the source was made with, before all of them are

_BATCH_NAME = re.compile(r"batch|(^|_)(n|b|bs|bsz|nb)($|_)|num_?(seq|stream)", re.I)
_FRAMES_NAME = re.compile(r"seq|time|len|frame|step|chunk|sample|dur|token|word|(^|_)(t|l|s|w)($|_)", re.I)
_FEATURE_NAME = re.compile(r"feat|freq|bin|chan|height|width|hidden|embed|vocab|mel", re.I)
_STATE_NAME = re.compile(r"^[hc](_?0|n|_?in|x)?$|state|hidden|cache|memory|carry", re.I)
_GENERATED_NAME = re.compile(r"^(unk_*\d*|\?|none|dim_?\d*|dynamic_axes_\d+|[su]\d+|.*_dim_\d+|\w*unknown\w*)$", re.I)


Key = Union[str, tuple[str, int]]  # sizes of one label are one size; one without stands alone


@dataclass(frozen=True)
class OpenSize:
    """A size of an input that may stay open: `axis` of `input`.

    `label` is the source's own name for it; sizes of one label are one size. `made_with` is the number that the source was
    made or exported with. One that the source does not leave open (`declared` false) stays open only where the whole model
    allows it. `symbol` is what it is called while the model is lowered (with_symbols gives it).
    """

    input: str
    axis: int
    label: str = ""
    made_with: int | None = None
    declared: bool = True
    symbol: str = ""

    @property
    def key(self) -> Key:
        return self.label or (self.input, self.axis)

    @property
    def place(self) -> str:
        return f"input {self.input!r}: dimension {self.axis} ({repr(self.label) if self.label else 'without a name'})"

    @property
    def said(self) -> str:
        """The label, where it is a name that a person gave."""
        return "" if _GENERATED_NAME.match(self.label) else self.label

    @property
    def plain(self) -> str:
        """The label, where the source itself calls the size as sizes are called here."""
        return self.label if self.declared and self.label in ("batch", "frames") else ""


Lower = Callable[[Sizes], Graph]


def with_symbols(opens: Sequence[OpenSize], taken: Sequence[str] = ()) -> list[OpenSize]:
    """The sizes with a symbol each, those of one label with the same. `taken` are symbols that have a meaning already."""
    given: dict[Key, str] = {}
    for size in _plain_first(opens):
        if size.key not in given:
            given[size.key] = _unique(_guess(size), size, {*taken, *given.values()})
    return [replace(size, symbol=given[size.key]) for size in opens]


def _plain_first(opens: Sequence[OpenSize]) -> list[OpenSize]:
    """Those first that the source calls as they are called here: no guess takes their names."""
    return sorted(opens, key=lambda size: not size.plain)


def _guess(size: OpenSize) -> str:
    """batch, frames, or the source's own name where that says that it is neither."""
    if size.plain:
        return size.plain
    if _BATCH_NAME.search(size.said):
        return "batch"
    if _FEATURE_NAME.search(size.said):
        return size.said
    if _FRAMES_NAME.search(size.said):
        return "frames"
    if _STATE_NAME.search(size.input):
        return "batch"
    return "batch" if size.axis == 0 else "frames"


def _unique(name: str, size: OpenSize, taken: set[str]) -> str:
    """The name, or the source's own, or one made of the input's, whichever is not taken."""
    fallback = f"size_{size.input}_{size.axis}"
    for candidate in (
        name,
        size.said,
        f"{size.input}_{name}",
        fallback,
        *(f"{fallback}_{n}" for n in range(len(taken))),
    ):
        plain = re.sub(r"\W+", "_", candidate).strip("_")
        if plain.isidentifier() and plain not in taken:
            return plain
    return f"size_{len(taken)}"


# ---- which stay open -------------------------------------------------------------------------------------------------


def freest(lower: Lower, opens: Sequence[OpenSize]) -> tuple[Graph, list[str]]:
    """The graph with as many sizes open as the model allows, and notes: what they are called, which were fixed and why.

    `lower` makes the graph with what is known of the sizes so far. LstmEdgeError, the one met with everything open, where
    the model cannot be lowered at all.
    """
    first: LstmEdgeError | None = None
    for fixed in _choices(opens):
        try:
            sizes = Sizes([o.symbol for o in opens])
            for size, number in fixed.items():
                sizes.fix(size, number, f"with it open, {first}")
            graph = _lowered(lower, opens, sizes)
        except MemoryLimitError:
            raise
        except LstmEdgeError as error:
            first = first or error
            continue
        graph, names = _named(graph, lower, opens, sizes)
        return graph, _notes(opens, names, sizes)
    assert first is not None  # the first choice fixes nothing, so that there is one
    raise first


def _choices(opens: Sequence[OpenSize]) -> Iterator[dict[str, int]]:
    """Which sizes to hold at what they were made with: none; some, then all that the source does not leave open; all."""
    made_with = {o.symbol: o.made_with for o in opens if o.made_with is not None}
    merely = [o.symbol for o in opens if o.made_with is not None and not o.declared]
    merely = list(dict.fromkeys(merely))
    some = (choice for count in range(1, len(merely)) for choice in combinations(merely, count))
    yield {}
    for choice, _ in zip(some, range(MOST_CHOICES)):
        yield {name: made_with[name] for name in choice}
    if merely:
        yield {name: made_with[name] for name in merely}
    if len(made_with) > len(merely):
        yield made_with


def _lowered(lower: Lower, opens: Sequence[OpenSize], sizes: Sizes) -> Graph:
    """The graph, lowered as often as there is something to learn."""
    while True:
        try:
            return lower(sizes)
        except LstmEdgeError as error:
            if not _learnt(error, sizes, opens):
                raise


def _learnt(error: LstmEdgeError, sizes: Sizes, opens: Sequence[OpenSize]) -> bool:
    """Whether the error says something new of a size."""
    for cause in _causes(error):
        if isinstance(cause, SizeMismatch) and sizes.equate(cause.a, cause.b, str(error)):
            return True
        if isinstance(cause, NeedsNumber):
            asked = symbols(sizes.resolve(cause.size))
            for size in opens:
                if size.symbol in asked and size.made_with is not None:
                    sizes.fix(size.symbol, size.made_with, str(error))
                    return True
    return False


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it was raised from."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


# ---- what they are called --------------------------------------------------------------------------------------------


def _named(graph: Graph, lower: Lower, opens: Sequence[OpenSize], sizes: Sizes) -> tuple[Graph, dict[str, str]]:
    """The graph with its open sizes called what they are, and symbol -> name."""
    names = _names(graph, opens)
    values: dict[str, Size] = {old: Dim.symbol(new) for old, new in names.items() if old != new}
    if values:
        graph = lower(sizes.renamed(values))
    return graph, names


def _names(graph: Graph, opens: Sequence[OpenSize]) -> dict[str, str]:
    """symbol -> batch, frames, or a name that tells it apart, for every size that is open in the graph.

    Sequences run side by side share their batch, so that is one size; lengths that the model does not equate are several.
    """
    left = {name for port in graph.inputs for size in graph.shape(port.tensor) for name in symbols(size)}
    roles = _roles_in_recurrences(graph)
    mine = {o.symbol for o in opens}
    names = {name: name for name in sorted(left - mine)}
    for size in _plain_first(opens):
        if size.symbol not in left or size.symbol in names:
            continue
        role = _role(size, roles.get(size.symbol, set()))
        if role == "batch" and _stands_twice(graph, size.symbol):
            role = size.said or f"size_{size.input}_{size.axis}"
        elif role == "batch" and role in (names.get(other) for other in _beside(graph, size.symbol)):
            role = "frames"
        taken = set(names.values())
        here = {names[o.symbol] for o in opens if o.input == size.input and o.symbol in names}
        shares_batch = role == "batch" and not _tells_apart(size, opens, names)
        is_new = role not in (here if shares_batch else taken)
        names[size.symbol] = role if is_new else _unique(role, size, taken | {role})
    return names


def _role(size: OpenSize, seen: set[str]) -> str:
    """What a size is by the source's own word for it, else by what recurrences take it for, else by the best guess. A
    source that says batch of an axis along which recurrences run alone has mistaken the layout."""
    if size.plain == "frames" or len(seen) != 1:
        return _guess(size)
    return next(iter(seen))


def _stands_twice(graph: Graph, symbol: str) -> bool:
    """Whether two axes of one input have the size, so that it is no batch."""
    return any(sum(symbol in symbols(size) for size in graph.shape(p.tensor)) > 1 for p in graph.inputs)


def _tells_apart(size: OpenSize, opens: Sequence[OpenSize], names: Mapping[str, str]) -> bool:
    """Whether the source gives reason to doubt that a size is the batch of the other inputs: another number that it was made
    with, or a name of its own that does not say batch."""
    others = [o for o in opens if names.get(o.symbol) == "batch" and o.symbol != size.symbol]
    own_name = bool(size.said) and not _BATCH_NAME.search(size.said) and any(o.said for o in others)
    made = {o.made_with for o in (*others, size) if o.made_with is not None}
    return own_name or len(made) > 1


def _beside(graph: Graph, symbol: str) -> set[str]:
    """The other symbols among the sizes of inputs that have this one: sizes of one array, so not one size."""
    shapes = [{name for size in graph.shape(p.tensor) for name in symbols(size)} for p in graph.inputs]
    return {other for shape in shapes if symbol in shape for other in shape} - {symbol}


def _roles_in_recurrences(graph: Graph) -> dict[str, set[str]]:
    """symbol -> batch, frames or both, as the inputs of recurrences have them."""
    found: dict[str, set[str]] = {}
    for node in graph.nodes:
        if node.op not in RECURRENT:
            continue
        shape = graph.shape(node.inputs[0])
        batch, frames = shape[:2][::-1] if node.attrs.get("time_major") else shape[:2]
        for name in symbols(batch):
            found.setdefault(name, set()).add("batch")
        for name in symbols(frames) - symbols(batch):
            found.setdefault(name, set()).add("frames")
    return found


def _notes(opens: Sequence[OpenSize], names: Mapping[str, str], sizes: Sizes) -> list[str]:
    """What each size became: a name, or a number with the reason where the source left it open or it might have been."""
    notes = []
    renamed: dict[str, Size] = {old: Dim.symbol(new) for old, new in names.items()}
    for size in opens:
        value = substitute(sizes.resolve(Dim.symbol(size.symbol)), renamed)
        if isinstance(value, int):
            notes.append(f"{size.place} is fixed at {value}: {sizes.reasons[size.symbol]}")
        else:
            made_with = "" if size.declared else f", where the source has {size.made_with}"
            notes.append(f"{size.place} is {value}{made_with}")
    return notes
