"""What an importer declares: the kinds of source it claims, the options it takes, and where its reader is."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import Findings, FormatError, UnsupportedModelError
from ..files import zips
from ..ir.graph import Graph
from ..options import as_typed, given, named

Options = Mapping[str, Any]  # by the names that options.py declares
HEAD_BYTES = 64


class Source:
    """What is to be converted: a path, the bytes of a file, or a live object."""

    def __init__(self, value: Any):
        self.value = value
        self.path = Path(value) if isinstance(value, (str, os.PathLike)) else None
        self.data = bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else None
        self.is_live = self.path is None and self.data is None
        self.is_folder = self.path is not None and self.path.is_dir()

    @property
    def extension(self) -> str:
        return self.path.suffix.lower() if self.path else ""

    @cached_property
    def size(self) -> int:
        """Bytes of the file, or of the parameters of a live object."""
        if self.is_live:
            return _live_size(self.value)
        return self.path.stat().st_size if self.path else len(self.data or b"")

    @cached_property
    def head(self) -> bytes:
        """The first bytes of the file; none of a folder or a live object. FormatError for an empty file, and for a pipe or
        a device, which might never give any."""
        if self.is_live or self.is_folder:
            return b""
        if self.path is not None and self.path.exists() and not self.path.is_file():
            raise FormatError("expected a file, found a pipe, a socket or a device")
        with self._open() as file:
            found = file.read(HEAD_BYTES)
        if not found:
            raise FormatError("the file is empty")
        return found

    @cached_property
    def entries(self) -> list[str]:
        """The names in a zip archive; none in another file. FormatError for a damaged one."""
        if not self.head.startswith(b"PK"):
            return []
        with self._open() as file, zips.opened(file, "the file") as archive:
            return [n.replace("\\", "/") for n in archive.namelist()]

    def _open(self) -> BinaryIO:
        return self.path.open("rb") if self.path else io.BytesIO(self.data or b"")


def _live_size(value: Any) -> int:
    """The bytes of what a live object of some framework holds; a ModelProto's are those of its file."""
    if hasattr(value, "ByteSize"):
        return int(value.ByteSize())
    held: Any = getattr(value, "weights", None)  # Keras
    if hasattr(value, "state_dict"):  # torch
        held = value.state_dict() if callable(value.state_dict) else value.state_dict
    held = value if isinstance(value, Mapping) else held
    arrays = list(held.values()) if isinstance(held, Mapping) else held if isinstance(held, (list, tuple)) else []
    return sum(prod(array.shape) * 8 for array in arrays if hasattr(array, "shape"))


@dataclass(frozen=True)
class Setting:
    """An entry of the option `options` that one importer alone understands; without choices, any word."""

    name: str
    help: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Importer:
    """One front end. It is declared without being loaded: `module` has `read(source, **options) -> Graph`.

    claims: the kind of a source by its content, None for a foreign one. extensions, live: kinds by the extension of a file
    whose content says nothing, and by the top module of a live object's class. options: the names of what it takes.
    suggests: whether its sources may hold weights alone, for which `module` has `suggest(source, options)`.
    """

    module: str
    claims: Callable[[Source], str | None]
    extensions: Mapping[str, str]
    options: tuple[str, ...]
    live: Mapping[str, str] = field(default_factory=dict)
    settings: tuple[Setting, ...] = ()
    suggests: bool = False

    def read(self, source: Source, kind: str, options: Options) -> Graph:
        """The Graph of a source under the options given. UnsupportedModelError for an option it has no use for."""
        said, wrong = given(options), Findings()
        for name in said:
            if name not in self.options:
                wrong.add(UnsupportedModelError(f"{named(name)}: not used for {kind} models"))
        if "options" in self.options:
            self._check_settings(said, wrong)
        wrong.raise_all()
        read: Callable[..., Graph] = import_module(self.module).read
        return read(source.value, **said)

    def suggest(self, source: Source, kind: str, options: Mapping[str, Any]) -> str:
        """The description of the network that weights suggest. UnsupportedModelError for what holds its network."""
        if not self.suggests:
            raise UnsupportedModelError(f"a {kind} model holds its network: nothing is to be suggested, convert it")
        wrong = Findings()
        self._check_settings({"options": options}, wrong)
        wrong.raise_all()
        text: str = import_module(self.module).suggest(source.value, options).text
        return text

    def _check_settings(self, said: Options, wrong: Findings) -> None:
        for name, value in said.get("options", {}).items():
            with wrong.looking():
                self._check_setting(name, value)

    def _check_setting(self, name: str, value: Any) -> None:
        setting = next((s for s in self.settings if s.name == name), None)
        if setting is None:
            expected = " or ".join(as_typed("options", s.name) for s in self.settings)
            raise UnsupportedModelError(f"{as_typed('options', name, value)}: expected {expected}")
        if setting.choices and value not in setting.choices:
            expected = f"expected one of {', '.join(setting.choices)}"
            raise UnsupportedModelError(f"{as_typed('options', name, value)}: {expected}")
