"""Several processes that train one network, as torchrun starts them: what torch.distributed does, under one roof.

Each process computes the gradients of its share of a step's examples; DistributedDataParallel averages them. All of them
validate, so that none waits; the first one's number counts, and it alone writes and reports. Where a loss is the mean over
a batch's examples, two processes are one with the doubled batch; a mean over something else (classes of several weights,
frames of ragged sequences) is that of each share, averaged.
"""

from __future__ import annotations

import atexit
import time
from dataclasses import dataclass

import torch
from torch import distributed, nn

from .processes import place


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
        held = torch.tensor([value], dtype=torch.float64, device=device)
        distributed.broadcast(held, 0)
        return float(held.item())

    def first_bytes(self, content: bytes, device: torch.device) -> bytes:
        """The first process's bytes."""
        if self.size == 1:
            return content
        count = int(self.first_ones(len(content), device))
        held = torch.zeros(count, dtype=torch.uint8)
        if self.first and count:
            held = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        held = held.to(device)
        distributed.broadcast(held, 0)
        return held.cpu().numpy().tobytes()


def announced() -> World:
    """The processes that torchrun announces; one without it."""
    return World(*place())


def join(world: World, device: torch.device) -> None:
    """From here on the processes can talk: nccl between GPUs, gloo between CPUs. A group that there is, the caller's or an
    earlier training's, is taken as it is; one that is made lasts until the process ends."""
    if world.size > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(_leave)


def _leave() -> None:
    """Ends the group. It would wait for ever for a thread of gloo's that is about to let go of its last tensors, which
    needs Python's lock: sleeping lends it."""
    if distributed.is_initialized():
        time.sleep(0.1)
        distributed.destroy_process_group()
