"""ONNX control flow, resolved at conversion: If by its condition, Loop by its number of trips."""

from __future__ import annotations

from collections import ChainMap
from typing import Any

import numpy as np

from ..dims import Dim
from .onnx_lowering import Call, Value, known, lowers

MAX_UNROLLED_NODES = 20000


@lowers("If")
def _if(call: Call) -> list[Value | None]:
    condition = call.input(0)
    if not condition.is_known:
        raise call.refuse(
            f"its condition {call.input_name(0)!r} is known only at run time. If it follows from the shapes of "
            "the inputs, fix them (--shape); if from an input, give that as a constant (--set)"
        )
    taken = bool(np.asarray(condition.array).reshape(-1)[0])
    branch = call.require_attr("then_branch" if taken else "else_branch")
    call.ignore("then_branch", "else_branch")
    call.ctx.note(f"{call.place}: took its {'then' if taken else 'else'} branch")
    return run_subgraph(call, branch, {})


def run_subgraph(call: Call, graph: Any, bindings: dict[str, Value]) -> list[Value | None]:
    """Lowers the nodes of a subgraph in the scope around it; its outputs."""
    from .onnx import lower_block

    scope = call.scope.new_child(dict(bindings))
    lower_block(call.ctx, graph, scope)
    missing = [o.name for o in graph.output if o.name not in scope]
    if missing:
        raise call.refuse(f"output {missing[0]!r} of its subgraph is never computed")
    return [scope[o.name] for o in graph.output]


@lowers("Loop")
def _loop(call: Call) -> list[Value | None]:
    """Unrolled: the number of trips must be known and the condition stay true."""
    body = call.require_attr("body")
    trips, condition = call.optional(0), call.optional(1)
    if trips is None or not trips.is_known:
        count = trips.array.reshape(-1)[0] if trips is not None and trips.array is not None else "computed at run time"
        raise call.refuse(
            f"its number of trips is {count}; fix the sizes that it depends on (--shape), so that the loop can "
            "be unrolled"
        )
    count = int(trips.array.reshape(-1)[0])
    if count * len(body.node) > MAX_UNROLLED_NODES:
        raise call.refuse(
            f"{count} trips of {len(body.node)} nodes are more than can be unrolled ({MAX_UNROLLED_NODES})"
        )
    carried = [call.input(n) for n in range(2, len(call.inputs))]
    running = condition is None or bool(call.known(1).reshape(-1)[0])
    names = [i.name for i in body.input]
    scans: list[list[Value]] = [[] for _ in range(len(body.output) - 1 - len(carried))]
    for trip in range(count):
        if not running:
            break
        values = [known(np.asarray(trip, np.int64)), known(np.asarray(True)), *carried]
        outputs = run_subgraph(call, body, dict(zip(names, values)))
        if not outputs[0].is_known:
            raise call.refuse("its condition depends on data; such a loop cannot be unrolled")
        running = bool(outputs[0].array.reshape(-1)[0])
        carried = outputs[1:1 + len(carried)]
        for kept, value in zip(scans, outputs[1 + len(carried):]):
            kept.append(value)
    call.ctx.note(f"{call.place}: unrolled {count} trips")
    return [*carried, *(stack(call, kept, 0) for kept in scans)]


def stack(call: Call, values: list[Value], axis: int) -> Value:
    if not values:
        raise call.refuse("a loop without trips that collects outputs is not supported")
    ctx = call.ctx
    parts = []
    for v in values:
        shape = ctx.shape(v)
        parts.append(ctx.reshape(v, [*shape[:axis], 1, *shape[axis:]]))
    return ctx.emit("Concat", parts, {"axis": axis}) if len(parts) > 1 else parts[0]


@lowers("Scan")
def _scan(call: Call) -> list[Value | None]:
    """Unrolled: the scanned axis must have a known size."""
    ctx, body = call.ctx, call.require_attr("body")
    if call.opset < 9:
        raise call.refuse("Scan of opset 8 is not supported; export with opset 9 or later")
    scanned = call.require_attr("num_scan_inputs")
    states = len(call.inputs) - scanned
    scan_outputs = len(body.output) - states
    axes = [call.axis(a, call.rank(states + n)) for n, a in enumerate(call.attr("scan_input_axes", [0] * scanned))]
    backward = call.attr("scan_input_directions", [0] * scanned)
    out_axes = call.attr("scan_output_axes", [0] * scan_outputs)
    out_backward = call.attr("scan_output_directions", [0] * scan_outputs)
    size = call.shape(states)[axes[0]]
    if isinstance(size, Dim):
        raise call.refuse(f"scans an axis of {size}; fix that size (--shape), so that the scan can be unrolled")
    if size * len(body.node) > MAX_UNROLLED_NODES:
        raise call.refuse(
            f"{size} trips of {len(body.node)} nodes are more than can be unrolled ({MAX_UNROLLED_NODES})"
        )
    carried = [call.input(n) for n in range(states)]
    names = [i.name for i in body.input]
    scans: list[list[Value]] = [[] for _ in range(scan_outputs)]
    for trip in range(size):
        frames = []
        for n, axis in enumerate(axes):
            x, at = call.input(states + n), size - 1 - trip if backward[n] else trip
            shape = ctx.shape(x)
            frames.append(ctx.reshape(ctx.slice_axis(x, axis, at, at + 1), [*shape[:axis], *shape[axis + 1:]]))
        outputs = run_subgraph(call, body, dict(zip(names, [*carried, *frames])))
        carried = outputs[:states]
        for kept, value in zip(scans, outputs[states:]):
            kept.append(value)
    ctx.note(f"{call.place}: unrolled {size} trips")
    stacked = [
        stack(call, kept[::-1] if flip else kept, axis) for kept, flip, axis in zip(scans, out_backward, out_axes)
    ]
    return [*carried, *stacked]


def by_definition(call: Call) -> Value | list[Value | None]:
    """An operator that ONNX itself defines by others: those are lowered in its place."""
    import onnx

    domain = f" of domain {call.domain!r}" if call.domain else ""
    refusal = call.refuse(f"operator {call.op}{domain} is not supported; docs/onnx.md lists those that are")
    try:
        schema = onnx.defs.get_schema(call.op, call.opset, call.domain)
    except onnx.defs.SchemaError as e:
        raise refusal from e
    if schema.has_context_dependent_function:
        types = [b"" if v is None else _type_proto(v, call.ctx.shape(v)).SerializeToString() for v in call.inputs]
        body = schema.get_context_dependent_function_with_opset_version(
            call.opset, call.proto.SerializeToString(), types
        )
        function = onnx.FunctionProto()
        function.ParseFromString(body)
    elif schema.has_function:
        function = schema.function_body
    else:
        raise refusal
    defaults = {n: a.default_value for n, a in schema.attributes.items() if a.default_value.name}
    return _run_function(call, function, defaults)


def _type_proto(value: Value, shape: tuple) -> Any:
    import onnx

    elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
    return onnx.helper.make_tensor_type_proto(elem_type, [s if isinstance(s, int) else None for s in shape])


def _run_function(call: Call, function: Any, defaults: dict[str, Any]) -> list[Value | None]:
    """Lowers the nodes of a FunctionProto with the call's inputs and attributes."""
    import onnx

    from .onnx import lower_block, used_names

    given = {**defaults, **{a.name: a for a in function.attribute_proto}, **{a.name: a for a in call.proto.attribute}}
    graph = onnx.GraphProto()
    for node in function.node:
        copy = graph.node.add()
        copy.CopyFrom(node)
        for n in reversed(range(len(copy.attribute))):
            reference = copy.attribute[n].ref_attr_name
            if not reference:
                continue
            name = copy.attribute[n].name
            if reference in given:
                copy.attribute[n].CopyFrom(given[reference])
                copy.attribute[n].name = name
            else:
                del copy.attribute[n]
    graph.output.extend(onnx.ValueInfoProto(name=o) for o in function.output)
    scope = ChainMap({n: v for n, v in zip(function.input, call.inputs) if v is not None})
    absent = set(function.input) - set(scope)
    for node in graph.node:
        for n, name in enumerate(node.input):
            if name in absent:
                node.input[n] = ""
    ctx = call.ctx
    outer = ctx.used, ctx.opsets
    ctx.used = used_names(graph)
    ctx.opsets = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in function.opset_import} or outer[1]
    lower_block(ctx, graph, scope)
    ctx.used, ctx.opsets = outer
    return [scope.get(o) for o in function.output]
