#!/usr/bin/env python3
"""What the tests would see: each fault of tests/mutants is made in a copy of the tree, built, and judged by the C tests and some quick Python files.

    tools/mutants.py                 all of them
    tools/mutants.py cells planner   those whose name, file or list has one of these words

A fault is a file of src_c, a text that stands there exactly once, and what is written in its place. The copy lies outside the repository; it is
built by the Makefile with -O1 and without sanitizers, so that what is caught is caught by what a test says, and only what the fault touches is
compiled again. Prints by what each was caught; exits 1 where fewer than 95 of 100 were, or where a text does not stand in its file once.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lstm_edge.files import toml  # noqa: E402 (the tool runs without being installed)

COPIED = (
    "docs",
    "lstm_edge",
    "src_c",
    "tests",
    "tools",
    "examples",
    "Makefile",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
)
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.so", "corpus")
# Quickest first: the first failure ends it.
PYTHON_TESTS = [
    "tests/test_reference_vectors.py", "tests/test_op_table.py", "tests/test_further_lengths.py", "tests/test_ops.py",
    "tests/test_sparse.py", "tests/test_int8.py", "tests/test_many.py", "tests/test_streaming.py", "tests/test_runtime.py",
    "tests/test_forecasting.py", "tests/test_reference.py", "tests/test_import_tflite_integer.py",
]  # fmt: skip
LEAST = 0.95
LIMITS = {"C": 60, "Python": 300}  # seconds: a fault that loops for ever is caught, too


@dataclass
class Fault:
    room: str
    name: str
    file: str
    old: str
    new: str


def read_faults() -> list[Fault]:
    faults = []
    for path in sorted((ROOT / "tests/mutants").glob("*.toml")):
        for row in toml.loads(path.read_text(encoding="utf-8"))["fault"]:
            fault = Fault(path.stem, **row)
            found = (ROOT / fault.file).read_text(encoding="utf-8").count(fault.old)
            if found != 1:
                raise SystemExit(
                    f"{path.name}: {fault.name!r}: expected its text once in {fault.file}, found it {found} times"
                )
            faults.append(fault)
    return faults


class Copy:
    """The tree, its objects without a fault, and what is built with one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=LEFT_OUT)
            else:
                shutil.copy2(source, folder / name)
        flags = folder / "src_c/flags.mk"
        flags.write_text(re.sub(r"-O[23]", "-O1", flags.read_text()))
        self.make("base")
        self.build_layer()

    def run(
        self, *command: str | Path, limit: float | None = None, **surroundings: str
    ) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LSTM_EDGE_")} | surroundings
        return subprocess.run(
            list(map(str, command)), cwd=self.folder, env=environment, capture_output=True, text=True, timeout=limit
        )

    def make(self, build: str) -> str:
        """Objects and C tests in a folder of their own; what the compiler says where it fails."""
        done = self.run("make", "-s", f"-j{os.cpu_count()}", "build-test-c", f"C_BUILD={build}", "SANITIZE_FLAGS=-fPIC")
        return "" if done.returncode == 0 else done.stderr or "make failed"

    def build_layer(self) -> None:
        """Cython's part of the module, which no fault touches."""
        python = sysconfig.get_paths()["include"]
        steps = [
            [sys.executable, "-m", "cython", "-3", "lstm_edge/_core.pyx", "-o", "_core.c"],
            ["gcc", "-O0", "-fPIC", "-Isrc_c", f"-I{python}", "-c", "_core.c", "-o", "_core.o"],
        ]
        for step in steps:
            done = self.run(*step)
            if done.returncode:
                raise SystemExit(f"{' '.join(step)}:\n{done.stdout}{done.stderr}")

    def link(self, build: str) -> None:
        objects = [p for p in (self.folder / build).rglob("*.o") if p.parent.name != "tests"]
        module = self.folder / "lstm_edge" / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"
        self.run("gcc", "-shared", "-o", module, "_core.o", *objects, "-lm", "-lpthread").check_returncode()

    def judged(self, build: str) -> str | None:
        """The test that fails, or None."""
        for test in sorted((self.folder / build / "tests").glob("test_*")):
            if test.suffix:
                continue
            try:
                done = self.run(test, limit=LIMITS["C"], LSTM_EDGE_TEST_STRIDE="200003")
            except subprocess.TimeoutExpired:
                return f"{test.name}.c (does not end)"
            if done.returncode:
                return f"{test.name}.c"
        self.link(build)
        present = [name for name in PYTHON_TESTS if (self.folder / name).exists()]
        try:
            done = self.run(
                sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *present,
                limit=LIMITS["Python"], HYPOTHESIS_PROFILE="emulated", OMP_NUM_THREADS="1", PYTHONFAULTHANDLER="1",
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "Python (does not end)"
        if done.returncode == 0:
            return None
        told = re.search(r"(?:FAILED|ERROR) tests/(\S+)", done.stdout)
        crashed = re.search(r'File ".*?tests/(test_\w+\.py)", line \d+ in (test_\w+)', done.stderr)
        return told[1] if told else "::".join(crashed.groups()) + " (crash)" if crashed else "Python (crash)"

    def judge(self, fault: Fault) -> tuple[str | None, float]:
        """By what the fault is caught (None: by nothing), and the seconds that took."""
        start = time.monotonic()
        path = self.folder / fault.file
        text, times = path.read_text(encoding="utf-8"), path.stat()
        shutil.rmtree(self.folder / "faulty", ignore_errors=True)
        shutil.copytree(self.folder / "base", self.folder / "faulty")
        path.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
        try:
            wrong = self.make("faulty")
            caught = f"the compiler: {wrong.splitlines()[0]}" if wrong else self.judged("faulty")
        finally:
            path.write_text(text, encoding="utf-8")
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        return caught, time.monotonic() - start


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes faults, one by one, and tells which tests see them.")
    parser.add_argument("words", nargs="*", help="only faults whose name, file or list has one of these")
    words = parser.parse_args().words
    faults = [f for f in read_faults() if not words or any(w in f"{f.room} {f.file} {f.name}" for w in words)]
    survived: list[str] = []
    with tempfile.TemporaryDirectory(prefix="lstm_edge_mutants_") as folder:
        copy = Copy(Path(folder))
        wrong = copy.judged("base")
        if wrong:
            raise SystemExit(f"without a fault: expected every test to pass, found that {wrong} fails")
        for fault in faults:
            caught, seconds = copy.judge(fault)
            print(f"{fault.room:8} {seconds:5.1f} s  {fault.name:70} {caught or 'SURVIVED'}", flush=True)
            if not caught or caught.startswith("the compiler"):
                survived.append(fault.name)
    print(f"{len(faults) - len(survived)} of {len(faults)} caught", *survived, sep="\n  survived: ")
    return len(faults) - len(survived) < LEAST * len(faults)


if __name__ == "__main__":
    raise SystemExit(main())
