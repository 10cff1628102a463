"""TFLite's resource variables, subgraph calls and tensor lists (TensorFlow's own, carried as custom operators)."""

from __future__ import annotations

from typing import cast

import numpy as np

from ...errors import UnsupportedModelError
from ...ir.dims import Dim
from ..dialect import Value, known, movement
from .interpreter import constant, lower_block
from .lowering import Call, Handle, ListValue, Scope, TfLowering, Variable, lowers
from .schema import SubGraph

MAX_DEPTH = 32


def subgraph(call: Call, option: str) -> SubGraph:
    index = call.option(option, -1)
    if not 0 <= index < len(call.ctx.file.subgraphs):
        raise call.refuse(f"subgraph {index} of {len(call.ctx.file.subgraphs)}")
    graph: SubGraph = call.ctx.file.subgraphs[index]
    return graph


def run_subgraph(ctx: TfLowering, graph: SubGraph, inputs: list[Value]) -> list[Value]:
    """Lowers a subgraph's operators on these values; its outputs."""
    if len(inputs) != len(graph.inputs):
        raise UnsupportedModelError(
            f"{ctx.place}: subgraph {graph.name!r} takes {len(graph.inputs)} inputs, found {len(inputs)}"
        )
    ctx.depth += 1
    if ctx.depth > MAX_DEPTH:
        raise UnsupportedModelError(f"{ctx.place}: subgraphs are nested deeper than {MAX_DEPTH}")
    scope: Scope = dict(zip(graph.inputs, inputs))
    lower_block(ctx, graph, scope)
    ctx.depth -= 1
    return [bound(ctx, graph, i, scope) for i in graph.outputs]


def bound(ctx: TfLowering, graph: SubGraph, index: int, scope: Scope) -> Value:
    if index not in scope:
        if graph.tensors[index].data is None:
            raise UnsupportedModelError(
                f"{ctx.place}: output {graph.tensors[index].place} of a subgraph is never computed"
            )
        scope[index] = constant(graph.tensors[index])
    return scope[index]


@lowers("CALL")
def _call(call: Call) -> list[Value]:
    return run_subgraph(call.ctx, subgraph(call, "subgraph"), call.all_inputs())


@lowers("IF")
def _if(call: Call) -> list[Value]:
    condition = call.known(0).reshape(-1)
    taken = subgraph(call, "then_subgraph" if bool(condition[0]) else "else_subgraph")
    return run_subgraph(call.ctx, taken, [call.input(n) for n in range(1, len(call.inputs))])


# ---- resource variables ----------------------------------------------------------------------------------------------


def assigned_variables(main: SubGraph) -> set[str]:
    """Names of the variables that a run changes."""
    handles = {
        o.outputs[0]: o.options.get("shared_name", "") for o in main.operators if o.kind == "VAR_HANDLE" and o.outputs
    }
    return {
        handles[o.inputs[0]]
        for o in main.operators
        if o.kind == "ASSIGN_VARIABLE" and o.inputs and o.inputs[0] in handles
    }


@lowers("CALL_ONCE")
def _call_once(call: Call) -> list[Value]:
    """Gives variables their first values."""
    ctx = call.ctx
    ctx.initialising = True
    run_subgraph(ctx, subgraph(call, "init_subgraph"), [])
    ctx.initialising = False
    return []


@lowers("VAR_HANDLE")
def _var_handle(call: Call) -> Value:
    name = call.option("shared_name", "")
    variable = call.ctx.variables.setdefault(name, Variable(name))
    return Handle("resource", items=[], variable=variable)


def _variable(call: Call) -> Variable:
    handle = call.input(0)
    if not isinstance(handle, Handle) or handle.variable is None:
        raise call.refuse("its input 0 is no variable")
    return handle.variable


@lowers("READ_VARIABLE")
def _read_variable(call: Call) -> Value:
    ctx, variable = call.ctx, _variable(call)
    if variable.current is not None:
        return variable.current
    if variable.initial is None:
        raise call.refuse(
            f"variable {variable.name!r} has no value in the file; convert the model from a SavedModel or with "
            "from_keras_model, so that its variables become constants"
        )
    if variable.name not in ctx.assigned:
        return variable.initial
    if ctx.inner:
        raise call.refuse(
            f"variable {variable.name!r} is read inside a loop and changes between runs; that is not supported"
        )
    start = cast(np.ndarray, variable.initial.array)
    variable.state = ctx.state(variable.name, start.shape, start)
    variable.current = Value("float32", tensor=variable.state.read)
    return variable.current


@lowers("ASSIGN_VARIABLE")
def _assign_variable(call: Call) -> list[Value]:
    ctx, variable, value = call.ctx, _variable(call), call.input(1)
    if ctx.initialising:
        if not value.is_known:
            raise call.refuse(f"variable {variable.name!r}: its first value must be known")
        variable.initial = value
        return []
    if ctx.inner:
        raise call.refuse(f"variable {variable.name!r} is assigned inside a loop; that is not supported")
    variable.current = value
    if variable.state is not None:
        variable.state.write = ctx.tensor(value)
        if ctx.graph.shape(variable.state.write) != variable.state.shape:
            raise call.refuse(
                f"variable {variable.name!r}: expected shape {list(variable.state.shape)}, found "
                f"{list(ctx.graph.shape(variable.state.write))}"
            )
    return []


# ---- tensor lists ----------------------------------------------------------------------------------------------------


def list_input(call: Call, n: int) -> ListValue:
    value = call.input(n)
    if not isinstance(value, ListValue):
        raise call.refuse(f"its input {n} is no tensor list")
    return value


@lowers("FlexTensorListReserve")
def _list_reserve(call: Call) -> Value:
    """inputs: element shape, number of elements."""
    return ListValue("variant", items=[], count=call.sizes(1)[0])


@lowers("FlexTensorListFromTensor")
def _list_from_tensor(call: Call) -> Value:
    return ListValue("variant", items=[], count=call.shape(0)[0], stacked=call.input(0))


@lowers("FlexTensorListGetItem")
def _list_get_item(call: Call) -> Value:
    source, at = list_input(call, 0), call.known_ints(1)[0]
    if source.stacked is not None:
        return movement.index(call.ctx, source.stacked, 0, at)
    if at not in source.elements:
        raise call.refuse(f"element {at} of a tensor list was never set")
    return source.elements[at]


@lowers("FlexTensorListSetItem")
def _list_set_item(call: Call) -> Value:
    source = list_input(call, 0)
    return ListValue(
        "variant", items=[], count=source.count, elements={**source.elements, call.known_ints(1)[0]: call.input(2)}
    )


@lowers("FlexTensorListStack")
def _list_stack(call: Call) -> Value:
    source = list_input(call, 0)
    if source.stacked is not None:
        return source.stacked
    count = source.count
    if isinstance(count, Dim):
        raise call.refuse(f"a tensor list of {count} elements was never set as a whole")
    missing = [n for n in range(count) if n not in source.elements]
    if missing:
        raise call.refuse(f"element {missing[0]} of a tensor list was never set")
    return movement.stack(call.ctx, [source.elements[n] for n in range(count)], 0)


@lowers("FlexTensorListLength")
def _list_length(call: Call) -> Value:
    return known(np.array(list_input(call, 0).count, object), "int32")
