"""What a TorchScript file holds (modules, constants, code) and what its inputs may be."""

from __future__ import annotations

import ast
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import FormatError, UnsupportedModelError
from ...files import pickles
from ...files.pickles import Inert
from ...files.zips import read_entry
from ...ir.dims import BATCH, FRAMES, Size
from ...ir.notes import ASSUMED
from ...options import as_typed
from .program import leaves

MAX_CODE = 16 << 20


# ---- the archive -----------------------------------------------------------------------------------------------------


class Script:
    """Module tree, constants and the syntax trees of classes and functions by qualified name."""

    def __init__(self, data: bytes, place: str) -> None:
        self.place = place
        self.module = pickles.load(data, place)
        constants = pickles.load(data, place, part="constants")
        self.constants = list(constants) if isinstance(constants, (list, tuple)) else []
        self.classes: dict[str, ast.ClassDef] = {}
        self.functions: dict[str, ast.FunctionDef] = {}
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
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
        try:
            tree = ast.parse(read_entry(archive, info, self.place))
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


# ---- inputs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScriptInput:
    shape: tuple[Size, ...]
    dtype: str


def _sizes(shape: Any) -> tuple[Size, ...]:
    free = iter((BATCH, FRAMES))
    named = {"batch": BATCH, "frames": FRAMES, "time": FRAMES}
    return tuple(
        next(free, FRAMES) if s is None or s == -1 else named.get(s, FRAMES) if isinstance(s, str) else int(s)
        for s in shape
    )


def input_candidates(
    script: Script, shapes: dict[str, Any] | None, example: Any
) -> Iterator[tuple[list[tuple[str, Any]], str]]:
    parameters = script.parameters()
    needed = [p for p in parameters if not p[2]]
    if shapes:
        unknown = [n for n in shapes if n not in [p[0] for p in parameters]]
        missing = [p[0] for p in needed if p[0] not in shapes]
        if unknown or missing:
            raise UnsupportedModelError(
                f"{script.place}: shapes {'names' if unknown else 'lacks'} {(unknown or missing)[0]!r}: expected "
                f"the parameters of forward, {', '.join(f'{n}: {t}' for n, t, _ in parameters)}"
            )
        given = [p for p in parameters if p[0] in shapes]
        for dtype in ("float32", "int32"):
            yield [(n, _shaped(shapes[n], t, dtype)) for n, t, _ in given], ""
        return
    if example is not None:
        arrays = (
            list(example.values())
            if isinstance(example, dict)
            else list(example)
            if isinstance(example, (tuple, list))
            else [example]
        )
        rank = next((len(a.shape) for a in leaves(arrays) if hasattr(a, "shape")), 0)
        orders: list[tuple[int | None, int | None]] = [
            (0, 1),
            (1, 0),
            (0, 2),
            (0, 3),
            (0, None),
            (1, None),
            (None, None),
        ]
        for axes in orders:
            if all(a is None or a < rank - (rank > 2 and a < 2) for a in axes):
                for shared in (True, False):
                    yield [(n, g) for (n, _, _), g in zip(parameters, _freed(arrays, axes, shared))], ""
        return
    if len(needed) == 1:
        name = needed[0][0]
        for found in _suggested(script.module):
            text = ", ".join(map(str, found.shape))
            yield (
                [(name, found)],
                f"{ASSUMED}from the first layer's weights: the input {name!r} has shape ({text}); give {as_typed('shapes')} if not",
            )


def _shaped(shape: Any, kind: str, dtype: str) -> Any:
    if "Tensor" not in kind:
        return shape  # a number, given as it is
    if shape and isinstance(shape[0], (list, tuple)):
        return tuple(ScriptInput(_sizes(s), dtype) for s in shape)
    return ScriptInput(_sizes(shape), dtype)


def _freed(arrays: list[Any], axes: tuple[int | None, int | None], shared: bool) -> list[Any]:
    """Inputs of an example's shapes, with batch and frames on these axes of the first; in the others batch is the axis
    of its size where states have it, and frames, when `shared`, the axis where sequences have it."""
    first = next(a for a in leaves(arrays) if hasattr(a, "shape"))
    batch, frames = (first.shape[a] if a is not None else None for a in axes)

    def like(a: Any) -> Any:
        if isinstance(a, (list, tuple)):
            return tuple(map(like, a))
        if not hasattr(a, "shape"):
            return a
        shape: list[Size] = [int(s) for s in a.shape]
        if a is first:
            for axis, symbol in zip(axes, (BATCH, FRAMES)):
                if axis is not None:
                    shape[axis] = symbol
        elif batch is not None:
            likely = [1, 0] if len(shape) == 3 else [0]
            at = next((d for d in likely if d < len(shape) and shape[d] == batch), None)
            if at is not None:
                shape[at] = BATCH
            if shared and axes[1] is not None and axes[1] < len(shape) and shape[axes[1]] == frames:
                shape[axes[1]] = FRAMES
        return ScriptInput(
            tuple(shape), "float32" if "float" in str(a.dtype) else "bool" if "bool" in str(a.dtype) else "int32"
        )

    return [like(a) for a in arrays]


def _suggested(module: Any) -> Iterator[ScriptInput]:
    """Shapes of an only input, from the first weights in the module tree."""
    seen = 0
    for name, weight in _weights(module):
        if "weight" not in name or weight.ndim not in (2, 3) or seen == 3:
            continue
        seen += 1
        n = weight.shape[1]
        shapes: list[tuple[Size, ...]] = []
        if weight.ndim == 2:
            shapes = [(BATCH, FRAMES, n), (FRAMES, BATCH, n), (BATCH, n)]
        else:
            shapes = [(BATCH, n, FRAMES), (BATCH, FRAMES, n)]
        yield from (ScriptInput(s, "float32") for s in shapes)
        if n == 1:
            yield ScriptInput((BATCH, FRAMES), "float32")
        if weight.ndim == 2 and "weight_ih" not in name:
            yield from (ScriptInput(s, "int32") for s in ((BATCH, FRAMES), (FRAMES, BATCH)))


def _weights(module: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, np.ndarray]]:
    for name, value in attributes(module).items() if depth < 64 else ():
        if isinstance(value, np.ndarray) and value.ndim >= 2:
            yield f"{prefix}{name}", value
        elif isinstance(value, Inert):
            yield from _weights(value, f"{prefix}{name}.", depth + 1)
