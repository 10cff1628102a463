"""TFLite operators on numbers: elementwise, over axes, matrix products. Spelled in the dialect."""

from __future__ import annotations

from collections.abc import Callable

from ..dialect import Value, arithmetic, movement, products, reductions, run_dtype, selection
from .lowering import Call, lowers
from .quant import round_to

# ---- elementwise -----------------------------------------------------------------------------------------------------

# Operators that the dialect has under the same name, in small letters.
SAME_UNARY = (
    "TANH",
    "RELU",
    "RELU6",
    "ABS",
    "NEG",
    "SQRT",
    "EXP",
    "LOG",
    "SIN",
    "COS",
    "FLOOR",
    "CEIL",
    "ROUND",
    "SIGN",
)
SAME_BINARY = ("ADD", "SUB", "MUL", "DIV", "POW", "PRELU")
COMPARISONS = ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")
UNARY = {
    **{name: name.lower() for name in SAME_UNARY},
    "LOGISTIC": "sigmoid",
    "HARD_SWISH": "hard_silu",
    "LOGICAL_NOT": "not",
}
# Kind, alpha, beta.
FIXED = {"RELU_N1_TO_1": ("clip", -1.0, 1.0), "RELU_0_TO_1": ("clip", 0.0, 1.0), "ELU": ("elu", 1.0, None)}
BINARY = {
    **{name: name.lower() for name in SAME_BINARY + COMPARISONS},
    "MAXIMUM": "max",
    "MINIMUM": "min",
    "FLOOR_MOD": "mod",
    "LOGICAL_AND": "and",
    "LOGICAL_OR": "or",
}
# Functions of all inputs, in their order.
OF_INPUTS: dict[str, Callable[..., Value]] = {
    "RSQRT": arithmetic.rsqrt,
    "SQUARE": arithmetic.square,
    "SQUARED_DIFFERENCE": arithmetic.squared_difference,
    "FLOOR_DIV": arithmetic.floor_div,
}


@lowers(*OF_INPUTS)
def _of_inputs(call: Call) -> Value:
    return OF_INPUTS[call.kind](call.ctx, *call.all_inputs())


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


@lowers(*BINARY)
def _binary(call: Call) -> Value:
    return call.activated(call.ctx.binary(BINARY[call.kind], call.input(0), call.input(1)))


@lowers("ADD_N")
def _add_n(call: Call) -> Value:
    return arithmetic.variadic(call.ctx, "add", call.all_inputs())


@lowers("SELECT", "SELECT_V2")
def _select(call: Call) -> Value:
    condition = call.input(0)
    if call.kind == "SELECT" and call.rank(0) == 1 and call.rank(1) > 1:  # the condition picks whole rows
        condition = call.ctx.reshape(condition, [call.shape(0)[0], *[1] * (call.rank(1) - 1)])
    return arithmetic.where(call.ctx, condition, call.input(1), call.input(2))


@lowers("CAST")
def _cast(call: Call) -> Value:
    to = call.out_infos[0].dtype
    return arithmetic.cast(call.ctx, call.input(0), to if to == "int64" else run_dtype(to, call.place))


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
    keepdims = bool(call.option("keep_dims", False))
    return reductions.reduce(call.ctx, REDUCE[call.kind], call.input(0), call.known_ints(1), keepdims)


@lowers("ARG_MAX", "ARG_MIN")
def _arg(call: Call) -> Value:
    kind, axis = call.kind[4:].lower(), call.known_ints(1)[0]
    return reductions.arg_reduce(call.ctx, kind, call.input(0), axis, keepdims=False, dtype="int32")


@lowers("SOFTMAX")
def _softmax(call: Call) -> Value:
    return reductions.softmax(call.ctx, arithmetic.scaled(call.ctx, call.input(0), call.option("beta", 1.0)))


@lowers("LOG_SOFTMAX")
def _log_softmax(call: Call) -> Value:
    return reductions.softmax(call.ctx, call.input(0), log=True)


@lowers("CUMSUM")
def _cumsum(call: Call) -> Value:
    exclusive, reverse = bool(call.option("exclusive")), bool(call.option("reverse"))
    return reductions.cumulative_sum(call.ctx, call.input(0), call.known_ints(1)[0], exclusive, reverse)


@lowers("TOPK_V2")
def _top_k(call: Call) -> list[Value]:
    return list(reductions.top_k(call.ctx, call.input(0), call.sizes(1)[0], dtype="int32"))


@lowers("L2_NORMALIZATION")
def _l2_normalization(call: Call) -> Value:
    """x / max(|x|, 1e-6) over the last axis, the runtime's bound on the sum of squares being 1e-12."""
    norm = reductions.reduce(call.ctx, "l2", call.input(0), [-1])
    return call.activated(call.ctx.binary("div", call.input(0), call.ctx.binary("max", norm, call.ctx.constant(1e-6))))


# ---- matrix products -------------------------------------------------------------------------------------------------


@lowers("FULLY_CONNECTED")
def _fully_connected(call: Call) -> Value:
    """x (...,K) by w (N,K). Without keep_num_dims all axes but K are one."""
    x, w, shape = call.input(0), call.input(1), call.shape(0)
    if call.option("weights_format"):
        raise call.refuse("weights in the shuffled format are not supported; convert the model without it")
    inner = call.shape(1)[-1]
    if not call.option("keep_num_dims", False) and (len(shape) != 2 or shape[-1] != inner):
        x = movement.reshape(call.ctx, x, [-1, inner])
    elif not shape or shape[-1] != inner:
        raise call.refuse(f"its weights take {inner} features, found {shape[-1] if shape else 0}")
    return call.activated(products.dense(call.ctx, x, w, call.optional(2)))


@lowers("BATCH_MATMUL")
def _batch_matmul(call: Call) -> Value:
    turned = bool(call.option("adj_x", False)), bool(call.option("adj_y", False))
    return products.matmul(call.ctx, call.input(0), call.input(1), 1.0, *turned)


@lowers("EMBEDDING_LOOKUP")
def _embedding(call: Call) -> Value:
    return selection.embedding(call.ctx, call.input(1), call.input(0))


@lowers("FAKE_QUANT")
def _fake_quant(call: Call) -> Value:
    """Rounds to the grid of 2^bits steps between min and max, moved so that it holds 0."""
    low, high, bits = call.option("min", 0.0), call.option("max", 0.0), call.option("num_bits", 8)
    first = 1 if call.option("narrow_range", False) else 0
    last = 2**bits - 1
    if not low < high or not low <= 0 <= high:
        raise call.refuse(f"a range of {low} to {high}: expected one around 0")
    scale = (high - low) / (last - first)
    zero = min(max(round(first - low / scale), first), last)
    return round_to(call.ctx, call.input(0), scale, first - zero, last - zero)
