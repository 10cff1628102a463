"""The options of the task forecast. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .options import Options, option

CALENDAR = ("hour", "weekday", "yearday", "month")


@dataclass(frozen=True)
class TableOptions(Options):
    """How a table is read, for every task that takes one."""

    time: str | None = option(None, "The column of times; default: the first one that holds times.", metavar="COLUMN")
    time_format: str | None = option(None, "How times are written, such as %d.%m.%Y; default: found.", metavar="FORMAT")
    step: str | None = option(
        None, "Time between frames, such as 1h or 1month; default: the most common one.", metavar="STEP"
    )
    duplicates: str = option("error", "What several rows of one time give.", choices=("error", "first", "last", "mean"))
    delimiter: str | None = option(None, "What separates columns; default: found.", metavar="CHARACTER")
    group: str | None = option(None, "The column that says which series a row belongs to.", metavar="COLUMN")
    missing: str = option("fill", "fill: the last value stands for a missing one; error.", choices=("fill", "error"))
    validation: float = option(0.15, "Share of the table, before the test part, that chooses.", above=0, below=1)
    test: float = option(0.15, "Share at the end of the table that is held out for scores.", least=0, below=1)

    def contradictions(self) -> Iterator[str]:
        yield from super().contradictions()
        if self.validation + self.test >= 1:
            yield f"{self.typed('validation')} and {self.typed('test')} leave nothing to train on"


@dataclass(frozen=True)
class ForecastOptions(TableOptions):
    """What a forecast takes."""

    target: tuple[str, ...] = option((), "A column to forecast; repeat for several.", metavar="COLUMN")
    inputs: tuple[str, ...] = option((), "A further column to forecast from; repeat.", metavar="COLUMN")
    known: tuple[str, ...] = option((), "A column whose future is known when forecasting; repeat.", metavar="COLUMN")
    static: tuple[str, ...] = option((), "A column that is constant in each series; repeat.", metavar="COLUMN")
    calendar: tuple[str, ...] = option(
        (), "A feature of the calendar to compute from the time; repeat.", choices=CALENDAR
    )
    window: int = option(96, "Frames of an example.", least=2)
    horizon: int = option(24, "Frames to forecast.", least=1)
    mode: str = option(
        "direct", "direct: the horizon at once; recursive: one frame, fed back.", choices=("direct", "recursive")
    )
    quantiles: tuple[float, ...] = option((), "Quantiles to forecast, such as 0.1,0.5,0.9.", above=0, below=1)
    season: int | None = option(None, "Frames of a season; default: from the time between frames.", least=1)
    residual: str = option(
        "auto",
        "What the network's answer is added to; auto: what has the lowest error on the validation part.",
        choices=("auto", "none", "last", "seasonal"),
    )
    level: str = option(
        "auto",
        "Whether the network sees the targets' level, or with a residual their change alone; auto: by their drift.",
        choices=("auto", "keep", "drop"),
    )
    stride: int | None = option(
        None,
        "Frames from one example to the next; default: so that an epoch has about 2000, at most a quarter of the window.",
        least=1,
    )
    settle: int | None = option(
        None, "First frames of an example that training does not judge; default: a quarter of the window.", least=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "quantiles", tuple(sorted(self.quantiles)))

    def contradictions(self) -> Iterator[str]:
        yield from super().contradictions()
        used = [*self.target, *self.inputs, *self.known, *self.static]
        for name in sorted({n for n in used if used.count(n) > 1}):
            yield f"column {name!r} is named more than once among target, inputs, known and static; name it once"
        if self.mode == "recursive" and self.inputs and self.horizon > 1:
            names = ", ".join(map(repr, self.inputs))
            yield (
                f"{self.typed('mode')} feeds forecasts back, and nobody forecasts the {self.named('inputs')} {names}: make them "
                f"{self.named('target')} too, or {self.named('known')} where their future is known"
            )
        if self.bidirectional:
            yield f"{self.typed('bidirectional')} reads the future, which a forecast has not; leave it out"
        if self.loss == "cross-entropy":
            yield f"{self.typed('loss')} is for classes; expected one of mse, mae, huber, pinball"
        if self.quantiles and self.loss not in (None, "pinball"):
            yield f"{self.typed('loss')} gives no quantiles; expected pinball with {self.typed('quantiles')}"
        if self.loss == "pinball" and not self.quantiles:
            yield f"{self.typed('loss')} needs {self.named('quantiles')}, found none"
        if len(set(self.quantiles)) != len(self.quantiles):
            yield f"{self.typed('quantiles')} has one twice; expected each once"
        if self.settle is not None and self.settle >= self.window:
            yield f"{self.typed('settle')} leaves no frame of {self.typed('window')}"
        if self.residual == "none" and self.level == "drop":
            yield f"{self.typed('level')} leaves the network nothing of the targets; it goes with a {self.named('residual')}"
