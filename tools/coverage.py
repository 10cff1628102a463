#!/usr/bin/env python3
"""How much of src_c the C tests and the quick Python files run, by gcov: lines and branches of each file, and the branches that nothing takes.

    tools/coverage.py                       what `make coverage` does
    tools/coverage.py --show model.c        and shows what nothing runs or takes in these files

The core is built with counters in a copy outside the repository, without optimisation but for its kernels. C tests run once for each ISA of this CPU; the Python
files ask for every ISA themselves. A branch that nothing takes has its reason in tests/uncovered.toml, by its file and the text of its line; exits 1
where one has none, or below 97 % of lines or 88 % of branches.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from core_copy import ROOT, CoreCopy
from mutants import PYTHON_TESTS, SKIPPED

sys.path.insert(0, str(ROOT))

from lstm_edge.files import toml  # noqa: E402 (the tool runs without being installed)

REASONS = ROOT / "tests/uncovered.toml"
MORE_TESTS = [
    "tests/test_format.py", "tests/test_memory_limits.py", "tests/test_adaptation.py", "tests/test_signal.py",
    "tests/test_step_memory.py", "tests/test_insight.py", "tests/test_bench.py", "tests/test_doctor.py",
]  # fmt: skip
LEAST_LINES, LEAST_BRANCHES = 0.97, 0.88
# Or ask nothing of kernels.
EVERY_ISA_ITSELF = ("test_kernels", "test_kernels_weights", "test_sparse", "test_faults")
LIMIT = 3600  # seconds, of all Python files together


@dataclass
class Source:
    """What gcov counted in one file, over all objects that it is part of (a body of kernels is in one for each ISA)."""

    lines: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    # By line and, of one that is part of several functions (a macro), which of them.
    branches: dict[tuple[int, int], list[int]] = field(default_factory=dict)

    def add(self, lines: list[dict]) -> None:
        functions: dict[int, int] = defaultdict(int)
        for line in lines:
            number = line["line_number"]
            self.lines[number] += line["count"]
            key = (number, functions[number])
            functions[number] += 1
            counts = [branch["count"] for branch in line["branches"]]
            before = self.branches.setdefault(key, [])
            # Wrappers of two ISAs may have more branches or fewer: the first are the same.
            before.extend([0] * (len(counts) - len(before)))
            for i, count in enumerate(counts):
                before[i] += count

    def run(self) -> tuple[int, int]:
        """Lines run, and all."""
        return sum(n > 0 for n in self.lines.values()), len(self.lines)

    def taken(self) -> tuple[int, int]:
        """Branches taken, and all."""
        return sum(n > 0 for row in self.branches.values() for n in row), sum(map(len, self.branches.values()))

    def missed(self) -> dict[int, int]:
        """Lines, and how many of their branches nothing takes."""
        lines: dict[int, int] = defaultdict(int)
        for (number, _), row in self.branches.items():
            lines[number] += row.count(0)
        return {number: count for number, count in sorted(lines.items()) if count}


def count_runs(copy: CoreCopy) -> None:
    """Builds and runs all; ends where a test fails."""
    wrong = copy.make("objects")
    if wrong:
        raise SystemExit(wrong)
    copy.link("objects")
    done = copy.run(sys.executable, "-c", "import lstm_edge; print(*[name for name, runs in lstm_edge.isas() if runs])")
    for isa in done.stdout.split():
        for test in copy.c_tests("objects"):
            if isa == "scalar" or test.name not in EVERY_ISA_ITSELF:
                done = copy.run(test, LSTM_EDGE_TEST_STRIDE="200003", LSTM_EDGE_TEST_THOROUGH="1", LSTM_EDGE_ISA=isa)
                if done.returncode:
                    raise SystemExit(f"{test.name} on {isa}:\n{done.stdout}{done.stderr}")
    done = copy.pytest(PYTHON_TESTS + MORE_TESTS, LIMIT, "-q", "-k", SKIPPED, profile="ci")
    if done.returncode:
        raise SystemExit(done.stdout[-4000:] + done.stderr[-2000:])


def read_counts(copy: CoreCopy) -> dict[str, Source]:
    """By the name of each file below src_c."""
    sources: dict[str, Source] = defaultdict(Source)
    for counters in sorted((copy.folder / "objects").rglob("*.gcno")):
        if counters.parent.name == "tests":
            continue
        done = copy.run("gcov", "--json-format", "--branch-probabilities", "--stdout", counters)
        if done.returncode:
            raise SystemExit(f"gcov {counters.name}:\n{done.stderr}")
        for file in json.loads(done.stdout)["files"]:
            if file["file"].startswith("src_c/"):
                sources[file["file"].removeprefix("src_c/")].add(file["lines"])
    return dict(sorted(sources.items()))


def percent(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):5.1f} %  {part:5} of {whole:5}"


def summed(pairs: list[tuple[int, int]]) -> tuple[int, int]:
    return sum(part for part, _ in pairs), sum(whole for _, whole in pairs)


def read_reasons() -> dict[tuple[str, str], str]:
    """Why a branch is never taken: by file and the text of its line (several such lines in one file share it)."""
    reasons = {}
    for group in toml.loads(REASONS.read_text(encoding="utf-8"))["group"]:
        for file, lines in group["lines"].items():
            for line in lines:
                reasons[file, line] = group["why"]
    return reasons


def unexplained(sources: dict[str, Source]) -> tuple[list[str], list[str]]:
    """Branches without a reason; and reasons without a branch, which a race or another CPU may have taken."""
    reasons, used, told = read_reasons(), set(), []
    for name, source in sources.items():
        text = (ROOT / "src_c" / name).read_text(encoding="utf-8").splitlines()
        for number, count in source.missed().items():
            place = (name, text[number - 1].strip())
            used.add(place)
            if place not in reasons:
                told.append(f"{name}:{number}: {count} branches are never taken, without a reason: {place[1]}")
    return told, [f"{REASONS.name}: taken, or gone: {file}: {line}" for file, line in sorted(reasons.keys() - used)]


def show(name: str, source: Source) -> None:
    missed = source.missed()
    for number, line in enumerate((ROOT / "src_c" / name).read_text(encoding="utf-8").splitlines(), 1):
        if number in missed or source.lines.get(number) == 0:
            ran = "not run" if source.lines.get(number) == 0 else ""
            print(f"{name}:{number}: {ran or f'{missed[number]} not taken'}: {line.strip()}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Lines and branches of src_c that the tests run.")
    parser.add_argument(
        "--show", nargs="+", default=[], metavar="FILE", help="what nothing runs or takes in these files"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lstm_edge_coverage_") as folder:
        copy = CoreCopy(Path(folder), "-O0", "--coverage")
        count_runs(copy)
        sources = read_counts(copy)
    for name, source in sources.items():
        print(f"{name:28} lines {percent(*source.run())}   branches {percent(*source.taken())}")
    lines, branches = (summed([f() for f in rows]) for rows in zip(*((s.run, s.taken) for s in sources.values())))
    for name in options.show:
        show(name, sources[name])
    told, idle = unexplained(sources)
    print(f"{'src_c':28} lines {percent(*lines)}   branches {percent(*branches)}", *told, *idle, sep="\n")
    return bool(told) or lines[0] < LEAST_LINES * lines[1] or branches[0] < LEAST_BRANCHES * branches[1]


if __name__ == "__main__":
    raise SystemExit(main())
