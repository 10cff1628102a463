"""Time of training by lstm_edge.training.fit and by the plain PyTorch loop that its reader would write, taking turns.

    python tools/peers/training_time.py --windows 100000 --share 0.02 --rounds 7

A 2 x 64 LSTM on windows of 96 frames of one column, the next value forecast at every frame, AdamW, clipping, batches of 64.
share: the part of an epoch that a turn trains; the order of who begins changes from round to round. Prints the seconds of
a turn and an epoch by each, of the clock and of the processor (the steadier one while others use the machine), and the
ratios of the medians. Exit code 1: the clock's is above `--at-most`.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time

import torch
from torch import nn

from lstm_edge.training.loop import Tensors, fit
from lstm_edge.training.options import Options

FRAMES = 96
BATCH = 64
RATE = 1e-3
CLIP = 1.0


class Forecaster(nn.Module):
    """(batch, frames, 1) -> (batch, frames, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrence = nn.LSTM(1, 64, 2, batch_first=True)
        self.out = nn.Linear(64, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.recurrence(x)[0])


def windows(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets, (count, FRAMES, 1) each."""
    generator = torch.Generator().manual_seed(1)
    phase = 6.28 * torch.rand(count, 1, 1, generator=generator)
    series = torch.sin(phase + 0.2 * torch.arange(FRAMES + 1).reshape(1, -1, 1))
    series = series + 0.1 * torch.randn(series.shape, generator=generator)
    return series[:, :-1], series[:, 1:]


def clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def passed(since: tuple[float, float]) -> list[float]:
    return [now - then for now, then in zip(clocks(), since)]


def plain(x: torch.Tensor, y: torch.Tensor, device: str) -> list[float]:
    """The seconds of an epoch, those of the processor, and the loss it ends with."""
    torch.manual_seed(0)
    module = Forecaster().to(device).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=RATE)
    criterion = nn.MSELoss()
    began, total = clocks(), 0.0
    for indices in torch.randperm(len(x)).split(BATCH):
        inputs, targets = x[indices].to(device), y[indices].to(device)
        optimizer.zero_grad()
        loss = criterion(module(inputs), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), CLIP)
        optimizer.step()
        total += loss.item() * len(indices)
    return [*passed(began), total / len(x)]


def ours(x: torch.Tensor, y: torch.Tensor, device: str) -> list[float]:
    """The same of `fit`."""
    torch.manual_seed(0)
    criterion = nn.MSELoss()
    options = Options(epochs=1, batch=BATCH, rate=RATE, clip=CLIP, device=device)
    began = clocks()
    history = fit(Forecaster(), lambda m, b: criterion(m(b[0]), b[1]), Tensors((x, y)), lambda m: 0.0, options)
    return [*passed(began), history.epochs[0].loss]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=100_000)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--at-most", type=float, default=1.1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    x, y = windows(math.ceil(given.windows * given.share))
    loops = {"plain PyTorch": plain, "lstm_edge": ours}
    for loop in loops.values():
        loop(x[: 4 * BATCH], y[: 4 * BATCH], given.device)  # what is loaded and chosen at first use
    found: dict[str, list[list[float]]] = {name: [] for name in loops}
    for number in range(given.rounds):
        for name in list(loops)[:: 1 if number % 2 else -1]:
            found[name].append(loops[name](x, y, given.device))
    print(f"torch {torch.__version__}, {given.threads} threads, {given.device}, {len(x)} windows of {FRAMES} a turn")
    ratios = []
    for place, clock in enumerate(("clock", "processor")):
        medians = {name: statistics.median(run[place] for run in runs) for name, runs in found.items()}
        for name, runs in found.items():
            turns = ", ".join(f"{run[place]:.2f}" for run in runs)
            epoch = medians[name] * given.windows / len(x)
            print(f"{clock}, {name}: median {medians[name]:.3f} s ({turns}), an epoch {epoch:.0f} s")
        ratios.append(medians["lstm_edge"] / medians["plain PyTorch"])
        print(f"{clock}: ratio {ratios[-1]:.3f}")
    print("losses:", ", ".join(f"{name} {runs[0][2]:.6f}" for name, runs in found.items()))
    return int(ratios[0] > given.at_most)


if __name__ == "__main__":
    sys.exit(main())
