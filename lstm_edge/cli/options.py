"""Option types the commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .model_files import ModelFile

if TYPE_CHECKING:
    Kind = click.ParamType[Any]
else:
    Kind = click.ParamType  # generic for type checkers alone before click 8.4

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


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


isa_option = click.option(
    "--isa", metavar="NAME", help="Kernels to use (scalar, avx2, ...); default: the best of this CPU."
)
memory_option = click.option(
    "--max-memory",
    type=click.IntRange(1),
    metavar="BYTES",
    help="What the model and a stream of it may hold; default: 56 MiB and 16 times the file, for every frame of a call.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
model_argument = click.argument("model_path", metavar="MODEL.lstm", type=ModelFile())
