#!/usr/bin/env python3
"""Tests the runtime on every Python from 3.9 on that this machine has beside the one that runs this file: python3.N on PATH, or under ~/.pyenv/versions.

    tools/pythons.py             all that are found
    tools/pythons.py 3.9 3.13    these; one that is missing is an error

Each gets a wheel as `pip install` would make it (the stable ABI's is made once, by this Python), in an environment of its own under ~/.cache/lstm_edge,
and runs the tests beside a copy of the tree without the package, so that the wheel is what is tested. Exits 1 where one fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from common import CACHE, ROOT, run

MINORS = range(9, 16)
STABLE = 11  # the first minor version that takes the wheel of the stable ABI
TESTS = ["tests/test_runtime.py", "tests/test_streaming.py", "tests/test_many.py", "tests/test_golden.py"]
NEEDED = ["numpy", "onnx", "pytest", "pytest-xdist", "hypothesis", "click", "rich"]
BUILD = ["setuptools>=77", "cython>=3.1", "wheel"]
BESIDE = ["tests", "tools", "examples", "pyproject.toml", "README.md"]
WORK = ROOT / "build" / "pythons"


def python_of(minor: int) -> Path | None:
    """An interpreter that answers; pyenv's shims stand on PATH for versions that are not chosen, and answer with an error."""
    versions = sorted((Path.home() / ".pyenv" / "versions").glob(f"3.{minor}.*/bin/python3"))
    for candidate in [shutil.which(f"python3.{minor}"), *versions]:
        if candidate and not subprocess.run([candidate, "-c", ""], capture_output=True).returncode:
            return Path(candidate)
    return None


def environment(minor: int, python: Path) -> Path:
    """The Python of an environment with what tests and building need, made once."""
    folder = CACHE / "pythons" / f"3.{minor}"
    stamp, wanted = folder / ".done", "\n".join(NEEDED + BUILD)
    if not stamp.exists() or stamp.read_text() != wanted:
        run([python, "-m", "venv", "--clear", folder])
        run([folder / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *NEEDED, *BUILD])
        stamp.write_text(wanted)
    return folder / "bin" / "python"


def wheel(python: Path, folder: Path) -> Path:
    """The wheel that pip makes of this tree."""
    shutil.rmtree(folder, ignore_errors=True)
    headers = subprocess.run(
        [ROOT / "tools/python_headers.sh", python], capture_output=True, text=True, check=True
    ).stdout
    surroundings = {**os.environ, **dict([headers.strip().split("=", 1)] if headers.strip() else [])}
    run(
        [
            python,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--disable-pip-version-check",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            folder,
            ROOT,
        ],
        env=surroundings,
    )
    return next(folder.glob("lstm_edge-*.whl"))


def copy_tree(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in BESIDE:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)


def test(minor: int, python: Path, made: Path) -> bool:
    """Whether the tests pass on a Python with this wheel."""
    run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--force-reinstall", "--no-deps", made])
    if minor < STABLE:
        run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "tomli"])
    folder = WORK / f"3.{minor}"
    copy_tree(folder)
    print(f"pythons: 3.{minor} with {made.name}", flush=True)
    done = subprocess.run([python, "-m", "pytest", "-n", "auto", "--dist", "loadfile", *TESTS], cwd=folder)
    return not done.returncode


def main(names: list[str]) -> int:
    wanted = [int(name.partition(".")[2]) for name in names]
    found = {minor: python for minor in wanted or MINORS if (python := python_of(minor))}
    missing = [f"3.{minor}" for minor in wanted if minor not in found]
    if missing:
        raise SystemExit(f"error: expected Python {', '.join(missing)} on PATH or under ~/.pyenv/versions, found none")
    if not wanted:
        found.pop(sys.version_info[1], None)
    if not found:
        print("pythons: no other Python is here: nothing was tested")
        return 0
    stable = None
    failed = []
    for minor, interpreter in found.items():
        python = environment(minor, interpreter)
        if minor >= STABLE:
            stable = stable or wheel(python, WORK / "stable")
        made = stable if minor >= STABLE and stable else wheel(python, WORK / f"wheel-3.{minor}")
        if not test(minor, python, made):
            failed.append(f"3.{minor}")
    print(f"pythons: {', '.join(f'3.{minor}' for minor in found)} tested; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
