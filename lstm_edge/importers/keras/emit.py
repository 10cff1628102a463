"""What the Keras layers share: the dialect with Keras's names and places, and values with the masks that travel along."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Union

import numpy as np

from ...errors import FormatError, UnsupportedModelError
from ...ir.dims import Size, substitute
from ..dialect import Dialect, Value, known
from .config import Layer

MAX_ELEMENTS = 1 << 28  # of a tensor of one sequence and one frame; a config that asks for more is not a real one


@dataclass(frozen=True, eq=False)
class Masked:
    """A value with the Keras mask that travels with it: bool (B, T), or None."""

    value: Value
    mask: Value | None = None


@dataclass
class Call:
    """One call of a layer: tensors in order, keyword arguments (Masked, lists of such or plain), positional arguments
    as written."""

    inputs: list[Masked]
    kwargs: dict[str, Any] = field(default_factory=dict)
    args: list[Any] = field(default_factory=list)

    @property
    def x(self) -> Value:
        return self.inputs[0].value

    def mask(self) -> Value | None:
        """The mask given by keyword, else the first input's."""
        given = self.kwargs.pop("mask", None)
        return given.value if isinstance(given, Masked) else self.inputs[0].mask


class Emit(Dialect):
    """The dialect, standing in one layer at a time. `made_with`: open sizes, by symbol, as the file was trained."""

    def __init__(self, made_with: Mapping[str, int]) -> None:
        super().__init__()
        self._made_with = made_with
        self._since = 0  # the layer's first op
        self._named: set[int] = set()  # ops that have their final names
        self._names: set[str] = set()

    @contextmanager
    def inside(self, layer: Layer, name: str) -> Iterator[None]:
        """While the block runs, ops are called after `name` and messages name the layer."""
        outer = self.place, self.node_name, self._since
        self.place, self.node_name, self._since = layer.place, name, len(self.graph.nodes)
        try:
            yield
        finally:
            self.place, self.node_name, self._since = outer

    def named(self, value: Value, part: str = "") -> Value:
        """The value; the op that makes it is called after the layer (or a part of it), if the layer made it and
        neither the op nor another has that name yet. Users name these ops, to keep them in float32 for one."""
        node, name = self.producer(value), f"{self.node_name}/{part}" if part else self.node_name
        made = any(n is node for n in self.graph.nodes[self._since :])
        if node is not None and made and id(node) not in self._named and name not in self._names:
            self._named.add(id(node))
            self._names.add(name)
            node.name = name
            self.rename(value, name, self._since)
        return value

    def weight(self, array: Any, part: str) -> Value:
        """A constant called after the layer and its part."""
        constant = known(np.asarray(array))
        self.tensor(constant, f"{self.node_name}/{part}")
        return constant

    def emit_all(
        self, op: str, inputs: Sequence[Value | None], attrs: dict[str, Any], dtypes: Sequence[str]
    ) -> list[Value]:
        outputs = super().emit_all(op, inputs, attrs, dtypes)
        for output in outputs:
            if math.prod(s for s in self.shape(output) if isinstance(s, int)) > MAX_ELEMENTS:
                raise FormatError(f"{self.place}: expected at most {MAX_ELEMENTS} elements, found {self.shape(output)}")
        return outputs

    def rank(self, x: Value) -> int:
        return len(self.shape(x))

    def at_trained(self, size: Size) -> Size:
        """A size as a number where it depends on frames alone and the file says how many there were."""
        return substitute(size, self._made_with)

    def real(self, x: Value) -> Value:
        """x in float32."""
        return self.cast(x, "float32")

    def scaled(self, x: Value, scale: Any, offset: Any = 0.0) -> Value:
        """x * scale + offset with constants that broadcast with x; what does nothing leaves no op."""
        return self.binary("add", self.binary("mul", x, self.constant(scale)), self.constant(offset))

    def unsupported(self, what: str, advice: str) -> UnsupportedModelError:
        return self.refuse(f"{what}; {advice}")


def channel_axis(e: Emit, x: Value, layer: Layer) -> int:
    """Where the channels are: the last axis, or axis 1 with data_format channels_first."""
    layout = layer.config.word("data_format", ("channels_last", "channels_first"), "channels_last")
    return e.rank(x) - 1 if layout == "channels_last" else 1


def spatial_axes(e: Emit, x: Value, layer: Layer) -> list[int]:
    channels = channel_axis(e, x, layer)
    return [a for a in range(1, e.rank(x)) if a != channels]


def spatial_rank(layer: Layer) -> int:
    """How many axes a layer works over, as its name says."""
    return 2 if "2D" in layer.cls else 1


def unsupported(layer: Layer, what: str, advice: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"{layer.place}: {what}; {advice}")


Rule = Callable[[Emit, Layer, Call], Union[Value, Masked, list[Masked]]]  # what a call of a layer gives
