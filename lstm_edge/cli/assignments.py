"""NAME=VALUE on a command line, of every kind of value that an option takes."""

from __future__ import annotations

import re
from typing import Any

import click
import numpy as np

from .io import open_array
from .options import Kind

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
        return _something(text, "the file of a scaler")

    def parse_labels(self, text: str) -> str:
        return _something(text, "a file with a name on each line")

    def parse_name(self, text: str) -> str:
        return _something(text, "the name of an output")

    def parse_integer(self, text: str) -> int:
        if not re.fullmatch(r"[0-9]+", text):
            raise ValueError(f"expected a whole number, found {text!r}")
        return int(text)


def _something(text: str, what: str) -> str:
    if not text:
        raise ValueError(f"expected {what}, found nothing")
    return text


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
