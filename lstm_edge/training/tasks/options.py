"""The options of the tasks beside forecasting. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..options import Options, option

CLASSES = (None, "cross-entropy")


def split_option() -> str:
    """`split`, of the tasks whose sequences can be held out whole or by their ends."""
    words = "What is held out: whole sequences, or the end of each; auto: sequences where there are ten."
    chosen: str = option("auto", words, choices=("auto", "sequences", "time"))
    return chosen


@dataclass(frozen=True)
class HeldOut(Options):
    """What every task holds out."""

    validation: float = option(0.15, "Share of the data that chooses the weights.", above=0, below=1)
    test: float = option(0.15, "Share of the data that is held out for the scores.", above=0, below=1)

    def contradictions(self) -> Iterator[str]:
        yield from super().contradictions()
        if self.validation + self.test >= 1:
            yield f"{self.typed('validation')} and {self.typed('test')} leave nothing to train on"

    def only_cross_entropy(self, what: str) -> Iterator[str]:
        if self.loss not in CLASSES:
            yield f"{self.typed('loss')} is for numbers; {what} takes cross-entropy"

    def no_bidirectional(self, why: str) -> Iterator[str]:
        if self.bidirectional:
            yield f"{self.typed('bidirectional')} reads frames to come, {why}; leave it out"


@dataclass(frozen=True)
class SequenceOptions(HeldOut):
    """How sequences are read from a table whose rows are frames."""

    group: str | None = option(None, "The column that says which sequence a row belongs to.", metavar="COLUMN")
    label: str | None = option(None, "The column of labels.", metavar="COLUMN")
    inputs: tuple[str, ...] = option(
        (), "A column of the frames; repeat. Default: all other columns of numbers.", metavar="COLUMN"
    )
    time: str | None = option(
        None,
        "The column that orders the frames; default: the first one that holds times, else as rows stand.",
        metavar="COLUMN",
    )
    delimiter: str | None = option(None, "What separates columns; default: found.", metavar="CHARACTER")
    missing: str = option("fill", "fill: the last value stands for a missing one; error.", choices=("fill", "error"))


@dataclass(frozen=True)
class ClassifyOptions(SequenceOptions):
    """A label for each sequence."""

    summary: str = option(
        "last",
        "What the label is read from: the last frame, or the mean or maximum over frames.",
        choices=("last", "mean", "max"),
    )

    def contradictions(self) -> Iterator[str]:
        yield from super().contradictions()
        yield from self.only_cross_entropy("a label")


@dataclass(frozen=True)
class LabelOptions(SequenceOptions):
    """A label for each frame."""

    window: int = option(256, "Frames of an example; longer sequences are cut into such.", least=2)
    split: str = split_option()

    def contradictions(self) -> Iterator[str]:
        yield from super().contradictions()
        yield from self.only_cross_entropy("a label")


@dataclass(frozen=True)
class AnomalyOptions(SequenceOptions):
    """What deviates from what was learnt to be usual. `label` marks known anomalies, for the scores."""

    form: str = option(
        "forecast",
        "forecast: each frame against what was expected of it; autoencoder: a sequence against its reconstruction.",
        choices=("forecast", "autoencoder"),
    )
    window: int = option(64, "Frames of an example; longer sequences are cut into such.", least=2)
    settle: int = option(8, "First frames of a stream that are not judged, with form forecast.", least=1)
    code: int = option(8, "Numbers that a sequence is pressed into, with form autoencoder.", least=1)
    quantile: float = option(
        0.999, "Share of usual scores, on the validation part, below the threshold.", above=0, most=1
    )
    split: str = split_option()

    def contradictions(self) -> Iterator[str]:
        yield from super().contradictions()
        if self.loss not in (None, "mse", "mae", "huber"):
            yield f"{self.typed('loss')} measures no error of values; expected one of mse, mae, huber"
        if self.form == "forecast":
            yield from self.no_bidirectional(f"and {self.typed('form')} measures what comes as a surprise")
            if self.settle >= self.window:
                yield f"{self.typed('settle')} leaves no frame of {self.typed('window')}"


@dataclass(frozen=True)
class TextOptions(HeldOut):
    """The next symbol of a text."""

    unit: str = option("character", "What a text is cut into.", choices=("character", "token"))
    vocabulary: int = option(10000, "Most symbols to know, the most frequent ones; others are unknown.", least=2)
    embedding: int = option(32, "Numbers that stand for a symbol.", least=1)
    window: int = option(128, "Symbols of an example.", least=2)

    def contradictions(self) -> Iterator[str]:
        yield from super().contradictions()
        yield from self.only_cross_entropy("a text")
        yield from self.no_bidirectional("which a text that is being written has not")
        if self.class_weights is not None:
            yield f"{self.named('class_weights')} weigh labels, of which a text has none"


@dataclass(frozen=True)
class Seq2SeqOptions(HeldOut):
    """Texts from texts. `bidirectional` is the encoder's."""

    source_unit: str = option("character", "What sources are cut into.", choices=("character", "token"))
    target_unit: str = option("character", "What targets are cut into.", choices=("character", "token"))
    vocabulary: int = option(
        10000, "Most symbols to know on either side, the most frequent ones; others are unknown.", least=2
    )
    embedding: int = option(32, "Numbers that stand for a symbol.", least=1)

    def contradictions(self) -> Iterator[str]:
        yield from super().contradictions()
        yield from self.only_cross_entropy("a target")
        if self.class_weights is not None:
            yield f"{self.named('class_weights')} weigh labels, of which a text has none"
