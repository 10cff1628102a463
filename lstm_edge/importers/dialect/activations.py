"""Activations by name, with their parameters: fused where an op has room for one, else an op of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ...errors import UnsupportedModelError
from ...ir.ops import ACTIVATIONS, PARAMETERS
from .arithmetic import SELU
from .builder import Dialect
from .reductions import softmax
from .value import Value

OVER_FEATURES = ("softmax", "log_softmax")  # over the last axis
# Where the parameters are the same in every framework; the others must be given.
USUAL = {"elu": (1.0, 0.0), "celu": (1.0, 0.0), "selu": SELU}


class Activation(NamedTuple):
    """One of the core's activations, or softmax or log_softmax over the last axis."""

    kind: str = "linear"
    alpha: float = 0.0
    beta: float = 0.0

    @property
    def fused(self) -> Mapping[str, Any]:
        """As the attributes of an op that applies it to its own output; none where it needs an op of its own."""
        if self.kind in ("linear", *OVER_FEATURES):
            return {}
        return {"activation": self.kind, "alpha": self.alpha, "beta": self.beta}

    @property
    def after(self) -> Activation:
        """What is left to do behind an op that has the fused part."""
        return LINEAR if self.fused else self


LINEAR = Activation()


def activate(d: Dialect, x: Value, act: Activation) -> Value:
    """x under an activation; `linear` leaves no op."""
    if act.kind == "linear":
        return x
    if act.kind in OVER_FEATURES:
        return softmax(d, x, -1, act.kind == "log_softmax")
    return d.unary(act.kind, x, act.alpha, act.beta)


def activation(spec: Any, place: str) -> Activation:
    """From a name, or a table {kind, alpha, beta}. UnsupportedModelError for an unknown name or a missing parameter."""
    given = dict(spec) if isinstance(spec, dict) else {"kind": spec}
    kind = given.pop("kind", None)
    if kind in (None, "", "none", "identity"):
        kind = "linear"
    known = (*ACTIVATIONS, *OVER_FEATURES)
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
