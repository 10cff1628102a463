"""The benchmark beside pyperf: the same call in fresh processes of both, in turn.

    PYTHONPATH=tools python -m peers.pyperf_check [--rounds 10] [--only "1x32 step"] [--cpu 1]

For each model and mode: the median of `lstm_edge.bench` and pyperf's, which times loops of calls, and their ratio in the middle of
the rounds. Both means are shown as well: pyperf's values are means of loops, so that rare long calls are in them. At the end the benchmark's own overhead.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import timeit
from pathlib import Path

import instruction_guard
import pyperf

import lstm_edge
from lstm_edge.bench import empty_call
from lstm_edge.bench.statistics import median_interval

SETUP = """
import lstm_edge
from lstm_edge.bench.measure import sample_inputs
model = lstm_edge.load({path!r})
inputs = sample_inputs(model, frames={frames}, step={step})
call = model.stream().step if {step} else model.run
"""
OURS = """
import lstm_edge
from lstm_edge.bench import bench
timing = bench(lstm_edge.load({path!r}), mode={mode!r}, frames={frames}, seconds=0.4, patience=1)
print(timing.median, timing.mean)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="both run on this one")
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.cpu})
    with tempfile.TemporaryDirectory() as folder:
        for name, path in _models(Path(folder)):
            for mode, frames in (("step", 1), ("sequence", 100)):
                if options.only in f"{name} {mode}":
                    _compare(name, path, mode, frames, options.rounds, f"{folder}/pyperf.json")
    _say_overhead()


def _say_overhead() -> None:
    """What timing a call alone adds: an empty call by the benchmark's clock, less what one costs in a loop."""
    timed = min(empty_call() for _ in range(10))
    looped = 1e6 * min(timeit.repeat("call()", "def call(): pass", number=10_000, repeat=50)) / 10_000
    print(
        f"an empty call: {1e3 * timed:.0f} ns, in a loop {1e3 * looped:.0f} ns: own overhead {1e3 * (timed - looped):.0f} ns"
    )


def _models(folder: Path) -> list[tuple[str, str]]:
    found = []
    for inputs, hidden in ((1, 32), (64, 128)):
        path = str(folder / f"{inputs}x{hidden}.lstm")
        lstm_edge.convert(instruction_guard.recurrent("LSTM", inputs, hidden), path, self_test=False)
        found.append((f"LSTM {inputs}x{hidden}", path))
    return found


def _compare(name: str, path: str, mode: str, frames: int, rounds: int, result: str) -> None:
    given = {"path": path, "mode": mode, "frames": frames, "step": mode == "step"}
    looks = []
    for _ in range(rounds):
        median, mean = map(float, _output([sys.executable, "-c", OURS.format(**given)]).split())
        Path(result).unlink(missing_ok=True)
        _output([sys.executable, "-m", "pyperf", "timeit", "-q", "-p", "1", "-n", "5", "-w", "1", "--min-time", "0.05", "-o", result,
                 "-s", SETUP.format(**given), "call(*inputs)"])  # fmt: skip
        looks.append((median, mean, 1e6 * pyperf.Benchmark.load(result).median()))
    ratios = sorted(ours / theirs for ours, _, theirs in looks)
    low, high = median_interval(ratios)
    medians = [statistics.median(each) for each in zip(*looks)]
    print(f"{name} {mode}: {medians[0]:.3f} us (mean {medians[1]:.3f}), pyperf {medians[2]:.3f} us, ratio {statistics.median(ratios):.3f} "
          f"({low:.3f} to {high:.3f})", flush=True)  # fmt: skip


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
