"""Recurrences that a graph spells out become ops: cells in matrix products and gates, alone or unrolled over time, and
recurrences between two reversals of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.dims import Dim, Size, mentions, product
from ..ir.graph import Graph, Node, Tensor
from ..ir.ops import OPS, TO_END, each, read_attrs
from ..recurrences.cells import Cell, gru, lstm
from ..recurrences.polynomials import Act, Leaf, NotACell, Sum
from ..recurrences.reading import Reader
from .edit import note, reader_counts, redirect, retrace

RECURRENT = ("LSTM", "GRU", "RNN")


def recognise(graph: Graph) -> None:
    """Replaces every spelt-out LSTM and GRU cell that matches exactly; steps of one cell become one op over time."""
    steps = _cells(graph)
    chains = _chains(graph, steps)
    for chain in chains:
        _replace(graph, chain)
    graph.drop_unused()
    found = Counter((chain[0].cell.op, len(chain)) for chain in chains)
    for (op, length), count in found.items():
        times = f" of {length} steps" if length > 1 else ""
        note(graph, f"recognised {count} spelt-out {op} cell{'s' if count > 1 else ''}{times}")
    _reversals(graph)


@dataclass
class _Step:
    """One evaluation of a cell: the nodes it is spelt around, the new states it gives."""

    cell: Cell
    first: Node  # the place in the graph: after this node's inputs everything that the op reads exists
    hidden: str
    state: str = ""


# ---- finding cells ---------------------------------------------------------------------------------------------------


def _cells(graph: Graph) -> list[_Step]:
    steps: list[_Step] = []
    made: set[str] = set()
    reader = Reader(graph, made, closed=True)
    for node in graph.nodes:
        step = _lstm_step(reader, node, steps) or _gru_step(reader, node)
        if step is not None and _of_one_frame(graph, step):
            steps.append(step)
            made |= {step.hidden, step.state} - {""}
            reader = Reader(graph, made, closed=True)
    return steps


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
            for hidden in _hidden_candidates(reader.graph, h, c, steps):
                try:
                    return _Step(lstm(h, c, hidden), update, node.outputs[0], update.outputs[0])
                except NotACell:
                    continue
        except NotACell:
            continue
    return None


def _hidden_candidates(graph: Graph, h: Sum, c: Sum, steps: list[_Step]) -> list[str]:
    """What may be the previous h, best first: what came with the previous cell; what comes from where the cell comes from;
    anything else of its width. For one step alone all give the same answer."""
    cells = {a.tensor for atoms, _ in c.diag.values() for a in atoms if isinstance(a, Leaf)}
    before = [s.hidden for s in steps if s.state in cells]
    leaves = [t for t in _leaves_of_products([h, c]) if graph.shape(t)[-1] == h.width]
    origin = {_origin(graph, t) for t in cells}
    made = {s.hidden for s in steps}
    return before or sorted(leaves, key=lambda t: (_origin(graph, t) not in origin, t in made))


def _leaves_of_products(sums: Sequence[Sum]) -> list[str]:
    """Tensors that anything in these sums multiplies by a matrix."""
    out: dict[str, None] = {}
    work, seen = list(sums), set()
    while work:
        s = work.pop()
        if s.key in seen:
            continue
        seen.add(s.key)
        for terms, dense in ((s.diag, False), (s.dense, True)):
            for atoms, _ in terms.values():
                for a in atoms:
                    if isinstance(a, Leaf):
                        out.update({a.tensor: None} if dense else {})
                    elif isinstance(a, Act):
                        work.append(a.of)
    return list(out)


def _origin(graph: Graph, tensor: str) -> str:
    """What a tensor is a piece of; "" for zeros made on the spot."""
    node = graph.producer(tensor)
    while node is not None and node.op in ("Reshape", "Slice", "Transpose", "Expand", "Gather"):
        tensor = node.inputs[0]
        node = graph.producer(tensor)
    return "" if node is not None and node.op == "Fill" or graph.tensors[tensor].is_constant else tensor


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
            return _Step(gru(h, leaves.pop()), node, node.outputs[0])
    except NotACell:
        pass
    return None


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
    cell, base = chain[0].cell, chain[-1].first.name
    frames = [_side_by_side(graph, s.cell.frame, f"{base}.x") for s in chain]
    x = graph.add1("Concat", frames, {"axis": 1}, f"{base}.x") if len(frames) > 1 else frames[0]
    given = {"x": x, **{k: graph.constant(w, f"{base}.{k}") for k, w in cell.weights.items()}}
    for name, read in (("h0", cell.hidden), ("c0", cell.cell)):
        if read:
            given[name] = _reshaped(graph, read, [1, _batch(graph, read), graph.shape(read)[-1]], f"{base}.{name}")
    inputs = [given.get(i.rstrip("?"), "") for i in OPS[cell.op].inputs]
    while not inputs[-1]:
        inputs.pop()
    wanted = [graph.fresh(f"{base}.y"), "", graph.fresh(f"{base}.c_n")][: 3 if cell.cell else 1]
    outputs = graph.add(cell.op, inputs, dict(cell.attrs), base, wanted)
    for t, step in enumerate(chain):
        at = {"axes": [1], "starts": [t], "ends": [t + 1]}
        frame = graph.add1("Slice", [outputs[0]], at, f"{base}.y{t}") if len(chain) > 1 else outputs[0]
        _restore(graph, frame, step.hidden, shapes)
    if chain[-1].state:
        _restore(graph, outputs[2], chain[-1].state, shapes)


def _side_by_side(graph: Graph, frame: list[str], name: str) -> str:
    """(B,1,I) of the tensors that one step reads."""
    parts = [_reshaped(graph, f, [_batch(graph, f), 1, graph.shape(f)[-1]], name) for f in frame]
    return graph.add1("Concat", parts, {"axis": 2}, name) if len(parts) > 1 else parts[0]


def _batch(graph: Graph, tensor: str) -> Size:
    return product(graph.shape(tensor)[:-1])


def _reshaped(graph: Graph, tensor: str, target: list[Size], name: str) -> str:
    return graph.add1("Reshape", [tensor], _sizes_from(graph, tensor, target), name)


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


# ---- reversals of time -----------------------------------------------------------------------------------------------


def _reversals(graph: Graph) -> None:
    """A recurrence over a reversed sequence is a reverse one over the sequence, its answer reversed; two reversals of a
    sequence are none."""
    count = 0
    for node in retrace(graph):
        producers = {o: n for n in graph.nodes for o in n.outputs if o}
        if node.op in RECURRENT and _unmasked(node) and node.attrs.get("direction", "forward") != "bidirectional":
            count += _turned(graph, node, producers)
        else:
            graph.nodes.append(node)
    if count:
        note(graph, f"read {count} recurrence{'s' if count > 1 else ''} over a reversed sequence as reverse")
        _cancel(graph)
        graph.drop_unused()


def _unmasked(node: Node) -> bool:
    named = dict(zip((i.rstrip("?") for i in OPS[node.op].inputs), node.inputs))
    return not named.get("lengths") and not named.get("mask")


def _turned(graph: Graph, node: Node, producers: dict[str, Node]) -> bool:
    """Appends the node, turned round if its x is a reversal."""
    time = 0 if node.attrs.get("time_major") else 1
    behind = _before_reversal(graph, producers, node.inputs[0], time)
    graph.nodes.append(node)
    if behind is None:
        return False
    node.inputs[0] = behind
    node.attrs["direction"] = "reverse" if node.attrs.get("direction", "forward") == "forward" else "forward"
    y = node.outputs[0]
    if y:
        node.outputs[0] = graph.fresh(f"{y}.turned")
        graph.tensors[node.outputs[0]] = Tensor(node.outputs[0], "float32", graph.shape(y))
        graph.nodes.append(Node("Slice", [node.outputs[0]], [y], dict(_reversal(time)), f"{y}.turned_back"))
    return True


def _reversal(axis: int) -> dict[str, list[int]]:
    return {"axes": [axis], "starts": [-1], "ends": [-TO_END], "steps": [-1]}


def _before_reversal(graph: Graph, producers: dict[str, Node], tensor: str, axis: int) -> str | None:
    """The tensor whose reversal along `axis` this is (through a Transpose, which is then made anew), else None."""
    node = producers.get(tensor)
    if node is None:
        return None
    if node.op == "Slice":
        return node.inputs[0] if _reversed_axis(graph, node) == axis else None
    if node.op == "Transpose":
        inner = producers.get(node.inputs[0])
        perm = node.attrs["perm"]
        if inner is not None and inner.op == "Slice" and _reversed_axis(graph, inner) == perm[axis]:
            return graph.add1("Transpose", [inner.inputs[0]], {"perm": perm}, f"{node.name}.unreversed")
    return None


def _reversed_axis(graph: Graph, node: Node) -> int:
    """The axis that a Slice reverses as a whole, -1 if it does anything else."""
    attrs, shape = read_attrs(node), graph.shape(node.inputs[0])
    if len(attrs["axes"]) != 1 or each(attrs["steps"], 1) != [-1]:
        return -1
    axis, start, end = attrs["axes"][0] % len(shape), attrs["starts"][0], attrs["ends"][0]
    size = shape[axis]
    whole = start == -1 or start >= TO_END or isinstance(size, int) and start >= size - 1
    return axis if whole and (end <= -TO_END or isinstance(size, int) and end < -size) else -1


def _cancel(graph: Graph) -> None:
    """Lets readers of a reversal of a reversal read what is behind both."""
    alias: dict[str, str] = {}
    for node in retrace(graph):
        node.inputs = [alias.get(i, i) for i in node.inputs]
        axis = _reversed_axis(graph, node) if node.op == "Slice" else -1
        producers = {o: n for n in graph.nodes for o in n.outputs if o} if axis >= 0 else {}
        behind = _before_reversal(graph, producers, node.inputs[0], axis) if axis >= 0 else None
        if behind is not None:
            alias[node.outputs[0]] = behind
        graph.nodes.append(node)
    for old, new in alias.items():
        redirect(graph, old, new)
