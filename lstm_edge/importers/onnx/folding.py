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
from ...ir.dims import Dim, Size
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


# ---- movement -----------------------------------------------------------------------------------------------------


def _take(call: Call, array: np.ndarray) -> Value:
    return known(array, call.input(0).dtype)


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


def axes_argument(call: Call, input_opset: int) -> list[int] | None:
    """`axes` from the attribute, or from input 1 since `input_opset`; None when absent."""
    if call.opset < input_opset:
        axes = call.attr("axes")
        return None if axes is None else [int(a) for a in axes]
    return None if call.optional(1) is None else call.known_ints(1)


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
