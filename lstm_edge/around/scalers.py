"""Scalers as ops of the file: raw values in, real units out, around a network that was trained on scaled columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import Findings, FormatError, LstmEdgeError, ShapeError
from ..ir.dims import mentions
from ..ir.graph import Graph, Port, Tensor
from ..ir.notes import ASSUMED
from ..options import named
from ..passes.edit import note, redirect, rename
from ..passes.fuse import fuse
from . import after
from .coarse import coarse, refuse_coarse
from .scaler import LARGEST, Scaler, Step, from_metadata, step
from .scaler_files import read_scaler, typed

NEAR = (
    4.0  # a centre within so many scaled units of 0 costs float32 two bits at most where it is added behind the product
)
NEGLIGIBLE = 1e-7  # of a scaled unit: below what float32 keeps of it
SCALE, UNSCALE = "scale", "unscale"  # of metadata, and of convert


def apply(graph: Graph, scale: Any, unscale: Any) -> None:
    """Puts scalers in front of inputs and behind outputs. scale, unscale: port name -> what `read_scaler` takes, or that alone where
    there is one port. The ports then take and give raw values. LstmEdgeError says all that is wrong at once.
    """
    wrong, found = Findings(), []
    for argument, given, ports in ((SCALE, scale, graph.inputs), (UNSCALE, unscale, graph.outputs)):
        for name, source in _by_port(given, ports).items():
            with wrong.looking():
                found.append((argument, *_fitting(graph, argument, name, source, ports)))
    wrong.raise_all()
    for argument, port, scaler, axis, source in found:
        _check_steps(argument, port, scaler, source)
        about = {**scaler.as_metadata(), "from": source, "axis": axis}
        if argument == SCALE:
            centre, spread = scaler.spread
            about |= {"centre": centre.tolist(), "spread": spread.tolist()}
            _scale(graph, port, scaler, axis)
        else:
            _unscale(graph, port, scaler.inverse, axis)
        graph.metadata.setdefault(argument, {})[port.name] = about
        for name, m, d in zip(_labels(scaler), *scaler.spread):
            if (text := coarse(name, m, d)) is not None:
                note(graph, f"{argument}: {text}")


def tell_half(graph: Graph) -> None:
    """Notes that one side alone is raw, where the other may be scaled as well: a target is often a column of what was scaled."""
    scaled, unscaled = (graph.metadata.get(kind) or {} for kind in (SCALE, UNSCALE))
    if scaled and not unscaled and not graph.metadata.get("before"):
        source, names = (next(iter(scaled.values())).get(k) for k in ("from", "columns"))
        for port in graph.outputs:
            if not after.tells(graph, port):
                given = typed(UNSCALE, port.name, str(source), str(names[0]) if names else "0")
                note(
                    graph,
                    f"{ASSUMED}output {port.name!r} stays in the units that the network was trained to give, as no {named(UNSCALE)} is "
                    f"given; where its target was a column of {source}, {given} gives real ones",
                )
    if unscaled and not scaled:
        for port in graph.inputs:
            if graph.tensors[port.tensor].dtype == "float32" and port.name not in (graph.metadata.get("before") or {}):
                if not _scales_itself(graph, port):
                    note(
                        graph,
                        f"{ASSUMED}input {port.name!r} takes columns as the network was trained on them, scaled where they were, as no "
                        f"{named(SCALE)} is given",
                    )


def _scales_itself(graph: Graph, port: Port) -> bool:
    """Whether all that reads an input is arithmetic with constants, as a normalisation in the network is."""
    readers = [n for n in graph.nodes if port.tensor in n.inputs]
    return bool(readers) and all(
        n.op == "Binary" and any(graph.tensors[i].is_constant for i in n.inputs) for n in readers
    )


def around(metadata: Mapping[str, Any], arrays: dict[str, np.ndarray], argument: str) -> dict[str, np.ndarray]:
    """Arrays by port as the network alone takes them (`scale`), or its answers as the file gives them (`unscale`), by the scalers that
    a file keeps, in float64."""
    about = metadata.get(argument) or {}
    made = dict(arrays)
    for name in about.keys() & arrays.keys():
        scaler = from_metadata(about[name], f"metadata {argument!r}: {name}")
        axis = int(about[name].get("axis", -1)) if scaler.width > 1 or len(scaler.source) > 1 else None
        turned = scaler if argument == SCALE else scaler.inverse
        made[name] = _along(turned, arrays[name], axis).astype(np.float32)
    return made


def scales(metadata: Mapping[str, Any], answers: dict[str, np.ndarray]) -> dict[str, float]:
    """Of each output in real units, how large its values are in these units without what is merely added to all of them."""
    found = {}
    for name, scaled in around({SCALE: metadata.get(UNSCALE)}, answers, SCALE).items():
        if name in (metadata.get(UNSCALE) or {}):
            spread = from_metadata(metadata[UNSCALE][name], name).spread[1].max(initial=0.0)
            found[name] = float(spread * np.abs(scaled[np.isfinite(scaled)]).max(initial=1.0))
    return found


def _along(scaler: Scaler, values: np.ndarray, axis: int | None) -> np.ndarray:
    """axis: of the columns, counted from the end; None where every value is of the one column."""
    if axis is None:
        return scaler(values[..., None])[..., 0]
    return np.moveaxis(scaler(np.moveaxis(values, axis, -1)), -1, axis)


# ---- what is given ---------------------------------------------------------------------------------------------------


def _by_port(given: Any, ports: list[Port]) -> dict[str, Any]:
    if given is None:
        return {}
    if isinstance(given, Mapping) and set(given) <= {""}:
        given = given.get("")
    keys = [p.name for p in ports]
    is_scaler = not isinstance(given, Mapping) or ({"mean", "min"} & set(given) and not set(keys) & set(given))
    return {"": given} if is_scaler else dict(given)


def _fitting(graph: Graph, argument: str, name: str, given: Any, ports: list[Port]) -> tuple[Port, Scaler, int, str]:
    """The port, its scaler, the axis of the columns from the end, and what the scaler was read from."""
    side = "input" if argument == SCALE else "output"
    names = ", ".join(p.name for p in ports)
    if not name and len(ports) != 1:
        raise LstmEdgeError(f"{named(argument)}: expected the name of an {side} before the scaler, one of {names}")
    port = ports[0] if not name else next((p for p in ports if p.name == name), None)
    if port is None:
        raise LstmEdgeError(f"{named(argument)}: no {side} is named {name!r}; expected one of {names}")
    place = f"{named(argument)}: {side} {port.name!r}"
    tensor = graph.tensors[port.tensor]
    try:
        scaler, source = read_scaler(given)
        if tensor.dtype != "float32":
            raise ShapeError(f"expected values of float32 to scale, found {tensor.dtype}")
        if argument == UNSCALE and not scaler.keeps_columns:
            raise FormatError(
                f"{source}: {scaler.kind} has other columns behind it than in front; name those of the {side}, in its order: "
                f"{typed(argument, port.name, source, scaler.names[0] if scaler.names else '0')}"
            )
        scaler = scaler.without_unused if argument == SCALE else scaler
        axis = _axis(graph, port, scaler, argument, source)
    except LstmEdgeError as error:
        raise error.at(place) from None
    return port, scaler, axis, source


def _axis(graph: Graph, port: Port, scaler: Scaler, argument: str, source: str) -> int:
    """The axis of a port along which the columns lie, from the end."""
    shape = graph.shape(port.tensor)
    wanted = len(scaler.source) if argument == SCALE else scaler.width
    fixed = [
        d for d, size in enumerate(shape) if isinstance(size, int) and not (d == 0 and size == 1 and len(shape) > 1)
    ]
    fits = [d for d in fixed if shape[d] == wanted]
    last, side = len(shape) - 1, "input" if argument == SCALE else "output"
    said = f"{side} {port.name!r} of shape ({', '.join(map(str, shape))})"
    if last in fits:
        if fits != [last] and wanted > 1:
            note(graph, f"{ASSUMED}{source}: its columns are the last axis of {said}, though another axis is as long")
        return -1
    if wanted == 1:
        if fixed and not mentions(shape[last], "frames"):
            note(graph, f"{ASSUMED}{source}: every value of {said} is of its one column")
        return -1
    if len(fits) == 1:
        note(graph, f"{ASSUMED}{source}: its columns are axis {fits[0]} of {said}, whose last axis has another size")
        return fits[0] - len(shape)
    found = shape[last] if isinstance(shape[last], int) else f"shape ({', '.join(map(str, shape))})"
    example = ",".join(_labels(scaler)[: found if isinstance(found, int) else 1])
    several = f"; say which of them the {side} has, such as {typed(argument, port.name, source, example)}"
    raise ShapeError(
        f"{source} scales {wanted} columns ({scaler.labels}), the {side} has {found}"
        + (several if not isinstance(found, int) or found < wanted else "; expected a scaler of as many")
    )


def _labels(scaler: Scaler) -> list[str]:
    return [scaler.names[n] if scaler.names else str(n) for n in range(scaler.width)]


def _check_steps(argument: str, port: Port, scaler: Scaler, source: str) -> None:
    centre, spread = scaler.spread
    refuse_coarse(f"{named(argument)}: {port.name}: {source}", _labels(scaler), centre, spread)


# ---- ops -------------------------------------------------------------------------------------------------------------


def _scale(graph: Graph, port: Port, scaler: Scaler, axis: int) -> None:
    """Raw values in front of all ops; what read the input reads the scaled values."""
    raw, scaled = port.tensor, f"{port.tensor}.scaled"
    while scaled in graph.tensors:
        scaled += "_"
    shape = list(graph.shape(raw))
    if len(scaler.source) > 1 or scaler.width > 1:
        shape[axis] = scaler.width
    graph.tensors[raw] = Tensor(raw, "float32", tuple(shape))
    behind, graph.nodes = graph.nodes, []
    value = raw
    if not scaler.keeps_columns:
        indices = graph.constant(np.array(scaler.source, np.int32), f"{raw}.columns")
        value = graph.add1("Gather", [value, indices], {"axis": len(shape) + axis}, f"{raw}.picked")
    for part in scaler.steps:
        value = _emit(graph, value, part, axis, f"{raw}.scale", np.ones(len(scaler.source)))
    front, graph.nodes = graph.nodes, behind
    redirect(graph, raw, value)
    graph.nodes = [*front, *behind]


def _unscale(graph: Graph, port: Port, scaler: Scaler, axis: int) -> None:
    """Raw units behind the op that gives the output. The product goes into a layer in front of it, which costs a weight half a bit
    at most; the sum does only where it is no more than a scaled unit, as sums begin with the bias: beside 1e5 the last digits of a
    network's own sum would be lost."""
    inner = port.tensor
    if any(inner in node.outputs for node in graph.nodes):
        rename(graph, inner, graph.fresh(f"{inner}.scaled"))
    value = port.tensor
    *firsts, last = scaler.steps or (step(np.zeros(scaler.width), 1, 0),)
    near = np.abs(last.centre) <= NEAR
    last = step(np.where(near, 0, last.centre), last.factor, last.offset - np.where(near, last.centre * last.factor, 0))
    small = bool((np.abs(last.offset) <= np.abs(last.factor)).all())
    product = last if small else step(last.centre, last.factor, 0)
    for part in (*firsts, product, *([] if small else [step(0, 1, last.offset)])):
        value = _emit(graph, value, part, axis, f"{inner}.unscale", np.abs(last.factor))
        port.tensor = value
        if part is product:
            fuse(graph, {o for n in graph.nodes for o in n.outputs if n.name.startswith(f"{inner}.unscale")})
            value = port.tensor


def _emit(graph: Graph, x: str, part: Step, axis: int, name: str, unit: np.ndarray) -> str:
    """The ops of a step. Values far from 0 lose their centre first, so that float32 keeps what they differ by; what the centre loses as
    float32 comes back behind the product. unit: what a scaled unit is behind the step."""
    far = np.abs(part.centre * part.factor) > NEAR
    if not (part.offset * ~far).any():
        far = np.ones_like(far)
    centre = np.where(far, part.centre.astype(np.float32), np.float32(0)).astype(np.float64)
    offset = part.offset + (centre - part.centre) * part.factor
    offset = np.where(np.abs(offset) > NEGLIGIBLE * unit, offset, 0.0)
    for kind, values, idle in (("sub", centre, 0.0), ("mul", part.factor, 1.0), ("add", offset, 0.0)):
        if (values != idle).any():
            x = graph.add1(
                "Binary", [x, _columns(graph, values, axis, f"{name}.{kind}")], {"kind": kind}, f"{name}_{kind}"
            )
    if not part.clips:
        return x
    for kind, bounds in (("max", part.low), ("min", part.high)):
        if np.isfinite(bounds).any():
            limits = np.clip(bounds, -LARGEST, LARGEST)
            x = graph.add1(
                "Binary", [x, _columns(graph, limits, axis, f"{name}.{kind}")], {"kind": kind}, f"{name}_{kind}"
            )
    return x


def _columns(graph: Graph, values: np.ndarray, axis: int, name: str) -> str:
    """A constant with one number a column, along an axis counted from the end."""
    return graph.constant(values.astype(np.float32).reshape(-1, *[1] * (-axis - 1)), name)
