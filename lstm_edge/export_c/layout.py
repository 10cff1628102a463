"""Where every value of a step lies: what the core planned for a stream, and an arena of this program's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._core import Model, Stream
from ..errors import UnsupportedModelError
from .memory import Types

ALIGN = 8
WIDTHS = (4, 4, 1, 2, 1)  # of le_dtype
MOST_PLANS = 64
ARENA, CONSTANT, STATE, NEXT = "AT_ARENA", "AT_CONSTANT", "AT_STATE", "AT_NEXT"


@dataclass(frozen=True)
class Value:
    """A tensor in one plan."""

    place: str
    offset: int
    dtype: int
    dims: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.dims, dtype=np.int64)) * WIDTHS[self.dtype]


@dataclass(frozen=True)
class Call:
    """A node that runs: its number, tensor numbers (-1 absent), and where its scratch lies."""

    node: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    scratch: int


@dataclass
class Plan:
    values: dict[int, Value]
    calls: list[Call]
    copies: list[tuple[Value, Value]]
    written: tuple[int, ...]  # elements of each output; 0 where it has no answer yet
    arena: int
    repeats: int = 1


@dataclass
class Layout:
    plans: list[Plan]
    states: list[tuple[int, int, bytes]] = field(default_factory=list)  # offset, bytes, initial value
    state_bytes: int = 0

    @property
    def arena(self) -> int:
        """Bytes of it in any plan."""
        return max(p.arena for p in self.plans)


def up(n: int) -> int:
    return (n + ALIGN - 1) // ALIGN * ALIGN


def layout_of(model: Model, frames: int, types: Types) -> Layout:
    """The plans of the first calls and the one that holds from then on, each of `frames` frames of one sequence."""
    stream = Stream(model, None, frames)
    made = Layout([])
    s = types.at("le_stream", stream._address())
    m = types.at("le_model", s.model)
    defs = types.array("le_state_def", m.states, m.n_states)
    for slot in types.array("le_state_slot", s.states, m.n_states):
        rank = defs[len(made.states)].rank
        size = int(np.prod(slot.dims[:rank], dtype=np.int64)) * WIDTHS[_dtype(types, m, defs[len(made.states)].read)]
        made.states.append((made.state_bytes, slot.capacity, bytes(types.array("uint8_t", slot.now, size))))
        made.state_bytes += up(slot.capacity)
    blank = [np.zeros(_shape(p.shape or (), frames), p.dtype) for p in model.inputs]
    while True:
        stream.run(*blank)
        plan = _plan(types, s, m, made)
        last = made.plans[-1] if made.plans else None
        if last and (last.values, last.calls, last.copies) == (plan.values, plan.calls, plan.copies):
            last.repeats += 1
        else:
            made.plans.append(plan)
        if s.frames == frames:  # nothing a state holds has changed its size
            return made
        if len(made.plans) > MOST_PLANS:
            raise UnsupportedModelError(
                f"export-c: expected sizes that are the same in every step after at most {MOST_PLANS} others, found more: "
                "its windows fill up for longer; give more frames a call (--frames)"
            )


def _shape(shape: tuple[Any, ...], frames: int) -> tuple[int, ...]:
    made = []
    for size in shape:
        words = str(size).split("*")
        number = int(words[0]) if words[0].isdigit() else 1
        made.append(number * (frames if words[-1] == "frames" else 1))
    return tuple(made)


def _dtype(types: Types, m: Any, tensor: int) -> int:
    return int(types.array("le_tensor_def", m.tensors, m.n_tensors)[tensor].dtype)


def _plan(types: Types, s: Any, m: Any, made: Layout) -> Plan:
    tensors = types.array("le_tensor", s.tensors, m.n_tensors)
    within = types.array("le_place", s.within, m.n_tensors)
    outside = types.array("bool", s.outside, m.n_tensors)
    nodes = types.array("le_node", m.nodes, m.n_nodes)
    contexts = types.array("le_ctx", s.nodes, m.n_nodes)
    active = types.array("int", s.active, s.n_active)
    inputs, outputs = (types.array("le_io", at, n) for at, n in ((m.inputs, m.n_inputs), (m.outputs, m.n_outputs)))
    direct = types.array("bool", s.direct, m.n_outputs)
    defs = types.array("le_state_def", m.states, m.n_states)
    slots = types.array("le_state_slot", s.states, m.n_states)

    fixed: dict[int, tuple[str, int]] = {t: (CONSTANT, 0) for t in range(m.n_tensors) if tensors[t].is_const}
    for i, port in enumerate(inputs):
        fixed[port.tensor] = (f"AT_INPUT + {i}", 0)
    for (offset, *_), state in zip(made.states, defs):
        fixed[state.read] = (STATE, offset)
    for i, port in enumerate(outputs):
        if direct[i]:
            fixed[port.tensor] = (f"AT_OUTPUT + {i}", 0)
    for (offset, *_), state, slot in zip(made.states, defs, slots):
        if slot.direct:
            fixed[state.write] = (NEXT, offset)

    ports = {
        n: (_ints(types, getattr(nodes[n], "in"), nodes[n].n_in), _ints(types, nodes[n].out, nodes[n].n_out))
        for n in active
    }
    used = {t for pair in ports.values() for side in pair for t in side if t >= 0}
    kept = {p.tensor for p in outputs} | {d.write for d in defs}
    used |= kept
    holder = {t: within[t].holder if within[t].holder >= 0 else t for t in used}
    lives: dict[int, list[int]] = {}
    for n in active:
        for t in (t for side in ports[n] for t in side if t >= 0):
            lives.setdefault(holder[t], []).append(n)
    for t in kept:
        lives.setdefault(holder[t], []).append(m.n_nodes)
    sizes = {
        t: int(np.prod(tensors[t].dims[: tensors[t].rank], dtype=np.int64)) * WIDTHS[tensors[t].dtype]
        for t in set(holder.values())
    }
    items = [
        (t, min(at), max(at), up(sizes[t]))
        for t, at in lives.items()
        if t not in fixed and not outside[t] and not tensors[t].absent
    ]
    items += [(-1 - n, n, n, up(contexts[n].scratch_size)) for n in active if contexts[n].scratch_size]
    places, arena = _arena(items)

    def value(t: int) -> Value:
        place, offset = fixed.get(holder[t], (ARENA, places.get(holder[t], 0)))
        at = within[t].at if within[t].holder >= 0 else 0
        return Value(place, offset + at, tensors[t].dtype, tuple(tensors[t].dims[: tensors[t].rank]))

    values = {t: value(t) for t in sorted(used) if not tensors[t].absent}
    calls = [Call(n, ports[n][0], ports[n][1], places.get(-1 - n, 0)) for n in active]
    copies = []
    for i, port in enumerate(outputs):
        if not direct[i] and not tensors[port.tensor].absent:
            made_at = values[port.tensor]
            copies.append((made_at, Value(f"AT_OUTPUT + {i}", 0, made_at.dtype, made_at.dims)))
    for (offset, *_), state, slot in zip(made.states, defs, slots):
        if tensors[state.write].absent:
            dims = tuple(tensors[state.read].dims[: state.rank])
            copies.append(
                (
                    Value(STATE, offset, tensors[state.read].dtype, dims),
                    Value(NEXT, offset, tensors[state.read].dtype, dims),
                )
            )
        elif not slot.direct:
            now = values[state.write]
            copies.append((now, Value(NEXT, offset, now.dtype, now.dims)))
    written = tuple(
        0 if tensors[p.tensor].absent else int(np.prod(values[p.tensor].dims, dtype=np.int64)) for p in outputs
    )
    return Plan(values, calls, copies, written, arena)


def _ints(types: Types, address: int, count: int) -> tuple[int, ...]:
    return tuple(types.array("int", address, count))


def _arena(items: list[tuple[int, int, int, int]]) -> tuple[dict[int, int], int]:
    """Offsets of (item, first, last, bytes): the largest first, each at the lowest place that is free while it lives."""
    placed: list[tuple[int, int, int, int]] = []  # offset, bytes, first, last
    found, end = {}, 0
    for item, first, last, size in sorted(items, key=lambda i: (-i[3], i[1], i[0])):
        at = 0
        for offset, other, begin, until in sorted(placed):
            if until < first or begin > last:
                continue
            if offset >= at + size:
                break
            at = max(at, offset + other)
        placed.append((at, size, first, last))
        found[item], end = at, max(end, at + size)
    return found, end
