"""Keras activation names, functions and layers as the core's activations or as a few ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ...errors import UnsupportedModelError
from ..dialect import Value, arithmetic, reductions
from .config import Config, Layer, Version
from .emit import Emit


class Act(NamedTuple):
    """One of the core's activations."""

    kind: str
    alpha: float = 0.0
    beta: float = 0.0

    @property
    def attrs(self) -> dict[str, Any]:
        """As the attributes of an op that applies it to its own output."""
        return {"activation": self.kind, "alpha": self.alpha, "beta": self.beta}


_PLAIN = {
    "linear": Act("linear"),
    "relu": Act("relu"),
    "sigmoid": Act("sigmoid"),
    "tanh": Act("tanh"),
    "softplus": Act("softplus"),
    "softsign": Act("softsign"),
    "silu": Act("silu"),
    "swish": Act("silu"),
    "mish": Act("mish"),
    "relu6": Act("relu6"),
    "exponential": Act("exp"),
    "exp": Act("exp"),
    "elu": Act("elu", 1.0),
    "selu": Act("selu", *arithmetic.SELU),
    "celu": Act("celu", 1.0),
    "gelu": Act("gelu"),
    "hard_silu": Act("hard_silu"),
    "hard_swish": Act("hard_silu"),
    "leaky_relu": Act("leaky_relu", 0.2),
    "identity": Act("linear"),
}


def activation_name(spec: Any, place: str) -> str | dict[str, Any]:
    """The name a config's activation stands for; a dict when it is a layer used as activation."""
    if spec is None:
        return "linear"
    if isinstance(spec, str):
        return spec.split(">")[-1] if not spec.startswith("Custom") else spec
    if isinstance(spec, dict):
        inner = spec.get("config")
        if isinstance(inner, str) and spec.get("class_name") == "function":
            return inner
        if isinstance(inner, dict) and isinstance(spec.get("class_name"), str):
            return spec
    raise UnsupportedModelError(f"{place}: activation: expected a name or a layer, found {str(spec)[:80]!r}")


def gate_activation(spec: Any, version: Version, place: str) -> Act:
    """The core's activation for a gate, a cell or the output of Dense and Conv. UnsupportedModelError for anything
    else."""
    act = simple_activation(spec, version, place)
    if act is None:
        raise UnsupportedModelError(
            f"{place}: activation {_text(spec)!r}: not supported here, expected one of "
            f"{', '.join([*_PLAIN, 'hard_sigmoid'])}; a custom function must be rebuilt from these"
        )
    return act


def simple_activation(spec: Any, version: Version, place: str) -> Act | None:
    """The single activation `spec` is, None when it takes several ops or is unknown."""
    name = activation_name(spec, place)
    if isinstance(name, dict):
        inner = name["config"]
        return layer_activation(name["class_name"].split(">")[-1], Config(inner, place))
    if name == "hard_sigmoid":
        return Act("hard_sigmoid", *version.hard_sigmoid)
    return _PLAIN.get(name)


def layer_activation(cls: str, config: Config) -> Act | None:
    """The advanced-activation layers that are one activation of the core."""
    if cls == "LeakyReLU":
        key = "negative_slope" if "negative_slope" in config.values else "alpha"
        return Act("leaky_relu", config.number(key, 0.3))
    if cls == "ELU":
        return Act("elu", config.number("alpha", 1.0))
    if cls == "ThresholdedReLU":
        return Act("thresholded_relu", config.number("theta", 1.0))
    if cls == "ReLU":
        top, slope, threshold = (config.take(k) for k in ("max_value", "negative_slope", "threshold"))
        slope, threshold = (
            config.number("negative_slope", 0.0) if slope else 0.0,
            config.number("threshold", 0.0) if threshold else 0.0,
        )
        if threshold or (top is not None and (slope or top != 6)):
            return None
        return Act("relu6") if top == 6 else Act("leaky_relu", slope) if slope else Act("relu")
    return None


def relu_layer(e: Emit, layer: Layer, x: Value) -> Value:
    """ReLU that is no one activation: max_value above, x from the threshold, slope (x - threshold) below."""
    top, threshold = layer.config.take("max_value"), float(layer.config.take("threshold") or 0)
    slope = float(layer.config.take("negative_slope") or 0)
    below = e.scaled(x, slope, -slope * threshold)
    above = x if top is None else e.unary("clip", x, -arithmetic.HIGHEST, float(top))
    return arithmetic.where(e, e.binary("greater_equal", x, e.constant(threshold)), above, below)


def activate(e: Emit, act: Act, x: Value) -> Value:
    return x if act.kind == "linear" else e.unary(act.kind, x, act.alpha, act.beta)


def _tanh_shrink(e: Emit, x: Value) -> Value:
    return e.binary("sub", x, e.unary("tanh", x))


def _squareplus(e: Emit, x: Value) -> Value:
    root = e.unary("sqrt", e.scaled(arithmetic.square(e, x), 1, 4))
    return e.scaled(e.binary("add", x, root), 0.5)


# Activations of several ops.
COMPOSED: dict[str, Callable[[Emit, Value], Value]] = {
    "softmax": reductions.softmax,
    "log_softmax": lambda e, x: reductions.softmax(e, x, log=True),
    "log_sigmoid": arithmetic.log_sigmoid,
    "hard_tanh": lambda e, x: e.unary("clip", x, -1.0, 1.0),
    "tanh_shrink": _tanh_shrink,
    "squareplus": _squareplus,
    "glu": lambda e, x: arithmetic.glu(e, x, -1),
}


def apply_activation(e: Emit, spec: Any, x: Value, layer: Layer) -> Value:
    """Any activation on a tensor: one op where the core has it, else a few."""
    act = simple_activation(spec, layer.version, layer.place)
    if act is not None:
        return activate(e, act, x)
    kind = activation_name(spec, layer.place)
    if isinstance(kind, str) and kind in COMPOSED:
        return COMPOSED[kind](e, x)
    raise UnsupportedModelError(
        f"{layer.place}: activation {_text(spec)!r}: not supported, expected one of "
        f"{', '.join([*_PLAIN, 'hard_sigmoid', *COMPOSED])}; rebuild the model with one of these"
    )


def _text(spec: Any) -> str:
    if isinstance(spec, str):
        return spec
    return str(spec.get("config") if isinstance(spec.get("config"), str) else spec.get("class_name"))
