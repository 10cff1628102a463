"""A program to a Graph: with everything the lowering of calls knows, and with as many open sizes as hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

from ...errors import UnsupportedModelError
from ...ir.dims import FRAMES, Dim, Size, symbols
from ...ir.graph import Graph
from ...ir.notes import ASSUMED
from ...options import as_typed
from ..dialect.input_sizes import InputSizes
from ..dialect.open_sizes import freest
from . import guards
from .aten import OPS
from .axes import Extent, Traced, declared
from .guards import Condition, Range
from .lowering import Lowering
from .original import Original, Verdict, answers, feeds_of_ones, values_at
from .program import Program

__all__ = ["OPS", "lower", "lower_freest"]

Fixed = Mapping[str, Mapping[int, int]]  # input -> axis -> size that is settled
TRIED = (1, 2, 3)  # sizes that an open one is tried at beside the original; and more than the example has
MOST_TRIED = 512


def lower(program: Program) -> Graph:
    """The Graph of `program`. UnsupportedModelError names the first call that has no meaning here."""
    return Lowering(program).run()


def lower_freest(traced: Traced, fixed: Fixed | None = None, original: Original | None = None) -> Graph:
    """The Graph of an exported program with as many open sizes as hold: one fixed at export is freed where nothing depends
    on it; one left open where something does is fixed as in the example. Where the program states a range for an open size
    metadata `ranges` has it.

    `fixed`: input -> axis -> size that the caller has settled. `original`: the module, to compare with at other sizes.
    LstmEdgeError of the freest attempt when none holds.
    """
    settled = {name: dict(axes) for name, axes in (fixed or {}).items()}
    held: list[str] = []
    while True:
        graph = _lowered(traced, settled)
        found = _Found(traced, graph, original)
        found.check_numbers()
        ranges, reasons = found.ranges()
        if not reasons:
            break
        for name, reason in reasons.items():
            for given, axis, size in found.axes_of(name):
                settled.setdefault(given, {})[axis] = size
                held.append(f"input {given!r}: dimension {axis} is fixed at {size}, as in the example: {reason}")
    graph.metadata["notes"] += held + found.notes(ranges)
    if ranges:
        graph.metadata["ranges"] = {n: [r.least, r.most, r.multiple, r.rest] for n, r in ranges.items()}
    frames = _exported_frames(traced, graph)
    if frames:
        graph.metadata["source"] = {"frames": frames}
    return graph


def _lowered(traced: Traced, fixed: Fixed) -> Graph:
    sizes_of_inputs, fixed_notes = declared(traced, fixed)
    inputs = InputSizes(sizes_of_inputs, None)
    graph, notes = freest(lambda sizes: lower(traced.with_shapes(lambda name: inputs.shape(name, sizes))), inputs.open)
    graph.metadata["notes"] = [*notes, *fixed_notes, *graph.metadata["notes"]]
    return graph


class _Found:
    """What is known of the open sizes of a graph: what the program states, and what the module itself says."""

    def __init__(self, traced: Traced, graph: Graph, original: Original | None):
        self.graph, self.original = graph, original
        self.sizes: dict[guards.Axis, Size] = {}
        self.example: dict[guards.Axis, int] = {}
        self.freed: dict[str, guards.Axis] = {}  # open sizes that are a number in the program
        for given, port in zip(traced.inputs, graph.inputs):
            for axis, (made_with, size) in enumerate(zip(given.sizes, graph.shape(port.tensor))):
                self.sizes[given.name, axis] = size
                self.example[given.name, axis] = made_with.hint if isinstance(made_with, Extent) else made_with
                if not isinstance(made_with, Extent):
                    self.freed |= dict.fromkeys(symbols(size), (given.name, axis))
        shapes = [tuple(self.example[g.name, a] for a in range(len(g.sizes))) for g in traced.inputs]
        self.values = values_at(graph, shapes) or {}
        self.names = list(dict.fromkeys(n for size in self.sizes.values() for n in sorted(symbols(size))))
        self.conditions = [c for c in _conditions(traced) if c.axes <= self.sizes.keys()]
        self.unread = [text for text in traced.guards if guards.unread(text)]

    def axes_of(self, name: str) -> Iterator[tuple[str, int, int]]:
        """(input, axis, size in the example) of every size that an open one is part of."""
        for (given, axis), size in self.sizes.items():
            if name in symbols(size):
                yield given, axis, self.example[given, axis]

    def check_numbers(self) -> None:
        """UnsupportedModelError where the caller has settled a size for which the program does not hold."""
        for condition in self.conditions:
            if not self._names_in(condition) and not self._holds(condition, {}):
                raise UnsupportedModelError(
                    f"expected sizes for which the program was exported ({condition.text}), found "
                    f"{', '.join(f'{self.sizes[name, axis]} at dimension {axis} of {name}' for name, axis in condition.axes)}"
                )

    def ranges(self) -> tuple[dict[str, Range], dict[str, str]]:
        """The ranges of open sizes that have one, and why others can only be what they are in the example, by name."""
        ranges, reasons = {}, {}
        for name in self.names:
            if name not in self.values:
                continue
            stated = self._stated(name)
            if stated is None or stated.least == stated.most:
                reasons[name] = "the program holds for that size alone, as " + self._said(name)
                continue
            found = self._compared(name, self._relaxed(name, stated))
            if found is None:
                reasons[name] = "the module does something else at other sizes"
            elif found != Range():
                ranges[name] = found
        return ranges, reasons

    def _about(self, name: str) -> list[Condition]:
        return [c for c in self.conditions if self._names_in(c) == {name}]

    def _names_in(self, condition: Condition) -> set[str]:
        return {name for axis in condition.axes for name in symbols(self.sizes[axis])}

    def _said(self, name: str) -> str:
        said = [c.text for c in self._about(name) if not all(self._holds(c, {name: v}) for v in (1, 2, 3, 7, 1000))]
        return f"{' and '.join(said)} says"

    def _stated(self, name: str) -> Range | None:
        """The sizes for which the program says that it holds; None where they are no range."""
        mine = self._about(name)
        numbers = {number for c in mine for number in c.numbers}
        return guards.range_where(lambda value: all(self._holds(c, {name: value}) for c in mine), numbers)

    def _holds(self, condition: Condition, values: Mapping[str, int]) -> bool:
        sizes = {axis: self.sizes[axis] for axis in condition.axes}
        return condition.holds({axis: s.at(values) if isinstance(s, Dim) else s for axis, s in sizes.items()})

    def _relaxed(self, name: str, stated: Range) -> Range:
        """The range without ends that say nothing: beyond them the graph has no answer, or the module's."""
        others = [v for v in range(stated.least, stated.least + stated.multiple) if v not in stated]
        if others and self._harmless(name, others[-1]):
            stated = Range(stated.least, stated.most)
        below = {stated.least - 1, 1} - {0}
        if stated.least > 1 and all(self._harmless(name, v) for v in below):
            stated = Range(1, stated.most, stated.multiple, stated.rest)
        return stated

    def _harmless(self, name: str, value: int) -> bool:
        values = {**self.values, name: value}
        if self.original is not None:
            return self.original.verdict(self.graph, values) in (Verdict.SAME, Verdict.SILENT)
        return answers(self.graph, feeds_of_ones(self.graph, values)) is None

    def _compared(self, name: str, stated: Range) -> Range | None:
        """The part of the range in which the module says the same; None where that is no range."""
        if self.original is None:
            return stated
        made_with = self.values[name]
        tried = [v for v in (*TRIED, made_with + 1, 2 * made_with + 3) if v != made_with and v in stated]
        said = {v: self.original.verdict(self.graph, {**self.values, name: v}) for v in tried if v <= MOST_TRIED}
        wrong = [v for v, verdict in said.items() if verdict is Verdict.OTHER]
        if wrong == [1]:
            return Range(2, stated.most, stated.multiple, stated.rest)
        refused = name in self.freed and Verdict.REFUSED in said.values() and Verdict.SAME not in said.values()
        return None if wrong or refused else stated

    def notes(self, ranges: Mapping[str, Range]) -> list[str]:
        """What a reader must know of the sizes for which the graph holds."""
        found = [f"{name}: {r}, for which the program was exported; others are refused" for name, r in ranges.items()]
        for given, axis in self.freed.values() if self.original is None else ():
            found.append(
                f"{ASSUMED}input {given!r} takes any size at dimension {axis}, though the program was exported for "
                f"{self.example[given, axis]} alone, as torch does with all that a recurrence runs over; where forward "
                f"branches on that size, fix it ({as_typed('shapes', given)})"
            )
        for condition in self.conditions:
            names = sorted(self._names_in(condition))
            if len(names) > 1 and "!=" not in condition.text and not self._always(condition, names):
                found.append(f"{ASSUMED}of {', '.join(names)}: {condition.text}")
        found += [
            f"{ASSUMED}that this holds, which is not understood: {text[:200]}" for text in self.unread if self.names
        ]
        return found

    def _always(self, condition: Condition, names: list[str]) -> bool:
        """Whether a condition of several sizes holds for whatever they are."""
        tried = (1, 2, 5, 17, 64)
        return all(self._holds(condition, dict(zip(names, values))) for values in product(tried, repeat=len(names)))


def _conditions(traced: Traced) -> list[Condition]:
    found = [guards.parsed(text) for text in traced.guards]
    for given in traced.inputs:
        for axis, size in enumerate(given.sizes):
            if isinstance(size, Extent) and size.alone:
                for name in size.names & traced.ranges.keys():
                    found.append(guards.within((given.name, axis), *traced.ranges[name]))
    return [c for c in found if c is not None]


def _exported_frames(traced: Traced, graph: Graph) -> int:
    """The number of frames that the program was exported for, where that number became free again; else 0."""
    for given, port in zip(traced.inputs, graph.inputs):
        for number, size in zip(given.sizes, graph.shape(port.tensor)):
            if size == FRAMES and isinstance(number, int):
                return number
    return 0
