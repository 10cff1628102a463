"""Example inputs to trace a live module with: given, from shapes, or made up from its layers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ...ir.notes import ASSUMED
from ...options import as_typed
from .opaque import is_recurrence

BATCH_SIZE, FRAME_COUNTS = 5, (61, 1021, 16001)  # of made-up examples: primes, so that no two sizes meet by chance


@dataclass(frozen=True)
class Example:
    """Arguments that forward takes, and notes on how they were come by."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    notes: tuple[str, ...] = ()

    def tensors(self) -> list[Any]:
        return _tensors_in((self.args, self.kwargs))


def _tensors_in(tree: Any) -> list[Any]:
    import torch
    from torch.utils import _pytree as pytree

    return [v for v in pytree.tree_leaves(tree) if isinstance(v, torch.Tensor)]


def examples(
    module: Any, shapes: dict[str, Any] | None, example: Any, fixed: dict[str, dict[int, int]]
) -> list[Example]:
    """Working inputs to trace `module` with, each with one more axis of size 1 than the one before: torch takes a 1 for a
    fixed size, and so an example is enlarged first, and taken as it was given where its new sizes become part of the model.
    """
    if example is not None:
        given = _tensors(example)
        if isinstance(given, dict):
            plain = Example((), given)
        else:
            plain = Example(tuple(given) if isinstance(given, (tuple, list)) else (given,), {})
        return [*_grown(module, plain, fixed), plain]
    if shapes:
        return _distinct(Example((), _from_shapes(module, shapes, batch)) for batch in (BATCH_SIZE, 1))
    cell = _cell_example(module)
    if cell is not None:
        return [Example(cell, {})]
    for args, note in _candidates(module):
        if _runs(module, args, {}):
            notes = (note,) if note else ()
            single = tuple(x[:1] for x in args)
            return [Example(args, {}, notes), *([Example(single, {}, notes)] if _runs(module, single, {}) else [])]
    raise UnsupportedModelError(
        f"the input of {type(module).__name__} cannot be derived from its layers: give a working input with "
        "example=tensor, example=(tensor, ...) or example={'name': tensor}, or shapes={'name': "
        "('batch', 'frames', 40)}"
    )


def _distinct(examples: Iterable[Example]) -> list[Example]:
    """Without those whose sizes another one has already."""
    found: dict[Any, Example] = {}
    for e in examples:
        found.setdefault(tuple(tuple(v.shape) for v in e.kwargs.values()), e)
    return list(found.values())


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


def _numbers(shape: Any, batch: int) -> list[int]:
    """Sizes for a made-up input: the first unnamed axis is batch, the next one frames."""
    free = iter((batch, FRAME_COUNTS[0], 67, 71, 73))
    named = {"batch": batch, "frames": FRAME_COUNTS[0], "time": FRAME_COUNTS[0]}
    sizes = []
    for s in shape:
        wild = s is None or s == -1
        sizes.append(next(free) if wild else named.get(s, FRAME_COUNTS[0]) if isinstance(s, str) else int(s))
    return sizes


def _from_shapes(module: Any, shapes: dict[str, Any], batch: int) -> dict[str, Any]:
    import torch

    known = inspect.signature(module.forward).parameters
    unknown = [n for n in shapes if n not in known]
    if unknown:
        raise UnsupportedModelError(f"shapes names {unknown[0]!r}: expected parameters of forward, {', '.join(known)}")
    floats = {n: torch.randn(_numbers(s, batch)) for n, s in shapes.items()}
    if _runs(module, (), floats):
        return floats
    ints = {n: torch.zeros(_numbers(s, batch), dtype=torch.int64) for n, s in shapes.items()}
    if _runs(module, (), ints):
        return ints
    raise UnsupportedModelError(
        f"{type(module).__name__} does not run on inputs of shapes {shapes}, neither floats nor integers; give {as_typed('example')}"
    )


def fixed_axes(shapes: dict[str, Any] | None) -> dict[str, dict[int, int]]:
    """The sizes that the caller gives as numbers, by input and axis."""
    return {
        n: {a: s for a, s in enumerate(shape) if isinstance(s, int) and s != -1} for n, shape in (shapes or {}).items()
    }


def _runs(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    import torch

    try:
        with torch.no_grad():
            module(*args, **kwargs)
    except Exception:  # whatever forward raises, this input is not one it takes
        return False
    return True


def _cell_example(module: Any) -> tuple[Any, ...] | None:
    import torch
    from torch import nn

    if isinstance(module, nn.RNNCellBase):
        x, h = torch.randn(BATCH_SIZE, module.input_size), torch.randn(BATCH_SIZE, module.hidden_size)
        return (x, (h, h.clone())) if isinstance(module, nn.LSTMCell) else (x, h)
    return None


def _candidates(module: Any) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Inputs that the first layer suggests, likely ones first; the caller tries them."""
    import torch
    from torch import nn

    required = [
        p
        for p in inspect.signature(module.forward).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    kinds = (nn.RNNBase, nn.RNNCellBase, nn.Linear, nn.Conv1d, nn.Embedding, nn.LayerNorm, nn.BatchNorm1d)
    first = next(((n, m) for n, m in module.named_modules() if isinstance(m, kinds) or is_recurrence(m)), None)
    if len(required) != 1 or first is None:
        return
    name: str = first[0]
    layer: Any = first[1]
    recurrent = any(isinstance(m, (nn.RNNBase, nn.RNNCellBase)) or is_recurrence(m) for m in module.modules())
    for frames in FRAME_COUNTS:
        b, t = BATCH_SIZE, frames
        if isinstance(layer, nn.Embedding):
            made = [torch.zeros(b, t, dtype=torch.int64), torch.zeros(b, dtype=torch.int64)]
        elif is_recurrence(layer):
            made = [torch.randn(b, t, layer.input_size)]
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
                    f"{ASSUMED}from layer {name or type(layer).__name__!r}: the input {required[0].name!r} has shape "
                    f"{tuple(x.shape)} for a batch of {b} and {t} frames; give {as_typed('example')} if it has not"
                ),
            )


def _grown(module: Any, plain: Example, fixed: dict[str, dict[int, int]]) -> list[Example]:
    """The example with its axes of size 1 repeated where the module allows it: batch and frames, then the batch alone."""
    import torch
    from torch.utils import _pytree as pytree

    def repeated(tree: Any, axis_of: Callable[[Any], int | None], count: int) -> Any:
        def grow(v: Any) -> Any:
            axis = axis_of(v) if isinstance(v, torch.Tensor) else None
            return v if axis is None or v.shape[axis] != 1 else v.repeat_interleave(count, axis)

        return pytree.tree_map(grow, tree)

    both = (plain.args, plain.kwargs)
    first = next((v for v in _tensors_in(both) if v.dim() >= 2), None)
    if any(fixed.values()) or first is None:
        return []
    found = []
    axes_of_batch: tuple[Callable[[Any], int | None], ...] = (
        lambda v: 0 if v.dim() >= 1 else None,
        lambda v: (0 if v is first else 1) if v.dim() >= 2 else None,  # states have it second
        lambda v: 1 if v.dim() >= 2 else None,
    )
    for axis_of in axes_of_batch:
        candidate = repeated(both, axis_of, BATCH_SIZE)
        changed = any(a.shape != b.shape for a, b in zip(_tensors_in(both), _tensors_in(candidate)))
        if changed and _runs(module, *candidate):
            both = candidate
            found = [Example(*both)]
            break
    target = next(v for v in _tensors_in(both) if v.dim() >= 2)
    for axis in range(1, target.dim() - 1):
        if target.shape[axis] == 1:
            candidate = repeated(both, lambda v, axis=axis: axis if v is target else None, FRAME_COUNTS[0])  # type: ignore[misc]
            if _runs(module, *candidate):
                return [Example(*candidate), *found]
    return found
