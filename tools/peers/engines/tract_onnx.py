"""tract from the ONNX file, in float32; it reads no dynamic int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tract

from peers.cases import Case, Trained
from peers.engines import CannotMake, Runner
from peers.engines.onnx_network import batch_first, states_of, write


def version() -> str:
    return f"tract {tract.version()}"


def runners(case: Case | Trained, folder: Path) -> list[Runner]:
    if isinstance(case, Trained):
        raise CannotMake("trained models are measured beside onnxruntime alone")
    model = tract.onnx().load(str(write(case, folder))).into_model().into_runnable().spawn_state()
    if not case.is_step:
        x = np.ascontiguousarray(case.x.transpose(1, 0, 2))
        shown = (lambda y: y) if case.dense else batch_first
        return [Runner("tract", "float32", lambda x: model.run([x])[0].to_numpy(), [x], shown=shown)]
    state: list[Any] = []

    def reset() -> None:
        state[:] = [np.zeros((1, 1, case.hidden), np.float32) for _ in states_of(case)]

    def step(x: np.ndarray) -> np.ndarray:
        state[:] = model.run([x, *state])
        return state[0].to_numpy()

    reset()
    return [Runner("tract", "float32", step, list(case.x[:, None, None]), reset)]
