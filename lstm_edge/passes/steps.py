"""Steps of a cell that hand their states on become one op over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ..errors import UnsupportedModelError
from ..importers.dialect import Dialect, Value, known
from ..ir.dims import Dim, Size, product
from ..ir.graph import Graph, Node
from ..ir.node import place
from ..ir.ops import GATES, STATES, axes_of_frames, each, op_spec, read_attrs
from ..recurrences.cells import Cell
from ..recurrences.op import run, weights_of
from ..recurrences.polynomials import Sum
from .edit import constant_of, reader_counts
from .stacks import unstacked


@dataclass
class Step:
    """One evaluation of a cell: the nodes it is spelt around, the new states it gives, and those by the algebra (none
    where an op gives them: then `y` is its one frame, the same numbers as `hidden`)."""

    cell: Cell
    first: Node  # the place in the graph: after this node's inputs everything that the op reads exists
    hidden: str
    new: list[Sum] = field(default_factory=list)
    state: str = ""
    y: str = ""

    @property
    def made(self) -> list[str]:
        """What it gives to others."""
        return [t for t in (self.hidden, self.state, self.y) if t]

    @property
    def stands_alone(self) -> bool:
        """Whether it is worth an op by itself. A dense layer of two inputs is as good as one step of an RNN, and a step
        from zeros is none to a stream."""
        return bool(self.new) and self.cell.op != "RNN" and bool(self.cell.hidden)


def one_frame(graph: Graph, node: Node, producers: Mapping[str, Node], made: Collection[str]) -> Step | None:
    """The step that a recurrence over one frame is, as a source calls it in every trip of a loop; None for another node.
    `made`: the states that steps before it gave."""
    if node.op not in GATES:
        return None
    spec, attrs = op_spec(node), read_attrs(node)
    given = {name: tensor for name, tensor in zip(spec.input_names, node.inputs) if tensor}
    _, time = axes_of_frames(attrs)
    if graph.shape(given["x"])[time] != 1 or attrs["direction"] != "forward" or attrs["clip"]:
        return None
    weights = {n: constant_of(graph, t) for n, t in given.items() if n not in ("x", *STATES)}
    arrays = {n: array for n, array in weights.items() if array is not None}
    if len(arrays) < len(weights):  # lengths or a mask, or weights that are stored as integers
        return None
    names = each(attrs["activations"], 1)
    own = {
        k: each(v, 1 if k == "activations" else len(names)) if k.startswith("activation") else v
        for k, v in attrs.items()
    }
    start = [_behind_reshapes(given.get(state, ""), producers, made) for state in STATES]
    y, hidden, *state = [*node.outputs, "", ""][: 1 + len(STATES)]
    cell = Cell(node.op, own, arrays, [given["x"]], *start)
    return Step(cell, node, hidden or y, state="".join(state), y=y if hidden else "")


def _behind_reshapes(tensor: str, producers: Mapping[str, Node], made: Collection[str]) -> str:
    """The state of a step that a tensor is in another shape; else the tensor."""
    behind, node = tensor, producers.get(tensor)
    while behind not in made and node is not None and node.op == "Reshape":
        behind = node.inputs[0]
        node = producers.get(behind)
    return behind if behind in made else tensor


def chained(graph: Graph, steps: list[Step]) -> list[list[Step]]:
    """Steps of the same weights that hand their states on, joined where nobody else reads a cell on the way."""
    readers = reader_counts(graph)
    outside = {p.tensor for p in graph.outputs} | {s.write for s in graph.states}
    inner = _inner_readers(graph, steps)
    chains: list[list[Step]] = []
    ends: dict[tuple[str, str], list[Step]] = {}  # chains by the states that their last steps give
    for step in steps:
        chain = ends.get((step.cell.hidden, step.cell.cell))
        state = chain[-1].state if chain is not None else ""
        if chain is None or chain[-1].cell.key != step.cell.key or state in outside or readers[state] > inner[state]:
            chain = []
            chains.append(chain)
        chain.append(step)
        ends[step.hidden, step.state] = chain
    return chains


def _inner_readers(graph: Graph, steps: list[Step]) -> Counter[str]:
    """How many readers of a tensor are parts of cells and go away with them."""
    ends = {t for s in steps for t in s.made}
    keep = {p.tensor for p in graph.outputs} | {s.write for s in graph.states}
    alive: list[Node] = []
    for node in reversed(graph.nodes):
        if any(o in keep for o in node.outputs if o) and not any(o in ends for o in node.outputs if o):
            alive.append(node)
            keep.update(i for i in node.inputs if i)
    total = reader_counts(graph)
    total.subtract(Counter(i for n in alive for i in n.inputs if i))
    return total


def put_op(graph: Graph, chain: list[Step]) -> None:
    """Puts the op in the place of the steps; what spelt them is left without readers."""
    gone = {o: graph.shape(o) for s in chain for o in s.made}
    if len(chain) > 1 and _read_early(graph, chain, set(gone)):
        for step in chain:
            if step.stands_alone:
                put_op(graph, [step])
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
            raise UnsupportedModelError(f"{place(later[0])}: reads what is computed from it")
        waiting = later
    graph.nodes = ordered


def _read_early(graph: Graph, chain: list[Step], gone: set[str]) -> bool:
    """Whether a frame of a later step is computed from an earlier step's answer, so that the steps cannot run as one."""
    reached = set(gone)
    for node in graph.nodes:
        if any(i in reached for i in node.inputs) and not any(o in gone for o in node.outputs if o):
            reached.update(o for o in node.outputs if o)
    return any(f in reached for s in chain for f in s.cell.frame)


def _emit(graph: Graph, chain: list[Step], shapes: dict[str, tuple[Size, ...]]) -> None:
    """Appends one op for all steps, and each step's states under the names and in the shapes that they had."""
    cell = chain[0].cell
    d = _Pass(graph, chain[-1].first.name)
    x, axis = _frames(d, [s.cell.frame for s in chain])
    batch = d.shape(x)[1 - axis]
    states = [d.given(read) if read else None for read in (cell.hidden, cell.cell)]
    initial = [s and d.reshape(s, [1, batch, d.shape(s)[-1]]) for s in states]
    answer = run(d, cell, x, weights_of(cell), time_major=axis == 0, initial=initial[: 2 if cell.op == "LSTM" else 1])
    y = answer.frames(d, axis == 0)
    for t, step in enumerate(chain):
        frame = d.tensor(d.slice_axis(y, axis, t, t + 1))
        for name in (step.hidden, *([step.y] if step.y else [])):
            _restore(graph, frame, name, shapes)
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
