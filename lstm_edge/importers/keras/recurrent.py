"""LSTM, GRU, SimpleRNN, their cuDNN forms, RNN over cells, Bidirectional: Keras's weights, options and outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...ir.sizes import require_equal
from ..dialect import Value, movement, reductions
from ..dialect.activations import Activation
from ..dialect.recurrences import KERAS_GATES, Run, Weights, from_cudnn, merged, recurrence
from .activations import gate_activation
from .cell_loop import run_cell
from .config import CELL_OPS, Layer
from .emit import Call, Emit, Masked, Rule, unsupported

_STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}
RECURRENT = ("LSTM", "GRU", "SimpleRNN", "CuDNNLSTM", "CuDNNGRU", "RNN")
_MERGES = {"concat": "concat", "sum": "sum", "mul": "mul", "ave": "average", None: ""}  # in the dialect's words
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


# ---- cells -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One direction of one recurrence. `activations`: gates first, in the core's order."""

    op: str
    units: int
    weights: Weights
    activations: list[Activation]
    reset_after: bool = False


def _take_options(layer: Layer) -> None:
    for key in _OPTIONS:
        layer.config.take(key)
    if layer.config.values.get("num_constants"):
        raise unsupported(layer, "constants of a cell are not supported", "pass them as features of the input")


def cells_of(layer: Layer) -> list[Cell]:
    """The cells of a recurrent layer, first to last (one but for stacked cells)."""
    _take_options(layer)
    if layer.cls != "RNN":
        return [_cell(layer)]
    cell = layer.children[0]
    if cell.cls != "StackedRNNCells":
        return [_cell(cell)]
    if cell.config.take("reverse_state_order"):
        raise unsupported(cell, "reverse_state_order is not supported", "save the model again with a later Keras")
    return [_cell(c) for c in cell.children]


def _cell(layer: Layer) -> Cell:
    op = CELL_OPS.get(layer.cls)
    if op is None:
        raise unsupported(
            layer,
            f"cell {layer.cls} is not supported",
            f"expected one of {', '.join(k for k in CELL_OPS if 'Cell' in k)}",
        )
    units, rows = layer.config.size("units"), layer.config.size("units") * len(KERAS_GATES[op])
    kernel, recurrent = layer.weights["kernel"], layer.weights["recurrent_kernel"]
    bias = layer.weights.get("bias")
    if layer.cls.startswith("CuDNN") or (op != "RNN" and bias is not None and bias.shape == (2 * rows,)):
        kernel, recurrent, bias = _from_cudnn(layer, op)
    kernel = layer.weight("kernel", (None, rows), kernel).T
    recurrent = layer.weight("recurrent_kernel", (units, rows), recurrent).T
    reset_after = op == "GRU" and (layer.cls == "CuDNNGRU" or layer.config.flag("reset_after", False))
    bias_hh = None
    if bias is not None:
        bias = layer.weight("bias", (2, rows) if reset_after else (rows,), bias)
        bias, bias_hh = bias if reset_after else (bias, None)
    peephole = None
    if layer.cls == "PeepholeLSTMCell":
        peephole = np.stack([layer.weights[f"{g}_gate_peephole_weights"] for g in ("input", "forget", "output")])
    weights = Weights(kernel, recurrent, bias, bias_hh, peephole)
    return Cell(op, units, weights, gate_activations(layer, op), reset_after)


def _from_cudnn(layer: Layer, op: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    try:
        return from_cudnn(op, *(layer.weights[k] for k in ("kernel", "recurrent_kernel", "bias")))
    except ValueError as error:
        raise ShapeError(f"{layer.place}: {error}") from error


def gate_activations(layer: Layer, op: str) -> list[Activation]:
    """The activations of the core's op; defaults are those of the Keras that wrote the file."""
    config, version = layer.config, layer.version
    gate, cell = Activation("sigmoid"), Activation("tanh")
    if not layer.cls.startswith("CuDNN"):
        cell = gate_activation(config.take("activation", "tanh"), version, layer.place)
        if op != "RNN":
            spec = config.take("recurrent_activation", version.recurrent_activation)
            gate = gate_activation(spec, version, layer.place)
    return {"LSTM": [gate, gate, cell, gate, cell], "GRU": [gate, gate, cell], "RNN": [cell]}[op]


# ---- one op ----------------------------------------------------------------------------------------------------------


class Flags:
    """The options of a recurrent layer that shape its outputs."""

    def __init__(self, e: Emit, layer: Layer) -> None:
        config = layer.config
        self.go_backwards, self.return_sequences = config.flag("go_backwards"), config.flag("return_sequences")
        self.return_state, self.time_major = config.flag("return_state"), config.flag("time_major")
        self.zero = config.flag("zero_output_for_mask")
        self.time_axis = 0 if self.time_major else 1
        if config.flag("stateful"):
            e.note(f"{layer.place} is stateful: a stream carries its state from call to call, run starts from zeros")

    @property
    def direction(self) -> str:
        return "reverse" if self.go_backwards else "forward"


def _run(
    e: Emit, cells: list[Cell], x: Masked, flags: Flags, direction: str, initial: list[Value], part: str, zero: bool
) -> Run:
    """`cells`: one per direction. `initial`: states (B,H), direction by direction."""
    first = cells[0]
    shape, width = e.shape(x.value), first.weights.w_ih.shape[1]
    message = f"{e.place}: expected input (batch, frames, {width}), found {shape}"
    if len(shape) != 3:
        raise ShapeError(message)
    require_equal(shape[-1], width, message)
    count = _STATES[first.op]
    if initial and len(initial) != len(cells) * count:
        raise ShapeError(f"{e.place}: expected {len(cells) * count} initial states, found {len(initial)}")
    if x.mask and e.rank(x.mask) != 2:
        raise ShapeError(f"{e.place}: expected a mask (batch, frames), found {e.shape(x.mask)}")
    run = recurrence(
        e,
        first.op,
        e.real(x.value),
        [c.weights for c in cells],
        gates=KERAS_GATES[first.op],
        time_major=flags.time_major,
        direction=direction,
        activations=[a for c in cells for a in c.activations],
        initial=_initial(e, initial, count, part),
        mask=x.mask,
        zero_masked=bool(zero and x.mask),
        reset_after=first.reset_after,
    )
    e.named(run.y, part)
    return run


def _states(run: Run) -> list[Value]:
    """h and c of an LSTM, h of the others, each (D,B,H)."""
    return [run.h_n] if run.c_n is None else [run.h_n, run.c_n]


def _initial(e: Emit, states: list[Value], count: int, part: str) -> list[Value]:
    """Each of the `count` kinds of state, (B,H) direction by direction, as one tensor (D,B,H)."""
    name = f"{part}/state".strip("/")
    kinds = [[e.real(s) for s in states[k::count]] for k in range(count)] if states else []
    return [e.named(movement.stack(e, kind, 0), f"{name}{k}") for k, kind in enumerate(kinds)]


def _stack(
    e: Emit, cells: list[Cell], x: Masked, flags: Flags, initial: list[Value], part: str = ""
) -> tuple[Run, list[Value]]:
    """Cells one above the other, as one op each: the last one's run, and the states of all. A masked frame carries
    every state, so the mask goes to each; only the last one's masked outputs may be zeroed."""
    counts = [_STATES[c.op] for c in cells]
    if initial and len(initial) != sum(counts):
        raise ShapeError(f"{e.place}: expected {sum(counts)} initial states, found {len(initial)}")
    states: list[Value] = []
    for i, cell in enumerate(cells[:-1]):
        own = initial[sum(counts[:i]) : sum(counts[: i + 1])]
        run = _run(e, [cell], x, flags, flags.direction, own, f"{part}/cell{i}".strip("/"), False)
        x, states = Masked(run.frames(e, flags.time_major), x.mask), states + _states(run)
    run = _run(e, cells[-1:], x, flags, flags.direction, initial[sum(counts[:-1]) :], part, flags.zero)
    return run, states + _states(run)


def _last(e: Emit, run: Run, x: Masked, started: bool, flags: Flags) -> Value:
    """The last output: the final h, but where a mask can make them differ (all frames masked after a given state,
    zeroed outputs)."""
    if x.mask and (started or flags.zero):
        y = run.frames(e, flags.time_major)
        return movement.index(e, y, flags.time_axis, 0 if flags.go_backwards else -1)
    return movement.squeeze(e, run.h_n, [0])


# ---- layers ----------------------------------------------------------------------------------------------------------


def recurrent(e: Emit, layer: Layer, call: Call) -> list[Masked]:
    """LSTM, GRU, SimpleRNN, CuDNNLSTM, CuDNNGRU, RNN(cells)."""
    x, initial = arguments(e, layer, call)
    flags = Flags(e, layer)
    if layer.cls == "RNN" and layer.children[0].rule is not None:
        return _registered(e, layer, x, flags, initial)
    run, states = _stack(e, cells_of(layer), x, flags, initial)
    if flags.return_sequences:
        y = run.frames(e, flags.time_major)
        y = movement.flip(e, y, [flags.time_axis]) if flags.go_backwards else y
        out = Masked(y, x.mask or call.inputs[0].mask)
    else:
        out = Masked(_last(e, run, x, bool(initial), flags))
    return [out, *(Masked(movement.squeeze(e, s, [0])) for s in states if flags.return_state)]


def _registered(e: Emit, layer: Layer, x: Masked, flags: Flags, initial: list[Value]) -> list[Masked]:
    """RNN over a cell that the user described."""
    _take_options(layer)
    if x.mask or flags.time_major:
        raise e.unsupported("a mask, or time_major, over a registered cell", "leave it out, or use a cell of Keras")
    y, states = run_cell(e, layer.children[0], e.real(x.value), [e.real(s) for s in initial], flags.go_backwards)
    out = y if flags.return_sequences else movement.index(e, y, 1, -1)
    return [Masked(out), *(Masked(s) for s in states if flags.return_state)]


def bidirectional(e: Emit, layer: Layer, call: Call) -> list[Masked]:
    """Both directions, as one op where they are alike, merged by concat, sum, mul, ave, or given apart (None)."""
    forward, backward = layer.children
    if forward.cls not in RECURRENT or backward.cls not in RECURRENT:
        raise e.unsupported(f"wraps {forward.cls}", f"expected one of {', '.join(RECURRENT)}")
    mode = merge_mode(e, layer)
    x, initial = arguments(e, layer, call)
    sides = [cells_of(forward), cells_of(backward)]
    flags = [Flags(e, forward), Flags(e, backward)]
    # Since tf.keras a Bidirectional that returns sequences zeroes masked outputs, whatever its layers say.
    zero = flags[0].return_sequences if layer.version.is_tf or layer.version.major >= 3 else flags[0].zero
    flags[0].zero = flags[1].zero = zero
    if _alike(sides, flags):
        outs, states = _fused(e, [s[0] for s in sides], x, initial, flags[0], mode)
    else:
        outs, states = _apart(e, sides, x, initial, flags, mode)
    mask = (x.mask or call.inputs[0].mask) if flags[0].return_sequences else None
    return [*(Masked(o, mask) for o in outs), *(Masked(s) for s in states if flags[0].return_state)]


def merge_mode(e: Emit, layer: Layer) -> str | None:
    """How a Bidirectional joins its directions; None gives them apart."""
    mode: str | None = layer.config.take("merge_mode", "concat")
    if mode not in _MERGES:
        raise e.unsupported(f"merge_mode {mode!r}", "expected concat, sum, mul, ave or null")
    return mode


def _alike(sides: list[list[Cell]], flags: list[Flags]) -> bool:
    a, b = sides[0][0], sides[1][0]
    return (
        len(sides[0]) == len(sides[1]) == 1
        and (a.op, a.units, a.reset_after) == (b.op, b.units, b.reset_after)
        and (a.weights.peephole is None) == (b.weights.peephole is None)
        and not flags[0].go_backwards
        and flags[1].go_backwards
    )


def _fused(
    e: Emit, sides: list[Cell], x: Masked, initial: list[Value], flags: Flags, mode: str | None
) -> tuple[list[Value], list[Value]]:
    whole = mode == "concat" and flags.return_sequences
    run = _run(e, sides, x, flags, "bidirectional", initial, "" if whole else "both", flags.zero)
    y = run.frames(e, flags.time_major)
    states = [movement.index(e, s, 0, d) for d in (0, 1) for s in _states(run)] if flags.return_state else []
    if whole:
        return [y], states
    units = sides[0].units
    if flags.return_sequences or (x.mask and initial):
        halves = [e.slice_axis(y, 2, d * units, (d + 1) * units) for d in (0, 1)]
        if not flags.return_sequences:  # the frame a direction processed last: the end forward, the beginning backward
            halves = [movement.index(e, h, flags.time_axis, at) for h, at in zip(halves, (-1, 0))]
        return merge(e, halves, mode), states
    if mode == "concat":
        return [run.last(e)], states
    if mode is None:
        return movement.unstack(e, run.h_n, 0), states
    return [reductions.reduce(e, {"sum": "sum", "mul": "prod", "ave": "mean"}[mode], run.h_n, [0], False)], states


def _apart(
    e: Emit, sides: list[list[Cell]], x: Masked, initial: list[Value], flags: list[Flags], mode: str | None
) -> tuple[list[Value], list[Value]]:
    half = len(initial) // 2
    outs: list[Value] = []
    states: list[Value] = []
    for d, (cells, flag) in enumerate(zip(sides, flags)):
        run, ends = _stack(e, cells, x, flag, initial[half * d : half * (d + 1)], ("forward", "backward")[d])
        if flags[0].return_sequences:
            # Keras flips the backward output once more, so it is in x's order when that layer went backwards
            y = run.frames(e, flag.time_major)
            outs.append(y if flag.go_backwards == bool(d) else movement.flip(e, y, [flag.time_axis]))
        else:
            outs.append(_last(e, run, x, bool(initial), flag))
        states += [movement.squeeze(e, s, [0]) for s in ends if flag.return_state]
    return merge(e, outs, mode), states


def merge(e: Emit, pair: list[Value], mode: str | None) -> list[Value]:
    """The outputs of two directions, joined along the last axis, combined, or as they are."""
    return pair if mode is None else [merged(e, pair, _MERGES[mode])]


def arguments(e: Emit, layer: Layer, call: Call) -> tuple[Masked, list[Value]]:
    """The sequence (with an explicit mask= in place) and the initial states, however the call spelled them."""
    x, *rest = call.inputs
    given = call.kwargs.pop("initial_state", None)
    states = _flat(given) if given is not None else rest
    if given is not None and rest or any(not isinstance(s, Masked) for s in states):
        raise e.unsupported(
            f"initial_state: expected tensors, found {str(given)[:60]}",
            "pass initial states as inputs of the model",
        )
    if _flat(call.kwargs.pop("constants", None)):
        raise e.unsupported("constants of a cell are not supported", "pass them as features of the input")
    mask = call.kwargs.pop("mask", None)
    if isinstance(mask, Masked):
        x = Masked(x.value, mask.value)
    elif states and layer.version.major >= 3 and x.mask:
        # Keras 3 fills in a mask only for a layer that is called on one tensor
        e.note(
            f"{layer.place}: Keras 3 ignores the mask of a sequence that comes with initial states, "
            "and so does the conversion"
        )
        x = Masked(x.value)
    return x, [s.value for s in states]


def _flat(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [v for item in value for v in _flat(item)]
    return [] if value is None else [value]


RULES: dict[str, Rule] = {"Bidirectional": bidirectional, **{cls: recurrent for cls in RECURRENT}}
