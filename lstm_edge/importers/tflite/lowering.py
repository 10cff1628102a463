"""The machinery under the TFLite importer: one operator with its values, the registry, and the Graph being built.

Values are those of the dialect: known arrays, partly known ones (sizes with Dims), or run-time tensors. A quantised
tensor is held as the real numbers it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ...ir.dims import Dim, Size
from ...ir.graph import State, Tensor
from ...recurrences.loops import Budget
from ..dialect import Dialect, Undecided, Value, check_growth, known
from .quant import average_in_steps, fake_quantize, on_same_grid
from .schema import ModelFile, Operator, SubGraph, TensorInfo

Scope = dict[int, Value]  # tensor index -> value
Operation = Callable[["Call"], "Value | list[Value]"]
LOWER: dict[str, Operation] = {}
ACTIVATIONS = {0: "linear", 1: "relu", 2: "relu_n1_to_1", 3: "relu6", 4: "tanh", 5: "sign"}
# Operators that hand elements on without computing: nothing to round where both ends have the same scale.
MOVEMENT = {
    "RESHAPE",
    "TRANSPOSE",
    "SQUEEZE",
    "EXPAND_DIMS",
    "STRIDED_SLICE",
    "SLICE",
    "SPLIT",
    "SPLIT_V",
    "UNPACK",
    "PACK",
    "GATHER",
    "CONCATENATION",
    "REVERSE_V2",
    "TILE",
    "BROADCAST_TO",
    "MAX_POOL_2D",
    "RELU",
    "MAXIMUM",
    "MINIMUM",
    "REDUCE_MAX",
    "REDUCE_MIN",
    "WHILE",
    "IF",
    "SELECT",
    "SELECT_V2",
    "EMBEDDING_LOOKUP",
    "RESIZE_NEAREST_NEIGHBOR",
}

MAX_OPERATORS = 40000  # interpreted beyond those of the file, as unrolled loops ask for
MAX_UNROLLED = 20000  # of one loop
AVERAGES = ("AVERAGE_POOL_2D", "MEAN")


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
    """A Dialect that knows the file, and the number of frames it was exported with where those are left open."""

    def __init__(self, file: ModelFile, trained: int | None = None, exact: bool = True):
        super().__init__()
        self.file, self.trained, self.exact = file, trained, exact
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

    def state(self, name: str, shape: Sequence[Size], initial: np.ndarray | None = None) -> State:
        """A new state of the stream; its `write` is set later."""
        read = self.graph.fresh(name)
        self.graph.tensors[read] = Tensor(read, "float32", tuple(shape))
        start = None if initial is None or not np.any(initial) else initial.astype(np.float32)
        state = State(read, read, read, tuple(shape), initial=start)
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


class Call:
    """One operator with its input values."""

    def __init__(self, ctx: TfLowering, op: Operator, graph: SubGraph, scope: Scope):
        self.ctx, self.op, self.scope = ctx, op, scope
        self.kind = op.kind
        self.infos: list[TensorInfo | None] = [graph.tensors[i] if i >= 0 else None for i in op.inputs]
        self.out_infos = [graph.tensors[i] for i in op.outputs if i >= 0]
        self.intermediates = [graph.tensors[i] for i in op.intermediates if i >= 0]
        self.name = self.out_infos[0].name if self.out_infos else op.kind
        self.inputs: list[Value | None] = [self._bound(i, graph) for i in op.inputs]

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

    def refuse(self, message: str) -> UnsupportedModelError:
        return UnsupportedModelError(f"{self.place}: {message}")

    def option(self, name: str, default: Any = 0) -> Any:
        return self.op.options.get(name, default)

    def optional(self, n: int) -> Value | None:
        return self.inputs[n] if n < len(self.inputs) else None

    def input(self, n: int) -> Value:
        value = self.optional(n)
        if value is None:
            raise self.refuse(f"input {n} is missing")
        return value

    def all_inputs(self) -> list[Value]:
        return [self.input(n) for n in range(len(self.inputs))]

    def known(self, n: int) -> np.ndarray:
        """Input n as an array, refused by name unless known at conversion."""
        value = self.input(n)
        if not value.is_known:
            info = self.infos[n]
            raise self.refuse(f"its input {n} ({info.name if info else '?'!r}) must be known at conversion")
        assert value.array is not None
        return value.array

    def known_ints(self, n: int) -> list[int]:
        return [int(v) for v in self.known(n).reshape(-1)]

    def sizes(self, n: int) -> list[Size]:
        """Input n as ints and Dims."""
        value = self.input(n)
        if value.array is None:
            raise self.refuse(
                f"its input {n} must follow from the shapes of the model's inputs; it is computed at run time"
            )
        return [e if isinstance(e, Dim) else int(e) for e in value.array.reshape(-1)]

    def shape(self, n: int) -> tuple[Size, ...]:
        return self.ctx.shape(self.input(n))

    def rank(self, n: int) -> int:
        return len(self.shape(n))

    def axis(self, axis: int, rank: int) -> int:
        if not -rank <= axis < max(rank, 1):
            raise self.refuse(f"axis {axis} of a tensor with {rank} axes")
        return axis % rank if rank else 0

    def activated(self, x: Value) -> Value:
        return self.ctx.activation(x, self.option("activation"), self.place)


def constant(info: TensorInfo) -> Value:
    """A constant of the file: quantised ones as the real numbers they stand for."""
    if info.quantization is not None and info.dtype in ("int8", "uint8", "int16", "int32", "int4", "uint4", "int64"):
        q = info.quantization
        along = [-1 if d == q.dim and q.scale.size > 1 else 1 for d in range(len(info.shape))]
        scale, zero = q.scale.reshape(along), q.zero_point.reshape(along)
        return known(((info.array.astype(np.float64) - zero) * scale).astype(np.float32).reshape(info.shape))
    return known(info.array)


def lower_block(ctx: TfLowering, graph: SubGraph, scope: Scope) -> None:
    """Interprets a subgraph's operators in order; binds their outputs in `scope`."""
    ctx.budget.left -= len(graph.operators)
    if ctx.budget.left < 0:
        raise UnsupportedModelError(f"{ctx.place}: unrolled, the model has more than {MAX_OPERATORS} operators")
    for op in graph.operators:
        for index in op.inputs:
            if index >= 0 and index not in scope and graph.tensors[index].data is not None:
                scope[index] = constant(graph.tensors[index])
        call = Call(ctx, op, graph, scope)
        outer = ctx.place, ctx.node_name
        ctx.place, ctx.node_name = call.place, call.name
        values = _evaluate(call)
        ctx.place, ctx.node_name = outer
        for index, value in zip(op.outputs, values):
            if index >= 0:
                scope[index] = value


def _evaluate(call: Call) -> list[Value]:
    ctx, since = call.ctx, len(call.ctx.graph.nodes)
    try:
        result = ctx.special(call)
        if result is None:
            function = LOWER.get(call.kind)
            if function is None:
                raise call.refuse("this operator is not supported; docs/tflite.md lists those that are")
            result = average_in_steps(call, function) if call.kind in AVERAGES else None
            result = function(call) if result is None else result
    except UnsupportedModelError:
        raise
    except (Undecided, ValueError, IndexError, KeyError, TypeError, AttributeError, ZeroDivisionError) as e:
        raise UnsupportedModelError(f"{call.place}: cannot be converted: {type(e).__name__}: {e}") from e
    values = result if isinstance(result, list) else [result]
    check_growth(call.inputs, values, call.place)
    for n, (info, value) in enumerate(zip(call.out_infos, values)):
        if info.quantization is None or value.array is not None or value.items is not None:
            pass
        elif not (call.kind in MOVEMENT and on_same_grid(call, info)):
            values[n] = value = fake_quantize(ctx, value, info)
        if value.is_run and value.tensor:
            ctx.rename(value, info.name, since)
    return values
