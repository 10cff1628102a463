"""The importers, and which one takes a source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from ..errors import FormatError, UnsupportedModelError
from ..ir.graph import Graph
from . import json, keras, network, onnx, tflite, torch
from .importer import Importer, Options, Source

# What downloads leave in the place of a model: how it begins, and what it is.
INSTEAD_OF_A_MODEL = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file that it stands for; fetch that with git lfs pull"),
    (b"<!doctype html", "a web page, not a model; the download went wrong"),
    (b"<html", "a web page, not a model; the download went wrong"),
)

# In the order in which they are asked: those that know their content by more come first.
IMPORTERS: tuple[Importer, ...] = (
    torch.IMPORTER,
    onnx.IMPORTER,
    keras.IMPORTER,
    tflite.IMPORTER,
    json.IMPORTER,
    network.IMPORTER,
)


def read(source: Any, options: Options) -> tuple[str, Graph]:
    """The kind of a source and its Graph. A network is described by the option of that name, whatever holds its weights."""
    found = Source(source)
    importer, kind = (network.IMPORTER, "network") if options.get("network") is not None else find(found)
    return kind, importer.read(found, kind, options)


def suggest_network(source: Any, options: Mapping[str, Any]) -> str:
    """The description that weights suggest. UnsupportedModelError for what holds its network."""
    found = Source(source)
    importer, kind = find(found)
    return importer.suggest(found, kind, options)


def suggests(source: Any) -> bool:
    """Whether a source may hold weights alone, which suggest their network."""
    return find(Source(source))[0].suggests


def extensions() -> set[str]:
    """Of files that some importer takes."""
    return {e for i in IMPORTERS for e in i.extensions}


def kind_of(source: Any) -> str:
    """The kind of a source, by its content first and its name second; for a live object by the module of its class."""
    return find(Source(source))[1]


def find(source: Source) -> tuple[Importer, str]:
    """The importer of a source, and its kind. UnsupportedModelError for what none takes."""
    if source.head.startswith(b"LSTMEDGE"):
        raise UnsupportedModelError("this is a .lstm file already")
    for start, what in INSTEAD_OF_A_MODEL:
        if source.head.lstrip().lower().startswith(start):
            raise FormatError(f"this is {what}")
    for importer, kind in _claims(source):
        if kind:
            return importer, kind
    return _unknown(source)


def _claims(source: Source) -> Iterator[tuple[Importer, str | None]]:
    if source.is_live:
        for base in type(source.value).__mro__:
            top = base.__module__.split(".")[0]
            yield from ((i, i.live.get(top)) for i in IMPORTERS)
    yield from ((i, i.claims(source)) for i in IMPORTERS)
    yield from ((i, i.extensions.get(source.extension)) for i in IMPORTERS)


def _unknown(source: Source) -> NoReturn:
    if source.path is not None:
        found = f"the extension {source.path.suffix!r}"
    elif source.data is not None:
        found = f"{source.size} bytes"
    else:
        found = f"an object of type {type(source.value).__name__}"
    known = ", ".join(sorted(extensions()))
    raise UnsupportedModelError(
        f"expected a model as a file or object of a kind among {known}, a live torch or Keras model; found {found}"
    )
