"""What a module keeps from one call to the next, as states of the stream.

Tensors that forward writes to start as the file has them. An attribute that the first call makes a tensor of (None before,
say) starts as zeros, and a number that it sets stays at what the first call leaves; whether such a model is the one of the
file is then told by computing its first call both ways.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .... import reference
from ....errors import UnsupportedModelError
from ....files.pickles import Inert
from ....ir.dims import Dim, value
from ....ir.graph import Graph, State, Tensor, run_array
from ...dialect import Value
from .archive import Script, attributes
from .machine import Key, Machine

SAMPLE_BATCH, SAMPLE_FRAMES = 2, 3
AS_GOOD_AS_EQUAL = 1e-5


@dataclass
class _Place:
    """An array of the file: where it lies, by the module's path, the attribute and the keys inside that."""

    path: str
    key: Key
    inside: tuple[Any, ...]
    array: np.ndarray


@dataclass
class _Made:
    """A tensor that the first call makes."""

    path: str
    shape: tuple[int, ...]
    dtype: str


class Kept:
    """The attributes of a script's modules, and which of them a call hands to the next.

    `started`: whether calls after the first one are read, in which attributes are what the first has made them.
    """

    def __init__(self, script: Script):
        self._places: dict[int, _Place] = {}  # by the id of the array
        self._modules: dict[int, tuple[str, Inert]] = {}
        self._find(script.module, "", 0)
        self._kept: set[int] = set()
        self._made: dict[Key, Any] = {}  # numbers as they are, tensors as _Made
        self.started = False

    def _find(self, module: Inert, path: str, depth: int) -> None:
        self._modules[id(module)] = path, module
        for name, held in attributes(module).items() if depth < 64 else ():
            if isinstance(held, Inert):
                self._find(held, f"{path}{name}.", depth + 1)
                continue
            for inside, array in _arrays(held, ()):
                where = ".".join([f"{path}{name}", *map(str, inside)])
                self._places.setdefault(id(array), _Place(where, (id(module), name), inside, array))

    # ---- before a run ---------------------------------------------------------------------------------------------

    def declare(self, graph: Graph) -> dict[int, Value]:
        """The tensors of the file that are states, as tensors of the Graph, by the id of the file's array."""
        values = {}
        for at in sorted(self._kept, key=lambda at: self._places[at].path):
            place = self._places[at]
            initial = run_array(place.array, place.path)
            values[at] = _state(graph, place.path, initial, str(place.array.dtype))
        return values

    def overlay(self, graph: Graph) -> dict[Key, Any]:
        """The attributes that the first call has made, tensors as states."""

        def filled(made: Any) -> Any:
            if isinstance(made, _Made):
                return _state(graph, made.path, np.zeros(made.shape, made.dtype), made.dtype)
            if isinstance(made, (list, tuple)):
                return type(made)(map(filled, made))
            return {k: filled(v) for k, v in made.items()} if isinstance(made, dict) else made

        return {key: filled(made) for key, made in self._made.items()} if self.started else {}

    # ---- after a run ----------------------------------------------------------------------------------------------

    def learn(self, machine: Machine) -> bool:
        """Adds what this run has written to; whether it was taken for a constant before.

        UnsupportedModelError for what is written to and can be no state.
        """
        before = len(self._kept)
        for at, place in self._places.items():
            held = self._final(machine, place)
            if held is not None and self._fits(machine, place, held) and not _as_before(machine, place, held):
                self._kept.add(at)
        made = {k: v for k, v in machine.assigned.items() if not self._is_of_file(machine, k, v)}
        if not self.started:
            self._made = {key: self._shape_of(machine, key, v) for key, v in made.items() if self._is_new(key, v)}
            return len(self._kept) > before
        for key, wanted in self._made.items():
            found = self._shape_of(machine, key, machine.assigned[key])
            if found != wanted:
                raise UnsupportedModelError(
                    f"the module's own {self._path(key)!r} is another at every call ({_shown(wanted)}, then "
                    f"{_shown(found)}): a state is a tensor that keeps its shape; register it as a buffer"
                )
        return len(self._kept) > before

    @property
    def has_first_call(self) -> bool:
        """Whether the first call makes what is not in the file."""
        return bool(self._made)

    def write(self, machine: Machine, states: dict[int, Value], made: dict[Key, Any]) -> None:
        """Tells each state what it becomes."""
        ends = {read.tensor: (self._final(machine, self._places[at]), read) for at, read in states.items()}
        for key, read in made.items():
            for start, end in zip(_leaves(read), _leaves(machine.assigned[key])):
                if isinstance(start, Value):
                    ends[start.tensor] = end, start
        low = machine.low
        for state in low.graph.states:
            end, read = ends[state.read]
            content = low.value(machine.memory.now(end), low.dtype(read))
            if tuple(low.shape(content)) != tuple(state.shape):
                raise UnsupportedModelError(
                    f"the module makes its own {state.name!r} of shape {list(state.shape)} one of shape "
                    f"{[str(s) for s in low.shape(content)]}: a state keeps its shape"
                )
            state.write = low.tensor(content)

    def ends(self, machine: Machine) -> list[Value]:
        """What the first call makes, in the order of the states."""
        return [
            machine.memory.now(end)
            for key in self._made
            for end in _leaves(machine.assigned[key])
            if isinstance(end, Value)
        ]

    def _final(self, machine: Machine, place: _Place) -> Any:
        """What lies in an array's place at the end of a run; None where nothing has looked at it."""
        held = machine.assigned.get(place.key)
        if held is None:
            original = attributes(self._modules[place.key[0]][1])[place.key[1]]
            held = machine.containers.get(id(original), (None, None))[1] if place.inside else None
            if held is None:
                return machine.held.get(id(place.array))
        for part in place.inside:
            held = held[part]
        return held

    def _fits(self, machine: Machine, place: _Place, held: Any) -> bool:
        return isinstance(held, Value) and machine.low.shape(machine.memory.now(held)) == place.array.shape

    def _is_of_file(self, machine: Machine, key: Key, held: Any) -> bool:
        """Whether an attribute has tensors in it as the file has them."""
        places = [p for p in self._places.values() if p.key == key]
        now = list(_leaves(held))
        return bool(places) and len(places) == len(now) and all(self._fits(machine, *pair) for pair in zip(places, now))

    def _is_new(self, key: Key, held: Any) -> bool:
        original = attributes(self._modules[key[0]][1]).get(key[1])
        return any(isinstance(v, Value) for v in _leaves(held)) or held != original

    def _path(self, key: Key) -> str:
        return f"{self._modules[key[0]][0]}{key[1]}"

    def _shape_of(self, machine: Machine, key: Key, held: Any, inside: str = "") -> Any:
        """What the first call makes, as `_made` has it."""
        path = f"{self._path(key)}{inside}"
        if isinstance(held, Value):
            now = machine.memory.now(held)
            shape = machine.low.shape(now)
            sizes = tuple(s for s in shape if not isinstance(s, Dim))
            if len(sizes) < len(shape):
                raise UnsupportedModelError(
                    f"the module's own {path!r}, which its first call makes, is of shape {[str(s) for s in shape]}: a state "
                    "has a fixed shape; give the inputs one"
                )
            return _Made(path, sizes, machine.low.dtype(now))
        if isinstance(held, (list, tuple)):
            return type(held)(self._shape_of(machine, key, v, f"{inside}.{n}") for n, v in enumerate(held))
        if isinstance(held, dict):
            return {k: self._shape_of(machine, key, v, f"{inside}.{k}") for k, v in held.items()}
        return held


def same_first_call(first: Graph, later: Graph, ends: int) -> bool:
    """Whether a later call that starts from the states of `later` gives what the first one does. The last `ends` outputs of
    `first` are what its last states become."""
    rng = np.random.default_rng(0)
    given = {}
    for port in first.inputs:
        tensor = first.tensors[port.tensor]
        shape = [value(s, SAMPLE_BATCH, SAMPLE_FRAMES) for s in tensor.shape]
        numbers = rng.normal(size=shape) if tensor.dtype == "float32" else rng.integers(0, 2, shape)
        given[port.name] = numbers.astype(tensor.dtype)
    a, b = reference.run(first, given), reference.run(later, given)
    names = [p.name for p in first.outputs]
    wanted = [a[0][n] for n in names]
    states = [b[1][s.name] for s in later.states[len(later.states) - ends :]]
    found = [*(b[0][p.name] for p in later.outputs), *states]
    return len(wanted) == len(found) and all(
        w is not None and f is not None and w.shape == f.shape and np.allclose(w, f, atol=AS_GOOD_AS_EQUAL)
        for w, f in zip(wanted, found)
    )


def _as_before(machine: Machine, place: _Place, held: Value) -> bool:
    now = machine.memory.now(held)
    return bool(now.is_known and np.array_equal(now.data, place.array))


def _state(graph: Graph, path: str, initial: np.ndarray, dtype: str) -> Value:
    read = graph.fresh(path)
    graph.tensors[read] = Tensor(read, str(initial.dtype), initial.shape)
    graph.states.append(State(path, read, "", initial.shape, initial=initial, dtype=str(initial.dtype)))
    return Value(dtype, tensor=read)


def _arrays(held: Any, inside: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], np.ndarray]]:
    """The arrays in an attribute, each with the keys that lead to it."""
    if isinstance(held, np.ndarray):
        yield inside, held
    elif isinstance(held, (list, tuple, dict)) and len(inside) < 8:
        for part, v in held.items() if isinstance(held, dict) else enumerate(held):
            yield from _arrays(v, (*inside, part))


def _leaves(held: Any) -> Iterator[Any]:
    if isinstance(held, (list, tuple)):
        for v in held:
            yield from _leaves(v)
    elif isinstance(held, dict):
        for v in held.values():
            yield from _leaves(v)
    else:
        yield held


def _shown(made: Any) -> str:
    return f"of shape {list(made.shape)}" if isinstance(made, _Made) else repr(made)
