"""Interprets the operators of a subgraph once, in order: each lowered by its function, its result put on its grid."""

from __future__ import annotations

from math import prod

import numpy as np

from ... import memory
from ...errors import UnsupportedModelError
from ..dialect import Value, known
from ..dialect.call import lowering
from .lowering import IN_LOOPS, LOWER, MAX_OPERATORS, Call, Scope, TfLowering
from .quant import average_in_steps, fake_quantize, on_same_grid
from .schema import SubGraph, TensorInfo

# Operators that hand elements on without computing: nothing to round where both ends have the same scale.
MOVEMENT = {
    "RESHAPE",
    "TRANSPOSE",
    "SQUEEZE",
    "EXPAND_DIMS",
    "STRIDED_SLICE",
    "SLICE",
    "SPLIT",
    "SPLIT_V",
    "UNPACK",
    "PACK",
    "GATHER",
    "CONCATENATION",
    "REVERSE_V2",
    "TILE",
    "BROADCAST_TO",
    "MAX_POOL_2D",
    "RELU",
    "MAXIMUM",
    "MINIMUM",
    "REDUCE_MAX",
    "REDUCE_MIN",
    "WHILE",
    "IF",
    "SELECT",
    "SELECT_V2",
    "EMBEDDING_LOOKUP",
    "RESIZE_NEAREST_NEIGHBOR",
}
AVERAGES = ("AVERAGE_POOL_2D", "MEAN")


def constant(info: TensorInfo) -> Value:
    """A constant of the file: quantised ones as the real numbers they stand for."""
    if info.quantization is not None and info.dtype in ("int8", "uint8", "int16", "int32", "int4", "uint4", "int64"):
        q = info.quantization
        memory.ask(13 * prod(info.shape), info.place)
        along = [-1 if d == q.dim and q.scale.size > 1 else 1 for d in range(len(info.shape))]
        scale, zero = q.scale.reshape(along), q.zero_point.reshape(along)
        real = info.array.astype(np.float64)
        real -= zero
        real *= scale
        return known(real.astype(np.float32).reshape(info.shape))
    return known(info.array)


def lower_block(ctx: TfLowering, graph: SubGraph, scope: Scope) -> None:
    """Interprets a subgraph's operators in order; binds their outputs in `scope`."""
    ctx.budget.left -= len(graph.operators)
    if ctx.budget.left < 0:
        raise UnsupportedModelError(f"{ctx.place}: unrolled, the model has more than {MAX_OPERATORS} operators")
    for op in graph.operators:
        for index in op.inputs:
            if index >= 0 and index not in scope and graph.tensors[index].data is not None:
                scope[index] = constant(graph.tensors[index])
        call = Call(ctx, op, graph, scope)
        with lowering(call):
            values = _evaluate(call)
        for index, value in zip(op.outputs, values):
            if index >= 0:
                scope[index] = value


def _evaluate(call: Call) -> list[Value]:
    ctx, since = call.ctx, len(call.ctx.graph.nodes)
    result = ctx.special(call)
    if result is None:
        function = LOWER.get(call.kind)
        if function is None:
            raise call.refuse(_not_supported(call))
        result = average_in_steps(call, function) if call.kind in AVERAGES else None
        result = function(call) if result is None else result
    values = result if isinstance(result, list) else [result]
    for n, (info, value) in enumerate(zip(call.out_infos, values)):
        if info.quantization is None or value.array is not None or value.items is not None:
            pass
        elif not (call.on_grid or call.kind in MOVEMENT and on_same_grid(call, info)):
            values[n] = value = fake_quantize(ctx, value, info)
        if value.is_run and value.tensor:
            ctx.rename(value, info.name, since)
    return values


def _not_supported(call: Call) -> str:
    """What is said of an operator that has no lowering, with all others of the file that have none either."""
    file, seen = call.ctx.file, {call.kind}
    others = []
    for op in (op for graph in file.subgraphs for op in graph.operators):
        if op.kind not in seen | {*LOWER, *IN_LOOPS}:
            seen.add(op.kind)
            others.append(f"{op.kind} (operator {op.index})")
    also = f"; neither are {', '.join(others)} of this file" if others else ""
    return f"this operator is not supported{also}; docs/tflite.md lists those that are"
