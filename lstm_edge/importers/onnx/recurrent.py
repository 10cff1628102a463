"""ONNX LSTM, GRU and RNN (and onnxruntime's DynamicQuantizeLSTM) as the recurrences of docs/ops.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.dims import Size
from ...ir.graph import Tensor
from ..dialect import Value, known
from .lowering import Call, Lowering, lowers

# name -> (ours, default alpha, default beta); None: the function has no such parameter and takes none from the lists.
ACTIVATIONS: dict[str, tuple[str, float | None, float | None]] = {
    "relu": ("relu", None, None),
    "tanh": ("tanh", None, None),
    "sigmoid": ("sigmoid", None, None),
    "softsign": ("softsign", None, None),
    "softplus": ("softplus", None, None),
    "affine": ("affine", 1.0, 0.0),
    "leakyrelu": ("leaky_relu", 0.01, None),
    "thresholdedrelu": ("thresholded_relu", 1.0, None),
    "scaledtanh": ("scaled_tanh", 1.0, 1.0),
    "hardsigmoid": ("hard_sigmoid", 0.2, 0.5),
    "elu": ("elu", 1.0, None),
}
DEFAULT_ACTIVATIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
# Our order of activations, as places in ONNX's list of one direction.
ACTIVATION_ORDER = {"LSTM": [0, 0, 1, 0, 2], "GRU": [0, 0, 1], "RNN": [0]}
# Our order of gates, as places in ONNX's: i,o,f,c -> i,f,g,o and z,r,h -> r,z,n; peepholes i,o,f -> i,f,o.
GATE_ORDER = {"LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2], "RNN": [0]}
PEEPHOLE_ORDER = [0, 2, 1]


@lowers("LSTM", "GRU", "RNN")
def _recurrence(call: Call) -> list[Value | None]:
    peephole = call.known(7) if call.op == "LSTM" and call.optional(7) is not None else None
    return recurrence(call, call.op, call.known(1), call.known(2), peephole)


def recurrence(
    call: Call, op: str, w: np.ndarray, r: np.ndarray, peephole: np.ndarray | None, quantized: list[Value] | None = None
) -> list[Value | None]:
    """Y, Y_h and, of an LSTM, Y_c. `w` (D,G*H,I) and `r` (D,G*H,H) are in ONNX's gate order; `quantized`, where given,
    are both as int8 tensors in ours, and then w and r are read for their shapes alone.

    Inputs 3 to 6 are B, lengths and initial states, as all three operators have them."""
    ctx = call.ctx
    directions, hidden = check_weights(call, op, w, r)
    batch_first = bool(call.attr("layout", 0))
    attrs = recurrence_attrs(call, op, directions, hidden)
    weights = quantized or [known(reordered(a.astype(np.float32), GATE_ORDER[op])) for a in (w, r)]
    h0 = initial_state(call, 5, batch_first, "initial_h")
    c0 = initial_state(call, 6, batch_first, "initial_c") if op == "LSTM" else None
    lengths = sequence_lengths(call, batch_first)
    x, time_major = time_axis(ctx, call.input(0), batch_first)
    attrs["time_major"] = int(time_major)
    if op == "GRU":
        attrs["reset_after"] = int(call.attr("linear_before_reset", 0))
    inputs = [x, *weights, *biases(call, op, hidden), h0]
    if op == "LSTM":
        attrs["coupled"] = "f=1-i" if call.attr("input_forget", 0) else "none"
        inputs += [c0, lengths, None, peepholes(call, peephole, hidden)]
    else:
        inputs.append(lengths)
    outputs = ctx.emit_all(op, inputs, attrs, ["float32"] * (3 if op == "LSTM" else 2))
    y = directions_apart(ctx, outputs[0], directions, hidden, time_major, batch_first) if call.wants(0) else None
    last = [ctx.transpose(s, [1, 0, 2]) if batch_first else s for s in outputs[1:]]
    return [y, *last]


def check_weights(call: Call, op: str, w: np.ndarray, r: np.ndarray) -> tuple[int, int]:
    gates = len(GATE_ORDER[op])
    direction = call.attr("direction", "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        raise call.refuse(f"direction = {direction!r}: expected forward, reverse or bidirectional")
    directions = 2 if direction == "bidirectional" else 1
    hidden = r.shape[-1] if r.ndim == 3 else 0
    hidden = int(call.attr("hidden_size", hidden))
    width = call.shape(0)[-1]
    if w.shape != (directions, gates * hidden, width) or r.shape != (directions, gates * hidden, hidden) or hidden == 0:
        raise call.refuse(
            f"expected weights W ({directions}, {gates * hidden}, {width}) and R ({directions}, "
            f"{gates * hidden}, {hidden}), found {w.shape} and {r.shape}"
        )
    return directions, hidden


def recurrence_attrs(call: Call, op: str, directions: int, hidden: int) -> dict[str, Any]:
    call.ignore("output_sequence")  # of opset 6 and older: Y is given whenever it is asked for
    names, alphas, betas = activations(call, DEFAULT_ACTIVATIONS[op], directions)
    order = [d * len(DEFAULT_ACTIVATIONS[op]) + place for d in range(directions) for place in ACTIVATION_ORDER[op]]
    attrs: dict[str, Any] = {"direction": call.attr("direction", "forward"), "activations": [names[n] for n in order]}
    if any(alphas) or any(betas):
        attrs["activation_alpha"] = [alphas[n] for n in order]
        attrs["activation_beta"] = [betas[n] for n in order]
    clip = call.attr("clip")
    if clip:
        attrs["clip"] = float(clip)
    return attrs


def activations(call: Call, default: list[str], directions: int) -> tuple[list[str], list[float], list[float]]:
    """Names, alphas and betas, one each per activation. The lists of the file hold values only for functions that take
    them, in order (onnxruntime reads them so)."""
    given = call.attr("activations", default * directions)
    if len(given) != len(default) * directions:
        raise call.refuse(f"activations {given}: expected {len(default) * directions} names")
    left = [list(call.attr(f"activation_{p}", [])) for p in ("alpha", "beta")]
    names: list[str] = []
    values: list[list[float]] = [[], []]
    for name in given:
        if name.lower() not in ACTIVATIONS:
            raise call.refuse(f"activation {name!r} is not supported: expected one of {', '.join(ACTIVATIONS)}")
        ours, *defaults = ACTIVATIONS[name.lower()]
        names.append(ours)
        for kind, default_value in enumerate(defaults):
            if default_value is None:
                values[kind].append(0.0)
            else:
                values[kind].append(float(left[kind].pop(0)) if left[kind] else default_value)
    return names, values[0], values[1]


def reordered(array: np.ndarray, order: list[int]) -> np.ndarray:
    """Blocks of axis 1 in another order."""
    blocks = np.split(array, len(order), axis=1)
    return np.ascontiguousarray(np.concatenate([blocks[n] for n in order], axis=1))


def biases(call: Call, op: str, hidden: int) -> list[Value | None]:
    """[bias] of LSTM and RNN: Wb + Rb; [bias_ih, bias_hh] of GRU. None each where B is absent or zero."""
    count = 2 if op == "GRU" else 1
    if call.optional(3) is None:
        return [None] * count
    rows = len(GATE_ORDER[op]) * hidden
    b = call.known(3).astype(np.float32)
    if b.ndim != 2 or b.shape[1] != 2 * rows:
        raise call.refuse(f"expected a bias B with {2 * rows} columns, found shape {b.shape}")
    parts = [reordered(p, GATE_ORDER[op]) for p in (b[:, :rows], b[:, rows:])]
    if op != "GRU":
        parts = [parts[0] + parts[1]]
    return [known(p) if p.any() else None for p in parts]


def peepholes(call: Call, p: np.ndarray | None, hidden: int) -> Value | None:
    if p is None or not p.any():
        return None
    if p.ndim != 2 or p.shape[1] != 3 * hidden:
        raise call.refuse(f"expected peepholes P with {3 * hidden} columns, found shape {p.shape}")
    rows = p.astype(np.float32).reshape(-1, 3, hidden)
    return known(np.ascontiguousarray(rows[:, PEEPHOLE_ORDER]))


def initial_state(call: Call, n: int, batch_first: bool, name: str) -> Value | None:
    """The state (D,B,H); None when absent or all zero, so that a stream can hold it."""
    value, ctx = call.optional(n), call.ctx
    if value is None:
        return None
    if ctx.uniform(value) == 0:
        ctx.note(f"{call.place}: {name} is zero and was left out")
        return None
    value = ctx.transpose(value, [1, 0, 2]) if batch_first else value
    if value.is_known:  # given for one batch size; of one sequence, for all
        batch = call.shape(0)[0 if batch_first else 1]
        if value.array.shape[1] != batch:
            if value.array.shape[1] != 1:
                raise call.refuse(
                    f"{name} is a constant for {value.array.shape[1]} sequences and the batch is {batch}; "
                    "fix the batch (--shape)"
                )
            value = ctx.expand(value, [value.array.shape[0], batch, value.array.shape[2]])
    return value


def sequence_lengths(call: Call, batch_first: bool) -> Value | None:
    """sequence_lens (B,); None when absent or equal to the number of frames throughout."""
    value = call.optional(4)
    frames = call.shape(0)[1 if batch_first else 0]
    if value is None or call.ctx.uniform(value) == frames:
        return None
    return call.ctx.cast(value, "int32")


def time_axis(ctx: Lowering, x: Value, batch_first: bool) -> tuple[Value, bool]:
    """x and whether it is time-major; a Transpose in front that only swaps batch and time is taken in."""
    node = ctx.producer(x)
    if node is not None and node.op == "Transpose" and node.attrs["perm"] == [1, 0, 2]:
        return Value(x.dtype, tensor=node.inputs[0]), batch_first
    return x, not batch_first


def directions_apart(
    ctx: Lowering, y: Value, directions: int, hidden: int, time_major: bool, batch_first: bool
) -> Value:
    """y of docs/ops.md as ONNX's Y: (T,D,B,H), or (B,T,D,H) with layout = 1."""
    shape = ctx.shape(y)
    if directions == 1:
        if time_major == batch_first:
            y = ctx.transpose(y, [1, 0, 2])
            shape = ctx.shape(y)
        return ctx.reshape(y, [*shape[:2], 1, hidden] if batch_first else [shape[0], 1, shape[1], hidden])
    split: list[Size] = [shape[0], shape[1], directions, hidden]
    y = ctx.reshape(y, split)
    if batch_first:
        return ctx.transpose(y, [1, 0, 2, 3]) if time_major else y
    return ctx.transpose(y, [0, 2, 1, 3] if time_major else [1, 2, 0, 3])


@lowers("DynamicQuantizeLSTM", domain="com.microsoft")
def _dynamic_quantize_lstm(call: Call) -> list[Value | None]:
    """int8 weights stay int8 where the core can multiply them: symmetric ones. Others are dequantised."""
    parts = [_integers(call, *places) for places in ((1, 8, 9), (2, 10, 11))]
    peephole = None if call.optional(7) is None else call.known(7)
    if all(_symmetric(q) for q, _ in parts):
        call.ctx.note(
            f"{call.place}: keeps its int8 weights and a scale per row; frames are quantised in rows of their own, "
            "where the runtime takes one scale for all of them"
        )
        kept = [_int8_weight(call, q, scale, name) for (q, scale), name in zip(parts, ("w_ih", "w_hh"))]
        return recurrence(call, "LSTM", parts[0][0], parts[1][0], peephole, kept)
    call.ctx.note(
        f"{call.place}: runs with its weights dequantised to float32 and activations in float32, since they have a zero "
        "point or hold -128; that is more exact than the runtime's 8-bit activations"
    )
    w, r = ((q * scale[..., None]).astype(np.float32) for q, scale in parts)
    return recurrence(call, "LSTM", w, r, peephole)


def _integers(call: Call, weight: int, scale: int, zero: int) -> tuple[np.ndarray, np.ndarray]:
    """A weight without its zero point (D, 4H, K) and its scales (D, 4H), from (D, K, 4H) with one or 4H per direction."""
    q, s = call.known(weight), call.known(scale)
    z = call.known(zero) if call.optional(zero) is not None else np.zeros(1, q.dtype)
    if q.ndim != 3 or any(a.size not in (1, q.shape[0], q.shape[0] * q.shape[2]) for a in (s, z)):
        raise call.refuse(
            f"expected a weight (D, K, 4H) with a scale and a zero point per direction or column, found "
            f"{q.shape}, {s.shape} and {z.shape}"
        )
    shape = (q.shape[0], 1, q.shape[2])
    s, z = (np.broadcast_to(a.reshape((q.shape[0], 1, -1) if a.size > 1 else (1, 1, 1)), shape) for a in (s, z))
    centred = q.astype(np.int32) - z.astype(np.int32)
    return np.ascontiguousarray(centred.transpose(0, 2, 1)), np.ascontiguousarray(s[:, 0], np.float32)


def _symmetric(q: np.ndarray) -> bool:
    return bool(np.abs(q).max(initial=0) <= 127)


def _int8_weight(call: Call, q: np.ndarray, scale: np.ndarray, name: str) -> Value:
    """The int8 constant (D, 4H, K) in our gate order, one scale per row."""
    graph, order = call.ctx.graph, GATE_ORDER["LSTM"]
    tensor = graph.fresh(f"{call.name}/{name}")
    rows = reordered(scale, order).reshape(-1)
    graph.tensors[tensor] = Tensor(tensor, "int8", q.shape, reordered(q, order).astype(np.int8), rows)
    return Value("float32", tensor=tensor)
