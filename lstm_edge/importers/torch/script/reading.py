"""TorchScript files -> Graph, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ....errors import LstmEdgeError, UnsupportedModelError
from ....ir.dims import Dim, mentions
from ....ir.graph import Graph
from ....ir.ops import GATES
from ....ir.sizes import Sizes
from ....options import as_typed
from ...dialect import Value
from ...dialect.input_sizes import InputSizes
from ...dialect.open_sizes import freest
from ...dialect.value import MEANINGLESS
from ..lowering import Lowering
from ..program import Program, Step, leaves
from . import inputs
from .archive import Script
from .frames import Frames
from .inputs import Attempt
from .library import Raised
from .machine import Machine
from .states import Kept, same_first_call


def read_script(
    data: bytes,
    place: str,
    shapes: Mapping[str, Any] | None,
    example: Any,
    constants: Mapping[str, Any] | None = None,
) -> Graph:
    """The Graph of the module's forward. Shapes of inputs are not in the file: they come from `shapes` (input name ->
    sizes), `example` (arrays in order), or are assumed from the first layer's weights and noted. `constants`: arguments
    that are no inputs. Buffers that forward writes to become states."""
    script = Script(data, place)
    failures: list[str] = []
    second: Graph | None = None
    for attempt in inputs.attempts(script, shapes, example, constants):
        try:
            graph = _Reading(script, attempt).graph()
        except LstmEdgeError as e:
            failures.append(str(e))
            continue
        if not attempt.strict or _most_open(graph) <= inputs.MOST_OPEN:
            return graph
        second = second or graph
    if second is not None:
        return second
    if len(failures) == 1 or failures and (shapes or example is not None):
        raise UnsupportedModelError(f"{place}: {failures[0]}")
    advice = f"give the inputs' shapes, for instance {inputs.as_wanted(script, constants)}, or a working input with "
    reason = failures[0] if failures else "none to assume"
    raise UnsupportedModelError(f"{place}: {advice}{as_typed('example')} (assumed shapes failed: {reason})")


def _most_open(graph: Graph) -> int:
    """The most open sizes that one input has."""
    return max((sum(isinstance(s, Dim) for s in graph.shape(p.tensor)) for p in graph.inputs), default=0)


class _Reading:
    """One attempt at the arguments."""

    def __init__(self, script: Script, attempt: Attempt):
        self.script, self.attempt = script, attempt
        self.sizes = InputSizes(attempt.sizes, None)
        self.kept = Kept(script)
        self.given: dict[str, Any] = {}  # the arguments of the last run
        self.ends = 0  # of the tensors that the first call makes, which its Graph has as its last outputs

    def graph(self) -> Graph:
        """The model of the calls after the first, which the first is then one of.

        UnsupportedModelError where it is not.
        """
        graph, notes = freest(self._lowered, self.sizes.open)
        if self.kept.has_first_call:
            graph, notes = self._later_calls(graph)
        graph.metadata["notes"] = [*self.attempt.notes, *notes, *graph.metadata["notes"]]
        _check_axes(graph)
        return graph

    def _later_calls(self, first: Graph) -> tuple[Graph, list[str]]:
        ends, self.kept.started = self.ends, True
        graph, notes = freest(self._lowered, self.sizes.open)
        if not same_first_call(first, graph, ends):
            raise UnsupportedModelError(
                "the module's first call makes attributes of its own that do not start as zeros: register them as buffers "
                "with the values that they start from"
            )
        return graph, [*notes, "attributes that the first call makes start as zeros, which gives what that call gives"]

    def _lowered(self, sizes: Sizes) -> Graph:
        """The Graph, made again until no buffer is written to that was taken for a constant."""
        while True:
            lowering = Lowering(Program([], {}, [], []))
            states, made = self.kept.declare(lowering.graph), self.kept.overlay(lowering.graph)
            machine = Machine(self.script, lowering, states)
            machine.assigned.update(made)
            results = self._run(machine, sizes)
            if not self.kept.learn(machine):
                break
        self.kept.write(machine, states, made)
        if not self.kept.started:
            ends = self.kept.ends(machine)
            self.ends = len(ends)
            results += [("", end) for end in ends]
        lowering.finish(results)
        named = _named_arguments(lowering.graph, self.given)
        if named is not None:
            lowering.graph.metadata["source"] = {"arguments": [[], named]}
        return lowering.graph

    def _run(self, machine: Machine, sizes: Sizes) -> list[tuple[str, Any]]:
        """Runs forward; its results with their names."""
        low, shapes = machine.low, self.sizes
        given = inputs.arguments(self.attempt, lambda t: low.input(t.name, shapes.shape(t.name, sizes), t.dtype))
        try:
            result = machine.method(self.script.module, self.script.forward, [], given)
        except Raised as e:
            raise UnsupportedModelError(f"the model itself refuses inputs of these shapes: {e}") from e
        except MEANINGLESS as e:  # code that no version of torch writes, or that is not known here
            raise machine.unsupported(f"code that is not understood ({type(e).__name__}: {e})") from e
        except RecursionError as e:
            raise UnsupportedModelError("its code calls itself, or is nested deeper than can be followed") from e
        self.given = given
        low.stand_at(Step("", [], {}, "output"))
        values = result.items() if isinstance(result, dict) else [("", v) for v in _flat(machine, result)]
        return [(n if isinstance(n, str) else "", machine.memory.now(v)) for n, v in values if isinstance(v, Value)]


def _named_arguments(graph: Graph, given: dict[str, Any]) -> dict[str, Any] | None:
    """The arguments with the names of inputs in the places of tensors, as check/ gives them to torch; None where something
    else than tensors and tuples is among them."""
    names = {p.tensor: p.name for p in graph.inputs}

    def named(value: Any) -> Any:
        if isinstance(value, tuple):
            return [named(v) for v in value]
        return names.get(value.tensor) if isinstance(value, Value) else None

    found = {name: named(value) for name, value in given.items()}
    return None if any(leaf is None for leaf in leaves(list(found.values()))) else found


def _flat(machine: Machine, result: Any) -> Iterator[Any]:
    if isinstance(result, Frames):
        yield from result.elements(machine)
    elif isinstance(result, (list, tuple)):
        for value in result:
            yield from _flat(machine, value)
    else:
        yield from leaves(result)


def _check_axes(g: Graph) -> None:
    """Refuses a guess under which a recurrence runs over the axis called batch."""
    for n in g.nodes:
        if n.op in GATES:
            first, second = g.shape(n.inputs[0])[:2]
            batch, frames = (second, first) if n.attrs.get("time_major") else (first, second)
            if mentions(frames, "batch") and not mentions(batch, "batch"):
                raise UnsupportedModelError(
                    f"node {n.name}: batch and frames are the other way round: give {as_typed('shapes')}"
                )
