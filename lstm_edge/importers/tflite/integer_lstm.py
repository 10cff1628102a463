"""TFLite's full-integer LSTM (8-bit input, 16-bit cell) as IntegerLSTM of docs/ops.md, in the runtime's own arithmetic.

Scales are computed in float32 in the runtime's order, so that their multipliers are the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir.dims import Size
from ...ir.graph import State
from ..dialect import Value, known
from .lowering import Call
from .quant import RANGES, grid, to_steps
from .schema import TensorInfo

# Places among the inputs of the fused operator; four tensors of a gate each, three of the peepholes.
W_IH, W_HH, PEEPHOLE, BIAS, PROJECTION, B_PROJECTION, H, C, NORM = 1, 5, 9, 12, 16, 17, 18, 19, 20
HIDDEN = 4  # place of the hidden output among the intermediate tensors; those before it are the gates'
INTERMEDIATES = 5
LOOKING = (0, 1, 3)  # gates that have a peephole
GATE_STEP = np.float32(2.0**-12)  # of a gate's argument, where no normalisation has a step of its own
UNIT_BITS = 15  # of a gate behind the point
CELL_BITS = range(9, 16)  # that the cell may have behind the point
LOW, HIGH = RANGES["int8"]


def why_not(call: Call) -> str:
    """Why a full-integer LSTM cannot have the runtime's own arithmetic; '' where it can."""
    states = [_info(call, n) for n in (H, C)]
    if [s.dtype if s is not None else "" for s in states] != ["int8", "int16"] or len(
        call.intermediates
    ) != INTERMEDIATES:
        return "its states are not 8 and 16 bits wide"
    if _cell_bits(call) not in CELL_BITS:
        return f"the step of its cell is not a power of 2 from 2^-{CELL_BITS[-1]} to 2^-{CELL_BITS[0]}"
    hidden_zero, (_, zero) = grid(call.intermediates[HIDDEN])[1], grid(_given(call, H))
    if _info(call, PROJECTION) is None and hidden_zero != zero:
        return f"the zero points of its hidden output ({hidden_zero}) and state ({zero}) differ"
    return ""


def integer_lstm(call: Call, x: Value) -> Value:
    """y (B,T,P) of x (B,T,I), both real numbers on their grids; what it ends in is what its states hold next."""
    ctx, cell = call.ctx, _Cell(call)
    batch = ctx.shape(x)[0]
    h0, h_state = _start(call, H, [batch, cell.width], "h")
    c0, c_state = _start(call, C, [batch, cell.hidden], "c")
    inputs = [to_steps(ctx, x, _given(call, 0)), *cell.weights[:3], h0, c0, *cell.weights[3:]]
    y, *ends = ctx.emit_all("IntegerLSTM", inputs, cell.attrs(), ["int32"] * 3)
    for state, end in zip((h_state, c_state), ends):
        if state is not None:
            state.write = end.tensor
    scale, zero = grid(call.out_infos[0])
    offset = grid(_given(call, H))[1] - zero
    real = ctx.cast(y, "float32")
    real = ctx.binary("add", real, ctx.constant(float(offset))) if offset else real
    call.on_grid = True
    return ctx.binary("mul", real, ctx.constant(scale))


@dataclass
class _Gates:
    """One constant of every gate: whole numbers with zeros where a gate has none, and the scales, 0 there."""

    values: np.ndarray | None
    scales: list[np.float32]


class _Cell:
    """Weights and scales of the operator. `weights`: those of the op in its order, states left out."""

    def __init__(self, call: Call):
        self.call = call
        w_ih, w_hh, bias, norm = (_gates(call, first, 4) for first in (W_IH, W_HH, BIAS, NORM))
        peephole, w_proj, b_proj = _gates(call, PEEPHOLE, 3), _gates(call, PROJECTION, 1), _gates(call, B_PROJECTION, 1)
        if w_ih.values is None or w_hh.values is None:
            raise call.refuse("its weights are missing")
        self.hidden, self.width = w_ih.values.shape[1], w_hh.values.shape[2]
        self.projected = w_proj.values is not None
        self.coupled = _info(call, W_IH) is None
        self.x_scales, self.h_scales, self.norm_scales = w_ih.scales, w_hh.scales, norm.scales
        self.peephole_scales, self.proj_scale = peephole.scales, w_proj.scales[0]
        if peephole.values is not None and self.width < self.hidden:
            self._narrow(peephole.values)
        joined = [_rows(w_ih.values), _rows(w_hh.values), None if bias.values is None else bias.values.reshape(-1)]
        joined += [peephole.values, norm.values, *(None if v.values is None else v.values[0] for v in (w_proj, b_proj))]
        self.weights = [None if a is None else known(a[None].astype(np.int32)) for a in joined]

    def _narrow(self, peephole: np.ndarray) -> None:
        """The runtime's kernel gives peepholes to as many cells as there are outputs: so many of them, of the first
        sequence alone where there are several, that no other answer would be its own.
        """
        if self.call.shape(0)[1 if self.call.option("time_major", False) else 0] != 1:
            raise self.call.refuse(
                "peepholes, a projection and several sequences: the runtime's kernel confuses the sequences; convert "
                "the model without peepholes"
            )
        peephole[:, self.width :] = 0
        self.call.ctx.note(
            f"{self.call.place}: peepholes of the first {self.width} of {self.hidden} cells alone, as in the runtime's kernel"
        )

    def attrs(self) -> dict[str, Any]:
        call, bits = self.call, _cell_bits(self.call)
        x_step, h_step, c_step = (np.float32(grid(_given(call, n))[0]) for n in (0, H, C))
        zero, (hidden_step, hidden_zero) = grid(_given(call, H))[1], grid(call.intermediates[HIDDEN])
        steps = [GATE_STEP] * 4
        if self.weights[4] is not None:
            steps = [np.float32(grid(i)[0]) for i in call.intermediates[:HIDDEN]]
        most = _in_steps(call.option("proj_clip", 0.0), h_step, HIGH)
        low, high = (-most, most) if most > 0 else (LOW, HIGH)
        # With a projection the runtime takes the hidden output's zero point off, without one it adds it.
        hidden_zero = -hidden_zero if self.projected else hidden_zero
        return {
            "x_scale": [float(s * x_step / step) for s, step in zip(self.x_scales, steps)],
            "h_scale": [float(s * h_step / step) for s, step in zip(self.h_scales, steps)],
            "peephole_scale": [
                float(2.0**-bits * float(s) / float(steps[gate])) for s, gate in zip(self.peephole_scales, LOOKING)
            ],
            "norm_scale": [float(s) for s in self.norm_scales],
            "hidden_scale": 2.0**-UNIT_BITS / hidden_step * 2.0**-UNIT_BITS,
            "proj_scale": float(self.proj_scale * np.float32(hidden_step) / h_step),
            "hidden_bounds": [LOW - hidden_zero, HIGH - hidden_zero],
            "state_bounds": [low - zero, high - zero],
            "cell_bits": bits,
            "cell_limit": _in_steps(call.option("cell_clip", 0.0), c_step, RANGES["int16"][1]),
            "coupled": "i=1-f" if self.coupled else "none",
        }


def _in_steps(bound: float, step: np.float32, most: int) -> int:
    """A bound (0: none) in whole steps, rounded down."""
    return int(np.minimum(np.float32(bound) / step, most)) if bound > 0 else 0


def _rows(gates: np.ndarray) -> np.ndarray:
    """(4,H,K) -> (4H,K)."""
    return gates.reshape(-1, gates.shape[2])


def _info(call: Call, n: int) -> TensorInfo | None:
    return call.infos[n] if n < len(call.infos) else None


def _given(call: Call, n: int) -> TensorInfo:
    info = _info(call, n)
    if info is None:
        raise call.refuse(f"input {n} is missing")
    return info


def _cell_bits(call: Call) -> int:
    """How many bits of the cell lie behind the point; 0 where its step is no power of 2."""
    fraction, exponent = np.frexp(grid(_given(call, C))[0])
    return int(1 - exponent) if fraction == 0.5 else 0


def _gates(call: Call, first: int, count: int) -> _Gates:
    infos = [_info(call, first + n) for n in range(count)]
    present = [i for i in infos if i is not None]
    if not present:
        return _Gates(None, [np.float32(0)] * count)
    arrays = [None if i is None else i.array.astype(np.int64) for i in infos]
    like = next(a for a in arrays if a is not None)
    if any(a is not None and a.shape != like.shape for a in arrays):
        raise call.refuse(f"its gates differ in shape: inputs {first} to {first + count - 1}")
    values = np.stack([np.zeros_like(like) if a is None else a for a in arrays])
    return _Gates(values, [np.float32(0 if i is None else grid(i)[0]) for i in infos])


def _start(call: Call, n: int, shape: list[Size], suffix: str) -> tuple[Value | None, State | None]:
    """(initial value, state) in whole numbers less their zero point: a variable tensor is a state of the stream."""
    ctx, info, value = call.ctx, _given(call, n), call.optional(n)
    if not info.is_variable:
        return (None if value is None else ctx.reshape(to_steps(ctx, value, info), [1, *shape])), None
    initial = None if info.data is None else (info.array.astype(np.int64) - grid(info)[1])[None]
    state = ctx.state(f"{call.name}.{suffix}", [1, *shape], initial, "int32")
    return Value("int32", tensor=state.read), state
