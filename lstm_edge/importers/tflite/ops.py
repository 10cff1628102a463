"""TFLite operators on numbers: elementwise, over axes, matrix products. Lowered to the rows of docs/ops.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir.dims import Dim
from ..dialect import Value, broadcast, known
from .lowering import Call, lowers

# ---- elementwise -----------------------------------------------------------------------------------------------------

UNARY = {
    "LOGISTIC": "sigmoid",
    "TANH": "tanh",
    "RELU": "relu",
    "RELU6": "relu6",
    "HARD_SWISH": "hard_silu",
    "ABS": "abs",
    "NEG": "neg",
    "SQRT": "sqrt",
    "EXP": "exp",
    "LOG": "log",
    "SIN": "sin",
    "COS": "cos",
    "FLOOR": "floor",
    "CEIL": "ceil",
    "ROUND": "round",
    "SIGN": "sign",
    "LOGICAL_NOT": "not",
}
# Kind, alpha, beta.
FIXED = {"RELU_N1_TO_1": ("clip", -1.0, 1.0), "RELU_0_TO_1": ("clip", 0.0, 1.0), "ELU": ("elu", 1.0, None)}
BINARY = {
    "ADD": "add",
    "SUB": "sub",
    "MUL": "mul",
    "DIV": "div",
    "MAXIMUM": "max",
    "MINIMUM": "min",
    "POW": "pow",
    "FLOOR_MOD": "mod",
    "EQUAL": "equal",
    "NOT_EQUAL": "not_equal",
    "LESS": "less",
    "LESS_EQUAL": "less_equal",
    "GREATER": "greater",
    "GREATER_EQUAL": "greater_equal",
    "LOGICAL_AND": "and",
    "LOGICAL_OR": "or",
    "PRELU": "prelu",
}
# On sizes that are known but for batch and frames.
SYMBOLIC: dict[str, Callable[[Any, Any], Any]] = {
    "ADD": lambda a, b: a + b,
    "SUB": lambda a, b: a - b,
    "MUL": lambda a, b: a * b,
    "DIV": lambda a, b: a // b,
    "FLOOR_DIV": lambda a, b: a // b,
    "FLOOR_MOD": lambda a, b: a % b,
    "EQUAL": lambda a, b: _decided(a, b, 0),
    "NOT_EQUAL": lambda a, b: not _decided(a, b, 0),
    "LESS": lambda a, b: _decided(a, b, -1),
    "GREATER": lambda a, b: _decided(a, b, 1),
    "LESS_EQUAL": lambda a, b: not _decided(a, b, 1),
    "GREATER_EQUAL": lambda a, b: not _decided(a, b, -1),
    "MAXIMUM": lambda a, b: a if _decided(a, b, 1) else b,
    "MINIMUM": lambda a, b: a if _decided(a, b, -1) else b,
}


def _decided(a: Any, b: Any, sign: int) -> bool:
    """Whether a - b has this sign for every batch and frames; ValueError where that depends on them."""
    difference = a - b
    if isinstance(difference, Dim):
        raise ValueError(f"{a} against {b} depends on sizes left open; fix them (--shape)")
    return int(np.sign(difference)) == sign


def symbolic(call: Call) -> Value | None:
    """The result on sizes with Dims among them; None when the inputs are not such."""
    arrays = [v.array if v is not None else None for v in call.inputs]
    if len(arrays) != 2 or call.kind not in SYMBOLIC or any(a is None for a in arrays):
        return None
    if not any(a.dtype == object for a in arrays if a is not None):
        return None
    a, b = np.broadcast_arrays(*(np.asarray(v, object) for v in arrays))
    out = np.empty(a.shape, object)
    for place in np.ndindex(a.shape):
        out[place] = SYMBOLIC[call.kind](a[place], b[place])
    return known(out, call.input(0).dtype)


@lowers(*UNARY)
def _unary(call: Call) -> Value:
    return call.ctx.unary(UNARY[call.kind], call.input(0))


@lowers(*FIXED)
def _fixed(call: Call) -> Value:
    kind, alpha, beta = FIXED[call.kind]
    return call.ctx.unary(kind, call.input(0), alpha, beta)


@lowers("LEAKY_RELU")
def _leaky_relu(call: Call) -> Value:
    return call.ctx.unary("leaky_relu", call.input(0), call.option("alpha", 0.0))


@lowers("GELU")
def _gelu(call: Call) -> Value:
    return call.ctx.unary("gelu_tanh" if call.option("approximate") else "gelu", call.input(0))


@lowers("RSQRT")
def _rsqrt(call: Call) -> Value:
    return call.ctx.unary("reciprocal", call.ctx.unary("sqrt", call.input(0)))


@lowers("SQUARE")
def _square(call: Call) -> Value:
    return call.ctx.binary("mul", call.input(0), call.input(0))


@lowers(*BINARY)
def _binary(call: Call) -> Value:
    sizes = symbolic(call)
    if sizes is not None:
        return sizes
    a, b = call.input(0), call.input(1)
    return call.activated(call.ctx.binary(BINARY[call.kind], a, b))


@lowers("SQUARED_DIFFERENCE")
def _squared_difference(call: Call) -> Value:
    difference = call.ctx.binary("sub", call.input(0), call.input(1))
    return call.ctx.binary("mul", difference, difference)


@lowers("FLOOR_DIV")
def _floor_div(call: Call) -> Value:
    sizes = symbolic(call)
    if sizes is not None:
        return sizes
    ctx, a, b = call.ctx, call.input(0), call.input(1)
    if ctx.run_dtype(a) == "int32":  # a - mod(a, b) is a multiple of b, so that truncation does nothing
        return ctx.binary("div", ctx.binary("sub", a, ctx.binary("mod", a, b)), b)
    return ctx.unary("floor", ctx.binary("div", a, b))


@lowers("ADD_N")
def _add_n(call: Call) -> Value:
    out = call.input(0)
    for n in range(1, len(call.inputs)):
        out = call.ctx.binary("add", out, call.input(n))
    return out


@lowers("SELECT", "SELECT_V2")
def _select(call: Call) -> Value:
    ctx, condition = call.ctx, call.input(0)
    if call.kind == "SELECT" and call.rank(0) == 1 and call.rank(1) > 1:  # the condition picks whole rows
        condition = ctx.reshape(condition, [call.shape(0)[0], *[1] * (call.rank(1) - 1)])
    a, b = call.input(1), call.input(2)
    if condition.is_known and ctx.uniform(condition) is not None:
        chosen = a if ctx.uniform(condition) else b
        shape = broadcast(broadcast(ctx.shape(condition), ctx.shape(a), call.place), ctx.shape(b), call.place)
        return ctx.expand(chosen, shape)
    return ctx.emit("Where", [condition, a, b], {}, a.dtype)


@lowers("CAST")
def _cast(call: Call) -> Value:
    x, to = call.input(0), call.out_infos[0].dtype
    if x.array is not None and x.array.dtype == object:
        if to not in ("int32", "int64"):
            raise call.refuse(f"a cast of a size left open to {to}; fix the sizes (--shape)")
        return Value(to, x.array)
    wanted = "float32" if to.startswith(("float", "bfloat")) else "bool" if to == "bool" else "int32"
    if to.startswith(("complex", "string")):
        raise call.refuse(f"a cast to {to} is not supported")
    if x.is_known:
        assert x.array is not None
        return known(x.array.astype(wanted if to not in ("int64",) else "int64"))
    if call.ctx.run_dtype(x) == wanted:
        return Value(to if wanted == "int32" else wanted, tensor=call.ctx.tensor(x))
    return call.ctx.emit("Cast", [x], {"to": wanted}, wanted)


@lowers("QUANTIZE", "DEQUANTIZE")
def _same_number(call: Call) -> Value:
    """The real number stays; a quantised output is rounded like every other."""
    return call.input(0)


@lowers("ZEROS_LIKE")
def _zeros_like(call: Call) -> Value:
    return call.ctx.fill(0.0, call.shape(0), call.ctx.run_dtype(call.input(0)))


# ---- over axes -------------------------------------------------------------------------------------------------------

REDUCE = {
    "MEAN": "mean",
    "SUM": "sum",
    "REDUCE_MAX": "max",
    "REDUCE_MIN": "min",
    "REDUCE_PROD": "prod",
    "REDUCE_ANY": "max",
    "REDUCE_ALL": "min",
}


@lowers(*REDUCE)
def _reduce(call: Call) -> Value:
    ctx, x, rank = call.ctx, call.input(0), call.rank(0)
    axes = sorted({call.axis(a, rank) for a in call.known_ints(1)})
    keep = bool(call.option("keep_dims", False))
    if x.array is not None and x.array.dtype == object:
        if REDUCE[call.kind] not in ("prod", "sum"):
            raise call.refuse("of sizes left open; fix them (--shape)")
        function = np.multiply if REDUCE[call.kind] == "prod" else np.add
        out = x.array
        for axis in reversed(axes):
            out = np.asarray(function.reduce(out, axis=axis, keepdims=keep), object)
        return known(out, x.dtype)
    if not axes:
        return x
    if ctx.run_dtype(x) == "int32" and x.is_known:
        assert x.array is not None
        function = getattr(np, REDUCE[call.kind])
        return known(function(x.array, axis=tuple(axes), keepdims=keep).astype(x.array.dtype))
    return ctx.emit("Reduce", [x], {"kind": REDUCE[call.kind], "axes": axes, "keepdims": int(keep)})


@lowers("ARG_MAX", "ARG_MIN")
def _arg(call: Call) -> Value:
    axis = call.axis(call.known_ints(1)[0], call.rank(0))
    attrs = {"kind": "max" if call.kind == "ARG_MAX" else "min", "axis": axis, "keepdims": 0}
    return call.ctx.emit("ArgReduce", [call.input(0)], attrs, "int32")


@lowers("SOFTMAX")
def _softmax(call: Call) -> Value:
    x, beta = call.input(0), call.option("beta", 1.0)
    if beta != 1.0:
        x = call.ctx.binary("mul", x, call.ctx.constant(beta))
    return call.ctx.emit("Softmax", [x], {"axis": call.rank(0) - 1})


@lowers("LOG_SOFTMAX")
def _log_softmax(call: Call) -> Value:
    return call.ctx.emit("Softmax", [call.input(0)], {"axis": call.rank(0) - 1, "log": 1})


@lowers("CUMSUM")
def _cumsum(call: Call) -> Value:
    attrs = {
        "axis": call.axis(call.known_ints(1)[0], call.rank(0)),
        "exclusive": int(call.option("exclusive")),
        "reverse": int(call.option("reverse")),
    }
    return call.ctx.emit("CumSum", [call.input(0)], attrs)


@lowers("TOPK_V2")
def _top_k(call: Call) -> list[Value]:
    attrs = {"k": call.known_ints(1)[0], "axis": call.rank(0) - 1}
    return call.ctx.emit_all("TopK", [call.input(0)], attrs, ["float32", "int32"])


@lowers("L2_NORMALIZATION")
def _l2_normalization(call: Call) -> Value:
    """x / max(|x|, 1e-6) over the last axis, the runtime's bound on the sum of squares being 1e-12."""
    ctx, x = call.ctx, call.input(0)
    norm = ctx.emit("Reduce", [x], {"kind": "l2", "axes": [call.rank(0) - 1], "keepdims": 1})
    return call.activated(ctx.binary("div", x, ctx.binary("max", norm, ctx.constant(1e-6))))


# ---- matrix products -------------------------------------------------------------------------------------------------


@lowers("FULLY_CONNECTED")
def _fully_connected(call: Call) -> Value:
    """x (...,K) by w (N,K). Without keep_num_dims all axes but K are one."""
    ctx, x, w = call.ctx, call.input(0), call.input(1)
    if call.option("weights_format"):
        raise call.refuse("weights in the shuffled format are not supported; convert the model without it")
    inner = ctx.shape(w)[-1]
    shape = call.shape(0)
    if not call.option("keep_num_dims", False) and (len(shape) != 2 or shape[-1] != inner):
        x = ctx.reshape(x, call.target(shape, [-1, inner]))
    elif not shape or shape[-1] != inner:
        raise call.refuse(f"its weights take {inner} features, found {shape[-1] if shape else 0}")
    bias = call.optional(2)
    if w.is_known and (bias is None or bias.is_known):
        return call.activated(ctx.emit("Dense", [x, w, bias]))
    out = ctx.emit("MatMul", [x, w], {"trans_b": 1})
    return call.activated(out if bias is None else ctx.binary("add", out, bias))


@lowers("BATCH_MATMUL")
def _batch_matmul(call: Call) -> Value:
    ctx, a, b = call.ctx, call.input(0), call.input(1)
    adj_x, adj_y = bool(call.option("adj_x", False)), bool(call.option("adj_y", False))
    if b.is_known and call.rank(1) == 2 and not adj_x:
        return ctx.emit("Dense", [a, b if adj_y else known(np.ascontiguousarray(call.known(1).T))])
    return ctx.emit("MatMul", [a, b], {"trans_a": int(adj_x), "trans_b": int(adj_y)})


@lowers("EMBEDDING_LOOKUP")
def _embedding(call: Call) -> Value:
    return call.ctx.emit("Gather", [call.input(1), call.ctx.cast(call.input(0), "int32")], {"axis": 0})


@lowers("FAKE_QUANT")
def _fake_quant(call: Call) -> Value:
    """Rounds to the grid of 2^bits steps between min and max, moved so that it holds 0."""
    from .quant import round_to

    low, high, bits = call.option("min", 0.0), call.option("max", 0.0), call.option("num_bits", 8)
    first = 1 if call.option("narrow_range", False) else 0
    last = 2**bits - 1
    if not low < high or not low <= 0 <= high:
        raise call.refuse(f"a range of {low} to {high}: expected one around 0")
    scale = (high - low) / (last - first)
    zero = min(max(round(first - low / scale), first), last)
    return round_to(call.ctx, call.input(0), scale, first - zero, last - zero)
