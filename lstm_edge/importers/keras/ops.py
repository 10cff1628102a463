"""Operations inside functional models: keras.ops of Keras 3 (class GetItem, Multiply...) and TFOpLambda of tf.keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import FormatError
from ...ir.dims import Dim
from .config import Layer
from .emit import Call, Emit, From, Value, unsupported

_TF_FUNCTIONS = {
    "Add": "add __operators__.add math.add",
    "Subtract": "subtract __operators__.sub math.subtract",
    "Multiply": "__operators__.mul math.multiply multiply",
    "Divide": "__operators__.truediv math.divide math.truediv realdiv",
    "Power": "math.pow __operators__.pow pow",
    "Maximum": "math.maximum maximum",
    "Minimum": "math.minimum minimum",
    "Negative": "__operators__.neg math.negative",
    "Abs": "math.abs abs",
    "Sqrt": "math.sqrt sqrt",
    "Rsqrt": "math.rsqrt",
    "Exp": "math.exp exp",
    "Log": "math.log",
    "Square": "math.square square",
    "Tanh": "math.tanh tanh nn.tanh",
    "Sigmoid": "math.sigmoid sigmoid",
    "Relu": "nn.relu",
    "Relu6": "nn.relu6",
    "Elu": "nn.elu",
    "Selu": "nn.selu",
    "Gelu": "nn.gelu",
    "Silu": "nn.silu nn.swish",
    "LeakyRelu": "nn.leaky_relu",
    "Softplus": "math.softplus nn.softplus",
    "Softsign": "nn.softsign",
    "Softmax": "nn.softmax",
    "LogSoftmax": "nn.log_softmax",
    "Mean": "math.reduce_mean",
    "Sum": "math.reduce_sum",
    "Max": "math.reduce_max",
    "Min": "math.reduce_min",
    "Prod": "math.reduce_prod",
    "Argmax": "math.argmax",
    "Argmin": "math.argmin",
    "Reshape": "reshape",
    "Transpose": "transpose",
    "Concatenate": "concat",
    "Stack": "stack",
    "Split": "split",
    "Squeeze": "squeeze",
    "ExpandDims": "expand_dims",
    "Tile": "tile",
    "Matmul": "linalg.matmul __operators__.matmul",
    "Cast": "cast",
    "Clip": "clip_by_value",
    "Identity": "identity stop_gradient",
    "Flip": "reverse",
    "Pad": "pad",
    "Where": "where",
    "Cumsum": "math.cumsum",
    "GetItem": "__operators__.getitem",
    "Equal": "math.equal __operators__.eq",
    "NotEqual": "math.not_equal __operators__.ne",
    "Less": "math.less __operators__.lt",
    "Greater": "math.greater __operators__.gt",
    "LessEqual": "__operators__.le",
    "GreaterEqual": "__operators__.ge",
    "Sin": "math.sin",
    "Cos": "math.cos",
    "ConvertToTensor": "convert_to_tensor",
    "Unstack": "unstack",
}
_TF = {name: kind for kind, names in _TF_FUNCTIONS.items() for name in names.split()}
_BINARY = {
    "Add": "add",
    "Subtract": "sub",
    "Multiply": "mul",
    "Divide": "div",
    "TrueDivide": "div",
    "Power": "pow",
    "Maximum": "max",
    "Minimum": "min",
    "Mod": "mod",
    "Equal": "equal",
    "NotEqual": "not_equal",
    "Less": "less",
    "LessEqual": "less_equal",
    "Greater": "greater",
    "GreaterEqual": "greater_equal",
    "LogicalAnd": "and",
    "LogicalOr": "or",
    "LogicalXor": "xor",
}
_UNARY = {
    "Abs": "abs",
    "Absolute": "abs",
    "Negative": "neg",
    "Sqrt": "sqrt",
    "Log": "log",
    "Exp": "exp",
    "Floor": "floor",
    "Ceil": "ceil",
    "Reciprocal": "reciprocal",
    "Sign": "sign",
    "Sin": "sin",
    "Cos": "cos",
    "Tan": "tan",
    "Arcsin": "asin",
    "Arccos": "acos",
    "Arctan": "atan",
    "Sinh": "sinh",
    "Cosh": "cosh",
    "Erf": "erf",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Relu": "relu",
    "Relu6": "relu6",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Silu": "silu",
    "HardSilu": "hard_silu",
    "LogicalNot": "not",
    "Isnan": "is_nan",
}
_REDUCE = {
    "Mean": "mean",
    "Sum": "sum",
    "Max": "max",
    "Min": "min",
    "Prod": "prod",
    "Amax": "max",
    "Amin": "min",
    "Any": "max",
    "All": "min",
    "Logsumexp": "log_sum_exp",
}


def kind_of(layer: Layer) -> str:
    """The operation's name in Keras 3's words; the file's own where there is none."""
    if layer.cls == "SlicingOpLambda":
        return "GetItem"
    if layer.cls == "TFOpLambda":
        function = str(layer.config.take("function")).removeprefix("compat.v1.")
        return _TF.get(function, function)
    return layer.written


def is_known(layer: Layer) -> bool:
    kind = kind_of(layer)
    return kind in _RULES or kind in _BINARY or kind in _UNARY or kind in _REDUCE


class _Op:
    """One operation: arguments by position, keyword or config, whichever the version used."""

    def __init__(self, e: Emit, layer: Layer, call: Call):
        self.e, self.layer, self.call, self.name = e, layer, call, layer.name
        self.kind = kind_of(layer)

    def arg(self, position: int, *names: str, default: Any = None) -> Any:
        for name in names:
            if name in self.call.kwargs:
                return self.call.kwargs[name]
            if self.layer.config.values.get(name) is not None:
                return self.layer.config.take(name)
        return self.call.args[position] if position < len(self.call.args) else default

    def tensor(self, position: int, *names: str, like: str | None = None) -> str:
        """An operand: a tensor, or a number or array as a constant of the other operand's dtype."""
        value = self.arg(position, *names)
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Value):
            value = value[0]
        if isinstance(value, Value):
            return value.t
        try:
            array = np.asarray(value, np.float32 if like is None or self.e.dtype(like) == "float32" else np.int32)
        except (TypeError, ValueError) as error:
            raise unsupported(self.layer, f"operand {str(value)[:60]!r}", "expected a tensor or numbers") from error
        return self.e.const(array, f"{self.name}/constant")

    def fail(self, what: str, advice: str = "rebuild it from standard layers") -> Exception:
        return unsupported(self.layer, what, advice)

    def axes(self, value: Any, rank: int) -> list[int]:
        values = list(range(rank)) if value is None else [value] if isinstance(value, int) else list(value)
        return [int(v) % rank for v in values]


def emit(e: Emit, layer: Layer, call: Call) -> list[Value]:
    op = _Op(e, layer, call)
    if op.kind in _BINARY:
        return [Value(_binary(op))]
    if op.kind in _UNARY:
        x = op.tensor(0, "x")
        return [Value(e.unary(_UNARY[op.kind], x, op.name))]
    if op.kind in _REDUCE:
        return [Value(_reduce(op))]
    result = _RULES[op.kind](op)
    return [Value(t) for t in result] if isinstance(result, list) else [Value(result)]


def _binary(op: _Op) -> str:
    first, second = op.arg(0, "x1", "x", "a"), op.arg(1, "x2", "y", "b")
    if isinstance(first, Value):
        a = first.t
        b = op.tensor(1, "x2", "y", "b", like=a)
    elif isinstance(second, Value):
        b = second.t
        a = op.tensor(0, "x1", "x", "a", like=b)
    else:
        raise op.fail("two constant operands")
    kind = _BINARY[op.kind]
    if op.e.dtype(a) != op.e.dtype(b) or kind in ("div", "pow"):
        a, b = op.e.real(a, f"{op.name}/a"), op.e.real(b, f"{op.name}/b")
    return op.e.binary(kind, a, b, op.name)


def _reduce(op: _Op) -> str:
    x = op.tensor(0, "x", "input_tensor")
    axes = op.axes(op.arg(1, "axis"), op.e.rank(x))
    if 0 in axes:
        raise op.fail("reduces over the batch")
    return op.e.reduce(_REDUCE[op.kind], x, axes, op.name, bool(op.arg(2, "keepdims", default=False)))


def _arg_reduce(op: _Op) -> str:
    x, axis = (
        op.tensor(0, "x", "input"),
        op.arg(1, "axis", default=0 if op.layer.is_op and op.layer.cls == "TFOpLambda" else None),
    )
    if not isinstance(axis, int):
        raise op.fail("no axis")
    return op.e.op(
        "ArgReduce",
        [x],
        op.name,
        kind=op.kind[3:].lower(),
        axis=axis,
        keepdims=int(bool(op.arg(2, "keepdims", default=False))),
    )


def _softmax(op: _Op) -> str:
    axis = op.arg(1, "axis")
    return op.e.op(
        "Softmax",
        [op.tensor(0, "x", "logits")],
        op.name,
        axis=-1 if axis is None else axis,
        log=int(op.kind == "LogSoftmax"),
    )


def _activation(kind: str, alpha_names: tuple[str, ...], alpha: float, beta: float = 0.0) -> Callable[[_Op], str]:
    def rule(op: _Op) -> str:
        given = op.arg(1, *alpha_names) if alpha_names else None
        return op.e.unary(
            kind, op.tensor(0, "x", "features"), op.name, alpha=alpha if given is None else float(given), beta=beta
        )

    return rule


def _gelu(op: _Op) -> str:
    return op.e.unary(
        "gelu_tanh" if op.arg(1, "approximate", default=False) else "gelu", op.tensor(0, "x", "features"), op.name
    )


def _square(op: _Op) -> str:
    x = op.tensor(0, "x")
    return op.e.binary("mul", x, x, op.name)


def _rsqrt(op: _Op) -> str:
    return op.e.unary("reciprocal", op.e.unary("sqrt", op.tensor(0, "x"), f"{op.name}/root"), op.name)


def _shifted_log(op: _Op) -> str:
    return op.e.unary("log", op.e.scaled(op.tensor(0, "x"), 1, 1, f"{op.name}/plus"), op.name)


def _clip(op: _Op) -> str:
    low, high = op.arg(1, "x_min", "clip_value_min"), op.arg(2, "x_max", "clip_value_max")
    if not all(isinstance(v, (int, float)) for v in (low, high)):
        raise op.fail("bounds that are not numbers")
    return op.e.unary("clip", op.tensor(0, "x", "t"), op.name, alpha=float(low), beta=float(high))


def _cast(op: _Op) -> str:
    wanted = str(op.arg(1, "dtype")).split(".")[-1]
    to = "bool" if wanted == "bool" else "int32" if "int" in wanted else "float32" if "float" in wanted else None
    if to is None:
        raise op.fail(f"dtype {wanted}")
    return op.e.cast(op.tensor(0, "x"), to, op.name)


def _where(op: _Op) -> str:
    a, b = op.arg(1, "x1", "x"), op.arg(2, "x2", "y")
    like = a.t if isinstance(a, Value) else b.t if isinstance(b, Value) else None
    condition = op.e.cast(op.tensor(0, "condition"), "bool", f"{op.name}/condition")
    return op.e.op(
        "Where", [condition, op.tensor(1, "x1", "x", like=like), op.tensor(2, "x2", "y", like=like)], op.name
    )


def _matmul(op: _Op) -> str:
    a, b = op.tensor(0, "x1", "a"), op.tensor(1, "x2", "b")
    if min(op.e.rank(a), op.e.rank(b)) < 2:
        raise op.fail(f"operands of shape {op.e.shape(a)} and {op.e.shape(b)}")
    return op.e.op(
        "MatMul",
        [a, b],
        op.name,
        trans_a=int(bool(op.arg(9, "transpose_a"))),
        trans_b=int(bool(op.arg(9, "transpose_b"))),
    )


# ---- movement --------------------------------------------------------------------------------------------------------


def _reshape(op: _Op) -> str:
    from .layers import reshape_to

    x, shape = op.tensor(0, "x", "tensor"), op.arg(1, "newshape", "shape")
    if not isinstance(shape, (list, tuple)) or not all(s is None or isinstance(s, int) for s in shape):
        raise op.fail(f"shape {str(shape)[:60]}: expected numbers")
    shape, sizes = list(shape), op.e.shape(x)
    if not shape or shape[0] not in (-1, None):
        raise op.fail(f"shape {shape}: fixes the batch", "start the shape with -1")
    rest = [s for s in shape[1:] if s is not None]
    known = all(isinstance(s, int) for s in sizes[1:])
    if -1 not in shape[1:] and None not in shape[1:] and known and int(np.prod(rest)) != int(np.prod(sizes[1:])):
        return op.e.reshape(x, [-1, *rest], op.name)  # moves parts of other axes into the batch
    return reshape_to(op.e, x, [-1 if s is None else s for s in shape[1:]], op.name, op.layer.place)


def _transpose(op: _Op) -> str:
    x, axes = op.tensor(0, "x", "a"), op.arg(1, "axes", "perm")
    return op.e.op(
        "Transpose",
        [x],
        op.name,
        perm=op.axes(axes, op.e.rank(x)) if axes is not None else list(range(op.e.rank(x)))[::-1],
    )


def _swapaxes(op: _Op) -> str:
    x = op.tensor(0, "x")
    perm, (a, b) = list(range(op.e.rank(x))), (op.arg(1, "axis1"), op.arg(2, "axis2"))
    perm[a], perm[b] = perm[b], perm[a]
    return op.e.op("Transpose", [x], op.name, perm=perm)


def _tensors(op: _Op) -> list[str]:
    """The list of tensors of Concatenate and Stack, of one dtype."""
    xs = [v.t for v in op.call.inputs]
    return xs if len({op.e.dtype(x) for x in xs}) == 1 else [op.e.real(x, f"{op.name}/{i}") for i, x in enumerate(xs)]


def _axis(op: _Op, position: int, default: int) -> int:
    axis = op.arg(position, "axis", default=default)
    return axis if isinstance(axis, int) else default


def _concatenate(op: _Op) -> str:
    return op.e.concat(_tensors(op), _axis(op, 1, -1), op.name)


def _stack(op: _Op) -> str:
    axis = _axis(op, 1, 0)
    xs = [op.e.expand_dims(x, axis, f"{op.name}/{i}") for i, x in enumerate(_tensors(op))]
    return op.e.concat(xs, axis, op.name)


def _split(op: _Op) -> list[str]:
    x, parts, axis = op.tensor(0, "x", "value"), op.arg(1, "indices_or_sections", "num_or_size_splits"), _axis(op, 2, 0)
    size = op.e.shape(x)[axis]
    if isinstance(size, Dim):
        raise op.fail(f"splits an axis of {size} elements", "give the number of frames (shapes=)")
    if isinstance(parts, int):
        cuts = [size // parts * i for i in range(parts + 1)]
    elif op.layer.cls == "TFOpLambda":
        cuts = [0, *np.cumsum(parts).tolist()]
    else:
        cuts = [0, *parts, size]
    return [op.e.slice(x, axis, a, b, f"{op.name}:{i}") for i, (a, b) in enumerate(zip(cuts, cuts[1:]))]


def _unstack(op: _Op) -> list[str]:
    x, axis = op.tensor(0, "x", "value"), _axis(op, 2, 0)
    size = op.e.shape(x)[axis]
    if isinstance(size, Dim):
        raise op.fail(f"splits an axis of {size} elements", "give the number of frames (shapes=)")
    return [op.e.squeeze(op.e.slice(x, axis, i, i + 1, f"{op.name}/{i}"), axis, f"{op.name}:{i}") for i in range(size)]


def _squeeze(op: _Op) -> str:
    x, axis = op.tensor(0, "x", "input"), op.arg(1, "axis")
    axes = [a for a, s in enumerate(op.e.shape(x)) if s == 1] if axis is None else op.axes(axis, op.e.rank(x))
    return op.e.reshape(x, op.e.keep(x, *(a for a in range(op.e.rank(x)) if a not in axes)), op.name)


def _expand_dims(op: _Op) -> str:
    x = op.tensor(0, "x", "input")
    for axis in sorted(a % (op.e.rank(x) + 1) for a in np.ravel(op.arg(1, "axis")).tolist()):
        x = op.e.expand_dims(x, axis, op.name)
    return x


def _flip(op: _Op) -> str:
    x = op.tensor(0, "x", "tensor")
    for axis in op.axes(op.arg(1, "axis"), op.e.rank(x)):
        x = op.e.flip(x, axis, op.name)
    return x


def _tile(op: _Op) -> str:
    x, repeats = op.tensor(0, "x", "input"), op.arg(1, "repeats", "multiples")
    if not isinstance(repeats, (list, tuple)) or len(repeats) != op.e.rank(x):
        raise op.fail(f"repeats {str(repeats)[:40]}")
    return op.e.op("Tile", [x], op.name, repeats=list(repeats))


def _pad(op: _Op) -> str:
    x, pads, mode = (
        op.tensor(0, "x", "tensor"),
        op.arg(1, "pad_width", "paddings"),
        str(op.arg(2, "mode", default="constant")).lower(),
    )
    value = op.arg(3, "constant_values", default=0) or 0
    if mode not in ("constant", "reflect") or len(pads) != op.e.rank(x) or not isinstance(value, (int, float)):
        raise op.fail(f"mode {mode}, pads {str(pads)[:60]}")
    return op.e.op("Pad", [x], op.name, pads=[p[0] for p in pads] + [p[1] for p in pads], mode=mode, value=float(value))


def _cumsum(op: _Op) -> str:
    axis = op.arg(1, "axis")
    if not isinstance(axis, int):
        raise op.fail("no axis")
    return op.e.op("CumSum", [op.tensor(0, "x")], op.name, axis=axis)


def _filled(op: _Op) -> str:
    """ZerosLike, OnesLike."""
    x, dtype = op.tensor(0, "x"), op.arg(1, "dtype")
    axes = range(op.e.rank(x))
    to = (
        op.e.dtype(x)
        if dtype is None
        else "bool"
        if "bool" in str(dtype)
        else "int32"
        if "int" in str(dtype)
        else "float32"
    )
    attrs = {
        "shape": [1] * len(axes),
        "from_input": [0] * len(axes),
        "from_axis": list(axes),
        "value": float(op.kind == "OnesLike"),
        "dtype": to,
    }
    return op.e.g.add1("Fill", [x], attrs, op.name)


def _to_tensor(op: _Op) -> str:
    return op.tensor(0, "x", "value") if op.arg(1, "dtype") is None else _cast(op)


def _one_hot(op: _Op) -> str:
    ids, count = op.e.cast(op.tensor(0, "x", "inputs"), "int32", f"{op.name}/ids"), op.arg(1, "num_classes")
    if op.arg(2, "axis", default=-1) != -1 or not isinstance(count, int):
        raise op.fail("axis or num_classes")
    wide = op.e.expand_dims(ids, op.e.rank(ids), f"{op.name}/wide")
    return op.e.cast(
        op.e.binary("equal", wide, op.e.const(np.arange(count), f"{op.name}/classes"), f"{op.name}/equal"),
        "float32",
        op.name,
    )


def _get_item(op: _Op) -> str:
    """x[key] with ints, slices, None and an ellipsis, as Slice and Reshape."""
    x, key = op.tensor(0, "x"), op.arg(1, "key", "slice_spec")
    items = list(key) if isinstance(key, (list, tuple)) else [key]
    items = [slice(*(i.get(k) for k in ("start", "stop", "step"))) if isinstance(i, dict) else i for i in items]
    if any(
        not (i is None or i is Ellipsis or isinstance(i, slice) or (isinstance(i, int) and not isinstance(i, bool)))
        for i in items
    ):
        raise op.fail(f"index {str(key)[:80]}", "index with numbers and slices")
    if Ellipsis in items:
        at = items.index(Ellipsis)
        used = sum(i is not None and i is not Ellipsis for i in items)
        items[at : at + 1] = [slice(None)] * (op.e.rank(x) - used)
    if sum(i is not None for i in items) > op.e.rank(x):
        raise FormatError(f"{op.layer.place}: {len(items)} indices into {op.e.shape(x)}")
    cut, dims, axis = _cuts(items)
    if cut:
        axes, starts, ends, steps = zip(*cut)
        x = op.e.op("Slice", [x], op.name, axes=list(axes), starts=list(starts), ends=list(ends), steps=list(steps))
    dims += list(range(axis, op.e.rank(x)))
    if dims == list(range(op.e.rank(x))):
        return x
    return op.e.reshape(x, [1 if d is None else From(x, d) for d in dims], op.name)


def _cuts(items: list[Any]) -> tuple[list[tuple[int, int, int, int]], list[int | None], int]:
    """Slices (axis, start, end, step), the axes that stay (None: a new one) and how many axes the items cover."""
    cut: list[tuple[int, int, int, int]] = []
    dims: list[int | None] = []
    axis = 0
    for item in items:
        if item is None:
            dims.append(None)
            continue
        if isinstance(item, int):
            cut.append((axis, item, item + 1 if item != -1 else 2**31 - 1, 1))
        else:
            if item != slice(None):
                step = item.step or 1
                start = item.start if item.start is not None else (0 if step > 0 else 2**31 - 1)
                end = item.stop if item.stop is not None else (2**31 - 1 if step > 0 else -(2**31))
                cut.append((axis, start, end, step))
            dims.append(axis)
        axis += 1
    return cut, dims, axis


_RULES: dict[str, Callable[[_Op], Any]] = {
    "Argmax": _arg_reduce,
    "Argmin": _arg_reduce,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Elu": _activation("elu", ("alpha",), 1.0),
    "LeakyRelu": _activation("leaky_relu", ("negative_slope", "alpha"), 0.2),
    "Selu": _activation("selu", (), 1.6732632423543772, 1.0507009873554805),
    "HardSigmoid": _activation("hard_sigmoid", (), 1 / 6, 0.5),
    "Gelu": _gelu,
    "Square": _square,
    "Rsqrt": _rsqrt,
    "Log1p": _shifted_log,
    "Clip": _clip,
    "Cast": _cast,
    "Where": _where,
    "Matmul": _matmul,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Swapaxes": _swapaxes,
    "SwapAxes": _swapaxes,
    "Concatenate": _concatenate,
    "Stack": _stack,
    "Split": _split,
    "Unstack": _unstack,
    "Squeeze": _squeeze,
    "ExpandDims": _expand_dims,
    "Flip": _flip,
    "Tile": _tile,
    "Pad": _pad,
    "Cumsum": _cumsum,
    "OneHot": _one_hot,
    "GetItem": _get_item,
    "ZerosLike": _filled,
    "OnesLike": _filled,
    "ConvertToTensor": _to_tensor,
    "Identity": lambda op: op.tensor(0, "x", "input"),
    "StopGradient": lambda op: op.tensor(0, "x", "variable"),
}
