"""The activation functions of docs/ops.md: their names, their parameters, and what they compute.

In NumPy and in the precision of their argument. NaN in, NaN out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

SQRT_HALF = math.sqrt(0.5)
_ERF = np.vectorize(math.erf, otypes=[np.float64])
# How many of alpha, beta a function uses. Those have no default: a missing one is refused, never taken as 0.
PARAMETERS = {
    "hard_sigmoid": 2,
    "leaky_relu": 1,
    "elu": 1,
    "selu": 2,
    "thresholded_relu": 1,
    "scaled_tanh": 2,
    "affine": 2,
    "celu": 1,
    "clip": 2,  # of Unary alone
}
Array = Any  # np.ndarray


def activate(name: str, x: Array, alpha: float = 0.0, beta: float = 0.0) -> Array:
    """y = name(x), elementwise. `name` is one of ACTIVATIONS."""
    with np.errstate(all="ignore"):
        return _FUNCTIONS[name](x, alpha, beta)


def erf(x: Array) -> Array:
    return _ERF(x)


def _sigmoid(x: Array) -> Array:
    return np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x)))


def _ramp(x: Array, low: float, high: float) -> Array:
    return np.minimum(np.maximum(x, low), high)


_FUNCTIONS: dict[str, Callable[[Array, float, float], Array]] = {
    "linear": lambda x, a, b: x,
    "relu": lambda x, a, b: np.maximum(x, 0),
    "sigmoid": lambda x, a, b: _sigmoid(x),
    "tanh": lambda x, a, b: np.tanh(x),
    "hard_sigmoid": lambda x, a, b: _ramp(a * x + b, 0, 1),
    "leaky_relu": lambda x, a, b: np.where(x < 0, a * x, x),
    "elu": lambda x, a, b: np.where(x < 0, a * np.expm1(x), x),
    "selu": lambda x, a, b: b * np.where(x < 0, a * np.expm1(x), x),
    "softplus": lambda x, a, b: np.logaddexp(x, 0),
    "softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "gelu": lambda x, a, b: x / 2 * (1 + erf(x * SQRT_HALF)),
    "gelu_tanh": lambda x, a, b: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x, a, b: x * _sigmoid(x),
    "hard_silu": lambda x, a, b: x * _ramp(x / 6 + 0.5, 0, 1),
    "mish": lambda x, a, b: x * np.tanh(np.logaddexp(x, 0)),
    "thresholded_relu": lambda x, a, b: np.where(x <= a, 0.0, x),
    "scaled_tanh": lambda x, a, b: a * np.tanh(b * x),
    "affine": lambda x, a, b: a * x + b,
    "celu": lambda x, a, b: np.maximum(x, 0) + np.minimum(0, a * np.expm1(x / a)),
    "relu6": lambda x, a, b: _ramp(x, 0, 6),
    "exp": lambda x, a, b: np.exp(x),
}
ACTIVATIONS = tuple(_FUNCTIONS)
