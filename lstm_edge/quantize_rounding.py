"""Rounding weights to int8 by what they multiply: each column's rounding error is made up for by the columns after it.

Optimal brain surgeon's update column by column (Hassibi and Stork, 1993), in the form of Frantar and others, "GPTQ", 2022.
What an op multiplies is known from calibration through its second moments alone, X^T X over all rows X that meet the weight.
"""

from __future__ import annotations

import copy
import math

import numpy as np

from . import format
from ._core import Model
from .graph import Graph, Node, Port
from .ops import each, read_attrs

DAMPING = 0.01  # of the mean second moment: columns that calibration hardly saw keep their plain rounding
BLOCK = 128  # columns whose errors reach the later ones in one product

Moments = dict[tuple[int, str], np.ndarray]  # (op number, weight's input name): k x k, or groups x k x k


def round_columns(rows: np.ndarray, scale: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """int8 (n, k) for weights (n, k) with scales (n,) that makes rows times what they multiply come out close: `moments` is
    (k, k), or (groups, k, k) for equal parts of the rows."""
    n, k = rows.shape
    groups = moments.reshape(-1, k, k)
    if len(groups) > 1:
        parts = zip(np.split(rows, len(groups)), np.split(scale, len(groups)), groups)
        return np.concatenate([round_columns(r, s, m) for r, s, m in parts])
    moments = groups[0]
    seen = np.diag(moments).copy()
    if not (np.isfinite(moments).all() and seen.max(initial=0.0) > 0):
        return plain(rows, scale)
    order = np.argsort(-seen, kind="stable")
    damped = moments[np.ix_(order, order)] + DAMPING * seen.mean() * np.eye(k)
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    left = rows[:, order].astype(np.float64)
    step = np.where(scale > 0, scale, 1).astype(np.float64)
    q = np.zeros((n, k), np.int8)
    for start in range(0, k, BLOCK):
        end = min(start + BLOCK, k)
        errors = np.empty((n, end - start))
        for j in range(start, end):
            q[:, j] = np.clip(np.rint(left[:, j] / step), -127, 127)
            errors[:, j - start] = (left[:, j] - q[:, j] * step) / upper[j, j]
            left[:, j + 1 : end] -= np.outer(errors[:, j - start], upper[j, j + 1 : end])
        left[:, end:] -= errors @ upper[start:end, end:]
    out = np.empty_like(q)
    out[:, order] = q
    return out


def plain(rows: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """To nearest even: int8 (n, k)."""
    return np.clip(np.rint(rows / np.where(scale > 0, scale, 1)[:, None]), -127, 127).astype(np.int8)


# ---- what the weights multiply ---------------------------------------------------------------------------------------


def second_moments(graph: Graph, runs: list[dict[str, np.ndarray]], numbers: list[int]) -> Moments:
    """X^T X of every weight of the ops `numbers` over all runs, from the C core's own activations."""
    taps = {t for n in numbers for t in _taps(graph.nodes[n]) if t and not graph.tensors[t].is_constant}
    tapped = copy.copy(graph)
    tapped.self_test = None
    tapped.outputs = [Port(t, t) for t in sorted(taps)]
    if not taps:
        return {}
    model = Model(format.to_bytes(tapped))
    total: Moments = {}
    for run in runs:
        answer = model.run(**run)
        values = answer if isinstance(answer, dict) else {model.outputs[0].name: answer}
        for n in numbers:
            for role, moments in _moments(graph, graph.nodes[n], values).items():
                total[n, role] = total.get((n, role), 0) + moments
    return total


def _taps(node: Node) -> list[str]:
    """The tensors that tell what the node's weights multiply."""
    return [node.inputs[0], node.outputs[0]] if node.op in ("LSTM", "GRU", "RNN") else [node.inputs[0]]


def _moments(graph: Graph, node: Node, values: dict[str, np.ndarray | None]) -> dict[str, np.ndarray]:
    x = values.get(node.inputs[0])
    if x is None or node.op == "Gather":
        return {}
    if node.op in ("LSTM", "GRU", "RNN"):
        found = {"w_ih": _square(x)}
        y = values.get(node.outputs[0])
        if y is not None:
            directions = 2 if node.attrs.get("direction") == "bidirectional" else 1
            found["w_hh"] = np.stack([_square(h) for h in np.split(y, directions, axis=-1)])
        return found
    if node.op == "Dense":
        return {"w": _square(x)}
    if node.op == "Conv":
        return {"w": _window_moments(node, x, graph.shape(node.inputs[1]))}
    return {}


def _square(x: np.ndarray) -> np.ndarray:
    rows = x.reshape(-1, x.shape[-1]).astype(np.float64)
    return rows.T @ rows


def _window_moments(node: Node, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Of a convolution's windows, per group (G, k, k), k in the weight's own order. x may have one more leading axis."""
    attrs, n = read_attrs(node), len(shape) - 2
    x = x.reshape(-1, *x.shape[-(n + 1) :]).astype(np.float64)
    x = np.moveaxis(x, -1, 1) if attrs["layout"] == "channels_last" else x
    strides, dilations, pads = each(attrs["strides"], n), each(attrs["dilations"], n), each(attrs["pads"], 2 * n)
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:n], pads[n:])])
    spans = [(k - 1) * d + 1 for k, d in zip(shape[2:], dilations)]
    if any(size < span for size, span in zip(x.shape[2:], spans)):
        return np.zeros((1, math.prod(shape[1:]), math.prod(shape[1:])))
    windows = np.lib.stride_tricks.sliding_window_view(x, spans, axis=tuple(range(2, 2 + n)))
    windows = windows[(slice(None),) * 2 + tuple(slice(None, None, s) for s in strides + dilations)]
    by_channel = np.moveaxis(windows, 1, n + 1)  # (B, *positions, C, *kernel)
    return np.stack([_square(g.reshape(-1, math.prod(shape[1:]))) for g in np.split(by_channel, attrs["groups"], n + 1)])
