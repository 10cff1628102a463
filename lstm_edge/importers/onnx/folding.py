"""ONNX operators on known inputs that the dialect does not compute exactly itself: evaluated by onnx.reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dialect import Value, check_bytes, known
from .lowering import FOLDS_ITSELF, Call

SMALL = 256  # elements; what products of two tensors of so few can grow to is no danger
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
    if len(arrays) > 2 or sum(a.size for a in arrays if a is not None) > SMALL:
        _check_inferred(call, model)
    try:
        feeds = {n: a for n, a in zip(node.input, arrays) if a is not None}
        results = dict(zip(outputs, ReferenceEvaluator(model).run(None, feeds)))
    except (RuntimeError, ImportError):  # it has no implementation, or none for this opset: the lowering says more
        return None
    except Exception as e:  # an evaluator of all of ONNX raises all kinds; the file made it fail
        raise call.refuse(f"cannot be evaluated on its known inputs: {type(e).__name__}: {e}") from e
    return [known(np.asarray(results[o])) if o else None for o in call.proto.output]


def _check_inferred(call: Call, model: Any) -> None:
    """Refuses a node whose outputs, by shape inference, are beyond the limit."""
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except Exception:  # the evaluator says what is wrong
        return
    for info in [*inferred.graph.output, *inferred.graph.value_info]:
        dims = info.type.tensor_type.shape.dim
        if dims and all(d.HasField("dim_value") for d in dims):
            check_bytes([d.dim_value for d in dims], call.place, 4)


def _unique(infos: list[Any]) -> list[Any]:
    return list({i.name: i for i in infos}.values())
