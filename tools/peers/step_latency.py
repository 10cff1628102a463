"""Float32 step latency from Python beside onnxruntime: one run, one core, calls interleaved, the state carried by both.

    LSTM_EDGE_MODELS=/path/to/models python tools/peers/step_latency.py [--core 1] [--rounds 200] [--json]

onnxruntime gets one intra-op thread and its inputs as ready arrays; its caller feeds the state back. Each case is
checked for equal answers over 50 frames before it is timed. A target is the largest ratio of medians aimed at.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

import lstm_edge
from lstm_edge.bench.machine import cpu_name

CALLS_A_ROUND = 20


@dataclass
class Case:
    name: str
    target: float
    ours: Callable[[np.ndarray], np.ndarray]
    theirs: Callable[[np.ndarray], np.ndarray]
    our_frames: list[np.ndarray]
    their_frames: list[np.ndarray]


def lstm_model(inputs: int, hidden: int) -> onnx.ModelProto:
    """One LSTM step, x (1,1,I) and states (1,1,H) in and out, uniform weights of torch's default range."""
    rng = np.random.default_rng(inputs * 1000 + hidden)
    bound = hidden**-0.5

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.uniform(-bound, bound, shape).astype(np.float32), name)

    def value(name: str, *shape: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    weights = [weight("W", 1, 4 * hidden, inputs), weight("R", 1, 4 * hidden, hidden), weight("B", 1, 8 * hidden)]
    node = helper.make_node("LSTM", ["x", "W", "R", "B", "", "h", "c"], ["", "hn", "cn"], hidden_size=hidden)
    state = [("h", "hn"), ("c", "cn")]
    ins = [value("x", 1, 1, inputs)] + [value(s, 1, 1, hidden) for s, _ in state]
    outs = [value(s, 1, 1, hidden) for _, s in state]
    copy = helper.make_node("Identity", ["hn"], ["y"])
    graph = helper.make_graph([node, copy], "step", ins, [value("y", 1, 1, hidden), *outs], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def session(source: bytes | str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def lstm_case(inputs: int, hidden: int, target: float, folder: str) -> Case:
    model = lstm_model(inputs, hidden)
    path = os.path.join(folder, f"lstm{inputs}x{hidden}.onnx")
    onnx.save(model, path)
    lstm_edge.convert(path, path + ".lstm", states={"h": "hn", "c": "cn"})
    stream = lstm_edge.load(path + ".lstm").stream()
    theirs = session(model.SerializeToString())
    state = {name: np.zeros((1, 1, hidden), np.float32) for name in "hc"}

    def run_theirs(x: np.ndarray) -> np.ndarray:
        y, state["h"], state["c"] = theirs.run(None, {"x": x, "h": state["h"], "c": state["c"]})
        return y

    rng = np.random.default_rng(1)
    frames = [rng.standard_normal((1, 1, inputs)).astype(np.float32) for _ in range(64)]
    return Case(f"LSTM({inputs},{hidden})", target, stream.step, run_theirs, frames, frames)


def silero_case(models: Path, folder: str) -> Case:
    source = str(next((models / "silero_vad").glob("*op15*.onnx")))
    path = os.path.join(folder, "silero.lstm")
    lstm_edge.convert(source, path, shapes={"input": (1, 576)}, constants={"sr": 16000}, overlap={"input": 64})
    stream = lstm_edge.load(path).stream()
    theirs = session(source)
    kept = {"state": np.zeros((2, 1, 128), np.float32)}
    sr = np.array(16000, np.int64)

    def run_theirs(x: np.ndarray) -> np.ndarray:
        y, kept["state"] = theirs.run(None, {"input": x, "state": kept["state"], "sr": sr})
        return y

    rng = np.random.default_rng(2)
    samples = (0.1 * rng.standard_normal(64 + 512 * 64)).astype(np.float32)
    samples[:64] = 0  # what a fresh stream has before its first frame
    wide = [np.ascontiguousarray(samples[512 * n : 512 * n + 576])[None] for n in range(64)]
    new = [np.ascontiguousarray(x[:, 64:]) for x in wide]
    return Case("Silero VAD, a frame", 0.5, stream.step, run_theirs, new, wide)


def largest_difference(case: Case) -> float:
    pairs = [(case.ours(a), case.theirs(b)) for a, b in zip(case.our_frames[:50], case.their_frames[:50])]
    return max(float(np.abs(np.ravel(a) - np.ravel(b)).max()) for a, b in pairs)


def timed(call: Callable, frames: list[np.ndarray], out: list[int]) -> None:
    clock = time.perf_counter_ns
    for frame in frames[:CALLS_A_ROUND]:
        start = clock()
        call(frame)
        out.append(clock() - start)


def measure(case: Case, rounds: int) -> dict:
    difference = largest_difference(case)
    ours: list[int] = []
    theirs: list[int] = []
    for _ in range(10):  # warm-up
        timed(case.ours, case.our_frames, [])
        timed(case.theirs, case.their_frames, [])
    for _ in range(rounds):
        timed(case.ours, case.our_frames, ours)
        timed(case.theirs, case.their_frames, theirs)
    row = {"case": case.name, "correct": difference <= 1e-5, "max_difference": difference, "target_ratio": case.target}
    for name, times in (("lstm_edge", ours), ("onnxruntime", theirs)):
        row |= {f"{name}_min_us": min(times) / 1e3, f"{name}_median_us": float(np.median(times)) / 1e3}
    row["ratio_of_minima"] = row["lstm_edge_min_us"] / row["onnxruntime_min_us"]
    row["ratio_of_medians"] = row["lstm_edge_median_us"] / row["onnxruntime_median_us"]
    return row


def print_table(rows: list[dict]) -> None:
    print(f"{'case':22}{'lstm_edge us':>18}{'onnxruntime us':>18}{'ratio':>16}{'target':>8}  correct")
    print(f"{'':22}{'min / median':>18}{'min / median':>18}{'min / median':>16}")
    for r in rows:
        ours = f"{r['lstm_edge_min_us']:.2f} / {r['lstm_edge_median_us']:.2f}"
        theirs = f"{r['onnxruntime_min_us']:.2f} / {r['onnxruntime_median_us']:.2f}"
        ratio = f"{r['ratio_of_minima']:.3f} / {r['ratio_of_medians']:.3f}"
        correct = "yes" if r["correct"] else "NO"
        print(f"{r['case']:22}{ours:>18}{theirs:>18}{ratio:>16}{r['target_ratio']:>8.2f}  {correct}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Float32 step latency beside onnxruntime")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="the core both engines run on")
    parser.add_argument("--rounds", type=int, default=200, help=f"rounds of {CALLS_A_ROUND} calls per engine")
    parser.add_argument("--json", action="store_true", help="JSON alone on stdout")
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    models = os.environ.get("LSTM_EDGE_MODELS")
    with tempfile.TemporaryDirectory() as folder:
        cases = [lstm_case(1, 32, 0.12, folder), lstm_case(64, 128, 0.4, folder)]
        if models:
            cases.append(silero_case(Path(models), folder))
        rows = [measure(case, options.rounds) for case in cases]
    about = {"cpu": cpu_name(), "core": options.core, "isa": lstm_edge.isas()[-1][0], "onnxruntime": ort.__version__}
    if not options.json:
        print_table(rows)
        if not models:
            print("Silero left out: LSTM_EDGE_MODELS is not set")
    print(
        json.dumps({**about, "lstm_edge": lstm_edge.__version__, "rows": rows}, indent=None if not options.json else 2)
    )


if __name__ == "__main__":
    main()
