"""OpenVINO from the ONNX file, in float32 (its default rounds to bfloat16 where the CPU has that); its int8 has no LSTM that works."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino

from peers.cases import Case, Trained
from peers.engines import CannotMake, Runner
from peers.engines.onnx_network import batch_first, states_of, write

ONE_THREAD = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}


def version() -> str:
    return f"openvino {openvino.__version__.split('-')[0]}"


def runners(case: Case | Trained, folder: Path) -> list[Runner]:
    if isinstance(case, Trained):
        raise CannotMake("trained models are measured beside onnxruntime alone")
    request = openvino.Core().compile_model(write(case, folder), "CPU", ONE_THREAD).create_infer_request()
    if not case.is_step:
        x = np.ascontiguousarray(case.x.transpose(1, 0, 2))
        shown = (lambda y: y[0]) if case.dense else (lambda y: batch_first(y[0]))
        return [Runner("openvino", "float32", lambda x: request.infer([x], share_inputs=True), [x], shown=shown)]
    names = states_of(case)
    state: list[np.ndarray] = []

    def reset() -> None:
        state[:] = [np.zeros((1, 1, case.hidden), np.float32) for _ in names]

    def step(x: np.ndarray) -> np.ndarray:
        made = request.infer([x, *state])
        state[:] = [made[n] for n in range(len(names))]
        return state[0]

    reset()
    return [Runner("openvino", "float32", step, list(case.x[:, None, None]), reset)]
