"""The Graph being built, and the operations on Values that every other meaning is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Union

import numpy as np

from ... import memory, reference
from ...errors import UnsupportedModelError
from ...ir.dims import Dim, Size, product, substitute
from ...ir.dims import value as value_of
from ...ir.graph import Graph, Node, Tensor
from ...ir.ops import BINARY_COMPARISON, BINARY_LOGIC, UNARY_INT, is_whole_slice
from . import folding, size_tensors
from .value import Int8Weight, Value, broadcast, check_bytes, known, run_dtype

Operand = Union[Value, Dim, float]  # what arithmetic takes: also a size, a number
RUN_TYPES = ("bool", "int32", "float32")  # the types of the run, from the lowest


class Dialect:
    """The Graph being built, with what every front end does to Values: emit an op, move, cast, measure.

    An op on values that are known is evaluated at once, so nothing known reaches the Graph. `place` is where the front end
    stands in its source, as messages give it; `node_name` is what the ops made there are called after: "name/op", or where
    `op_in_names` is off the name alone.
    """

    op_in_names = True

    def __init__(self) -> None:
        self.graph = Graph()
        self.notes: list[str] = []
        self.place = ""
        self.node_name = ""
        self.made_with: Mapping[str, int] = {}  # open sizes, by symbol, that the source itself has as a number
        self._uses: Counter[str] = Counter()
        self._producers: dict[str, Node] = {}
        self._indexed = 0
        # Tensors of values by id; the value is kept so that its id stays its own. Those partly known are made by nodes.
        self._constants: dict[int, tuple[Value, str]] = {}
        self._partly_known: dict[int, tuple[Value, str]] = {}
        self.held_sizes: dict[str, Size] = {}  # tensors that hold a size
        self.tensor_of_size: dict[Size, str] = {}

    # ---- values and tensors ---------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def rounds(self, relative: float, why: str, steps: float = 0.0) -> None:
        """Says that the source's own runtime computes more coarsely than float32: its answers may differ from this project's
        by `relative` of an output's scale, and whole numbers by `steps`. The coarsest that was said counts."""
        said = self.graph.metadata.get("arithmetic", {"relative": 0.0})
        if relative > said["relative"]:
            self.graph.metadata["arithmetic"] = {"relative": relative, "steps": steps, "why": why}

    def refuse(self, message: str) -> UnsupportedModelError:
        """The error for what has no meaning here, to be raised; the place in the source goes in front."""
        return UnsupportedModelError(f"{self.place}: {message}" if self.place else message)

    def as_made(self, size: Size) -> Size:
        """A size with the source's own numbers in place of the open sizes that it has numbers for."""
        return substitute(size, self.made_with)

    def opened(self, number: Size) -> Dim | None:
        """The open size that the source has this number for; None where there is none, or more than one."""
        found = [name for name, made_with in self.made_with.items() if number == made_with]
        return Dim.symbol(found[0]) if len(found) == 1 else None

    def shape(self, value: Value) -> tuple[Size, ...]:
        if value.array is not None:
            return value.array.shape
        return self.graph.shape(value.tensor)

    def tensor(self, value: Value | None, name: str = "") -> str:
        """The Graph tensor of a value; a known one becomes a constant (once)."""
        if value is None:
            return ""
        if value.items is not None:
            raise UnsupportedModelError(f"{self.place}: a sequence of tensors where one tensor is expected")
        if value.array is None:
            return value.tensor
        made = self._constants if value.is_known else self._partly_known
        if id(value) not in made:
            made[id(value)] = (value, self._tensor_of(value, name))
        return made[id(value)][1]

    def _tensor_of(self, value: Value, name: str) -> str:
        if isinstance(value, Int8Weight):
            held = self.graph.fresh(self._unique(name or "const"))
            self.graph.tensors[held] = Tensor(held, "int8", self.shape(value), value.rows, value.scale)
            return held
        if value.is_known:
            return self.graph.constant(value.array, self._unique(name or "const"))
        tensor = size_tensors.materialise(self, value.data)
        if not value.dtype.startswith("float"):
            return tensor
        return self.graph.add1("Cast", [tensor], {"to": "float32"}, self._name("cast"))

    def constant(self, array: Any, like: str = "float32") -> Value:
        return known(np.asarray(array, like))

    def operand(self, x: Operand, like: Operand) -> Value:
        """A Python number as a constant, a size as a value known in part. A number raises the kind of the value it meets
        (bool, int, float), as in NumPy, not its width."""
        if isinstance(x, Value):
            return x
        if isinstance(x, Dim):
            return known(x)
        if not isinstance(x, bool):
            integer = isinstance(x, (int, np.integer)) and not (
                isinstance(like, Value) and self.run_dtype(like) == "float32"
            )
            return self.constant(x, "int64" if integer else "float32")
        return self.constant(x, self.run_dtype(like) if isinstance(like, Value) else "bool")

    def axis(self, axis: int, rank: int) -> int:
        """An axis counted from the first; refused where the value has no such axis."""
        if not -rank <= axis < max(rank, 1):
            raise self.refuse(f"axis {axis} of a tensor with {rank} axes")
        return axis % rank if rank else 0

    def run_dtype(self, value: Value) -> str:
        return run_dtype(value.dtype, self.place)

    def emit(
        self, op: str, inputs: Sequence[Value | None], attrs: dict[str, Any] | None = None, dtype: str = ""
    ) -> Value:
        """Appends one op; returns its first output. `dtype` is the ONNX type when it is not that of input 0."""
        if not dtype:
            dtype = inputs[0].dtype if inputs and inputs[0] is not None else "float32"
        return self.emit_all(op, inputs, attrs or {}, [dtype])[0]

    def emit_all(
        self, op: str, inputs: Sequence[Value | None], attrs: dict[str, Any], dtypes: Sequence[str]
    ) -> list[Value]:
        """Appends an op with len(dtypes) outputs; one on known values is evaluated instead."""
        if inputs and all(v is None or v.is_known for v in inputs):
            return self._evaluate(op, inputs, attrs, dtypes)
        names = [self.tensor(v) for v in inputs]
        while names and not names[-1]:
            names.pop()
        base = self._name(op.lower())
        wanted = [self.graph.fresh(base if n == 0 else f"{base}:{n}") for n in range(len(dtypes))]
        outputs = self.graph.add(op, names, attrs, base, wanted)
        return [Value(d, tensor=t) for d, t in zip(dtypes, outputs)]

    def _evaluate(
        self, op: str, inputs: Sequence[Value | None], attrs: dict[str, Any], dtypes: Sequence[str]
    ) -> list[Value]:
        graph = Graph()
        names = [graph.constant(v.array) if v is not None else "" for v in inputs]
        base = self._name(op.lower())
        outputs = graph.add(op, names, attrs, base, [f"out{n}" for n in range(len(dtypes))])
        made = sum(value_of(product(graph.shape(o)), 1, 1) for o in outputs if o)
        memory.ask(
            8 * sum(v.data.size for v in inputs if v is not None) + 24 * made, self.place
        )  # in float64, and rounded
        arrays = [reference.constant(graph.tensors[n]) if n else None for n in names]
        results = reference.run_node(graph.nodes[-1], arrays)
        return [Value(d, np.asarray(r).astype(d)) for d, r, _ in zip(dtypes, results, outputs)]

    def _name(self, base: str) -> str:
        if self.node_name and not self.op_in_names:
            return self.node_name  # the Graph numbers its tensors
        return self._unique(f"{self.node_name}/{base}" if self.node_name else base)

    def _unique(self, name: str) -> str:
        """The name, with a number from its second use on (Graph.fresh would count up from 1 for each)."""
        count = self._uses[name]
        self._uses[name] += 1
        return f"{name}.{count}" if count else name

    def producer(self, value: Value) -> Node | None:
        if not value.is_run:
            return None
        for node in self.graph.nodes[self._indexed :]:
            self._producers.update({o: node for o in node.outputs if o})
        self._indexed = len(self.graph.nodes)
        return self._producers.get(value.tensor)

    def rename(self, value: Value, name: str, since: int) -> None:
        """Gives the tensor of a value, made by a node after the first `since` ones, the name it has in the file."""
        old, graph = value.tensor, self.graph
        node = self.producer(value)
        if not value.is_run or name in graph.tensors or node is None or not any(n is node for n in graph.nodes[since:]):
            return
        tensor = graph.tensors.pop(old)
        tensor.name = name
        graph.tensors[name] = tensor
        for n in graph.nodes[since:]:
            n.inputs = [name if i == old else i for i in n.inputs]
            n.outputs = [name if o == old else o for o in n.outputs]
        self._producers[name] = self._producers.pop(old)
        if old in self.held_sizes:
            self.held_sizes[name] = self.held_sizes.pop(old)
        self.tensor_of_size = {s: name if t == old else t for s, t in self.tensor_of_size.items()}
        self._partly_known = {i: (v, name if t == old else t) for i, (v, t) in self._partly_known.items()}
        value.tensor = name

    def uniform(self, value: Value) -> Any:
        """The one number (or Size) that every element of a value has, None when that is not known."""
        return size_tensors.uniform(self, value)

    def counted(self, value: Value) -> Size | None:
        """n where a value is the vector 0, 1 ... n - 1; None where that is not known."""
        return size_tensors.counted(self, value)

    # ---- ops with a symbolic side ---------------------------------------------------------------------------------

    def reshape(self, x: Value, target: Sequence[Size]) -> Value:
        """x in a shape whose sizes are all given. A Reshape of a Reshape, or to the shape at hand, leaves no op."""
        target = list(target)
        if x.array is not None and not any(isinstance(s, Dim) for s in target):
            return Value(x.dtype, x.array.reshape(numbers(target)))
        node = self.producer(x)
        while node is not None and node.op == "Reshape":
            x = Value(x.dtype, tensor=node.inputs[0])
            node = self.producer(x)
        if list(self.shape(x)) == target:
            return x
        if node is not None and node.op == "Transpose":
            moved = _moved_axes(node.attrs["perm"])
            if moved < len(node.attrs["perm"]) and target[:moved] == list(self.shape(x)[:moved]):
                source = Value(x.dtype, tensor=node.inputs[0])  # reshape what the Transpose leaves in place before it
                inner = self.reshape(source, [*self.shape(source)[:moved], *target[moved:]])
                return self.transpose(inner, [*node.attrs["perm"][:moved], *range(moved, len(target))])
        inputs, attrs = size_tensors.dims_spec(self, target, [self.tensor(x)], rest=True)
        tensor = self.graph.add1("Reshape", inputs, attrs, self._name("reshape"))
        return Value(x.dtype, tensor=tensor)

    def transpose(self, x: Value, perm: Sequence[int]) -> Value:
        """x with its axes permuted; chains of Transpose become one, one that moves only axes of size 1 a Reshape."""
        perm = list(perm)
        if sorted(perm) != list(range(len(self.shape(x)))):
            raise self.refuse(f"permutes {len(self.shape(x))} axes by {perm}: expected each of them once")
        if x.array is not None:
            return Value(x.dtype, x.array.transpose(perm))
        node = self.producer(x)
        while node is not None and node.op == "Transpose":
            perm = [node.attrs["perm"][p] for p in perm]
            x = Value(x.dtype, tensor=node.inputs[0])
            node = self.producer(x)
        if perm == sorted(perm):
            return x
        shape = self.shape(x)
        moved = [p for p in perm if shape[p] != 1]
        if moved == sorted(moved):
            return self.reshape(x, [shape[p] for p in perm])
        return self.emit("Transpose", [x], {"perm": perm})

    def fill(self, value: float, shape: Sequence[Size], dtype: str = "float32") -> Value:
        """A tensor of one value; known when its shape is."""
        if not any(isinstance(s, Dim) for s in shape):
            check_bytes(shape, self.place)
            return known(np.full(numbers(shape), value, dtype))
        inputs, attrs = size_tensors.dims_spec(self, shape, [], rest=False)
        attrs.update(value=float(value), dtype=run_dtype(dtype, self.place))
        return Value(dtype, tensor=self.graph.add1("Fill", inputs, attrs, self._name("fill")))

    def arange(self, count: Size) -> Value:
        """0.0, 1.0 ... count - 1 (exact to 2^24)."""
        ones = self.fill(1.0, [count])
        return self.emit("CumSum", [ones], {"axis": 0, "exclusive": 1, "reverse": 0})

    def positions(self, shape: Sequence[Size], axis: int) -> Value:
        """int64 positions along an axis, ready to broadcast with tensors of this shape."""
        places = self.emit("Cast", [self.arange(shape[axis])], {"to": "int32"}, "int64")
        return self.reshape(places, [s if d == axis else 1 for d, s in enumerate(shape)])

    def expand(self, x: Value, target: Sequence[Size]) -> Value:
        """x broadcast to a shape that is already the broadcast of its own."""
        if list(self.shape(x)) == list(target):
            return x
        if x.is_known and not any(isinstance(s, Dim) for s in target):
            check_bytes(target, self.place)
            return known(np.broadcast_to(x.data, numbers(target)))
        tensor = self.tensor(x)
        inputs, attrs = size_tensors.dims_spec(self, target, [tensor], rest=False)
        return Value(x.dtype, tensor=self.graph.add1("Expand", inputs, attrs, self._name("expand")))

    def slice_axis(self, x: Value, axis: int, start: int, end: int, step: int = 1) -> Value:
        return self.slice_axes(x, [(axis, start, end, step)])

    def slice_axes(self, x: Value, cuts: Sequence[tuple[int, int, int, int]]) -> Value:
        """x[start:end:step] along axes, as one op; what cuts nothing off leaves none. cuts: (axis, start, end, step)."""
        shape = self.shape(x)
        cuts = [cut for cut in cuts if not is_whole_slice(shape[cut[0]], *cut[1:])]
        if not cuts:
            return x
        if x.array is not None:
            index = [slice(None)] * len(shape)
            for axis, start, end, step in cuts:
                index[axis] = slice(start, end, step)
            return known(x.array[tuple(index)], x.dtype)
        given = zip(("axes", "starts", "ends", "steps"), zip(*cuts))
        return self.emit("Slice", [x], {key: list(values) for key, values in given})

    def cast(self, x: Value, to: str) -> Value:
        """x as a run-time dtype."""
        if x.is_known:
            return x if to == "int32" and x.dtype == "int64" else known(x.data.astype(to))
        if self.run_dtype(x) == to:
            return x
        return self.emit("Cast", [x], {"to": to}, to) if x.array is None or to == "bool" else Value(to, x.array)

    def unary(self, kind: str, x: Value, alpha: float | None = None, beta: float | None = None) -> Value:
        """`kind` of docs/ops.md; integers become float32 where it is none of theirs."""
        folded = folding.unary(kind, x) if x.array is not None else None
        if folded is not None:
            return folded
        of_x = ("bool",) if kind == "not" else ("float32", "int32") if kind in UNARY_INT else ("float32",)
        attrs: dict[str, Any] = {"kind": kind}
        if alpha is not None:
            attrs["alpha"] = float(alpha)
        if beta is not None:
            attrs["beta"] = float(beta)
        return self.emit("Unary", [self.computed_in(x, *of_x)], attrs, "bool" if kind == "is_nan" else "")

    def computed_in(self, x: Value, *types: str) -> Value:
        """x where its type of the run is one of these, else in the first of them."""
        return x if self.run_dtype(x) in types else self.cast(x, types[0])

    def binary(self, kind: str, a: Operand, b: Operand) -> Value:
        """`kind` of docs/ops.md on two values of one type; of two types the lower one becomes the higher: bool, int,
        float. What is known folds, and what changes nothing leaves no op."""
        a, b = self.operand(a, b), self.operand(b, a)
        if kind in BINARY_LOGIC:
            a, b = self.cast(a, "bool"), self.cast(b, "bool")
        else:
            a, b = self.alike(a, b, "bool" if kind in ("equal", "not_equal") else "int32")
        if a.array is not None and b.array is not None:
            folded = folding.binary(kind, a, b, self.place)
            if folded is not None:
                for size in folding.rounded_as_sizes(kind, a, b):
                    self.note(f"{self.place}: {size} is rounded as a size, so as no less than 0, where it is divided")
                return folded
        for x, constant in ((a, b), (b, a)):
            if x.is_run and constant.is_known and self._is_neutral(kind, constant, x is a):
                if broadcast(self.shape(a), self.shape(b), self.place) == list(self.shape(x)):
                    return x
        return self.emit("Binary", [a, b], {"kind": kind}, "bool" if kind in BINARY_COMPARISON else "")

    def alike(self, a: Value, b: Value, least: str = "bool") -> tuple[Value, Value]:
        """Both in the higher one's type of the run, in `least` at least: bool, int32, float32."""
        wanted = max(least, self.run_dtype(a), self.run_dtype(b), key=RUN_TYPES.index)
        return self.computed_in(a, wanted), self.computed_in(b, wanted)

    def _is_neutral(self, kind: str, constant: Value, right: bool) -> bool:
        """Whether x + constant, x * constant and so on are x (a negative zero aside)."""
        neutral = {"add": 0, "mul": 1, **({"sub": 0, "div": 1} if right else {})}.get(kind)
        return neutral is not None and self.uniform(constant) == neutral


def numbers(sizes: Sequence[Size]) -> list[int]:
    """Sizes none of which is open, as ints; TypeError where one is."""
    known_sizes = [int(s) for s in sizes if not isinstance(s, Dim)]
    if len(known_sizes) < len(sizes):
        raise TypeError(f"expected sizes known at conversion, found {list(sizes)}")
    return known_sizes


def _moved_axes(perm: list[int]) -> int:
    """How many leading axes a permutation moves."""
    moved = len(perm)
    while moved and perm[moved - 1] == moved - 1:
        moved -= 1
    return moved
