"""Writes and reads `.lstm` files: their bytes are layout.py's, docs/format.md specifies them."""

from __future__ import annotations

import os
from typing import Union

from ..files.replacing import replacing
from ..ir.graph import Graph
from ..metadata import MAGIC
from .reader import Reader
from .writer import Writer

__all__ = ["MAGIC", "Source", "read", "to_bytes", "write"]

Source = Union[str, os.PathLike[str], bytes, bytearray, memoryview]


def write(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Writes `graph` to `path`, whole: readers never see half a model (files.replacing).

    Raises UnsupportedModelError when the graph holds what the format cannot, OSError when the folder cannot be written.
    """
    content = to_bytes(graph)
    with replacing(path) as file:
        file.write(content)


def to_bytes(graph: Graph) -> bytes:
    """The content of the `.lstm` file that holds `graph`; equal graphs give equal bytes.

    Raises UnsupportedModelError for sizes other than a number, k*batch or k*frames at inputs and states, a rank above 8
    and dtypes outside docs/ops.md.
    """
    return Writer(graph).finish()


def read(source: Source) -> Graph:
    """The verified Graph in a `.lstm` file (a path) or in its content (bytes), with every tensor's shape inferred.

    Raises FormatError naming the place, what was expected and what was found; OSError when the file cannot be opened.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return Reader(bytes(source), "model").graph()
    path = os.fspath(source)
    with open(path, "rb") as file:
        return Reader(file.read(), os.path.basename(path)).graph()
