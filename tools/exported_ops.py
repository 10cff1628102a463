"""Random graphs of one op each, exported, compiled and run: every program has its bits, or export-c says why there is none.

    PYTHONPATH=.:tools:tests python tools/exported_ops.py 20           so many of every op
    PYTHONPATH=.:tools:tests python tools/exported_ops.py 50 Conv Pad

The graphs are those of tests/strategies.py. A program whose compiler or self-test fails is printed, its folder kept, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from strategies import Case, cases

from lstm_edge import format
from lstm_edge.errors import LstmEdgeError
from lstm_edge.export_c import export_c
from lstm_edge.ir.ops import OPS
from lstm_edge.passes import pipeline

FRAMES = 4
COMMAND = "cc -std=c99 -pedantic -Wall -Wextra -Werror -O1 -ffp-contract=off *.c -lm -o net && ./net"


def outcome(case: Case, folder: Path) -> str:
    """PASS, the reason why it is refused, or what the compiler or the program says."""
    path = folder / "net.lstm"
    try:
        pipeline(case.graph)
        path.write_bytes(format.to_bytes(case.graph))
        export_c(path, folder, name="net", frames=FRAMES)
    except LstmEdgeError as why:
        return f"refused: {why}"
    done = subprocess.run(COMMAND, shell=True, cwd=folder, capture_output=True, text=True)
    return (
        "PASS" if done.stdout.startswith("PASS") else (done.stdout + done.stderr).strip() or f"exit {done.returncode}"
    )


def failures(op: str, count: int) -> int:
    """Tries so many graphs of an op and prints what came of them."""
    refused: set[str] = set()
    passed, failed = [0], [0]

    @seed(1)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(op))
    def check(case: Case) -> None:
        folder = Path(tempfile.mkdtemp(prefix=f"{op}-"))
        said = outcome(case, folder)
        if said == "PASS":
            passed[0] += 1
        elif said.startswith("refused"):
            refused.add(said)
        else:
            failed[0] += 1
            print(f"{op}: {folder}: {said[:1000]}")
            return
        subprocess.run(["rm", "-r", folder], check=True)

    check()
    print(f"{op}: {passed[0]} passed, {failed[0]} failed; {'; '.join(sorted(refused)[:3])}", flush=True)
    return failed[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("ops", nargs="*", default=list(OPS))
    given_ = parser.parse_args()
    sys.exit(1 if sum(failures(op, given_.count) for op in given_.ops) else 0)


if __name__ == "__main__":
    main()
