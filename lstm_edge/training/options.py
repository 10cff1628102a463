"""The options of training, each declared once: `train` takes them as arguments, the command line is made from them, and a
message names them as its reader types them. A task adds its own in a subclass of `Options`.

Nothing here needs torch, so that `lstm-edge train --help` answers at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from ..errors import LstmEdgeError
from ..options import on_command_line, spelled

CELLS = ("lstm", "gru", "rnn", "peephole", "peephole-full", "residual", "tanh-output")
LOSSES = ("mse", "mae", "huber", "pinball", "cross-entropy")
# Options of how a training is watched and kept: what is learnt does not depend on them.
BESIDE = frozenset({"folder", "resume", "checkpoint_minutes", "log", "trials"})
BEYOND = 2**31  # whole numbers stay below, so that no product of two leaves 64 bits
LARGEST = 1e30  # number; torch computes with it in float32
NOUNS = {int: "a whole number", float: "a number", str: "a word", bool: "True or False"}

Given = TypeVar("Given", bound="Options")


class OptionError(LstmEdgeError):
    """Options that are unknown, hold what they do not take, or contradict each other; `problems` has a text for each."""

    def __init__(self, problems: list[str]):
        self.problems = problems
        count = f"{len(problems)} options are wrong: " if len(problems) > 1 else ""
        super().__init__(count + "; ".join(problems))


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    read: Callable[[Any], Any] | None = None,
    metavar: str = "",
) -> Any:
    """A field of a dataclass of options. Its annotation says what it holds: int, float, str, bool, a tuple of those
    (repeated on the command line, numbers also separated by commas), or None as well.

    choices: the words it takes. least, above, most, below: bounds of numbers. read: a reader of its own, from what was
    typed to the value, which raises ValueError("expected ..., found ..."). metavar: what the command line's help shows.
    """
    bounds = {"at least": least, "above": above, "at most": most, "below": below}
    about = {"help": help, "choices": choices, "bounds": bounds, "read": read, "metavar": metavar}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Declared:
    """An option as it was declared. kind: int, float, str or bool; many: a tuple of them; optional: may be None."""

    name: str
    default: Any
    kind: type
    many: bool
    optional: bool
    help: str
    choices: tuple[str, ...]
    bounds: dict[str, float | None]
    reader: Callable[[Any], Any] | None
    metavar: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def said_default(self) -> str:
        """Its default for a reader; "" where that is nothing."""
        nothing = self.default is None or self.default is False or self.default == ()
        return "" if nothing else f"{self.default:g}" if self.kind is float else str(self.default)

    def typed(self, value: Any = ...) -> str:
        """What is typed for it: rate=0.01 in Python, --rate 0.01 on the command line. `...`: its name alone."""
        if value is ...:
            return spelled(self.flag, self.name)
        if self.kind is bool and on_command_line():
            return self.flag if value else f"no {self.flag}"
        if isinstance(value, Mapping):
            words = [f"{key}={each}" for key, each in value.items()]
        else:
            words = list(value) if isinstance(value, (list, tuple)) else [value]
        return spelled(f"{self.flag} {','.join(map(str, words))}", f"{self.name}={value!r}")

    def read(self, value: Any) -> Any:
        """The value that was typed. ValueError says what was expected and found."""
        if value is None and self.optional:
            return None
        if self.reader is not None:
            return self.reader(value)
        if not self.many:
            return self._one(value)
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            value = (value,)
        if on_command_line() and self.kind is not str:
            value = [part for text in value for part in str(text).split(",")]
        return tuple(self._one(part) for part in value)

    def _one(self, value: Any) -> Any:
        found = _of_kind(self.kind, value)
        fits = found is not None and (not self.choices or found in self.choices)
        if not fits or not all(_within(word, bound, found) for word, bound in self.bounds.items()):
            raise ValueError(f"expected {self._expected()}, found {value!r}")
        if self.kind is int and found >= BEYOND:
            raise ValueError(f"expected a whole number below {BEYOND:,}, found {value!r}")
        if self.kind is float and found > LARGEST:
            raise ValueError(f"expected a number of at most {LARGEST:g}, found {value!r}")
        return found

    def _expected(self) -> str:
        if self.choices:
            return "one of " + ", ".join(self.choices)
        bounds = " and ".join(f"{word} {bound:g}" for word, bound in self.bounds.items() if bound is not None)
        return NOUNS[self.kind] + f", {bounds}" * bool(bounds)


def _of_kind(kind: type, value: Any) -> Any:
    """`value` as an int, float, str or bool without loss, or None. The command line gives numbers as text."""
    if isinstance(value, bool) or kind is bool:
        return value if isinstance(value, kind) else None
    if kind is str:
        return os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if isinstance(value, str) and not on_command_line():
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(number) or (kind is int and not number.is_integer()):
        return None
    return kind(number)


def _within(word: str, bound: float | None, value: Any) -> bool:
    if bound is None:
        return True
    checks = {"at least": value >= bound, "above": value > bound, "at most": value <= bound, "below": value < bound}
    return bool(checks[word])


def read_class_weights(value: Any) -> Any:
    """'balanced', or label -> weight: a mapping in Python, LABEL=NUMBER,... on the command line."""
    expected = f"expected balanced or {spelled('LABEL=NUMBER,...', '{label: number}')}, found {value!r}"
    if value == "balanced":
        return value
    if isinstance(value, str) and on_command_line():
        value = dict(part.rpartition("=")[::2] for part in value.split(","))
    if not isinstance(value, Mapping) or not value:
        raise ValueError(expected)
    weights = {str(label): _of_kind(float, weight) for label, weight in value.items()}
    if any(weight is None or weight <= 0 or not label for label, weight in weights.items()):
        raise ValueError(f"{expected}; weights are above 0")
    return weights


@dataclass(frozen=True)
class Options:
    """What every task takes. Made, it has been checked: OptionError names all that is wrong at once."""

    cell: str = option("lstm", "The recurrent cell.", choices=CELLS)
    hidden: int = option(64, "Units of each recurrent layer.", least=1)
    layers: int = option(1, "Recurrent layers.", least=1)
    dropout: float = option(0.0, "Share of values that training drops between layers.", least=0, below=1)
    bidirectional: bool = option(False, "Read sequences in both directions (where the task has them whole).")
    loss: str | None = option(None, "What training lowers; default: the task's own.", choices=LOSSES)
    class_weights: Any = option(
        None,
        "Weights of the classes in the loss: balanced, or each label's.",
        read=read_class_weights,
        metavar="balanced|LABEL=NUMBER,...",
    )

    epochs: int = option(50, "Passes over the training part.", least=1)
    batch: int = option(64, "Examples of a step, in each process.", least=1)
    optimizer: str = option("adamw", "The optimizer.", choices=("adamw", "adam"))
    rate: float = option(1e-3, "The learning rate.", above=0)
    weight_decay: float | None = option(None, "Weight decay; default: 0.01 with adamw, 0 with adam.", least=0)
    schedule: str = option(
        "constant", "How the rate goes on after the warm-up.", choices=("constant", "cosine", "plateau", "step")
    )
    warmup: float = option(0.0, "Epochs in which the rate rises from 0.", least=0)
    decay: float = option(0.5, "What schedules step and plateau multiply the rate by.", above=0, below=1)
    decay_after: int = option(
        5, "Epochs after which schedule step multiplies; epochs without a better validation, with plateau.", least=1
    )
    clip: float = option(1.0, "Longest gradient of a step; 0: as long as it is.", least=0)
    patience: int = option(10, "Epochs without a better validation that end training; 0: never.", least=0)
    seed: int = option(0, "Of the order of examples and all else that is drawn.", least=0)
    device: str = option("auto", "Where it is computed.", choices=("auto", "cpu", "cuda", "mps"))
    precision: str = option("float32", "bf16: products in bfloat16, weights in float32.", choices=("float32", "bf16"))
    folder: str | None = option(None, "Where checkpoints and logs go; none are written without.", metavar="FOLDER")
    resume: bool = option(False, "Go on from the checkpoint in the folder.")
    checkpoint_minutes: float = option(
        0.0, "Minutes between checkpoints; 0: one in the middle and one at the end of each epoch.", least=0
    )
    log: str = option("none", "A log in the folder.", choices=("none", "csv", "tensorboard"))
    trials: int = option(0, "Trainings that search rate, hidden, layers and dropout; 0: none (needs optuna).", least=0)

    def __post_init__(self) -> None:
        problems = []
        for name, declared in declared_options(type(self)).items():
            given = getattr(self, name)
            try:
                object.__setattr__(self, name, declared.read(given))
            except ValueError as exc:
                problems.append(f"{declared.typed()}: {exc}")
        problems = problems or list(self.contradictions())
        if problems:
            raise OptionError(problems)

    def contradictions(self) -> Iterator[str]:
        """What its options say against each other; a task's own adds to it."""
        typed = self.typed
        for name in ("resume", "log"):
            if not self.folder and getattr(self, name) not in (False, "none"):
                yield f"{typed(name)} needs {spelled('--folder FOLDER', 'folder=...')}, found none"
        if self.warmup >= self.epochs:
            yield f"{typed('warmup')} leaves nothing of {typed('epochs')}; expected fewer epochs of warm-up"
        if self.schedule == "plateau" and 0 < self.patience <= self.decay_after:
            yield f"{typed('patience')} ends training before {typed('schedule')} acts, {typed('decay_after')}"
        if self.class_weights is not None and self.loss not in (None, "cross-entropy"):
            yield f"{self.named('class_weights')} weigh the loss cross-entropy, found {typed('loss')}"

    def typed(self, name: str) -> str:
        """An option and its value as its reader types them: rate=0.01, --rate 0.01."""
        return declared_options(type(self))[name].typed(getattr(self, name))

    def named(self, name: str) -> str:
        """An option's name as its reader types it: weight_decay, --weight-decay."""
        return declared_options(type(self))[name].typed()

    def given(self) -> dict[str, Any]:
        """The options by their names."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def said(self) -> dict[str, Any]:
        """The options that decide what is learnt, without those that say nothing; equal for equal trainings."""
        return {n: v for n, v in self.given().items() if n not in BESIDE and v is not None and v != ()}

    def replaced(self: Given, **changes: Any) -> Given:
        """The same options but for `changes`."""
        return dataclasses.replace(self, **changes)


def declared_options(kind: type[Options]) -> dict[str, Declared]:
    """The options of a task by their names, in the order of their declaration."""
    hints = get_type_hints(kind)
    return {f.name: _declared(f, hints[f.name]) for f in dataclasses.fields(kind)}


def _declared(made: dataclasses.Field[Any], hint: Any) -> Declared:
    about = dict(made.metadata)
    kinds = [part for part in (get_args(hint) if type(None) in get_args(hint) else (hint,)) if part is not type(None)]
    many = get_origin(kinds[0]) is tuple
    kind = get_args(kinds[0])[0] if many else kinds[0]
    kind = kind if kind in NOUNS else str
    optional = made.default is None or type(None) in get_args(hint)
    return Declared(made.name, made.default, kind, many, optional, reader=about.pop("read"), **about)


def read_options(kind: type[Given], given: Mapping[str, Any]) -> Given:
    """The options of a task out of those that were given by name. OptionError names every unknown one with its nearest,
    and all else that is wrong."""
    known = declared_options(kind)
    unknown = [_unknown(name, known) for name in given if name not in known]
    try:
        made = kind(**{name: value for name, value in given.items() if name in known})
    except OptionError as exc:
        raise OptionError([*unknown, *exc.problems]) from None
    if unknown:
        raise OptionError(unknown)
    return made


def _unknown(name: str, known: Mapping[str, Declared]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    advice = (
        f"did you mean {known[near[0]].typed()}?"
        if near
        else f"expected one of {', '.join(option.typed() for option in known.values())}"
    )
    return f"{spelled('--' + name.replace('_', '-'), name)} is no option of this task; {advice}"
