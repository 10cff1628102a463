"""ONNX models in onnxruntime."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...errors import FormatError
from ...importers.onnx.files import load_model, whole
from ...ir.graph import Graph
from ...reference.samples import Arrays
from .question import Bound, Runner


def runner(source: Any, constants: dict[str, np.ndarray], graph: Graph, careful: bool = False) -> tuple[Runner, str]:
    """`careful`: without onnxruntime's optimisations of the graph, some of which crash on some models."""
    import onnxruntime

    return _run_of(_opened(source, careful), constants)[0], f"onnxruntime {onnxruntime.__version__}"


def bound(source: Any, constants: dict[str, np.ndarray], graph: Graph, feed: Arrays) -> Bound:
    """As its user would run it: with all of onnxruntime's optimisations."""
    import onnxruntime

    session = _opened(source, exact=False)
    dtypes = {i.name: _dtype(i.type) for i in session.get_inputs()}
    outputs = [o.name for o in session.get_outputs()]

    def native(name: str, array: np.ndarray) -> np.ndarray:
        return np.asarray(array, dtypes[name])

    given = {k: native(k, v) for k, v in {**constants, **feed}.items() if k in dtypes}
    name = f"onnxruntime {onnxruntime.__version__}"
    return Bound(name, partial(session.run, outputs, given), given, outputs, native)


def values(source: Any, constants: dict[str, np.ndarray], graph: Graph) -> tuple[Runner, str, list[str]]:
    """The model with every value between an output; its weights read in, since the changed model lies beside none.

    Raises FormatError for one of more than 2 GiB, which onnxruntime takes as a file only.
    """
    import onnx
    import onnxruntime

    model = whole(*load_model(source))
    shown = {o.name for o in model.graph.output}
    every = [o for n in model.graph.node for o in n.output if o and o not in shown]
    model.graph.output.extend(onnx.ValueInfoProto(name=o) for o in every)
    try:
        content = model.SerializeToString()
    except ValueError as e:  # protobuf's limit
        raise FormatError("a model with more than 2 GiB of weights is not compared op by op") from e
    run, names = _run_of(_session(content), constants)
    return run, f"onnxruntime {onnxruntime.__version__}", names


def _opened(source: str | bytes, careful: bool = False, exact: bool = True) -> Any:
    try:
        return _session(source, careful, exact)
    except Exception:  # onnxruntime needs some tensors (the bounds of a slice) in the file itself
        if isinstance(source, bytes):
            raise
    return _session(whole(*load_model(source)).SerializeToString(), careful, exact)


def _session(model: str | bytes, careful: bool = False, exact: bool = True) -> Any:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    if exact:
        # Without this it computes a float product with int8 weights on int8 inputs (MatMulNBits), which the file does not
        # say: off by 4e-3 of an answer of 2.4.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.intra_op_num_threads = 1
    if careful:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _run_of(session: Any, constants: dict[str, np.ndarray]) -> tuple[Runner, list[str]]:
    """A model as inputs by name to outputs by name, and the names of its outputs."""
    dtypes = {i.name: _dtype(i.type) for i in session.get_inputs()}
    outputs = [o.name for o in session.get_outputs()]

    def run(feed: Arrays) -> Arrays:
        given = {**constants, **feed}
        return dict(zip(outputs, session.run(None, {k: v.astype(dtypes[k]) for k, v in given.items() if k in dtypes})))

    return run, outputs


def _dtype(text: str) -> str:
    word = text.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(word, word)
