"""From what people have (a file of some framework, a live model) to one .lstm file."""

from __future__ import annotations

import hashlib
import inspect
import io
import os
import zipfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from . import format, passes
from .errors import FormatError, LstmEdgeError, UnsupportedModelError
from .ir.graph import Graph

# Kind of source -> module of importers/ with `read(source, ...) -> Graph`. One row adds a format.
IMPORTERS = {
    "onnx": "onnx",
    "keras": "keras",
    "torch": "torch",
    "safetensors": "torch",
    "json": "json",
    "npz": "network",
    "network": "network",
    "tflite": "tflite",
}
EXTENSIONS = {
    ".onnx": "onnx",
    ".keras": "keras",
    ".h5": "keras",
    ".hdf5": "keras",
    ".pt": "torch",
    ".pth": "torch",
    ".ckpt": "torch",
    ".tar": "torch",
    ".bin": "torch",
    ".pt2": "torch",
    ".safetensors": "safetensors",
    ".tflite": "tflite",
    ".json": "json",
    ".nam": "json",
    ".npz": "npz",
    ".npy": "npz",
    ".toml": "network",
}
LIVE_MODULES = {"torch": "torch", "keras": "keras", "tf_keras": "keras", "tensorflow": "keras", "onnx": "onnx"}
MAX_SAFETENSORS_HEADER = 100 << 20


def convert(
    source: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    shapes: Mapping[str, Any] | None = None,
    constants: Mapping[str, Any] | None = None,
    states: Mapping[str, str] | None = None,
    overlap: Mapping[str, int] | None = None,
    options: Mapping[str, Any] | None = None,
    example: Any = None,
    network: Any = None,
    sample: Mapping[str, np.ndarray] | None = None,
    self_test: bool = True,
) -> Any:
    """Converts `source` (a path, the bytes of a file, a live torch or Keras model) and returns the Model.

    path: where the .lstm file is written; None writes none. shapes: input name -> sizes (numbers, 'batch', 'frames').
    constants: input name -> value that replaces the input. states: input name -> output name of what carries state;
    None finds the pairs by name, {} pairs nothing. overlap: input name -> values each frame repeats from the one
    before.
    example: an input that a live torch module accepts. network: a TOML file (or such a dict) that describes the network
    whose weights `source` holds, docs/network.md. sample: arrays for the self-test, shaped as Model.run takes
    them.
    options: what one importer alone understands.
    Raises UnsupportedModelError, FormatError (both name the file), OSError.
    """
    from . import load

    graph = to_graph(
        source,
        shapes=shapes,
        constants=constants,
        states=states,
        overlap=overlap,
        options=options,
        example=example,
        network=network,
    )
    if self_test:
        from .check.self_test import make_self_test

        with _named(source):
            graph.self_test = make_self_test(graph, source, constants=constants, sample=sample)
    if path is None:
        return load(format.to_bytes(graph))
    format.write(graph, path)
    return load(path)


def to_graph(
    source: Any,
    *,
    shapes: Mapping[str, Any] | None = None,
    constants: Mapping[str, Any] | None = None,
    states: Mapping[str, str] | None = None,
    overlap: Mapping[str, int] | None = None,
    options: Mapping[str, Any] | None = None,
    example: Any = None,
    network: Any = None,
) -> Graph:
    """The Graph that `convert` writes, without its self-test."""
    with _named(source):
        kind = "network" if network is not None else kind_of(source)
        if kind not in IMPORTERS:
            raise UnsupportedModelError(
                f"a {kind} file cannot be converted yet; what can: {', '.join(sorted(set(IMPORTERS)))}"
            )
        read: Any = import_module(f".importers.{IMPORTERS[kind]}", __package__).read
        given = {
            "shapes": shapes,
            "constants": constants,
            "options": options,
            "example": example,
            "network": network,
        }
        graph = read(source, **_accepted(read, kind, given))
        passes.pipeline(graph, dict(states) if states is not None else None, dict(overlap or {}))
    graph.metadata["converter"] = _converter()
    graph.metadata["source"] = {**_about(source, kind), **graph.metadata.get("source", {})}
    return graph


def kind_of(source: Any) -> str:
    """The kind of a source, by its content first and its name second; for a live object by the module of its class."""
    if not isinstance(source, str | os.PathLike | bytes | bytearray | memoryview):
        return _live_kind(source)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.is_dir():
            return "onnx" if path.suffix == ".onnx" else "keras"  # importers say what to do with a folder
        with path.open("rb") as file:
            kind = _content_kind(file, path.stat().st_size)
        return kind or EXTENSIONS.get(path.suffix.lower()) or _unknown(f"the extension {path.suffix!r}")
    data = bytes(source)
    return _content_kind(io.BytesIO(data), len(data)) or _unknown(f"{len(data)} bytes")


def _content_kind(file: Any, size: int) -> str | None:
    head = file.read(64)
    if not head:
        raise FormatError("the file is empty")
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "keras"
    if head.startswith(b"PK"):
        return _zip_kind(file)
    if head.startswith(b"\x93NUMPY"):
        return "npz"
    if head[4:8] == b"TFL3":
        return "tflite"
    if head.startswith(b"LSTMEDGE"):
        raise UnsupportedModelError("this is a .lstm file already")
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= min(size, MAX_SAFETENSORS_HEADER):
        return "safetensors"
    if head.lstrip()[:1] == b"{":
        return "json"
    if head[0] == 0x80 and head[1] in range(2, 6):  # a pickle: torch's legacy format
        return "torch"
    if (
        head[0] == 0x08 and head[1] < 0x20 and head[2] in (0x12, 0x3A, 0x42)
    ):  # ModelProto: ir_version, then producer, graph or opsets
        return "onnx"
    return None


def _zip_kind(file: Any) -> str | None:
    try:
        with zipfile.ZipFile(file) as archive:
            names = [n.replace("\\", "/") for n in archive.namelist()]
    except zipfile.BadZipFile as why:
        raise FormatError(f"a damaged zip archive ({why})") from None
    if any(n.endswith("data.pkl") or n.endswith("archive_format") for n in names):
        return "torch"
    if "config.json" in names or any(n.endswith("model.weights.h5") for n in names):
        return "keras"
    return "npz" if names and all(n.endswith(".npy") for n in names) else None


def _live_kind(source: Any) -> str:
    for base in type(source).__mro__:
        kind = LIVE_MODULES.get(base.__module__.split(".")[0])
        if kind:
            return kind
    if isinstance(source, Mapping) and source and all(isinstance(k, str) for k in source):
        return "torch"  # a state dict
    return _unknown(f"an object of type {type(source).__name__}")


def _unknown(found: str) -> str:
    raise UnsupportedModelError(
        f"expected a model as a file or object of a kind among {', '.join(sorted(EXTENSIONS))}, a live torch or Keras "
        f"model; found {found}"
    )


def _accepted(read: Any, kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments that are given, refused by name where this importer has no use for them."""
    known = inspect.signature(read).parameters
    for name, value in given.items():
        if value is not None and name not in known and not (isinstance(value, Mapping) and not value):
            raise UnsupportedModelError(f"{name}: not used for {kind} models")
    return {k: v for k, v in given.items() if v is not None and k in known}


def _converter() -> str:
    from . import __version__

    return f"lstm_edge {__version__}"


def _about(source: Any, kind: str) -> dict[str, Any]:
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        about = {"format": kind, "name": path.name}
        if path.is_file():
            with path.open("rb") as file:
                about["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        return about
    if isinstance(source, bytes | bytearray | memoryview):
        return {"format": kind, "name": "", "sha256": hashlib.sha256(source).hexdigest()}
    return {"format": kind, "name": type(source).__name__}


class _named:
    """Puts the source's name in front of the library's errors."""

    def __init__(self, source: Any):
        self.name = Path(source).name if isinstance(source, str | os.PathLike) else ""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, LstmEdgeError) and self.name and self.name not in str(error):
            raise type(error)(f"{self.name}: {error}") from error
