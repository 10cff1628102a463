"""LSTM, GRU, SimpleRNN, their cuDNN forms, RNN over cells, Bidirectional: weights in the core's order, outputs in
Keras's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ShapeError
from .activations import Act, gate_activation
from .config import Layer
from .emit import Call, Emit, From, Value, unsupported

_OPS = {
    "LSTM": "LSTM",
    "GRU": "GRU",
    "SimpleRNN": "RNN",
    "CuDNNLSTM": "LSTM",
    "CuDNNGRU": "GRU",
    "LSTMCell": "LSTM",
    "GRUCell": "GRU",
    "SimpleRNNCell": "RNN",
    "PeepholeLSTMCell": "LSTM",
}
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_TO_CORE = {"LSTM": (0, 1, 2, 3), "GRU": (1, 0, 2), "RNN": (0,)}  # Keras i f c o and z r h; the core i f g o and r z n
_BIASES = {"LSTM": 1, "GRU": 2, "RNN": 1}
RECURRENT = ("LSTM", "GRU", "SimpleRNN", "CuDNNLSTM", "CuDNNGRU", "RNN")
_OPTIONS = (
    "units",
    "activation",
    "recurrent_activation",
    "reset_after",
    "use_bias",
    "time_major",
    "go_backwards",
    "return_sequences",
    "return_state",
    "stateful",
    "zero_output_for_mask",
    "num_constants",
)


@dataclass
class Cell:
    """One direction of one recurrence in the core's layout: weights (G*H, I) and (G*H, H), biases (G*H,), peephole
    (3, H)."""

    op: str
    units: int
    w_ih: np.ndarray
    w_hh: np.ndarray
    biases: list[np.ndarray | None]
    attrs: dict[str, Any]
    peephole: np.ndarray | None = None


def cells_of(e: Emit, layer: Layer) -> list[Cell]:
    """The cells of a recurrent layer, first to last (one but for stacked cells)."""
    for key in _OPTIONS:
        layer.config.take(key)
    if layer.config.values.get("num_constants"):
        raise unsupported(layer, "constants of a cell are not supported", "pass them as features of the input")
    if layer.cls != "RNN":
        return [_cell(e, layer)]
    cell = layer.children[0]
    if cell.cls != "StackedRNNCells":
        return [_cell(e, cell)]
    if cell.config.take("reverse_state_order"):
        raise unsupported(cell, "reverse_state_order is not supported", "save the model again with a later Keras")
    return [_cell(e, c) for c in cell.children]


def _cell(e: Emit, layer: Layer) -> Cell:
    op = _OPS.get(layer.cls)
    if op is None:
        raise unsupported(
            layer, f"cell {layer.cls} is not supported", f"expected one of {', '.join(k for k in _OPS if 'Cell' in k)}"
        )
    units, gates = layer.config.size("units"), _GATES[op]
    kernel, recurrent = layer.weights["kernel"], layer.weights["recurrent_kernel"]
    bias = layer.weights.get("bias")
    if (
        layer.cls.startswith("CuDNN")
        or (op == "LSTM" and bias is not None and bias.shape == (8 * units,))
        or (op == "GRU" and bias is not None and bias.shape == (6 * units,))
    ):
        kernel, recurrent, bias = _from_cudnn(layer, op, units)
    kernel = e.weight(layer, "kernel", (None, gates * units), kernel)
    recurrent = e.weight(layer, "recurrent_kernel", (units, gates * units), recurrent)
    attrs = _activations(layer, op)
    biases: list[np.ndarray | None] = [None] * _BIASES[op]
    if op == "GRU":
        reset_after = layer.cls == "CuDNNGRU" or layer.config.flag("reset_after", False)
        attrs["reset_after"] = int(reset_after)
        if bias is not None:
            e.weight(layer, "bias", (2, gates * units) if reset_after else (gates * units,), bias)
            biases = [_gates(b, op, units) for b in bias] if reset_after else [_gates(bias, op, units), None]
    elif bias is not None:
        biases = [_gates(e.weight(layer, "bias", (gates * units,), bias), op, units)]
    peephole = None
    if layer.cls == "PeepholeLSTMCell":
        peephole = np.stack([layer.weights[f"{g}_gate_peephole_weights"] for g in ("input", "forget", "output")])
    return Cell(op, units, _gates(kernel.T, op, units), _gates(recurrent.T, op, units), biases, attrs, peephole)


def _gates(rows: np.ndarray, op: str, units: int) -> np.ndarray:
    """Blocks of `units` rows in the core's gate order."""
    return np.concatenate([rows[g * units : (g + 1) * units] for g in _TO_CORE[op]])


def _from_cudnn(layer: Layer, op: str, units: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """cuDNN keeps every gate's matrix as (units, inputs) in the memory of a Keras (inputs, units) block, and two
    biases."""
    kernel, recurrent, bias = (layer.weights[k] for k in ("kernel", "recurrent_kernel", "bias"))
    gates = _GATES[op]
    if (
        kernel.shape[1:] != (gates * units,)
        or recurrent.shape != (units, gates * units)
        or bias.shape != (2 * gates * units,)
    ):
        raise ShapeError(
            f"{layer.place}: expected cuDNN weights (any, {gates * units}), ({units}, {gates * units}) and "
            f"({2 * gates * units},), found {kernel.shape}, {recurrent.shape}, {bias.shape}"
        )
    kernels = [np.ascontiguousarray(k).reshape(units, -1).T for k in np.split(kernel, gates, axis=1)]
    recurrents = [k.T for k in np.split(recurrent, gates, axis=1)]
    both = bias.reshape(2, -1)
    return np.concatenate(kernels, 1), np.concatenate(recurrents, 1), both.sum(axis=0) if op == "LSTM" else both


def _activations(layer: Layer, op: str) -> dict[str, Any]:
    """The core's activation attributes; defaults are those of the Keras that wrote the file."""
    config, version = layer.config, layer.version
    if layer.cls.startswith("CuDNN"):
        gate, cell = Act("sigmoid"), Act("tanh")
    else:
        cell = gate_activation(config.take("activation", "tanh"), version, layer.place)
        gate = cell
        if op != "RNN":
            spec = config.take("recurrent_activation", version.recurrent_activation)
            gate = gate_activation(spec, version, layer.place)
    acts = {"LSTM": [gate, gate, cell, gate, cell], "GRU": [gate, gate, cell], "RNN": [cell]}[op]
    return {
        "activations": [a.kind for a in acts],
        "activation_alpha": [a.alpha for a in acts],
        "activation_beta": [a.beta for a in acts],
    }


# ---- one op ----------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """What a recurrence op gives: y (B,T,D*H) in x's order of time, states (D,B,H) each."""

    y: str
    h: str  # of the last cell
    states: list[str]  # of every cell: h and c of an LSTM, h of the others


def _emit(
    e: Emit, cells: list[Cell], x: Value, direction: str, initial: list[str], name: str, zero: bool, time_major: bool
) -> Run:
    """`cells`: one per direction. `initial`: states (B,H), direction by direction."""
    first = cells[0]
    op = first.op
    size = e.shape(x.t)[-1] if e.rank(x.t) == 3 else None
    if size != first.w_ih.shape[1]:
        raise ShapeError(
            f"layer {name!r} ({op}): expected input (batch, frames, {first.w_ih.shape[1]}), found {e.shape(x.t)}"
        )

    def stack(arrays: list[np.ndarray | None], what: str) -> str:
        if all(a is None for a in arrays):
            return ""
        zeros = np.zeros_like(next(a for a in arrays if a is not None))
        return e.const(np.stack([zeros if a is None else a for a in arrays]), f"{name}/{what}")

    inputs = [e.real(x.t, name), stack([c.w_ih for c in cells], "w_ih"), stack([c.w_hh for c in cells], "w_hh")]
    names = ["bias"] if _BIASES[op] == 1 else ["bias_ih", "bias_hh"]
    inputs += [stack([c.biases[i] for c in cells], n) for i, n in enumerate(names)]
    inputs += _initial(e, initial, len(cells), 2 if op == "LSTM" else 1, name)
    inputs += ["", _mask(e, x.mask, time_major, name)]
    if op == "LSTM":
        inputs.append(stack([c.peephole for c in cells], "peephole"))
    while not inputs[-1]:
        inputs.pop()
    attrs = {"direction": direction, "time_major": int(time_major), **first.attrs}
    for key in ("activations", "activation_alpha", "activation_beta"):
        attrs[key] = [a for c in cells for a in c.attrs[key]]
    if zero and x.mask:
        attrs["masked_output"] = "zero"
    wanted = [name, f"{name}:h", f"{name}:c"][: 3 if op == "LSTM" else 2]
    outputs = e.g.add(op, inputs, attrs, name, wanted)
    return Run(outputs[0], outputs[1], outputs[1:])


def _initial(e: Emit, initial: list[str], directions: int, states: int, name: str) -> list[str]:
    """h0 (and c0) as (D,B,H) from (B,H) of every direction."""
    if not initial:
        return [""] * states
    if len(initial) != directions * states:
        raise ShapeError(f"layer {name!r}: expected {directions * states} initial states, found {len(initial)}")
    lifted = [e.expand_dims(e.real(s, f"{name}/s{i}"), 0, f"{name}/state{i}") for i, s in enumerate(initial)]
    return [e.concat(lifted[k::states], 0, f"{name}/initial{k}") for k in range(states)]


def _mask(e: Emit, mask: str | None, time_major: bool, name: str) -> str:
    if not mask:
        return ""
    if e.rank(mask) != 2:
        raise ShapeError(f"layer {name!r}: expected a mask (batch, frames), found {e.shape(mask)}")
    return e.transpose(mask, (1, 0), f"{name}/mask") if time_major else mask


# ---- layers ----------------------------------------------------------------------------------------------------------


def recurrent(e: Emit, layer: Layer, call: Call) -> list[Value]:
    """LSTM, GRU, SimpleRNN, CuDNNLSTM, CuDNNGRU, RNN(cells)."""
    x, initial = _arguments(e, layer, call)
    cells = cells_of(e, layer)
    flags = _Flags(e, layer)
    run = _stack(
        e, cells, x, "reverse" if flags.go_backwards else "forward", initial, layer.name, flags.zero, flags.time_major
    )
    if flags.return_sequences:
        y = e.flip(run.y, flags.time_axis, f"{layer.name}/flip") if flags.go_backwards else run.y
        out = Value(y, x.mask or call.inputs[0].mask)
    else:
        out = Value(_last(e, run, x, bool(initial), flags, layer.name))
    if not flags.return_state:
        return [out]
    return [out] + [Value(e.squeeze(s, 0, f"{layer.name}/state{i}")) for i, s in enumerate(run.states)]


class _Flags:
    """The options of a recurrent layer that shape its outputs."""

    def __init__(self, e: Emit, layer: Layer):
        config = layer.config
        self.go_backwards, self.return_sequences = config.flag("go_backwards"), config.flag("return_sequences")
        self.return_state, self.time_major = config.flag("return_state"), config.flag("time_major")
        self.zero = config.flag("zero_output_for_mask")
        self.time_axis = 0 if self.time_major else 1
        if config.flag("stateful"):
            e.note(f"{layer.place} is stateful: a stream carries its state from call to call, run starts from zeros")


def _arguments(e: Emit, layer: Layer, call: Call) -> tuple[Value, list[str]]:
    """The sequence (with an explicit mask= in place) and the initial states, however the call spelled them."""
    x, *rest = call.inputs
    given = call.kwargs.pop("initial_state", None)
    states = _flat(given) if given is not None else rest
    if given is not None and rest or any(not isinstance(s, Value) for s in states):
        raise unsupported(
            layer,
            f"initial_state: expected tensors, found {str(given)[:60]}",
            "pass initial states as inputs of the model",
        )
    if _flat(call.kwargs.pop("constants", None)):
        raise unsupported(layer, "constants of a cell are not supported", "pass them as features of the input")
    mask = call.kwargs.pop("mask", None)
    if isinstance(mask, Value):
        x = Value(x.t, mask.t)
    elif states and layer.version.major >= 3 and x.mask:
        # Keras 3 fills in a mask only for a layer that is called on one tensor
        e.note(
            f"{layer.place}: Keras 3 ignores the mask of a sequence that comes with initial states, "
            "and so does the conversion"
        )
        x = Value(x.t)
    return x, [s.t for s in states]


def _flat(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [v for item in value for v in _flat(item)]
    return [] if value is None else [value]


def _stack(
    e: Emit, cells: list[Cell], x: Value, direction: str, initial: list[str], name: str, zero: bool, time_major: bool
) -> Run:
    """Cells one above the other, as one op each. A masked frame carries every state, so the mask goes to each."""
    counts = [2 if c.op == "LSTM" else 1 for c in cells]
    if initial and len(initial) != sum(counts):
        raise ShapeError(f"layer {name!r}: expected {sum(counts)} initial states, found {len(initial)}")
    states: list[str] = []
    for i, cell in enumerate(cells):
        own = initial[sum(counts[:i]) : sum(counts[: i + 1])]
        last = i == len(cells) - 1
        run = _emit(e, [cell], x, direction, own, name if last else f"{name}/cell{i}", zero and last, time_major)
        x = Value(run.y, x.mask)
        states += run.states
    return Run(run.y, run.h, states)


def _last(e: Emit, run: Run, x: Value, started: bool, flags: _Flags, name: str) -> str:
    """The last output: the final h, but where a mask can make them differ (all frames masked after a given state,
    zeroed outputs)."""
    if x.mask and (started or flags.zero):
        step = 0 if flags.go_backwards else -1
        frame = e.slice(run.y, flags.time_axis, step, step + 1 if step == 0 else 2**31 - 1, f"{name}/frame")
        return e.squeeze(frame, flags.time_axis, f"{name}/last")
    return e.squeeze(run.h, 0, f"{name}/last")


def bidirectional(e: Emit, layer: Layer, call: Call) -> list[Value]:
    """Both directions, as one op where they are alike, merged by concat, sum, mul, ave, or given apart (None)."""
    forward, backward = layer.children
    if forward.cls not in RECURRENT or backward.cls not in RECURRENT:
        raise unsupported(layer, f"wraps {forward.cls}", f"expected one of {', '.join(RECURRENT)}")
    mode = layer.config.take("merge_mode", "concat")
    if mode not in ("concat", "sum", "mul", "ave", None):
        raise unsupported(layer, f"merge_mode {mode!r}", "expected concat, sum, mul, ave or null")
    x, initial = _arguments(e, layer, call)
    sides = [cells_of(e, forward), cells_of(e, backward)]
    flags = [_Flags(e, forward), _Flags(e, backward)]
    # Since tf.keras a Bidirectional that returns sequences zeroes masked outputs, whatever its layers say.
    zero = flags[0].return_sequences if layer.version.is_tf or layer.version.major >= 3 else flags[0].zero
    flags[0].zero = flags[1].zero = zero
    if _alike(sides, flags):
        outs, states = _fused(e, sides, x, initial, flags[0], layer.name, mode)
    else:
        outs, states = _apart(e, sides, x, initial, flags, layer.name, mode)
    mask = (x.mask or call.inputs[0].mask) if flags[0].return_sequences else None
    values = [Value(o, mask) for o in outs]
    return values + [Value(s) for s in states] if flags[0].return_state else values


def _alike(sides: list[list[Cell]], flags: list[_Flags]) -> bool:
    a, b = sides[0][0], sides[1][0]
    return (
        len(sides[0]) == len(sides[1]) == 1
        and a.op == b.op
        and a.units == b.units
        and a.attrs.get("reset_after") == b.attrs.get("reset_after")
        and (a.peephole is None) == (b.peephole is None)
        and not flags[0].go_backwards
        and flags[1].go_backwards
    )


def _fused(
    e: Emit, sides: list[list[Cell]], x: Value, initial: list[str], flags: _Flags, name: str, mode: str | None
) -> tuple[list[str], list[str]]:
    merged = f"{name}/both" if mode != "concat" or not flags.return_sequences else name
    run = _emit(e, [s[0] for s in sides], x, "bidirectional", initial, merged, flags.zero, flags.time_major)
    units = sides[0][0].units
    states = []
    if flags.return_state:
        states = [
            e.squeeze(e.slice(s, 0, d, d + 1, f"{name}/side{d}"), 0, f"{name}/state{d}")
            for d in (0, 1)
            for s in run.states
        ]
    if flags.return_sequences and mode == "concat":
        return [run.y], states
    if flags.return_sequences or (x.mask and initial):
        halves = [e.slice(run.y, 2, d * units, (d + 1) * units, f"{name}/half{d}") for d in (0, 1)]
        if not flags.return_sequences:
            halves = [_edge(e, h, flags.time_axis, d, name) for d, h in enumerate(halves)]
        return _merge(e, halves, mode, name), states
    h = run.states[0]
    if mode == "concat":
        turned = e.transpose(h, (1, 0, 2), f"{name}/turned")
        return [e.reshape(turned, [From(turned, 0), 2 * units], name)], states
    if mode is None:
        return [e.squeeze(e.slice(h, 0, d, d + 1, f"{name}/h{d}"), 0, f"{name}/last{d}") for d in (0, 1)], states
    return [e.reduce({"sum": "sum", "mul": "prod", "ave": "mean"}[mode], h, [0], name)], states


def _apart(
    e: Emit, sides: list[list[Cell]], x: Value, initial: list[str], flags: list[_Flags], name: str, mode: str | None
) -> tuple[list[str], list[str]]:
    half = len(initial) // 2
    outs, states = [], []
    for d, (cells, flag) in enumerate(zip(sides, flags)):
        own = initial[half * d : half * (d + 1)]
        side = f"{name}/{('forward', 'backward')[d]}"
        run = _stack(e, cells, x, "reverse" if flag.go_backwards else "forward", own, side, flag.zero, flag.time_major)
        if flags[0].return_sequences:
            # Keras flips the backward output once more, so it is in x's order when that layer went backwards
            outs.append(run.y if flag.go_backwards == bool(d) else e.flip(run.y, flag.time_axis, f"{side}/flip"))
        else:
            outs.append(_last(e, run, x, bool(initial), flag, side))
        states += [e.squeeze(s, 0, f"{side}/state{i}") for i, s in enumerate(run.states)] if flag.return_state else []
    return _merge(e, outs, mode, name), states


def _edge(e: Emit, y: str, axis: int, direction: int, name: str) -> str:
    """The frame a direction processed last: the end forward, the beginning backward."""
    start, end = ((-1, 2**31 - 1), (0, 1))[direction]
    return e.squeeze(e.slice(y, axis, start, end, f"{name}/edge{direction}"), axis, f"{name}/last{direction}")


def _merge(e: Emit, pair: list[str], mode: str | None, name: str) -> list[str]:
    if mode is None:
        return pair
    if mode == "concat":
        return [e.concat(pair, -1, name)]
    if mode == "ave":
        return [e.scaled(e.binary("add", *pair, f"{name}/sum"), 0.5, 0, name)]
    return [e.binary({"sum": "add", "mul": "mul"}[mode], *pair, name)]
