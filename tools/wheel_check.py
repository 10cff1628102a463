#!/usr/bin/env python3
"""Runs models with an installed wheel on another machine than the one that converted them.

    tools/wheel_check.py make FOLDER            here: digits and, with LSTM_EDGE_MODELS, Silero VAD, float32 and int8, with this machine's answers
    tools/wheel_check.py check FOLDER WHEEL PIP there: installs WHEEL with the pip in the folder PIP, then doctor, verify, run, stream and bench
    tools/wheel_check.py here                   in one: the package that is installed converts the digits, and runs them (.github/workflows/wheels.yml)

`check` is one process without children: an emulator runs it as it is (tools/wheels.py --check).
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
TOLERANCE = 1e-5  # float32; int8 to the bit
FRAMES = 100
SILERO = "silero_vad/silero_vad_16k_op15"


def make(folder: Path) -> None:
    """NAME.lstm and NAME.int8.lstm, NAME.x.npy and the answers NAME.y.npy and NAME.int8.y.npy."""
    import lstm_edge

    folder.mkdir(parents=True, exist_ok=True)
    lstm_edge.convert(ROOT / "examples/digits/digits.keras", folder / "digits.lstm")
    inputs = {"digits": np.loadtxt(ROOT / "examples/digits/seven.csv", delimiter=",", dtype=np.float32)}
    models = os.environ.get("LSTM_EDGE_MODELS")
    if models:
        options = {"shapes": {"input": (1, 576)}, "constants": {"sr": 16000}, "overlap": {"input": 64}}
        lstm_edge.convert(Path(models, f"{SILERO}.onnx"), folder / "silero.lstm", **options)
        recording = np.load(Path(models, f"{SILERO}.ref.npz"))["input"]
        inputs["silero"] = np.ascontiguousarray(recording[:FRAMES, :, 64:])
    for name, x in inputs.items():
        lstm_edge.quantize(folder / f"{name}.lstm", folder / f"{name}.int8.lstm", calibration=x, precision="int8")
        np.save(folder / f"{name}.x.npy", x)
        for kind in (name, f"{name}.int8"):
            np.save(folder / f"{kind}.y.npy", lstm_edge.load(folder / f"{kind}.lstm").run(x))


def install(wheel: Path, pip_folder: Path, into: Path) -> None:
    """As a user's pip would, so that the wheel's tags are checked against this machine; dependencies are there already."""
    child = os.fork()  # pip says not to import after it in one process, and an emulated one cannot start itself anew
    if not child:
        sys.path.append(str(pip_folder))
        from pip._internal.cli.main import main as pip

        options = [
            "--quiet",
            "--no-index",
            "--no-deps",
            "--no-compile",
            "--disable-pip-version-check",
            "--root-user-action=ignore",
        ]
        os._exit(pip(["install", *options, "--target", str(into), str(wheel)]))
    if os.waitpid(child, 0)[1]:
        raise SystemExit(f"error: pip does not install {wheel.name} on {os.uname().machine}")
    sys.path.insert(0, str(into))


def command(*arguments: str | Path) -> None:
    """`lstm-edge ARGUMENTS` in this process."""
    from lstm_edge import cli

    print(f"$ lstm-edge {' '.join(str(getattr(a, 'name', a)) for a in arguments)}", flush=True)
    try:
        cli.main([str(a) for a in arguments])
    except SystemExit as exit:
        sys.stdout.flush()
        if exit.code:
            raise


def expect(place: str, found: np.ndarray, expected: np.ndarray, exact: bool) -> None:
    difference = float(np.abs(found - expected).max())
    if found.shape != expected.shape or not difference <= (0 if exact else TOLERANCE):
        raise SystemExit(
            f"error: {place}: expected the converting machine's answer, found one that differs by {difference:g}"
        )
    print(f"{place}: largest difference {difference:g}")


def check(folder: Path, wheel: Path, pip_folder: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        installed = Path(place, "site-packages")
        install(wheel, pip_folder, installed)
        import lstm_edge

        if not Path(lstm_edge.__file__).is_relative_to(installed):
            raise SystemExit(f"error: expected lstm_edge of the wheel, found {lstm_edge.__file__}")
        use(folder, Path(place))


def use(folder: Path, place: Path) -> None:
    """All that is tried with the models of `folder`; what is written goes to `place`."""
    import lstm_edge

    command("doctor")
    for path in sorted(folder.glob("*.lstm")):
        model, exact, answer = lstm_edge.load(path), ".int8" in path.name, place / "y.npy"
        inputs = folder / f"{path.name.partition('.')[0]}.x.npy"
        expected = np.load(path.with_suffix(".y.npy"))
        command("info", path)
        command("verify", path)
        command("run", path, inputs, "-o", answer)
        expect("run", np.load(answer), expected, exact)
        stream = model.stream()
        steps = [stream.step(frame) for frame in np.load(inputs)]
        expect("stream", steps[-1], expected[-1] if expected.ndim > steps[-1].ndim else expected, exact)
        command("bench", path, "--runs", "50", "--warmup", "5", "--frames", "10")


def here() -> None:
    with tempfile.TemporaryDirectory() as place:
        make(Path(place))
        use(Path(place), Path(place))


if __name__ == "__main__":
    what, *paths = sys.argv[1:]
    {"make": make, "check": check, "here": here}[what](*map(Path, paths))
