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
        plan = _plan(_Prepared(types, s, m, made.states))
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


class _Prepared:
    """What a stream has planned for the call that it has just run."""

    def __init__(self, types: Types, s: Any, m: Any, states: list[tuple[int, int, bytes]]):
        self.n_nodes = m.n_nodes
        self.tensors = types.array("le_tensor", s.tensors, m.n_tensors)
        self.within = types.array("le_place", s.within, m.n_tensors)
        self.outside = types.array("bool", s.outside, m.n_tensors)
        self.contexts = types.array("le_ctx", s.nodes, m.n_nodes)
        self.active = types.array("int", s.active, s.n_active)
        self.inputs = types.array("le_io", m.inputs, m.n_inputs)
        self.outputs = types.array("le_io", m.outputs, m.n_outputs)
        self.direct = types.array("bool", s.direct, m.n_outputs)
        defs = types.array("le_state_def", m.states, m.n_states)
        slots = types.array("le_state_slot", s.states, m.n_states)
        self.states = [(offset, state, slot) for (offset, *_), state, slot in zip(states, defs, slots)]
        nodes = types.array("le_node", m.nodes, m.n_nodes)
        self.ports = {
            n: (_ints(types, getattr(nodes[n], "in"), nodes[n].n_in), _ints(types, nodes[n].out, nodes[n].n_out))
            for n in self.active
        }
        self.kept = {p.tensor for p in self.outputs} | {state.write for _, state, _ in self.states}

    def dims(self, t: int) -> tuple[int, ...]:
        return tuple(self.tensors[t].dims[: self.tensors[t].rank])

    def holder(self, t: int) -> int:
        """The tensor whose bytes hold this one's."""
        return self.within[t].holder if self.within[t].holder >= 0 else t

    def fixed(self) -> dict[int, tuple[str, int]]:
        """Where tensors lie that are not in the arena."""
        fixed: dict[int, tuple[str, int]] = {t: (CONSTANT, 0) for t, at in enumerate(self.tensors) if at.is_const}
        for i, port in enumerate(self.inputs):
            fixed[port.tensor] = (f"AT_INPUT + {i}", 0)
        for offset, state, _ in self.states:
            fixed[state.read] = (STATE, offset)
        for i, port in enumerate(self.outputs):
            if self.direct[i]:
                fixed[port.tensor] = (f"AT_OUTPUT + {i}", 0)
        for offset, state, slot in self.states:
            if slot.direct:
                fixed[state.write] = (NEXT, offset)
        return fixed

    def items(self, fixed: dict[int, tuple[str, int]]) -> list[tuple[int, int, int, int]]:
        """What the arena holds, as _arena takes it: tensors, and scratch of node n as item -1 - n."""
        lives: dict[int, list[int]] = {}
        for n in self.active:
            for t in (t for side in self.ports[n] for t in side if t >= 0):
                lives.setdefault(self.holder(t), []).append(n)
        for t in self.kept:
            lives.setdefault(self.holder(t), []).append(self.n_nodes)
        made = [
            (t, min(at), max(at), up(int(np.prod(self.dims(t), dtype=np.int64)) * WIDTHS[self.tensors[t].dtype]))
            for t, at in lives.items()
            if t not in fixed and not self.outside[t] and not self.tensors[t].absent
        ]
        sizes = {n: self.contexts[n].scratch_size for n in self.active}
        return made + [(-1 - n, n, n, up(size)) for n, size in sizes.items() if size]

    def copies(self, values: dict[int, Value]) -> list[tuple[Value, Value]]:
        """Outputs and states that no op writes where they go, and states that are not written."""
        made = []
        for i, port in enumerate(self.outputs):
            if not self.direct[i] and not self.tensors[port.tensor].absent:
                value = values[port.tensor]
                made.append((value, Value(f"AT_OUTPUT + {i}", 0, value.dtype, value.dims)))
        for offset, state, slot in self.states:
            if self.tensors[state.write].absent:
                dtype, dims = self.tensors[state.read].dtype, tuple(self.tensors[state.read].dims[: state.rank])
                made.append((Value(STATE, offset, dtype, dims), Value(NEXT, offset, dtype, dims)))
            elif not slot.direct:
                value = values[state.write]
                made.append((value, Value(NEXT, offset, value.dtype, value.dims)))
        return made


def _plan(prepared: _Prepared) -> Plan:
    fixed = prepared.fixed()
    places, arena = _arena(prepared.items(fixed))

    def value(t: int) -> Value:
        holder, within = prepared.holder(t), prepared.within[t]
        place, offset = fixed.get(holder, (ARENA, places.get(holder, 0)))
        return Value(
            place, offset + (within.at if within.holder >= 0 else 0), prepared.tensors[t].dtype, prepared.dims(t)
        )

    used = {t for pair in prepared.ports.values() for side in pair for t in side if t >= 0} | prepared.kept
    values = {t: value(t) for t in sorted(used) if not prepared.tensors[t].absent}
    calls = [Call(n, *prepared.ports[n], places.get(-1 - n, 0)) for n in prepared.active]
    written = tuple(
        int(np.prod(values[p.tensor].dims, dtype=np.int64)) if p.tensor in values else 0 for p in prepared.outputs
    )
    return Plan(values, calls, prepared.copies(values), written, arena)


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
