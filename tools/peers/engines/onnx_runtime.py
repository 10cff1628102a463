"""onnxruntime: run() with NumPy arrays, and, for a step, states bound to buffers of its own; float32 and quantize_dynamic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.quantization import quantize_dynamic

from peers.cases import Case, Trained
from peers.engines import Runner
from peers.engines.onnx_network import batch_first, states_of, write


def version() -> str:
    return f"onnxruntime {ort.__version__}"


def runners(case: Case | Trained, folder: Path) -> list[Runner]:
    ort.set_default_logger_severity(4)
    source = case.source if isinstance(case, Trained) else write(case, folder)
    narrow = folder / "int8.onnx"
    files = {"float32": source}
    if isinstance(case, Trained) or case.layers[0].cell == "LSTM":  # it leaves GRU in float32 without a word
        quantize_dynamic(source, narrow)
        files["int8"] = narrow
    if isinstance(case, Trained):
        return [_trained(case, path, precision) for precision, path in files.items()]
    made = []
    for precision, path in files.items():
        if case.is_step:
            made += [_fed_back(case, session(path), precision), _bound(case, session(path), precision)]
        else:
            made.append(_sequence(case, session(path), precision))
    return made


def session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _sequence(case: Case, model: ort.InferenceSession, precision: str) -> Runner:
    x = np.ascontiguousarray(case.x.transpose(1, 0, 2))
    shown = (lambda y: y[0]) if case.dense else (lambda y: batch_first(y[0]))
    return Runner("onnxruntime", precision, lambda x: model.run(None, {"x": x}), [x], shown=shown)


def _fed_back(case: Case, model: ort.InferenceSession, precision: str) -> Runner:
    names = states_of(case)
    state: dict[str, np.ndarray] = {}

    def reset() -> None:
        state.update({name: np.zeros((1, 1, case.hidden), np.float32) for name in names})

    def step(x: np.ndarray) -> np.ndarray:
        made = model.run(None, {"x": x, **state})
        state.update(zip(names, made))
        return state["h"]

    reset()
    return Runner("onnxruntime", precision, step, list(case.x[:, None, None]), reset)


def _bound(case: Case, model: ort.InferenceSession, precision: str) -> Runner:
    """Two bindings in turn: what one writes the other reads."""
    names = states_of(case)
    x = np.zeros((1, 1, case.inputs), np.float32)
    states = [{name: np.zeros((1, 1, case.hidden), np.float32) for name in names} for _ in range(2)]
    values = [{name: ort.OrtValue.ortvalue_from_numpy(a) for name, a in s.items()} for s in states]
    fed = ort.OrtValue.ortvalue_from_numpy(x)
    bindings = []
    for before, after in ((0, 1), (1, 0)):
        binding = model.io_binding()
        binding.bind_ortvalue_input("x", fed)
        for name in names:
            binding.bind_ortvalue_input(name, values[before][name])
            binding.bind_ortvalue_output(name + "n", values[after][name])
        bindings.append((binding, values[after]["h"]))

    def reset() -> None:
        for value in (v for pair in values for v in pair.values()):
            value.update_inplace(np.zeros((1, 1, case.hidden), np.float32))

    def step(x: np.ndarray) -> Any:
        fed.update_inplace(x)
        binding, h = bindings[0]
        model.run_with_iobinding(binding)
        bindings.reverse()
        return h.numpy()

    return Runner("onnxruntime bound", precision, step, list(case.x[:, None, None]), reset, kept=(values, states, x))


def _trained(case: Trained, path: Path, precision: str) -> Runner:
    model = session(path)
    constants = {name: np.array(value, np.int64) for name, value in case.constants}
    first, *states = [i for i in model.get_inputs() if i.name not in constants]
    if case.whole:
        return Runner("onnxruntime", precision, lambda x: model.run(None, {first.name: x})[0], list(case.x()))
    state: dict[str, np.ndarray] = {}

    def reset() -> None:
        state.update({i.name: np.zeros([n if isinstance(n, int) else 1 for n in i.shape], np.float32) for i in states})

    def step(x: np.ndarray) -> np.ndarray:
        y, *made = model.run(None, {first.name: x, **state, **constants})
        state.update(zip((i.name for i in states), made))
        return y

    reset()
    return Runner("onnxruntime", precision, step, list(np.ascontiguousarray(case.x())), reset)
