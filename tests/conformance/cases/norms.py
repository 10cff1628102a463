"""Normalisation, by trained and by computed means."""

from __future__ import annotations

from typing import Any

import numpy as np

from conformance.case import Array, Case, Later, given
from conformance.spelled import NONE, by_name, weighted

torch, F = Later("torch"), Later("torch.nn.functional")
K, L = Later("keras.ops"), Later("keras.layers")

_RNG = np.random.default_rng(2)
SCALE, OFFSET, MEAN = (_RNG.normal(0, 1, 4) for _ in range(3))
VARIANCE = np.abs(_RNG.normal(0, 1, 4)) + 0.5
X = (given("B T 4"),)
FIRST = (given("B 4 T"),)  # channels first
EPS = 1e-3


def tensor(array: Array) -> Any:
    return torch.tensor(array).float()


def normal(x: Array, axes: Any, eps: float = EPS) -> Array:
    return np.asarray((x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, keepdims=True) + eps))


def grouped(x: Array) -> Array:
    """Two groups of channels in the last axis, over frames and the channels of a group."""
    return normal(x.reshape(*x.shape[:2], 2, 2), (1, 3)).reshape(x.shape)


def turned(o: Any, x: str, make: Any) -> Any:
    """An ONNX operator that has channels first."""
    return o("Transpose", make(o("Transpose", x, perm=[0, 2, 1])), perm=[0, 2, 1])


CASES: list[Case] = [
    by_name(
        "batch norm",
        X,
        lambda x: (x - MEAN) / np.sqrt(VARIANCE + EPS) * SCALE + OFFSET,
        lambda o, x: turned(o, x, lambda y: o("BatchNormalization", y, SCALE, OFFSET, MEAN, VARIANCE, epsilon=EPS)),
        lambda x: F.batch_norm(
            x.transpose(1, 2), tensor(MEAN), tensor(VARIANCE), tensor(SCALE), tensor(OFFSET), eps=EPS
        ).transpose(1, 2),
        lambda x: weighted(L.BatchNormalization(epsilon=EPS), [SCALE, OFFSET, MEAN, VARIANCE], x),
        NONE,
        lambda n, x: n("batch_norm", x, mean=MEAN, variance=VARIANCE, scale=SCALE, offset=OFFSET, epsilon=EPS),
    ),
    by_name(
        "batch norm without scale",
        X,
        lambda x: (x - MEAN) / np.sqrt(VARIANCE + EPS),
        lambda o, x: turned(
            o, x, lambda y: o("BatchNormalization", y, np.ones(4), np.zeros(4), MEAN, VARIANCE, epsilon=EPS)
        ),
        lambda x: F.batch_norm(x.transpose(1, 2), tensor(MEAN), tensor(VARIANCE), eps=EPS).transpose(1, 2),
        lambda x: weighted(L.BatchNormalization(epsilon=EPS, center=False, scale=False), [MEAN, VARIANCE], x),
        NONE,
        lambda n, x: n("batch_norm", x, mean=MEAN, variance=VARIANCE, epsilon=EPS),
    ),
    by_name(
        "layer norm",
        X,
        lambda x: normal(x, -1) * SCALE + OFFSET,
        lambda o, x: o("LayerNormalization", x, SCALE, OFFSET, axis=-1, epsilon=EPS),
        lambda x: F.layer_norm(x, (4,), tensor(SCALE), tensor(OFFSET), EPS),
        lambda x: weighted(L.LayerNormalization(epsilon=EPS), [SCALE, OFFSET], x),
        NONE,
        lambda n, x: n("layer_norm", x, scale=SCALE, offset=OFFSET, epsilon=EPS),
    ),
    by_name(
        "layer norm over two axes",
        (given("B 3 4"),),
        lambda x: normal(x, (1, 2)),
        lambda o, x: o("LayerNormalization", x, np.ones((3, 4)), axis=1, epsilon=EPS),
        lambda x: F.layer_norm(x, (3, 4), eps=EPS),
        lambda x: L.LayerNormalization(axis=[1, 2], epsilon=EPS, center=False, scale=False)(x),
        NONE,
        lambda n, x: n("Normalize", x, axes=[1, 2], epsilon=EPS),
    ),
    by_name(
        "rms norm",
        X,
        lambda x: x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + EPS) * SCALE,
        lambda o, x: _latest(o)("RMSNormalization", x, SCALE, axis=-1, epsilon=EPS),
        lambda x: F.rms_norm(x, (4,), tensor(SCALE), EPS),
        lambda x: weighted(L.RMSNormalization(epsilon=EPS), [SCALE], x),
        NONE,
        lambda n, x: n("Normalize", x, SCALE, kind="rms", axes=[-1], epsilon=EPS),
    ),
    by_name(
        "group norm",
        X,
        lambda x: grouped(x) * SCALE + OFFSET,
        lambda o, x: turned(o, x, lambda y: o("GroupNormalization", y, SCALE, OFFSET, num_groups=2, epsilon=EPS)),
        lambda x: F.group_norm(x.transpose(1, 2), 2, tensor(SCALE), tensor(OFFSET), EPS).transpose(1, 2),
        lambda x: weighted(L.GroupNormalization(2, epsilon=EPS), [SCALE, OFFSET], x),
        NONE,
        NONE,
    ),
    by_name(
        "instance norm",
        FIRST,
        lambda x: normal(x, 2) * SCALE[:, None] + OFFSET[:, None],
        lambda o, x: o("InstanceNormalization", x, SCALE, OFFSET, epsilon=EPS),
        lambda x: F.instance_norm(x, weight=tensor(SCALE), bias=tensor(OFFSET), eps=EPS),
        NONE,
        NONE,
        NONE,
    ),
    by_name(
        "unit norm",
        X,
        lambda x: x / np.sqrt((x**2).sum(axis=-1, keepdims=True)),
        lambda o, x: o("LpNormalization", x, axis=-1, p=2),
        lambda x: F.normalize(x, dim=-1),
        lambda x: L.UnitNormalization(axis=-1)(x),
        lambda t, x: t("L2_NORMALIZATION", x),
        NONE,
    ),
    by_name(
        "mean and variance of frames",
        (given("B 4 T 1"),),
        lambda x: normal(x, 2, 1e-9),
        lambda o, x: o("MeanVarianceNormalization", x, axes=[2]),
        NONE,
        NONE,
        NONE,
        NONE,
    ),
    by_name(
        "scale and offset",
        X,
        lambda x: 0.5 * x + 2,
        NONE,
        NONE,
        lambda x: L.Rescaling(0.5, 2.0)(x),
        NONE,
        lambda n, x: n("scale", x, factor=0.5, offset=2.0),
    ),
]


def _latest(o: Any) -> Any:
    o.opset = 23
    return o
