"""LSTM, GRU and RNN nodes: weights of any gate order brought to the core's, biases joined, states and masks in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

import numpy as np

from ...ir.dims import Dim, Size
from ...ir.ops import GATES, OPS, PARAMETERS
from ...ir.sizes import SizeMismatch
from ...options import as_typed
from . import arithmetic, movement
from .builder import Dialect
from .value import Value, known

# Other letters that gates go by.
ALIASES = {"LSTM": {"c": "g", "j": "g"}, "GRU": {"u": "z", "h": "n", "g": "n"}, "RNN": {"n": "h", "i": "h"}}
# The order of gates in files of Keras, and in files that keep their weights as Keras does.
KERAS_GATES = {"LSTM": "ifgo", "GRU": "zrn", "RNN": "h"}
PEEPHOLES = "ifog"  # the core's order; the last may be left out
Activation = tuple[str, float, float]  # kind, alpha, beta
# An initial state: a tensor (D,B,P), or (B,P) of the one direction; one such (B,P) per direction; constants (D,P) that
# every sequence starts from; None for zeros.
Initial = Optional[Union[Value, Sequence[Value], np.ndarray]]


@dataclass(frozen=True)
class Weights:
    """One direction: w_ih (G*H, I), w_hh (G*H, P), biases (G*H,), gate by gate one below the other.

    peephole: (3 or 4, H) diagonal or (3H or 4H, H). projection: (P, H); without it P is H.
    """

    w_ih: np.ndarray
    w_hh: np.ndarray
    bias: np.ndarray | None = None
    bias_hh: np.ndarray | None = None
    peephole: np.ndarray | None = None
    projection: np.ndarray | None = None


@dataclass(frozen=True)
class Run:
    """What a recurrence gives: y (T,B,D*P) where time_major, else (B,T,D*P); h_n (D,B,P); of an LSTM c_n (D,B,H)."""

    y: Value
    h_n: Value
    c_n: Value | None
    time_major: bool

    def frames(self, d: Dialect, time_major: bool) -> Value:
        """y with time or batch first."""
        return self.y if time_major == self.time_major else d.transpose(self.y, [1, 0, 2])

    def last(self, d: Dialect) -> Value:
        """The final h of all directions side by side, (B,D*P)."""
        turned = d.transpose(self.h_n, [1, 0, 2])
        batch, directions, width = d.shape(turned)
        return d.reshape(turned, [batch, directions * width])

    def directions_apart(self, d: Dialect, time_major: bool, directions: int) -> Value:
        """y with an axis of its own for the directions: (T,D,B,P) where time_major, else (B,T,D,P)."""
        if directions == 1:
            y = self.frames(d, time_major)
            first, second, width = d.shape(y)
            return d.reshape(y, [first, 1, second, width] if time_major else [first, second, 1, width])
        first, second, width = d.shape(self.y)
        y = d.reshape(self.y, [first, second, directions, width // directions])
        if time_major:
            return d.transpose(y, [0, 2, 1, 3] if self.time_major else [1, 2, 0, 3])
        return d.transpose(y, [1, 0, 2, 3]) if self.time_major else y


def recurrence(
    d: Dialect,
    op: str,
    x: Value,
    directions: Sequence[Weights],
    *,
    gates: str = "",
    peephole_gates: str = "",
    stored: Mapping[str, Value] | None = None,
    time_major: bool = False,
    direction: str = "",
    activations: Sequence[Activation] | None = None,
    initial: Sequence[Initial] = (),
    lengths: Value | None = None,
    mask: Value | None = None,
    zero_masked: bool = False,
    reset_after: bool = True,
    coupled: str = "none",
    clip: float = 0.0,
    cell_clip: float = 0.0,
    proj_clip: float = 0.0,
) -> Run:
    """One LSTM, GRU or RNN over x (B,T,I), (T,B,I) where time_major, with the weights of one or two directions.

    gates, peephole_gates: the order of the blocks of rows, a letter each; without them the core's. stored: w_ih, w_hh
    (D,G*H,.) and w_proj in the core's order, as quantised tensors, in place of those of `directions`. activations: the
    op's, for one direction or for all. initial: h0 and, of an LSTM, c0. lengths (B,), mask (B,T). The clips: 0 for none.
    """
    count = len(directions)
    direction = direction or ("bidirectional" if count == 2 else "forward")
    if (direction == "bidirectional") != (count == 2) or direction not in ("forward", "reverse", "bidirectional"):
        raise d.refuse(f"direction {direction!r} with weights of {count} directions")
    cells = [_in_core_order(d, op, w, gates, peephole_gates) for w in directions]
    for cell in cells:
        _check(d, op, cell, d.shape(x))
    batch, frames = d.shape(x)[1 if time_major else 0], d.shape(x)[0 if time_major else 1]
    given: dict[str, Value | None] = {}
    for name, state in zip(("h0", "c0"), initial):
        given[name] = initial_state(d, state, count, batch, name)
    given["lengths"] = _lengths(d, lengths, frames)
    x, op_time_major = _absorbed(d, x, time_major)
    given["x"] = x
    given["w_ih"], given["w_hh"] = _stacked(d, cells, "w_ih"), _stacked(d, cells, "w_hh")
    if op == "GRU":
        given["bias_ih"], given["bias_hh"] = _stacked(d, cells, "bias"), _stacked(d, cells, "bias_hh")
    else:
        given["bias"] = _stacked(d, cells, "bias")
    if op == "LSTM":
        given["peephole"], given["w_proj"] = _stacked(d, cells, "peephole"), _stacked(d, cells, "projection")
    given |= stored or {}
    if mask is not None:
        given["mask"] = d.transpose(d.cast(mask, "bool"), [1, 0]) if op_time_major else d.cast(mask, "bool")
    attrs: dict[str, Any] = {"direction": direction, "time_major": int(op_time_major)}
    attrs.update(activation_attrs(d, op, activations, count))
    if op == "GRU":
        attrs["reset_after"] = int(reset_after)
    if op == "LSTM":
        attrs["coupled"] = coupled
    clips = {"clip": clip, "cell_clip": cell_clip, "proj_clip": proj_clip}
    attrs.update({name: float(bound) for name, bound in clips.items() if bound})
    if zero_masked:
        attrs["masked_output"] = "zero"
    inputs: list[Value | None] = [None] * OPS[op].max_inputs
    for name, value in given.items():
        inputs[OPS[op].index(name)] = value
    y, *states = d.emit_all(op, inputs, attrs, ["float32"] * (3 if op == "LSTM" else 2))
    return Run(y, states[0], states[1] if op == "LSTM" else None, op_time_major)


def merged(d: Dialect, halves: Sequence[Value], mode: str) -> Value:
    """What two directions gave, joined along the last axis (concat), or their sum, product (mul) or mean (average)."""
    if mode == "concat":
        return movement.concat(d, halves, -1)
    joined = d.binary({"sum": "add", "average": "add", "mul": "mul"}[mode], *halves)
    return arithmetic.scaled(d, joined, 0.5) if mode == "average" else joined


# ---- weights --------------------------------------------------------------------------------------------------------


def core_gates(d: Dialect, op: str, gates: str) -> str:
    """An order of gates in the core's letters; refused unless it names each gate once."""
    letters = "".join(ALIASES[op].get(g, g) for g in gates)
    if sorted(letters) != sorted(GATES[op]):
        raise d.refuse(f"gates {gates!r} of {op}: expected each of {GATES[op]} once")
    return letters


def reordered(d: Dialect, rows: np.ndarray, gates: str, wanted: str, axis: int = 0) -> np.ndarray:
    """Blocks of rows (along `axis`) in the order `gates` brought to the order `wanted`."""
    if gates == wanted:
        return rows
    if rows.shape[axis] % len(gates):
        raise d.refuse(f"expected a multiple of {len(gates)} rows (gates {gates}), found shape {list(rows.shape)}")
    blocks = dict(zip(gates, np.split(rows, len(gates), axis)))
    return np.concatenate([blocks[g] for g in wanted], axis)


def from_cudnn(
    op: str, kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kernels (I, G*H) and (H, G*H) that hold cuDNN's memory, and its two biases (2*G*H,), as Keras's own layers have
    them: every gate's block of the memory is a matrix (H, inputs), and an LSTM has one bias. ValueError for other shapes.
    """
    gates, hidden = len(GATES[op]), recurrent.shape[0]
    rows = gates * hidden
    if kernel.shape[1:] != (rows,) or recurrent.shape != (hidden, rows) or bias.shape not in ((2 * rows,), (2, rows)):
        raise ValueError(
            f"expected cuDNN weights (any, {rows}), ({hidden}, {rows}) and ({2 * rows},), found {kernel.shape}, "
            f"{recurrent.shape}, {bias.shape}"
        )
    kernels = [np.ascontiguousarray(k).reshape(hidden, -1).T for k in np.split(kernel, gates, axis=1)]
    recurrents = [k.T for k in np.split(recurrent, gates, axis=1)]
    both = bias.reshape(2, -1)
    return np.concatenate(kernels, 1), np.concatenate(recurrents, 1), both.sum(axis=0) if op == "LSTM" else both


def _in_core_order(d: Dialect, op: str, w: Weights, gates: str, peephole_gates: str) -> Weights:
    """The weights in float32, gates in the core's order, the biases of an LSTM and RNN joined, zero ones left out."""
    own = core_gates(d, op, gates or GATES[op])

    def rows(array: np.ndarray | None) -> np.ndarray | None:
        return None if array is None else reordered(d, np.asarray(array, np.float32), own, GATES[op])

    bias, bias_hh = rows(w.bias), rows(w.bias_hh)
    if op != "GRU":
        bias = bias_hh if bias is None else bias if bias_hh is None else bias + bias_hh
        bias_hh = None
    w_ih, w_hh = rows(w.w_ih), rows(w.w_hh)
    assert w_ih is not None and w_hh is not None
    projection = None if w.projection is None else np.asarray(w.projection, np.float32)
    peephole = _peephole(d, w, peephole_gates)
    return Weights(w_ih, w_hh, _unless_zero(bias), _unless_zero(bias_hh), _unless_zero(peephole), projection)


def _peephole(d: Dialect, w: Weights, gates: str) -> np.ndarray | None:
    if w.peephole is None:
        return None
    hidden = w.w_ih.shape[0] // len(GATES["LSTM"])
    count = len(gates) or (
        4 if w.peephole.size in (4 * hidden, 4 * hidden * hidden) and len(w.peephole) % 4 == 0 else 3
    )
    own = gates.replace("c", "g") or PEEPHOLES[:count]
    wanted = PEEPHOLES[:count]
    rows = np.asarray(w.peephole, np.float32)
    if sorted(own) != sorted(wanted) or rows.shape not in ((count, hidden), (count * hidden, hidden)):
        raise d.refuse(
            f"peepholes of gates {own!r} and shape {list(rows.shape)}: expected [3 or 4, {hidden}], or "
            f"[{3 * hidden} or {4 * hidden}, {hidden}]"
        )
    return reordered(d, rows, own, wanted)


def _unless_zero(array: np.ndarray | None) -> np.ndarray | None:
    return None if array is None or not array.any() else array


def _check(d: Dialect, op: str, w: Weights, shape: Sequence[Size]) -> None:
    gates, width = len(GATES[op]), shape[-1]
    hidden = w.w_ih.shape[0] // gates
    out = hidden if w.projection is None else w.projection.shape[0]
    if len(shape) != 3 or isinstance(width, Dim):
        raise d.refuse(
            f"expected a sequence (batch, frames, features) with features known, found shape {list(shape)}"
        ) from SizeMismatch.between(width, w.w_ih.shape[-1], "features")
    if not hidden or w.w_ih.shape != (gates * hidden, width) or w.w_hh.shape != (gates * hidden, out):
        raise d.refuse(
            f"expected weights of the input ({gates} * hidden, {width}) and of the state ({gates * hidden}, {out}), "
            f"found {w.w_ih.shape} and {w.w_hh.shape}"
        )
    for name, bias in (("bias", w.bias), ("bias of the state", w.bias_hh)):
        if bias is not None and bias.shape != (gates * hidden,):
            raise d.refuse(f"expected a {name} ({gates * hidden},), found {bias.shape}")
    if w.projection is not None and w.projection.shape != (out, hidden):
        raise d.refuse(f"expected a projection ({out}, {hidden}), found {w.projection.shape}")


def _stacked(d: Dialect, cells: Sequence[Weights], name: str) -> Value | None:
    """One array of all directions; None where none has it, zeros for a direction that has not."""
    arrays = [getattr(c, name) for c in cells]
    shapes = {a.shape for a in arrays if a is not None}
    if not shapes:
        return None
    if len(shapes) > 1 or name == "projection" and any(a is None for a in arrays):
        raise d.refuse(f"its directions differ in {name}: {[None if a is None else a.shape for a in arrays]}")
    if len(arrays) == 1:
        return known(arrays[0][None])
    zeros = np.zeros(shapes.pop(), np.float32)
    return known(np.stack([zeros if a is None else a for a in arrays]))


# ---- what goes in beside the weights --------------------------------------------------------------------------------


def initial_state(d: Dialect, state: Initial, directions: int, batch: Size, name: str) -> Value | None:
    """The state (D,B,P); None when absent or all zero, so that a stream can hold it."""
    if state is None or isinstance(state, Value) and d.uniform(state) == 0:
        return None
    if isinstance(state, np.ndarray):
        state = known(np.asarray(state, np.float32).reshape(directions, 1, -1))
        if d.uniform(state) == 0:
            return None
    elif not isinstance(state, Value):
        if all(d.uniform(s) == 0 for s in state):
            return None
        state = movement.stack(d, list(state), 0)
    if len(d.shape(state)) == 2:
        state = d.reshape(state, [1, *d.shape(state)])
    given = d.shape(state)[1]
    if given == batch or not state.is_known:
        return state
    if given != 1:
        raise d.refuse(
            f"{name} is a constant for {given} sequences and the batch is {batch}; fix the batch ({as_typed('shapes')})"
        ) from SizeMismatch.between(given, batch, "batch")
    return d.expand(state, [d.shape(state)[0], batch, d.shape(state)[2]])


def _lengths(d: Dialect, lengths: Value | None, frames: Size) -> Value | None:
    """(B,) in int32; None when absent or equal to the number of frames throughout."""
    if lengths is None or d.uniform(lengths) == frames:
        return None
    return d.cast(lengths, "int32")


def _absorbed(d: Dialect, x: Value, time_major: bool) -> tuple[Value, bool]:
    """x and whether it is time-major; a Transpose in front that only swaps batch and time is taken in."""
    node = d.producer(x)
    if node is not None and node.op == "Transpose" and node.attrs["perm"] == [1, 0, 2]:
        return Value(x.dtype, tensor=node.inputs[0]), not time_major
    return x, time_major


def activation_attrs(d: Dialect, op: str, activations: Sequence[Activation] | None, directions: int) -> dict[str, Any]:
    if activations is None:
        return {}
    count = len(OPS[op].attrs["activations"].default.values)
    acts = list(activations) * (directions if len(activations) == count else 1)
    if len(acts) != count * directions:
        raise d.refuse(f"{len(activations)} activations for {directions} directions of {op}: expected {count} each")
    attrs: dict[str, Any] = {"activations": [kind for kind, _, _ in acts]}
    if any(kind in PARAMETERS or alpha or beta for kind, alpha, beta in acts):
        attrs["activation_alpha"] = [float(alpha) for _, alpha, _ in acts]
        attrs["activation_beta"] = [float(beta) for _, _, beta in acts]
    return attrs
