"""Labels and events as lines of text, where a file says that its answers are such: csv with a line of names above, or jsonl."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..answers import Answers, Event, meanings
from ..errors import ShapeError
from .io import note
from .lines import FORMS, Clock, quoted

if TYPE_CHECKING:
    from ..answers import Told
    from .sound import Sound


class Meanings:
    """Writes what the answers of `output` mean: label,score for each answer; start,end in seconds when an event has ended."""

    def __init__(self, answers: Answers, times: bool):
        self.answers, self.output, self.times = answers, answers.output, times
        self.sounds: Sequence[Sound] = ()
        columns = ("start", "end") if answers.kind == "events" else ("label", "score")
        self.columns = ("time", *columns) if times else columns

    def follow(self, clock: Clock, sounds: Sequence[Sound]) -> None:
        """Where the answers stand in the input, and the sound whose end is that of the last event."""
        self.clock, self.sounds = clock, sounds

    def begin(self, file: IO[bytes], form: str) -> None:
        self.file, self.form = file, form
        if form == "csv":
            file.write(",".join(self.columns).encode() + b"\n")
            file.flush()

    def write(self, answers: Mapping[str, np.ndarray]) -> None:
        """answers: of the output alone, frames first. ShapeError for those of several sequences."""
        value = answers[self.output]
        if value.size != len(value) * self.answers.width:
            raise ShapeError(
                f"output {self.output}: expected answers of {self.answers.width} values, found {value.size // len(value)}: "
                "one sequence at a time has a meaning; --raw-answers writes the numbers of several"
            )
        first = self.answers.at
        told = self.answers.feed(value)
        self._lines(told, self.clock.times(self.output, len(value)) if self.times else [], first)

    def finish(self) -> None:
        self._lines(self.answers.finish(self.sounds[0].taken if self.sounds else None), [], 0)

    def _lines(self, told: Sequence[Told], times: Sequence[str], first: int) -> None:
        for one in told:
            if isinstance(one, Event):
                cells: list[Any] = [round(at / self.answers.rate, 6) for at in one]
            else:
                cells = [one.label, float(f"{one.score:.9g}")]
                cells = [float(times[one.at - first]), *cells] if self.times else cells
            self.file.write(self._line(cells).encode() + b"\n")

    def _line(self, cells: Sequence[Any]) -> str:
        if self.form == "jsonl":
            return json.dumps(dict(zip(self.columns, cells)), ensure_ascii=False)
        return ",".join(quoted(cell) if isinstance(cell, str) else f"{cell:.9g}" for cell in cells)


def meanings_of(model: Any, wanted: Sequence[str], path: str, form: str | None, times: bool) -> Meanings | None:
    """What the file says of the output that is written as text; None where it says nothing, or numbers are asked for (.npy, .npz, .wav).

    Of several outputs the only one with a meaning is taken, with a word on stderr. ShapeError where several have one.
    """
    described = [name for name in wanted if name in meanings(model.metadata)]
    suffix = os.path.splitext(path)[1].lower()[1:]
    if not described or (suffix in ("npy", "npz", "wav") or form not in (None, *FORMS)):
        return None
    if len(described) > 1:
        raise ShapeError(
            f"--select: expected one of the outputs that mean something ({', '.join(described)}), found none; "
            "--raw-answers writes the numbers of all"
        )
    if len(wanted) > 1:
        note(f"{described[0]} alone is written, whose meaning the file has; --raw-answers writes the numbers of all")
    answers = Answers(model, described[0])
    if times and answers.kind == "events":
        raise ShapeError("--times: expected answers that are told one by one, found events, which say start and end")
    return Meanings(answers, times)
