"""int8 and float16 step latency beside this library's float32 and the peers that are installed: one run, one core, calls interleaved.

    python tools/peers/int8_latency.py [--core 1] [--rounds 60] [--isa avx2] [--json] [--litert-cells FOLDER]

Python call included; every engine has one thread and its inputs ready; states are fed back where the engine does not keep them. Peers:
onnxruntime (float32, dynamic int8), torch (dynamic int8), ncnn (int8), and with --litert-cells an LSTM cell as a dynamic-range .tflite, which
`--make-litert-cells FOLDER` writes in an environment that has TensorFlow. What is not installed is left out by name.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

CASES = [(64, 128), (128, 256), (256, 512)]
CALLS_A_ROUND = 10
Step = Callable[[np.ndarray], object]


def weights(inputs: int, hidden: int) -> list[np.ndarray]:
    """w_ih (4H, I), w_hh (4H, H), b (4H)."""
    rng, bound = np.random.default_rng(inputs), hidden**-0.5
    return [rng.uniform(-bound, bound, (4 * hidden, *s)).astype(np.float32) for s in ((inputs,), (hidden,), ())]


def ours(inputs: int, hidden: int, isa: str | None) -> dict[str, Step]:
    import lstm_edge
    from lstm_edge import format, passes
    from lstm_edge.ir.dims import BATCH, FRAMES
    from lstm_edge.ir.graph import Graph

    graph = Graph()
    x = graph.input("x", (BATCH, FRAMES, inputs))
    names = [graph.constant(w[None], "w") for w in weights(inputs, hidden)]
    graph.output("y", graph.add1("LSTM", [x, *names], {}, "lstm"))
    content = {"float32": format.to_bytes(passes.pipeline(graph))}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("float16", "int8"):
            path = Path(folder) / f"{kind}.lstm"
            lstm_edge.quantize(content["float32"], path, weights=kind)
            content[kind] = path.read_bytes()
    return {f"lstm_edge {k}": lstm_edge.Model(c, isa).stream(1).step for k, c in content.items()}


def onnxruntime(inputs: int, hidden: int) -> dict[str, Step]:
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime.quantization import quantize_dynamic

    ort.set_default_logger_severity(4)
    w, r, b = weights(inputs, hidden)
    tensors = {"W": w[None], "R": r[None], "B": np.concatenate([b, 0 * b])[None]}
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 1, s)) for n, s in
             (("x", inputs), ("h", hidden), ("c", hidden), ("hn", hidden), ("cn", hidden))]  # fmt: skip
    node = helper.make_node("LSTM", ["x", "W", "R", "B", "", "h", "c"], ["", "hn", "cn"], hidden_size=hidden)
    graph = helper.make_graph(
        [node], "step", value[:3], value[3:], [numpy_helper.from_array(v, k) for k, v in tensors.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    steps: dict[str, Step] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {"float32": f"{folder}/f.onnx", "int8": f"{folder}/q.onnx"}
        onnx.save(model, paths["float32"])
        quantize_dynamic(paths["float32"], paths["int8"])
        for kind, path in paths.items():
            options = ort.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            steps[f"onnxruntime {kind}"] = _fed_back(session, hidden)
    return steps


def _fed_back(session: object, hidden: int) -> Step:
    state = {k: np.zeros((1, 1, hidden), np.float32) for k in "hc"}

    def step(x: np.ndarray) -> None:
        state["h"], state["c"] = session.run(None, {"x": x, **state})  # type: ignore[attr-defined]

    return step


def torch(inputs: int, hidden: int) -> dict[str, Step]:
    import warnings

    import torch as t

    t.set_num_threads(1)
    warnings.simplefilter("ignore")
    plain = t.nn.Sequential(t.nn.LSTM(inputs, hidden))
    narrow = t.ao.quantization.quantize_dynamic(plain, {t.nn.LSTM}, dtype=t.qint8)[0]
    kept = {"state": (t.zeros(1, 1, hidden), t.zeros(1, 1, hidden))}

    def step(x: np.ndarray) -> None:
        with t.inference_mode():
            _, kept["state"] = narrow(t.from_numpy(x), kept["state"])

    return {"torch int8": step}


def ncnn(inputs: int, hidden: int) -> dict[str, Step]:
    import ncnn as n

    w, r, b = weights(inputs, hidden)
    with tempfile.TemporaryDirectory() as folder:
        param, binary = f"{folder}/m.param", f"{folder}/m.bin"
        Path(param).write_text(
            "7767517\n4 6\nInput x 0 1 x\nInput h 0 1 h\nInput c 0 1 c\n"
            f"LSTM lstm 3 3 x h c y hn cn 0={hidden} 1={w.size} 2=0 3={hidden} 8=2\n"
        )
        with open(binary, "wb") as file:
            scales = [127 / np.abs(m).max(1) for m in (w, r)]
            for m, scale in ((w, scales[0]), (b, None), (r, scales[1])):
                q = m if scale is None else np.rint(m * scale[:, None]).astype(np.int8)
                file.write(struct.pack("<I", 0 if scale is None else 0x000D4B38) + q.tobytes())
            file.write(scales[1].astype(np.float32).tobytes() + scales[0].astype(np.float32).tobytes())
        net = n.Net()
        net.opt.num_threads = 1
        net.opt.lightmode = True
        if net.load_param(param) or net.load_model(binary):
            raise RuntimeError("ncnn did not read the model")
    state = {k: n.Mat(np.zeros((1, hidden), np.float32)).clone() for k in "hc"}

    def step(x: np.ndarray, net: object = net) -> None:
        extractor = net.create_extractor()  # type: ignore[attr-defined]
        extractor.input("x", n.Mat(x[0]))
        extractor.input("h", state["h"])
        extractor.input("c", state["c"])
        _, state["h"] = extractor.extract("hn")
        _, state["c"] = extractor.extract("cn")

    return {"ncnn int8": step}


def litert(inputs: int, hidden: int, folder: str) -> dict[str, Step]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=f"{folder}/lstm{inputs}x{hidden}.tflite", num_threads=1)
    interpreter.allocate_tensors()
    by_size = {tuple(d["shape"]): [] for d in interpreter.get_input_details()}
    for d in sorted(interpreter.get_input_details(), key=lambda d: d["name"]):
        by_size[tuple(d["shape"])].append(d["index"])
    x_index, states = by_size[1, inputs][0], by_size[1, hidden]
    outs = [d["index"] for d in interpreter.get_output_details()]

    def step(x: np.ndarray) -> None:
        interpreter.set_tensor(x_index, x[0])
        interpreter.invoke()
        for to, source in zip(states, outs):
            interpreter.set_tensor(to, interpreter.get_tensor(source))

    return {"litert cell int8": step}


def litert_cell(inputs: int, hidden: int) -> bytes:
    """An LSTM cell, x, h, c -> h', c', with dynamic-range int8 weights. Needs TensorFlow."""
    import tensorflow as tf

    w, r, b = (tf.constant(a.T) for a in weights(inputs, hidden))
    signature = [
        tf.TensorSpec((1, size), tf.float32, name) for name, size in (("x", inputs), ("s1", hidden), ("s2", hidden))
    ]

    @tf.function(input_signature=signature)
    def cell(x, s1, s2):
        i, f, g, o = tf.split(tf.matmul(x, w) + tf.matmul(s1, r) + b, 4, axis=1)
        c = tf.sigmoid(f) * s2 + tf.sigmoid(i) * tf.tanh(g)
        return tf.sigmoid(o) * tf.tanh(c), c

    converter = tf.lite.TFLiteConverter.from_concrete_functions([cell.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter.convert()


def timed(step: Step, frames: list[np.ndarray]) -> list[int]:
    times = []
    for frame in frames:
        start = time.perf_counter_ns()
        step(frame)
        times.append(time.perf_counter_ns() - start)
    return times


def measure(inputs: int, hidden: int, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Minimum and median microseconds per engine."""
    engines = ours(inputs, hidden, options.isa)
    for make in (onnxruntime, torch, ncnn):
        try:
            engines |= make(inputs, hidden)
        except ImportError as why:
            print(f"left out: {make.__name__} ({why})")
    if options.litert_cells:
        engines |= litert(inputs, hidden, options.litert_cells)
    rng = np.random.default_rng(0)
    frames = [rng.standard_normal((1, 1, inputs)).astype(np.float32) for _ in range(CALLS_A_ROUND)]
    times: dict[str, list[int]] = {name: [] for name in engines}
    for round_ in range(options.rounds + 5):
        for name, step in engines.items():
            taken = timed(step, frames)
            times[name] += taken if round_ >= 5 else []
    return {k: {"min": min(v) / 1e3, "median": float(np.median(v)) / 1e3} for k, v in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--core", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--isa")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--litert-cells", metavar="FOLDER")
    parser.add_argument("--make-litert-cells", metavar="FOLDER")
    options = parser.parse_args()
    if options.make_litert_cells:
        for inputs, hidden in CASES:
            Path(options.make_litert_cells, f"lstm{inputs}x{hidden}.tflite").write_bytes(litert_cell(inputs, hidden))
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.core})
    rows = {f"LSTM {i}x{h}": measure(i, h, options) for i, h in CASES}
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for case, engines in rows.items():
        base = engines["lstm_edge float32"]["median"]
        print(f"{case}, microseconds per step, minimum / median, share of own float32")
        for name, t in engines.items():
            print(f"  {name:20} {t['min']:8.2f} {t['median']:8.2f}   {t['median'] / base:.2f}")


if __name__ == "__main__":
    main()
