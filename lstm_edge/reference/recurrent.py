"""LSTM, GRU and RNN in float64 NumPy, as the equations of docs/ops.md stand. Slow on purpose: one frame at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import ShapeError
from ..ir.activations import activate
from ..ir.graph import Node
from ..ir.ops import GATES, axes_of_frames, each, place
from .arrays import Array, Attrs, Rule

# (x of one frame (B,I), states) -> (new states; y is the first, gates after their activations)
Step = Callable[[Array, list[Array]], tuple[list[Array], list[Array]]]
Gate = Callable[[Array], Array]


@dataclass(frozen=True)
class Traced:
    """What a recurrence computes, frames in the order of its input: gates (D,T,B,gates,H), NaN where lengths or mask leave a frame
    out, and the states after each frame: h (D,T,B,P) and, of an LSTM, c (D,T,B,H). A ConvLSTM's H and P are positions x channels."""

    gates: Array
    states: list[Array]


LETTERS = {"LSTM": "ifgo", "GRU": "rzn", "RNN": "", "ConvLSTM": "ifgo"}  # of the gates that a trace shows


def trace(node: Node, attrs: Attrs, arrays: list[Array]) -> Traced:
    """Runs an op of LETTERS; `arrays`: one per input of its row in docs/ops.md, None where it has none."""
    if node.op == "ConvLSTM":
        batch, frames, *image, _ = arrays[0].shape
        units = math.prod(image) * arrays[1].shape[1]
        traced = Traced(np.zeros((1, frames, batch, 4, units)), [np.zeros((1, frames, batch, units)) for _ in range(2)])
        conv_lstm(node, attrs, arrays, traced)
        return traced
    (batch_axis, frames_axis), (directions, rows, _), width = axes_of_frames(attrs), arrays[1].shape, arrays[2].shape[2]
    hidden = rows // len(GATES[node.op])
    lead = (directions, arrays[0].shape[frames_axis], arrays[0].shape[batch_axis])
    gates = np.full((*lead, len(LETTERS[node.op]), hidden), np.nan)
    states = [np.zeros((*lead, size)) for size in ([width, hidden] if node.op == "LSTM" else [width])]
    traced = Traced(gates, states)
    {"LSTM": lstm, "GRU": gru, "RNN": rnn}[node.op](node, attrs, arrays, traced)
    return traced


def lstm(node: Node, attrs: Attrs, arrays: list[Array], traced: Traced | None = None) -> list[Array]:
    """Graves, "Generating sequences with recurrent neural networks", 2013, eqs. 7-11, with the variants of docs/ops.md:
    peepholes diagonal or full, coupled gates, projection (Sak et al., 2014), clips.
    Returns y, h_n (D,B,P), c_n (D,B,H)."""
    x, w_ih, w_hh, bias, h0, c0, lengths, mask, peephole, w_proj = arrays
    batch = x.shape[axes_of_frames(attrs)[0]]
    directions, hidden, width = w_ih.shape[0], w_ih.shape[1] // len(GATES["LSTM"]), w_hh.shape[2]
    h0 = np.zeros((directions, batch, width)) if h0 is None else h0
    c0 = np.zeros((directions, batch, hidden)) if c0 is None else c0

    def cell(d: int) -> Step:
        act_i, act_f, act_g, act_o, _ = _gates(attrs, d, 5)
        act_h = _activations(attrs, d, 5)[4]  # not a gate's: no clip
        w = np.concatenate([w_ih[d], w_hh[d]], axis=1)
        b = np.zeros(4 * hidden) if bias is None else bias[d]
        look = _peephole(None if peephole is None else peephole[d], hidden)

        def step(frame: Array, states: list[Array]) -> tuple[list[Array], list[Array]]:
            h, c = states
            z_i, z_f, z_g, z_o = np.split(np.concatenate([frame, h], axis=1) @ w.T + b, 4, axis=1)
            g = act_g(z_g + look(3, c))
            if attrs["coupled"] == "i=1-f":
                f = act_f(z_f + look(1, c))
                i = 1 - f
            else:
                i = act_i(z_i + look(0, c))
                f = 1 - i if attrs["coupled"] == "f=1-i" else act_f(z_f + look(1, c))
            c = _clip(f * c + i * g, attrs["cell_clip"])
            o = act_o(z_o + look(2, c))
            h = o * act_h(c)
            if w_proj is not None:
                h = _clip(h @ w_proj[d].T, attrs["proj_clip"])
            return [h, c], [i, f, g, o]

        return step

    return _run(node, attrs, x, cell, [h0, c0], lengths, mask, traced)


def gru(node: Node, attrs: Attrs, arrays: list[Array], traced: Traced | None = None) -> list[Array]:
    """Cho et al., 2014 (reset_after 0) and the cuDNN form (reset_after 1). Returns y, h_n (D,B,H)."""
    x, w_ih, w_hh, bias_ih, bias_hh, h0, lengths, mask = arrays
    batch = x.shape[axes_of_frames(attrs)[0]]
    directions, hidden = w_ih.shape[0], w_hh.shape[2]
    h0 = np.zeros((directions, batch, hidden)) if h0 is None else h0

    def cell(d: int) -> Step:
        act_r, act_z, act_n = _gates(attrs, d, 3)
        b = np.zeros(3 * hidden) if bias_ih is None else bias_ih[d]
        c = np.zeros(3 * hidden) if bias_hh is None else bias_hh[d]
        r_rz, r_n = w_hh[d][: 2 * hidden], w_hh[d][2 * hidden :]
        c_rz, c_n = c[: 2 * hidden], c[2 * hidden :]

        def step(frame: Array, states: list[Array]) -> tuple[list[Array], list[Array]]:
            (h,) = states
            x_r, x_z, x_n = np.split(frame @ w_ih[d].T + b, 3, axis=1)
            h_r, h_z = np.split(h @ r_rz.T + c_rz, 2, axis=1)
            r, z = act_r(x_r + h_r), act_z(x_z + h_z)
            n = act_n(x_n + r * (h @ r_n.T + c_n)) if attrs["reset_after"] else act_n(x_n + (r * h) @ r_n.T + c_n)
            return [(1 - z) * n + z * h], [r, z, n]

        return step

    return _run(node, attrs, x, cell, [h0], lengths, mask, traced)


def rnn(node: Node, attrs: Attrs, arrays: list[Array], traced: Traced | None = None) -> list[Array]:
    """Elman, 1990: h' = act(W x + R h + b). Returns y, h_n (D,B,H)."""
    x, w_ih, w_hh, bias, h0, lengths, mask = arrays
    batch = x.shape[axes_of_frames(attrs)[0]]
    h0 = np.zeros((w_ih.shape[0], batch, w_hh.shape[2])) if h0 is None else h0

    def cell(d: int) -> Step:
        (act,) = _gates(attrs, d, 1)
        b = 0.0 if bias is None else bias[d]
        return lambda frame, states: ([act(frame @ w_ih[d].T + states[0] @ w_hh[d].T + b)], [])

    return _run(node, attrs, x, cell, [h0], lengths, mask, traced)


def _run(
    node: Node,
    attrs: Attrs,
    x: Array,
    cell: Callable[[int], Step],
    initial: list[Array],
    lengths: Array,
    mask: Array,
    traced: Traced | None = None,
) -> list[Array]:
    """Runs every direction over the frames that lengths and mask let through, into `traced` where it is given. Returns y and the
    last states (D,B,.)."""
    if attrs["time_major"]:
        x, mask = np.swapaxes(x, 0, 1), None if mask is None else mask.T
    batch, frames, _ = x.shape
    if lengths is None:
        lengths = np.full(batch, frames)
    if lengths.size and (lengths.min() < 0 or lengths.max() > frames):
        raise ShapeError(
            f"{place(node)}: input lengths: expected values of 0 to {frames} frames, found {lengths.tolist()}"
        )
    valid = np.arange(frames)[None] < lengths[:, None]
    seen = valid if mask is None else valid & mask
    ys, lasts = [], []
    for d in range(initial[0].shape[0]):
        backwards = attrs["direction"] == "reverse" or d == 1
        tap = None if traced is None else Traced(traced.gates[d], [s[d] for s in traced.states])
        y, last = _direction(x, cell(d), [s[d] for s in initial], seen, backwards, tap)
        if mask is not None and attrs["masked_output"] == "zero":
            y = np.where(seen[:, :, None], y, 0.0)
        ys.append(np.where(valid[:, :, None], y, 0.0))
        lasts.append(last)
    y = np.concatenate(ys, axis=2)
    return [np.swapaxes(y, 0, 1) if attrs["time_major"] else y, *(np.stack(s) for s in zip(*lasts))]


def _direction(
    x: Array, step: Step, states: list[Array], seen: Array, backwards: bool, tap: Traced | None
) -> tuple[Array, list[Array]]:
    """One direction. Where `seen` (B,T) is False the states stay, and y repeats the frame processed before it."""
    batch, frames, _ = x.shape
    y = np.zeros((batch, frames, states[0].shape[1]))
    before = np.zeros(states[0].shape)
    for t in range(frames)[::-1] if backwards else range(frames):
        live = seen[:, t, None]
        after, gates = step(x[:, t], states)
        states = [np.where(live, new, old) for new, old in zip(after, states)]
        before = y[:, t] = np.where(live, states[0], before)
        if tap:
            for at, gate in enumerate(gates):
                tap.gates[t, :, at] = np.where(live, gate, np.nan)
            for kept, state in zip(tap.states, states):
                kept[t] = state
    return y, states


def _gates(attrs: Attrs, d: int, count: int) -> list[Gate]:
    """The `count` activations of direction d, their arguments clipped."""

    def clipped(act: Gate) -> Gate:
        return lambda z: act(_clip(z, attrs["clip"]))

    return [clipped(act) for act in _activations(attrs, d, count)]


def _activations(attrs: Attrs, d: int, count: int) -> list[Gate]:
    names = each(attrs["activations"], d + 1)
    alpha, beta = each(attrs["activation_alpha"], len(names)), each(attrs["activation_beta"], len(names))

    def gate(n: int) -> Gate:
        return lambda z: activate(names[n], z, alpha[n], beta[n])

    return [gate(n) for n in range(d * count, (d + 1) * count)]


def _peephole(p: Array, hidden: int) -> Callable[[int, Array], Array | float]:
    """The peephole term of gate 0..3 (i, f, o, g) for a cell (B,H): diagonal for p (3|4,H), full for (3H|4H,H)."""
    if p is None:
        return lambda gate, c: 0.0
    if p.shape[0] in (3, 4):
        return lambda gate, c: p[gate] * c if gate < p.shape[0] else 0.0
    full = p.reshape(-1, hidden, hidden)
    return lambda gate, c: c @ full[gate].T if gate < full.shape[0] else 0.0


def _clip(z: Array, bound: float) -> Array:
    return np.minimum(np.maximum(z, -bound), bound) if bound > 0 else z


def conv_lstm(node: Node, attrs: Attrs, arrays: list[Array], traced: Traced | None = None) -> list[Array]:
    """Shi et al., 2015, without peepholes; x (B,T,*S,4H) is the input's convolution. Returns y, h_n, c_n (1,B,*S,H)."""
    x, w_hh, h0, c0 = arrays
    shape = (x.shape[0], *x.shape[2:-1], w_hh.shape[1])
    h, c = (np.zeros(shape) if start is None else start[0] for start in (h0, c0))
    act_i, act_f, act_g, act_o, act_h = _activations(attrs, 0, 5)
    y = np.zeros((*x.shape[:-1], w_hh.shape[1]))
    for t in range(x.shape[1]):
        z_i, z_f, z_g, z_o = np.split(x[:, t] + _same_convolution(h, w_hh), 4, axis=-1)
        i, f, g, o = act_i(z_i), act_f(z_f), act_g(z_g), act_o(z_o)
        c = f * c + i * g
        h = y[:, t] = o * act_h(c)
        if traced is not None:
            flat = traced.states[0].shape[2:]
            traced.gates[0, t] = np.stack([gate.reshape(flat) for gate in (i, f, g, o)], axis=1)
            traced.states[0][0, t], traced.states[1][0, t] = h.reshape(flat), c.reshape(flat)
    return [y, h[None], c[None]]


def _same_convolution(h: Array, w: Array) -> Array:
    """h (B,*S,H) under w (O,H,*K), zeros around it so that it keeps its size; of an even kernel the larger half lies
    behind."""
    kernel, sizes = w.shape[2:], h.shape[1:-1]
    padded = np.pad(h, [(0, 0), *(((k - 1) // 2, k // 2) for k in kernel), (0, 0)])
    total = np.zeros((*h.shape[:-1], w.shape[0]))
    for tap in np.ndindex(*kernel):
        window = tuple(slice(at, at + size) for at, size in zip(tap, sizes))
        total += padded[(slice(None), *window)] @ w[(slice(None), slice(None), *tap)].T
    return total


RULES: dict[str, Rule] = {"LSTM": lstm, "GRU": gru, "RNN": rnn, "ConvLSTM": conv_lstm}
