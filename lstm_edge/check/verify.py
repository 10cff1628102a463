"""Promise 7: a converted model carries a sample input with its own framework's answer, and can replay it anywhere."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LstmEdgeError, UnsupportedModelError
from ..ir.dims import Dim, value
from ..ir.graph import Graph, SelfTest
from ..ir.ops import read_attrs
from ..passes.edit import note

FRAMES = 16
MOST_FRAMES = 4096
TOLERANCE = 1e-5  # times the largest answer when that is above 1
# Beyond this (relative alike) the conversion is taken to be wrong: float32 against float64 differs by far less.
WRONG = 1e-2

Arrays = dict[str, np.ndarray]
Runner = Callable[[Arrays], Arrays]  # the original model: inputs by name to outputs by name


@dataclass(frozen=True)
class Report:
    """What `verify` found. errors: largest absolute difference per output, NaN where NaNs do not agree."""

    source: str
    isa: str
    tolerance: float
    errors: dict[str, float]

    @property
    def passed(self) -> bool:
        return all(e <= self.tolerance for e in self.errors.values())


def verify(source: str | os.PathLike[str] | bytes, isa: str | None = None) -> Report:
    """Replays the self-test of a .lstm file (a path or its bytes) on this machine.

    isa: the kernels to use, None for this CPU's best. Raises UnsupportedModelError when the file carries no self-test.
    """
    from .. import format, load

    test = format.read(source).self_test
    if test is None:
        raise UnsupportedModelError("the file carries no self-test; convert the model again without self_test=False")
    model = load(source, isa)
    answers = model.run(*[test.inputs[p.name] for p in model.inputs])
    if not isinstance(answers, dict):
        answers = {model.outputs[0].name: answers}
    return Report(
        test.source,
        model.isa,
        test.tolerance,
        {name: difference(answers[name], want) for name, want in test.outputs.items()},
    )


def difference(got: np.ndarray | None, want: np.ndarray) -> float:
    """The largest absolute difference; NaN against NaN and an infinity against the same one count as equal, anything
    else is infinite."""
    if got is None or np.shape(got) != np.shape(want):
        return float("inf")
    a, b = np.asarray(got, np.float64), np.asarray(want, np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    gap = np.where(same, 0.0, np.abs(np.where(same, 0.0, a) - np.where(same, 0.0, b)))
    return float(np.where(np.isnan(gap), np.inf, gap).max(initial=0.0))


# ---- making ----------------------------------------------------------------------------------------------------------


def make_self_test(
    graph: Graph,
    source: Any = None,
    *,
    constants: Mapping[str, Any] | None = None,
    sample: Mapping[str, np.ndarray] | None = None,
    frames: int | None = None,
    seed: int = 0,
) -> SelfTest:
    """A sample input (drawn from N(0,1), or `sample`) and the answer of the framework that `source` belongs to.

    Without that framework the answer is reference.py's. A step model with states gets a leading frames axis. Raises
    LstmEdgeError when the framework's answer contradicts the converted graph: the conversion would be wrong.
    """
    inputs = _given(graph, sample) if sample else sample_inputs(graph, frames, seed)
    own = _reference_answers(graph, inputs)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # what a framework has to say about its own model is not for this library's user
        answers, name = _framework_answers(graph, source, dict(constants or {}), inputs)
    if answers is None:
        own = {k: v.astype(_run_dtype(v)) for k, v in own.items()}
        return SelfTest(inputs, own, "lstm_edge.reference", tolerance_for(own))
    return SelfTest(inputs, answers, name, tolerance_for(answers, _agreement(own, answers, name)))


def _framework_answers(
    graph: Graph, source: Any, constants: dict[str, Any], inputs: Arrays
) -> tuple[Arrays | None, str]:
    """The framework's answers and name; None where it is not installed or does not load or run the model (then
    noted)."""
    kind = graph.metadata.get("source", {}).get("format", "")
    maker = {"onnx": _onnxruntime, "torch": _torch, "keras": _keras}.get(kind)
    if source is None or maker is None:
        return None, ""
    try:
        runner, name = maker(source, constants, graph)
        return (original_answers(graph, runner, inputs) if runner is not None else None), name
    except ImportError:
        return None, ""
    except (
        Exception
    ) as why:  # whatever a framework raises on a model that this library reads: the reference still answers
        note(graph, f"self-test: {kind} did not run the model ({type(why).__name__}: {why})"[:300])
        return None, ""


def _agreement(own: Arrays, answers: Arrays, name: str) -> float:
    """The largest difference between the reference and the framework; LstmEdgeError when it is no rounding."""
    worst = 0.0
    for output, want in answers.items():
        error, scale = difference(own.get(output), want), _scale(want)
        worst = max(worst, error)
        if error > WRONG * scale:
            raise LstmEdgeError(
                f"output {output!r}: the converted model differs from {name} by {error:.3g} on the "
                f"self-test's sample (largest answer {scale:.3g}): please report this model; "
                "self_test=False converts it all the same"
            )
    return worst


def _scale(answer: np.ndarray) -> float:
    """The largest finite magnitude, at least 1."""
    return float(np.abs(answer[np.isfinite(answer)]).max(initial=1.0))


def tolerance_for(answers: Arrays, seen: float = 0.0) -> float:
    """1e-5 of the largest answer, or twice what the framework itself is away from float64 where that is more."""
    return max(TOLERANCE * max(map(_scale, answers.values()), default=1.0), 2 * seen)


def is_framed(graph: Graph) -> bool:
    """Whether Model.run takes frames first: a step model that keeps states."""
    return bool(graph.states) and graph.is_step_model()


def enough_frames(graph: Graph, frames: int) -> int:
    """At least `frames`, as many as every output needs to have an element, a multiple of the model's hop."""
    multiple = int(graph.metadata.get("streaming", {}).get("multiple", 1))
    frames = -(-frames // multiple) * multiple
    while frames < MOST_FRAMES and any(value(s, 1, frames) <= 0 for p in graph.outputs for s in graph.shape(p.tensor)):
        frames *= 2
    return frames


def _given(graph: Graph, sample: Mapping[str, np.ndarray]) -> Arrays:
    missing = [p.name for p in graph.inputs if p.name not in sample]
    if missing:
        raise LstmEdgeError(f"sample: input {missing[0]!r} is missing; expected {[p.name for p in graph.inputs]}")
    return {p.name: np.ascontiguousarray(sample[p.name], dtype=graph.tensors[p.tensor].dtype) for p in graph.inputs}


def sample_inputs(graph: Graph, frames: int | None = None, seed: int = 0) -> Arrays:
    """Inputs by name, shaped as Model.run takes them: N(0,1), tokens within their table. As many frames as give an
    answer, at least `frames` (without it: as the source was trained on, which its framework may insist on)."""
    trained = graph.metadata.get("source", {}).get("frames", 0)
    frames = enough_frames(graph, frames or (trained if 0 < trained <= MOST_FRAMES else FRAMES))
    rng = np.random.default_rng(seed)
    lead = (frames,) if is_framed(graph) else ()
    return {
        p.name: _draw(rng, graph, p.tensor, lead + tuple(value(s, 1, frames) for s in graph.shape(p.tensor)), frames)
        for p in graph.inputs
    }


def _draw(rng: np.random.Generator, graph: Graph, tensor: str, shape: tuple[int, ...], frames: int) -> np.ndarray:
    """N(0,1); numbers within the table for tokens; full length for lengths."""
    dtype = graph.tensors[tensor].dtype
    use, rows = _use(graph, tensor)
    if use == "lengths":
        return np.full(shape, rows if rows else frames, dtype)
    if use == "token" or dtype == "int32":
        return rng.integers(0, rows or 2, shape).astype(dtype)
    return rng.random(shape) < 0.5 if dtype == "bool" else rng.standard_normal(shape).astype(dtype)


def _use(graph: Graph, tensor: str) -> tuple[str, int]:
    """What an input is for: ('token', size of the smallest table it picks from), ('lengths', fixed frames or 0) or
    ('', 0)."""
    reached, tables = {tensor}, []
    for node in graph.nodes:
        if (
            node.op in ("Cast", "Reshape", "Transpose", "Slice", "Concat", "Expand", "Unary", "Pad")
            and node.inputs
            and node.inputs[0] in reached
        ):
            reached.update(node.outputs)
        elif node.op in ("Gather", "GatherElements") and node.inputs[1] in reached:
            rows = graph.shape(node.inputs[0])[read_attrs(node)["axis"]]
            tables += [rows] if isinstance(rows, int) else []
        elif node.op in ("LSTM", "GRU", "RNN", "ReverseSequence"):
            place = {"LSTM": 6, "GRU": 6, "RNN": 5, "ReverseSequence": 1}[node.op]
            if len(node.inputs) > place and node.inputs[place] in reached:
                axis = node.attrs.get("time_axis", 0 if node.attrs.get("time_major") else 1)
                size = graph.shape(node.inputs[0])[axis]
                return "lengths", 0 if isinstance(size, Dim) else size
    return ("token", min(tables)) if tables else ("", 0)


def _run_dtype(array: np.ndarray) -> Any:
    return np.float32 if array.dtype.kind == "f" else array.dtype


# ---- answers ---------------------------------------------------------------------------------------------------------


def _reference_answers(graph: Graph, inputs: Arrays) -> Arrays:
    from .. import reference

    run = reference.run_frames if is_framed(graph) else reference.run
    outputs, _ = run(graph, inputs)
    return {k: v for k, v in outputs.items() if v is not None}


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
        return np.clip(array, -(2**31), 2**31 - 1).astype(np.int32)
    return array.astype(_run_dtype(array))


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

    from ..importers.torch.modules import attributes, prepared, restore

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
    from importlib.util import find_spec

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
    return graph.metadata["ports"][side]
