"""Walks a tree of Keras layers and writes the graph: Sequential, Functional, nested and shared models,
TimeDistributed."""

from __future__ import annotations

from typing import Any

from ...errors import FormatError
from ...ir.notes import ASSUMED
from .. import plugins
from ..dialect import Value, movement, reductions
from . import ops
from .config import MODELS, Layer
from .emit import Call, Emit, Masked, unsupported
from .layers import HANDLERS, LAST_AXIS
from .weights import walk

_HARMLESS_KWARGS = ("training", "name", "mask")


def build_model(e: Emit, model: Layer, inputs: list[Masked], prefix: str = "") -> list[Masked]:
    """The outputs of a Sequential or functional model called on `inputs`."""
    return (_sequential if model.cls == "Sequential" else _functional)(e, model, inputs, prefix)


def _sequential(e: Emit, model: Layer, inputs: list[Masked], prefix: str) -> list[Masked]:
    values = inputs
    for layer in model.children:
        if layer.cls != "InputLayer":
            values = call_layer(e, layer, Call(values), prefix)
    return values


# ---- functional models -----------------------------------------------------------------------------------------------


def endpoints(model: Layer, key: str) -> list[tuple[str, int, int]]:
    """input_layers or output_layers as [(layer, node, tensor)], whatever structure the config gives them."""
    found: list[tuple[str, int, int]] = []

    def collect(item: Any) -> None:
        if (
            isinstance(item, (list, tuple))
            and len(item) >= 3
            and isinstance(item[0], str)
            and all(isinstance(i, int) for i in item[1:3])
        ):
            found.append((item[0], item[1], item[2]))
        elif isinstance(item, (list, tuple)):
            for i in item:
                collect(i)
        elif isinstance(item, dict):
            for i in item.values():
                collect(i)
        else:
            raise FormatError(f"{model.place}: {key}: expected [layer, node, tensor], found {str(item)[:60]!r}")

    collect(model.config.take(key))
    if not found:
        raise FormatError(f"{model.place}: {key}: expected at least one, found none")
    return found


def _functional(e: Emit, model: Layer, inputs: list[Masked], prefix: str) -> list[Masked]:
    """Calls every node whose tensors are there, until all are done; what can never be called is named."""
    layers = {layer.name: layer for layer in model.children}
    entries, exits = endpoints(model, "input_layers"), endpoints(model, "output_layers")
    if len(inputs) != len(entries):
        raise FormatError(f"{model.place}: expected {len(entries)} inputs, found {len(inputs)}")
    done: dict[tuple[str, int], list[Masked]] = {(name, node): [v] for (name, node, _), v in zip(entries, inputs)}
    calls = {layer.name: [_Node(n, layers) for n in layer.nodes] for layer in model.children}
    first = _first_nodes(calls, exits, layers)
    waiting = [
        (layer, i)
        for layer in model.children
        for i in range(len(calls[layer.name]))
        if (layer.name, first[layer.name] + i) not in done
    ]
    while waiting:
        left = []
        for layer, i in waiting:
            node = calls[layer.name][i]
            if all(ref[:2] in done for ref in node.references):
                done[(layer.name, first[layer.name] + i)] = call_layer(e, layer, node.call(done), prefix, i)
            else:
                left.append((layer, i))
        if len(left) == len(waiting):
            raise FormatError(
                f"{model.place}: calls that wait for tensors nobody makes: {', '.join(w.name for w, _ in left[:8])}"
            )
        waiting = left
    return [_tensor(done, ref, model) for ref in exits]


def _first_nodes(
    calls: dict[str, list[_Node]], exits: list[tuple[str, int, int]], layers: dict[str, Layer]
) -> dict[str, int]:
    """The number of each layer's first saved node: nested models are counted from 1 by most versions, from 0 by
    others."""
    highest: dict[str, int] = {}
    for ref in [*exits, *(r for nodes in calls.values() for n in nodes for r in n.references)]:
        highest[ref[0]] = max(highest.get(ref[0], 0), ref[1])
    return {
        name: max(highest.get(name, 0) - len(nodes) + 1, 0) if layers[name].cls in MODELS and nodes else 0
        for name, nodes in calls.items()
    }


def _tensor(done: dict[tuple[str, int], list[Masked]], ref: tuple[str, int, int], model: Layer) -> Masked:
    values = done.get(ref[:2])
    if values is None or not 0 <= ref[2] < len(values):
        raise FormatError(f"{model.place}: {list(ref)}: expected an output of a layer's call, found none")
    return values[ref[2]]


class _Node:
    """One call of a layer, as Keras 3 ({args, kwargs}) or earlier ([[layer, node, tensor, kwargs]...]) spells it."""

    def __init__(self, node: Any, layers: dict[str, Layer]):
        self.layers = layers
        self.references: list[tuple[str, int, int]] = []
        self.kwargs: dict[str, Any] = {}
        if isinstance(node, dict):
            self.args = self._parse(node.get("args") or [])
            self.kwargs = self._parse(node.get("kwargs") or {})
            return
        if not isinstance(node, list):
            raise FormatError(f"inbound_nodes: expected a call, found {str(node)[:80]!r}")
        entries = [node] if node and isinstance(node[0], str) else node
        self.args = []
        for entry in entries:
            if not isinstance(entry, list) or len(entry) < 3:
                raise FormatError(f"inbound_nodes: expected [layer, node, tensor], found {str(entry)[:80]!r}")
            self.args.append(entry[2] if entry[0] == "_CONSTANT_VALUE" else self._reference(entry))
            if len(entry) > 3 and isinstance(entry[3], dict):
                self.kwargs.update(self._parse(entry[3]))

    def _reference(self, entry: list[Any]) -> _Ref:
        ref = _Ref(str(entry[0]), entry[1], entry[2])
        if not all(isinstance(i, int) for i in ref[1:]):
            raise FormatError(f"inbound_nodes: expected [layer, node, tensor], found {str(entry)[:80]!r}")
        if ref[0] not in self.layers:
            raise FormatError(f"inbound_nodes: calls layer {ref[0]!r}, which the model does not have")
        self.references.append(tuple(ref))
        return ref

    def _parse(self, item: Any) -> Any:
        """Arguments with references for tensors, slices for slices; the rest as it is."""
        if isinstance(item, dict):
            kind = item.get("class_name")
            if kind == "__keras_tensor__":
                return self._reference(list(item["config"]["keras_history"]))
            if kind == "__slice__":
                return slice(*(item["config"].get(k) for k in ("start", "stop", "step")))
            if kind in ("__ellipsis__", "Ellipsis"):
                return Ellipsis
            if kind in ("__tuple__", "__numpy__", "__tensor__") and "value" in item.get("config", item):
                return self._parse(item.get("config", item)["value"])
            if kind == "__tuple__":
                return self._parse(item.get("items", []))
            return {k: self._parse(v) for k, v in item.items()}
        if isinstance(item, list):
            if (
                len(item) in (3, 4)
                and isinstance(item[0], str)
                and item[0] in self.layers
                and all(isinstance(i, int) for i in item[1:3])
            ):
                return self._reference(item)
            return [self._parse(i) for i in item]
        return item

    def call(self, done: dict[tuple[str, int], list[Masked]]) -> Call:
        def fill(item: Any) -> Any:
            if isinstance(item, _Ref):
                values = done[item[:2]]
                if not 0 <= item[2] < len(values):
                    raise FormatError(f"inbound_nodes: {list(item)}: expected one of {len(values)} outputs")
                return values[item[2]]
            if isinstance(item, list):
                return [fill(i) for i in item]
            return {k: fill(v) for k, v in item.items()} if isinstance(item, dict) else item

        args, kwargs = fill(self.args), fill(self.kwargs)
        return Call(_values(args), kwargs, args)


class _Ref(tuple[Any, ...]):
    """(layer, node, tensor)."""

    def __new__(cls, *parts: Any) -> _Ref:
        return super().__new__(cls, parts)


def _values(item: Any) -> list[Masked]:
    """Every tensor of a nested structure, in order."""
    if isinstance(item, Masked):
        return [item]
    if isinstance(item, dict):
        item = list(item.values())
    return [v for i in item for v in _values(i)] if isinstance(item, list) else []


# ---- one call --------------------------------------------------------------------------------------------------------


def call_layer(e: Emit, layer: Layer, call: Call, prefix: str, number: int = 0) -> list[Masked]:
    """The outputs of one call of a layer. A second call of a shared layer gets its number in the names."""
    name = f"{prefix}{layer.name}" + (f"@{number}" if number else "")
    if call.kwargs.get("training") is True:
        _refuse_training(layer)
    if layer.cls in MODELS:
        return build_model(e, layer, _model_inputs(layer, call), f"{name}/")
    if not layer.is_op and not call.inputs and layer.cls != "MultiHeadAttention":
        raise unsupported(layer, "called without a tensor", "call layers on tensors")
    if layer.cls == "TimeDistributed":
        outputs = _time_distributed(e, layer, call, name)
        _refuse_unread(layer, call)
        return outputs
    return _called(e, layer, call, name)


def _called(e: Emit, layer: Layer, call: Call, name: str) -> list[Masked]:
    """The outputs of a layer's own rule; the op that makes the first is called after the layer."""
    with e.inside(layer, name):
        outputs = ops.emit(e, layer, call) if layer.is_op else _handled(e, layer, call)
        for i, output in enumerate(outputs):
            e.named(output.value, "" if i == 0 else f"{i}")
    if not layer.is_op:
        _refuse_unread(layer, call)
    return outputs


def _refuse_training(layer: Layer) -> None:
    """A call with training=True is random, or normalises by the batch at hand."""
    for inner in walk(layer):
        values = inner.config.values
        random = any(values.get(k) for k in ("rate", "dropout", "recurrent_dropout", "stddev"))
        if random or inner.cls == "BatchNormalization":
            what = "random" if random else "normalised by the batch at hand"
            raise unsupported(
                inner, f"called with training=True, so it is {what} at run time", "call it without, save again"
            )


def _handled(e: Emit, layer: Layer, call: Call) -> list[Masked]:
    if layer.rule is not None:
        return _registered(e, layer, call, layer.rule)
    handler = HANDLERS[layer.cls]
    result = handler.rule(e, layer, call)
    outputs = result if isinstance(result, list) else [Masked(result) if isinstance(result, Value) else result]
    if not handler.passes_mask:
        return outputs
    mask = call.mask()
    return [Masked(o.value, mask) for o in outputs]


def _registered(e: Emit, layer: Layer, call: Call, rule: plugins.Rule) -> list[Masked]:
    """A layer that the user described."""
    for key in layer.config.values:
        layer.config.take(key)
    if any(i.mask is not None for i in call.inputs):
        e.note(f"{ASSUMED}{layer.place} does not use the mask of its input, and no layer after it does")
    values = plugins.apply(rule, e, [i.value for i in call.inputs], layer.config.values, layer.weights)
    return [Masked(v) for v in values]


def _refuse_unread(layer: Layer, call: Call) -> None:
    unread = layer.config.unread()
    if unread:
        raise unsupported(
            layer,
            f"option {unread[0]}={str(layer.config.values[unread[0]])[:60]!r} is not known",
            "rebuild the layer without it",
        )
    for key, value in call.kwargs.items():
        if key not in _HARMLESS_KWARGS and value is not None and value is not False:
            raise unsupported(layer, f"called with {key}={str(value)[:60]}", "call it without")


def _model_inputs(model: Layer, call: Call) -> list[Masked]:
    """Inputs of a nested model, by name when it was called on a dict."""
    given = call.args[0] if call.args else None
    entries = model.config.values.get("input_layers")
    if isinstance(given, dict) and model.cls == "Functional":
        names = (
            list(entries) if isinstance(entries, dict) else [name for name, _, _ in endpoints(model, "input_layers")]
        )
        if set(names) <= set(given):
            return [given[n] for n in names]
    return call.inputs


def _time_distributed(e: Emit, layer: Layer, call: Call, name: str) -> list[Masked]:
    """The inner layer on every frame: frames join the batch, (B,T,...) -> (B*T,...), and part again."""
    inner, x, mask = layer.children[0], call.x, call.inputs[0].mask
    if len(call.inputs) != 1:
        raise unsupported(layer, f"{len(call.inputs)} inputs", "expected 1")
    if inner.cls in LAST_AXIS and e.rank(x) >= 2:
        return _called(e, inner, Call(call.inputs), name)
    if inner.cls == "Flatten" and inner.config.take("data_format") != "channels_first" and e.rank(x) > 3:
        with e.inside(layer, name):
            return [Masked(e.named(movement.merge_axes(e, x, 2, -1)), mask)]
    fine = mask if mask and e.rank(mask) > 2 else None  # finer than frames: one mask per frame for the inner layer
    with e.inside(layer, name):
        frames = e.named(movement.merge_axes(e, x, 0, 1), "frames")
        joined = Call([Masked(frames, movement.merge_axes(e, fine, 0, 1) if fine else None)])
    below = f"{name}/{inner.name}"
    outs = (
        build_model(e, inner, joined.inputs, f"{below}/") if inner.cls in MODELS else _called(e, inner, joined, below)
    )
    with e.inside(layer, name):
        return [_parted(e, out, x, mask, "" if i == 0 else f"{i}") for i, out in enumerate(outs)]


def _parted(e: Emit, out: Masked, x: Value, mask: Value | None, part: str) -> Masked:
    """An output (B*T,...) of an inner layer as (B,T,...), with the mask it made or the frames' own."""
    frames = e.shape(x)[:2]
    y = e.named(e.reshape(out.value, [*frames, *e.shape(out.value)[1:]]), part)
    if out.mask:
        return Masked(y, e.reshape(out.mask, [*frames, *e.shape(out.mask)[1:]]))
    if mask and e.rank(mask) > 2:  # whether a frame has anything
        mask = reductions.reduce(e, "max", mask, range(2, e.rank(mask)), False)
    return Masked(y, mask)
