"""Open sizes at run time: where the Graph has an axis of a size, and tensors that hold sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir.dims import Dim, Size, product
from ...ir.ops import TO_END
from ...options import as_typed
from .value import Value, known

if TYPE_CHECKING:
    from .builder import Dialect


def _multiple(dim: Dim, size: Dim) -> int:
    """k > 1 with dim = k * size, else 0."""
    if set(dim.terms) != set(size.terms):
        return 0
    ratios = {(dim.terms[m] // c, dim.terms[m] % c) for m, c in size.terms.items()}
    ((k, left),) = ratios if len(ratios) == 1 else [(0, 1)]
    return k if left == 0 and k > 1 else 0


def find_axis(d: Dialect, dim: Dim, own: Sequence[str]) -> tuple[str, int, int] | None:
    """(tensor, axis, k) with dim = k * size of that axis: from `own`, then the graph inputs, then the rest."""
    candidates = [*own, *(p.tensor for p in d.graph.inputs), *d.graph.tensors]
    best = None
    for tensor in candidates:
        for axis, size in enumerate(d.graph.shape(tensor)):
            if size == dim:
                return tensor, axis, 1
            if best is None and isinstance(size, Dim):
                k = _multiple(dim, size)
                best = (tensor, axis, k) if k else None
    return best


def dims_spec(d: Dialect, target: Sequence[Size], own: Sequence[str], rest: bool) -> tuple[list[str], dict[str, Any]]:
    """(tensors that sizes are read from, attributes of a dims spec) for a shape. `own` are the op's inputs so far;
    with `rest` one size found nowhere may be -1."""
    inputs = list(own)
    shape: list[int] = []
    from_input: list[int] = []
    from_axis: list[int] = []
    left = -1
    for n, size in enumerate(target):
        if not isinstance(size, Dim):
            place = ("", 0, int(size))
        else:
            found = find_axis(d, size, inputs)
            if found is None and rest and left < 0:
                left = n
                found = ("", 0, -1)
            place = found or _axis_of_size(d, size)
        tensor, axis, k = place
        if tensor and tensor not in inputs:
            inputs.append(tensor)
        shape.append(k)
        from_input.append(inputs.index(tensor) if tensor else -1)
        from_axis.append(axis)
    attrs: dict[str, Any] = {"shape": shape}
    if any(i >= 0 for i in from_input):
        attrs.update(from_input=from_input, from_axis=from_axis)
    return inputs, attrs


def _axis_of_size(d: Dialect, dim: Dim) -> tuple[str, int, int]:
    """Makes a tensor that has an axis of this size, from tensors that have its factors and terms."""
    terms = [(m, c) for m, c in dim.terms.items() if m]
    constant = dim.terms.get((), 0)
    if any(c < 0 for _, c in terms) or any(not isinstance(a, str) for m, _ in terms for a in m):
        raise d.refuse(
            f"no tensor has an axis of {dim}, which this shape asks for; fix the sizes it depends on ({as_typed('shapes')})"
        )
    parts = []
    for monomial, c in terms:
        sizes: list[Size] = [c, *(Dim.symbol(a) for a in monomial if isinstance(a, str))]
        part = d.fill(1.0, sizes)
        parts.append(d.reshape(part, [product(sizes)]))
    if constant > 0:
        parts.append(d.fill(1.0, [constant]))
    joined = parts[0] if len(parts) == 1 else d.emit("Concat", parts, {"axis": 0})
    if constant < 0:
        joined = d.slice_axis(joined, 0, -constant, TO_END)
    return joined.tensor, 0, 1


def materialise(d: Dialect, array: np.ndarray) -> str:
    """An int32 tensor that holds partly known sizes."""
    if array.ndim == 0:
        return _size_tensor(d, array.item())
    parts = [d.reshape(Value("int64", tensor=_size_tensor(d, e)), [1]) for e in array.reshape(-1)]
    joined = d.emit("Concat", parts, {"axis": 0}) if len(parts) > 1 else parts[0]
    return d.reshape(joined, list(array.shape)).tensor


def _size_tensor(d: Dialect, size: Size) -> str:
    """A scalar int32 tensor that holds a size: ones counted along an axis (exact to 2^24), or sums of such."""
    if not isinstance(size, Dim):
        return d.graph.constant(np.int32(size), "size")
    if size not in d.tensor_of_size:
        if find_axis(d, size, []):
            ones = d.fill(1.0, [size])
            count = d.emit("Reduce", [ones], {"kind": "sum", "axes": [0], "keepdims": 0})
            tensor = d.emit("Cast", [count], {"to": "int32"}, "int64").tensor
        else:
            tensor = _size_polynomial(d, size)
        d.tensor_of_size[size] = tensor
        d.held_sizes[tensor] = size
    return d.tensor_of_size[size]


def _size_polynomial(d: Dialect, size: Dim) -> str:
    total: Value = d.constant(size.terms.get((), 0), "int64")
    for monomial, c in size.terms.items():
        if not monomial:
            continue
        term: Value = d.constant(c, "int64")
        for atom in monomial:
            if isinstance(atom, str):
                if size == Dim.symbol(
                    atom
                ):  # nothing left to make it of, as in the body of a loop that reads no such axis
                    raise d.refuse(
                        f"no tensor here has an axis of {size}, which is read as a number; fix that size ({as_typed('shapes')})"
                    )
                factor = Value("int64", tensor=_size_tensor(d, Dim.symbol(atom)))
            else:
                whole = Value("int64", tensor=_size_tensor(d, Dim(dict(atom[1]))))
                factor = d.emit("Binary", [whole, d.constant(atom[2], "int64")], {"kind": "div"})
            term = d.emit("Binary", [term, factor], {"kind": "mul"})
        total = d.emit("Binary", [total, term], {"kind": "add"})
    return total.tensor


def uniform(d: Dialect, value: Value) -> Any:
    """The one number (or Size) that every element of a value has, None when that is not known."""
    if value.array is not None:
        flat = value.array.reshape(-1)
        same = (
            flat.size > 0 and all(e == flat[0] for e in flat)
            if value.array.dtype == object
            else (flat.size > 0 and bool(np.all(flat == flat[0])))
        )
        return flat[0] if same else None
    if value.tensor in d.held_sizes:
        return d.held_sizes[value.tensor]
    if d.graph.tensors[value.tensor].data is not None:
        return uniform(d, known(d.graph.tensors[value.tensor].data))
    node = d.producer(value)
    if node is None:
        return None
    if node.op == "Fill":
        return node.attrs["value"]
    data = node.inputs if node.op == "Concat" else node.inputs[:1]
    if node.op not in ("Concat", "Slice", "Reshape", "Expand", "Transpose", "Tile", "Gather", "Cast"):
        return None
    values = [uniform(d, Value(value.dtype, tensor=t)) for t in data]
    return values[0] if all(v is not None and v == values[0] for v in values) else None


def counted(d: Dialect, value: Value) -> Size | None:
    """n where a value is the vector 0, 1 ... n - 1; None where that is not known."""
    if value.array is not None:
        row = value.is_known and value.array.ndim == 1 and np.array_equal(value.array, np.arange(len(value.array)))
        return len(value.array) if row else None
    node = d.producer(value)
    while node is not None and node.op == "Cast" and node.attrs["to"] != "bool":
        node = d.producer(Value(value.dtype, tensor=node.inputs[0]))
    if node is None or node.op != "CumSum" or not node.attrs.get("exclusive") or node.attrs.get("reverse"):
        return None
    ones = Value(value.dtype, tensor=node.inputs[0])
    shape = d.shape(ones)
    return shape[0] if len(shape) == 1 and uniform(d, ones) == 1 else None
