"""The Graph being built, and the operations on Values that every other meaning is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import reference
from ...errors import UnsupportedModelError
from ...ir.dims import Dim, Size, product
from ...ir.graph import Graph, Node
from ...ir.ops import TO_END
from . import folding
from .value import Value, broadcast, check_bytes, known, run_dtype

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
        self.trained: int | None = None  # the number of frames the source was made with, where those are now open
        self._uses: Counter[str] = Counter()
        self._producers: dict[str, Node] = {}
        self._indexed = 0
        self._constants: dict[int, tuple[Value, str]] = {}
        self._sizes: dict[str, Size] = {}  # tensors that hold a size
        self._size_tensors: dict[Size, str] = {}

    # ---- values and tensors ---------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def refuse(self, message: str) -> UnsupportedModelError:
        """The error for what has no meaning here, to be raised; the place in the source goes in front."""
        return UnsupportedModelError(f"{self.place}: {message}" if self.place else message)

    def equals_trained(self, size: Any) -> bool:
        """Whether a number of the source is the number of frames that is now open."""
        return self.trained is not None and not isinstance(size, Dim) and int(size) == self.trained

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
        if id(value) not in self._constants:
            if value.is_known:
                tensor = self.graph.constant(value.array, self._unique(name or "const"))
            else:
                tensor = self._materialise(value.array)
                if value.dtype.startswith("float"):
                    tensor = self.graph.add1("Cast", [tensor], {"to": "float32"}, self._name("cast"))
            self._constants[id(value)] = (value, tensor)  # the value is kept so that its id stays its own
        return self._constants[id(value)][1]

    def constant(self, array: Any, like: str = "float32") -> Value:
        return known(np.asarray(array, like))

    def number(self, number: float, like: Value) -> Value:
        """A Python number as a scalar of the type of another value; in float32 where it is a fraction."""
        whole = self.run_dtype(like) == "int32" and float(number).is_integer()
        return self.constant(number, "int64" if whole else "float32")

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
        for o in outputs:
            check_bytes(graph.shape(o), self.place)
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
        if old in self._sizes:
            self._sizes[name] = self._sizes.pop(old)
        self._size_tensors = {s: name if t == old else t for s, t in self._size_tensors.items()}
        self._constants = {i: (v, name if t == old else t) for i, (v, t) in self._constants.items()}
        value.tensor = name

    # ---- sizes ----------------------------------------------------------------------------------------------------

    def find_axis(self, dim: Dim, own: Sequence[str]) -> tuple[str, int, int] | None:
        """(tensor, axis, k) with dim = k * size of that axis: from `own`, then the graph inputs, then the rest."""
        candidates = [*own, *(p.tensor for p in self.graph.inputs), *self.graph.tensors]
        best = None
        for tensor in candidates:
            for axis, size in enumerate(self.graph.shape(tensor)):
                if size == dim:
                    return tensor, axis, 1
                if best is None and isinstance(size, Dim):
                    k = _multiple(dim, size)
                    best = (tensor, axis, k) if k else None
        return best

    def dims_spec(self, target: Sequence[Size], own: Sequence[str], rest: bool) -> tuple[list[str], dict[str, Any]]:
        """(tensors that sizes are read from, attributes of a dims spec) for a shape. `own` are the op's inputs so far;
        with `rest` one size found nowhere may be -1."""
        inputs = list(own)
        shape, from_input, from_axis = [], [], []
        left = -1
        for d, size in enumerate(target):
            place = None
            if isinstance(size, Dim):
                place = self.find_axis(size, inputs)
                if place is None and rest and left < 0:
                    left = d
                elif place is None:
                    place = self._axis_of_size(size)
            if place is None:
                shape.append(-1 if d == left else int(size))
                from_input.append(-1)
                from_axis.append(0)
                continue
            tensor, axis, k = place
            if tensor not in inputs:
                inputs.append(tensor)
            shape.append(k)
            from_input.append(inputs.index(tensor))
            from_axis.append(axis)
        attrs: dict[str, Any] = {"shape": shape}
        if any(i >= 0 for i in from_input):
            attrs.update(from_input=from_input, from_axis=from_axis)
        return inputs, attrs

    def _axis_of_size(self, dim: Dim) -> tuple[str, int, int]:
        """Makes a tensor that has an axis of this size, from tensors that have its factors and terms."""
        terms = [(m, c) for m, c in dim.terms.items() if m]
        constant = dim.terms.get((), 0)
        if any(c < 0 for _, c in terms) or any(not isinstance(a, str) for m, _ in terms for a in m):
            raise UnsupportedModelError(
                f"{self.place}: no tensor has an axis of {dim}, which this shape asks for; "
                "fix the sizes it depends on (--shape)"
            )
        parts = []
        for monomial, c in terms:
            sizes: list[Size] = [c, *(Dim.symbol(a) for a in monomial)]
            part = self.fill(1.0, sizes)
            parts.append(self.reshape(part, [product(sizes)]))
        if constant > 0:
            parts.append(self.fill(1.0, [constant]))
        joined = parts[0] if len(parts) == 1 else self.emit("Concat", parts, {"axis": 0})
        if constant < 0:
            joined = self.slice_axis(joined, 0, -constant, TO_END)
        return joined.tensor, 0, 1

    def _materialise(self, array: np.ndarray) -> str:
        """An int32 tensor that holds partly known sizes."""
        if array.ndim == 0:
            return self._size_tensor(array.item())
        parts = [self.reshape(Value("int64", tensor=self._size_tensor(e)), [1]) for e in array.reshape(-1)]
        joined = self.emit("Concat", parts, {"axis": 0}) if len(parts) > 1 else parts[0]
        return self.reshape(joined, list(array.shape)).tensor

    def _size_tensor(self, size: Size) -> str:
        """A scalar int32 tensor that holds a size: ones counted along an axis (exact to 2^24), or sums of such."""
        if not isinstance(size, Dim):
            return self.graph.constant(np.int32(size), "size")
        if size not in self._size_tensors:
            if self.find_axis(size, []):
                ones = self.fill(1.0, [size])
                count = self.emit("Reduce", [ones], {"kind": "sum", "axes": [0], "keepdims": 0})
                tensor = self.emit("Cast", [count], {"to": "int32"}, "int64").tensor
            else:
                tensor = self._size_polynomial(size)
            self._size_tensors[size] = tensor
            self._sizes[tensor] = size
        return self._size_tensors[size]

    def _size_polynomial(self, size: Dim) -> str:
        total: Value = self.constant(size.terms.get((), 0), "int64")
        for monomial, c in size.terms.items():
            if not monomial:
                continue
            term: Value = self.constant(c, "int64")
            for atom in monomial:
                if isinstance(atom, str):
                    factor = Value("int64", tensor=self._size_tensor(Dim.symbol(atom)))
                else:
                    whole = Value("int64", tensor=self._size_tensor(Dim(dict(atom[1]))))
                    factor = self.emit("Binary", [whole, self.constant(atom[2], "int64")], {"kind": "div"})
                term = self.emit("Binary", [term, factor], {"kind": "mul"})
            total = self.emit("Binary", [total, term], {"kind": "add"})
        return total.tensor

    def uniform(self, value: Value) -> Any:
        """The one number (or Size) that every element of a value has, None when that is not known."""
        if value.array is not None:
            flat = value.array.reshape(-1)
            same = (
                flat.size > 0 and all(e == flat[0] for e in flat)
                if value.array.dtype == object
                else (flat.size > 0 and bool(np.all(flat == flat[0])))
            )
            return flat[0] if same else None
        if value.tensor in self._sizes:
            return self._sizes[value.tensor]
        if self.graph.tensors[value.tensor].data is not None:
            return self.uniform(known(self.graph.tensors[value.tensor].data))
        node = self.producer(value)
        if node is None:
            return None
        if node.op == "Fill":
            return node.attrs["value"]
        data = node.inputs if node.op == "Concat" else node.inputs[:1]
        if node.op not in ("Concat", "Slice", "Reshape", "Expand", "Transpose", "Tile", "Gather", "Cast"):
            return None
        values = [self.uniform(Value(value.dtype, tensor=t)) for t in data]
        return values[0] if all(v is not None and v == values[0] for v in values) else None

    def counted(self, value: Value) -> Size | None:
        """n where a value is the vector 0, 1 ... n - 1; None where that is not known."""
        if value.array is not None:
            row = value.is_known and value.array.ndim == 1 and np.array_equal(value.array, np.arange(len(value.array)))
            return len(value.array) if row else None
        node = self.producer(value)
        while node is not None and node.op == "Cast" and node.attrs["to"] != "bool":
            node = self.producer(Value(value.dtype, tensor=node.inputs[0]))
        if node is None or node.op != "CumSum" or not node.attrs.get("exclusive") or node.attrs.get("reverse"):
            return None
        ones = Value(value.dtype, tensor=node.inputs[0])
        shape = self.shape(ones)
        return shape[0] if len(shape) == 1 and self.uniform(ones) == 1 else None

    # ---- ops with a symbolic side ---------------------------------------------------------------------------------

    def reshape(self, x: Value, target: Sequence[Size]) -> Value:
        """x in a shape whose sizes are all given. A Reshape of a Reshape, or to the shape at hand, leaves no op."""
        target = list(target)
        if x.array is not None and not any(isinstance(s, Dim) for s in target):
            return Value(x.dtype, x.array.reshape([int(s) for s in target]))
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
        inputs, attrs = self.dims_spec(target, [self.tensor(x)], rest=True)
        tensor = self.graph.add1("Reshape", inputs, attrs, self._name("reshape"))
        return Value(x.dtype, tensor=tensor)

    def transpose(self, x: Value, perm: Sequence[int]) -> Value:
        """x with its axes permuted; chains of Transpose become one, one that moves only axes of size 1 a Reshape."""
        perm = list(perm)
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
            return known(np.full([int(s) for s in shape], value, dtype))
        inputs, attrs = self.dims_spec(shape, [], rest=False)
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
            return known(np.broadcast_to(x.array, [int(s) for s in target]))
        tensor = self.tensor(x)
        inputs, attrs = self.dims_spec(target, [tensor], rest=False)
        return Value(x.dtype, tensor=self.graph.add1("Expand", inputs, attrs, self._name("expand")))

    def slice_axis(self, x: Value, axis: int, start: int, end: int, step: int = 1) -> Value:
        size = self.shape(x)[axis]
        if step == 1 and start == 0 and (end >= TO_END or not isinstance(size, Dim) and end >= size):
            return x
        if x.array is not None:
            index = [slice(None)] * x.array.ndim
            index[axis] = slice(start, None if step < 0 and end <= -TO_END else end, step)
            return Value(x.dtype, x.array[tuple(index)])
        return self.emit("Slice", [x], {"axes": [axis], "starts": [start], "ends": [end], "steps": [step]})

    def cast(self, x: Value, to: str) -> Value:
        """x as a run-time dtype."""
        if x.is_known:
            return x if to == "int32" and x.dtype == "int64" else known(x.data.astype(to))
        return x if self.run_dtype(x) == to else self.emit("Cast", [x], {"to": to}, to)

    def unary(self, kind: str, x: Value, alpha: float | None = None, beta: float | None = None) -> Value:
        folded = folding.unary(kind, x) if x.array is not None else None
        if folded is not None:
            return folded
        attrs: dict[str, Any] = {"kind": kind}
        if alpha is not None:
            attrs["alpha"] = float(alpha)
        if beta is not None:
            attrs["beta"] = float(beta)
        return self.emit("Unary", [x], attrs, "bool" if kind == "is_nan" else "")

    def binary(self, kind: str, a: Value, b: Value) -> Value:
        """`kind` of docs/ops.md on two values of one type; of two types the lower one becomes the higher: bool, int,
        float. What is known folds, and what changes nothing leaves no op."""
        if a.array is not None and b.array is not None:
            folded = folding.binary(kind, a, b, self.place)
            if folded is not None:
                return folded
        if kind in folding.LOGIC:
            a, b = self.cast(a, "bool"), self.cast(b, "bool")
        else:
            a, b = self.alike(a, b, "bool" if kind in ("equal", "not_equal") else "int32")
        for x, constant in ((a, b), (b, a)):
            if x.is_run and constant.is_known and self._is_neutral(kind, constant, x is a):
                if broadcast(self.shape(a), self.shape(b), self.place) == list(self.shape(x)):
                    return x
        return self.emit("Binary", [a, b], {"kind": kind}, "bool" if kind in folding.COMPARISONS else "")

    def alike(self, a: Value, b: Value, least: str = "bool") -> tuple[Value, Value]:
        """Both in the higher one's type of the run, in `least` at least: bool, int32, float32."""
        wanted = max(least, self.run_dtype(a), self.run_dtype(b), key=RUN_TYPES.index)
        a, b = (x if self.run_dtype(x) == wanted else self.cast(x, wanted) for x in (a, b))
        return a, b

    def _is_neutral(self, kind: str, constant: Value, right: bool) -> bool:
        """Whether x + constant, x * constant and so on are x (a negative zero aside)."""
        neutral = {"add": 0, "mul": 1, **({"sub": 0, "div": 1} if right else {})}.get(kind)
        return neutral is not None and self.uniform(constant) == neutral


def _multiple(dim: Dim, size: Dim) -> int:
    """k > 1 with dim = k * size, else 0."""
    if set(dim.terms) != set(size.terms):
        return 0
    ratios = {(dim.terms[m] // c, dim.terms[m] % c) for m, c in size.terms.items()}
    ((k, left),) = ratios if len(ratios) == 1 else [(0, 1)]
    return k if left == 0 and k > 1 else 0


def _moved_axes(perm: list[int]) -> int:
    """How many leading axes a permutation moves."""
    moved = len(perm)
    while moved and perm[moved - 1] == moved - 1:
        moved -= 1
    return moved
