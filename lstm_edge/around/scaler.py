"""A fitted scaler as arithmetic by columns: which raw column each scaled one is made of, and the steps that make it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import FormatError

LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Step:
    """Columns x -> (x - centre) * factor + offset, then within low..high (infinite: no bound). Each float64 (columns,)."""

    centre: np.ndarray
    factor: np.ndarray
    offset: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def fields(self) -> tuple[np.ndarray, ...]:
        return self.centre, self.factor, self.offset, self.low, self.high

    @property
    def clips(self) -> bool:
        return bool(np.isfinite(self.low).any() or np.isfinite(self.high).any())

    @property
    def does_nothing(self) -> bool:
        return not self.clips and bool((self.factor == 1).all() and (self.offset == self.centre).all())

    def at(self, columns: Sequence[int]) -> Step:
        return Step(*(values[list(columns)] for values in self.fields))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """x: (..., columns) float64. NaN stays NaN."""
        scaled: np.ndarray = np.clip((x - self.centre) * self.factor + self.offset, self.low, self.high)
        return scaled

    @property
    def inverse(self) -> Step:
        """From scaled to raw; what was clipped is not undone, as in scikit-learn."""
        return step(self.offset, 1 / self.factor, self.centre)


def step(centre: Any, factor: Any, offset: Any, low: Any = -np.inf, high: Any = np.inf) -> Step:
    """A Step of numbers and columns, which are broadcast against one another."""
    values = np.broadcast_arrays(*(np.asarray(v, np.float64).reshape(-1) for v in (centre, factor, offset, low, high)))
    return Step(*(np.array(v) for v in values))


def _joined(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The same with neighbours that are one line through the numbers made one, in float64, and idle ones left out."""
    kept: list[Step] = []
    for new in steps:
        if kept and not kept[-1].clips:
            old = kept.pop()
            offset = (old.offset - new.centre) * new.factor + new.offset
            new = Step(old.centre, old.factor * new.factor, offset, new.low, new.high)
        kept.append(new)
    return tuple(s for s in kept if not s.does_nothing)


@dataclass(frozen=True)
class Scaler:
    """kind: as a reader knows it; width: raw columns; source: of each scaled column the raw one that it is made of; names: of the
    raw columns, () where nobody said them. FormatError where a number is not finite or float32 cannot hold it."""

    kind: str
    width: int
    source: tuple[int, ...]
    steps: tuple[Step, ...]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in self.steps:
            for column in range(len(self.source)):
                numbers = [float(values[column]) for values in part.fields[:3]]
                size = abs(numbers[1])
                if not all(np.isfinite(numbers)) or not 1e-37 < size < 1e37 or max(map(abs, numbers)) > LARGEST:
                    raise FormatError(
                        f"{self.kind}: column {self.label(self.source[column])}: expected finite numbers of float32's range, found "
                        f"(x - {numbers[0]:g}) * {numbers[1]:g} + {numbers[2]:g}"
                    )

    def label(self, column: int) -> str:
        """A raw column as messages name it: by name, else by number from 0."""
        return repr(self.names[column]) if self.names else str(column)

    @property
    def labels(self) -> str:
        shown = [self.label(n) for n in range(self.width)]
        return ", ".join(shown[:12] + ["..."] * (len(shown) > 12))

    @property
    def keeps_columns(self) -> bool:
        """Whether scaled column n is made of raw column n, for all n."""
        return self.source == tuple(range(self.width))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(..., width) -> (..., scaled columns), in float64."""
        scaled: np.ndarray = np.asarray(x, np.float64)[..., list(self.source)]
        for part in self.steps:
            scaled = part(scaled)
        return scaled

    @property
    def inverse(self) -> Scaler:
        """Scaled to raw, of a scaler that keeps its columns."""
        return replace(self, steps=tuple(part.inverse for part in reversed(self.steps)))

    def of(self, columns: Sequence[int]) -> Scaler:
        """The scaler of some of the raw columns alone, in this order. FormatError for one that it does not make just one column of."""
        places = []
        for column in columns:
            made = [n for n, source in enumerate(self.source) if source == column]
            if len(made) != 1:
                raise FormatError(
                    f"column {self.label(column)}: expected one that {self.kind} scales once, found {len(made)} columns made of it"
                )
            places.append(made[0])
        names = tuple(self.names[n] for n in columns) if self.names else ()
        width = len(columns)
        return Scaler(self.kind, width, tuple(range(width)), tuple(part.at(places) for part in self.steps), names)

    @property
    def without_unused(self) -> Scaler:
        """The same without raw columns that nothing is made of, where columns have names to be found by."""
        used = sorted(set(self.source))
        if not self.names or len(used) == self.width:
            return self
        source = tuple(used.index(n) for n in self.source)
        return replace(self, width=len(used), source=source, names=tuple(self.names[n] for n in used))

    @property
    def spread(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each raw column, a value that becomes 0 and the distance that becomes 1 (0 and 1 where nothing is made of it)."""
        centre, size = np.zeros(self.width), np.ones(self.width)
        at = list(self.source)
        zero, one = np.zeros(len(at)), np.ones(len(at))
        for part in reversed(self.steps):
            back = part.inverse
            zero, one = back(zero), back(one)
        centre[at], size[at] = zero, np.abs(one - zero)
        return centre, size

    # ---- as a file keeps it ------------------------------------------------------------------------------------------

    def as_metadata(self) -> dict[str, Any]:
        """What JSON holds of it; `from_metadata` reads it."""
        steps = [
            {name: [float(v) if np.isfinite(v) else None for v in values] for name, values in zip(FIELDS, s.fields)}
            for s in self.steps
        ]
        return {
            "kind": self.kind,
            "columns": list(self.names),
            "width": self.width,
            "source": list(self.source),
            "steps": steps,
        }


FIELDS = ("centre", "factor", "offset", "low", "high")


def from_metadata(about: Any, place: str) -> Scaler:
    """The scaler that a file keeps. FormatError for what none was written as."""
    try:
        steps = []
        for part in about["steps"]:
            limits = [
                [bound if v is None else v for v in part[name]]
                for name, bound in zip(FIELDS, (0.0, 0.0, 0.0, -np.inf, np.inf))
            ]
            steps.append(step(*limits))
        source, width = tuple(map(int, about["source"])), int(about["width"])
        names = tuple(map(str, about["columns"]))
        fits = all(len(part.centre) == len(source) for part in steps) and len(names) in (0, width)
        if not fits or any(not 0 <= n < width for n in source):
            raise ValueError("sizes that do not fit")
        return Scaler(str(about["kind"]), width, source, tuple(steps), names)
    except (KeyError, TypeError, ValueError, OverflowError) as why:
        raise FormatError(f"{place}: expected a scaler as convert writes it ({type(why).__name__}: {why})") from None


# ---- making ----------------------------------------------------------------------------------------------------------


def simple(kind: str, part: Step, names: Sequence[str] = ()) -> Scaler:
    """A scaler of one step that keeps its columns."""
    width = len(part.centre)
    return Scaler(kind, width, tuple(range(width)), _joined([part]), tuple(names))


def composed(kind: str, parts: Sequence[Scaler]) -> Scaler:
    """One after the other; each takes as many columns as the one before gives."""
    first, *others = parts
    source, steps = list(first.source), list(first.steps)
    for part in others:
        if part.width != len(source):
            raise FormatError(f"{kind}: {part.kind}: expected {len(source)} columns, as come to it, found {part.width}")
        source = [source[n] for n in part.source]
        steps = [*(s.at(part.source) for s in steps), *part.steps]
    return Scaler(kind, first.width, tuple(source), _joined(steps), first.names)


def beside(kind: str, width: int, parts: Sequence[tuple[Scaler, Sequence[int]]], names: Sequence[str] = ()) -> Scaler:
    """Each of some columns of `width`, their answers one behind the other."""
    source: list[int] = []
    count = max((len(part.steps) for part, _ in parts), default=0)
    rows: list[list[Step]] = [[] for _ in range(count)]
    for part, columns in parts:
        if part.width != len(columns):
            raise FormatError(f"{kind}: {part.kind}: expected {len(columns)} columns, found {part.width}")
        source += [columns[n] for n in part.source]
        idle = step(np.zeros(len(part.source)), 1, 0)
        for n, row in enumerate(rows):
            row.append(part.steps[n] if n < len(part.steps) else idle)
    steps = [Step(*(np.concatenate(values) for values in zip(*(s.fields for s in row)))) for row in rows]
    return Scaler(kind, width, tuple(source), _joined(steps), tuple(names))
