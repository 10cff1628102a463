"""TFLite to Graph, read with the flatbuffers library and without TensorFlow.

Operators are interpreted once, in order, on values that are known, partly known (shapes), or run-time tensors. Fused
recurrences and loops that spell one become LSTM, GRU and RNN; variable tensors become states of the stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import FormatError, LstmEdgeError, UnsupportedModelError
from ...ir.dims import BATCH, FRAMES, Size
from ...ir.graph import Graph
from ..dialect import Value, run_dtype
from . import layers, loops, movement, ops, recurrent  # noqa: F401  (they register their operators)
from .control import assigned_variables
from .lowering import Scope, TfLowering, constant, lower_block
from .quant import from_integers, grid, is_quantized, to_integers
from .schema import ModelFile, Signature, SubGraph, load

SYMBOLS: dict[Any, Size] = {"batch": BATCH, "frames": FRAMES}
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
        names = _names(file, main)
        sizes = _sizes(main, names, dict(shapes or {}))
        return _first_that_converts(file, names, sizes, exact, set(shapes or {}))
    except RecursionError as e:
        raise FormatError("damaged .tflite file: subgraphs call each other without end") from e


def _exact(options: dict[str, Any]) -> bool:
    integer = options.pop("integer", "exact")
    if options:
        raise UnsupportedModelError(f"option {next(iter(options))!r}: expected 'integer'")
    if integer not in ("exact", "float"):
        raise UnsupportedModelError(f"option 'integer': expected 'exact' or 'float', found {integer!r}")
    return integer == "exact"


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


def _sizes(main: SubGraph, names: dict[int, str], given: dict[str, Sequence[int | str]]) -> dict[int, list[Size]]:
    """The shape of every input: as given, else the file's, what it leaves open being batch (axis 0) and frames."""
    unknown = sorted(set(given) - {names[i] for i in main.inputs})
    if unknown:
        raise UnsupportedModelError(
            f"--shape {unknown[0]}: the model has no such input; its inputs are "
            f"{', '.join(names[i] for i in main.inputs)}"
        )
    out: dict[int, list[Size]] = {}
    for index in main.inputs:
        info, name = main.tensors[index], names[index]
        wanted = given.get(name)
        if wanted is not None:
            if len(wanted) != len(info.shape):
                raise UnsupportedModelError(f"--shape {name}: expected {len(info.shape)} sizes, found {list(wanted)}")
            out[index] = [_size(name, s) for s in wanted]
            continue
        open_axes = [d for d, s in enumerate(info.signature) if s == -1]
        roles = dict(zip(open_axes, (BATCH, FRAMES) if open_axes[:1] == [0] else (FRAMES,)))
        if len(open_axes) > len(roles):
            raise UnsupportedModelError(
                f"input {name!r}: sizes {info.signature}: more are open than batch and frames; give them "
                f"(--shape {name}=...)"
            )
        out[index] = [roles.get(d, s) for d, s in enumerate(info.shape)]
    return out


def _size(name: str, size: int | str) -> Size:
    if size in SYMBOLS:
        return SYMBOLS[size]
    if isinstance(size, str) or size < 1:
        raise UnsupportedModelError(
            f"--shape {name}: expected sizes of at least 1, 'batch' or 'frames', found {size!r}"
        )
    return int(size)


# ---- attempts --------------------------------------------------------------------------------------------------------


def _first_that_converts(
    file: ModelFile, names: dict[int, str], sizes: dict[int, list[Size]], exact: bool, given: set[str]
) -> Graph:
    """With the exported number of frames left open where that converts, else with it fixed."""
    main = file.subgraphs[0]
    why: LstmEdgeError | None = None
    for axis in (1, 0):
        trained = _frames_of(file, main, names, sizes, given, axis, exact)
        if trained is None:
            continue
        free = {
            i: [FRAMES if d == axis and i in trained[1] else s for d, s in enumerate(shape)]
            for i, shape in sizes.items()
        }
        try:
            graph = _convert(file, names, free, exact, trained[0])
        except UnsupportedModelError as e:
            why = why or e
            continue
        inputs = ", ".join(names[i] for i in trained[1])
        graph.metadata["notes"].append(f"input {inputs}: {trained[0]} frames in the file, left open")
        return graph
    graph = _convert(file, names, sizes, exact, None)
    if why is not None:
        graph.metadata["notes"].append(f"frames fixed as in the file, because with open frames: {why}")
    return graph


def _frames_of(
    file: ModelFile,
    main: SubGraph,
    names: dict[int, str],
    sizes: dict[int, list[Size]],
    given: set[str],
    axis: int,
    exact: bool,
) -> tuple[int, list[int]] | None:
    """(frames in the file, inputs that have them along `axis`) where a recurrent model's frames could be left open."""
    if not any(o.kind in RECURRENT for o in main.operators):
        return None
    if any(s == FRAMES for shape in sizes.values() for s in shape):
        return None
    if exact and any(
        o.kind in RECURRENT and any(is_quantized(main.tensors[i]) for i in o.inputs[:1]) for o in main.operators
    ):
        return None  # the runtime's integers are spelled out step by step
    found: dict[int, list[int]] = {}
    for index, shape in sizes.items():
        info = main.tensors[index]
        timed = len(shape) >= 3 or len(shape) == 2 and axis == 1 and not info.dtype.startswith("float")
        size = shape[axis] if timed and names[index] not in given else 1
        if isinstance(size, int) and size > 1:
            found.setdefault(size, []).append(index)
    return next(iter(found.items())) if len(found) == 1 else None


def _convert(
    file: ModelFile, names: dict[int, str], sizes: dict[int, list[Size]], exact: bool, trained: int | None
) -> Graph:
    main = file.subgraphs[0]
    ctx = TfLowering(file, trained, exact)
    ctx.assigned = assigned_variables(main)
    scope: Scope = {}
    _declare_inputs(ctx, main, names, sizes, scope)
    lower_block(ctx, main, scope)
    _declare_outputs(ctx, main, names, scope)
    _drop_unread_states(ctx)
    ctx.graph.drop_unused()
    _note_hybrid(ctx, file)
    ctx.graph.metadata["notes"] = ctx.notes
    ctx.graph.metadata["source"] = {"format": "tflite", "producer": file.description or "tflite"}
    return ctx.graph


def _declare_inputs(
    ctx: TfLowering, main: SubGraph, names: dict[int, str], sizes: dict[int, list[Size]], scope: Scope
) -> None:
    dtypes, grids = {}, {}
    for index in main.inputs:
        info, name = main.tensors[index], names[index]
        run = run_dtype(info.dtype, f"input {name!r}")
        tensor = ctx.graph.input(name, tuple(sizes[index]), run)
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
