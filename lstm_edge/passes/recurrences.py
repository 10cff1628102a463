"""Recurrences that a graph spells out become ops: cells in matrix products and gates, alone or unrolled over time, and
recurrences between two reversals of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..importers.dialect import Dialect, Value, known
from ..ir.dims import Dim, Size, mentions, product
from ..ir.graph import Graph, Node
from ..ir.ops import read_attrs
from ..recurrences.cells import Cell, gru, lstm, rnn
from ..recurrences.op import run, weights_of
from ..recurrences.polynomials import Act, Leaf, NotACell, Sum, substituted
from ..recurrences.reading import PRODUCTS, READERS, Reader
from . import reversals
from .edit import note, reader_counts
from .stacks import restack, unstacked


def recognise(graph: Graph) -> None:
    """Replaces every spelt-out LSTM and GRU cell that matches exactly; steps of one cell become one op over time."""
    steps = _cells(graph)
    chains = [c for c in _chains(graph, steps) if len(c) > 1 or c[0].stands_alone]
    for chain in chains:
        _replace(graph, chain)
    if any(len(chain) > 1 for chain in chains):
        restack(graph)
    graph.drop_unused()
    found = Counter((chain[0].cell.op, len(chain)) for chain in chains)
    for (op, length), count in found.items():
        times = f" of {length} steps" if length > 1 else ""
        note(graph, f"recognised {count} spelt-out {op} cell{'s' if count > 1 else ''}{times}")
    reversals.turn(graph)


@dataclass
class _Step:
    """One evaluation of a cell: the nodes it is spelt around, the new states it gives, and those by the algebra."""

    cell: Cell
    first: Node  # the place in the graph: after this node's inputs everything that the op reads exists
    hidden: str
    new: list[Sum]
    state: str = ""

    @property
    def stands_alone(self) -> bool:
        """Whether it is a recurrence by itself. A dense layer of two inputs is as good as one step of an RNN, and a step
        from zeros is none to a stream."""
        return self.cell.op != "RNN" and bool(self.cell.hidden)


# ---- finding cells ---------------------------------------------------------------------------------------------------


def _cells(graph: Graph) -> list[_Step]:
    """Every step of a cell, in the order of the graph."""
    steps: list[_Step] = []
    made: set[str] = set()
    reader = Reader(graph, made, closed=True)
    for node in graph.nodes:
        found = [s for s in _steps_at(reader, node, steps) if _of_one_frame(graph, s)]
        if found:
            steps += found
            made |= {t for s in found for t in (s.hidden, s.state) if t}
            reader = Reader(graph, made, closed=True)
    return steps


def _steps_at(reader: Reader, node: Node, steps: list[_Step]) -> list[_Step]:
    """The step that ends at a node, after the first step of its chain where that is told by it alone."""
    step = _lstm_step(reader, node, steps) or _gru_step(reader, node)
    if step is not None:
        return [step]
    return _second_step(reader, node, steps) or _rnn_step(reader, node, steps)


def _second_step(reader: Reader, node: Node, steps: list[_Step]) -> list[_Step]:
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


def _first_step(reader: Reader, step: _Step, starts: Sequence[str]) -> _Step | None:
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
            return _Step(replace(cell, frame=frame, hidden=start, cell=""), node, cell.hidden, own, cell.cell)
    return None


def _lstm_step(reader: Reader, node: Node, steps: list[_Step]) -> _Step | None:
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
                    return _Step(lstm(h, c, hidden), update, node.outputs[0], [h, c], update.outputs[0])
                except NotACell:
                    continue
        except NotACell:
            continue
    return None


def _hidden_candidates(reader: Reader, h: Sum, c: Sum, steps: list[_Step]) -> list[str]:
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


def _gru_step(reader: Reader, node: Node) -> _Step | None:
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
            return _Step(gru(h, leaves.pop()), node, node.outputs[0], [h])
    except NotACell:
        pass
    return None


def _rnn_step(reader: Reader, node: Node, steps: list[_Step]) -> list[_Step]:
    """At h' = act(W x + R h + b) whose h another such step gave: the step, after the one before where that is the first."""
    if node.op not in ("Unary", "Dense") or not _reads_several(reader, node):
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
        if before is None and (last is None or last.op != node.op or reader.graph.shape(hidden)[-1] != h.width):
            continue
        try:
            step = _Step(rnn(h, hidden), node, node.outputs[0], [h])
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
    while node is not None and node.op in READERS:
        run = [i for i in node.inputs if i and not reader.graph.tensors[i].is_constant]
        if len(run) != 1:
            return len(run) > 1
        node = reader.producers.get(run[0]) if run[0] not in reader.leaves else None
    return False


def _of_one_frame(graph: Graph, step: _Step) -> bool:
    """Whether all that the cell reads is (B, n), axes of size 1 aside: no recurrence applies it to all frames at once."""
    read = [t for t in (*step.cell.frame, step.cell.hidden, step.cell.cell) if t]
    leading = [[s for s in graph.shape(t)[:-1] if s != 1] for t in read]
    return all(
        lead == leading[0] and len(lead) <= 1 and not any(mentions(s, "frames") for s in lead) for lead in leading
    )


# ---- steps over time -------------------------------------------------------------------------------------------------


def _chains(graph: Graph, steps: list[_Step]) -> list[list[_Step]]:
    """Steps of the same weights that hand their states on, joined where nobody else reads a cell on the way."""
    readers = reader_counts(graph)
    outside = {p.tensor for p in graph.outputs} | {s.write for s in graph.states}
    inner = _inner_readers(graph, steps)
    chains: list[list[_Step]] = []
    for step in steps:
        for chain in chains:
            last = chain[-1]
            if (last.hidden, last.state) != (step.cell.hidden, step.cell.cell) or last.cell.key != step.cell.key:
                continue
            state = last.state
            if not state or state not in outside and readers[state] <= inner[state]:
                chain.append(step)
                break
        else:
            chains.append([step])
    return chains


def _inner_readers(graph: Graph, steps: list[_Step]) -> Counter[str]:
    """How many readers of a tensor are parts of cells and go away with them."""
    ends = {s.hidden for s in steps} | {s.state for s in steps}
    keep = {p.tensor for p in graph.outputs} | {s.write for s in graph.states}
    alive: list[Node] = []
    for node in reversed(graph.nodes):
        if any(o in keep for o in node.outputs if o) and not any(o in ends for o in node.outputs if o):
            alive.append(node)
            keep.update(i for i in node.inputs if i)
    total = reader_counts(graph)
    total.subtract(Counter(i for n in alive for i in n.inputs if i))
    return total


def _replace(graph: Graph, chain: list[_Step]) -> None:
    """Puts the op in the place of the steps; what spelt them is left without readers."""
    gone = {o: graph.shape(o) for s in chain for o in (s.hidden, s.state) if o}
    if len(chain) > 1 and _read_early(graph, chain, set(gone)):
        for step in chain:
            if step.stands_alone:
                _replace(graph, [step])
        return
    graph.nodes = [n for n in graph.nodes if not any(o in gone for o in n.outputs if o)]
    _emit(graph, chain, gone)
    _sort(graph)
    graph.drop_unused()


def _sort(graph: Graph) -> None:
    """Nodes after what they read, else in the order they are in."""
    made = {o for n in graph.nodes for o in n.outputs if o}
    ready = set(graph.tensors) - made
    waiting, ordered = list(graph.nodes), []
    while waiting:
        later = []
        for node in waiting:
            if all(i in ready for i in node.inputs if i):
                ordered.append(node)
                ready.update(o for o in node.outputs if o)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise AssertionError(f"node {later[0].name} reads what is computed from it")
        waiting = later
    graph.nodes = ordered


def _read_early(graph: Graph, chain: list[_Step], gone: set[str]) -> bool:
    """Whether a frame of a later step is computed from an earlier step's answer, so that the steps cannot run as one."""
    reached = set(gone)
    for node in graph.nodes:
        if any(i in reached for i in node.inputs) and not any(o in gone for o in node.outputs if o):
            reached.update(o for o in node.outputs if o)
    return any(f in reached for s in chain for f in s.cell.frame)


def _emit(graph: Graph, chain: list[_Step], shapes: dict[str, tuple[Size, ...]]) -> None:
    """Appends one op for all steps, and each step's states under the names and in the shapes that they had."""
    cell = chain[0].cell
    d = _Pass(graph, chain[-1].first.name)
    x, axis = _frames(d, [s.cell.frame for s in chain])
    batch = d.shape(x)[1 - axis]
    states = [d.given(read) if read else None for read in (cell.hidden, cell.cell)]
    initial = [s and d.reshape(s, [1, batch, d.shape(s)[-1]]) for s in states]
    answer = run(d, cell, x, weights_of(cell), time_major=axis == 0, initial=initial[: len(chain[0].new)])
    y = answer.frames(d, axis == 0)
    for t, step in enumerate(chain):
        _restore(graph, d.tensor(d.slice_axis(y, axis, t, t + 1)), step.hidden, shapes)
    if answer.c_n is not None:
        _restore(graph, d.tensor(answer.c_n), chain[-1].state, shapes)


class _Pass(Dialect):
    """The dialect over a Graph that is there already, its ops named after one node."""

    op_in_names = False

    def __init__(self, graph: Graph, name: str):
        super().__init__()
        self.graph, self.node_name, self.place = graph, name, f"node {name}"

    def given(self, tensor: str) -> Value:
        t = self.graph.tensors[tensor]
        return known(t.data) if t.data is not None and t.dtype == "float32" else Value(t.dtype, tensor=tensor)


def _frames(d: Dialect, steps: list[list[str]]) -> tuple[Value, int]:
    """All that the steps read, and its axis of time: (B,T,I) and 1, or (T,B,I) and 0."""
    whole = unstacked(d.graph, [frame[0] for frame in steps]) if all(len(frame) == 1 for frame in steps) else None
    if whole is not None:
        (source, axis), one = whole, d.graph.shape(steps[0][0])
        sizes = [*d.graph.shape(source)]
        del sizes[axis]
        if axis < 2 and sizes == [product(one[:-1]), one[-1]]:
            return Value("float32", tensor=source), axis
    parts = []
    for frame in steps:
        read = [Value("float32", tensor=t) for t in frame]
        parts.append(_joined(d, [d.reshape(v, [product(d.shape(v)[:-1]), 1, d.shape(v)[-1]]) for v in read], 2))
    return _joined(d, parts, 1), 1


def _joined(d: Dialect, parts: list[Value], axis: int) -> Value:
    return d.emit("Concat", parts, {"axis": axis}) if len(parts) > 1 else parts[0]


def _restore(graph: Graph, source: str, name: str, shapes: dict[str, tuple[Size, ...]]) -> None:
    """`source` as the tensor `name` that the step's state was."""
    attrs = _sizes_from(graph, source, list(shapes[name]))
    del graph.tensors[name]
    graph.add("Reshape", [source], attrs, name, [name])


def _sizes_from(graph: Graph, tensor: str, target: list[Size]) -> dict[str, list[int]]:
    """A dims spec whose open sizes are axes of `tensor`."""
    shape = graph.shape(tensor)
    axes = [shape.index(s) if isinstance(s, Dim) else -1 for s in target]
    return {
        "shape": [1 if isinstance(s, Dim) else s for s in target],
        "from_input": [0 if a >= 0 else -1 for a in axes],
        "from_axis": [max(a, 0) for a in axes],
    }
