"""A search for the options that train best, by Optuna's tree of Parzen estimators (extra `tune`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from .options import Options
from .report import History, NotFinite, Report, Reports, TrainingError


class HasHistory(Protocol):
    """What a training gives, such as Trained."""

    history: History


Given = TypeVar("Given", bound=Options)
Result = TypeVar("Result", bound=HasHistory)

SEARCHED = ("rate", "hidden", "layers", "dropout")


class Noteless(Reports):
    """Reports that are told everything but notes: those of the first trial would only be repeated."""

    def note(self, text: str) -> None: ...


class Sweep(Generic[Given, Result]):
    """Trains `options.trials` times by `run` and keeps the result with the best validation.

    Searched: a rate of a tenth to ten times the given one, half to double the hidden units, one layer to one more than
    given (at least two), dropout up to a half. The first trial has the options as they were given. The seed decides what
    is drawn: a sweep that was killed and resumes takes the trials that are done from their folders (trial-1, ...).
    """

    def __init__(self, run: Callable[[Given, Report], Result], options: Given, reports: Reports):
        self.run, self.options, self.reports = run, options, reports
        self.best: tuple[float, Given, Result] | None = None
        self.failure = ""  # why the last trial that failed did

    def search(self) -> Result:
        """The best trial's result. TrainingError: Optuna is missing, or no trial ended with a finite validation."""
        optuna = _optuna()
        quiet = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=self.options.seed))
            study.enqueue_trial({name: getattr(self.options, name) for name in SEARCHED})
            study.optimize(self._try, n_trials=self.options.trials, catch=(NotFinite,))
        finally:
            optuna.logging.set_verbosity(quiet)
        if self.best is None:
            raise TrainingError(f"{self.options.typed('trials')}: no trial trained, the last one for: {self.failure}")
        value, options, result = self.best
        self.reports.note(f"the best of {self.options.trials} trials: {_said(options)}, validation {value:.6g}")
        return result

    def _try(self, trial: Any) -> float:
        options = self._drawn(trial)
        name = f"trial {trial.number + 1} of {self.options.trials}: {_said(options)}"
        try:
            result = self.run(options, self.reports if trial.number == 0 else Noteless(self.reports.reports))
        except NotFinite as exc:
            self.failure = str(exc)
            self.reports.note(f"{name}: {exc}")
            raise
        value = result.history.best.validation
        self.reports.note(f"{name}, validation {value:.6g}")
        if self.best is None or value < self.best[0]:
            self.best = (value, options, result)
        return value

    def _drawn(self, trial: Any) -> Given:
        o = self.options
        folder = os.path.join(o.folder, f"trial-{trial.number + 1}") if o.folder else None
        return o.replaced(
            rate=trial.suggest_float("rate", o.rate / 10, o.rate * 10, log=True),
            hidden=trial.suggest_int("hidden", max(1, o.hidden // 2), o.hidden * 2, log=True),
            layers=trial.suggest_int("layers", 1, max(2, o.layers + 1)),
            dropout=trial.suggest_float("dropout", 0.0, max(0.5, o.dropout)),
            folder=folder,
            trials=0,
        )


def _said(options: Options) -> str:
    values = {"rate": f"{options.rate:.3g}", "dropout": f"{options.dropout:.3g}"}
    return ", ".join(f"{name} {values.get(name, getattr(options, name))}" for name in SEARCHED)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as exc:
        raise TrainingError("expected the module 'optuna', found none; pip install 'lstm-edge[tune]'") from exc
    return optuna
