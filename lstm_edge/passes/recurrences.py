"""Recurrences that a graph spells out become ops: cells in matrix products and gates, alone or unrolled over time, and
recurrences between two reversals of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ..ir.dims import mentions
from ..ir.graph import Graph, Node
from ..ir.ops import read_attrs
from ..recurrences.cells import gru, lstm, rnn
from ..recurrences.polynomials import Act, Leaf, NotACell, Sum, substituted
from ..recurrences.reading import PRODUCTS, READERS, Reader
from . import reversals
from .edit import note
from .stacks import restack
from .steps import Step, chained, one_frame, put_op

ACTIVATED = ("Unary", "Dense")  # ops that an activation may end


def recognise(graph: Graph) -> None:
    """Replaces every spelt-out LSTM and GRU cell that matches exactly; steps of one cell become one op over time."""
    steps = _cells(graph)
    chains = [c for c in chained(graph, steps) if len(c) > 1 or c[0].stands_alone]
    for chain in chains:
        put_op(graph, chain)
    if any(len(chain) > 1 for chain in chains):
        restack(graph)
    graph.drop_unused()
    found = Counter((chain[0].cell.op, len(chain)) for chain in chains)
    for (op, length), count in found.items():
        times = f" of {length} steps, as many as the source has written out" if length > 1 else ""
        note(graph, f"recognised {count} spelt-out {op} cell{'s' if count > 1 else ''}{times}")
    reversals.turn(graph)


# ---- finding cells ---------------------------------------------------------------------------------------------------


def _cells(graph: Graph) -> list[Step]:
    """Every step of a cell, in the order of the graph."""
    steps: list[Step] = []
    made: set[str] = set()
    reader = Reader(graph, made, closed=True)
    for node in graph.nodes:
        found = [s for s in _steps_at(reader, node, steps) if _of_one_frame(graph, s)]
        if found:
            steps += found
            made.update(t for s in found for t in s.made)
            reader.forget()
    return steps


def _steps_at(reader: Reader, node: Node, steps: list[Step]) -> list[Step]:
    """The step that ends at a node, after the first step of its chain where that is told by it alone."""
    step = one_frame(reader.graph, node, reader.producers, reader.leaves)
    step = step or _lstm_step(reader, node, steps) or _gru_step(reader, node)
    if step is not None:
        return [step]
    return _second_step(reader, node, steps) or _rnn_step(reader, node, steps)


def _second_step(reader: Reader, node: Node, steps: list[Step]) -> list[Step]:
    """A step of an LSTM or GRU and the one before it, whose states were zeros and left parts of the cell out."""
    if node.op != "Binary" or node.attrs["kind"] not in ("mul", "add", "sub"):
        return []
    try:
        h = reader.sum(node.outputs[0])
    except NotACell:
        return []
    for hidden in _leaves_of_products([h]):
        last = reader.producers.get(hidden)
        if hidden in reader.leaves or last is None or last.op != "Binary" or reader.graph.shape(hidden)[-1] != h.width:
            continue
        near = _without_products(reader, node)
        for cell in ("", *_squashed(reader, last)):
            if (cell or hidden) not in near:
                continue
            opaque = Reader(reader.graph, {*reader.leaves, hidden, cell} - {""}, closed=True)
            step = _lstm_step(opaque, node, steps) if cell else _gru_step(opaque, node)
            if step is not None and (step.cell.hidden, step.cell.cell) == (hidden, cell):
                first = _first_step(reader, step, [""])
                if first is not None:
                    return [first, step]
    return []


def _without_products(reader: Reader, node: Node) -> set[str]:
    """Tensors that a node computes its own from without a matrix in between, as a step does from the state it keeps a
    part of."""
    near: set[str] = set()
    work = [node]
    while work:
        new = {i for i in work.pop().inputs if i not in near}
        near |= new
        made = (reader.producers.get(i) for i in new - set(reader.leaves))
        work += [n for n in made if n is not None and n.op in READERS and n.op not in PRODUCTS]
    return near


def _squashed(reader: Reader, node: Node) -> list[str]:
    """Tensors whose functions a product multiplies: one may be the new cell of an LSTM."""
    before = (reader.producers.get(i) for i in node.inputs)
    return [p.inputs[0] for p in before if p is not None and p.op == "Unary"]


def _first_step(reader: Reader, step: Step, starts: Sequence[str]) -> Step | None:
    """The step that gives what `step` continues: the same cell from one of the states `starts`, '' for zeros."""
    cell, node = step.cell, reader.producers.get(step.cell.hidden)
    if node is None:
        return None
    try:
        own = [reader.sum(t) for t in (cell.hidden, cell.cell) if t]
    except NotACell:
        return None
    read = _leaves_of_products(own)
    for start in starts:
        frame = [t for t in read if t != start]
        instead = {**dict(zip(cell.frame, frame)), cell.hidden: start, cell.cell: start}
        if len(frame) == len(cell.frame) and [substituted(s, instead).key for s in step.new] == [s.key for s in own]:
            return Step(replace(cell, frame=frame, hidden=start, cell=""), node, cell.hidden, own, cell.cell)
    return None


def _lstm_step(reader: Reader, node: Node, steps: list[Step]) -> Step | None:
    """At h' = o * act(c'): the step, or None."""
    if node.op != "Binary" or node.attrs["kind"] != "mul":
        return None
    for squashed in node.inputs:
        squash = reader.producers.get(squashed)
        update = reader.producers.get(squash.inputs[0]) if squash is not None and squash.op == "Unary" else None
        if update is None or update.op not in ("Binary", "Unary"):
            continue
        try:
            h, c = reader.sum(node.outputs[0]), reader.sum(update.outputs[0])
            for hidden in _hidden_candidates(reader, h, c, steps):
                try:
                    return Step(lstm(h, c, hidden), update, node.outputs[0], [h, c], update.outputs[0])
                except NotACell:
                    continue
        except NotACell:
            continue
    return None


def _hidden_candidates(reader: Reader, h: Sum, c: Sum, steps: list[Step]) -> list[str]:
    """What may be the previous h, best first: what came with the previous cell; what comes from where the cell comes from;
    anything else of its width. For one step alone all give the same answer."""
    cells = {a.tensor for atoms, _ in c.diag.values() for a in atoms if isinstance(a, Leaf)}
    before = [s.hidden for s in steps if s.state in cells]
    leaves = [t for t in _leaves_of_products([h, c]) if reader.graph.shape(t)[-1] == h.width]
    origin = {_origin(reader, t) for t in cells}
    made = {s.hidden for s in steps}
    return before or sorted(leaves, key=lambda t: (_origin(reader, t) not in origin, t in made))


def _leaves_of_products(sums: Sequence[Sum]) -> list[str]:
    """Tensors that anything in these sums multiplies by a matrix."""
    out: dict[str, None] = {}
    work, seen = list(sums), set[int]()
    while work:
        s = work.pop()
        if id(s) in seen:
            continue
        seen.add(id(s))
        for terms, dense in ((s.diag, False), (s.dense, True)):
            for atoms, _ in terms.values():
                for a in atoms:
                    if isinstance(a, Leaf):
                        out.update({a.tensor: None} if dense else {})
                    elif isinstance(a, Act):
                        work.append(a.of)
    return list(out)


def _origin(reader: Reader, tensor: str) -> str:
    """What a tensor is a piece of; "" for zeros made on the spot."""
    node = reader.producers.get(tensor)
    while node is not None and node.op in ("Reshape", "Slice", "Transpose", "Expand", "Gather"):
        tensor = node.inputs[0]
        node = reader.producers.get(tensor)
    return "" if node is not None and node.op == "Fill" or reader.graph.tensors[tensor].is_constant else tensor


def _gru_step(reader: Reader, node: Node) -> Step | None:
    """At h' = (1 - z) n + z h: the step, or None."""
    if node.op != "Binary" or node.attrs["kind"] not in ("add", "sub"):
        return None
    before = (reader.producers.get(i) for i in node.inputs)
    if not any(p is not None and p.op == "Binary" and p.attrs["kind"] == "mul" for p in before):
        return None
    try:
        h = reader.sum(node.outputs[0])
        leaves = {a.tensor for atoms, _ in h.diag.values() for a in atoms if isinstance(a, Leaf)}
        if len(leaves) == 1:
            return Step(gru(h, leaves.pop()), node, node.outputs[0], [h])
    except NotACell:
        pass
    return None


def _rnn_step(reader: Reader, node: Node, steps: list[Step]) -> list[Step]:
    """At h' = act(W x + R h + b) whose h another such step gave: the step, after the one before where that is the first."""
    if node.op not in ACTIVATED or not _reads_several(reader, node):
        return []
    attrs = read_attrs(node)
    if attrs.get("kind", attrs.get("activation")) == "linear":
        return []
    try:
        h = reader.sum(node.outputs[0])
    except NotACell:
        return []
    read = _leaves_of_products([h])
    for hidden in read if len(read) > 1 and h.sole_act() is not None else []:
        before = next((s for s in steps if s.hidden == hidden and s.cell.op == "RNN"), None)
        last = reader.producers.get(hidden)
        if before is None and (last is None or last.op not in ACTIVATED or reader.graph.shape(hidden)[-1] != h.width):
            continue
        try:
            step = Step(rnn(h, hidden), node, node.outputs[0], [h])
        except NotACell:
            continue
        if before is not None and before.cell.key == step.cell.key:
            return [step]
        own = reader.sum(hidden) if before is None else None
        first = _first_step(reader, step, ["", *_leaves_of_products([own])]) if own is not None else None
        if first is not None:
            return [first, step]
    return []


def _reads_several(reader: Reader, node: Node | None) -> bool:
    """Whether several tensors meet in what a node computes; where none do, it is no cell, and need not be read."""
    row: list[int] = []  # of nodes that read one tensor each, so that all have one answer
    several = False
    while node is not None and node.op in READERS:
        known = reader.meetings.get(id(node))
        run = [i for i in node.inputs if i and not reader.graph.tensors[i].is_constant] if known is None else []
        if len(run) != 1:
            several = len(run) > 1 or known is True
            break
        row.append(id(node))
        node = reader.producers.get(run[0]) if run[0] not in reader.leaves else None
    reader.meetings.update(dict.fromkeys(row, several))
    return several


def _of_one_frame(graph: Graph, step: Step) -> bool:
    """Whether all that the cell reads is (B, n), axes of size 1 aside: no recurrence applies it to all frames at once."""
    read = [t for t in (*step.cell.frame, step.cell.hidden, step.cell.cell) if t]
    leading = [[s for s in graph.shape(t)[:-1] if s != 1] for t in read]
    return all(
        lead == leading[0] and len(lead) <= 1 and not any(mentions(s, "frames") for s in lead) for lead in leading
    )
