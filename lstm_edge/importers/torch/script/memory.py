"""Tensors that share memory, and what a write into one of them leaves in the others.

A Value that a script holds is a handle: it stays the same object while its memory is written to, in variables, lists and
the module's attributes alike. `now` gives what it holds at the moment. A view is made again of what lies under it once
that has changed, and a write into a view is a write into what lies under it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from ....errors import UnsupportedModelError
from ....ir.dims import Size
from ...dialect import Value
from ..aten import OPS
from ..lowering import Lowering
from ..program import VIEWS

MAY_COPY = (
    "reshape",
    "contiguous",
    "flatten",
    "to",
    "type",
    "_to_copy",
    "expand",
    "expand_as",
    "unfold",
)  # or be views


@dataclass(frozen=True)
class Placed:
    """What a trip of a loop writes into the place that the number of the trip says, along an axis of a tensor."""

    handle: Value
    axis: int
    index: Value
    content: Value


@dataclass(eq=False)
class _View:
    """`handle` holds `content`, which `make` gives of `made_of`, the content of `base`; `put` writes it back.

    `apart`: views of the same base that share no memory with this one.
    """

    handle: Value
    base: Value
    made_of: object
    content: Value | None
    make: Callable[[Value], Value]
    put: Callable[[Value, Value], Value | None]
    apart: list[_View] = field(default_factory=list)


class Memory:
    """What every handle of a script holds."""

    def __init__(self, low: Lowering):
        self.low = low
        self._views: dict[int, _View] = {}
        self._written: dict[
            int, tuple[Value, object]
        ] = {}  # a handle, kept so that its id stays its own, and its content
        self.placed: list[Placed] = []

    def now(self, value: Any) -> Any:
        """What a handle holds; other values as they are, and what lists, tuples and dicts hold."""
        if isinstance(value, Value):
            content = self._content(value)
            if not isinstance(content, Value):
                raise self.low.refuse("reads memory that was written to through another tensor, which may be a copy")
            return content
        if isinstance(value, (list, tuple)):
            return type(value)(self.now(v) for v in value)
        if isinstance(value, dict):
            return {k: self.now(v) for k, v in value.items()}
        return value

    def changed(self, handle: Value) -> bool:
        """Whether a handle that is no view has been written to."""
        return id(handle) in self._written

    def _content(self, handle: Value) -> object:
        """What a handle holds: a Value, or an object that stands for what is not known."""
        view = self._views.get(id(handle))
        if view is None:
            return self._written.get(id(handle), (handle, handle))[1]
        base = self._content(view.base)
        if base is not view.made_of:
            if not isinstance(base, Value):
                return base
            view.made_of, view.content = base, view.make(base)
        return view.content

    def write(self, handle: Value, content: object) -> None:
        """Puts a Value into the memory of a handle, or an object that stands for what is not known."""
        view = self._views.get(id(handle))
        if view is None:
            self._written[id(handle)] = (handle, content)
            return
        base = self._content(view.base)
        whole = self._put_back(view, base, content) if isinstance(base, Value) and isinstance(content, Value) else None
        untouched = [v for v in view.apart if v.made_of is base]
        self.write(view.base, object() if whole is None else whole)
        view.made_of, view.content = self._content(view.base), content if isinstance(content, Value) else None
        for other in untouched:
            other.made_of = view.made_of

    def _put_back(self, view: _View, base: Value, content: Value) -> Value | None:
        try:
            return view.put(base, content)
        except UnsupportedModelError:
            return None  # which matters only where the base is read again

    # ---- views ----------------------------------------------------------------------------------------------------

    def result(
        self, name: str, args: list[Any], kwargs: dict[str, Any], value: Any, again: Callable[[Value], Any]
    ) -> Any:
        """What the call `name` gives, as handles: views of its first argument where it is one. `args` are handles; `again`
        makes the call on another content of the first."""
        source = args[0] if args else None
        if not isinstance(source, Value) or name not in VIEWS:
            return _apart(value, [self.now(a) for a in args if isinstance(a, Value)])
        if isinstance(value, list):
            return self._parts(name, source, self._axis(source, args, kwargs, name), value, again)
        if value is self.now(source) and name not in MAY_COPY:
            return source
        value = _apart(value, [self.now(source)])
        put = self._put(name, source, args, kwargs)
        self._views[id(value)] = _View(value, source, self._content(source), value, again, put)
        return value

    def _axis(self, source: Value, args: list[Any], kwargs: dict[str, Any], name: str) -> int:
        at = 1 if name == "unbind" else 2
        return self.low.axis_of(source, args[at] if len(args) > at else kwargs.get("dim", 0))

    def _parts(
        self, name: str, source: Value, axis: int, parts: list[Value], again: Callable[[Value], Any]
    ) -> list[Value]:
        """The parts that a tensor is cut into, each of which may be written to."""
        sizes: list[Any] = [1 if name == "unbind" else self.low.shape(p)[axis] for p in parts]
        ends = [*accumulate(sizes)]
        made_of, made = self._content(source), [_apart(p, parts) for p in parts]
        views = [
            _View(p, source, made_of, p, _nth(again, n), self._put_part(name, axis, end - size, end))
            for n, (p, size, end) in enumerate(zip(made, sizes, ends))
        ]
        for view in views:
            view.apart = [v for v in views if v is not view]
            self._views[id(view.handle)] = view
        return made

    def _put_part(self, name: str, axis: int, start: Size, end: Size) -> Callable[[Value, Value], Value | None]:
        if name == "unbind":
            return lambda base, part: OPS["select_scatter"](self.low, base, part, axis, start)
        return lambda base, part: OPS["slice_scatter"](self.low, base, part, axis, start, end)

    def _put(
        self, name: str, source: Value, args: list[Any], kwargs: dict[str, Any]
    ) -> Callable[[Value, Value], Value | None]:
        """How a new content of a view becomes one of what it is a view of; gives None where that cannot be told."""
        low, rest = self.low, args[1:]
        if name == "slice":
            return lambda base, new: OPS["slice_scatter"](low, base, new, *rest, **kwargs)
        if name == "select" and isinstance(rest[1], Value) and not rest[1].is_known:
            return lambda base, new: self._place(source, low.axis_of(source, rest[0]), rest[1], new)
        if name == "select":
            return lambda base, new: OPS["select_scatter"](low, base, new, *rest, **kwargs)
        if name == "narrow":
            axis, start, length = rest
            return lambda base, new: OPS["slice_scatter"](low, base, new, axis, start, start + length)
        if name in ("transpose", "t"):
            return lambda base, new: OPS[name](low, new, *rest, **kwargs)
        if name == "permute":
            dims = [low.axis_of(source, d) for d in (rest[0] if rest else kwargs["dims"])]
            return lambda base, new: low.transpose(new, [dims.index(d) for d in range(len(dims))])
        if name in ("view", "squeeze", "unsqueeze", "unflatten", "view_as", "_unsafe_view"):
            return lambda base, new: low.reshape(new, low.shape(base))
        if name in ("detach", "alias", "dropout"):
            return lambda base, new: new
        return lambda base, new: None

    def _place(self, handle: Value, axis: int, index: Value, content: Value) -> None:
        """Notes a write into a place that is known only at the number of a trip; the whole cannot be told inside it."""
        self.placed.append(Placed(handle, axis, self.now(index), content))


def _apart(value: Any, others: list[Any]) -> Any:
    """A value as a handle of its own, where it is the same object as one of the others."""
    if isinstance(value, Value) and any(value is o for o in others):
        return Value(value.dtype, value.array, value.tensor, value.items)
    return value


def _nth(make: Callable[[Value], Any], n: int) -> Callable[[Value], Value]:
    return lambda base: make(base)[n]
