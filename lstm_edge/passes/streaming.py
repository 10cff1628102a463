"""One graph for whole sequences and for chunks: what a chunk must know of the chunks before it becomes states of the
stream."""

from __future__ import annotations

import numpy as np

from ..ir.dims import Dim, Size, symbols
from ..ir.graph import Graph, Node, State, Tensor
from ..ir.ops import RECURRENT, STATES, TO_END, axes_of_frames, each, input_of, op_spec, read_attrs, spatial_axes
from ..ir.shapes import infer
from .edit import note, replace_by, retrace
from .timeflow import Carry, Cumulative, Edge, NotStreamable, Prefix, Running, Window, analyse

STARTED = "started"  # the state that tells a stream's first run from later ones


def apply(graph: Graph) -> None:
    """Decides whether the graph can stream and rewrites it so that any cutting into chunks gives what one run gives.

    Sets metadata `step` and `streaming` {supported, why, multiple}. A graph that cannot stream is left as it is, and
    so is
    a step model (no input has a frames axis), whose states are its paired inputs and outputs.
    """
    graph.metadata["step"] = graph.is_step_model()
    if graph.metadata["step"]:
        graph.metadata["streaming"] = {"supported": True, "why": "", "multiple": 1}
        _note_fresh_starts(graph)
        return
    try:
        _refuse_further_lengths(graph)
        analysis = analyse(graph)
    except NotStreamable as reason:
        graph.metadata["streaming"] = {"supported": False, "why": str(reason), "multiple": 1}
        return
    for node in retrace(graph):
        plan = analysis.plans.get(id(node))
        if isinstance(plan, Window):
            _keep_window(graph, node, plan)
        elif isinstance(plan, Carry):
            _carry(graph, node, plan)
            continue
        elif isinstance(plan, Prefix):
            _put_in_front(graph, node, plan)
            continue
        elif isinstance(plan, Edge):
            _repeat_first(graph, node, plan)
            continue
        elif isinstance(plan, Running):
            _reduce_so_far(graph, node, plan)
            continue
        elif isinstance(plan, Cumulative):
            _sum_on(graph, node, plan)
            continue
        graph.nodes.append(node)
    graph.metadata["streaming"] = {"supported": True, "why": "", "multiple": analysis.multiple}


def _refuse_further_lengths(graph: Graph) -> None:
    """A stream has one clock: what has a length of its own must be there as a whole."""
    for port in graph.inputs:
        for size in graph.shape(port.tensor):
            own = symbols(size) - {"batch", "frames"}
            if own:
                raise NotStreamable(f"input {port.name!r} has a length of its own, {min(own)}")


def _note_fresh_starts(graph: Graph) -> None:
    """A step model's recurrence that starts from a constant forgets between steps, as it does in its own framework."""
    for node in graph.nodes:
        if node.op in RECURRENT:
            h0 = input_of(node, "h0")
            if not h0 or graph.tensors[h0].is_constant:
                note(
                    graph, f"node {node.name} ({node.op}) starts anew at every run: its state is no input of the model"
                )


# ---- states ----------------------------------------------------------------------------------------------------------


def _new_state(
    graph: Graph,
    name: str,
    shape: tuple[Size, ...],
    dtype: str = "float32",
    fill_axis: int = -1,
    initial: np.ndarray | None = None,
) -> State:
    """A state whose `write` is yet to be set. The read tensor has the shape it has when a stream starts."""
    taken, unique, n = {s.name for s in graph.states} | {p.name for p in graph.inputs + graph.outputs}, name, 1
    while unique in taken:
        n += 1
        unique = f"{name}.{n}"
    extent = initial.shape[fill_axis] if initial is not None else 0
    first = tuple(extent if d == fill_axis else s for d, s in enumerate(shape))
    read = graph.fresh(unique)
    graph.tensors[read] = Tensor(read, dtype, first)
    state = State(unique, read, "", shape, fill_axis, initial, dtype)
    graph.states.append(state)
    return state


def _with(shape: tuple[Size, ...], axis: int, size: Size) -> tuple[Size, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _slice(graph: Graph, tensor: str, axis: int, start: int, end: int, name: str) -> str:
    return graph.add1("Slice", [tensor], {"axes": [axis], "starts": [start], "ends": [end]}, name)


def _keep_window(graph: Graph, node: Node, plan: Window) -> None:
    """Puts the kept frames in front of the node's input and drops its padding before time."""
    x, axis = graph.tensors[node.inputs[0]], plan.axis
    name = f"{node.name}.past"
    if plan.initial == plan.keep:
        state = _new_state(graph, name, _with(x.shape, axis, plan.keep), x.dtype)
    else:
        zeros = [plan.initial if d == axis else 1 for d in range(len(x.shape))]
        initial = np.zeros(zeros, x.dtype) if plan.initial else None
        state = _new_state(graph, name, _with(x.shape, axis, max(plan.keep, plan.initial)), x.dtype, axis, initial)
    joined = graph.add1("Concat", [state.read, x.name], {"axis": axis}, f"{name}.join")
    start, end = (-plan.keep, TO_END) if plan.keep else (0, 0)
    state.write = _slice(graph, joined, axis, start, end, f"{name}.next")
    node.inputs[0] = joined
    if node.op in ("Conv", "ConvTranspose"):
        n, d = len(x.shape) - 2, spatial_axes(node.attrs, len(x.shape)).index(axis)
        attrs = read_attrs(node)
        pads = each(attrs["pads"], 2 * n)
        pads[d], pads[n + d] = plan.pads
        node.attrs["pads"] = pads
        if node.op == "ConvTranspose":
            node.attrs["output_padding"] = [0 if i == d else p for i, p in enumerate(each(attrs["output_padding"], n))]


def _put_in_front(graph: Graph, node: Node, plan: Prefix) -> None:
    """Constant frames before the sequence: there in the first chunk, gone after it."""
    source, axis = node.inputs[-1], plan.axis
    if node.op == "Pad" and sum(read_attrs(node)["pads"]) != plan.frames.shape[axis]:
        source = _pad_other_axes(graph, node, axis)
    x = graph.tensors[source]
    state = _new_state(
        graph, f"{node.name}.front", _with(x.shape, axis, plan.frames.shape[axis]), x.dtype, axis, plan.frames
    )
    replace_by(graph, node, "Concat", [state.read, source], {"axis": axis})
    state.write = _slice(graph, graph.nodes[-1].outputs[0], axis, 0, 0, f"{state.name}.next")


def _repeat_first(graph: Graph, node: Node, plan: Edge) -> None:
    """The first frame's copies before the sequence. How many of a chunk's first frame there are is the extent of a state: all in the
    first run that has a frame, none after it."""
    source, axis, name = node.inputs[0], plan.axis, f"{node.name}.front"
    if sum(read_attrs(node)["pads"]) != plan.count:
        source = _pad_other_axes(graph, node, axis)
    rank = len(graph.shape(source))
    counted = tuple(plan.count if d == axis else 1 for d in range(rank))
    state = _new_state(graph, name, counted, "bool", axis, np.ones(counted, bool))
    number = graph.constant(np.zeros(1, np.int32), f"{name}.number")
    first = graph.add1("Gather", [source, number], {"axis": axis}, f"{name}.first")  # absent where there is none yet
    copies = graph.add1("Where", [state.read, first, first], {}, f"{name}.copies")
    replace_by(graph, node, "Concat", [copies, source], {"axis": axis})
    ends = [int(d != axis) for d in range(rank)]
    nothing = {"axes": list(range(rank)), "starts": [0] * rank, "ends": ends}
    rest = graph.add1("Slice", [graph.nodes[-1].outputs[0]], nothing, f"{name}.rest")
    dtype = graph.tensors[rest].dtype
    state.write = rest if dtype == "bool" else graph.add1("Cast", [rest], {"to": "bool"}, f"{name}.next")


def _pad_other_axes(graph: Graph, node: Node, axis: int) -> str:
    attrs = read_attrs(node)
    attrs["pads"][axis] = 0
    return graph.add1("Pad", node.inputs, attrs, f"{node.name}.other_axes")


# ---- recurrences -----------------------------------------------------------------------------------------------------


def _carry(graph: Graph, node: Node, plan: Carry) -> None:
    """h and c become states; a recurrence that has them as paired inputs already only gets its masked output mended."""
    spec = op_spec(node)
    starts = [name for name in STATES if name in spec.input_names]
    shapes = [shape for _, shape in infer(node, [graph.tensors[t] if t else None for t in node.inputs])]
    node.inputs += [""] * (max(map(spec.index, starts)) + 1 - len(node.inputs))
    node.outputs += [""] * (len(starts) + 1 - len(node.outputs))
    for name in starts:
        if name not in plan.initials:
            continue
        initial, index, after = plan.initials[name], spec.index(name), spec.output_names.index(STATES[name])
        state = _new_state(
            graph,
            f"{node.name}.{name.removesuffix('0')}",
            shapes[spec.output_names.index(STATES[name])],
            graph.tensors[node.outputs[0]].dtype,
            initial=initial if initial is not None and np.any(initial) else None,
        )
        node.inputs[index] = state.read if initial is not None else _computed_start(graph, state, node.inputs[index])
        if not node.outputs[after]:
            written = graph.fresh(f"{state.name}.next")
            graph.tensors[written] = Tensor(written, state.dtype, state.shape)
            node.outputs[after] = written
        state.write = node.outputs[after]
    graph.nodes.append(node)
    if plan.masked:
        _mend_masked_output(graph, node, input_of(node, "h0"), input_of(node, "mask"))


def _computed_start(graph: Graph, state: State, start: str) -> str:
    """`start` in a stream's first run, the state in every later one."""
    started = next((s for s in graph.states if s.name == STARTED), None)
    if started is None:
        started = _new_state(graph, STARTED, (1,), "bool")
        always = graph.constant(np.ones(1, bool), f"{STARTED}.yes")
        started.write = graph.add1("Binary", [started.read, always], {"kind": "or"}, f"{STARTED}.next")
    note(graph, f"{start} is read when a stream starts; the stream then carries what became of it as {state.name}")
    return graph.add1("Where", [started.read, state.read, start], {}, f"{state.name}.start")


def _mend_masked_output(graph: Graph, node: Node, h0: str, mask: str) -> None:
    """Before a chunk's first unmasked frame y repeats the frame processed last, which is the chunk's h0."""
    y, (_, time) = node.outputs[0], axes_of_frames(node.attrs)
    raw = graph.fresh(f"{node.name}.unmended")
    graph.tensors[raw] = Tensor(raw, "float32", graph.tensors.pop(y).shape)
    node.outputs[0] = raw
    name = f"{node.name}.mask"
    seen = graph.add1(
        "CumSum", [graph.add1("Cast", [mask], {"to": "int32"}, f"{name}.int")], {"axis": time}, f"{name}.count"
    )
    zero = graph.constant(np.zeros((), np.int32), f"{name}.zero")
    seen = graph.add1("Binary", [seen, zero], {"kind": "greater"}, f"{name}.seen")
    seen = _reshape(graph, seen, (0, 1, None), f"{name}.seen3")
    before = h0 if time == 0 else _reshape(graph, h0, (1, None, 2), f"{name}.before")
    graph.add("Where", [seen, raw, before], {}, f"{node.name}.masked", [y])


def _reshape(
    graph: Graph, tensor: str, axes: tuple[int | None, ...], name: str, outputs: list[str] | None = None
) -> str:
    """Reshape to the sizes of these axes of `tensor` (None: 1)."""
    sizes = [1 if a is None else graph.shape(tensor)[a] for a in axes]
    symbolic = [isinstance(s, Dim) for s in sizes]
    attrs = {
        "shape": [1 if dim else s for dim, s in zip(symbolic, sizes)],
        "from_input": [0 if dim else -1 for dim in symbolic],
        "from_axis": [a if dim else 0 for dim, a in zip(symbolic, axes)],
    }
    return graph.add("Reshape", [tensor], attrs, name, outputs or [name])[0]


# ---- reductions ------------------------------------------------------------------------------------------------------


def _reduce_so_far(graph: Graph, node: Node, plan: Running) -> None:
    """Sum, mean, max or min of all frames up to now, in an order that does not depend on the chunks."""
    attrs, x, y, axis = read_attrs(node), node.inputs[0], node.outputs[0], plan.axis
    rank = len(graph.shape(x))
    axes = sorted(a % rank for a in attrs["axes"] or range(rank))
    others = [a for a in axes if a != axis]
    if others:
        x = graph.add1("Reduce", [x], {"kind": attrs["kind"], "axes": others, "keepdims": 1}, f"{node.name}.frame")
    del graph.tensors[y]
    kept = _extreme_so_far if attrs["kind"] in ("max", "min") else _sum_so_far
    total = kept(graph, node.name, x, axis, attrs["kind"])
    if attrs["kind"] == "mean":
        total = graph.add1(
            "Binary", [total, _count_so_far(graph, node.name, x, axis)], {"kind": "div"}, f"{node.name}.mean"
        )
    left = tuple(a for a in range(rank) if attrs["keepdims"] or a not in axes)
    _reshape(graph, total, left, node.name, [y])


def _sum_so_far(graph: Graph, name: str, x: str, axis: int, kind: str) -> str:
    state = _new_state(graph, f"{name}.sum", _with(graph.shape(x), axis, 1))
    joined = graph.add1("Concat", [state.read, x], {"axis": axis}, f"{name}.sum.join")
    sums = graph.add1("CumSum", [joined], {"axis": axis}, f"{name}.sums")
    state.write = _slice(graph, sums, axis, -1, TO_END, f"{name}.sum.next")
    return state.write


def _sum_on(graph: Graph, node: Node, plan: Cumulative) -> None:
    """The sum so far stands in front of the chunk and is taken off again."""
    x = graph.tensors[node.inputs[0]]
    state = _new_state(graph, f"{node.name}.sum", _with(x.shape, plan.axis, 1), x.dtype)
    joined = graph.add1("Concat", [state.read, x.name], {"axis": plan.axis}, f"{node.name}.sum.join")
    sums = graph.add1("CumSum", [joined], {"axis": plan.axis}, f"{node.name}.sums")
    state.write = _slice(graph, sums, plan.axis, -1, TO_END, f"{node.name}.sum.next")
    start, end = (0, -1) if read_attrs(node)["exclusive"] else (1, TO_END)
    replace_by(graph, node, "Slice", [sums], {"axes": [plan.axis], "starts": [start], "ends": [end]})


def _extreme_so_far(graph: Graph, name: str, x: str, axis: int, kind: str) -> str:
    worst = np.full([1] * len(graph.shape(x)), -np.inf if kind == "max" else np.inf, np.float32)
    state = _new_state(graph, f"{name}.{kind}", _with(graph.shape(x), axis, 1), initial=worst)
    now = graph.add1("Reduce", [x], {"kind": kind, "axes": [axis], "keepdims": 1}, f"{name}.{kind}.chunk")
    state.write = graph.add1("Binary", [state.read, now], {"kind": kind}, f"{name}.{kind}.next")
    return state.write


def _count_so_far(graph: Graph, name: str, x: str, axis: int) -> str:
    """Frames so far, exact in float32 up to 2^24."""
    ones_shape = [1] * len(graph.shape(x))
    state = _new_state(graph, f"{name}.count", tuple(ones_shape))
    from_input = [0 if a == axis else -1 for a in range(len(ones_shape))]
    ones = graph.add1(
        "Fill",
        [x],
        {"shape": ones_shape, "from_input": from_input, "from_axis": [axis] * len(ones_shape), "value": 1.0},
        f"{name}.ones",
    )
    now = graph.add1("Reduce", [ones], {"kind": "sum", "axes": [axis], "keepdims": 1}, f"{name}.count.chunk")
    state.write = graph.add1("Binary", [state.read, now], {"kind": "add"}, f"{name}.count.next")
    return state.write
