"""LiteRT: a fused sequence LSTM, which keeps its state itself, and a cell of ordinary operators with the state fed in and out, which few
users would write but which is the faster. Their files are written here; int8 is the dynamic-range kind."""

from __future__ import annotations

from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from conformance.spell_tflite import Operators, Tensor, written

from peers.cases import GATES, Case, LayerWeights, Trained
from peers.engines import CannotMake, Runner

TANH = 4  # the schema's number of a fused activation


def version() -> str:
    return f"LiteRT {installed('ai-edge-litert')}"


def runners(case: Case | Trained, folder: Path) -> list[Runner]:
    if isinstance(case, Trained):
        raise CannotMake("trained models are measured beside onnxruntime alone")
    made = []
    for precision in ("float32", "int8"):
        if case.is_step:
            made.append(_cell(case, precision))
        if case.layers[0].cell == "LSTM":
            made.append(_fused(case, precision))
    if not made:
        raise CannotMake("it has no fused GRU")
    return made


class Network(Operators):
    """Operators whose tensors have their shapes, as the delegate wants them, and whose weights have a precision."""

    def __init__(self, precision: str) -> None:
        super().__init__()
        self.narrow = precision == "int8"

    def given(self, *shape: int) -> Tensor:
        return self.tensor("float32", list(shape), list(shape))

    def made(self, kind: str, *inputs: Any, shape: tuple[int, ...], **options: Any) -> Tensor:
        (tensor,) = self.several(kind, *inputs, shapes=[shape], **options)
        return tensor

    def several(self, kind: str, *inputs: Any, shapes: list[tuple[int, ...]], **options: Any) -> list[Tensor]:
        made = self(kind, *inputs, outputs=len(shapes), dtype="float32", **options)
        made = made if len(shapes) > 1 else [made]
        for tensor, shape in zip(made, shapes):
            tensor.shape[:] = tensor.signature[:] = shape
        return list(made)

    def weight(self, w: np.ndarray, by_row: bool = True) -> Tensor | np.ndarray:
        """by_row: a scale for each row, which a fully connected layer may have and the fused LSTM not."""
        if not self.narrow:
            return w
        scales = np.abs(w).max(axis=1 if by_row else None, keepdims=True) / 127
        q = np.rint(w / scales).astype(np.int8)
        return self.tensor("int8", list(w.shape), list(w.shape), data=q, scales=scales.ravel())


def _interpreter(content: bytes) -> Interpreter:
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _fused(case: Case, precision: str) -> Runner:
    t = Network(precision)
    frames = case.frames or 1
    given = x = t.given(case.batch, frames, case.inputs)
    for layer, weights in zip(case.layers, case.weights):
        inputs: list[Any] = [x]
        for d in range(layer.directions):
            parts = [np.split(a[d], GATES[layer.cell]) for a in (weights.w, weights.r, weights.b)]
            inputs += [t.weight(np.ascontiguousarray(a), by_row=False) for a in parts[0] + parts[1]]
            inputs += [None, None, None, *parts[2], None, None]
        inputs += [t.variable(case.batch, layer.hidden) for _ in range(2 * layer.directions)]
        shape = (case.batch, frames, layer.outputs)
        options: dict[str, Any] = {"activation": TANH, "time_major": False}
        if layer.directions == 2:
            x = t.made("BIDIRECTIONAL_SEQUENCE_LSTM", *inputs, *[None] * 9, shape=shape, merge_outputs=True, **options)
        else:
            x = t.made("UNIDIRECTIONAL_SEQUENCE_LSTM", *inputs, *[None] * 4, shape=shape, **options)
    if case.dense:
        width = case.layers[-1].outputs
        last = t.made("STRIDED_SLICE", x, [0, -1, 0], [0, 0, 0], [1, 1, 1], shape=(case.batch, width),
                      begin_mask=5, end_mask=7, shrink_axis_mask=2)  # fmt: skip
        w, b = case.dense_weights
        x = t.made("FULLY_CONNECTED", last, t.weight(w), b, shape=(case.batch, case.dense))
    engine = _interpreter(written(t, [given], [x]))
    at, out = engine.get_input_details()[0]["index"], engine.get_output_details()[0]["index"]

    def call(x: np.ndarray) -> np.ndarray:
        engine.set_tensor(at, x)
        engine.invoke()
        return engine.get_tensor(out)

    def whole(x: np.ndarray) -> np.ndarray:
        engine.reset_all_variables()
        return call(x)

    if case.is_step:
        return Runner("litert fused", precision, call, list(case.x[:, None, None]), engine.reset_all_variables)
    return Runner("litert fused", precision, whole, [case.x])


def cell_file(case: Case, precision: str) -> bytes:
    t, layer, weights = Network(precision), case.layers[0], case.weights[0]
    x = t.given(1, layer.inputs)
    states = [t.given(1, layer.hidden) for _ in range(2 if layer.cell == "LSTM" else 1)]
    made = (_lstm if layer.cell == "LSTM" else _gru)(t, x, states, weights)
    return written(t, [x, *states], made)


def _cell(case: Case, precision: str) -> Runner:
    engine, layer = _interpreter(cell_file(case, precision)), case.layers[0]
    ins = [d["index"] for d in engine.get_input_details()]
    outs = [d["index"] for d in engine.get_output_details()]

    def reset() -> None:
        for at in ins[1:]:
            engine.set_tensor(at, np.zeros((1, layer.hidden), np.float32))

    def step(x: np.ndarray) -> np.ndarray:
        engine.set_tensor(ins[0], x)
        engine.invoke()
        made = [engine.get_tensor(source) for source in outs]
        for at, value in zip(ins[1:], made):
            engine.set_tensor(at, value)
        return made[0]

    reset()
    return Runner("litert cell", precision, step, list(case.x[:, None]), reset)


def _lstm(t: Network, x: Tensor, states: list[Tensor], weights: LayerWeights) -> list[Tensor]:
    h, c = states
    size = (1, h.shape[1])
    both = t.made("CONCATENATION", x, h, shape=(1, x.shape[1] + h.shape[1]), axis=1)
    w = t.weight(np.concatenate([weights.w[0], weights.r[0]], axis=1))
    gates = t.made("FULLY_CONNECTED", both, w, weights.b[0], shape=(1, 4 * h.shape[1]))
    i, f, g, o = t.several("SPLIT", np.int32(1), gates, shapes=[size] * 4, num_splits=4)
    i, f, o = (t.made("LOGISTIC", gate, shape=size) for gate in (i, f, o))
    new = t.made("MUL", i, t.made("TANH", g, shape=size), shape=size)
    c = t.made("ADD", t.made("MUL", f, c, shape=size), new, shape=size)
    return [t.made("MUL", o, t.made("TANH", c, shape=size), shape=size), c]


def _gru(t: Network, x: Tensor, states: list[Tensor], weights: LayerWeights) -> list[Tensor]:
    (h,) = states
    hidden = h.shape[1]
    size = (1, hidden)
    sums = [
        t.made("FULLY_CONNECTED", of, t.weight(w[0]), b[0], shape=(1, 3 * hidden))
        for of, w, b in ((x, weights.w, weights.b), (h, weights.r, weights.rb))
    ]
    parts = [t.several("SPLIT", np.int32(1), s, shapes=[size] * 3, num_splits=3) for s in sums]
    r, z = (t.made("LOGISTIC", t.made("ADD", a, b, shape=size), shape=size) for a, b in list(zip(*parts))[:2])
    reset = t.made("MUL", r, parts[1][2], shape=size)
    n = t.made("TANH", t.made("ADD", parts[0][2], reset, shape=size), shape=size)
    kept = t.made("MUL", z, t.made("SUB", h, n, shape=size), shape=size)
    return [t.made("ADD", n, kept, shape=size)]
