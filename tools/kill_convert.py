"""Kills `lstm-edge convert` at random moments and looks at what it leaves: the file before, or all of the new one, never a part of it.

    python tools/kill_convert.py [KILLS]

A child is forked for each, from a process that has imported what a conversion needs. Half of the kills come at any moment of it, half while it writes.
Ends with an error where a file is neither whole nor the one before, or where the next conversion leaves a temporary.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from lstm_edge.cli import _run

WRITING = 0.01  # seconds, about: every second kill comes within so many of the first byte
UNITS, INPUTS = 256, 64  # some 1.3 MB of weights, so that writing takes a while
NETWORK = """convention = "torch"
weights = "{weights}"

[inputs]
x = ["batch", "frames", {inputs}]

[[layer]]
type = "lstm"
weights = "rec"
"""


def describe(folder: Path, name: str, seed: int) -> Path:
    """A network file with weights of its own."""
    draw = np.random.default_rng(seed).standard_normal
    shapes = {"weight_ih_l0": (4 * UNITS, INPUTS), "weight_hh_l0": (4 * UNITS, UNITS), "bias_ih_l0": (4 * UNITS,), "bias_hh_l0": (4 * UNITS,)}  # fmt: skip
    np.savez(folder / f"{name}.npz", **{f"rec.{n}": draw(s).astype(np.float32) / 16 for n, s in shapes.items()})
    path = folder / f"{name}.toml"
    path.write_text(NETWORK.format(weights=f"{name}.npz", inputs=INPUTS))
    return path


def convert(source: Path, target: Path) -> int:
    return _run(["convert", str(source), "-o", str(target), "--no-self-test"])


def started(source: Path, target: Path) -> int:
    """The number of a child that converts."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        os._exit(convert(source, target))
    return child


def temporaries(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


def wait_for_temporary(folder: Path, child: int) -> None:
    """Until the child writes, or has ended: it stays a zombie, which takes a signal."""
    while not temporaries(folder) and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        pass


def kill(count: int, folder: Path, seed: int = 0) -> Counter[str]:
    """How often the target was the file before, the new one, and how often a temporary was left. AssertionError for anything else."""
    draw, found = random.Random(seed), Counter[str]()
    target = folder / "model.lstm"
    sources = [describe(folder, name, n) for n, name in enumerate(("one", "two"))]
    whole = []
    convert(sources[0], target)
    for source in sources:
        begin = time.perf_counter()
        assert os.waitpid(started(source, target), 0)[1] == 0
        whole.append(target.read_bytes())
    seconds = time.perf_counter() - begin
    for n in range(count):
        new = n % 2
        target.write_bytes(whole[1 - new])
        child = started(sources[new], target)
        if n % 4 > 1:
            time.sleep(draw.uniform(0, 1.1 * seconds))
        else:
            wait_for_temporary(folder, child)
            time.sleep(draw.uniform(0, WRITING))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        content = target.read_bytes()
        assert content in whole, f"kill {n}: {len(content)} bytes that are neither file"
        found["new" if content == whole[new] else "before"] += 1
        found["left a temporary"] += bool(temporaries(folder))
        if temporaries(folder):
            assert os.waitpid(started(sources[new], target), 0)[1] == 0
            assert target.read_bytes() == whole[new] and not temporaries(folder), f"kill {n}: {temporaries(folder)}"
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(dict(kill(int(sys.argv[1]) if sys.argv[1:] else 200, Path(name))))
