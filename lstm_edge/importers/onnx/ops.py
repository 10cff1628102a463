"""ONNX operators on numbers: elementwise, over axes, matrix products. Lowered to the rows of docs/ops.md."""

from __future__ import annotations

import numpy as np

from ...ir.dims import Dim, Size, product
from ..dialect import Value, broadcast, known
from .folding import axes_argument, cast_target, fold_cast
from .lowering import Call, Lowering, lowers

# ---- elementwise ----------------------------------------------------------------------------------------------------

UNARY = {
    "Neg": "neg",
    "Abs": "abs",
    "Sqrt": "sqrt",
    "Log": "log",
    "Exp": "exp",
    "Floor": "floor",
    "Ceil": "ceil",
    "Round": "round",
    "Reciprocal": "reciprocal",
    "Sign": "sign",
    "Sin": "sin",
    "Cos": "cos",
    "Tan": "tan",
    "Asin": "asin",
    "Acos": "acos",
    "Atan": "atan",
    "Sinh": "sinh",
    "Cosh": "cosh",
    "Erf": "erf",
    "Not": "not",
    "IsNaN": "is_nan",
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Mish": "mish",
    "HardSwish": "hard_silu",
}
# Activations with parameters: kind, default alpha, default beta (None: the function has none).
PARAMETRIC: dict[str, tuple[str, float, float | None]] = {
    "HardSigmoid": ("hard_sigmoid", 0.2, 0.5),
    "LeakyRelu": ("leaky_relu", 0.01, None),
    "Elu": ("elu", 1.0, None),
    "Selu": ("selu", 1.67326319217681884765625, 1.05070102214813232421875),
    "Celu": ("celu", 1.0, None),
    "ThresholdedRelu": ("thresholded_relu", 1.0, None),
}
BINARY = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "div",
    "Equal": "equal",
    "Less": "less",
    "Greater": "greater",
    "LessOrEqual": "less_equal",
    "GreaterOrEqual": "greater_equal",
    "And": "and",
    "Or": "or",
    "Xor": "xor",
    "PRelu": "prelu",
}


@lowers(*UNARY)
def _unary(call: Call) -> Value:
    return call.ctx.unary(UNARY[call.op], call.input(0))


@lowers(*PARAMETRIC)
def _parametric(call: Call) -> Value:
    kind, alpha, beta = PARAMETRIC[call.op]
    alpha = call.attr("alpha", alpha)
    if kind == "selu":
        beta = call.attr("gamma", beta)
    elif beta is not None:
        beta = call.attr("beta", beta)
    return call.ctx.unary(kind, call.input(0), alpha, beta)


@lowers("Gelu")
def _gelu(call: Call) -> Value:
    approximate = call.attr("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise call.refuse(f"approximate = {approximate!r}: expected 'none' or 'tanh'")
    return call.ctx.unary("gelu" if approximate == "none" else "gelu_tanh", call.input(0))


@lowers("Swish")
def _swish(call: Call) -> Value:
    return scaled_silu(call.ctx, call.input(0), call.attr("alpha", 1.0))


def scaled_silu(ctx: Lowering, x: Value, alpha: float) -> Value:
    """x * sigmoid(alpha x)."""
    if alpha == 1.0:
        return ctx.unary("silu", x)
    return ctx.binary("mul", x, ctx.unary("sigmoid", ctx.binary("mul", x, ctx.constant(alpha))))


@lowers("Asinh", "Acosh", "Atanh")
def _inverse_hyperbolic(call: Call) -> Value:
    """By logarithms, on |x| where that avoids a difference of near numbers."""
    ctx, x, one = call.ctx, call.input(0), call.ctx.constant(1.0)
    if call.op == "Atanh":
        ratio = ctx.binary("div", ctx.binary("add", one, x), ctx.binary("sub", one, x))
        return ctx.binary("mul", ctx.unary("log", ratio), ctx.constant(0.5))
    size = ctx.unary("abs", x) if call.op == "Asinh" else x
    root = ctx.unary("sqrt", ctx.binary("add" if call.op == "Asinh" else "sub", ctx.binary("mul", size, size), one))
    result = ctx.unary("log", ctx.binary("add", size, root))
    return ctx.binary("mul", result, ctx.unary("sign", x)) if call.op == "Asinh" else result


@lowers("IsInf")
def _is_inf(call: Call) -> Value:
    ctx, x = call.ctx, call.input(0)
    positive, negative = call.attr("detect_positive", 1), call.attr("detect_negative", 1)
    if positive and negative:
        x = ctx.unary("abs", x)
    elif not positive and not negative:
        raise call.refuse("detects neither infinity")
    return ctx.binary("equal", x, ctx.constant(np.inf if positive else -np.inf))


@lowers("Clip")
def _clip(call: Call) -> Value:
    ctx, x = call.ctx, call.input(0)
    if call.opset < 11:
        return ctx.unary("clip", x, call.attr("min", -np.inf), call.attr("max", np.inf))
    bounds = [call.optional(1), call.optional(2)]
    if all(b is None or b.is_known for b in bounds):
        low, high = (
            default if b is None else float(b.array.reshape(-1)[0]) for b, default in zip(bounds, (-np.inf, np.inf))
        )
        return ctx.unary("clip", x, low, high)
    for kind, bound in zip(("max", "min"), bounds):
        x = x if bound is None else ctx.binary(kind, x, bound)
    return x


@lowers("Shrink")
def _shrink(call: Call) -> Value:
    ctx, x = call.ctx, call.input(0)
    bias, lambd = ctx.constant(call.attr("bias", 0.0)), call.attr("lambd", 0.5)
    high = ctx.emit(
        "Where",
        [ctx.binary("greater", x, ctx.constant(lambd)), ctx.binary("sub", x, bias), ctx.constant(0.0)],
        {},
        x.dtype,
    )
    return ctx.emit(
        "Where", [ctx.binary("less", x, ctx.constant(-lambd)), ctx.binary("add", x, bias), high], {}, x.dtype
    )


@lowers(*BINARY)
def _binary(call: Call) -> Value:
    call.ignore("axis", "broadcast")  # opset 6 and older; read() refuses those
    return call.ctx.binary(BINARY[call.op], call.input(0), call.input(1))


@lowers("Pow")
def _pow(call: Call) -> Value:
    ctx, x, power = call.ctx, call.input(0), call.input(1)
    if power.is_known and ctx.uniform(power) == 2 and ctx.shape(power) in ((), (1,)) and call.rank(0):
        return ctx.binary("mul", x, x)
    return ctx.binary("pow", x, ctx.cast(power, ctx.run_dtype(x)))


@lowers("Mod")
def _mod(call: Call) -> Value:
    return call.ctx.binary("fmod" if call.attr("fmod", 0) else "mod", call.input(0), call.input(1))


@lowers("Max", "Min", "Sum", "Mean")
def _variadic(call: Call) -> Value:
    ctx = call.ctx
    kind = {"Max": "max", "Min": "min"}.get(call.op, "add")
    out = call.input(0)
    for n in range(1, len(call.inputs)):
        out = ctx.binary(kind, out, call.input(n))
    if call.op == "Mean":
        out = ctx.binary("mul", out, ctx.constant(1.0 / len(call.inputs)))
    return out


@lowers("Where")
def _where(call: Call) -> Value:
    condition, a, b = (call.input(n) for n in range(3))
    if condition.is_known and call.ctx.uniform(condition) is not None:  # a choice made at conversion
        chosen = a if call.ctx.uniform(condition) else b
        target = broadcast(broadcast(call.shape(0), call.shape(1), call.place), call.shape(2), call.place)
        return call.ctx.expand(chosen, target)
    return call.ctx.emit("Where", [condition, a, b], {}, a.dtype)


@lowers("Cast", "CastLike")
def _cast(call: Call) -> Value:
    ctx, x = call.ctx, call.input(0)
    if x.is_known:  # CastLike a run-time tensor
        return fold_cast(call)
    dtype = cast_target(call)
    if call.op == "Cast" and call.attr("to") in (10, 16):
        ctx.note("float16 arithmetic is done in float32")
    wanted = "bool" if dtype == "bool" else "float32" if dtype.startswith("float") else "int32"
    if ctx.run_dtype(x) == wanted:
        return Value(dtype, tensor=ctx.tensor(x))
    return ctx.emit("Cast", [x], {"to": wanted}, dtype)


@lowers("Identity", "Dropout")
def _identity(call: Call) -> Value:
    if call.op == "Dropout":
        call.ignore("ratio", "seed", "is_test")
        mode = call.optional(2)
        if call.opset >= 12 and mode is not None and (not mode.is_known or mode.array.any()):
            raise call.refuse("training_mode is on; export the model in inference mode")
        if call.wants(1):
            raise call.refuse("its mask output is used; export the model in inference mode")
    return call.input(0)


# ---- over axes ------------------------------------------------------------------------------------------------------

REDUCE = {
    "ReduceSum": "sum",
    "ReduceMean": "mean",
    "ReduceMax": "max",
    "ReduceMin": "min",
    "ReduceProd": "prod",
    "ReduceL1": "l1",
    "ReduceL2": "l2",
    "ReduceSumSquare": "sum_square",
    "ReduceLogSum": "log_sum",
    "ReduceLogSumExp": "log_sum_exp",
}


@lowers(*REDUCE)
def _reduce(call: Call) -> Value:
    axes = axes_argument(call, 13 if call.op == "ReduceSum" else 18)
    keepdims, noop = call.attr("keepdims", 1), call.attr("noop_with_empty_axes", 0)
    x, rank = call.input(0), call.rank(0)
    if not axes and noop:
        if REDUCE[call.op] not in ("sum", "mean", "max", "min", "prod"):
            raise call.refuse("noop_with_empty_axes = 1 with no axes is not supported; give axes")
        return x
    if rank == 0:
        return x
    attrs = {
        "kind": REDUCE[call.op],
        "axes": sorted(call.axis(a, rank) for a in axes or range(rank)),
        "keepdims": int(keepdims),
    }
    return call.ctx.emit("Reduce", [x], attrs)


@lowers("ArgMax", "ArgMin")
def _arg_reduce(call: Call) -> Value:
    attrs = {
        "kind": call.op[3:].lower(),
        "axis": call.axis(call.attr("axis", 0), call.rank(0)),
        "keepdims": int(call.attr("keepdims", 1)),
        "select_last": int(call.attr("select_last_index", 0)),
    }
    return call.ctx.emit("ArgReduce", [call.input(0)], attrs, "int64")


@lowers("Softmax", "LogSoftmax", "Hardmax")
def _softmax(call: Call) -> Value:
    ctx, x, shape = call.ctx, call.input(0), call.shape(0)
    log = int(call.op == "LogSoftmax")
    axis = call.axis(call.attr("axis", 1 if call.opset < 13 else -1), len(shape))
    if call.op == "Hardmax":
        if call.opset < 13 and axis != len(shape) - 1:
            raise call.refuse(f"axis = {axis} before opset 13 is not supported; use ArgMax and OneHot")
        best = ctx.emit("ArgReduce", [x], {"kind": "max", "axis": axis}, "int64")
        return ctx.cast(ctx.binary("equal", best, ctx.positions(shape, axis)), "float32")
    if call.opset >= 13 or axis == len(shape) - 1:
        return ctx.emit("Softmax", [x], {"axis": axis, "log": log})
    flat = ctx.reshape(x, [*shape[:axis], product(shape[axis:])])  # one distribution over all axes from `axis` on
    return ctx.reshape(ctx.emit("Softmax", [flat], {"axis": axis, "log": log}), shape)


@lowers("CumSum")
def _cum_sum(call: Call) -> Value:
    attrs = {
        "axis": call.axis(call.known_ints(1)[0], call.rank(0)),
        "exclusive": int(call.attr("exclusive", 0)),
        "reverse": int(call.attr("reverse", 0)),
    }
    return call.ctx.emit("CumSum", [call.input(0)], attrs)


@lowers("TopK")
def _top_k(call: Call) -> list[Value | None]:
    k = call.sizes(1)[0] if call.opset >= 10 else call.require_attr("k")
    call.ignore("sorted")  # sorted is one of the orders that unsorted allows
    axis, largest = call.axis(call.attr("axis", -1), call.rank(0)), int(call.attr("largest", 1))
    if isinstance(k, Dim):
        if call.shape(0) != (k,):
            raise call.refuse(f"k = {k} of shape {list(call.shape(0))}; fix that size (--shape)")
        return sort(call.ctx, call.input(0), bool(largest))
    attrs = {"k": int(k), "axis": axis, "largest": largest}
    return call.ctx.emit_all("TopK", [call.input(0)], attrs, [call.input(0).dtype, "int64"])


def sort(ctx: Lowering, x: Value, largest: bool) -> list[Value | None]:
    """Values and indices of a whole vector in order, by counting for each element those before it.

    torch sorts a batch by length so."""
    shape = ctx.shape(x)
    row, column = ctx.reshape(x, [1, *shape]), ctx.reshape(x, [*shape, 1])
    both = [*shape, *shape]
    ahead = ctx.binary("greater" if largest else "less", row, column)
    tied = ctx.binary(
        "and", ctx.binary("equal", row, column), ctx.binary("less", ctx.positions(both, 1), ctx.positions(both, 0))
    )
    before = ctx.cast(ctx.binary("or", ahead, tied), "float32")
    rank = ctx.cast(ctx.emit("Reduce", [before], {"kind": "sum", "axes": [1], "keepdims": 0}), "int32")
    places = ctx.positions(shape, 0)
    order = ctx.emit("ScatterElements", [places, rank, places], {"axis": 0}, "int64")
    return [ctx.emit("GatherElements", [x, order], {"axis": 0}), order]


@lowers("Trilu")
def _trilu(call: Call) -> Value:
    ctx, x, shape = call.ctx, call.input(0), call.shape(0)
    k = call.known_ints(1)[0] if call.optional(1) is not None else 0
    row, column = ctx.positions(shape[-2:], 0), ctx.positions(shape[-2:], 1)
    shifted = ctx.binary("add", row, ctx.constant(k, "int64"))
    mask = ctx.binary("greater_equal" if call.attr("upper", 1) else "less_equal", column, shifted)
    zero = known(np.zeros((), ctx.run_dtype(x)))
    return ctx.emit("Where", [mask, x, zero], {}, x.dtype)


@lowers("OneHot")
def _one_hot(call: Call) -> Value:
    ctx, indices = call.ctx, call.input(0)
    depth, values = call.known_ints(1)[0], call.known(2)
    rank = call.rank(0) + 1
    axis = call.axis(call.attr("axis", -1), rank)
    indices = ctx.cast(indices, "int32")
    wrapped = ctx.binary("add", indices, ctx.constant(depth, "int64"))
    zero = ctx.constant(0, "int64")
    indices = ctx.emit("Where", [ctx.binary("less", indices, zero), wrapped, indices], {}, "int64")
    shape = list(call.shape(0))
    column = ctx.reshape(indices, [*shape[:axis], 1, *shape[axis:]])
    classes = known(np.arange(depth).reshape([depth if d == axis else 1 for d in range(rank)]))
    hit = ctx.binary("equal", column, classes)
    return ctx.emit("Where", [hit, known(values[1]), known(values[0])], {}, str(values.dtype))


# ---- matrix products ------------------------------------------------------------------------------------------------


def matmul(ctx: Lowering, a: Value, b: Value, scale: float = 1.0) -> Value:
    """ONNX MatMul. A known matrix on the right makes a Dense."""
    if b.is_known and b.array.ndim == 2 and len(ctx.shape(a)) >= 1:
        weight = known(np.ascontiguousarray(b.array.T.astype(np.float32) * np.float32(scale)))
        return ctx.emit("Dense", [a, weight])
    rank_a, rank_b = len(ctx.shape(a)), len(ctx.shape(b))
    if rank_a == 1:
        a = ctx.reshape(a, [1, *ctx.shape(a)])
    if rank_b == 1:
        b = ctx.reshape(b, [*ctx.shape(b), 1])
    out = ctx.emit("MatMul", [a, b], {"scale": scale} if scale != 1.0 else {})
    shape = list(ctx.shape(out))
    if rank_a == 1:
        del shape[-2]
    if rank_b == 1:
        del shape[-1]
    return ctx.reshape(out, shape)


@lowers("MatMul")
def _matmul(call: Call) -> Value:
    return matmul(call.ctx, call.input(0), call.input(1))


@lowers("Gemm")
def _gemm(call: Call) -> Value:
    ctx, a, b, c = call.ctx, call.input(0), call.input(1), call.optional(2)
    alpha, beta = call.attr("alpha", 1.0), call.attr("beta", 1.0)
    a = ctx.transpose(a, [1, 0]) if call.attr("transA", 0) else a
    b = ctx.transpose(b, [1, 0]) if call.attr("transB", 0) else b
    return gemm(ctx, a, b, c, alpha, beta)


def gemm(ctx: Lowering, a: Value, b: Value, c: Value | None, alpha: float = 1.0, beta: float = 1.0) -> Value:
    """alpha a b + beta c; with b and a row c known, one Dense."""
    if c is not None and c.is_known:
        c = known(c.array.astype(np.float32) * np.float32(beta))
    elif c is not None and beta != 1.0:
        c = ctx.binary("mul", c, ctx.constant(beta))
    if c is not None and c.is_known and b.is_known and b.array.ndim == 2:
        width = b.array.shape[1]
        if c.array.size == 1 or c.array.size == width == c.array.shape[-1]:
            weight = known(np.ascontiguousarray(b.array.T.astype(np.float32) * np.float32(alpha)))
            bias = known(np.ascontiguousarray(np.broadcast_to(c.array.reshape(-1), (width,))))
            return ctx.emit("Dense", [a, weight, bias])
    product_ = matmul(ctx, a, b, alpha)
    return product_ if c is None else ctx.binary("add", product_, c)


@lowers("Einsum")
def _einsum(call: Call) -> Value:
    """Pairs of operands from the left: labels that nothing else needs are summed out, the rest is one MatMul."""
    equation = call.require_attr("equation").replace(" ", "")
    terms, output = _einsum_terms(call, equation)
    labels, value = terms[0], _einsum_sum(call, terms[0], call.input(0), set(output).union(*terms[1:]))
    labels = [x for x in labels if x in set(output).union(*terms[1:])]
    for n in range(1, len(terms)):
        needed = set(output).union(*terms[n + 1 :])
        labels, value = _einsum_pair(call, labels, value, terms[n], call.input(n), needed)
    return call.ctx.transpose(value, [labels.index(x) for x in output])


def _einsum_terms(call: Call, equation: str) -> tuple[list[list[str]], list[str]]:
    """The labels of each operand and of the output; an ellipsis becomes '.0', '.1' counted from the last axis."""
    left, arrow, right = equation.partition("->")
    terms, widest = [], 0
    for n, text in enumerate(left.split(",")):
        extra = call.rank(n) - len(text.replace("...", ""))
        widest = max(widest, extra if "..." in text else 0)
        dots = [f".{d}" for d in range(extra - 1, -1, -1)]
        head, mark, tail = text.partition("...")
        term = [*head, *(dots if mark else []), *tail]
        if len(set(term)) != len(term) or len(term) != call.rank(n):
            raise call.refuse(
                f"equation {equation!r}: expected each label once per operand, and one per axis "
                f"(operand {n} has {call.rank(n)} axes)"
            )
        terms.append(term)
    all_dots = [f".{d}" for d in range(widest - 1, -1, -1)]
    if arrow:
        head, mark, tail = right.partition("...")
        return terms, [*head, *(all_dots if mark else []), *tail]
    once = sorted(x for x in {y for t in terms for y in t} if sum(t.count(x) for t in terms) == 1 and x[0] != ".")
    return terms, all_dots + once


def _einsum_sum(call: Call, labels: list[str], value: Value, needed: set[str]) -> Value:
    axes = [d for d, x in enumerate(labels) if x not in needed]
    if not axes:
        return value
    return call.ctx.emit("Reduce", [value], {"kind": "sum", "axes": axes, "keepdims": 0})


def _einsum_pair(
    call: Call, left: list[str], a: Value, right: list[str], b: Value, needed: set[str]
) -> tuple[list[str], Value]:
    ctx = call.ctx
    a, b = (_einsum_sum(call, x, v, needed | set(other)) for x, v, other in ((left, a, right), (right, b, left)))
    left, right = ([x for x in t if x in needed | set(o)] for t, o in ((left, right), (right, left)))
    sizes: dict[str, Size] = {x: s for t, v in ((left, a), (right, b)) for x, s in zip(t, ctx.shape(v))}
    batch = [x for x in left if x in right and x in needed]
    inner = [x for x in left if x in right and x not in needed]
    rows, columns = ([x for x in t if x not in o] for t, o in ((left, right), (right, left)))

    def matrix(value: Value, labels: list[str], first: list[str], second: list[str]) -> Value:
        ordered = ctx.transpose(value, [labels.index(x) for x in batch + first + second])
        return ctx.reshape(ordered, [sizes[x] for x in batch] + [product(sizes[x] for x in g) for g in (first, second)])

    out = matmul(ctx, matrix(a, left, rows, inner), matrix(b, right, inner, columns))
    return batch + rows + columns, ctx.reshape(out, [sizes[x] for x in batch + rows + columns])


# ---- counting -------------------------------------------------------------------------------------------------------


@lowers("Range")
def _range(call: Call) -> Value:
    """Positions along batch or frames: ones added up along that axis (exact to 2^24)."""
    ctx, start, limit, delta = call.ctx, call.input(0), call.input(1), call.input(2)
    if any(v.array is None or v.array.size != 1 for v in (start, limit, delta)) or not delta.is_known:
        raise call.refuse("its bounds must follow from the shapes of the inputs; they are computed at run time")
    step = delta.array.reshape(-1)[0]
    first, last = (v.array.reshape(-1)[0] for v in (start, limit))
    count = (last - first + int(step) - 1) // int(step) if step >= 1 and step == int(step) else None
    if count is None or not isinstance(first, (int, np.integer, np.floating)):
        raise call.refuse(f"a range from {first} to {last} in steps of {step} is not supported")
    places = ctx.arange(count)
    if step != 1:
        places = ctx.binary("mul", places, ctx.constant(step))
    if first != 0:
        places = ctx.binary("add", places, ctx.constant(first))
    if start.dtype.startswith("float"):
        return places
    return ctx.emit("Cast", [places], {"to": "int32"}, start.dtype)
