"""The machinery under the ONNX importer: one node with its values, the registry of operators, and the Graph being built.

A node is interpreted once, in order, by the function that registered itself for its operator in `LOWER`. One in
`FOLDS_ITSELF` computes exactly what is known; others are given to onnx.reference where all inputs are known.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable
from typing import Any

from ...options import as_typed
from ...recurrences.loops import Budget
from ..dialect import Dialect, Value
from ..dialect.call import OperatorCall

MAX_NODES = 16000  # interpreted beyond those of the file, as unrolled loops ask for
MAX_UNROLLED_NODES = 16000  # of one loop


# What the rounding of every value to so few bits adds up to over a network, of an output's scale.
SHORT_FLOATS = {"float16": 1e-2, "bfloat16": 8e-2}


class Lowering(Dialect):
    """A Dialect that knows the opsets of a file, the names that something reads, and how much may yet be interpreted."""

    def __init__(self, opsets: dict[str, int], used: set[str]):
        super().__init__()
        self.opsets = opsets
        self.used = used  # every ONNX name that something reads
        self.folded = 0
        self.budget = Budget(MAX_NODES, MAX_UNROLLED_NODES, "nodes")

    def rounds_to_16_bits(self, dtype: str) -> None:
        """Says so where the file's own element type is one of the short floats; computed in float32 here."""
        if dtype in SHORT_FLOATS:
            self.rounds(SHORT_FLOATS[dtype], f"{dtype} arithmetic in the runtime, float32 here")


class Call(OperatorCall):
    """One ONNX node with its input values. Attributes are counted as they are read; what nobody read is refused."""

    ctx: Lowering

    def __init__(
        self, ctx: Lowering, proto: Any, inputs: list[Value | None], attrs: dict[str, Any], scope: ChainMap[str, Value]
    ):
        self.ctx, self.proto, self.inputs, self.attrs, self.scope = ctx, proto, inputs, attrs, scope
        self.op = proto.op_type
        self.domain = "" if proto.domain in ("", "ai.onnx") else proto.domain
        self.name = proto.name or next((o for o in proto.output if o), self.op)
        self.opset = ctx.opsets.get(self.domain, 1)
        self._read: set[str] = set()

    @property
    def place(self) -> str:
        return f"node {self.name!r} ({self.op})"

    def attr(self, name: str, default: Any = None) -> Any:
        self._read.add(name)
        return self.attrs.get(name, default)

    def require_attr(self, name: str) -> Any:
        if name not in self.attrs:
            raise self.refuse(f"attribute {name} is missing")
        return self.attr(name)

    def ignore(self, *names: str) -> None:
        """Attributes that cannot change the result here."""
        self._read.update(names)

    def check_attrs(self) -> None:
        left = sorted(set(self.attrs) - self._read)
        if left:
            raise self.refuse(
                f"attribute {left[0]} = {self.attrs[left[0]]!r} is not supported; export the model without it"
            )

    def input_name(self, n: int) -> str:
        return self.proto.input[n] if n < len(self.proto.input) else f"#{n}"

    def wants(self, output: int) -> bool:
        return output < len(self.proto.output) and self.proto.output[output] in self.ctx.used

    def remedy(self, n: int) -> str:
        """What to give so that an input is known: the model's own inputs that it comes from."""
        sources = self._sources(n)
        if not sources:
            return f"; where it comes from a size give that size ({as_typed('shapes')})"
        constants = " and ".join(as_typed("constants", name) for name in sources)
        return (
            f"; it comes from the model's input {' and '.join(map(repr, sources))}: give that as a constant ({constants}) "
            f"where its values decide, its shape ({as_typed('shapes', sources[0])}) where that does"
        )

    def _sources(self, n: int) -> list[str]:
        """The inputs of the graph that input n is computed from."""
        ports = {p.tensor: p.name for p in self.ctx.graph.inputs}
        value = self.optional(n)
        left = [value.tensor] if value is not None and value.is_run else []
        seen: set[str] = set()
        while left:
            tensor = left.pop()
            if tensor in seen:
                continue
            seen.add(tensor)
            node = None if tensor in ports else self.ctx.producer(Value("float32", tensor=tensor))
            left += [i for i in node.inputs if i] if node is not None else []
        return [name for tensor, name in ports.items() if tensor in seen]

    def axes(self, input_opset: int) -> list[int] | None:
        """`axes` from the attribute, or from input 1 since `input_opset`; None when absent."""
        if self.opset < input_opset:
            axes = self.attr("axes")
            return None if axes is None else [int(a) for a in axes]
        return None if self.optional(1) is None else self.known_ints(1)


Operator = Callable[[Call], "Value | list[Value | None]"]
LOWER: dict[tuple[str, str], Operator] = {}
FOLDS_ITSELF: set[tuple[str, str]] = set()  # operators that LOWER does, whose function computes what is known


def lowers(*ops: str, domain: str = "", folds: bool = False) -> Callable[[Operator], Operator]:
    def register(function: Operator) -> Operator:
        for op in ops:
            LOWER[domain, op] = function
            if folds:
                FOLDS_ITSELF.add((domain, op))
        return function

    return register
