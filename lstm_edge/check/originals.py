"""The model that a graph was converted from, run by its own framework."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LstmEdgeError
from ..importers.torch.modules import attributes, prepared, restore
from ..ir.dims import value
from ..ir.graph import Graph
from ..ir.spec import INT32
from ..reference.samples import Arrays, is_framed

Runner = Callable[[Arrays], Arrays]  # the original model: inputs by name to outputs by name


def original_answers(graph: Graph, runner: Runner, inputs: Arrays) -> Arrays:
    """The original's answers: paired states fed back, overlaps put in front, frame by frame where that is how it
    runs."""
    pairs, overlap = graph.metadata.get("pairs", {}), graph.metadata.get("overlap", {})
    names = [p.name for p in graph.outputs]
    states = {s.name: np.zeros([value(d, 1, 1) for d in s.shape], s.dtype) for s in graph.states if s.name in pairs}
    if not is_framed(graph):
        wide = {k: _with_overlap(graph, k, v, overlap[k]) if k in overlap else v for k, v in inputs.items()}
        answers = runner({**wide, **states})
        return {n: _as_run(answers[n]) for n in names}
    tails = {k: np.zeros((*inputs[k].shape[1:-1], n), np.float32) for k, n in overlap.items()}
    steps: dict[str, list[np.ndarray]] = {n: [] for n in names}
    for t in range(len(next(iter(inputs.values())))):
        feed = {k: np.concatenate([tails[k], v[t]], -1) if k in tails else v[t] for k, v in inputs.items()}
        tails = {k: feed[k][..., -overlap[k] :] for k in tails}
        answers = runner({**feed, **states})
        states = {source: answers[target].reshape(states[source].shape) for source, target in pairs.items()}
        for n in names:
            steps[n].append(_as_run(answers[n]))
    return {n: np.stack(a) for n, a in steps.items()}


def _with_overlap(graph: Graph, name: str, rows: np.ndarray, n: int) -> np.ndarray:
    """Each frame with the end of the one before in front."""
    time = graph.time_axis(next(p.tensor for p in graph.inputs if p.name == name))
    before = np.roll(rows[..., -n:], 1, axis=time)
    before[(slice(None),) * time + (0,)] = 0
    return np.concatenate([before, rows], -1)


def _as_run(array: np.ndarray) -> np.ndarray:
    """In the dtype and with the values that Model.run gives."""
    array = np.asarray(array)
    if array.dtype.kind in "iu":
        whole: np.ndarray = np.clip(array, *INT32).astype(np.int32)
        return whole
    return array.astype(run_dtype(array))


def run_dtype(array: np.ndarray) -> np.dtype:
    return np.dtype(np.float32) if array.dtype.kind == "f" else array.dtype


# ---- the frameworks --------------------------------------------------------------------------------------------------


def _onnxruntime(source: Any, constants: dict[str, Any], graph: Graph) -> tuple[Runner | None, str]:
    import onnxruntime

    return onnxruntime_session(source, constants), f"onnxruntime {onnxruntime.__version__}"


def onnxruntime_session(source: Any, constants: dict[str, Any]) -> Runner:
    """An ONNX model (a path, bytes, a ModelProto) as inputs by name to outputs by name."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if hasattr(source, "SerializeToString"):
        source = source.SerializeToString()
    model = os.fspath(source) if isinstance(source, str | os.PathLike) else bytes(source)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    dtypes = {i.name: _onnx_dtype(i.type) for i in session.get_inputs()}
    outputs = [o.name for o in session.get_outputs()]

    def run(feed: Arrays) -> Arrays:
        given = {**{k: np.asarray(v) for k, v in constants.items()}, **feed}
        return dict(zip(outputs, session.run(None, {k: v.astype(dtypes[k]) for k, v in given.items() if k in dtypes})))

    return run


def _onnx_dtype(text: str) -> str:
    word = text.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(word, word)


def _torch(source: Any, constants: dict[str, Any], graph: Graph) -> tuple[Runner | None, str]:
    import torch

    if hasattr(source, "graph_signature"):  # an ExportedProgram; its guards name the sizes of the example
        source = source.module(check_guards=False)
    elif isinstance(source, torch.nn.Module):
        source = prepared(source)
    else:
        return None, ""
    arguments = graph.metadata.get("source", {}).get("arguments") or [_ports(graph, "inputs"), {}]

    def run(feed: Arrays) -> Arrays:
        args, kwargs = _filled(arguments, {n: torch.from_numpy(_for_torch(a)) for n, a in feed.items()})
        before = [] if isinstance(source, torch.jit.ScriptModule) else attributes(source)
        try:
            with torch.no_grad():
                answer = source(*args, **kwargs)
        finally:
            restore(before)  # forward may keep a hidden state in the module; every run starts anew
        return _by_order(graph, [t.numpy() for t in _flat(answer) if isinstance(t, torch.Tensor)])

    return run, f"torch {torch.__version__.split('+')[0]}"


def _filled(names: Any, tensors: dict[str, Any]) -> Any:
    """The structure of names with the tensors in their places; lists below the first level stand for tuples."""
    if isinstance(names, dict):
        return {k: _filled(v, tensors) for k, v in names.items()}
    if isinstance(names, (list, tuple)):
        return tuple(_filled(v, tensors) for v in names)
    return tensors[names]


def _for_torch(array: np.ndarray) -> np.ndarray:
    return array.astype(np.int64) if array.dtype == np.int32 else array


def _keras(source: Any, constants: dict[str, Any], graph: Graph) -> tuple[Runner | None, str]:
    """A live model as it is; a file when Keras is installed, of the file's major version, and loads it.

    Keras 3 loads some files of Keras 2 and then computes something else (hard_sigmoid has another slope there).
    """
    if not isinstance(source, str | os.PathLike):
        model = source if callable(source) else None
        name = type(source).__module__.split(".")[0]
    else:
        keras = _import_keras()
        producer = graph.metadata.get("source", {}).get("producer", "")
        if producer.removeprefix("keras ").split(".")[0] != keras.__version__.split(".")[0]:
            return None, ""
        model = keras.models.load_model(Path(source), compile=False)
        name = "keras"
    if model is None:
        return None, ""

    def run(feed: Arrays) -> Arrays:
        arrays = [feed[n] for n in _ports(graph, "inputs")]
        answer = model(arrays[0] if len(arrays) == 1 else arrays, training=False)
        return _by_order(graph, [_to_numpy(t) for t in _flat(answer)])

    version = getattr(__import__(name), "__version__", "")
    return run, f"{name} {version}".strip()


def _import_keras() -> Any:
    """Keras on a backend that is there: its own default is TensorFlow whether installed or not."""
    if "KERAS_BACKEND" not in os.environ:
        backend = next((b for b in ("tensorflow", "torch", "jax") if find_spec(b)), None)
        if backend is None:
            raise ImportError("no Keras backend")
        os.environ["KERAS_BACKEND"] = backend
    import keras

    return keras


def _to_numpy(tensor: Any) -> np.ndarray:
    tensor = tensor.detach().cpu() if hasattr(tensor, "detach") else tensor
    return np.asarray(tensor)


def _flat(answer: Any) -> list[Any]:
    if isinstance(answer, Mapping):
        answer = list(answer.values())
    if isinstance(answer, list | tuple):
        return [t for part in answer for t in _flat(part)]
    return [answer]


def _by_order(graph: Graph, arrays: list[np.ndarray]) -> Arrays:
    """Outputs by position."""
    names = _ports(graph, "outputs")
    if len(arrays) != len(names):
        raise LstmEdgeError(f"expected {len(names)} outputs, found {len(arrays)}")
    return dict(zip(names, arrays))


def _ports(graph: Graph, side: str) -> list[str]:
    """The source's own inputs or outputs in order, paired states included."""
    names: list[str] = graph.metadata["ports"][side]
    return names


# By the format that a graph's metadata name: (source, constants, graph) -> what runs the source and its name, or None
# where the framework is not there for it.
FRAMEWORKS: dict[str, Callable[[Any, dict[str, Any], Graph], tuple[Runner | None, str]]] = {
    "onnx": _onnxruntime,
    "torch": _torch,
    "keras": _keras,
}
