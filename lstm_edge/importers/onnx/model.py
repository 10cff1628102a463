"""ONNX to Graph.

Nodes are interpreted once, in order, on values that are known, partly known (shapes), or run-time tensors. What is
known folds away, If is resolved, the rest is lowered to the rows of docs/ops.md. See lowering.py.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import memory
from ...errors import FormatError, LstmEdgeError, UnsupportedModelError
from ...ir.graph import Graph
from ...ir.sizes import Sizes
from ...options import as_typed
from ..dialect import Value, known, run_dtype
from ..dialect.input_sizes import InputSizes
from ..dialect.open_sizes import freest
from ..rates import rate_among
from . import control, layers, movement, ops, qlinear, recurrent, selection, sequences  # noqa: F401  (they register their operators)
from .dims import declared
from .files import element_dtype, load_model, tensor_array
from .interpreter import lower_block, subgraphs, used_names
from .lowering import MAX_NODES, Lowering
from .refusals import Refusals

MIN_OPSET, MAX_OPSET = 7, 28
NODE_BYTES, VALUE_BYTES = 2000, 400  # of memory for a node with its tensors, however short, and for a constant


def read(
    source: Any, *, shapes: Mapping[str, list[int | str]] | None = None, constants: Mapping[str, Any] | None = None
) -> Graph:
    """The Graph of an ONNX model: a path, the bytes of a file, or a ModelProto.

    shapes: input name -> sizes, each a number, 'batch' or 'frames'. constants: input name -> its value, known now.
    FormatError for a damaged file, UnsupportedModelError (it names the node) for what cannot be converted.
    """
    model, folder = load_model(source)
    try:
        return _read(model, folder, shapes, constants)
    except LstmEdgeError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as e:
        raise FormatError(f"damaged ONNX file: {type(e).__name__}: {e}") from e


def _read(
    model: Any, folder: Path | None, shapes: Mapping[str, list[int | str]] | None, constants: Mapping[str, Any] | None
) -> Graph:
    model = _inlined(model)
    proto = model.graph
    memory.take(NODE_BYTES * len(_all_nodes(proto.node)) + VALUE_BYTES * len(proto.initializer), "the graph")
    known_values: dict[str, Value] = {}
    for tensor in proto.initializer:
        known_values[tensor.name] = known(tensor_array(tensor, "initialiser", folder))
    if len(proto.sparse_initializer):
        raise UnsupportedModelError("sparse initialisers are not supported; export the model with dense weights")
    infos = [i for i in proto.input if i.name not in known_values]
    _bind_constants(infos, dict(constants or {}), known_values)
    infos = [i for i in infos if i.name not in known_values]
    source = _Source(model, _opsets(model), used_names(proto), known_values, infos)
    inputs = InputSizes({i.name: declared(i) for i in infos}, shapes)
    graph, notes = freest(lambda sizes: _lowered(source, inputs, sizes), inputs.open)
    graph.metadata["notes"] = [*notes, *graph.metadata["notes"]]
    graph.metadata["source"] = {
        "format": "onnx",
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "opset": source.opsets.get("", 0),
    }
    _, rate = rate_among({p.key: p.value for p in model.metadata_props})
    if rate:
        graph.metadata["sample_rate"] = rate
    return graph


@dataclass(frozen=True)
class _Source:
    """What is read of the file before its nodes are interpreted."""

    model: Any
    opsets: dict[str, int]
    used: set[str]
    known: dict[str, Value]
    infos: list[Any]


def _lowered(source: _Source, inputs: InputSizes, sizes: Sizes) -> Graph:
    """The graph with these sizes of the inputs."""
    proto = source.model.graph
    ctx = Lowering(source.opsets, source.used)
    ctx.budget.left += len(proto.node)
    scope: ChainMap[str, Value] = ChainMap(dict(source.known))
    _declare_inputs(ctx, source.infos, inputs, sizes, scope)
    refusals = Refusals()
    lower_block(ctx, proto, scope, refusals)
    refusals.settle()
    _declare_outputs(ctx, proto, scope)
    graph = ctx.graph
    graph.drop_unused()
    if ctx.folded:
        ctx.note(f"folded {ctx.folded} nodes that follow from constants and shapes")
    graph.metadata["notes"] = ctx.notes
    return graph


def _inlined(model: Any) -> Any:
    if not len(model.functions):
        return model
    import onnx.inliner

    bodies = {(f.domain, f.name): f.node for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    for domain, name in bodies:
        _inlined_size(domain, name, bodies, sizes, ())
    total = sum(sizes.get((n.domain, n.op_type), 1) for n in model.graph.node)
    if total > MAX_NODES:
        raise UnsupportedModelError(f"the model's functions expand to {total} nodes, more than {MAX_NODES}")
    return onnx.inliner.inline_local_functions(model)


def _inlined_size(
    domain: str,
    name: str,
    bodies: Mapping[tuple[str, str], Any],
    sizes: dict[tuple[str, str], int],
    calling: tuple[Any, ...],
) -> int:
    """How many nodes a model-local function is, with those that it calls; FormatError for one that calls itself."""
    key = (domain, name)
    if key not in bodies:
        return 1
    if key in calling or len(calling) > 100:
        raise FormatError(f"function {name!r} calls itself")
    if key not in sizes:
        sizes[key] = sum(
            _inlined_size(n.domain, n.op_type, bodies, sizes, (*calling, key)) for n in _all_nodes(bodies[key])
        )
    return sizes[key]


def _all_nodes(nodes: Any) -> list[Any]:
    """The nodes, and those of their subgraphs."""
    out = []
    for node in nodes:
        out.append(node)
        for sub in subgraphs(node):
            out += _all_nodes(sub.node)
    return out


def _opsets(model: Any) -> dict[str, int]:
    opsets = {"" if o.domain == "ai.onnx" else o.domain: int(o.version) for o in model.opset_import}
    version = opsets.get("", 1 if not opsets else MIN_OPSET)
    if not MIN_OPSET <= version <= MAX_OPSET:
        raise UnsupportedModelError(
            f"opset {version}: expected {MIN_OPSET} to {MAX_OPSET}; convert the file with "
            "onnx.version_converter or export it again"
        )
    return opsets


def _dtype(info: Any) -> str:
    if not info.type.HasField("tensor_type"):
        raise UnsupportedModelError(f"input {info.name!r}: expected a tensor, found {info.type.WhichOneof('value')}")
    return element_dtype(info.type.tensor_type.elem_type, f"input {info.name!r}")


def _declared_dtype(info: Any) -> str:
    """The element type as the file has it."""
    import onnx

    name: str = onnx.TensorProto.DataType.Name(info.type.tensor_type.elem_type).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)


def _bind_constants(infos: list[Any], constants: dict[str, Any], scope: dict[str, Value]) -> None:
    for info in infos:
        if info.name in constants:
            value = np.asarray(constants.pop(info.name)).astype(_dtype(info))
            dims = info.type.tensor_type.shape.dim
            if value.ndim == 0 and all(d.dim_value in (0, 1) for d in dims):
                value = value.reshape([1] * len(dims))  # a number for an input of one element
            scope[info.name] = known(value)
    left = sorted(n for n in constants if n not in scope)
    if left:
        raise UnsupportedModelError(
            f"{as_typed('constants', left[0])}: the model has no such input; its inputs are {', '.join(i.name for i in infos)}"
        )
    for name, value in constants.items():  # an input with a default
        scope[name] = known(np.asarray(value).astype(scope[name].dtype))


def _declare_inputs(
    ctx: Lowering, infos: list[Any], inputs: InputSizes, sizes: Sizes, scope: ChainMap[str, Value]
) -> None:
    dtypes = {}
    for info in infos:
        dtype = _dtype(info)
        run = run_dtype(dtype, f"input {info.name!r}")
        tensor = ctx.graph.input(info.name, inputs.shape(info.name, sizes), run)
        scope[info.name] = Value(dtype, tensor=tensor)
        if _declared_dtype(info) != run:
            dtypes[info.name] = _declared_dtype(info)
        ctx.rounds_to_16_bits(_declared_dtype(info))
    if dtypes:
        ctx.graph.metadata["input_dtypes"] = dtypes


def _declare_outputs(ctx: Lowering, proto: Any, scope: ChainMap[str, Value]) -> None:
    dtypes = {}
    for info in proto.output:
        if info.name not in scope:
            raise FormatError(f"output {info.name!r}: no node computes it")
        value: Value = scope[info.name]
        ctx.place = f"output {info.name!r}"
        ctx.graph.output(info.name, ctx.tensor(value, info.name))
        if _declared_dtype(info) not in (ctx.run_dtype(value), "undefined"):
            dtypes[info.name] = _declared_dtype(info)
    if dtypes:
        ctx.graph.metadata["output_dtypes"] = dtypes
