"""Which dynamic dimensions of an ONNX model's inputs are batch and which are frames.

Decided before anything is lowered: what --shape says first, then what the recurrences imply (their X is (frames, batch,
features), traced back to the inputs), then the dimension's name, then its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import UnsupportedModelError
from ...ir.dims import BATCH, FRAMES, Dim, Size

Key = str | tuple[str, int]  # a dimension's name, or (input, axis) of one without
SYMBOLS: dict[str, Dim] = {"batch": BATCH, "frames": FRAMES}

_BATCH_NAME = re.compile(r"batch|(^|_)(n|b|bs|bsz|nb)($|_)|num_?(seq|stream)", re.I)
_FRAMES_NAME = re.compile(r"seq|time|len|frame|step|chunk|sample|dur|token|word|(^|_)(t|l|s|w)($|_)", re.I)
_FEATURE_NAME = re.compile(r"feat|freq|bin|chan|height|width|hidden|embed|vocab|mel", re.I)
_STATE_NAME = re.compile(r"^[hc](_?0|n|_?in|x)?$|state|hidden|cache|memory|carry", re.I)
_GENERATED_NAME = re.compile(r"^(unk_*\d*|\?|none|dim_?\d*|dynamic_axes_\d+|[su]\d+|.*_dim_\d+|\w*unknown\w*)$", re.I)


@dataclass
class InputDims:
    """A model input: its name and per axis a number or the key of a dynamic dimension. `dims` is None when unknown."""

    name: str
    dims: list[int | Key] | None
    integer: bool = False
    trace: dict[int, str] = field(default_factory=dict)


def declared(info: Any) -> InputDims:
    tensor = info.type.tensor_type
    if not tensor.HasField("shape"):
        return InputDims(info.name, None)
    dims: list[int | Key] = []
    for axis, dim in enumerate(tensor.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value > 0:
            dims.append(int(dim.dim_value))
        elif dim.dim_param:
            dims.append(dim.dim_param)
        else:
            dims.append((info.name, axis))  # no name, or a size of 0 or -1 as old exporters write it
    return InputDims(info.name, dims, tensor.elem_type in (2, 3, 4, 5, 6, 7, 12, 13))


def input_shapes(
    inputs: list[InputDims], shapes: Mapping[str, list[int | str]] | None, graph: Any, notes: list[str]
) -> dict[str, tuple[Size, ...]]:
    """The shape of every input, with at most the symbols batch and frames. UnsupportedModelError names what is open."""
    shapes = dict(shapes or {})
    unknown = sorted(set(shapes) - {i.name for i in inputs})
    if unknown:
        raise UnsupportedModelError(
            f"--shape {unknown[0]}: the model has no such input; its inputs are {', '.join(i.name for i in inputs)}"
        )
    bound = _given(inputs, shapes)
    for info in inputs:
        if info.dims is None:
            raise UnsupportedModelError(
                f"input {info.name!r}: the file gives no shape; give one (--shape {info.name}=...)"
            )
    roles = {k: v for k, v in _roles(inputs, bound, _traced(inputs, graph), notes).items()}
    return {i.name: tuple(d if isinstance(d, int) else roles[d] for d in i.dims or []) for i in inputs}


def _given(inputs: list[InputDims], shapes: dict[str, list[int | str]]) -> dict[Key, Size]:
    """Applies --shape: numbers and symbols replace an input's dimensions, and all others of the same name."""
    bound: dict[Key, Size] = {}
    for info in inputs:
        given = shapes.get(info.name)
        if given is None:
            continue
        if info.dims is None:
            info.dims = [(info.name, d) for d in range(len(given))]
        if len(given) != len(info.dims):
            raise UnsupportedModelError(
                f"--shape {info.name}: expected {len(info.dims)} sizes (the file has {info.dims}), found {len(given)}"
            )
        for axis, size in enumerate(given):
            if isinstance(size, str) and size not in SYMBOLS or isinstance(size, int) and size < 1:
                raise UnsupportedModelError(
                    f"--shape {info.name}: expected sizes of at least 1, 'batch' or 'frames', found {size!r}"
                )
            value: Size = SYMBOLS[size] if isinstance(size, str) else size
            key = info.dims[axis]
            if isinstance(key, int):
                key = info.dims[axis] = (info.name, axis)
            if bound.setdefault(key, value) != value:
                raise UnsupportedModelError(
                    f"--shape {info.name}: dimension {key!r} is {value} here and {bound[key]} in another place"
                )
    return bound


def _roles(
    inputs: list[InputDims], bound: dict[Key, Size], traced: dict[Key, set[str]], notes: list[str]
) -> dict[Key, Size]:
    roles = dict(bound)
    for info in inputs:
        taken: dict[str, Key] = {}
        for axis, key in enumerate(info.dims or []):
            if isinstance(key, int):
                continue
            if key not in roles:
                role = _role(info, axis, key, traced)
                roles[key] = SYMBOLS[role]
                label = repr(key) if isinstance(key, str) else "without a name"
                notes.append(f"input {info.name!r}: dimension {axis} ({label}) is {role}")
            symbol = roles[key]
            if isinstance(symbol, Dim) and taken.setdefault(repr(symbol), key) != key:
                raise UnsupportedModelError(
                    f"input {info.name!r}: dimensions {info.dims}: two of them would both be {symbol}; "
                    f"say what they are (--shape {info.name}=..., each a number, batch or frames)"
                )
    named = sorted(
        {
            k
            for k, v in roles.items()
            if v == FRAMES and k not in bound and isinstance(k, str) and not _GENERATED_NAME.match(k)
        }
    )
    if len(named) > 1:
        places = ", ".join(f"{i.name}={i.dims}" for i in inputs)
        raise UnsupportedModelError(
            f"the inputs have more than one open length, {' and '.join(map(repr, named))} ({places}); "
            "fix all but one (--shape)"
        )
    return roles


def _role(info: InputDims, axis: int, key: Key, traced: dict[Key, set[str]]) -> str:
    found = traced.get(key, set())
    if len(found) == 1:
        return next(iter(found))
    if isinstance(key, str) and not _GENERATED_NAME.match(key):
        if _BATCH_NAME.search(key):
            return "batch"
        if _FEATURE_NAME.search(key):
            raise UnsupportedModelError(
                f"input {info.name!r}: dimension {axis} ({key!r}) is neither batch nor frames; give "
                f"its size (--shape {info.name}=...)"
            )
        if _FRAMES_NAME.search(key):
            return "frames"
    if _STATE_NAME.search(info.name):
        return "batch"
    return "batch" if axis == 0 else "frames"


# ---- what the recurrences imply -------------------------------------------------------------------------------------

_SAME = {
    "Identity",
    "Cast",
    "Relu",
    "Tanh",
    "Sigmoid",
    "LeakyRelu",
    "Dropout",
    "BatchNormalization",
    "Clip",
    "Softmax",
    "LayerNormalization",
    "Neg",
    "Sqrt",
    "Log",
    "Exp",
    "Elu",
    "PRelu",
    "Softplus",
    "Gelu",
    "InstanceNormalization",
}
_ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Max", "Min", "Pow"}
Roles = list[str | None]


def _traced(inputs: list[InputDims], graph: Any) -> dict[Key, set[str]]:
    """Roles of dimensions, walked back from the inputs of recurrent nodes to those of the model."""
    by_output = {o: n for n in graph.node for o in n.output}
    constants = {t.name for t in graph.initializer}
    by_name = {i.name: i for i in inputs}
    found: dict[Key, set[str]] = {}
    for node in graph.node:
        if node.op_type not in ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"):
            continue
        swapped = any(a.name == "layout" and a.i for a in node.attribute)
        x: Roles = ["batch", "frames", None] if swapped else ["frames", "batch", None]
        state: Roles = ["batch", None, None] if swapped else [None, "batch", None]
        work: list[tuple[str, Roles]] = [
            (n, r) for n, r in zip(node.input, [x, None, None, None, ["batch"], state, state]) if r
        ]
        seen = set()
        while work:
            name, roles = work.pop()
            if name in by_name:
                _note_roles(by_name[name], roles, found)
            producer = by_output.get(name)
            if producer is None or (name, tuple(roles)) in seen:
                continue
            seen.add((name, tuple(roles)))
            work += _step_back(producer, roles, constants)
    return found


def _note_roles(info: InputDims, roles: Roles, found: dict[Key, set[str]]) -> None:
    if info.dims is None or len(info.dims) != len(roles):
        return
    for key, role in zip(info.dims, roles):
        if role and not isinstance(key, int):
            found.setdefault(key, set()).add(role)


def _step_back(node: Any, roles: Roles, constants: set[str]) -> list[tuple[str, Roles]]:
    """What the roles of a node's output say of its inputs; nothing where the node mixes axes."""
    import onnx

    attrs = {
        a.name: onnx.helper.get_attribute_value(a)
        for a in node.attribute
        if a.type in (onnx.AttributeProto.INT, onnx.AttributeProto.INTS)
    }
    run = [i for i in node.input if i and i not in constants]
    op = node.op_type
    if op == "Transpose" and "perm" in attrs and len(attrs["perm"]) == len(roles):
        before: Roles = [None] * len(roles)
        for d, p in enumerate(attrs["perm"]):
            before[p] = roles[d]
        return [(run[0], before)]
    if op in _SAME:
        return [(run[0], roles)] if run else []
    if op in _ELEMENTWISE or op == "Concat":
        return [(i, roles) for i in run]
    if op == "MatMul" and node.input[1] in constants or op == "Conv":
        return [(run[0], [roles[0], None, roles[2]] if op == "Conv" and len(roles) == 3 else [*roles[:-1], None])]
    if op == "Gather" and node.input[0] in constants and attrs.get("axis", 0) == 0:
        return [(node.input[1], roles[:-1])]
    axes = attrs.get("axes")
    if op == "Unsqueeze" and axes:
        places = {a % len(roles) for a in axes}
        return [(run[0], [r for d, r in enumerate(roles) if d not in places])]
    if op == "Squeeze" and axes:
        rank = len(roles) + len(axes)
        rest = iter(roles)
        places = {a % rank for a in axes}
        return [(run[0], [None if d in places else next(rest) for d in range(rank)])]
    return []
