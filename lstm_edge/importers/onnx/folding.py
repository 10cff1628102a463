"""Folding: ONNX operators on values known at conversion, wholly or as sizes with Dims in them.

The operators of shape arithmetic work on object arrays (elements int or Dim) as on ordinary ones. Every other operator
with known inputs is evaluated by onnx.reference, or, where that lacks it, by lstm_edge's own lowering.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import UnsupportedModelError
from ...ir.dims import Dim, Size, product
from ..dialect import Undecided, Value, check_bytes, known
from ..dialect.value import MAX_FOLDED_BYTES
from .files import element_dtype, tensor_array
from .lowering import FOLD, Call, folds

SMALL = 256  # elements; what products of so few can grow to is no danger
RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}


BROADCASTING = {
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Mod",
    "Pow",
    "Max",
    "Min",
    "Sum",
    "Mean",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Where",
    "And",
    "Or",
    "Xor",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "PRelu",
}


def fold(call: Call) -> list[Value | None] | None:
    """The outputs of a node whose inputs are all known or partly known; None when only a run can tell."""
    if call.op in RANDOM:
        raise call.refuse("a random generator is not supported; export the model in inference mode")
    function = FOLD.get((call.domain, call.op))
    if call.op in BROADCASTING:
        _check_broadcast(call)
    if function is not None:
        try:
            result = function(call)
        except (Undecided, ZeroDivisionError):
            return None
        return result if isinstance(result, list) else [result]
    if all(v is None or v.is_known for v in call.inputs):
        return reference_fold(call)
    return None


def reference_fold(call: Call) -> list[Value | None] | None:
    """The outputs by onnx.reference; None when it does not know the operator."""
    if call.domain:
        return None
    import onnx
    from onnx.reference import ReferenceEvaluator

    node = onnx.NodeProto()
    node.CopyFrom(call.proto)
    arrays = [v.array if v is not None else None for v in call.inputs]
    helper = onnx.helper
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in zip(node.input, arrays)
        if a is not None
    ]
    outputs = [o for o in node.output if o]
    graph = helper.make_graph([node], "fold", _unique(infos), [onnx.ValueInfoProto(name=o) for o in outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", call.opset)])
    if sum(a.size for a in arrays if a is not None) > SMALL:
        _check_inferred(call, model)
    try:
        feeds = {n: a for n, a in zip(node.input, arrays) if a is not None}
        results = dict(zip(outputs, ReferenceEvaluator(model).run(None, feeds)))
    except (NotImplementedError, ImportError):
        return None
    except Exception as e:  # an evaluator of all of ONNX raises all kinds; the file made it fail
        raise call.refuse(f"cannot be evaluated on its known inputs: {type(e).__name__}: {e}") from e
    return [known(np.asarray(results[o])) if o else None for o in call.proto.output]


def _check_broadcast(call: Call) -> None:
    """Refuses a broadcast that is much larger than what it is of, before it is made."""
    shapes = [v.array.shape for v in call.inputs if v is not None and v.array is not None]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        return  # the operator says so itself
    if math.prod(shape) > max(math.prod(s) for s in shapes):
        check_bytes(shape, call.place)


def _check_inferred(call: Call, model: Any) -> None:
    """Refuses a node whose outputs, by shape inference, are beyond the limit."""
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except Exception:  # the evaluator says what is wrong
        return
    for info in [*inferred.graph.output, *inferred.graph.value_info]:
        dims = info.type.tensor_type.shape.dim
        if dims and all(d.HasField("dim_value") for d in dims):
            check_bytes([d.dim_value for d in dims], call.place, 4)


def _unique(infos: list) -> list:
    return list({i.name: i for i in infos}.values())


# ---- elementwise ----------------------------------------------------------------------------------------------------


def _elementwise(call: Call, function: Callable[[Any, Any], Any]) -> Value:
    a, b = call.input(0), call.input(1)
    if a.is_known and b.is_known:
        with np.errstate(all="ignore"):
            return known(np.asarray(function(a.array, b.array)).astype(a.dtype))
    x, y = np.broadcast_arrays(_sizes(a), _sizes(b))
    out = np.empty(x.shape, object)
    for i in np.ndindex(x.shape):
        try:
            out[i] = function(x[i], y[i])
        except ValueError as e:  # a Dim that does not divide
            raise Undecided from e
    return known(out, a.dtype)


def _sizes(value: Value) -> np.ndarray:
    """The value as an object array of ints and Dims; Undecided where it has fractions."""
    assert value.array is not None
    if value.array.dtype == object:
        return value.array
    if value.array.dtype.kind == "f":
        if not np.all(np.isfinite(value.array)) or np.any(value.array != np.floor(value.array)):
            raise Undecided
        return value.array.astype(np.int64).astype(object)
    return value.array.astype(object)


@folds("Add")
def _add(call: Call) -> Value:
    return _elementwise(call, lambda a, b: a + b)


@folds("Sub")
def _sub(call: Call) -> Value:
    return _elementwise(call, lambda a, b: a - b)


@folds("Mul")
def _mul(call: Call) -> Value:
    return _elementwise(call, lambda a, b: a * b)


@folds("Div")
def _div(call: Call) -> Value:
    integer = not call.input(0).dtype.startswith("float")

    def divide(a: Any, b: Any) -> Any:
        if isinstance(a, np.ndarray):
            return _truncated(a, b) if integer else a / b
        quotient = a // b
        if not integer and quotient * b != a:
            raise Undecided
        return quotient

    return _elementwise(call, divide)


def _truncated(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if np.any(b == 0):
        raise ZeroDivisionError
    return np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))


@folds("Mod")
def _mod(call: Call) -> Value:
    if call.attr("fmod", 0):
        return _elementwise(call, lambda a, b: np.fmod(a, b) if isinstance(a, np.ndarray) else a % b)
    return _elementwise(call, lambda a, b: a % b)


@folds("Max", "Min")
def _extreme(call: Call) -> Value:
    if all(v is not None and v.is_known for v in call.inputs):
        function = np.maximum if call.op == "Max" else np.minimum
        arrays = [v.array for v in call.inputs if v is not None]
        out = arrays[0]
        for a in arrays[1:]:
            out = function(out, a)
        return known(out)
    out = call.input(0)
    for n in range(1, len(call.inputs)):
        x, y = np.broadcast_arrays(_sizes(out), _sizes(call.input(n)))
        greater = _decide(x, y, "Greater")
        out = known(np.where(greater if call.op == "Max" else ~greater, x, y), out.dtype)
    return out


@folds("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
def _compare(call: Call) -> Value:
    a, b = call.input(0), call.input(1)
    if a.is_known and b.is_known:
        function = {
            "Equal": np.equal,
            "Greater": np.greater,
            "GreaterOrEqual": np.greater_equal,
            "Less": np.less,
            "LessOrEqual": np.less_equal,
        }[call.op]
        return known(np.asarray(function(a.array, b.array)))
    x, y = np.broadcast_arrays(_sizes(a), _sizes(b))
    return known(_decide(x, y, call.op))


def _decide(x: np.ndarray, y: np.ndarray, op: str) -> np.ndarray:
    out = np.empty(x.shape, bool)
    for i in np.ndindex(x.shape):
        low, high = _bounds(x[i] - y[i])
        yes, no = {
            "Equal": (low == high == 0, low > 0 or high < 0),
            "Greater": (low > 0, high <= 0),
            "GreaterOrEqual": (low >= 0, high < 0),
            "Less": (high < 0, low >= 0),
            "LessOrEqual": (high <= 0, low > 0),
        }[op]
        if not yes and not no:
            raise Undecided
        out[i] = yes
    return out


def _bounds(size: Size) -> tuple[float, float]:
    """The least and greatest value over batch >= 1 and frames >= 1; floor divisions are at least 0."""
    if not isinstance(size, Dim):
        return float(size), float(size)
    low = high = float(size.terms.get((), 0))
    for monomial, c in size.terms.items():
        if not monomial:
            continue
        least = float(all(isinstance(a, str) for a in monomial))
        low = low + c * least if c > 0 else -math.inf
        high = high + c * least if c < 0 else math.inf
    return low, high


@folds("Where")
def _where(call: Call) -> Value:
    condition, a, b = (call.input(n) for n in range(3))
    if a.is_known and b.is_known:
        return known(np.where(condition.array, a.array, b.array))
    return known(np.where(condition.array.astype(bool), _sizes(a), _sizes(b)), a.dtype)


@folds("Not")
def _not(call: Call) -> Value:
    return known(~call.known(0).astype(bool))


@folds("And")
def _and(call: Call) -> Value:
    return known(call.known(0) & call.known(1))


@folds("Or")
def _or(call: Call) -> Value:
    return known(call.known(0) | call.known(1))


@folds("Neg")
def _neg(call: Call) -> Value:
    x = call.input(0)
    return known(-x.array, x.dtype)


@folds("Abs", "Floor", "Ceil", "Round")
def _integral(call: Call) -> Value:
    x = call.input(0)
    if x.is_known:
        function = {"Abs": np.abs, "Floor": np.floor, "Ceil": np.ceil, "Round": np.round}[call.op]
        return known(np.asarray(function(x.array)).astype(x.dtype))
    if call.op == "Abs" and any(_bounds(e)[0] < 0 for e in x.array.flat):
        raise Undecided
    return x


@folds("Identity")
def _identity(call: Call) -> Value:
    return call.input(0)


@folds("Cast", "CastLike")
def fold_cast(call: Call) -> Value:
    x = call.input(0)
    dtype = cast_target(call)
    if x.is_known:
        array = x.array
        with np.errstate(all="ignore"):
            return known(array.astype(bool) if dtype == "bool" else array.astype(dtype))
    if dtype == "bool":
        raise Undecided
    return Value(dtype, x.array)


def cast_target(call: Call) -> str:
    """The element type Cast and CastLike ask for."""
    call.ignore("saturate", "round_mode")
    if call.op == "CastLike":
        return call.input(1).dtype
    return element_dtype(call.require_attr("to"), call.place)


# ---- movement -------------------------------------------------------------------------------------------------------


def _take(call: Call, array: np.ndarray) -> Value:
    return known(array, call.input(0).dtype)


@folds("Shape")
def _shape(call: Call) -> Value:
    return shape_of(call)


def shape_of(call: Call) -> Value:
    shape = call.shape(0)
    start, end = call.attr("start", 0), call.attr("end", len(shape))
    array = np.empty(len(shape), object)
    array[:] = shape
    return known(array[slice(start, end)], "int64")


@folds("Size")
def _size(call: Call) -> Value:
    return known(np.asarray(call.input(0).array.size, np.int64))


@folds("Gather")
def _gather(call: Call) -> Value:
    data = call.input(0).array
    axis = call.axis(call.attr("axis", 0), data.ndim)
    indices = call.known(1)
    size = data.shape[axis]
    if indices.size and (indices.min() < -size or indices.max() >= size):
        raise call.refuse(f"index {indices.max()} or {indices.min()} into an axis of size {size}")
    check_bytes([*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]], call.place, data.itemsize)
    return _take(call, np.take(data, indices, axis))


@folds("Slice")
def _slice(call: Call) -> Value:
    data = call.input(0).array
    axes, starts, ends, steps = slice_args(call, data.ndim)
    index: list[slice] = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps):
        if isinstance(start, Dim) or isinstance(end, Dim):
            raise Undecided
        index[axis] = numpy_slice(start, end, step, data.shape[axis])
    return _take(call, data[tuple(index)])


def numpy_slice(start: int, end: int, step: int, size: int) -> slice:
    """ONNX's slice as Python's: with a negative step an end below -size means through the first element."""
    return slice(max(start, -size) if step > 0 else start, None if step < 0 and end < -size else end, step)


def slice_args(call: Call, rank: int) -> tuple[list[int], list[Size], list[Size], list[int]]:
    """axes (not negative), starts, ends, steps of Slice, from attributes or inputs."""
    if call.opset < 10:
        starts, ends = list(call.require_attr("starts")), list(call.require_attr("ends"))
        axes, steps = list(call.attr("axes", range(len(starts)))), [1] * len(starts)
    else:
        starts, ends = call.sizes(1), call.sizes(2)
        axes = call.known_ints(3) if call.optional(3) is not None else list(range(len(starts)))
        steps = call.known_ints(4) if call.optional(4) is not None else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise call.refuse(f"starts {starts}, ends {ends}, axes {axes}, steps {steps} do not go together")
    return [call.axis(a, rank) for a in axes], starts, ends, steps


@folds("Concat")
def _concat(call: Call) -> Value:
    values = [v for v in call.inputs if v is not None]
    axis = call.attr("axis", 1)
    if all(v.is_known for v in values):
        if len({id(v) for v in values}) < len(values):
            _refuse_repetition(call, values)
        return known(np.concatenate([v.array for v in values], axis))
    return known(np.concatenate([_sizes(v) for v in values], axis), values[0].dtype)


def _refuse_repetition(call: Call, values: list[Value]) -> None:
    total = sum(v.array.nbytes for v in values)
    given = sum(a.nbytes for a in {id(v): v.array for v in values}.values())
    if total > given + MAX_FOLDED_BYTES:
        raise call.refuse(f"repeats constants of {given >> 20} MiB to {total >> 20} MiB")


def axes_argument(call: Call, input_opset: int) -> list[int] | None:
    """`axes` from the attribute, or from input 1 since `input_opset`; None when absent."""
    if call.opset < input_opset:
        axes = call.attr("axes")
        return None if axes is None else [int(a) for a in axes]
    return None if call.optional(1) is None else call.known_ints(1)


def unsqueezed(call: Call, shape: tuple[Size, ...]) -> list[Size]:
    axes = axes_argument(call, 13)
    if axes is None:
        raise call.refuse("axes are missing")
    rank = len(shape) + len(axes)
    places = {call.axis(a, rank) for a in axes}
    rest = iter(shape)
    return [1 if d in places else next(rest) for d in range(rank)]


def squeezed(call: Call, shape: tuple[Size, ...]) -> list[Size]:
    axes = axes_argument(call, 13)
    if axes is None:
        if any(isinstance(s, Dim) for s in shape):
            call.ctx.note(f"{call.place}: squeezes no axis of batch or frames, also where that is 1")
        return [s for s in shape if s != 1]
    places = {call.axis(a, len(shape)) for a in axes}
    wrong = [shape[a] for a in sorted(places) if shape[a] != 1]
    if wrong:
        raise call.refuse(
            f"squeezes an axis of size {wrong[0]}: expected 1 (axes {sorted(places)} of shape {list(shape)}); "
            "fix that size to 1 (--shape)"
        )
    return [s for d, s in enumerate(shape) if d not in places]


@folds("Unsqueeze")
def _unsqueeze(call: Call) -> Value:
    array = call.input(0).array
    return _take(call, array.reshape(unsqueezed(call, array.shape)))


@folds("Squeeze")
def _squeeze(call: Call) -> Value:
    array = call.input(0).array
    return _take(call, array.reshape(squeezed(call, array.shape)))


@folds("Reshape")
def _reshape(call: Call) -> Value:
    array = call.input(0).array
    target = reshape_target(call, array.shape)
    if any(isinstance(s, Dim) for s in target):
        raise Undecided
    return _take(call, array.reshape(target))


def reshape_target(call: Call, shape: tuple[Size, ...]) -> list[Size]:
    """The sizes Reshape asks for, with 0 and -1 resolved."""
    asked: list[Size] = list(call.require_attr("shape")) if call.opset < 5 else call.sizes(1)
    if not call.attr("allowzero", 0):
        asked = [shape[d] if not isinstance(s, Dim) and s == 0 else s for d, s in enumerate(asked)]
    target = resolved(asked, product(shape))
    if target is None:
        target = _resolved_for_multiples(call, asked, product(shape))
    if target is None:
        raise call.refuse(
            f"cannot reshape {list(shape)} to {asked}: the number of elements differs. The file has a size "
            "baked in that its inputs leave open; fix the sizes of the inputs (--shape)"
        )
    return target


def resolved(asked: list[Size], total: Size) -> list[Size] | None:
    """`asked` with its -1 found from the number of elements; None where they do not go together."""
    unknown = [d for d, s in enumerate(asked) if not isinstance(s, Dim) and s == -1]
    if not unknown:
        return asked if product(asked) == total else None
    quotient = exact_quotient(total, product([s for d, s in enumerate(asked) if d != unknown[0]]))
    if len(unknown) > 1 or quotient is None:
        return None
    return [quotient if d == unknown[0] else s for d, s in enumerate(asked)]


def _resolved_for_multiples(call: Call, asked: list[Size], total: Size) -> list[Size] | None:
    """A Reshape that fits only where frames (or batch) is a multiple of a stride s: it is read as s * (frames // s)."""
    for atom in {a for m in (total.terms if isinstance(total, Dim) else {}) for a in m if isinstance(a, tuple)}:
        inner, divisor = Dim(dict(atom[1])), atom[2]
        for name in ("frames", "batch"):
            if inner != Dim.symbol(name):
                continue
            whole = Dim({(atom,): divisor})
            target = resolved([_substituted(s, name, whole) for s in asked], total)
            if target is not None:
                call.ctx.note(f"{call.place}: needs {name} to be a multiple of {divisor}; what is beyond is left out")
                return target
    return None


def _substituted(size: Size, name: str, value: Size) -> Size:
    """A size with a symbol replaced (not inside floor divisions)."""
    if not isinstance(size, Dim):
        return size
    total: Size = 0
    for monomial, c in size.terms.items():
        total = total + product([c, *(value if a == name else Dim({(a,): 1}) for a in monomial)])
    return total


def exact_quotient(a: Size, b: Size) -> Size | None:
    """a / b when that is exact for every batch and frames, else None."""
    if b == 0:
        return 0 if a == 0 else None
    try:
        quotient = a // b
    except (ValueError, TypeError):
        return None
    return quotient if quotient * b == a else None


@folds("Flatten")
def _flatten(call: Call) -> Value:
    array = call.input(0).array
    axis = call.attr("axis", 1)
    axis = axis + array.ndim if axis < 0 else axis
    return _take(call, array.reshape(math.prod(array.shape[:axis]), -1))


@folds("Transpose")
def _transpose(call: Call) -> Value:
    array = call.input(0).array
    return _take(call, array.transpose(call.attr("perm", list(range(array.ndim))[::-1])))


@folds("Expand")
def _expand(call: Call) -> Value:
    array = call.input(0).array
    target = call.sizes(1)
    if any(isinstance(s, Dim) for s in target):
        raise Undecided
    shape = np.broadcast_shapes(array.shape, tuple(target))
    check_bytes(shape, call.place, array.itemsize)
    return _take(call, np.broadcast_to(array, shape))


@folds("Tile")
def _tile(call: Call) -> Value:
    array = call.input(0).array
    if not call.input(1).is_known:
        raise Undecided
    repeats = call.known_ints(1)
    check_bytes([s * r for s, r in zip(array.shape, repeats)], call.place, array.itemsize)
    return _take(call, np.tile(array, repeats))


@folds("Split")
def _split(call: Call) -> list[Value | None]:
    array = call.input(0).array
    axis = call.axis(call.attr("axis", 0), array.ndim)
    places = np.cumsum(split_sizes(call, array.shape[axis]))[:-1]
    return [_take(call, part) for part in np.split(array, places, axis)]


def split_sizes(call: Call, size: Size) -> list[int]:
    """The sizes Split cuts an axis into: attribute, input, or equal parts."""
    parts = list(call.attr("split")) if call.opset < 13 and "split" in call.attrs else None
    if call.opset >= 13 and call.optional(1) is not None:
        parts = call.known_ints(1)
    count = call.attr("num_outputs", len(call.proto.output))
    if parts is None:
        if isinstance(size, Dim):
            raise call.refuse(f"splits an axis of size {size} into equal parts; fix that size (--shape)")
        part = -(-size // count)
        parts = [part] * (count - 1) + [size - part * (count - 1)]
    if not isinstance(size, Dim) and sum(parts) != size:
        raise call.refuse(f"splits an axis of size {size} into {parts}")
    return [int(p) for p in parts]


# ---- making and reducing --------------------------------------------------------------------------------------------


@folds("Constant")
def _constant(call: Call) -> Value:
    for name in ("value", "value_int", "value_ints", "value_float", "value_floats"):
        value = call.attr(name)
        if value is None:
            continue
        if name == "value":
            return known(tensor_array(value, call.place))
        return known(np.asarray(value, np.int64 if "int" in name else np.float32))
    raise call.refuse(f"a constant given as {sorted(call.attrs)} is not supported")


@folds("ConstantOfShape")
def _constant_of_shape(call: Call) -> Value:
    shape = call.sizes(0)
    if any(isinstance(s, Dim) for s in shape):
        raise Undecided
    value = fill_value(call)
    check_bytes(shape, call.place)
    return known(np.full([int(s) for s in shape], value))


def fill_value(call: Call) -> np.generic:
    value = call.attr("value")
    array = np.zeros(1, np.float32) if value is None else tensor_array(value, call.place)
    if array.size != 1:
        raise call.refuse(f"value has {array.size} elements, expected 1")
    return array.reshape(-1)[0]


@folds("Range")
def _range(call: Call) -> Value:
    if not all(call.input(n).is_known for n in range(3)):
        raise Undecided
    start, limit, delta = (call.known(n).reshape(-1)[0] for n in range(3))
    count = max(0, math.ceil((limit.item() - start.item()) / delta.item())) if delta else 0
    check_bytes([count], call.place)
    return known((start + np.arange(count) * delta).astype(start.dtype))


@folds("ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin")
def _reduce(call: Call) -> Value | list[Value | None]:
    value = call.input(0)
    if value.is_known:
        result = reference_fold(call)
        if result is None:
            raise Undecided
        return result
    if value.array.ndim > 1 or call.op in ("ReduceMax", "ReduceMin"):
        raise Undecided
    axes_argument(call, 13 if call.op == "ReduceSum" else 18)
    total: Size = 1 if call.op == "ReduceProd" else 0
    for e in value.array:
        total = total * e if call.op == "ReduceProd" else total + e
    out = np.empty(1 if call.attr("keepdims", 1) else (), object)
    out[...] = total
    return known(out, value.dtype)


def refuse_growth(call: Call, values: list[Value | None]) -> None:
    """Refuses constants that are much larger than what they were made of."""
    given = sum(v.array.nbytes for v in call.inputs if v is not None and v.array is not None)
    for value in values:
        if value is not None and value.is_known and value.array.nbytes > given + MAX_FOLDED_BYTES:
            raise UnsupportedModelError(
                f"{call.place}: makes a constant of {value.array.nbytes >> 20} MiB from {given >> 20} MiB"
            )
