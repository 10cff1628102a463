"""What a TorchScript file holds: modules, constants, code."""

from __future__ import annotations

import ast
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from .... import memory
from ....errors import FormatError, UnsupportedModelError
from ....files import pickles, zips
from ....files.pickles import Inert, below
from ....files.zips import read_entry

MAX_CODE = 16 << 20
WORD = re.compile(rb"\w+|[^\w\s]")


def is_script(names: list[str]) -> bool:
    """Whether a zip archive with these entries is TorchScript."""
    return any("/code/" in n or n.startswith("code/") for n in names) and any(
        n.endswith("constants.pkl") for n in names
    )


class Script:
    """Module tree, constants and the syntax trees of classes and functions by qualified name."""

    def __init__(self, data: bytes, place: str) -> None:
        self.place = place
        self.module = pickles.load(data, place)
        constants = pickles.load(data, place, part="constants")
        self.constants = list(constants) if isinstance(constants, (list, tuple)) else []
        self.classes: dict[str, ast.ClassDef] = {}
        self.functions: dict[str, ast.FunctionDef] = {}
        with zips.opened(data, place) as archive:
            for info in archive.infolist():
                if info.filename.endswith(".py") and "code/" in info.filename:
                    self._parse(archive, info)
        if not isinstance(self.module, Inert) or self.module.name not in self.classes:
            raise FormatError(f"{place}: data.pkl holds no module whose code is in the archive")
        # nn.LSTM and its kin have two, of which the first takes tensors and the second packed sequences
        self.forward = next((f for f in ("forward", "forward__0") if self.method(self.module.name, f)), "")
        if not self.forward:
            raise UnsupportedModelError(f"{place}: the module has no method forward")
        self.packs = any(
            "_pack_padded_sequence" in ast.unparse(c) for c in [*self.classes.values(), *self.functions.values()]
        )

    def _parse(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        if info.file_size > MAX_CODE:
            raise FormatError(f"{self.place}: {info.filename} has {info.file_size} bytes; expected at most {MAX_CODE}")
        name = info.filename.partition("code/")[2].removesuffix(".py").replace("/", ".")
        code = read_entry(archive, info, self.place)
        words = sum(1 for _ in WORD.finditer(code))
        memory.ask(900 * words, f"{self.place}: {info.filename}")  # of which the parser gives back the half
        memory.take(450 * words, f"{self.place}: {info.filename}")
        try:
            tree = ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
            raise FormatError(f"{self.place}: {info.filename} is not TorchScript ({type(e).__name__}: {e})") from e
        for item in tree.body:
            if isinstance(item, ast.ClassDef):
                self.classes[f"{name}.{item.name}"] = item
            elif isinstance(item, ast.FunctionDef):
                self.functions[f"{name}.{item.name}"] = item

    def method(self, class_name: str, name: str) -> ast.FunctionDef | None:
        body = self.classes[class_name].body if class_name in self.classes else []
        return next((f for f in body if isinstance(f, ast.FunctionDef) and f.name == name), None)

    def final(self, class_name: str, name: str) -> ast.expr | None:
        """The value of `name : Final[...] = value` in a class."""
        body = self.classes[class_name].body if class_name in self.classes else []
        return next(
            (
                a.value
                for a in body
                if isinstance(a, ast.AnnAssign) and isinstance(a.target, ast.Name) and a.target.id == name
            ),
            None,
        )

    def parameters(self) -> list[tuple[str, str, bool]]:
        """(name, type, has a default) of forward's parameters."""
        forward = self.method(self.module.name, self.forward)
        assert forward is not None
        arguments = forward.args.args[1:]
        plain = len(arguments) - len(forward.args.defaults)
        return [
            (a.arg, ast.unparse(a.annotation) if a.annotation else "Tensor", i >= plain)
            for i, a in enumerate(arguments)
        ]


def attributes(module: Any) -> dict[str, Any]:
    return module.state if isinstance(module, Inert) and isinstance(module.state, dict) else {}


def weights(root: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor of a module and those below it, by its path."""
    return ((path, value) for path, value in below(root, attributes) if isinstance(value, np.ndarray))
