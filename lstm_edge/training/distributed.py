"""Several processes that train one network, as torchrun starts them: what torch.distributed does, under one roof.

Each process computes the gradients of its share of a step's examples; DistributedDataParallel averages them. All of them
validate, so that none waits; the first one's number counts, and it alone writes and reports.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn


@dataclass(frozen=True)
class World:
    """rank: this process among `size`; local: among those of its machine."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    def wrapped(self, module: nn.Module, device: torch.device) -> nn.Module:
        """The module, with gradients averaged over all processes; its weights become those of the first."""
        if self.size == 1 or not any(p.requires_grad for p in module.parameters()):
            return module
        return nn.parallel.DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)

    def share(self, indices: torch.Tensor) -> tuple[torch.Tensor, float]:
        """This process's part of a step's examples (neighbours, sizes that differ by one at most), and what its mean is
        multiplied by, so that the average over the processes is the mean over all examples.

        Where there are fewer examples than processes, a process takes one with weight 0, since all must take part.
        """
        if self.size == 1:
            return indices, 1.0
        part = indices.tensor_split(self.size)[self.rank]
        return (part, len(part) * self.size / len(indices)) if len(part) else (indices[:1], 0.0)

    def gathered(self, values: torch.Tensor) -> list[torch.Tensor]:
        """The tensors of all processes in order, equal in size and kind."""
        if self.size == 1:
            return [values]
        found = [torch.empty_like(values) for _ in range(self.size)]
        distributed.all_gather(found, values)
        return found

    def first_ones(self, value: float, device: torch.device) -> float:
        """The first process's number."""
        if self.size == 1:
            return value
        held = torch.tensor([value], dtype=torch.float64 if device.type != "mps" else torch.float32, device=device)
        distributed.broadcast(held, 0)
        return float(held.item())


def announced() -> World:
    """The processes that torchrun's variables announce; one without them."""
    names = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0}
    return World(*(int(os.environ.get(name, default)) for name, default in names.items()))


@contextmanager
def joined(world: World, device: torch.device) -> Iterator[None]:
    """While it lasts, the processes can talk: nccl between GPUs, gloo between CPUs. A group that the caller has made is
    taken as it is."""
    if world.size == 1 or distributed.is_initialized():
        yield
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()
