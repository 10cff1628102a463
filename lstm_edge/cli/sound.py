"""Sound as `lstm-edge run` takes it: one channel, at the rate of the model, cut into its frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import click
import numpy as np

from ..errors import ShapeError
from ..metadata import sample_rate
from .io import NO_RATE, SUFFIXES, note, suffix_of
from .options import Decorated, Kind
from .pcm import RAW, RawReader
from .pipes import Pipe
from .records import KINDS
from .wav import WavReader

MIX = 0
MOST_RATE = 0xFFFFFFFF  # that the header of a .wav can say


@dataclass(frozen=True)
class SoundOptions:
    """kind: what standard input holds, None where its first bytes tell. raw: how samples without a header are written. channel: counted from 1, MIX their mean, None the only one."""

    raw: str | None = None
    rate: int | None = None
    channels: int | None = None
    channel: int | None = None
    resample: bool = False
    kind: str | None = None

    def check(self, paths: tuple[str, ...]) -> None:
        """UsageError for what says nothing without --raw, or beside it, or of these inputs."""
        if self.raw and not any(map(self.takes_raw, paths)):
            raise click.UsageError(
                f"--raw is of what has no header: found {', '.join(paths)}, whose name says another."
            )
        if self.raw and self.kind:
            raise click.UsageError("--from names what has a header: it goes without --raw.")
        if self.raw is None and (self.rate or self.channels):
            flag = "--rate" if self.rate else "--channels"
            raise click.UsageError(f"{flag} goes with --raw: a .wav says it itself.")
        if self.raw and self.channel and self.channel > (self.channels or 1):
            raise click.UsageError(f"--channel: expected one of {self.channels or 1}, found {self.channel}.")

    def takes_raw(self, path: str) -> bool:
        return self.raw is not None and suffix_of(path) not in SUFFIXES


class Channel(Kind):
    """A channel, counted from 1, or `mix`."""

    name = "channel"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        with suppress(ValueError):
            if value == "mix" or int(value) > 0:
                return MIX if value == "mix" else int(value)
        self.fail(f"expected a number from 1 on, or mix, found {value!r}", param, ctx)


def sound_options(command: Decorated) -> Decorated:
    """The options of a command that make SoundOptions."""
    for option in reversed(
        (
            click.option("--from", "kind", type=click.Choice(KINDS), help="Kind of standard input; default: found."),
            click.option("--raw", type=click.Choice(list(RAW)), help="Standard input is samples without a header."),
            click.option("--rate", type=click.IntRange(1, MOST_RATE), metavar="HZ", help="Samples a second of --raw."),
            click.option("--channels", type=click.IntRange(1, 64), metavar="N", help="Channels of --raw (1)."),
            click.option("--channel", type=Channel(), metavar="N|mix", help="The channel to take, or their mean."),
            click.option("--resample", is_flag=True, help="Bring sound to the model's rate (extra audio: soxr)."),
        )
    ):
        command = option(command)
    return command


class Sound:
    """One channel of a .wav or of raw samples, piece by piece, at the rate of the source until `resample` is called."""

    def __init__(self, path: str, options: SoundOptions, pipe: Pipe | None = None):
        pipe = pipe or Pipe(path)
        self.place, self.resampler, self.ended = pipe.place, None, False
        try:
            self.reader: RawReader | WavReader = (
                RawReader(pipe, options.raw or "", options.rate or 0, options.channels or 1)
                if options.takes_raw(path)
                else WavReader(pipe)
            )
            self.channel = self._chosen(options.channel)
        except BaseException:
            pipe.close()
            raise
        self.rate, self.count = self.reader.rate, self.reader.count
        self.taken = 0  # samples, so far

    def _chosen(self, channel: int | None) -> int:
        there = self.reader.channels
        if channel is None and there == 1:
            return 1
        if channel is None or channel > there:
            expected = "one channel" if channel is None else f"a channel {channel}"
            raise ShapeError(
                f"{self.place}: expected {expected}, found {there}; --channel N takes one, --channel mix their mean"
            )
        return channel

    def resample(self, rate: int) -> None:
        """From now on samples come at `rate`. ModuleNotFoundError without soxr."""
        import soxr

        self.resampler = soxr.ResampleStream(self.rate, rate, 1, dtype="float32")
        self.count = None if self.count is None else -(-self.count * rate // self.rate)
        self.rate = rate

    def read(self, count: int) -> np.ndarray:
        """The next samples that are there, about `count` at most, at least one; none at the end: float32 (n,)."""
        samples = self._next(count)
        self.taken += len(samples)
        return samples

    def _next(self, count: int) -> np.ndarray:
        if self.resampler is None:
            return self._of_channel(self.reader.read(count))
        samples = np.empty(0, np.float32)
        while not len(samples) and not self.ended:
            piece = self._of_channel(self.reader.read(math.ceil(count * self.reader.rate / self.rate)))
            self.ended = not len(piece)
            samples = self.resampler.resample_chunk(piece, last=self.ended)
        return samples

    @property
    def left_over(self) -> int:
        """Bytes at the end of samples of no known number that are no whole sample."""
        return len(self.reader.pipe.held) if self.reader.count is None else 0

    def _of_channel(self, samples: np.ndarray) -> np.ndarray:
        if self.channel != MIX:
            return samples[:, self.channel - 1]
        total = samples[:, 0].copy()  # one after the other: any cutting of the samples has the same sums
        for channel in range(1, samples.shape[1]):
            total += samples[:, channel]
        return total / np.float32(samples.shape[1])

    def close(self) -> None:
        self.reader.close()


def settle_rates(sounds: Sequence[Sound], model: Any, options: SoundOptions, quiet: bool) -> float:
    """The rate that all sounds have from now on, 0 without one.

    What is resampled or taken on trust is noted on stderr, unless `quiet`. ShapeError where rates differ and are not to be resampled.
    """
    say: Callable[[str], None] = note if not quiet else lambda text: None
    known = rate = int(sample_rate(model.metadata))
    if options.resample and not known:
        raise ShapeError("--resample: expected a model that says its rate (convert --rate HZ), found none")
    for sound in sounds:
        place, found = sound.place, sound.rate
        if not found:
            about = f"taken to have {known} Hz, the model's rate" if known else "has a rate that nobody says"
            say(f"{place}: {about}; --rate HZ says another" if known else f"{place}: {about}; --rate HZ does")
            sound.rate = known
            continue
        if not known:
            say(f"{place}: {found} Hz; {NO_RATE}")
        if rate and found != rate:
            whose = "the model's rate" if known else "that of the other input"
            if not options.resample:
                raise ShapeError(
                    f"{place}: expected {rate} Hz, {whose}, found {found} Hz; --resample brings it to that"
                )
            sound.resample(rate)
            say(f"{place}: resampled from {found} Hz to {rate} Hz, {whose}")
        rate = rate or found
    return rate
