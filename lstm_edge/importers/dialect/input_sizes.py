"""The sizes of a model's inputs: what the source says, what the caller asks for, and what stays open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional, Union

from ...errors import UnsupportedModelError
from ...ir.dims import BATCH, FRAMES, Dim, Size, symbols
from ...ir.sizes import Sizes
from ...options import as_typed
from .open_sizes import Key, OpenSize, with_symbols

WORDS: dict[str, Dim] = {"batch": BATCH, "frames": FRAMES}
Declared = Optional[Sequence[Union[Size, OpenSize]]]  # None: the source does not say how many axes there are


class InputSizes:
    """The sizes of every input, some of them open.

    `open` are those that are, each with a symbol of its own for freest to lower the model with.
    """

    def __init__(self, declared: Mapping[str, Declared], shapes: Mapping[str, Sequence[int | str]] | None):
        """`shapes`: what the caller asks for, input -> numbers, 'batch' or 'frames'; a size that has a label in the source
        is then the same wherever that label stands. UnsupportedModelError where they do not go with the inputs.
        """
        given = dict(shapes or {})
        unknown = sorted(set(given) - set(declared))
        if unknown:
            raise UnsupportedModelError(
                f"{as_typed('shapes', unknown[0])}: the model has no such input; its inputs are {', '.join(declared)}"
            )
        self._inputs: dict[str, list[Size | OpenSize]] = {}
        self._given: dict[Key, Size] = {}
        for name, sizes in declared.items():
            self._inputs[name] = self._with_given(name, sizes, given.get(name))
        left = [
            size
            for sizes in self._inputs.values()
            for size in sizes
            if isinstance(size, OpenSize) and size.key not in self._given
        ]
        taken = {size for size in self._given.values() if isinstance(size, Dim)}
        taken |= {size for sizes in self._inputs.values() for size in sizes if isinstance(size, Dim)}
        self.open = with_symbols(left, [word for word, symbol in WORDS.items() if symbol in taken])
        self._symbols = {(o.input, o.axis): Dim.symbol(o.symbol) for o in self.open}

    def _with_given(self, name: str, sizes: Declared, given: Sequence[int | str] | None) -> list[Size | OpenSize]:
        """The sizes of an input, with numbers and words that the caller asks for in their places."""
        if given is None:
            if sizes is None:
                raise UnsupportedModelError(
                    f"input {name!r}: the file gives no shape; give one ({as_typed('shapes', name)})"
                )
            return list(sizes)
        if sizes is None:
            return [self._checked(name, size) for size in given]
        if len(given) != len(sizes):
            shown = [(s.label or "?") if isinstance(s, OpenSize) else s for s in sizes]
            raise UnsupportedModelError(
                f"{as_typed('shapes', name)}: expected {len(sizes)} sizes (the file has {shown}), found {list(given)}"
            )
        if given.count("batch") > 1:
            raise UnsupportedModelError(
                f"{as_typed('shapes', name)}: 'batch' stands twice in {list(given)}: sequences side by side lie along one axis"
            )
        out: list[Size | OpenSize] = []
        for size, wanted in zip(sizes, given):
            value = self._checked(name, wanted)
            if isinstance(size, OpenSize) and self._given.setdefault(size.key, value) != value:
                raise UnsupportedModelError(
                    f"{as_typed('shapes', name)}: {size.place} is {value} here and {self._given[size.key]} in another place"
                )
            out.append(size if isinstance(size, OpenSize) else value)
        return out

    def _checked(self, name: str, size: int | str) -> Size:
        if isinstance(size, str) and size in WORDS:
            return WORDS[size]
        if isinstance(size, str) or size < 0:
            raise UnsupportedModelError(
                f"{as_typed('shapes', name)}: expected sizes of at least 0, 'batch' or 'frames', found {size!r}"
            )
        return int(size)

    def shape(self, name: str, sizes: Sizes) -> tuple[Size, ...]:
        """The shape of an input with what is known of the open sizes."""
        return sizes.shape([self._value(size) for size in self._inputs[name]])

    def made_with(self, sizes: Sizes) -> dict[str, int]:
        """The source's own numbers of sizes that it does not leave open and that are open all the same, by symbol."""
        found = ((sizes.resolve(Dim.symbol(o.symbol)), o.made_with) for o in self.open if not o.declared)
        return {
            name: made_with
            for size, made_with in found
            for name in symbols(size)
            if made_with is not None and size == Dim.symbol(name)
        }

    def _value(self, size: Size | OpenSize) -> Size:
        if not isinstance(size, OpenSize):
            return size
        key = size.key
        return self._given[key] if key in self._given else self._symbols[size.input, size.axis]
