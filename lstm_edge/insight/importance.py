"""What an answer depends on: occlusion, on the core, and integrated gradients, on the float64 reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import format, reference
from ..errors import LstmEdgeError, ShapeError
from ..ir.graph import Graph
from ..reference.samples import is_framed

if TYPE_CHECKING:
    from .._core import Model

Array = NDArray[Any]
Target = Callable[[Any], float]  # what Model.run (or the reference) answers -> the number that is explained
PARTS = ("frames", "columns", "values")
STEP = 1e-4  # of a central difference, in float64, where an input is about 1: its error is near 1e-9
LARGEST = 4096  # sequences of one batch
NODES = (16, 32, 64, 128, 256, 512)  # of the integral along the path


def occlusion(
    model: Model,
    x: ArrayLike,
    target: Target | int | None = None,
    *,
    by: str = "values",
    baseline: ArrayLike = 0.0,
) -> Array:
    """How much the answer falls when a part of the input is replaced by the baseline: answer(x) - answer(x without the part).

    x: (frames, columns) float32, one sequence of a model with one input; other sizes of a frame are columns too. by: "frames"
    (result (frames,)), "columns" (columns,) or "values" (frames, columns). baseline: a number, a frame, or an array like x.
    target: a function of Model.run's answer for x; or an int, an element of the last frame's answer (of the whole answer where it
    has no frames); None, the sum of that. One run for each part. ShapeError where x is not one sequence of the model's input.
    """
    x = _one_sequence(model, x)
    explain = _target(target)
    base = np.broadcast_to(np.asarray(baseline, np.float32), x.shape)
    rows = x.reshape(len(x), -1)
    whole = explain(model.run(x))
    fallen = []
    for hidden in _parts(by, rows.shape):
        kept = rows.copy()
        kept[hidden] = base.reshape(rows.shape)[hidden]
        fallen.append(whole - explain(model.run(kept.reshape(x.shape))))
    return np.array(fallen).reshape({"frames": rows.shape[:1], "columns": rows.shape[1:]}.get(by, rows.shape))


def integrated_gradients(
    source: Graph | format.Source,
    x: ArrayLike,
    target: Target | int | None = None,
    *,
    baseline: ArrayLike = 0.0,
    tolerance: float = 1e-3,
) -> Array:
    """Sundararajan et al., 2017: the shares (frames, columns) that the values of x have in answer(x) - answer(baseline); they sum to it.

    source: a .lstm file with one float input, or a Graph; x, baseline and target as `occlusion` takes them, target of the float64
    reference's answer. The path from baseline to x is integrated at Gauss-Legendre nodes, 16 and twice as many until the sum is
    right to `tolerance` of it; gradients are central differences. That is 32 * x.size sequences and more, in batches where the
    model has a batch axis. LstmEdgeError where 512 nodes are not enough: the target jumps.
    """
    graph = source if isinstance(source, Graph) else format.read(source)
    run, explain = _reference_of(graph), _target(target)
    x = np.asarray(x, np.float64)
    base = np.broadcast_to(np.asarray(baseline, np.float64), x.shape)
    at_x, at_base = (explain(run(a[None])[0]) for a in (x, base))
    moved = np.eye(x.size).reshape(x.size, *x.shape) * STEP
    for points in NODES:
        nodes, weights = np.polynomial.legendre.leggauss(points)
        shares = np.zeros(x.size)
        for at, weight in zip((nodes + 1) / 2, weights / 2):
            here = base + at * (x - base)
            up, down = (np.array([explain(a) for a in run(here + sign * moved)]) for sign in (1, -1))
            shares += weight * (up - down) / (2 * STEP)
        result = shares.reshape(x.shape) * (x - base)
        if abs(result.sum() - (at_x - at_base)) <= tolerance * max(abs(at_x - at_base), tolerance):
            return result
    raise LstmEdgeError(
        f"integrated_gradients: expected shares that sum to {at_x - at_base:.6g}, found {result.sum():.6g} with {NODES[-1]} nodes; "
        "a target that jumps, as an argmax does, has no gradient"
    )


def _one_sequence(model: Model, x: ArrayLike) -> Array:
    if len(model.inputs) != 1 or model.inputs[0].dtype != "float32":
        found = ", ".join(f"{p.name} ({p.dtype})" for p in model.inputs)
        raise ShapeError(f"importance: expected a model with one float32 input, found {found}")
    array = np.asarray(x, np.float32)
    shape = model.inputs[0].shape or ()
    rank = len(shape) + model.is_step_model - ("batch" in shape)
    if array.ndim != rank:
        raise ShapeError(f"x: expected one sequence without the batch axis, of rank {rank}, found shape {array.shape}")
    return array


def _parts(by: str, shape: tuple[int, ...]) -> Iterable[Any]:
    frames, columns = shape
    if by == "frames":
        return range(frames)
    if by == "columns":
        return [(slice(None), c) for c in range(columns)]
    if by == "values":
        return [(t, c) for t in range(frames) for c in range(columns)]
    raise ShapeError(f"by: expected one of {', '.join(PARTS)}, found {by!r}")


def _target(target: Target | int | None) -> Target:
    if callable(target):
        return target

    def explain(answer: Any) -> float:
        if isinstance(answer, Mapping):
            raise ShapeError(f"target: expected a function of the answers {', '.join(answer)}: the model has several")
        last = np.asarray(answer, np.float64)
        last = last.reshape(-1, last.shape[-1])[-1] if last.ndim else last.reshape(1)
        return float(last.sum() if target is None else last[target])

    return explain


def _reference_of(graph: Graph) -> Callable[[Array], list[Any]]:
    """A function of many sequences (n, frames, ...) that gives each one's answer."""
    if len(graph.inputs) != 1 or graph.tensors[graph.inputs[0].tensor].dtype != "float32":
        raise ShapeError(f"importance: expected one float32 input, found {', '.join(p.name for p in graph.inputs)}")
    name, framed = graph.inputs[0].name, is_framed(graph)
    sizes = [str(s) for s in graph.shape(graph.inputs[0].tensor)]
    axis = sizes.index("batch") if "batch" in sizes else -1

    def one(batch: Array) -> list[Any]:
        run = reference.run_frames if framed else reference.run
        at = axis + framed
        outputs, _ = run(graph, {name: np.moveaxis(batch, 0, at) if axis >= 0 else batch[0]})
        found = {}
        for port in graph.outputs:
            rows = [str(s) for s in graph.shape(port.tensor)]
            answer = outputs[port.name]
            if answer is None:
                raise ShapeError(f"output {port.name!r}: expected a sequence long enough to answer it, found none")
            found[port.name] = [answer] if axis < 0 else np.moveaxis(answer, rows.index("batch") + framed, 0)
        answers = [dict(zip(found, each)) for each in zip(*found.values())]
        return [next(iter(a.values())) if len(a) == 1 else a for a in answers]

    def many(sequences: Array) -> list[Any]:
        size = LARGEST if axis >= 0 else 1
        return [a for first in range(0, len(sequences), size) for a in one(sequences[first : first + size])]

    return many
