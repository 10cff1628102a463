"""Layers of Keras that are neither recurrent nor convolutions nor attention, as ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...errors import ShapeError
from ...ir.dims import Dim
from . import attention, conv, recurrent
from .activations import activate, apply_activation, layer_activation, relu_layer, simple_activation
from .config import Layer
from .emit import Call, Emit, From, Value, channel_axis, unsupported

Rule = Callable[[Emit, Layer, Call], Any]


class Handler(NamedTuple):
    """`rule` gives a tensor name, a Value or a list of Values. `passes_mask`: the first input's mask goes on to the
    outputs."""

    rule: Rule
    passes_mask: bool


# ---- dense, embedding, masks -----------------------------------------------------------------------------------------


def dense(e: Emit, layer: Layer, call: Call) -> str:
    units, x = layer.config.size("units"), e.real(call.inputs[0].t, layer.name)
    kernel = e.weight(layer, "kernel", (None, units))
    layer.config.take("use_bias")
    if e.shape(x)[-1] != kernel.shape[0]:
        raise ShapeError(
            f"{layer.place}: expected {kernel.shape[0]} features as in its kernel, found input {e.shape(x)}"
        )
    inputs = [x, e.const(kernel.T, f"{layer.name}/w")]
    if "bias" in layer.weights:
        inputs.append(e.const(e.weight(layer, "bias", (units,)), f"{layer.name}/bias"))
    spec = layer.config.take("activation")
    act = simple_activation(spec, layer.version, layer.place)
    if act is not None:
        return e.op("Dense", inputs, layer.name, activation=act.kind, alpha=act.alpha, beta=act.beta)
    return apply_activation(e, spec, e.op("Dense", inputs, f"{layer.name}/dense"), layer, layer.name)


def einsum_dense(e: Emit, layer: Layer, call: Call) -> str:
    """The equations that are a Dense over the last axes: abc,cd->abd, ab,bcd->acd, ...x,xy->...y."""
    equation, x = str(layer.config.take("equation")).replace(" ", ""), e.real(call.inputs[0].t, layer.name)
    left, _, out = equation.partition("->")
    data, _, weight = left.partition(",")
    summed = "".join(c for c in weight if c in data)
    new = weight[len(summed) :]
    bias_axes = layer.config.take("bias_axes") or new
    layer.config.take("output_shape")
    if not summed or not data.endswith(summed) or out != data[: -len(summed)] + new or not weight.startswith(summed):
        raise unsupported(layer, f"equation {equation!r}", "expected a product over the last axes of the input")
    if bias_axes != new or not new:
        raise unsupported(layer, f"equation {equation!r} with bias_axes {bias_axes!r}", f"expected bias_axes {new!r}")
    kernel = layer.weights["kernel"]
    lead, inner = e.rank(x) - len(summed), int(np.prod(kernel.shape[: len(summed)]))
    if e.shape(x)[lead:] != kernel.shape[: len(summed)]:
        raise ShapeError(f"{layer.place}: expected features {kernel.shape[: len(summed)]}, found input {e.shape(x)}")
    flat = x if len(summed) == 1 else e.reshape(x, [*e.keep(x, *range(lead)), inner], f"{layer.name}/flat")
    inputs = [flat, e.const(kernel.reshape(inner, -1).T, f"{layer.name}/w")]
    if "bias" in layer.weights:
        inputs.append(e.const(layer.weights["bias"].ravel(), f"{layer.name}/bias"))
    y = e.op("Dense", inputs, f"{layer.name}/dense")
    if len(new) > 1:
        y = e.reshape(y, [*e.keep(y, *range(lead)), *kernel.shape[len(summed) :]], f"{layer.name}/parted")
    return apply_activation(e, layer.config.take("activation"), y, layer, layer.name)


def embedding(e: Emit, layer: Layer, call: Call) -> Value:
    rows, width = layer.config.size("input_dim", layer.weights["embeddings"].shape[0]), layer.config.size("output_dim")
    table = e.const(e.weight(layer, "embeddings", (rows, width)), f"{layer.name}/table")
    ids = e.cast(call.inputs[0].t, "int32", f"{layer.name}/ids")
    mask = None
    if layer.config.flag("mask_zero"):
        mask = e.binary("not_equal", ids, e.const(np.int32(0), f"{layer.name}/zero"), f"{layer.name}/mask")
    return Value(e.op("Gather", [table, ids], layer.name, axis=0), mask)


def masking(e: Emit, layer: Layer, call: Call) -> Value:
    """A frame counts where any feature differs from mask_value; the others are set to 0."""
    x = e.real(call.inputs[0].t, layer.name)
    differs = e.binary(
        "not_equal",
        x,
        e.const(np.float32(layer.config.number("mask_value", 0.0)), f"{layer.name}/value"),
        f"{layer.name}/differs",
    )
    kept = e.reduce("max", differs, [-1], f"{layer.name}/kept", keepdims=True)
    mask = e.squeeze(kept, -1, f"{layer.name}/mask")
    return Value(e.binary("mul", x, e.cast(kept, "float32", f"{layer.name}/factor"), layer.name), mask)


# ---- activations -----------------------------------------------------------------------------------------------------


def identity(e: Emit, layer: Layer, call: Call) -> str:
    return call.inputs[0].t


def activation(e: Emit, layer: Layer, call: Call) -> str:
    return apply_activation(e, layer.config.take("activation"), e.real(call.inputs[0].t, layer.name), layer, layer.name)


def advanced_activation(e: Emit, layer: Layer, call: Call) -> str:
    return activate(e, layer_activation(layer.cls, layer.config), call.inputs[0].t, layer.name)


def relu(e: Emit, layer: Layer, call: Call) -> str:
    return relu_layer(e, layer, call.inputs[0].t)


def prelu(e: Emit, layer: Layer, call: Call) -> str:
    layer.config.take("shared_axes")
    slope = e.const(layer.weights["alpha"], f"{layer.name}/slope")
    return e.binary("prelu", call.inputs[0].t, slope, layer.name)


def softmax(e: Emit, layer: Layer, call: Call) -> str:
    x, axis = call.inputs[0], layer.config.take("axis", -1)
    axes = [axis] if isinstance(axis, int) else list(axis)
    mask = call.kwargs.pop("mask", None)
    mask = mask.t if isinstance(mask, Value) else x.mask
    y = x.t
    if mask:
        if e.rank(mask) != e.rank(y):
            raise unsupported(
                layer,
                f"a mask of shape {e.shape(mask)} on input {e.shape(y)}",
                "give Softmax a mask of its input's shape",
            )
        y = e.op("Where", [mask, y, e.const(np.float32(-3e38), f"{layer.name}/low")], f"{layer.name}/masked")
    if len(axes) != 1:
        raise unsupported(layer, f"axis {axes}", "expected one axis")
    if not mask:
        return e.op("Softmax", [y], layer.name, axis=axes[0])
    y = e.op("Softmax", [y], f"{layer.name}/softmax", axis=axes[0])
    return e.op("Where", [mask, y, e.const(np.float32(0), f"{layer.name}/zero")], layer.name)


# ---- movement --------------------------------------------------------------------------------------------------------


def reshape(e: Emit, layer: Layer, call: Call) -> str:
    return reshape_to(e, call.inputs[0].t, list(layer.config.take("target_shape")), layer.name, layer.place)


def reshape_to(e: Emit, x: str, target: list[int], name: str, place: str) -> str:
    """(B, *target). Where the target repeats the leading sizes of the input as trained (its number of frames), they
    stay free."""
    sizes = e.shape(x)
    dims: list[Any] = [From(x, 0)]
    free = 1
    while (
        free < len(sizes)
        and free <= len(target)
        and isinstance(sizes[free], Dim)
        and (
            target[free - 1] == e.at_trained(sizes[free])
            or (target[free - 1] in (None, -1) and _rest_fits(sizes, target, free))
        )
    ):
        dims.append(From(x, free))
        free += 1
    if len(dims) > 1:
        e.note(f"{place}: its target {tuple(target)} was taken with the number of frames left free")
    dims += [-1 if t is None else t for t in target[free - 1 :]]
    return e.reshape(x, dims, name)


def _rest_fits(sizes: tuple, target: list[int], axis: int) -> bool:
    """Whether -1 at `axis` of the target stands for exactly that axis of the input."""
    left, right = sizes[axis + 1 :], target[axis:]
    return (
        all(isinstance(s, int) for s in left)
        and all(t not in (None, -1) for t in right)
        and int(np.prod(left)) == int(np.prod(right))
    )


def flatten(e: Emit, layer: Layer, call: Call) -> str:
    x = call.inputs[0].t
    if layer.config.take("data_format") == "channels_first" and e.rank(x) > 2:
        x = e.transpose(x, [0, *range(2, e.rank(x)), 1], f"{layer.name}/last")
    return x if e.rank(x) == 2 else e.reshape(x, [From(x, 0), -1], layer.name)


def permute(e: Emit, layer: Layer, call: Call) -> str:
    return e.op("Transpose", [call.inputs[0].t], layer.name, perm=[0, *layer.config.take("dims")])


def repeat_vector(e: Emit, layer: Layer, call: Call) -> str:
    x = e.expand_dims(call.inputs[0].t, 1, f"{layer.name}/frame")
    return e.op("Tile", [x], layer.name, repeats=[1, layer.config.size("n"), 1])


def cropping(e: Emit, layer: Layer, call: Call) -> str:
    x = call.inputs[0].t
    pads = _amounts(layer, "cropping", e.rank(x) - 2)
    axes = _spatial(e, x, layer)
    return e.op(
        "Slice", [x], layer.name, axes=axes, starts=[b for b, _ in pads], ends=[-a if a else 2**31 - 1 for _, a in pads]
    )


def zero_padding(e: Emit, layer: Layer, call: Call) -> str:
    x = call.inputs[0].t
    amounts = dict(zip(_spatial(e, x, layer), _amounts(layer, "padding", e.rank(x) - 2)))
    pads = [amounts.get(a, (0, 0)) for a in range(e.rank(x))]
    return e.op("Pad", [x], layer.name, pads=[b for b, _ in pads] + [a for _, a in pads])


def up_sampling(e: Emit, layer: Layer, call: Call) -> str:
    x = call.inputs[0].t
    if layer.config.take("interpolation", "nearest") != "nearest":
        raise unsupported(layer, f"interpolation {layer.config.take('interpolation')!r}", "expected nearest")
    factors = dict(zip(_spatial(e, x, layer), layer.config.sizes("size", e.rank(x) - 2, 2)))
    return e.op("Resize", [x], layer.name, scales=[factors.get(a, 1) for a in range(e.rank(x))])


def _spatial(e: Emit, x: str, layer: Layer) -> list[int]:
    channels = channel_axis(e, x, layer)
    return [a for a in range(1, e.rank(x)) if a != channels]


def _amounts(layer: Layer, key: str, rank: int) -> list[tuple[int, int]]:
    """(before, after) for every spatial axis, from an int, (a, b) or ((a, b), (c, d)); one axis reads (a, b) as
    before, after."""
    value = layer.config.take(key, 1)
    if isinstance(value, int):
        return [(value, value)] * rank
    if rank == 1:
        value = [value] if len(value) == 2 and isinstance(value[0], int) else value
    return [(v, v) if isinstance(v, int) else (int(v[0]), int(v[1])) for v in value]


# ---- normalisation ---------------------------------------------------------------------------------------------------


def batch_normalization(e: Emit, layer: Layer, call: Call) -> str:
    """x * scale + offset with the moving statistics folded in float64."""
    for key in ("scale", "center"):
        layer.config.take(key)
    x = call.inputs[0].t
    axis = layer.config.take("axis", -1)
    axis = axis[0] if isinstance(axis, (list, tuple)) and len(axis) == 1 else axis
    if not isinstance(axis, int):
        raise unsupported(layer, f"axis {axis}", "expected one axis")
    mean, variance = (layer.weights[k].astype(np.float64) for k in ("moving_mean", "moving_variance"))
    scale = 1 / np.sqrt(variance + layer.config.number("epsilon", 1e-3))
    scale = scale * layer.weights["gamma"] if "gamma" in layer.weights else scale
    offset = -mean * scale + (layer.weights["beta"] if "beta" in layer.weights else 0)
    shape = [1] * e.rank(x)
    shape[axis] = mean.size
    if e.shape(x)[axis] != mean.size:
        raise ShapeError(f"{layer.place}: expected {mean.size} features on axis {axis}, found input {e.shape(x)}")
    keep = shape[axis % len(shape) :]  # trailing axes are enough to broadcast
    return e.scaled(x, scale.reshape(keep), offset.reshape(keep), layer.name)


def layer_normalization(e: Emit, layer: Layer, call: Call) -> str:
    x = call.inputs[0].t
    axis = layer.config.take("axis", -1)
    axes = sorted(a % e.rank(x) for a in ([axis] if isinstance(axis, int) else axis))
    rms = layer.cls == "RMSNormalization" or layer.config.flag("rms_scaling")
    epsilon = layer.config.number("epsilon", 1e-6 if rms else 1e-3)
    shape = [e.shape(x)[a] if a in axes else 1 for a in range(e.rank(x))]
    if any(isinstance(s, Dim) for s in shape):
        raise unsupported(
            layer, f"normalises axes {axes} of {e.shape(x)}", "the number of frames must be fixed (shapes=)"
        )
    for key in ("scale", "center"):
        layer.config.take(key)
    inputs = [x]
    for key in ("scale" if layer.cls == "RMSNormalization" else "gamma", "beta"):
        given = key in layer.weights
        inputs.append(e.const(layer.weights[key].reshape(shape[axes[0] :]), f"{layer.name}/{key}") if given else "")
    while not inputs[-1]:
        inputs.pop()
    return e.op("Normalize", inputs, layer.name, axes=axes, epsilon=epsilon, kind="rms" if rms else "layer")


def group_normalization(e: Emit, layer: Layer, call: Call) -> str:
    x = call.inputs[0].t
    axis = layer.config.take("axis", -1) % e.rank(x)
    channels, groups = e.shape(x)[axis], layer.config.take("groups", 32)
    groups = channels if groups == -1 else groups
    for key in ("scale", "center"):
        layer.config.take(key)
    dims: list[Any] = e.keep(x, *range(e.rank(x)))
    dims[axis : axis + 1] = [groups, channels // groups]
    split = e.reshape(x, dims, f"{layer.name}/groups")
    axes = [a for a in range(1, e.rank(split)) if a != axis]
    split = e.op("Normalize", [split], f"{layer.name}/normal", axes=axes, epsilon=layer.config.number("epsilon", 1e-3))
    y = e.reshape(split, e.keep(x, *range(e.rank(x))), f"{layer.name}/joined")
    shape = [channels] + [1] * (e.rank(x) - 1 - axis)
    gamma, beta = layer.weights.get("gamma", np.ones(channels)), layer.weights.get("beta", np.zeros(channels))
    return e.scaled(y, gamma.reshape(shape), beta.reshape(shape), layer.name)


def unit_normalization(e: Emit, layer: Layer, call: Call) -> str:
    """x / |x| over the axes; Keras bounds the squared norm from below by 1e-12."""
    x = call.inputs[0].t
    axis = layer.config.take("axis", -1)
    axes = [axis] if isinstance(axis, int) else list(axis)
    square = e.reduce("sum_square", x, axes, f"{layer.name}/square", keepdims=True)
    floor = e.binary("max", square, e.const(np.float32(1e-12), f"{layer.name}/epsilon"), f"{layer.name}/bounded")
    return e.binary("div", x, e.unary("sqrt", floor, f"{layer.name}/norm"), layer.name)


def rescaling(e: Emit, layer: Layer, call: Call) -> str:
    x = e.real(call.inputs[0].t, layer.name)
    return e.scaled(x, *(np.asarray(_numbers(layer, k, d)) for k, d in (("scale", 1.0), ("offset", 0.0))), layer.name)


def normalization(e: Emit, layer: Layer, call: Call) -> str:
    """(x - mean) / max(sqrt(variance), 1e-7) along the kept axes, or its inverse."""
    x = e.real(call.inputs[0].t, layer.name)
    axis = layer.config.take("axis", -1)
    kept = [] if axis is None else sorted(a % e.rank(x) for a in ([axis] if isinstance(axis, int) else axis))
    shape = [e.shape(x)[a] if a in kept else 1 for a in range(e.rank(x))]
    if "mean" in layer.weights:
        mean, variance = (layer.weights[k].astype(np.float64) for k in ("mean", "variance"))
    else:
        mean, variance = (np.asarray(_numbers(layer, k, None), np.float64) for k in ("mean", "variance"))
    if any(isinstance(s, Dim) for s in shape):
        raise unsupported(layer, f"keeps axes {kept} of {e.shape(x)}", "the number of frames must be fixed (shapes=)")
    deviation = np.maximum(np.sqrt(variance), 1e-7)
    scale, offset = (deviation, mean) if layer.config.flag("invert") else (1 / deviation, -mean / deviation)
    scale, offset = (
        np.broadcast_to(v.reshape(shape) if v.size == np.prod(shape) else v.reshape(-1), shape) for v in (scale, offset)
    )
    first = kept[0] if kept else e.rank(x)
    return e.scaled(x, scale.reshape(shape[first:]), offset.reshape(shape[first:]), layer.name)


def _numbers(layer: Layer, key: str, default: Any) -> Any:
    """A number or array of a config; Keras 3 writes arrays as {'class_name': '__numpy__', 'config': {'value':
    [...]}}."""
    value = layer.config.take(key, default)
    if isinstance(value, dict):
        value = value.get("config", value)
        value = value.get("value", value) if isinstance(value, dict) else value
    return value


# ---- merges ----------------------------------------------------------------------------------------------------------

_MERGES = {"Add": "add", "Subtract": "sub", "Multiply": "mul", "Average": "add", "Maximum": "max", "Minimum": "min"}


def merge(e: Emit, layer: Layer, call: Call) -> Value:
    xs = call.inputs
    if layer.cls == "Subtract" and len(xs) != 2:
        raise unsupported(layer, f"{len(xs)} inputs", "expected 2")
    rank = max(e.rank(x.t) for x in xs)
    parts = [_aligned(e, x.t, rank, layer.name, i) for i, x in enumerate(xs)]
    masks = [x.mask for x in xs]
    mask = _merged_mask(e, layer, masks)
    if any(masks) and _modern(layer) and layer.cls in ("Multiply", "Maximum", "Minimum"):
        wide = [_wide(e, m, rank, f"{layer.name}/wide{i}") if m else None for i, m in enumerate(masks)]
        y = (_masked_product if layer.cls == "Multiply" else _masked_extreme)(e, layer, parts, wide)
        return Value(y, mask)
    y = parts[0]
    for i, part in enumerate(parts[1:], 1):
        y = e.binary(
            _MERGES[layer.cls],
            y,
            part,
            f"{layer.name}/{i}" if i < len(parts) - 1 or layer.cls == "Average" else layer.name,
        )
    return Value(e.scaled(y, 1 / len(xs), 0, layer.name) if layer.cls == "Average" else y, mask)


def _masked_product(e: Emit, layer: Layer, parts: list[str], masks: list[str | None]) -> str:
    """Since Keras 3.4: what is masked counts as 1, and as 0 where all inputs are masked."""
    one = e.const(np.float32(1), f"{layer.name}/one")
    parts = [
        e.op("Where", [m, p, one], f"{layer.name}/valid{i}") if m else p for i, (p, m) in enumerate(zip(parts, masks))
    ]
    y = parts[0]
    for i, part in enumerate(parts[1:], 1):
        y = e.binary("mul", y, part, f"{layer.name}/{i}")
    if None in masks:
        return y
    any_valid = masks[0]
    for i, m in enumerate(masks[1:], 1):
        any_valid = e.binary("or", any_valid, m, f"{layer.name}/any{i}")
    return e.op("Where", [any_valid, y, e.const(np.float32(0), f"{layer.name}/zero")], layer.name)


def _masked_extreme(e: Emit, layer: Layer, parts: list[str], masks: list[str | None]) -> str:
    """Since Keras 3.4: a masked operand is replaced by the other one, two at a time."""
    y, y_mask = parts[0], masks[0]
    for i, (x, mask) in enumerate(zip(parts[1:], masks[1:]), 1):
        x = e.op("Where", [mask, x, y], f"{layer.name}/right{i}") if mask else x
        y = e.op("Where", [y_mask, y, x], f"{layer.name}/left{i}") if y_mask else y
        y_mask = e.binary("or", y_mask, mask, f"{layer.name}/or{i}") if mask and y_mask else None
        y = e.binary(_MERGES[layer.cls], y, x, layer.name)
    return y


def _modern(layer: Layer) -> bool:
    """Keras 3.4 and later, whose merges treat masks anew."""
    return (layer.version.major, layer.version.minor) >= (3, 4)


def _wide(e: Emit, mask: str, rank: int, name: str) -> str:
    return e.reshape(mask, [*e.keep(mask, *range(e.rank(mask))), *[1] * (rank - e.rank(mask))], name)


def _aligned(e: Emit, x: str, rank: int, name: str, i: int) -> str:
    """Keras's merges line up axes after the batch from the left: size-1 axes are put in behind the batch."""
    x = e.real(x, f"{name}/{i}")
    missing = rank - e.rank(x)
    return (
        x
        if not missing or e.rank(x) == 0
        else e.reshape(x, [From(x, 0), *[1] * missing, *e.keep(x, *range(1, e.rank(x)))], f"{name}/x{i}")
    )


def _merged_mask(e: Emit, layer: Layer, masks: list[str | None]) -> str | None:
    """Keras 2 joins the masks there are by AND; 3.0 to 3.3 lost them; since 3.4 they are joined by OR, if every input
    has one."""
    there = list(dict.fromkeys(m for m in masks if m))
    if not there or (layer.version.major >= 3 and (None in masks or not _modern(layer))):
        if there and not _modern(layer):
            e.note(f"{layer.place}: Keras {layer.version.text} loses the mask here, and so does the conversion")
        return None
    mask = there[0]
    for i, other in enumerate(there[1:]):
        mask = e.binary("or" if _modern(layer) else "and", mask, other, f"{layer.name}/mask{i}")
    return mask


def concatenate(e: Emit, layer: Layer, call: Call) -> Value:
    axis = layer.config.take("axis", -1)
    xs = [x.t for x in call.inputs]
    if len({e.dtype(x) for x in xs}) > 1:
        xs = [e.real(x, f"{layer.name}/{i}") for i, x in enumerate(xs)]
    y = e.concat(xs, axis, layer.name)
    masks = [x.mask for x in call.inputs]
    axis %= e.rank(y)
    if not any(masks) or axis == e.rank(y) - 1 or (layer.version.major >= 3 and not _modern(layer)):
        return Value(y, _merged_mask(e, layer, masks))
    if axis != 1:
        raise unsupported(layer, f"masks joined along axis {axis}", "expected axis 1 or the last")
    spread = [m or _ones_mask(e, x, f"{layer.name}/mask{i}") for i, (m, x) in enumerate(zip(masks, xs))]
    return Value(y, e.concat(spread, 1, f"{layer.name}/mask"))


def _ones_mask(e: Emit, x: str, name: str) -> str:
    return e.g.add1(
        "Fill", [x], {"shape": [1, 1], "from_input": [0, 0], "from_axis": [0, 1], "value": 1.0, "dtype": "bool"}, name
    )


def dot(e: Emit, layer: Layer, call: Call) -> str:
    """Contraction of one axis of each input, batch by batch; rank 2 or 3."""
    if len(call.inputs) != 2:
        raise unsupported(layer, f"{len(call.inputs)} inputs", "expected 2")
    a, b = (x.t for x in call.inputs)
    axes = layer.config.take("axes", -1)
    axes = [axes, axes] if isinstance(axes, int) else [x[0] if isinstance(x, (list, tuple)) else x for x in axes]
    axes = [axis % e.rank(x) for axis, x in zip(axes, (a, b))]
    if layer.config.flag("normalize"):
        a, b = (_unit(e, x, axis, f"{layer.name}/unit{i}") for i, (x, axis) in enumerate(zip((a, b), axes)))
    if max(e.rank(a), e.rank(b)) > 3 or min(axes) < 1:
        raise unsupported(
            layer,
            f"inputs of shape {e.shape(a)} and {e.shape(b)} over axes {axes}",
            "expected rank 2 or 3 and no batch axis",
        )
    flat_a, flat_b = e.rank(a) == 2, e.rank(b) == 2
    if flat_a:
        a, axes[0] = e.expand_dims(a, 1, f"{layer.name}/row"), 2
    if flat_b:
        b = e.expand_dims(b, 2, f"{layer.name}/column")
    y = e.op(
        "MatMul",
        [a, b],
        f"{layer.name}/product" if flat_a or flat_b else layer.name,
        trans_a=int(axes[0] == 1),
        trans_b=int(axes[1] == 2),
    )
    if flat_a and flat_b:
        return e.reshape(y, [From(y, 0), 1], layer.name)
    return e.squeeze(y, 1 if flat_a else 2, layer.name) if flat_a or flat_b else y


def _unit(e: Emit, x: str, axis: int, name: str) -> str:
    square = e.reduce("sum_square", x, [axis], f"{name}/square", keepdims=True)
    floor = e.binary("max", square, e.const(np.float32(1e-12), f"{name}/epsilon"), f"{name}/bounded")
    return e.binary("div", x, e.unary("sqrt", floor, f"{name}/norm"), name)


HANDLERS: dict[str, Handler] = {
    "Dense": Handler(dense, True),
    "EinsumDense": Handler(einsum_dense, False),
    "Embedding": Handler(embedding, False),
    "Masking": Handler(masking, False),
    "Activation": Handler(activation, True),
    "LeakyReLU": Handler(advanced_activation, True),
    "ELU": Handler(advanced_activation, True),
    "ThresholdedReLU": Handler(advanced_activation, True),
    "ReLU": Handler(relu, True),
    "PReLU": Handler(prelu, True),
    "Softmax": Handler(softmax, True),
    "Reshape": Handler(reshape, False),
    "Flatten": Handler(flatten, False),
    "Permute": Handler(permute, False),
    "RepeatVector": Handler(repeat_vector, False),
    "Cropping1D": Handler(cropping, False),
    "Cropping2D": Handler(cropping, False),
    "ZeroPadding1D": Handler(zero_padding, False),
    "ZeroPadding2D": Handler(zero_padding, False),
    "UpSampling1D": Handler(up_sampling, False),
    "UpSampling2D": Handler(up_sampling, False),
    "BatchNormalization": Handler(batch_normalization, True),
    "LayerNormalization": Handler(layer_normalization, True),
    "RMSNormalization": Handler(layer_normalization, True),
    "GroupNormalization": Handler(group_normalization, True),
    "UnitNormalization": Handler(unit_normalization, True),
    "Rescaling": Handler(rescaling, True),
    "Normalization": Handler(normalization, True),
    "Concatenate": Handler(concatenate, False),
    "Dot": Handler(dot, False),
    **{cls: Handler(merge, False) for cls in _MERGES},
    **{
        cls: Handler(identity, True)
        for cls in (
            "Dropout",
            "SpatialDropout1D",
            "SpatialDropout2D",
            "GaussianDropout",
            "GaussianNoise",
            "AlphaDropout",
            "ActivityRegularization",
            "Identity",
        )
    },
    **{cls: Handler(recurrent.recurrent, False) for cls in recurrent.RECURRENT},
    "Bidirectional": Handler(recurrent.bidirectional, False),
    **{cls: Handler(rule, False) for cls, rule in {**conv.RULES, **attention.RULES}.items()},
}
