"""A live module beside the graph that was made of it: whether both say the same, at sizes of the caller's choice."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np

from ... import reference
from ...errors import LstmEdgeError, ShapeError, UnsupportedModelError
from ...ir.dims import Dim
from ...ir.graph import Graph
from ...reference.samples import difference, scale_of, use_of

MOST_FRAMES = 512  # of an example that a size left open is tried at: a longer one is cut
TOLERANCE = 1e-3  # times the largest answer: float32 against float64 differs by far less, another program by more


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
    else:
        for layer in module.modules():
            if hasattr(layer, "int8_arithmetic"):  # of lstm_edge.training: the reference, beside which it runs, knows
                layer.int8_arithmetic = False  # weights and not how the core multiplies them
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


# ---- the comparison -------------------------------------------------------------------------------------------------


class Verdict(Enum):
    SAME = "both give the same answer"
    OTHER = "both answer, and differ"
    REFUSED = "the module fails, the graph answers"
    SILENT = "the graph gives no answer"


def answers(graph: Graph, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray] | None:
    """The graph's outputs in order; None where it gives no answer, or none with an element in it."""
    try:
        outputs, _ = reference.run(graph, dict(feeds))
    except (LstmEdgeError, ValueError, IndexError, ZeroDivisionError, OverflowError):
        return None
    arrays = [a for a in (outputs[p.name] for p in graph.outputs) if a is not None]
    return arrays if arrays and all(a.size for a in arrays) else None


def values_at(graph: Graph, shapes: Sequence[tuple[int, ...]]) -> dict[str, int] | None:
    """The values of the graph's open sizes for inputs of these shapes; None where they do not fit."""
    try:
        return reference.open_sizes(graph, {p.name: np.broadcast_to(0, s) for p, s in zip(graph.inputs, shapes)})
    except ShapeError:
        return None


def feeds_of_ones(graph: Graph, values: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Inputs of the graph at these values of its open sizes."""
    return {p.name: np.ones(_shape(graph, p.tensor, values), graph.tensors[p.tensor].dtype) for p in graph.inputs}


def _shape(graph: Graph, tensor: str, values: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(s.at(values) if isinstance(s, Dim) else s for s in graph.shape(tensor))


class Original:
    """A module with an example that it takes."""

    def __init__(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]):
        self.module, self.example = module, (args, kwargs)

    def verdict(self, graph: Graph, values: Mapping[str, int], strict: bool = False) -> Verdict:
        """What both say to the example, cut or repeated to these values of the graph's open sizes.

        strict: answers must have one rank; else axes of size 1 that only one of them has do not count."""
        import torch
        from torch.utils import _pytree as pytree

        leaves, tree = pytree.tree_flatten(self.example)
        tensors = [n for n, v in enumerate(leaves) if isinstance(v, torch.Tensor)]
        if len(tensors) != len(graph.inputs):
            return Verdict.SAME  # something else than tensors is among the inputs: nothing to compare with
        feeds = {}
        for n, port in zip(tensors, graph.inputs):
            leaves[n] = _resized(leaves[n], _shape(graph, port.tensor, values))
            use, frames = use_of(graph, port.tensor)
            if use == "lengths":  # the longest is as long as what it is the length of
                leaves[n] = leaves[n].clamp(max=frames or values["frames"])
                leaves[n].flatten()[0] = frames or values["frames"]
            feeds[port.name] = leaves[n].detach().numpy()
        own = answers(graph, feeds)
        if own is None:
            return Verdict.SILENT
        args, kwargs = pytree.tree_unflatten(leaves, tree)
        theirs = self._run(args, kwargs)
        if theirs is None:
            return Verdict.REFUSED
        same = len(own) == len(theirs) and all(_same(a, b, strict) for a, b in zip(own, theirs))
        return Verdict.SAME if same else Verdict.OTHER

    def values(self, graph: Graph) -> dict[str, int] | None:
        """The values of the graph's open sizes at the example; None where the example is none of its inputs."""
        from torch.utils import _pytree as pytree

        shapes = [tuple(v.shape) for v in pytree.tree_leaves(self.example) if hasattr(v, "shape")]
        return values_at(graph, shapes)

    def _run(self, args: Any, kwargs: Any) -> list[np.ndarray] | None:
        """The module's answers; None where it fails."""
        import torch
        from torch.utils import _pytree as pytree

        before = attributes(self.module)
        try:
            with torch.no_grad():
                result = self.module(*args, **kwargs)
        except Exception:  # whatever forward raises at these sizes, it gives no answer
            return None
        finally:
            restore(before)
        found = [v for v in pytree.tree_leaves(result) if v is not None]
        return [v.detach().numpy() if isinstance(v, torch.Tensor) else np.asarray(v) for v in found]

    def free_of(self, graph: Graph, count: int) -> bool:
        """Whether the module says what the graph says at several numbers of frames, `count` of the example among them."""
        tried = sorted({1, 2, count, count + 1, 2 * count + 3})
        example = self.values(graph)
        if example is None:
            return False
        said = [self.verdict(graph, {**example, "frames": frames}) for frames in tried]
        return said.count(Verdict.SAME) >= 3 and said[tried.index(count)] is Verdict.SAME and Verdict.OTHER not in said


def _resized(x: Any, shape: tuple[int, ...]) -> Any:
    """A tensor cut to a shape, or repeated from its beginning, every float at a scale of its own: what the added ones are
    left out of (a largest value, a mean over the example's frames) then shows. Signs change where the example has both. One
    value all over becomes random numbers."""
    import torch

    generator = torch.Generator().manual_seed(0)
    before = x.shape
    for axis, size in enumerate(shape):
        if x.shape[axis] != size:
            x = x.index_select(axis, torch.arange(size) % x.shape[axis])
    if not x.is_floating_point():
        return x.contiguous()
    if x.numel() > 1 and bool((x == x.flatten()[0]).all()):
        return torch.randn(x.shape, generator=generator)
    if x.numel() <= before.numel():
        return x.contiguous()
    scale = torch.exp(torch.randn(x.shape, generator=generator))
    if bool((x < 0).any()) and bool((x > 0).any()):
        scale = scale * (torch.randint(0, 2, x.shape, generator=generator) * 2 - 1)
    return x * scale


def _same(own: np.ndarray, theirs: np.ndarray, strict: bool) -> bool:
    if not strict:
        own, theirs = own.squeeze(), theirs.squeeze()
    return difference(own, theirs) <= TOLERANCE * scale_of(theirs)
