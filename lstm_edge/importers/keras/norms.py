"""Normalisations and rescaling of Keras."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.sizes import require_equal
from ..dialect import Value, movement, norms
from .config import Layer
from .emit import Call, Emit, Rule


def _axes(e: Emit, layer: Layer, x: Value, default: Any = -1) -> list[int]:
    axis = layer.config.take("axis", default)
    return sorted(movement.each_axis(e, [axis] if isinstance(axis, int) else axis or [], e.rank(x)))


def _affine(layer: Layer, *keys: str) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The layer's scale and offset, where it has them."""
    for key in ("scale", "center"):
        layer.config.take(key)
    scale, offset = (layer.weights.get(k) for k in keys or ("gamma", "beta"))
    return scale, offset


def batch_normalization(e: Emit, layer: Layer, call: Call) -> Value:
    axes = _axes(e, layer, call.x)
    mean, variance = layer.weights["moving_mean"], layer.weights["moving_variance"]
    if len(axes) != 1:
        raise e.unsupported(f"axis {axes}", "expected one axis")
    message = f"{layer.place}: expected {mean.size} features on axis {axes[0]}, found input {e.shape(call.x)}"
    require_equal(e.shape(call.x)[axes[0]], mean.size, message)
    epsilon = layer.config.number("epsilon", 1e-3)
    return norms.batch_norm(e, call.x, mean, variance, *_affine(layer), epsilon, axes[0])


def layer_normalization(e: Emit, layer: Layer, call: Call) -> Value:
    x, axes = call.x, _axes(e, layer, call.x)
    rms = layer.cls == "RMSNormalization" or layer.config.flag("rms_scaling")
    epsilon = layer.config.number("epsilon", 1e-6 if rms else 1e-3)
    shape = _kept_shape(e, x, axes)
    scale, offset = (
        None if array is None else e.weight(array.reshape(shape[axes[0] :]), part)
        for array, part in zip(
            _affine(layer, "scale" if layer.cls == "RMSNormalization" else "gamma", "beta"), ("gamma", "beta")
        )
    )
    return norms.normalize(e, x, axes, epsilon, scale, offset, "rms" if rms else "layer")


def _kept_shape(e: Emit, x: Value, axes: list[int]) -> list[int]:
    """The sizes of x on these axes, 1 on the others: numbers, since the weights have them."""
    return movement.fixed_sizes(e, [s if a in axes else 1 for a, s in enumerate(e.shape(x))], "has weights of sizes")


def group_normalization(e: Emit, layer: Layer, call: Call) -> Value:
    axis = layer.config.take("axis", -1)
    groups = layer.config.take("groups", 32)
    groups = e.shape(call.x)[axis] if groups == -1 else groups
    return norms.group_norm(e, call.x, groups, *_affine(layer), layer.config.number("epsilon", 1e-3), axis)


def unit_normalization(e: Emit, layer: Layer, call: Call) -> Value:
    return norms.bounded_l2_norm(e, call.x, _axes(e, layer, call.x), 1e-12)


def rescaling(e: Emit, layer: Layer, call: Call) -> Value:
    return e.scaled(e.real(call.x), _numbers(layer, "scale", 1.0), _numbers(layer, "offset", 0.0))


def normalization(e: Emit, layer: Layer, call: Call) -> Value:
    """(x - mean) / max(sqrt(variance), 1e-7) along the kept axes, or its inverse. The mean is subtracted first, as Keras does: behind
    the product it would cost columns far from 0 the digits that they differ by."""
    x = e.real(call.x)
    kept = _axes(e, layer, x)
    if "mean" in layer.weights:
        mean, variance = (layer.weights[k].astype(np.float64) for k in ("mean", "variance"))
    else:
        mean, variance = (np.asarray(_numbers(layer, k, None), np.float64) for k in ("mean", "variance"))
    shape = _kept_shape(e, x, kept)
    deviation = np.maximum(np.sqrt(variance), 1e-7)
    mean, deviation = (
        np.broadcast_to(v.reshape(shape) if v.size == np.prod(shape) else v.reshape(-1), shape)
        for v in (mean, deviation)
    )
    if layer.config.flag("invert"):
        return e.scaled(x, deviation, mean)
    return e.scaled(e.binary("sub", x, e.constant(mean)), 1 / deviation)


def _numbers(layer: Layer, key: str, default: Any) -> Any:
    """A number or array of a config; Keras 3 writes arrays as {'class_name': '__numpy__', 'config': {'value':
    [...]}}."""
    value = layer.config.take(key, default)
    if isinstance(value, dict):
        value = value.get("config", value)
        value = value.get("value", value) if isinstance(value, dict) else value
    return value


RULES: dict[str, Rule] = {
    "BatchNormalization": batch_normalization,
    "LayerNormalization": layer_normalization,
    "RMSNormalization": layer_normalization,
    "GroupNormalization": group_normalization,
    "UnitNormalization": unit_normalization,
    "Rescaling": rescaling,
    "Normalization": normalization,
}
