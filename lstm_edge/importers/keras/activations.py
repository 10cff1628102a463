"""Keras activation names, functions and layers as the core's activations or as a few ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import UnsupportedModelError
from ..dialect import Value, arithmetic, reductions
from ..dialect.activations import USUAL, Activation, activate
from .config import Config, Layer, Version
from .emit import Emit

_SAME_NAMES = "linear relu sigmoid tanh softplus softsign silu mish relu6 exp elu selu celu gelu hard_silu".split()
_PLAIN = {
    **{name: Activation(name, *USUAL.get(name, ())) for name in _SAME_NAMES},
    "swish": Activation("silu"),
    "exponential": Activation("exp"),
    "hard_swish": Activation("hard_silu"),
    "leaky_relu": Activation("leaky_relu", 0.2),
    "identity": Activation("linear"),
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


def gate_activation(spec: Any, version: Version, place: str) -> Activation:
    """The core's activation for a gate or a cell. UnsupportedModelError for anything else."""
    act = simple_activation(spec, version, place)
    if act is not None:
        return act
    name, known = _text(spec), ", ".join([*_PLAIN, "hard_sigmoid"])
    if name in COMPOSED:
        raise UnsupportedModelError(
            f"{place}: activation {name!r} inside a recurrence: expected one that works number by number ({known}); train "
            f"the layer with such a one, and apply {name} in a layer behind it"
        )
    raise UnsupportedModelError(
        f"{place}: activation {name!r} inside a recurrence: expected one of {known}; rebuild a custom function from these"
    )


def simple_activation(spec: Any, version: Version, place: str) -> Activation | None:
    """The single activation `spec` is, None when it takes several ops or is unknown."""
    name = activation_name(spec, place)
    if isinstance(name, dict):
        inner = name["config"]
        return layer_activation(name["class_name"].split(">")[-1], Config(inner, place))
    if name == "hard_sigmoid":
        return Activation("hard_sigmoid", *version.hard_sigmoid)
    return _PLAIN.get(name)


def layer_activation(cls: str, config: Config) -> Activation | None:
    """The advanced-activation layers that are one activation of the core."""
    if cls == "LeakyReLU":
        key = "negative_slope" if "negative_slope" in config.values else "alpha"
        return Activation("leaky_relu", config.number(key, 0.3))
    if cls == "ELU":
        return Activation("elu", config.number("alpha", 1.0))
    if cls == "ThresholdedReLU":
        return Activation("thresholded_relu", config.number("theta", 1.0))
    if cls == "ReLU":
        top, slope, threshold = (config.take(k) for k in ("max_value", "negative_slope", "threshold"))
        slope, threshold = (
            config.number("negative_slope", 0.0) if slope else 0.0,
            config.number("threshold", 0.0) if threshold else 0.0,
        )
        if threshold or (top is not None and (slope or top != 6)):
            return None
        return Activation("relu6") if top == 6 else Activation("leaky_relu", slope) if slope else Activation("relu")
    return None


def relu_layer(e: Emit, layer: Layer, x: Value) -> Value:
    """ReLU that is no one activation: max_value above, x from the threshold, slope (x - threshold) below."""
    top, threshold = layer.config.take("max_value"), float(layer.config.take("threshold") or 0)
    slope = float(layer.config.take("negative_slope") or 0)
    below = e.scaled(x, slope, -slope * threshold)
    above = x if top is None else e.unary("clip", x, -arithmetic.HIGHEST, float(top))
    return arithmetic.where(e, e.binary("greater_equal", x, e.constant(threshold)), above, below)


def _tanh_shrink(e: Emit, x: Value) -> Value:
    return e.binary("sub", x, e.unary("tanh", x))


def _squareplus(e: Emit, x: Value) -> Value:
    root = e.unary("sqrt", e.scaled(arithmetic.square(e, x), 1, 4))
    return e.scaled(e.binary("add", x, root), 0.5)


Composed = Callable[[Emit, Value], Value]  # an activation of several ops
COMPOSED: dict[str, Composed] = {
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
    act = known_activation(spec, layer)
    return activate(e, x, act) if isinstance(act, Activation) else act(e, x)


def known_activation(spec: Any, layer: Layer) -> Activation | Composed:
    """What an activation of a layer is. UnsupportedModelError for an unknown one."""
    act = simple_activation(spec, layer.version, layer.place)
    if act is not None:
        return act
    kind = activation_name(spec, layer.place)
    if isinstance(kind, str) and kind in COMPOSED:
        return COMPOSED[kind]
    raise UnsupportedModelError(
        f"{layer.place}: activation {_text(spec)!r}: not supported, expected one of "
        f"{', '.join([*_PLAIN, 'hard_sigmoid', *COMPOSED])}; rebuild the model with one of these"
    )


class Finish:
    """Bias and activation of a product or convolution: one activation goes into the op, several ops follow it."""

    def __init__(self, e: Emit, layer: Layer, channels: int | None = None) -> None:
        layer.config.take("use_bias")
        self.layer, self.spec = layer, layer.config.take("activation")
        self.bias = e.weight(layer.weight("bias", (channels,)), "bias") if "bias" in layer.weights else None
        act = simple_activation(self.spec, layer.version, layer.place)
        self.activation = None if act is None else act.fused

    def __call__(self, e: Emit, y: Value, part: str) -> Value:
        """y behind the op, which is called after the layer, or after `part` of it where more ops follow."""
        if self.activation is not None:
            return e.named(y)
        return apply_activation(e, self.spec, e.named(y, part), self.layer)


def _text(spec: Any) -> str:
    if isinstance(spec, str):
        return spec
    return str(spec.get("config") if isinstance(spec.get("config"), str) else spec.get("class_name"))
