"""Live nn.Module -> Program, through torch.export, with batch and frames free wherever the model allows it.

torch.export would unroll a recurrence to learn its output's shape, and so fix the number of frames. While tracing, the
functions that nn.LSTM, nn.GRU and nn.RNN call are therefore replaced by opaque ones that only know shapes.
"""

from __future__ import annotations

import builtins
import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterator
from typing import Any

from ...errors import LstmEdgeError, UnsupportedModelError
from ...ir.graph import Graph
from ...options import as_typed
from .axes import Traced
from .examples import FRAME_COUNTS, Example, examples, fixed_axes
from .export import traced
from .lower import lower_freest
from .opaque import opaque_recurrences
from .original import Original, Verdict, attributes, prepared, restore


def read_module(module: Any, shapes: dict[str, Any] | None, example: Any) -> Graph:
    """The Graph of a module in eval mode. UnsupportedModelError when an example input is needed or tracing fails."""
    import torch

    module = prepared(module)
    before = attributes(module)
    fixed = fixed_axes(shapes)
    numbers = {size for axes in fixed.values() for size in axes.values()}  # that the caller wants as they are
    tries = examples(module, shapes, example, fixed)
    restore(before)
    given = Original(module, tries[-1].args, tries[-1].kwargs)
    failures: list[str] = []
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tried in tries:
            for dynamic in ("all", "batch", "none"):
                try:
                    exported = _export(module, tried.args, tried.kwargs, fixed, dynamic)
                    restore(before)
                    program = traced(exported)
                    kept = _kept(program, tried, tries[0]) if tried is tries[-1] else {}
                    settled = {name: {**fixed.get(name, {}), **kept.get(name, {})} for name in {**fixed, **kept}}
                    graph = lower_freest(program, settled, Original(module, tried.args, tried.kwargs))
                except Exception as e:  # torch.export fails with anything at all; the last reason is reported
                    failures.append(f"{type(e).__name__}: {str(e).strip().splitlines()[0] if str(e).strip() else ''}")
                    if isinstance(e, LstmEdgeError) and dynamic == "none":
                        raise
                    continue
                if not _holds_at(graph, given, strict=example is not None):
                    failures.append("what it was traced with became part of it")
                    break
                if example is None and not shapes and _made_up_frames(graph):
                    raise UnsupportedModelError(
                        f"{type(module).__name__} runs a fixed number of frames (a loop over them in forward, "
                        f"perhaps): give an input with as many as it shall take, {as_typed('example')}"
                    )
                graph.metadata["notes"] = [*tried.notes, *_said_of(kept), *graph.metadata["notes"]]
                graph.metadata.setdefault("source", {})["arguments"] = _named_arguments(graph, tried.args, tried.kwargs)
                if dynamic != "all":
                    graph.metadata["notes"].append(f"not every axis could stay free ({failures[0][:200]})")
                graph.ask = lambda opened, count: count not in numbers and given.free_of(opened, count)
                return graph
    raise UnsupportedModelError(
        f"torch.export could not trace {type(module).__name__}: {failures[-1][:500]}. Give a working "
        f"input with {as_typed('example')}, or rewrite what depends on the values of tensors"
    )


def _kept(program: Traced, given: Example, enlarged: Example) -> dict[str, dict[int, int]]:
    """The sizes of the example as it was given that an enlarged one had more of, by input and axis."""
    kept: dict[str, dict[int, int]] = {}
    for port, own, more in zip(program.inputs, given.tensors(), enlarged.tensors()):
        kept[port.name] = {axis: int(a) for axis, (a, b) in enumerate(zip(own.shape, more.shape)) if a != b}
    return kept


def _said_of(kept: dict[str, dict[int, int]]) -> list[str]:
    return [
        f"input {name!r}: dimension {axis} is fixed at {size}, as in the example: the module does something else at other sizes"
        for name, axes in kept.items()
        for axis, size in axes.items()
    ]


def _holds_at(graph: Graph, given: Original, strict: bool) -> bool:
    """Whether the graph takes the example as it was given, and says what the module says to it."""
    values = given.values(graph)
    return values is not None and given.verdict(graph, values, strict) is not Verdict.OTHER


def _named_arguments(graph: Graph, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
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


# ---- tracing --------------------------------------------------------------------------------------------------------


def _export(
    module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], fixed: dict[str, dict[int, int]], dynamic: str
) -> Any:
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
    with opaque_recurrences(), _symbolic_len(module), _quiet():
        return export(module, args, kwargs, dynamic_shapes=shapes, strict=False)


def _bound(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """The arguments by the names of forward's parameters, those of *args as a tuple; None where they do not fit."""
    try:
        return dict(inspect.signature(module.forward).bind(*args, **kwargs).arguments)
    except (TypeError, ValueError):
        return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch.export logs what it will raise anyway."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _symbolic_len(module: Any) -> Iterator[None]:
    """len(tensor) must be an int in Python, which would fix the size; in the code of forward it gives what shape[0] does."""
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
