"""What the weights of an op multiply while a model runs: the inputs of a Dense, and of a recurrence x beside the h of the frame before."""

from __future__ import annotations

import copy
from typing import Optional

import numpy as np

from .. import format
from .._core import Model
from ..ir.graph import Graph, Node, Port
from .blocks import Seen

Values = list[dict[str, Optional[np.ndarray]]]  # of each run, by tensor

# Weights of one op whose products are one sum, so that each can make up for the other's blocks.
TOGETHER: dict[str, tuple[tuple[str, ...], ...]] = {
    "Dense": (("w",),),
    "LSTM": (("w_ih", "w_hh"), ("w_proj",)),
    "RNN": (("w_ih", "w_hh"),),
    "GRU": (("w_ih",), ("w_hh",)),
}


def observe(graph: Graph, runs: list[dict[str, np.ndarray]], numbers: list[int]) -> Values:
    """What the ops `numbers` read and give in each run."""
    constants = {name for name, t in graph.tensors.items() if t.is_constant}
    taps = sorted({t for n in numbers for t in (graph.nodes[n].inputs[0], graph.nodes[n].outputs[0]) if t} - constants)
    tapped = copy.copy(graph)
    tapped.self_test, tapped.outputs = None, [Port(t, t) for t in taps]
    model = Model(format.to_bytes(tapped))
    found: Values = []
    for run in runs:
        answer = model.run(**run)
        found.append(answer if isinstance(answer, dict) else {taps[0]: answer})
    return found


def seen_by(node: Node, roles: tuple[str, ...], before: Values, after: Values) -> Seen | None:
    """The moments of what these weights multiply in `after`, and with what they multiplied in `before`; None where nothing tells."""
    own = cross = None
    rows = 0
    for old, new in zip(before, after):
        x0, x = _multiplied(node, roles, old), _multiplied(node, roles, new)
        if x0 is None or x is None:
            return None
        finite = np.isfinite(x0).all(axis=(0, 2)) & np.isfinite(x).all(axis=(0, 2))
        x0, x = x0[:, finite], x[:, finite]
        turned = x.transpose(0, 2, 1)
        own = turned @ x + (0 if own is None else own)
        cross = x0.transpose(0, 2, 1) @ x + (0 if cross is None else cross)
        rows += x.shape[1]
    return None if own is None or cross is None or not rows else Seen(own, cross, rows).damped()


def _multiplied(node: Node, roles: tuple[str, ...], values: dict[str, np.ndarray | None]) -> np.ndarray | None:
    """(directions, rows, K) of one run; None where the core does not show it."""
    x, y = values.get(node.inputs[0]), values.get(node.outputs[0]) if node.outputs[0] else None
    if x is None or roles == ("w_proj",) or ("w_hh" in roles and y is None):
        return None
    x = x.astype(np.float64)
    if "w_hh" not in roles:
        return x.reshape(1, -1, x.shape[-1])
    assert y is not None
    direction = node.attrs.get("direction", "forward")
    halves = np.split(y.astype(np.float64), 2 if direction == "bidirectional" else 1, axis=-1)
    axis = 0 if x.ndim > 3 or node.attrs.get("time_major") else 1  # a model of one frame has the frames in front
    backwards = [direction == "reverse", True]
    parts = [_frame_before(h, axis, backward) for h, backward in zip(halves, backwards)]
    if "w_ih" in roles:
        parts = [np.concatenate([x, h], axis=-1) for h in parts]
    return np.stack([p.reshape(-1, p.shape[-1]) for p in parts])


def _frame_before(h: np.ndarray, axis: int, backward: bool) -> np.ndarray:
    """h as the next frame reads it, zeros at first."""
    moved = np.zeros_like(h)
    first, rest = [slice(None)] * h.ndim, [slice(None)] * h.ndim
    first[axis], rest[axis] = slice(None, -1), slice(1, None)
    if backward:
        first, rest = rest, first
    moved[tuple(rest)] = h[tuple(first)]
    return moved
