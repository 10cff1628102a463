"""The oracle: runs a Graph in float64 NumPy, op by op as docs/ops.md says. Knows nothing of the C core.

float32 becomes float64 (float16 widened, int8 times its scale); int32 stays int32 and wraps; an absent value is None.
"""

from __future__ import annotations

import numpy as np

from .. import memory
from ..errors import ShapeError
from ..ir.dims import Dim, Size, value
from ..ir.graph import Graph, State, Tensor
from ..ir.ops import op_spec, read_attrs
from .arrays import RUN_AS, Array
from .node import run_node
from .recurrent import LETTERS, Traced, trace


def run(
    graph: Graph,
    inputs: dict[str, np.ndarray],
    states: dict[str, np.ndarray] | None = None,
    trace: dict[str, np.ndarray | None] | None = None,
) -> tuple[dict[str, np.ndarray | None], dict[str, np.ndarray]]:
    """One run. `inputs` by input name, shaped as graph.inputs declare; `states` as the last run gave them (or initial).

    Returns outputs by name (None where absent; float64, int32 or bool) and the states after the run.
    `trace`, when given, is filled with every tensor by its name. ShapeError when an array does not fit.
    """
    sizes = open_sizes(graph, inputs)
    values: dict[str, Array] = {n: memory.hold(constant(t)) for n, t in graph.tensors.items() if t.is_constant}
    for port in graph.inputs:
        values[port.tensor] = np.asarray(inputs[port.name]).astype(RUN_AS[graph.tensors[port.tensor].dtype])
    before = initial_states(graph, sizes["batch"])
    for name, array in (states or {}).items():
        if name not in before:
            raise ShapeError(f"state {name!r}: expected one of {', '.join(before) or 'none'}")
        before[name] = np.asarray(array).astype(before[name].dtype)
    for state in graph.states:
        values[state.read] = before[state.name]
    read_last = {i: node for node in graph.nodes for i in node.inputs}
    kept = {p.tensor for p in graph.outputs} | {s.write for s in graph.states}
    for node in graph.nodes:
        results = run_node(node, [values[i] if i else None for i in node.inputs])
        values.update({o: r for o, r in zip(node.outputs, results) if o})
        if trace is None:
            for name in {i for i in node.inputs if i and read_last[i] is node} - kept:
                del values[name]
    if trace is not None:
        trace.update(values)
    after = {s.name: before[s.name] if values[s.write] is None else values[s.write] for s in graph.states}
    return {p.name: values[p.tensor] for p in graph.outputs}, after


def run_frames(
    graph: Graph, inputs: dict[str, np.ndarray], states: dict[str, np.ndarray] | None = None
) -> tuple[dict[str, np.ndarray | None], dict[str, np.ndarray]]:
    """Runs a step model once per element of the inputs' leading axis and stacks the outputs. An absent output
    is left out of the stack (None when it is absent in every frame). Returns outputs by name and the last states."""
    counts = {name: len(a) for name, a in inputs.items()}
    if len(set(counts.values())) != 1:
        raise ShapeError(f"inputs: expected the same number of frames on every leading axis, found {counts}")
    outs: dict[str, list[np.ndarray]] = {p.name: [] for p in graph.outputs}
    for t in range(next(iter(counts.values()))):
        out, states = run(graph, {name: a[t] for name, a in inputs.items()}, states)
        for name, array in out.items():
            if array is not None:
                outs[name].append(array)
    return {name: np.stack(a) if a else None for name, a in outs.items()}, states or {}


def run_traced(
    graph: Graph, inputs: dict[str, np.ndarray], states: dict[str, np.ndarray] | None = None
) -> tuple[dict[int, Traced], dict[str, np.ndarray]]:
    """One run as `run`'s: what every recurrence of LETTERS that ran computes, by its place in graph.nodes, and the states after it."""
    values: dict[str, np.ndarray | None] = {}
    _, after = run(graph, inputs, states, values)
    traced = {}
    for index, node in enumerate(graph.nodes):
        arrays = [values[i] if i else None for i in node.inputs]
        if node.op in LETTERS and not any(i and a is None for i, a in zip(node.inputs, arrays)):
            arrays += [None] * (len(op_spec(node).inputs) - len(arrays))
            with np.errstate(all="ignore"):
                traced[index] = trace(node, read_attrs(node), arrays)
    return traced, after


def constant(tensor: Tensor) -> np.ndarray:
    """A constant's data as the reference computes with it. int8: of n scales, each is for 1/n of the elements."""
    data = tensor.values
    if tensor.scale is None:
        return data.astype(np.float64) if data.dtype.kind == "f" else data
    scale = tensor.scale.astype(np.float64).reshape(-1, 1)
    if scale.size == 0 or data.size % scale.size:
        raise ShapeError(f"constant {tensor.name}: expected one scale per row of {data.shape}, found {scale.size}")
    widened: np.ndarray = (data.astype(np.float64).reshape(scale.size, -1) * scale).reshape(data.shape)
    return widened


def initial_states(graph: Graph, batch: int) -> dict[str, np.ndarray]:
    """Every state before the first run, by name."""
    return {s.name: _initial(s, batch) for s in graph.states}


def _initial(state: State, batch: int) -> Array:
    shape = [value(s, batch, 0) for s in state.shape]
    if state.fill_axis >= 0:
        shape[state.fill_axis] = 0
        if state.initial is not None:
            shape[state.fill_axis] = np.broadcast_to(
                state.initial, np.broadcast_shapes(state.initial.shape, (1,) * len(shape))
            ).shape[state.fill_axis]
    return np.broadcast_to(0 if state.initial is None else state.initial, shape).astype(RUN_AS[state.dtype])


def open_sizes(graph: Graph, inputs: dict[str, np.ndarray]) -> dict[str, int]:
    """The value of every open size, from the inputs' shapes; batch and frames default to 1. ShapeError where a shape is not
    what the graph declares."""
    names = {p.name for p in graph.inputs}
    if set(inputs) != names:
        raise ShapeError(f"inputs: expected {sorted(names)}, found {sorted(inputs)}")
    shapes = [(port.name, graph.shape(port.tensor), np.shape(inputs[port.name])) for port in graph.inputs]
    found: dict[str, int] = {}
    for name, declared, shape in shapes:
        if len(declared) != len(shape):
            raise ShapeError(f"input {name}: expected shape {declared}, found {shape}")
        for want, have in zip(declared, shape):
            symbol, coefficient = _symbol(want)
            if symbol:
                found.setdefault(symbol, have // coefficient)
    found = {"batch": 1, "frames": 1, **found}
    for name, declared, shape in shapes:
        if tuple(s.at(found) if isinstance(s, Dim) else s for s in declared) != shape:
            known = ", ".join(f"{symbol} {number}" for symbol, number in found.items())
            raise ShapeError(f"input {name}: expected shape {declared}, found {shape} ({known})")
    return found


def _symbol(size: Size) -> tuple[str, int]:
    """The symbol and the coefficient of a size of the form coefficient times symbol; '' where it has another form."""
    if isinstance(size, Dim) and len(size.terms) == 1:
        ((monomial, coefficient),) = size.terms.items()
        if len(monomial) == 1 and isinstance(monomial[0], str):
            return monomial[0], coefficient
    return "", 1
