"""metadata["forecast"]: what a file says of the series that it forecasts. Written by training, read on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .._core import Model
from ..errors import FormatError
from .steps import Step, step_of

MODES = ("direct", "recursive")


@dataclass(frozen=True)
class Description:
    """The series of a forecast file (docs/forecasting.md).

    input, output: names of the model's. columns: of a frame of `input`; targets: what `output` forecasts, and feedback: the column
    that each target continues. static: columns (positions) that keep their value. known: columns of the input `known`. time: the
    int32 input of minutes since 1970, time_column: where a table has it. group: a table's column that says which series a row is of. step: between frames, such as "1 month", and minutes: the same
    in minutes, on average. horizon: times that a frame's
    answer reaches. quantiles: in the answer's last axis, none without. window: frames of a training example.
    """

    input: str
    output: str
    columns: tuple[str, ...]
    targets: tuple[str, ...]
    feedback: tuple[int, ...]
    horizon: int = 1
    quantiles: tuple[float, ...] = ()
    static: tuple[int, ...] = ()
    known: tuple[str, ...] = ()
    time: str | None = None
    time_column: str | None = None
    minutes: int | None = None
    step: str | None = None
    group: str | None = None
    window: int | None = None
    mode: str = "direct"

    def to_metadata(self) -> dict[str, Any]:
        """As it stands in the file's JSON."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_metadata(cls, stored: Any) -> Description:
        """Raises FormatError with everything that is wrong in it."""
        if not isinstance(stored, Mapping):
            raise FormatError(f"metadata forecast: expected an object, found {type(stored).__name__}")
        given = {f.name: stored[f.name] for f in fields(cls) if f.name in stored}
        wrong = [f"{name}: expected it, found nothing" for name in _NEEDED if name not in given]
        wrong += [
            f"{name}: expected {_KINDS[name].words}, found {value!r}"
            for name, value in given.items()
            if not _KINDS[name].holds(value)
        ]
        if not wrong:
            values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
            made = cls(**values)
            wrong = made._contradictions()
        if wrong:
            raise FormatError(f"metadata forecast: {'; '.join(wrong)}")
        return made

    def _contradictions(self) -> list[str]:
        columns, targets = len(self.columns), len(self.targets)
        wrong = []
        if len(self.feedback) != targets:
            wrong.append(f"feedback: expected {targets} columns, one for each target, found {len(self.feedback)}")
        for name, places in (("feedback", self.feedback), ("static", self.static)):
            if any(p >= columns for p in places) or len(set(places)) != len(places):
                wrong.append(f"{name}: expected different positions below {columns}, found {list(places)}")
        if set(self.feedback) & set(self.static):
            wrong.append(
                f"static: expected columns that are no targets, found {sorted({*self.feedback} & {*self.static})}"
            )
        if self.time is not None and self.between is None:
            wrong.append("minutes: expected the minutes between frames, or a step, beside `time`, found nothing")
        return wrong

    @property
    def between(self) -> Step | None:
        """The time between frames; None where the file does not say it."""
        if self.step is not None:
            return step_of(self.step)
        return None if self.minutes is None else Step(60 * self.minutes)

    @property
    def median(self) -> int | None:
        """The place of the quantile that is fed back; 0 without quantiles, None where the median is not among them."""
        if not self.quantiles:
            return 0
        return self.quantiles.index(0.5) if 0.5 in self.quantiles else None

    @property
    def blocking(self) -> tuple[str, ...]:
        """Columns that nobody knows beyond the horizon: neither targets nor static."""
        return tuple(n for i, n in enumerate(self.columns) if i not in self.feedback and i not in self.static)


@dataclass(frozen=True)
class _Kind:
    words: str
    holds: Callable[[Any], bool]


def _is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value < 2**31


def _list_of(holds: Callable[[Any], bool], least: int = 0) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (list, tuple)) and len(value) >= least and all(map(holds, value))


def _is_word(value: Any) -> bool:
    return isinstance(value, str)


def _is_place(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _is_quantile(value: Any) -> bool:
    return isinstance(value, float) and 0 < value < 1


_NAME = _Kind("a name", _is_word)
_NAMES = _Kind("names, at least one", _list_of(_is_word, 1))
_PLACES = _Kind("positions of columns", _list_of(_is_place))
_NAME_OR_NONE = _Kind("a name or null", lambda v: v is None or _is_word(v))
_COUNT_OR_NONE = _Kind("a whole number above 0 or null", lambda v: v is None or _is_count(v))
_NEEDED = ("input", "output", "columns", "targets", "feedback")
_KINDS = {
    "input": _NAME,
    "output": _NAME,
    "columns": _NAMES,
    "targets": _NAMES,
    "feedback": _PLACES,
    "horizon": _Kind("a whole number above 0", _is_count),
    "quantiles": _Kind("numbers between 0 and 1", _list_of(_is_quantile)),
    "static": _PLACES,
    "known": _Kind("names", _list_of(_is_word)),
    "time": _NAME_OR_NONE,
    "time_column": _NAME_OR_NONE,
    "group": _NAME_OR_NONE,
    "minutes": _COUNT_OR_NONE,
    "step": _Kind('a time such as "1 hour" or null', lambda v: v is None or (_is_word(v) and step_of(v) is not None)),
    "window": _COUNT_OR_NONE,
    "mode": _Kind(" or ".join(MODES), lambda v: v in MODES),
}


def description_of(model: Model) -> Description | None:
    """What the file says, None where it says nothing. Raises FormatError where it does not fit its own network."""
    if "forecast" not in model.metadata:
        return None
    made = Description.from_metadata(model.metadata["forecast"])
    inputs, outputs = ([p.name for p in ports] for ports in (model.inputs, model.outputs))
    named = [("input", made.input, inputs), ("output", made.output, outputs)]
    named += [("time", made.time, inputs)] if made.time is not None else []
    named += [("known", KNOWN, inputs)] if made.known else []
    wrong = [
        f"{key}: expected one of {', '.join(names)}, found {name!r}" for key, name, names in named if name not in names
    ]
    if wrong:
        raise FormatError(f"metadata forecast: {'; '.join(wrong)}")
    return made


KNOWN = "known"  # the name of the input of values that are known of times to come
