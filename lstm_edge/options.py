"""The options of a conversion, each declared once: `convert` takes them as arguments, the command line is made from them,
and a message names them as its reader types them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """`name` in Python, `flag` on the command line. `value`: what a value is there, a parser of cli/options.py.

    by_name: a value for each name, {name: value} in Python and NAME=VALUE, repeated, on the command line.
    off: the flag that stands for an empty value, with its help. of_importer: whether importers take it.
    """

    name: str
    flag: str
    value: str
    help: str
    by_name: bool = True
    off: tuple[str, str] | None = None
    of_importer: bool = True


OPTIONS = {
    o.name: o
    for o in (
        Option("shapes", "--shape", "shape", "An input's shape; batch and frames stay free."),
        Option("constants", "--set", "numbers", "Fix an input to a value, such as sr=16000."),
        Option(
            "states",
            "--state",
            "name",
            "An output that is the next call's input.",
            off=("--no-states", "Pair no inputs and outputs as states."),
            of_importer=False,
        ),
        Option("overlap", "--overlap", "integer", "Values each frame repeats from the one before.", of_importer=False),
        Option("network", "--network", "toml", "The network whose weights SOURCE holds.", by_name=False),
        Option("assume", "--assume", "flag", "Take the network that weights suggest as it stands.", by_name=False),
        Option(
            "architecture", "--architecture", "json", "The network (model.to_json()) of Keras weights.", by_name=False
        ),
        Option("example", "--example", "array", "An input that a TorchScript file accepts.", by_name=False),
        Option("options", "--option", "word", "What one format alone understands"),
        Option(
            "rate",
            "--rate",
            "hertz",
            "Samples a second of the sound that the model takes.",
            by_name=False,
            of_importer=False,
        ),
        Option("scale", "--scale", "scaler", "What an input's columns were scaled by.", of_importer=False),
        Option("unscale", "--unscale", "scaler", "What an output's columns were scaled by.", of_importer=False),
        Option(
            "before",
            "--before",
            "features",
            "The audio features in front of inputs, which then take samples.",
            by_name=False,
            of_importer=False,
        ),
        Option("after", "--after", "after", "What outputs mean: labels or events.", by_name=False, of_importer=False),
        Option("labels", "--labels", "labels", "The names of an output's values, one on each line.", of_importer=False),
        Option("sample", "--sample", "array", "An input of the self-test.", of_importer=False),
    )
}

_ON_COMMAND_LINE = ContextVar("on_command_line", default=False)


@contextmanager
def named_as_on_command_line() -> Iterator[None]:
    """While it lasts, `named` and `as_typed` spell options as flags."""
    token = _ON_COMMAND_LINE.set(True)
    try:
        yield
    finally:
        _ON_COMMAND_LINE.reset(token)


def on_command_line() -> bool:
    """Whether options are typed as flags, and their values as text."""
    return _ON_COMMAND_LINE.get()


def named(option: str) -> str:
    """The name of an option: shapes in Python, --shape on the command line."""
    return spelled(OPTIONS[option].flag, option)


def spelled(command_line: str, python: str) -> str:
    """What exists in both forms under different names, as the reader types it."""
    return command_line if _ON_COMMAND_LINE.get() else python


# Arguments of other functions than `convert` whose flag is not their name.
_FLAGS = {"target": "--for", "calibration": "--calibrate", "base": "--against", "labels": "LABELS", "inputs": "INPUT"}


def argument(name: str) -> str:
    """The name of any other argument: max_error in Python, --max-error on the command line."""
    return spelled(_FLAGS.get(name, f"--{name.replace('_', '-')}"), name)


def as_typed(option: str, key: str = "", value: Any = ...) -> str:
    """What is typed for an option: shapes={'x': (1, 2)} in Python, --shape x=1,2 on the command line.

    key: the name that the value is for, where there is one for each. `...` stands for what the reader finds.
    """
    declared = OPTIONS[option]
    if declared.value == "flag":
        return spelled(declared.flag, f"{option}=True")
    if _ON_COMMAND_LINE.get():
        if declared.off and value == {}:
            return declared.off[0]
        text = ",".join(map(_word, value)) if isinstance(value, (list, tuple)) else _word(value)
        return f"{declared.flag} {key or 'NAME'}={text}" if declared.by_name else f"{declared.flag} {text}"
    if declared.by_name and not key:
        return f"{option}={value if value == {} else '{...}'}"
    text = f"({', '.join(map(_literal, value))})" if isinstance(value, (list, tuple)) else _literal(value)
    return f"{option}={{{key!r}: {text}}}" if key else f"{option}={text}"


def _word(value: Any) -> str:
    return "..." if value is ... else str(value)


def _literal(value: Any) -> str:
    return "..." if value is ... else repr(value)


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that say something: neither None nor empty."""
    return {k: v for k, v in options.items() if v is not None and not (isinstance(v, Mapping) and not v)}


def without_self_test() -> str:
    """What is typed to convert without a self-test."""
    return "--no-self-test" if _ON_COMMAND_LINE.get() else "self_test=False"
