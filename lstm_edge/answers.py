"""What answers mean: events with a start and an end out of a probability for every frame, while it comes or afterwards. Plain Python."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .errors import ShapeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Event(NamedTuple):
    """From `start` to before `end`, in samples of the input."""

    start: int
    end: int


class Hysteresis:
    """When an event begins and ends: it begins with a frame of `threshold` or more; it ends where the probability fell below
    `below` and did not come back to `threshold` for `silence` samples; it counts if it is longer than `shortest` samples.

    hop: samples of a frame. below: threshold - 0.15 and at least 0.01 without it. That is the rule of Silero's timestamps.
    `feed` takes probabilities as they come; `finish` ends the recording. ShapeError for numbers that cannot be.
    """

    def __init__(
        self, hop: int, threshold: float = 0.5, below: float | None = None, shortest: float = 0, silence: float = 0
    ):
        self.hop, self.threshold, self.shortest, self.silence = hop, threshold, shortest, silence
        self.below = max(threshold - 0.15, 0.01) if below is None else below
        if hop < 1 or min(shortest, silence) < 0:
            raise ShapeError(
                f"expected a hop of 1 or more and durations of 0 or more, found {hop}, {shortest}, {silence}"
            )
        if not 0 <= self.below <= threshold <= 1:
            raise ShapeError(f"expected 0 <= below <= threshold <= 1, found {self.below:g} and {threshold:g}")
        self.at = 0
        self.start: int | None = None
        self.quiet: int | None = None  # where the probability fell, while it is not known whether the event ends there

    def feed(self, probabilities: Iterable[Any]) -> list[Event]:
        """The events that end with these frames; each is known `silence` samples after its end."""
        ended = []
        for probability in probabilities:
            at, self.at = self.at, self.at + self.hop
            if probability >= self.threshold:
                self.quiet = None
                self.start = at if self.start is None else self.start
            elif probability < self.below and self.start is not None:
                self.quiet = at if self.quiet is None else self.quiet
                if at - self.quiet >= self.silence:
                    ended += self._counted(self.quiet)
        return ended

    def finish(self, samples: int | None = None) -> list[Event]:
        """The event that goes on to the end of a recording of `samples` (default: of all frames)."""
        return self._counted(self.at if samples is None else samples)

    def _counted(self, end: int) -> list[Event]:
        start, self.start, self.quiet = self.start, None, None
        return [Event(start, end)] if start is not None and end - start > self.shortest else []


def padded(events: list[Event], pad: int, samples: int) -> list[Event]:
    """Events made `pad` samples longer on both sides, within a recording of `samples`; two that would meet share what lies between."""
    ends = [event.end for event in events]
    starts = [event.start for event in events]
    for n in range(len(events)):
        if n == 0:
            starts[0] = max(0, starts[0] - pad)
        if n + 1 == len(events):
            ends[n] = min(samples, ends[n] + pad)
        elif starts[n + 1] - ends[n] < 2 * pad:
            half = (starts[n + 1] - ends[n]) // 2
            ends[n], starts[n + 1] = ends[n] + half, max(0, starts[n + 1] - half)
        else:
            ends[n], starts[n + 1] = min(samples, ends[n] + pad), max(0, starts[n + 1] - pad)
    return [Event(start, end) for start, end in zip(starts, ends)]


def speech(
    probabilities: Iterable[Any], *, hop: int = 512, rate: int = 16000, samples: int | None = None, threshold: float = 0.5,
    neg_threshold: float | None = None, min_speech_duration_ms: float = 250, min_silence_duration_ms: float = 100,
    speech_pad_ms: float = 30,
) -> list[Event]:  # fmt: skip
    """Where speech is, by a probability for every frame of `hop` samples: the timestamps of Silero's package, with its arguments."""
    shortest, silence = rate * min_speech_duration_ms / 1000, rate * min_silence_duration_ms / 1000
    rule = Hysteresis(hop, threshold, neg_threshold, shortest, silence)
    events = rule.feed(probabilities)
    whole = rule.at if samples is None else samples
    return padded(events + rule.finish(whole), int(rate * speech_pad_ms / 1000), whole)
