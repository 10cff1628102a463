"""From nothing to the first answer: a fresh process of each engine, LSTM(64, 128) in float32, beside Python alone."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from peers.environment import variables

NAME = "cold start"
CASE = "step 64x128"
PROCESSES = 15
# Writes the file that the process will load, in argv[1]; run once, untimed.
WRITE = {
    "ours": """
from peers.engines import ours
(folder / "network.lstm").write_bytes(ours.format.to_bytes(ours.network(case)))""",
    "onnx_runtime": """
from peers.engines.onnx_network import write
write(case, folder)""",
    "litert": """
from peers.engines.litert import cell_file
(folder / "network.tflite").write_bytes(cell_file(case, "float32"))""",
    "ncnn_net": """
from peers.engines.ncnn_net import write
write(case, folder, narrow=False)""",
}
# What a program does that steps once. The answer is not looked at: `peers.measure` has compared it.
START = {
    "python": "",
    "numpy": "import numpy",
    "ours": """
import numpy, lstm_edge
lstm_edge.load("network.lstm").stream().step(numpy.zeros(64, numpy.float32))""",
    "ours_alone": """
import lstm_edge
x, y = (memoryview(bytearray(4 * size)).cast("f") for size in (64, 128))  # the module array would import collections
lstm_edge.load("network.lstm").stream().step(x, out=y)""",
    "onnx_runtime": """
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
x, h = numpy.zeros((1, 1, 64), numpy.float32), numpy.zeros((1, 1, 128), numpy.float32)
onnxruntime.InferenceSession("network.onnx", options).run(None, {"x": x, "h": h, "c": h})""",
    "litert": """
import numpy
from ai_edge_litert.interpreter import Interpreter
engine = Interpreter(model_path="network.tflite", num_threads=1)
engine.allocate_tensors()
for given in engine.get_input_details():
    engine.set_tensor(given["index"], numpy.zeros(given["shape"], numpy.float32))
engine.invoke()
engine.get_tensor(engine.get_output_details()[0]["index"])""",
    "ncnn_net": """
import ncnn
net = ncnn.Net()
net.opt.num_threads = 1
net.load_param("net.param"), net.load_model("net.bin")
extractor = net.create_extractor()
for name, size in (("x", 64), ("h", 128), ("c", 128)):
    given = ncnn.Mat(size, 1)
    given.fill(0.0)
    extractor.input(name, given)
extractor.extract("hn")""",
}
TITLES = {"python": "Python", "numpy": "NumPy", "ours": "lstm_edge", "ours_alone": "lstm_edge without NumPy", "onnx_runtime": "onnxruntime", "litert": "LiteRT", "ncnn_net": "ncnn"}  # fmt: skip
# The most that was resident. ru_maxrss would begin with what this process had when it forked.
MEMORY = """
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))"""


def row(pythons: dict[str, str]) -> dict[str, Any]:
    """Milliseconds and megabytes (the most that was resident) of each beyond its interpreter's Python alone, medians; and Python's own."""
    engines = [engine for engine in WRITE if engine in pythons]
    with tempfile.TemporaryDirectory() as folder:
        for engine in engines:
            _run(pythons[engine], _writing(engine), folder)
        looks: dict[str, list[tuple[float, float]]] = {}
        for _ in range(PROCESSES):
            for name in ("numpy", *engines, *(["ours_alone"] if "ours" in engines else [])):
                python = pythons.get(name.partition("_alone")[0], sys.executable)
                bare, with_it = (_start(python, START[which], folder) for which in ("python", name))
                looks.setdefault("python", []).append(bare)
                looks.setdefault(name, []).append((with_it[0] - bare[0], with_it[1] - bare[1]))
    found = {name: [statistics.median(part) for part in zip(*all_looks)] for name, all_looks in looks.items()}
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "runs": [{"name": TITLES[name], "ms": round(ms, 2), "mb": round(mb, 2)} for name, (ms, mb) in found.items()],
    }


def _writing(engine: str) -> str:
    return (
        f"from pathlib import Path\nfrom peers.cases import BY_NAME\ncase, folder = BY_NAME[{CASE!r}], Path('.')"
        + WRITE[engine]
    )


def _run(python: str, code: str, folder: str) -> str:
    done = subprocess.run([python, "-c", code], cwd=folder, env=variables(), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"cold start: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def _start(python: str, code: str, folder: str) -> tuple[float, float]:
    start = time.perf_counter()
    said = _run(python, code + MEMORY, folder)
    return 1e3 * (time.perf_counter() - start), json.loads(said.split()[-1]) / 1024
