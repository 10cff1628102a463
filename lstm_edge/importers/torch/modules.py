"""Live nn.Module -> Program, through torch.export, with batch and frames free wherever the model allows it.

torch.export would unroll a recurrence to learn its output's shape, and so fix the number of frames. While tracing, the
functions that nn.LSTM, nn.GRU and nn.RNN call are therefore replaced by opaque ones that only know shapes.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ...errors import LstmEdgeError, UnsupportedModelError
from ...ir.graph import Graph
from .export import program_of
from .lower import freest

BATCH_SIZE, FRAME_COUNTS = 5, (61, 1021, 16001)  # of made-up examples: primes, so that no two sizes meet by chance

_SEQUENCE = (
    "Tensor x, Tensor[] hx, Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, "
    "bool bidirectional"
)
_library: Any = None


def read_module(module: Any, shapes: dict[str, Any] | None, example: Any) -> Graph:
    """The Graph of a module in eval mode. UnsupportedModelError when an example input is needed or tracing fails."""
    import torch

    module = prepared(module)
    before = attributes(module)
    args, kwargs, notes = _example_inputs(module, shapes, example)
    fixed = _fixed_axes(module, shapes)
    if example is not None:
        args, kwargs = _grown(module, args, kwargs, fixed)
    restore(before)
    failures: list[str] = []
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for dynamic in ("all", "batch", "none"):
            try:
                exported = _export(module, args, kwargs, fixed, dynamic)
                restore(before)
                graph = freest(partial(program_of, exported, fixed))
            except Exception as e:  # torch.export fails with anything at all; the last reason is reported
                failures.append(f"{type(e).__name__}: {str(e).strip().splitlines()[0] if str(e).strip() else ''}")
                if isinstance(e, LstmEdgeError) and dynamic == "none":
                    raise
                continue
            if example is None and not shapes and _made_up_frames(graph):
                raise UnsupportedModelError(
                    f"{type(module).__name__} runs a fixed number of frames (a loop over them in forward, "
                    "perhaps): give an input with as many as it shall take, example=tensor"
                )
            graph.metadata["notes"] = notes + graph.metadata["notes"]
            graph.metadata.setdefault("source", {})["arguments"] = _named_arguments(graph, args, kwargs)
            if dynamic != "all":
                graph.metadata["notes"].append(f"not every axis could stay free ({failures[0][:200]})")
            return graph
    raise UnsupportedModelError(
        f"torch.export could not trace {type(module).__name__}: {failures[-1][:500]}. Give a working "
        "input with example=, or rewrite what depends on the values of tensors"
    )


def _named_arguments(graph: Graph, args: tuple, kwargs: dict[str, Any]) -> Any:
    """[args, kwargs] with the names of the graph's inputs in the places of the tensors (a tuple as a list); None where
    something else is among them."""
    from torch.utils import _pytree as pytree

    names = iter([p.name for p in graph.inputs])
    leaves = pytree.tree_leaves([args, kwargs])
    if len(leaves) != len(graph.inputs) or not all(hasattr(v, "dtype") for v in leaves):
        return None
    return pytree.tree_map(lambda _: next(names), [args, kwargs])


def _made_up_frames(graph: Graph) -> bool:
    """Whether a number of frames that nobody asked for has become part of the graph."""
    return any(s in FRAME_COUNTS for p in graph.inputs for s in graph.shape(p.tensor)[1:])


def prepared(module: Any) -> Any:
    """A float32 copy on the CPU in eval mode; the caller's module stays as it is."""
    tensors = [*module.parameters(), *module.buffers()]
    floats = [t for t in tensors if t.is_floating_point()]
    try:
        module = copy.deepcopy(module)
    except Exception as e:
        if any(m.training for m in module.modules()):
            raise UnsupportedModelError(
                f"{type(module).__name__} cannot be copied ({e}); call eval() on it first"
            ) from e
    module = module.eval()
    if any(str(t.dtype) != "torch.float32" for t in floats):
        module = module.float()
    return module.cpu() if any(t.device.type != "cpu" for t in tensors) else module


def attributes(module: Any) -> list[tuple[Any, dict[str, Any], dict[str, Any]]]:
    """Every submodule with its attributes and buffers: forward may keep a hidden state there."""
    return [(m, dict(m.__dict__), dict(m._buffers)) for m in module.modules()]


def restore(saved: list[tuple[Any, dict[str, Any], dict[str, Any]]]) -> None:
    for module, attributes, buffers in saved:
        module.__dict__.clear()
        module.__dict__.update(attributes)
        module._buffers.clear()
        module._buffers.update(buffers)


# ---- tracing --------------------------------------------------------------------------------------------------------


def _export(module: Any, args: tuple, kwargs: dict[str, Any], fixed: dict[str, dict[int, int]], dynamic: str) -> Any:
    import torch
    from torch.export import Dim, export
    from torch.utils import _pytree as pytree

    def axes(path: Any, v: Any) -> Any:
        if not isinstance(v, torch.Tensor):
            return None
        name = "_".join(str(getattr(k, "key", getattr(k, "idx", ""))) for k in path)
        free = range(v.dim()) if dynamic == "all" else range(min(v.dim(), 1)) if dynamic == "batch" else ()
        return {a: Dim.AUTO for a in free if a not in fixed.get(name, {})}

    bound = _bound(module, args, kwargs)
    shapes = pytree.tree_map_with_path(axes, bound) if bound is not None else pytree.tree_map_with_path(axes, args)
    with _opaque_recurrences(), _symbolic_len(module), _quiet():
        return export(module, args, kwargs, dynamic_shapes=shapes, strict=False)


def _bound(module: Any, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """The arguments by the names of forward's parameters; None where forward takes *args."""
    try:
        signature = inspect.signature(module.forward)
        if any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values()):
            return None
        return dict(signature.bind(*args, **kwargs).arguments)
    except (TypeError, ValueError):
        return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch.export logs what it will raise anyway."""
    import logging

    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _define() -> Any:
    """torch.ops.lstm_edge: recurrences and packing that know their shapes only."""
    global _library
    import torch

    if _library is not None:
        return torch.ops.lstm_edge
    library = torch.library.Library("lstm_edge", "FRAGMENT")
    for name, finals in (("lstm", 2), ("gru", 1), ("rnn_tanh", 1), ("rnn_relu", 1)):
        result = "(" + ", ".join(["Tensor"] * (1 + finals)) + ")"
        library.define(f"{name}({_SEQUENCE}, bool batch_first) -> {result}")
        library.define(f"{name}_packed(Tensor x, Tensor batch_sizes, {_SEQUENCE[len('Tensor x, ') :]}) -> {result}")
        torch.library.register_fake(f"lstm_edge::{name}", _sequence_shape, lib=library)
        torch.library.register_fake(f"lstm_edge::{name}_packed", _packed_shape, lib=library)
    library.define("pack(Tensor x, Tensor lengths, bool batch_first) -> (Tensor, Tensor)")
    library.define(
        "unpack(Tensor data, Tensor lengths, bool batch_first, float padding_value, int total) -> (Tensor, Tensor)"
    )
    torch.library.register_fake("lstm_edge::pack", _pack_shape, lib=library)
    torch.library.register_fake("lstm_edge::unpack", _unpack_shape, lib=library)
    _library = library
    return torch.ops.lstm_edge


def _sequence_shape(
    x: Any,
    hx: Any,
    params: Any,
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple:
    import torch

    directions = 2 if bidirectional else 1
    # Comparisons, not torch._check: tracing then takes the sizes as equal at once.
    if x.shape[2] != params[0].shape[1] or hx[0].shape[1] != x.shape[0 if batch_first else 1]:
        raise ValueError(f"a recurrence over {tuple(x.shape)} with states {tuple(hx[0].shape)}")
    width = directions * hx[0].shape[2]
    return (x.new_empty((x.shape[0], x.shape[1], width)), *(torch.empty_like(h) for h in hx))


def _packed_shape(
    x: Any,
    batch_sizes: Any,
    hx: Any,
    params: Any,
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
) -> tuple:
    y, *_ = _sequence_shape(
        x,
        [h.new_empty((h.shape[0], x.shape[0], h.shape[2])) for h in hx],
        params,
        has_biases,
        num_layers,
        dropout,
        train,
        bidirectional,
        True,
    )
    return (y, *(h.new_empty((h.shape[0], x.shape[0], h.shape[2])) for h in hx))


def _pack_shape(x: Any, lengths: Any, batch_first: bool) -> tuple:
    import torch

    return torch.empty_like(x) if batch_first else x.new_empty(
        (x.shape[1], x.shape[0], *x.shape[2:])
    ), torch.empty_like(lengths)


def _unpack_shape(data: Any, lengths: Any, batch_first: bool, padding_value: float, total: int) -> tuple:
    import torch

    y = torch.empty_like(data) if batch_first else data.new_empty((data.shape[1], data.shape[0], *data.shape[2:]))
    return y, torch.empty_like(lengths)


@contextlib.contextmanager
def _opaque_recurrences() -> Iterator[None]:
    import torch
    from torch.nn.modules import rnn

    ops, functions = _define(), rnn._VF

    def sequence(name: str) -> Any:
        def call(x: Any, second: Any, *rest: Any) -> Any:
            listed = list(second) if isinstance(second, (list, tuple)) else second
            if isinstance(rest[0], (list, tuple)) and (isinstance(listed, list) or isinstance(rest[1], bool)):
                hx = listed if isinstance(listed, list) else [listed]
                return getattr(ops, name)(x, hx, list(rest[0]), *rest[1:])
            hx = list(rest[0]) if isinstance(rest[0], (list, tuple)) else [rest[0]]
            return getattr(ops, f"{name}_packed")(x, second, hx, list(rest[1]), *rest[2:])

        return call

    replaced = {n: sequence(n) for n in ("lstm", "gru", "rnn_tanh", "rnn_relu")}
    replaced["_pack_padded_sequence"] = lambda x, lengths, batch_first: ops.pack(x, lengths, batch_first)
    replaced["_pad_packed_sequence"] = lambda *a: ops.unpack(*a[:3], float(a[3]), 0)
    sort = torch.sort

    def sort_unless_packing(x: Any, *args: Any, **kwargs: Any) -> Any:
        """pack_padded_sequence sorts by length; sequences are computed one by one here, so any order will do."""
        if sys._getframe(1).f_globals.get("__name__") == "torch.nn.utils.rnn":
            return x, torch.arange(x.shape[0])
        return sort(x, *args, **kwargs)

    max_pool = torch.max_pool1d

    def max_pool_as_2d(
        x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> Any:
        """torch's own max_pool1d makes the traced length a number."""
        sizes = [
            _one(kernel_size),
            _one(kernel_size if stride in (None, []) else stride),
            _one(padding),
            _one(dilation),
        ]
        kernel, stride, padding, dilation = ((other, size) for other, size in zip((1, 1, 0, 1), sizes))
        return torch.max_pool2d(x.unsqueeze(-2), kernel, stride, padding, dilation, ceil_mode).squeeze(-2)

    for name, function in replaced.items():
        setattr(functions, name, function)
    torch.sort, torch.max_pool1d = sort_unless_packing, max_pool_as_2d
    try:
        yield
    finally:
        torch.sort, torch.max_pool1d = sort, max_pool
        for name in replaced:
            delattr(functions, name)  # an instance attribute before the lookup of the real one


@contextlib.contextmanager
def _symbolic_len(module: Any) -> Iterator[None]:
    """len(tensor) must be an int in Python, which would fix the size; in the code of forward it gives what shape[0] does."""
    import builtins

    import torch

    def length(x: Any) -> Any:
        return x.shape[0] if isinstance(x, torch.Tensor) and x.dim() else builtins.len(x)

    own = [type(m) for m in module.modules() if not type(m).__module__.startswith("torch.")]
    spaces = {
        id(g): g for k in own for g in [getattr(k.forward, "__globals__", None)] if g is not None and "len" not in g
    }
    for g in spaces.values():
        g["len"] = length
    try:
        yield
    finally:
        for g in spaces.values():
            del g["len"]


def _one(size: Any) -> int:
    return int(size[0]) if isinstance(size, (list, tuple)) else int(size)


# ---- example inputs -------------------------------------------------------------------------------------------------


def _example_inputs(
    module: Any, shapes: dict[str, Any] | None, example: Any
) -> tuple[tuple, dict[str, Any], list[str]]:
    if example is not None:
        example = _tensors(example)
        if isinstance(example, dict):
            return (), example, []
        return (tuple(example) if isinstance(example, (tuple, list)) else (example,)), {}, []
    if shapes:
        return (), _from_shapes(module, shapes), []
    cell = _cell_example(module)
    if cell is not None:
        return cell, {}, []
    for args, note in _candidates(module):
        if _runs(module, args, {}):
            return args, {}, [note] if note else []
    raise UnsupportedModelError(
        f"the input of {type(module).__name__} cannot be derived from its layers: give a working input with "
        "example=tensor, example=(tensor, ...) or example={'name': tensor}, or shapes={'name': "
        "('batch', 'frames', 40)}"
    )


def _tensors(value: Any) -> Any:
    """Arrays and numbers-free containers as tensors of the dtypes the module will see: float32 and int64."""
    import torch

    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return value.float() if value.is_floating_point() else value.long() if value.dtype == torch.int32 else value
    if isinstance(value, (list, tuple)):
        return type(value)(*map(_tensors, value)) if hasattr(value, "_fields") else type(value)(map(_tensors, value))
    return {k: _tensors(v) for k, v in value.items()} if isinstance(value, dict) else value


def _numbers(shape: Any) -> list[int]:
    """Sizes for a made-up input: the first unnamed axis is batch, the next one frames."""
    free = iter((BATCH_SIZE, FRAME_COUNTS[0], 67, 71, 73))
    named = {"batch": BATCH_SIZE, "frames": FRAME_COUNTS[0], "time": FRAME_COUNTS[0]}
    sizes = []
    for s in shape:
        wild = s is None or s == -1
        sizes.append(next(free) if wild else named.get(s, FRAME_COUNTS[0]) if isinstance(s, str) else int(s))
    return sizes


def _from_shapes(module: Any, shapes: dict[str, Any]) -> dict[str, Any]:
    import torch

    known = inspect.signature(module.forward).parameters
    unknown = [n for n in shapes if n not in known]
    if unknown:
        raise UnsupportedModelError(f"shapes names {unknown[0]!r}: expected parameters of forward, {', '.join(known)}")
    floats = {n: torch.randn(_numbers(s)) for n, s in shapes.items()}
    if _runs(module, (), floats):
        return floats
    ints = {n: torch.zeros(_numbers(s), dtype=torch.int64) for n, s in shapes.items()}
    if _runs(module, (), ints):
        return ints
    raise UnsupportedModelError(
        f"{type(module).__name__} does not run on inputs of shapes {shapes}, neither floats nor integers; give example="
    )


def _fixed_axes(module: Any, shapes: dict[str, Any] | None) -> dict[str, dict[int, int]]:
    return {
        n: {a: s for a, s in enumerate(shape) if isinstance(s, int) and s != -1} for n, shape in (shapes or {}).items()
    }


def _runs(module: Any, args: tuple, kwargs: dict[str, Any]) -> bool:
    import torch

    try:
        with torch.no_grad():
            module(*args, **kwargs)
    except Exception:  # whatever forward raises, this input is not one it takes
        return False
    return True


def _cell_example(module: Any) -> tuple | None:
    import torch
    from torch import nn

    if isinstance(module, nn.RNNCellBase):
        x, h = torch.randn(BATCH_SIZE, module.input_size), torch.randn(BATCH_SIZE, module.hidden_size)
        return (x, (h, h.clone())) if isinstance(module, nn.LSTMCell) else (x, h)
    return None


def _candidates(module: Any) -> Iterator[tuple[tuple, str]]:
    """Inputs that the first layer suggests, likely ones first; the caller tries them."""
    import torch
    from torch import nn

    required = [
        p
        for p in inspect.signature(module.forward).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    kinds = (nn.RNNBase, nn.RNNCellBase, nn.Linear, nn.Conv1d, nn.Embedding, nn.LayerNorm, nn.BatchNorm1d)
    first = next(((n, m) for n, m in module.named_modules() if isinstance(m, kinds)), None)
    if len(required) != 1 or first is None:
        return
    name, layer = first
    recurrent = any(isinstance(m, (nn.RNNBase, nn.RNNCellBase)) for m in module.modules())
    for frames in FRAME_COUNTS:
        b, t = BATCH_SIZE, frames
        if isinstance(layer, nn.Embedding):
            made = [torch.zeros(b, t, dtype=torch.int64), torch.zeros(b, dtype=torch.int64)]
        elif isinstance(layer, nn.RNNBase):
            n = layer.input_size
            made = [torch.randn(b, t, n) if layer.batch_first or layer is not module else torch.randn(t, b, n)]
            made += [torch.randn(b, t)] if n == 1 else []
        elif isinstance(layer, nn.RNNCellBase):
            made = [torch.randn(b, t, layer.input_size), torch.randn(b, layer.input_size)]
        elif isinstance(layer, nn.Conv1d):
            n = layer.in_channels
            made = [torch.randn(b, n, t), torch.randn(b, t, n), *([torch.randn(b, t)] if n == 1 else [])]
        else:
            n = (
                getattr(layer, "in_features", None)
                or getattr(layer, "num_features", None)
                or layer.normalized_shape[-1]
            )
            made = [torch.randn(b, t, n), torch.randn(b, n)] if recurrent else [torch.randn(b, n), torch.randn(b, t, n)]
        for x in made:
            yield (
                (x,),
                ""
                if layer is module and isinstance(layer, nn.RNNBase)
                else (
                    f"assumed from layer {name or type(layer).__name__!r}: the input {required[0].name!r} has shape "
                    f"{tuple(x.shape)} for a batch of {b} and {t} frames; give example= if it has not"
                ),
            )


def _grown(
    module: Any, args: tuple, kwargs: dict[str, Any], fixed: dict[str, dict[int, int]]
) -> tuple[tuple, dict[str, Any]]:
    """The example with its axes of size 1 repeated where the module allows it: torch.export takes 1 as a fixed size."""
    import torch
    from torch.utils import _pytree as pytree

    if any(fixed.values()):
        return args, kwargs

    def tensors(tree: Any) -> list[Any]:
        return [v for v in pytree.tree_leaves(tree) if isinstance(v, torch.Tensor)]

    def repeated(tree: Any, axis_of: Any, count: int) -> Any:
        def grow(v: Any) -> Any:
            axis = axis_of(v) if isinstance(v, torch.Tensor) else None
            return v if axis is None or v.shape[axis] != 1 else v.repeat_interleave(count, axis)

        return pytree.tree_map(grow, tree)

    both = (args, kwargs)
    first = next((v for v in tensors(both) if v.dim() >= 2), None)
    if first is None:
        return args, kwargs

    def all_zero(v: Any) -> int | None:
        return 0 if v.dim() >= 1 else None

    def states_one(v: Any) -> int | None:
        return (0 if v is first else 1) if v.dim() >= 2 else None

    def all_one(v: Any) -> int | None:
        return 1 if v.dim() >= 2 else None

    for axis_of, count in ((all_zero, BATCH_SIZE), (states_one, BATCH_SIZE), (all_one, BATCH_SIZE)):
        candidate = repeated(both, axis_of, count)
        changed = any(a.shape != b.shape for a, b in zip(tensors(both), tensors(candidate)))
        if changed and _runs(module, *candidate):
            both = candidate
            break
    target = next(v for v in tensors(both) if v.dim() >= 2)
    for axis in range(1, target.dim() - 1):
        if target.shape[axis] == 1:
            candidate = repeated(
                both, lambda v, axis=axis, target=target: axis if v is target else None, FRAME_COUNTS[0]
            )
            if _runs(module, *candidate):
                both = candidate
                break
    return both
