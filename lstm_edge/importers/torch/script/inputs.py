"""What the inputs of a TorchScript file may be. Its parameters have types and no shapes: these come from the caller, from
an example, or are assumed from the first layer's weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

import numpy as np

from ....errors import UnsupportedModelError
from ....ir.dims import BATCH, FRAMES, Size
from ....ir.notes import ASSUMED
from ....options import as_typed
from ...dialect import Value, known
from ...dialect.open_sizes import OpenSize
from .archive import Script, weights

Declared = list[Union[Size, OpenSize]]
NUMBER_TYPES = ("int", "float", "bool", "str")
MOST_OPEN = (
    2  # sizes of one input: its batch and its frames; what else nothing fixes is features, which a stream has fixed
)


@dataclass(frozen=True)
class Tensor:
    """A place for an input of the Graph."""

    name: str
    dtype: str


@dataclass
class Attempt:
    """Arguments of forward by parameter, `Tensor` in the places of inputs, the inputs' sizes, and what is to be noted.

    strict: whether an input may keep more than MOST_OPEN sizes.
    """

    arguments: dict[str, Any]
    sizes: dict[str, Declared]
    notes: list[str] = field(default_factory=list)
    strict: bool = True


def attempts(
    script: Script, shapes: Mapping[str, Any] | None, example: Any, constants: Mapping[str, Any] | None
) -> Iterator[Attempt]:
    """What the inputs may be, the likeliest first. UnsupportedModelError where the caller's words do not go with forward."""
    fixed = _constants(script, constants or {})
    if example is not None:
        yield from _of_example(script, example, fixed)
    elif shapes or _needed(script, fixed) == []:
        for dtype in ("float32", "int32"):
            yield _of_shapes(script, shapes or {}, fixed, dtype)
    else:
        yield from _of_weights(script, fixed)


def as_wanted(script: Script, constants: Mapping[str, Any] | None) -> str:
    """What is to be typed for every parameter that forward needs."""
    types = {name: kind for name, kind, _ in script.parameters()}
    lines = [line for name in _needed(script, constants or {}) for line in _typed(name, types[name])]
    return " and ".join(lines)


def _typed(name: str, kind: str) -> list[str]:
    outer, inner = _container(kind)
    if outer == "Tuple":
        return [line for n, part in enumerate(inner) for line in _typed(f"{name}.{n}", part)]
    if outer == "List":
        return [line for n in range(2) for line in _typed(f"{name}.{n}", inner[0])]
    if outer == "Dict":
        return _typed(f"{name}.KEY", inner[1])
    if kind in NUMBER_TYPES:
        return [as_typed("constants", name)]
    is_state = "." in name
    return [as_typed("shapes", name, (1, "batch", 40) if is_state else ("batch", "frames", 40))]


def _container(kind: str) -> tuple[str, list[str]]:
    """('Tuple', its parts' types) and the like; ('', []) of a tensor or number. An Optional is what it holds."""
    match = re.fullmatch(r"(\w+)\[(.*)\]", kind)
    if match is None:
        return "", []
    parts, depth = [""], 0
    for letter in match[2]:
        depth += {"[": 1, "]": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    parts = [p.strip() for p in parts]
    return _container(parts[0]) if match[1] == "Optional" else (match[1], parts)


# ---- numbers -------------------------------------------------------------------------------------------------------


def _constants(script: Script, constants: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that the caller fixes: numbers as forward's types have them, tensors as known values."""
    types = {name: kind for name, kind, _ in script.parameters()}
    for name in constants:
        if name not in types:
            raise UnsupportedModelError(
                f"{as_typed('constants', name)}: expected a parameter of forward: {_all_of(script)}"
            )
    return {name: _constant(types[name], value) for name, value in constants.items()}


def _constant(kind: str, value: Any) -> Any:
    plain = kind.removeprefix("Optional[").removesuffix("]")
    if plain in ("int", "float", "bool"):
        return {"int": int, "float": float, "bool": bool}[plain](np.asarray(value).item())
    if "Tensor" not in kind:
        return value
    array = np.asarray(value)
    return known(array.astype("float32") if array.dtype.kind == "f" else array)


def _all_of(script: Script) -> str:
    return ", ".join(f"{n}: {t}" for n, t, _ in script.parameters())


def _needed(script: Script, given: Mapping[str, Any]) -> list[str]:
    return [name for name, _, optional in script.parameters() if not optional and name not in given]


# ---- shapes ----------------------------------------------------------------------------------------------------------


def _of_shapes(script: Script, shapes: Mapping[str, Any], fixed: Mapping[str, Any], dtype: str) -> Attempt:
    """Arguments of the shapes that the caller gives, by parameter or, of what is in tuples and lists, by PARAMETER.PLACE."""
    types = {name: kind for name, kind, _ in script.parameters()}
    roots = [name.partition(".")[0] for name in shapes]
    unknown = [name for name, root in zip(shapes, roots) if root not in types]
    missing = [name for name in _needed(script, fixed) if name not in roots]
    if unknown or missing:
        what = f"{as_typed('shapes', unknown[0])}: no such parameter" if unknown else f"{missing[0]!r} has no shape"
        wanted = " and ".join(line for name in missing for line in _typed(name, types[name]))
        raise UnsupportedModelError(
            f"{what}: expected the parameters of forward, {_all_of(script)}" + (f"; give {wanted}" if wanted else "")
        )
    attempt = Attempt(dict(fixed), {}, strict=False)
    for name in types:
        if name in roots:
            own = {key.split(".", 1)[1]: s for key, s in shapes.items() if key.startswith(f"{name}.")}
            attempt.arguments[name] = _shaped(attempt, name, types[name], own or shapes[name], dtype)
    return attempt


def _shaped(attempt: Attempt, name: str, kind: str, shape: Any, dtype: str) -> Any:
    """A tensor, tuple, list or dict of tensors with the shapes given: sizes, several such, or such by place."""
    outer, inner = _container(kind)
    if isinstance(shape, Mapping):
        return _by_place(attempt, name, (outer, inner), shape, dtype)
    if "Tensor" not in kind:
        return shape  # a number, given as it is
    nested = shape and isinstance(shape[0], (list, tuple))
    if outer in ("Tuple", "List") and not nested:
        raise UnsupportedModelError(
            f"{as_typed('shapes', name)}: {name!r} is a {kind}, so that each of its tensors needs a shape: "
            f"{' and '.join(_typed(name, kind))}"
        )
    if nested:
        parts = {str(n): s for n, s in enumerate(shape)}
        return _by_place(attempt, name, (outer or "Tuple", inner or ["Tensor"] * len(parts)), parts, dtype)
    return _tensor(attempt, name, _sizes(shape), dtype)


def _by_place(
    attempt: Attempt, name: str, container: tuple[str, list[str]], shapes: Mapping[str, Any], dtype: str
) -> Any:
    outer, inner = container
    places = dict.fromkeys(key.partition(".")[0] for key in shapes)
    expected = list(map(str, range(len(inner) if outer == "Tuple" else len(places))))
    if outer not in ("Tuple", "List", "Dict") or outer != "Dict" and sorted(places) != sorted(expected):
        wanted = " and ".join(_typed(name, f"{outer}[{', '.join(inner)}]" if outer else "Tensor"))
        raise UnsupportedModelError(f"{as_typed('shapes', name)}: found {', '.join(shapes)}; expected {wanted}")
    made = {}
    for place in places if outer == "Dict" else expected:
        kind = inner[1] if outer == "Dict" else inner[int(place)] if outer == "Tuple" else inner[0]
        below = {key.split(".", 1)[1]: s for key, s in shapes.items() if key.startswith(f"{place}.")}
        made[place] = _shaped(attempt, f"{name}_{place}", kind, below or shapes[place], dtype)
    return made if outer == "Dict" else tuple(made.values()) if outer == "Tuple" else list(made.values())


def _tensor(attempt: Attempt, name: str, sizes: Sequence[Size | OpenSize], dtype: str) -> Tensor:
    attempt.sizes[name] = list(sizes)
    return Tensor(name, dtype)


def _sizes(shape: Any) -> list[Size]:
    free = iter((BATCH, FRAMES))
    named = {"batch": BATCH, "frames": FRAMES, "time": FRAMES}
    return [
        next(free, FRAMES) if s is None or s == -1 else named.get(s, FRAMES) if isinstance(s, str) else int(s)
        for s in shape
    ]


# ---- an example ------------------------------------------------------------------------------------------------------


def _of_example(script: Script, example: Any, fixed: Mapping[str, Any]) -> Iterator[Attempt]:
    """Arguments as in an example, with as many sizes open as nothing fixes; then with the last axes as they are; then all."""
    names = [name for name, _, _ in script.parameters() if name not in fixed]
    if isinstance(example, Mapping) and set(example) <= set(names):
        given = dict(example)
    else:
        values = list(example) if isinstance(example, (tuple, list)) else [example]
        given = dict(zip(names, values))
    for is_open, strict in ((lambda axis, rank: True, True), (lambda axis, rank: rank < 3 or axis < rank - 1, False)):
        yield _like_example(given, fixed, is_open, strict)
    yield _like_example(given, fixed, lambda axis, rank: False, False)


def _like_example(
    given: Mapping[str, Any], fixed: Mapping[str, Any], is_open: Callable[[int, int], bool], strict: bool
) -> Attempt:
    attempt = Attempt(dict(fixed), {}, strict=strict)

    def like(name: str, a: Any) -> Any:
        if isinstance(a, (list, tuple)):
            return type(a)(like(f"{name}_{n}", v) for n, v in enumerate(a))
        if isinstance(a, Mapping):
            return {k: like(f"{name}_{k}", v) for k, v in a.items()}
        if not hasattr(a, "shape"):
            return a
        kind, shape = str(a.dtype), [int(s) for s in a.shape]
        sizes = [
            OpenSize(name, axis, made_with=n, declared=False) if is_open(axis, len(shape)) else n
            for axis, n in enumerate(shape)
        ]
        return _tensor(attempt, name, sizes, "float32" if "float" in kind else "bool" if "bool" in kind else "int32")

    attempt.arguments.update({name: like(name, value) for name, value in given.items()})
    return attempt


# ---- nothing given ---------------------------------------------------------------------------------------------------


def _of_weights(script: Script, fixed: Mapping[str, Any]) -> Iterator[Attempt]:
    """Shapes of an only input, from the first weights in the module tree."""
    needed = _needed(script, fixed)
    if len(needed) != 1:
        return
    name, seen = needed[0], 0
    for path, weight in weights(script.module):
        if "weight" not in path or weight.ndim not in (2, 3) or seen == 3:
            continue
        seen += 1
        for shape, dtype in _suggested(path, weight):
            text = ", ".join("?" if s is None else str(s) for s in shape)
            attempt = Attempt(dict(fixed), {})
            sizes: Declared = [OpenSize(name, axis) if s is None else s for axis, s in enumerate(shape)]
            attempt.arguments[name] = _tensor(attempt, name, sizes, dtype)
            attempt.notes.append(
                f"{ASSUMED}from the first layer's weights: the input {name!r} has shape ({text}); give "
                f"{as_typed('shapes')} if not"
            )
            yield attempt


def _suggested(path: str, weight: np.ndarray) -> Iterator[tuple[tuple[int | None, ...], str]]:
    """Shapes and dtypes that a layer's weights suggest, None where a size is open."""
    n = int(weight.shape[1])
    yield (None, None, n) if weight.ndim == 2 else (None, n, None), "float32"
    yield (None, n) if weight.ndim == 2 else (None, None, n), "float32"
    if n == 1:
        yield (None, None), "float32"
    if weight.ndim == 2 and "weight_ih" not in path:
        yield (None, None), "int32"


def arguments(attempt: Attempt, declare: Callable[[Tensor], Value]) -> dict[str, Any]:
    """The arguments with each `Tensor` declared, in the order in which they stand."""

    def filled(value: Any) -> Any:
        if isinstance(value, Tensor):
            return declare(value)
        if isinstance(value, (list, tuple)):
            return type(value)(map(filled, value))
        return {k: filled(v) for k, v in value.items()} if isinstance(value, dict) else value

    return {name: filled(value) for name, value in attempt.arguments.items()}
