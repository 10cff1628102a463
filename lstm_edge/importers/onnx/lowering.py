"""The machinery under the ONNX importer: what an ONNX value is, and how one node becomes rows of docs/ops.md.

A node is interpreted once, in order. Each value is known (a NumPy array), partly known (an object array whose elements
are ints and Dims: what Shape gives), or a run-time tensor of the Graph. Operators register themselves in `LOWER` (at
least one input is a run-time tensor) and `FOLD` (every input is known or partly known).
"""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import LstmEdgeError, UnsupportedModelError
from ...ir.dims import BATCH, FRAMES, Dim, Size, product
from ...ir.graph import Graph, Node

INT_MAX = 2**31 - 1
MAX_FOLDED_BYTES = 1 << 26  # how far folding may grow what is known: a few bytes of file can ask for terabytes
MAX_NODES = 16000  # interpreted beyond those of the file, as unrolled loops ask for


@dataclass(eq=False)
class Value:
    """An ONNX value: `array` when known (dtype object when elements may be Dims), else the Graph tensor.

    `dtype` is the ONNX element type as a NumPy name; float16, bfloat16 and float64 are computed in float32 at run time.
    """

    dtype: str
    array: np.ndarray | None = None
    tensor: str = ""
    items: list[Value] | None = None  # an ONNX sequence

    @property
    def is_known(self) -> bool:
        return self.array is not None and self.array.dtype != object

    @property
    def is_run(self) -> bool:
        return self.array is None and self.items is None


def known(array: Any, dtype: str = "") -> Value:
    """A known Value; an object array without any Dim becomes an ordinary one."""
    array = np.asarray(array)
    if array.dtype == object:
        if any(isinstance(e, Dim) for e in array.flat):
            return Value(dtype or "int64", array)
        array = array.astype(dtype or "int64")
    return Value(str(array.dtype), array)


def run_dtype(dtype: str, place: str) -> str:
    """The dtype a run-time tensor has for an ONNX element type."""
    if dtype == "bool":
        return "bool"
    if dtype.startswith(("float", "bfloat")):
        return "float32"
    if dtype.startswith(("int", "uint")):
        return "int32"
    raise UnsupportedModelError(f"{place}: tensors of {dtype} are not supported: expected float, integer or bool")


class Call:
    """One ONNX node with its input values. Attributes are counted as they are read; what nobody read is refused."""

    def __init__(self, ctx: Lowering, proto: Any, inputs: list[Value | None], attrs: dict[str, Any], scope: ChainMap):
        self.ctx, self.proto, self.inputs, self.attrs, self.scope = ctx, proto, inputs, attrs, scope
        self.op = proto.op_type
        self.domain = "" if proto.domain in ("", "ai.onnx") else proto.domain
        self.name = proto.name or next((o for o in proto.output if o), self.op)
        self.opset = ctx.opsets.get(self.domain, 1)
        self._read: set[str] = set()

    @property
    def place(self) -> str:
        return f"node {self.name!r} ({self.op})"

    def refuse(self, message: str) -> UnsupportedModelError:
        return UnsupportedModelError(f"{self.place}: {message}")

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

    def optional(self, n: int) -> Value | None:
        return self.inputs[n] if n < len(self.inputs) else None

    def input(self, n: int) -> Value:
        value = self.optional(n)
        if value is None:
            raise self.refuse(f"input {n} is missing")
        return value

    def input_name(self, n: int) -> str:
        return self.proto.input[n] if n < len(self.proto.input) else f"#{n}"

    def wants(self, output: int) -> bool:
        return output < len(self.proto.output) and self.proto.output[output] in self.ctx.used

    def known(self, n: int) -> np.ndarray:
        """Input n as an array, refused by name unless known at conversion."""
        value = self.input(n)
        if not value.is_known:
            raise self.refuse(
                f"input {self.input_name(n)!r} must be known at conversion; where it is an input of the "
                f"model give it as a constant (--set {self.input_name(n)}=...), and where it comes from "
                "a size give that size (--shape)"
            )
        assert value.array is not None
        return value.array

    def known_ints(self, n: int) -> list[int]:
        return [int(v) for v in self.known(n).reshape(-1)]

    def sizes(self, n: int) -> list[Size]:
        """Input n as a list of ints and Dims."""
        value = self.input(n)
        if value.array is None:
            raise self.refuse(
                f"input {self.input_name(n)!r} must follow from the shapes of the inputs; it is computed at run time"
            )
        return [e if isinstance(e, Dim) else int(e) for e in value.array.reshape(-1)]

    def shape(self, n: int) -> tuple[Size, ...]:
        return self.ctx.shape(self.input(n))

    def rank(self, n: int) -> int:
        return len(self.shape(n))

    def axis(self, axis: int, rank: int) -> int:
        if not -rank <= axis < rank:
            raise self.refuse(f"axis {axis} of a tensor with {rank} axes")
        return axis % rank if rank else 0


Operator = Callable[[Call], "Value | list[Value | None]"]
LOWER: dict[tuple[str, str], Operator] = {}
FOLD: dict[tuple[str, str], Operator] = {}


def lowers(*ops: str, domain: str = "") -> Callable[[Operator], Operator]:
    def register(function: Operator) -> Operator:
        for op in ops:
            LOWER[domain, op] = function
        return function

    return register


def folds(*ops: str) -> Callable[[Operator], Operator]:
    def register(function: Operator) -> Operator:
        for op in ops:
            FOLD["", op] = function
        return function

    return register


class Undecided(Exception):
    """A fold over partly known sizes has no answer that holds for every batch and frames."""


class Lowering:
    """The Graph being built, with helpers that emit ops on Values."""

    def __init__(self, opsets: dict[str, int], used: set[str]):
        self.graph = Graph()
        self.opsets = opsets
        self.used = used  # every ONNX name that something reads
        self.notes: list[str] = []
        self.folded = 0
        self.left = [MAX_NODES]  # nodes that may yet be interpreted; shared with the bodies of loops
        self.repeats = 1  # how often the loops around the nodes at hand will have them interpreted
        self.place = ""  # the ONNX node at hand, as messages give it
        self.node_name = ""
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
        from ... import reference

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
            joined = self.slice_axis(joined, 0, -constant, INT_MAX)
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
            if self.find_axis(size, []) or set(size.terms) <= {("batch",), ("frames",)} and len(size.terms) == 1:
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

    # ---- ops with a symbolic side ---------------------------------------------------------------------------------

    def reshape(self, x: Value, target: Sequence[Size]) -> Value:
        """x in a shape whose sizes are all given. A Reshape of a Reshape, or to the shape at hand, leaves no op."""
        if x.array is not None:
            return Value(x.dtype, x.array.reshape([int(s) for s in target]))
        target = list(target)
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
        inputs, attrs = self.dims_spec(target, [x.tensor], rest=True)
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
        if step == 1 and start == 0 and (end >= INT_MAX or not isinstance(size, Dim) and end >= size):
            return x
        if x.array is not None:
            index = [slice(None)] * x.array.ndim
            index[axis] = slice(start, None if step < 0 and end < -(2**31) + 1 else end, step)
            return Value(x.dtype, x.array[tuple(index)])
        return self.emit("Slice", [x], {"axes": [axis], "starts": [start], "ends": [end], "steps": [step]})

    def cast(self, x: Value, to: str) -> Value:
        """x as a run-time dtype."""
        if x.is_known:
            return known(x.array.astype(to)) if to != "int32" or x.dtype not in ("int64",) else x
        return x if self.run_dtype(x) == to else self.emit("Cast", [x], {"to": to}, to)

    def unary(self, kind: str, x: Value, alpha: float | None = None, beta: float | None = None) -> Value:
        attrs: dict[str, Any] = {"kind": kind}
        if alpha is not None:
            attrs["alpha"] = float(alpha)
        if beta is not None:
            attrs["beta"] = float(beta)
        return self.emit("Unary", [x], attrs, "bool" if kind == "is_nan" else "")

    def _is_neutral(self, kind: str, constant: Value, right: bool) -> bool:
        """Whether x + constant, x * constant and so on are x (a negative zero aside)."""
        neutral = {"add": 0, "mul": 1, **({"sub": 0, "div": 1} if right else {})}.get(kind)
        return neutral is not None and self.uniform(constant) == neutral

    def binary(self, kind: str, a: Value, b: Value) -> Value:
        compare = kind in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
        if compare and self.run_dtype(a) == "bool":
            a, b = self.cast(a, "int32"), self.cast(b, "int32")
        for x, constant in ((a, b), (b, a)):
            if (
                x.is_run
                and constant.is_known
                and self._is_neutral(kind, constant, x is a)
                and (broadcast(self.shape(a), self.shape(b), self.place) == list(self.shape(x)))
            ):
                return x
        return self.emit("Binary", [a, b], {"kind": kind}, "bool" if compare else "")


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


def check_bytes(shape: Sequence[Size], place: str, itemsize: int = 8) -> None:
    count = product(shape)
    if not isinstance(count, Dim) and count * itemsize > MAX_FOLDED_BYTES:
        raise UnsupportedModelError(
            f"{place}: a constant of shape {list(shape)} is larger than {MAX_FOLDED_BYTES >> 20} MiB"
        )


def broadcast(a: Sequence[Size], b: Sequence[Size], place: str) -> list[Size]:
    """NumPy's broadcast of two shapes with Dims."""
    out: list[Size] = []
    for n in range(max(len(a), len(b)), 0, -1):
        x = a[-n] if n <= len(a) else 1
        y = b[-n] if n <= len(b) else 1
        if x != y and x != 1 and y != 1:
            raise UnsupportedModelError(f"{place}: sizes {x} and {y} do not broadcast (shapes {list(a)}, {list(b)})")
        out.append(y if x == 1 else x)
    return out


__all__ = [
    "BATCH",
    "FRAMES",
    "INT_MAX",
    "Call",
    "FOLD",
    "LOWER",
    "Lowering",
    "LstmEdgeError",
    "Undecided",
    "Value",
    "broadcast",
    "check_bytes",
    "folds",
    "known",
    "lowers",
    "run_dtype",
]
