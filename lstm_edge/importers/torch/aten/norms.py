"""The aten calls of normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...dialect import Value, norms
from ..lowering import Lowering
from ..registry import op


def _constant(c: Lowering, x: Value | None) -> np.ndarray | None:
    return None if x is None else c.array(x, "weight of a normalisation")


@op("batch_norm", "cudnn_batch_norm", "native_batch_norm")
def _batch_norm(
    c: Lowering,
    input: Value,
    weight: Value | None,
    bias: Value | None,
    running_mean: Value | None,
    running_var: Value | None,
    training: bool,
    momentum: float,
    eps: float,
    *_: Any,
) -> Any:
    if training and running_mean is not None:
        raise c.refuse("batch normalisation in training mode; call eval() before exporting")
    y = _normalised(c, input, weight, bias, running_mean, running_var, eps)
    return y if c.step.base == "batch_norm" else [y, None, None]


@op("_native_batch_norm_legit_no_training")
def _core_batch_norm(
    c: Lowering,
    input: Value,
    weight: Value | None,
    bias: Value | None,
    running_mean: Value,
    running_var: Value,
    momentum: float,
    eps: float,
) -> Any:
    return [_normalised(c, input, weight, bias, running_mean, running_var, eps), None, None]


def _normalised(
    c: Lowering, x: Value, weight: Value | None, bias: Value | None, mean: Value | None, var: Value | None, eps: float
) -> Value:
    """By running statistics, or without them by those of all sequences at hand."""
    scale, offset = _constant(c, weight), _constant(c, bias)
    if mean is not None and var is not None:
        average, spread = (c.array(v, "running statistics") for v in (mean, var))
        return norms.batch_norm(c, x, average, spread, scale, offset, eps)
    rank = c.rank(x)
    factor, shift = (None if v is None else norms.along(v, rank) for v in (scale, offset))
    return norms.normalize(c, x, [0, *range(2, rank)], eps, factor, shift)


@op("instance_norm")
def _instance_norm(
    c: Lowering,
    input: Value,
    weight: Value | None,
    bias: Value | None,
    running_mean: Value | None,
    running_var: Value | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    *_: Any,
) -> Value:
    if not use_input_stats:
        return _normalised(c, input, weight, bias, running_mean, running_var, eps)
    return norms.instance_norm(c, input, _constant(c, weight), _constant(c, bias), eps)


def _last(normalized_shape: Any) -> list[int]:
    return list(range(-len(normalized_shape), 0))


@op("layer_norm", "native_layer_norm")
def _layer_norm(
    c: Lowering,
    input: Value,
    normalized_shape: Any,
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Any:
    y = norms.normalize(c, input, _last(normalized_shape), eps, weight, bias)
    return [y, None, None] if c.step.base.startswith("native") else y


@op("rms_norm", "_fused_rms_norm")
def _rms_norm(
    c: Lowering, input: Value, normalized_shape: Any, weight: Value | None = None, eps: float | None = None
) -> Any:
    epsilon = float(np.finfo(np.float32).eps) if eps is None else eps
    y = norms.normalize(c, input, _last(normalized_shape), epsilon, weight, kind="rms")
    return [y, None] if c.step.base.startswith("_fused") else y


@op("group_norm")
def _group_norm(
    c: Lowering,
    input: Value,
    num_groups: int,
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Value:
    return norms.group_norm(c, input, num_groups, _constant(c, weight), _constant(c, bias), eps)


@op("native_group_norm")
def _native_group_norm(
    c: Lowering,
    input: Value,
    weight: Value | None,
    bias: Value | None,
    n: Any,
    channels: int,
    pixels: Any,
    group: int,
    eps: float,
) -> Any:
    return [_group_norm(c, input, group, weight, bias, eps), None, None]
