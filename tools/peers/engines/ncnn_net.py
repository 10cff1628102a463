"""ncnn: its two files written here, float32 and int8 (weights with a scale a row, inputs quantised as they come)."""

from __future__ import annotations

import struct
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import ncnn
import numpy as np

from peers.cases import GATES, Case, LayerWeights, Trained
from peers.engines import CannotMake, Runner

INT8_TAG = 0x000D4B38
ORDER = {"LSTM": (0, 1, 3, 2), "GRU": (0, 1, 2)}  # i f o g; r u n


def version() -> str:
    return f"ncnn {installed('ncnn')}"


def runners(case: Case | Trained, folder: Path) -> list[Runner]:
    if isinstance(case, Trained):
        raise CannotMake("trained models are measured beside onnxruntime alone")
    if case.batch > 1 or case.dense:
        raise CannotMake("no batches" if case.batch > 1 else "no stacked network was written for it")
    return [_runner(case, _load(case, folder, precision), precision) for precision in ("float32", "int8")]


def write(case: Case, folder: Path, narrow: bool) -> tuple[Path, Path]:
    """net.param and net.bin of one layer."""
    layer, weights = case.layers[0], case.weights[0]
    states = ["h", "c"][: 2 if layer.cell == "LSTM" else 1] if case.is_step else []
    ends = ["x", *states], ["y", *(s + "n" for s in states)]
    lines = [f"Input {name} 0 1 {name}" for name in ends[0]]
    lines.append(
        f"{layer.cell} cell {len(ends[0])} {len(ends[1])} {' '.join(ends[0])} {' '.join(ends[1])} "
        f"0={layer.hidden} 1={weights.w.size} 2={2 if layer.directions == 2 else 0} 8={2 if narrow else 0}"
    )
    param, binary = folder / "net.param", folder / "net.bin"
    param.write_text("\n".join(["7767517", f"{len(lines)} {len(ends[0]) + len(ends[1])}", *lines]) + "\n")
    binary.write_bytes(_stored(layer.cell, weights, narrow))
    return param, binary


def _load(case: Case, folder: Path, precision: str) -> Any:
    param, binary = write(case, folder, precision == "int8")
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.lightmode = True
    if net.load_param(str(param)) or net.load_model(str(binary)):
        raise CannotMake("ncnn did not read the network")
    return net


def _stored(cell: str, weights: LayerWeights, narrow: bool) -> bytes:
    def ordered(a: np.ndarray) -> np.ndarray:
        gates = np.split(a, GATES[cell], axis=1)
        return np.concatenate([gates[n] for n in ORDER[cell]], axis=1)

    w, r = ordered(weights.w), ordered(weights.r)
    if cell == "LSTM":
        bias = ordered(weights.b)
    else:  # r and u have the sum of their biases, n both
        h = weights.b.shape[1] // 3
        both = weights.b + weights.rb
        bias = np.concatenate([both[:, : 2 * h], weights.b[:, 2 * h :], weights.rb[:, 2 * h :]], axis=1)
    if not narrow:
        return b"".join(struct.pack("<I", 0) + a.astype("<f4").tobytes() for a in (w, bias, r))
    scales = [127 / np.abs(a).max(2, keepdims=True) for a in (w, r)]
    rows = [struct.pack("<I", INT8_TAG) + _padded(np.rint(a * s).astype(np.int8)) for a, s in zip((w, r), scales)]
    stored = rows[0] + struct.pack("<I", 0) + bias.astype("<f4").tobytes() + rows[1]
    return stored + b"".join(s.astype("<f4").tobytes() for s in scales)


def _padded(a: np.ndarray) -> bytes:
    return a.tobytes() + bytes(-a.size % 4)


def _runner(case: Case, net: Any, precision: str) -> Runner:
    if not case.is_step:

        def whole(x: np.ndarray) -> np.ndarray:
            extractor = net.create_extractor()
            extractor.input("x", ncnn.Mat(x))
            return np.array(extractor.extract("y")[1])

        return Runner("ncnn", precision, whole, [case.x[0]])
    names = ["h", "c"][: 2 if case.layers[0].cell == "LSTM" else 1]
    state: dict[str, Any] = {}
    zeros = np.zeros((1, case.hidden), np.float32)  # a Mat does not keep the array that it is a view of

    def reset() -> None:
        state.update({name: ncnn.Mat(zeros).clone() for name in names})

    def step(x: np.ndarray) -> Any:
        extractor = net.create_extractor()
        extractor.input("x", ncnn.Mat(x))
        for name in names:
            extractor.input(name, state[name])
        for name in names:
            _, state[name] = extractor.extract(name + "n")
        return state["h"]

    reset()
    return Runner("ncnn", precision, step, list(case.x[:, None]), reset)
