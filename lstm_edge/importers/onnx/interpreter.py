"""Interprets the nodes of a graph, subgraph or function once, in order: folds what is known, lowers the rest."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import FormatError, UnsupportedModelError
from ...ir.dims import Size
from .. import plugins
from ..dialect import Value, known
from ..dialect.call import lowering
from .files import tensor_array
from .folding import fold
from .lowering import LOWER, MAX_NODES, Call, Lowering
from .refusals import Refusals


def lower_block(ctx: Lowering, graph: Any, scope: ChainMap[str, Value], refusals: Refusals | None = None) -> None:
    """Interprets the nodes of a graph or subgraph; binds their outputs in `scope`. What cannot be lowered is raised at once,
    or with `refusals` collected there."""
    for tensor in graph.initializer:
        if tensor.name not in scope.maps[0]:
            scope[tensor.name] = known(tensor_array(tensor, "initialiser"))
    ctx.budget.left -= len(graph.node)
    if ctx.budget.left < 0:
        raise UnsupportedModelError(f"{ctx.place or 'the graph'}: unrolled, the model has more than {MAX_NODES} nodes")
    for node in graph.node:
        if refusals is not None and refusals.lost(_read_by(node)):
            _pass_over(ctx, node, scope, refusals)
            continue
        call = Call(ctx, node, [_lookup(node, name, scope) for name in node.input], _attributes(node), scope)
        try:
            with lowering(call):
                values = _evaluate(call)
        except UnsupportedModelError as e:
            if refusals is None:
                raise
            refusals.add(node, call.place, e)
            continue
        for name, value in zip(node.output, values):
            if name and value is not None:
                scope[name] = value


def _read_by(node: Any) -> set[str]:
    """What a node reads, in its subgraphs, too."""
    return set(node.input).union(*(used_names(g) for g in subgraphs(node)))


def _pass_over(ctx: Lowering, node: Any, scope: ChainMap[str, Value], refusals: Refusals) -> None:
    """A node whose inputs are not known, since what makes them is refused: refused as well where its operator is."""
    call = Call(ctx, node, [], {}, scope)
    known_here = plugins.op_rule(call.domain, call.op) is not None or (call.domain, call.op) in LOWER
    if known_here or _definition(call) is not None:
        refusals.pass_over(node)
    else:
        refusals.add(node, call.place, _no_such_operator(call))


def _lookup(node: Any, name: str, scope: ChainMap[str, Value]) -> Value | None:
    if not name:
        return None
    if name not in scope:
        place = f"node {node.name or node.output[0]!r} ({node.op_type})"
        raise FormatError(f"{place}: input {name!r} is not computed before it")
    value: Value = scope[name]
    return value


def _attributes(node: Any) -> dict[str, Any]:
    import onnx

    def plain(value: Any) -> Any:
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return [plain(v) for v in value] if isinstance(value, list) else value

    return {a.name: plain(onnx.helper.get_attribute_value(a)) for a in node.attribute}


def _evaluate(call: Call) -> list[Value | None]:
    ctx, since = call.ctx, len(call.ctx.graph.nodes)
    given = all(v is None or v.array is not None for v in call.inputs) and call.op not in ("If", "Loop", "Scan")
    values = fold(call) if given and plugins.op_rule(call.domain, call.op) is None else None
    if values is None:
        values = _lowered(call)
    if given and all(v is None or v.array is not None for v in values):
        ctx.folded += 1
    for name, value in zip(call.proto.output, values):
        if name and value is not None and value.is_run:
            ctx.rename(value, name, since)
    return values


def _lowered(call: Call) -> list[Value | None]:
    rule = plugins.op_rule(call.domain, call.op)
    if rule is not None:
        return _by_rule(call, rule)
    function = LOWER.get((call.domain, call.op))
    result = _by_definition(call) if function is None else function(call)
    if function is not None:
        call.check_attrs()
    return result if isinstance(result, list) else [result]


def _by_rule(call: Call, rule: plugins.Rule) -> list[Value | None]:
    """An operator that the user described."""
    known_inputs = {n: v.data for n, v in zip(call.proto.input, call.inputs) if v is not None and v.is_known}
    values = plugins.apply(rule, call.ctx, call.all_inputs(), call.attrs, known_inputs, len(call.proto.output))
    return list(values)


def _by_definition(call: Call) -> Value | list[Value | None]:
    """An operator that ONNX itself defines by others: those are lowered in its place."""
    import onnx

    refusal = _no_such_operator(call)
    schema = _definition(call)
    if schema is None:
        raise refusal
    if schema.has_context_dependent_function:
        types = [b"" if v is None else _type_proto(v, call.ctx.shape(v)).SerializeToString() for v in call.inputs]
        body = schema.get_context_dependent_function_with_opset_version(
            call.opset, call.proto.SerializeToString(), types
        )
        function = onnx.FunctionProto()
        function.ParseFromString(body)
    else:
        function = schema.function_body
    defaults = {n: a.default_value for n, a in schema.attributes.items() if a.default_value.name}
    values = _run_function(call, function, defaults)
    if any(name and (n >= len(values) or values[n] is None) for n, name in enumerate(call.proto.output)):
        raise refusal
    return values


def _no_such_operator(call: Call) -> UnsupportedModelError:
    domain = f" of domain {call.domain!r}" if call.domain else ""
    door = plugins.way_out(f"register_op({call.domain!r}, {call.op!r}, rule)")
    advice = f"{door}, or ask for it" if call.domain else "docs/onnx.md lists those that are"
    return call.refuse(f"operator {call.op}{domain} is not supported; {advice}")


def _definition(call: Call) -> Any:
    """The schema of an operator that ONNX defines by others, else None."""
    import onnx

    try:
        schema: Any = onnx.defs.get_schema(call.op, call.opset, call.domain)
    except onnx.defs.SchemaError:
        return None
    return schema if schema.has_context_dependent_function or schema.has_function else None


def _type_proto(value: Value, shape: Sequence[Size]) -> Any:
    import onnx

    elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
    return onnx.helper.make_tensor_type_proto(elem_type, [s if isinstance(s, int) else None for s in shape])


def _run_function(call: Call, function: Any, defaults: dict[str, Any]) -> list[Value | None]:
    """Lowers the nodes of a FunctionProto with the call's inputs and attributes."""
    import onnx

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
    scope: ChainMap[str, Value] = ChainMap({n: v for n, v in zip(function.input, call.inputs) if v is not None})
    absent = set(function.input) - set(scope)
    for node in graph.node:
        for n, name in enumerate(node.input):
            if name in absent:
                node.input[n] = ""
    ctx = call.ctx
    outer = ctx.used, ctx.opsets
    ctx.used = used_names(graph)
    own = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in function.opset_import}
    ctx.opsets = {**outer[1], **own}
    lower_block(ctx, graph, scope)
    ctx.used, ctx.opsets = outer
    return [scope.get(o) for o in function.output]


def used_names(graph: Any) -> set[str]:
    """Every name that a node reads or a graph gives out, subgraphs included."""
    used = {o.name for o in graph.output}
    for node in graph.node:
        used.update(node.input)
        for sub in subgraphs(node):
            used |= used_names(sub)
    return used


def subgraphs(node: Any) -> list[Any]:
    """The graphs among a node's attributes."""
    found: list[Any] = []
    for attribute in node.attribute:
        found += [attribute.g] if attribute.HasField("g") else []
        found += attribute.graphs
    return found
