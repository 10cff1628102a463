"""TFLite to Graph, read with the flatbuffers library and without TensorFlow.

Operators are interpreted once, in order, on values that are known, partly known (shapes), or run-time tensors. Fused
recurrences and loops that spell one become LSTM, GRU and RNN; variable tensors become states of the stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import FormatError, LstmEdgeError, UnsupportedModelError
from ...ir.dims import FRAMES, Dim
from ...ir.graph import Graph
from ...ir.sizes import Sizes
from ..dialect import Value, run_dtype
from ..dialect.input_sizes import Declared, InputSizes
from ..dialect.open_sizes import OpenSize, freest
from . import layers, loops, movement, ops, recurrent  # noqa: F401  (they register their operators)
from .control import assigned_variables
from .interpreter import constant, lower_block
from .lowering import Scope, TfLowering
from .quant import from_integers, grid, is_quantized, to_integers
from .schema import ModelFile, Signature, SubGraph, load

RECURRENT = (
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_LSTM",
    "UNIDIRECTIONAL_SEQUENCE_RNN",
    "BIDIRECTIONAL_SEQUENCE_RNN",
    "WHILE",
)
PREFIX = "serving_default_"


def read(
    source: Any, *, shapes: Mapping[str, Sequence[int | str]] | None = None, options: Mapping[str, Any] | None = None
) -> Graph:
    """The Graph of a TFLite model: a path or the bytes of a file.

    shapes: input name -> sizes, each a number, 'batch' or 'frames'. Sizes that the file leaves open are batch (axis 0)
    and frames; the frames of a recurrent model are left open wherever the rest of the model allows it. options:
    {'integer': 'float'} computes a full-integer model without the roundings of its runtime. FormatError for a damaged
    file, UnsupportedModelError (it names the operator) for what cannot be converted.
    """
    exact = _exact(dict(options or {}))
    file = load(source)
    main = file.subgraphs[0]
    try:
        return _first_that_converts(_Source(file, _names(file, main), exact, dict(shapes or {})))
    except RecursionError as e:
        raise FormatError("damaged .tflite file: subgraphs call each other without end") from e


def _exact(options: dict[str, Any]) -> bool:
    integer = options.pop("integer", "exact")
    if options:
        raise UnsupportedModelError(f"option {next(iter(options))!r}: expected 'integer'")
    if integer not in ("exact", "float"):
        raise UnsupportedModelError(f"option 'integer': expected 'exact' or 'float', found {integer!r}")
    return bool(integer == "exact")


# ---- names and sizes -------------------------------------------------------------------------------------------------


def _names(file: ModelFile, main: SubGraph) -> dict[int, str]:
    """Names of input and output tensors: the signature's where the file has one that covers them, else their own."""
    ends = [*main.inputs, *main.outputs]
    signature = next((s for s in file.signatures if s.subgraph == 0 and _covers(s, main)), None)
    named = {**signature.inputs, **signature.outputs} if signature else {}
    out: dict[int, str] = {}
    for index in ends:
        name = named.get(index) or main.tensors[index].name.removeprefix(PREFIX).removesuffix(":0") or f"tensor_{index}"
        taken = [n for i, n in out.items() if i != index]
        out.setdefault(index, name if name not in taken else f"{name}_{index}")
    return out


def _covers(signature: Signature, main: SubGraph) -> bool:
    return set(main.inputs) <= set(signature.inputs) and set(main.outputs) <= set(signature.outputs)


def _declared(main: SubGraph, names: dict[int, str]) -> dict[str, Declared]:
    """The sizes of every input, with those open that the signature leaves open. The file has 1 for such a size: a number
    that a batch may be held at, while frames are not one frame.
    """
    return {
        names[index]: [
            OpenSize(names[index], axis, made_with=size if axis == 0 else None) if info.signature[axis] == -1 else size
            for axis, size in enumerate(info.shape)
        ]
        for index, info in ((i, main.tensors[i]) for i in main.inputs)
    }


# ---- attempts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """What is read of the file before its operators are interpreted. `given`: the shapes that the caller asks for."""

    file: ModelFile
    names: dict[int, str]
    exact: bool
    given: Mapping[str, Sequence[int | str]]

    @property
    def main(self) -> SubGraph:
        return self.file.subgraphs[0]


def _first_that_converts(source: _Source) -> Graph:
    """With the number of frames that the file has left open where that converts, else with it fixed."""
    declared = _declared(source.main, source.names)
    held: Graph | None = None
    for axis in (1, 0):
        freed = _frames_of(source, declared, axis)
        if not freed:
            continue
        try:
            graph = _solved(source, InputSizes(_with(declared, freed), source.given))
        except LstmEdgeError:
            continue  # what is in the way stands below, where every size is as in the file
        sizes = {graph.shape(p.tensor)[axis] for p in graph.inputs if p.name in (f.input for f in freed)}
        if sizes == {FRAMES}:
            graph.metadata["source"]["frames"] = next(f.made_with for f in freed)
            return graph
        if not any(isinstance(size, Dim) for size in sizes):
            held = held or graph
    return held or _solved(source, InputSizes(declared, source.given))


def _solved(source: _Source, inputs: InputSizes) -> Graph:
    graph, notes = freest(lambda sizes: _convert(source, inputs, sizes), inputs.open)
    graph.metadata["notes"] = [*notes, *graph.metadata["notes"]]
    return graph


def _with(declared: Mapping[str, Declared], freed: Sequence[OpenSize]) -> dict[str, Declared]:
    """The sizes of every input, some of them open though the file has a number."""
    places = {(size.input, size.axis): size for size in freed}
    return {
        name: [places.get((name, axis), size) for axis, size in enumerate(sizes or ())]
        for name, sizes in declared.items()
    }


def _frames_of(source: _Source, declared: Mapping[str, Declared], axis: int) -> list[OpenSize]:
    """The frames of a recurrent model along `axis`, where they could be left open."""
    main = source.main
    if not any(o.kind in RECURRENT for o in main.operators):
        return []
    if "frames" in (size for sizes in source.given.values() for size in sizes):
        return []
    if any(isinstance(s, OpenSize) and s.axis > 0 for sizes in declared.values() for s in sizes or ()):
        return []
    found = []
    for index in main.inputs:
        info, name = main.tensors[index], source.names[index]
        timed = len(info.shape) >= 3 or len(info.shape) == 2 and axis == 1 and not info.dtype.startswith("float")
        if timed and name not in source.given and info.shape[axis] > 1:
            found.append(OpenSize(name, axis, "frames", info.shape[axis], declared=False))
    return found if len({size.made_with for size in found}) == 1 else []


def _convert(source: _Source, inputs: InputSizes, sizes: Sizes) -> Graph:
    """The graph with these sizes of the inputs."""
    main = source.main
    ctx = TfLowering(source.file, inputs.made_with(sizes), source.exact)
    ctx.assigned = assigned_variables(main)
    scope: Scope = {}
    _declare_inputs(ctx, source, inputs, sizes, scope)
    lower_block(ctx, main, scope)
    _declare_outputs(ctx, main, source.names, scope)
    _drop_unread_states(ctx)
    ctx.graph.drop_unused()
    _note_hybrid(ctx, source.file)
    ctx.graph.metadata["notes"] = ctx.notes
    ctx.graph.metadata["source"] = {"format": "tflite", "producer": source.file.description or "tflite"}
    return ctx.graph


def _declare_inputs(ctx: TfLowering, source: _Source, inputs: InputSizes, sizes: Sizes, scope: Scope) -> None:
    main = source.main
    dtypes, grids = {}, {}
    for index in main.inputs:
        info, name = main.tensors[index], source.names[index]
        run = run_dtype(info.dtype, f"input {name!r}")
        tensor = ctx.graph.input(name, inputs.shape(name, sizes), run)
        value = Value("float32" if info.dtype == "float16" else info.dtype, tensor=tensor)
        if is_quantized(info):
            grids[name] = dict(zip(("scale", "zero_point"), grid(info)))
            ctx.node_name = name
            value = from_integers(ctx, value, info)
        if info.dtype != run:
            dtypes[name] = info.dtype
        scope[index] = value
    if dtypes:
        ctx.graph.metadata["input_dtypes"] = dtypes
    if grids:
        ctx.graph.metadata["input_quantization"] = grids


def _declare_outputs(ctx: TfLowering, main: SubGraph, names: dict[int, str], scope: Scope) -> None:
    dtypes, grids = {}, {}
    for index in dict.fromkeys(main.outputs):
        info, name = main.tensors[index], names[index]
        ctx.place, ctx.node_name = f"output {name!r}", name
        value = scope.get(index)
        if value is None and info.data is not None:
            value = constant(info)
        if value is None:
            raise FormatError(f"output {name!r}: no operator computes it")
        if value.items is not None:
            raise UnsupportedModelError(f"output {name!r}: expected a tensor, found {info.dtype}")
        if is_quantized(info):
            grids[name] = dict(zip(("scale", "zero_point"), grid(info)))
            value = to_integers(ctx, value, info)
        ctx.graph.output(name, ctx.tensor(value, name))
        if info.dtype != ctx.run_dtype(value):
            dtypes[name] = info.dtype
    if dtypes:
        ctx.graph.metadata["output_dtypes"] = dtypes
    if grids:
        ctx.graph.metadata["output_quantization"] = grids


def _drop_unread_states(ctx: TfLowering) -> None:
    """A state whose new value is its old one, or that nothing reads, is none."""
    graph = ctx.graph
    read_by_nodes = {i for n in graph.nodes for i in n.inputs} | {p.tensor for p in graph.outputs}
    for state in [s for s in graph.states if s.write == s.read or s.read not in read_by_nodes]:
        if state.write == state.read and state.read in read_by_nodes:
            raise UnsupportedModelError(f"state {state.name!r} is read and never written")
        graph.states.remove(state)


def _note_hybrid(ctx: TfLowering, file: ModelFile) -> None:
    """Says that 8-bit weights under float activations became float32."""
    count = 0
    for graph in file.subgraphs:
        for op in graph.operators:
            tensors = [graph.tensors[i] for i in op.inputs if i >= 0]
            floats = tensors and tensors[0].dtype == "float32" and tensors[0].data is None
            count += sum(is_quantized(t) and t.data is not None for t in tensors[1:]) if floats else 0
    if count:
        ctx.note(
            f"{count} weights of 8 bits or fewer became the float32 numbers they stand for; where the runtime rounds "
            "activations to 8 bits before it multiplies (hybrid kernels), its answers differ by that rounding"
        )
        ctx.rounds(3e-2, "the runtime's rounding of activations to 8 bits before it multiplies (hybrid kernels)")
