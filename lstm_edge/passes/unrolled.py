"""Loops over time that a source has written out, frame by frame: the number of frames that they fix, and what is said of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ..ir.dims import Dim
from ..ir.graph import Graph, Node
from ..ir.ops import GATES, each, read_attrs, sizes_from
from ..ir.sizes import Sizes
from .edit import note

LEAST_OPS = 3  # of a step that is no recurrence of docs/ops.md; a filter's taps have two, a product and a sum
LEAST_STEPS = 3  # two may as well be two layers


@dataclass(frozen=True)
class WrittenOut:
    """A loop over the `count` places of an axis, how many `cuts` take them out, and how many `ops` its steps are."""

    tensor: str
    axis: int
    count: int
    cuts: int
    ops: int


def fix_frames(graph: Graph) -> None:
    """Gives an open size the number of its places that a loop takes one by one, where nothing else reads that tensor: the
    steps for any other number are not there."""
    known = Sizes()
    for loop in _written_out(graph):
        size = known.resolve(graph.shape(loop.tensor)[loop.axis])
        if isinstance(size, Dim) and _only_reader(graph, loop) and known.equate(size, loop.count, loop.tensor):
            note(
                graph,
                f"axis {loop.axis} of {loop.tensor!r} is fixed at {loop.count}: the source leaves it open, but has the "
                f"loop over its places written out for {loop.count}",
            )
    for tensor in graph.tensors.values():
        tensor.shape = known.shape(tensor.shape)


def tell(graph: Graph) -> None:
    """Notes what is left of loops that no op was found for."""
    for loop in _written_out(graph):
        note(
            graph,
            f"{loop.ops} ops are left unrolled: a loop over the {loop.count} places along axis {loop.axis} of "
            f"{loop.tensor!r} that spells no recurrence known here",
        )


def _only_reader(graph: Graph, loop: WrittenOut) -> bool:
    """Whether nothing else reads the tensor; its sizes may be read."""
    ports = {p.tensor for p in graph.outputs} | {s.write for s in graph.states}
    readers = [n for n in graph.nodes if loop.tensor in n.inputs[: sizes_from(n)]]
    return loop.tensor not in ports and len(readers) == loop.cuts


def _written_out(graph: Graph) -> Iterator[WrittenOut]:
    for (tensor, axis), cuts in _places(graph).items():
        count = len({place for place, _ in cuts})
        if count < LEAST_STEPS or {place for place, _ in cuts} != set(range(count)):
            continue
        for order in (1, -1):
            steps = {node.outputs[0]: place if order == 1 else count - 1 - place for place, node in cuts}
            ops = _ops_of_steps(graph, steps, count)
            if ops is not None:
                yield WrittenOut(tensor, axis, count, len(cuts), ops)
                break


def _places(graph: Graph) -> dict[tuple[str, int], list[tuple[int, Node]]]:
    """(tensor, axis) -> the single places that Slices cut out of it."""
    found: dict[tuple[str, int], list[tuple[int, Node]]] = {}
    for node in graph.nodes:
        if node.op != "Slice":
            continue
        attrs, rank = read_attrs(node), len(graph.shape(node.inputs[0]))
        if len(attrs["axes"]) == 1 and each(attrs["steps"], 1) == [1] and attrs["ends"][0] == attrs["starts"][0] + 1:
            key = node.inputs[0], attrs["axes"][0] % rank
            found.setdefault(key, []).append((attrs["starts"][0], node))
    return found


def _ops_of_steps(graph: Graph, steps: dict[str, int], count: int) -> int | None:
    """How many ops the steps of a loop are, of which each hands on what it computes and all but the first and last must be
    alike; None where these are no such. `steps`: frame -> the number of the `count` that it is of, once or several times. What follows the loop reads the last frame too: of that
    step only what the others have as well is counted."""
    reached = dict(steps)
    ops: list[Counter[str]] = [Counter() for _ in range(count)]
    handed_on = {0}
    for node in graph.nodes:
        read = {reached[i] for i in node.inputs if i in reached}
        if not read or node.outputs[0] in steps:
            continue
        step = max(read)
        reached.update((o, step) for o in node.outputs if o)
        ops[step][node.op] += 1
        if step - 1 in read:
            handed_on.add(step)
    one = ops[-2]
    alike = all(own == one for own in ops[1:-1])
    large = sum(one.values()) - one["Reshape"] >= LEAST_OPS or not GATES.keys().isdisjoint(one)
    if not alike or not large or len(handed_on) < count:
        return None
    return sum(sum(own.values()) for own in ops[:-1]) + sum((one & ops[-1]).values())
