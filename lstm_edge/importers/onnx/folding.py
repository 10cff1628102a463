"""ONNX operators on known inputs that the dialect does not compute exactly itself: evaluated by onnx.reference."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ... import memory
from ..dialect import Value, known
from .lowering import FOLDS_ITSELF, Call

SMALL = 256  # elements of a tensor that may be sizes
BESIDE = {"Resize": 80, "Upsample": 80}  # bytes that an element takes while it is computed, where that is more than 24
WINDOWS = {
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "QLinearConv",
    "DeformConv",
    "MaxPool",
    "AveragePool",
    "LpPool",
    "Col2Im",
}
RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}


def fold(call: Call) -> list[Value | None] | None:
    """The outputs of a node by onnx.reference; None where an input is not known, where lowering computes what is known
    exactly, and where the reference lacks the operator."""
    if call.op in RANDOM:
        raise call.refuse("a random generator is not supported; export the model in inference mode")
    if call.domain or (call.domain, call.op) in FOLDS_ITSELF or not all(v is None or v.is_known for v in call.inputs):
        return None
    import onnx
    from onnx.reference import ReferenceEvaluator

    node = onnx.NodeProto()
    node.CopyFrom(call.proto)
    arrays = [v.array if v is not None else None for v in call.inputs]
    helper = onnx.helper
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in zip(node.input, arrays)
        if a is not None
    ]
    outputs = [o for o in node.output if o]
    graph = helper.make_graph([node], "fold", _unique(infos), [onnx.ValueInfoProto(name=o) for o in outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", call.opset)])
    given = {n: a for n, a in zip(node.input, arrays) if a is not None}
    memory.ask(_cost(call, list(given.values())) + _inferred(call, model, given), call.place)
    try:
        results = dict(zip(outputs, ReferenceEvaluator(model).run(None, given)))
    except (RuntimeError, ImportError):  # it has no implementation, or none for this opset: the lowering says more
        return None
    except Exception as e:  # an evaluator of all of ONNX raises all kinds; the file made it fail
        raise call.refuse(f"cannot be evaluated on its known inputs: {type(e).__name__}: {e}") from e
    return [known(np.asarray(results[o])) if o else None for o in call.proto.output]


def _cost(call: Call, arrays: list[np.ndarray]) -> int:
    """Bytes that the evaluator takes beside its outputs: what it computes in, and for windows a copy of each."""
    if call.op not in WINDOWS or not arrays:
        return 8 * sum(a.size for a in arrays)
    sides = call.attrs.get("kernel_shape") or (
        arrays[3 if call.op == "QLinearConv" else 1].shape[2:] if len(arrays) > 1 else ()
    )
    return 8 * sum(a.size for a in arrays) * max(1, prod(sides))


def _inferred(call: Call, model: Any, given: dict[str, np.ndarray]) -> int:
    """Bytes that the evaluator takes for what a node gives, by shape inference with the small inputs, which may be sizes."""
    import onnx

    small = [onnx.numpy_helper.from_array(a, n) for n, a in given.items() if a.size <= SMALL]
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    sized.graph.initializer.extend(small)
    try:
        inferred = onnx.shape_inference.infer_shapes(sized)
    except Exception:  # the evaluator says what is wrong
        return 0
    shapes = [info.type.tensor_type.shape.dim for info in inferred.graph.output]
    each = BESIDE.get(call.op, 24)
    return sum(each * prod(d.dim_value for d in dims) for dims in shapes)


def _unique(infos: list[Any]) -> list[Any]:
    return list({i.name: i for i in infos}.values())
