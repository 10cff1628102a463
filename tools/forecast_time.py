"""What a forecast costs beside its steps: the loop in the core, and `Stream.forecast` around it, against the same steps alone.

    python tools/forecast_time.py        # needs a C compiler; counts instructions where valgrind is installed

The same runs over the same inputs, in turn: minimum and median, and the middle half's spread as the noise.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import forecast_helpers  # noqa: E402

import lstm_edge  # noqa: E402
from lstm_edge.forecasting import Description  # noqa: E402

TIMES = 101
CASES = (("one value ahead", 1, (), 500), ("24 values, 3 quantiles", 24, (0.1, 0.5, 0.9), 21))


def compiled(folder: Path) -> Path:
    """The program, with the core built as the extension is."""
    subprocess.run(
        [
            "make",
            "-s",
            "-C",
            str(ROOT),
            f"C_BUILD={folder}",
            "SANITIZE_FLAGS=",
            "build-test-c",
            f"C_TESTS={folder}/tests/test_model",
        ],
        check=True,
    )
    objects = [str(p) for p in folder.rglob("*.o")]
    program = folder / "forecast_time"
    sources = [str(ROOT / "tools/forecast_time.c"), *objects]
    subprocess.run(["cc", "-O3", f"-I{ROOT / 'src_c'}", *sources, "-o", str(program), "-lm", "-lpthread"], check=True)
    return program


def told(ns: list[float]) -> str:
    low, middle, high = np.percentile(ns, [25, 50, 75])
    return f"min {min(ns) / 1e3:8.1f} us, median {middle / 1e3:8.1f} us (noise {(high - low) / middle:.0%})"


def instructions(program: Path, arguments: list[str], folder: Path) -> int:
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder / 'out'}", str(program), *arguments]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return int(re.search(r"Collected : (\d+)", said)[1])  # type: ignore[index]


def measure(
    program: Path, folder: Path, hidden: int, name: str, horizon: int, quantiles: tuple[float, ...], count: int
) -> None:
    forecast_helpers.HIDDEN = hidden
    about = Description("series", "forecast", ("load",), ("load",), (0,), horizon, quantiles)
    path = folder / "model.lstm"
    path.write_bytes(forecast_helpers.described_file(about))
    arguments = [str(path), str(horizon), str(max(len(quantiles), 1)), str(count)]
    lines = subprocess.run(
        [str(program), *arguments, str(TIMES)], check=True, capture_output=True, text=True
    ).stdout.split()
    loop, steps = [float(n) for n in lines[::2]], [float(n) for n in lines[1::2]]
    print(f"LSTM {hidden}, {name}: {count} runs of {horizon}")
    print(f"  the loop in the core  {told(loop)}")
    print(f"  its steps alone       {told(steps)}")
    print(
        f"  ratio                 {min(loop) / min(steps):.3f} of minima, {statistics.median(loop) / statistics.median(steps):.3f} of medians"
    )
    whole = python_time(path, horizon, count)
    print(f"  Stream.forecast       {told(whole)}: {(min(whole) - min(loop)) / 1e3:.0f} us for Python")
    if shutil.which("valgrind"):
        more = [*arguments[:3], str(3 * count)]
        counts = [[instructions(program, [*a, what], folder) for a in (arguments, more)] for what in ("roll", "steps")]
        rolled, stepped = ((b - a) / (2 * count) for a, b in counts)
        print(f"  instructions of a run {rolled:,.0f} in the loop, {stepped:,.0f} alone: {rolled / stepped:.3f}")


def python_time(path: Path, horizon: int, count: int) -> list[float]:
    stream = lstm_edge.load(path).stream()
    stream.run(np.full((50, 1), 0.3, np.float32))
    took = []
    for _ in range(TIMES):
        start = time.perf_counter_ns()
        stream.forecast((count + 1) * horizon)
        took.append(float(time.perf_counter_ns() - start))
    return took


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = compiled(folder)
        for hidden in (16, 32, 64):
            for case in CASES:
                measure(program, folder, hidden, *case)


if __name__ == "__main__":
    main()
