"""One operation of a functional model and its arguments, wherever the version of Keras wrote them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Union

from ...errors import UnsupportedModelError
from ..dialect import Value
from . import tf_names
from .config import Layer
from .emit import Call, Emit, Masked


def kind_of(layer: Layer) -> str:
    """The operation's name in Keras 3's words; the file's own where there is none."""
    if layer.cls == "SlicingOpLambda":
        return "GetItem"
    if layer.cls == "TFOpLambda":
        function = str(layer.config.take("function")).removeprefix("compat.v1.")
        return tf_names.KINDS.get(function, function)
    return layer.written


class Op:
    """One operation: arguments by position, keyword or config, whichever the version used."""

    def __init__(self, e: Emit, layer: Layer, call: Call) -> None:
        self.e, self.layer, self.call = e, layer, call
        self.kind = kind_of(layer)

    def arg(self, position: int, *names: str, default: Any = None) -> Any:
        for name in names:
            if name in self.call.kwargs:
                return self.call.kwargs[name]
            if self.layer.config.values.get(name) is not None:
                return self.layer.config.take(name)
        return self.call.args[position] if position < len(self.call.args) else default

    def tensor(self, position: int, *names: str, like: Value | None = None) -> Value:
        """An operand: a tensor, or a number or array as a constant of the other operand's dtype."""
        value = self.arg(position, *names)
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Masked):
            value = value[0]
        if isinstance(value, Masked):
            return value.value
        try:
            return self.e.constant(value, "float32" if like is None or like.dtype == "float32" else "int32")
        except (TypeError, ValueError) as error:
            raise self.fail(f"operand {str(value)[:60]!r}", "expected a tensor or numbers") from error

    @property
    def x(self) -> Value:
        return self.tensor(0, "x", "features", "input", "inputs", "input_tensor", "tensor", "value", "a", "t", "logits")

    @property
    def rank(self) -> int:
        return self.e.rank(self.x)

    def axis(self, position: int, default: int) -> int:
        axis = self.arg(position, "axis", default=default)
        return axis if isinstance(axis, int) else default

    def number(self, position: int, name: str, default: float) -> float:
        value = self.arg(position, name, default=default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.fail(f"{name} {str(value)[:40]}: expected a number")
        return float(value)

    def run_dtype(self, name: Any) -> str:
        """The run's dtype for a name of Keras's: 'int64', 'tf.float16'."""
        for word, run in (("bool", "bool"), ("int", "int32"), ("float", "float32")):
            if word in str(name):
                return run
        raise self.fail(f"dtype {name}")

    def axes(self, value: Any) -> list[int]:
        values = list(range(self.rank)) if value is None else [value] if isinstance(value, int) else list(value)
        return [int(v) % self.rank for v in values]

    def operands(self) -> tuple[Value, Value]:
        """Two operands, of which one may be constant, in the other's dtype."""
        first, second = self.arg(0, "x1", "x", "a"), self.arg(1, "x2", "y", "b")
        if isinstance(first, Masked):
            return first.value, self.tensor(1, "x2", "y", "b", like=first.value)
        if isinstance(second, Masked):
            return self.tensor(0, "x1", "x", "a", like=second.value), second.value
        raise self.fail("two constant operands")

    def fail(self, what: str, advice: str = "rebuild it from standard layers") -> UnsupportedModelError:
        return self.e.unsupported(what, advice)


Rule = Callable[[Op], Union[Value, list[Value]]]
