"""Which recurrence the new states of a cell spell, told from their polynomials (polynomials.py)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..ir.ops import ACTIVATIONS
from .polynomials import Act, Atom, Leaf, NotACell, Sum, Terms, digest, leaf, products, scaled


@dataclass(frozen=True, eq=False)
class Cell:
    """A recurrence op: its attributes, its weights by the names of docs/ops.md (direction axis in front), and the tensors
    that it reads: the frame (side by side), the hidden state and, of an LSTM, the cell."""

    op: str
    attrs: dict[str, Any]
    weights: dict[str, np.ndarray]
    frame: list[str]
    hidden: str
    cell: str = ""

    @cached_property
    def key(self) -> tuple[object, ...]:
        """Equal for cells of the same weights and attributes."""
        return (
            self.op,
            repr(sorted(self.attrs.items())),
            *((k, digest(w.tobytes())) for k, w in sorted(self.weights.items())),
        )


def lstm(hidden_next: Sum, cell_next: Sum, hidden: str, frame: Collection[str] | None = None) -> Cell:
    """The LSTM with these new states; `hidden` is the tensor of the previous h. `frame` are the tensors that may be read
    as the frame, by a matrix or as they are; without it, whatever is read by a matrix. NotACell says what does not fit."""
    attrs: dict[str, Any] = {}
    inner, attrs["cell_clip"] = _behind_clip(cell_next)
    c, gates, coupled = _cell_gates(inner)
    if coupled:
        attrs["coupled"] = coupled
    projected, bound = _behind_clip(hidden_next)
    if projected.dense:
        hidden_next, attrs["proj_clip"] = projected, bound
    attrs = {k: v for k, v in attrs.items() if v}
    output, squash, projection = _output_gate(hidden_next, cell_next)
    h = cell_next.width
    arguments = [*(gates[n] for n in ("i", "f", "g")), output]
    rows = _Rows(c.tensor, hidden, frame, h, cell_next)
    read = rows.frames([a.of for a in arguments if a is not None])
    pieces = [rows.split(a.of, last=n == 3) if a is not None else None for n, a in enumerate(arguments)]
    weights = _stacked(pieces, [*rows.names])
    peephole = weights.pop("peephole")
    if np.any(peephole):
        weights["peephole"] = _peephole(peephole, h)
    if not np.any(weights["bias"]):
        del weights["bias"]
    if projection is not None:
        weights["w_proj"] = projection.T[None]
    placeholder = Act("sigmoid", 0.0, 0.0, output.of)  # the gate that coupling leaves out
    attrs.update(_activations([*(a or placeholder for a in arguments), squash]))
    return Cell("LSTM", attrs, _float32(weights), read, hidden, c.tensor)


def _behind_clip(s: Sum) -> tuple[Sum, float]:
    """What is bounded on both sides alike, and by how much; 0 where nothing is."""
    act = s.sole_act()
    if act is not None and act.kind == "clip" and act.alpha == -act.beta:
        return act.of, act.beta
    return s, 0.0


def _cell_gates(s: Sum) -> tuple[Leaf, dict[str, Act | None], str]:
    """c and the gates i, f, g of c' = f c + i g, or of the coupled forms; and which is coupled."""
    if s.dense or () in s.diag:
        raise NotACell("the cell's update is no sum of products")
    leaves = {a.key: a for atoms, _ in s.diag.values() for a in atoms if isinstance(a, Leaf)}
    if len(leaves) != 1:
        raise NotACell(f"the cell's update reads {len(leaves)} tensors element by element, expected the cell alone")
    (c,) = leaves.values()
    if (c.start, c.stop) != (0, s.width):
        raise NotACell("the cell is a part of a tensor")
    with_c = {k: (_without(atoms, c), f) for k, (atoms, f) in s.diag.items() if c.key in k}
    rest = {k: t for k, t in s.diag.items() if c.key not in k}
    if any(isinstance(a, Leaf) for atoms, _ in with_c.values() for a in atoms):
        raise NotACell("the cell's update is not linear in the cell")
    kept, fresh = _factors(with_c), _factors(rest)
    if [n for n, _ in kept] == [1] and [n for n, _ in fresh] == [2] and _ones(s):
        i, g = _input_and_candidate(fresh[0][1])
        return c, {"i": i, "f": _act(kept[0][1][0]), "g": g}, ""
    # (1 - f) g + f c, and (1 - i) c + i g
    if [n for n, _ in kept] == [1] and [n for n, _ in fresh] == [1, 2]:
        f, g = _act(kept[0][1][0]), _act(fresh[0][1][0])
        if {a.key for a in fresh[1][1]} == {f.key, g.key} and _signs(s, {(c, f): 1, (g,): 1, (f, g): -1}):
            return c, {"i": None, "f": f, "g": g}, "i=1-f"
    if [n for n, _ in kept] == [0, 1] and [n for n, _ in fresh] == [2]:
        i = _act(kept[1][1][0])
        g = _act(next((a for a in fresh[0][1] if a.key != i.key), i))
        if _signs(s, {(c,): 1, (c, i): -1, (g, i): 1}):
            return c, {"i": i, "f": None, "g": g}, "f=1-i"
    raise NotACell("the cell's update is not f * c + i * g")


def _act(atom: Atom) -> Act:
    if not isinstance(atom, Act):
        raise NotACell(f"{atom.key} stands in the place of a gate")
    return atom


def _factors(terms: Terms) -> list[tuple[int, tuple[Atom, ...]]]:
    return sorted(((len(atoms), atoms) for atoms, _ in terms.values()), key=lambda t: t[0])


def _without(atoms: tuple[Atom, ...], atom: Atom) -> tuple[Atom, ...]:
    at = next(n for n, a in enumerate(atoms) if a.key == atom.key)
    return atoms[:at] + atoms[at + 1 :]


def _ones(s: Sum) -> bool:
    return all(bool(np.all(f == 1)) for _, f in s.diag.values())


def _signs(s: Sum, want: dict[tuple[Atom, ...], int]) -> bool:
    """Whether the terms are these products with these factors, and no others."""
    keyed = {tuple(sorted(a.key for a in atoms)): v for atoms, v in want.items()}
    return set(keyed) == set(s.diag) and all(bool(np.all(s.diag[k][1] == v)) for k, v in keyed.items())


def _input_and_candidate(pair: tuple[Atom, ...]) -> tuple[Act, Act]:
    """i and g: the product is the same either way; the one with a sigmoid is called i."""
    acts = [a for a in pair if isinstance(a, Act)]
    if len(acts) != 2:
        raise NotACell("the input gate times the candidate: expected two activations")
    return (acts[1], acts[0]) if "sigmoid" in acts[1].kind and "sigmoid" not in acts[0].kind else (acts[0], acts[1])


def _output_gate(h: Sum, cell_next: Sum) -> tuple[Act, Act, np.ndarray | None]:
    """The output gate, the function of c' and the projection of h' = o act(c')."""
    terms, projection = h.diag, None
    if h.dense:
        if h.diag or len({m.tobytes() for _, m in h.dense.values()}) != 1:
            raise NotACell("the hidden state is no product of an output gate and the cell")
        projection = next(iter(h.dense.values()))[1]
        terms = {k: (atoms, np.ones(cell_next.width)) for k, (atoms, _) in h.dense.items()}
    for atom in next(iter(terms.values()), ((), None))[0]:
        if not isinstance(atom, Act) or not all(atom.key in k for k in terms):
            continue
        rest = Sum(cell_next.width, products((_without(atoms, atom), f) for atoms, f in terms.values()))
        if rest.key == cell_next.key:
            return atom, Act("linear", 0.0, 0.0, cell_next), projection
        squash = rest.sole_act()
        if squash is not None and squash.of.key == cell_next.key:
            return atom, squash, projection
    raise NotACell("the hidden state is not an output gate times a function of the new cell")


class _Rows:
    """Cuts the argument of a gate into its weights."""

    names = ("w_ih", "w_hh", "bias", "peephole")

    def __init__(self, cell: str, hidden: str, frame: Collection[str] | None, width: int, cell_next: Sum | None = None):
        self.cell, self.hidden, self.frame, self.width, self.cell_next = cell, hidden, frame, width, cell_next
        self.columns: dict[str, tuple[int, int]] = {}
        self.hidden_width = 0

    def frames(self, arguments: list[Sum]) -> list[str]:
        """The tensors of the frame, with their columns in w_ih."""
        terms = [atoms for s in arguments for atoms, _ in s.dense.values()]
        if self.frame is not None:
            terms += [atoms for s in arguments for atoms, _ in s.diag.values() if len(atoms) == 1]
        leaves = [a for atoms in terms for a in atoms if isinstance(a, Leaf)]
        names = list(dict.fromkeys(a.tensor for a in leaves))
        found = [n for n in names if n not in (self.hidden, self.cell)]
        if self.frame is not None and set(found) - set(self.frame):
            raise NotACell(f"a gate reads {sorted(set(found) - set(self.frame))[0]!r}, which is no frame")
        at = 0
        for name in found:
            width = next(a.width for a in leaves if a.tensor == name)
            self.columns[name] = (at, width)
            at += width
        self.hidden_width = next((a.width for a in leaves if a.tensor == self.hidden), self.width)
        if not found:
            raise NotACell("no gate reads a frame")
        return found

    def split(self, s: Sum, last: bool = False) -> dict[str, np.ndarray]:
        """w_ih (H, I), w_hh (H, P), bias (H,), peephole (H, H) of one gate's argument; the output gate's peephole reads
        the new cell."""
        total = sum(width for _, width in self.columns.values())
        w, r = np.zeros((self.width, total)), np.zeros((self.width, self.hidden_width))
        peephole, rest = self._peephole(s, last)
        for atoms, m in rest.dense.values():
            if len(atoms) != 1 or not isinstance(atoms[0], Leaf):
                raise NotACell("a gate's argument multiplies a computed value by a matrix")
            a = atoms[0]
            if a.tensor == self.hidden:
                r[:, a.start : a.stop] += m.T
            else:
                at = self.columns[a.tensor][0]
                w[:, at + a.start : at + a.stop] += m.T
        bias = np.zeros(self.width)
        for atoms, f in rest.diag.values():
            if atoms == ():
                bias = f
            elif len(atoms) == 1 and isinstance(atoms[0], Leaf) and atoms[0].tensor in (self.hidden, *self.columns):
                a = atoms[0]
                matrix, at = (r, 0) if a.tensor == self.hidden else (w, self.columns[a.tensor][0])
                matrix[np.arange(self.width), at + a.start + np.arange(self.width)] += f
            else:
                raise NotACell("a gate's argument is not linear in the frame and the states")
        return {"w_ih": w, "w_hh": r, "bias": bias, "peephole": peephole}

    def _peephole(self, s: Sum, last: bool) -> tuple[np.ndarray, Sum]:
        """The matrix on the cell (on the new one for the output gate), and what is left of the argument."""
        none = np.zeros((self.width, self.width))
        if self.cell_next is None or self.cell == self.hidden:  # both states start as the same zeros
            return none, s
        of = self.cell_next.diag if last else leaf(self.cell, self.width).diag
        probe = next(iter(of))
        diag, dense = s.diag.get(probe), s.dense.get(probe)
        fits = all((k in s.diag) == (diag is not None) and (k in s.dense) == (dense is not None) for k in of)
        if fits and diag is not None:
            fits = all(np.array_equal(s.diag[k][1], diag[1] * of[k][1]) for k in of)
        if fits and dense is not None:
            fits = all(np.array_equal(s.dense[k][1], dense[1] * of[k][1][:, None]) for k in of)
        if not fits and (diag is not None or dense is not None):
            raise NotACell("the output gate reads the states other than by the new cell")
        if not fits:
            return none, s
        matrix = none + (np.diag(diag[1]) if diag else 0) + (dense[1].T if dense else 0)
        own_diag, own_dense = ({k: t for k, t in terms.items() if k not in of} for terms in (s.diag, s.dense))
        return matrix, Sum(s.width, own_diag, own_dense)


def _stacked(pieces: Sequence[dict[str, np.ndarray] | None], names: list[str]) -> dict[str, np.ndarray]:
    """The gates' weights under one another, a direction axis in front; zeros for a gate that coupling leaves out."""
    some = next(p for p in pieces if p is not None)
    return {n: np.concatenate([p[n] if p is not None else np.zeros_like(some[n]) for p in pieces])[None] for n in names}


def _peephole(stacked: np.ndarray, h: int) -> np.ndarray:
    """From (1, 4H, H) in order i, f, g, o: order i, f, o and the candidate last where it has one; diagonal if all are."""
    i, f, g, o = stacked[0].reshape(4, h, h)
    used = [i, f, o, g] if np.any(g) else [i, f, o]
    if all(np.array_equal(m, np.diag(np.diag(m))) for m in used):
        return np.stack([np.diag(m) for m in used])[None]
    return np.concatenate(used)[None]


def _activations(acts: list[Act]) -> dict[str, Any]:
    for a in acts:
        if a.kind not in ACTIVATIONS:
            raise NotACell(f"activation {a.kind}")
    attrs: dict[str, Any] = {"activations": [a.kind for a in acts]}
    if any(a.alpha or a.beta for a in acts):
        attrs["activation_alpha"] = [float(a.alpha) for a in acts]
        attrs["activation_beta"] = [float(a.beta) for a in acts]
    return attrs


def _float32(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k: np.ascontiguousarray(w, np.float32) for k, w in weights.items()}


def gru(hidden_next: Sum, hidden: str, frame: Collection[str] | None = None) -> Cell:
    """The GRU with this new state, h' = (1 - z) n + z h."""
    h = hidden_next.width
    own = Leaf(hidden, 0, h, h)
    z, n = _update_gate(hidden_next, own)
    reset, recurrent, rest, after = _reset(n.of, own)
    rows = _Rows("", hidden, frame, h)
    sums = [reset.of, z.of, *rest, *([recurrent] if after else [])]
    read = rows.frames(sums)
    pieces = [rows.split(reset.of), rows.split(z.of), rows.split(rest[0])]
    weights = _stacked(pieces, ["w_ih", "w_hh", "bias"])
    weights["bias_ih"] = weights.pop("bias")
    if after:
        inner = rows.split(recurrent)
        if np.any(inner["w_ih"]):
            raise NotACell("the reset gate multiplies a part of the frame")
        weights["w_hh"][0, 2 * h :] = inner["w_hh"]
        weights["bias_hh"] = np.concatenate([np.zeros(2 * h), inner["bias"]])[None]
    else:
        weights["w_hh"][0, 2 * h :] = recurrent
    for bias in ("bias_ih", "bias_hh"):
        if bias in weights and not np.any(weights[bias]):
            del weights[bias]
    attrs = {"reset_after": int(after), **_activations([reset, z, n])}
    return Cell("GRU", attrs, _float32(weights), read, hidden)


def _update_gate(s: Sum, h: Leaf) -> tuple[Act, Act]:
    """z and n of (1 - z) n + z h, or of (1 - z) h + z n with 1 - z taken as the gate."""
    acts = {a.key: a for atoms, _ in s.diag.values() for a in atoms if isinstance(a, Act)}
    if s.dense or len(acts) != 2:
        raise NotACell("the hidden state's update is not (1 - z) * n + z * h")
    a, b = acts.values()
    for z, n in ((a, b), (b, a)):
        if _signs(s, {(h, z): 1, (n,): 1, (n, z): -1}):
            return z, n
        if _signs(s, {(h,): 1, (h, z): -1, (n, z): 1}) and z.kind in ("sigmoid", "hard_sigmoid"):
            beta = 1.0 - z.beta if z.kind == "hard_sigmoid" else 0.0
            return Act(z.kind, z.alpha, beta, scaled(z.of, -np.ones(s.width))), n  # 1 - s(x) = s(-x)
    raise NotACell("the hidden state's update is not (1 - z) * n + z * h")


def _reset(s: Sum, h: Leaf) -> tuple[Act, Any, list[Sum], bool]:
    """The reset gate, what it multiplies (a Sum, or the matrix on r * h), the rest of the candidate's argument, and whether
    the reset comes after the matrix."""
    for key, (atoms, f) in s.diag.items():
        acts = [a for a in atoms if isinstance(a, Act)]
        if len(atoms) != 2 or len(acts) != 2 or not np.all(f == 1):
            continue
        of, r = acts if acts[0].kind == "linear" else acts[::-1]
        if of.kind == "linear":
            return r, of.of, [Sum(s.width, {k: t for k, t in s.diag.items() if k != key}, s.dense)], True
    for key, (atoms, m) in s.dense.items():
        if len(atoms) == 2 and h.key in key:
            (gate,) = _without(atoms, h)
            if isinstance(gate, Act):
                rest = Sum(s.width, s.diag, {k: t for k, t in s.dense.items() if k != key})
                return gate, m.T, [rest], False
    raise NotACell("the candidate has no reset gate")


def rnn(hidden_next: Sum, hidden: str, frame: Collection[str] | None = None) -> Cell:
    """The simple recurrence h' = act(W x + R h + b)."""
    act = hidden_next.sole_act() or (Act("linear", 0.0, 0.0, hidden_next) if hidden_next.dense else None)
    if act is None:
        raise NotACell("the hidden state's update is no activation of a sum")
    rows = _Rows("", hidden, frame, hidden_next.width)
    read = rows.frames([act.of])
    weights = _stacked([rows.split(act.of)], ["w_ih", "w_hh", "bias"])
    if not np.any(weights["w_hh"]):
        raise NotACell("the state does not depend on the one before")
    if not np.any(weights["bias"]):
        del weights["bias"]
    return Cell("RNN", _activations([act]), _float32(weights), read, hidden)
