"""What answers mean: labels, and events with a start and an end, out of numbers for every frame, while they come or afterwards, by
what a file says of them. Plain Python."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from .errors import FormatError, ShapeError
from .metadata import section

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Union

    Told = Union["Event", "Label"]

AFTER = "after"  # of metadata, and of convert


class Event(NamedTuple):
    """From `start` to before `end`, in samples of the input."""

    start: int
    end: int


class Label(NamedTuple):
    """A label, its score, and the answer that it belongs to, from 0 on."""

    label: str
    score: float
    at: int


class Hysteresis:
    """When an event begins and ends: it begins with a frame of `threshold` or more; it ends where the probability fell below
    `below` and did not come back to `threshold` for `silence` samples; it counts if it is longer than `shortest` samples.

    One that goes on for more than `longest` samples is cut at its longest gap of more than `gap` samples, the next event beginning where
    that ended, or, where it has none, here; what is cut off counts whatever its length.

    hop: samples of a frame. below: threshold - 0.15 and at least 0.01 without it. That is the rule of Silero's timestamps.
    `feed` takes probabilities as they come; `finish` ends the recording. ShapeError for numbers that cannot be.
    """

    def __init__(
        self, hop: int, threshold: float = 0.5, below: float | None = None, shortest: float = 0, silence: float = 0,
        longest: float = math.inf, gap: float = 0,
    ):  # fmt: skip
        _check_numbers(hop=hop, threshold=threshold, shortest=shortest, silence=silence, longest=longest, gap=gap)
        _check_numbers(below=0 if below is None else below)
        self.hop, self.threshold, self.shortest, self.silence = hop, threshold, shortest, silence
        self.below = max(threshold - 0.15, 0.01) if below is None else below
        self.longest, self.gap = longest, gap
        if not (hop >= 1 and shortest >= 0 and silence >= 0 and longest > 0 and gap >= 0):
            raise ShapeError(
                f"expected a hop of 1 or more, a longest event of more than 0 samples and durations of 0 or more, "
                f"found {hop}, {longest:g} and {shortest:g}, {silence:g}, {gap:g}"
            )
        if not 0 <= self.below <= threshold <= 1:
            raise ShapeError(f"expected 0 <= below <= threshold <= 1, found {self.below:g} and {threshold:g}")
        self.at = 0
        self.start: int | None = None
        self.quiet: int | None = None  # where the probability fell, while it is not known whether the event ends there
        self.best: tuple[int, int] | None = None  # the event's longest gap so far: where it began, where it ended

    def feed(self, probabilities: Iterable[Any]) -> list[Event]:
        """The events that end with these frames; each is known when a frame begins `silence` samples after its end, or when it is cut."""
        ended = []
        for probability in probabilities:
            at, self.at = self.at, self.at + self.hop
            is_loud = probability >= self.threshold
            if is_loud:
                self._close_gap(at)
            if self.start is None:
                self.start = at if is_loud else None
                continue
            if at - self.start > self.longest:
                ended.append(self._cut(self.start, at))
            if probability < self.below and self.start is not None:
                self.quiet = at if self.quiet is None else self.quiet
                if at - self.quiet >= self.silence:
                    ended += self._counted(self.quiet)
        return ended

    def _close_gap(self, at: int) -> None:
        """Keeps the gap that a loud frame ends, where it is the longest; the first of equals."""
        if self.quiet is not None and at - self.quiet > self.gap:
            if self.best is None or at - self.quiet > self.best[1] - self.best[0]:
                self.best = (self.quiet, at)
        self.quiet = None

    def _cut(self, start: int, at: int) -> Event:
        end, self.start = self.best or (at, None)
        self.quiet = self.best = None
        return Event(start, end)

    def finish(self, samples: int | None = None) -> list[Event]:
        """The event that goes on to the end of a recording of `samples` (default: of all frames)."""
        return self._counted(self.at if samples is None else samples)

    def _counted(self, end: int) -> list[Event]:
        start, self.start, self.quiet, self.best = self.start, None, None, None
        return [Event(start, end)] if start is not None and end - start > self.shortest else []


class Padding:
    """Events made `pad` samples longer on both sides, within the recording; two that would meet share what lies between.

    An event is known when the next one can no longer meet it: `delay` samples after its end, or when the next one has ended.
    """

    def __init__(self, rule: Hysteresis, pad: float):
        self.rule, self.pad = rule, pad
        self.delay = math.ceil(max(max(rule.silence, pad) + rule.hop, 2 * pad))
        self.held: Event | None = None  # its start is padded

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Those that are known, once the rule has told `events`."""
        known = []
        for event in events:
            reach = self.pad
            if self.held is not None:
                between = event.start - self.held.end
                reach = self.pad if between >= 2 * self.pad else between // 2
                known.append(self.held._replace(end=int(self.held.end + reach)))
            self.held = Event(int(max(0, event.start - reach)), event.end)
        if self.held is not None and self._is_alone(self.held.end):
            known.append(self.held._replace(end=int(self.held.end + self.pad)))
            self.held = None
        return known

    def _is_alone(self, end: int) -> bool:
        """Whether no event to come can begin within two paddings of `end`, and the recording goes on beyond one."""
        begun = self.rule.start
        return self.rule.at >= end + self.delay and (begun is None or begun >= end + 2 * self.pad)

    def finish(self, events: Iterable[Event], samples: int) -> list[Event]:
        """What is left at the end of a recording of `samples`."""
        known = self.feed(events)
        if self.held is not None:
            known.append(self.held._replace(end=int(min(samples, self.held.end + self.pad))))
            self.held = None
        return known


def padded(events: Iterable[Event], pad: float, samples: int) -> list[Event]:
    """All events of a recording of `samples`, each made `pad` samples longer on both sides: see Padding."""
    return Padding(Hysteresis(1), pad).finish(events, samples)


def speech(
    probabilities: Iterable[Any], *, hop: int = 512, rate: int = 16000, samples: int | None = None, threshold: float = 0.5,
    neg_threshold: float | None = None, min_speech_duration_ms: float = 250, min_silence_duration_ms: float = 100,
    speech_pad_ms: float = 30, max_speech_duration_s: float = math.inf, min_silence_at_max_speech: float = 98,
) -> list[Event]:  # fmt: skip
    """Where speech is, by a probability for every frame of `hop` samples: the timestamps of Silero's package, with its arguments."""
    _check_numbers(
        rate=rate, min_speech_duration_ms=min_speech_duration_ms, min_silence_duration_ms=min_silence_duration_ms,
        speech_pad_ms=speech_pad_ms, max_speech_duration_s=max_speech_duration_s,
        min_silence_at_max_speech=min_silence_at_max_speech, hop=hop, samples=0 if samples is None else samples,
    )  # fmt: skip
    shortest, silence = rate * min_speech_duration_ms / 1000, rate * min_silence_duration_ms / 1000
    pad, gap = rate * speech_pad_ms / 1000, rate * min_silence_at_max_speech / 1000
    longest = longest_before_padding(rate * max_speech_duration_s, hop, pad)
    rule = Hysteresis(hop, threshold, neg_threshold, shortest, silence, longest, gap)
    padding = Padding(rule, pad)
    events = padding.feed(rule.feed(probabilities))
    whole = rule.at if samples is None else samples
    return events + padding.finish(rule.finish(whole), whole)


def longest_before_padding(samples: float, hop: int, pad: float) -> float:
    """What an event may have before it is cut, so that with the frame that shows it and its padding it has `samples` at most."""
    return samples - hop - 2 * pad


def meanings(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of its outputs: what `convert` kept, and the labels of `lstm-edge train`."""
    found = dict(section(metadata, AFTER))
    for task in ("classify", "label"):
        trained = section(metadata, task)
        if trained:
            about = {"type": "labels", "labels": trained.get("labels"), "top": 1, "threshold": None}
            found.setdefault(str(trained.get("output")), about)
    return found


class Answers:
    """What the answers of a model mean, by the metadata of its file (`convert(after=)`, or training), as they come.

    model: a Model, or anything with such `metadata`. output: whose; None takes the only one of which the file says it.
    kind: "labels", told for every answer, the `top` best of it that reach `threshold`; "ctc", the best label where it is neither the
    blank nor that of the answer before; or "events", told when they have ended
    and `delay` samples have come after that. FormatError where the file says nothing of the output, or what cannot be.
    """

    def __init__(self, model: Any, output: str | None = None):
        if not hasattr(model, "metadata"):
            raise FormatError(f"expected a model, whose file says what its answers mean, found {type(model).__name__}")
        described = meanings(model.metadata)
        if output is None and len(described) == 1:
            output = next(iter(described))
        if output is None or output not in described:
            found = ", ".join(described) or "none"
            raise FormatError(f"metadata {AFTER!r}: expected the meaning of output {output!r}, found that of {found}")
        place = f"metadata {AFTER!r}"
        about = section(described, output, place)
        self.output: str = output
        self.kind = about.get("type")
        self.at = self.delay = 0
        self.rate = 0.0
        try:
            if self.kind == "events":
                self._set_events(about)
            elif self.kind in ("labels", "ctc"):
                if not isinstance(about["labels"], list) or not about["labels"]:
                    raise ValueError(f"labels {about['labels']!r}")
                self.labels = [str(name) for name in about["labels"]]
                self.width, self.top = len(self.labels), int(about["top"])
                self.threshold = None if about["threshold"] is None else float(about["threshold"])
                self.blank = self.newest = int(about["blank"]) if self.kind == "ctc" else None
                if not 1 <= self.top <= self.width or not 0 <= (self.blank or 0) < self.width:
                    raise ValueError(f"top {self.top}, blank {self.blank} of {self.width} labels")
            else:
                raise ValueError(f"type {self.kind!r}")
        except (KeyError, TypeError, ValueError, OverflowError, ShapeError) as error:
            raise FormatError(f"{place} {output!r}: {_found(error)}") from error

    def _set_events(self, about: Any) -> None:
        self.rate, self.column, self.width = float(about["rate"]), int(about["column"]), int(about["width"])
        pad = float(about["pad"])
        if not 0 < self.rate < math.inf or not 0 <= self.column < self.width or not 0 <= pad < math.inf:
            raise ValueError(f"rate {self.rate:g}, column {self.column} of {self.width}, padding {pad:g}")
        threshold, below, shortest, silence = (
            float(about[k]) for k in ("threshold", "neg_threshold", "min_duration", "min_silence")
        )
        hop, longest, gap = int(about["hop"]), float(about.get("max_duration", math.inf)), float(about.get("gap", 0))
        longest = longest_before_padding(longest, hop, pad)
        self.rule = Hysteresis(hop, threshold, below, shortest, silence, longest, gap)
        self.padding = Padding(self.rule, pad)
        self.delay = self.padding.delay

    def __str__(self) -> str:
        """In words, for people."""
        if self.kind != "events":
            shown = ", ".join([*self.labels[:12], *["..."] * (self.width > 12)])
            least = "" if self.threshold is None else f" where its score is {self.threshold:g} or more"
            if self.kind == "ctc":
                return f"symbols by greedy CTC{least}, of {shown}; blank is value {self.blank}"
            return f"{'the label' if self.top == 1 else f'the best {self.top} labels'}{least}, of {shown}"
        rule, ms = self.rule, 1000 / self.rate
        cut = (
            ""
            if rule.longest == math.inf
            else (
                f"cut before they are longer than {rule.longest * ms + (rule.hop + 2 * self.padding.pad) * ms:g} ms, at a gap of more than "
                f"{rule.gap * ms:g} ms where they have one, and known then; "
            )
        )
        return (
            f"events of {rule.threshold:g} or more, ended below {rule.below:g} for {rule.silence * ms:g} ms, longer than "
            f"{rule.shortest * ms:g} ms, padded by {self.padding.pad * ms:g} ms; {cut}known {self.delay * ms:g} ms after their end"
        )

    def feed(self, answers: Any) -> list[Told]:
        """What the next answers of one sequence tell: (n, width) numbers, an array or lists, with or without a batch axis of 1.
        ShapeError for another width, several sequences, and what are no numbers."""
        self._check_is_one_sequence(getattr(answers, "shape", ()))
        values = list(_numbers(answers))
        if len(values) % self.width:
            raise ShapeError(
                f"output {self.output}: expected {self.width} values an answer, found {len(values)} in all"
            )
        if self.kind == "events":
            return [*self.padding.feed(self.rule.feed(values[self.column :: self.width]))]
        told: list[Told] = []
        for begin in range(0, len(values), self.width):
            told += self._best(values[begin : begin + self.width])
            self.at += 1
        return told

    def _check_is_one_sequence(self, shape: Any) -> None:
        count = math.prod(shape)
        counts = (
            [n * self.width for n in (shape[0], shape[1] if shape[0] == 1 else shape[0])] if len(shape) > 1 else [count]
        )
        if count not in counts and not count % self.width:
            raise ShapeError(
                f"output {self.output}: expected the answers of one sequence, {self.width} values each, found shape {tuple(shape)}; "
                "an Answers follows one sequence: give each its own"
            )

    def _best(self, scores: list[float]) -> list[Label]:
        """The top of one answer, the first of equals first; what is no number is none of it."""
        numbers = [n for n in range(self.width) if scores[n] == scores[n]]
        order = sorted(numbers, key=lambda n: -scores[n])[: self.top]
        if self.kind == "ctc":
            before, self.newest = self.newest, order[0] if order else self.blank
            order = [n for n in order if n not in (before, self.blank)]
        least = self.threshold
        return [Label(self.labels[n], scores[n], self.at) for n in order if least is None or scores[n] >= least]

    def finish(self, samples: int | None = None) -> list[Told]:
        """What the end of the recording tells, of `samples` where its last frame was filled up."""
        if self.kind != "events":
            return []
        whole = self.rule.at if samples is None else samples
        return [*self.padding.finish(self.rule.finish(whole), whole)]


def _check_numbers(**given: Any) -> None:
    """ShapeError for the first argument that is no number."""
    for name, value in given.items():
        if not hasattr(value, "__float__"):
            raise ShapeError(f"{name}: expected a number, found {value!r}")


def _found(error: Exception) -> str:
    return str(error) if isinstance(error, ShapeError) else f"expected what {AFTER} writes, found {error}"


def _numbers(values: Any) -> Iterator[float]:
    """Numbers of an array, a buffer, lists of any depth, in order."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, (int, float)):
        yield float(values)
    elif isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping)):
        for value in values:
            yield from _numbers(value)
    else:
        raise ShapeError(f"expected numbers, an array or lists of them, found {type(values).__name__}")
