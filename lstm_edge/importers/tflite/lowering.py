"""The machinery under the TFLite importer: one operator with its values, the registry, and the Graph being built.

Values are those of the dialect: known arrays, partly known ones (sizes with Dims), or run-time tensors. A quantised
tensor is held as the real numbers it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ...ir.dims import Size
from ...ir.graph import State, Tensor
from ...recurrences.loops import Budget
from ..dialect import Dialect, Value
from ..dialect.call import OperatorCall
from .schema import ModelFile, Operator, SubGraph, TensorInfo

Scope = dict[int, Value]  # tensor index -> value
Operation = Callable[["Call"], "Value | list[Value]"]
LOWER: dict[str, Operation] = {}
IN_LOOPS = ("DYNAMIC_UPDATE_SLICE",)  # operators that have a meaning in the body of a loop alone
ACTIVATIONS = {0: "linear", 1: "relu", 2: "relu_n1_to_1", 3: "relu6", 4: "tanh", 5: "sign"}
MAX_OPERATORS = 40000  # interpreted beyond those of the file, as unrolled loops ask for
MAX_UNROLLED = 20000  # of one loop


def lowers(*kinds: str) -> Callable[[Operation], Operation]:
    def register(function: Operation) -> Operation:
        for kind in kinds:
            LOWER[kind] = function
        return function

    return register


@dataclass
class Variable:
    """A resource variable: its value when the model starts, and (when assigned) the stream's state behind it."""

    name: str
    initial: Value | None = None
    state: State | None = None
    current: Value | None = None


@dataclass(eq=False)
class ListValue(Value):
    """A TensorList: `stacked` along a new first axis when complete, `elements` while a loop is unrolled."""

    count: Size = 0
    stacked: Value | None = None
    elements: dict[int, Value] = field(default_factory=dict)


@dataclass(eq=False)
class Handle(Value):
    """The handle of a resource variable."""

    variable: Variable | None = None


class TfLowering(Dialect):
    """A Dialect that knows the file, and the numbers that the file has for sizes that are left open all the same."""

    def __init__(self, file: ModelFile, made_with: Mapping[str, int] | None = None, exact: bool = True):
        super().__init__()
        self.file, self.made_with, self.exact = file, made_with or {}, exact
        self.variables: dict[str, Variable] = {}
        self.assigned: set[str] = set()  # variables that the main graph writes
        self.depth = 0  # of subgraphs
        self.initialising = False  # inside CALL_ONCE
        self.inner = False  # inside the body of a loop
        in_file = sum(len(g.operators) for g in file.subgraphs)
        self.budget = Budget(MAX_OPERATORS + in_file, MAX_UNROLLED, "operators")

    def special(self, call: Call) -> Value | list[Value] | None:
        """What an operator means in this context alone; None when it means what it always does."""
        return None

    def state(
        self, name: str, shape: Sequence[Size], initial: np.ndarray | None = None, dtype: str = "float32"
    ) -> State:
        """A new state of the stream; its `write` is set later."""
        read = self.graph.fresh(name)
        self.graph.tensors[read] = Tensor(read, dtype, tuple(shape))
        start = None if initial is None or not np.any(initial) else initial.astype(dtype)
        state = State(read, read, read, tuple(shape), initial=start, dtype=dtype)
        self.graph.states.append(state)
        return state

    def activation(self, x: Value, code: int, place: str) -> Value:
        """x through a fused activation function."""
        name = ACTIVATIONS.get(code)
        if name == "linear":
            return x
        if name == "relu_n1_to_1":
            return self.unary("clip", x, -1, 1)
        if name in ("relu", "relu6", "tanh", "sign"):
            return self.unary(name, x)
        raise UnsupportedModelError(f"{place}: fused activation function {code} is not supported")


class Call(OperatorCall):
    """One operator with its input values."""

    ctx: TfLowering

    def __init__(self, ctx: TfLowering, op: Operator, graph: SubGraph, scope: Scope):
        self.ctx, self.op, self.scope = ctx, op, scope
        self.kind = op.kind
        self.infos: list[TensorInfo | None] = [graph.tensors[i] if i >= 0 else None for i in op.inputs]
        self.out_infos = [graph.tensors[i] for i in op.outputs if i >= 0]
        self.intermediates = [graph.tensors[i] for i in op.intermediates if i >= 0]
        self.name = self.out_infos[0].name if self.out_infos else op.kind
        self.inputs: list[Value | None] = [self._bound(i, graph) for i in op.inputs]
        self.on_grid = False  # whether the output is rounded to its grid already

    def _bound(self, index: int, graph: SubGraph) -> Value | None:
        if index < 0:
            return None
        if index not in self.scope:
            tensor = graph.tensors[index]
            if tensor.is_variable:
                return None  # a state: the operator that owns it looks at the tensor itself
            raise UnsupportedModelError(f"{self.place}: input {tensor.place} is not computed before it")
        return self.scope[index]

    @property
    def place(self) -> str:
        return f"operator {self.op.index} {self.name!r} ({self.kind})"

    def option(self, name: str, default: Any = 0) -> Any:
        return self.op.options.get(name, default)

    def input_name(self, n: int) -> str:
        info = self.infos[n]
        return info.name if info else "?"

    def activated(self, x: Value) -> Value:
        return self.ctx.activation(x, self.option("activation"), self.place)
