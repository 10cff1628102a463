"""A loop that spells recurrences, as the ops. What its body computes besides them stays as ordinary ops around them.

The states are read by algebra (cells.py), a cell at a time: one that reads frames and its own states alone is found
first, and its hidden state then is a sequence that the next may read. What does not depend on anything carried is lifted
out of the body (lifting.py), before the recurrences or after them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import NamedTuple

import numpy as np

from ..importers.dialect import Dialect, Value
from ..importers.dialect.recurrences import Run, Weights
from ..ir.dims import Size, product
from ..ir.ops import GATES, TO_END
from .body import Body, Carried, Frame
from .cells import Cell, gru, lstm, rnn
from .lifting import Lift, check, flipped
from .op import run, weights_of
from .polynomials import Leaf, NotACell, Sum, given, masks
from .reading import Reader


class Role(NamedTuple):
    """What a tensor of the body is to a cell: its new "h" or "c", or "y", h with zeros where it is masked. `twin`: the
    carried tensor beside h and c whose value it keeps where the mask holds the states, '' where that is h or c itself."""

    name: str
    twin: str = ""


@dataclass
class Match:
    """A cell, and the bool tensor of the body by which its states move on ('' for always) where that is `moves`."""

    cell: Cell
    mask: str
    moves: bool
    new: dict[str, Sum]  # by "h" and "c": where the states move on
    twins: dict[str, Role] = field(default_factory=dict)  # other carried tensors


@dataclass
class Spelling:
    """What a loop spells. `rest`: carried tensors that only their own end is read of. `outputs`: the match whose hidden
    state a collected tensor is, and how; None for one that is computed after the loop."""

    matches: list[Match]
    rest: list[Carried]
    outputs: list[tuple[Match, Role] | None]

    @property
    def text(self) -> str:
        """The cells in words, for notes."""
        return (
            ", ".join(_in_words(m.cell) for m in self.matches) or "no recurrence, only what is computed frame by frame"
        )


def recognised(body: Body, numbers: Mapping[str, float] = {}) -> Spelling:
    """The recurrences that the body spells (frames found before). `numbers`: what has one number in all its elements, by
    its tensor of the body. NotACell says why it spells none."""
    states = body.states()
    if len(states) + len(body.integers()) < len(body.carried):
        raise NotACell("it carries a value that is neither a state in float nor a count")
    for c in states:
        if body.graph.shape(c.read) != body.graph.shape(c.write):
            raise NotACell(f"state {c.read!r} changes its shape")
    search = _Search(body, numbers)
    while search.left and search.next():
        pass
    return search.spelling()


class _Search:
    """The cells of a body, found one after the other."""

    def __init__(self, body: Body, numbers: Mapping[str, float]):
        self.body, self.numbers = body, numbers
        self.left = {c.read: c for c in body.states()}
        self.sequences: set[str] = set()  # tensors of the body that are the hidden state of a cell that was found
        self.matches: list[Match] = []
        self.outputs: list[tuple[Match, Role] | None] = [None] * len(body.outputs)
        self.reasons: list[str] = []

    def next(self) -> bool:
        """Finds one more cell: first among linear functions of the frames, then of whatever can be lifted."""
        self.reasons = []
        fixed = self._fixed()
        for liftable in (set(), fixed):
            carried = {c.read for c in self.body.carried}
            leaves = {*self.body.frames, *carried, *self.body.outer, *self.sequences}
            reader = Reader(self.body.graph, leaves, liftable, numbers=self.numbers)
            match = self._cell(reader, {*self.body.frames, *self.sequences, *liftable})
            if match is not None:
                self._take(match, reader)
                return True
        return False

    def _fixed(self) -> set[str]:
        """Tensors that depend on none of the states that are left."""
        varying = set(self.left)
        for node in self.body.graph.nodes:
            if any(i in varying for i in node.inputs):
                varying |= {o for o in node.outputs if o and o not in self.sequences}
        return set(self.body.graph.tensors) - varying

    def _cell(self, reader: Reader, frames: set[str]) -> Match | None:
        following: dict[str, Sum] = {}
        for c in self.left.values():
            try:
                following[c.read] = reader.sum(c.write)
            except NotACell as why:
                self.reasons.append(str(why))
        reasons: dict[str, list[str]] = {"LSTM": [], "GRU": [], "simple RNN": []}
        for kind, names in _candidates(list(following)):
            try:
                match = _matched(kind, names, following, frames)
                if match.mask and match.mask not in frames | self._fixed():
                    raise NotACell("its mask depends on what it carries")
                for name in match.cell.frame:
                    check(self.body, name, self.sequences)
                return match
            except NotACell as why:
                reasons[kind].append(str(why))
        found = {k: " / ".join(dict.fromkeys(v)) for k, v in reasons.items() if v}
        if len(following) == 2 and "LSTM" in found:
            found = {"LSTM": found["LSTM"]}
        article = {"LSTM": "an"}
        self.reasons += ["; ".join(f"not {article.get(k, 'a')} {k}: {v}" for k, v in found.items())]
        return None

    def _take(self, match: Match, reader: Reader) -> None:
        """Notes which carried tensors and outputs are the match's states."""
        cell, writes = match.cell, {c.read: c.write for c in self.left.values()}
        del self.left[cell.hidden]
        self.left.pop(cell.cell, None)
        found = True
        while found:  # a twin may keep the value of another
            roles = {read: self._role(match, reader, c.write, read) for read, c in self.left.items()}
            found = any(roles.values())
            for read, role in roles.items():
                if role is not None:
                    match.twins[read] = role
                    del self.left[read]
        kinds = {role.name for role in match.twins.values() if role.name == "y"}
        for n, tensor in enumerate(self.body.outputs):
            role = self._role(match, reader, tensor)
            if role is not None and role.name != "c":
                self.outputs[n] = match, role
                kinds.add(role.name)
        if kinds == {"h", "y"}:
            raise NotACell("it masks one output by zeros and another by the one before")
        if "y" in kinds:
            cell.attrs["masked_output"] = "zero"
        else:
            self.sequences.add(writes[cell.hidden])
        self.matches.append(match)

    def _role(self, match: Match, reader: Reader, tensor: str, read: str = "") -> Role | None:
        """What a tensor is to the match, if it is. `read`: the carried tensor whose next value it is."""
        try:
            found = reader.sum(tensor)
        except NotACell:
            return None
        new = given(found, match.mask, match.moves)
        name = next((n for n, s in match.new.items() if s.key == new.key), "")
        if not name or not match.mask:
            return Role(name) if name else None
        held = given(found, match.mask, not match.moves)
        before = held.sole_leaf()
        if before is None:
            zeros = held.constant is not None and not np.any(held.constant)
            return Role("y") if name == "h" and zeros else None
        if before.tensor == {"h": match.cell.hidden, "c": match.cell.cell}[name]:
            return Role(name)
        twins = {r: role.name for r, role in match.twins.items()}
        return Role(name, before.tensor) if {**twins, read: name}.get(before.tensor) == name else None

    def spelling(self) -> Spelling:
        """All that was found; NotACell where something that is left is carried on."""
        for tensor in (*(c.write for c in self.left.values()), *self._after()):
            try:
                check(self.body, tensor, self.sequences)
            except NotACell as why:
                raise NotACell("; ".join([*dict.fromkeys(r for r in self.reasons if r), str(why)])) from why
        return Spelling(self.matches, list(self.left.values()), self.outputs)

    def _after(self) -> Iterator[str]:
        """Outputs that are computed after the loop."""
        return (t for t, m in zip(self.body.outputs, self.outputs) if m is None)


def _candidates(states: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Which states may be a cell, and of which kind."""
    for pair in permutations(states, 2):
        yield "LSTM", pair
    for one in states:
        yield "GRU", (one,)
    for one in states:
        yield "simple RNN", (one,)


def _matched(kind: str, names: tuple[str, ...], following: dict[str, Sum], frames: set[str]) -> Match:
    """The cell of these states; NotACell if they are none."""
    moved = [_moved(following[n], n) for n in names]
    mask, moves, h = moved[0]
    if any(m[:2] != (mask, moves) for m in moved):
        raise NotACell("a mask keeps some of its states and not the others")
    new = dict(zip("hc", (m[2] for m in moved)))
    if kind == "LSTM":
        cell = lstm(h, new["c"], names[0], frames)
        if cell.cell != names[1]:
            raise NotACell("the cell's update reads another tensor in the place of the cell")
    else:
        cell = gru(h, names[0], frames) if kind == "GRU" else rnn(h, names[0], frames)
    return Match(cell, mask, moves, new)


def _moved(s: Sum, read: str) -> tuple[str, bool, Sum]:
    """The mask by which a state keeps itself, the truth value where it moves on, and its new value there."""
    found = sorted(masks(s))
    if not found:
        return "", True, s
    for tensor in found:
        for moves in (True, False):
            new, held = given(s, tensor, moves), given(s, tensor, not moves).sole_leaf()
            if not masks(new) and held is not None and held.key == Leaf(read, 0, s.width, s.width).key:
                return tensor, moves, new
    raise NotACell(f"state {read!r} keeps something else than itself where it is masked")


# ---- the ops ---------------------------------------------------------------------------------------------------------


def emit(ctx: Dialect, body: Body, spelling: Spelling) -> tuple[list[Value], dict[str, Value]]:
    """Appends the ops. The outputs as (T, ...) in the order of the trips, and the last value of each state by the tensor
    that it is read as."""
    backward = bool(body.frames) and all(f.backward for f in body.frames.values())
    lift = Lift(ctx, body, _trips(ctx, body), backward)
    last: dict[str, Value] = {}
    answers: dict[int, _Answer] = {}
    for match in spelling.matches:
        answer = answers[id(match)] = _Answer(lift, match)
        write = next(c.write for c in body.carried if c.read == match.cell.hidden)
        if match.cell.attrs.get("masked_output") != "zero":
            lift.give(write, ctx.reshape(answer.whole(Role("h")), [lift.trips, *body.graph.shape(write)]))
        roles = {match.cell.hidden: Role("h"), match.cell.cell: Role("c"), **match.twins}
        last.update({r: ctx.reshape(answer.last(role), body.graph.shape(r)) for r, role in roles.items() if r})
    outputs = []
    for tensor, of in zip(body.outputs, spelling.outputs):
        y = lift.whole(tensor) if of is None else answers[id(of[0])].whole(of[1])
        value = ctx.reshape(y, [lift.trips, *body.graph.shape(tensor)])
        outputs.append(flipped(ctx, value, 0) if backward else value)
    for c in spelling.rest:
        last[c.read] = ctx.reshape(_last(ctx, lift.whole(c.write), backward), body.graph.shape(c.read))
    return outputs, last


class _Answer:
    """A recurrence as an op: y (T,B,P) in the order of time, and the last states."""

    def __init__(self, lift: Lift, match: Match):
        self.lift, self.ctx = lift, lift.ctx
        self.first = {c.read: c.initial for c in lift.body.carried}
        self.hidden, self.cell = match.cell.hidden, match.cell.cell
        for role in match.twins.values():
            if role.twin and self.ctx.uniform(self.first[role.twin]) != 0:
                raise NotACell(f"state {role.twin!r}, the output under a mask, does not start as zeros")
        self.mask: Value | None = None
        if match.mask:
            mask = self.ctx.cast(lift.whole(match.mask), "bool")
            self.mask = mask if match.moves else self.ctx.unary("not", mask)
        answer = _recurrence(lift, match.cell, self.first, self.mask)
        self.y = answer.frames(self.ctx, True)
        self.states = {"h": answer.h_n, "c": answer.c_n}

    def whole(self, role: Role) -> Value:
        """(T,B,P): before the first row that its mask lets through, the op gives zeros, and the loop what h starts as."""
        start, ctx = self.first[self.hidden], self.ctx
        if self.mask is None or role != Role("h") or ctx.uniform(start) == 0:
            return self.y
        trips, batch, width = ctx.shape(self.y)
        seen = ctx.reshape(ctx.cast(self.mask, "float32"), [trips, batch, 1])
        seen = ctx.emit("CumSum", [seen], {"axis": 0, "exclusive": 0, "reverse": int(self.lift.backward)})
        seen = ctx.binary("greater", seen, ctx.constant(0.0))
        return ctx.emit("Where", [seen, self.y, ctx.reshape(start, [1, *_rows(ctx, start)])], dtype="float32")

    def last(self, role: Role) -> Value:
        if role.name == "y" or role.twin and self.ctx.uniform(self.first[self.hidden]) != 0:
            if role.name == "c":
                raise NotACell("a state beside the cell starts as zeros, and the cell as something else")
            return _last(self.ctx, self.y, self.lift.backward)
        value = self.states[role.name]
        assert value is not None
        return value


def _rows(ctx: Dialect, value: Value) -> list[Size]:
    shape = ctx.shape(value)
    return [product(shape[:-1]), shape[-1]]


def _trips(ctx: Dialect, body: Body) -> Size:
    if body.total is not None:
        return body.total
    frame = next(iter(body.frames.values()))
    return ctx.shape(frame.source)[frame.axis]


def _last(ctx: Dialect, whole: Value, backward: bool) -> Value:
    """What the last trip made."""
    size = ctx.shape(whole)[0]
    if backward:
        return ctx.slice_axis(whole, 0, 0, 1)
    return ctx.slice_axis(whole, 0, size - 1, size) if isinstance(size, int) else ctx.slice_axis(whole, 0, -1, TO_END)


def _recurrence(lift: Lift, cell: Cell, first: dict[str, Value], mask: Value | None) -> Run:
    """The op over all that the cell reads, side by side."""
    ctx = lift.ctx
    parts, weights = _read(lift, cell)
    x = ctx.emit("Concat", parts, {"axis": 2}) if len(parts) > 1 else parts[0]
    batch = ctx.shape(x)[1]
    x, time_major = _behind_reshape(ctx, x)
    return run(
        ctx,
        cell,
        x,
        weights,
        time_major=time_major,
        direction="reverse" if lift.backward else "forward",
        initial=[_initial(ctx, first[read], batch) for read in (cell.hidden, cell.cell) if read],
        mask=None if mask is None else ctx.transpose(ctx.reshape(mask, [lift.trips, batch]), [1, 0]),
    )


def _behind_reshape(ctx: Dialect, x: Value) -> tuple[Value, bool]:
    """x (T,B,I), or the (B,T,I) that it is a Reshape of where B is 1; and whether time comes first."""
    node, (trips, batch, width) = ctx.producer(x), ctx.shape(x)
    if node is not None and node.op == "Reshape" and ctx.graph.shape(node.inputs[0]) == (batch, trips, width):
        return Value(x.dtype, tensor=node.inputs[0]), False
    return x, True


def _read(lift: Lift, cell: Cell) -> tuple[list[Value], Weights]:
    """The sequences (T,B,n) that the cell reads, and its weights. Where it adds a sequence as it is, the product that made
    the sequence before the loop becomes a part of them."""
    ctx, at = lift.ctx, 0
    w = weights_of(cell)
    bias, parts, blocks = w.bias, [], []
    for name in cell.frame:
        width = lift.shape(name)[-1]
        assert isinstance(width, int)
        block, at = w.w_ih[:, at : at + width], at + width
        frame = lift.body.frames.get(name)
        as_it_is = frame is not None and np.count_nonzero(block, axis=1).max() == 1
        made = _product_behind(ctx, frame) if frame is not None and as_it_is else None
        if made is None:
            whole = lift.whole(name)
        else:
            whole = lift.sequence(made[0])
            bias = block @ made[2] + (0 if bias is None else bias)
            block = block @ made[1].T
        trips, *rest = ctx.shape(whole)
        parts.append(ctx.reshape(whole, [trips, product(rest[:-1]), rest[-1]]))
        blocks.append(block)
    return parts, replace(w, w_ih=np.concatenate(blocks, 1), bias=bias)


def _product_behind(ctx: Dialect, frame: Frame) -> tuple[Frame, np.ndarray, np.ndarray] | None:
    """The sequence x, the matrix (K, n) and the offset (n,) where a sequence is x @ matrix + offset; else None."""
    tensor = frame.source.tensor
    if not frame.source.is_run or frame.axis == len(ctx.graph.shape(tensor)) - 1:
        return None
    try:
        s = Reader(ctx.graph, (), closed=True).sum(tensor)
    except NotACell:
        return None
    if len(s.dense) != 1 or set(s.diag) - {()}:
        return None
    ((atoms, part),) = s.dense.values()
    x = atoms[0]
    if len(atoms) != 1 or not isinstance(x, Leaf) or ctx.graph.shape(x.tensor)[:-1] != ctx.graph.shape(tensor)[:-1]:
        return None
    matrix = np.zeros((x.width, s.width))
    matrix[x.start : x.stop] = part
    offset = s.diag[()][1] if s.diag else np.zeros(s.width)
    return Frame(Value(frame.source.dtype, tensor=x.tensor), frame.axis, frame.backward), matrix, offset


def _initial(ctx: Dialect, value: Value, batch: Size) -> Value | None:
    """(1,B,H); None for zeros, so that a stream can hold the state."""
    if ctx.uniform(value) == 0:
        return None
    rows, width = _rows(ctx, value)
    return ctx.expand(ctx.reshape(value, [1, rows, width]), [1, batch, width])


def _in_words(cell: Cell) -> str:
    hidden = cell.weights["w_hh"].shape[1] // len(GATES[cell.op])
    return f"{cell.op} of {hidden} units ({', '.join(dict.fromkeys(cell.attrs['activations']))})"
