"""A MODEL.lstm on the command line: read, where an unconverted model is named as one, and written."""

from __future__ import annotations

import importlib
import os
import shlex
from typing import Any

import click
from rich.console import Console

from ..errors import FormatError, LstmEdgeError
from ..files.replacing import written_in_place
from ..metadata import MAGIC
from .io import err_console
from .sinks import PICTURES, SUFFIXES, check_output

DATA = (".csv", ".wav", ".npy", ".parquet")


def _importers() -> Any:
    """importers.registry, which takes longer to import than all else that a command does with a .lstm file."""
    return importlib.import_module("lstm_edge.importers.registry")


class ModelFile(click.Path):
    """A file that begins as a .lstm does. A model that is still to be converted is named, with the command that does it."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = str(value)
        if os.path.exists(path) and not _is_lstm(path):
            _refuse(path)
        return super().convert(value, param, ctx)


def as_lstm(path: str) -> str:
    """The name of the .lstm file that is made of `path`."""
    return os.path.splitext(path.rstrip(os.sep))[0] + ".lstm"


def _is_lstm(path: str) -> bool:
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _refuse(path: str) -> None:
    """Says what a file is that is no .lstm, where that is known."""
    if os.path.splitext(path)[1].lower() in DATA:
        raise FormatError(f"{path}: expected a .lstm file, found data; the model comes first, its input behind it")
    try:
        kind = _importers().kind_of(path)
    except FormatError as exc:  # a web page, an empty file: what went wrong is known
        raise exc.at(path) from None
    except (LstmEdgeError, OSError):
        return
    again = f"lstm-edge convert {shlex.quote(path)} -o {shlex.quote(as_lstm(path))}"
    raise FormatError(f"{path}: expected a .lstm file, found an unconverted model ({kind}); convert it first: {again}")


def check_model_output(path: str, sources: tuple[str, ...]) -> None:
    """Refuses, before any work, a name that no model is written to: what check_output refuses, another file than a .lstm, a
    suffix of another kind of file. A suffix that says nothing is left as it is, with a word."""
    check_output(path, sources)
    suffix = os.path.splitext(path)[1].lower()
    if suffix in _importers().extensions() | {*SUFFIXES, *PICTURES, *DATA}:
        raise FormatError(f"{path}: expected a name that ends in .lstm to write a model to, found {suffix}")
    if written_in_place(path):
        raise FormatError(f"{path}: expected the name of a file to write a model to, found a pipe or a device")
    if os.path.exists(path) and not _is_lstm(path):
        raise FormatError(f"{path}: expected a .lstm file to replace, found another; remove it or give another -o")
    if suffix != ".lstm":
        told = f"note: {path}: written under this name, though .lstm is what a model's name ends in elsewhere"
        err_console().print(told, markup=False, soft_wrap=True)


def sizes_of(source: str, made: str) -> dict[str, Any]:
    """What --json says of a file made of another: its name, and the bytes of both."""
    return {"model": os.path.basename(made), "file_bytes": (os.path.getsize(source), os.path.getsize(made))}


def print_sizes(source: str, made: str, console: Console) -> None:
    """The same as a line."""
    before, after = sizes_of(source, made)["file_bytes"]
    console.print(f"{made}: {after:,} bytes, {after / before:.3f} of {before:,}", markup=False)
