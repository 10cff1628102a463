#!/usr/bin/env python3
"""What the tests would see: each fault of tests/mutants is made in a copy of the tree, built, and judged by the C tests and some quick Python files.

    tools/mutants.py                 all of them
    tools/mutants.py cells planner   those whose name, file or list has one of these words

A fault is a file of src_c, a text that stands there exactly once, and what is written in its place. The copy lies outside the repository; it is
built by the Makefile with -O1 and without sanitizers, so that what is caught is caught by what a test says, and only what the fault touches is
compiled again. Each answer is added to build/mutants.jsonl at once: a run that was ended goes on where it stopped, and a fault that was caught is
made again only when it or its file changed, or with --anew (tests were taken away). Prints by what each was caught; exits 1 where fewer than 95 of
100 were, or where a text does not stand in its file once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from core_copy import ROOT, CoreCopy

sys.path.insert(0, str(ROOT))

from lstm_edge.files import toml  # noqa: E402 (the tool runs without being installed)

RESULTS = ROOT / "build/mutants.jsonl"

# What sees most faults in the least time first: the first failure ends it.
PYTHON_TESTS = [
    "tests/test_reference_vectors.py", "tests/test_ops.py", "tests/test_further_lengths.py", "tests/test_int8.py",
    "tests/test_sparse.py", "tests/test_many.py", "tests/test_streaming.py", "tests/test_runtime.py",
    "tests/test_forecasting.py", "tests/test_reference.py", "tests/test_import_tflite_integer.py", "tests/test_op_table.py",
]  # fmt: skip
# They take many seconds, and what they ask is about training and memory.
SKIPPED = "not (digits_pruned or leave_no_memory)"
TOO_LONG = " (does not end)"
LEAST = 0.95
LIMITS = {"C": 60, "Python": 300}  # seconds of processor time: a fault that loops for ever is caught, too


@dataclass
class Fault:
    room: str
    name: str
    file: str
    old: str
    new: str
    digest: str  # the same while neither the fault nor its file changes


@dataclass
class Answer:
    caught: str | None
    seconds: float

    @property
    def by_a_test(self) -> bool:
        """A fault that does not compile is none."""
        return self.caught is not None and not self.caught.startswith("the compiler")


class Results:
    """What was answered before, by the faults' digests; each new answer is kept at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, Answer] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            row = json.loads(line)
            self.answers[row["digest"]] = Answer(row["caught"], row["seconds"])

    def caught(self, fault: Fault) -> Answer | None:
        answer = self.answers.get(fault.digest)
        return answer if answer and answer.by_a_test else None

    def add(self, fault: Fault, answer: Answer) -> None:
        row = {"digest": fault.digest, "room": fault.room, "name": fault.name, **asdict(answer)}
        self.path.parent.mkdir(exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def read_faults() -> list[Fault]:
    faults = []
    for path in sorted((ROOT / "tests/mutants").glob("*.toml")):
        for row in toml.loads(path.read_text(encoding="utf-8"))["fault"]:
            text = (ROOT / row["file"]).read_text(encoding="utf-8")
            if text.count(row["old"]) != 1:
                raise SystemExit(
                    f"{path.name}: {row['name']!r}: expected its text once in {row['file']}, found it {text.count(row['old'])} times"
                )
            digest = hashlib.sha256("\0".join([row["file"], row["old"], row["new"], text]).encode()).hexdigest()
            faults.append(Fault(path.stem, **row, digest=digest))
    return faults


class Copy(CoreCopy):
    """The tree, its objects without a fault, and what is built with one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "-O1")
        wrong = self.make("objects")
        if wrong:
            raise SystemExit(wrong)
        shutil.copytree(folder / "objects", folder / "base")

    def judged(self, build: str) -> str | None:
        """The test that fails, or None."""
        for test in self.c_tests(build):
            try:
                done = self.run(test, limit=LIMITS["C"], LSTM_EDGE_TEST_STRIDE="200003")
            except subprocess.TimeoutExpired:
                return f"{test.name}.c{TOO_LONG}"
            if done.returncode:
                return f"{test.name}.c{TOO_LONG * (done.returncode == -signal.SIGXCPU)}"
        self.link(build)
        try:
            done = self.pytest(PYTHON_TESTS, LIMITS["Python"], "-x", "-k", SKIPPED)
        except subprocess.TimeoutExpired:
            return f"Python{TOO_LONG}"
        if done.returncode == 0:
            return None
        if done.returncode == -signal.SIGXCPU:
            return f"Python{TOO_LONG}"
        told = re.search(r"(?:FAILED|ERROR) tests/(\S+)", done.stdout)
        crashed = re.search(r'File ".*?tests/(test_\w+\.py)", line \d+ in (test_\w+)', done.stderr)
        return told[1] if told else "::".join(crashed.groups()) + " (crash)" if crashed else "Python (crash)"

    def judge(self, fault: Fault) -> Answer:
        start = time.monotonic()
        path = self.folder / fault.file
        text, times = path.read_text(encoding="utf-8"), path.stat()
        # By the name they were built under, which stands in what the compiler wrote about headers.
        shutil.rmtree(self.folder / "objects")
        shutil.copytree(self.folder / "base", self.folder / "objects")
        path.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
        try:
            wrong = self.make("objects")
            caught = f"the compiler: {wrong.splitlines()[0]}" if wrong else self.judged("objects")
        finally:
            path.write_text(text, encoding="utf-8")
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        return Answer(caught, time.monotonic() - start)


def tell(fault: Fault, answer: Answer) -> None:
    print(f"{fault.room:8} {answer.seconds:5.1f} s  {fault.name:70} {answer.caught or 'SURVIVED'}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes faults, one by one, and tells which tests see them.")
    parser.add_argument("words", nargs="*", help="only faults whose name, file or list has one of these")
    parser.add_argument("--anew", action="store_true", help="judge those again that were caught before, too")
    options = parser.parse_args()
    words = options.words
    faults = [f for f in read_faults() if not words or any(w in f"{f.room} {f.file} {f.name}" for w in words)]
    results = Results(RESULTS)
    known = [] if options.anew else [(fault, answer) for fault in faults if (answer := results.caught(fault))]
    for fault, answer in known:
        tell(fault, answer)
    left = [fault for fault in faults if all(fault is not one for one, _ in known)]
    survived: list[str] = []
    with tempfile.TemporaryDirectory(prefix="lstm_edge_mutants_") as folder:
        copy = Copy(Path(folder)) if left else None
        wrong = copy.judged("objects") if copy else None
        if wrong:
            raise SystemExit(f"without a fault: expected every test to pass, found that {wrong} fails")
        for fault in left:
            answer = copy.judge(fault)
            results.add(fault, answer)
            tell(fault, answer)
            if not answer.by_a_test:
                survived.append(fault.name)
    print(f"{len(faults) - len(survived)} of {len(faults)} caught", *survived, sep="\n  survived: ")
    return len(faults) - len(survived) < LEAST * len(faults)


if __name__ == "__main__":
    raise SystemExit(main())
