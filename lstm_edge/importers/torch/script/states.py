"""Buffers of a module that forward writes to: states of the stream, which start as the file has them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....errors import UnsupportedModelError
from ....files.pickles import Inert
from ....ir.graph import Graph, State, Tensor, run_array
from ...dialect import Value
from .archive import Script, attributes
from .machine import Machine


class Kept:
    """The tensors of a script's modules, and which of them a call hands to the next."""

    def __init__(self, script: Script):
        self._places: dict[int, tuple[str, Inert, str, np.ndarray]] = {}  # path, module, name by the id of the array
        self._modules: dict[int, tuple[str, Inert]] = {}
        self._find(script.module, "", 0)
        self._kept: set[int] = set()

    def _find(self, module: Inert, path: str, depth: int) -> None:
        self._modules[id(module)] = path, module
        for name, value in attributes(module).items() if depth < 64 else ():
            if isinstance(value, np.ndarray):
                self._places.setdefault(id(value), (f"{path}{name}", module, name, value))
            elif isinstance(value, Inert):
                self._find(value, f"{path}{name}.", depth + 1)

    def declare(self, graph: Graph) -> dict[int, Value]:
        """The states as tensors of the Graph, by the id of the file's array."""
        values = {}
        for at in sorted(self._kept, key=lambda at: self._places[at][0]):
            path, _, _, array = self._places[at]
            initial = run_array(array, path)
            read = graph.fresh(path)
            graph.tensors[read] = Tensor(read, str(initial.dtype), initial.shape)
            graph.states.append(State(path, read, "", initial.shape, initial=initial, dtype=str(initial.dtype)))
            values[at] = Value(str(array.dtype), tensor=read)
        return values

    def learn(self, machine: Machine) -> bool:
        """Adds what this run has written to; whether it was taken for a constant before.

        UnsupportedModelError for what is written to and can be no state.
        """
        before = len(self._kept)
        for at, handle in machine.held.items():
            if at in self._places and machine.memory.changed(handle) and not self._as_before(machine, at, handle):
                self._kept.add(at)
        for (module, name), value in machine.assigned.items():
            path, owner = self._modules[module]
            original = attributes(owner).get(name)
            if isinstance(original, np.ndarray):
                if not self._as_before(machine, id(original), value):
                    self._kept.add(id(original))
            elif isinstance(value, Value) or value != original:
                raise UnsupportedModelError(
                    f"the module changes its own {path + name!r} while it runs, which starts as {original!r} and not as a "
                    "tensor: register it as a buffer of its shape, or pass it in as an argument of forward and return it"
                )
        return len(self._kept) > before

    def _as_before(self, machine: Machine, at: int, value: Any) -> bool:
        now, array = machine.memory.now(value), self._places[at][3]
        return isinstance(now, Value) and now.is_known and np.array_equal(now.data, array)

    def write(self, machine: Machine, states: dict[int, Value]) -> None:
        """Tells each state what it becomes."""
        low = machine.low
        for state, (at, read) in zip(low.graph.states, states.items()):
            path, module, name, array = self._places[at]
            value = machine.assigned.get((id(module), name), read)
            content = low.value(machine.memory.now(value), low.dtype(read))
            if tuple(low.shape(content)) != array.shape:
                raise UnsupportedModelError(
                    f"the module makes its buffer {path!r} of shape {list(array.shape)} one of shape "
                    f"{[str(s) for s in low.shape(content)]}: a state keeps its shape"
                )
            state.write = low.tensor(content)
