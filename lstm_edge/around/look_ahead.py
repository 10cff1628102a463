"""How many frames an answer of a network waits for beyond its own, by the sizes of its outputs."""

from __future__ import annotations

import numpy as np

from ..ir.dims import Size, mentions, value
from ..ir.graph import Graph
from ..metadata import sample_rate

FAR = 1 << 20  # frames: no window over time is still filling there


def look_ahead(graph: Graph) -> dict[str, tuple[int, int]]:
    """By output that has frames: the frames of the input to an answer, and those that must have come beyond them.

    The answer numbered n is of the frames from n times so many on, as whole runs count; a convolution that is padded at its beginning
    alone waits for none, one with right context or without padding for all frames that its answers are fewer by.
    """
    found = {}
    for port in graph.outputs:
        sizes = [s for s in graph.shape(port.tensor) if mentions(s, "frames")]
        if len(sizes) == 1 and (per_answer := _frames_to_an_answer(sizes[0])):
            count = value(sizes[0], 1, FAR)
            found[port.name] = (per_answer, max(0, _frames_for(sizes[0], count) - count * per_answer))
    return found


def _frames_to_an_answer(size: Size) -> int:
    """0 where there are several answers to a frame."""
    gained = value(size, 1, 2 * FAR) - value(size, 1, FAR)
    return FAR // gained if gained and FAR % gained == 0 else 0


def _frames_for(size: Size, count: int) -> int:
    """The least number of frames of which there are so many answers."""
    low, high = 0, FAR
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if value(size, 1, middle) < count else (low, middle)
    return low


def tell(graph: Graph, before: dict[str, tuple[int, int]]) -> None:
    """Adds to what keeps outputs behind the sound. before: `look_ahead` of the network alone, whose frames a front end may make."""
    delay = graph.metadata.get("delay", {})
    if not delay and sample_rate(graph.metadata):
        width = int(np.prod([s for s in graph.shape(graph.inputs[0].tensor) if isinstance(s, int)], dtype=np.int64))
        delay = {name: {"frame": width} for name in before}
    for name, (per_answer, ahead) in before.items():
        if name in delay:
            hop = delay[name]["frame"]
            delay[name] = {**delay[name], "frame": hop * per_answer, **({"look-ahead": hop * ahead} if ahead else {})}
    if delay:
        graph.metadata["delay"] = delay
