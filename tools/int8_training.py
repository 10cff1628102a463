"""What int8 costs small networks, rounded after training and trained in int8: the table of docs/training-loop.md.

    python tools/int8_training.py

Every network is trained in float32 and quantised with calibration; then it is trained on by the same batches twice: in the engine's int8
arithmetic, and in float32, to be quantised then. Errors are those of the .lstm files, run by the core, on sequences that no training saw.
"""

from __future__ import annotations

import argparse
import copy
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import lstm_edge
from lstm_edge.training import export, fake_quantize, recurrent

FRAMES, TRAINING, HELD_OUT, BATCH, CALIBRATION = 30, 1000, 400, 32, 60
LOOK_EVERY, LOOK_AT = 20, 200  # steps between two looks at the loss of so many sequences: the best weights are kept
Data = tuple[Tensor, Tensor]  # x and what is asked for, (sequences, frames, 1)


def running_sum(x: Tensor) -> Tensor:
    return x.cumsum(1) / 5


def slow_decay(x: Tensor) -> Tensor:
    """A memory of fifty frames: y' = 0.98 y + x / 5."""
    return _recursion(x, lambda y, x: 0.98 * y + 0.2 * x)


def resonance(x: Tensor) -> Tensor:
    """A swinging filter with a period of 21 frames, hit by the input: the real part of s' = 0.97 e^0.3i s + 0.4 x."""
    s, found = torch.zeros(len(x), 1, dtype=torch.complex64), []
    turn = 0.97 * complex(math.cos(0.3), math.sin(0.3))
    for frame in x.unbind(1):
        s = turn * s + 0.4 * frame
        found.append(s.real)
    return torch.stack(found, 1)


def hysteresis(x: Tensor) -> Tensor:
    """A follower with play: it stays until the input's running sum is a whole unit away, and is dragged along then."""
    position, y, found = torch.zeros_like(x[:, 0]), torch.zeros_like(x[:, 0]), []
    for frame in x.unbind(1):
        position = position + 0.4 * frame
        y = torch.maximum(torch.minimum(y, position + 1), position - 1)
        found.append(y)
    return torch.stack(found, 1)


def delay(x: Tensor) -> Tensor:
    """The input of four frames ago."""
    return nn.functional.pad(x, (0, 0, 4, 0))[:, :-4]


def _recursion(x: Tensor, step: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    y, found = torch.zeros_like(x[:, 0]), []
    for frame in x.unbind(1):
        y = step(y, frame)
        found.append(y)
    return torch.stack(found, 1)


TASKS = (running_sum, slow_decay, resonance, hysteresis, delay)
CELLS = (("lstm", 4), ("gru", 4), ("rnn", 8))


class Network(nn.Module):
    def __init__(self, cell: str, hidden: int):
        super().__init__()
        self.cell, self.out = recurrent(cell, 1, hidden), nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.cell(x))
        return y


def train(network: nn.Module, data: Data, steps: int, rate: float, seed: int) -> nn.Module:
    x, y = data
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    least, best = math.inf, copy.deepcopy(network.state_dict())
    for step in range(1, steps + 1):
        rows = torch.randint(len(x), (BATCH,), generator=generator)
        loss = (network(x[rows]) - y[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % LOOK_EVERY == 0:
            with torch.no_grad():
                seen = (network(x[:LOOK_AT]) - y[:LOOK_AT]).square().mean().item()
            if seen < least:
                least, best = seen, copy.deepcopy(network.state_dict())
    network.load_state_dict(best)
    return network


def error(model: lstm_edge.Model, data: Data) -> float:
    """Root of the mean square, in the units of the task."""
    x, y = data
    return float(np.sqrt(np.mean((model.run(x.numpy()) - y.numpy()) ** 2)))


def compare(task: Callable[[Tensor], Tensor], cell: str, hidden: int, steps: int, seed: int) -> list[float]:
    """Errors: of the trained network, and rounded; trained on in int8; trained on as long in float32, and rounded then."""
    torch.manual_seed(seed)
    x = torch.randn(TRAINING + HELD_OUT, FRAMES, 1)
    y = task(x)
    training, held_out = (x[:TRAINING], y[:TRAINING]), (x[TRAINING:], y[TRAINING:])
    network = train(Network(cell, hidden), training, steps, 1e-2, seed=1)
    train(network, training, steps // 2, 3e-3, seed=2)
    aware = train(fake_quantize(copy.deepcopy(network)), training, steps // 2, 1e-3, seed=3)
    longer = train(copy.deepcopy(network), training, steps // 2, 1e-3, seed=3)
    found = [*rounded(network, training[0], held_out), error(export(aware, None, x[:2]), held_out)]
    return found + rounded(longer, training[0], held_out)


def rounded(network: nn.Module, calibration: Tensor, held_out: Data) -> list[float]:
    """The errors of its file in float32, and quantised with calibration."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "float.lstm")
        plain = export(network, path, calibration[:2])
        after, _ = lstm_edge.quantize(path, calibration=calibration[:CALIBRATION].numpy(), precision="int8")
    return [error(plain, held_out), error(after, held_out)]


def rows(steps: int, only: str, seed: int) -> Iterator[str]:
    yield "| network | float32 | rounded | trained on in int8 | recovered | trained on in float32 | rounded |"
    yield "|---|---|---|---|---|---|---|"
    for task in TASKS:
        for cell, hidden in CELLS:
            name = f"{task.__name__.replace('_', ' ')}, {cell} {hidden}"
            if only not in name:
                continue
            plain, after, aware, longer, then = compare(task, cell, hidden, steps, seed)
            back = f"{(after - aware) / (after - plain):.0%}" if after > plain else "nothing was lost"
            yield f"| {name} | {plain:.4f} | {after:.4f} | {aware:.4f} | {back} | {longer:.4f} | {then:.4f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="of the networks that have this in their name")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--steps", type=int, default=600, help="of the first training; each of the others takes half as many"
    )
    torch.set_num_threads(1)
    given = parser.parse_args()
    for row in rows(given.steps, given.only, given.seed):
        print(row, flush=True)


if __name__ == "__main__":
    main()
