"""Writes and reads `.lstm` files: their bytes are layout.py's, docs/format.md specifies them."""

from __future__ import annotations

import errno
import os
from typing import Union

from ..ir.graph import Graph
from .layout import MAGIC
from .reader import Reader
from .writer import Writer

__all__ = ["MAGIC", "Source", "read", "to_bytes", "write"]

Source = Union[str, os.PathLike[str], bytes, bytearray, memoryview]


def write(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Writes `graph` to `path`, through a temporary file in the same folder so that readers never see half a model.

    Raises UnsupportedModelError when the graph holds what the format cannot, OSError when the folder cannot be written.
    """
    content = to_bytes(graph)
    target = os.fspath(path)
    folder = os.path.dirname(target) or "."
    if not os.path.isdir(folder):  # else the error would name the temporary file, which nobody asked for
        raise FileNotFoundError(
            errno.ENOENT, f"expected an existing folder, found no {folder}; create it first", target
        )
    if os.path.exists(target) and not os.path.isfile(target):  # renaming would put the file in a device's place
        raise OSError(errno.EINVAL, "expected the name of a file to write, found a folder, a pipe or a device", target)
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


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
