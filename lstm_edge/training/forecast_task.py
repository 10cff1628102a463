"""The task forecast: from a table to a trained network with its scores on held-out time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..around.coarse import coarse, refuse_coarse
from ..errors import LstmEdgeError
from ..forecasting import Description
from ..ir.notes import ASSUMED
from .forecast import Forecaster, Plan
from .forecast_options import ForecastOptions
from .held_out import Errors, Naive, Part, middle, rolled, streamed
from .loop import fit
from .options import Options
from .report import Report
from .scaling import learnt
from .table import Roles, Table, read_table
from .trained import Trained
from .windows import Batch, Cut, Frames, Windows, cuts

DRIFT = 1.5  # deviations from the training part's mean to the validation part's, beyond which the level is no input
LEAST_SPREAD = 1e-3
LEAST_EXAMPLE = 5  # frames: torch takes sizes that are equal for one, and the batch is 2
EXAMPLES = 2000  # of an epoch, where the table has more frames and windows then still overlap


def run(source: Any, options: Options, report: Report | None) -> Trained:
    """Trains a forecast on a table. FormatError names what of it cannot be read, LstmEdgeError what is too short."""
    assert isinstance(options, ForecastOptions)
    table, roles = read_table(source, options)
    prepared = Prepared(table, roles, options)
    windows = prepared.windows()
    if report is not None:
        for note in prepared.notes:
            report.note(note)
    torch.manual_seed(options.seed)
    module = Forecaster(prepared.plan, options)
    loss = Loss(options)

    def validate(trained: nn.Module) -> float:
        assert isinstance(trained, Forecaster)
        return loss.over(trained, prepared.part("validation"))

    history = fit(module, loss, windows, validate, options, report=report)
    scores = prepared.scores(module)
    return Trained(
        "forecast",
        module,
        options,
        history,
        scores,
        prepared.notes,
        prepared.metadata(scores),
        prepared.example(),
        ("forecast",),
    )


class Prepared:
    """A table cut by time, with what was learnt of its training part before there is a network. notes: all that was assumed."""

    def __init__(self, table: Table, roles: Roles, options: ForecastOptions):
        self.table, self.roles, self.options = table, roles, options
        self.notes = table.notes
        if options.calendar and table.time is None:
            raise LstmEdgeError(
                f"{options.typed('calendar')}: expected a column of times ({options.named('time')}), found none"
            )
        self.targets, self.columns = len(roles.target), len(roles.all) - len(roles.known)
        self.horizon = 1 if options.mode == "recursive" else options.horizon  # of the network
        self.cuts = cuts(table.series, options.validation, options.test)
        self.frames = Frames(table.series, self.columns, bool(options.calendar))
        self.naive = Naive(self.frames, [len(s.values) for s in table.series], self.targets)
        self.season = self._season()
        self.plan = self._plan()
        if not any(c.test - c.validation > 0 for c in self.cuts):
            raise LstmEdgeError(
                f"the validation part: expected frames, found none of {self._counts()}; give a longer table"
            )
        self.notes.append(
            f"trained on {self._spans('training')}, chosen on {self._spans('validation')}, held out {self._spans('test')}"
        )

    # ---- parts ------------------------------------------------------------------------------------------------------

    def spans(self, part: str) -> list[tuple[int, int]]:
        """The frames of each series in training, validation or test."""
        ends: dict[str, Callable[[Cut], tuple[int, int]]] = {
            "training": lambda c: (0, c.validation),
            "validation": lambda c: (c.validation, c.test),
            "test": lambda c: (c.test, c.end),
        }
        return [ends[part](c) for c in self.cuts]

    def part(self, name: str, horizon: int | None = None) -> Part:
        history = self.options.window + self.plan.lag
        return Part(self.frames, self.spans(name), history, horizon or self.horizon, self.targets)

    def windows(self) -> Windows:
        o = self.options
        frames = sum(b - a for a, b in self.spans("training"))
        stride = o.stride or min(max(1, o.window // 4), max(1, frames // EXAMPLES))
        settle = o.window // 4 if o.settle is None else o.settle
        windows = Windows(
            self.frames, self.spans("training"), o.window, stride, self.horizon, self.targets, settle, self.first_judged
        )
        self.notes.append(
            f"{len(windows):,} examples of {o.window} frames, one at {'each frame' if stride == 1 else f'every {stride} frames'}"
        )
        return windows

    @property
    def first_judged(self) -> int:
        """The frame of a series before which its base is not known yet."""
        return self.plan.lag if self.plan.residual == "seasonal" else 0

    def _counts(self) -> str:
        return f"{sum(c.end for c in self.cuts):,} frames"

    def _spans(self, part: str) -> str:
        spans = self.spans(part)
        count = sum(max(b - a, 0) for a, b in spans)
        dates = [
            s.minutes[[a, b - 1]] for s, (a, b) in zip(self.table.series, spans) if s.minutes is not None and b > a
        ]
        if not dates:
            return f"{count:,} frames"
        first, last = (np.datetime64(int(v), "m") for v in (min(d[0] for d in dates), max(d[1] for d in dates)))
        return f"{count:,} frames ({first} to {last})".replace("T", " ")

    # ---- what is learnt ---------------------------------------------------------------------------------------------

    def _season(self) -> int:
        step = self.table.step
        if self.options.season is not None:
            return self.options.season
        if step is not None and step.season:
            self.notes.append(
                f"{ASSUMED}the season is {step.season} frames of {step}; {self.options.named('season')} says another"
            )
            return step.season
        self.notes.append(
            f"no season is known, so that seasonal naive is the last value; {self.options.named('season')} says one"
        )
        return 1

    def _plan(self) -> Plan:
        rows = np.concatenate([s.values[:b] for s, (_, b) in zip(self.table.series, self.spans("training"))])
        names = self.roles.all
        for n, name in enumerate(names[: self.columns]):
            if not (~np.isnan(rows[:, n])).any():
                raise LstmEdgeError(
                    f"{self.table.place}: column {name!r}: expected values in the training part, found none"
                )
        mean, deviation = learnt(rows)
        refuse_coarse(self.table.place, names, mean, deviation)
        self.notes.extend(filter(None, map(coarse, names, mean, deviation)))
        constant = [n for n, d, m in zip(names, deviation, rows.T) if d == 1 and np.nanmax(m) - np.nanmin(m) < 1e-9]
        if constant:
            self.notes.append(
                f"constant in the training part: {', '.join(map(repr, constant))}; nothing is learnt from them"
            )
        c, k = self.columns, self.targets
        residual, errors = self._residual(mean[:k], deviation[:k])
        spread = np.ones(k) if residual == "none" else np.maximum(errors / deviation[:k], LEAST_SPREAD)
        gaps = [n for n in range(c) if np.isnan(rows[:, n]).any() and names[n] not in self.roles.static]
        if self.options.missing == "fill":
            whole = [names[n] for n in range(c) if n not in gaps and names[n] not in self.roles.static]
            if whole:
                self.notes.append(
                    f"without gaps in the training part: {', '.join(map(repr, whole))}; a gap on the device takes the last value, "
                    "and the network is not told"
                )
        return Plan(
            names[:c], self.roles.target, self.roles.static, self.roles.known, mean[:c], deviation[:c], mean[c:],
            deviation[c:], spread, tuple(gaps) if self.options.missing == "fill" else (), residual, self.season,
            self._level(residual, mean[:k], deviation[:k]), None if self.table.step is None else self.table.step.minutes,
        )  # fmt: skip

    def _residual(self, mean: np.ndarray, deviation: np.ndarray) -> tuple[str, np.ndarray]:
        """The base of the answer, and the RMSE of each target against it in the training part."""
        o, bases = self.options, ["none", "last", "seasonal"]
        fits = self.season + 1 < o.window
        if o.residual == "seasonal" and not fits:
            raise LstmEdgeError(
                f"{o.typed('residual')}: expected a {o.named('window')} longer than the season of {self.season}, found {o.window}"
            )
        if self.season == 1 or not fits:
            bases.remove("seasonal")
        chosen = o.residual
        if chosen == "auto":
            measured = {b: self._naive_errors(b, "validation", mean) for b in bases}
            unknown = "seasonal" in bases and not measured["seasonal"].count.any()
            if unknown:
                bases.remove("seasonal")
            errors = {b: measured[b].rmse / deviation for b in bases}
            chosen = min(bases, key=lambda b: float(errors[b].mean()))
            said = ", ".join(f"{b} {errors[b].mean():.3g}" for b in bases)
            if not fits:
                said += f"; seasonal was not tried: it takes a {o.named('window')} of {self.season + 2} or more"
            elif unknown:
                said += "; seasonal was not tried: no value of the validation part has one a season before"
            self.notes.append(
                f"the network's answer is added to: {chosen} (error without a network on the validation part: {said})"
            )
        return chosen, self._naive_errors(chosen, "training", mean).rmse

    def _naive_errors(self, base: str, part: str, mean: np.ndarray) -> Errors:
        """What a base by itself is off over a part."""
        errors = Errors.none(self.targets)
        spans, history = self.spans(part), 0
        for batch in Part(self.frames, spans, history, self.horizon, self.targets).batches():
            at, target = batch["at"].numpy(), batch["target"].numpy().astype(np.float64)
            if base == "none":
                guess = np.broadcast_to(mean, target.shape)
            elif base == "last":
                guess = self.naive.last(at, self.horizon)
            else:
                guess = self.naive.seasonal(at, self.horizon, self.season)
            errors.add(guess, target, ~np.isnan(guess) & ~np.isnan(target))
        return errors

    def _level(self, residual: str, mean: np.ndarray, deviation: np.ndarray) -> bool:
        """Whether the network sees the targets' level: not where it has drifted out of what training knows."""
        if self.options.level != "auto" or residual == "none":
            return self.options.level != "drop"
        rows = np.concatenate([s.values[a:b] for s, (a, b) in zip(self.table.series, self.spans("validation"))])
        given = rows[:, : self.targets]
        counted = np.maximum((~np.isnan(given)).sum(0), 1)
        drift = float(np.abs((np.where(np.isnan(given), mean, given) - mean).sum(0) / counted / deviation).max())
        if drift > DRIFT:
            self.notes.append(
                f"the network sees changes of the targets alone, since their level drifts: in the validation part by {drift:.1f} "
                f"deviations of the training part; {self.options.named('level')} keep shows it"
            )
        return drift <= DRIFT

    # ---- what is said -----------------------------------------------------------------------------------------------

    def scores(self, module: Forecaster) -> dict[str, Any]:
        """Errors over the test part (the validation part where none is held out) beside those of naive forecasts, all over the same
        values, by target; and how often quantiles hold."""
        o = self.options
        name = "test" if any(b > a for a, b in self.spans("test")) else "validation"
        part = self.part(name, o.horizon)
        answers = rolled(module, part, o.window) if o.mode == "recursive" else streamed(module, part)
        kinds = ["forecast", "seasonal naive", "last value"]
        if max((b for a, b in part.spans if b > a), default=0) <= self.season:  # no value has one a season before
            kinds.remove("seasonal naive")
        errors = {kind: Errors.none(self.targets) for kind in kinds}
        below, count = np.zeros((self.targets, len(o.quantiles))), np.zeros(self.targets)
        for batch, answer in answers:
            at, target = batch["at"].numpy(), batch["target"].numpy().astype(np.float64)
            guesses = {
                "forecast": middle(answer, module.centre).numpy(),
                "seasonal naive": self.naive.seasonal(at, o.horizon, self.season),
                "last value": self.naive.last(at, o.horizon),
            }
            counted = ~np.isnan(target) & np.all([~np.isnan(guesses[kind]) for kind in kinds], axis=0)
            for kind in kinds:
                errors[kind].add(guesses[kind], target, counted)
            if o.quantiles:
                held = (target[..., None] <= answer.numpy()) & counted[..., None]
                below, count = below + held.sum((0, 1, 2)), count + counted.sum((0, 1, 2))
        found: dict[str, Any] = {"part": name, "horizon": o.horizon, "values": int(errors["forecast"].count.sum())}
        found["targets"] = {
            target: {kind: {"mae": float(errors[kind].mae[n]), "rmse": float(errors[kind].rmse[n])} for kind in kinds}
            for n, target in enumerate(self.roles.target)
            if errors["forecast"].count[n]
        }
        if o.quantiles:
            shares = below / np.maximum(count, 1)[:, None]
            found["share below quantiles"] = {
                target: {f"{q:g}": float(shares[n, i]) for i, q in enumerate(o.quantiles)}
                for n, target in enumerate(self.roles.target)
            }
        return found

    def metadata(self, scores: dict[str, Any]) -> dict[str, Any]:
        """What the file says of itself: how to forecast with it, and how it was trained."""
        o, step = self.options, self.table.step
        forecast = Description(
            input="series",
            output="forecast",
            columns=self.plan.columns,
            targets=self.roles.target,
            feedback=tuple(range(self.targets)),
            horizon=self.horizon,
            quantiles=o.quantiles,
            static=tuple(self.plan.columns.index(n) for n in self.roles.static),
            known=self.roles.known,
            time="time" if o.calendar else None,
            time_column=self.table.time,
            group=o.group,
            minutes=None if step is None else step.minutes,
            step=None if step is None else str(step),
            window=o.window,
            mode=o.mode,
        )
        training = {"task": "forecast", "season": self.season, "scores": scores, "options": o.said()}
        return {"forecast": forecast.to_metadata(), "training": training}

    def example(self) -> dict[str, Tensor]:
        """The first frames of the longest series, as a batch of two."""
        longest = int(np.argmax([c.end for c in self.cuts]))
        begin, end = int(self.frames.starts[longest]), self.cuts[longest].end
        at = begin + torch.arange(max(self.options.window, LEAST_EXAMPLE))[None].repeat(2, 1)
        batch = self.frames.gather(at, torch.full((2, 1), begin + end), self.horizon, self.targets)
        return {name: batch[name] for name in ("series", "time", "known") if name in batch}


class Loss:
    """The loss of a batch, in units of training, over the values that are known."""

    def __init__(self, options: ForecastOptions):
        self.kind = options.loss or ("pinball" if options.quantiles else "mse")
        self.quantiles = options.quantiles

    def __call__(self, module: nn.Module, batch: Batch) -> Tensor:
        total, count = self.sums(module, batch)
        return total / count.clamp(min=1)

    def sums(self, module: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The sum of errors and how many there are."""
        inputs = {name: batch[name] for name in ("series", "time", "known") if name in batch}
        answer = module(**inputs, scaled=True)
        target = module.in_units(batch["target"])  # type: ignore[operator]
        given = ~torch.isnan(target)
        target = torch.where(given, target, 0.0)
        errors = torch.where(given, self.errors(answer, target), 0.0)
        return errors.sum(), given.sum()

    def errors(self, answer: Tensor, target: Tensor) -> Tensor:
        """Of each value (..., targets)."""
        if self.kind == "pinball":
            off = target[..., None] - answer
            levels = torch.tensor(self.quantiles, device=off.device)
            return torch.maximum(levels * off, (levels - 1) * off).mean(-1)
        off = (answer - target).abs()
        if self.kind == "mae":
            return off
        return off.square() if self.kind == "mse" else torch.where(off < 1, off.square() / 2, off - 0.5)

    def over(self, module: Forecaster, part: Part) -> float:
        """The loss over a part, streamed."""
        total, count = 0.0, 0
        device = module.head.weight.device
        for batch in part.batches():
            sums, values = self.sums(module, {name: value.to(device) for name, value in batch.items()})
            total, count = total + float(sums), count + int(values)
        if not count:
            raise LstmEdgeError(
                "the validation part: expected values of the targets to judge by, found none; give a longer table"
            )
        return total / count
