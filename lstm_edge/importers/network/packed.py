"""The weights of dynamically quantised torch modules, which lie in packed objects, by the names that they have unpacked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ...files import packed_weights

NOTE = (
    "packed weights of 8 or 16 bits became the float32 numbers that they stand for; answers differ by torch's rounding of "
    "activations before it multiplies (dynamic quantisation)"
)
_LINEAR = "_packed_params._packed_params"
_CELL = re.compile(r"(.*)_all_weight_values\.(\d+)\.param")
_CELL_PARTS = ("weight_ih_l", "weight_hh_l", "bias_ih_l", "bias_hh_l")  # before the number of the layer


def is_packed(name: str, held: Any) -> bool:
    """Whether an entry of a state dict holds packed weights."""
    return bool(packed_weights.kind_of(held)) or name.endswith(_LINEAR) and isinstance(held, tuple)


def unpacked(entries: Mapping[str, Any], directions: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The entries of a state dict, arrays and packed weights, as arrays in their order. `directions`: those of a recurrence
    by what stands before the names of its weights, where it is known.

    UnsupportedModelError where two layers and two directions look alike, and for packed weights of another module.
    """
    packed = [name for name, held in entries.items() if is_packed(name, held)]
    linears = [name.removesuffix(_LINEAR) for name in packed if name.endswith(_LINEAR)]
    beside = {f"{module}{name}" for module in linears for name in ("scale", "zero_point")}
    found: dict[str, np.ndarray] = {}
    done: set[str] = set()
    for name, held in entries.items():
        match = _CELL.fullmatch(name)
        if name not in packed:
            found.update({} if name in beside else {name: held})
        elif match is not None and match[1] not in done:
            done.add(match[1])
            cells = [packed_weights.cell(h) for n, h in entries.items() if _is_cell_of(n, match[1])]
            found.update(_recurrence(match[1], cells, directions.get(match[1]) or _directions(match[1], cells)))
        elif name.endswith(_LINEAR):
            weight, bias = packed_weights.linear(held)
            parts = {"weight": weight} | ({} if bias is None else {"bias": bias})
            found.update({name.removesuffix(_LINEAR) + part: w for part, w in parts.items()})
        elif match is None:
            raise UnsupportedModelError(
                f"{name!r} holds packed weights that are neither a Linear's nor a recurrence's over a sequence; save the "
                "whole module as TorchScript"
            )
    return found


def _is_cell_of(name: str, prefix: str) -> bool:
    match = _CELL.fullmatch(name)
    return match is not None and match[1] == prefix


def _recurrence(prefix: str, cells: list[list[np.ndarray]], directions: int) -> dict[str, np.ndarray]:
    """The weights of a stack under the names that torch gives those of nn.LSTM and nn.GRU."""
    found = {}
    for n, cell in enumerate(cells):
        layer, ending = n // directions, "_reverse" if n % directions else ""
        found.update({f"{prefix}{part}{layer}{ending}": w for part, w in zip(_CELL_PARTS, cell)})
    return found


def _directions(prefix: str, cells: list[list[np.ndarray]]) -> int:
    """1 or 2, told by the widths of what each cell reads."""
    widths, hidden = [cell[0].shape[1] for cell in cells], cells[0][1].shape[1]
    in_layers = widths[1:] == [hidden] * (len(cells) - 1)
    pairs = [widths[0], widths[0], *[2 * hidden] * (len(cells) - 2)]
    if in_layers and widths == pairs and len(cells) > 1:
        raise UnsupportedModelError(
            f"{prefix.rstrip('.')!r}: two packed cells of {hidden} inputs and as many units may be two layers or two "
            "directions; save the whole module, or its TorchScript"
        )
    return 1 if in_layers else 2
