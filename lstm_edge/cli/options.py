"""Option types the commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click
import numpy as np

from ..importers import plugins
from ..importers.registry import IMPORTERS
from ..options import OPTIONS, Option
from .io import open_array
from .model_files import ModelFile

if TYPE_CHECKING:
    Kind = click.ParamType[Any]
else:
    Kind = click.ParamType  # generic for type checkers alone before click 8.4

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


METAVARS = {
    "shape": "NAME=N,N,...",
    "numbers": "NAME=NUMBER,...",
    "name": "INPUT=OUTPUT",
    "integer": "NAME=N",
    "array": "NAME=FILE.npy",
    "word": "NAME=WORD",
    "scaler": "[NAME=]FILE[:COLUMN]",
    "labels": "[NAME=]FILE.txt",
}


class Assignment(Kind):
    """NAME=VALUE as (name, parsed value). Names may hold anything but '='."""

    name = "name=value"

    def __init__(self, value: str):
        self.value = value  # what VALUE is: a key of METAVARS

    def get_metavar(self, param: click.Parameter | None, ctx: click.Context | None = None) -> str:
        return METAVARS[self.value]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        name, equals, text = value.partition("=")
        if not equals and self.value in ("scaler", "labels"):  # of the only port
            return "", value
        if not equals or not name:
            self.fail(f"expected {self.get_metavar(None)}, found {value!r}", param, ctx)
        try:
            return name, getattr(self, f"parse_{self.value}")(text)
        except ValueError as exc:
            self.fail(f"{name}: {exc}", param, ctx)

    def parse_shape(self, text: str) -> tuple[int | str, ...]:
        return tuple(_size(part.strip()) for part in text.split(",")) if text else ()

    def parse_numbers(self, text: str) -> Any:
        if text.lower().endswith(".npy"):
            return self.parse_array(text)
        values = [_scalar(part.strip()) for part in text.split(",")]
        return values if "," in text else values[0]

    def parse_array(self, text: str) -> np.ndarray:
        return np.array(open_array(text))

    def parse_word(self, text: str) -> str:
        return text

    def parse_scaler(self, text: str) -> str:
        if not text:
            raise ValueError("expected the file of a scaler, found nothing")
        return text

    def parse_labels(self, text: str) -> str:
        if not text:
            raise ValueError("expected a file with a name on each line, found nothing")
        return text

    def parse_name(self, text: str) -> str:
        if not text:
            raise ValueError("expected the name of an output, found nothing")
        return text

    def parse_integer(self, text: str) -> int:
        if not re.fullmatch(r"[0-9]+", text):
            raise ValueError(f"expected a whole number, found {text!r}")
        return int(text)


class Duration(Kind):
    """A time such as 32ms, 500us or 0.1s, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(us|ms|s)", value)
        if not match or not float(match[1]):
            self.fail(f"expected a time above 0 such as 32ms, 500us or 0.1s, found {value!r}", param, ctx)
        return float(match[1]) * _UNITS[match[2]]


def _size(text: str) -> int | str:
    if re.fullmatch(r"([0-9]+\*)?(batch|frames)", text):
        return text
    if not re.fullmatch(r"[0-9]+", text):
        raise ValueError(f"expected a number, batch or frames, found {text!r}")
    return int(text)


def _scalar(text: str) -> int | float | bool:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        if re.fullmatch(r"[+-]?[0-9]+", text):
            return int(np.int64(int(text)))
        return float(text)
    except (ValueError, OverflowError):
        raise ValueError(f"expected numbers, true, false or a .npy file, found {text!r}") from None


class ArrayFile(Kind):
    """A .npy file, as its array."""

    name = "array"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> np.ndarray:
        return value if isinstance(value, np.ndarray) else np.array(open_array(value))


SINGLE: dict[str, dict[str, Any]] = {
    "toml": {"metavar": "NET.toml", "type": click.Path(exists=True, dir_okay=False)},
    "features": {"metavar": "FEATURES.toml", "type": click.Path(exists=True, dir_okay=False)},
    "after": {"metavar": "AFTER.toml", "type": click.Path(exists=True, dir_okay=False)},
    "json": {"metavar": "MODEL.json", "type": click.Path(exists=True, dir_okay=False)},
    "array": {"metavar": "FILE.npy", "type": ArrayFile()},
    "flag": {"is_flag": True},
    "hertz": {"metavar": "HZ", "type": click.FloatRange(min=1)},
}


def conversion_options(options: Iterable[Option], help: str = "") -> Callable[[Decorated], Decorated]:
    """The options of a conversion as a command takes them; `help` stands for the help of each. See `taken`."""

    def decorate(command: Decorated) -> Decorated:
        for option in reversed(list(options)):
            if option.off is not None:
                flag, off_help = option.off
                command = click.option(flag, f"no_{option.name}", is_flag=True, help=off_help)(command)
            form = {"type": Assignment(option.value), "multiple": True} if option.by_name else SINGLE[option.value]
            about = help or option.help + _settings_help(option)
            command = click.option(option.flag, option.name, help=about, **form)(command)
        return command

    return decorate


def _settings_help(option: Option) -> str:
    """What the importers say of `options`, which is one option with an entry for each."""
    if option.name != "options":
        return ""
    settings = [setting for importer in IMPORTERS for setting in importer.settings]
    texts = [f"{s.name}=WORD ({s.help}{': ' * bool(s.choices)}{', '.join(s.choices)})" for s in settings]
    return f": {'; '.join(texts)}."


def taken(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `convert` out of what `conversion_options` made of a command line; those not given are left out."""
    found: dict[str, Any] = {}
    for name, option in OPTIONS.items():
        value = given.get(name)
        if option.off is not None and given.get(f"no_{name}"):
            if value:
                raise click.UsageError(f"{option.flag} and {option.off[0]} exclude each other.")
            found[name] = {}
        elif option.by_name and value:
            found[name] = dict(value)
        elif not option.by_name and value is not None and value is not False:
            found[name] = value
    return found


def _load_plugins(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> None:
    for path in value:
        plugins.load(path)


plugin_option = click.option(
    "--plugin",
    metavar="FILE.py",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False),
    callback=_load_plugins,
    expose_value=False,
    help="Your own code, which is run: layers and operators that it registers (docs/plugins.md).",
)
isa_option = click.option(
    "--isa", metavar="NAME", help="Kernels to use (scalar, avx2, ...); default: the best of this CPU."
)
memory_option = click.option(
    "--max-memory",
    type=click.IntRange(1),
    metavar="BYTES",
    help="What the model and a stream of it may hold; default: 56 MiB and 16 times the file, for every frame of a call.",
)
conversion_memory_option = click.option(
    "--max-memory",
    type=click.IntRange(1),
    metavar="BYTES",
    help="What the conversion may hold; default: 56 MiB and 20 times the files that it reads.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
model_argument = click.argument("model_path", metavar="MODEL.lstm", type=ModelFile())
