"""The table of ops, docs/ops.md as data: everything the rooms around it ask of an op is read from its row.

A row stands in the file of its subject: inputs and outputs, attributes with kinds and defaults, weights and their
rows, how time passes, and the rule that gives the outputs' shapes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ..activations import ACTIVATIONS, PARAMETERS
from ..node import Node, place
from ..spec import MAX_RANK, REQUIRED, RUN_DTYPES, Attr, Each, OpSpec, each
from . import elementwise, layers, movement, over_axes, recurrent, signal
from .elementwise import BINARY_ARITHMETIC, BINARY_COMPARISON, BINARY_LOGIC, UNARY, UNARY_FLOAT, UNARY_INT
from .layers import channel_axis, spatial_axes
from .movement import TO_END, is_whole_slice
from .over_axes import REDUCE
from .recurrent import GATES, RECURRENT, STATES, axes_of_frames

__all__ = [
    "ACTIVATIONS",
    "BINARY_ARITHMETIC",
    "BINARY_COMPARISON",
    "BINARY_LOGIC",
    "GATES",
    "MAX_RANK",
    "OPS",
    "PARAMETERS",
    "REDUCE",
    "RECURRENT",
    "RUN_DTYPES",
    "STATES",
    "TO_END",
    "UNARY",
    "UNARY_FLOAT",
    "UNARY_INT",
    "OpSpec",
    "axes_of_frames",
    "channel_axis",
    "each",
    "input_of",
    "is_whole_slice",
    "op_spec",
    "place",
    "read_attrs",
    "sizes_from",
    "spatial_axes",
]

OPS: dict[str, OpSpec] = {
    **recurrent.OPS,
    **layers.OPS,
    **elementwise.OPS,
    **over_axes.OPS,
    **movement.OPS,
    **signal.OPS,
}


def op_spec(node: Node) -> OpSpec:
    """The row of `node.op`; UnsupportedModelError when there is none."""
    spec = OPS.get(node.op)
    if spec is None:
        raise UnsupportedModelError(f"{place(node)}: unknown op, expected one of {', '.join(OPS)}")
    return spec


def input_of(node: Node, name: str) -> str:
    """The tensor that `node` reads as its input `name`, '' where it leaves that out; ValueError for a name its op lacks."""
    index = op_spec(node).index(name)
    return node.inputs[index] if index < len(node.inputs) else ""


def sizes_from(node: Node) -> int:
    """The number of the first input that `node` reads for its sizes alone, all later ones being such; len(inputs): none."""
    names = op_spec(node).input_names
    return names.index("sizes") if "sizes" in names else len(node.inputs)


def read_attrs(node: Node) -> dict[str, Any]:
    """All attributes of `node` in plain Python types, defaults filled in (Each defaults stay, see `each`).

    UnsupportedModelError for a name the op does not know, a value of the wrong kind, an unknown word, a missing value.
    """
    spec = op_spec(node)
    unknown = sorted(set(node.attrs) - set(spec.attrs))
    if unknown:
        raise UnsupportedModelError(
            f"{place(node)}: unknown attribute {unknown[0]!r}, expected only {', '.join(spec.attrs) or 'none'}"
        )
    values = {}
    for key, attr in spec.attrs.items():
        if key in node.attrs:
            values[key] = _plain(node, key, attr, node.attrs[key])
        elif attr.default is REQUIRED:
            raise UnsupportedModelError(f"{place(node)}: attribute {key!r} ({attr.kind}) is missing")
        else:
            values[key] = attr.default
    _check_parameters(node, values)
    return values


# What is taken for a value of each kind, and what it becomes.
_PLAIN: dict[str, tuple[tuple[type, ...], type]] = {
    "int": ((int, np.integer, np.bool_), int),
    "float": ((int, float, np.integer, np.floating), float),
    "str": ((str,), str),
}


def _plain(node: Node, key: str, attr: Attr, value: Any) -> Any:
    many = attr.kind.endswith("s")
    accepted, plain = _PLAIN[attr.kind.rstrip("s")]
    items = value if many else [value]
    if (
        not isinstance(items, (list, tuple, np.ndarray))
        or not all(isinstance(i, accepted) for i in items)
        or plain is float
        and any(isinstance(i, bool) for i in items)
    ):
        raise UnsupportedModelError(f"{place(node)}: attribute {key!r}: expected {attr.kind}, found {value!r}")
    for item in items:
        if attr.words and item not in attr.words:
            raise UnsupportedModelError(
                f"{place(node)}: attribute {key!r}: expected one of {', '.join(attr.words)}, found {item!r}"
            )
    return [plain(i) for i in items] if many else plain(value)


def _check_parameters(node: Node, values: dict[str, Any]) -> None:
    """Refuses an activation whose alpha or beta is used but not given."""
    names, prefix = values.get("activations", ()), "activation_"
    if "alpha" in values:
        names, prefix = (values.get("activation", values.get("kind")),), ""
    for name in names.values if isinstance(names, Each) else names:
        for parameter in ("alpha", "beta")[: PARAMETERS.get(name, 0)]:
            if prefix + parameter not in node.attrs:
                raise UnsupportedModelError(
                    f"{place(node)}: {name} needs attribute {prefix + parameter!r}, it is missing"
                )
