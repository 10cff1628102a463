"""export_c: a model as a self-contained folder of C99 (docs/export-c.md)."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from .. import format
from .._core import Model, Stream
from ..errors import LstmEdgeError, UnsupportedModelError
from ..reference.samples import sample_inputs
from .program import Program, program_of, write_folder

MOST_STEPS = 16


def export_c(
    path: str | os.PathLike[str], folder: str | os.PathLike[str], *, name: str | None = None, frames: int | None = None
) -> Program:
    """Writes the model of a .lstm file as C99 into `folder` and returns what was written.

    name: of its functions and files; default: the file's. frames: of a step, default 1 or the model's hop; for a model that cannot stream, all frames of a
    call. UnsupportedModelError says what a program cannot hold.
    """
    path = Path(path)
    word = re.sub(r"\W", "_", name or path.stem)
    if not re.match(r"[A-Za-z]", word) or word == "main" or word.startswith("le_"):  # names of the folder's other files
        word = "model_" + word
    content = path.read_bytes()
    model = Model(content, "scalar")
    count = _frames(model, frames)
    lengths = [
        s
        for p in model.inputs
        for s in p.shape or ()
        if isinstance(s, str) and not re.fullmatch(r"(\d+\*)?(batch|frames)", s)
    ]
    if lengths:
        raise UnsupportedModelError(
            f"export-c: expected inputs of known sizes beside batch and frames, found {lengths[0]}: convert with that size given"
        )
    sample = _sample(path, model, count)
    stream = Stream(model, None, count)
    answers = []
    for step in sample:
        if not model.metadata.get("streaming", {}).get("supported"):
            stream = Stream(model, None, count)
        got: Any = stream.run(*step)
        answers.append(list(got.values()) if isinstance(got, dict) else [got])
    program = program_of(model, word, count, sample, answers)
    write_folder(program, folder)
    return program


def _frames(model: Model, frames: int | None) -> int:
    streaming = model.metadata.get("streaming", {})
    multiple = max(int(streaming.get("multiple", 1)), 1)
    if model.is_step_model or not any("frames" in str(s) for p in model.inputs for s in p.shape or ()):
        return 1
    if frames is None and not streaming.get("supported"):
        raise UnsupportedModelError(
            f"export-c: this model cannot stream ({streaming.get('why', '')}): say how many frames a call has (--frames N)"
        )
    count = frames or multiple
    if count % multiple:
        raise LstmEdgeError(f"frames: expected a multiple of {multiple}, found {count}")
    return count


def _sample(path: Path, model: Model, count: int) -> list[list[np.ndarray]]:
    """The self-test's input, or one drawn, step by step as Stream.run takes it."""
    graph = format.read(path)
    framed = any("frames" in str(s) for p in model.inputs for s in p.shape or ())
    arrays = graph.self_test.inputs if graph.self_test else sample_inputs(graph)
    if framed and len(next(iter(arrays.values()))) == 0:
        arrays = sample_inputs(graph)
    parts = []
    for port in model.inputs:
        values = np.array(arrays[port.name], port.dtype, order="C")  # a scalar stays one
        axis = next((i for i, s in enumerate(port.shape or ()) if "frames" in str(s)), -1)
        if model.is_step_model:
            batch = next((i + 1 for i, s in enumerate(port.shape or ()) if "batch" in str(s)), -1)
            values, axis = (values if batch < 0 or values.shape[batch] == 1 else np.take(values, [0], batch)), 0
        elif axis >= 0 and values.ndim < len(port.shape or ()):
            axis -= 1
        if axis < 0:
            parts.append([values] * MOST_STEPS)
        else:
            at = range(0, values.shape[axis] // count * count, count)
            parts.append([np.take(values, range(i, i + count), axis) for i in at])
    return [list(step) for step in zip(*parts)][:MOST_STEPS]
