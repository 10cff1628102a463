"""The recurrent layers of a network description: any gate order and layout, packed or gate by gate, to the core's."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.dims import Dim
from ...ir.ops import GATES
from ..dialect import Value, movement
from ..dialect.activations import Activation, activation
from ..dialect.recurrences import ALIASES, KERAS_GATES, PEEPHOLES, Weights, from_cudnn, merged, recurrence
from .keys import Keys
from .layers import column_major, source
from .tensors import Network
from .torch_names import RECURRENT

DEFAULT_ACTIVATIONS = {
    "LSTM": {"i": "sigmoid", "f": "sigmoid", "g": "tanh", "o": "sigmoid", "h": "tanh"},
    "GRU": {"r": "sigmoid", "z": "sigmoid", "n": "tanh"},
    "RNN": {"h": "tanh"},
}
PARAMETERS = ("kernel", "recurrent", "bias", "recurrent_bias", "projection")
KERAS_NAMES = {"kernel": "kernel", "recurrent_kernel": "recurrent", "bias": "bias"}
TORCH_ROLES = {
    "weight_ih": "kernel",
    "weight_hh": "recurrent",
    "weight_hr": "projection",
    "bias_ih": "bias",
    "bias_hh": "recurrent_bias",
}
DIRECTIONS = ("forward", "reverse", "bidirectional")
MERGES = ("concat", "sum", "mul", "average")
Parts = dict[str, Any]  # parameter -> name of an array, or a table gate -> name


class _Reader:
    """One layer's way of keeping weights: gate order, layout, joined kernels."""

    def __init__(self, net: Network, k: Keys, op: str):
        self.net, self.k, self.op = net, k, op
        self.columns = column_major(net, k)
        default = KERAS_GATES[op] if net.convention == "keras" else GATES[op]
        self.joined = k.word("joined", ("xh", "hx"), None)
        self.coupled = k.word("coupled", ("none", "f=1-i", "i=1-f"), "none") if op == "LSTM" else "none"
        self.optional = self.coupled[0] if self.coupled != "none" else ""  # the gate whose weights are not read
        self.gates = self._order("gates", default)
        self.forget_bias = k.number("forget_bias", 0) if op == "LSTM" else 0
        self.peephole_gates = k.text_of("peephole_gates", None) if op == "LSTM" else None
        self.reset_after = k.flag("reset_after", None) if op == "GRU" else None

    def gate(self, letter: str, key: str) -> str:
        made = ALIASES[self.op].get(letter, letter)
        if made not in GATES[self.op]:
            self.k.fail(f"{key}: {letter!r} is no gate, expected letters of {GATES[self.op]}", key)
        return made

    def _order(self, key: str, default: str) -> str:
        given = self.k.text_of(key, default)
        order = "".join(self.gate(c, key) for c in given)
        wanted = set(GATES[self.op])
        if len(set(order)) != len(order) or not wanted - set(self.optional) <= set(order):
            self.k.fail(f"{key} = {given!r}: expected each of {GATES[self.op]} once", key)
        return order

    def blocks(self, value: Any, key: str, gates: str, rank: int) -> dict[str, np.ndarray]:
        """gate -> its rows: (H, K), or (H,) for rank 1."""
        if isinstance(value, dict):
            return {self.gate(g, key): self._rows(name, key, rank) for g, name in value.items()}
        rows = self._rows(value, key, rank)
        if len(rows) % len(gates):
            self.k.fail(
                f"{key}: expected a multiple of {len(gates)} rows (gates {gates}), found shape {rows.shape}", key
            )
        return dict(zip(gates, np.split(rows, len(gates))))

    def _rows(self, name: Any, key: str, rank: int) -> np.ndarray:
        array = self.net.array(name, self.k, key)
        if array.ndim != rank:
            array = array.reshape(-1) if rank == 1 and array.size == max(array.shape, default=0) else array
        if array.ndim != rank:
            self.k.fail(f"{key}: expected {rank} axes, found shape {array.shape} of {name!r}", key)
        return array.T if self.columns and rank == 2 else array

    def core(self, blocks: dict[str, np.ndarray], key: str, order: str = "") -> np.ndarray:
        """The blocks one below the other in the core's order; a coupled gate's may be missing."""
        order = order or GATES[self.op]
        missing = [g for g in order if g not in blocks and g not in self.optional]
        shapes = {b.shape for b in blocks.values()}
        if missing or len(shapes) != 1:
            self.k.fail(
                f"{key}: expected gates {order} of one shape, found { ({g: b.shape for g, b in blocks.items()}) }", key
            )
        zeros = np.zeros(shapes.pop(), np.float32)
        return np.concatenate([np.asarray(blocks.get(g, zeros), np.float32) for g in order])

    def weights(self, parts: Parts, peephole: Any, width: int) -> Weights:
        if self._is_cudnn(parts):
            return self._from_cudnn(parts)
        w_ih = self.core(self.blocks(parts.get("kernel"), "kernel", self.gates, 2), "kernel")
        hidden = len(w_ih) // len(GATES[self.op])
        if self.joined:
            if parts.get("recurrent") is not None:
                self.k.fail("recurrent: a joined kernel holds it already", "recurrent")
            cut = width if self.joined == "xh" else w_ih.shape[1] - width
            first, second = w_ih[:, :cut], w_ih[:, cut:]
            w_ih, w_hh = (first, second) if self.joined == "xh" else (second, first)
        else:
            if parts.get("recurrent") is None:
                self.k.fail("recurrent is missing; where one kernel holds both, write joined = 'xh' or 'hx'")
            w_hh = self.core(self.blocks(parts.get("recurrent"), "recurrent", self.gates, 2), "recurrent")
        return Weights(
            w_ih,
            w_hh,
            *self._biases(parts, hidden),
            peephole=None if peephole is None else self._peephole(peephole, hidden),
            projection=None if parts.get("projection") is None else self._rows(parts["projection"], "projection", 2),
        )

    def _is_cudnn(self, parts: Parts) -> bool:
        """Whether the arrays are CuDNNLSTM's or CuDNNGRU's: they say so by one bias that holds both."""
        named = [parts.get(key) for key in ("recurrent", "bias")]
        recurrent, bias = (self.net.arrays.get(name) if isinstance(name, str) else None for name in named)
        if self.op == "RNN" or recurrent is None or bias is None or not self.columns or recurrent.ndim != 2:
            return False
        return bias.shape == (2 * len(GATES[self.op]) * recurrent.shape[0],)

    def _from_cudnn(self, parts: Parts) -> Weights:
        arrays = (self.net.array(parts[key], self.k, key) for key in ("kernel", "recurrent", "bias"))
        try:
            kernel, recurrent, bias = from_cudnn(self.op, *arrays)
        except ValueError as why:
            self.k.fail(str(why))
        self.reset_after = True
        self.net.note(f"{self.k.place}: kernels in cuDNN's layout, as its bias of {bias.size} says")
        w_ih, w_hh, *biases = (self._packed(rows) for rows in (kernel.T, recurrent.T, *np.atleast_2d(bias)))
        return Weights(w_ih, w_hh, *biases)

    def _packed(self, rows: np.ndarray) -> np.ndarray:
        """Rows of all gates, in the order that the layer says, in the core's."""
        return self.core(dict(zip(self.gates, np.split(rows, len(self.gates)))), "gates")

    def _biases(self, parts: Parts, hidden: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The input's and the state's."""
        pair = self._pair(parts.get("bias"))
        bias, other = pair or (self._bias(parts.get(key), key) for key in ("bias", "recurrent_bias"))
        if self.op == "GRU":
            self._settle_reset(bias, other)
        if self.forget_bias:
            added = self.core({g: np.full(hidden, self.forget_bias * (g == "f")) for g in GATES["LSTM"]}, "forget_bias")
            return sum((part for part in (bias, other) if part is not None), np.float32(0)) + added, None
        return bias, other

    def _bias(self, value: Any, key: str) -> np.ndarray | None:
        return None if value is None else self.core(self.blocks(value, key, self.gates, 1), key)

    def _pair(self, value: Any) -> list[np.ndarray] | None:
        """Both biases of a Keras GRU, two rows of one array; None where it is none."""
        array = self.net.arrays.get(value) if isinstance(value, str) else None
        if self.op != "GRU" or array is None or array.ndim != 2 or len(array) != 2:
            return None
        rows = self.net.array(value, self.k, "bias")
        return [self._packed(b) for b in rows]

    def _settle_reset(self, bias: np.ndarray | None, other: np.ndarray | None) -> None:
        """Where it is not said: torch always, Keras when the bias has two rows."""
        if self.reset_after is None and self.net.convention == "keras" and bias is None:
            self.k.fail("reset_after is missing: without a bias nothing shows it")
        if self.reset_after is None:
            self.reset_after = self.net.convention == "torch" or other is not None

    def _peephole(self, value: Any, hidden: int) -> np.ndarray:
        """Rows i, f, o and, where it is given, g."""
        if isinstance(value, str):
            array = np.asarray(self.net.array(value, self.k, "peephole"), np.float32)
            order = self._order_of_peephole(array, hidden)
            if array.size == len(order) * hidden:
                array = array.reshape(len(order), hidden)
            elif self.columns:
                array = array.T
            blocks = dict(zip(order, np.split(array, len(order))))
        elif isinstance(value, dict):
            blocks = {self.gate(g, "peephole"): self._diagonal_or_full(name, hidden) for g, name in value.items()}
        else:
            self.k.fail(f"peephole: expected the name of an array or a table by gate, found {value!r}", "peephole")
        return self.core(blocks, "peephole", PEEPHOLES if "g" in blocks else PEEPHOLES[:3])

    def _order_of_peephole(self, array: np.ndarray, hidden: int) -> str:
        full = array.ndim == 2 and hidden in array.shape and array.size % hidden**2 == 0 and array.size > 4 * hidden
        count = array.size // (hidden**2 if full else hidden)
        order = "".join(self.gate(c, "peephole_gates") for c in self.peephole_gates or PEEPHOLES[:count])
        if len(order) != count or array.size != count * hidden * (hidden if full else 1):
            self.k.fail(f"peephole: shape {array.shape} does not hold gates {order} of {hidden} cells", "peephole")
        return order

    def _diagonal_or_full(self, name: Any, hidden: int) -> np.ndarray:
        array = np.asarray(self.net.array(name, self.k, "peephole"), np.float32)
        if array.size == hidden:
            return array.reshape(1, hidden)
        if array.shape != (hidden, hidden):
            self.k.fail(f"peephole: expected ({hidden},) or ({hidden}, {hidden}), found {array.shape}", "peephole")
        return array.T if self.columns else array


def recurrent(net: Network, k: Keys, op: str) -> Value:
    """An lstm, gru or rnn layer; its last states get the names name.h and name.c."""
    x, name = source(net, k), net.node_name
    shape = net.shape(x)
    if len(shape) != 3 or isinstance(shape[2], Dim):
        k.fail(f"expected to read (batch, frames, features), found shape {shape}")
    reader = _Reader(net, k, op)
    levels, direction = _levels(net, k, k.word("direction", DIRECTIONS, None))
    count = 2 if direction == "bidirectional" else 1
    peepholes = _per_direction(k, "peephole", k.take("peephole", None) if op == "LSTM" else None, count)
    options = _options(k, op, reader)
    initial = [_initial(net, k, f"initial_{s}") for s in ("hc" if op == "LSTM" else "h")]
    if len(levels) > 1 and (any(i is not None for i in initial) or any(p is not None for p in peepholes)):
        k.fail(
            f"{len(levels)} levels below one prefix: write one layer per level to give them initial states or peepholes"
        )
    merge, returns = k.word("merge", MERGES, "concat"), k.word("returns", ("every", "last"), "every")
    for n, parts in enumerate(levels):
        width = movement.fixed_sizes(net, net.shape(x)[-1:], "features of sizes")[0]
        cells = [reader.weights(p, q, width) for p, q in zip(parts, peepholes)]
        if op == "GRU":
            options["reset_after"] = bool(reader.reset_after)
        net.node_name = name if n == len(levels) - 1 else f"{name}.{n}"
        made = recurrence(net, op, x, cells, direction=direction, initial=initial if n == 0 else (), **options)
        x = made.frames(net, time_major=False)
    if reader.forget_bias:
        net.notes.append(f"layer {name}: {reader.forget_bias:g} added to the forget gate's bias")
    net.named[f"{name}.h"] = made.h_n
    if made.c_n is not None:
        net.named[f"{name}.c"] = made.c_n
    if returns == "last":
        x = made.last(net)
    return _merged(net, x, merge) if count == 2 else x


def _options(k: Keys, op: str, reader: _Reader) -> dict[str, Any]:
    given = k.take("activations", {})
    if not isinstance(given, dict):
        k.fail(f"activations: expected a table such as {{g = 'relu'}}, found {given!r}", "activations")
    table = dict(DEFAULT_ACTIVATIONS[op])
    for letter, value in given.items():
        letter = letter if op == "LSTM" and letter == "h" else reader.gate(letter, "activations")
        table[letter] = value
    acts: list[Activation] = [activation(v, f"{k.place}: activations.{g}") for g, v in table.items()]
    options: dict[str, Any] = {"activations": acts, "clip": float(k.number("clip", 0))}
    if op == "LSTM":
        options |= {"coupled": reader.coupled, "cell_clip": float(k.number("cell_clip", 0))}
        options["proj_clip"] = float(k.number("projection_clip", 0))
    return options


def _initial(net: Network, k: Keys, key: str) -> np.ndarray | Value | None:
    """An input or layer (B,H) or (D,B,H), or an array of the weights."""
    name = k.text_of(key, None)
    if name is None:
        return None
    return net.named[name] if name in net.named else net.array(name, k, key)


def _merged(net: Network, x: Value, merge: str) -> Value:
    """The two directions, now side by side in the last axis, as `merge` says."""
    if merge == "concat":
        return x
    axis = len(net.shape(x)) - 1
    return merged(net, movement.split(net, x, axis, movement.equal_parts(net, net.shape(x)[axis], 2)), merge)


# ---- names -----------------------------------------------------------------------------------------------------------


def _levels(net: Network, k: Keys, direction: str | None) -> tuple[list[list[Parts]], str]:
    """Per level of a stack and direction, the names of its arrays; and the direction."""
    prefix = k.take("weights", None)
    if prefix is None:
        direction = direction or "forward"
        count = 2 if direction == "bidirectional" else 1
        values = {p: _per_direction(k, p, k.take(p, None), count) for p in PARAMETERS}
        return [[_complete(k, {p: v[d] for p, v in values.items()}) for d in range(count)]], direction
    both = isinstance(prefix, list)
    if both and (direction != "bidirectional" or len(prefix) != 2):
        k.fail("weights: two prefixes are for direction = 'bidirectional'", "weights")
    found: dict[tuple[int, int], Parts] = {}
    for d, one in enumerate(prefix if both else [prefix]):
        if not isinstance(one, str):
            k.fail(f"weights: expected a prefix, found {one!r}", "weights")
        for part, name in net.under(one, k).items():
            match = RECURRENT.match(part)
            if match:
                level, backwards = int(match[3] or 0), d or int(bool(match[4]))
                found.setdefault((level, backwards), {})[TORCH_ROLES[f"{match[1]}_{match[2]}"]] = name
            elif part in KERAS_NAMES:
                found.setdefault((0, d), {})[KERAS_NAMES[part]] = name
            else:
                k.fail(f"weights = {one!r}: {name!r} is none of a recurrence's arrays; name them one by one", "weights")
    count = 1 + max(d for _, d in found)
    if direction is None:
        direction = "bidirectional" if count == 2 else "forward"
    if (direction == "bidirectional") != (count == 2):
        k.fail(f"direction = {direction!r}, but the arrays are those of {count} direction(s)", "direction")
    levels = 1 + max(n for n, _ in found)
    for n in range(levels):
        for d in range(count):
            if (n, d) not in found:
                k.fail(f"weights: the arrays of level {n}, direction {d} are missing", "weights")
    return [[_complete(k, found[n, d]) for d in range(count)] for n in range(levels)], direction


def _complete(k: Keys, parts: Parts) -> Parts:
    if parts.get("kernel") is None:
        k.fail("kernel is missing: name the arrays, or a prefix with weights")
    return parts


def _per_direction(k: Keys, key: str, value: Any, count: int) -> list[Any]:
    """One value per direction: a list of two where there are two."""
    if value is None:
        return [None] * count
    if count == 1 and not isinstance(value, list):
        return [value]
    if not isinstance(value, list) or len(value) != count:
        k.fail(f"{key}: expected {'a list [forward, backward]' if count == 2 else 'one name'}, found {value!r}", key)
    return value
