"""One frame of a recurrence op by the algebra: a loop whose body holds an LSTM node for a single frame, as exporters write
LSTMCell, spells the same cell as one that holds its products."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..ir.graph import Graph, Node
from ..ir.ops import GATES, axes_of_frames, each, input_of, read_attrs
from .polynomials import NotACell, Sum, add, applied, constant, opposite, times, times_matrix

Parts = Callable[[str], list[Sum]]
Gate = Callable[[Sum], Sum]


def one_step(graph: Graph, node: Node, parts: Parts) -> list[Sum]:
    """y, h_n and, of an LSTM, c_n, from what its inputs are; NotACell for more than one frame, and for what only a whole
    sequence has or the cells here are not read with: two directions, lengths, masks, clips, peepholes, projections."""
    if node.op not in _STEPS:
        raise NotACell(f"node {node.name} ({node.op}) is in integers")
    attrs = read_attrs(node)
    frames = graph.shape(input_of(node, "x"))[axes_of_frames(attrs)[1]]
    if frames != 1 or attrs["direction"] == "bidirectional" or attrs["clip"]:
        raise NotACell(f"node {node.name} ({node.op}) is no step of one frame")
    given = [input_of(node, name) for name in ("lengths", "mask")]
    if node.op == "LSTM":
        given += [input_of(node, name) for name in ("peephole", "w_proj")]
        if attrs["coupled"] != "none" or attrs["cell_clip"]:
            raise NotACell(f"node {node.name} (LSTM) is no plain cell")
    if any(given):
        raise NotACell(f"node {node.name} ({node.op}) has lengths, a mask, peepholes or a projection")
    return _STEPS[node.op](_Step(graph, node, attrs, parts))


class _Step:
    """The node's inputs: its frame, its states, and the products of both with its weights."""

    def __init__(self, graph: Graph, node: Node, attrs: dict[str, Any], parts: Parts):
        self.graph, self.node, self.attrs, self.parts = graph, node, attrs, parts
        self.hidden = self.weight("w_hh").shape[1]
        kinds = each(attrs["activations"], 1)
        count = len(kinds)
        alphas, betas = (each(attrs[key], count) for key in ("activation_alpha", "activation_beta"))
        self.activations: list[Gate] = [
            partial(applied, kind, alpha, beta) for kind, alpha, beta in zip(kinds, alphas, betas)
        ]

    def weight(self, name: str) -> np.ndarray:
        """A weight of its one direction."""
        data = self.graph.tensors[input_of(self.node, name)].data
        if data is None or data.dtype.kind != "f":
            raise NotACell(f"node {self.node.name} ({self.node.op}): its weights are computed, or integers")
        return np.asarray(data[0], np.float64)

    def bias(self, name: str) -> Sum:
        rows = len(GATES[self.node.op]) * self.hidden
        return constant(self.weight(name) if input_of(self.node, name) else np.zeros(rows))

    def state(self, name: str) -> Sum:
        tensor = input_of(self.node, name)
        (found,) = self.parts(tensor) if tensor else [constant(np.zeros(self.hidden))]
        return found

    def of_frame(self, bias: str) -> Sum:
        return add(times_matrix(self.parts(input_of(self.node, "x")), self.weight("w_ih").T), self.bias(bias))

    def of_hidden(self, h: Sum, first: int = 0, end: int | None = None) -> Sum:
        """h by the rows of gates `first` to `end`."""
        rows = slice(first * self.hidden, None if end is None else end * self.hidden)
        return times_matrix([h], self.weight("w_hh")[rows].T)

    def gates(self, s: Sum) -> list[Sum]:
        return [s.cut(at, at + self.hidden) for at in range(0, s.width, self.hidden)]


def _lstm(s: _Step) -> list[Sum]:
    h, c = s.state("h0"), s.state("c0")
    act_i, act_f, act_g, act_o, act_h = s.activations
    i, f, g, o = s.gates(add(s.of_frame("bias"), s.of_hidden(h)))
    c = add(times(act_f(f), c), times(act_i(i), act_g(g)))
    h = times(act_o(o), act_h(c))
    return [h, h, c]


def _gru(s: _Step) -> list[Sum]:
    h = s.state("h0")
    act_r, act_z, act_n = s.activations
    x_r, x_z, x_n = s.gates(s.of_frame("bias_ih"))
    c_r, c_z, c_n = s.gates(s.bias("bias_hh"))
    h_r, h_z = s.gates(s.of_hidden(h, 0, 2))
    r, z = act_r(add(add(x_r, h_r), c_r)), act_z(add(add(x_z, h_z), c_z))
    if s.attrs["reset_after"]:
        n = act_n(add(x_n, times(r, add(s.of_hidden(h, 2), c_n))))
    else:
        n = act_n(add(add(x_n, s.of_hidden(times(r, h), 2)), c_n))
    h = add(times(opposite(z), n), times(z, h))
    return [h, h]


def _rnn(s: _Step) -> list[Sum]:
    (act,) = s.activations
    h = act(add(s.of_frame("bias"), s.of_hidden(s.state("h0"))))
    return [h, h]


_STEPS: dict[str, Callable[[_Step], list[Sum]]] = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}
