"""Reads a recurrent cell out of the arithmetic that spells it.

Every tensor of a loop's body is written as an affine map of atoms: frames, carried states, and the results of what is
not linear (activations, products, selections). However a cell is spelt, with gates together or apart, weights joined or
split, biases added early or late, its gates then have the same few forms.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...ir.dims import Dim, Size, product
from ...ir.graph import Graph, Node
from ...ir.ops import ACTIVATIONS, each, read_attrs

INFINITY = float("inf")


class NotACell(Exception):
    """Why the arithmetic is no LSTM, GRU or RNN that this module knows."""


Coefficient = float | np.ndarray  # a number stands for that multiple of the identity


@dataclass
class Affine:
    """sum of terms[a] @ a, plus bias; `n` rows."""

    n: int
    terms: dict[str, Coefficient]
    bias: np.ndarray  # float64 (n,)

    def is_atom(self, factor: float = 1.0) -> str | None:
        """The atom this is `factor` times of, nothing added; None otherwise."""
        if len(self.terms) != 1 or np.any(self.bias):
            return None
        ((atom, c),) = self.terms.items()
        return atom if not isinstance(c, np.ndarray) and c == factor else None

    def same(self, other: Affine) -> bool:
        return (
            self.n == other.n
            and self.terms.keys() == other.terms.keys()
            and np.array_equal(self.bias, other.bias)
            and all(_same(c, other.terms[a]) for a, c in self.terms.items())
        )


class Act(NamedTuple):
    kind: str
    alpha: float
    beta: float
    arg: Affine


class Product(NamedTuple):
    a: Affine
    b: Affine


class Choice(NamedTuple):
    condition: str
    a: Affine
    b: Affine


class Gate(NamedTuple):
    """act(pre) with the names and parameters of docs/ops.md."""

    act: str
    alpha: float
    beta: float
    pre: Affine


@dataclass
class Cell:
    """A recurrence: weights with the direction axis, optional inputs by name, and which carried tensor is what."""

    op: str
    w_ih: np.ndarray
    w_hh: np.ndarray
    arrays: dict[str, np.ndarray]
    attrs: dict[str, Any]
    frames: list[str]
    widths: dict[str, int]
    hidden: int
    h: str
    c: str = ""
    mask: str = ""
    roles: dict[str, str] = field(default_factory=dict)  # carried tensor -> 'h' or 'c': what it holds after the loop
    previous: list[str] = field(default_factory=list)  # carried tensors that repeat masked outputs


def _same(a: Coefficient, b: Coefficient) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.array_equal(a, b)
    return a == b


def _matrix(c: Coefficient, n: int) -> np.ndarray:
    return c if isinstance(c, np.ndarray) else c * np.eye(n)


# ---- arithmetic on affine maps ---------------------------------------------------------------------------------------


def _sum(a: Affine, b: Affine, sign: float = 1.0) -> Affine:
    terms = dict(a.terms)
    for atom, c in b.terms.items():
        c = sign * c
        if atom in terms:
            old = terms[atom]
            both = (
                old + c
                if isinstance(old, np.ndarray) == isinstance(c, np.ndarray)
                else _matrix(old, a.n) + _matrix(c, a.n)
            )
            terms[atom] = both
        else:
            terms[atom] = c
    return Affine(a.n, {k: c for k, c in terms.items() if isinstance(c, np.ndarray) or c != 0}, a.bias + sign * b.bias)


def _scaled(a: Affine, factor: np.ndarray) -> Affine:
    """a times a constant vector (n,)."""
    if np.all(factor == factor[0]):
        s = float(factor[0])
        return Affine(a.n, {k: s * c for k, c in a.terms.items()}, s * a.bias)
    return Affine(a.n, {k: factor[:, None] * _matrix(c, a.n) for k, c in a.terms.items()}, factor * a.bias)


def _mapped(weight: np.ndarray, a: Affine) -> Affine:
    """weight @ a."""
    terms: dict[str, Coefficient] = {
        k: weight @ c if isinstance(c, np.ndarray) else weight * c for k, c in a.terms.items()
    }
    return Affine(weight.shape[0], terms, weight @ a.bias)


def _rows(a: Affine, rows: slice) -> Affine:
    picked = range(*rows.indices(a.n))
    if len(picked) == a.n and picked.step == 1:
        return a
    return Affine(len(picked), {k: _matrix(c, a.n)[rows] for k, c in a.terms.items()}, a.bias[rows])


def _stacked(parts: list[Affine]) -> Affine:
    n = sum(p.n for p in parts)
    terms: dict[str, Coefficient] = {}
    start = 0
    for p in parts:
        for atom, c in p.terms.items():
            matrix = _matrix(c, p.n)
            whole = terms.setdefault(atom, np.zeros((n, matrix.shape[1])))
            assert isinstance(whole, np.ndarray)
            whole[start : start + p.n] = matrix
        start += p.n
    return Affine(n, terms, np.concatenate([p.bias for p in parts]))


# ---- reading the graph -----------------------------------------------------------------------------------------------


class Reader:
    """Affine maps of a body's tensors, made when asked for."""

    def __init__(self, graph: Graph, batch: Size):
        self.graph, self.batch = graph, batch
        self.producers = {o: n for n in graph.nodes for o in n.outputs if o}
        self.made: dict[str, Affine] = {}
        self.atoms: dict[str, Act | Product | Choice] = {}

    def of(self, tensor: str) -> Affine:
        if tensor not in self.made:
            self.made[tensor] = self._read(tensor)
        return self.made[tensor]

    def width(self, tensor: str) -> int:
        """Elements per sequence of the batch."""
        shape = self.graph.shape(tensor)
        rest = product(shape) if self.batch == 1 else product(shape[1:])
        if isinstance(rest, Dim) or self.batch != 1 and (not shape or shape[0] != self.batch):
            raise NotACell(f"its tensor {tensor!r} of shape {list(shape)} is no vector per sequence")
        return int(rest)

    def _atom(self, tensor: str, definition: Act | Product | Choice | None = None) -> Affine:
        n = self.width(tensor)
        if definition is not None:
            self.atoms[tensor] = definition
        return Affine(n, {tensor: 1.0}, np.zeros(n))

    def constant(self, tensor: str) -> np.ndarray | None:
        data = self.graph.tensors[tensor].data
        return None if data is None else data.astype(np.float64)

    def _read(self, tensor: str) -> Affine:
        node = self.producers.get(tensor)
        data = self.constant(tensor)
        if data is not None:
            return Affine(data.size, {}, self._vector(data, data.size))
        if node is None:
            return self._atom(tensor)
        reader = getattr(self, f"_{node.op.lower()}", None)
        if reader is None:
            raise NotACell(f"it computes {node.op} ({node.name})")
        return reader(node, read_attrs(node))

    def _vector(self, data: np.ndarray, n: int) -> np.ndarray:
        """A constant as a vector (n,), the same for every sequence."""
        if data.size == 1:
            return np.full(n, data.reshape(-1)[0])
        if data.size == n:
            return data.reshape(n)
        rows = data.reshape(-1, n) if n and data.size % n == 0 else data[None]
        if rows.shape[-1] != n or np.any(rows != rows[0]):
            raise NotACell(f"a constant of shape {list(data.shape)} meets {n} values per sequence")
        return rows[0]

    def _single(self, tensor: str, n: int) -> Affine:
        """`tensor` as n rows: a scalar constant is repeated."""
        data = self.constant(tensor)
        if data is not None:
            return Affine(n, {}, self._vector(data, n))
        found = self.of(tensor)
        if found.n != n:
            raise NotACell(f"{found.n} values meet {n}")
        return found

    def _axis(self, tensor: str, axis: int) -> None:
        """Checks that `axis` holds all the values of a sequence."""
        shape = self.graph.shape(tensor)
        if shape[axis] != self.width(tensor):
            raise NotACell(f"axis {axis} of {list(shape)} does not hold a whole vector")

    # ---- one method per op, called by its name ---------------------------------------------------------------------

    def _dense(self, node: Node, attrs: dict[str, Any]) -> Affine:
        weight = self.constant(node.inputs[1])
        x = self.of(node.inputs[0])
        if weight is None or attrs["activation"] != "linear" or weight.shape[1] != x.n:
            raise NotACell(f"its product {node.name} is by no constant")
        out = _mapped(weight, x)
        if len(node.inputs) > 2 and node.inputs[2]:
            out = _sum(out, self._single(node.inputs[2], out.n))
        return out

    def _unary(self, node: Node, attrs: dict[str, Any]) -> Affine:
        kind, x = attrs["kind"], self.of(node.inputs[0])
        if kind == "linear":
            return x
        if kind == "neg":
            return _scaled(x, np.full(x.n, -1.0))
        inner = self.atoms.get(x.is_atom() or "")
        if kind == "relu" and isinstance(inner, Act) and inner.kind == "clip":
            return self._clipped(node.outputs[0], x, "max", np.zeros(x.n))
        return self._atom(node.outputs[0], Act(kind, attrs["alpha"], attrs["beta"], x))

    def _binary(self, node: Node, attrs: dict[str, Any]) -> Affine:
        kind, out = attrs["kind"], node.outputs[0]
        n = self.width(out)
        a, b = (self._single(i, n) for i in node.inputs)
        if kind in ("add", "sub"):
            return _sum(a, b, 1.0 if kind == "add" else -1.0)
        if kind == "mul" and not (a.terms and b.terms):
            return _scaled(a, b.bias) if a.terms else _scaled(b, a.bias)
        if kind == "mul":
            return self._atom(out, Product(a, b))
        if kind == "div" and not b.terms:
            return _scaled(a, 1.0 / b.bias)
        if kind in ("min", "max") and not (a.terms and b.terms):
            x, bound = (a, b.bias) if a.terms else (b, a.bias)
            return self._clipped(out, x, kind, bound)
        raise NotACell(f"it computes {kind} of two values ({node.name})")

    def _clipped(self, out: str, x: Affine, kind: str, bound: np.ndarray) -> Affine:
        if np.any(bound != bound[0]):
            raise NotACell("its bounds differ by unit")
        low, high = (float(bound[0]), INFINITY) if kind == "max" else (-INFINITY, float(bound[0]))
        inner = self.atoms.get(x.is_atom() or "")
        if isinstance(inner, Act) and inner.kind in ("clip", "relu"):
            was = (0.0, INFINITY) if inner.kind == "relu" else (inner.alpha, inner.beta)
            return self._atom(out, Act("clip", max(low, was[0]), min(high, was[1]), inner.arg))
        return self._atom(out, Act("clip", low, high, x))

    def _where(self, node: Node, attrs: dict[str, Any]) -> Affine:
        n = self.width(node.outputs[0])
        return self._atom(
            node.outputs[0], Choice(self._source(node.inputs[0]), *(self._single(i, n) for i in node.inputs[1:]))
        )

    def _source(self, tensor: str) -> str:
        """The tensor behind reshapes and casts."""
        node = self.producers.get(tensor)
        while node is not None and node.op in ("Reshape", "Cast", "Expand"):
            tensor = node.inputs[0]
            node = self.producers.get(tensor)
        return tensor

    def _reshape(self, node: Node, attrs: dict[str, Any]) -> Affine:
        before, after = (self.width(t) for t in (node.inputs[0], node.outputs[0]))
        if before != after:
            raise NotACell(f"its reshape {node.name} mixes sequences")
        return self.of(node.inputs[0])

    def _slice(self, node: Node, attrs: dict[str, Any]) -> Affine:
        x = self.of(node.inputs[0])
        for axis, start, end, step in zip(
            attrs["axes"], attrs["starts"], attrs["ends"], each(attrs["steps"], len(attrs["axes"]))
        ):
            self._axis(node.inputs[0], axis)
            x = _rows(x, slice(start, end, step))
        return x

    def _concat(self, node: Node, attrs: dict[str, Any]) -> Affine:
        self._axis(node.outputs[0], attrs["axis"])
        return _stacked([self.of(i) for i in node.inputs])

    # ---- forms -----------------------------------------------------------------------------------------------------

    def gate(self, x: Affine) -> Gate:
        """x as an activation of an affine map; linear where it is that map itself."""
        if len(x.terms) == 1 and not np.any(x.bias):
            ((atom, c),) = x.terms.items()
            act = self.atoms.get(atom)
            if isinstance(act, Act) and not isinstance(c, np.ndarray):
                found = _activation(act, c)
                if found is not None:
                    return found
        return Gate("linear", 0.0, 0.0, x)

    def products(self, x: Affine) -> list[Product] | None:
        """The products that x is the plain sum of."""
        if np.any(x.bias) or any(isinstance(c, np.ndarray) or c != 1 for c in x.terms.values()):
            return None
        found = [self.atoms.get(a) for a in x.terms]
        return [p for p in found if isinstance(p, Product)] if all(isinstance(p, Product) for p in found) else None


def _activation(act: Act, factor: float) -> Gate | None:
    if act.kind == "relu6" and abs(6 * factor - 1) < 1e-6:
        return Gate("hard_sigmoid", factor, 0.0, act.arg)
    if act.kind == "clip" and act.alpha == 0 and abs(act.beta * factor - 1) < 1e-6:
        return Gate("hard_sigmoid", factor, 0.0, act.arg)
    if act.kind == "tanh" and factor != 1:
        return Gate("scaled_tanh", factor, 1.0, act.arg)
    if factor == 1 and act.kind in ACTIVATIONS:
        return Gate(act.kind, act.alpha, act.beta, act.arg)
    return None


# ---- the cells -------------------------------------------------------------------------------------------------------


def find_cell(
    graph: Graph, states: dict[str, str], frames: set[str], written: dict[int, str], unread: set[str]
) -> Cell:
    """The cell that a body spells. states: carried tensor -> its new value; written: what each trip adds to the
    outputs; unread: carried tensors that may not be read. NotACell says why there is none.
    """
    shapes = [graph.shape(s) for s in states if graph.tensors[s].dtype == "float32"]
    if not shapes:
        raise NotACell("it carries no state")
    batch = next((s[0] for s in shapes if len(s) > 1), 1)
    reader = Reader(graph, batch)
    new = {name: reader.of(tensor) for name, tensor in states.items()}
    new, mask, outputs = _unmasked(reader, new, {k: reader.of(t) for k, t in written.items()})
    cell = _first(reader, new, frames)
    if set(cell.widths) & (unread | set(states)):
        raise NotACell("its gates read what it carries")
    cell.mask = mask
    _assign_roles(cell, reader, new, outputs, mask)
    return cell


def _first(reader: Reader, new: dict[str, Affine], frames: set[str]) -> Cell:
    why = "its states follow no known cell"
    for h in new:
        for make in (_lstm, _gru, _rnn):
            try:
                return make(reader, h, new, frames)
            except NotACell as e:
                why = str(e) if make is not _rnn or len(new) == 1 else why
    raise NotACell(why)


def _unmasked(
    reader: Reader, new: dict[str, Affine], outputs: dict[int, Affine]
) -> tuple[dict[str, Affine], str, dict[int, Affine]]:
    """States without 'where the mask is 0 keep the old one', and the mask; the outputs as they are."""
    masks = set()
    inner = {}
    repeats = {}
    for name, value in new.items():
        choice = reader.atoms.get(value.is_atom() or "")
        before = choice.b.is_atom() if isinstance(choice, Choice) else None
        if isinstance(choice, Choice) and before in new:
            masks.add(choice.condition)
            inner[name] = choice.a
            repeats[name] = before
    if not inner:
        return new, "", outputs
    if len(masks) != 1 or len(inner) != len(new):
        raise NotACell("its states are masked differently")
    for name, before in repeats.items():  # what is kept is the state itself, or one that ends as the same
        if before is None or repeats[before] != before or not inner[before].same(inner[name]):
            raise NotACell("its states keep each other's values where they are masked")
    return inner, masks.pop(), outputs


def _assign_roles(cell: Cell, reader: Reader, new: dict[str, Affine], outputs: dict[int, Affine], mask: str) -> None:
    """Which carried tensors end as h and which as c; checks that what is written is h."""
    for name, value in new.items():
        if value.same(new[cell.h]):
            cell.roles[name] = "h"
        elif cell.c and value.same(new[cell.c]):
            cell.roles[name] = "c"
        else:
            raise NotACell(f"it carries {name}, which is neither its hidden nor its cell state")
    for value in outputs.values():
        if not mask:
            if not value.same(new[cell.h]):
                raise NotACell("its outputs are not its hidden state")
            continue
        choice = reader.atoms.get(value.is_atom() or "")
        if not isinstance(choice, Choice) or choice.condition != mask or not choice.a.same(new[cell.h]):
            raise NotACell("its outputs are not its masked hidden state")
        before = choice.b.is_atom()
        if before is not None and cell.roles.get(before) == "h":
            cell.attrs["masked_output"] = "previous"
            if before != cell.h:
                cell.previous.append(before)
        elif not choice.b.terms and not np.any(choice.b.bias):
            cell.attrs["masked_output"] = "zero"
        else:
            raise NotACell("its masked outputs are neither the ones before nor 0")


def _columns(pre: Affine, frames: list[str], widths: dict[str, int], h: str) -> tuple[np.ndarray, np.ndarray]:
    """Input and recurrent weights of one gate."""
    n = pre.n
    w_ih = [_matrix(pre.terms.get(f, 0.0), n) if f in pre.terms else np.zeros((n, widths[f])) for f in frames]
    w_hh = _matrix(pre.terms[h], n) if h in pre.terms else np.zeros((n, n))
    return np.concatenate(w_ih, 1), w_hh


def _inputs(pres: list[Affine], frames: set[str], allowed: set[str]) -> tuple[list[str], dict[str, int]]:
    """The frames that gates read, in order, with their widths; nothing else but `allowed` may occur."""
    found: dict[str, int] = {}
    for pre in pres:
        for atom, c in pre.terms.items():
            if atom in frames:
                found[atom] = c.shape[1] if isinstance(c, np.ndarray) else pre.n
            elif atom not in allowed:
                raise NotACell(f"a gate reads {atom!r}, which is neither a frame nor a state")
    if not found:
        raise NotACell("no gate reads a frame")
    return list(found), found


def _acts(gates: list[Gate]) -> dict[str, Any]:
    return {
        "activations": [g.act for g in gates],
        "activation_alpha": [float(g.alpha) for g in gates],
        "activation_beta": [float(g.beta) for g in gates],
    }


def _one_minus(x: Affine) -> Affine:
    return _sum(Affine(x.n, {}, np.ones(x.n)), x, -1.0)


def _either(product: Product) -> list[tuple[Affine, Affine]]:
    return [(product.a, product.b), (product.b, product.a)]


def _lstm(r: Reader, h: str, new: dict[str, Affine], frames: set[str]) -> Cell:
    """h' = o * act(c'), c' = f * c + i * g."""
    out = r.products(new[h])
    if out is None or len(out) != 1:
        raise NotACell("its hidden state is no product of an output gate and its cell state")
    for c in new:
        parts = r.products(new[c]) if c != h else None
        if parts is None or len(parts) != 2:
            continue
        hidden = [(o, r.gate(y)) for o, y in _either(out[0]) if r.gate(y).pre.same(new[c]) or y.same(new[c])]
        kept = [(f, other) for p, other in (parts, parts[::-1]) for f, old in _either(p) if old.is_atom() == c]
        if not hidden or not kept:
            continue
        o, act_h = hidden[0]
        if not act_h.pre.same(new[c]):
            act_h = Gate("linear", 0.0, 0.0, new[c])
        f, added = kept[0]
        return _lstm_cell(r, h, c, frames, f, added, o, act_h)
    raise NotACell("it has no cell state that is forgotten and added to")


def _lstm_cell(r: Reader, h: str, c: str, frames: set[str], f: Affine, added: Product, o: Affine, act_h: Gate) -> Cell:
    coupled = "none"
    pairs = _either(added)
    for first, second in pairs:
        if first.same(_one_minus(f)):
            coupled, pairs = "i=1-f", [(first, second)]
        elif f.same(_one_minus(first)):
            coupled, pairs = "f=1-i", [(first, second)]
    squashing = ("sigmoid", "hard_sigmoid")
    i, g = next((p for p in pairs if r.gate(p[0]).act in squashing and r.gate(p[1]).act not in squashing), pairs[0])
    gate_f, gate_i = r.gate(f), r.gate(i)
    gate_f = gate_i if coupled == "f=1-i" else gate_f
    gate_i = gate_f if coupled == "i=1-f" else gate_i
    gates = [gate_i, gate_f, r.gate(g), r.gate(o)]
    hidden = act_h.pre.n
    names, widths = _inputs([x.pre for x in gates], frames, {h, c})
    peephole = np.zeros((3, hidden, hidden))
    for row, gate in zip((0, 1, 3, 2), gates):
        if c in gate.pre.terms:
            if row == 3 or gate is gates[3]:  # the candidate never sees c here; the output gate would see the old one
                raise NotACell("its candidate or output gate reads the old cell state")
            peephole[row] = _matrix(gate.pre.terms[c], hidden)
    columns = [_columns(x.pre, names, widths, h) for x in gates]
    arrays = {"bias": np.concatenate([x.pre.bias for x in gates])[None]}
    if np.any(peephole):
        diagonal = all(np.array_equal(p, np.diag(np.diag(p))) for p in peephole)
        full = np.stack([np.diag(p) for p in peephole]) if diagonal else peephole.reshape(-1, hidden)
        arrays["peephole"] = full[None]
    return Cell(
        "LSTM", *_weights(columns), arrays, {**_acts([*gates, act_h]), "coupled": coupled}, names, widths, hidden, h, c
    )


def _weights(columns: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    w_ih, w_hh = (np.concatenate([pair[n] for pair in columns])[None].astype(np.float32) for n in (0, 1))
    return w_ih, w_hh


def _gru(r: Reader, h: str, new: dict[str, Affine], frames: set[str]) -> Cell:
    """h' = z * h + (1 - z) * n."""
    z, n = _blend(r, new[h], h)
    gate_n, gate_z = r.gate(n), _update_gate(r, z)
    inner = [(a, p) for a in gate_n.pre.terms if isinstance(p := r.atoms.get(a), Product)]
    if len(inner) != 1 or h in gate_n.pre.terms:
        raise NotACell("its candidate reads no product with a reset gate")
    atom, reset = inner[0]
    through = gate_n.pre.terms[atom]
    rest = Affine(gate_n.pre.n, {a: c for a, c in gate_n.pre.terms.items() if a != atom}, gate_n.pre.bias)
    for gate, seen in _either(reset):
        if set(seen.terms) != {h}:
            continue
        gate_r = r.gate(gate)
        names, widths = _inputs([gate_r.pre, gate_z.pre, rest], frames, {h})
        columns = [_columns(x, names, widths, h) for x in (gate_r.pre, gate_z.pre, rest)]
        zeros = np.zeros(seen.n)
        after = not isinstance(through, np.ndarray) and through == 1
        if not after and seen.is_atom() != h:
            raise NotACell("its reset gate multiplies something else than the hidden state")
        columns[2] = (columns[2][0], _matrix(seen.terms[h] if after else through, seen.n))
        arrays = {"bias_ih": np.concatenate([gate_r.pre.bias, gate_z.pre.bias, rest.bias])[None]}
        if np.any(seen.bias):
            arrays["bias_hh"] = np.concatenate([zeros, zeros, seen.bias])[None]
        attrs = {**_acts([gate_r, gate_z, gate_n]), "reset_after": int(after)}
        return Cell("GRU", *_weights(columns), arrays, attrs, names, widths, seen.n, h)
    raise NotACell("its reset gate multiplies something else than the hidden state")


def _blend(r: Reader, x: Affine, h: str) -> tuple[Affine, Affine]:
    """(z, n) of z * h + (1 - z) * n, or of n + z * (h - n)."""
    parts = r.products(x)
    if parts is not None and len(parts) == 2:
        for first, second in (parts, parts[::-1]):
            for z, old in _either(first):
                for left, n in _either(second):
                    if old.is_atom() == h and left.same(_one_minus(z)):
                        return z, n
    for atom in x.terms:
        product = r.atoms.get(atom)
        n = Affine(x.n, {a: c for a, c in x.terms.items() if a != atom}, x.bias)
        if isinstance(product, Product) and x.terms[atom] == 1:
            for z, difference in _either(product):
                if difference.same(_sum(Affine(x.n, {h: 1.0}, np.zeros(x.n)), n, -1.0)):
                    return z, n
    raise NotACell("its hidden state is no blend of the old one and a candidate")


def _update_gate(r: Reader, z: Affine) -> Gate:
    """z as a gate; 1 - sigmoid(x) is sigmoid(-x)."""
    gate = r.gate(z)
    if gate.act != "linear":
        return gate
    gate = r.gate(_one_minus(z))
    negative = _scaled(gate.pre, np.full(gate.pre.n, -1.0))
    if gate.act == "sigmoid":
        return Gate("sigmoid", 0.0, 0.0, negative)
    if gate.act == "hard_sigmoid":
        return Gate("hard_sigmoid", gate.alpha, 1.0 - gate.beta, negative)
    raise NotACell("its update gate is no sigmoid")


def _rnn(r: Reader, h: str, new: dict[str, Affine], frames: set[str]) -> Cell:
    """h' = act(W x + R h + b)."""
    gate = r.gate(new[h])
    names, widths = _inputs([gate.pre], frames, {h})
    if h not in gate.pre.terms:
        raise NotACell("its state does not depend on the one before")
    columns = [_columns(gate.pre, names, widths, h)]
    return Cell("RNN", *_weights(columns), {"bias": gate.pre.bias[None]}, _acts([gate]), names, widths, gate.pre.n, h)
