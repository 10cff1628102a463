"""Recurrences: rows of the table, and the shapes of their outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..activations import ACTIVATIONS
from ..dims import Dim, Size
from ..int8 import FINE, INPUT_BITS
from ..spec import Attr, Call, Each, OpSpec, Result, Shape, Time, each, integer, integers, number, row, word

# The blocks of rows of w_ih, w_hh and the biases, a letter a gate, in the order they have in the file.
GATES = {"LSTM": "ifgo", "GRU": "rzn", "RNN": "h"}
# What a recurrence starts from, and the output that continues it.
STATES = {"h0": "h_n", "c0": "c_n"}


def axes_of_frames(attrs: Mapping[str, Any]) -> tuple[int, int]:
    """Which axes of a recurrence's x, y and mask are batch and frames."""
    return (1, 0) if attrs.get("time_major") else (0, 1)


def _recurrent(c: Call, projected: Size | None = None) -> tuple[Size, Size, int, int, Size]:
    """Checks what LSTM, GRU and RNN share. Returns B, T, D, H, P."""
    gates = len(GATES[c.node.op])
    x = c.rank("x", 3)
    c.dtype("x", "float32")
    c.flag("time_major")
    c.one_of("input_bits", *INPUT_BITS)
    batch, frames = (x[axis] for axis in axes_of_frames(c.attrs))
    directions = 2 if c.attrs["direction"] == "bidirectional" else 1
    rows = c.rank("w_ih", 3)[1]
    if isinstance(rows, Dim) or rows % gates or rows == 0:
        raise c.fail("rows of w_ih", f"a multiple of {gates}", rows)
    hidden = rows // gates
    fed_back = hidden if projected is None else projected
    c.expect("w_ih", directions, rows, x[2])
    c.expect("w_hh", directions, rows, fed_back)
    _activations_fit(c, directions)
    for key in ("clip", "cell_clip", "proj_clip"):
        if c.attrs.get(key, 0) < 0:
            raise c.fail(f"attribute {key}", "0 or more", c.attrs[key])
    c.expect("lengths", batch, dtype="int32")
    c.expect("mask", *_laid_out(c, batch, frames), dtype="bool")
    return batch, frames, directions, hidden, fed_back


def _activations_fit(c: Call, directions: int) -> None:
    per_direction = len(c.spec.attrs["activations"].default.values)
    activations = each(c.attrs["activations"], directions)
    if len(activations) != per_direction * directions:
        raise c.fail("attribute activations", f"{per_direction * directions} names", activations)
    for key in ("activation_alpha", "activation_beta"):
        if len(each(c.attrs[key], len(activations))) != len(activations):
            raise c.fail(f"attribute {key}", f"{len(activations)} values", c.attrs[key])


def _laid_out(c: Call, batch: Size, frames: Size) -> Shape:
    return (batch, frames) if axes_of_frames(c.attrs) == (0, 1) else (frames, batch)


def _y(c: Call, batch: Size, frames: Size, width: Size) -> tuple[str, Shape]:
    return "float32", (*_laid_out(c, batch, frames), width)


def _lstm(c: Call) -> Result:
    projected = c.rank("w_proj", 3)[1] if c.has("w_proj") else None
    b, t, d, h, p = _recurrent(c, projected)
    c.expect("bias", d, 4 * h)
    c.expect("h0", d, b, p)
    c.expect("c0", d, b, h)
    c.expect("w_proj", d, p, h)
    if c.has("peephole"):
        rows = c.expect("peephole", d, None, h)[1]
        if rows not in (3, 4, 3 * h, 4 * h):
            raise c.fail("rows of input peephole", f"3, 4, {3 * h} or {4 * h}", rows)
    return [_y(c, b, t, d * p), ("float32", (d, b, p)), ("float32", (d, b, h))]


def _gru(c: Call) -> Result:
    b, t, d, h, _ = _recurrent(c)
    c.flag("reset_after")
    c.expect("bias_ih", d, 3 * h)
    c.expect("bias_hh", d, 3 * h)
    c.expect("h0", d, b, h)
    return [_y(c, b, t, d * h), ("float32", (d, b, h))]


def _rnn(c: Call) -> Result:
    b, t, d, h, _ = _recurrent(c)
    c.expect("bias", d, h)
    c.expect("h0", d, b, h)
    return [_y(c, b, t, d * h), ("float32", (d, b, h))]


def _integer_lstm(c: Call) -> Result:
    batch, frames, features = c.rank("x", 3)
    c.dtype("x", "int32")
    rows = c.rank("w_ih", 3)[1]
    gates = len(GATES["LSTM"])
    if isinstance(rows, Dim) or rows % gates or rows == 0:
        raise c.fail("rows of w_ih", f"a multiple of {gates}", rows)
    hidden = rows // gates
    width = c.rank("w_proj", 3)[1] if c.has("w_proj") else hidden
    shapes = {
        "w_ih": (1, rows, features),
        "w_hh": (1, rows, width),
        "bias": (1, rows),
        "h0": (1, batch, width),
        "c0": (1, batch, hidden),
        "peephole": (1, 3, hidden),
        "norm": (1, gates, hidden),
        "w_proj": (1, width, hidden),
        "b_proj": (1, width),
    }
    for name, shape in shapes.items():
        c.expect(name, *shape, dtype="int32")
    for key, count in {"x_scale": 4, "h_scale": 4, "peephole_scale": 3, "norm_scale": 4}.items():
        if len(c.attrs[key]) != count or not all(0 <= v < 2**30 for v in c.attrs[key]):
            raise c.fail(f"attribute {key}", f"{count} numbers of 0 or more, below 2^30", c.attrs[key])
    for key in ("hidden_scale", "proj_scale"):
        if not 0 <= c.attrs[key] < 2**30:
            raise c.fail(f"attribute {key}", "a number of 0 or more, below 2^30", c.attrs[key])
    for key in ("hidden_bounds", "state_bounds"):
        bounds = c.attrs[key]
        if len(bounds) != 2 or not -255 <= bounds[0] <= bounds[1] <= 255:
            raise c.fail(f"attribute {key}", "the least and the most, -255 to 255", bounds)
    for key, low, high in (("cell_bits", 9, 15), ("cell_limit", 0, 2**15 - 1)):
        if not low <= c.attrs[key] <= high:
            raise c.fail(f"attribute {key}", f"{low} to {high}", c.attrs[key])
    shapes_out = ((batch, frames, width), (1, batch, width), (1, batch, hidden))
    return [("int32", shape) for shape in shapes_out]


def _conv_lstm(c: Call) -> Result:
    x = c.rank("x", 4, 5)
    c.dtype("x", "float32")
    rows, hidden, *_ = c.rank("w_hh", len(x) - 1)
    gates = len(GATES["LSTM"])
    if isinstance(rows, Dim) or rows == 0 or rows != gates * hidden:
        raise c.fail("rows of w_hh", f"{gates} for each of {hidden} channels", rows)
    c.equal(rows, x[-1], "channels of x", rows, x[-1])
    _activations_fit(c, 1)
    state = (1, x[0], *x[2:-1], hidden)
    c.expect("h0", *state)
    c.expect("c0", *state)
    return [("float32", (*x[:-1], hidden)), ("float32", state), ("float32", state)]


def _gate_activations(*activations: str) -> dict[str, Attr]:
    return {
        "activations": Attr("strs", Each(activations), ACTIVATIONS),
        "activation_alpha": Attr("floats", Each((0.0,))),
        "activation_beta": Attr("floats", Each((0.0,))),
    }


def _attributes(*activations: str) -> dict[str, Attr]:
    return {
        "direction": word(("forward", "reverse", "bidirectional"), "forward"),
        "time_major": integer(0),
        **_gate_activations(*activations),
        "clip": number(0.0),
        "masked_output": word(("previous", "zero"), "previous"),
        "input_bits": integer(FINE),
    }


RECURS = Time("recurs")
_WEIGHTS = {"w_ih": 2, "w_hh": 2}

OPS: dict[str, OpSpec] = {
    "LSTM": row(
        "x w_ih w_hh bias? h0? c0? lengths? mask? peephole? w_proj?",
        "y h_n? c_n?",
        _lstm,
        RECURS,
        _attributes("sigmoid", "sigmoid", "tanh", "sigmoid", "tanh"),
        weights={**_WEIGHTS, "w_proj": 2},
        coupled=word(("none", "f=1-i", "i=1-f"), "none"),
        cell_clip=number(0.0),
        proj_clip=number(0.0),
    ),
    "GRU": row(
        "x w_ih w_hh bias_ih? bias_hh? h0? lengths? mask?",
        "y h_n?",
        _gru,
        RECURS,
        _attributes("sigmoid", "sigmoid", "tanh"),
        weights=_WEIGHTS,
        reset_after=integer(1),
    ),
    "IntegerLSTM": row(
        "x w_ih w_hh bias? h0? c0? peephole? norm? w_proj? b_proj?",
        "y h_n? c_n?",
        _integer_lstm,
        RECURS,
        x_scale=Attr("floats"),
        h_scale=Attr("floats"),
        peephole_scale=Attr("floats"),
        norm_scale=Attr("floats"),
        hidden_scale=number(),
        proj_scale=number(),
        hidden_bounds=integers(),
        state_bounds=integers(),
        cell_bits=integer(),
        cell_limit=integer(0),
        coupled=word(("none", "i=1-f"), "none"),
    ),
    "ConvLSTM": row(
        "x w_hh h0? c0?",
        "y h_n? c_n?",
        _conv_lstm,
        RECURS,
        _gate_activations("sigmoid", "sigmoid", "tanh", "sigmoid", "tanh"),
        weights={"w_hh": 1},
    ),
    "RNN": row("x w_ih w_hh bias? h0? lengths? mask?", "y h_n?", _rnn, RECURS, _attributes("tanh"), weights=_WEIGHTS),
}

RECURRENT = tuple(OPS)  # every op that runs over frames; those of GATES are the cells that the algebra knows
