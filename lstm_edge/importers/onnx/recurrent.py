"""ONNX LSTM, GRU and RNN (and onnxruntime's DynamicQuantizeLSTM) as the recurrences of docs/ops.md."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...ir.graph import Tensor
from ...ir.ops import GATES as CORE_GATES
from ..dialect import Value, recurrences
from .lowering import Call, lowers

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
# The core's order of activations, as places in ONNX's list of one direction.
ACTIVATION_ORDER = {"LSTM": [0, 0, 1, 0, 2], "GRU": [0, 0, 1], "RNN": [0]}
GATES = {"LSTM": "iofc", "GRU": "zrh", "RNN": "h"}
PEEPHOLES = "iof"


@lowers("LSTM", "GRU", "RNN")
def _recurrence(call: Call) -> list[Value | None]:
    peephole = call.known(7) if call.op == "LSTM" and call.optional(7) is not None else None
    return recurrence(call, call.op, call.known(1), call.known(2), peephole)


def recurrence(
    call: Call,
    op: str,
    w: np.ndarray,
    r: np.ndarray,
    peephole: np.ndarray | None,
    stored: Mapping[str, Value] | None = None,
) -> list[Value | None]:
    """Y, Y_h and, of an LSTM, Y_c. `w` (D,G*H,I) and `r` (D,G*H,H) are in ONNX's gate order; `stored`, where given, has
    w_ih and w_hh as int8 tensors in the core's, and then w and r are read for their shapes alone.

    Inputs 3 to 6 are B, lengths and initial states, as all three operators have them."""
    ctx = call.ctx
    hidden, directions = check_weights(call, op, w, r)
    batch_first = bool(call.attr("layout", 0))
    call.ignore("output_sequence")  # of opset 6 and older: Y is given whenever it is asked for
    initial = [_initial_state(call, 5, batch_first, "initial_h")]
    if op == "LSTM":
        initial.append(_initial_state(call, 6, batch_first, "initial_c"))
    run = recurrences.recurrence(
        ctx,
        op,
        call.input(0),
        _weights(call, w, r, peephole, hidden),
        gates=GATES[op],
        peephole_gates=PEEPHOLES,
        stored=stored,
        time_major=not batch_first,
        direction=call.attr("direction", "forward"),
        activations=activations(call, op, directions),
        initial=initial,
        lengths=call.optional(4),
        reset_after=bool(call.attr("linear_before_reset", 0)),
        coupled="f=1-i" if call.attr("input_forget", 0) else "none",
        clip=call.attr("clip") or 0.0,
    )
    y = run.directions_apart(ctx, not batch_first, directions) if call.wants(0) else None
    last = [run.h_n] if run.c_n is None else [run.h_n, run.c_n]
    return [y, *(ctx.transpose(s, [1, 0, 2]) if batch_first else s for s in last)]


def check_weights(call: Call, op: str, w: np.ndarray, r: np.ndarray) -> tuple[int, int]:
    """(hidden size, number of directions)."""
    gates = len(GATES[op])
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
    return hidden, directions


def _weights(
    call: Call, w: np.ndarray, r: np.ndarray, peephole: np.ndarray | None, hidden: int
) -> list[recurrences.Weights]:
    """One per direction: B is Wb and Rb side by side, P the three peepholes."""
    rows, given = w.shape[1], call.known(3) if call.optional(3) is not None else None
    if given is not None and (given.ndim != 2 or given.shape[1] != 2 * rows):
        raise call.refuse(f"expected a bias B with {2 * rows} columns, found shape {given.shape}")
    if peephole is not None and (peephole.ndim != 2 or peephole.shape[1] != 3 * hidden):
        raise call.refuse(f"expected peepholes P with {3 * hidden} columns, found shape {peephole.shape}")
    return [
        recurrences.Weights(
            w[n],
            r[n],
            bias=None if given is None else given[n, :rows],
            bias_hh=None if given is None else given[n, rows:],
            peephole=None if peephole is None else peephole[n].reshape(3, hidden),
        )
        for n in range(len(w))
    ]


def activations(call: Call, op: str, directions: int) -> list[recurrences.Activation]:
    """The activations of all directions in the core's order. The lists of the file hold alpha and beta only for functions
    that take them, in order (onnxruntime reads them so)."""
    default = DEFAULT_ACTIVATIONS[op]
    given = call.attr("activations", default * directions)
    if len(given) != len(default) * directions:
        raise call.refuse(f"activations {given}: expected {len(default) * directions} names")
    left = [list(call.attr(f"activation_{p}", [])) for p in ("alpha", "beta")]
    found: list[recurrences.Activation] = []
    for name in given:
        if name.lower() not in ACTIVATIONS:
            raise call.refuse(f"activation {name!r} is not supported: expected one of {', '.join(ACTIVATIONS)}")
        ours, *defaults = ACTIVATIONS[name.lower()]
        alpha, beta = (
            0.0 if value is None else float(rest.pop(0)) if rest else value for value, rest in zip(defaults, left)
        )
        found.append((ours, alpha, beta))
    return [found[d * len(default) + place] for d in range(directions) for place in ACTIVATION_ORDER[op]]


def _initial_state(call: Call, n: int, batch_first: bool, name: str) -> Value | None:
    """The state (D,B,H); None when absent or all zero."""
    value, ctx = call.optional(n), call.ctx
    if value is None:
        return None
    if ctx.uniform(value) == 0:
        ctx.note(f"{call.place}: {name} is zero and was left out")
        return None
    return ctx.transpose(value, [1, 0, 2]) if batch_first else value


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
        stored = {name: _int8_weight(call, q, scale, name) for (q, scale), name in zip(parts, ("w_ih", "w_hh"))}
        return recurrence(call, "LSTM", parts[0][0], parts[1][0], peephole, stored)
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
    ctx = call.ctx
    tensor = ctx.graph.fresh(f"{call.name}/{name}")
    own = recurrences.core_gates(ctx, "LSTM", GATES["LSTM"])
    q, scale = (recurrences.reordered(ctx, a, own, CORE_GATES["LSTM"], axis=1) for a in (q, scale))
    ctx.graph.tensors[tensor] = Tensor(tensor, "int8", q.shape, q.astype(np.int8), scale.reshape(-1))
    return Value("float32", tensor=tensor)
