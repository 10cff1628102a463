"""Inputs to try a graph with, and how far apart answers may be."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from .. import memory
from ..errors import FormatError
from ..ir.dims import Dim, Size, value
from ..ir.graph import Graph
from ..ir.ops import axes_of_frames, input_of, op_spec, read_attrs
from ..metadata import section

FRAMES = 16
MOST_FRAMES = 4096
TOLERANCE = 1e-5  # times the largest answer when that is above 1

Arrays = dict[str, np.ndarray]


def is_framed(graph: Graph) -> bool:
    """Whether Model.run takes frames first: a step model that keeps states."""
    return bool(graph.states) and graph.is_step_model()


def enough_frames(graph: Graph, frames: int) -> int:
    """At least `frames`, as many as every output and every window over frames needs to have an element, a multiple of the model's hop."""
    multiple = int(graph.metadata.get("streaming", {}).get("multiple", 1))
    frames = -(-frames // multiple) * multiple
    needed = [(size, 1) for p in graph.outputs for size in graph.shape(p.tensor)] + _windows(graph)
    while frames < MOST_FRAMES and any(value(size, 1, frames) < least for size, least in needed):
        frames *= 2
    return _allowed(graph, "frames", frames)


def _windows(graph: Graph) -> list[tuple[Size, int]]:
    """Sizes that windows leave, or that are padded with what lies beside their ends, and the least that there must be of each."""
    found: list[tuple[Size, int]] = []
    for node in graph.nodes:
        if node.op in ("Frames", "Conv", "Pool"):
            found += [(size, 1) for size in graph.shape(node.outputs[0])]
        elif node.op == "Pad" and node.attrs.get("mode") == "reflect":
            pads, shape = node.attrs["pads"], graph.shape(node.inputs[0])
            found += [(size, max(pads[d], pads[d + len(shape)]) + 1) for d, size in enumerate(shape)]
    return [(size, least) for size, least in found if isinstance(size, Dim)]


def _allowed(graph: Graph, name: str, wanted: int) -> int:
    """A value of an open size for which the source says that its network holds, not above `wanted` where it can be."""
    least, most, multiple, rest = graph.metadata.get("ranges", {}).get(name, (1, None, 1, 0))
    size = max(least, wanted if most is None else min(wanted, most))
    lower = size - (size - rest) % multiple
    return int(lower if lower >= least else lower + multiple)


def sample_inputs(graph: Graph, frames: int | None = None, seed: int = 0) -> Arrays:
    """Inputs by name, shaped as Model.run takes them: N(0,1), raw values of that size where a scaler follows, tokens within their
    table. As many frames as give an answer, at least `frames` (without it: as the source was trained on, which its framework may insist on)."""
    trained = graph.metadata.get("source", {}).get("frames", 0)
    frames = enough_frames(graph, frames or (trained if 0 < trained <= MOST_FRAMES else FRAMES))
    rng = np.random.default_rng(seed)
    lead = (frames,) if is_framed(graph) else ()
    batch = _allowed(graph, "batch", 1)
    shapes = {p.name: lead + tuple(value(s, batch, frames) for s in graph.shape(p.tensor)) for p in graph.inputs}
    drawn = {p.name: _draw(rng, graph, p.tensor, shapes[p.name], frames) for p in graph.inputs}
    samples = section(graph.metadata, "before")  # what is drawn for these is sound, and their scaler is of its features
    scalers = {name: about for name, about in section(graph.metadata, "scale").items() if name not in samples}
    return {name: _raw(values, scalers[name], name) if name in scalers else values for name, values in drawn.items()}


def _raw(values: np.ndarray, about: Mapping[str, Any], name: str) -> np.ndarray:
    """N(0,1) as the raw values that the scaler in front of the input makes it of."""
    try:
        tail = (-1, *[1] * (-int(about["axis"]) - 1))
        centre, spread = (np.array(about[key], np.float64).reshape(tail) for key in ("centre", "spread"))
        raw: np.ndarray = (centre + spread * values).astype(values.dtype)
        return raw
    except (KeyError, TypeError, ValueError) as why:
        raise FormatError(f"metadata 'scale': {name}: expected centre and spread of its columns ({why})") from None


def _draw(rng: np.random.Generator, graph: Graph, tensor: str, shape: tuple[int, ...], frames: int) -> np.ndarray:
    """N(0,1); numbers within the table for tokens; full length for lengths."""
    dtype = graph.tensors[tensor].dtype
    memory.foresee(16 * prod(shape), f"the self-test's input of shape {list(shape)}")
    use, rows = use_of(graph, tensor)
    if use == "lengths":
        return np.full(shape, rows if rows else frames, dtype)
    if use == "token" or dtype == "int32":
        return rng.integers(0, rows or 2, shape).astype(dtype)
    return rng.random(shape) < 0.5 if dtype == "bool" else rng.standard_normal(shape).astype(dtype)


def use_of(graph: Graph, tensor: str) -> tuple[str, int]:
    """What an input is for: ('token', size of the smallest table it picks from), ('lengths', fixed frames or 0) or
    ('', 0)."""
    reached, tables = {tensor}, []
    for node in graph.nodes:
        if (
            node.op in ("Cast", "Reshape", "Transpose", "Slice", "Concat", "Expand", "Unary", "Pad")
            and node.inputs
            and node.inputs[0] in reached
        ):
            reached.update(node.outputs)
        elif node.op in ("Gather", "GatherElements") and node.inputs[1] in reached:
            rows = graph.shape(node.inputs[0])[read_attrs(node)["axis"]]
            tables += [rows] if isinstance(rows, int) else []
        elif "lengths" in op_spec(node).input_names and input_of(node, "lengths") in reached:
            size = graph.shape(node.inputs[0])[node.attrs.get("time_axis", axes_of_frames(node.attrs)[1])]
            return "lengths", 0 if isinstance(size, Dim) else size
    return ("token", min(tables)) if tables else ("", 0)


# ---- answers ---------------------------------------------------------------------------------------------------------


def difference(got: np.ndarray | None, want: np.ndarray) -> float:
    """The largest absolute difference; NaN against NaN and an infinity against the same one count as equal, anything
    else is infinite."""
    if got is None or np.shape(got) != np.shape(want):
        return float("inf")
    a, b = np.asarray(got, np.float64), np.asarray(want, np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    gap = np.where(same, 0.0, np.abs(np.where(same, 0.0, a) - np.where(same, 0.0, b)))
    return float(np.where(np.isnan(gap), np.inf, gap).max(initial=0.0))


def scale_of(answer: np.ndarray) -> float:
    """The largest finite magnitude, at least 1."""
    return float(np.abs(answer[np.isfinite(answer)]).max(initial=1.0))


def tolerance_for(answers: Arrays) -> float:
    """1e-5 of the largest answer: what float32 arithmetic accounts for."""
    return TOLERANCE * max(map(scale_of, answers.values()), default=1.0)
