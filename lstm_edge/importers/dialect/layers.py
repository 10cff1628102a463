"""Layers from plain arrays, for importers of formats that name layers but carry no operators (JSON, TOML networks)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...errors import UnsupportedModelError
from ...ir.dims import Dim, Size
from ...ir.graph import Graph, State, Tensor
from ...ir.ops import ACTIVATIONS, PARAMETERS

GATES = {"LSTM": "ifgo", "GRU": "rzn", "RNN": "h"}  # the core's order
FRAMES_AXIS = 1
# Where the value is the same in every framework; the others must be given.
USUAL = {"elu": (1.0, 0.0), "celu": (1.0, 0.0), "selu": (1.6732632423543772, 1.0507009873554805)}


class Activation(NamedTuple):
    """One of the core's activations, or `softmax` and `log_softmax` over the last axis."""

    kind: str = "linear"
    alpha: float = 0.0
    beta: float = 0.0


@dataclass
class Cell:
    """One direction of a recurrence in the core's gate order: w_ih (G*H, I), w_hh (G*H, P), biases (G*H,).

    bias_hh: GRU only. peephole: (3 or 4, H) diagonal or (3H or 4H, H). projection: (P, H).
    """

    w_ih: np.ndarray
    w_hh: np.ndarray
    bias: np.ndarray | None = None
    bias_hh: np.ndarray | None = None
    peephole: np.ndarray | None = None
    projection: np.ndarray | None = None


class Recurrence(NamedTuple):
    """Tensors a recurrence gives: y (B,T,D*P), h (D,B,P) and for an LSTM c (D,B,H)."""

    y: str
    h: str
    c: str = ""


def activation(spec: Any, place: str) -> Activation:
    """From a name, or a table {kind, alpha, beta}. UnsupportedModelError for an unknown name or a missing parameter."""
    given = dict(spec) if isinstance(spec, dict) else {"kind": spec}
    kind = given.pop("kind", None)
    if kind in (None, "", "none", "identity"):
        kind = "linear"
    known = (*ACTIVATIONS, "softmax", "log_softmax")
    if kind not in known:
        raise UnsupportedModelError(f"{place}: activation {kind!r}: expected one of {', '.join(known)}")
    values = dict(zip(("alpha", "beta"), USUAL.get(kind, ())))
    for key, value in given.items():
        if key not in ("alpha", "beta") or isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UnsupportedModelError(f"{place}: activation {kind}: expected numbers alpha and beta, found {key}")
        values[key] = float(value)
    for key in ("alpha", "beta")[: PARAMETERS.get(kind, 0)]:
        if key not in values:
            hint = "; Keras 2: alpha 0.2, beta 0.5; Keras 3: 1/6, 0.5" if kind == "hard_sigmoid" else ""
            raise UnsupportedModelError(
                f"{place}: activation {kind} needs {key}: write {{kind = {kind!r}, {key} = ...}}{hint}"
            )
    return Activation(kind, **values)


def constant(graph: Graph, array: np.ndarray, name: str) -> str:
    """`array` as a constant; it must be finite (a weight that is not is a damaged file)."""
    array = np.asarray(array)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UnsupportedModelError(f"{name}: holds values that are not finite numbers")
    return graph.constant(array, name)


def activate(graph: Graph, x: str, act: Activation, name: str) -> str:
    if act.kind == "linear":
        return x
    if act.kind in ("softmax", "log_softmax"):
        return graph.add1("Softmax", [x], {"axis": -1, "log": int(act.kind == "log_softmax")}, name)
    return graph.add1("Unary", [x], {"kind": act.kind, "alpha": act.alpha, "beta": act.beta}, name)


def _activated(graph: Graph, op: str, inputs: list[str], attrs: dict[str, Any], act: Activation, name: str) -> str:
    """The op with its activation, fused where the op has it."""
    if act.kind in ("softmax", "log_softmax"):
        return activate(graph, graph.add1(op, inputs, attrs, f"{name}.linear"), act, name)
    return graph.add1(op, inputs, {**attrs, "activation": act.kind, "alpha": act.alpha, "beta": act.beta}, name)


def dense(graph: Graph, x: str, w: np.ndarray, bias: np.ndarray | None, act: Activation, name: str) -> str:
    """w (N, K), bias (N,)."""
    inputs = [x, constant(graph, w, f"{name}.w")] + ([] if bias is None else [constant(graph, bias, f"{name}.bias")])
    return _activated(graph, "Dense", inputs, {}, act, name)


def conv1d(
    graph: Graph, x: str, w: np.ndarray, bias: np.ndarray | None, act: Activation, name: str, **attrs: Any
) -> str:
    """w (O, C/groups, k), bias (O,); `attrs` of Conv."""
    inputs = [x, constant(graph, w, f"{name}.w")] + ([] if bias is None else [constant(graph, bias, f"{name}.bias")])
    return _activated(graph, "Conv", inputs, attrs, act, name)


def scaled(graph: Graph, x: str, factor: Any, offset: Any, name: str) -> str:
    """x * factor + offset; factors of 1 and offsets of 0 leave no op."""
    factor, offset = np.asarray(factor, np.float32), np.asarray(offset, np.float32)
    if np.any(factor != 1):
        x = graph.add1("Binary", [x, constant(graph, factor, f"{name}.factor")], {"kind": "mul"}, name)
    if np.any(offset):
        x = graph.add1("Binary", [x, constant(graph, offset, f"{name}.offset")], {"kind": "add"}, name)
    return x


def batch_norm(graph: Graph, x: str, arrays: dict[str, np.ndarray | None], epsilon: float, axis: int, name: str) -> str:
    """arrays: mean, variance, and optionally scale and bias, each (C,)."""
    mean, variance = (np.asarray(arrays[k], np.float64) for k in ("mean", "variance"))
    scale, bias = arrays.get("scale"), arrays.get("bias")
    factor = (1.0 if scale is None else scale) / np.sqrt(variance + epsilon)
    offset = (0.0 if bias is None else bias) - mean * factor
    rank = len(graph.shape(x))
    shape = [1] * rank
    shape[axis % rank] = mean.size
    return scaled(graph, x, factor.reshape(shape), offset.reshape(shape), name)


def reshape(graph: Graph, x: str, sizes: Sequence[Size | str], name: str) -> str:
    """Sizes: numbers, one -1, or a symbolic size that an axis of x or of an input of the graph has."""
    sources, shape, from_input, from_axis = [x], [], [], []
    for size in sizes:
        if not isinstance(size, Dim):
            shape.append(int(size)), from_input.append(-1), from_axis.append(0)
            continue
        tensor, axis = _where(graph, size, [x, *(p.tensor for p in graph.inputs)], name)
        if tensor not in sources:
            sources.append(tensor)
        shape.append(1), from_input.append(sources.index(tensor)), from_axis.append(axis)
    return graph.add1("Reshape", sources, {"shape": shape, "from_input": from_input, "from_axis": from_axis}, name)


def _where(graph: Graph, size: Dim, tensors: list[str], name: str) -> tuple[str, int]:
    for tensor in tensors:
        if size in graph.shape(tensor):
            return tensor, graph.shape(tensor).index(size)
    raise UnsupportedModelError(f"layer {name}: no input has an axis of size {size}")


def last_frame(graph: Graph, x: str, name: str) -> str:
    """(B,T,...) to (B,...)."""
    shape = graph.shape(x)
    frame = graph.add1("Slice", [x], {"axes": [1], "starts": [-1], "ends": [2**31 - 1]}, f"{name}.frame")
    return reshape(graph, frame, (shape[0], *shape[2:]), name)


# ---- recurrences -----------------------------------------------------------------------------------------------------


def recurrence(
    graph: Graph,
    op: str,
    x: str,
    cells: list[Cell],
    name: str,
    *,
    activations: Sequence[Activation] | None = None,
    initial: Sequence[np.ndarray | str | None] = (),
    **attrs: Any,
) -> Recurrence:
    """One LSTM, GRU or RNN over x (B,T,I), one cell per direction.

    activations: per direction alike, in the op's order. initial: h0 and c0, each a tensor (D,B,·), a constant (D,·) or
    None; a constant is the stream's initial state where the recurrence can stream.
    """
    bias_names = ("bias", "bias_hh") if op == "GRU" else ("bias",)
    inputs = [x, *(_stack(graph, [getattr(c, k) for c in cells], f"{name}.{k}") for k in ("w_ih", "w_hh", *bias_names))]
    places = {"LSTM": (4, 5), "GRU": (5,), "RNN": (4,)}[op]
    inputs += [""] * (10 - len(inputs))
    states = _initial(graph, x, list(initial), len(cells), inputs, places, name)
    if op == "LSTM":
        inputs[8] = _stack(graph, [c.peephole for c in cells], f"{name}.peephole")
        inputs[9] = _stack(graph, [c.projection for c in cells], f"{name}.projection")
    while not inputs[-1]:
        inputs.pop()
    if activations is not None:
        acts = [*activations] * len(cells)
        attrs["activations"] = [a.kind for a in acts]
        attrs["activation_alpha"], attrs["activation_beta"] = [a.alpha for a in acts], [a.beta for a in acts]
    outputs = graph.add(op, inputs, attrs, name, [name, f"{name}.h", f"{name}.c"][: 1 + len(places)])
    for place, state in states:
        state.write, state.shape = outputs[1 + place], graph.shape(outputs[1 + place])
    return Recurrence(*outputs)


def _stack(graph: Graph, arrays: list[np.ndarray | None], name: str) -> str:
    if all(a is None for a in arrays):
        return ""
    zeros = np.zeros_like(next(a for a in arrays if a is not None))
    return constant(graph, np.stack([zeros if a is None else a for a in arrays]), name)


def _initial(
    graph: Graph,
    x: str,
    initial: list[np.ndarray | str | None],
    directions: int,
    inputs: list[str],
    places: tuple[int, ...],
    name: str,
) -> list[tuple[int, State]]:
    """Sets the initial states among `inputs`; returns the states whose `write` is still to be set, with their place."""
    made = []
    for n, (value, place) in enumerate(zip(initial, places)):
        if isinstance(value, np.ndarray):
            batch = graph.shape(x)[0]
            array = np.asarray(value, np.float32).reshape(directions, 1, -1)
            if directions == 1:
                key = f"{name}.{'hc'[n]}0"
                read = graph.fresh(key)
                graph.tensors[read] = Tensor(read, "float32", (1, batch, array.shape[2]))
                state = State(f"{name}.{'hc'[n]}", read, "", (), initial=array)
                graph.states.append(state)
                made.append((n, state))
                value = read
            else:
                value = _over_batch(graph, constant(graph, array, f"{name}.{'hc'[n]}0"), x, name)
        inputs[place] = value or ""
    return made


def _over_batch(graph: Graph, array: str, x: str, name: str) -> str:
    """(D,1,H) repeated for the batch of x."""
    directions, _, width = graph.shape(array)
    attrs = {"shape": [directions, 1, width], "from_input": [-1, 1, -1], "from_axis": [0, 0, 0]}
    return graph.add1("Expand", [array, x], attrs, f"{name}.initial")


def reordered(rows: np.ndarray, gates: str, op: str, place: str) -> np.ndarray:
    """Blocks of rows in order `gates` brought to the core's order."""
    size = len(rows) // len(gates)
    if len(rows) != size * len(gates):
        raise UnsupportedModelError(f"{place}: expected a multiple of {len(gates)} rows, found {len(rows)}")
    return np.concatenate([rows[gates.index(g) * size : (gates.index(g) + 1) * size] for g in GATES[op]])
