"""Option types the commands share."""

from __future__ import annotations

import re
from typing import Any

import click
import numpy as np

_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


class Assignment(click.ParamType):
    """NAME=VALUE as (name, parsed value). Names may hold anything but '='."""

    name = "name=value"

    def __init__(self, value: str):
        self.value = value  # what VALUE is: shape, numbers, name, integer

    def get_metavar(self, param: click.Parameter | None, ctx: click.Context | None = None) -> str:
        return {"shape": "NAME=N,N,...", "numbers": "NAME=NUMBER,...", "name": "INPUT=OUTPUT", "integer": "NAME=N"}[
            self.value
        ]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        name, equals, text = value.partition("=")
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
            from .io import open_array

            return np.array(open_array(text))
        values = [_scalar(part.strip()) for part in text.split(",")]
        return values if "," in text else values[0]

    def parse_name(self, text: str) -> str:
        if not text:
            raise ValueError("expected the name of an output, found nothing")
        return text

    def parse_integer(self, text: str) -> int:
        if not re.fullmatch(r"[0-9]+", text):
            raise ValueError(f"expected a whole number, found {text!r}")
        return int(text)


class Duration(click.ParamType):
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


isa_option = click.option(
    "--isa", metavar="NAME", help="Kernels to use (scalar, avx2, ...); default: the best of this CPU."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
model_argument = click.argument("model_path", metavar="MODEL.lstm", type=click.Path(exists=True, dir_okay=False))
