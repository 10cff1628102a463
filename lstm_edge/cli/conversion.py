"""The options of a conversion, for the commands that convert: they know the importers, which other commands start without."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click
import numpy as np

from ..importers import plugins
from ..importers.registry import IMPORTERS
from ..options import OPTIONS, Option
from .assignments import Assignment
from .io import open_array
from .options import Decorated, Kind


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
conversion_memory_option = click.option(
    "--max-memory",
    type=click.IntRange(1),
    metavar="BYTES",
    help="What the conversion may hold; default: 56 MiB and 20 times the files that it reads.",
)
