#!/usr/bin/env python3
"""Counts the core's instructions of twelve calls (callgrind) and fails where one takes over 3 % more than tools/instruction_counts.json says.

    make bench-check                         counts and compares
    PYTHONPATH=. tools/instruction_guard.py --write       counts anew, after a change that is meant to cost or save

What is counted are the objects that `make build` linked into the extension, with tools/run_steps.c as their caller.

Counts repeat from run to run and do not depend on what else the machine does. They do depend on the compiler, whose version stands beside
them: with another one nothing is compared, and the exit code says so (2). The kernels are AVX2's, the best that valgrind knows.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import lstm_edge

ROOT = Path(__file__).resolve().parent.parent
COUNTS = Path(__file__).with_name("instruction_counts.json")
ISA = "avx2"
ALLOWED = 1.03
# operator, inputs, hidden units, weights, frames of a call
CASES = (
    ("LSTM", 1, 32, "float32", 1),
    ("LSTM", 40, 64, "float32", 1),
    ("LSTM", 64, 128, "float32", 1),
    ("LSTM", 64, 128, "float16", 1),
    ("LSTM", 128, 256, "float32", 1),
    ("LSTM", 1, 32, "int8", 1),
    ("LSTM", 64, 128, "int8", 1),
    ("LSTM", 128, 256, "int8", 1),
    ("LSTM", 64, 128, "float32", 50),
    ("LSTM", 64, 128, "int8", 50),
    ("GRU", 64, 128, "float32", 1),
    ("GRU", 64, 128, "int8", 1),
)


def recurrent(op: str, inputs: int, hidden: int) -> bytes:
    """An ONNX model of one recurrence over any number of frames, uniform weights of torch's default range."""
    rng, rows = np.random.default_rng(0), {"LSTM": 4, "GRU": 3}[op] * hidden
    shapes = {"W": (1, rows, inputs), "R": (1, rows, hidden), "B": (1, 2 * rows)}
    weights = [
        numpy_helper.from_array(rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(hidden**0.5), name)
        for name, shape in shapes.items()
    ]
    reset = {"linear_before_reset": 1} if op == "GRU" else {}
    node = helper.make_node(op, ["x", "W", "R", "B"], ["y"], hidden_size=hidden, **reset)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ("frames", 1, inputs))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "one", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(onnx.ModelProto.SerializeToString(model))


def name_of(case: tuple[str, int, int, str, int]) -> str:
    op, inputs, hidden, weights, frames = case
    return f"{op} {inputs}x{hidden} {weights}, " + ("a step" if frames == 1 else f"{frames} frames")


def count(program: str, folder: Path, case: tuple[str, int, int, str, int]) -> float:
    """Instructions of one call: what twelve calls take more than two, by ten."""
    op, inputs, hidden, weights, frames = case
    path = folder / f"{op}_{inputs}_{hidden}_{weights}_{frames}.lstm"
    lstm_edge.convert(recurrent(op, inputs, hidden), path, self_test=False)
    if weights != "float32":
        lstm_edge.quantize(path, path, weights=weights)
    few, many = (collected([program, str(path), str(calls), str(frames)]) for calls in (2, 12))
    return (many - few) / 10


def collected(command: list[str]) -> int:
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command]
    done = subprocess.run(valgrind, capture_output=True, text=True, env={**os.environ, "LSTM_EDGE_ISA": ISA})
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        raise SystemExit(f"error: {' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    return int(found[1])


def runner(folder: Path) -> str:
    """tools/run_steps.c with the objects of the last build."""
    builds = sorted((ROOT / "build").glob("temp.*/src_c"), key=lambda path: path.stat().st_mtime)
    if not builds:
        raise SystemExit("error: build/temp.*/src_c: expected the objects of a build, found none; run `make build`")
    objects = map(str, builds[-1].rglob("*.o"))
    program = str(folder / "run_steps")
    source = ROOT / "tools" / "run_steps.c"
    command = [
        os.environ.get("CC", "gcc"),
        "-O2",
        f"-I{ROOT / 'src_c'}",
        str(source),
        *objects,
        "-o",
        program,
        "-lm",
        "-lpthread",
    ]
    subprocess.run(command, check=True)
    return program


def compiler() -> str:
    cc = os.environ.get("CC", "gcc")
    return (
        f"{cc} " + subprocess.run([cc, "-dumpfullversion"], capture_output=True, text=True, check=True).stdout.strip()
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="Write the counts instead of comparing.")
    given = parser.parse_args()
    if not dict(lstm_edge.isas()).get(ISA):
        print(f"instruction_guard: nothing was compared: this CPU has not {ISA}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        program = runner(Path(folder))
        counts = list(pool.map(lambda case: count(program, Path(folder), case), CASES))
    found = {"compiler": compiler(), "isa": ISA, "instructions": dict(zip(map(name_of, CASES), counts))}
    if given.write:
        COUNTS.write_text(json.dumps(found, indent=1) + "\n")
        return 0
    known = json.loads(COUNTS.read_text())
    if known["compiler"] != found["compiler"]:
        print(
            f"instruction_guard: nothing was compared: counts of {known['compiler']}, this is {found['compiler']}",
            file=sys.stderr,
        )
        return 2
    worst = 0.0
    for name, now in found["instructions"].items():
        ratio = now / known["instructions"][name]
        worst = max(worst, ratio)
        print(f"{name:32} {now:12.0f} {ratio:7.3f}{'  MORE' if ratio > ALLOWED else ''}")
    return 1 if worst > ALLOWED else 0


if __name__ == "__main__":
    sys.exit(main())
