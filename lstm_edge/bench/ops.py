"""Where a call's time goes: every op's time, the bytes of weights that it reads, and its share of the machine's bandwidth."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .. import format as files
from .._core import load
from .limits import Limits, limits
from .measure import frames_of, sample_inputs


@dataclass(frozen=True)
class OpTime:
    """Microseconds of one op in a call (median and least), its share of all ops, the bytes of its weights, and bytes read a second
    if they are read once a call. of_bandwidth: as a share of `Limits.read`; above 1 where a cache nearer than the whole model's holds them."""

    name: str
    op: str
    median: float
    min: float
    share: float
    bytes: int
    bytes_per_second: float
    of_bandwidth: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def op_times(
    path: str,
    *,
    mode: str = "step",
    frames: int = 100,
    isa: str | None = None,
    runs: int = 300,
    max_memory: int | None = None,
) -> tuple[list[OpTime], Limits]:
    """The ops of the file `path` in the order in which they run, and what they are measured against. mode: `step` or `chunk`.
    max_memory: as load takes it."""
    model = load(path, isa=isa, max_memory=max_memory)
    frames = frames_of(model, mode, frames)
    arrays = sample_inputs(model, frames=frames, step=mode == "step")
    stream = model.stream()
    call = stream.step if mode == "step" else stream.run
    stream.profile(True)
    looks = []
    for _ in range(runs):
        call(*arrays)
        looks.append(stream.op_seconds)
    seconds = np.array(looks[runs // 10 :])
    sizes = weight_bytes(path)
    machine = limits(model.isa, sum(sizes))
    medians, least, whole = np.median(seconds, 0), seconds.min(0), float(np.median(seconds, 0).sum())
    found = []
    for (op, name), median, low, size in zip(model.ops, medians, least, sizes):
        rate = size / max(median, 1e-12)
        found.append(
            OpTime(
                name,
                op,
                1e6 * float(median),
                1e6 * float(low),
                float(median) / whole if whole else 0.0,
                size,
                rate,
                rate / machine.read,
            )
        )
    return found, machine


def weight_bytes(path: str) -> list[int]:
    """Bytes of the constants that each node of the file reads, as they are stored; in the order in which they run."""
    graph = files.read(path)
    sizes = []
    for node in graph.nodes:
        constants = [graph.tensors[name].data for name in dict.fromkeys(node.inputs) if name]
        sizes.append(sum(data.nbytes for data in constants if data is not None))
    return sizes
