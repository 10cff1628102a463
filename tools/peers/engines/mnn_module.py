"""MNN from the ONNX file by its converter: float32, and weights alone in int8."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import MNN.expr as expr
import MNN.nn as nn
import numpy as np

from peers.cases import Case, Trained
from peers.engines import CannotMake, Runner
from peers.engines.onnx_network import batch_first, states_of, write

# Not the command mnnconvert, which fetches a package to report what it converts. The converter may crash: it has a process of its own.
CONVERTER = [sys.executable, "-c", "import sys, _tools; _tools.mnnconvert(sys.argv)"]
OPTIONS = {"float32": [], "int8": ["--weightQuantBits", "8"]}
SEQUENCE = ["--useOriginRNNImpl"]  # without it, it crashes on sequences


def version() -> str:
    return f"MNN {installed('mnn')}"


def runners(case: Case | Trained, folder: Path) -> list[Runner]:
    if isinstance(case, Trained):
        raise CannotMake("trained models are measured beside onnxruntime alone")
    source = write(case, folder)
    return [_runner(case, _load(case, source, precision), precision) for precision in OPTIONS]


def _load(case: Case, source: Path, precision: str) -> Any:
    target = source.with_name(f"{precision}.mnn")
    options = OPTIONS[precision] + SEQUENCE * (not case.is_step)
    command = [*CONVERTER, "-f", "ONNX", "--modelFile", source, "--MNNModel", target, "--bizCode", "peers", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not target.exists():
        raise CannotMake(f"its converter ends with {done.returncode}")
    manager = nn.create_runtime_manager(({"backend": "CPU", "numThread": 1, "precision": "high"},))
    states = states_of(case) if case.is_step else []
    made = [f"{s}n" for s in states] or ["y" if case.dense else f"y{len(case.layers) - 1}"]
    return nn.load_module_from_file(str(target), ["x", *states], made, runtime_manager=manager)


def _runner(case: Case, module: Any, precision: str) -> Runner:
    if not case.is_step:
        x = np.ascontiguousarray(case.x.transpose(1, 0, 2))
        shown: Callable[[np.ndarray], np.ndarray] = (lambda y: y) if case.dense else batch_first
        return Runner("MNN", precision, lambda x: module.forward([_given(x)])[0].read(), [x], shown=shown)
    state: list[Any] = []

    def reset() -> None:
        state[:] = [_given(np.zeros((1, 1, case.hidden), np.float32)) for _ in states_of(case)]

    def step(x: np.ndarray) -> np.ndarray:
        made = module.forward([_given(x), *state])
        answer = made[0].read()
        state[:] = [_given(answer), *(_given(m.read()) for m in made[1:])]
        return answer

    reset()
    return Runner("MNN", precision, step, list(case.x[:, None, None]), reset)


def _given(x: np.ndarray) -> Any:
    return expr.const(x, list(x.shape), expr.NCHW, expr.float)
