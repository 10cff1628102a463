"""One module an engine: `runners(case, folder)` makes what this engine can do of a row, `version()` says which it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# By the name of its module: what pip installs for it, in the order in which they are measured. torch is taken from the environment that
# runs the table (hundreds of megabytes), and ours from the repository.
PACKAGES: dict[str, tuple[str, ...]] = {
    "ours": (),
    "onnx_runtime": ("onnxruntime", "onnx"),
    "litert": ("ai-edge-litert", "flatbuffers"),
    "ncnn_net": ("ncnn",),
    "open_vino": ("openvino",),
    "pytorch": (),
    "tract_onnx": ("tract",),
    "mnn_module": ("MNN",),
}


class CannotMake(Exception):
    """An engine that has no such network; the message says why."""


@dataclass
class Runner:
    """One way of running a row. `call` is what is timed, with one of `frames`; `reset` forgets the state; `shown` makes an array of an
    answer, untimed. checked: that answer is to be the first one's. cpus: more than one for threads. work: bytes or operations of one call of a limit's
    probe, which is no engine's answer."""

    name: str
    precision: str
    call: Callable[[Any], Any]
    frames: Sequence[Any]
    reset: Callable[[], object] = lambda: None
    shown: Callable[[Any], np.ndarray] = np.asarray
    checked: bool = True
    cpus: int = 1
    work: float = 0.0
    kept: object = None  # what must live as long as the runner

    def answer(self) -> np.ndarray:
        """Answers to all frames from a fresh state, one row each."""
        self.reset()
        return np.stack([np.array(self.shown(self.call(frame)), np.float32).ravel() for frame in self.frames])
