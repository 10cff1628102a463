"""Inputs whose frames overlap: the stream keeps the overlap, the caller gives only what is new."""

from __future__ import annotations

from ..errors import UnsupportedModelError
from ..ir.graph import Graph, State
from ..ir.ops import TO_END
from .edit import note, retrace


def apply(graph: Graph, overlaps: dict[str, int]) -> None:
    """Narrows each named input's last axis by its overlap n; a state of the last n values, zeros at first, goes in
    front.

    An input of w values a frame becomes one of w-n. With a frames axis (0 or 1, not the last one) row t's context is
    the end of row t-1, so n may not pass w-n there.
    """
    for name, n in overlaps.items():
        port = next((p for p in graph.inputs if p.name == name), None)
        if port is None:
            raise UnsupportedModelError(
                f"overlap {name}={n}: the model has no input {name!r}; its inputs are {[p.name for p in graph.inputs]}"
            )
        _overlap_one(graph, port.name, port.tensor, n)
        note(
            graph,
            f"input {name}: the stream keeps {n} values of overlap, "
            f"a frame brings {graph.shape(_input_tensor(graph, name))[-1]} new ones",
        )


def context_name(name: str) -> str:
    """The state that keeps what the next frame of an input repeats."""
    return f"{name}.overlap"


def _input_tensor(graph: Graph, name: str) -> str:
    return next(p.tensor for p in graph.inputs if p.name == name)


def _overlap_one(graph: Graph, name: str, wide: str, n: int) -> None:
    shape, dtype, time = graph.shape(wide), graph.tensors[wide].dtype, graph.time_axis(wide)
    width = shape[-1] if shape else 0
    if not isinstance(width, int) or not 0 < n < width:
        raise UnsupportedModelError(
            f"overlap {name}={n}: expected 0 < overlap < the size of the last axis, found a last axis of {width}"
        )
    if time >= 0 and n > width - n:
        raise UnsupportedModelError(
            f"overlap {name}={n}: a sequence model's overlap may be at most the {width - n} new values of a frame"
        )
    position = [p.name for p in graph.inputs].index(name)
    del graph.tensors[wide]
    old_nodes = list(retrace(graph))
    x = graph.input(name, (*shape[:-1], width - n), dtype, tensor=f"{name}.new")
    graph.inputs[position] = graph.inputs.pop()
    state_shape = tuple(1 if axis == time else s for axis, s in enumerate(shape[:-1])) + (n,)
    state_name = context_name(name)
    read = graph.fresh(state_name)
    graph.tensors[read] = type(graph.tensors[x])(read, dtype, state_shape)
    if time < 0:
        graph.add("Concat", [read, x], {"axis": -1}, f"{state_name}.join", [wide])
        write = _slice(graph, wide, -1, -n, TO_END, f"{state_name}.next")
    else:
        tails = _slice(graph, x, -1, -n, TO_END, f"{state_name}.tails")
        shifted = graph.add1("Concat", [read, tails], {"axis": time}, f"{state_name}.shifted")
        context = _slice(graph, shifted, time, 0, -1, f"{state_name}.context")
        graph.add("Concat", [context, x], {"axis": -1}, f"{state_name}.join", [wide])
        write = _slice(graph, tails, time, -1, TO_END, f"{state_name}.next")
    graph.nodes += old_nodes
    graph.states.append(State(state_name, read, write, state_shape, dtype=dtype))


def _slice(graph: Graph, tensor: str, axis: int, start: int, end: int, name: str) -> str:
    return graph.add1("Slice", [tensor], {"axes": [axis], "starts": [start], "ends": [end], "steps": [1]}, name)
