"""One Graph as a part of another: its inputs bound to tensors that are there, its names its own, its states beside the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..errors import UnsupportedModelError
from ..ir.dims import Size, same, substitute
from ..ir.graph import Graph, State, Tensor


def graft(
    graph: Graph, part: Graph, inputs: Mapping[str, str], prefix: str = "", sizes: Mapping[str, Size] | None = None
) -> dict[str, str]:
    """Appends the nodes of `part` to `graph` and returns the tensors of its outputs, by output name.

    inputs: input name of `part` -> tensor of `graph` that it reads, of the same dtype and shape. prefix: put before every name of
    nodes, tensors and states with a slash between. sizes: what open sizes of `part` are in `graph` (batch, frames).
    `part` stays as it is. UnsupportedModelError where an input is not bound, or bound to what does not fit.
    """
    sizes = sizes or {}
    lead = f"{prefix}/" if prefix else ""
    names = {"": ""}
    for port in part.inputs:
        names[port.tensor] = _bound(graph, part, port.name, port.tensor, inputs, sizes, prefix)
    for tensor in part.tensors.values():
        if tensor.is_constant:
            names[tensor.name] = graph.fresh(lead + tensor.name)
            graph.tensors[names[tensor.name]] = replace(tensor, name=names[tensor.name])
    taken = {s.name for s in graph.states} | {p.name for p in graph.inputs}
    states = []
    for state in part.states:
        read = part.tensors[state.read]
        names[state.read] = graph.fresh(lead + state.read)
        graph.tensors[names[state.read]] = Tensor(names[state.read], read.dtype, _shape(read.shape, sizes))
        name = _free(lead + state.name, taken)
        kept = State(
            name, names[state.read], "", _shape(state.shape, sizes), state.fill_axis, state.initial, state.dtype
        )
        states.append((kept, state.write))
    for node in part.nodes:
        wanted = [lead + o if o else "" for o in node.outputs]
        made = graph.add(node.op, [names[i] for i in node.inputs], node.attrs, lead + node.name, wanted)
        names.update({old: new for old, new in zip(node.outputs, made) if old})
    for kept, write in states:
        kept.write = names[write]
        graph.states.append(kept)
    return {p.name: names[p.tensor] for p in part.outputs}


def _bound(
    graph: Graph, part: Graph, name: str, tensor: str, inputs: Mapping[str, str], sizes: Mapping[str, Size], prefix: str
) -> str:
    place = f"{prefix}: input {name!r}" if prefix else f"input {name!r}"
    if name not in inputs:
        raise UnsupportedModelError(f"{place}: expected something that it reads, found nothing")
    given, wanted = graph.tensors[inputs[name]], part.tensors[tensor]
    shape = _shape(wanted.shape, sizes)
    fits = len(shape) == len(given.shape) and all(same(a, b) for a, b in zip(shape, given.shape))
    if not fits or given.dtype != wanted.dtype:
        raise UnsupportedModelError(
            f"{place}: expected {wanted.dtype} of shape {shape}, found {given.dtype} of shape {given.shape}"
        )
    return given.name


def _shape(shape: tuple[Size, ...], sizes: Mapping[str, Size]) -> tuple[Size, ...]:
    return tuple(substitute(s, sizes) for s in shape)


def _free(name: str, taken: set[str]) -> str:
    unique, n = name, 1
    while unique in taken:
        n += 1
        unique = f"{name}.{n}"
    taken.add(unique)
    return unique
