"""How features change over frames: deltas, and deltas of these, behind the features of each frame."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.graph import Graph
from .fields import Fields

MODE = {"nearest": "edge", "mirror": "reflect", "constant": "constant"}  # delta_edges -> mode of Pad


def slope(width: int) -> np.ndarray:
    """Correlated with `width` frames: the slope of the line that fits them best."""
    n = np.arange(width) - width // 2
    return np.asarray(n / (n**2).sum())


def bend(width: int) -> np.ndarray:
    """Correlated with `width` frames: the second derivative of the parabola that fits them best."""
    n = np.arange(width) - width // 2
    fits = np.linalg.pinv(np.stack([np.ones(width), n, n**2], 1).astype(np.float64))
    return np.asarray(2 * fits[2])


def append(graph: Graph, x: str, f: Fields, name: str) -> str:
    """(batch, frames, n) -> (batch, frames, n (1 + f.deltas)): the features, their deltas, and those of these."""
    if not f.deltas:
        return x
    size, half = f.delta_width, f.delta_width // 2
    blocks = [(x, 0), (_filtered(graph, x, slope(size), f, f"{name}.delta"), half)]
    if f.deltas == 2 and f.delta_second == "deltas":
        blocks.append((_filtered(graph, blocks[1][0], slope(size), f, f"{name}.delta2"), 2 * half))
    elif f.deltas == 2 and f.delta_second == "features":
        blocks.append((_filtered(graph, x, np.convolve(slope(size), slope(size)), f, f"{name}.delta2"), 2 * half))
    elif f.deltas == 2:
        blocks.append((_filtered(graph, x, bend(size), f, f"{name}.delta2"), half))
    return graph.add1("Concat", [_as_late(graph, b, late, f) for b, late in blocks], {"axis": 2}, f"{name}.with_deltas")


def _as_late(graph: Graph, block: str, late: int, f: Fields) -> str:
    """Without the frames that the last of the blocks cannot answer. late: how many this one looks ahead."""
    if f.delta_end == "pad" or late == f.delta_frames:
        return block
    return graph.add1(
        "Slice", [block], {"axes": [1], "starts": [0], "ends": [late - f.delta_frames]}, f"{block}.answered"
    )


def _filtered(graph: Graph, x: str, kernel: np.ndarray, f: Fields, name: str) -> str:
    """Each column correlated with the kernel over frames, edges as the fields say."""
    half, columns = len(kernel) // 2, graph.shape(x)[2]
    assert isinstance(columns, int), "features are so many a frame"
    weight = graph.constant(np.tile(kernel, (columns, 1, 1)), f"{name}.weight")
    conv: dict[str, Any] = {"groups": columns, "layout": "channels_last"}
    if f.delta_edges != "interp":
        x = _at_edges(graph, x, half, f, f"{name}.edges")
    y = graph.add1("Conv", [x, weight], conv, name)
    # A polynomial through the first frames has one and the same highest derivative at all of them: that of their middle.
    return _at_edges(graph, y, half, f, f"{name}.edges") if f.delta_edges == "interp" else y


def _at_edges(graph: Graph, x: str, half: int, f: Fields, name: str) -> str:
    """`half` frames more in front, and behind where the end is one."""
    behind = 0 if f.delta_end == "cut" else half
    mode = MODE.get(f.delta_edges, "edge")
    return graph.add1("Pad", [x], {"pads": [0, half, 0, 0, behind, 0], "mode": mode}, name)
