"""IntegerLSTM in NumPy: whole numbers with the roundings that docs/ops.md says, exact like the core's."""

from __future__ import annotations

import numpy as np

from ..ir.graph import Node
from ..ir.ops import GATES
from . import fixed_point as fixed
from .arrays import Array, Attrs, Rule

NAMES = GATES["LSTM"]
LOOKING = "ifo"  # gates that have a peephole
GATE_BITS = 3  # of a gate's argument before the point


class _Cell:
    """The weights and scales of one node."""

    def __init__(self, attrs: Attrs, arrays: list[Array]):
        wide: list[Array] = [None if a is None else a.astype(np.int64) for a in arrays]
        _, w_ih, w_hh, bias, _, _, peephole, norm, self.w_proj, self.b_proj = wide
        self.attrs, self.norm = attrs, norm
        self.hidden = w_ih.shape[1] // len(NAMES)
        self.w_ih, self.w_hh = (w[0].reshape(len(NAMES), self.hidden, -1) for w in (w_ih, w_hh))
        self.bias = np.zeros((len(NAMES), self.hidden), np.int64) if bias is None else bias[0].reshape(len(NAMES), -1)
        self.peephole = peephole

    def argument(self, gate: str, x: Array, h: Array, c: Array) -> Array:
        """(B,H): the argument of a gate's activation, of x (B,I), h (B,P) and the cell that it looks at, c (B,H)."""
        k, attrs = NAMES.index(gate), self.attrs
        bias = 0 if self.norm is not None else self.bias[k]
        z = fixed.saturated(_scaled(x @ self.w_ih[k].T + bias, attrs["x_scale"][k]))
        z = fixed.saturated(_scaled(h @ self.w_hh[k].T, attrs["h_scale"][k]) + z)
        if self.peephole is not None and gate in LOOKING:
            look = LOOKING.index(gate)
            z = fixed.saturated(_scaled(self.peephole[0, look] * c, attrs["peephole_scale"][look]) + z)
        return z if self.norm is None else np.stack([self._normalized(k, row) for row in z])

    def _normalized(self, k: int, z: Array) -> Array:
        scale = self.attrs["norm_scale"][k]
        guard = max(1, int(np.float32(10000) * np.float32(scale)))
        n, total, squares = len(z), int(z.sum()), int((z * z).sum())
        mean = _truncated(total * 1024, n)
        variance = _truncated(squares * ((1 << 20) // n) - mean * mean, 1 << 20)
        multiplier, shift = fixed.inverse_sqrt(variance if variance >= 1 else guard)
        unit = fixed.rescaled(1024 * z - mean, multiplier, shift)
        y = fixed.wrapped(unit * self.norm[0, k] + self.bias[k], 32)
        rounded = np.where(y > 0, y + 512, y - 512)
        multiplier, shift = fixed.scale_of(scale)
        return fixed.saturated(fixed.rescaled(np.sign(rounded) * (np.abs(rounded) >> 10), multiplier, shift + 12))

    def step(self, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        """(h, c) after a frame."""
        attrs, bits = self.attrs, self.attrs["cell_bits"]
        f = fixed.sigmoid(self.argument("f", x, h, c))
        i = fixed.INT16[1] - f if attrs["coupled"] == "i=1-f" else fixed.sigmoid(self.argument("i", x, h, c))
        g = fixed.tanh(self.argument("g", x, h, c), GATE_BITS)
        c = fixed.saturated(fixed.divided(f * c, 15) + fixed.divided(i * g, 30 - bits))
        if attrs["cell_limit"]:
            c = np.clip(c, -attrs["cell_limit"], attrs["cell_limit"])
        o = fixed.sigmoid(self.argument("o", x, h, c))
        h = np.clip(_scaled(o * fixed.tanh(c, 15 - bits), attrs["hidden_scale"]), *attrs["hidden_bounds"])
        if self.w_proj is not None:
            bias = 0 if self.b_proj is None else self.b_proj[0]
            h = np.clip(_scaled(h @ self.w_proj[0].T + bias, attrs["proj_scale"]), *attrs["state_bounds"])
        return h, c


def _scaled(x: Array, scale: float) -> Array:
    return fixed.rescaled(fixed.wrapped(x, 32), *fixed.scale_of(scale))


def _truncated(a: int, b: int) -> int:
    """a / b toward zero."""
    return abs(a) // b * (1 if a >= 0 else -1)


def _start(given: Array, most: int, shape: tuple[int, int]) -> Array:
    return np.zeros(shape, np.int64) if given is None else np.clip(given[0].astype(np.int64), -most - 1, most)


def integer_lstm(node: Node, attrs: Attrs, arrays: list[Array]) -> list[Array]:
    """Returns y (B,T,P), h_n (1,B,P), c_n (1,B,H), all int32."""
    cell, x = _Cell(attrs, arrays), arrays[0].astype(np.int64)
    batch, frames, _ = x.shape
    h = _start(arrays[4], 255, (batch, cell.w_hh.shape[2]))
    c = _start(arrays[5], fixed.INT16[1], (batch, cell.hidden))
    y = np.zeros((batch, frames, h.shape[1]), np.int32)
    for t in range(frames):
        h, c = cell.step(x[:, t], h, c)
        y[:, t] = h
    return [y, h[None].astype(np.int32), c[None].astype(np.int32)]


RULES: dict[str, Rule] = {"IntegerLSTM": integer_lstm}
