"""What files take to be read: seconds and memory, each measured in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from effort import ATTEMPTS
from shared import GOLDEN, ROOT

SECONDS = 1.0
NEEDS = {"onnx": "onnx", "keras": "h5py", "tflite": "flatbuffers"}
IMPORTS = (
    "onnx.reference",
    "onnx.shape_inference",
    "h5py",
    "lstm_edge.importers.torch.script",
    "lstm_edge.check.self_test",
)

RUNNER = r"""
import json, math, os, resource, sys, time
import lstm_edge
from lstm_edge.convert import to_graph
from lstm_edge.errors import LstmEdgeError
folder, warm, limit, attempts = sys.argv[1], json.loads(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
for path in warm:
    to_graph(path)  # imports what importers import
for name in sys.argv[5:]:
    __import__(name)

def status(key):
    with open("/proc/self/status") as f:
        return int(next(line for line in f if line.startswith(key)).split()[1]) / 1024

def measured(path):
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")  # the peak starts anew
    before, start = status("VmRSS"), time.process_time()
    try:
        whole = lstm_edge.convert if os.path.basename(path).startswith("whole-") else to_graph
        (lstm_edge.load if path.endswith(".lstm") else whole)(path)
        error, message = "", "it was converted"
    except LstmEdgeError as e:
        error, message = type(e).__name__, str(e)
    except BaseException as e:
        error, message = "", f"{type(e).__name__}: {e}"
    return {"seconds": time.process_time() - start, "megabytes": 1.048576 * (status("VmHWM") - before), "error": error,
            "message": message[:300]}

def forked(path):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, 4 << 30))
        os.write(write, json.dumps(measured(path)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else {"seconds": math.inf, "megabytes": math.inf, "error": "", "message": "the process died"}

for name in sorted(os.listdir(folder)):
    runs = []
    while not runs or runs[-1]["seconds"] >= limit and len(runs) < attempts:
        runs.append(forked(os.path.join(folder, name)))
    # of a run that failed, else of the fastest, as neighbours slow a run; memory is the worst
    found = min(runs, key=lambda run: (run["error"] != "", run["seconds"]))
    found["megabytes"] = max(run["megabytes"] for run in runs)
    found["allowed"] = 64 + 20e-6 * os.path.getsize(os.path.join(folder, name))
    print(json.dumps([name, found]), flush=True)
"""


def possible(name: str) -> bool:
    """Whether what the file's reader needs is installed, by the beginning of its name."""
    need = NEEDS.get(name.partition("-")[0])
    return need is None or find_spec(need) is not None


def measured_files(cases: Mapping[str, Callable[[], bytes]], folder: Path) -> dict[str, Any]:
    """seconds, megabytes, those allowed, error and message of each file, by its name."""
    for name, make in cases.items():
        (folder / name).write_bytes(make())
    warm = [
        *([GOLDEN / "onnx" / "lstm_relu.onnx"] if possible("onnx-") else []),
        *([next(iter((GOLDEN / "tflite").glob("fused*.tflite")))] if possible("tflite-") else []),
    ]
    imports = [name for name in IMPORTS if name.startswith("lstm_edge") or find_spec(name.partition(".")[0])]
    out = subprocess.run(
        [
            sys.executable,
            "-c",
            RUNNER,
            str(folder),
            json.dumps([str(p) for p in warm]),
            str(SECONDS),
            str(ATTEMPTS),
            *imports,
        ],
        text=True,
        capture_output=True,
        timeout=300,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert out.returncode == 0, out.stderr[-2000:]
    return dict(json.loads(line) for line in out.stdout.splitlines())
